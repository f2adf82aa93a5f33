//! What a sub-query runs over: the rows of a segment, or a chunk of growing rows, with what hides them and what
//! makes them fast.

use crate::tombstones::Tombstones;
use mishards_index::{HnswIndex, InvertedIndex};
use mishards_segment::{KeyIndex, Rows, key_at};
use mishards_types::{Bitmap, FieldId, Key, Schema, SegmentId, Timestamp};
use std::collections::HashMap;
use std::sync::Arc;

/// See the file's head. Immutable.
#[derive(Clone)]
pub struct Unit {
    /// 0 for growing rows.
    pub segment: SegmentId,
    pub schema: Arc<Schema>,
    pub rows: Rows,
    pub newest_row: Timestamp,
    pub tombstones: Arc<Tombstones>,
    pub keys: Option<KeyIndex>,
    pub graphs: HashMap<FieldId, Arc<HnswIndex>>,
    pub inverted: HashMap<FieldId, Arc<InvertedIndex>>,
    /// Whether some key stands in several rows.
    pub repeated_keys: bool,
}

impl Unit {
    /// The rows that are visible at `at`; `None` means all.
    pub fn visible(&self, at: Timestamp) -> Option<Bitmap> {
        self.tombstones.visible(at, self.rows.timestamps(), self.newest_row)
    }

    pub fn key(&self, row: u32) -> Key {
        self.rows.keys().map_or(Key::Int(0), |keys| key_at(keys, row as usize))
    }

    pub fn timestamp(&self, row: u32) -> Timestamp {
        Timestamp(self.rows.timestamps()[row as usize])
    }
}
