//! Group-by over segments and growing rows: as one who ranks every row by hand, however few groups there are.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use mishards_proto::node::SearchRequest;
use mishards_proto::node::node_server::Node as _;
use mishards_proto::schema::i_ds::IdField;
use tonic::Request;
use world::*;

const TAGS: i64 = 7;

/// The best `size` rows of the best `k` groups, of all keys: in their order, then by key.
fn by_hand(keys: &[i64], near: i64, k: usize, size: usize, only: &[i64]) -> Vec<(i64, i64)> {
    let mut ranked = keys.to_vec();
    ranked.sort_by_key(|key| ((key - near).pow(2), *key));
    let (mut counts, mut out) = (std::collections::HashMap::new(), Vec::new());
    for key in ranked {
        let tag = key % TAGS;
        if !only.is_empty() && !only.contains(&tag) || (!counts.contains_key(&tag) && counts.len() >= k) {
            continue;
        }
        let count: &mut usize = counts.entry(tag).or_default();
        if *count < size {
            *count += 1;
            out.push((key, tag));
        }
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_those_of_all_rows() {
    let world = World::new();
    let site = world.start_with_collection().await;
    for first in [0, 2_500, 5_000] {
        site.insert(first..first + 2_500).await.unwrap();
        site.flush().await.unwrap();
    }
    site.insert(7_500..8_500).await.unwrap();
    site.delete((0..8_500).filter(|key| key % 5 == 0)).await.unwrap();
    // One tag is far from everything else.
    site.delete((0..8_000).filter(|key| key % TAGS == 3)).await.unwrap();
    let keys: Vec<i64> =
        (0..8_500).filter(|key| key % 5 != 0 && (key % TAGS != 3 || *key >= 8_000)).collect();
    let pinned = site.pin().await;
    for (near, k, size, only) in [
        (4_000, 3, 1, &[][..]),
        (4_000, 6, 3, &[]),
        (10, 7, 2, &[]),
        (10, 10, 4, &[]),
        (10, 2, 3, &[3, 5]),
        (10, 1, 40, &[3]),
    ] {
        let request = SearchRequest {
            scope: Some(pinned.whole()),
            field_id: 101,
            metric: "L2".to_owned(),
            vectors: vec![near as f32, 1.0, 2.0, 3.0],
            nq: 1,
            k: k as u32,
            group_field_id: Some(102),
            group_size: size as u32,
            group_keys: only.iter().map(|tag| format!("\"t{tag}\"")).collect(),
            ..Default::default()
        };
        let batch = site.node.search(Request::new(request)).await.unwrap().into_inner();
        let Some(IdField::IntId(found)) = batch.keys.and_then(|keys| keys.id_field) else {
            panic!("no keys")
        };
        let tags = batch.groups.iter().map(|tag| tag.trim_matches('"')[1..].parse().unwrap());
        let found: Vec<(i64, i64)> = found.data.into_iter().zip(tags).collect();
        assert_eq!(
            found,
            by_hand(&keys, near, k, size, only),
            "near {near}, {k} groups of {size}, only {only:?}"
        );
    }
}
