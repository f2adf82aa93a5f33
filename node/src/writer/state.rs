//! The writer's state: the one place where log records take effect.

use super::growing::GrowingSegment;
use super::view::{GrowingView, View};
use crate::{Failure, IngestOptions, Result};
use mishards_catalog::{Collection, Snapshot};
use mishards_segment::{Column, Delete, Rows, Tombstone};
use mishards_types::{CollectionId, FieldId, Key, PartitionId, Schema, Sequence, Timestamp, Version};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// A decoded write, ready to be applied.
pub struct PreparedWrite {
    pub collection: CollectionId,
    pub inserts: Vec<PreparedRows>,
    pub deletes: Vec<Key>,
    /// 0 means every partition.
    pub delete_partition: PartitionId,
    /// 0 means every row before the write.
    pub resolved_at: Timestamp,
}

/// Rows of one partition.
pub struct PreparedRows {
    pub partition: PartitionId,
    pub rows: usize,
    pub columns: BTreeMap<FieldId, Column>,
}

/// A part of a growing segment of another node.
pub struct RestoredPart {
    pub number: u64,
    pub collection: CollectionId,
    pub schema: Arc<Schema>,
    pub rows: Rows,
    pub tombstones: Vec<Tombstone>,
    pub first: Sequence,
    pub last: Sequence,
    pub opened_at: Timestamp,
    pub sealed: bool,
}

/// See the file's head.
pub struct State {
    pub snapshot: Arc<Snapshot>,
    growing: HashMap<PartitionId, Vec<GrowingSegment>>,
    shown: HashMap<PartitionId, Arc<Vec<GrowingView>>>,
    /// Partitions with rows that are not shown yet.
    unshown: HashSet<PartitionId>,
    applied: Sequence,
    applied_timestamp: Timestamp,
    last_delete: HashMap<CollectionId, Sequence>,
    pub last_schema_change: Version,
    next_number: u64,
    /// The monotonic clock, as whoever applies says it.
    pub now: Duration,
}

impl State {
    pub fn new(snapshot: Arc<Snapshot>, applied: Sequence, applied_timestamp: Timestamp) -> State {
        State {
            last_schema_change: snapshot.version,
            snapshot,
            growing: HashMap::new(),
            shown: HashMap::new(),
            unshown: HashSet::new(),
            applied,
            applied_timestamp,
            last_delete: HashMap::new(),
            next_number: 1,
            now: Duration::ZERO,
        }
    }

    /// What readers are to see from now on. Of writes that were applied after the last [`State::settle`] they see nothing.
    pub fn view(&self) -> View {
        View {
            snapshot: Arc::clone(&self.snapshot),
            growing: self.shown.clone(),
            applied: self.applied,
            applied_timestamp: self.applied_timestamp,
            last_delete: self.last_delete.clone(),
            last_schema_change: self.last_schema_change,
        }
    }

    pub fn applied(&self) -> Sequence {
        self.applied
    }

    /// Says that a record has been applied.
    pub fn advance(&mut self, sequence: Sequence, timestamp: Timestamp) {
        self.applied = self.applied.max(sequence);
        self.applied_timestamp = self.applied_timestamp.max(timestamp);
    }

    /// Applies one write, skipping what the watermarks say is in files. Rows of a collection or partition that
    /// has been dropped go nowhere.
    pub fn apply(
        &mut self,
        write: PreparedWrite,
        sequence: Sequence,
        timestamp: Timestamp,
        add_deletes: impl FnOnce(CollectionId, Vec<Arc<Delete>>),
    ) -> Result<()> {
        let Some(collection) = self.snapshot.collection(write.collection).cloned() else { return Ok(()) };
        if !write.deletes.is_empty() {
            let resolved_at =
                if write.resolved_at == Timestamp::ZERO { timestamp.pred() } else { write.resolved_at };
            self.delete_growing(&write, resolved_at, timestamp);
            if sequence > collection.deltas_through {
                let one = |key: Key| {
                    let partition = write.delete_partition;
                    Arc::new(Delete { sequence, partition, visible_at: timestamp, resolved_at, key })
                };
                add_deletes(collection.id, write.deletes.into_iter().map(one).collect());
            }
            self.last_delete.insert(collection.id, sequence);
        }
        for part in write.inserts {
            let timestamps = vec![timestamp.0; part.rows];
            self.insert(&collection, part, timestamps, (sequence, sequence))?;
        }
        Ok(())
    }

