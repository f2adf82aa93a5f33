//! What an operator does with a cluster that is stopped: look at what is missing of one whose start is refused, write out
//! what is left, and make a copy a cluster of its own.

use super::losses::Losses;
use super::{Writer, WriterParts, lost_commits, recovery, takeover};
use crate::directory::rename_directory;
use crate::{Failure, Result};
use mishards_catalog::{Change, EntityKind, LogEntry, Snapshot};
use mishards_storage::Entry;
use mishards_types::Epoch;
use std::sync::Arc;
use std::time::Duration;

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

/// Gives a copy of a cluster, its catalog and its directory, another name and another identity. The copy's nodes must be
/// stopped: waits until nobody has renewed the lease for longer than it lives, and refuses while somebody does. May be
/// repeated after it broke off. The answer is the name that it had.
pub async fn rename_cluster(parts: &WriterParts, name: &str) -> Result<String> {
    let loaded = parts.catalog.load().await?.ok_or_else(|| {
        Failure::internal("the catalog is empty: no writable node has ever been started with it")
    })?;
    let before = directory_now(parts).await?;
    let patience = parts.ingest.lease_ttl + Duration::from_secs(1);
    tokio::time::sleep(patience).await;
    let now = parts.catalog.lease().await?;
    if now != loaded.lease {
        return Err(Failure::internal(format!(
            "the lease of term {} is being renewed: a writable node of this catalog lives. Stop it first; is this the copy?",
            now.epoch
        )));
    }
    let after = directory_now(parts).await?;
    if before != after {
        return Err(Failure::internal(
            "the log in the shared directory grows: a writable node of another catalog lives in it. Is cluster.shared_dir that of the \
             copy?",
        ));
    }
    if after.0 > loaded.lease.epoch {
        return Err(Failure::internal(format!(
            "the shared directory has been written to in term {}, the catalog knows terms up to {}: they are not of one copy. Is \
             cluster.shared_dir that of the copy?",
            after.0, loaded.lease.epoch
        )));
    }
    let (storage, entropy, to) = (Arc::clone(&parts.storage), Arc::clone(&parts.entropy), name.to_owned());
    parts.pools.io(move || rename_directory(&*storage, &to, &*entropy)).await?;
    parts.catalog.rename(name).await?;
    Ok(loaded.cluster_id)
}

/// The newest term of the shared directory, and the files of its logs.
async fn directory_now(parts: &WriterParts) -> Result<(Epoch, Vec<Entry>)> {
    let storage = Arc::clone(&parts.storage);
    let look = move || Ok((takeover::newest_term(&*storage)?, storage.list("log")?));
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
