//! What must not end a term or keep a start from ending: a slow recovery, failed starts before it, long logs, a fence that
//! cannot be read for a moment.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use mishards_storage::{Faulty, Space};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use world::*;

/// A cluster with ten rows whose writer is dead.
async fn killed_with_a_short_lease() -> World {
    let mut world = World::new();
    world.ingest.lease_ttl = Duration::from_millis(300);
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    site.kill(&world).await;
    world
}

/// A recovery that reads for longer than the lease lives: nobody may take it for dead.
#[tokio::test(flavor = "multi_thread")]
async fn the_lease_is_renewed_while_a_writer_recovers() {
    let world = killed_with_a_short_lease().await;
    let mut slow = world.clone();
    // The fence of the predecessor: the lease is ours by then.
    let (hangs, held) = slow.hang(|op, path| op == "replace" && path.ends_with("fence"));
    hangs.store(true, Ordering::SeqCst);
    let taking = tokio::spawn(async move { slow.try_start().await });
    eventually("it recovers", async || held.load(Ordering::SeqCst)).await;
    let counter = async || world.catalog.lease().await.unwrap().counter;
    let before = counter().await;
    eventually("renewals during the recovery", async || counter().await > before + 3).await;
    hangs.store(false, Ordering::SeqCst);
    let site = taking.await.unwrap().unwrap();
    assert_eq!(site.keys().await, (0..10).collect::<Vec<_>>());
}

