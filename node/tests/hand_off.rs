//! Rows move from growing to files, and between files, under the feet of readers: a V and a T give the same rows
//! before, during and after.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use world::*;

/// What a pinned V and T gave when they were taken, asked for again and again.
struct Promise {
    pinned: Pinned,
    rows: Vec<Row>,
}

impl Promise {
    async fn take(site: &Site) -> Promise {
        let pinned = site.pin().await;
        let rows = query(&site.node, pinned.whole()).await.unwrap();
        Promise { pinned, rows }
    }

    async fn check(&self, site: &Site, when: &str) {
        let now = query(&site.node, self.pinned.whole()).await.unwrap();
        assert_eq!(now, self.rows, "V {} {when}", self.pinned.snapshot.version);
    }
}

async fn check_all(promises: &[Promise], site: &Site, when: &str) {
    for promise in promises {
        promise.check(site, when).await;
    }
}

fn merged(site: &Site) -> bool {
    site.segments().iter().any(|s| s.origin == mishards_catalog::Origin::Merge)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_v_and_t_give_the_same_rows_across_flush_delete_merge_and_index() {
    let world = World::new();
    let site = world.start_with_collection().await;
    let mut promises = Vec::new();
    for round in 0..4 {
        site.insert(round * 10..round * 10 + 10).await.unwrap();
        promises.push(Promise::take(&site).await);
        site.delete([round * 10 + 3]).await.unwrap();
        promises.push(Promise::take(&site).await);
        site.flush().await.unwrap();
        promises.push(Promise::take(&site).await);
        check_all(&promises, &site, "after a flush").await;
        site.delete([round * 10 + 4]).await.unwrap();
        promises.push(Promise::take(&site).await);
    }
    eventually("a merge", async || merged(&site)).await;
    check_all(&promises, &site, "after a merge").await;
    site.create_index("tag", "INVERTED", None).await.unwrap();
    eventually("an index", async || site.segments().iter().all(|s| !s.indexes.is_empty())).await;
    check_all(&promises, &site, "after an index build").await;
    assert_eq!(site.keys().await.len(), 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_v_taken_before_and_a_t_taken_after_meet() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    let old = site.pin().await;
    site.flush().await.unwrap();
    site.insert(10..20).await.unwrap();
    site.delete([0, 15]).await.unwrap();
    let new = site.pin().await;
    let expected: Vec<i64> = (1..20).filter(|k| *k != 15).collect();
    for snapshot in [&old.snapshot, &new.snapshot] {
        let mixed = Pinned { snapshot: Arc::clone(snapshot), point: new.point };
        assert_eq!(keys(&site.node, mixed.whole()).await.unwrap(), expected);
        let mixed = Pinned { snapshot: Arc::clone(snapshot), point: old.point };
        assert_eq!(keys(&site.node, mixed.whole()).await.unwrap(), (0..10).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_each_row_once_while_writers_run() {
    let mut world = World::new();
    world.ingest.seal_rows = 40;
    let site = Arc::new(world.start_with_collection().await);
    site.create_partition("p").await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (0..3).map(|w| tokio::spawn(write(Arc::clone(&site), w, Arc::clone(&stop)))).collect();
    let readers: Vec<_> = (0..2).map(|_| tokio::spawn(read(Arc::clone(&site), Arc::clone(&stop)))).collect();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    eventually("segments are merged meanwhile", async || merged(&site)).await;
    stop.store(true, Ordering::SeqCst);
    let mut expected = Vec::new();
    for writer in writers {
        expected.extend(writer.await.unwrap());
    }
    for reader in readers {
        reader.await.unwrap();
    }
    expected.sort_unstable();
    assert_eq!(site.keys().await, expected);
}

/// Inserts into both partitions, deletes some again; gives the keys that must be left.
async fn write(site: Arc<Site>, writer: i64, stop: Arc<AtomicBool>) -> Vec<i64> {
    let (mut left, mut next) = (Vec::new(), writer * 1_000_000);
    while !stop.load(Ordering::SeqCst) {
        let partition = if next % 2 == 0 { "p" } else { "_default" };
        site.insert_into(partition, next..next + 5).await.unwrap();
        site.delete([next + 1]).await.unwrap();
        site.upsert([next + 2]).await.unwrap();
        left.extend([next, next + 2, next + 3, next + 4]);
        next += 5;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    left
}

/// Takes promises and checks them a little later, and that no batch is half there.
async fn read(site: Arc<Site>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::SeqCst) {
        let promise = Promise::take(&site).await;
        for writer in 0..3 {
            let of = promise.rows.iter().filter(|(key, _)| key / 1_000_000 == writer).count();
            // A batch of five; then one of them is deleted.
            assert!(matches!(of % 4, 0 | 1), "{of} rows of writer {writer}");
        }
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(30)).await;
            promise.check(&site, "a little later").await;
        }
    }
}
