//! A standby that follows the log answers for rows that are in no file exactly as the writable node does, or says that it
//! cannot.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use futures_util::stream::BoxStream;
use mishards_node::{LogSource, Node};
use mishards_proto::node::failure::Kind;
use mishards_proto::node::node_server::Node as _;
use mishards_proto::node::{LogUpdate, ReadPointRequest, WatchLogRequest};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Status};
use world::*;

/// The stream of a node of this process; a test may cut it.
struct Source {
    writer: Node,
    cut: tokio::sync::watch::Sender<bool>,
}

#[tonic::async_trait]
impl LogSource for Source {
    async fn watch_log(&self) -> Result<BoxStream<'static, Result<LogUpdate, Status>>, Status> {
        use futures_util::StreamExt;
        let mut cut = self.cut.subscribe();
        if *cut.borrow() {
            return Err(Status::unavailable("cut"));
        }
        let stream = self.writer.watch_log(Request::new(WatchLogRequest { epoch: 0 })).await?.into_inner();
        let end = async move { drop(cut.wait_for(|cut| *cut).await) };
        Ok(stream.take_until(Box::pin(end)).boxed())
    }
}

struct Following {
    node: Node,
    source: Arc<Source>,
    task: tokio::task::JoinHandle<()>,
}

impl Following {
    fn start(world: &World, site: &Site) -> Following {
        let node = world.node("standby");
        node.stand_by();
        let cut = tokio::sync::watch::Sender::new(false);
        let source = Arc::new(Source { writer: site.node.clone(), cut });
        let task = tokio::spawn(node.follow_log(Arc::clone(&source) as _, world.ingest.window));
        Following { node, source, task }
    }

    /// Waits until it has what a pinned V and T name, and compares its answer with the writer's.
    async fn agrees(&self, site: &Site, pinned: &Pinned, when: &str) {
        let expected = query_counted(&site.node, pinned.whole()).await.unwrap();
        eventually("the standby has caught up", async || {
            matches!(query_counted(&self.node, pinned.whole()).await, Ok(rows) if rows == expected)
                || self.differs(pinned, &expected, when).await
        })
        .await;
    }

    /// An answer that is not the writer's is a fault at once; "not caught up" is none.
    async fn differs(&self, pinned: &Pinned, expected: &(Vec<Row>, u64), when: &str) -> bool {
        match query_counted(&self.node, pinned.whole()).await {
            Ok(rows) => assert_eq!(rows, *expected, "{when}"),
            Err(status) => {
                let failure = failure(&status);
                let late =
                    matches!(failure.kind(), Kind::NotCaughtUp | Kind::NotWriter | Kind::SnapshotTooOld);
                assert!(late, "{when}: {failure:?}");
            }
        }
        false
    }

