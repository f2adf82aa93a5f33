//! A restart replays exactly what is in no file: nothing twice, nothing lost, however often it is done.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use mishards_proto::node::failure::Kind;
use world::*;

fn all(range: std::ops::Range<i64>) -> Vec<i64> {
    range.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_in_files_are_not_replayed_again() {
    let world = World::new();
    let mut site = world.start_with_collection().await;
    for round in 0..3 {
        let from = round * 20;
        site.insert(from..from + 10).await.unwrap();
        site.flush().await.unwrap();
        site.insert(from + 10..from + 20).await.unwrap();
        let rows = site.rows().await;
        assert_eq!(rows.len() as i64, from + 20);
        for _ in 0..2 {
            site = world.restart(site).await;
            assert_eq!(site.rows().await, rows);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_partition_has_a_watermark_of_its_own() {
    let mut world = World::new();
    world.ingest.seal_rows = 10;
    let site = world.start_with_collection().await;
    site.create_partition("p").await.unwrap();
    site.insert_into("p", 100..103).await.unwrap();
    // Only the default partition is full: its watermark passes the growing rows of the other.
    site.insert(0..10).await.unwrap();
    eventually("a flush", async || site.segments().len() == 1).await;
    site.insert_into("p", 103..106).await.unwrap();
    let rows = site.rows().await;
    assert_eq!(rows.len(), 16);
    let site = world.restart(site).await;
    assert_eq!(site.rows().await, rows);
    site.flush().await.unwrap();
    assert_eq!(site.rows().await, rows);
    let site = world.restart(site).await;
    assert_eq!(site.rows().await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_and_upserts_of_rows_in_files_and_in_the_log_are_replayed() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    site.flush().await.unwrap();
    site.insert(10..20).await.unwrap();
    site.delete([1, 11]).await.unwrap();
    site.upsert([2, 12]).await.unwrap();
    let rows = site.rows().await;
    assert_eq!(rows.len(), 18);
    let site = world.restart(site).await;
    assert_eq!(site.rows().await, rows);
    site.flush().await.unwrap();
    let site = world.restart(site).await;
    assert_eq!(site.rows().await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_files_whose_rows_are_in_files_go_and_the_rest_stays() {
    let world = World::with_short_window();
    let mut site = world.start_with_collection().await;
    for round in 0..5 {
        site.insert(round * 100..round * 100 + 100).await.unwrap();
        site.flush().await.unwrap();
    }
    let log = format!("log/{}", site.writer.log_id());
    let first = format!("{log}/0000000001");
    eventually("an old log file is dropped", async || !world.files(&log).contains(&first)).await;
    site.insert(500..510).await.unwrap();
    for _ in 0..3 {
        site = world.restart(site).await;
        assert_eq!(site.keys().await, all(0..510));
    }
    eventually("logs of predecessors are forgotten", async || {
        site.flush().await.unwrap();
        site.snapshot().logs().count() == 1
    })
    .await;
    let site = world.restart(site).await;
    assert_eq!(site.keys().await, all(0..510));
    let after = site.insert(510..511).await.unwrap();
    assert!(after.sequence > 6, "sequences never start anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn unsynced_bytes_are_cut_and_what_was_acknowledged_stays() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    let files = world.files(&format!("log/{}", site.writer.log_id()));
    let log = files.into_iter().rfind(|path| !path.ends_with("fence")).unwrap();
    site.kill(&world).await;
    world.disk.tamper(&log, |bytes| bytes.extend_from_slice(b"MSGP torn"));
    let site = world.start().await;
    assert_eq!(site.keys().await, all(0..10));
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_collections_stay_dropped() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    let pinned = site.pin().await;
    let (database, name) = (DATABASE.to_owned(), COLLECTION.to_owned());
    site.change(&mishards_catalog::Command::DropCollection { database, name }).await.unwrap();
    let site = world.restart(site).await;
    assert_eq!(kind_of(query(&site.node, pinned.whole()).await), Kind::SnapshotTooOld);
    site.create_collection(schema()).await.unwrap();
    assert_eq!(site.keys().await, all(0..0));
}

/// A start that fails has registered a log already; a later writer forgets it.
#[tokio::test(flavor = "multi_thread")]
async fn logs_of_failed_starts_are_forgotten() {
    let world = World::with_short_window();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    let log = format!("log/{}/0000000001", site.writer.log_id());
    site.kill(&world).await;
    world.flip(&log);
    for _ in 0..3 {
        assert!(world.try_start().await.is_err());
    }
    world.flip(&log);
    let site = world.start().await;
    site.flush().await.unwrap();
    eventually("logs are forgotten", async || site.snapshot().logs().count() == 1).await;
    let site = world.restart(site).await;
    assert_eq!(site.keys().await, all(0..10));
}

/// Records that insert into one partition are replayed together, up to whatever else comes between them.
#[tokio::test(flavor = "multi_thread")]
async fn single_rows_between_anything_else_come_back_as_they_were() {
    let mut world = World::new();
    world.ingest.seal_rows = 40;
    let mut site = world.start_with_collection().await;
    site.create_partition("p").await.unwrap();
    let mut dice = 7u64;
    let mut next = move |sides: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    for key in 0..400 {
        // Keys that were inserted before, or never will be.
        let older = [0, 0].map(|_| next(key as u64 + 1) as i64 - 1);
        match next(20) {
            0 => drop(site.delete(older).await.unwrap()),
            1 => drop(site.upsert([older[0]]).await.unwrap()),
            2 => site.flush().await.unwrap(),
            3 => drop(site.insert(1000 + key * 10..1000 + key * 10 + 5).await.unwrap()),
            4..8 => drop(site.insert_into("p", [key]).await.unwrap()),
            _ => drop(site.insert([key]).await.unwrap()),
        }
        if key % 80 == 79 {
            let rows = site.rows().await;
            site = world.restart(site).await;
            assert_eq!(site.rows().await, rows, "after {key}");
            site = world.restart(site).await;
            assert_eq!(site.rows().await, rows, "after {key}, again");
        }
    }
}
