//! The router's copy of the catalog: pushed by the writable node, read from the database when nobody pushes, and kept in
//! a file of this host for a start when both are away.

use crate::offload::off_workers;
use crate::topology::Topology;
use arc_swap::ArcSwapOption;
use futures_util::StreamExt;
use mishards_catalog::{Catalog, Change, LogEntry, Snapshot};
use mishards_proto::node::{CatalogUpdate, Version as WireVersion};
use mishards_types::{Error, LogId, Version};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

const RETRY: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the database is asked while nobody pushes.
const POLL: Duration = Duration::from_secs(1);
/// How often a router that follows a writer looks whether another one has taken over.
const CHECK_EVERY: Duration = Duration::from_millis(500);
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// Before anybody has confirmed the copy.
const NEVER: u64 = u64::MAX;

/// See the file's head.
pub struct CatalogView {
    snapshot: ArcSwapOption<Snapshot>,
    /// The newest that a writable node has pushed: while another one takes over, the database may have a newer one.
    pushed: ArcSwapOption<Snapshot>,
    changed: watch::Sender<u64>,
    /// The writable node pushes.
    followed: AtomicBool,
    /// Grows when the cluster was put back to an older copy: what was known of it before is of another past.
    past: AtomicU64,
    /// When the writable node or the database last said that the copy is the newest.
    confirmed_ms: AtomicU64,
}

impl CatalogView {
    pub fn new() -> Arc<CatalogView> {
        Arc::new(CatalogView {
            snapshot: ArcSwapOption::empty(),
            pushed: ArcSwapOption::empty(),
            changed: watch::Sender::new(0),
            followed: AtomicBool::new(false),
            past: AtomicU64::new(0),
            confirmed_ms: AtomicU64::new(NEVER),
        })
    }

    /// The newest snapshot, or an error that clients retry.
    pub fn get(&self) -> Result<Arc<Snapshot>, Error> {
        self.snapshot.load_full().ok_or_else(|| {
            Error::new(
                mishards_types::Code::NOT_READY,
                "the catalog has not been read yet: service not ready",
            )
        })
    }

    pub fn is_ready(&self) -> bool {
        self.snapshot.load().is_some()
    }

