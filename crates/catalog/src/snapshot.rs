//! A snapshot of the catalog in memory: the current entities, and for one window those that were replaced or
//! removed. Applying a commit is a pure function, so every holder of V arrives at the same V + 1.

use crate::model::*;
use mishards_types::{CollectionId, DatabaseId, Epoch, PartitionId, SegmentId, Sequence, Version};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One change of a transaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Adds a row, or puts a new version in its place.
    Put(Entity),
    Remove(EntityKind, String),
}

/// One version of one row: visible to V with `added_at <= V < removed_at`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub added_at: u64,
    pub removed_at: Option<u64>,
    pub entity: Entity,
}

/// The catalog at V. Cheap to clone: entities are shared.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub version: Version,
    pub epoch: Epoch,
    databases: BTreeMap<DatabaseId, Arc<Database>>,
    collections: BTreeMap<CollectionId, Arc<Collection>>,
    partitions: BTreeMap<PartitionId, Arc<Partition>>,
    segments: BTreeMap<SegmentId, (u64, Arc<Segment>)>,
    deltas: BTreeMap<SegmentId, (u64, Arc<DeltaFile>)>,
    aliases: BTreeMap<String, Arc<Alias>>,
    logs: BTreeMap<String, LogEntry>,
    /// What was replaced or removed within the window: (added_at, removed_at, row).
    past_segments: Vec<(u64, u64, Arc<Segment>)>,
    past_deltas: Vec<(u64, u64, Arc<DeltaFile>)>,
    /// Partitions that were dropped within the window: (removed_at, row).
    past_partitions: Vec<(u64, Arc<Partition>)>,
    /// Collections that were dropped within the window, and by which commit: a log may still hold rows of them.
    dropped: BTreeMap<CollectionId, u64>,
    /// (commit_seq, commit_id) of the commits within the window, oldest first.
    history: Vec<Version>,
}

impl Snapshot {
    /// Builds a snapshot from stored rows, in any order.
    pub fn from_rows(version: Version, epoch: Epoch, rows: Vec<Row>) -> Snapshot {
        let mut out = Snapshot { version, epoch, history: vec![version], ..Snapshot::default() };
        for row in rows {
            match row.removed_at {
                None => out.put(row.entity, row.added_at),
                Some(removed) => out.remember(&row.entity, row.added_at, removed),
            }
        }
        // An earlier version of a partition that is there was not dropped.
        let live = &out.partitions;
        out.past_partitions.retain(|(_, p)| !live.contains_key(&p.id));
        out
    }

    /// All rows, the removed ones included.
    pub fn rows(&self) -> Vec<Row> {
        let live = |entity, added_at| Row { added_at, removed_at: None, entity };
        let mut rows: Vec<Row> = Vec::new();
        rows.extend(self.databases.values().map(|x| live(Entity::Database((**x).clone()), 0)));
        rows.extend(self.collections.values().map(|x| live(Entity::Collection(Box::new((**x).clone())), 0)));
        rows.extend(self.partitions.values().map(|x| live(Entity::Partition((**x).clone()), 0)));
        rows.extend(
            self.segments.values().map(|(at, x)| live(Entity::Segment(Box::new((**x).clone())), *at)),
        );
        rows.extend(self.deltas.values().map(|(at, x)| live(Entity::DeltaFile((**x).clone()), *at)));
        rows.extend(self.aliases.values().map(|x| live(Entity::Alias((**x).clone()), 0)));
        rows.extend(self.logs.values().map(|x| live(Entity::Log(x.clone()), 0)));
        rows.extend(self.past_segments.iter().map(|(added, removed, x)| Row {
            added_at: *added,
            removed_at: Some(*removed),
            entity: Entity::Segment(Box::new((**x).clone())),
        }));
        rows.extend(self.past_deltas.iter().map(|(added, removed, x)| Row {
            added_at: *added,
            removed_at: Some(*removed),
            entity: Entity::DeltaFile((**x).clone()),
        }));
        rows
    }

    /// The snapshot after a commit.
    pub fn apply(&self, next: Version, changes: &[Change]) -> Snapshot {
        let mut out = self.clone();
        out.version = next;
        out.history.push(next);
        for change in changes {
            match change {
                Change::Put(entity) => {
                    out.retire(entity.kind(), &entity.key(), next.commit_seq);
                    out.put(entity.clone(), next.commit_seq);
                }
                Change::Remove(EntityKind::Partition, key) => out.drop_partition(key, next.commit_seq),
                Change::Remove(kind, key) => out.retire(*kind, key, next.commit_seq),
            }
        }
        out
    }

