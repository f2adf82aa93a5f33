//! What nobody needs any more: files of removed rows, old log files, idle segments. Nothing is unlinked before it has
//! been unreferenced for one window.

use super::Writer;
use super::ddl::Needed;
use super::state::State;
use crate::{Kind, Result};
use mishards_catalog::{Change, EntityKind};
use mishards_proto::node::DeletesUpdate;
use mishards_types::{LogId, Sequence, Version};
use mishards_wal::{Position, Record};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

const TICK: Duration = Duration::from_secs(1);
/// How long a V keeps the deletes that it needs when they take much memory.
const PRESSED_WINDOW: Duration = Duration::from_secs(10);

/// When commits were made, on this process's clock. Those before its start count as made at its start.
pub struct CommitTimes {
    commits: VecDeque<(Duration, u64)>,
}

impl CommitTimes {
    /// Everything up to `commit` counts as made now.
    pub fn starting_at(now: Duration, commit: u64) -> CommitTimes {
        CommitTimes { commits: VecDeque::from([(now, commit)]) }
    }
}

/// Log files and the last sequence in each.
#[derive(Default)]
pub struct LogFiles {
    files: Vec<LogFile>,
    /// Logs that have or had files in this term.
    begun: HashSet<LogId>,
}

struct LogFile {
    log: LogId,
    number: u64,
    bytes: u64,
    last: Sequence,
    /// Since when nothing in it has been needed.
    free_since: Option<Duration>,
}

impl LogFiles {
    /// Files of a predecessor.
    pub fn found(&mut self, log: LogId, files: &[(u64, u64, Sequence)]) {
        if !files.is_empty() {
            self.begun.insert(log);
        }
        for (number, bytes, last) in files {
            self.files.push(LogFile { log, number: *number, bytes: *bytes, last: *last, free_since: None });
        }
    }
}

fn path(log: LogId, number: u64) -> String {
    format!("log/{log}/{number:010}")
}

/// A record counts as so many bytes of the log when it is replayed, beside its own: as long as it takes to read them.
const BYTES_OF_RECORD: u64 = 1024;

impl Writer {
    pub(super) async fn housekeeping_loop(self: Arc<Writer>) {
        while !self.has_ended() {
            tokio::time::sleep(TICK.min(self.parts.ingest.window / 4).max(Duration::from_millis(50))).await;
            // Each by itself: one damaged file must not keep the rest from being tidied.
            let steps = [
                ("publish deletes", self.publish_deltas(self.pinned_below()).await),
                ("fold deletes", self.fold_deltas().await),
                ("let go of deletes", self.release_deletes()),
                ("unlink removed files", self.purge().await),
                ("unlink log files", self.drop_log_files().await),
                ("look for orphans", self.remove_orphans().await),
                ("keep the reserve", self.keep_reserve().await),
            ];
            for (step, result) in steps {
                if let Err(e) = result {
                    tracing::warn!(step, error = %e, "housekeeping failed, it will be tried again");
                }
            }
            self.cache.close_idle();
        }
    }

    pub(super) fn note_commit(&self, version: Version) {
        self.commit_times().commits.push_back((self.parts.clock.elapsed(), version.commit_seq));
    }

    fn commit_times(&self) -> MutexGuard<'_, CommitTimes> {
        self.commit_times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_files(&self) -> MutexGuard<'_, LogFiles> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a file of our own log that has been left for the next.
    pub(super) fn note_log_file(&self, before: Position, after: Position, records: &[Record]) {
        if before.file != after.file {
            let last = records.last().map(|r| r.sequence).unwrap_or_default();
            let (log, number, bytes) = (self.log_id, before.file, before.offset);
            let file = LogFile { log, number, bytes, last, free_since: None };
            self.log_files().files.push(file);
        }
    }

    /// What a replay would take because of growing rows, in bytes: those of the closed log files that it has to read, and some
    /// for each record, for many small records take longer than few large ones.
    pub(super) fn to_replay(&self) -> u64 {
        let (needed, applied) = {
            let state = self.state();
            let Some(first) = state.first_growing() else { return 0 };
            (first, state.applied())
        };
        let records = applied.0.saturating_sub(needed.0);
        let files = self.log_files();
        let read: u64 = files.files.iter().filter(|file| file.last >= needed).map(|file| file.bytes).sum();
        read.saturating_add(records.saturating_mul(BYTES_OF_RECORD))
    }

