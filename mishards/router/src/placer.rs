//! Which nodes take traffic: a node that joins has opened its segments before it is asked for them, and one that leaves
//! is asked until those that take over from it have opened theirs.

use crate::catalog_view::CatalogView;
use crate::metrics::Metrics;
use crate::open::{Wanted, open_segments};
use crate::placement::{Placement, PlacementPolicy, Share, loads};
use crate::topology::{Node, Topology};
use arc_swap::ArcSwap;
use mishards_catalog::{Segment, Snapshot};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Longest time that a change of nodes waits for segments to be opened.
const PATIENCE: Duration = Duration::from_secs(60);
const COUNT_EVERY: Duration = Duration::from_secs(2);
/// Changes that come close together are one.
const SETTLE: Duration = Duration::from_millis(20);
/// Nodes that come so soon after the first one are as warm as it is: the router has just started, or had lost them all.
const TOGETHER: Duration = Duration::from_secs(1);

/// See the file's head.
pub struct Placer {
    policy: Arc<dyn PlacementPolicy>,
    topology: Arc<Topology>,
    catalog: Arc<CatalogView>,
    placement: ArcSwap<Placement>,
}

/// Nodes that take traffic.
#[derive(Default)]
struct Taking {
    nodes: BTreeSet<String>,
    /// The catalog whose segments they have been told to open.
    told: Option<Arc<Snapshot>>,
    /// When the first of them came, on the monotonic clock.
    since: Duration,
}

/// Nodes that are to take traffic once their segments are open.
struct Warming {
    target: BTreeSet<String>,
    work: tokio::task::JoinHandle<()>,
}

impl Drop for Warming {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl Placer {
    pub fn new(
        policy: Arc<dyn PlacementPolicy>,
        topology: Arc<Topology>,
        catalog: Arc<CatalogView>,
    ) -> Arc<Placer> {
        let nothing = Placement::new(&*policy, [], Vec::new());
        Arc::new(Placer { policy, topology, catalog, placement: ArcSwap::from_pointee(nothing) })
    }

    pub fn placement(&self) -> Arc<Placement> {
        self.placement.load_full()
    }

    /// Where the segments of a snapshot go on the nodes that take traffic now.
    pub async fn place_all(&self, snapshot: &Arc<Snapshot>) -> Arc<Placement> {
        let nodes = self.placement().nodes().iter().cloned().collect();
        self.place(&nodes, Some(snapshot)).await
    }

    /// What each node that takes traffic has to hold.
    pub fn shares(&self) -> BTreeMap<String, Share> {
        let placement = self.placement();
        placement.shares().into_iter().map(|(name, share)| (name.to_owned(), share)).collect()
    }

    /// Follows nodes and catalog until dropped.
    pub async fn run(self: Arc<Placer>, metrics: Metrics) {
        let (mut nodes, mut catalog) = (self.topology.changes(), self.catalog.changes());
        let warm = Arc::new(Notify::new());
        let mut taking = Taking::default();
        let mut warming: Option<Warming> = None;
        self.step(&mut taking, &mut warming, &warm).await;
        loop {
            self.count(&metrics);
            tokio::select! {
                // A task is finished a little after it has said so.
                () = tokio::time::sleep(COUNT_EVERY) => if warming.is_none() { continue },
                _ = nodes.changed() => {}
                _ = catalog.changed() => {}
                () = warm.notified() => {}
            }
            tokio::time::sleep(SETTLE).await;
            nodes.mark_unchanged();
            catalog.mark_unchanged();
            self.step(&mut taking, &mut warming, &warm).await;
        }
    }

