//! Whoever answers for the growing rows has exactly the V that it is asked for in its history, and has applied T.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use mishards_proto::node::Version;
use mishards_proto::node::failure::Kind;
use std::time::Duration;
use world::*;

async fn with_version(site: &Site, change: impl FnOnce(&mut Version)) -> Kind {
    let mut scope = site.pin().await.whole();
    change(scope.version.as_mut().unwrap());
    kind_of(query(&site.node, scope).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_t_that_is_still_to_come_is_not_caught_up() {
    let world = World::new();
    let site = world.start_with_collection().await;
    let mut scope = site.pin().await.whole();
    scope.timestamp += 1;
    assert_eq!(kind_of(query(&site.node, scope).await), Kind::NotCaughtUp);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_v_of_another_history_is_too_old() {
    let world = World::new();
    let site = world.start_with_collection().await;
    assert_eq!(with_version(&site, |v| v.commit_id ^= 1).await, Kind::SnapshotTooOld);
    assert_eq!(with_version(&site, |v| v.commit_seq -= 1).await, Kind::SnapshotTooOld);
    // A router may know of commits that the cluster has lost: it is told to plan anew.
    assert_eq!(with_version(&site, |v| v.commit_seq += 1).await, Kind::SnapshotTooOld);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_v_older_than_the_window_is_too_old() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    let pinned = site.pin().await;
    site.flush().await.unwrap();
    assert_eq!(keys(&site.node, pinned.whole()).await.unwrap().len(), 10);
    world.clock.advance(world.ingest.window + Duration::from_secs(1));
    eventually("the version is forgotten", async || query(&site.node, pinned.whole()).await.is_err()).await;
    assert_eq!(kind_of(query(&site.node, pinned.whole()).await), Kind::SnapshotTooOld);
    assert_eq!(site.keys().await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_does_not_answer_for_the_versions_before_it() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    let pinned = site.pin().await;
    let site = world.restart(site).await;
    assert_eq!(kind_of(query(&site.node, pinned.whole()).await), Kind::SnapshotTooOld);
    assert_eq!(site.keys().await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_node_has_no_growing_rows() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    let reader = world.node("reader");
    assert_eq!(kind_of(query(&reader, site.pin().await.whole()).await), Kind::NotWriter);
}

/// Files of removed segments stay for a window, and a reader that comes later is told so.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_merged_segments_stay_for_the_window() {
    let world = World::new();
    let site = world.start_with_collection().await;
    for round in 0..4 {
        site.insert(round * 10..round * 10 + 10).await.unwrap();
        site.flush().await.unwrap();
    }
    let pinned = site.pin().await;
    assert_eq!(pinned.segments().len(), 4);
    eventually("a merge", async || site.segments().len() == 1).await;
    let (reader, late) = (world.node("reader"), world.node("late"));
    assert_eq!(keys(&reader, pinned.files()).await.unwrap().len(), 40);
    world.clock.advance(world.ingest.window + std::time::Duration::from_secs(1));
    let removed = pinned.segments()[0].footer.path.clone();
    eventually("its files are removed", async || {
        mishards_storage::Storage::read(&world.disk, &removed).is_err()
    })
    .await;
    assert_eq!(kind_of(query(&late, pinned.files()).await), Kind::SnapshotTooOld);
    assert_eq!(site.keys().await.len(), 40);
}

/// The rows that were growing are gone with their collection: an older V is told so, not given an empty answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_collection_is_not_answered_as_empty() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    let pinned = site.pin().await;
    let (database, name) = (DATABASE.to_owned(), COLLECTION.to_owned());
    site.change(&mishards_catalog::Command::DropCollection { database, name }).await.unwrap();
    assert_eq!(kind_of(query(&site.node, pinned.whole()).await), Kind::SnapshotTooOld);
}

/// Its growing rows went with it: a plan made before must not take them for deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_partition_is_not_answered_as_empty() {
    let world = World::new();
    let site = world.start_with_collection().await;
    for name in ["gone", "kept"] {
        site.create_partition(name).await.unwrap();
    }
    site.insert_into("gone", 0..10).await.unwrap();
    site.insert_into("kept", 10..20).await.unwrap();
    let pinned = site.pin().await;
    let of = |name: &str| {
        let mut scope = pinned.whole();
        scope.partitions = vec![pinned.snapshot.partition_named(pinned.collection().id, name).unwrap().id.0];
        scope
    };
    let (gone, kept) = (of("gone"), of("kept"));
    site.drop_partition("gone").await.unwrap();
    assert_eq!(kind_of(query(&site.node, pinned.whole()).await), Kind::SnapshotTooOld);
    assert_eq!(kind_of(query(&site.node, gone).await), Kind::SnapshotTooOld);
    assert_eq!(keys(&site.node, kept).await.unwrap(), (10..20).collect::<Vec<_>>());
    assert_eq!(site.keys().await, (10..20).collect::<Vec<_>>());
}
