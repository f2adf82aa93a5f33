//! Log records back into state.

use super::ddl::{changes_of, decode_record};
use super::ingest::prepare_write;
use super::losses::Losses;
use super::state::State;
use crate::deletes::Deletes;
use crate::{Failure, IngestOptions, Kind, Result};
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
    limits: &'a IngestOptions,
    explained: Explained,
    /// Rows that neither the catalog nor a record so far explains, and where.
    unknown: BTreeMap<(CollectionId, PartitionId), Sequence>,
    first: Option<Sequence>,
    /// Records that should stand between two others: the first and the last of them.
    gaps: Vec<(u64, u64)>,
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
    pub fn new(state: &'a mut State, deletes: &'a Deletes, limits: &'a IngestOptions) -> Replay<'a> {
        let explained = Explained { collections: state.snapshot.dropped().clone(), ..Explained::default() };
        let (unknown, last) = (BTreeMap::new(), Sequence(0));
        Replay {
            state,
            deletes,
            limits,
            explained,
            unknown,
            first: None,
            gaps: Vec::new(),
            newest: None,
            last,
            rows: 0,
        }
    }

    /// Applies one record. One that cannot be applied is a loss, and not the end of all later ones.
    pub fn record(&mut self, record: Record, losses: &mut Losses) -> Result<()> {
        let sequence = record.sequence;
        if sequence <= self.last {
            return Ok(());
        }
        if self.first.is_some() && sequence > self.last.next() {
            self.gaps.push((self.last.next().0, sequence.0 - 1));
        }
        self.last = sequence;
        self.first = self.first.or(Some(sequence));
        match self.apply(&record) {
            Err(e) if matches!(e.kind, Kind::Unreadable | Kind::Refused) => {
                losses.found(format_args!("log record {sequence} cannot be applied: {e}"))?;
            }
            applied => applied?,
        }
        self.state.advance(sequence, record.timestamp);
        Ok(())
    }

    fn apply(&mut self, record: &Record) -> Result<()> {
        let damaged = || Failure::unreadable("it cannot be decoded");
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
        let full = self.state.full(&prepared, self.limits);
        if !full.is_empty() {
            self.state.seal(|g| full.contains(&g.partition));
        }
        let deletes = self.deletes;
        self.state.apply(prepared, sequence, timestamp, |id, list| deletes.add(id, list))
    }

    /// Compares what was replayed with what must be there: every collection and partition with rows is in the catalog, or
    /// was made or dropped by a record of the log; the log begins where its newest commit needs it to; no record after
    /// that is missing, up to the last that a head has `recorded` and the last that the catalog has `known`.
    pub fn finish(mut self, recorded: Sequence, known: Sequence, losses: &mut Losses) -> Result<usize> {
        self.check_names(losses)?;
        let end = recorded.max(known);
        if end > self.last {
            self.gaps.push((self.last.next().0, end.0));
        }
        // Every log names a commit before anything else, and names it again before files are dropped.
        let needed = match (self.first, self.newest) {
            (Some(first), None) => {
                losses.found(format_args!(
                    "the log begins with record {first} and names no commit: log files are missing"
                ))?;
                0
            }
            (Some(first), Some((commit, needed))) => {
                if first.0 > needed {
                    losses.found(format_args!(
                        "the log begins with record {first}, while commit {commit} needs it from {needed}: log files are missing"
                    ))?;
                }
                needed
            }
            (None, _) => 0,
        };
        for (from, to) in self.gaps.iter().filter(|(_, to)| *to >= needed) {
            losses.found(format_args!(
                "{} records of the log, {from} to {to}, are missing: the catalog knows of records up to {known}, the logs \
                 that came later of records up to {recorded}, and the last one found is {}",
                to - from + 1,
                self.last
            ))?;
        }
        Ok(self.rows)
    }

    /// Rows of what nobody knows. Where the catalog is as new as the log, no commit that could explain them is lost: then
    /// they never could be read, and are left out.
    fn check_names(&self, losses: &mut Losses) -> Result<()> {
        let explained = |(collection, partition): &(CollectionId, PartitionId)| match partition.0 {
            0 => self.explained.collections.contains(collection),
            _ => self.explained.partitions.contains(partition),
        };
        let catalog = self.state.snapshot.version.commit_seq;
        let is_newest = self.newest.is_none_or(|(commit, _)| commit <= catalog);
        for ((collection, partition), sequence) in self.unknown.iter().filter(|(what, _)| !explained(what)) {
            let what = match partition.0 {
                0 => format!("collection {collection}"),
                _ => format!("partition {partition} of collection {collection}"),
            };
            if is_newest {
                tracing::error!(%what, first_record = sequence.0, "the log has rows of something that never was: they are left out");
                continue;
            }
            losses.found(format_args!(
                "log record {sequence} has rows of {what}, which neither the catalog nor the log knows: the catalog is older \
                 than the log"
            ))?;
        }
        Ok(())
    }
}
