//! A deleted row stays deleted: when the log that held the delete is gone, when a merge was under way, on every
//! node, and for every V that is still answerable.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use mishards_catalog::Origin;
use mishards_node::{DeleteSource, Node};
use mishards_proto::node::failure::Kind;
use mishards_proto::node::node_server::Node as _;
use mishards_proto::node::{DeletesUpdate, WatchDeletesRequest};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tonic::{Request, Status};
use world::*;

/// The writer's stream; while it is held back, nothing arrives.
struct Source {
    node: Node,
    held_back: Arc<AtomicBool>,
}

#[tonic::async_trait]
impl DeleteSource for Source {
    async fn watch_deletes(&self) -> Result<BoxStream<'static, Result<DeletesUpdate, Status>>, Status> {
        let stream =
            self.node.watch_deletes(Request::new(WatchDeletesRequest::default())).await?.into_inner();
        let held_back = Arc::clone(&self.held_back);
        Ok(stream.then(move |update| release(update, Arc::clone(&held_back))).boxed())
    }
}

async fn release<T>(update: T, held_back: Arc<AtomicBool>) -> T {
    while held_back.load(Ordering::SeqCst) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    update
}

/// A read-only node that follows a writer, and the switch that holds its stream back.
fn follower(world: &World, site: &Site) -> (Node, Arc<AtomicBool>) {
    let (node, held_back) = (world.node("reader"), Arc::new(AtomicBool::new(false)));
    let source = Source { node: site.node.clone(), held_back: Arc::clone(&held_back) };
    tokio::spawn(node.follow(Arc::new(source)));
    (node, held_back)
}

/// What a node answers once it has caught up.
async fn caught_up(node: &Node, pinned: &Pinned) -> Vec<i64> {
    eventually("the node catches up", async || query(node, pinned.files()).await.is_ok()).await;
    keys(node, pinned.files()).await.unwrap()
}

