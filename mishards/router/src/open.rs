//! Asks nodes to open segments before they are searched, and to close those that are not searched any more.

use crate::plan::scope_to_open;
use crate::topology::{Node, Topology};
use futures_util::future::join_all;
use mishards_catalog::{Segment, Snapshot};
use mishards_proto::node::{CloseRequest, OpenRequest};
use mishards_types::CollectionId;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Segments to open, by node.
pub type Wanted = HashMap<String, Vec<Arc<Segment>>>;

/// Segments in one call.
const AT_ONCE: usize = 16;

/// Has every node open its segments, each one after another, all nodes at once. What fails, or is late, is opened when it is
/// first asked for.
pub async fn open_segments(topology: &Topology, snapshot: &Snapshot, wanted: Wanted, patience: Duration) {
    let nodes = topology.nodes();
    let each = wanted.into_iter().filter_map(|(name, segments)| {
        let node = nodes.by_name.get(&name)?;
        Some(async move {
            match tokio::time::timeout(patience, open_on(node, snapshot, segments)).await {
                Ok(opened) => tracing::debug!(node = %name, segments = opened, "segments are open"),
                Err(_) => tracing::warn!(
                    node = %name,
                    seconds = patience.as_secs(),
                    "not all segments could be opened in this time; the first searches of the others will be slow"
                ),
            }
        })
    });
    join_all(each).await;
}

async fn open_on(node: &Node, snapshot: &Snapshot, segments: Vec<Arc<Segment>>) -> u32 {
    let mut by_collection: BTreeMap<CollectionId, Vec<Arc<Segment>>> = BTreeMap::new();
    for segment in segments {
        by_collection.entry(segment.collection).or_default().push(segment);
    }
    let mut opened = 0;
    for (collection, segments) in &by_collection {
        for batch in segments.chunks(AT_ONCE) {
            let Some(scope) = scope_to_open(snapshot, *collection, batch) else { continue };
            tokio::select! {
                answer = node.client.open(OpenRequest { scope: Some(scope) }) => match answer {
                    Ok(answer) => opened += answer.segments,
                    Err(e) => tracing::debug!(node = %node.name, error = %e.error, "segments were not opened"),
                },
                () = node.gone.cancelled() => return opened,
            }
        }
    }
    opened
}

/// Tells every node that these segments are not needed any more. Who does not hear it closes them in time.
pub async fn close_segments(topology: &Topology, segments: Vec<i64>) {
    let nodes = topology.nodes();
    let each =
        nodes.by_name.values().map(|node| node.client.close(CloseRequest { segments: segments.clone() }));
    let told = tokio::time::timeout(Duration::from_secs(2), join_all(each)).await;
    if told.is_err() {
        tracing::debug!("not every node has heard which segments are not needed any more");
    }
}
