//! One suite for every metadata backend, the wrapper included: who may write, what a commit does, and that what
//! is read back is what was committed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "conformance/commits.rs"]
mod commits;
mod sample;
mod servers;

use mishards_catalog::*;
use mishards_types::{Epoch, Incarnation, Version};
use sample::*;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// Where the backends of one test keep their state; each opening of the same place sees the same catalog.
struct Place {
    dir: TempDir,
    memory: Memory,
    database: servers::Database,
}

type Open = fn(&Place) -> Arc<dyn Catalog>;

/// Every backend, under the name of its file in `src`.
const BACKENDS: [(&str, Open); 4] = [
    ("memory", |place| Arc::new(place.memory.clone())),
    ("sqlite", |place| Arc::new(Sqlite::open(&place.dir.path().join("catalog.db")).unwrap())),
    ("mysql", |place| Arc::new(place.database.open())),
    ("faulty", |place| Arc::new(Faulty::new(place.memory.clone(), |_| None))),
];

/// Runs `test` on each backend with two handles on the same catalog, as two processes have them.
async fn on_all(test: impl AsyncFn(Arc<dyn Catalog>, Arc<dyn Catalog>)) {
    for (name, open) in BACKENDS {
        println!("backend {name}");
        let database = servers::Database::create().await;
        let place = Place { dir: tempfile::tempdir().unwrap(), memory: Memory::new(), database };
        test(open(&place), open(&place)).await;
        place.database.remove().await;
    }
}

/// The same, with the tables made.
async fn on_migrated(test: impl AsyncFn(Arc<dyn Catalog>, Arc<dyn Catalog>)) {
    on_all(async |one, two| {
        one.migrate("cluster").await.unwrap();
        test(one, two).await;
    })
    .await;
}

fn assert_fenced<T: std::fmt::Debug>(result: Result<T>) {
    assert_eq!(result.unwrap_err().kind, Kind::Fenced);
}

#[test]
fn every_backend_is_in_the_table() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(src).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && std::fs::read_to_string(&path).unwrap().contains(" Catalog for ") {
            found.insert(path.file_stem().unwrap().to_string_lossy().into_owned());
        }
    }
    assert_eq!(found, BACKENDS.iter().map(|(name, _)| (*name).to_owned()).collect());
}

#[test]
fn the_sample_history_has_every_kind() {
    let kinds: BTreeSet<EntityKind> = history()
        .iter()
        .flatten()
        .map(|change| match change {
            Change::Put(entity) => entity.kind(),
            Change::Remove(kind, _) => *kind,
        })
        .collect();
    let all = EntityKind::ALL.into_iter().filter(|kind| *kind != EntityKind::Database);
    assert_eq!(kinds, all.collect());
}

#[tokio::test]
async fn there_is_nothing_before_the_first_migrate() {
    on_all(async |one, _| assert!(one.load().await.unwrap().is_none())).await;
}

#[tokio::test]
async fn migrate_names_the_cluster_once_and_keeps_what_is_there() {
    on_all(async |one, two| {
        one.migrate("first").await.unwrap();
        let mut holder = Holder::elect(&*one, 1).await;
        holder.send(&*one, begin()).await;
        let before = two.load().await.unwrap().unwrap();
        two.migrate("second").await.unwrap();
        let after = one.load().await.unwrap().unwrap();
        assert_eq!((before.cluster_id.as_str(), after.cluster_id.as_str()), ("first", "first"));
        assert_eq!(rows(&before.snapshot), rows(&after.snapshot));
        assert_eq!(before.lease, after.lease);
    })
    .await;
}

#[tokio::test]
async fn a_renamed_catalog_keeps_everything_else() {
    on_migrated(async |one, two| {
        let before = two.load().await.unwrap().unwrap();
        one.rename("copy").await.unwrap();
        let after = two.load().await.unwrap().unwrap();
        assert_eq!(after.cluster_id, "copy");
        assert_eq!((rows(&before.snapshot), before.lease), (rows(&after.snapshot), after.lease));
    })
    .await;
}

