//! What operators see: the cluster as this router sees it, and reads that took long.

use super::Router;
use crate::call::{Call, Subquery};
use crate::placement::Share;
use crate::topology::Node;
use mishards_catalog::Snapshot;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Sub-queries in the log line of a slow read.
const LOGGED: usize = 20;

/// The cluster as one router sees it. Field names are part of what `mishards status --json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct ClusterStatus {
    /// Of the newest catalog that this router has; nothing before it has one.
    pub version: Option<String>,
    pub epoch: u64,
    /// How long ago the writable node or the database last confirmed that nothing is newer; nothing when they never did, as
    /// when the catalog is the one kept on disk.
    pub catalog_age_seconds: Option<f64>,
    pub ready: bool,
    /// Why requests cannot be answered now, and what needs a look though they are.
    pub not_ready: Vec<String>,
    pub warnings: Vec<String>,
    pub nodes: Vec<NodeStatus>,
    /// Members that are not used: refused ones with the reason, and those that do not answer.
    pub unused: BTreeMap<String, String>,
    pub collections: Vec<CollectionStatus>,
}

#[derive(Debug, Clone, Serialize)]
pub struct NodeStatus {
    pub name: String,
    pub address: String,
    /// `writable`, `standby`, `readonly`.
    pub role: &'static str,
    /// `serving`; `opening` before it takes traffic; `leaving`; `avoided` after failures, or while it is silent.
    pub state: &'static str,
    pub version: String,
    /// What is placed on it: segments, bytes, and its share of all bytes.
    pub segments: usize,
    pub bytes: u64,
    pub share: f64,
    pub open_segments: u64,
    pub growing_rows: u64,
    pub outstanding: usize,
    /// The term of the writable node; of a standby the term that it follows, 0 when none.
    pub epoch: u64,
    /// The last log record that it has applied.
    pub applied: u64,
    /// How many records it lacks of what it needs: a standby of the whole log, a read-only node up to the last delete.
    pub lag: u64,
    /// How long ago it last heard the writable node; nothing when it never did, and of the writable node.
    pub heard_seconds: Option<f64>,
    /// Segments that it found damaged, or without one of their files.
    pub quarantined_segments: u64,
    pub incomplete_segments: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct CollectionStatus {
    pub database: String,
    pub name: String,
    pub loaded: bool,
    pub replicas: u32,
    pub partitions: usize,
    pub segments: usize,
    /// In files, deleted ones included.
    pub rows: u64,
    pub bytes: u64,
    /// Of its vector fields, segments that have no index file yet and get one.
    pub segments_without_index: usize,
}

impl Router {
    /// Everything that this router knows; it asks nobody.
    pub fn status(&self) -> ClusterStatus {
        let snapshot = self.catalog.get().ok();
        let nodes = self.topology.nodes();
        let shares = self.placer.shares();
        let writer = nodes.writer();
        let not_ready = self.not_ready();
        ClusterStatus {
            version: snapshot.as_ref().map(|s| s.version.to_string()),
            epoch: snapshot.as_ref().map_or(0, |s| s.epoch.0),
            catalog_age_seconds: self.catalog.age(self.clock.elapsed()).map(|age| age.as_secs_f64()),
            ready: not_ready.is_empty(),
            not_ready,
            warnings: self.warnings(),
            nodes: nodes.by_name.values().map(|node| self.node_status(node, writer, &shares)).collect(),
            unused: self.topology.unused(),
            collections: snapshot.as_ref().map_or_else(Vec::new, |s| collections(s)),
        }
    }

