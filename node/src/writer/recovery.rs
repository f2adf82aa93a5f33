//! From the logs of all predecessors to the state of a new term: where each log ends, the replay, and the first group of
//! the new log, which names them all. What the logs should have and do not is a loss.

use super::WriterParts;
use super::gc::LogFiles;
use super::lease::Progress;
use super::losses::Losses;
use super::replay::Replay;
use super::state::State;
use super::takeover::{Taken, log_failure};
use crate::deletes::{Deletes, Line};
use crate::{Failure, IngestOptions, Result};
use mishards_catalog::{LogEntry, Snapshot};
use mishards_segment::{decode_deletes, decode_delta};
use mishards_storage::Storage;
use mishards_types::{Epoch, Incarnation, LogId, Sequence, Timestamp};
use mishards_wal::{Head, LogWriter, Options, Position, Predecessor, Record, Scan, read_log, set_fence};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Records that are numbered past what is given up, for what is gone may have been more than is known.
const ABOVE_LOSSES: u64 = 1 << 32;

/// What a replay leaves.
pub struct Recovered {
    pub state: State,
    pub deletes: Deletes,
    pub log: LogWriter,
    pub files: LogFiles,
    pub line: Line,
    /// What was given up, a line each.
    pub losses: Vec<String>,
}

/// Fences every open predecessor, replays them, and starts the new log.
pub async fn recover(parts: &WriterParts, taken: Taken, progress: Progress) -> Result<Recovered> {
    let storage = Arc::clone(&parts.storage);
    let options = Options { file_bytes: parts.ingest.log_file_bytes, ..Options::default() };
    let (ingest, now) = (parts.ingest.clone(), parts.clock.elapsed());
    let work = move || {
        let Taken { log, loaded, mut losses } = taken;
        let deletes = Deletes::own(log.epoch);
        let snapshot = Arc::new(loaded.snapshot);
        let source = Source { storage: &*storage, ours: Some(log), limits: &ingest, progress };
        let replayed = replay_all(&source, &snapshot, &deletes, &mut losses, now)?;
        let Replayed { state, ends, files, rows, recovered, last, last_timestamp } = replayed;
        let head = Head { predecessors: ends.predecessors(last) };
        let log_writer = LogWriter::create(storage, log, options, &head, &ends.last_group, last_timestamp)
            .map_err(log_failure)?;
        tracing::info!(logs = ends.logs.len(), rows, last_sequence = last.0, "the log has been replayed");
        let line = Line { term: log, before: ends.logs.keys().copied().collect(), recovered };
        Ok(Recovered { state, deletes, log: log_writer, files, line, losses: losses.into_lines() })
    };
    parts.pools.io(work).await
}

/// What a start would refuse, a line each. Fences nothing and changes nothing: for a cluster whose writer is stopped.
pub fn examine(storage: &dyn Storage, snapshot: &Arc<Snapshot>, losses: &mut Losses) -> Result<()> {
    let progress = Progress::default();
    let source = Source { storage, ours: None, limits: &IngestOptions::default(), progress };
    replay_all(&source, snapshot, &Deletes::default(), losses, Duration::ZERO).map(drop)
}

struct Replayed {
    state: State,
    ends: Ends,
    files: LogFiles,
    rows: usize,
    /// The last record that is there, in the logs or in files.
    recovered: Sequence,
    /// The last number that was ever given out.
    last: Sequence,
    last_timestamp: Timestamp,
}

/// What is replayed.
struct Source<'a> {
    storage: &'a dyn Storage,
    /// The log that follows all others; without one nothing is fenced.
    ours: Option<LogId>,
    limits: &'a IngestOptions,
    progress: Progress,
}