#[tokio::test]
async fn a_new_catalog_has_the_default_database_and_no_holder() {
    on_migrated(async |one, two| {
        let loaded = two.load().await.unwrap().unwrap();
        assert_eq!(loaded.lease, Lease::default());
        assert_eq!(one.lease().await.unwrap(), Lease::default());
        let names: Vec<_> = loaded.snapshot.databases().map(|d| (d.id.0, d.name.clone())).collect();
        assert_eq!(names, [(1, DEFAULT_DATABASE.to_owned())]);
        assert_eq!((loaded.snapshot.version, loaded.snapshot.epoch), (Version::default(), Epoch(0)));
    })
    .await;
}

#[tokio::test]
async fn a_takeover_registers_the_log_and_moves_v() {
    on_migrated(async |one, two| {
        let seen = one.lease().await.unwrap();
        let lease = one.take_over(&Takeover::new(seen, log(1), 77)).await.unwrap();
        assert_eq!((lease.epoch, lease.incarnation), (log(1).epoch, log(1).incarnation));
        assert_eq!(lease.version, Version { commit_seq: 1, commit_id: 77 });
        assert_ne!(lease.counter, seen.counter);
        let loaded = two.load().await.unwrap().unwrap();
        assert_eq!(
            (loaded.lease, loaded.snapshot.version, loaded.snapshot.epoch),
            (lease, lease.version, Epoch(1))
        );
        assert_eq!(loaded.snapshot.logs().map(LogEntry::id).collect::<Vec<_>>(), [log(1)]);
        assert_eq!(two.lease().await.unwrap(), lease);
    })
    .await;
}

#[tokio::test]
async fn a_takeover_needs_exactly_the_lease_that_was_seen() {
    on_migrated(async |one, two| {
        let holder = Holder::elect(&*one, 1).await;
        let mut seen = holder.lease;
        // Each part of the row differs once; the last is a renewal in between.
        let v = seen.version;
        let stale = [
            Lease { epoch: Epoch(2), ..seen },
            Lease { incarnation: Incarnation(2), ..seen },
            Lease { counter: seen.counter + 1, ..seen },
            Lease { version: Version { commit_seq: v.commit_seq + 1, ..v }, ..seen },
            Lease { version: Version { commit_id: v.commit_id ^ 1, ..v }, ..seen },
            Lease::default(),
        ];
        for seen in stale {
            assert_fenced(two.take_over(&Takeover::new(seen, log(2), 1)).await);
        }
        seen = one.renew(seen.epoch, seen.incarnation).await.unwrap();
        assert_fenced(two.take_over(&Takeover::new(holder.lease, log(2), 1)).await);
        assert_eq!(one.lease().await.unwrap(), seen);
        assert_eq!(snapshot(&*two).await.logs().count(), 1);
        two.take_over(&Takeover::new(seen, log(2), 1)).await.unwrap();
        let ids: Vec<_> = snapshot(&*one).await.logs().map(LogEntry::id).collect();
        assert_eq!(ids, [log(1), log(2)]);
    })
    .await;
}

