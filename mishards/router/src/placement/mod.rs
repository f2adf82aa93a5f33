//! Which node answers for which segment. A policy is a pure function of the nodes and the segments, so that all routers
//! arrive at the same placement without asking each other.

mod bounded_ring;
mod rendezvous;
#[cfg(test)]
mod suite;

use mishards_catalog::Snapshot;
use mishards_types::SegmentId;
use std::collections::HashMap;
use std::sync::Arc;

/// A segment to be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    pub segment: SegmentId,
    /// Of all its files.
    pub bytes: u64,
    /// How many nodes are to hold it, at least 1.
    pub replicas: usize,
}

/// A way of placing segments. To add one: a file beside this one, and a line in [`POLICIES`], which also puts it under the
/// suite that all of them pass.
pub trait PlacementPolicy: Send + Sync + 'static {
    /// Makes what depends on the nodes alone, which are sorted and differ.
    fn on(&self, nodes: &[String]) -> Arc<dyn Places>;
}

/// A policy on one set of nodes. Placing a single segment is to be cheap: searches do it for segments that came just now.
pub trait Places: Send + Sync {
    /// For each segment all nodes, as indices, in the order in which they are asked: the segment is placed on the first
    /// `replicas` of them. Segments come in the order of their ids.
    fn place(&self, segments: &[Load]) -> Vec<Vec<u16>>;
}

type Make = fn() -> Arc<dyn PlacementPolicy>;

/// Every policy by the name that it has in the settings; the first is the default.
pub const POLICIES: &[(&str, Make)] = &[
    ("bounded-ring", || Arc::new(bounded_ring::BoundedRing)),
    ("rendezvous", || Arc::new(rendezvous::Rendezvous)),
];

/// The policy of a name; an error names them all.
pub fn policy(name: &str) -> Result<Arc<dyn PlacementPolicy>, String> {
    let found = POLICIES.iter().find(|(known, _)| *known == name);
    found.map(|(_, make)| make()).ok_or_else(|| {
        let all: Vec<&str> = POLICIES.iter().map(|(name, _)| *name).collect();
        format!("there is no placement policy {name:?}; there are: {}", all.join(", "))
    })
}

/// Where the segments of one snapshot are, on one set of nodes.
pub struct Placement {
    nodes: Vec<String>,
    places: Arc<dyn Places>,
    placed: HashMap<SegmentId, (Load, Vec<u16>)>,
}

/// What a node has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    pub segments: usize,
    pub bytes: u64,
}

impl Placement {
    /// Names in any order; the result depends on the set alone.
    pub fn new(
        policy: &dyn PlacementPolicy,
        names: impl IntoIterator<Item = String>,
        loads: Vec<Load>,
    ) -> Placement {
        let mut nodes: Vec<String> = names.into_iter().collect();
        nodes.sort();
        nodes.dedup();
        Placement { places: policy.on(&nodes), nodes, placed: HashMap::new() }.of(loads)
    }

    /// Other segments on the same nodes.
    pub fn of(&self, mut loads: Vec<Load>) -> Placement {
        loads.sort_by_key(|load| load.segment);
        let orders = if self.nodes.is_empty() { Vec::new() } else { self.places.place(&loads) };
        let placed = loads.iter().zip(orders).map(|(load, order)| (load.segment, (*load, order))).collect();
        Placement { nodes: self.nodes.clone(), places: Arc::clone(&self.places), placed }
    }

    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// All nodes in the order in which they are asked, and how many of them the segment is placed on. One that came after
    /// this placement was made goes where it would go alone.
    pub fn candidates(&self, segment: SegmentId) -> (Vec<&str>, usize) {
        let name = |node: &u16| self.nodes.get(usize::from(*node)).map(String::as_str);
        if let Some((load, order)) = self.placed.get(&segment) {
            return (order.iter().filter_map(name).collect(), load.replicas);
        }
        if self.nodes.is_empty() {
            return (Vec::new(), 1);
        }
        let alone = self.places.place(&[Load { segment, bytes: 0, replicas: 1 }]);
        (alone.first().map_or_else(Vec::new, |order| order.iter().filter_map(name).collect()), 1)
    }

    /// The nodes that a segment is placed on.
    pub fn owners(&self, segment: SegmentId) -> Vec<&str> {
        if let Some((load, order)) = self.placed.get(&segment) {
            let name = |node: &u16| self.nodes.get(usize::from(*node)).map(String::as_str);
            return order.iter().take(load.replicas).filter_map(name).collect();
        }
        let (mut order, replicas) = self.candidates(segment);
        order.truncate(replicas);
        order
    }

    /// What each node has to hold.
    pub fn shares(&self) -> HashMap<&str, Share> {
        let mut shares: HashMap<&str, Share> =
            self.nodes.iter().map(|name| (name.as_str(), Share::default())).collect();
        for (load, order) in self.placed.values() {
            for node in order.iter().take(load.replicas) {
                if let Some(name) = self.nodes.get(usize::from(*node)) {
                    let share = shares.entry(name).or_default();
                    share.segments += 1;
                    share.bytes += load.bytes;
                }
            }
        }
        shares
    }
}

/// The segments that are loaded, with what their collections ask for.
pub fn loads(snapshot: &Snapshot) -> Vec<Load> {
    let load = |segment: &Arc<mishards_catalog::Segment>| {
        let collection = snapshot.collection(segment.collection)?;
        let replicas = collection.load.replicas.max(1) as usize;
        let load = Load { segment: segment.id, bytes: segment.bytes(), replicas };
        collection.load.has(segment.partition).then_some(load)
    };
    snapshot.segments().filter_map(load).collect()
}
