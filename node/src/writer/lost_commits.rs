//! A catalog that went back in time: a database that was restored from a backup, or failed over without its last
//! commits. The log has a record of every commit. What users had asked for in those that are lost is committed once
//! more, by the takeover itself; the rows and deletes that they had published are in the log still, and are replayed.
//! Where the log does not reach back that far, the start is refused: nothing is taken over, nothing is deleted.

use super::ddl::{changes_of, decode_record, is_commit};
use super::losses::Losses;
use crate::{Failure, Result};
use mishards_catalog::{Change, Entity, EntityKind, Loaded, LogEntry, Snapshot};
use mishards_proto::node::{LogCommit, log_record::Body};
use mishards_storage::Storage;
use mishards_types::{Code, CollectionId, Epoch, LogId, Sequence, Version};
use mishards_wal::{Position, Scan, read_log};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What a takeover makes up for.
pub struct Repair {
    /// Above every V that had been given out.
    pub commit_seq: u64,
    pub changes: Vec<Change>,
}

/// Compares the catalog with the log. `None` when no commit is lost. Commits that cannot be made up for are a loss.
pub fn find(storage: &dyn Storage, loaded: &Loaded, losses: &mut Losses) -> Result<Option<Repair>> {
    let logs = logs_of(storage, loaded)?;
    let Some((log, newest)) = newest_commit(storage, &logs, losses)? else { return Ok(None) };
    match made_up_for(storage, loaded, &logs, (log, &newest), losses) {
        Err(e) if losses.are_accepted() && e.error.code == Code::INTEGRITY => {
            losses.found(e)?;
            Ok(Some(Repair {
                commit_seq: newest.commit_seq.max(loaded.lease.version.commit_seq) + 1,
                changes: Vec::new(),
            }))
        }
        found => found,
    }
}

/// What the catalog lacks of the commits that the log names, up to `newest`.
fn made_up_for(
    storage: &dyn Storage,
    loaded: &Loaded,
    logs: &[LogId],
    (log, newest): (LogId, &LogCommit),
    losses: &mut Losses,
) -> Result<Option<Repair>> {
    let (seen, newest) = (loaded.lease.version, version_of(newest));
    if log.epoch > loaded.lease.epoch && newest.commit_seq < seen.commit_seq {
        return Err(refuse(
            seen,
            format!("log {log} of a term that it does not know goes on from another history"),
        ));
    }
    if newest.commit_seq < seen.commit_seq || newest == seen {
        return Ok(None);
    }
    tracing::error!(catalog = %seen, log = %newest, "the catalog has lost commits: looking for them in the log");
    let read = read_all(storage, logs, losses)?;
    let lost = lost_commits(&read, seen)?;
    check_files(storage, &loaded.snapshot)?;
    let mut changes = repair(&loaded.snapshot, &lost);
    let known: BTreeSet<LogId> = loaded.snapshot.logs().map(LogEntry::id).collect();
    let unknown = logs.iter().filter(|id| !known.contains(id));
    for id in unknown {
        let begun = !numbers_of(storage, *id)?.is_empty();
        changes.push(Change::Put(Entity::Log(LogEntry {
            epoch: id.epoch,
            incarnation: id.incarnation,
            begun,
        })));
    }
    Ok(Some(Repair { commit_seq: newest.commit_seq + 1, changes }))
}

/// The highest term that has a log, whether the catalog knows it or not.
pub fn newest_term(storage: &dyn Storage) -> Result<Epoch> {
    let names = storage.list("log")?;
    let logs = names.iter().filter_map(|e| e.name.split('/').next().and_then(LogId::parse));
    Ok(logs.map(|id| id.epoch).max().unwrap_or_default())
}

fn refuse(seen: Version, why: String) -> Failure {
    Failure::unreadable(format!(
        "the catalog is at {seen}, the log knows of newer commits, and {why}: restore a newer copy of the catalog. Without one, `mishards \
         repair` shows what is lost, and `mishards repair --accept-loss` gives it up"
    ))
}

/// The logs that the catalog names, and those of terms that it does not remember.
fn logs_of(storage: &dyn Storage, loaded: &Loaded) -> Result<Vec<LogId>> {
    let mut logs: BTreeSet<LogId> = loaded.snapshot.logs().map(LogEntry::id).collect();
    for entry in storage.list("log")? {
        let id = entry.name.split('/').next().and_then(LogId::parse);
        logs.extend(id.filter(|id| id.epoch > loaded.lease.epoch));
    }
    Ok(logs.into_iter().collect())
}

