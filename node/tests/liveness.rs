//! What must not end a term or keep a start from ending: a slow recovery, failed starts before it, long logs, a fence that
//! cannot be read for a moment.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use mishards_storage::Faulty;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use world::*;

/// A recovery that reads for longer than the lease lives: nobody may take it for dead.
#[tokio::test(flavor = "multi_thread")]
async fn the_lease_is_renewed_while_a_writer_recovers() {
    let mut world = World::new();
    world.ingest.lease_ttl = Duration::from_millis(300);
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    site.kill(&world).await;
    let (hangs, held) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let mut slow = world.clone();
    let (wanted, seen) = (Arc::clone(&hangs), Arc::clone(&held));
    // The fence of the predecessor: the lease is ours by then.
    slow.storage = Arc::new(Faulty::new(world.disk.clone(), move |op: &'static str, path: &str| {
        while op == "replace" && path.ends_with("fence") && wanted.load(Ordering::SeqCst) {
            seen.store(true, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }));
    let taking = tokio::spawn(async move { slow.try_start().await });
    eventually("it recovers", async || held.load(Ordering::SeqCst)).await;
    let counter = async || world.catalog.lease().await.unwrap().counter;
    let before = counter().await;
    eventually("renewals during the recovery", async || counter().await > before + 3).await;
    hangs.store(false, Ordering::SeqCst);
    let site = taking.await.unwrap().unwrap();
    assert_eq!(site.keys().await, (0..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_starts_leave_nothing_that_slows_later_ones() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    site.kill(&world).await;
    let fails = Arc::new(AtomicBool::new(true));
    let mut failing = world.clone();
    let wanted = Arc::clone(&fails);
    failing.storage = Arc::new(Faulty::new(world.disk.clone(), move |op: &'static str, path: &str| {
        op == "create" && path.ends_with("/0000000001") && wanted.load(Ordering::SeqCst)
    }));
    for _ in 0..30 {
        assert!(failing.try_start().await.is_err());
    }
    let site = world.start().await;
    assert_eq!(site.keys().await, (0..10).collect::<Vec<_>>());
    let logs = site.snapshot().logs().count();
    assert!(logs <= 4, "{logs} logs are known to the catalog");
}

/// A log without a commit in its last files is read from its end, each file once.
#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_reads_a_long_log_a_fixed_number_of_times() {
    let mut world = World::new();
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reads);
    world.storage = Arc::new(Faulty::new(world.disk.clone(), move |op: &'static str, path: &str| {
        let is_log = path.starts_with("log/") && !path.ends_with("fence");
        counted.fetch_add(usize::from(op == "read" && is_log), Ordering::SeqCst);
        false
    }));
    let site = world.start_with_collection().await;
    for key in 0..1000 {
        site.insert([key]).await.unwrap();
    }
    let files = world.files(&format!("log/{}", site.writer.log_id())).len();
    assert!(files > 30, "{files}");
    site.kill(&world).await;
    reads.store(0, Ordering::SeqCst);
    let site = world.start().await;
    assert_eq!(site.keys().await.len(), 1000);
    let reads = reads.load(Ordering::SeqCst);
    assert!(reads <= 4 * files, "{reads} reads of {files} files");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_cannot_be_read_for_a_moment_ends_no_term() {
    let mut world = World::new();
    let failures = Arc::new(AtomicUsize::new(0));
    let left = Arc::clone(&failures);
    world.storage = Arc::new(Faulty::new(world.disk.clone(), move |op: &'static str, path: &str| {
        op == "read"
            && path.ends_with("fence")
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
    }));
    let site = world.start_with_collection().await;
    failures.store(5, Ordering::SeqCst);
    site.insert(0..10).await.unwrap();
    assert!(!site.writer.has_ended());
    assert_eq!(site.keys().await, (0..10).collect::<Vec<_>>());
}
