//! Log records back into state.

use super::ddl::decode_record;
use super::ingest::prepare_rows;
use super::state::{PreparedWrite, State};
use crate::columns::keys_from_wire;
use crate::deletes::Deletes;
use crate::{Failure, Result};
use mishards_catalog::{Change, Entity, EntityKind};
use mishards_proto::node::{LogWrite, log_record::Body};
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
        Replay {
            state,
            deletes,
            known: BTreeSet::new(),
            unknown: BTreeMap::new(),
            last: Sequence(0),
            rows: 0,
        }
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
            Body::Schema(json) => {
                let changes: Vec<Change> = serde_json::from_slice(&json).map_err(|_| damaged())?;
                changes.iter().for_each(|c| self.schema(c));
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

    fn write(&mut self, write: LogWrite, sequence: Sequence, timestamp: Timestamp) -> Result<()> {
        let id = CollectionId(write.collection_id);
        let Some(collection) = self.state.snapshot.collection(id).cloned() else {
            self.unknown.entry(id).or_insert(sequence);
            return Ok(());
        };
        let mut inserts = Vec::new();
        for part in write.inserts {
            let through =
                self.state.snapshot.partition(PartitionId(part.partition_id)).map(|p| p.flushed_through);
            if through.is_some_and(|through| sequence > through) {
                self.rows += part.rows as usize;
                inserts.push(prepare_rows(&collection, part)?);
            }
        }
        let prepared = PreparedWrite {
            collection: id,
            inserts,
            deletes: keys_from_wire(write.deletes),
            delete_partition: PartitionId(write.delete_partition),
            resolved_at: Timestamp(write.resolved_at),
        };
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
