//! Who is there and how to call them: members from discovery, each probed before it is used.

use crate::catalog_view::StateFile;
use crate::health::Health;
use crate::hedge::Hedging;
use crate::node_client::NodeClient;
use arc_swap::ArcSwap;
use futures_util::StreamExt;
use mishards_discovery::{Discovery, Event, Member};
use mishards_proto::node::DescribeResponse;
use mishards_types::{Clock, Error};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const PROBE_EVERY: Duration = Duration::from_millis(500);
/// While nobody writes: requests wait for whoever takes over.
const PROBE_FOR_WRITER_EVERY: Duration = Duration::from_millis(100);
/// How long a member that discovery no longer names is still called, as long as it answers.
const UNLISTED_GRACE: Duration = Duration::from_secs(30);
/// How long a request waits for a writable node: the lease of one that has died, and the time to take over.
const TAKEOVER_ROUNDS: usize = 240;
const TAKEOVER_PAUSE: Duration = Duration::from_millis(50);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// What a node says that has lost sight of the shared directory.
const LOST: u64 = u64::MAX;
/// How long a member is refused before that is logged.
const REFUSED_FOR: Duration = Duration::from_secs(2);
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
    pub address: String,
    pub writable: bool,
    /// Waits to be the writable node: no segments are placed on it.
    pub standby: bool,
    pub epoch: u64,
    /// All that it said of itself.
    pub said: DescribeResponse,
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

/// A member that answers and is not used.
struct Refused {
    why: String,
    since: Duration,
    logged: bool,
}

impl Refused {
    fn now(why: String, now: Duration) -> Refused {
        Refused { why, since: now, logged: false }
    }
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
    /// Grows when other nodes answer than before, or one says something else of itself.
    changed: watch::Sender<u64>,
    /// The shared directory of the writable node; 0 until one has answered.
    directory: AtomicU64,
    /// Members that answer and are not ours to ask.
    refused: Mutex<BTreeMap<String, Refused>>,
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
            changed: watch::Sender::new(0),
            directory: AtomicU64::new(0),
            refused: Mutex::default(),
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

    /// Members that answer and are not ours to ask, and why.
    pub fn refused(&self) -> BTreeMap<String, String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.iter().map(|(key, refused)| (key.clone(), refused.why.clone())).collect()
    }

    /// Members that discovery names and that do not answer.
    pub fn silent(&self) -> Vec<Member> {
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
                let every = if self.writer().is_ok() { PROBE_EVERY } else { PROBE_FOR_WRITER_EVERY };
                let _ = tokio::time::timeout(every, self.hurry.notified()).await;
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
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|key, _| members.contains_key(key));
    }

    /// Asks every member who it is, and takes those that answer and belong to us.
    pub async fn probe_all(&self) {
        let members: Vec<_> = {
            let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
            members
                .iter()
                .map(|(key, peer)| (key.clone(), peer.address.clone(), Arc::clone(&peer.client)))
                .collect()
        };
        let probes = members.into_iter().map(|(key, address, client)| async move {
            let probe = self.probe(&key, address, client).await;
            (key, probe)
        });
        let found = futures_util::future::join_all(probes).await;
        let before = self.nodes.load();
        let found: Vec<Node> =
            found.into_iter().filter_map(|(key, probe)| self.after_probe(&key, probe, &before)).collect();
        let found = self.of_one_directory(found);
        self.forget_unlisted(&found.iter().map(|node| node.key.clone()).collect());
        // Who a node is, it says itself: discovery may know it by its address only, or by two of them.
        let mut by_name: BTreeMap<String, Node> = found.into_iter().map(|n| (n.name.clone(), n)).collect();
        for node in by_name.values_mut() {
            if let Some(known) = before.by_name.get(&node.name) {
                node.gone = known.gone.clone();
                node.health = Arc::clone(&known.health);
            }
        }
        self.take(Nodes { by_name }, &before);
    }

    fn take(&self, nodes: Nodes, before: &Nodes) {
        for (name, node) in before.by_name.iter().filter(|(name, _)| !nodes.by_name.contains_key(*name)) {
            tracing::warn!(node = %name, "node does not answer");
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

    /// Leaves out nodes that see another shared directory than the writable node: what they would find is not ours.
    fn of_one_directory(&self, found: Vec<Node>) -> Vec<Node> {
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

    fn sees_another_directory(&self, node: &Node) -> bool {
        let (ours, theirs) = (self.directory.load(Ordering::Relaxed), node.said.directory);
        ours != 0 && theirs != ours
    }

    /// Notes why a member is not asked. Logged when it stays so: in a cluster that starts for the first time, the directory
    /// is marked a moment after nodes have looked.
    fn refuse(&self, key: &str, why: String) {
        let now = self.clock.elapsed();
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = refused.entry(key.to_owned()).or_insert_with(|| Refused::now(why.clone(), now));
        if entry.why != why {
            *entry = Refused::now(why, now);
        }
        if !entry.logged && now.saturating_sub(entry.since) >= REFUSED_FOR {
            entry.logged = true;
            tracing::error!(node = key, reason = %entry.why, "this node is not used");
        }
    }

    /// The node behind a member. One that is late once may only have much to do: it stays as it was.
    fn after_probe(&self, key: &str, probe: Probe, before: &Nodes) -> Option<Node> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = members.get_mut(key)?;
        match probe {
            Probe::Answers(node) => {
                peer.late = 0;
                let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                // Whether its directory is ours is looked at next.
                if !self.sees_another_directory(&node) {
                    refused.remove(key);
                }
                Some(*node)
            }
            Probe::Fails => None,
            Probe::Late => {
                peer.late += 1;
                before.by_name.values().find(|n| n.key == key && peer.late < LATE_PROBES).cloned()
            }
        }
    }

    async fn probe(&self, key: &str, address: String, client: Arc<dyn NodeClient>) -> Probe {
        match tokio::time::timeout(PROBE_TIMEOUT, client.describe()).await {
            Err(_) => Probe::Late,
            Ok(Err(_)) => Probe::Fails,
            Ok(Ok(said)) => match self.is_ours(&said) {
                Ok(()) => Probe::Answers(Box::new(Node {
                    key: key.to_owned(),
                    name: said.name.clone(),
                    address,
                    writable: said.writable,
                    standby: said.standby,
                    epoch: said.epoch,
                    said,
                    client,
                    gone: CancellationToken::new(),
                    health: Arc::default(),
                })),
                Err(why) => {
                    self.refuse(key, why);
                    Probe::Fails
                }
            },
        }
    }

    /// Whether a node belongs to us and speaks as we do.
    fn is_ours(&self, said: &DescribeResponse) -> Result<(), String> {
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