    /// Waits until the snapshot is at `version` or newer.
    pub async fn wait_for(&self, version: Version) -> Result<Arc<Snapshot>, Error> {
        let there =
            |view: &CatalogView| view.get().ok().filter(|s| s.version.commit_seq >= version.commit_seq);
        if let Some(snapshot) = there(self) {
            return Ok(snapshot);
        }
        let mut changed = self.changed.subscribe();
        let wait = async {
            loop {
                if let Some(snapshot) = there(self) {
                    return snapshot;
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let late = |_| Error::unavailable(format!("the catalog at version {version} has not arrived"));
        tokio::time::timeout(PATIENCE, wait).await.map_err(late)
    }

    /// How long ago it was certain that no catalog is newer; `None` when it never was, as of one from a file.
    pub fn age(&self, now: Duration) -> Option<Duration> {
        let confirmed = self.confirmed_ms.load(Ordering::Relaxed);
        (confirmed != NEVER).then(|| now.saturating_sub(Duration::from_millis(confirmed)))
    }

    fn confirm(&self, now: Duration) {
        self.confirmed_ms.store(now.as_millis() as u64, Ordering::Relaxed);
    }

    /// Says when there is a newer snapshot.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Takes a snapshot unless a newer one is here. Another epoch's word counts more than ours.
    fn offer(&self, snapshot: Snapshot) {
        let newer = self.snapshot.load().as_ref().is_none_or(|ours| {
            (snapshot.epoch, snapshot.version.commit_seq) > (ours.epoch, ours.version.commit_seq)
        });
        if newer {
            self.take(snapshot);
        }
    }

    fn take(&self, snapshot: Snapshot) {
        self.snapshot.store(Some(Arc::new(snapshot)));
        self.changed.send_modify(|n| *n += 1);
    }

    /// The newest catalog that the writable node of a term has said, if it has a commit.
    pub fn of_term(&self, epoch: u64, commit_seq: u64) -> Option<Arc<Snapshot>> {
        let pushed = self.pushed.load_full();
        pushed.filter(|snapshot| snapshot.epoch.0 == epoch && snapshot.version.commit_seq >= commit_seq)
    }

    /// Takes what the writable node pushes. It may be older than ours where directory and catalog were put back to an older
    /// copy: the database tells whether that writer is the one of now, or one that was overtaken.
    async fn pushed(&self, snapshot: Snapshot, database: Option<&dyn Catalog>) {
        let ours = self.snapshot.load_full();
        let before = ours.filter(|ours| is_of_another_past(&snapshot, ours));
        let (Some(before), Some(database)) = (before, database) else { return self.offer(snapshot) };
        let lease = match tokio::time::timeout(PATIENCE, database.lease()).await {
            Ok(Ok(lease)) => lease,
            _ => return self.offer(snapshot),
        };
        if Some((lease.epoch, lease.incarnation)) != term_of(&snapshot).map(|t| (t.epoch, t.incarnation)) {
            return self.offer(snapshot);
        }
        tracing::warn!(
            ours = %before.version, epoch = before.epoch.0, theirs = %snapshot.version, their_epoch = snapshot.epoch.0,
            "the cluster was put back to an older copy: its catalog takes the place of the newer one"
        );
        self.past.fetch_add(1, Ordering::Relaxed);
        self.take(snapshot);
    }

    /// Another number for each past that the cluster was put back to.
    pub fn past(&self) -> u64 {
        self.past.load(Ordering::Relaxed)
    }

    /// Keeps the copy up to date until dropped.
    pub async fn run(self: Arc<CatalogView>, topology: Arc<Topology>, sources: Sources) {
        if let Some(file) = &sources.file {
            self.read_file(file, &sources.cluster_id, &topology).await;
        }
        let poll = async {
            match &sources.database {
                Some(database) => self.poll(&**database, &sources.cluster_id, &topology).await,
                None => std::future::pending().await,
            }
        };
        let keep = async {
            match &sources.file {
                Some(file) => self.keep(file, &sources.cluster_id).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(self.follow(&topology, sources.database.as_deref()), poll, keep);
    }

    async fn follow(&self, topology: &Topology, database: Option<&dyn Catalog>) {
        loop {
            if let Ok(writer) = topology.writer()
                && let Ok(Ok(updates)) = tokio::time::timeout(PATIENCE, writer.client.watch_catalog()).await
            {
                self.followed.store(true, Ordering::Relaxed);
                let begun = AtomicBool::new(false);
                // A writer that was overtaken may not know it, and pushes nothing new.
                let overtaken = async {
                    while topology.writer().is_ok_and(|now| now.epoch <= writer.epoch) {
                        // What is new was pushed already.
                        if begun.load(Ordering::Relaxed) {
                            self.confirm(topology.now());
                        }
                        tokio::time::sleep(CHECK_EVERY).await;
                    }
                };
                let mut updates = std::pin::pin!(updates.take_until(overtaken));
                while let Some(Ok(update)) = updates.next().await {
                    let ours = self.snapshot.load_full();
                    let bytes = update.snapshot.len() + update.changes.len();
                    match off_workers(bytes, move |_| updated(ours.as_deref(), &update)).await {
                        Ok(Ok(snapshot)) => {
                            let epoch = snapshot.epoch;
                            self.pushed(snapshot, database).await;
                            let now = self.snapshot.load_full().filter(|now| now.epoch == epoch);
                            now.into_iter().for_each(|now| self.pushed.store(Some(now)));
                            self.confirm(topology.now());
                            begun.store(true, Ordering::Relaxed);
                        }
                        Ok(Err(why)) => {
                            tracing::warn!(why, "a pushed catalog cannot be used, all of it is asked for");
                            break;
                        }
                        Err(e) => tracing::error!(error = %e, "a pushed catalog cannot be read"),
                    }
                }
                self.followed.store(false, Ordering::Relaxed);
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Asks the database while nobody pushes: the lease first, and everything only when there is something newer.
    async fn poll(&self, database: &dyn Catalog, cluster_id: &str, topology: &Topology) {
        loop {
            if !self.followed.load(Ordering::Relaxed) {
                match self.read_database(database, cluster_id).await {
                    Ok(true) => self.confirm(topology.now()),
                    Ok(false) => {}
                    Err(e) => tracing::warn!(error = %e, "the catalog cannot be read from the database"),
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Takes what is newer in the database. False when the database has no catalog of ours.
    async fn read_database(
        &self,
        database: &dyn Catalog,
        cluster_id: &str,
    ) -> Result<bool, mishards_catalog::Error> {
        let is_newer = |epoch, commit| {
            self.snapshot
                .load()
                .as_ref()
                .is_none_or(|ours| (epoch, commit) > (ours.epoch, ours.version.commit_seq))
        };
        if self.is_ready() {
            let lease = database.lease().await?;
            if !is_newer(lease.epoch, lease.version.commit_seq) {
                return Ok(true);
            }
        }
        if let Some(loaded) = database.load().await? {
            if loaded.cluster_id != cluster_id {
                tracing::error!(theirs = %loaded.cluster_id, ours = cluster_id, "the database belongs to another cluster: correct cluster.id or cluster.catalog");
                return Ok(false);
            }
            self.offer(loaded.snapshot);
            return Ok(true);
        }
        Ok(false)
    }

    async fn read_file(&self, file: &Arc<dyn StateFile>, cluster_id: &str, topology: &Topology) {
        let reading = Arc::clone(file);
        let read = tokio::task::spawn_blocking(move || reading.read()).await.ok().flatten();
        let Some(bytes) = read else { return };
        match serde_json::from_slice::<Kept>(&bytes) {
            Ok(kept) if kept.cluster_id != cluster_id => {
                tracing::warn!(theirs = %kept.cluster_id, "the kept catalog is another cluster's, it is left out");
            }
            Ok(kept) => {
                tracing::info!(version = %kept.snapshot.version, "beginning with the catalog as it was last seen");
                topology.was_whole();
                self.offer(kept.snapshot);
            }
            Err(e) => tracing::warn!(error = %e, "the kept catalog cannot be read, it is left out"),
        }
    }

    /// Writes what is new, at most once in a while.
    async fn keep(&self, file: &Arc<dyn StateFile>, cluster_id: &str) {
        let mut changed = self.changed.subscribe();
        while changed.changed().await.is_ok() {
            tokio::time::sleep(KEEP_EVERY).await;
            changed.mark_unchanged();
            let Ok(snapshot) = self.get() else { continue };
            let (writing, cluster_id) = (Arc::clone(file), cluster_id.to_owned());
            let write = move || {
                let kept = Kept { cluster_id, snapshot: (*snapshot).clone() };
                serde_json::to_vec(&kept).map_err(|e| e.to_string()).and_then(|bytes| writing.write(&bytes))
            };
            match tokio::task::spawn_blocking(write).await {
                Ok(Ok(())) => {}
                Ok(Err(e)) => tracing::warn!(error = %e, "the catalog could not be kept on disk"),
                Err(e) => tracing::warn!(error = %e, "the catalog could not be kept on disk"),
            }
        }
    }
}

/// The term that a snapshot is of.
fn term_of(snapshot: &Snapshot) -> Option<LogId> {
    snapshot.logs().map(LogEntry::id).find(|log| log.epoch == snapshot.epoch)
}

/// Whether a snapshot is no newer than ours, and not an older one of the same term either.
fn is_of_another_past(snapshot: &Snapshot, ours: &Snapshot) -> bool {
    (snapshot.epoch, snapshot.version.commit_seq) <= (ours.epoch, ours.version.commit_seq)
        && snapshot.version != ours.version
        && term_of(snapshot) != term_of(ours)
}

/// The snapshot after an update: all of it, or ours with the changes since.
fn updated(ours: Option<&Snapshot>, update: &CatalogUpdate) -> Result<Snapshot, String> {
    if !update.snapshot.is_empty() {
        return serde_json::from_slice(&update.snapshot).map_err(|e| e.to_string());
    }
    let version =
        |v: Option<&WireVersion>| v.map(|v| Version { commit_seq: v.commit_seq, commit_id: v.commit_id });
    let (base, next) = (version(update.base.as_ref()), version(update.version.as_ref()));
    let ours = ours.filter(|ours| Some(ours.version) == base && ours.epoch.0 == update.epoch);
    let (Some(ours), Some(next)) = (ours, next) else {
        return Err("its changes lead from another version than ours".to_owned());
    };
    let changes: Vec<Change> = serde_json::from_slice(&update.changes).map_err(|e| e.to_string())?;
    let mut snapshot = ours.apply(next, &changes);
    snapshot.purge(update.oldest.saturating_sub(1));
    Ok(snapshot)
}

/// Where a router reads the catalog, besides being told by the writable node.
pub struct Sources {
    pub cluster_id: String,
    pub database: Option<Arc<dyn Catalog>>,
    pub file: Option<Arc<dyn StateFile>>,
}

/// A file of this host that outlives the process. Calls block.
pub trait StateFile: Send + Sync + 'static {
    /// What was written last; `None` when there is nothing, or it is damaged.
    fn read(&self) -> Option<Vec<u8>>;
    /// All of it or nothing.
    fn write(&self, bytes: &[u8]) -> Result<(), String>;
}

#[derive(Serialize, Deserialize)]
struct Kept {
    cluster_id: String,
    snapshot: Snapshot,
}
