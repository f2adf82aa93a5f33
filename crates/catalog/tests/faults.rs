//! A database that fails before a call or after it: the schedules of an unknown COMMIT.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sample;

use mishards_catalog::*;
use sample::*;
use std::sync::{Arc, Mutex};

/// A wrapper whose next call of a name fails as planned; the fault is used up by it.
struct Rig {
    catalog: Faulty<Memory>,
    /// The same catalog without faults.
    inner: Memory,
    next: Arc<Mutex<Option<(&'static str, Fault)>>>,
}

async fn rig() -> Rig {
    let (inner, next) = (Memory::new(), Arc::new(Mutex::new(None)));
    let plan: Arc<Mutex<Option<(&'static str, Fault)>>> = Arc::clone(&next);
    let catalog = Faulty::new(inner.clone(), move |name| {
        plan.lock().unwrap().take_if(|(planned, _)| *planned == name).map(|(_, fault)| fault)
    });
    inner.migrate("cluster").await.unwrap();
    Rig { catalog, inner, next }
}

impl Rig {
    fn fail(&self, name: &'static str, fault: Fault) {
        *self.next.lock().unwrap() = Some((name, fault));
    }
}

#[tokio::test]
async fn a_fault_before_the_call_leaves_nothing_and_may_be_repeated() {
    let rig = rig().await;
    let holder = Holder::elect(&rig.catalog, 1).await;
    let commit = holder.commit(begin());
    let before = rows(&snapshot(&rig.inner).await);
    rig.fail("commit", Fault::Before);
    let error = rig.catalog.commit(&commit).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(error.is_retryable() && error.to_string().contains("commit"));
    assert_eq!(rows(&snapshot(&rig.inner).await), before);
    assert_eq!(rig.catalog.outcome(&commit).await.unwrap(), Outcome::Absent);
    rig.catalog.commit(&commit).await.unwrap();
    assert_eq!(rig.catalog.outcome(&commit).await.unwrap(), Outcome::Committed);
}

#[tokio::test]
async fn an_unknown_commit_that_happened_is_found_and_not_repeated() {
    let rig = rig().await;
    let mut holder = Holder::elect(&rig.catalog, 1).await;
    let commit = holder.commit(begin());
    rig.fail("commit", Fault::After);
    let error = rig.catalog.commit(&commit).await.unwrap_err();
    assert_eq!(error.kind, Kind::UnknownOutcome);
    assert!(!error.is_retryable(), "it is settled first");
    assert_eq!(rig.catalog.outcome(&commit).await.unwrap(), Outcome::Committed);
    assert_eq!(rig.catalog.commit(&commit).await.unwrap_err().kind, Kind::Fenced);
    assert_eq!(snapshot(&rig.inner).await.collections().count(), 1);
    holder.version = commit.next;
    holder.send(&rig.catalog, vec![put_collection(collection(12, "next"))]).await;
}

/// The question itself may fail; it is asked again, and the commit is sent again under the same id.
#[tokio::test]
async fn an_unknown_commit_that_did_not_happen_is_sent_again_with_the_same_id() {
    let rig = rig().await;
    let holder = Holder::elect(&rig.catalog, 1).await;
    let commit = holder.commit(begin());
    rig.fail("commit", Fault::Before);
    rig.catalog.commit(&commit).await.unwrap_err();
    for fault in [Fault::Before, Fault::After] {
        rig.fail("outcome", fault);
        rig.catalog.outcome(&commit).await.unwrap_err();
    }
    assert_eq!(rig.catalog.outcome(&commit).await.unwrap(), Outcome::Absent);
    rig.fail("commit", Fault::After);
    assert_eq!(rig.catalog.commit(&commit).await.unwrap_err().kind, Kind::UnknownOutcome);
    assert_eq!(rig.catalog.outcome(&commit).await.unwrap(), Outcome::Committed);
    assert_eq!(rig.inner.lease().await.unwrap().version, commit.next);
}

#[tokio::test]
async fn an_unknown_commit_of_a_writer_that_lost_its_lease_is_fenced() {
    let rig = rig().await;
    let holder = Holder::elect(&rig.catalog, 1).await;
    let commit = holder.commit(begin());
    rig.fail("commit", Fault::Before);
    rig.catalog.commit(&commit).await.unwrap_err();
    Holder::elect(&rig.inner, 2).await;
    assert_eq!(rig.catalog.outcome(&commit).await.unwrap(), Outcome::Fenced);
    assert_eq!(rig.catalog.commit(&commit).await.unwrap_err().kind, Kind::Fenced);
    assert_eq!(snapshot(&rig.inner).await.collections().count(), 0);
}

#[tokio::test]
async fn a_refused_commit_stays_refused_when_its_answer_could_be_lost() {
    let rig = rig().await;
    let holder = Holder::elect(&rig.catalog, 1).await;
    let commit = holder.commit(begin());
    Holder::elect(&rig.inner, 2).await;
    rig.fail("commit", Fault::After);
    assert_eq!(rig.catalog.commit(&commit).await.unwrap_err().kind, Kind::Fenced);
}

#[tokio::test]
async fn a_takeover_whose_answer_was_lost_is_seen_in_the_lease() {
    let rig = rig().await;
    let seen = rig.catalog.lease().await.unwrap();
    let takeover = Takeover::new(seen, log(1), 9);
    rig.fail("take_over", Fault::Before);
    assert_eq!(rig.catalog.take_over(&takeover).await.unwrap_err().kind, Kind::Unavailable);
    assert_eq!(rig.catalog.lease().await.unwrap(), seen);
    rig.fail("take_over", Fault::After);
    assert_eq!(rig.catalog.take_over(&takeover).await.unwrap_err().kind, Kind::UnknownOutcome);
    let lease = rig.catalog.lease().await.unwrap();
    assert_eq!(
        (lease.epoch, lease.incarnation, lease.version.commit_id),
        (log(1).epoch, log(1).incarnation, 9)
    );
    assert_eq!(rig.catalog.take_over(&takeover).await.unwrap_err().kind, Kind::Fenced, "not twice");
    assert_eq!(snapshot(&rig.inner).await.logs().count(), 1);
}

#[tokio::test]
async fn every_call_can_fail_in_both_ways() {
    for (fault, kind) in [(Fault::Before, Kind::Unavailable), (Fault::After, Kind::UnknownOutcome)] {
        let inner = Memory::new();
        inner.migrate("cluster").await.unwrap();
        let holder = Holder::elect(&inner, 1).await;
        let broken = Faulty::new(inner.clone(), move |_| Some(fault));
        let (lease, commit) = (holder.lease, holder.commit(begin()));
        let takeover = Takeover::new(lease, log(2), 2);
        let errors = [
            broken.migrate("x").await.unwrap_err(),
            broken.load().await.map(drop).unwrap_err(),
            broken.lease().await.map(drop).unwrap_err(),
            broken.outcome(&commit).await.map(drop).unwrap_err(),
            broken.purge(0).await.unwrap_err(),
            broken.commit(&commit).await.unwrap_err(),
            broken
                .take_over(&Takeover {
                    seen: Lease { version: inner.lease().await.unwrap().version, ..lease },
                    ..takeover
                })
                .await
                .map(drop)
                .unwrap_err(),
            broken
                .renew(inner.lease().await.unwrap().epoch, inner.lease().await.unwrap().incarnation)
                .await
                .map(drop)
                .unwrap_err(),
        ];
        assert!(errors.iter().all(|e| e.kind == kind), "{errors:?}");
        let happened = inner.lease().await.unwrap() != lease;
        assert_eq!(happened, fault == Fault::After);
    }
}