    /// Deletes below it keep a closed log file alive although its rows are in files: they are to be published.
    fn pinned_below(&self) -> Option<Sequence> {
        let rows_needed = self.state().first_growing().unwrap_or(Sequence(u64::MAX));
        let files = self.log_files();
        files.files.iter().filter(|f| f.last < rows_needed).map(|f| Sequence(f.last.0 + 1)).max()
    }

    /// The last commit that is older than `age`.
    fn last_commit_before(&self, age: Duration) -> Option<u64> {
        let now = self.parts.clock.elapsed();
        let times = self.commit_times();
        let old = |at: Duration| now.saturating_sub(at) > age;
        times.commits.iter().take_while(|(at, _)| old(*at)).map(|(_, seq)| *seq).last()
    }

    /// Lets go of deletes that every answerable V has in delta files. When they take much memory, older V's have to
    /// be planned anew. Those who follow are told in any case: so they hear that this writer lives, and how far they are.
    fn release_deletes(&self) -> Result<()> {
        let limits = &self.parts.ingest;
        let much = self.published_delete_bytes() > limits.growing_limit_bytes / 2;
        let age = if much { limits.window.min(PRESSED_WINDOW) } else { limits.window };
        let snapshot = Arc::clone(&self.view().snapshot);
        let mut update = DeletesUpdate { epoch: self.log_id.epoch.0, ..Default::default() };
        if let Some(through) = self.last_commit_before(age) {
            for collection in snapshot.collections() {
                let floor = snapshot.deltas_through_at(through, collection.id);
                self.deletes.raise_floor(self.log_id.epoch, collection.id, floor);
                update.floors.insert(collection.id.0, floor.0);
            }
            update.floors.extend(snapshot.dropped().map(|id| (id.0, u64::MAX)));
        }
        // Those who follow let go of the same. Under the lock, for what it says of the sequence must be true.
        let state = self.state();
        update.through = state.applied().0;
        self.followers.floors(&update.floors);
        let _ = self.delete_stream.send(update);
        Ok(())
    }

    /// Unlinks the files of rows that were removed a window ago, then forgets the rows.
    async fn purge(&self) -> Result<()> {
        let Some(through) = self.last_commit_before(self.parts.ingest.window) else { return Ok(()) };
        // Nothing is deleted while a commit is in doubt, nor by a writer that has been fenced.
        let _settled = self.commits.lock().await;
        self.check_serving()?;
        self.check_not_fenced().await?;
        let snapshot = Arc::clone(&self.view().snapshot);
        let files: Vec<String> =
            snapshot.files_removed_through(through).into_iter().map(|file| file.path).collect();
        let count = files.len() as u64;
        // A file that cannot be removed now is an orphan once its row is gone, and is looked for again as one.
        match self.unlink(files).await {
            Err(e) if e.kind == Kind::NotWriter => return Err(e),
            Err(e) => tracing::warn!(error = %e, "a file of removed rows could not be unlinked"),
            Ok(()) => {}
        }
        self.parts.catalog.purge(through).await?;
        let mut state = self.state();
        let mut purged = (*state.snapshot).clone();
        purged.purge(through);
        state.snapshot = Arc::new(purged);
        self.publish(&state);
        drop(state);
        self.commit_times().commits.retain(|(_, seq)| *seq > through);
        self.parts.metrics.files_removed_total.inc_by(count);
        Ok(())
    }

    /// Unlinks log files that nothing has needed for a window, and forgets logs that have none left.
    async fn drop_log_files(&self) -> Result<()> {
        let needed = self.first_needed();
        let now = self.parts.clock.elapsed();
        let window = self.parts.ingest.window;
        let free: Vec<(LogId, u64)> = {
            let mut files = self.log_files();
            for file in files.files.iter_mut() {
                let is_free = file.last < needed;
                file.free_since = if is_free { file.free_since.or(Some(now)) } else { None };
            }
            let old = |f: &&LogFile| f.free_since.is_some_and(|since| now.saturating_sub(since) > window);
            files.files.iter().filter(old).map(|f| (f.log, f.number)).collect()
        };
        let unlinked = if free.is_empty() { Ok(()) } else { self.unlink_log_files(free).await };
        self.forget_empty_logs().await?;
        unlinked
    }

