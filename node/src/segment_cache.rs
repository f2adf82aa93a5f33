//! Segments held open: verified, mapped, with the deletes that are known so far applied.

use crate::deletes::Deletes;
use crate::hidden_rows::hidden_rows;
use crate::lost_files::LostFile;
use crate::tombstones::Tombstones;
use crate::unit::Unit;
use crate::{Failure, Metrics, Result};
use bytes::Bytes;
use mishards_catalog::{DeltaFile, FileRef, Segment};
use mishards_index::{HnswIndex, InvertedIndex};
use mishards_segment::{Delete, SegmentReader, check_trailer, decode_deletes, decode_delta};
use mishards_storage::Storage;
use mishards_types::{Clock, Code, FieldId, Schema, SegmentId, Sequence};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Segments that nothing asked for in this long are closed.
const IDLE: Duration = Duration::from_secs(900);

/// Deletes that are applied to an open segment where the request arrives.
const AT_ONCE: usize = 256;

/// Past this many, turns that nobody holds are looked for.
const MOST_TURNS: usize = 1024;

/// A damaged segment is refused without being read again for this long; then it is tried once more, for a file may
/// have been restored.
const QUARANTINE: Duration = Duration::from_secs(30);

/// The deletes that a request's snapshot knows of.
pub struct Deltas<'a> {
    pub files: &'a [DeltaFile],
    /// Deletes up to it are in the files.
    pub through: Sequence,
    /// Deletes up to it must have been applied, be it from files or from the stream.
    pub needed: Sequence,
}

#[derive(Default)]
struct Slot {
    open: Option<Open>,
    /// When it was found damaged, and how.
    damaged: Option<(Duration, Failure)>,
    lost: LostFile,
}

impl Slot {
    /// Refuses a segment in quarantine.
    fn check(&mut self, now: Duration) -> Result<()> {
        if !self.is_quarantined(now) {
            self.damaged = None;
        }
        self.damaged.as_ref().map_or(Ok(()), |(_, failure)| Err(failure.clone()))
    }

    fn is_quarantined(&self, now: Duration) -> bool {
        self.damaged.as_ref().is_some_and(|(since, _)| now.saturating_sub(*since) <= QUARANTINE)
    }

    /// Puts a segment into quarantine when its files turned out to be damaged.
    fn note<T>(&mut self, now: Duration, result: Result<T>) -> Result<T> {
        if let Err(failure) = &result
            && failure.error.code == Code::INTEGRITY
        {
            tracing::error!(error = %failure, "a segment is damaged: it is in quarantine and not served");
            self.damaged = Some((now, failure.clone()));
        }
        result
    }
}

struct Open {
    unit: Arc<Unit>,
    /// Deletes up to it are applied.
    applied: Sequence,
    /// The line of time that these deletes are of.
    line: u64,
    files: Vec<FileRef>,
    used: Duration,
}

