//! Log records back into state.

use super::ddl::{changes_of, decode_record};
use super::ingest::prepare_write;
use super::state::State;
use crate::deletes::Deletes;
use crate::{Failure, Result};
use mishards_catalog::{Change, Entity, EntityKind};
use mishards_proto::node::{LogWrite, PartitionRows, log_record::Body};
use mishards_types::{CollectionId, PartitionId, Sequence, Timestamp};
use mishards_wal::Record;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Replays records in order. A record seen twice (carried over by a successor) counts once.
pub struct Replay<'a> {
    pub state: &'a mut State,
    pub deletes: &'a Deletes,
    explained: Explained,
    /// Rows that neither the catalog nor a record so far explains, and where.
    unknown: BTreeMap<(CollectionId, PartitionId), Sequence>,
    first: Option<Sequence>,
    /// The newest commit's number, and the first record that a replay over it needs.
    newest: Option<(u64, u64)>,
    last: Sequence,
    pub rows: usize,
}

/// What records of the log say was there once: rows of it may be left out when the catalog does not have it.
#[derive(Default)]
struct Explained {
    collections: BTreeSet<CollectionId>,
    partitions: BTreeSet<PartitionId>,
}

impl Explained {
    fn add(&mut self, change: &Change) {
        match change {
            Change::Put(Entity::Collection(c)) => drop(self.collections.insert(c.id)),
            Change::Put(Entity::Partition(p)) => drop(self.partitions.insert(p.id)),
            Change::Remove(EntityKind::Collection, key) => {
                self.collections.extend(key.parse().ok().map(CollectionId));
            }
            Change::Remove(EntityKind::Partition, key) => {
                self.partitions.extend(key.parse().ok().map(PartitionId));
            }
            _ => {}
        }
    }
}

impl<'a> Replay<'a> {
    pub fn new(state: &'a mut State, deletes: &'a Deletes) -> Replay<'a> {
        let explained = Explained { collections: state.snapshot.dropped().clone(), ..Explained::default() };
        let (unknown, last) = (BTreeMap::new(), Sequence(0));
        Replay { state, deletes, explained, unknown, first: None, newest: None, last, rows: 0 }
    }

    /// Applies one record.
    pub fn record(&mut self, record: Record) -> Result<()> {
        if record.sequence <= self.last {
            return Ok(());
        }
        self.last = record.sequence;
        self.first = self.first.or(Some(record.sequence));
        let damaged = || Failure::unreadable(format!("log record {} cannot be decoded", record.sequence));
        match decode_record(&record.payload).and_then(|r| r.body).ok_or_else(damaged)? {
            Body::Write(write) => self.write(write, record.sequence, record.timestamp)?,
            Body::Commit(commit) => {
                let changes = changes_of(&commit).ok_or_else(damaged)?;
                if commit.whole {
                    self.dropped_before(&changes);
                }
                changes.iter().for_each(|c| self.explained.add(c));
                if self.newest.is_none_or(|(number, _)| number <= commit.commit_seq) {
                    self.newest = Some((commit.commit_seq, commit.needed_after));
                }
            }
        }
        self.state.advance(record.sequence, record.timestamp);
        Ok(())
    }

    /// What a whole list does not name was dropped before it: rows of it may be left out, and the record of the drop may
    /// be gone, as may the catalog's memory of it.
    fn dropped_before(&mut self, whole: &[Change]) {
        let mut named = Explained::default();
        whole.iter().for_each(|c| named.add(c));
        self.unknown.retain(|(collection, partition), _| {
            named.collections.contains(collection)
                && (partition.0 == 0 || named.partitions.contains(partition))
        });
    }

    fn write(&mut self, mut write: LogWrite, sequence: Sequence, timestamp: Timestamp) -> Result<()> {
        let id = CollectionId(write.collection_id);
        let Some(collection) = self.state.snapshot.collection(id).cloned() else {
            self.unknown.entry((id, PartitionId(0))).or_insert(sequence);
            return Ok(());
        };
        let snapshot = Arc::clone(&self.state.snapshot);
        let mut in_files = |part: &PartitionRows| {
            let partition = PartitionId(part.partition_id);
            match snapshot.partition(partition) {
                Some(found) => sequence <= found.flushed_through,
                None => {
                    if !snapshot.was_dropped(partition) {
                        self.unknown.entry((id, partition)).or_insert(sequence);
                    }
                    true
                }
            }
        };
        // What is in files, or of a dropped partition, is not even decoded.
        write.inserts.retain(|part| !in_files(part));
        self.rows += write.inserts.iter().map(|part| part.rows as usize).sum::<usize>();
        let prepared = prepare_write(&collection, write)?;
        let deletes = self.deletes;
        self.state.apply(prepared, sequence, timestamp, |id, list| deletes.add(id, list))
    }

    /// Everything with rows must be in the catalog or have been made or dropped by a record of the log, else the
    /// catalog has lost commits. And the log must begin where its newest commit needs it to.
    pub fn finish(self) -> Result<usize> {
        let explained = |(collection, partition): &(CollectionId, PartitionId)| match partition.0 {
            0 => self.explained.collections.contains(collection),
            _ => self.explained.partitions.contains(partition),
        };
        if let Some(((collection, partition), sequence)) =
            self.unknown.iter().find(|(what, _)| !explained(what))
        {
            let what = match partition.0 {
                0 => format!("collection {collection}"),
                _ => format!("partition {partition} of collection {collection}"),
            };
            return Err(Failure::unreadable(format!(
                "log record {sequence} has rows of {what}, which neither the catalog nor the log knows: the catalog is older than \
                 the log. Restore the newer catalog"
            )));
        }
        // Every log names a commit before anything else, and names it again before files are dropped.
        match (self.first, self.newest) {
            (Some(first), None) => Err(Failure::unreadable(format!(
                "the log begins with record {first} and names no commit: log files are missing. Put them back"
            ))),
            (Some(first), Some((commit, needed))) if first.0 > needed => Err(Failure::unreadable(format!(
                "the log begins with record {first}, while commit {commit} needs it from {needed}: log files are missing. Put \
                 them back"
            ))),
            _ => Ok(self.rows),
        }
    }
}
