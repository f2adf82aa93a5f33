//! Files that no row of the catalog names: left by a writer that died between writing them and its commit. A takeover
//! has proven that the catalog and the log together hold everything, so those of earlier terms are not needed by
//! anybody. What is not ours by its name is counted, named once, and left alone.

use super::Writer;
use crate::Result;
use mishards_catalog::Snapshot;
use mishards_storage::Entry;
use mishards_types::{Epoch, LogId};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How many files of a kind are named in the log.
const NAMED: usize = 20;

impl Writer {
    /// Once in a term, a window after its start: nothing that anybody still reads is among them by then.
    pub(super) async fn remove_orphans(&self) -> Result<()> {
        let age = self.parts.clock.elapsed().saturating_sub(self.started);
        if age <= self.parts.ingest.window || self.orphans_removed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let storage = Arc::clone(&self.parts.storage);
        let list = move || {
            let mut found = Vec::new();
            for dir in ["segments", "deltas", "log"] {
                let path = |e: Entry| Entry { name: format!("{dir}/{}", e.name), ..e };
                found.extend(storage.list(dir)?.into_iter().map(path));
            }
            Ok(found)
        };
        let found = self.parts.pools.io(list).await?;
        // Held, so that nothing new is named meanwhile. What was listed before is named by now, if ever.
        let _settled = self.commits.lock().await;
        self.check_serving()?;
        self.check_not_fenced().await?;
        let (storage, snapshot) = (Arc::clone(&self.parts.storage), Arc::clone(&self.view().snapshot));
        let ours = self.log_id.epoch;
        let remove = move || {
            let orphans = classify(&snapshot, found, ours);
            let (mut removed, mut failed) = (Vec::new(), None);
            for file in orphans.removable {
                match storage.remove(&file.name) {
                    Ok(()) => removed.push(file),
                    Err(e) => failed = Some(e),
                }
            }
            Ok((removed, orphans.foreign, failed))
        };
        let (removed, kept, failed) = self.parts.pools.io(remove).await?;
        if let Some(error) = failed {
            tracing::warn!(%error, "some files of unfinished commits could not be removed, the next term will try again");
        }
        let bytes = |files: &[Entry]| files.iter().map(|f| f.bytes).sum::<u64>();
        if !removed.is_empty() {
            let (files, bytes) = (removed.len(), bytes(&removed));
            tracing::info!(files, bytes, "files of unfinished commits of earlier terms were removed");
        }
        for file in kept.iter().take(NAMED) {
            tracing::warn!(file = %file.name, bytes = file.bytes, "a file that is not ours is in the shared directory; it is left alone");
        }
        self.parts.metrics.files_removed_total.inc_by(removed.len() as u64);
        self.parts.metrics.orphan_files.set(kept.len() as i64);
        self.parts.metrics.orphan_bytes.set(bytes(&kept) as i64);
        self.orphans_removed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[derive(Debug, Default, PartialEq)]
struct Orphans {
    /// Made by an earlier term.
    removable: Vec<Entry>,
    /// Not of a name that we give.
    foreign: Vec<Entry>,
}

/// Sorts out the files that nothing names. Those of the term `ours` may be on their way to a commit.
fn classify(snapshot: &Snapshot, found: Vec<Entry>, ours: Epoch) -> Orphans {
    let files = snapshot.all_files();
    let named: HashSet<&str> = files.iter().map(|f| f.path.as_str()).collect();
    let logs: HashSet<LogId> = snapshot.logs().map(|l| l.id()).collect();
    let mut out = Orphans::default();
    for file in found {
        if named.contains(file.name.as_str()) {
            continue;
        }
        match maker(&file.name) {
            Some(Maker::Fence) => {}
            Some(Maker::Log(log)) if logs.contains(&log) || log.epoch >= ours => {}
            Some(Maker::Term(epoch)) if epoch >= ours => {}
            Some(_) => out.removable.push(file),
            None => out.foreign.push(file),
        }
    }
    out
}

/// Who made a file, by its name.
#[derive(Debug, PartialEq)]
enum Maker {
    Fence,
    Log(LogId),
    Term(Epoch),
}

fn maker(path: &str) -> Option<Maker> {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["log", log, file] => {
            let log = LogId::parse(log)?;
            match *file {
                // Stays: whoever has not begun this log yet must not do so any more.
                file if file == "fence" || (file.starts_with("fence.") && file.ends_with(".new")) => {
                    Some(Maker::Fence)
                }
                file => file.parse::<u64>().ok().map(|_| Maker::Log(log)),
            }
        }
        ["deltas", collection, name] => {
            collection.parse::<i64>().ok()?;
            named_by(name).map(Maker::Term)
        }
        ["segments", collection, dir, file] => {
            collection.parse::<i64>().ok()?;
            let made = named_by(dir)?;
            // Indexes and newer delete files were added later, under an id of their own.
            match file.rsplit_once('-') {
                Some((_, id)) => id.parse().ok().map(|id| Maker::Term(made.max(term_of(id)))),
                None => Some(Maker::Term(made)),
            }
        }
        _ => None,
    }
}

/// The term behind `<id>-<incarnation>`.
fn named_by(name: &str) -> Option<Epoch> {
    let (id, incarnation) = name.split_once('-')?;
    u64::from_str_radix(incarnation, 16).ok()?;
    id.parse().ok().map(term_of)
}

fn term_of(id: i64) -> Epoch {
    Epoch((id >> super::ID_BITS) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_maker() {
        let id = |epoch: i64| (epoch << super::super::ID_BITS) + 7;
        let term = |epoch| Some(Maker::Term(Epoch(epoch)));
        let of = |path: &str| maker(path);
        assert_eq!(of(&format!("segments/9/{}-00000000000000ff/keys", id(3))), term(3));
        assert_eq!(of(&format!("segments/9/{}-00000000000000ff/deletes-{}", id(3), id(5))), term(5));
        assert_eq!(of(&format!("segments/9/{}-00000000000000ff/101.hnsw-{}", id(3), id(4))), term(4));
        assert_eq!(of(&format!("deltas/9/{}-00000000000000ff", id(6))), term(6));
        let log = LogId { epoch: Epoch(2), incarnation: mishards_types::Incarnation(5) };
        assert_eq!(of(&format!("log/{log}/0000000001")), Some(Maker::Log(log)));
        assert_eq!(of(&format!("log/{log}/fence")), Some(Maker::Fence));
        for foreign in [
            "segments/9/notes.txt",
            "segments/x/1-2/keys",
            "segments/9/1-2/backup-of-keys",
            "deltas/9/readme",
            "log/notes",
            "log/2-5/1",
        ] {
            assert_eq!(of(foreign), None, "{foreign}");
        }
    }
}
