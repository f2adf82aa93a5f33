//! The writable node's part: one log, one catalog producer, growing rows, and the work that turns them into files.

mod commit;
mod ddl;
mod deltas;
mod flush;
mod followers;
mod gc;
mod growing;
mod index_build;
mod ingest;
mod lease;
mod log_thread;
mod losses;
mod lost_commits;
mod merge;
mod orphans;
mod recovery;
mod repair;
mod replay;
mod reserve;
mod room;
mod state;
mod streams;
mod takeover;
mod view;

pub use ddl::decode_record;
pub use ingest::{prepare_rows, prepare_write};
pub use repair::{find_losses, rename_cluster};
pub use state::{RestoredPart, State};
pub use takeover::silent_lease;
pub use view::View;

use crate::deletes::{Deletes, Line};
use crate::segment_cache::SegmentCache;
use crate::{Failure, IngestOptions, Metrics, NodeOptions, Pools, Result};
use arc_swap::ArcSwap;
use followers::Followers;
use log_thread::LogQueue;
use mishards_catalog::{Catalog, Lease};
use mishards_proto::node::DeletesUpdate;
use mishards_proto::off_worker::OffWorker;
use mishards_storage::{DirLock, Storage};
use mishards_types::{Clock, Entropy, LogId, SegmentId, Sequence, Timestamp};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, broadcast, watch};

/// What a writer is made of.
#[derive(Clone)]
pub struct WriterParts {
    pub storage: Arc<dyn Storage>,
    pub catalog: Arc<dyn Catalog>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub pools: Pools,
    pub metrics: Metrics,
    pub node: NodeOptions,
    pub ingest: IngestOptions,
    pub others: Others,
    /// Gives up what is missing of the log, where a start would be refused.
    pub accept_losses: bool,
    /// The terms that this process has begun.
    pub terms: OwnTerms,
}

/// Terms of one process, each of which begins after the end of the one before. All clones are one list.
#[derive(Clone, Default)]
pub struct OwnTerms(Arc<Mutex<Vec<LogId>>>);

impl OwnTerms {
    fn list(&self) -> MutexGuard<'_, Vec<LogId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of other writers.
#[derive(Clone)]
pub enum Others {
    /// None lives.
    Dead,
    /// This lock of a directory that no other host sees was free: the writer that had it is dead.
    Lock(Arc<DirLock>),
    /// Nobody has renewed this lease for longer than it lives.
    Silent(Lease),
    /// Only the lease tells.
    Unknown,
}

/// The writer of one term. When its term ends it writes nothing more; the process may begin another term.
pub struct Writer {
    parts: WriterParts,
    log_id: LogId,
    line: Line,
    deletes: Arc<Deletes>,
    cache: Arc<SegmentCache>,
    state: Mutex<State>,
    view: ArcSwap<View>,
    log: LogQueue,
    next_id: AtomicI64,
    ended: AtomicBool,
    end: Notify,
    /// One catalog transaction at a time.
    commits: tokio::sync::Mutex<()>,
    /// For each segment that is being written, the deletes that it knows: delta files after these stay.
    building: Mutex<BTreeMap<SegmentId, Sequence>>,
    /// Segments that a merge is about to replace: they get no more indexes.
    merging: Mutex<HashSet<SegmentId>>,
    room: room::Room,
    /// Bytes of writes that have not been applied yet.
    in_flight: AtomicUsize,
    changed: watch::Sender<u64>,
    delete_stream: broadcast::Sender<DeletesUpdate>,
    followers: Followers,
    flush_wanted: Notify,
    files: Mutex<gc::LogFiles>,
    commit_times: Mutex<gc::CommitTimes>,
    recent: Mutex<streams::RecentCommits>,
    growing_bytes: AtomicUsize,
    stopping: watch::Sender<bool>,
    /// When the log thread began to write the group that is not durable yet.
    syncing_since: Mutex<Option<Duration>>,
    started: Duration,
    orphans_removed: AtomicBool,
    /// What was given up at the start, a line each.
    losses: Vec<String>,
}

/// Ends the term when it is dropped, also by a panic.
struct EndsTerm {
    writer: Arc<Writer>,
    what: &'static str,
}

impl Drop for EndsTerm {
    fn drop(&mut self) {
        self.writer.step_down(&format!("{} has stopped", self.what));
    }
}

/// Groups that a reader of the stream of deletes may lag behind.
const DELETE_STREAM: usize = 2048;

/// Ids are unique without asking anybody: the epoch, which never comes twice, then a counter.
const ID_BITS: u32 = 40;

impl Writer {
    /// Takes over and recovers; answers when everything acknowledged before is readable.
    pub async fn start(
        parts: WriterParts,
        deletes: Arc<Deletes>,
        cache: Arc<SegmentCache>,
    ) -> Result<Arc<Writer>> {
        let taken = takeover::take_over(&parts).await?;
        let log_id = taken.log;
        // A recovery may take longer than the lease lives.
        let progress = lease::Progress::default();
        let kept = lease::keep(&parts, log_id, progress.clone());
        let recovered = recovery::recover(&parts, taken, progress).await?;
        takeover::confirm(&parts, log_id).await?;
        deletes.adopt(recovered.deletes, &recovered.line);
        let version = recovered.state.snapshot.version;
        let (log, records) = LogQueue::new();
        let writer = Arc::new(Writer {
            log_id,
            line: recovered.line,
            view: ArcSwap::from_pointee(recovered.state.view()),
            state: Mutex::new(recovered.state),
            deletes,
            cache,
            log,
            next_id: AtomicI64::new((log_id.epoch.0 as i64) << ID_BITS),
            ended: AtomicBool::new(false),
            end: Notify::new(),
            commits: tokio::sync::Mutex::new(()),
            building: Mutex::default(),
            merging: Mutex::default(),
            room: room::Room::default(),
            in_flight: AtomicUsize::new(0),
            changed: watch::Sender::new(0),
            delete_stream: broadcast::Sender::new(DELETE_STREAM),
            followers: Followers::default(),
            flush_wanted: Notify::new(),
            files: Mutex::new(recovered.files),
            commit_times: Mutex::new(gc::CommitTimes::starting_at(parts.clock.elapsed(), version.commit_seq)),
            recent: Mutex::default(),
            growing_bytes: AtomicUsize::new(0),
            stopping: watch::Sender::new(false),
            syncing_since: Mutex::default(),
            started: parts.clock.elapsed(),
            orphans_removed: AtomicBool::new(false),
            losses: recovered.losses,
            parts,
        });
        writer.publish(&writer.state());
        log_thread::start(Arc::clone(&writer), recovered.log, records)?;
        if let Err(e) = writer.log_start().await {
            // Nothing of this term is to go on.
            writer.log.stop();
            writer.step_down(&e);
            return Err(e);
        }
        drop(kept);
        writer.start_background();
        Ok(writer)
    }

