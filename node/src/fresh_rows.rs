//! The rows that are in no file at a V: the writable node has them, and a standby that follows its log.

use crate::read::ReadScope;
use crate::service::Node;
use crate::unit::Unit;
use crate::writer::View;
use crate::{Failure, Kind, Result};
use mishards_catalog::{DeltaFile, Segment};
use mishards_types::{Epoch, Error, Sequence};
use std::sync::Arc;
use std::time::Duration;

/// Every row that is not in V.
pub struct FreshRows {
    /// Growing rows.
    pub growing: Vec<Arc<Unit>>,
    /// Segments that were written from growing rows after V.
    pub segments: Vec<Arc<Segment>>,
    pub deltas: Vec<DeltaFile>,
    pub deltas_through: Sequence,
}

impl Node {
    /// What this node has of an epoch's rows, how long what is removed stays readable, and whether nobody has more.
    fn view_of(&self, epoch: Epoch) -> Result<(Arc<View>, Duration, bool)> {
        let inner = &self.inner;
        let tail = || Some((inner.standby.load_full()?, inner.standby.load_full()?.view()?));
        match (self.writer(), tail()) {
            // Whoever asks knows of a newer term than this writer does.
            (Ok(writer), _) if writer.log_id().epoch < epoch => {
                Err(Failure::not_writer(format!("epoch {epoch} has begun")))
            }
            (Ok(writer), _) => Ok((writer.view(), writer.window(), true)),
            (Err(_), Some((standby, tail))) if tail.epoch == epoch => {
                Ok((Arc::clone(&tail.view), standby.window, false))
            }
            (Err(_), Some((_, tail))) => Err(Failure::not_caught_up(format!(
                "node {} follows epoch {}, not {epoch}",
                inner.options.name, tail.epoch
            ))),
            (Err(failure), None) => Err(failure),
        }
    }

    /// Every row of a scope that is not in V, as it is at T.
    pub(crate) fn fresh_rows(&self, scope: &ReadScope) -> Result<FreshRows> {
        let (view, window, has_all) = self.view_of(scope.epoch)?;
        let snapshot = &view.snapshot;
        // The router has yet to hear that the cluster was put back to an older copy.
        if has_all && scope.version.commit_seq > snapshot.version.commit_seq {
            return Err(Failure::too_old(format!(
                "V {} is of another past than this term, whose newest is {}",
                scope.version, snapshot.version
            )));
        }
        if scope.version.commit_seq > snapshot.version.commit_seq || view.applied_timestamp < scope.timestamp
        {
            return Err(Failure::not_caught_up(format!(
                "V {} or T {} is not here yet",
                scope.version, scope.timestamp
            )));
        }
        if !snapshot.knows(scope.version) {
            return Err(Failure::too_old(format!(
                "V {} is not in the history up to {}",
                scope.version, snapshot.version
            )));
        }
        // Merges have left out rows that were dead for longer than the window.
        let oldest = view.applied_timestamp.minus_ms(window.as_millis() as u64);
        if scope.timestamp < oldest {
            let text =
                format!("the read is at {}, older than the window: begin anew", scope.timestamp.unix_ms());
            return Err(Failure::new(Kind::Refused, Error::new(mishards_types::Code(11), text)));
        }
        // Its growing rows went with it.
        let Some(collection) = snapshot.collection(scope.collection) else {
            return Err(Failure::too_old(format!("collection {} has been dropped", scope.collection)));
        };
        if snapshot.has_dropped_since(scope.version.commit_seq, scope.collection, &scope.partitions) {
            return Err(Failure::too_old(format!(
                "a partition of collection {} was dropped after V {}",
                scope.collection, scope.version
            )));
        }
        let wanted =
            |s: &Arc<Segment>| scope.partitions.is_empty() || scope.partitions.contains(&s.partition);
        Ok(FreshRows {
            growing: view.growing_units(scope.collection, &scope.partitions),
            segments: snapshot
                .flushed_since(scope.version, scope.collection)
                .into_iter()
                .filter(wanted)
                .collect(),
            deltas: snapshot.recent_deltas_of(scope.collection).map(|d| (**d).clone()).collect(),
            deltas_through: collection.deltas_through,
        })
    }
}
