//! What an operator does about a start that is refused: look at what is missing, and write out what is left.

use super::losses::Losses;
use super::{Writer, WriterParts, lost_commits, recovery};
use crate::{Failure, Result};
use mishards_catalog::{Change, EntityKind, LogEntry, Snapshot};
use std::sync::Arc;

/// What a start of these parts would refuse, a line each; nothing when it would not be. Changes nothing. The writable
/// node must be stopped, or its log is read while it grows.
pub async fn find_losses(parts: &WriterParts) -> Result<Vec<String>> {
    let loaded = parts.catalog.load().await?.ok_or_else(|| {
        Failure::internal("the catalog is empty: no writable node has ever been started with it")
    })?;
    let storage = Arc::clone(&parts.storage);
    let look = move || {
        let mut losses = Losses::new(true);
        lost_commits::find(&*storage, &loaded, &mut losses)?;
        recovery::examine(&*storage, &Arc::new(loaded.snapshot), &mut losses)?;
        Ok(losses.into_lines())
    };
    parts.pools.io(look).await
}

impl Writer {
    /// What was given up at the start, a line each.
    pub fn losses(&self) -> &[String] {
        &self.losses
    }

    /// Writes all growing rows and pending deletes to files, so that no part of the log is needed any more.
    pub async fn write_out(&self) -> Result<()> {
        self.flush(&[], true).await?;
        self.publish_deltas(Some(self.view().applied.next())).await?;
        // The newest commit's record must say that nothing is needed before it.
        self.log_version(super::ddl::Needed::unknown).await?;
        // Nothing of the logs before is needed any more, and what is wrong with them must not refuse the next start.
        let forget = |snapshot: &Snapshot| {
            let others = snapshot.logs().map(LogEntry::id).filter(|id| *id != self.log_id);
            Ok(others.map(|id| Change::Remove(EntityKind::Log, id.to_string())).collect())
        };
        self.commit(forget, |_| {}).await.map(drop)
    }
}
