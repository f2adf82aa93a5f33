//! Commits: what they need, what they change, and what of two racing ones happens.

use crate::sample::*;
use crate::{assert_fenced, on_migrated};
use mishards_catalog::*;
use mishards_types::{Epoch, Incarnation, Version};
use std::collections::BTreeSet;
use std::sync::Arc;

#[tokio::test]
async fn a_commit_moves_v_and_nothing_else_of_the_lease() {
    on_migrated(async |one, two| {
        let mut holder = Holder::elect(&*one, 1).await;
        let before = one.lease().await.unwrap();
        holder.send(&*one, begin()).await;
        let after = two.lease().await.unwrap();
        assert_eq!(after, Lease { version: holder.version, ..before });
        assert_eq!(after.version.commit_seq, before.version.commit_seq + 1);
        let seen = snapshot(&*two).await;
        assert_eq!(seen.version, holder.version);
        assert!(seen.collection(collection(10, "c").id).is_some());
        holder.send(&*one, Vec::new()).await;
        assert_eq!(two.lease().await.unwrap().version, holder.version, "also an empty one");
    })
    .await;
}

#[tokio::test]
async fn a_commit_needs_epoch_incarnation_and_base() {
    on_migrated(async |one, two| {
        let mut holder = Holder::elect(&*one, 1).await;
        holder.send(&*one, begin()).await;
        let before = rows(&snapshot(&*two).await);
        let good = holder
            .commit(vec![put_segment(segment(20, Origin::Flush, 3)), remove(EntityKind::Partition, 11)]);
        let v = good.base;
        let bad = [
            Commit { epoch: Epoch(2), ..good.clone() },
            Commit { incarnation: Incarnation(2), ..good.clone() },
            Commit { base: Version { commit_seq: v.commit_seq - 1, ..v }, ..good.clone() },
            Commit { base: Version { commit_id: v.commit_id ^ 1, ..v }, ..good.clone() },
        ];
        for commit in bad {
            assert_fenced(one.commit(&commit).await);
            assert_eq!(rows(&snapshot(&*two).await), before);
            assert_eq!(two.lease().await.unwrap().version, v);
        }
        one.commit(&good).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_commit_cannot_happen_twice() {
    on_migrated(async |one, two| {
        let holder = Holder::elect(&*one, 1).await;
        for (i, changes) in history().into_iter().enumerate() {
            let now = Holder { version: one.lease().await.unwrap().version, ..holder };
            let commit = now.commit(changes);
            one.commit(&commit).await.unwrap();
            let before = rows(&snapshot(&*two).await);
            assert_fenced(two.commit(&commit).await);
            assert_eq!(rows(&snapshot(&*two).await), before, "commit {i}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_old_writer_commits_nothing() {
    on_migrated(async |one, two| {
        let mut old = Holder::elect(&*one, 1).await;
        old.send(&*one, begin()).await;
        let late = old
            .commit(vec![put_segment(segment(20, Origin::Flush, 3)), put_collection(collection(10, "old"))]);
        let mut new = Holder::elect(&*two, 2).await;
        assert_fenced(one.commit(&late).await);
        // Not even where the new one writes the same rows, in commits of the same numbers.
        let mut numbers = vec![late.next];
        for changes in [late.changes.clone(), vec![remove(EntityKind::Segment, 20)], Vec::new()] {
            new.send(&*two, changes).await;
            numbers.push(new.version);
            let before = rows(&snapshot(&*two).await);
            let shifted = Commit { base: new.version, next: new.commit(vec![]).next, ..late.clone() };
            assert_fenced(one.commit(&shifted).await);
            for next in &numbers {
                assert_fenced(one.commit(&Commit { next: *next, ..late.clone() }).await);
            }
            assert_eq!(rows(&snapshot(&*one).await), before);
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_loaded_is_what_was_applied() {
    on_migrated(async |one, two| {
        let mut holder = Holder::elect(&*one, 1).await;
        let mut held = snapshot(&*one).await;
        for (i, changes) in history().into_iter().enumerate() {
            holder.send(&*one, changes.clone()).await;
            held = held.apply(holder.version, &changes);
            let loaded = snapshot(&*two).await;
            assert_eq!(rows(&loaded), rows(&held), "after commit {i}");
            assert_eq!((loaded.version, loaded.epoch), (held.version, held.epoch));
        }
    })
    .await;
}

/// A version that was replaced by its own transaction was never visible: it leaves nothing behind.
#[tokio::test]
async fn a_row_may_be_put_several_times_in_one_commit() {
    on_migrated(async |one, two| {
        let mut holder = Holder::elect(&*one, 1).await;
        let mut held = snapshot(&*one).await;
        let plain = || segment(20, Origin::Flush, 5);
        let steps = [
            begin(),
            vec![
                put_segment(plain()),
                put_segment(with_index(plain(), "idx/1")),
                put_collection(collection(10, "x")),
            ],
            vec![put_collection(collection(10, "y")), put_collection(collection(10, "z"))],
            vec![put_segment(plain()), remove(EntityKind::Segment, 20), put_segment(plain())],
            vec![put_delta(delta(30, 1)), remove(EntityKind::DeltaFile, 30)],
            vec![remove(EntityKind::Segment, 20), put_segment(plain()), put_delta(delta(30, 1))],
        ];
        for (i, changes) in steps.into_iter().enumerate() {
            holder.send(&*one, changes.clone()).await;
            held = held.apply(holder.version, &changes);
            assert_eq!(rows(&snapshot(&*two).await), rows(&held), "step {i}");
        }
        assert_eq!(snapshot(&*two).await.collections().map(|c| c.name.clone()).collect::<Vec<_>>(), ["z"]);
    })
    .await;
}

#[tokio::test]
async fn removed_rows_stay_until_they_are_purged() {
    on_migrated(async |one, two| {
        let mut holder = Holder::elect(&*one, 1).await;
        let mut held = snapshot(&*one).await;
        for changes in history() {
            holder.send(&*one, changes.clone()).await;
            held = held.apply(holder.version, &changes);
        }
        let removed = |s: &Snapshot| s.rows().iter().filter_map(|r| r.removed_at).collect::<BTreeSet<_>>();
        assert_eq!(removed(&snapshot(&*two).await), BTreeSet::from([4, 6, 7]));
        for (through, left) in [(3, vec![4, 6, 7]), (4, vec![6, 7]), (6, vec![7]), (1_000, vec![])] {
            one.purge(through).await.unwrap();
            held.purge(through);
            let loaded = snapshot(&*two).await;
            assert_eq!(removed(&loaded), left.into_iter().collect(), "purged through {through}");
            assert_eq!(rows(&loaded), rows(&held));
            assert_eq!(loaded.version, holder.version, "a purge moves no V");
        }
    })
    .await;
}

#[tokio::test]
async fn the_outcome_of_a_commit_can_be_read() {
    on_migrated(async |one, two| {
        let mut holder = Holder::elect(&*one, 1).await;
        let commit = holder.commit(begin());
        assert_eq!(two.outcome(&commit).await.unwrap(), Outcome::Absent);
        let strange = Commit { incarnation: Incarnation(3), ..commit.clone() };
        assert_eq!(two.outcome(&strange).await.unwrap(), Outcome::Fenced, "it would not be let in");
        one.commit(&commit).await.unwrap();
        assert_eq!(two.outcome(&commit).await.unwrap(), Outcome::Committed);
        let rival = Commit {
            next: Version { commit_id: commit.next.commit_id ^ 1, ..commit.next },
            ..commit.clone()
        };
        assert_eq!(two.outcome(&rival).await.unwrap(), Outcome::Fenced, "the number is another commit's");
        holder.version = commit.next;
        let late = holder.commit(Vec::new());
        Holder::elect(&*two, 2).await;
        assert_eq!(one.outcome(&late).await.unwrap(), Outcome::Fenced);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_racing_commits_one_happens() {
    on_migrated(async |one, two| {
        let mut holder = Holder::elect(&*one, 1).await;
        for round in 0..20i64 {
            let race = [(Arc::clone(&one), 0), (Arc::clone(&two), 1)].map(|(catalog, n)| {
                let mut commit =
                    holder.commit(vec![put_collection(collection(100 + 2 * round + n, &format!("c{n}")))]);
                commit.next.commit_id ^= n as u64;
                tokio::spawn(async move { catalog.commit(&commit).await.map(|()| commit) })
            });
            let mut won = Vec::new();
            for task in race {
                match task.await.unwrap() {
                    Ok(commit) => won.push(commit),
                    Err(e) => assert_eq!(e.kind, Kind::Fenced),
                }
            }
            assert_eq!(won.len(), 1, "round {round}");
            holder.version = won[0].next;
            assert_eq!(one.lease().await.unwrap().version, holder.version);
            assert_eq!(snapshot(&*two).await.collections().count() as i64, round + 1);
        }
    })
    .await;
}