    /// Adds the rows of one or several records that follow each other, with the timestamps of the rows and the sequences of the
    /// first and the last record. Rows that are in files, as the last one says, go nowhere.
    pub fn insert(
        &mut self,
        collection: &Collection,
        part: PreparedRows,
        timestamps: Vec<u64>,
        (first, last): (Sequence, Sequence),
    ) -> Result<()> {
        let flushed = self.snapshot.partition(part.partition).map(|p| p.flushed_through);
        if flushed.is_none_or(|through| last <= through) {
            return Ok(());
        }
        let opened_at = Timestamp(timestamps.first().copied().unwrap_or_default());
        let rows = Rows::new(&collection.schema, timestamps.into(), part.columns).map_err(Failure::from)?;
        let number = &mut self.next_number;
        let list = self.growing.entry(part.partition).or_default();
        if list.last().is_none_or(|g| g.sealed) {
            list.push(GrowingSegment::new(
                *number,
                (collection.id, part.partition),
                Arc::new(collection.schema.clone()),
                first,
                (opened_at, self.now),
            ));
            *number += 1;
        }
        if let Some(open) = list.last_mut() {
            open.append(rows, last);
        }
        self.unshown.insert(part.partition);
        Ok(())
    }

    /// Ends some calls of [`State::apply`]: now their rows are shown, all at once.
    pub fn settle(&mut self) {
        std::mem::take(&mut self.unshown).into_iter().for_each(|id| self.show(id));
    }

    fn delete_growing(&mut self, write: &PreparedWrite, resolved_at: Timestamp, visible_at: Timestamp) {
        let mut touched = Vec::new();
        for (partition, list) in &mut self.growing {
            let scope = write.delete_partition;
            for growing in list
                .iter_mut()
                .filter(|g| g.collection == write.collection && (scope.0 == 0 || scope == *partition))
            {
                if growing.delete(&write.deletes, resolved_at, visible_at) {
                    touched.push(*partition);
                }
            }
        }
        touched.into_iter().for_each(|p| self.show(p));
    }

    fn show(&mut self, partition: PartitionId) {
        self.unshown.remove(&partition);
        self.growing.get_mut(&partition).into_iter().flatten().for_each(GrowingSegment::settle);
        match self.growing.get(&partition).filter(|list| !list.is_empty()) {
            Some(list) => {
                drop(self.shown.insert(partition, Arc::new(list.iter().map(GrowingSegment::view).collect())))
            }
            None => drop(self.shown.remove(&partition)),
        }
    }

    pub fn growing_rows(&self) -> usize {
        self.growing.values().flatten().map(GrowingSegment::rows).sum()
    }

    pub fn growing_bytes(&self) -> usize {
        self.growing.values().flatten().map(GrowingSegment::bytes).sum()
    }

    pub fn segments(&self) -> impl Iterator<Item = (PartitionId, &GrowingSegment)> {
        self.growing.iter().flat_map(|(id, list)| list.iter().map(|g| (*id, g)))
    }

    /// Those partitions whose open segments are full: these are to be sealed first. Without it a segment could
    /// outgrow every bound while others are written out, or when a log is replayed.
    pub fn full(
        &self,
        partitions: impl Iterator<Item = PartitionId>,
        limits: &IngestOptions,
    ) -> Vec<PartitionId> {
        let is_full = |id: &PartitionId| {
            let open = self.growing.get(id).and_then(|list| list.last()).filter(|open| !open.sealed);
            open.is_some_and(|g| g.rows() >= limits.seal_rows || g.bytes() >= limits.seal_bytes)
        };
        partitions.filter(is_full).collect()
    }

    /// Rows of the open segment of a partition.
    pub fn open_rows(&self, partition: PartitionId) -> usize {
        let open = self.growing.get(&partition).and_then(|list| list.last()).filter(|open| !open.sealed);
        open.map_or(0, GrowingSegment::rows)
    }