/// Replays every log but ours, into a state over `snapshot`. `now` is of the monotonic clock.
fn replay_all(
    source: &Source,
    snapshot: &Arc<Snapshot>,
    deletes: &Deletes,
    losses: &mut Losses,
    now: Duration,
) -> Result<Replayed> {
    let storage = source.storage;
    let mut logs: Vec<LogEntry> = snapshot.logs().filter(|l| Some(l.id()) != source.ours).cloned().collect();
    logs.sort_unstable_by_key(LogEntry::id);
    let ends = find_ends(source, &logs, losses)?;
    let newest_row = snapshot.segments().map(|s| s.max_timestamp).max().unwrap_or_default();
    let mut state = State::new(Arc::clone(snapshot), Sequence(0), newest_row);
    // What delta files hold is not replayed: a reader of an older V that lacks these files must be told so.
    let epoch = deletes.epoch();
    snapshot.collections().for_each(|c| deletes.raise_floor(epoch, c.id, c.deltas_through));
    state.now = now;
    let mut files = LogFiles::default();
    let mut replay = Replay::new(&mut state, deletes, source.limits);
    let mut last_timestamp = newest_row;
    for id in logs.iter().map(LogEntry::id) {
        let Some(end) = ends.logs.get(&id).filter(|p| p.end.file > 0) else { continue };
        let mut failure = None;
        let scan = Scan { end: Some(end.end), lossy: losses.are_accepted(), ..Scan::default() };
        let read = read_log(storage, id, scan, &mut |record| {
            source.progress.step();
            if failure.is_none() {
                failure = replay.record(record, losses).err();
            }
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
        let read = losses.of_log(read)?;
        last_timestamp = last_timestamp.max(read.last_timestamp);
        files.found(id, &read.files);
    }
    let recorded = ends.logs.values().map(|p| p.last).max().unwrap_or_default();
    let rows = replay.finish(recorded, known_through(snapshot), losses)?;
    // Nodes may have applied what is given up: none of its numbers is given out again.
    let skipped = if losses.are_any() { ABOVE_LOSSES } else { 0 };
    let known = recorded.max(known_through(snapshot));
    let recovered = if losses.are_any() { recorded } else { known };
    let last = Sequence(known.0.saturating_add(skipped));
    if recorded < last {
        last_timestamp = last_timestamp.max(newest_delete(storage, snapshot)?);
    }
    state.settle();
    state.advance(last, last_timestamp);
    deletes.advance(epoch, last);
    Ok(Replayed { state, ends, files, rows, recovered, last, last_timestamp })
}

/// The last record that the catalog knows of: rows or deletes up to it are in files.
fn known_through(snapshot: &Snapshot) -> Sequence {
    let partitions =
        snapshot.collections().flat_map(|c| snapshot.partitions_of(c.id)).map(|p| p.flushed_through);
    let collections = snapshot.collections().map(|c| c.deltas_through);
    let segments = snapshot.segments().map(|s| s.through.max(s.folded_through));
    partitions.chain(collections).chain(segments).max().unwrap_or_default()
}

/// When the last delete that is in a file became visible. Read only where the log cannot say.
fn newest_delete(storage: &dyn Storage, snapshot: &Snapshot) -> Result<Timestamp> {
    let mut newest = Timestamp::ZERO;
    for delta in snapshot.deltas() {
        let list =
            decode_delta(&delta.file.path, storage.read(&delta.file.path)?).map_err(Failure::unreadable)?;
        newest = list.iter().map(|d| d.visible_at).fold(newest, Timestamp::max);
    }
    for segment in snapshot.segments() {
        let Some(file) = &segment.delete_file else { continue };
        let list = decode_deletes(&file.path, storage.read(&file.path)?, segment.rows as usize);
        newest = list.map_err(Failure::unreadable)?.iter().map(|t| t.visible_at).fold(newest, Timestamp::max);
    }
    Ok(newest)
}

struct Ends {
    logs: BTreeMap<LogId, Predecessor>,
    last_group: Vec<Record>,
}

impl Ends {
    /// The predecessors as the new log's head names them, `last` among them: what is numbered up to it is never given
    /// out again, be its record there or not.
    fn predecessors(&self, last: Sequence) -> Vec<Predecessor> {
        let mut all: Vec<Predecessor> = self.logs.values().copied().collect();
        match all.iter_mut().max_by_key(|p| p.last) {
            Some(newest) => newest.last = newest.last.max(last),
            None if last > Sequence(0) => {
                let nobody = LogId { epoch: Epoch(0), incarnation: Incarnation(0) };
                all.push(Predecessor { log: nobody, end: Position::default(), last });
            }
            None => {}
        }
        all
    }
}

/// Fixes where each predecessor ends: as a later log's head says, else where its last valid group ends now, after
/// it was fenced. A log without a head served nothing.
fn find_ends(source: &Source, logs: &[LogEntry], losses: &mut Losses) -> Result<Ends> {
    let storage = source.storage;
    let mut ends = Ends { logs: BTreeMap::new(), last_group: Vec::new() };
    let is_known = |log: LogId| logs.iter().any(|entry| entry.id() == log);
    for entry in logs.iter().rev() {
        let log = entry.id();
        if ends.logs.contains_key(&log) {
            continue;
        }
        if let Some(successor) = source.ours {
            set_fence(storage, log, successor).map_err(log_failure)?;
        }
        let scan = Scan { lossy: losses.are_accepted(), ..Scan::default() };
        let read = losses.of_log(read_log(storage, log, scan, &mut |_| source.progress.step()))?;
        let first_file = read.files.first().map(|f| f.0);
        // One whose head is damaged has taken writes all the same, as the catalog knows.
        let has_records = entry.begun && !read.last_group.is_empty();
        let served = read.head.is_some() || first_file.is_some_and(|f| f > 1) || has_records;
        read.damage.iter().try_for_each(|damage| losses.found(damage))?;
        // A later log that served tells by its records what is missing of this one, and that may be all: its files go
        // before the catalog forgets it.
        let is_followed = ends.logs.values().any(|later| later.end.file > 0);
        if entry.begun && !served && !is_followed {
            losses.found(format_args!("log {log} has taken writes, and its files are gone"))?;
        }
        let (end, last) = if served { (read.end, read.last) } else { (Position::default(), Sequence(0)) };
        ends.logs.insert(log, Predecessor { log, end, last });
        if read.torn > 0 {
            tracing::warn!(log = %log, bytes = read.torn, "a torn tail was cut at the last complete group");
        }
        if served && ends.last_group.is_empty() {
            ends.last_group = read.last_group;
        }
        for p in read.head.into_iter().flat_map(|h| h.predecessors) {
            if is_known(p.log) {
                ends.logs.entry(p.log).or_insert(p);
            }
        }
    }
    Ok(ends)
}
