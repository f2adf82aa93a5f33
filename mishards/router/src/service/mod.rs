//! What the router does, in its own terms: each request of a client, from names to an answer.

mod aliases;
mod collections;
mod databases;
mod explain;
mod flush;
mod hybrid;
mod indexes;
mod info;
mod isolation;
mod load;
mod lost_files;
mod names;
mod output;
mod partitions;
mod query;
mod read;
mod read_point;
mod readiness;
mod rows;
mod search;
mod search_request;
mod status;

pub use explain::{ExplainRequest, Explained};
pub use status::{ClusterStatus, CollectionStatus, NodeStatus};

use crate::call::Call;
use crate::catalog_view::CatalogView;
use crate::error::{Failure, Kind};
use crate::metrics::Metrics;
use crate::placement::PlacementPolicy;
use crate::placer::Placer;
use crate::scatter::Scatter;
use crate::topology::Topology;
use lost_files::LostFiles;
use mishards_catalog::Command;
use mishards_proto::node::ChangeRequest;
use mishards_trace::Tracer;
use mishards_types::{Clock, Code, Error, Result, Version};
use read_point::ReadPoints;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

/// How long the writable node has to say at which version it is.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Settings of a router.
#[derive(Debug, Clone)]
pub struct RouterOptions {
    /// Version that clients are told; in the form of the Milvus versions whose protocol this is.
    pub version: String,
    /// Longest time for one call on one node.
    pub subquery_patience: Duration,
    /// Longest time for a read whose client gives no deadline.
    pub request_patience: Duration,
    /// Reads that take longer are logged; zero logs none.
    pub slow_query: Duration,
}

/// What a router is made of.
pub struct RouterParts {
    pub options: RouterOptions,
    pub topology: Arc<Topology>,
    pub catalog: Arc<CatalogView>,
    pub policy: Arc<dyn PlacementPolicy>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
    pub tracer: Tracer,
}

/// See the crate's head.
pub struct Router {
    pub(crate) options: RouterOptions,
    pub(crate) topology: Arc<Topology>,
    pub(crate) catalog: Arc<CatalogView>,
    pub(crate) placer: Arc<Placer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) tracer: Tracer,
    read_points: ReadPoints,
    lost_files: LostFiles,
    next_identifier: AtomicI64,
    _follow: EndsWithRouter,
}

struct EndsWithRouter(tokio::task::AbortHandle);

impl Drop for EndsWithRouter {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Router {
    pub fn new(parts: RouterParts) -> Arc<Router> {
        let RouterParts { options, topology, catalog, policy, clock, metrics, tracer } = parts;
        let placer = Placer::new(policy, Arc::clone(&topology), Arc::clone(&catalog));
        let follow = Arc::clone(&placer).run(metrics.clone());
        // It ends with the router: whoever places nothing any more needs no placement.
        let follow = tokio::spawn(follow).abort_handle();
        let next_identifier = AtomicI64::new((clock.unix_ms() << 18) as i64);
        Arc::new(Router {
            options,
            topology,
            catalog,
            placer,
            clock,
            metrics,
            tracer,
            _follow: EndsWithRouter(follow),
            read_points: ReadPoints::default(),
            lost_files: LostFiles::default(),
            next_identifier,
        })
    }

    /// Sub-queries for a call; `name` is that of their span.
    fn scatter<'a>(&'a self, call: &'a Call, what: &'static str, name: &'static str) -> Scatter<'a> {
        Scatter {
            topology: &self.topology,
            placement: self.placer.placement(),
            metrics: &self.metrics,
            call,
            what,
            span: call.span.child(name),
            rows: 0,
            patience: self.options.subquery_patience,
            request_patience: self.options.request_patience,
        }
    }

    /// Waits until this router has every change that any router has acknowledged: another one's client may ask this one
    /// next. While nobody writes nothing changes, and nobody is waited for.
    pub(crate) async fn catch_up(&self) {
        let Ok(writer) = self.topology.writer() else { return };
        let asked = tokio::time::timeout(CATCH_UP, writer.client.describe());
        if let Ok(Ok(said)) = asked.await
            && let Some(v) = said.schema_change
        {
            let _ = self.catalog.wait_for(Version { commit_seq: v.commit_seq, commit_id: v.commit_id }).await;
        }
    }

    /// Runs a catalog command at the writable node and waits until this router sees its effect.
    async fn change(&self, command: Command) -> Result<()> {
        let command = serde_json::to_vec(&command)
            .map_err(|e| Error::internal(format!("cannot encode the command: {e}")))?;
        let writer = self.topology.wait_for_writer().await?;
        let done = writer
            .client
            .change(ChangeRequest { command })
            .await
            .map_err(|e| unknown_outcome("change", e))?;
        let version = done.version.unwrap_or_default();
        let version = Version { commit_seq: version.commit_seq, commit_id: version.commit_id };
        // It is done, whether or not this router has heard of it in time.
        let _ = self.catalog.wait_for(version).await;
        Ok(())
    }
}

/// What a client is told of a change or write that failed. What may have happened is not marked as one to send again.
fn unknown_outcome(what: &str, failure: Failure) -> Error {
    match failure.kind {
        Kind::Transport | Kind::Broken => Error::new(
            Code::UNEXPECTED,
            format!("the {what} may or may not have been stored: {}", failure.error),
        ),
        _ => failure.error,
    }
}