/// The numbers of a log's files, ascending.
fn numbers_of(storage: &dyn Storage, log: LogId) -> Result<Vec<u64>> {
    let mut numbers: Vec<u64> =
        storage.list(&format!("log/{log}"))?.iter().filter_map(|e| e.name.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The last commit that a log names. Most often it stands in the last file; each file is read once at most.
fn newest_commit(
    storage: &dyn Storage,
    logs: &[LogId],
    losses: &mut Losses,
) -> Result<Option<(LogId, LogCommit)>> {
    for log in logs.iter().rev() {
        for from in numbers_of(storage, *log)?.into_iter().rev() {
            let end = Some(Position { file: from, offset: u64::MAX });
            let commits = read_commits(storage, *log, Scan { from, end, ..Scan::default() }, losses)?.0;
            if let Some(commit) = commits.into_iter().max_by_key(|c| c.commit_seq) {
                return Ok(Some((*log, commit)));
            }
        }
    }
    Ok(None)
}

/// What the records of one commit say together.
#[derive(Debug, Clone, Default)]
struct Known {
    version: Version,
    /// 0 when no record knows.
    needed_before: u64,
    needed_after: u64,
    changes: Vec<Change>,
    /// All that users had made by then.
    whole: Option<Vec<Change>>,
}

/// All commits in some logs by number, and the first sequence that is left.
#[derive(Default)]
struct Read {
    commits: BTreeMap<u64, Known>,
    first: Sequence,
}

impl Read {
    /// A commit may have been logged again later: then its own record knows more.
    fn add(&mut self, commit: &LogCommit) -> Option<()> {
        let changes = changes_of(commit)?;
        let known = self.commits.entry(commit.commit_seq).or_insert_with(|| Known {
            version: version_of(commit),
            needed_after: commit.needed_after,
            ..Known::default()
        });
        if known.needed_before == 0 {
            known.needed_before = commit.needed_before;
        }
        known.needed_after = known.needed_after.min(commit.needed_after);
        match commit.whole {
            true => known.whole = Some(changes),
            false if known.changes.is_empty() => known.changes = changes,
            false => {}
        }
        Some(())
    }
}

fn read_all(storage: &dyn Storage, logs: &[LogId], losses: &mut Losses) -> Result<Read> {
    let mut read = Read { first: Sequence(u64::MAX), ..Read::default() };
    for log in logs {
        let (commits, first) = read_commits(storage, *log, Scan::default(), losses)?;
        for commit in commits {
            let damaged = || {
                Failure::unreadable(format!(
                    "the log's record of commit {} cannot be decoded",
                    commit.commit_seq
                ))
            };
            read.add(&commit).ok_or_else(damaged)?;
        }
        read.first = read.first.min(first.unwrap_or(read.first));
    }
    Ok(read)
}

fn read_commits(
    storage: &dyn Storage,
    log: LogId,
    scan: Scan,
    losses: &mut Losses,
) -> Result<(Vec<LogCommit>, Option<Sequence>)> {
    let (mut commits, mut first) = (Vec::new(), None);
    let mut damaged = None;
    let scan = Scan { lossy: losses.are_accepted(), ..scan };
    let read = read_log(storage, log, scan, &mut |record| {
        first = first.or(Some(record.sequence));
        if !is_commit(&record.payload) {
            return;
        }
        match decode_record(&record.payload).and_then(|r| r.body) {
            Some(Body::Commit(commit)) => commits.push(commit),
            _ => damaged = Some(record.sequence),
        }
    });
    losses.of_log(read)?;
    if let Some(sequence) = damaged {
        losses.found(format_args!("log record {sequence} cannot be decoded"))?;
    }
    Ok((commits, first))
}

/// The commits after `seen`, if the log still has every record that a replay from there needs.
fn lost_commits(read: &Read, seen: Version) -> Result<Vec<&Known>> {
    if let Some(same) = read.commits.get(&seen.commit_seq).filter(|c| c.version != seen) {
        let what = format!("commit {} is another one there ({})", seen.commit_seq, same.version);
        return Err(refuse(seen, what));
    }
    // The record of the next commit may not have been written in time.
    let next = read.commits.get(&(seen.commit_seq + 1)).map(|c| c.needed_before);
    let last = || read.commits.range(..=seen.commit_seq).next_back().map(|(_, c)| c.needed_after);
    let needed = next.filter(|needed| *needed > 0).or_else(last);
    let Some(needed) = needed else {
        return Err(refuse(seen, "it does not reach back to that one".to_owned()));
    };
    if read.first.0 > needed {
        return Err(refuse(
            seen,
            format!("record {needed} is needed, while the log begins with {}", read.first),
        ));
    }
    let lost: Vec<&Known> = read.commits.range(seen.commit_seq + 1..).map(|(_, c)| c).collect();
    // A commit without a record, of a writer that died in between, is made up for by the next that says all.
    let last_whole = lost.iter().rposition(|c| c.whole.is_some());
    let after = last_whole.map_or(&lost[..], |at| &lost[at..]);
    let first = last_whole.map_or(seen.commit_seq + 1, |at| lost[at].version.commit_seq);
    if let Some((expected, _)) = (first..).zip(after).find(|(n, c)| *n != c.version.commit_seq) {
        return Err(refuse(seen, format!("it has no record of commit {expected}")));
    }
    Ok(lost)
}

/// Files that the older catalog names may have been unlinked since.
fn check_files(storage: &dyn Storage, snapshot: &Snapshot) -> Result<()> {
    let mut found: HashMap<String, u64> = HashMap::new();
    for dir in ["segments", "deltas"] {
        found.extend(storage.list(dir)?.into_iter().map(|e| (format!("{dir}/{}", e.name), e.bytes)));
    }
    let of_segments = snapshot.segments().flat_map(|s| s.all_files());
    let mut named = of_segments.chain(snapshot.deltas().map(|d| &d.file));
    match named.find(|file| found.get(&file.path) != Some(&file.bytes)) {
        Some(file) => Err(Failure::unreadable(format!(
            "the catalog has lost commits, and {} is not there any more as it was: restore a newer copy of the catalog",
            file.path
        ))),
        None => Ok(()),
    }
}

/// What users changed in commits that are lost, over what is left.
fn repair(left: &Snapshot, lost: &[&Known]) -> Vec<Change> {
    let mut now = left.clone();
    let mut out: Vec<Change> = Vec::new();
    for commit in lost {
        let own = commit.changes.iter().cloned();
        let whole =
            commit.whole.iter().flat_map(|whole| gone_from(&now, whole).into_iter().chain(whole.clone()));
        let changes: Vec<Change> = own.chain(whole).filter_map(|c| over(left, c)).collect();
        now = now.apply(commit.version, &changes);
        out.extend(changes);
    }
    out.extend(without_parents(&now));
    out
}

/// What is not in a whole list any more.
fn gone_from(now: &Snapshot, whole: &[Change]) -> Vec<Change> {
    let kept: BTreeSet<(EntityKind, String)> = whole
        .iter()
        .filter_map(|change| match change {
            Change::Put(entity) => Some((entity.kind(), entity.key())),
            Change::Remove(..) => None,
        })
        .collect();
    let all = now.made_by_users().map(|entity| (entity.kind(), entity.key()));
    all.filter(|entity| !kept.contains(entity)).map(|(kind, key)| Change::Remove(kind, key)).collect()
}

/// A change with the watermarks of what is left: the files that newer ones stand for are not in this catalog. What is
/// not in it at all has everything in the log.
fn over(left: &Snapshot, change: Change) -> Option<Change> {
    match change {
        Change::Put(Entity::Collection(mut c)) => {
            c.deltas_through = left.collection(c.id).map_or(Sequence(0), |old| old.deltas_through);
            Some(Change::Put(Entity::Collection(c)))
        }
        Change::Put(Entity::Partition(mut p)) => {
            p.flushed_through = left.partition(p.id).map_or(Sequence(0), |old| old.flushed_through);
            Some(Change::Put(Entity::Partition(p)))
        }
        Change::Put(Entity::Segment(_) | Entity::DeltaFile(_) | Entity::Log(_)) => None,
        Change::Put(other) => Some(Change::Put(other)),
        Change::Remove(EntityKind::Segment | EntityKind::DeltaFile | EntityKind::Log, _) => None,
        Change::Remove(kind, key) => Some(Change::Remove(kind, key)),
    }
}

/// Rows whose collection or partition was dropped.
fn without_parents(now: &Snapshot) -> Vec<Change> {
    let gone = |id: CollectionId| now.collection(id).is_none();
    let segments = now.segments().filter(|s| gone(s.collection) || now.partition(s.partition).is_none());
    let segments = segments.map(|s| Change::Remove(EntityKind::Segment, s.id.to_string()));
    let deltas = now.deltas().filter(|d| gone(d.collection));
    let deltas = deltas.map(|d| Change::Remove(EntityKind::DeltaFile, d.id.to_string()));
    segments.chain(deltas).collect()
}

fn version_of(commit: &LogCommit) -> Version {
    Version { commit_seq: commit.commit_seq, commit_id: commit.commit_id }
}
