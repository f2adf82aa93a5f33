//! Renewing the lease: the election only. While the database is away the fence keeps writes safe, so a renewal that
//! fails for that reason ends nothing.

use super::Writer;
use mishards_catalog::Kind;
use std::sync::Arc;

impl Writer {
    pub(super) async fn renew_lease(self: Arc<Writer>) {
        let every = self.parts.ingest.lease_ttl / 3;
        while !self.has_ended() {
            tokio::time::sleep(every).await;
            match self.parts.catalog.renew(self.log_id.epoch, self.log_id.incarnation).await {
                Ok(_) => {}
                Err(e) if e.kind == Kind::Fenced => self.step_down(&e),
                Err(e) => tracing::warn!(error = %e, "the lease could not be renewed"),
            }
        }
    }
}
