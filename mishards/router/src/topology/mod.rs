//! Who is there and how to call them: members from discovery, each probed before it is used.

mod members;
mod nodes;
mod probe;
mod readiness;
mod refused;
#[cfg(test)]
mod tests;

use crate::catalog_view::StateFile;
use crate::hedge::Hedging;
use crate::identity::Identity;
use crate::node_client::NodeClient;
use arc_swap::ArcSwap;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use members::Peer;
use mishards_discovery::{Discovery, Event, Member};
use mishards_types::{Clock, Error};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

pub use nodes::{Node, Nodes};
use refused::Refused;

/// How long a request waits for a writable node: the lease of one that has died, and the time to take over.
const TAKEOVER_ROUNDS: usize = 240;
const TAKEOVER_PAUSE: Duration = Duration::from_millis(50);

/// Makes a client for a member.
pub type Connect = dyn Fn(&Member) -> Option<Arc<dyn NodeClient>> + Send + Sync;

/// See the file's head.
pub struct Topology {
    cluster_id: String,
    nodes: ArcSwap<Nodes>,
    members: Mutex<BTreeMap<String, Peer>>,
    clock: Arc<dyn Clock>,
    /// A writable node has answered since the start.
    writer_seen: AtomicBool,
    /// Grows when other nodes answer than before, or one says something else of itself.
    changed: watch::Sender<u64>,
    /// The shared directory of the writable node; 0 until one has answered.
    directory: AtomicU64,
    /// Members that answer and are not ours to ask.
    refused: Mutex<BTreeMap<String, Refused>>,
    /// The catalog that members must belong to; none where there is only this process.
    identity: Option<Identity>,
    pub hedging: Hedging,
}

impl Topology {
    pub fn new(cluster_id: String, clock: Arc<dyn Clock>, identity: Option<Identity>) -> Arc<Topology> {
        Arc::new(Topology {
            cluster_id,
            clock,
            nodes: ArcSwap::default(),
            members: Mutex::default(),
            writer_seen: AtomicBool::new(false),
            changed: watch::Sender::new(0),
            directory: AtomicU64::new(0),
            refused: Mutex::default(),
            identity,
            hedging: Hedging::default(),
        })
    }

    pub fn nodes(&self) -> Arc<Nodes> {
        self.nodes.load_full()
    }

    pub fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Says when other nodes answer than before.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Members that discovery names and that do not answer.
    pub fn unanswering(&self) -> Vec<Member> {
        let nodes = self.nodes();
        let answers = |m: &Member| nodes.by_name.values().any(|node| node.key == m.name);
        self.listed().into_iter().filter(|m| !answers(m)).collect()
    }

    /// The writable node, or an error that clients retry.
    pub fn writer(&self) -> Result<Node, Error> {
        let writer = self.nodes.load().writer().cloned();
        writer.ok_or_else(|| {
            Error::unavailable("no writable node answers; it is starting, or a takeover is under way")
        })
    }

    /// The writable node, waiting for one through a takeover.
    pub async fn wait_for_writer(&self) -> Result<Node, Error> {
        for _ in 0..TAKEOVER_ROUNDS {
            if let Ok(writer) = self.writer() {
                return Ok(writer);
            }
            tokio::time::sleep(TAKEOVER_PAUSE).await;
        }
        self.writer()
    }

    /// Waits until somebody else is the writable node, as long as a takeover may take.
    pub async fn wait_for_successor(&self, of: &Node) {
        for _ in 0..TAKEOVER_ROUNDS {
            if self.writer().is_ok_and(|now| now.epoch > of.epoch) {
                return;
            }
            tokio::time::sleep(TAKEOVER_PAUSE).await;
        }
    }

    /// The cluster was there before this process began: what it left on disk says so.
    pub fn was_whole(&self) {
        self.writer_seen.store(true, Ordering::Relaxed);
    }

    /// A call failed: it is looked at again at once, and so is who writes.
    pub fn suspect(&self, name: &str) {
        tracing::debug!(node = name, "a call failed, probing again");
        hurry(&self.members(), |node| node.name == name || node.writable || node.standby);
    }

    /// Follows discovery and probes members, until dropped. The last members are kept in a file, for a start while
    /// discovery's source is away.
    pub async fn run(
        self: Arc<Topology>,
        discovery: Arc<dyn Discovery>,
        connect: Arc<Connect>,
        file: Option<Arc<dyn StateFile>>,
    ) {
        let (added, mut to_ask) = tokio::sync::mpsc::unbounded_channel();
        let apply = |event: Event| {
            for contact in self.apply(event, &*connect) {
                // The other end lives as long as this one.
                let _ = added.send(contact);
            }
        };
        if let Some(kept) = members::read(file.clone()).await {
            tracing::info!(members = kept.len(), "beginning with the members that were last known");
            apply(Event::Reset(kept));
        }
        let follow = async {
            let mut events = discovery.watch();
            while let Some(event) = events.next().await {
                apply(event);
                members::write(file.clone(), self.listed()).await;
            }
            std::future::pending::<()>().await;
        };
        let probe = async {
            let mut asking = FuturesUnordered::new();
            loop {
                tokio::select! {
                    Some(contact) = to_ask.recv() => asking.push(self.keep_asking(contact).boxed()),
                    Some(()) = asking.next() => {}
                }
            }
        };
        tokio::join!(follow, probe);
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<String, Peer>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes other nodes those that are asked.
    fn take(&self, by_name: BTreeMap<String, Node>, before: &Nodes) {
        let nodes = Nodes { by_name };
        for (name, node) in before.by_name.iter().filter(|(name, _)| !nodes.by_name.contains_key(*name)) {
            // Of one that answers and is refused, more is said if it stays so: in a cluster that starts for the first time,
            // nodes wait a moment for the directory to be marked.
            if node.said.leaving {
                tracing::info!(node = %name, "node has left");
            } else if !self.refusals().contains_key(&node.key) {
                tracing::warn!(node = %name, "node does not answer");
            }
            node.gone.cancel();
        }
        for node in nodes.by_name.values().filter(|n| !before.by_name.contains_key(&n.name)) {
            tracing::info!(node = %node.name, writable = node.writable, "node answers");
        }
        if nodes.writer().is_some() {
            self.writer_seen.store(true, Ordering::Relaxed);
        }
        let roles = |nodes: &Nodes| -> Vec<(String, bool, bool, u64)> {
            let role = |n: &Node| (n.name.clone(), n.takes_segments(), n.writable, n.epoch);
            nodes.by_name.values().map(role).collect()
        };
        let differs = roles(&nodes) != roles(before);
        self.nodes.store(Arc::new(nodes));
        if differs {
            self.changed.send_modify(|n| *n += 1);
        }
    }
}

/// Has members probed at once.
fn hurry(members: &BTreeMap<String, Peer>, whom: impl Fn(&Node) -> bool) {
    let wanted = |peer: &&Peer| peer.node.as_ref().is_some_and(&whom);
    members.values().filter(wanted).for_each(|peer| peer.contact.hurry.notify_one());
}