/// One that reads nothing more keeps nobody else from trying, and serves nothing when it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn the_lease_is_let_go_of_when_a_recovery_hangs() {
    let world = killed_with_a_short_lease().await;
    let mut slow = world.clone();
    let (hangs, held) = slow.hang(|op, path| op == "read" && path.starts_with("log/"));
    hangs.store(true, Ordering::SeqCst);
    let taking = tokio::spawn(async move { slow.try_start().await });
    eventually("it recovers", async || held.load(Ordering::SeqCst)).await;
    let counter = async || world.catalog.lease().await.unwrap().counter;
    world.clock.advance(Duration::from_secs(30));
    eventually("the end of renewals", async || {
        let before = counter().await;
        tokio::time::sleep(Duration::from_millis(350)).await;
        counter().await == before
    })
    .await;
    let site = world.start().await;
    assert_eq!(site.keys().await, (0..10).collect::<Vec<_>>());
    hangs.store(false, Ordering::SeqCst);
    assert!(taking.await.unwrap().is_err());
    site.insert(10..20).await.unwrap();
    assert_eq!(site.keys().await, (0..20).collect::<Vec<_>>());
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
    let failures = world.fail(|op, path| op == "read" && path.ends_with("fence"));
    let site = world.start_with_collection().await;
    failures.store(5, Ordering::SeqCst);
    site.insert(0..10).await.unwrap();
    assert!(!site.writer.has_ended());
    assert_eq!(site.keys().await, (0..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_that_cannot_be_removed_keeps_no_other() {
    let mut world = World::with_short_window();
    let stuck = Arc::new(std::sync::Mutex::new(String::new()));
    let named = Arc::clone(&stuck);
    world.storage = Arc::new(Faulty::new(world.disk.clone(), move |op: &'static str, path: &str| {
        op == "remove" && *named.lock().unwrap() == path
    }));
    let site = world.start_with_collection().await;
    for from in 0..4 {
        site.insert(from * 10..from * 10 + 10).await.unwrap();
        site.flush().await.unwrap();
        if from == 0 {
            *stuck.lock().unwrap() = site.segments()[0].footer.path.clone();
        }
    }
    eventually("the segments are merged", async || site.segments().len() == 1).await;
    let merged = site.segments()[0].footer.path.clone();
    eventually("all files but the stuck one are gone", async || {
        let left = world.files("segments");
        let of_merged =
            left.iter().filter(|path| path.starts_with(merged.rsplit_once('/').unwrap().0)).count();
        left.len() == of_merged + 1
    })
    .await;
    assert!(world.files("segments").contains(&stuck.lock().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merged_segment_is_published_with_its_indexes() {
    let world = World::new();
    let site = Arc::new(world.start_with_collection().await);
    site.create_index("vec", "HNSW", Some(mishards_types::Metric::L2)).await.unwrap();
    site.create_index("tag", "INVERTED", None).await.unwrap();
    let watching = Arc::clone(&site);
    let watch = tokio::spawn(async move {
        loop {
            let merged = watching.segments().into_iter().find(|s| s.rows == 4800);
            if let Some(merged) = merged {
                return merged.indexes.len();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    for from in 0..4 {
        site.insert(from * 1200..from * 1200 + 1200).await.unwrap();
        site.flush().await.unwrap();
    }
    let at_first = tokio::time::timeout(Duration::from_secs(60), watch).await.unwrap().unwrap();
    assert_eq!(at_first, 2, "indexes of the merged segment when it was first seen");
    assert_eq!(site.keys().await.len(), 4800);
}

/// Also while deletes wait to be dropped, for which a merge was waited for once.
#[tokio::test(flavor = "multi_thread")]
async fn a_flush_does_not_wait_for_a_merge() {
    let mut world = World::new();
    world.ingest.delta_max_deletes = 1;
    let (hangs, held) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (wanted, seen) = (Arc::clone(&hangs), Arc::clone(&held));
    world.storage = Arc::new(Faulty::new(world.disk.clone(), move |op: &'static str, path: &str| {
        let is_first = op == "create" && path.starts_with("segments/") && wanted.load(Ordering::SeqCst);
        if is_first && !seen.swap(true, Ordering::SeqCst) {
            while wanted.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        false
    }));
    let site = world.start_with_collection().await;
    for from in 0..3 {
        site.insert(from * 10..from * 10 + 10).await.unwrap();
        site.flush().await.unwrap();
    }
    site.insert(30..40).await.unwrap();
    site.flush().await.unwrap();
    hangs.store(true, Ordering::SeqCst);
    eventually("a merge hangs", async || held.load(Ordering::SeqCst)).await;
    for key in 0..5 {
        site.delete([key]).await.unwrap();
        let wanted = key as usize + 1;
        eventually("a delta file", async || {
            site.snapshot().recent_deltas_of(site.collection().id).count() >= wanted
        })
        .await;
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    site.insert(40..50).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), site.flush()).await.expect("the flush waits").unwrap();
    hangs.store(false, Ordering::SeqCst);
    eventually("the merge goes on", async || site.segments().len() <= 2).await;
    assert_eq!(site.keys().await, (5..50).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_jumped_does_not_stop_sealing() {
    let world = World::new();
    let site = world.start_with_collection().await;
    world.clock.set_wall_ahead(Duration::from_secs(86_400));
    site.insert(0..10).await.unwrap();
    world.clock.set_wall_ahead(Duration::ZERO);
    site.insert(10..20).await.unwrap();
    world.clock.advance(world.ingest.seal_age);
    eventually("the rows are written out", async || site.segments().len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_could_not_be_written_is_tried_again() {
    let mut world = World::new();
    let failures = world.fail(|op, path| op == "write" && path.contains(".inverted"));
    failures.store(2, Ordering::SeqCst);
    let site = world.start_with_collection().await;
    site.create_index("tag", "INVERTED", None).await.unwrap();
    site.insert(0..10).await.unwrap();
    site.flush().await.unwrap();
    eventually("the index is there", async || {
        world.clock.advance(Duration::from_secs(5));
        site.segments()[0].indexes.len() == 1
    })
    .await;
    assert_eq!(failures.load(Ordering::SeqCst), 0);
    assert_eq!(world.files("segments").iter().filter(|path| path.contains(".inverted")).count(), 1);
}

/// A growing segment gets no larger than it should while others are written out, nor when a log is replayed.
#[tokio::test(flavor = "multi_thread")]
async fn growing_segments_have_a_bound_also_when_nothing_is_written_out() {
    let mut world = World::new();
    world.ingest.seal_rows = 50;
    let hangs = Arc::new(AtomicBool::new(true));
    let wanted = Arc::clone(&hangs);
    world.storage = Arc::new(Faulty::new(world.disk.clone(), move |op: &'static str, path: &str| {
        op == "create" && path.starts_with("segments/") && wanted.load(Ordering::SeqCst)
    }));
    let site = world.start_with_collection().await;
    for from in 0..40 {
        site.insert(from * 10..from * 10 + 10).await.unwrap();
    }
    let largest =
        |site: &Site| site.writer.view().growing.values().flat_map(|l| l.iter()).map(|g| g.rows).max();
    assert_eq!(largest(&site), Some(50));
    let site = world.restart(site).await;
    assert_eq!(largest(&site), Some(50), "after a replay");
    hangs.store(false, Ordering::SeqCst);
    site.flush().await.unwrap();
    assert_eq!(site.keys().await, (0..400).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_are_under_way_count_against_the_limit() {
    let mut world = World::new();
    world.ingest.growing_limit_bytes = 400_000;
    let (hangs, held) = world.hang(|op, path| op == "sync" && path.starts_with("log/"));
    let site = Arc::new(world.start_with_collection().await);
    hangs.store(true, Ordering::SeqCst);
    let write = |n: i64| {
        let site = Arc::clone(&site);
        tokio::spawn(async move { site.insert(n * 1000..n * 1000 + 1000).await.map(drop) })
    };
    let first = write(0);
    eventually("a sync hangs", async || held.load(Ordering::SeqCst)).await;
    let more: Vec<_> = (1..100).map(write).collect();
    eventually("most of them are refused", async || more.iter().filter(|w| w.is_finished()).count() > 80)
        .await;
    hangs.store(false, Ordering::SeqCst);
    first.await.unwrap().unwrap();
    let mut taken = 1;
    for write in more {
        match write.await.unwrap() {
            Ok(()) => taken += 1,
            Err(status) => assert!(failure(&status).message.contains("on their way"), "{status}"),
        }
    }
    assert_eq!(site.keys().await.len(), taken * 1000);
}

/// Before the disk is full: what is acknowledged can still be written out, and reads go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_with_little_room_refuses_writes_until_there_is_more() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    let total = 100 << 20;
    world.disk.set_space(Space { free: 5 << 20, total });
    eventually("writes are refused", async || site.delete([900]).await.is_err()).await;
    let refused = failure(&site.insert([100]).await.unwrap_err());
    assert_eq!(refused.code, 6);
    assert!(refused.message.starts_with("disk limit exceeded: 52"), "{refused:?}");
    assert!(refused.message.contains("5242880 are kept"), "{refused:?}");
    site.flush().await.unwrap();
    site.create_partition("p").await.unwrap();
    assert_eq!(site.keys().await, (0..10).collect::<Vec<_>>());
    assert!(!site.writer.has_ended());
    world.disk.set_space(Space { free: 50 << 20, total });
    eventually("writes are taken again", async || site.delete([900]).await.is_ok()).await;
    site.insert([100]).await.unwrap();
    assert!(site.keys().await.contains(&100));
}

/// Others fill the disk at once, down to the last byte: what has no room is refused, and nothing else is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_at_once_ends_no_term() {
    let mut world = World::new();
    let is_full = world.fill_disk();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    is_full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let refused = failure(&site.insert(100..110).await.unwrap_err());
        assert_eq!(refused.code, 6, "{refused:?}");
        assert!(refused.message.starts_with("disk limit exceeded"), "{refused:?}");
    }
    assert_eq!(site.keys().await, (0..10).collect::<Vec<_>>());
    let refused = failure(&site.create_partition("q").await.unwrap_err());
    assert_eq!(refused.code, 6, "{refused:?}");
    {
        // The disk says that there is room, so the catalog has the commit; its record in the log waits for it.
        tokio::time::sleep(Duration::from_millis(400)).await;
        let mut making = std::pin::pin!(site.create_partition("p"));
        assert!(tokio::time::timeout(Duration::from_millis(300), &mut making).await.is_err());
        let flushed = tokio::time::timeout(Duration::from_millis(300), site.flush()).await;
        assert!(flushed.is_err(), "files have no room");
        assert!(!site.writer.has_ended());
        is_full.store(false, Ordering::SeqCst);
        making.await.unwrap();
    }
    eventually("writes are taken again", async || site.insert(200..210).await.is_ok()).await;
    let all: Vec<i64> = (0..10).chain(200..210).collect();
    assert_eq!(site.keys().await, all);
    let site = world.restart(site).await;
    assert_eq!(site.keys().await, all);
    site.insert([300]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_full_disk_gives_up_the_reserve_and_reads() {
    let world = World::new();
    let total = 1 << 30;
    world.disk.set_space(Space { free: total / 2, total });
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    eventually("the reserve", async || !world.files("reserve").is_empty()).await;
    world.disk.set_space(Space { free: 0, total });
    site.kill(&world).await;
    let refused = world.try_start().await.map(drop).unwrap_err();
    assert_eq!(refused.error.code.0, 6, "this disk says that nothing came free: {refused}");
    assert!(world.files("reserve").is_empty());
    let terms = world.catalog.lease().await.unwrap().epoch;
    world.disk.set_space(Space { free: 8 << 20, total });
    let site = world.start().await;
    assert_eq!(world.catalog.lease().await.unwrap().epoch.0, terms.0 + 1, "the refused start took no term");
    assert_eq!(site.keys().await, (0..10).collect::<Vec<_>>());
    eventually("writes are refused", async || site.insert([100]).await.is_err()).await;
}

/// Segments whose files take their time take all permits for I/O; one that is open needs none.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_of_open_segments_waits_for_no_other_ones_files() {
    let mut world = World::new();
    let (hangs, held) = world.hang(|op, path| op == "map" && path.starts_with("segments/"));
    let site = world.start_with_collection().await;
    for from in 0..20 {
        site.insert(from * 10..from * 10 + 10).await.unwrap();
        site.flush().await.unwrap();
    }
    let pinned = site.pin().await;
    let segments = pinned.segments();
    let reader = world.node("reader");
    let warm = pinned.scope(&segments[..1], false);
    let rows = query(&reader, warm.clone()).await.unwrap();
    hangs.store(true, Ordering::SeqCst);
    let cold: Vec<_> = segments[1..]
        .iter()
        .map(|segment| {
            let (reader, scope) = (reader.clone(), pinned.scope(std::slice::from_ref(segment), false));
            tokio::spawn(async move { query(&reader, scope).await })
        })
        .collect();
    eventually("files hang", async || held.load(Ordering::SeqCst)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let again = tokio::time::timeout(Duration::from_secs(2), query(&reader, warm)).await;
    let unfinished = cold.iter().filter(|query| !query.is_finished()).count();
    hangs.store(false, Ordering::SeqCst);
    assert_eq!(again.expect("an open segment waited for files").unwrap(), rows);
    assert!(unfinished >= 16, "only {unfinished} segments were being opened");
    for query in cold {
        query.await.unwrap().unwrap();
    }
}
