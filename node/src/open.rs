//! Opening segments ahead of their first search, and closing them when they are not needed any more.

use crate::cancel::Cancel;
use crate::read::ReadScope;
use crate::service::Node;
use crate::{Failure, Result};
use mishards_proto::node::{CloseRequest, CloseResponse, OpenRequest, OpenResponse};
use mishards_types::{SegmentId, Sequence};
use std::sync::Arc;

impl Node {
    /// Opens what a scope is about, one segment after another: one that cannot be opened keeps no other closed.
    pub(crate) async fn run_open(&self, request: OpenRequest) -> Result<OpenResponse> {
        let scope = Arc::new(ReadScope::decode(request.scope, &Cancel::default())?);
        let mut opened = 0;
        let mut failure = None;
        for segment in scope.segments.clone() {
            let (cache, scope) = (Arc::clone(&self.inner.cache), Arc::clone(&scope));
            let open = move || {
                let deltas = crate::segment_cache::Deltas {
                    files: &scope.deltas,
                    through: scope.deltas_through,
                    needed: Sequence(0),
                };
                cache.open(&segment, &scope.schema, &deltas)
            };
            match self.inner.pools.io(open).await {
                Ok(_) => opened += 1,
                Err(e) => failure = Some(e),
            }
        }
        match failure {
            Some(failure) if opened == 0 => Err(failure),
            _ => Ok(OpenResponse { segments: opened }),
        }
    }

    pub(crate) async fn run_close(&self, request: CloseRequest) -> Result<CloseResponse> {
        let cache = Arc::clone(&self.inner.cache);
        // Unmapping a large file takes its time.
        let close = move || {
            let closed = request.segments.into_iter().filter(|id| cache.close(SegmentId(*id))).count();
            Ok::<u32, Failure>(closed as u32)
        };
        Ok(CloseResponse { segments: self.inner.pools.io(close).await? })
    }
}