    /// Seals the open segments that `wanted` says, and answers of which partitions; new rows go into new ones.
    pub fn seal(&mut self, wanted: impl Fn(&GrowingSegment) -> bool) -> Vec<PartitionId> {
        let last = self.growing.iter_mut().filter_map(|(id, list)| Some((*id, list.last_mut()?)));
        let open = last.filter(|(_, g)| !g.sealed && wanted(g));
        let seal = |(id, growing): (PartitionId, &mut GrowingSegment)| {
            growing.sealed = true;
            id
        };
        let sealed: Vec<PartitionId> = open.map(seal).collect();
        sealed.iter().for_each(|id| self.show(*id));
        sealed
    }

    /// Seals the open segments of partitions.
    pub fn seal_partitions(&mut self, partitions: impl Iterator<Item = i64>) {
        for id in partitions.map(PartitionId) {
            if let Some(open) = self.growing.get_mut(&id).and_then(|list| list.last_mut()) {
                open.sealed = true;
            }
        }
    }

    /// Takes over a part of a growing segment as another node has it. Parts come in their order.
    pub fn restore(&mut self, partition: PartitionId, part: RestoredPart) -> Result<()> {
        let RestoredPart { number, collection, schema, rows, tombstones, first, last, opened_at, sealed } =
            part;
        self.next_number = self.next_number.max(number + 1);
        let list = self.growing.entry(partition).or_default();
        if list.last().is_none_or(|g| g.number != number) {
            list.push(GrowingSegment::new(
                number,
                (collection, partition),
                schema,
                first,
                (opened_at, self.now),
            ));
        }
        if let Some(growing) = list.last_mut() {
            growing.append_hidden(rows, tombstones, last);
            growing.sealed = sealed;
        }
        self.show(partition);
        Ok(())
    }

    /// Forgets the sealed segments whose rows are in published files, as the partitions say.
    pub fn forget_published(&mut self) {
        let snapshot = Arc::clone(&self.snapshot);
        let mut touched = Vec::new();
        for (id, list) in &mut self.growing {
            let through = snapshot.partition(*id).map_or(Sequence(0), |p| p.flushed_through);
            let before = list.len();
            list.retain(|g| g.last > through);
            if list.len() < before {
                touched.push(*id);
            }
        }
        self.growing.retain(|_, list| !list.is_empty());
        touched.into_iter().for_each(|id| self.show(id));
    }

    /// Says which delete of each collection was the last.
    pub fn restore_last_deletes(&mut self, last: HashMap<CollectionId, Sequence>) {
        self.last_delete = last;
    }

    pub fn last_deletes(&self) -> &HashMap<CollectionId, Sequence> {
        &self.last_delete
    }

    /// The oldest sealed segment of each partition: they are published in the order they were sealed.
    pub fn sealed(&self) -> Vec<(PartitionId, u64)> {
        let first = self
            .growing
            .iter()
            .filter_map(|(id, list)| list.first().filter(|g| g.sealed).map(|g| (*id, g.number)));
        first.collect()
    }

    pub fn segment(&self, partition: PartitionId, number: u64) -> Option<&GrowingSegment> {
        self.growing.get(&partition)?.iter().find(|g| g.number == number)
    }

    /// Forgets a segment whose rows are in published files.
    pub fn remove(&mut self, partition: PartitionId, number: u64) {
        if let Some(list) = self.growing.get_mut(&partition) {
            list.retain(|g| g.number != number);
            if list.is_empty() {
                self.growing.remove(&partition);
            }
        }
        self.show(partition);
    }

    /// Forgets growing rows of partitions that the catalog no longer has.
    pub fn forget_dropped(&mut self) {
        let snapshot = Arc::clone(&self.snapshot);
        self.growing.retain(|id, _| snapshot.partition(*id).is_some());
        self.shown.retain(|id, _| snapshot.partition(*id).is_some());
        self.last_delete.retain(|id, _| snapshot.collection(*id).is_some());
    }

    /// The first sequence whose rows are in no file yet.
    pub fn first_growing(&self) -> Option<Sequence> {
        self.segments().map(|(_, g)| g.first).min()
    }
}
