//! Becoming the writer: the lease, the epoch marker, the fences, the replay, and a new log that names them all.

use super::gc::LogFiles;
use super::replay::Replay;
use super::state::State;
use super::{Others, WriterParts, lost_commits};
use crate::deletes::Deletes;
use crate::directory::{claim_directory, mark_directory};
use crate::{Failure, Result};
use mishards_catalog::{Kind as CatalogKind, Lease, Loaded, Takeover};
use mishards_storage::{Kind as StorageKind, Storage};
use mishards_types::{Epoch, Incarnation, LogId, Sequence, checksum};
use mishards_wal::{Head, LogWriter, Options, Position, Predecessor, Record, Scan, read_log, set_fence};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const MARKER: &str = "epoch";
const POLL: Duration = Duration::from_millis(100);

/// The lease is ours.
pub struct Taken {
    pub log: LogId,
    pub loaded: Loaded,
}

/// What a replay leaves.
pub struct Recovered {
    pub state: State,
    pub log: LogWriter,
    pub files: LogFiles,
}

/// Takes the lease: at once where a lock proves that no other writer lives, else when nobody has renewed it for
/// TTL + 1 s on our own clock.
pub async fn take_over(parts: &WriterParts) -> Result<Taken> {
    let loaded = load_own(parts).await?;
    let incarnation = Incarnation(parts.entropy.next_u64());
    claim(parts, &loaded, incarnation).await?;
    let seen = match is_dead(parts, &loaded.lease)? {
        true => loaded.lease,
        false => wait_for_silence(parts, loaded.lease).await?,
    };
    let storage = Arc::clone(&parts.storage);
    let used = parts
        .pools
        .io(move || Ok(read_marker(&*storage)?.max(lost_commits::newest_term(&*storage)?)))
        .await?;
    let log = LogId { epoch: Epoch(seen.epoch.0.max(used.0) + 1), incarnation };
    // As late as can be: what is compared is what is taken over.
    let loaded = parts.catalog.load().await?.ok_or_else(|| Failure::internal("the catalog has gone"))?;
    let mut takeover = Takeover::new(seen, log, parts.entropy.next_u64());
    let storage = Arc::clone(&parts.storage);
    if let Some(repair) = parts.pools.io(move || lost_commits::find(&*storage, &loaded)).await? {
        tracing::warn!(
            changes = repair.changes.len(),
            commit = repair.commit_seq,
            "lost commits are made up for"
        );
        takeover.next.commit_seq = repair.commit_seq;
        takeover.changes = repair.changes;
    }
    if let Others::Lock(lock) = &parts.others {
        lock.note_terms(&[seen.epoch.0, log.epoch.0])?;
    }
    let taken = parts.catalog.take_over(&takeover).await;
    if let (Err(e), Others::Lock(lock)) = (&taken, &parts.others)
        && e.kind == CatalogKind::Fenced
    {
        // The new term is somebody else's.
        lock.note_terms(&[seen.epoch.0])?;
    }
    taken?;
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
    Ok(Taken { log, loaded })
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

/// Fences every open predecessor, replays them, and starts the new log.
pub async fn recover(parts: &WriterParts, taken: &Taken, deletes: &Arc<Deletes>) -> Result<Recovered> {
    let storage = Arc::clone(&parts.storage);
    let deletes = Arc::clone(deletes);
    let (log, loaded) = (taken.log, taken.loaded.clone());
    let options = Options { file_bytes: parts.ingest.log_file_bytes };
    parts.pools.io(move || replay_all(storage, log, loaded, options, &deletes)).await
}

fn replay_all(
    storage: Arc<dyn Storage>,
    log: LogId,
    loaded: Loaded,
    options: Options,
    deletes: &Deletes,
) -> Result<Recovered> {
    let mut logs: Vec<LogId> = loaded.snapshot.logs().map(|l| l.id()).filter(|id| *id != log).collect();
    logs.sort_unstable();
    let ends = find_ends(&*storage, log, &logs)?;
    let snapshot = Arc::new(loaded.snapshot);
    let newest_row = snapshot.segments().map(|s| s.max_timestamp).max().unwrap_or_default();
    let mut state = State::new(Arc::clone(&snapshot), Sequence(0), newest_row);
    deletes.reset(log.epoch);
    // What delta files hold is not replayed: a reader of an older V that lacks these files must be told so.
    snapshot.collections().for_each(|c| deletes.raise_floor(c.id, c.deltas_through));
    let mut files = LogFiles::default();
    let mut replay = Replay::new(&mut state, deletes);
    let mut last_timestamp = newest_row;
    for id in &logs {
        let Some(end) = ends.logs.get(id).filter(|p| p.end.file > 0) else { continue };
        let mut failure = None;
        let read = read_log(&*storage, *id, Scan { end: Some(end.end), ..Scan::default() }, &mut |record| {
            if failure.is_none() {
                failure = replay.record(record).err();
            }
        })
        .map_err(log_failure)?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        last_timestamp = last_timestamp.max(read.last_timestamp);
        files.found(*id, &read.files);
    }
    let rows = replay.finish()?;
    let predecessors: Vec<Predecessor> = ends.logs.into_values().collect();
    let last = predecessors.iter().map(|p| p.last).max().unwrap_or_default();
    state.advance(last, last_timestamp);
    deletes.advance(last);
    let head = Head { predecessors };
    let log_writer = LogWriter::create(storage, log, options, &head, &ends.last_group, last_timestamp)
        .map_err(log_failure)?;
    tracing::info!(logs = logs.len(), rows, last_sequence = last.0, "the log has been replayed");
    Ok(Recovered { state, log: log_writer, files })
}

struct Ends {
    logs: BTreeMap<LogId, Predecessor>,
    last_group: Vec<Record>,
}

/// Fixes where each predecessor ends: as a later log's head says, else where its last valid group ends now, after
/// it was fenced. A log without a head served nothing.
fn find_ends(storage: &dyn Storage, successor: LogId, logs: &[LogId]) -> Result<Ends> {
    let mut ends = Ends { logs: BTreeMap::new(), last_group: Vec::new() };
    for log in logs.iter().rev() {
        if ends.logs.contains_key(log) {
            continue;
        }
        set_fence(storage, *log, successor).map_err(log_failure)?;
        let read = read_log(storage, *log, Scan::default(), &mut |_| {}).map_err(log_failure)?;
        let first_file = read.files.first().map(|f| f.0);
        let served = read.head.is_some() || first_file.is_some_and(|f| f > 1);
        let (end, last) = if served { (read.end, read.last) } else { (Position::default(), Sequence(0)) };
        ends.logs.insert(*log, Predecessor { log: *log, end, last });
        if read.torn > 0 {
            tracing::warn!(log = %log, bytes = read.torn, "a torn tail was cut at the last complete group");
        }
        if served && ends.last_group.is_empty() {
            ends.last_group = read.last_group;
        }
        for p in read.head.into_iter().flat_map(|h| h.predecessors) {
            if logs.contains(&p.log) {
                ends.logs.entry(p.log).or_insert(p);
            }
        }
    }
    Ok(ends)
}

pub fn log_failure(e: mishards_wal::Error) -> Failure {
    match e {
        mishards_wal::Error::Fenced { .. } | mishards_wal::Error::Dead { .. } => Failure::not_writer(e),
        mishards_wal::Error::Storage(e) => Failure::from(mishards_types::Error::unavailable(e)),
        damaged => Failure::unreadable(damaged),
    }
}
