//! What every plugin does that members register by.

use super::*;
use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use mishards_discovery::{Announced, Discovery, Error, Event, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::time::Instant;

/// What a busy machine, a poll and the source's own clock add to a time.
const SLACK: Duration = Duration::from_secs(4);

async fn on_registering(test: impl AsyncFn(&dyn Source)) {
    on(|_, can| can == Can::Register, test).await;
}

fn member(name: &str, at: u16) -> Member {
    Member { name: name.to_owned(), address: sources::address(at) }
}

async fn watch(source: &dyn Source) -> Watch {
    let mut watch = Watch::of(&*source.elsewhere());
    watch.begins_with(&[]).await;
    watch
}

#[tokio::test]
async fn registering_again_changes_nothing() {
    on_registering(async |source| {
        let mut watch = watch(source).await;
        let plugin = source.plugin();
        for _ in 0..3 {
            plugin.register(&member("a", 1)).await.unwrap();
        }
        watch.until(&[member("a", 1)]).await;
        plugin.register(&member("a", 1)).await.unwrap();
        watch.is_quiet(TTL / 4).await;
    })
    .await;
}

#[tokio::test]
async fn several_members_register_by_one_plugin() {
    on_registering(async |source| {
        let mut watch = watch(source).await;
        let plugin = source.plugin();
        plugin.deregister("nobody").await.unwrap();
        plugin.register(&member("a", 1)).await.unwrap();
        plugin.register(&member("b", 2)).await.unwrap();
        watch.until(&[member("a", 1), member("b", 2)]).await;
        plugin.deregister("a").await.unwrap();
        watch.until(&[member("b", 2)]).await;
        plugin.deregister("a").await.unwrap();
        plugin.register(&member("a", 3)).await.unwrap();
        watch.until(&[member("a", 3), member("b", 2)]).await;
    })
    .await;
}

#[tokio::test]
async fn an_announcement_that_is_not_renewed_ends_in_time() {
    on_registering(async |source| {
        let mut watch = watch(source).await;
        let plugin = source.plugin();
        plugin.register(&member("a", 1)).await.unwrap();
        let registered = Instant::now();
        source.interrupt().await;
        watch.until(&[member("a", 1)]).await;
        watch.stays(&[member("a", 1)], (TTL / 3).saturating_sub(registered.elapsed())).await;
        watch.until(&[]).await;
        let lived = registered.elapsed();
        assert!(lived > TTL / 3 && lived < TTL + SLACK, "lived for {lived:?}");
    })
    .await;
}

#[tokio::test]
async fn announced_is_kept_until_it_leaves() {
    on_registering(async |source| {
        let mut watch = watch(source).await;
        let announced = Announced::start(source.plugin(), member("a", 1), TTL);
        watch.until(&[member("a", 1)]).await;
        watch.is_quiet(TTL * 3 / 2).await;
        let left = Instant::now();
        announced.leave().await;
        watch.until(&[]).await;
        assert!(left.elapsed() < TTL, "gone after {:?}", left.elapsed());
    })
    .await;
}

#[tokio::test]
async fn announced_that_is_dropped_leaves() {
    on_registering(async |source| {
        let mut watch = watch(source).await;
        let announced = Announced::start(source.plugin(), member("a", 1), TTL);
        watch.until(&[member("a", 1)]).await;
        drop(announced);
        let left = Instant::now();
        watch.until(&[]).await;
        assert!(left.elapsed() < TTL, "gone after {:?}", left.elapsed());
    })
    .await;
}

#[tokio::test]
async fn announced_comes_back_after_an_outage() {
    on_registering(async |source| {
        let mut watch = watch(source).await;
        source.interrupt().await;
        let announced = Announced::start(source.plugin(), member("a", 1), TTL);
        watch.is_quiet(TTL / 4).await;
        source.restore().await;
        watch.until(&[member("a", 1)]).await;
        source.interrupt().await;
        watch.until(&[]).await;
        source.restore().await;
        watch.until(&[member("a", 1)]).await;
        announced.leave().await;
        watch.until(&[]).await;
    })
    .await;
}

#[tokio::test]
async fn announced_comes_back_when_the_source_has_lost_its_state() {
    on_registering(async |source| {
        let mut watch = watch(source).await;
        let plugin = source.plugin();
        let announced = Announced::start(Arc::clone(&plugin), member("a", 1), TTL);
        watch.until(&[member("a", 1)]).await;
        source.lose_state().await;
        let lost = Instant::now();
        // A watcher that begins now sees whether it has come back.
        let fresh = source.plugin();
        let mut other = Watch::of(&*fresh);
        other.until(&[member("a", 1)]).await;
        assert!(lost.elapsed() < TTL + SLACK, "back after {:?}", lost.elapsed());
        watch.until(&[member("a", 1)]).await;
        announced.leave().await;
        watch.until(&[]).await;
        other.until(&[]).await;
    })
    .await;
}

#[tokio::test]
async fn the_last_who_registers_a_name_has_it() {
    on_registering(async |source| {
        let mut watch = watch(source).await;
        let (old, new) = (source.plugin(), source.plugin());
        old.register(&member("a", 1)).await.unwrap();
        watch.until(&[member("a", 1)]).await;
        new.register(&member("a", 2)).await.unwrap();
        watch.until(&[member("a", 2)]).await;
        // The same process may move, too.
        new.register(&member("a", 3)).await.unwrap();
        watch.until(&[member("a", 3)]).await;
    })
    .await;
}

/// A process that was replaced by another one under its name, and ends late.
#[tokio::test]
async fn an_old_process_that_leaves_takes_the_new_one_away_for_a_moment_at_most() {
    on_registering(async |source| {
        let mut watch = watch(source).await;
        let old = source.plugin();
        old.register(&member("a", 1)).await.unwrap();
        watch.until(&[member("a", 1)]).await;
        let announced = Announced::start(source.plugin(), member("a", 2), TTL);
        watch.until(&[member("a", 2)]).await;
        old.deregister("a").await.unwrap();
        tokio::time::sleep(TTL * 3 / 4).await;
        watch.until(&[member("a", 2)]).await;
        watch.stays(&[member("a", 2)], TTL / 4).await;
        announced.leave().await;
        watch.until(&[]).await;
    })
    .await;
}

#[tokio::test]
async fn leaving_takes_no_longer_than_promised() {
    on_registering(async |source| {
        let plugin: Arc<dyn Discovery> = source.plugin();
        let announced = Announced::start(plugin, member("a", 1), TTL);
        let mut watch = Watch::of(&*source.elsewhere());
        watch.until(&[member("a", 1)]).await;
        source.interrupt().await;
        let left = Instant::now();
        announced.leave().await;
        assert!(left.elapsed() < Duration::from_secs(4), "left after {:?}", left.elapsed());
    })
    .await;
}

/// A source that hangs, and counts.
#[derive(Default)]
struct Hangs {
    registered: AtomicUsize,
    left: AtomicUsize,
    hangs: AtomicBool,
}

#[async_trait]
impl Discovery for Hangs {
    fn watch(&self) -> BoxStream<'static, Event> {
        stream::pending().boxed()
    }

    async fn register(&self, _: &Member) -> Result<()> {
        self.registered.fetch_add(1, Ordering::SeqCst);
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        Err(Error::new("hangs", "not today"))
    }

    async fn deregister(&self, name: &str) -> Result<()> {
        assert_eq!(name, "a");
        self.left.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }
}

