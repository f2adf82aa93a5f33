//! A catalog commit whose outcome is unknown is settled before anything else happens: nothing is doubled, nothing
//! is lost, and a catalog that is away stops only what needs it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use mishards_catalog::{Fault, Faulty, Memory};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use world::*;

/// Faults still to strike: the name of a call, and how it fails.
#[derive(Clone, Default)]
struct Faults(Arc<Mutex<VecDeque<(&'static str, Fault)>>>);

impl Faults {
    fn plan(&self, faults: &[(&'static str, Fault)]) {
        self.0.lock().unwrap().extend(faults);
    }

    fn strike(&self, call: &'static str) -> Option<Fault> {
        let mut faults = self.0.lock().unwrap();
        let at = faults.iter().position(|(name, _)| *name == call)?;
        faults.remove(at).map(|(_, fault)| fault)
    }

    fn are_used_up(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

/// A world whose catalog fails as planned.
fn faulty_world() -> (World, Faults) {
    let faults = Faults::default();
    let plan = faults.clone();
    let world = World::new().with_catalog(Faulty::new(Memory::new(), move |call| plan.strike(call)));
    (world, faults)
}

async fn flush_survives(faults_of_flush: &[(&'static str, Fault)]) {
    let (world, faults) = faulty_world();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    let rows = site.rows().await;
    let before = site.snapshot().version.commit_seq;
    faults.plan(faults_of_flush);
    site.flush().await.unwrap();
    assert!(faults.are_used_up());
    assert_eq!(site.segments().len(), 1);
    assert_eq!(site.snapshot().version.commit_seq, before + 1);
    assert_eq!(site.rows().await, rows);
    site.insert(10..20).await.unwrap();
    site.flush().await.unwrap();
    let rows = site.rows().await;
    assert_eq!(rows.len(), 20);
    let site = world.restart(site).await;
    assert_eq!(site.rows().await, rows);
    assert_eq!(site.segments().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_whose_commit_is_in_but_was_not_answered_is_not_done_again() {
    flush_survives(&[("commit", Fault::After)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_whose_commit_never_arrived_is_done_again() {
    flush_survives(&[("commit", Fault::Before), ("commit", Fault::Before)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settling_goes_on_until_the_catalog_answers() {
    let faults = [("commit", Fault::After), ("outcome", Fault::Before), ("outcome", Fault::After)];
    flush_survives(&faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_change_whose_commit_was_not_answered_happens_once() {
    let (world, faults) = faulty_world();
    let site = world.start().await;
    faults.plan(&[("commit", Fault::After)]);
    site.create_collection(schema()).await.unwrap();
    assert_eq!(site.snapshot().collections().count(), 1);
    site.insert(0..10).await.unwrap();
    let site = world.restart(site).await;
    assert_eq!(site.keys().await, (0..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_change_that_never_arrived_is_refused_and_may_be_sent_again() {
    let (world, faults) = faulty_world();
    let site = world.start_with_collection().await;
    faults.plan(&[("commit", Fault::Before)]);
    let refused = site.create_partition("p").await.unwrap_err();
    assert!(mishards_types::Code(failure(&refused).code).is_retriable());
    assert!(site.snapshot().partition_named(site.collection().id, "p").is_none());
    site.create_partition("p").await.unwrap();
    site.insert_into("p", 0..3).await.unwrap();
    assert_eq!(site.keys().await, vec![0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_and_reads_go_on_while_the_catalog_is_away() {
    let (world, faults) = faulty_world();
    let site = world.start_with_collection().await;
    faults.plan(&[("renew", Fault::Before); 20]);
    faults.plan(&[("commit", Fault::Before); 3]);
    site.insert(0..10).await.unwrap();
    site.delete([3]).await.unwrap();
    assert_eq!(site.keys().await.len(), 9);
    assert!(!site.writer.has_ended());
    site.flush().await.unwrap();
    assert_eq!(site.keys().await.len(), 9);
}

/// The lease went to a successor while the commit was in doubt: the term ends, and the successor's replay has it all.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_in_doubt_across_a_takeover_is_settled_by_the_successor() {
    let (world, faults) = faulty_world();
    let old = world.start_with_collection().await;
    old.insert(0..10).await.unwrap();
    let rows = old.rows().await;
    faults.plan(&[("commit", Fault::After)]);
    const MANY: usize = 1000;
    faults.plan(&[("outcome", Fault::Before); MANY]);
    let (flushed, new) = tokio::join!(old.flush(), async {
        eventually("the commit is in doubt", async || faults.0.lock().unwrap().len() < MANY).await;
        let new = world.start().await;
        faults.0.lock().unwrap().clear();
        new
    });
    assert!(flushed.is_err() && old.writer.has_ended());
    assert_eq!(new.rows().await, rows);
    new.flush().await.unwrap();
    let new = world.restart(new).await;
    assert_eq!(new.rows().await, rows);
}