    async fn unlink_log_files(&self, free: Vec<(LogId, u64)>) -> Result<()> {
        // The newest V must stay in the log: what is left of it may not say it yet.
        self.log_version(Needed::unknown).await?;
        self.check_not_fenced().await?;
        // Of each log from its first file on: one with a hole could not be read. A file that cannot be removed keeps
        // all later ones, for the heads of later logs say where its log ends.
        let mut by_log: BTreeMap<LogId, Vec<u64>> = BTreeMap::new();
        free.iter().for_each(|(log, number)| by_log.entry(*log).or_default().push(*number));
        let (mut removed, mut failed) = (HashSet::new(), None);
        'logs: for (log, mut numbers) in by_log {
            numbers.sort_unstable();
            for number in numbers {
                match self.unlink(vec![path(log, number)]).await {
                    Ok(()) => drop(removed.insert((log, number))),
                    Err(e) => {
                        failed = Some(e);
                        break 'logs;
                    }
                }
            }
        }
        self.log_files().files.retain(|f| !removed.contains(&(f.log, f.number)));
        self.parts.metrics.files_removed_total.inc_by(removed.len() as u64);
        failed.map_or(Ok(()), Err)
    }

    /// Removes files, looking before each at the fence: this process may have been stopped since the last one. One that
    /// cannot be removed keeps no other; the error is the last one's.
    async fn unlink(&self, paths: Vec<String>) -> Result<()> {
        let (storage, log) = (Arc::clone(&self.parts.storage), self.log_id);
        let remove = move || {
            let mut failed = None;
            for path in &paths {
                let fenced = mishards_wal::is_fenced(&*storage, log);
                if fenced.map_err(mishards_types::Error::unavailable)? {
                    return Err(crate::Failure::not_writer("this writer was fenced while it removed files"));
                }
                failed = storage.remove(path).err().or(failed);
            }
            failed.map_or(Ok(()), |e| Err(e.into()))
        };
        self.parts.pools.io(remove).await
    }

    /// Forgets predecessors of which no file is left; one that never served had none.
    async fn forget_empty_logs(&self) -> Result<()> {
        let mut forgotten: Vec<LogId> = Vec::new();
        self.commit(
            |snapshot| {
                let files = self.log_files();
                let is_empty = |id: &LogId| *id != self.log_id && !files.files.iter().any(|f| f.log == *id);
                forgotten.extend(snapshot.logs().map(|l| l.id()).filter(is_empty));
                let change = |id: &LogId| Change::Remove(EntityKind::Log, id.to_string());
                Ok(forgotten.iter().map(change).collect())
            },
            |_| {},
        )
        .await?;
        // A writer that wakes up from then takes a fence that is gone for one that is set. That of a log that never began
        // stays, or its writer might begin it yet.
        forgotten.retain(|log| self.log_files().begun.contains(log));
        let storage = Arc::clone(&self.parts.storage);
        self.parts
            .pools
            .io(move || {
                forgotten
                    .iter()
                    .try_for_each(|log| mishards_wal::remove_fence(&*storage, *log))
                    .map_err(|e| mishards_types::Error::unavailable(e).into())
            })
            .await
    }

    /// The first sequence that a replay still needs.
    pub(super) fn first_needed(&self) -> Sequence {
        self.first_needed_by(&self.state())
    }

    pub(super) fn first_needed_by(&self, state: &State) -> Sequence {
        let rows = state.first_growing().unwrap_or(state.applied().next());
        let pending =
            |c: &Arc<mishards_catalog::Collection>| self.deletes.first_after(c.id, c.deltas_through);
        let deletes = state.snapshot.collections().filter_map(pending).min().unwrap_or(rows);
        rows.min(deletes)
    }

    /// A writer that has been fenced deletes nothing.
    pub async fn check_not_fenced(&self) -> Result<()> {
        let (storage, log) = (Arc::clone(&self.parts.storage), self.log_id);
        let fenced = self
            .parts
            .pools
            .fence(move || {
                mishards_wal::is_fenced(&*storage, log)
                    .map_err(|e| mishards_types::Error::unavailable(e).into())
            })
            .await?;
        if fenced {
            self.step_down(&"it was fenced");
            return Err(crate::Failure::not_writer("this writer was fenced"));
        }
        Ok(())
    }
}