    fn cut(&self) {
        self.source.cut.send_replace(true);
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_has_what_was_growing_before_it_came_and_what_comes_after() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.create_partition("p").await.unwrap();
    site.insert(0..100).await.unwrap();
    site.flush().await.unwrap();
    site.insert(100..120).await.unwrap();
    site.insert_into("p", 200..210).await.unwrap();
    site.delete([5, 105, 205]).await.unwrap();
    let standby = Following::start(&world, &site);
    standby.agrees(&site, &site.pin().await, "at the beginning").await;
    let early = site.pin().await;
    site.upsert([101, 6, 300]).await.unwrap();
    site.delete([102, 7]).await.unwrap();
    standby.agrees(&site, &site.pin().await, "after writes").await;
    site.flush().await.unwrap();
    standby.agrees(&site, &site.pin().await, "after a flush").await;
    site.insert(400..410).await.unwrap();
    standby.agrees(&site, &site.pin().await, "after an insert").await;
    // A V from before the flush: its rows are in segments now.
    standby.agrees(&site, &early, "at an earlier V and T").await;
    assert_eq!(site.keys().await.len(), 100 + 20 + 10 - 5 + 2 - 1 + 10 - 1 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_writer_s_rows_are_still_answered_for_and_what_did_not_arrive_is_not() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    let standby = Following::start(&world, &site);
    let before = site.pin().await;
    standby.agrees(&site, &before, "while the writer lives").await;
    standby.cut();
    tokio::time::sleep(Duration::from_millis(50)).await;
    site.insert(10..20).await.unwrap();
    site.delete([3]).await.unwrap();
    let after = site.pin().await;
    let rows = query(&site.node, before.whole()).await.unwrap();
    site.kill(&world).await;
    assert_eq!(query(&standby.node, before.whole()).await.unwrap(), rows);
    assert_eq!(kind_of(query(&standby.node, after.whole()).await), Kind::NotCaughtUp);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_for_its_own_term_only() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    let standby = Following::start(&world, &site);
    let pinned = site.pin().await;
    standby.agrees(&site, &pinned, "in its term").await;
    for epoch in [0, pinned.point.epoch - 1, pinned.point.epoch + 1] {
        let mut scope = pinned.whole();
        scope.epoch = epoch;
        assert_eq!(kind_of(query(&standby.node, scope).await), Kind::NotCaughtUp, "epoch {epoch}");
    }
    // The writer of an older term than the one asked for is none.
    let mut scope = pinned.whole();
    scope.epoch += 1;
    assert_eq!(kind_of(query(&site.node, scope).await), Kind::NotWriter);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_gives_a_read_point_only_to_those_who_want_its_own() {
    let world = World::new();
    let site = world.start_with_collection().await;
    let written = site.insert(0..10).await.unwrap();
    let standby = Following::start(&world, &site);
    standby.agrees(&site, &site.pin().await, "at the beginning").await;
    let ask = |from_standby| {
        let (database, collection) = (DATABASE.to_owned(), COLLECTION.to_owned());
        standby.node.read_point(Request::new(ReadPointRequest { database, collection, from_standby }))
    };
    assert_eq!(kind_of(ask(false).await), Kind::NotWriter);
    let point = ask(true).await.unwrap().into_inner();
    let own = site.read_point().await.unwrap();
    assert!(point.timestamp >= written.timestamp);
    assert_eq!(
        (point.epoch, point.version, point.collection_id),
        (own.epoch, own.version, own.collection_id)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_is_not_answered_for_as_if_it_were_empty() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.create_partition("p").await.unwrap();
    site.insert_into("p", 0..10).await.unwrap();
    let standby = Following::start(&world, &site);
    let before = site.pin().await;
    standby.agrees(&site, &before, "before the drop").await;
    site.drop_partition("p").await.unwrap();
    standby.agrees(&site, &site.pin().await, "after the drop").await;
    assert_eq!(kind_of(query(&standby.node, before.whole()).await), Kind::SnapshotTooOld);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_beginning_comes_in_pages() {
    let world = World::new();
    let site = world.start_with_collection().await;
    // More rows than one message has, in chunks of many sizes, and hidden ones among them.
    for (from, rows) in [(0, 20_000), (20_000, 300), (21_000, 1)] {
        site.insert(from..from + rows).await.unwrap();
    }
    site.delete((0..21_000).step_by(7)).await.unwrap();
    let standby = Following::start(&world, &site);
    standby.agrees(&site, &site.pin().await, "at the beginning").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_becomes_the_writer_with_every_row() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.insert(0..50).await.unwrap();
    let standby = Following::start(&world, &site);
    site.delete([7]).await.unwrap();
    let pinned = site.pin().await;
    standby.agrees(&site, &pinned, "before the takeover").await;
    let rows = site.rows().await;
    site.kill(&world).await;
    standby.cut();
    let writer = world.take_over(&standby.node).await;
    assert_eq!(writer.rows().await, rows);
    writer.insert([50]).await.unwrap();
    assert_eq!(writer.keys().await.len(), 50);
}

/// A takeover that fails before it has begun leaves what is followed as it was: a table of deletes that was emptied, and then
/// filled by what came after, would look complete.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_to_take_over_goes_on_following() {
    use mishards_catalog::{Fault, Faulty, Memory};
    let catalog = Memory::new();
    let world = World::new().with_catalog(catalog.clone());
    let unlucky = world.clone().with_catalog(Faulty::new(catalog, |call: &'static str| {
        (call == "take_over").then_some(Fault::Before)
    }));
    let site = world.start_with_collection().await;
    site.insert(0..20).await.unwrap();
    site.flush().await.unwrap();
    site.delete(0..10).await.unwrap();
    let standby = Following::start(&world, &site);
    standby.agrees(&site, &site.pin().await, "before it tries").await;
    assert!(unlucky.try_to_take_over(&standby.node).await.is_err());
    site.insert([20]).await.unwrap();
    site.delete([15]).await.unwrap();
    standby.agrees(&site, &site.pin().await, "after it has tried").await;
}

/// Numbers that look random, the same for the same seed (splitmix64, <https://prng.di.unimi.it/splitmix64.c>).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides) as i64
    }
}

/// Random writes, flushes and drops while a standby comes at a random moment: whatever V and T are asked for, it
/// gives what the writer gives.
#[tokio::test(flavor = "multi_thread")]
async fn random_histories_look_the_same_from_both() {
    use std::hash::{BuildHasher, RandomState};
    let seed: Option<u64> = std::env::var("SEED").ok().and_then(|s| s.parse().ok());
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("SEED={seed}");
    let mut dice = Dice(seed);
    for _ in 0..4 {
        let mut world = World::new();
        world.ingest.seal_rows = 40;
        world.ingest.delta_max_deletes = 15;
        let site = world.start_with_collection().await;
        site.create_partition("p").await.unwrap();
        let joins = dice.roll(30);
        let mut standby = None;
        let mut pinned: Vec<Pinned> = Vec::new();
        for step in 0..60 {
            if step == joins {
                standby = Some(Following::start(&world, &site));
            }
            let key = dice.roll(200);
            match dice.roll(12) {
                0..=3 => drop(site.insert(key..key + 9).await.unwrap()),
                4..=5 => drop(site.insert_into("p", key..key + 5).await.unwrap()),
                6..=7 => drop(site.delete(key..key + 6).await.unwrap()),
                8..=9 => drop(site.upsert(key..key + 3).await.unwrap()),
                10 => site.flush().await.unwrap(),
                _ => {
                    let name = format!("q{step}");
                    site.create_partition(&name).await.unwrap();
                    site.insert_into(&name, [1000 + key]).await.unwrap();
                }
            }
            if let Some(standby) = &standby {
                let now = site.pin().await;
                standby.agrees(&site, &now, &format!("seed {seed}, step {step}")).await;
                if let Some(old) = pinned.get(dice.roll(60) as usize) {
                    let expected = query_counted(&site.node, old.whole()).await.unwrap();
                    standby.differs(old, &expected, &format!("seed {seed}, step {step}, old V")).await;
                }
                pinned.push(now);
            }
        }
    }
}
