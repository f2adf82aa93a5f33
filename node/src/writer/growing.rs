//! Rows that are not in files yet: immutable chunks, and for each key where its rows stand.

use super::view::GrowingView;
use crate::tombstones::Tombstones;
use crate::unit::Unit;
use mishards_segment::{Rows, Tombstone, key_at};
use mishards_types::{CollectionId, Key, PartitionId, Schema, SegmentId, Sequence, Timestamp};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Rows of so many, or as many bytes, are made a chunk at the latest.
const WAITING_ROWS: u32 = 4096;
const WAITING_BYTES: usize = 4 << 20;
/// Chunks below this are put together with their neighbour, so that their number stays logarithmic.
const COALESCE_ROWS: usize = 16_384;
/// … and below this: texts of a chunk are counted in 32 bits.
const COALESCE_BYTES: usize = 64 << 20;

/// One growing segment. Only the log thread and the flush change it, under the state's lock.
pub struct GrowingSegment {
    /// Tells the segments of a partition apart.
    pub number: u64,
    pub collection: CollectionId,
    pub partition: PartitionId,
    pub schema: Arc<Schema>,
    pub first: Sequence,
    pub last: Sequence,
    pub opened_at: Timestamp,
    /// On the monotonic clock.
    pub opened: Duration,
    pub sealed: bool,
    units: Vec<Arc<Unit>>,
    /// Rows of the newest records, which are one chunk as soon as anybody is to see them.
    waiting: Vec<Rows>,
    waiting_bytes: usize,
    /// The number of the first row of each chunk.
    bases: Vec<u32>,
    /// Rows in chunks, and all rows.
    settled: u32,
    rows: u32,
    bytes: usize,
    /// Most keys have one row.
    keys: HashMap<Key, SmallVec<[u32; 2]>>,
}

impl GrowingSegment {
    pub fn new(
        number: u64,
        (collection, partition): (CollectionId, PartitionId),
        schema: Arc<Schema>,
        first: Sequence,
        (opened_at, opened): (Timestamp, Duration),
    ) -> GrowingSegment {
        GrowingSegment {
            number,
            collection,
            partition,
            schema,
            first,
            last: first,
            opened_at,
            opened,
            sealed: false,
            units: Vec::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            bases: Vec::new(),
            settled: 0,
            rows: 0,
            bytes: 0,
            keys: HashMap::new(),
        }
    }

