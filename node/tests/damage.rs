//! A damaged byte is found by its checksum, named, and never served: in the log it refuses the start, in a file of a
//! segment it fails the sub-queries of that segment and no others.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use mishards_catalog::Segment;
use mishards_proto::node::failure::Kind;
use mishards_storage::Storage;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use world::*;

/// A collection with two segments, the first with an index file and a delete file, and a third that is not touched.
async fn published() -> (World, Site) {
    let world = World::new();
    let site = world.start_with_collection().await;
    for round in 0..2 {
        site.insert(round * 10..round * 10 + 10).await.unwrap();
        site.delete([round * 10]).await.unwrap();
        site.flush().await.unwrap();
    }
    site.create_index("tag", "INVERTED", None).await.unwrap();
    eventually("indexes", async || site.segments().iter().all(|s| s.indexes.len() == 1)).await;
    (world, site)
}

/// Every read of the damaged segment fails by name; the other one answers.
async fn is_refused(world: &World, site: &Site, damaged: &Arc<Segment>, path: &str) {
    let (reader, pinned) = (world.node("reader"), site.pin().await);
    let bad = pinned.scope(std::slice::from_ref(damaged), false);
    for _ in 0..2 {
        // What was never open has not been verified either: these deletes are in the segment's own file.
        let mut scope = bad.clone();
        scope.delete_sequence = 0;
        let status = query(&reader, scope).await.unwrap_err();
        assert_eq!(failure(&status).kind(), Kind::Unreadable, "{status}");
        let (message, name) = (failure(&status).message, path.rsplit('/').next().unwrap());
        let segment = format!("segment {}", damaged.id);
        assert!(message.contains(name) && message.contains(&segment), "{path} is not named by: {message}");
    }
    let others: Vec<Arc<Segment>> = pinned.segments().into_iter().filter(|s| s.id != damaged.id).collect();
    let mut scope = pinned.scope(&others, false);
    scope.delete_sequence = 0;
    assert_eq!(query(&reader, scope).await.unwrap().len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_any_file_of_a_segment_is_found_and_named() {
    let (world, site) = published().await;
    let segment = Arc::clone(&site.segments()[0]);
    assert!(segment.delete_file.is_some() && segment.all_files().count() >= 5);
    for file in segment.all_files() {
        world.flip(&file.path);
        is_refused(&world, &site, &segment, &file.path).await;
        world.flip(&file.path);
    }
    let reader = world.node("reader");
    let mut scope = site.pin().await.files();
    scope.delete_sequence = 0;
    assert_eq!(query(&reader, scope).await.unwrap().len(), 18, "whole again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_cut_short_is_found_and_named() {
    let (world, site) = published().await;
    let segment = Arc::clone(&site.segments()[0]);
    for file in segment.all_files() {
        let whole = world.disk.read(&file.path).unwrap();
        for left in [0, 7, whole.len() - 1] {
            world.disk.tamper(&file.path, |bytes| bytes.truncate(left));
            is_refused(&world, &site, &segment, &file.path).await;
            world.disk.tamper(&file.path, |bytes| *bytes = whole.to_vec());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_delta_file_is_found_and_named() {
    let mut world = World::new();
    world.ingest.delta_max_deletes = 1;
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    site.flush().await.unwrap();
    site.delete([3]).await.unwrap();
    eventually("a delta file", async || site.snapshot().deltas().count() == 1).await;
    let path = site.snapshot().deltas().next().unwrap().file.path.clone();
    world.flip(&path);
    let status = query(&world.node("reader"), site.pin().await.files()).await.unwrap_err();
    assert_eq!(failure(&status).kind(), Kind::Unreadable);
    assert!(failure(&status).message.contains(&path), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_is_named_and_counted() {
    let (world, site) = published().await;
    let segment = Arc::clone(&site.segments()[0]);
    for file in segment.all_files() {
        let whole = world.disk.read(&file.path).unwrap();
        world.disk.remove(&file.path).unwrap();
        let (reader, metrics) = world.node_and_metrics("reader");
        let mut scope = site.pin().await.files();
        scope.delete_sequence = 0;
        let status = query(&reader, scope.clone()).await.unwrap_err();
        assert_eq!(failure(&status).kind(), Kind::SnapshotTooOld, "{status}");
        assert_eq!(failure(&status).missing_file, file.path);
        assert_eq!(metrics.missing_files_total.get(), 1);
        world.disk.put(&file.path, &[&whole]).unwrap();
        assert_eq!(query(&reader, scope).await.unwrap().len(), 18, "whole again");
    }
}

async fn start_is_refused(world: &World, names: &str) {
    let refused = match world.try_start().await {
        Ok(_) => panic!("it started"),
        Err(failure) => failure,
    };
    assert_eq!(refused.kind, mishards_node::Kind::Unreadable, "{refused}");
    assert!(refused.to_string().contains(names), "{names} is not named by: {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_acknowledged_records_refuses_the_start() {
    let world = World::new();
    let site = world.start_with_collection().await;
    for key in 0..20 {
        site.insert([key]).await.unwrap();
    }
    let id = site.writer.log_id().to_string();
    site.kill(&world).await;
    // The last file may have been begun and have no record yet: then nothing is lost with it.
    let has_records = |file: &&String| !file.ends_with("fence") && world.disk.read(file).unwrap().len() > 64;
    for file in world.files(&format!("log/{id}")).iter().filter(has_records) {
        world.flip(file);
        start_is_refused(&world, &id).await;
        start_is_refused(&world, &id).await;
        world.flip(file);
    }
    let site = world.start().await;
    assert_eq!(site.keys().await, (0..20).collect::<Vec<_>>(), "nothing was thrown away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_log_file_refuses_the_start() {
    let mut world = World::new();
    world.ingest.log_file_bytes = 512;
    let site = world.start_with_collection().await;
    for key in 0..20 {
        site.insert([key]).await.unwrap();
    }
    let id = site.writer.log_id().to_string();
    site.kill(&world).await;
    let files = world.files(&format!("log/{id}"));
    let middle: Vec<&String> = files.iter().filter(|f| !f.ends_with("fence")).skip(1).collect();
    assert!(middle.len() > 2);
    world.disk.remove(middle[0]).unwrap();
    start_is_refused(&world, &id).await;
}

/// Growing rows exist only in the writer's memory: a damaged segment does not take them along.
#[tokio::test(flavor = "multi_thread")]
async fn growing_rows_answer_beside_a_damaged_segment() {
    let (world, site) = published().await;
    site.insert(100..105).await.unwrap();
    let segment = Arc::clone(&site.segments()[0]);
    world.flip(&segment.footer.path);
    let scope = site.pin().await.scope(&[], true);
    assert_eq!(keys(&site.node, scope).await.unwrap(), (100..105).collect::<Vec<_>>());
}

/// A damaged segment is refused from memory until it is tried again; then a restored file serves.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_segment_is_in_quarantine_until_it_is_tried_again() {
    let (mut world, site) = published().await;
    let reads = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reads);
    let counting = move |op: &'static str, path: &str| {
        if matches!(op, "read" | "map") && path.starts_with("segments/") {
            count.fetch_add(1, Ordering::SeqCst);
        }
        false
    };
    world.storage = Arc::new(mishards_storage::Faulty::new(world.disk.clone(), counting));
    let reader = world.node("reader");
    let segment = Arc::clone(&site.segments()[0]);
    let pinned = site.pin().await;
    let ask = async || {
        let mut scope = pinned.scope(std::slice::from_ref(&segment), false);
        scope.delete_sequence = 0;
        query(&reader, scope).await
    };
    world.flip(&segment.footer.path);
    let refused = failure(&ask().await.unwrap_err()).message;
    world.flip(&segment.footer.path);
    let read = reads.load(Ordering::SeqCst);
    assert!(read > 0);
    for _ in 0..3 {
        assert_eq!(failure(&ask().await.unwrap_err()).message, refused);
    }
    assert_eq!(reads.load(Ordering::SeqCst), read, "it was read again");
    world.clock.advance(std::time::Duration::from_secs(31));
    assert_eq!(ask().await.unwrap().len(), 9);
    assert!(reads.load(Ordering::SeqCst) > read);
}

/// On a network file system: a damaged local copy is made again, and only then is the segment blamed.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_local_copy_is_copied_once_more() {
    let (shared, local) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = |d: &tempfile::TempDir| mishards_storage::LocalDir::open(d.path()).unwrap();
    let mut world = World::new();
    world.storage =
        Arc::new(mishards_storage::LocalCopies::open(dir(&shared), dir(&local), Some(1 << 30)).unwrap());
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    site.flush().await.unwrap();
    let flip = |dir: mishards_storage::LocalDir, path: &str| {
        let mut bytes = dir.read(path).unwrap().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        dir.replace(path, &bytes).unwrap();
    };
    let copy = |path: &str| format!("copies/{path}");
    let ask = async || query(&world.node("reader"), site.pin().await.files()).await;
    assert_eq!(ask().await.unwrap().len(), 10);
    let segment = Arc::clone(&site.segments()[0]);
    for file in &segment.files {
        flip(dir(&local), &copy(&file.path));
        assert_eq!(ask().await.unwrap().len(), 10, "{}", file.path);
    }
    let damaged = &segment.files[0].path;
    flip(dir(&shared), damaged);
    flip(dir(&local), &copy(damaged));
    let refused = failure(&ask().await.unwrap_err()).message;
    assert!(refused.contains(damaged.rsplit('/').next().unwrap()), "{refused}");
}