    /// Forgets what was removed at or before a commit, and the versions up to it.
    pub fn purge(&mut self, removed_through: u64) {
        self.past_segments.retain(|(_, removed, _)| *removed > removed_through);
        self.past_deltas.retain(|(_, removed, _)| *removed > removed_through);
        self.past_partitions.retain(|(removed, _)| *removed > removed_through);
        self.dropped.retain(|_, removed| *removed > removed_through);
        self.history.retain(|v| v.commit_seq > removed_through || *v == self.version);
    }

    /// The oldest commit whose successors are all known here.
    pub fn oldest_known(&self) -> u64 {
        self.history.first().map_or(self.version.commit_seq, |v| v.commit_seq)
    }

    /// This snapshot for one who has seen `earlier` just before it: what the rows do not say (which versions came before,
    /// what was dropped) is carried over, back to the commit `oldest`, beyond which removed rows may be missing.
    pub fn following(mut self, earlier: &Snapshot, oldest: u64) -> Snapshot {
        if earlier.epoch != self.epoch || earlier.version.commit_seq > self.version.commit_seq {
            return self;
        }
        let at = self.version.commit_seq;
        let known = earlier.history.iter().filter(|v| v.commit_seq >= oldest && **v != self.version).copied();
        self.history = known.chain([self.version]).collect();
        let gone = earlier.partitions.values().filter(|p| !self.partitions.contains_key(&p.id));
        let before = earlier.past_partitions.iter().filter(|(removed, _)| *removed > oldest).cloned();
        self.past_partitions = before.chain(gone.map(|p| (at, Arc::clone(p)))).collect();
        let gone = earlier.collections.keys().filter(|id| !self.collections.contains_key(id));
        let before = earlier.dropped.iter().filter(|(_, removed)| **removed > oldest);
        self.dropped = before.map(|(id, removed)| (*id, *removed)).chain(gone.map(|id| (*id, at))).collect();
        self
    }

    fn put(&mut self, entity: Entity, at: u64) {
        match entity {
            Entity::Database(x) => drop(self.databases.insert(x.id, Arc::new(x))),
            Entity::Collection(x) => {
                self.dropped.remove(&x.id);
                self.collections.insert(x.id, Arc::new(*x));
            }
            Entity::Partition(x) => drop(self.partitions.insert(x.id, Arc::new(x))),
            Entity::Segment(x) => drop(self.segments.insert(x.id, (at, Arc::new(*x)))),
            Entity::DeltaFile(x) => drop(self.deltas.insert(x.id, (at, Arc::new(x)))),
            Entity::Alias(x) => drop(self.aliases.insert(Alias::key(x.database, &x.name), Arc::new(x))),
            Entity::Log(x) => drop(self.logs.insert(x.id().to_string(), x)),
        }
    }

    fn drop_partition(&mut self, key: &str, at: u64) {
        if let Some(gone) = key.parse().ok().and_then(|id| self.partitions.remove(&PartitionId(id))) {
            self.past_partitions.push((at, gone));
        }
    }

    fn remember(&mut self, entity: &Entity, added: u64, removed: u64) {
        match entity {
            Entity::Segment(x) => self.past_segments.push((added, removed, Arc::new((**x).clone()))),
            Entity::DeltaFile(x) => self.past_deltas.push((added, removed, Arc::new(x.clone()))),
            Entity::Partition(x) => self.past_partitions.push((removed, Arc::new(x.clone()))),
            _ => {}
        }
    }

    /// Takes a row's live version away. One that was added by the same commit was never visible and leaves
    /// nothing behind.
    fn retire(&mut self, kind: EntityKind, key: &str, at: u64) {
        let id: i64 = key.parse().unwrap_or(0);
        match kind {
            EntityKind::Database => drop(self.databases.remove(&DatabaseId(id))),
            EntityKind::Collection => {
                self.collections.remove(&CollectionId(id));
                self.dropped.insert(CollectionId(id), at);
            }
            EntityKind::Partition => drop(self.partitions.remove(&PartitionId(id))),
            EntityKind::Segment => {
                if let Some((added, segment)) = self.segments.remove(&SegmentId(id))
                    && added != at
                {
                    self.past_segments.push((added, at, segment));
                }
            }
            EntityKind::DeltaFile => {
                if let Some((added, delta)) = self.deltas.remove(&SegmentId(id))
                    && added != at
                {
                    self.past_deltas.push((added, at, delta));
                }
            }
            EntityKind::Alias => drop(self.aliases.remove(key)),
            EntityKind::Log => drop(self.logs.remove(key)),
        }
    }
}

/// Look-ups.
impl Snapshot {
    pub fn database(&self, name: &str) -> Option<&Arc<Database>> {
        self.databases.values().find(|d| d.name == name)
    }

