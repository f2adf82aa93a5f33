//! Becoming the writer: the lease, the epoch marker, the fences, the replay, and a new log that names them all.

use super::losses::Losses;
use super::reserve::make_room;
use super::{Others, WriterParts, lost_commits};
use crate::directory::{claim_directory, mark_directory};
use crate::{Failure, Result};
use mishards_catalog::{Change, EntityKind, Kind as CatalogKind, Lease, Loaded, LogEntry, Takeover};
use mishards_storage::{Kind as StorageKind, Storage};
use mishards_types::{Code, Epoch, Error, Incarnation, LogId, checksum};
use std::sync::Arc;
use std::time::Duration;

const MARKER: &str = "epoch";
const POLL: Duration = Duration::from_millis(100);

/// The lease is ours.
pub struct Taken {
    pub log: LogId,
    pub loaded: Loaded,
    pub losses: Losses,
}

/// Takes the lease: at once where a lock proves that no other writer lives, else when nobody has renewed it for
/// TTL + 1 s on our own clock.
pub async fn take_over(parts: &WriterParts) -> Result<Taken> {
    make_room(parts).await?;
    let loaded = load_own(parts).await?;
    let incarnation = Incarnation(parts.entropy.next_u64());
    claim(parts, &loaded, incarnation).await?;
    let seen = match is_dead(parts, &loaded.lease)? {
        true => loaded.lease,
        false => wait_for_silence(parts, loaded.lease).await?,
    };
    let storage = Arc::clone(&parts.storage);
    let used = parts.pools.io(move || newest_term(&*storage)).await?;
    let log = LogId { epoch: Epoch(seen.epoch.0.max(used.0) + 1), incarnation };
    // As late as can be: what is compared is what is taken over.
    let loaded = parts.catalog.load().await?.ok_or_else(|| Failure::internal("the catalog has gone"))?;
    let mut takeover = Takeover::new(seen, log, parts.entropy.next_u64());
    let storage = Arc::clone(&parts.storage);
    let mut losses = Losses::new(parts.accept_losses);
    let find = move || {
        let repair = lost_commits::find(&*storage, &loaded, &mut losses)?;
        Ok((repair, losses, never_begun(&*storage, &loaded)?))
    };
    let (repair, losses, forgotten) = parts.pools.io(find).await?;
    if let Some(repair) = repair {
        tracing::warn!(
            changes = repair.changes.len(),
            commit = repair.commit_seq,
            "lost commits are made up for"
        );
        takeover.next.commit_seq = repair.commit_seq;
        takeover.changes = repair.changes;
    }
    takeover.changes.extend(forgotten.iter().map(|id| Change::Remove(EntityKind::Log, id.to_string())));
    if let Others::Lock(lock) = &parts.others {
        lock.note_terms(&[seen.epoch.0, log.epoch.0])?;
    }
    parts.terms.list().push(log);
    let taken = parts.catalog.take_over(&takeover).await;
    if let (Err(e), Others::Lock(lock)) = (&taken, &parts.others)
        && e.kind == CatalogKind::Fenced
    {
        // The new term is somebody else's.
        lock.note_terms(&[seen.epoch.0])?;
    }
    taken?;
    // A catalog that was put back knows nothing of a writer that has begun since the look above.
    let storage = Arc::clone(&parts.storage);
    let newest = parts.pools.io(move || newest_term(&*storage)).await?;
    if newest >= log.epoch {
        return Err(Failure::not_writer(format!(
            "a log of epoch {newest} has appeared while log {log} took over, trying again"
        )));
    }
    let storage = Arc::clone(&parts.storage);
    let (cluster, entropy) = (parts.node.cluster_id.clone(), Arc::clone(&parts.entropy));
    let mark = move || {
        write_marker(&*storage, log.epoch)?;
        mark_directory(&*storage, &cluster, log.incarnation, &*entropy)
    };
    parts.pools.io(mark).await?;
    let loaded = parts.catalog.load().await?.ok_or_else(|| Failure::internal("the catalog has gone"))?;
    check_ours(&loaded.lease, log)?;
    tracing::info!(log = %log, version = %loaded.lease.version, "took over as the writer");
    Ok(Taken { log, loaded, losses })
}

/// Logs that a start left which failed before it began them, and that are fenced: they can never begin. Without this each
/// failed start would slow all later ones.
fn never_begun(storage: &dyn Storage, loaded: &Loaded) -> Result<Vec<LogId>> {
    let mut found = Vec::new();
    for log in loaded.snapshot.logs().filter(|log| !log.begun).map(LogEntry::id) {
        let is_only_fence =
            storage.list(&format!("log/{log}"))?.iter().all(|e| e.name.starts_with(mishards_wal::FENCE));
        if is_only_fence && mishards_wal::is_set(storage, log).map_err(log_failure)? {
            found.push(log);
        }
    }
    Ok(found)
}