/// See the file's head.
pub struct SegmentCache {
    storage: Arc<dyn Storage>,
    deletes: Arc<Deletes>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    slots: Mutex<HashMap<SegmentId, Arc<Mutex<Slot>>>>,
    deltas: Mutex<HashMap<String, Arc<Vec<Delete>>>>,
    turns: Mutex<HashMap<SegmentId, Weak<tokio::sync::Mutex<()>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SegmentCache {
    pub fn new(
        storage: Arc<dyn Storage>,
        deletes: Arc<Deletes>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> SegmentCache {
        SegmentCache {
            storage,
            deletes,
            clock,
            metrics,
            slots: Mutex::default(),
            deltas: Mutex::default(),
            turns: Mutex::default(),
        }
    }

    /// Opens a segment as its descriptor says, and applies every delete that this node knows. May block on files.
    pub fn open(&self, segment: &Segment, schema: &Arc<Schema>, deltas: &Deltas) -> Result<Arc<Unit>> {
        let slot = Arc::clone(lock(&self.slots).entry(segment.id).or_default());
        let mut slot = lock(&slot);
        let files: Vec<FileRef> = segment.all_files().cloned().collect();
        let now = self.clock.elapsed();
        slot.check(now)?;
        let line = self.deletes.line();
        let opened = match slot.open.take().filter(|open| open.line == line) {
            Some(open) if open.files == files => Ok(open),
            // The footer's name has the incarnation that wrote it: one id may come twice when directory and catalog were
            // both put back to an older copy.
            Some(open) if open.files.first() == files.first() => self.update(open, segment, files),
            _ => self.load(segment, schema, files),
        };
        let opened = self.once_more(opened, segment, schema);
        if opened.is_err() {
            slot.lost.note(segment.id, now, &opened, &self.metrics);
        }
        let mut open = slot.note(now, opened)?;
        open.used = now;
        let unit = self.apply(&mut open, segment, deltas);
        slot.lost.note(segment.id, now, &unit, &self.metrics);
        slot.open = Some(open);
        unit
    }

    /// A segment that is open, with the files that its descriptor names and nothing of delta files to be read; nothing when
    /// that would take files, or somebody else is at it. Does not block.
    pub fn open_now(&self, segment: &Segment, deltas: &Deltas) -> Option<Result<Arc<Unit>>> {
        let slot = Arc::clone(lock(&self.slots).get(&segment.id)?);
        let mut slot = slot.try_lock().ok()?;
        let open = slot.open.as_mut()?;
        let is_current = open.files.iter().eq(segment.all_files()) && open.line == self.deletes.line();
        let from = open.applied.max(deltas.through);
        let has_much_to_apply = || self.deletes.has_more_than(segment.collection, from, AT_ONCE);
        if !is_current || deltas.files.iter().any(|file| file.through > open.applied) || has_much_to_apply() {
            return None;
        }
        open.used = self.clock.elapsed();
        Some(self.apply(open, segment, deltas))
    }

    /// Whoever opens a segment holds this; it is gone when nobody does.
    pub fn turn(&self, segment: SegmentId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = lock(&self.turns);
        if turns.len() >= MOST_TURNS {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        if let Some(turn) = turns.get(&segment).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        turns.insert(segment, Arc::downgrade(&turn));
        turn
    }

    /// The rows of a segment whatever hides them: for index builds.
    pub fn rows_of(&self, segment: &Segment, schema: &Arc<Schema>) -> Result<Arc<Unit>> {
        let slot = Arc::clone(lock(&self.slots).entry(segment.id).or_default());
        let mut slot = lock(&slot);
        // Another segment of the same id, as in `open`.
        drop(slot.open.take_if(|open| open.files.first() != segment.all_files().next()));
        if slot.open.is_none() {
            let files = segment.all_files().cloned().collect();
            let now = self.clock.elapsed();
            slot.check(now)?;
            let opened = self.once_more(self.load(segment, schema, files), segment, schema);
            slot.lost.note(segment.id, now, &opened, &self.metrics);
            let open = slot.note(now, opened)?;
            slot.open = Some(Open { used: self.clock.elapsed(), ..open });
        }
        slot.open
            .as_ref()
            .map(|open| Arc::clone(&open.unit))
            .ok_or_else(|| Failure::internal("a segment was not opened"))
    }

    /// Number of segments that are held open or were asked for lately.
    pub fn open_segments(&self) -> usize {
        lock(&self.slots).len()
    }

    /// Closes a segment; who is searching it keeps it until done. Answers whether it was there.
    pub fn close(&self, segment: SegmentId) -> bool {
        lock(&self.slots).remove(&segment).is_some()
    }

    /// Closes what has not been used for a while, and counts what is left.
    pub fn close_idle(&self) {
        let now = self.clock.elapsed();
        let (mut open, mut quarantined, mut incomplete) = (0, 0, 0);
        let mut is_needed = |slot: &Arc<Mutex<Slot>>| {
            // One that is being opened.
            let Ok(slot) = slot.try_lock() else { return true };
            let used = slot.open.as_ref().is_some_and(|open| now.saturating_sub(open.used) <= IDLE);
            open += i64::from(used);
            quarantined += i64::from(slot.is_quarantined(now));
            incomplete += i64::from(slot.lost.file(now).is_some());
            used || slot.is_quarantined(now) || slot.lost.file(now).is_some()
        };
        lock(&self.slots).retain(|_, slot| is_needed(slot));
        lock(&self.deltas).clear();
        self.metrics.open_segments.set(open);
        self.metrics.quarantined_segments.set(quarantined);
        self.metrics.incomplete_segments.set(incomplete);
    }

    /// Segments that are damaged or lack a file, in words.
    pub fn faults(&self) -> Vec<String> {
        let now = self.clock.elapsed();
        let mut faults = Vec::new();
        for (id, slot) in lock(&self.slots).iter() {
            // One that is being opened is told of later.
            let Ok(slot) = slot.try_lock() else { continue };
            if let Some((_, failure)) = slot.damaged.as_ref().filter(|_| slot.is_quarantined(now)) {
                faults.push(format!("segment {id} is damaged and not served: {failure}"));
            }
            faults.extend(slot.lost.file(now).map(|file| format!("segment {id} lacks its file {file}")));
        }
        faults.sort_unstable();
        faults
    }

    fn load(&self, segment: &Segment, schema: &Arc<Schema>, files: Vec<FileRef>) -> Result<Open> {
        let line = self.deletes.line();
        let footer = self.storage.read(&segment.footer.path)?;
        let mut failure = None;
        let mut bytes_of = |name: &str| {
            let path = segment.files.iter().find(|f| f.path.rsplit('/').next() == Some(name))?;
            self.storage.map(&path.path).map_err(|e| failure = Some(e)).ok()
        };
        let opened = SegmentReader::open(&segment.footer.path, &footer, schema, &mut bytes_of);
        let reader = match (opened, failure) {
            (_, Some(e)) => return Err(e.into()),
            (Err(e), None) => return Err(damaged(segment, e)),
            (Ok(reader), None) => reader,
        };
        let order = reader.keys.in_key_order();
        let key = |row: u32| reader.rows.keys().map(|k| mishards_segment::key_at(k, row as usize));
        let repeated_keys = order.windows(2).any(|w| key(w[0]) == key(w[1]));
        let mut unit = Unit {
            segment: segment.id,
            partition: segment.partition,
            schema: Arc::clone(schema),
            newest_row: reader.rows.max_timestamp(),
            tombstones: Arc::new(Tombstones::none(reader.rows.len())),
            rows: reader.rows,
            keys: Some(reader.keys),
            late_keys: Arc::default(),
            graphs: HashMap::new(),
            inverted: HashMap::new(),
            repeated_keys,
            run_before: 0,
        };
        self.read_deletes(&mut unit, segment)?;
        self.open_indexes(&mut unit, segment, &[])?;
        tracing::debug!(segment = segment.id.0, rows = unit.rows.len(), "segment opened");
        let applied = segment.folded_through;
        Ok(Open { unit: Arc::new(unit), applied, line, files, used: Duration::ZERO })
    }

    /// A damaged local copy is made anew before the segment is blamed.
    fn once_more(&self, opened: Result<Open>, segment: &Segment, schema: &Arc<Schema>) -> Result<Open> {
        let Err(failure) = &opened else { return opened };
        if failure.error.code != Code::INTEGRITY {
            return opened;
        }
        let mut any_copy = false;
        for file in segment.all_files() {
            any_copy |= self.storage.discard_copy(&file.path)?;
        }
        if !any_copy {
            return opened;
        }
        tracing::warn!(error = %failure, "a local copy is damaged, copying its segment again");
        self.load(segment, schema, segment.all_files().cloned().collect())
    }

    /// The same rows with other index files or a newer delete file.
    fn update(&self, open: Open, segment: &Segment, files: Vec<FileRef>) -> Result<Open> {
        let mut unit = (*open.unit).clone();
        let mut applied = open.applied;
        if segment.folded_through > applied {
            self.read_deletes(&mut unit, segment)?;
            applied = segment.folded_through;
        }
        // What has not changed is not read again.
        let has = |graph: bool, field: &FieldId| {
            segment.indexes.iter().any(|i| i.field == *field && (i.kind == "hnsw") == graph)
        };
        unit.graphs.retain(|field, _| has(true, field));
        unit.inverted.retain(|field, _| has(false, field));
        self.open_indexes(&mut unit, segment, &open.files)?;
        Ok(Open { unit: Arc::new(unit), applied, files, ..open })
    }

    fn read_deletes(&self, unit: &mut Unit, segment: &Segment) -> Result<()> {
        if let Some(file) = &segment.delete_file {
            let bytes = self.storage.read(&file.path)?;
            let list = decode_deletes(&file.path, bytes, unit.rows.len()).map_err(|e| damaged(segment, e))?;
            unit.tombstones = Arc::new(unit.tombstones.with(list));
        }
        Ok(())
    }

    /// Opens the indexes whose files are not among those that are open.
    fn open_indexes(&self, unit: &mut Unit, segment: &Segment, open: &[FileRef]) -> Result<()> {
        for index in segment.indexes.iter().filter(|index| !open.contains(&index.file)) {
            let bytes: Bytes = self.storage.map(&index.file.path)?;
            let payload = check_trailer(&index.file.path, bytes).map_err(|e| damaged(segment, e))?;
            let invalid = |e| Failure::unreadable(format!("{}: {e}", index.file.path));
            if index.kind == "hnsw" {
                unit.graphs.insert(index.field, Arc::new(HnswIndex::open(payload).map_err(invalid)?));
            } else {
                let inverted = InvertedIndex::open(payload).map_err(invalid)?;
                if inverted.rows() != unit.rows.len() {
                    return Err(Failure::unreadable(format!(
                        "{}: it does not belong to these rows",
                        index.file.path
                    )));
                }
                unit.inverted.insert(index.field, Arc::new(inverted));
            }
        }
        Ok(())
    }

    /// Applies the delta files, then the stream, each delete once.
    fn apply(&self, open: &mut Open, segment: &Segment, deltas: &Deltas) -> Result<Arc<Unit>> {
        let mut files: Vec<&DeltaFile> = deltas.files.iter().filter(|d| d.through > open.applied).collect();
        files.sort_by_key(|d| d.first);
        let mut read = Vec::new();
        for file in files {
            read.push(self.delta(file)?);
        }
        let from_files = open.applied.max(deltas.through);
        let Some((newer, through)) = self.deletes.since(segment.collection, from_files) else {
            return Err(Failure::too_old(format!(
                "deletes after {from_files} of collection {} are in newer files",
                segment.collection
            )));
        };
        if self.deletes.line() != open.line {
            return Err(Failure::not_caught_up("the deletes are of another line of time since"));
        }
        // What is held may have become another stream's since the request was let through.
        if through < deltas.needed && from_files < deltas.needed {
            let needed = deltas.needed;
            return Err(Failure::not_caught_up(format!("deletes up to {needed} are not here any more")));
        }
        let from_files_list = read.iter().flat_map(|list| list.iter()).filter(|d| d.sequence > open.applied);
        let here = |d: &&Delete| d.partition.0 == 0 || d.partition == segment.partition;
        let deletes = from_files_list.chain(newer.iter().map(|d| &**d)).filter(here);
        let unit = &open.unit;
        let found = match &unit.keys {
            Some(keys) => hidden_rows(deletes, |key| {
                let rows = keys.rows_of(key).filter(|row| !unit.tombstones.is_hidden(*row));
                rows.map(|row| (row, unit.timestamp(row))).collect()
            }),
            None => Vec::new(),
        };
        if !found.is_empty() {
            let mut unit = (*open.unit).clone();
            unit.tombstones = Arc::new(unit.tombstones.with(found));
            open.unit = Arc::new(unit);
        }
        open.applied = from_files.max(through);
        Ok(Arc::clone(&open.unit))
    }

    fn delta(&self, file: &DeltaFile) -> Result<Arc<Vec<Delete>>> {
        if let Some(known) = lock(&self.deltas).get(&file.file.path) {
            return Ok(Arc::clone(known));
        }
        let bytes = self.storage.read(&file.file.path)?;
        let decoded = Arc::new(decode_delta(&file.file.path, bytes).map_err(Failure::unreadable)?);
        lock(&self.deltas).insert(file.file.path.clone(), Arc::clone(&decoded));
        Ok(decoded)
    }

    /// The unit and the sequence up to which deletes are applied to it, for folding.
    pub fn folded(
        &self,
        segment: &Segment,
        schema: &Arc<Schema>,
        deltas: &Deltas,
    ) -> Result<(Arc<Unit>, Sequence)> {
        let unit = self.open(segment, schema, deltas)?;
        let slot = Arc::clone(lock(&self.slots).entry(segment.id).or_default());
        let slot = lock(&slot);
        match &slot.open {
            Some(open) => Ok((Arc::clone(&open.unit), open.applied)),
            None => Ok((unit, segment.folded_through)),
        }
    }
}

fn damaged(segment: &Segment, e: mishards_segment::Error) -> Failure {
    Failure::unreadable(format!("segment {}: {e}", segment.id))
}
