//! Growing rows have a limit: past it writes are pushed back with a code that clients retry, and a flush makes room.
//! Also what a query's own limit counts.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use mishards_proto::node::QueryRequest;
use mishards_proto::node::node_server::Node as _;
use mishards_types::Code;
use world::*;

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_pushed_back_until_a_flush_has_made_room() {
    let mut world = World::new();
    world.ingest.growing_limit_bytes = 20_000;
    let site = world.start_with_collection().await;
    let mut written = 0;
    let refused = loop {
        match site.insert(written..written + 50).await {
            Ok(_) => written += 50,
            Err(status) => break failure(&status),
        }
        assert!(written < 10_000, "it was never pushed back");
    };
    assert_eq!(refused.code, Code::RATE_LIMIT.0);
    assert!(Code(refused.code).is_retriable());
    eventually("room", async || site.insert(written..written + 50).await.is_ok()).await;
    assert!(!site.segments().is_empty());
    assert_eq!(site.keys().await, (0..written + 50).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_growing_segment_is_written_without_being_asked() {
    let mut world = World::new();
    world.ingest.seal_rows = 10;
    let site = world.start_with_collection().await;
    site.insert(0..10).await.unwrap();
    eventually("a flush", async || site.segments().len() == 1).await;
    assert_eq!(site.keys().await.len(), 10);
}

/// Copies of a key are one row to a query: they do not use up its limit, in growing rows or in files.
#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_key_do_not_use_up_the_limit() {
    let world = World::new();
    let site = world.start_with_collection().await;
    for _ in 0..3 {
        site.insert(0..10).await.unwrap();
    }
    for state in ["growing", "in a file"] {
        let request = QueryRequest { scope: Some(site.pin().await.whole()), limit: 5, count: false };
        let batch = site.node.query(tonic::Request::new(request)).await.unwrap().into_inner();
        assert_eq!(batch.keys, Some(ids(0..5)), "{state}");
        assert_eq!(batch.count, 30, "{state}");
        let found = site.search(site.pin().await.whole(), 4, 3).await.unwrap();
        assert_eq!(found.len(), 3, "{state}: {found:?}");
        site.flush().await.unwrap();
    }
}
