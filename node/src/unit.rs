//! What a sub-query runs over: the rows of a segment, or a chunk of growing rows, with what hides them and what
//! makes them fast.

use crate::tombstones::Tombstones;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use mishards_index::{HnswIndex, InvertedIndex};
use mishards_segment::{KeyIndex, Rows, key_at};
use mishards_types::{Bitmap, FieldId, Key, PartitionId, Schema, SegmentId, Timestamp};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// See the file's head. Immutable.
#[derive(Clone)]
pub struct Unit {
    /// 0 for growing rows.
    pub segment: SegmentId,
    pub partition: PartitionId,
    pub schema: Arc<Schema>,
    pub rows: Rows,
    pub newest_row: Timestamp,
    pub tombstones: Arc<Tombstones>,
    /// Of a segment.
    pub keys: Option<KeyIndex>,
    /// Of growing rows, made when it is first wanted.
    pub late_keys: Arc<OnceLock<KeyIndex>>,
    pub graphs: HashMap<FieldId, Arc<HnswIndex>>,
    pub inverted: HashMap<FieldId, Arc<InvertedIndex>>,
    /// Whether some key stands in several rows.
    pub repeated_keys: bool,
    /// Of growing rows, how many with the timestamp of the first one stand in the chunks before this one.
    pub run_before: u32,
}

/// Chunks of fewer growing rows are looked through sooner than sorted.
const SORTED_ROWS: usize = 512;

impl Unit {
    /// The rows by key; nothing where looking through them is quicker.
    pub fn by_key(&self) -> Option<&KeyIndex> {
        if self.keys.is_some() || self.rows.len() < SORTED_ROWS {
            return self.keys.as_ref();
        }
        let keys = self.rows.keys()?;
        Some(self.late_keys.get_or_init(|| KeyIndex::of(keys)))
    }

    /// The rows that are visible at `at`; `None` means all.
    pub fn visible(&self, at: Timestamp) -> Option<Bitmap> {
        self.tombstones.visible(at, self.rows.timestamps(), self.newest_row)
    }

    pub fn key(&self, row: u32) -> Key {
        self.rows.keys().map_or(Key::Int(0), |keys| key_at(keys, row as usize))
    }

    /// Orders the keys of two rows.
    pub fn compare_keys(&self, a: u32, b: u32) -> std::cmp::Ordering {
        let Some(keys) = self.rows.keys() else { return a.cmp(&b) };
        let (x, y) = (a as usize, b as usize);
        match (keys.as_primitive_opt::<Int64Type>(), keys.as_string_opt::<i32>()) {
            (Some(keys), _) => keys.value(x).cmp(&keys.value(y)),
            (None, Some(keys)) => keys.value(x).cmp(keys.value(y)),
            (None, None) => a.cmp(&b),
        }
    }

    pub fn timestamp(&self, row: u32) -> Timestamp {
        Timestamp(self.rows.timestamps()[row as usize])
    }

    /// The name of a row that is, or lately was, growing: its place among the rows with its timestamp, which are those of
    /// one write to one partition. It stays the same when chunks are put together and when they become a segment, for
    /// both keep the order of the log.
    pub fn ordinal(&self, row: u32) -> u32 {
        let timestamp = self.timestamp(row);
        let first = self.first_at(timestamp);
        row - first + if first == 0 { self.run_before } else { 0 }
    }

    /// The row with this timestamp and ordinal. Only where the rows stand in the order of the log.
    pub fn row_named(&self, timestamp: Timestamp, ordinal: u32) -> Option<u32> {
        let first = self.first_at(timestamp);
        let before = if first == 0 { self.run_before } else { 0 };
        let row = first.checked_add(ordinal.checked_sub(before)?)?;
        ((row as usize) < self.rows.len() && self.timestamp(row) == timestamp).then_some(row)
    }

    /// How many rows before `next`, which follows this chunk, have the timestamp that `next` begins with.
    pub fn run_into(&self, next: &Unit) -> u32 {
        let (Some(last), true) = ((self.rows.len() as u32).checked_sub(1), !next.rows.is_empty()) else {
            return 0;
        };
        if self.timestamp(last) == next.timestamp(0) { self.ordinal(last) + 1 } else { 0 }
    }

    fn first_at(&self, timestamp: Timestamp) -> u32 {
        self.rows.timestamps().partition_point(|t| *t < timestamp.0) as u32
    }
}