#[tokio::test]
async fn only_the_holder_renews() {
    on_migrated(async |one, two| {
        assert_fenced(one.renew(Epoch(1), Incarnation(1)).await);
        let old = Holder::elect(&*one, 1).await.lease;
        let first = one.renew(old.epoch, old.incarnation).await.unwrap();
        let second = one.renew(old.epoch, old.incarnation).await.unwrap();
        assert!(old.counter < first.counter && first.counter < second.counter);
        assert_eq!(second, Lease { counter: second.counter, ..old });
        assert_fenced(one.renew(old.epoch, Incarnation(1)).await);
        assert_fenced(one.renew(Epoch(2), old.incarnation).await);
        Holder::elect(&*two, 2).await;
        assert_fenced(one.renew(old.epoch, old.incarnation).await);
        assert_eq!(snapshot(&*one).await.version.commit_seq, 2, "a renewal moves no V");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_racing_takeovers_one_wins() {
    on_migrated(async |one, two| {
        for round in 0..20 {
            let seen = one.lease().await.unwrap();
            let race = [(Arc::clone(&one), 2 * round + 1), (Arc::clone(&two), 2 * round + 2)].map(
                |(catalog, epoch)| {
                    let takeover = Takeover::new(seen, log(epoch), epoch);
                    tokio::spawn(async move { catalog.take_over(&takeover).await })
                },
            );
            let mut won = Vec::new();
            for task in race {
                match task.await.unwrap() {
                    Ok(lease) => won.push(lease),
                    Err(e) => assert_eq!(e.kind, Kind::Fenced),
                }
            }
            assert_eq!(won, [one.lease().await.unwrap()], "round {round}");
        }
        assert_eq!(snapshot(&*two).await.logs().count(), 20);
    })
    .await;
}

/// A takeover that makes up for lost commits: all of it or nothing, under a V above those that were lost.
#[tokio::test]
async fn a_takeover_brings_what_the_catalog_lacks() {
    on_migrated(async |one, two| {
        let seen = one.lease().await.unwrap();
        let (kept, gone) = (collection(1, "kept"), collection(2, "gone"));
        let newer = Collection { schema_version: 7, ..kept.clone() };
        let changes = vec![
            put_collection(kept),
            put_collection(gone),
            put_collection(newer.clone()),
            Change::Remove(EntityKind::Collection, "2".to_owned()),
        ];
        let next = Version { commit_seq: 40, commit_id: 3 };
        let takeover = Takeover { next, changes, ..Takeover::new(seen, log(1), 0) };
        let stale = Takeover { seen: Lease { counter: seen.counter + 1, ..seen }, ..takeover.clone() };
        assert_fenced(two.take_over(&stale).await);
        assert_eq!(snapshot(&*two).await.collections().count(), 0);
        assert_eq!(two.take_over(&takeover).await.unwrap().version, next);
        let after = snapshot(&*one).await;
        assert_eq!(after.version, next);
        assert_eq!(after.collections().map(|c| (**c).clone()).collect::<Vec<_>>(), [newer]);
        assert_eq!(after.logs().map(LogEntry::id).collect::<Vec<_>>(), [log(1)]);
    })
    .await;
}

#[tokio::test]
async fn heartbeats_move_and_stop() {
    async fn check(one: impl Heartbeats, two: impl Heartbeats) {
        let names = async |h: &dyn Heartbeats| -> Vec<(String, String)> {
            h.heartbeats().await.unwrap().into_iter().map(|b| (b.name, b.address)).collect()
        };
        let pair = |n: &str, a: &str| (n.to_owned(), a.to_owned());
        assert!(names(&two).await.is_empty());
        one.beat("b", "h:2").await.unwrap();
        let first = one.beat("a", "h:1").await.unwrap();
        let before = two.heartbeats().await.unwrap();
        let second = one.beat("a", "h:3").await.unwrap();
        let after = two.heartbeats().await.unwrap();
        assert_eq!((before[0].beat, after[0].beat), (first, second), "a beat says its number");
        assert_eq!(names(&two).await, [pair("a", "h:3"), pair("b", "h:2")]);
        assert!(after[0].beat > before[0].beat && after[1].beat == before[1].beat);
        two.stop("a").await.unwrap();
        two.stop("a").await.unwrap();
        assert_eq!(names(&one).await, [pair("b", "h:2")]);
        one.clear().await.unwrap();
        assert!(names(&two).await.is_empty());
    }
    let memory = Memory::new();
    check(memory.clone(), memory).await;
    let dir = tempfile::tempdir().unwrap();
    let sqlite = || Sqlite::open(&dir.path().join("catalog.db")).unwrap();
    assert!(sqlite().heartbeats().await.unwrap().is_empty(), "before there are tables");
    sqlite().migrate("cluster").await.unwrap();
    check(sqlite(), sqlite()).await;
    let database = servers::Database::create().await;
    assert!(database.open().heartbeats().await.unwrap().is_empty(), "before there are tables");
    database.open().migrate("cluster").await.unwrap();
    check(database.open(), database.open()).await;
    database.remove().await;
}
