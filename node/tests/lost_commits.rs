//! A catalog that lost its last commits, restored from a backup or failed over: noticed, made up for from the log, or
//! refused where the log does not reach back that far.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use mishards_catalog::{Catalog, Memory};
use mishards_node::Kind;
use mishards_storage::Storage;
use std::sync::Arc;
use std::time::Duration;
use world::*;

/// A world, and its catalog for going back in time.
fn world() -> (World, Memory) {
    let catalog = Memory::new();
    (World::new().with_catalog(catalog.clone()), catalog)
}

fn all(range: std::ops::Range<i64>) -> Vec<i64> {
    range.collect()
}

async fn refused(world: &World) -> String {
    match world.try_start().await {
        Ok(_) => panic!("it started"),
        Err(failure) => {
            assert_eq!(failure.kind, Kind::Unreadable, "{failure}");
            failure.to_string()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_and_changed_after_a_backup_is_made_up_for() {
    let (world, catalog) = world();
    let site = world.start_with_collection().await;
    site.create_partition("old").await.unwrap();
    site.create_partition("dropped").await.unwrap();
    site.insert(0..100).await.unwrap();
    site.insert_into("dropped", 900..910).await.unwrap();
    site.flush().await.unwrap();
    let backup = catalog.backup();

    site.insert_into("old", 100..150).await.unwrap();
    site.delete(0..10).await.unwrap();
    site.flush().await.unwrap();
    site.create_partition("new").await.unwrap();
    site.insert_into("new", 150..200).await.unwrap();
    site.drop_partition("dropped").await.unwrap();
    site.create_index("tag", "INVERTED", None).await.unwrap();
    site.flush().await.unwrap();
    site.insert(200..210).await.unwrap();
    let before = site.snapshot().version;
    site.kill(&world).await;
    catalog.restore(&backup);

    let site = world.start().await;
    assert_eq!(site.keys().await, all(10..210));
    assert!(site.snapshot().version.commit_seq > before.commit_seq, "no V is given out twice");
    let (snapshot, collection) = (site.snapshot(), site.collection());
    assert!(snapshot.partition_named(collection.id, "new").is_some());
    assert!(snapshot.partition_named(collection.id, "dropped").is_none());
    assert_eq!(collection.indexes.len(), 1);
    site.flush().await.unwrap();
    let site = world.restart(site).await;
    assert_eq!(site.keys().await, all(10..210));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_writer_notices_and_its_successor_makes_up_for_it() {
    let (mut world, catalog) = world();
    world.ingest.lease_ttl = Duration::from_millis(150);
    let site = world.start_with_collection().await;
    let backup = catalog.backup();
    site.insert(0..50).await.unwrap();
    site.flush().await.unwrap();
    catalog.restore(&backup);
    eventually("the writer steps down", async || site.writer.has_ended()).await;
    let site = world.start().await;
    assert_eq!(site.keys().await, all(0..50));
}

/// Also when it went back across a takeover, so that it knows neither the last log nor its term.
#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_forgot_a_whole_term_learns_it_from_the_directory() {
    let (world, catalog) = world();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    let backup = catalog.backup();
    let site = world.restart(site).await;
    site.insert(10..20).await.unwrap();
    site.create_partition("new").await.unwrap();
    site.insert_into("new", 20..30).await.unwrap();
    site.flush().await.unwrap();
    let term = site.writer.log_id().epoch;
    site.kill(&world).await;
    catalog.restore(&backup);
    let site = world.start().await;
    assert!(site.writer.log_id().epoch > term);
    assert_eq!(site.keys().await, all(0..30));
    // The log that was forgotten is known again: its end is fixed, and it goes when nothing needs it.
    let site = world.restart(site).await;
    assert_eq!(site.keys().await, all(0..30));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_catalog_beside_a_young_directory_is_filled_from_the_log() {
    let (world, catalog) = world();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    site.flush().await.unwrap();
    site.kill(&world).await;
    catalog.restore(&Memory::new());
    let site = world.start().await;
    assert_eq!(site.keys().await, all(0..10));
}

/// However often it is tried: a refused start takes nothing over and removes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_loss_that_the_log_cannot_make_up_for_refuses_the_start() {
    let (mut world, catalog) = world();
    world.ingest.window = Duration::from_millis(300);
    world.ingest.log_file_bytes = 256;
    let site = world.start_with_collection().await;
    let backup = catalog.backup();
    for round in 0..5 {
        site.insert(round * 10..round * 10 + 10).await.unwrap();
        site.flush().await.unwrap();
    }
    let log = format!("log/{}", site.writer.log_id());
    eventually("old log files are dropped", async || {
        !world.files(&log).iter().any(|f| f.ends_with("/0000000001"))
    })
    .await;
    site.kill(&world).await;
    let newest = catalog.backup();
    catalog.restore(&backup);
    let lease = catalog.lease().await.unwrap();
    let files = world.disk.list("segments").unwrap();
    for _ in 0..10 {
        let message = refused(&world).await;
        assert!(message.contains("restore a newer copy of the catalog"), "{message}");
    }
    assert_eq!(catalog.lease().await.unwrap(), lease);
    assert_eq!(world.disk.list("segments").unwrap(), files);
    catalog.restore(&newest);
    assert_eq!(world.start().await.keys().await, all(0..50));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_older_catalog_needs_and_that_is_gone_refuses_the_start() {
    let (world, catalog) = world();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    site.flush().await.unwrap();
    let backup = catalog.backup();
    site.create_partition("later").await.unwrap();
    let segment = Arc::clone(&site.segments()[0]);
    site.kill(&world).await;
    catalog.restore(&backup);
    world.disk.remove(&segment.footer.path).unwrap();
    assert!(refused(&world).await.contains(&segment.footer.path));
}

/// Files of a commit that never came are removed by a later term, and nothing else is.
#[tokio::test(flavor = "multi_thread")]
async fn orphans_of_earlier_terms_are_removed_after_a_window() {
    let mut world = World::new();
    world.ingest.window = Duration::from_millis(300);
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    site.flush().await.unwrap();
    site.create_index("tag", "INVERTED", None).await.unwrap();
    eventually("the index", async || site.segments().iter().all(|s| s.indexes.len() == 1)).await;
    let segment = Arc::clone(&site.segments()[0]);
    let (dir, collection, id) =
        (segment.footer.path.rsplit_once('/').unwrap().0, segment.collection, segment.id.0 + 50);
    let orphans = [
        format!("segments/{collection}/{id}-00000000000000aa/columns.arrow"),
        format!("{dir}/102.inverted-{id}"),
        format!("{dir}/deletes-{id}"),
        format!("deltas/{collection}/{id}-00000000000000aa"),
    ];
    let foreign = format!("segments/{collection}/notes.txt");
    for path in orphans.iter().chain([&foreign]) {
        world.disk.put(path, &[b"x"]).unwrap();
    }
    tokio::time::sleep(Duration::from_millis(800)).await;
    let there = |path: &String| world.disk.read(path).is_ok();
    assert!(orphans.iter().all(there), "those of a term that runs may be on their way to a commit");
    let site = world.restart(site).await;
    eventually("orphans are removed", async || !orphans.iter().any(there)).await;
    assert!(there(&foreign));
    assert_eq!(site.keys().await, all(0..10));
    let site = world.restart(site).await;
    assert_eq!(site.keys().await, all(0..10));
}

/// Repeats of a commit's record in a later log do not say what was needed before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_loss_is_refused_when_only_later_records_of_the_commit_are_left() {
    let (mut world, catalog) = world();
    world.ingest.window = Duration::from_millis(300);
    let site = world.start_with_collection().await;
    let backup = catalog.backup();
    site.insert(0..10).await.unwrap();
    site.flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let old = site.writer.log_id();
    let site = world.restart(site).await;
    eventually("the old log is forgotten", async || site.snapshot().logs().all(|l| l.id() != old)).await;
    site.kill(&world).await;
    catalog.restore(&backup);
    refused(&world).await;
}

/// A writer that died between a commit and its record leaves a hole, which its successor's first record fills.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_a_record_is_made_up_for_too() {
    let (world, catalog) = world();
    let site = world.start_with_collection().await;
    site.create_partition("gone").await.unwrap();
    site.insert_into("gone", 900..910).await.unwrap();
    let backup = catalog.backup();
    let before: Vec<(String, usize)> =
        world.disk.list("log").unwrap().into_iter().map(|e| (e.name, e.bytes as usize)).collect();
    site.create_partition("new").await.unwrap();
    site.drop_partition("gone").await.unwrap();
    site.kill(&world).await;
    // The commits are in, their records are not.
    for (name, bytes) in before {
        world.disk.tamper(&format!("log/{name}"), |file| file.truncate(bytes));
    }
    let site = world.start().await;
    site.insert_into("new", 0..10).await.unwrap();
    site.insert(10..20).await.unwrap();
    site.flush().await.unwrap();
    site.kill(&world).await;
    catalog.restore(&backup);
    let site = world.start().await;
    assert_eq!(site.keys().await, all(0..20));
    let snapshot = site.snapshot();
    assert!(snapshot.partition_named(site.collection().id, "new").is_some());
    assert!(snapshot.partition_named(site.collection().id, "gone").is_none());
    assert_eq!(world.restart(site).await.keys().await, all(0..20));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_writer_writes_nothing() {
    let mut world = World::new();
    world.ingest.window = Duration::from_millis(300);
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    site.flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(800)).await;
    let log = format!("log/{}", site.writer.log_id());
    let size = || world.disk.list(&log).unwrap();
    let before = size();
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(size(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_first_log_file_refuses_the_start() {
    let mut world = World::new();
    world.ingest.log_file_bytes = 512;
    let site = world.start_with_collection().await;
    for key in 0..20 {
        site.insert([key]).await.unwrap();
    }
    let log = format!("log/{}", site.writer.log_id());
    site.kill(&world).await;
    world.disk.remove(&format!("{log}/0000000001")).unwrap();
    assert!(refused(&world).await.contains("log files are missing"));
}

/// The drop's record was lost with its writer, its row was purged, and the rows live on in the group that each successor
/// carries over: later starts must not take the catalog for an older one.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_what_was_dropped_without_a_record_refuse_no_start() {
    let mut world = World::new();
    world.ingest.window = Duration::from_millis(300);
    let site = world.start_with_collection().await;
    site.create_partition("gone").await.unwrap();
    site.insert(0..5).await.unwrap();
    site.insert_into("gone", 900..910).await.unwrap();
    let sizes: Vec<_> =
        world.disk.list("log").unwrap().into_iter().map(|e| (e.name, e.bytes as usize)).collect();
    site.drop_partition("gone").await.unwrap();
    let old = site.writer.log_id();
    site.kill(&world).await;
    for (name, bytes) in sizes {
        world.disk.tamper(&format!("log/{name}"), |file| file.truncate(bytes));
    }
    let mut site = world.start().await;
    site.flush().await.unwrap();
    eventually("the old log is forgotten", async || site.snapshot().logs().all(|l| l.id() != old)).await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        site = world.restart(site).await;
        assert_eq!(site.keys().await, all(0..5));
    }
}
