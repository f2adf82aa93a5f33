//! Heartbeats in the metadata database.

use super::*;
use mishards_catalog::{Heartbeats, Memory};
use mishards_discovery::{Announced, FromCatalog};
use std::sync::Arc;

const SHORT: Duration = Duration::from_secs(1);

fn member(name: &str, at: u16) -> Member {
    Member { name: name.to_owned(), address: sources::address(at) }
}

/// Nobody can beat then: who is there is not known before there was time for it.
#[tokio::test]
async fn an_outage_of_the_database_takes_nobody_away() {
    let source = Tables::with_ttl(SHORT);
    let announced = Announced::start(source.plugin(), member("a", 1), SHORT);
    let plugin = source.plugin();
    let mut watch = Watch::of(&*plugin);
    watch.until(&[member("a", 1)]).await;
    source.interrupt().await;
    watch.is_quiet(SHORT * 2).await;
    source.restore().await;
    watch.is_quiet(SHORT / 2).await;
    announced.leave().await;
    watch.until(&[]).await;
}

#[tokio::test]
async fn who_died_during_an_outage_goes_after_it() {
    let source = Tables::with_ttl(SHORT);
    let plugin = source.plugin();
    plugin.register(&member("a", 1)).await.unwrap();
    let mut watch = Watch::of(&*plugin);
    watch.begins_with(&[member("a", 1)]).await;
    source.interrupt().await;
    watch.is_quiet(SHORT * 2).await;
    source.restore().await;
    watch.until(&[]).await;
}

#[tokio::test]
async fn who_was_dead_before_an_outage_stays_dead() {
    let source = Tables::with_ttl(SHORT);
    let plugin = source.plugin();
    plugin.register(&member("dead", 1)).await.unwrap();
    let mut watch = Watch::of(&*plugin);
    watch.begins_with(&[member("dead", 1)]).await;
    watch.until(&[]).await;
    source.interrupt().await;
    watch.is_quiet(SHORT).await;
    source.restore().await;
    watch.is_quiet(SHORT).await;
}

/// The row stays when a node crashes: a watcher that begins later learns that it does not beat.
#[tokio::test]
async fn a_row_of_the_dead_counts_for_one_ttl() {
    let memory = Memory::new();
    memory.beat("dead", "h:1").await.unwrap();
    let plugin = FromCatalog::new(Arc::new(memory), Duration::from_millis(500));
    let dead = Member { name: "dead".to_owned(), address: "h:1".to_owned() };
    let mut watch = Watch::of(&plugin);
    watch.begins_with(std::slice::from_ref(&dead)).await;
    watch.until(&[]).await;
    let mut later = Watch::of(&plugin);
    later.begins_with(&[dead]).await;
    later.until(&[]).await;
}

/// A node that restarts begins at another beat, which may be a smaller one.
#[tokio::test]
async fn a_beat_that_goes_back_is_a_beat() {
    let memory = Memory::new();
    let plugin = FromCatalog::new(Arc::new(memory.clone()), Duration::from_millis(500));
    for _ in 0..9 {
        memory.beat("a", "h:1").await.unwrap();
    }
    let mut watch = Watch::of(&plugin);
    watch.until(&[Member { name: "a".to_owned(), address: "h:1".to_owned() }]).await;
    watch.until(&[]).await;
    memory.stop("a").await.unwrap();
    memory.beat("a", "h:2").await.unwrap();
    watch.until(&[Member { name: "a".to_owned(), address: "h:2".to_owned() }]).await;
}
