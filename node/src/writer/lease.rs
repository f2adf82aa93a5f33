//! Renewing the lease: the election only. While the database is away the fence keeps writes safe, so a renewal that
//! fails for that reason ends nothing. While a sync of the log hangs there is none: whoever can write should take over.

use super::{Writer, WriterParts};
use mishards_catalog::{Kind, Lease};
use mishards_types::{LogId, Version};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;

/// What a writer says whose catalog went back in time.
pub fn lost_commits(theirs: Version, ours: Version) -> String {
    format!(
        "the catalog has lost commits: it is at {theirs}, not at {ours}; the next writer makes up for them from the log"
    )
}

/// Renews a lease until it is dropped.
pub struct Kept(AbortHandle);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A recovery that reads nothing for so many times the life of a lease hangs, and keeps nobody else from trying.
const HUNG: u32 = 24;

/// How far a recovery is: grows with every file and record that it has read. All clones are one number.
#[derive(Clone, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    pub fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Renews the lease of a term that recovers and has no writer yet, as long as it gets on. Whether it was lost meanwhile is
/// looked at when the new log has begun.
pub fn keep(parts: &WriterParts, log: LogId, progress: Progress) -> Kept {
    let (catalog, every) = (Arc::clone(&parts.catalog), parts.ingest.lease_ttl / 3);
    let (clock, patience) = (Arc::clone(&parts.clock), parts.ingest.lease_ttl * HUNG);
    let renewing = tokio::spawn(async move {
        let mut last = (0, clock.elapsed());
        loop {
            let (now, at) = (progress.0.load(Ordering::Relaxed), clock.elapsed());
            if now != last.0 {
                last = (now, at);
            }
            if at.saturating_sub(last.1) > patience {
                tracing::error!(%log, silent_s = patience.as_secs(), "the recovery hangs: the lease is not renewed any more");
                return;
            }
            match catalog.renew(log.epoch, log.incarnation).await {
                Err(e) if e.kind == Kind::Fenced => return,
                Err(e) => tracing::warn!(error = %e, "the lease could not be renewed during the recovery"),
                Ok(_) => {}
            }
            tokio::time::sleep(every).await;
        }
    });
    Kept(renewing.abort_handle())
}

impl Writer {
    /// Whether a lease is that of this term.
    pub(super) fn holds(&self, lease: &Lease) -> bool {
        (lease.epoch, lease.incarnation) == (self.log_id.epoch, self.log_id.incarnation)
    }

    pub(super) async fn renew_lease(self: Arc<Writer>) {
        let every = self.parts.ingest.lease_ttl / 3;
        while !self.has_ended() {
            self.renew_once().await;
            tokio::time::sleep(every).await;
        }
    }

    async fn renew_once(&self) {
        if let Err(e) = self.renew().await
            && e.kind != Kind::Fenced
        {
            self.parts.metrics.lease_renewal_failures_total.inc();
            tracing::warn!(error = %e, "the lease could not be renewed");
            // Somebody who reaches the database may have taken over.
            let _ = self.check_not_fenced().await;
        }
    }

    /// Renews the lease now. The term ends when somebody else has it, or the catalog went back in time.
    pub async fn renew(&self) -> mishards_catalog::Result<Lease> {
        if self.sync_hangs() {
            let text = "a sync of the log takes longer than the lease: it is not renewed";
            return Err(mishards_catalog::Error::new(Kind::Unavailable, text));
        }
        let ours = self.view().snapshot.version;
        let renewed = self.parts.catalog.renew(self.log_id.epoch, self.log_id.incarnation).await;
        match &renewed {
            Ok(lease) if lease.version.commit_seq < ours.commit_seq => {
                self.step_down(&lost_commits(lease.version, ours));
            }
            Err(e) if e.kind == Kind::Fenced => self.step_down(e),
            _ => {}
        }
        renewed
    }

    fn sync_hangs(&self) -> bool {
        let since = *self.syncing_since.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.parts.clock.elapsed();
        since.is_some_and(|since| now.saturating_sub(since) > self.parts.ingest.lease_ttl)
    }

    /// Called by the log thread around each sync.
    pub(super) fn note_sync(&self, since: Option<Duration>) {
        *self.syncing_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}
