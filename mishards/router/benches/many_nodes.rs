//! What a router costs with many nodes: searches a second, and the time to merge a candidate. The nodes are stubs of the
//! same process that answer at once, so that everything but the answers is the router's.
//!
//! `cargo bench -p mishards-router --bench many_nodes [-- NODES]`
#![allow(clippy::unwrap_used, reason = "a measurement ends by panicking")]

#[path = "../tests/stub/mod.rs"]
mod stub;

use mishards_router::Call;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use stub::*;

const SEGMENTS_PER_NODE: i64 = 10;
const ROUND: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() {
    let given = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let most: usize = given.unwrap_or(64);
    println!(
        "| nodes | segments | rows of each | callers | searches/s | mean ms | merge us | merge ns a candidate |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for nodes in [4, 16, most] {
        for rows in [10, 100] {
            for callers in [1, 8] {
                measure(nodes, rows, callers).await;
            }
        }
    }
}

async fn measure(nodes: usize, rows: usize, callers: usize) {
    let names: Vec<String> = (0..nodes).map(|i| format!("n{i:02}")).chain(["w".to_owned()]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let segments = nodes as i64 * SEGMENTS_PER_NODE;
    let cluster = Arc::new(Make::of(&names, segments).start().await);
    cluster.nodes.values().for_each(|node| node.does(Does::Top(rows)));
    cluster.search().await.unwrap();
    let (merged, merge_time) =
        (cluster.metrics.gather_seconds.get_sample_count(), cluster.metrics.gather_seconds.get_sample_sum());
    let answered = Arc::new(AtomicU64::new(0));
    let began = tokio::time::Instant::now();
    let work = (0..callers).map(|_| {
        let (cluster, answered) = (Arc::clone(&cluster), Arc::clone(&answered));
        tokio::spawn(async move {
            while began.elapsed() < ROUND {
                let keys = cluster.search_as(&Call::of("default"), STRONG).await.unwrap();
                assert_eq!(keys.len(), LIMIT);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for task in work.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let (took, answered) = (began.elapsed().as_secs_f64(), answered.load(Ordering::Relaxed) as f64);
    let merges = (cluster.metrics.gather_seconds.get_sample_count() - merged) as f64;
    let merge = (cluster.metrics.gather_seconds.get_sample_sum() - merge_time) / merges;
    // The writable node answers for the growing rows with as many.
    let candidates = ((nodes + 1) * rows) as f64;
    println!(
        "| {nodes} | {segments} | {rows} | {callers} | {:.0} | {:.2} | {:.0} | {:.0} |",
        answered / took,
        took * 1000.0 * callers as f64 / answered,
        merge * 1e6,
        merge * 1e9 / candidates,
    );
}
