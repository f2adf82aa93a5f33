//! The router's copy of the catalog: pushed by the writable node, read from the database when nobody pushes.

use crate::topology::Topology;
use arc_swap::ArcSwapOption;
use futures_util::StreamExt;
use mishards_catalog::{Catalog, Snapshot};
use mishards_types::{Error, Version};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const RETRY: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(1);

/// See the file's head.
pub struct CatalogView {
    snapshot: ArcSwapOption<Snapshot>,
    changed: watch::Sender<u64>,
}

impl CatalogView {
    pub fn new() -> Arc<CatalogView> {
        Arc::new(CatalogView { snapshot: ArcSwapOption::empty(), changed: watch::Sender::new(0) })
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

    /// Takes a snapshot unless a newer one is here. Another epoch's word counts more than ours.
    fn offer(&self, snapshot: Snapshot) {
        let newer = self.snapshot.load().as_ref().is_none_or(|ours| {
            (snapshot.epoch, snapshot.version.commit_seq) > (ours.epoch, ours.version.commit_seq)
        });
        if newer {
            self.snapshot.store(Some(Arc::new(snapshot)));
            self.changed.send_modify(|n| *n += 1);
        }
    }

    /// Follows the writable node until dropped; between streams, polls the database.
    pub async fn run(self: Arc<CatalogView>, topology: Arc<Topology>, catalog: Option<Arc<dyn Catalog>>) {
        loop {
            if let Some(catalog) = &catalog
                && let Ok(Some(loaded)) = catalog.load().await
            {
                self.offer(loaded.snapshot);
            }
            if let Ok(writer) = topology.writer()
                && let Ok(mut updates) = writer.client.watch_catalog().await
            {
                while let Some(Ok(update)) = updates.next().await {
                    match serde_json::from_slice::<Snapshot>(&update.snapshot) {
                        Ok(snapshot) => self.offer(snapshot),
                        Err(e) => tracing::error!(error = %e, "a pushed catalog cannot be read"),
                    }
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}
