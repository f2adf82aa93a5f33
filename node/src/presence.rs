//! Proof of the catalog that a node belongs to: it writes there, and says what it wrote. Whoever sees the same catalog finds
//! it; a copy of the catalog stands still.

use crate::service::Node;
use crate::{Failure, Result};
use mishards_proto::node::{HeldLease, ProveResponse};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Where this node says that it is there, if that is the catalog.
#[tonic::async_trait]
pub trait Presence: Send + Sync + 'static {
    /// Writes a heartbeat now. The answer is its number.
    async fn beat(&self) -> std::result::Result<u64, String>;
}

impl Node {
    /// Names the catalog's table of nodes as where this node is found. Once, before it serves.
    pub fn found_by(&self, presence: Arc<dyn Presence>) {
        // A second one would be a mistake of the caller's, and the first is as good.
        let _ = self.inner.presence.set(presence);
    }

    pub(crate) async fn run_prove(&self) -> Result<ProveResponse> {
        let mut proof = ProveResponse::default();
        if let Ok(writer) = self.writer() {
            let lease = writer.renew().await.map_err(Failure::from)?;
            let (epoch, incarnation) = (lease.epoch.0, lease.incarnation.0);
            proof.lease = Some(HeldLease { epoch, incarnation, counter: lease.counter });
        }
        // One that leaves has taken its row back.
        let presence = self.inner.presence.get().filter(|_| !self.inner.leaving.load(Ordering::Relaxed));
        if let Some(presence) = presence {
            proof.beat = Some(presence.beat().await.map_err(Failure::internal)?);
        }
        Ok(proof)
    }
}