    /// Brings the placement up to date, and begins to warm nodes that come or take over.
    async fn step(&self, taking: &mut Taking, warming: &mut Option<Warming>, warm: &Arc<Notify>) {
        let nodes = self.topology.nodes();
        let mut target = nodes.readers();
        let now = self.topology.now();
        taking.nodes.retain(|name| nodes.by_name.contains_key(name));
        if taking.nodes.is_empty() {
            taking.since = now;
        }
        // All leave, and nobody takes over: they are asked as long as they answer.
        if target.is_empty() {
            target.clone_from(&taking.nodes);
        }
        let is_warm = warming.as_ref().is_some_and(|w| w.target == target && w.work.is_finished());
        let snapshot = self.catalog.get().ok();
        // With nobody to ask meanwhile there is nothing to wait for, nor without anything to open.
        let together = now.saturating_sub(taking.since) < TOGETHER;
        if together || is_warm || snapshot.as_ref().is_none_or(|s| s.segments().next().is_none()) {
            taking.nodes.clone_from(&target);
        }
        let now = self.place(&taking.nodes, snapshot.as_ref()).await;
        if let Some(snapshot) = &snapshot {
            self.open_ahead(taking.told.replace(Arc::clone(snapshot)), snapshot, &now);
        }
        if taking.nodes == target {
            *warming = None;
        } else if warming.as_ref().is_none_or(|w| w.target != target)
            && let Some(snapshot) = snapshot
        {
            let next = self.place(&target, Some(&snapshot)).await;
            let wanted = moved(&now, &next, &snapshot);
            tracing::info!(nodes = ?target, "nodes open the segments that they take over");
            let (topology, warm) = (Arc::clone(&self.topology), Arc::clone(warm));
            let work = tokio::spawn(async move {
                open_segments(&topology, &snapshot, wanted, PATIENCE).await;
                warm.notify_one();
            });
            *warming = Some(Warming { target, work });
        }
        self.placement.store(now);
    }

    /// Has owners open what is new in a catalog, so that no search waits for the files of a flush, a merge or an index
    /// build. Nobody waits for it.
    fn open_ahead(&self, before: Option<Arc<Snapshot>>, snapshot: &Arc<Snapshot>, placement: &Placement) {
        let Some(before) = before.filter(|before| before.version != snapshot.version) else { return };
        let mut wanted: Wanted = HashMap::new();
        for load in loads(snapshot) {
            let Some(segment) = snapshot.segment(load.segment) else { continue };
            let is_known =
                |old: &Arc<Segment>| Arc::ptr_eq(old, segment) || old.all_files().eq(segment.all_files());
            if before.segment(load.segment).is_some_and(is_known) {
                continue;
            }
            for node in placement.owners(load.segment) {
                wanted.entry(node.to_owned()).or_default().push(Arc::clone(segment));
            }
        }
        if !wanted.is_empty() {
            let (topology, snapshot) = (Arc::clone(&self.topology), Arc::clone(snapshot));
            tokio::spawn(async move { open_segments(&topology, &snapshot, wanted, PATIENCE).await });
        }
    }

    /// How many nodes answer, by what they do, and at which V this router is.
    fn count(&self, metrics: &Metrics) {
        let nodes = self.topology.nodes();
        let count = |role: &dyn Fn(&Node) -> bool| nodes.by_name.values().filter(|n| role(n)).count() as i64;
        let set = |role: &str, number: i64| metrics.nodes.with_label_values(&[role]).set(number);
        set("writable", count(&|n| n.writable));
        set("standby", count(&|n| n.standby));
        set("readonly", count(&|n| !n.writable && !n.standby));
        let now = self.topology.now();
        metrics.nodes_avoided.set(count(&|n| n.health.is_avoided(now)));
        if let Ok(snapshot) = self.catalog.get() {
            metrics.catalog_commit.set(snapshot.version.commit_seq as i64);
        }
    }

    /// Off the async workers: with many nodes and segments it takes a while.
    async fn place(&self, nodes: &BTreeSet<String>, snapshot: Option<&Arc<Snapshot>>) -> Arc<Placement> {
        let (policy, before) = (Arc::clone(&self.policy), self.placement());
        let (nodes, snapshot) = (nodes.clone(), snapshot.cloned());
        let place = move || {
            let loads = snapshot.as_deref().map_or_else(Vec::new, loads);
            match nodes.iter().eq(before.nodes()) {
                true => before.of(loads),
                false => Placement::new(&*policy, nodes, loads),
            }
        };
        let placed = tokio::task::spawn_blocking(place).await;
        // It fails at the end of the process only, or when the policy panics, which is logged: then all stays as it is.
        placed.map_or_else(|_| self.placement(), Arc::new)
    }
}

/// What each node is to open because it owns it in the next placement and not in this one.
fn moved(now: &Placement, next: &Placement, snapshot: &Snapshot) -> Wanted {
    let mut wanted: Wanted = HashMap::new();
    for load in loads(snapshot) {
        let before = now.owners(load.segment);
        let Some(segment) = snapshot.segment(load.segment) else { continue };
        for node in next.owners(load.segment).into_iter().filter(|node| !before.contains(node)) {
            wanted.entry(node.to_owned()).or_default().push(Arc::clone(segment));
        }
    }
    wanted
}