    fn node_status(
        &self,
        node: &Node,
        writer: Option<&Node>,
        shares: &BTreeMap<String, Share>,
    ) -> NodeStatus {
        let total: u64 = shares.values().map(|share| share.bytes).sum();
        let placed = shares.get(&node.name);
        let share = placed.copied().unwrap_or_default();
        let role = match (node.writable, node.standby) {
            (true, _) => "writable",
            (false, true) => "standby",
            (false, false) => "readonly",
        };
        let state = if node.health.is_avoided(self.topology.now()) {
            "avoided"
        } else if node.said.leaving {
            "leaving"
        } else if role == "readonly" && placed.is_none() {
            "opening"
        } else {
            "serving"
        };
        // Rows come to a read-only node in files: only deletes make it lag.
        let needed = match (role, writer) {
            ("standby", Some(writer)) => writer.said.applied,
            ("readonly", Some(writer)) => writer.said.last_delete,
            _ => 0,
        };
        NodeStatus {
            name: node.name.clone(),
            address: node.address.clone(),
            role,
            state,
            version: node.said.version.clone(),
            segments: share.segments,
            bytes: share.bytes,
            share: if total == 0 { 0.0 } else { share.bytes as f64 / total as f64 },
            open_segments: node.said.open_segments,
            growing_rows: node.said.growing_rows,
            outstanding: node.health.outstanding(),
            epoch: if node.writable { node.epoch } else { node.said.tails_epoch },
            applied: node.said.applied,
            lag: needed.saturating_sub(node.said.applied),
            heard_seconds: node.said.heard_ago_ms.map(|ms| ms as f64 / 1000.0),
            quarantined_segments: node.said.quarantined_segments,
            incomplete_segments: node.said.incomplete_segments,
        }
    }

    /// Logs a read that took long, with what it was about and who took how long.
    pub(crate) fn note_time(&self, operation: &'static str, call: &Call, seconds: f64) {
        let limit = self.options.slow_query;
        let Some(subject) = call.subject() else { return };
        if limit == Duration::ZERO || seconds < limit.as_secs_f64() {
            return;
        }
        self.metrics.slow_requests_total.inc();
        let coverage = call.coverage();
        let subqueries: Vec<String> = coverage.subqueries.iter().take(LOGGED).map(in_words).collect();
        tracing::warn!(
            operation,
            collection = %subject.collection,
            nq = subject.nq,
            topk = subject.limit,
            filter = %shortened(&subject.filter),
            took_ms = (seconds * 1000.0) as u64,
            coverage = %coverage,
            replans = coverage.replans,
            subqueries = %subqueries.join("; "),
            trace = %call.span.traceparent().unwrap_or_default(),
            "slow read"
        );
    }
}

fn collections(snapshot: &Snapshot) -> Vec<CollectionStatus> {
    let one = |c: &std::sync::Arc<mishards_catalog::Collection>| {
        let segments = || snapshot.segments_of(c.id);
        let lacks = |s: &mishards_catalog::Segment| {
            c.indexes.iter().any(|index| index.metric.is_some() && s.lacks_index(index))
        };
        CollectionStatus {
            database: snapshot.database_by_id(c.database).map_or_else(String::new, |d| d.name.clone()),
            name: c.name.clone(),
            loaded: c.load.is_loaded(),
            replicas: if c.load.is_loaded() { c.load.replicas.max(1) } else { 0 },
            partitions: snapshot.partitions_of(c.id).count(),
            segments: segments().count(),
            rows: segments().map(|s| u64::from(s.rows)).sum(),
            bytes: segments().map(|s| s.bytes()).sum(),
            segments_without_index: segments().filter(|s| lacks(s)).count(),
        }
    };
    snapshot.collections().map(one).collect()
}

fn in_words(subquery: &Subquery) -> String {
    let Subquery { node, what, micros, node_micros, rows_scanned, .. } = subquery;
    let (ms, node_ms) = (micros / 1000, node_micros / 1000);
    let mut text = format!(
        "{what} on {node} {ms} ms ({node_ms} ms there, {} segments, {rows_scanned} rows",
        subquery.segments.len()
    );
    if subquery.growing {
        text.push_str(" with growing ones");
    }
    text.push(')');
    if let Some(failure) = &subquery.failure {
        text = format!("{text} failed: {failure}");
    }
    text
}

/// The beginning of a filter, for a log line.
fn shortened(filter: &str) -> &str {
    const LONGEST: usize = 300;
    let end = (0..=LONGEST.min(filter.len())).rev().find(|end| filter.is_char_boundary(*end));
    &filter[..end.unwrap_or(0)]
}