    pub fn database_by_id(&self, id: DatabaseId) -> Option<&Arc<Database>> {
        self.databases.get(&id)
    }

    pub fn databases(&self) -> impl Iterator<Item = &Arc<Database>> {
        self.databases.values()
    }

    pub fn collection(&self, id: CollectionId) -> Option<&Arc<Collection>> {
        self.collections.get(&id)
    }

    pub fn collections(&self) -> impl Iterator<Item = &Arc<Collection>> {
        self.collections.values()
    }

    pub fn collections_of(&self, database: DatabaseId) -> impl Iterator<Item = &Arc<Collection>> {
        self.collections.values().filter(move |c| c.database == database)
    }

    /// A collection by its own name, not by an alias.
    pub fn collection_named(&self, database: DatabaseId, name: &str) -> Option<&Arc<Collection>> {
        self.collections_of(database).find(|c| c.name == name)
    }

    pub fn alias(&self, database: DatabaseId, name: &str) -> Option<&Arc<Alias>> {
        self.aliases.get(&Alias::key(database, name))
    }

    pub fn aliases_of(&self, collection: CollectionId) -> impl Iterator<Item = &Arc<Alias>> {
        self.aliases.values().filter(move |a| a.collection == collection)
    }

    pub fn aliases_in(&self, database: DatabaseId) -> impl Iterator<Item = &Arc<Alias>> {
        self.aliases.values().filter(move |a| a.database == database)
    }

    /// A collection by name or alias.
    pub fn resolve(&self, database: DatabaseId, name: &str) -> Option<&Arc<Collection>> {
        self.collection_named(database, name)
            .or_else(|| self.alias(database, name).and_then(|a| self.collections.get(&a.collection)))
    }

    pub fn partition(&self, id: PartitionId) -> Option<&Arc<Partition>> {
        self.partitions.get(&id)
    }

    /// The partitions of a collection, oldest first.
    pub fn partitions_of(&self, collection: CollectionId) -> impl Iterator<Item = &Arc<Partition>> {
        self.partitions.values().filter(move |p| p.collection == collection)
    }

    pub fn partition_named(&self, collection: CollectionId, name: &str) -> Option<&Arc<Partition>> {
        self.partitions_of(collection).find(|p| p.name == name)
    }

    /// Whether one of these partitions (empty means any) was dropped after a commit within the window.
    pub fn has_dropped_since(
        &self,
        commit: u64,
        collection: CollectionId,
        partitions: &BTreeSet<PartitionId>,
    ) -> bool {
        let newer = self.past_partitions.iter().filter(|(at, p)| *at > commit && p.collection == collection);
        newer.map(|(_, p)| p.id).any(|id| partitions.is_empty() || partitions.contains(&id))
    }

    pub fn segment(&self, id: SegmentId) -> Option<&Arc<Segment>> {
        self.segments.get(&id).map(|(_, s)| s)
    }

