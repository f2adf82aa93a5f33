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

/// Replays records in order. A record seen twice (carried over by a successor) counts once.
pub struct Replay<'a> {
    pub state: &'a mut State,
    pub deletes: &'a Deletes,
    /// Collections that some schema record of the log names.
    known: BTreeSet<CollectionId>,
    /// Collections with rows that neither the catalog nor a record so far knows, and where.
    unknown: BTreeMap<CollectionId, Sequence>,
    last: Sequence,
    pub rows: usize,
}

impl<'a> Replay<'a> {
    pub fn new(state: &'a mut State, deletes: &'a Deletes) -> Replay<'a> {
        let known = state.snapshot.dropped().clone();
        Replay { state, deletes, known, unknown: BTreeMap::new(), last: Sequence(0), rows: 0 }
    }

    /// Applies one record.
    pub fn record(&mut self, record: Record) -> Result<()> {
        if record.sequence <= self.last {
            return Ok(());
        }
        self.last = record.sequence;
        let damaged = || Failure::unreadable(format!("log record {} cannot be decoded", record.sequence));
        match decode_record(&record.payload).and_then(|r| r.body).ok_or_else(damaged)? {
            Body::Write(write) => self.write(write, record.sequence, record.timestamp)?,
            Body::Commit(commit) => {
                changes_of(&commit).ok_or_else(damaged)?.iter().for_each(|c| self.schema(c));
            }
        }
        self.state.advance(record.sequence, record.timestamp);
        Ok(())
    }

    fn schema(&mut self, change: &Change) {
        match change {
            Change::Put(Entity::Collection(c)) => {
                self.known.insert(c.id);
            }
            Change::Remove(EntityKind::Collection, key) => {
                self.known.insert(CollectionId(key.parse().unwrap_or(0)));
            }
            _ => {}
        }
    }

    fn write(&mut self, mut write: LogWrite, sequence: Sequence, timestamp: Timestamp) -> Result<()> {
        let id = CollectionId(write.collection_id);
        let Some(collection) = self.state.snapshot.collection(id).cloned() else {
            self.unknown.entry(id).or_insert(sequence);
            return Ok(());
        };
        let in_files = |part: &PartitionRows| {
            let partition = self.state.snapshot.partition(PartitionId(part.partition_id));
            partition.is_none_or(|p| sequence <= p.flushed_through)
        };
        // What is in files, or of a dropped partition, is not even decoded.
        write.inserts.retain(|part| !in_files(part));
        self.rows += write.inserts.iter().map(|part| part.rows as usize).sum::<usize>();
        let prepared = prepare_write(&collection, write)?;
        self.state.apply(prepared, sequence, timestamp, self.deletes)
    }

    /// Every collection with rows must be in the catalog or have been made or dropped by a record of the log:
    /// else the catalog has lost commits.
    pub fn finish(self) -> Result<usize> {
        match self.unknown.iter().find(|(id, _)| !self.known.contains(id)) {
            Some((id, sequence)) => Err(Failure::unreadable(format!(
                "log record {sequence} has rows of collection {id}, which neither the catalog nor the log knows: the catalog is \
                 older than the log. Restore the newer catalog"
            ))),
            None => Ok(self.rows),
        }
    }
}
