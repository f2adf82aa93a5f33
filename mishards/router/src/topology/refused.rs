//! Members that answer and are not ours to ask: of another cluster, another version, another shared directory.

use super::{Node, Topology};
use mishards_proto::node::DescribeResponse;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

/// What a node says that has lost sight of the shared directory.
const LOST: u64 = u64::MAX;
/// How long a member is refused before that is logged.
const REFUSED_FOR: Duration = Duration::from_secs(2);
/// The node API versions that this router speaks.
const API: std::ops::RangeInclusive<u32> = 1..=1;

/// A member that answers and is not used.
pub(super) struct Refused {
    why: String,
    since: Duration,
    logged: bool,
}

impl Refused {
    fn now(why: String, now: Duration) -> Refused {
        Refused { why, since: now, logged: false }
    }
}

impl Topology {
    /// Members that answer and are not ours to ask, and why.
    pub fn refused(&self) -> BTreeMap<String, String> {
        let refused = self.refusals();
        refused.iter().map(|(key, refused)| (key.clone(), refused.why.clone())).collect()
    }

    pub(super) fn refusals(&self) -> MutexGuard<'_, BTreeMap<String, Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a node belongs to us and speaks as we do.
    pub(super) fn is_ours(&self, said: &DescribeResponse) -> Result<(), String> {
        if said.cluster_id != self.cluster_id {
            return Err(format!(
                "it belongs to cluster {:?}, we to {:?}: correct cluster.id, or what discovery finds",
                said.cluster_id, self.cluster_id
            ));
        }
        if said.api_min > *API.end() || said.api_max < *API.start() {
            return Err(format!(
                "it is version {} and speaks versions {} to {} of the node API, we {} to {}: upgrade the older one",
                said.version,
                said.api_min,
                said.api_max,
                API.start(),
                API.end()
            ));
        }
        Ok(())
    }

    /// Leaves out nodes that see another shared directory than the writable node: what they would find is not ours.
    pub(super) fn of_one_directory(&self, found: Vec<Node>) -> Vec<Node> {
        let sees_it = |n: &&Node| n.writable && !matches!(n.said.directory, 0 | LOST);
        let writer = found.iter().filter(sees_it).max_by_key(|n| n.epoch);
        if let Some(writer) = writer {
            self.directory.store(writer.said.directory, Ordering::Relaxed);
        }
        let fits = |node: &Node| {
            if !self.sees_another_directory(node) {
                return true;
            }
            let (ours, theirs) = (self.directory.load(Ordering::Relaxed), node.said.directory);
            let sees = match theirs {
                0 => "a directory without a marker file".to_owned(),
                LOST => "a directory that is not this cluster's, or nothing any more".to_owned(),
                id => format!("shared directory {id:016x}"),
            };
            let why = format!(
                "it sees {sees}, the writable node sees {ours:016x}: mount the same one, or correct cluster.shared_dir"
            );
            self.refuse(&node.key, why);
            false
        };
        found.into_iter().filter(fits).collect()
    }

    pub(super) fn sees_another_directory(&self, node: &Node) -> bool {
        let (ours, theirs) = (self.directory.load(Ordering::Relaxed), node.said.directory);
        ours != 0 && theirs != ours
    }

    /// Notes why a member is not asked. Logged when it stays so: in a cluster that starts for the first time, the directory
    /// is marked a moment after nodes have looked.
    pub(super) fn refuse(&self, key: &str, why: String) {
        let now = self.clock.elapsed();
        let mut refused = self.refusals();
        let entry = refused.entry(key.to_owned()).or_insert_with(|| Refused::now(why.clone(), now));
        if entry.why != why {
            *entry = Refused::now(why, now);
        }
        if !entry.logged && now.saturating_sub(entry.since) >= REFUSED_FOR {
            entry.logged = true;
            tracing::error!(node = key, reason = %entry.why, "this node is not used");
        }
    }
}
