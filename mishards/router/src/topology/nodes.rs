//! The nodes that answer now, each as it described itself.

use crate::health::Health;
use crate::node_client::NodeClient;
use mishards_proto::node::DescribeResponse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A node that answers.
#[derive(Clone)]
pub struct Node {
    /// The name that discovery has for it.
    pub(super) key: String,
    pub name: String,
    pub address: String,
    pub writable: bool,
    /// Waits to be the writable node: no segments are placed on it.
    pub standby: bool,
    pub epoch: u64,
    /// All that it said of itself.
    pub said: Arc<DescribeResponse>,
    pub client: Arc<dyn NodeClient>,
    /// Is cancelled when the node does not answer any more: what it was asked is asked of others.
    pub gone: CancellationToken,
    pub health: Arc<Health>,
}

impl Node {
    /// Whether segments are placed on it.
    pub fn takes_segments(&self) -> bool {
        !self.writable && !self.standby && !self.said.leaving
    }

    /// Whether it stands by and has the growing rows of a term.
    pub fn tails(&self, epoch: u64) -> bool {
        self.standby && epoch != 0 && self.said.tails_epoch == epoch
    }
}

/// The nodes that answer now, by name.
#[derive(Default)]
pub struct Nodes {
    pub by_name: BTreeMap<String, Node>,
}

impl Nodes {
    /// The writable node of the highest epoch.
    pub fn writer(&self) -> Option<&Node> {
        self.by_name.values().filter(|n| n.writable).max_by_key(|n| n.epoch)
    }

    /// The nodes that segments may be placed on.
    pub fn readers(&self) -> BTreeSet<String> {
        self.by_name.values().filter(|n| n.takes_segments()).map(|n| n.name.clone()).collect()
    }
}
