//! What the router does, in its own terms: each request of a client, from names to an answer.

mod aliases;
mod collections;
mod databases;
mod flush;
mod hybrid;
mod indexes;
mod info;
mod load;
mod names;
mod output;
mod partitions;
mod query;
mod read_point;
mod rows;
mod search;
mod search_request;

use crate::catalog_view::CatalogView;
use crate::metrics::Metrics;
use crate::scatter::Scatter;
use crate::topology::Topology;
use mishards_catalog::Command;
use mishards_proto::node::ChangeRequest;
use mishards_types::{Clock, Error, Result, Version};
use read_point::ReadPoints;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

/// How often a read is planned anew when files moved under it, and the pause before: the newer catalog is on its way.
const REPLANS: usize = 20;
const REPLAN_PAUSE: Duration = Duration::from_millis(25);

/// Settings of a router.
#[derive(Debug, Clone)]
pub struct RouterOptions {
    /// Version that clients are told; in the form of the Milvus versions whose protocol this is.
    pub version: String,
}

/// What a router is made of.
pub struct RouterParts {
    pub options: RouterOptions,
    pub topology: Arc<Topology>,
    pub catalog: Arc<CatalogView>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
}

/// See the crate's head.
pub struct Router {
    pub(crate) options: RouterOptions,
    pub(crate) topology: Arc<Topology>,
    pub(crate) catalog: Arc<CatalogView>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    read_points: ReadPoints,
    next_identifier: AtomicI64,
}

impl Router {
    pub fn new(parts: RouterParts) -> Arc<Router> {
        let RouterParts { options, topology, catalog, clock, metrics } = parts;
        let next_identifier = AtomicI64::new((clock.unix_ms() << 18) as i64);
        Arc::new(Router {
            options,
            topology,
            catalog,
            clock,
            metrics,
            read_points: ReadPoints::default(),
            next_identifier,
        })
    }

    /// Whether requests can be answered now.
    pub fn is_ready(&self) -> bool {
        self.catalog.is_ready() && self.topology.is_ready()
    }

    fn scatter(&self) -> Scatter<'_> {
        Scatter { topology: &self.topology, metrics: &self.metrics }
    }

    /// Runs a catalog command at the writable node and waits until this router sees its effect.
    async fn change(&self, command: Command) -> Result<()> {
        let command = serde_json::to_vec(&command)
            .map_err(|e| Error::internal(format!("cannot encode the command: {e}")))?;
        let writer = self.topology.wait_for_writer().await?;
        let done = writer.client.change(ChangeRequest { command }).await.map_err(Error::from)?;
        let version = done.version.unwrap_or_default();
        let version = Version { commit_seq: version.commit_seq, commit_id: version.commit_id };
        // It is done, whether or not this router has heard of it in time.
        let _ = self.catalog.wait_for(version).await;
        Ok(())
    }
}