    pub fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.segments.values().map(|(_, s)| s)
    }

    pub fn segments_of(&self, collection: CollectionId) -> impl Iterator<Item = &Arc<Segment>> {
        self.segments().filter(move |s| s.collection == collection)
    }

    /// Whether a segment has this footer, or had it within the window.
    pub(crate) fn has_had_footer(&self, path: &str) -> bool {
        let past = self.past_segments.iter().map(|(_, _, s)| s);
        self.segments().chain(past).any(|s| s.footer.path == path)
    }

    pub fn deltas(&self) -> impl Iterator<Item = &Arc<DeltaFile>> {
        self.deltas.values().map(|(_, d)| d)
    }

    pub fn deltas_of(&self, collection: CollectionId) -> impl Iterator<Item = &Arc<DeltaFile>> {
        self.deltas().filter(move |d| d.collection == collection)
    }

    /// The delta files of a collection, with those that were removed within the window: a segment that a merge has
    /// replaced never folded what came after it.
    pub fn recent_deltas_of(&self, collection: CollectionId) -> impl Iterator<Item = &Arc<DeltaFile>> {
        let past = self.past_deltas.iter().map(|(_, _, d)| d);
        self.deltas().chain(past).filter(move |d| d.collection == collection)
    }

    /// Up to which sequence a collection's deletes were in delta files (or folded) at a commit within the window.
    pub fn deltas_through_at(&self, commit: u64, collection: CollectionId) -> Sequence {
        let live = self.deltas.values().map(|(added, d)| (*added, d));
        let past = self.past_deltas.iter().map(|(added, _, d)| (*added, d));
        let newer = live.chain(past).filter(|(added, d)| d.collection == collection && *added > commit);
        let first = newer.map(|(_, d)| Sequence(d.first.0.saturating_sub(1))).min();
        first.unwrap_or_else(|| self.collections.get(&collection).map_or(Sequence(0), |c| c.deltas_through))
    }

    /// Everything that users make: databases, collections, partitions, aliases.
    pub fn made_by_users(&self) -> impl Iterator<Item = Entity> {
        let databases = self.databases.values().map(|x| Entity::Database((**x).clone()));
        let collections = self.collections.values().map(|x| Entity::Collection(Box::new((**x).clone())));
        let partitions = self.partitions.values().map(|x| Entity::Partition((**x).clone()));
        let aliases = self.aliases.values().map(|x| Entity::Alias((**x).clone()));
        databases.chain(collections).chain(partitions).chain(aliases)
    }

    /// Whether a partition was dropped, as far back as the catalog remembers.
    pub fn was_dropped(&self, partition: PartitionId) -> bool {
        self.past_partitions.iter().any(|(_, p)| p.id == partition)
    }

    /// Collections that were dropped, as far back as the catalog remembers.
    pub fn dropped(&self) -> impl Iterator<Item = CollectionId> {
        self.dropped.keys().copied()
    }

    pub fn logs(&self) -> impl Iterator<Item = &LogEntry> {
        self.logs.values()
    }

    /// Whether a version is in this snapshot's history, so that what came after it is known.
    pub fn knows(&self, version: Version) -> bool {
        self.history.contains(&version)
    }

    /// Segments with rows that were not in files at `version`: origin flush, added after it. Those that a merge
    /// has replaced since are in, for the merge made no new rows. A segment that got a new version (a delete
    /// file, an index) counts from when it was first added.
    pub fn flushed_since(&self, version: Version, collection: CollectionId) -> Vec<Arc<Segment>> {
        let mut first: BTreeMap<SegmentId, (u64, u64, Arc<Segment>)> = BTreeMap::new();
        let live = self.segments.values().map(|(added, s)| (*added, u64::MAX, s));
        let past = self.past_segments.iter().map(|(added, removed, s)| (*added, *removed, s));
        for (added, removed, segment) in live.chain(past) {
            if segment.collection != collection || segment.origin != Origin::Flush {
                continue;
            }
            let entry = first.entry(segment.id).or_insert((added, removed, Arc::clone(segment)));
            // The oldest version says when the rows came; the newest describes the files.
            entry.0 = entry.0.min(added);
            if removed > entry.1 {
                entry.1 = removed;
                entry.2 = Arc::clone(segment);
            }
        }
        first.into_values().filter(|(added, _, _)| *added > version.commit_seq).map(|(_, _, s)| s).collect()
    }

    /// Every file that a row names, the removed ones included.
    pub fn all_files(&self) -> Vec<FileRef> {
        let segments = self.segments().chain(self.past_segments.iter().map(|(_, _, s)| s));
        let deltas = self.deltas().chain(self.past_deltas.iter().map(|(_, _, d)| d));
        segments.flat_map(|s| s.all_files()).chain(deltas.map(|d| &d.file)).cloned().collect()
    }

    /// Files that rows removed at or before a commit name and no newer row does.
    pub fn files_removed_through(&self, commit: u64) -> Vec<FileRef> {
        let mut kept: std::collections::HashSet<&str> = std::collections::HashSet::new();
        let live = self.segments.values().map(|(_, s)| s);
        let recent = self.past_segments.iter().filter(|(_, removed, _)| *removed > commit).map(|(_, _, s)| s);
        kept.extend(live.chain(recent).flat_map(|s| s.all_files()).map(|f| f.path.as_str()));
        let recent = self.past_deltas.iter().filter(|(_, removed, _)| *removed > commit).map(|(_, _, d)| d);
        kept.extend(self.deltas().chain(recent).map(|d| d.file.path.as_str()));
        let mut out: Vec<FileRef> = Vec::new();
        for (_, removed, segment) in &self.past_segments {
            if *removed <= commit {
                out.extend(segment.all_files().filter(|f| !kept.contains(f.path.as_str())).cloned());
            }
        }
        let deltas = self.past_deltas.iter().filter(|(_, removed, _)| *removed <= commit).map(|(_, _, d)| d);
        out.extend(deltas.map(|d| d.file.clone()).filter(|f| !kept.contains(f.path.as_str())));
        out.sort_by(|a, b| a.path.cmp(&b.path));
        out.dedup();
        out
    }
}

impl Serialize for Snapshot {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.version, self.epoch, self.rows()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Snapshot {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Snapshot, D::Error> {
        let (version, epoch, rows) = Deserialize::deserialize(deserializer)?;
        Ok(Snapshot::from_rows(version, epoch, rows))
    }
}