async fn delete_one_by_one(site: &Site, range: std::ops::Range<i64>) {
    for key in range {
        site.delete([key]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_outlives_the_log_that_held_it() {
    let mut world = World::with_short_window();
    world.ingest.delta_max_deletes = 5;
    world.ingest.log_file_bytes = 256;
    let site = world.start_with_collection().await;
    site.insert(0..30).await.unwrap();
    site.flush().await.unwrap();
    delete_one_by_one(&site, 0..10).await;
    let log = format!("log/{}", site.writer.log_id());
    let files = world.files(&log);
    eventually("the deletes are in delta files", async || site.snapshot().deltas().count() > 0).await;
    eventually("old log files are dropped", async || {
        files.iter().rev().skip(2).all(|f| f.ends_with("fence") || !world.files(&log).contains(f))
    })
    .await;
    let site = world.restart(site).await;
    assert_eq!(site.keys().await, (10..30).collect::<Vec<_>>());
    let (reader, _) = follower(&world, &site);
    assert_eq!(caught_up(&reader, &site.pin().await).await, (10..30).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_outlives_the_delta_file_that_held_it() {
    let mut world = World::with_short_window();
    world.ingest.delta_max_deletes = 2;
    let site = world.start_with_collection().await;
    site.insert(0..30).await.unwrap();
    site.flush().await.unwrap();
    for round in 0..5 {
        let before = site.collection().deltas_through;
        delete_one_by_one(&site, round * 2..round * 2 + 2).await;
        eventually("a delta file", async || site.collection().deltas_through > before).await;
    }
    eventually("delta files are folded and removed", async || {
        site.snapshot().deltas().count() <= 3
            && world.files(&format!("deltas/{}", site.collection().id)).len() <= 3
    })
    .await;
    assert!(site.segments().iter().all(|s| s.delete_file.is_some()));
    assert_eq!(site.keys().await, (10..30).collect::<Vec<_>>());
    let site = world.restart(site).await;
    assert_eq!(site.keys().await, (10..30).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_during_merges_stay_effective_everywhere() {
    let mut world = World::new();
    world.ingest.delta_max_deletes = 4;
    let site = world.start_with_collection().await;
    let (reader, _) = follower(&world, &site);
    for round in 0..4 {
        site.insert(round * 100..round * 100 + 100).await.unwrap();
        site.flush().await.unwrap();
    }
    let mut gone = 0;
    let began = tokio::time::Instant::now();
    while !site.segments().iter().any(|s| s.origin == Origin::Merge) {
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "a merge never came");
        if gone < 399 {
            site.delete([gone]).await.unwrap();
            gone += 1;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let expected: Vec<i64> = (gone..400).collect();
    assert_eq!(site.keys().await, expected);
    assert_eq!(caught_up(&reader, &site.pin().await).await, expected);
    assert_eq!(caught_up(&follower(&world, &site).0, &site.pin().await).await, expected);
    let site = world.restart(site).await;
    assert_eq!(site.keys().await, expected);
    assert_eq!(caught_up(&follower(&world, &site).0, &site.pin().await).await, expected);
}

/// The merged inputs are gone from the catalog, and so are delta files that only they had not folded: whoever
/// holds an older V still asks the writer for these inputs.
#[tokio::test(flavor = "multi_thread")]
async fn inputs_of_a_merge_keep_their_deletes_for_older_versions() {
    let mut world = World::new();
    world.ingest.delta_max_deletes = 1;
    let site = world.start_with_collection().await;
    let pinned = site.pin().await;
    for round in 0..4 {
        site.insert(round * 10..round * 10 + 10).await.unwrap();
        site.flush().await.unwrap();
    }
    eventually("a merge", async || site.segments().iter().any(|s| s.origin == Origin::Merge)).await;
    for key in 0..5 {
        let before = site.collection().deltas_through;
        site.delete([key]).await.unwrap();
        eventually("a delta file", async || site.collection().deltas_through > before).await;
    }
    eventually("delta files are folded", async || site.snapshot().deltas().count() < 4).await;
    let late = Pinned { snapshot: pinned.snapshot, point: site.read_point().await.unwrap() };
    assert_eq!(keys(&site.node, late.whole()).await.unwrap(), (5..40).collect::<Vec<_>>());
}

/// A delete that was pending at V and is in a delta file of a later V, when the writer starts anew: its stream
/// does not have it any more, and must say so.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_never_revives_a_row_after_a_restart() {
    let mut world = World::new();
    world.ingest.delta_max_deletes = 2;
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    site.flush().await.unwrap();
    site.delete([3]).await.unwrap();
    let pinned = site.pin().await;
    assert_eq!(pinned.collection().deltas_through.0, 0);
    site.delete([4]).await.unwrap();
    eventually("a delta file", async || site.snapshot().deltas().count() == 1).await;
    let site = world.restart(site).await;
    let (reader, _) = follower(&world, &site);
    eventually("the stream arrives", async || {
        !query(&reader, pinned.files()).await.is_err_and(|e| failure(&e).kind() == Kind::NotCaughtUp)
    })
    .await;
    match keys(&reader, pinned.files()).await {
        Ok(rows) => assert!(!rows.contains(&3), "a deleted row is back: {rows:?}"),
        Err(status) => assert_eq!(failure(&status).kind(), Kind::SnapshotTooOld),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lacks_a_delete_says_so_until_it_arrives() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    site.flush().await.unwrap();
    let lonely = world.node("lonely");
    let (reader, held_back) = follower(&world, &site);
    let before = site.pin().await;
    assert_eq!(caught_up(&reader, &before).await.len(), 10);
    held_back.store(true, Ordering::SeqCst);
    site.delete([7]).await.unwrap();
    let after = site.pin().await;
    assert_eq!(kind_of(query(&reader, after.files()).await), Kind::NotCaughtUp);
    assert_eq!(kind_of(query(&lonely, after.files()).await), Kind::NotCaughtUp);
    assert_eq!(keys(&reader, before.files()).await.unwrap().len(), 10, "an idle collection needs no ticks");
    held_back.store(false, Ordering::SeqCst);
    assert_eq!(caught_up(&reader, &after).await, vec![0, 1, 2, 3, 4, 5, 6, 8, 9]);
    assert_eq!(keys(&reader, before.files()).await.unwrap().len(), 10, "the older T does not see the delete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_starts_above_a_version_says_that_it_is_too_old() {
    let mut world = World::with_short_window();
    world.ingest.delta_max_deletes = 2;
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    site.flush().await.unwrap();
    site.delete([3]).await.unwrap();
    let old = site.pin().await;
    site.delete([4]).await.unwrap();
    eventually("a delta file", async || site.collection().deltas_through.0 > 0).await;
    let through = site.collection().deltas_through.0;
    // Deletes leave the writer's memory a window after the delta file; some commit must be that old.
    eventually("the stream starts later", async || {
        let request = Request::new(WatchDeletesRequest::default());
        let mut stream = site.node.watch_deletes(request).await.unwrap().into_inner();
        let first = stream.next().await.unwrap().unwrap();
        first.floors.values().any(|floor| *floor >= through)
    })
    .await;
    let (reader, _) = follower(&world, &site);
    eventually("the stream arrives", async || {
        query(&reader, old.files()).await.is_err_and(|e| failure(&e).kind() != Kind::NotCaughtUp)
    })
    .await;
    assert_eq!(kind_of(query(&reader, old.files()).await), Kind::SnapshotTooOld);
    assert_eq!(caught_up(&reader, &site.pin().await).await.len(), 8);
}

/// Waiting at the reader is not needed for what delta files hold.
#[tokio::test(flavor = "multi_thread")]
async fn delta_files_alone_are_enough_without_a_stream() {
    let mut world = World::new();
    world.ingest.delta_max_deletes = 2;
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    site.flush().await.unwrap();
    site.delete([3, 4]).await.unwrap();
    eventually("a delta file", async || site.snapshot().deltas().count() == 1).await;
    let lonely = world.node("lonely");
    assert_eq!(keys(&lonely, site.pin().await.files()).await.unwrap().len(), 8);
}

/// The merge has read its inputs and is held before its first file; deletes that come then are in none of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_between_a_merges_start_and_its_publication_stays_effective() {
    let (hold, holding) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut world = World::new();
    let (wait, waits) = (Arc::clone(&hold), Arc::clone(&holding));
    let fault = move |op: &'static str, path: &str| {
        while op == "create" && path.starts_with("segments/") && wait.load(Ordering::SeqCst) {
            waits.store(true, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        false
    };
    world.storage = Arc::new(mishards_storage::Faulty::new(world.disk.clone(), fault));
    let site = world.start_with_collection().await;
    for round in 0..4 {
        site.insert(round * 10..round * 10 + 10).await.unwrap();
        site.flush().await.unwrap();
    }
    hold.store(true, Ordering::SeqCst);
    eventually("the merge is under way", async || holding.load(Ordering::SeqCst)).await;
    delete_one_by_one(&site, 5..15).await;
    hold.store(false, Ordering::SeqCst);
    eventually("a merge", async || site.segments().len() == 1).await;
    let expected: Vec<i64> = (0..5).chain(15..40).collect();
    assert_eq!(site.keys().await, expected);
    let (reader, _) = follower(&world, &site);
    assert_eq!(caught_up(&reader, &site.pin().await).await, expected);
    let site = world.restart(site).await;
    assert_eq!(site.keys().await, expected);
    let (reader, _) = follower(&world, &site);
    assert_eq!(caught_up(&reader, &site.pin().await).await, expected);
}

/// More than one message can hold, one record of which alone is more than that.
#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_kept_comes_in_pages() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.insert(0..12_000).await.unwrap();
    site.flush().await.unwrap();
    delete_one_by_one(&site, 0..10).await;
    site.delete(10..9_000).await.unwrap();
    delete_one_by_one(&site, 9_000..9_010).await;
    let source: Vec<DeletesUpdate> = {
        use futures_util::StreamExt;
        let mut stream = site.writer.watch_deletes();
        let mut kept = Vec::new();
        while kept.last().is_none_or(|u: &DeletesUpdate| u.more) {
            kept.push(stream.next().await.unwrap().unwrap());
        }
        kept
    };
    assert!(source.len() >= 3, "{} messages", source.len());
    let through: Vec<u64> = source.iter().map(|u| u.through).collect();
    assert!(through.iter().rev().skip(1).all(|t| *t == 0) && through.last() > Some(&0), "{through:?}");
    let (reader, _) = follower(&world, &site);
    assert_eq!(caught_up(&reader, &site.pin().await).await, (9_010..12_000).collect::<Vec<_>>());
}

/// Deletes that are in delta files do not push writes back, and are let go of early when they take much memory: a
/// plan that is older is told so.
#[tokio::test(flavor = "multi_thread")]
async fn published_deletes_make_room() {
    let mut world = World::new();
    world.ingest.growing_limit_bytes = 200_000;
    let site = world.start_with_collection().await;
    site.insert(0..3_000).await.unwrap();
    site.flush().await.unwrap();
    let old = site.pin().await;
    // About 290 kB of deletes: more than the limit, below the number at which a file is written.
    for from in (0..3_000).step_by(500) {
        eventually("room for deletes", async || site.delete(from..from + 500).await.is_ok()).await;
    }
    eventually("room for rows", async || site.insert(5_000..5_010).await.is_ok()).await;
    assert!(site.snapshot().deltas().count() > 0);
    assert_eq!(site.keys().await, (5_000..5_010).collect::<Vec<_>>());
    world.clock.advance(std::time::Duration::from_secs(20));
    // A node that has not applied them yet, asked with the old V and a new T.
    eventually("the older plan is too old", async || {
        let (reader, _) = follower(&world, &site);
        let pinned = Pinned { snapshot: Arc::clone(&old.snapshot), point: site.pin().await.point };
        eventually("the stream", async || match query(&reader, pinned.files()).await {
            Err(s) => failure(&s).kind() != Kind::NotCaughtUp,
            Ok(_) => true,
        })
        .await;
        query(&reader, pinned.files()).await.is_err_and(|s| failure(&s).kind() == Kind::SnapshotTooOld)
    })
    .await;
    assert_eq!(site.keys().await, (5_000..5_010).collect::<Vec<_>>());
}
