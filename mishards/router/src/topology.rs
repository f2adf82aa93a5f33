//! Who is there and how to call them: members from discovery, each probed before it is used.

use crate::node_client::NodeClient;
use crate::placement::Placement;
use arc_swap::ArcSwap;
use futures_util::StreamExt;
use mishards_discovery::{Discovery, Event, Member};
use mishards_types::Error;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const PROBE_EVERY: Duration = Duration::from_millis(500);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The node API versions that this router speaks.
const API: std::ops::RangeInclusive<u32> = 1..=1;

/// Makes a client for a member.
pub type Connect = dyn Fn(&Member) -> Option<Arc<dyn NodeClient>> + Send + Sync;

/// A node that answers.
#[derive(Clone)]
pub struct Node {
    pub name: String,
    pub writable: bool,
    pub epoch: u64,
    pub client: Arc<dyn NodeClient>,
}

/// The nodes that answer now, by name.
pub struct Nodes {
    pub by_name: BTreeMap<String, Node>,
    /// Of the nodes that only read; made anew when they change.
    pub placement: Arc<Placement>,
}

impl Default for Nodes {
    fn default() -> Nodes {
        Nodes { by_name: BTreeMap::new(), placement: Arc::new(Placement::new([])) }
    }
}

impl Nodes {
    /// The writable node of the highest epoch.
    pub fn writer(&self) -> Option<&Node> {
        self.by_name.values().filter(|n| n.writable).max_by_key(|n| n.epoch)
    }
}

/// See the file's head.
pub struct Topology {
    cluster_id: String,
    nodes: ArcSwap<Nodes>,
    members: Mutex<BTreeMap<String, Arc<dyn NodeClient>>>,
    /// A writable node has answered since the start.
    writer_seen: AtomicBool,
    /// A probe is due now.
    hurry: tokio::sync::Notify,
}

impl Topology {
    pub fn new(cluster_id: String) -> Arc<Topology> {
        Arc::new(Topology {
            cluster_id,
            nodes: ArcSwap::default(),
            members: Mutex::default(),
            writer_seen: AtomicBool::new(false),
            hurry: tokio::sync::Notify::new(),
        })
    }

    pub fn nodes(&self) -> Arc<Nodes> {
        self.nodes.load_full()
    }

    /// The writable node, or an error that clients retry.
    pub fn writer(&self) -> Result<Node, Error> {
        let writer = self.nodes.load().writer().cloned();
        writer.ok_or_else(|| {
            Error::unavailable("no writable node answers; it is starting, or a takeover is under way")
        })
    }

    /// Ready once the whole cluster was there; after that as long as any node answers, for searches do not need the
    /// writer.
    pub fn is_ready(&self) -> bool {
        self.writer_seen.load(Ordering::Relaxed) && !self.nodes.load().by_name.is_empty()
    }

    /// A call failed: look again at once.
    pub fn suspect(&self, name: &str) {
        tracing::debug!(node = name, "a call failed, probing again");
        self.hurry.notify_one();
    }

    /// Follows discovery and probes members, until dropped.
    pub async fn run(self: Arc<Topology>, discovery: Arc<dyn Discovery>, connect: Arc<Connect>) {
        let follow = async {
            let mut events = discovery.watch();
            while let Some(event) = events.next().await {
                self.apply(event, &*connect);
                self.hurry.notify_one();
            }
            std::future::pending::<()>().await;
        };
        let probe = async {
            loop {
                self.probe_all().await;
                let _ = tokio::time::timeout(PROBE_EVERY, self.hurry.notified()).await;
                // Many failures at once are one reason to look.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::join!(follow, probe);
    }

    fn apply(&self, event: Event, connect: &Connect) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Reset(all) => {
                *members = all.iter().filter_map(|m| connect(m).map(|c| (m.name.clone(), c))).collect();
            }
            Event::Add(member) => {
                if let Some(client) = connect(&member) {
                    members.insert(member.name, client);
                }
            }
            Event::Remove(name) => drop(members.remove(&name)),
        }
    }

    async fn probe_all(&self) {
        let members: Vec<_> = {
            let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
            members.iter().map(|(name, client)| (name.clone(), Arc::clone(client))).collect()
        };
        let probes = members.into_iter().map(|(name, client)| self.probe(name, client));
        let found = futures_util::future::join_all(probes).await;
        let by_name: BTreeMap<String, Node> =
            found.into_iter().flatten().map(|n| (n.name.clone(), n)).collect();
        let before = self.nodes.load();
        for name in before.by_name.keys().filter(|n| !by_name.contains_key(*n)) {
            tracing::warn!(node = %name, "node does not answer");
        }
        for node in by_name.values().filter(|n| !before.by_name.contains_key(&n.name)) {
            tracing::info!(node = %node.name, writable = node.writable, "node answers");
        }
        let readers = |nodes: &BTreeMap<String, Node>| -> Vec<String> {
            nodes.values().filter(|n| !n.writable).map(|n| n.name.clone()).collect()
        };
        let names = readers(&by_name);
        let placement = match names == readers(&before.by_name) {
            true => Arc::clone(&before.placement),
            false => Arc::new(Placement::new(names)),
        };
        let nodes = Nodes { by_name, placement };
        if nodes.writer().is_some() {
            self.writer_seen.store(true, Ordering::Relaxed);
        }
        self.nodes.store(Arc::new(nodes));
    }

    async fn probe(&self, name: String, client: Arc<dyn NodeClient>) -> Option<Node> {
        let answer = tokio::time::timeout(PROBE_TIMEOUT, client.describe()).await.ok()?.ok()?;
        if answer.cluster_id != self.cluster_id {
            tracing::error!(node = %name, theirs = %answer.cluster_id, ours = %self.cluster_id, "node belongs to another cluster");
            return None;
        }
        if answer.api_min > *API.end() || answer.api_max < *API.start() {
            tracing::error!(node = %name, version = %answer.version, "node speaks no version of the node API that we do");
            return None;
        }
        Some(Node { name, writable: answer.writable, epoch: answer.epoch, client })
    }
}