#[tokio::test]
async fn what_fails_is_tried_three_times_in_a_ttl() {
    let source = Arc::new(Hangs::default());
    let announced = Announced::start(source.clone(), member("a", 1), Duration::from_millis(600));
    let began = Instant::now();
    eventually("it is tried", async || source.registered.load(Ordering::SeqCst) >= 4).await;
    let took = began.elapsed();
    assert!(took > Duration::from_millis(500) && took < SLACK, "three more tries in {took:?}");
    drop(announced);
}

/// A source that does what it was asked also when nobody waits for its answer any more, as a database does.
#[derive(Default)]
struct Late {
    begun: AtomicUsize,
    is_there: Arc<AtomicBool>,
}

#[async_trait]
impl Discovery for Late {
    fn watch(&self) -> BoxStream<'static, Event> {
        stream::pending().boxed()
    }

    async fn register(&self, _: &Member) -> Result<()> {
        let is_there = Arc::clone(&self.is_there);
        let doing = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            is_there.store(true, Ordering::SeqCst);
        });
        self.begun.fetch_add(1, Ordering::SeqCst);
        doing.await.map_err(|e| Error::new("late", e))
    }

    async fn deregister(&self, _: &str) -> Result<()> {
        self.is_there.store(false, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test]
async fn a_renewal_under_way_does_not_come_after_the_farewell() {
    let source = Arc::new(Late::default());
    let announced = Announced::start(source.clone(), member("a", 1), Duration::from_millis(300));
    eventually("it is renewed", async || source.begun.load(Ordering::SeqCst) == 2).await;
    announced.leave().await;
    assert!(!source.is_there.load(Ordering::SeqCst));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!source.is_there.load(Ordering::SeqCst), "it was announced again after it had left");
}

/// The process must end although the source answers neither the last renewal nor the farewell.
#[tokio::test]
async fn leaving_waits_for_no_answer_for_long() {
    let source = Arc::new(Hangs::default());
    source.hangs.store(true, Ordering::SeqCst);
    let announced = Announced::start(source.clone(), member("a", 1), TTL);
    eventually("it registers", async || source.registered.load(Ordering::SeqCst) > 0).await;
    let left = tokio::time::timeout(Duration::from_secs(5), announced.leave()).await;
    assert!(left.is_ok(), "not left after 5 s");
    assert_eq!(source.left.load(Ordering::SeqCst), 1);
}
