//! Log records back into state.

use super::ddl::{changes_of, decode_record};
use super::ingest::{prepare_rows, prepare_write};
use super::losses::Losses;
use super::state::State;
use crate::deletes::Deletes;
use crate::{Failure, IngestOptions, Kind, Result};
use mishards_catalog::{Change, Entity, EntityKind};
use mishards_proto::columns::{append, row_count};
use mishards_proto::node::{LogWrite, PartitionRows, log_record::Body};
use mishards_proto::schema::{
    FieldData, field_data::Field as F, scalar_field::Data as D, vector_field::Data as V,
};
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
    /// Inserts that follow each other.
    run: Option<Run>,
    pub rows: usize,
}

/// Rows of so many, or records of as many bytes, are applied at once.
const RUN_ROWS: usize = 4096;
const RUN_BYTES: usize = 4 << 20;

/// Records that insert into one partition and do nothing else, one after the other: their rows are decoded together, for most
/// of what single rows cost is the same for one and for many.
struct Run {
    collection: CollectionId,
    part: PartitionRows,
    timestamps: Vec<u64>,
    first: Sequence,
    last: Sequence,
    bytes: usize,
    /// Rows that its segment takes before it is full.
    most: usize,
}

impl Run {
    /// Nothing when a record does more, or its rows could break those of others.
    fn of(write: &mut LogWrite, at: (Sequence, Timestamp), bytes: usize) -> Option<Run> {
        let deletes = write.deletes.as_ref().and_then(|keys| keys.id_field.as_ref());
        let ([part], None) = (write.inserts.as_slice(), deletes) else { return None };
        let rows = part.rows as usize;
        let is_plain = |column: &FieldData| {
            let fits = match &column.field {
                // One that is cut short would shift the vectors of the rows after it.
                Some(F::Vectors(vectors)) => match &vectors.data {
                    Some(V::FloatVector(floats)) => floats.data.len() == rows * vectors.dim.max(1) as usize,
                    _ => false,
                },
                Some(F::Scalars(scalars)) => !matches!(scalars.data, Some(D::ArrayData(_))),
                _ => false,
            };
            fits && column.valid_data.is_empty() && row_count(column) == rows
        };
        if rows >= RUN_ROWS || bytes >= RUN_BYTES || !part.columns.iter().all(is_plain) {
            return None;
        }
        Some(Run {
            collection: CollectionId(write.collection_id),
            part: write.inserts.pop()?,
            timestamps: vec![at.1.0; rows],
            first: at.0,
            last: at.0,
            bytes,
            most: RUN_ROWS,
        })
    }

    /// Whether the rows of another one can be appended.
    fn goes_on_with(&self, next: &Run) -> bool {
        let kind = |column: &FieldData| {
            let data = match &column.field {
                Some(F::Scalars(scalars)) => scalars.data.as_ref().map(std::mem::discriminant),
                _ => None,
            };
            let dim = match &column.field {
                Some(F::Vectors(vectors)) => Some(vectors.dim),
                _ => None,
            };
            (column.field_id, data, dim)
        };
        self.collection == next.collection
            && self.part.partition_id == next.part.partition_id
            && self.timestamps.len() < self.most
            && self.bytes < RUN_BYTES
            && self.part.columns.iter().map(kind).eq(next.part.columns.iter().map(kind))
    }

    fn append(&mut self, next: Run) {
        self.part.rows += next.part.rows;
        for (to, from) in self.part.columns.iter_mut().zip(next.part.columns) {
            // Their kinds are the same.
            let _ = append(to, from);
        }
        self.timestamps.extend(next.timestamps);
        self.last = next.last;
        self.bytes += next.bytes;
    }
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
        let explained = Explained { collections: state.snapshot.dropped().collect(), ..Explained::default() };
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
            run: None,
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
        match self.apply(&record, losses) {
            Err(e) if matches!(e.kind, Kind::Unreadable | Kind::Refused) => {
                losses.found(format_args!("log record {sequence} cannot be applied: {e}"))?;
            }
            applied => applied?,
        }
        self.state.advance(sequence, record.timestamp);
        Ok(())
    }

    fn apply(&mut self, record: &Record, losses: &mut Losses) -> Result<()> {
        let damaged = || Failure::unreadable("it cannot be decoded");
        match decode_record(&record.payload).and_then(|r| r.body).ok_or_else(damaged)? {
            Body::Write(write) => {
                let at = (record.sequence, record.timestamp);
                self.write(write, at, record.payload.len(), losses)?;
            }
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

    fn write(
        &mut self,
        mut write: LogWrite,
        (sequence, timestamp): (Sequence, Timestamp),
        bytes: usize,
        losses: &mut Losses,
    ) -> Result<()> {
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
        if let Some(mut next) = Run::of(&mut write, (sequence, timestamp), bytes) {
            match &mut self.run {
                Some(run) if run.goes_on_with(&next) => run.append(next),
                _ => {
                    self.end_run(losses)?;
                    let open = self.state.open_rows(PartitionId(next.part.partition_id));
                    let left = self.limits.seal_rows.checked_sub(open).filter(|left| *left > 0);
                    next.most = next.most.min(left.unwrap_or(self.limits.seal_rows));
                    self.run = Some(next);
                }
            }
            return Ok(());
        }
        self.end_run(losses)?;
        let prepared = prepare_write(&collection, write)?;
        self.seal_full(prepared.inserts.iter().map(|part| part.partition));
        let (deletes, epoch) = (self.deletes, self.deletes.epoch());
        self.state.apply(prepared, sequence, timestamp, |id, list| deletes.add(epoch, id, list))
    }

    /// Applies the records that were put together.
    fn end_run(&mut self, losses: &mut Losses) -> Result<()> {
        let Some(run) = self.run.take() else { return Ok(()) };
        let Some(collection) = self.state.snapshot.collection(run.collection).cloned() else { return Ok(()) };
        let (first, last) = (run.first, run.last);
        self.seal_full([PartitionId(run.part.partition_id)].into_iter());
        let applied = prepare_rows(&collection, run.part)
            .and_then(|part| self.state.insert(&collection, part, run.timestamps, (first, last)));
        match applied {
            Err(e) if matches!(e.kind, Kind::Unreadable | Kind::Refused) => {
                losses.found(format_args!("log records {first} to {last} cannot be applied: {e}"))
            }
            applied => applied,
        }
    }

    fn seal_full(&mut self, partitions: impl Iterator<Item = PartitionId>) {
        let full = self.state.full(partitions, self.limits);
        if !full.is_empty() {
            self.state.seal(|g| full.contains(&g.partition));
        }
    }

    /// Compares what was replayed with what must be there: every collection and partition with rows is in the catalog, or
    /// was made or dropped by a record of the log; the log begins where its newest commit needs it to; no record after
    /// that is missing, up to the last that a head has `recorded` and the last that the catalog has `known`.
    pub fn finish(mut self, recorded: Sequence, known: Sequence, losses: &mut Losses) -> Result<usize> {
        self.end_run(losses)?;
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
