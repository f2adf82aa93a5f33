//! A writer whose successor has fenced it acknowledges nothing, and what it still writes never shows up.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use mishards_proto::node::failure::Kind;
use mishards_proto::node::node_server::Node as _;
use mishards_proto::node::{DescribeRequest, ReadPointRequest};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tonic::Request;
use world::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_late_record_of_an_old_writer_is_neither_acknowledged_nor_replayed() {
    let world = World::new();
    let old = world.start_with_collection().await;
    old.insert(0..5).await.unwrap();
    let new = world.start().await;
    let kind = kind_of(old.insert(100..105).await);
    assert_eq!(kind, Kind::UnknownOutcome);
    assert!(old.writer.has_ended());
    new.insert(5..10).await.unwrap();
    assert_eq!(new.keys().await, (0..10).collect::<Vec<_>>());
    let again = world.restart(new).await;
    assert_eq!(again.keys().await, (0..10).collect::<Vec<_>>());
    let once_more = world.restart(again).await;
    assert_eq!(once_more.keys().await, (0..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_delete_of_an_old_writer_hides_nothing() {
    let world = World::new();
    let old = world.start_with_collection().await;
    old.insert(0..5).await.unwrap();
    let new = world.start().await;
    assert!(old.delete([1]).await.is_err());
    assert_eq!(new.keys().await, vec![0, 1, 2, 3, 4]);
    new.flush().await.unwrap();
    let again = world.restart(new).await;
    assert_eq!(again.keys().await, vec![0, 1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_writer_gives_no_read_points_and_commits_nothing() {
    let world = World::new();
    let old = world.start_with_collection().await;
    let new = world.start().await;
    assert_eq!(kind_of(old.read_point().await), Kind::NotWriter);
    assert_eq!(kind_of(old.create_partition("late").await), Kind::NotWriter);
    assert!(new.snapshot().partition_named(new.collection().id, "late").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_an_old_writer_are_not_published() {
    let world = World::new();
    let old = world.start_with_collection().await;
    old.insert(0..5).await.unwrap();
    let new = world.start().await;
    assert!(old.flush().await.is_err());
    assert_eq!(new.snapshot().segments().count(), 0);
    new.flush().await.unwrap();
    assert_eq!(new.keys().await, vec![0, 1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn timestamps_and_sequences_go_on_above_the_predecessor() {
    let world = World::new();
    let old = world.start_with_collection().await;
    let before = old.insert(0..5).await.unwrap();
    let new = world.restart(old).await;
    assert!(new.read_point().await.unwrap().timestamp >= before.timestamp);
    let after = new.insert(5..6).await.unwrap();
    assert!(after.timestamp > before.timestamp && after.sequence > before.sequence);
}

/// A writer whose disk hangs lets its lease go, and has it again when the disk is back.
#[tokio::test(flavor = "multi_thread")]
async fn the_lease_is_not_renewed_while_a_sync_hangs() {
    let mut world = World::new();
    world.ingest.lease_ttl = Duration::from_millis(150);
    let (hangs, held) = world.hang(|op, path| op == "sync" && path.starts_with("log/"));
    let site = Arc::new(world.start_with_collection().await);
    let counter = async || world.catalog.lease().await.unwrap().counter;
    let started = counter().await;
    eventually("renewals", async || counter().await > started + 1).await;
    hangs.store(true, Ordering::SeqCst);
    let writing = Arc::clone(&site);
    let write = tokio::spawn(async move { writing.insert(0..5).await });
    eventually("a sync hangs", async || held.load(Ordering::SeqCst)).await;
    // The renewals of the first TTL are still due.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let hung = counter().await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(counter().await, hung, "it was renewed while a sync hung");
    hangs.store(false, Ordering::SeqCst);
    write.await.unwrap().unwrap();
    eventually("renewals again", async || counter().await > hung).await;
}

/// A taker that stalls before it begins its log, for longer than its successor remembers it.
#[tokio::test(flavor = "multi_thread")]
async fn a_taker_that_was_overtaken_before_its_log_began_does_not_serve() {
    let mut world = World::new();
    world.ingest.window = Duration::from_millis(300);
    let first = world.start_with_collection().await;
    first.insert(0..5).await.unwrap();
    first.kill(&world).await;
    let mut slow = world.clone();
    let (stalls, stalled) = slow.hang(|op, path| op == "create" && path.ends_with("fence"));
    stalls.store(true, Ordering::SeqCst);
    let taker = tokio::spawn(async move { slow.try_start().await.map(drop) });
    eventually("the taker stalls", async || stalled.load(Ordering::SeqCst)).await;
    let successor = world.start().await;
    eventually("its log is forgotten", async || successor.snapshot().logs().count() == 2).await;
    stalls.store(false, Ordering::SeqCst);
    assert!(taker.await.unwrap().is_err(), "it serves beside its successor");
    successor.insert(5..10).await.unwrap();
    assert_eq!(successor.keys().await, (0..10).collect::<Vec<_>>());
}

/// The sync that hangs may be that of the empty group which closes the last one.
#[tokio::test(flavor = "multi_thread")]
async fn the_lease_is_not_renewed_while_closing_a_group_hangs() {
    let mut world = World::new();
    world.ingest.lease_ttl = Duration::from_millis(150);
    let (hangs, held) = world.hang(|op, path| op == "sync" && path.starts_with("log/"));
    let site = world.start_with_collection().await;
    // It is closed a tenth of a second later: whoever comes too late has to try again.
    for from in 0.. {
        site.insert(from * 5..from * 5 + 5).await.unwrap();
        hangs.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(500)).await;
        if held.load(Ordering::SeqCst) {
            break;
        }
        hangs.store(false, Ordering::SeqCst);
    }
    let hung = world.catalog.lease().await.unwrap().counter;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(world.catalog.lease().await.unwrap().counter, hung);
    hangs.store(false, Ordering::SeqCst);
}

/// A node whose term has ended by itself answers on, and proves that nothing is newer; not once another writer has begun.
#[tokio::test(flavor = "multi_thread")]
async fn a_term_that_has_ended_is_the_newest_until_another_writer_begins() {
    let mut world = World::new();
    let failures = world.fail(|op, path| op == "sync" && path.starts_with("log/"));
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    let rows = site.rows().await;
    failures.store(1, Ordering::SeqCst);
    site.insert([100]).await.unwrap_err();
    site.writer.ended().await;
    let epoch = site.writer.log_id().epoch.0;
    site.node.retire(Arc::clone(&site.writer));
    let asked = |from_standby| ReadPointRequest {
        database: DATABASE.to_owned(),
        collection: COLLECTION.to_owned(),
        from_standby,
    };
    let point = async || site.node.read_point(Request::new(asked(true))).await.unwrap().into_inner();
    assert!(site.node.read_point(Request::new(asked(false))).await.is_err(), "it is not the writer");
    let said = site.node.describe(Request::new(DescribeRequest {})).await.unwrap().into_inner();
    assert!(said.standby && said.has_written && !said.writable && said.tails_epoch == epoch);
    let newest = point().await;
    assert!(newest.newest && newest.epoch == epoch);
    let pinned = Pinned { snapshot: Arc::clone(&site.writer.view().snapshot), point: newest };
    assert_eq!(query(&site.node, pinned.whole()).await.unwrap(), rows);

    let other = world.start().await;
    other.insert([200]).await.unwrap();
    assert!(!point().await.newest, "what the other one has written is newer");
}
