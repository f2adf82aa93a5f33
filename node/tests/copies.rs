//! Several copies of a key: each row is found by what names it alone, and one key that is written again and again costs what
//! its copies cost.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use mishards_proto::node::node_server::Node as _;
use mishards_proto::node::{FetchRequest, PartitionRows, QueryRequest, RowBatch};
use mishards_proto::schema::{LongArray, StringArray, field_data, scalar_field};
use tonic::Request;
use world::*;

/// The tags of the rows that match a filter, as a router gets them.
async fn tags(site: &Site, filter: &str) -> Vec<String> {
    let pinned = site.pin().await;
    let mut scope = pinned.whole();
    scope.filter = filter.to_owned();
    let request = QueryRequest { scope: Some(scope), limit: 100, count: false };
    let batch: RowBatch = site.node.query(Request::new(request)).await.unwrap().into_inner();
    fetched(site, pinned, batch).await
}

async fn fetched(site: &Site, pinned: Pinned, batch: RowBatch) -> Vec<String> {
    let request = FetchRequest {
        scope: Some(pinned.whole()),
        field_ids: vec![102],
        keys: batch.keys,
        timestamps: batch.timestamps,
        segments: batch.segments,
        rows: batch.rows,
        partitions: batch.partitions,
    };
    let columns = site.node.fetch(Request::new(request)).await.unwrap().into_inner().columns;
    match columns[0].field.clone() {
        Some(field_data::Field::Scalars(scalars)) => match scalars.data {
            Some(scalar_field::Data::StringData(list)) => list.data,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn twice(site: &Site, partition: &str) -> PartitionRows {
    let tags = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
    let columns = vec![
        scalars(100, scalar_field::Data::LongData(LongArray { data: vec![1, 1, 2] }), Vec::new()),
        vectors(&[1, 1, 2]),
        scalars(102, scalar_field::Data::StringData(StringArray { data: tags }), Vec::new()),
    ];
    PartitionRows { columns, ..site.rows_for(partition, &[1, 1, 2]) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_returns_the_rows_that_its_filter_found_also_when_one_batch_has_a_key_twice() {
    let world = World::new();
    let site = world.start_with_collection().await;
    site.create_partition("p").await.unwrap();
    site.insert(10..15).await.unwrap();
    let rows = [twice(&site, "_default"), twice(&site, "p")];
    site.write(|w| w.inserts = rows.to_vec()).await.unwrap();
    site.insert(20..25).await.unwrap();
    for tag in ["a", "b"] {
        assert_eq!(tags(&site, &format!("tag == '{tag}'")).await, [tag]);
    }
    // Found while it grows, fetched when it is in a file.
    let pinned = site.pin().await;
    let mut scope = pinned.whole();
    scope.filter = "tag == 'a'".to_owned();
    let request = QueryRequest { scope: Some(scope), limit: 100, count: false };
    let batch = site.node.query(Request::new(request)).await.unwrap().into_inner();
    site.flush().await.unwrap();
    assert_eq!(fetched(&site, pinned, batch).await, ["a"]);
    for tag in ["a", "b"] {
        assert_eq!(tags(&site, &format!("tag == '{tag}'")).await, [tag]);
    }
}

/// A key that is written again and again: its copies are hidden once each, and a write costs what the live copies do.
#[tokio::test(flavor = "multi_thread")]
async fn a_hot_key_costs_as_much_as_its_copies() {
    let mut world = World::new();
    world.ingest.log_file_bytes = 64 << 20;
    let site = world.start_with_collection().await;
    site.insert(0..3).await.unwrap();
    let took = async |writes: usize| {
        let began = tokio::time::Instant::now();
        for _ in 0..writes {
            site.upsert([1]).await.unwrap();
        }
        began.elapsed()
    };
    let first = took(1500).await;
    took(3000).await;
    let last = took(1500).await;
    assert!(
        last < first * 4,
        "the first 1,500 writes of a key took {first:?}, after 4,500 they took {last:?}"
    );
    site.flush().await.unwrap();
    took(3000).await;
    assert_eq!(site.keys().await, [0, 1, 2]);
    site.flush().await.unwrap();
    let site = world.restart(site).await;
    assert_eq!(site.keys().await, [0, 1, 2]);
}
