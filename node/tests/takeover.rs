//! A writer whose successor has fenced it acknowledges nothing, and what it still writes never shows up.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use mishards_proto::node::failure::Kind;
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