/// Sees that the shared directory is the one that the catalog's files are in.
async fn claim(parts: &WriterParts, loaded: &Loaded, incarnation: Incarnation) -> Result<()> {
    let (storage, cluster) = (Arc::clone(&parts.storage), parts.node.cluster_id.clone());
    let is_new = loaded.lease.epoch == Epoch(0);
    let logs: Vec<Incarnation> = loaded.snapshot.logs().map(|log| log.incarnation).collect();
    parts.pools.io(move || claim_directory(&*storage, &cluster, is_new, &logs, incarnation)).await
}

async fn load_own(parts: &WriterParts) -> Result<Loaded> {
    parts.catalog.migrate(&parts.node.cluster_id).await?;
    let loaded = parts
        .catalog
        .load()
        .await?
        .ok_or_else(|| Failure::internal("the catalog is empty after its migration"))?;
    if loaded.cluster_id != parts.node.cluster_id {
        return Err(Failure::internal(format!(
            "the catalog belongs to cluster {:?}, this node to {:?}: correct cluster.id or cluster.catalog",
            loaded.cluster_id, parts.node.cluster_id
        )));
    }
    Ok(loaded)
}

/// Waits until nobody has renewed the lease for longer than it lives. Changes nothing: the wait may be given up.
pub async fn silent_lease(parts: &WriterParts) -> Result<Lease> {
    let loaded = load_own(parts).await?;
    wait_for_silence(parts, loaded.lease).await
}

/// Whether the holder of the lease is known to be dead: then nobody has to wait for the lease. The lock proves it only
/// of a writer that had the lock.
fn is_dead(parts: &WriterParts, lease: &Lease) -> Result<bool> {
    Ok(match &parts.others {
        Others::Dead => true,
        Others::Lock(lock) => lease.epoch == Epoch(0) || lock.terms()?.contains(&lease.epoch.0),
        Others::Silent(seen) => seen == lease,
        Others::Unknown => false,
    })
}

fn check_ours(lease: &Lease, log: LogId) -> Result<()> {
    if (lease.epoch, lease.incarnation) == (log.epoch, log.incarnation) {
        return Ok(());
    }
    Err(Failure::not_writer(format!(
        "epoch {} has taken the lease over before log {log} could begin",
        lease.epoch
    )))
}

/// After the new log was begun: whoever took over meanwhile may have come and gone before there was a log to fence.
pub async fn confirm(parts: &WriterParts, log: LogId) -> Result<()> {
    check_ours(&parts.catalog.lease().await?, log)
}

async fn wait_for_silence(parts: &WriterParts, mut seen: Lease) -> Result<Lease> {
    let patience = parts.ingest.lease_ttl + Duration::from_secs(1);
    let mut since = parts.clock.elapsed();
    while parts.clock.elapsed().saturating_sub(since) < patience {
        tokio::time::sleep(POLL).await;
        let now = parts.catalog.lease().await?;
        if now != seen {
            seen = now;
            since = parts.clock.elapsed();
        }
    }
    Ok(seen)
}

/// The newest term that the directory knows of.
pub fn newest_term(storage: &dyn Storage) -> Result<Epoch> {
    Ok(read_marker(storage)?.max(lost_commits::newest_term(storage)?))
}

/// The epoch in the marker file; 0 when there is none. Its format is that of the directory, whose marker was read before: a
/// newer one is refused there.
fn read_marker(storage: &dyn Storage) -> Result<Epoch> {
    let bytes = match storage.read(MARKER) {
        Ok(bytes) => bytes,
        Err(e) if e.kind == StorageKind::NotFound => return Ok(Epoch(0)),
        Err(e) => return Err(e.into()),
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut words = text.split_whitespace();
    let epoch = words.next().and_then(|w| w.parse().ok());
    let sum = words.next().and_then(|w| u64::from_str_radix(w, 16).ok());
    match (epoch, sum) {
        (Some(epoch), Some(sum)) if sum == checksum(&u64::to_le_bytes(epoch)) => Ok(Epoch(epoch)),
        _ => Err(Failure::unreadable(format!(
            "{MARKER}: the epoch marker cannot be read; restore it, or delete it if no other writer lives"
        ))),
    }
}

fn write_marker(storage: &dyn Storage, epoch: Epoch) -> Result<()> {
    let text = format!("{} {:016x}\n", epoch.0, checksum(&epoch.0.to_le_bytes()));
    Ok(storage.replace(MARKER, text.as_bytes())?)
}

pub fn log_failure(e: mishards_wal::Error) -> Failure {
    match e {
        mishards_wal::Error::Fenced { .. } | mishards_wal::Error::Dead { .. } => Failure::not_writer(e),
        full @ mishards_wal::Error::Full { .. } => {
            Failure::from(Error::new(Code::DISK_LIMIT, full.to_string()))
        }
        mishards_wal::Error::Storage(e) => Failure::from(mishards_types::Error::unavailable(e)),
        damaged => Failure::unreadable(damaged),
    }
}
