//! Who writes: the writable node stands by until nobody else writes, then takes over.
//!
//! On a local file system a lock on the shared directory proves that the writer which had it is dead, and its successor
//! goes on at once. Where the lock cannot be had (another host's writer, or one of this host that is stopped), the lease
//! decides: it is taken when nobody has renewed it for its TTL and a second.
//!
//! A term that has ended by itself (a sync that failed, a catalog that went back in time) is followed by another one of the
//! same process, which answers reads meanwhile.

use crate::parts::Base;
use crate::peers::Peers;
use mishards_node::{Node, Others, Writer, WriterParts, silent_lease};
use mishards_storage::DirLock;
use mishards_types::Code;
use std::sync::Arc;
use std::time::Duration;

const AGAIN: Duration = Duration::from_secs(1);

/// Stands by until this node is the writer. An error is one that waiting does not mend.
pub async fn become_writer(node: &Node, parts: &WriterParts, base: &Base) -> Result<Arc<Writer>, String> {
    let lock_tells = base.is_local()?;
    let mut lock = if lock_tells { base.lock.get().ok() } else { None };
    loop {
        let others = match &lock {
            Some(lock) => Ok(Others::Lock(Arc::clone(lock))),
            // Only the wait may be given up: a takeover goes to its end.
            None => tokio::select! {
                silent = silent_lease(parts) => silent.map(Others::Silent),
                // The last writer has died while its lease was waited for.
                freed = locked(base), if lock_tells => {
                    lock = Some(freed);
                    continue;
                }
            },
        };
        let taken = match others {
            Ok(others) => node.become_writer(WriterParts { others, ..parts.clone() }).await,
            Err(e) => Err(e),
        };
        match taken {
            Ok(writer) => {
                if lock_tells {
                    base.lock.keep(lock, writer.log_id().epoch.0);
                }
                return Ok(writer);
            }
            // Damage, or the wrong cluster: waiting does not mend it.
            Err(e) if matches!(e.error.code, Code::INTERNAL | Code::INTEGRITY) => return Err(e.to_string()),
            Err(e) => tracing::warn!(error = %e, "this node is not the writer yet, trying again"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Makes a node the writable one again after each end of its term. Where there are `others`, one of them may be that
/// meanwhile: then it is followed. The answer says why this node cannot write any more.
pub async fn stay_writer(
    node: &Node,
    parts: &WriterParts,
    base: &Base,
    others: Option<Arc<Peers>>,
    first: Arc<Writer>,
) -> String {
    let mut writer = first;
    loop {
        writer.ended().await;
        let ended = writer.log_id();
        node.retire(writer);
        // Without the database there is no new term either; reads go on.
        if others.is_none()
            && let Ok(lease) = parts.catalog.lease().await
            && lease.epoch > ended.epoch
        {
            return format!("another writer has taken over: epoch {} has begun after {ended}", lease.epoch);
        }
        tracing::warn!(log = %ended, "answering reads until a new term has begun");
        let follow = others.clone().map(|peers| tokio::spawn(node.follow_log(peers, parts.ingest.window)));
        let again = become_writer(node, parts, base).await;
        follow.inspect(|follow| follow.abort());
        match again {
            Ok(again) => writer = again,
            Err(e) => return e,
        }
        tracing::info!(log = %writer.log_id(), "a new term has begun, writes go on");
    }
}

async fn locked(base: &Base) -> Arc<DirLock> {
    loop {
        if let Ok(lock) = base.lock.get() {
            return lock;
        }
        tokio::time::sleep(AGAIN / 4).await;
    }
}
