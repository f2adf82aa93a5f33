//! What a node is in turn: one that reads, a standby, the writable node, and a standby again after its term.

use crate::contact::Heard;
use crate::service::Node;
use crate::standby::Standby;
use crate::{Result, Writer};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const TIDY_EVERY: Duration = Duration::from_secs(10);
const UNMARKED_EVERY: Duration = Duration::from_millis(250);

impl Node {
    /// Says of itself that it waits to be the writer.
    pub fn stand_by(&self) {
        self.inner.stands_by.store(true, Ordering::Relaxed);
        self.inner.metrics.is_standby.set(1);
    }

    /// Takes over as the writer and serves writes from then on.
    pub async fn become_writer(&self, parts: crate::WriterParts) -> Result<Arc<Writer>> {
        let started =
            Writer::start(parts, Arc::clone(&self.inner.deletes), Arc::clone(&self.inner.cache)).await;
        let writer = started.inspect_err(|_| self.inner.deletes.retire())?;
        self.inner.writer.store(Some(Arc::clone(&writer)));
        self.inner.standby.store(None);
        self.inner.stands_by.store(false, Ordering::Relaxed);
        let metrics = &self.inner.metrics;
        metrics.is_standby.set(0);
        metrics.is_writer.set(1);
        metrics.epoch.set(writer.log_id().epoch.0 as i64);
        // It serves already; if the marker cannot be read now, it is looked at again.
        if let Err(e) = self.look_at_directory().await {
            tracing::warn!(error = %e, "the marker of the shared directory could not be read");
        }
        Ok(writer)
    }

    /// After the end of a term of this node: it answers as a standby that has followed that term's log to its end, until it
    /// takes over again.
    pub fn retire(&self, ended: Arc<Writer>) {
        self.inner.deletes.retire();
        let metrics = self.inner.metrics.clone();
        self.inner.standby.store(Some(Standby::at_end_of(ended, Arc::clone(&self.inner.deletes), metrics)));
        self.inner.writer.store(None);
        self.inner.metrics.is_writer.set(0);
        self.stand_by();
    }

    /// Follows a writer's deletes until the future is dropped.
    pub fn follow(&self, source: Arc<dyn crate::DeleteSource>) -> impl Future<Output = ()> + Send + use<> {
        let source = Arc::new(Heard { source, contact: Arc::clone(&self.inner.contact) });
        crate::follow_deletes(source, Arc::clone(&self.inner.deletes))
    }

    /// Follows a writer's log, so that this node answers for growing rows too, until the future is dropped. `window` is
    /// how long the writer keeps what it removes.
    pub fn follow_log(
        &self,
        source: Arc<dyn crate::LogSource>,
        window: Duration,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (deletes, metrics) = (Arc::clone(&self.inner.deletes), self.inner.metrics.clone());
        // What it knows of a term of its own stays readable until there is something to follow.
        let known = self.inner.standby.load_full();
        let standby = known.unwrap_or_else(|| Standby::new(deletes, metrics, window));
        self.inner.standby.store(Some(Arc::clone(&standby)));
        let source = Arc::new(Heard { source, contact: Arc::clone(&self.inner.contact) });
        standby.follow(source, self.inner.pools.clone())
    }

    /// Closes what is not used any more, and sees whether the shared directory is still there, until the future is dropped.
    pub fn tidy(&self) -> impl Future<Output = ()> + Send + use<> {
        let node = self.clone();
        async move {
            loop {
                // The first writer of a cluster marks the directory: then it is to be known soon.
                tokio::time::sleep(if node.sees_its_directory() { TIDY_EVERY } else { UNMARKED_EVERY }).await;
                // The writer's housekeeping does it itself, where there is one.
                if node.writer().is_err() {
                    node.inner.cache.close_idle();
                }
                if let Err(e) = node.look_at_directory().await {
                    tracing::error!(error = %e, "the marker of the shared directory is not what it was");
                }
            }
        }
    }

    /// Ends the streams to routers and nodes, which would keep a server from draining.
    pub fn end_streams(&self) {
        if let Ok(writer) = self.writer() {
            writer.end_streams();
        }
    }

    /// Closes the log before a planned stop: everything acknowledged is in it.
    pub async fn drain(&self) {
        if let Ok(writer) = self.writer() {
            writer.drain().await;
        }
    }
}