    fn start_background(self: &Arc<Writer>) {
        self.spawn("lease renewal", Arc::clone(self).renew_lease());
        self.spawn("the look at the disk's room", Arc::clone(self).room_loop());
        self.spawn("flush", Arc::clone(self).flush_loop());
        self.spawn("index builds", Arc::clone(self).index_loop());
        self.spawn("merges", Arc::clone(self).merge_loop());
        self.spawn("housekeeping", Arc::clone(self).housekeeping_loop());
    }

    /// Runs a loop of this term. A writer without one of them would rot in silence: its end is the term's end.
    fn spawn(self: &Arc<Writer>, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let ends = EndsTerm { writer: Arc::clone(self), what: name };
        // Its steps grow with what is growing, and wait for the lock that the log thread has while it applies.
        tokio::spawn(OffWorker::new(async move {
            let _ends = ends;
            work.await;
        }));
    }

    /// How long what was removed stays readable.
    pub fn window(&self) -> Duration {
        self.parts.ingest.window
    }

    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// An id that nothing else has or will have.
    pub fn next_id(&self) -> i64 {
        self.next_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the state visible to readers. Call with the lock held.
    fn publish(&self, state: &State) {
        self.followers.catalog(state);
        self.view.store(Arc::new(state.view()));
        self.changed.send_modify(|n| *n += 1);
        self.parts.metrics.growing_rows.set(state.growing_rows() as i64);
        let bytes = state.growing_bytes();
        self.growing_bytes.store(bytes, Ordering::Relaxed);
        self.parts.metrics.growing_bytes.set(bytes as i64);
    }

    /// A planned end of the term.
    fn retire(&self) {
        if !self.ended.swap(true, Ordering::SeqCst) {
            tracing::info!(log = %self.log_id, "the log is closed");
            self.end.notify_waiters();
            self.changed.send_modify(|n| *n += 1);
        }
    }

    /// Ends the term: nothing is acknowledged, published or deleted from here on.
    fn step_down(&self, why: &dyn std::fmt::Display) {
        if !self.ended.swap(true, Ordering::SeqCst) {
            tracing::error!(log = %self.log_id, reason = %why, "this writer's term has ended");
            // What its thread has in hand it ends; what it acknowledges then has come before the end of the log.
            self.log.stop();
            self.end.notify_waiters();
            self.changed.send_modify(|n| *n += 1);
        }
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Whether nobody has written anything since this term ended: no other process has begun a term, and one of this process
    /// that has not begun to serve writes nothing.
    pub async fn is_last(&self) -> bool {
        let (storage, log) = (Arc::clone(&self.parts.storage), self.log_id);
        let ours = self.parts.terms.list().clone();
        let look =
            move || mishards_wal::is_fenced_by_others(&*storage, log, &ours).map_err(takeover::log_failure);
        self.parts.pools.fence(look).await.is_ok_and(|is_fenced| !is_fenced)
    }

    /// Waits until the term has ended.
    pub async fn ended(&self) {
        loop {
            let notified = self.end.notified();
            if self.has_ended() {
                return;
            }
            notified.await;
        }
    }

    /// Waits until the term has ended or a stop is planned.
    async fn streams_end(&self) {
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            () = self.ended() => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
    }

    fn check_serving(&self) -> Result<()> {
        if self.has_ended() { Err(Failure::not_writer("this writer's term has ended")) } else { Ok(()) }
    }

    /// Ends the streams to routers and nodes, which would keep a server from draining.
    pub fn end_streams(&self) {
        self.stopping.send_replace(true);
    }

    /// Closes the log before a planned stop: everything acknowledged is in it.
    pub async fn drain(&self) {
        self.log.stop();
        self.ended().await;
    }

    /// A timestamp for a catalog change: above every one handed out so far.
    fn now(&self) -> Timestamp {
        self.view.load().applied_timestamp.next(self.parts.clock.unix_ms())
    }
}
