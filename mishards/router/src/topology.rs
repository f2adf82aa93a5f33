//! Who is there and how to call them: members from discovery, each probed before it is used.

use crate::catalog_view::StateFile;
use crate::hedge::Hedging;
use crate::node_client::NodeClient;
use crate::placement::Placement;
use arc_swap::ArcSwap;
use futures_util::StreamExt;
use mishards_discovery::{Discovery, Event, Member};
use mishards_proto::node::DescribeResponse;
use mishards_types::{Clock, Error, SegmentId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const PROBE_EVERY: Duration = Duration::from_millis(500);
/// How long a member that discovery no longer names is still called, as long as it answers.
const UNLISTED_GRACE: Duration = Duration::from_secs(30);
/// How long a request waits for a writable node: the lease of one that has died, and the time to take over.
const TAKEOVER_ROUNDS: usize = 240;
const TAKEOVER_PAUSE: Duration = Duration::from_millis(50);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// A node that was late so often does not answer any more.
const LATE_PROBES: u32 = 2;
/// The node API versions that this router speaks.
const API: std::ops::RangeInclusive<u32> = 1..=1;

/// Makes a client for a member.
pub type Connect = dyn Fn(&Member) -> Option<Arc<dyn NodeClient>> + Send + Sync;

/// A node that answers.
#[derive(Clone)]
pub struct Node {
    /// The name that discovery has for it.
    key: String,
    pub name: String,
    pub writable: bool,
    /// Waits to be the writable node: no segments are placed on it.
    pub standby: bool,
    pub epoch: u64,
    pub client: Arc<dyn NodeClient>,
    /// Is cancelled when the node does not answer any more: what it was asked is asked of others.
    pub gone: CancellationToken,
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

    /// All nodes in the order in which they are asked for a segment: those that it is placed on, then whoever stands by,
    /// the writable node last.
    pub fn candidates(&self, segment: SegmentId) -> impl Iterator<Item = &str> {
        let standby = self.by_name.values().filter(|n| n.standby).map(|n| n.name.as_str());
        let writer = self.writer().map(|w| w.name.as_str());
        self.placement.candidates(segment).into_iter().chain(standby).chain(writer)
    }
}

/// A member that discovery names.
struct Peer {
    address: String,
    client: Arc<dyn NodeClient>,
    /// Since when discovery does not name it any more. It stays for a while as long as it answers: a list that is empty
    /// for a moment must not take the cluster away.
    unlisted: Option<Duration>,
    /// Probes in a row that were not answered in time.
    late: u32,
}

/// What came of a probe.
enum Probe {
    Answers(Box<Node>),
    /// Nothing was heard in time.
    Late,
    Fails,
}

/// See the file's head.
pub struct Topology {
    cluster_id: String,
    nodes: ArcSwap<Nodes>,
    members: Mutex<BTreeMap<String, Peer>>,
    clock: Arc<dyn Clock>,
    /// A writable node has answered since the start.
    writer_seen: AtomicBool,
    /// A probe is due now.
    hurry: tokio::sync::Notify,
    pub hedging: Hedging,
}

impl Topology {
    pub fn new(cluster_id: String, clock: Arc<dyn Clock>) -> Arc<Topology> {
        Arc::new(Topology {
            cluster_id,
            clock,
            nodes: ArcSwap::default(),
            members: Mutex::default(),
            writer_seen: AtomicBool::new(false),
            hurry: tokio::sync::Notify::new(),
            hedging: Hedging::default(),
        })
    }

    pub fn nodes(&self) -> Arc<Nodes> {
        self.nodes.load_full()
    }

    pub fn now(&self) -> Duration {
        self.clock.elapsed()
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

    /// Ready once the whole cluster was there; after that as long as any node answers, for searches do not need the
    /// writer.
    pub fn is_ready(&self) -> bool {
        self.writer_seen.load(Ordering::Relaxed) && !self.nodes.load().by_name.is_empty()
    }

    /// The cluster was there before this process began: what it left on disk says so.
    pub fn was_whole(&self) {
        self.writer_seen.store(true, Ordering::Relaxed);
    }

    /// A call failed: look again at once.
    pub fn suspect(&self, name: &str) {
        tracing::debug!(node = name, "a call failed, probing again");
        self.hurry.notify_one();
    }

    /// Follows discovery and probes members, until dropped. The last members are kept in a file, for a start while
    /// discovery's source is away.
    pub async fn run(
        self: Arc<Topology>,
        discovery: Arc<dyn Discovery>,
        connect: Arc<Connect>,
        file: Option<Arc<dyn StateFile>>,
    ) {
        if let Some(kept) = read_members(file.clone()).await {
            tracing::info!(members = kept.len(), "beginning with the members that were last known");
            self.apply(Event::Reset(kept), &*connect);
        }
        let follow = async {
            let mut events = discovery.watch();
            while let Some(event) = events.next().await {
                self.apply(event, &*connect);
                self.hurry.notify_one();
                write_members(file.clone(), self.listed()).await;
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
        let now = self.clock.elapsed();
        let unlist = |peer: &mut Peer| {
            peer.unlisted.get_or_insert(now);
        };
        match event {
            Event::Reset(all) => {
                let names: BTreeSet<&str> = all.iter().map(|m| m.name.as_str()).collect();
                members
                    .iter_mut()
                    .filter(|(name, _)| !names.contains(name.as_str()))
                    .for_each(|(_, p)| unlist(p));
                for member in all {
                    match members.get_mut(&member.name).filter(|p| p.address == member.address) {
                        Some(known) => known.unlisted = None,
                        None => add(&mut members, member, connect),
                    }
                }
            }
            Event::Add(member) => add(&mut members, member, connect),
            Event::Remove(name) => members.get_mut(&name).map_or((), unlist),
        }
    }

    /// What discovery names now.
    fn listed(&self) -> Vec<Member> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let listed = members.iter().filter(|(_, peer)| peer.unlisted.is_none());
        listed.map(|(name, peer)| Member { name: name.clone(), address: peer.address.clone() }).collect()
    }

    /// Forgets who has been unlisted for long, or is and does not answer.
    fn forget_unlisted(&self, answering: &BTreeSet<String>) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.elapsed();
        members.retain(|key, peer| match peer.unlisted {
            None => true,
            Some(since) => answering.contains(key) && now.saturating_sub(since) < UNLISTED_GRACE,
        });
    }

    async fn probe_all(&self) {
        let members: Vec<_> = {
            let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
            members.iter().map(|(key, peer)| (key.clone(), Arc::clone(&peer.client))).collect()
        };
        let probes = members.into_iter().map(|(key, client)| async move {
            let node = self.probe(&key, client).await;
            (key, node)
        });
        let found = futures_util::future::join_all(probes).await;
        let before = self.nodes.load();
        let found: Vec<Node> =
            found.into_iter().filter_map(|(key, probe)| self.after_probe(&key, probe, &before)).collect();
        self.forget_unlisted(&found.iter().map(|node| node.key.clone()).collect());
        // Who a node is, it says itself: discovery may know it by its address only, or by two of them.
        let mut by_name: BTreeMap<String, Node> = found.into_iter().map(|n| (n.name.clone(), n)).collect();
        for node in by_name.values_mut() {
            if let Some(known) = before.by_name.get(&node.name) {
                node.gone = known.gone.clone();
            }
        }
        for (name, node) in before.by_name.iter().filter(|(name, _)| !by_name.contains_key(*name)) {
            tracing::warn!(node = %name, "node does not answer");
            node.gone.cancel();
        }
        for node in by_name.values().filter(|n| !before.by_name.contains_key(&n.name)) {
            tracing::info!(node = %node.name, writable = node.writable, "node answers");
        }
        let readers = |nodes: &BTreeMap<String, Node>| -> Vec<String> {
            nodes.values().filter(|n| !n.writable && !n.standby).map(|n| n.name.clone()).collect()
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

    /// The node behind a member. One that is late once may only have much to do: it stays as it was.
    fn after_probe(&self, key: &str, probe: Probe, before: &Nodes) -> Option<Node> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = members.get_mut(key)?;
        match probe {
            Probe::Answers(node) => {
                peer.late = 0;
                Some(*node)
            }
            Probe::Fails => None,
            Probe::Late => {
                peer.late += 1;
                before.by_name.values().find(|n| n.key == key && peer.late < LATE_PROBES).cloned()
            }
        }
    }

    async fn probe(&self, key: &str, client: Arc<dyn NodeClient>) -> Probe {
        match tokio::time::timeout(PROBE_TIMEOUT, client.describe()).await {
            Err(_) => Probe::Late,
            Ok(Err(_)) => Probe::Fails,
            Ok(Ok(answer)) => {
                self.accept(key, answer, client).map_or(Probe::Fails, |node| Probe::Answers(Box::new(node)))
            }
        }
    }

    /// The node, if it is one of ours and speaks as we do.
    fn accept(&self, key: &str, answer: DescribeResponse, client: Arc<dyn NodeClient>) -> Option<Node> {
        if answer.cluster_id != self.cluster_id {
            tracing::error!(node = key, theirs = %answer.cluster_id, ours = %self.cluster_id, "node belongs to another cluster");
            return None;
        }
        if answer.api_min > *API.end() || answer.api_max < *API.start() {
            tracing::error!(node = key, version = %answer.version, "node speaks no version of the node API that we do");
            return None;
        }
        let (writable, standby) = (answer.writable, answer.standby);
        let gone = CancellationToken::new();
        let (key, name) = (key.to_owned(), answer.name);
        Some(Node { key, name, writable, standby, epoch: answer.epoch, client, gone })
    }
}

async fn read_members(file: Option<Arc<dyn StateFile>>) -> Option<Vec<Member>> {
    let file = file?;
    let bytes = tokio::task::spawn_blocking(move || file.read()).await.ok()??;
    serde_json::from_slice(&bytes)
        .inspect_err(|e| tracing::warn!(error = %e, "the kept members cannot be read"))
        .ok()
}

async fn write_members(file: Option<Arc<dyn StateFile>>, members: Vec<Member>) {
    let Some(file) = file.filter(|_| !members.is_empty()) else { return };
    let write =
        move || serde_json::to_vec(&members).map_err(|e| e.to_string()).and_then(|bytes| file.write(&bytes));
    match tokio::task::spawn_blocking(write).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::warn!(error = %e, "the members could not be kept on disk"),
        Err(e) => tracing::warn!(error = %e, "the members could not be kept on disk"),
    }
}

fn add(members: &mut BTreeMap<String, Peer>, member: Member, connect: &Connect) {
    match connect(&member) {
        Some(client) => {
            let peer = Peer { address: member.address, client, unlisted: None, late: 0 };
            members.insert(member.name, peer);
        }
        // An address that cannot be used: whoever had the name before has it no more.
        None => drop(members.remove(&member.name)),
    }
}