    pub fn rows(&self) -> usize {
        self.rows as usize
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The rows that are in chunks: all of them after [`GrowingSegment::settle`].
    pub fn units(&self) -> &[Arc<Unit>] {
        &self.units
    }

    /// Appends the rows of one record. Nobody sees them before [`GrowingSegment::settle`].
    pub fn append(&mut self, rows: Rows, sequence: Sequence) {
        self.count(&rows, sequence);
        self.waiting_bytes += rows.bytes();
        self.waiting.push(rows);
        if self.rows - self.settled >= WAITING_ROWS || self.waiting_bytes >= WAITING_BYTES {
            self.settle();
        }
    }

    /// Appends rows, some of which are hidden already. `last` is the log sequence of the last of them.
    pub fn append_hidden(&mut self, rows: Rows, hidden: Vec<Tombstone>, last: Sequence) {
        self.settle();
        self.count(&rows, last);
        self.push(rows, hidden);
    }

    /// Makes a chunk of the rows that wait: a chunk for each record would cost more than the rows do.
    pub fn settle(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        match Rows::concat(&waiting) {
            Ok(rows) => self.push(rows, Vec::new()),
            // They do not go together.
            Err(_) => waiting.into_iter().for_each(|rows| self.push(rows, Vec::new())),
        }
    }

    fn count(&mut self, rows: &Rows, last: Sequence) {
        let keys = rows.keys().into_iter().flat_map(|keys| (0..rows.len()).map(|row| key_at(keys, row)));
        for (key, row) in keys.zip(self.rows..) {
            self.keys.entry(key).or_default().push(row);
        }
        self.rows += rows.len() as u32;
        // The key map costs about as much as the keys again.
        self.bytes += rows.bytes() + rows.len() * 64;
        self.last = last;
    }

    fn push(&mut self, rows: Rows, hidden: Vec<Tombstone>) {
        let tombstones = Tombstones::none(rows.len()).with(hidden);
        let mut unit = self.chunk(rows, tombstones);
        unit.run_before = self.units.last().map_or(0, |before| before.run_into(&unit));
        self.bases.push(self.settled);
        self.settled += unit.rows.len() as u32;
        self.units.push(Arc::new(unit));
        self.coalesce();
    }

    /// Puts the last chunks together while the one before is not much larger.
    fn coalesce(&mut self) {
        while let [.., a, b] = self.units.as_slice() {
            let too_large = a.rows.len() + b.rows.len() > COALESCE_ROWS
                || a.rows.bytes() + b.rows.bytes() > COALESCE_BYTES;
            if a.rows.len() > 2 * b.rows.len() || too_large {
                break;
            }
            let Ok(rows) = Rows::concat(&[a.rows.clone(), b.rows.clone()]) else { return };
            let shift = a.rows.len() as u32;
            let second = b.tombstones.iter().map(|t| Tombstone { row: t.row + shift, ..*t });
            let mut all: Vec<Tombstone> = a.tombstones.iter().copied().chain(second).collect();
            all.sort_by_key(|t| t.visible_at);
            let tombstones = Tombstones::none(rows.len()).with(all);
            let merged = Unit { run_before: a.run_before, ..self.chunk(rows, tombstones) };
            self.units.truncate(self.units.len() - 2);
            self.bases.pop();
            self.units.push(Arc::new(merged));
        }
    }

    /// Hides rows with one of `keys` and a timestamp at or below `resolved_at`, from `visible_at` on.
    pub fn delete(&mut self, keys: &[Key], resolved_at: Timestamp, visible_at: Timestamp) -> bool {
        self.settle();
        let mut hidden: HashMap<usize, Vec<Tombstone>> = HashMap::new();
        for key in keys {
            let Some(numbers) = self.keys.get_mut(key) else { continue };
            // A row that is hidden has nothing more to fear: a key that is written again and again stays cheap.
            numbers.retain(|number| {
                let number = *number;
                let chunk = self.bases.partition_point(|base| *base <= number) - 1;
                let row = number - self.bases[chunk];
                let unit = &self.units[chunk];
                let hides = unit.timestamp(row) <= resolved_at;
                if hides && !unit.tombstones.is_hidden(row) {
                    hidden.entry(chunk).or_default().push(Tombstone { row, visible_at });
                }
                !hides
            });
            if numbers.is_empty() {
                self.keys.remove(key);
            }
        }
        let any = !hidden.is_empty();
        for (chunk, list) in hidden {
            let mut unit = (*self.units[chunk]).clone();
            unit.tombstones = Arc::new(unit.tombstones.with(list));
            self.units[chunk] = Arc::new(unit);
        }
        any
    }

    pub fn view(&self) -> GrowingView {
        GrowingView {
            collection: self.collection,
            number: self.number,
            sealed: self.sealed,
            units: self.units.clone(),
            first: self.first,
            last: self.last,
            rows: self.rows(),
            oldest: self.opened_at,
        }
    }

    fn chunk(&self, rows: Rows, tombstones: Tombstones) -> Unit {
        Unit {
            segment: SegmentId(0),
            partition: self.partition,
            schema: Arc::clone(&self.schema),
            newest_row: rows.max_timestamp(),
            tombstones: Arc::new(tombstones),
            rows,
            keys: None,
            late_keys: Arc::default(),
            graphs: HashMap::new(),
            inverted: HashMap::new(),
            // Growing rows may repeat keys; finding out would cost more than assuming it.
            repeated_keys: true,
            run_before: 0,
        }
    }
}
