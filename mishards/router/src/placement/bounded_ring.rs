//! Consistent hashing with bounded loads: a segment goes to the first nodes on its way around the ring that have room,
//! so that no node holds much more than its share, and few segments move when a node comes or goes.
//! (Mirrokni, Thorup, Zadimoghaddam: Consistent Hashing with Bounded Loads, 2018; here the load is bytes.)

use super::{Load, PlacementPolicy, Places};
use consistent_hash_ring::{Ring, RingBuilder};
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

/// Points of a node on the ring. Never 0: a node without points makes the crate's replica walk endless.
const VIRTUAL_NODES: usize = 256;

/// A node is full when it holds five quarters of the mean.
const BOUND: (u64, u64) = (5, 4);

type Hasher = BuildHasherDefault<Xxh3Default>;

pub struct BoundedRing;

impl PlacementPolicy for BoundedRing {
    fn on(&self, nodes: &[String]) -> Arc<dyn Places> {
        let numbers = 0..nodes.len() as u16;
        let named =
            nodes.iter().zip(numbers).map(|(name, number)| Point { name: xxh3_64(name.as_bytes()), number });
        let ring = RingBuilder::new(Hasher::default()).vnodes(VIRTUAL_NODES).nodes_iter(named).build();
        Arc::new(Built { nodes: nodes.len(), ring })
    }
}

/// The ring of one set of nodes.
struct Built {
    nodes: usize,
    ring: Ring<Point, Hasher>,
}

impl Places for Built {
    fn place(&self, segments: &[Load]) -> Vec<Vec<u16>> {
        let bound = bound(self.nodes, segments);
        let mut held = vec![0; self.nodes];
        let place = |load: &Load| {
            let way: Vec<u16> =
                self.ring.replicas(load.segment.0).take(self.nodes).map(|point| point.number).collect();
            let replicas = load.replicas.min(self.nodes);
            let order = with_room_first(&way, replicas, |node| held[node] < bound);
            order.iter().take(replicas).for_each(|node| held[usize::from(*node)] += load.bytes);
            order
        };
        segments.iter().map(place).collect()
    }
}

/// The first `replicas` nodes with room, then the others, both as they stand on the way. Where too few have room, the
/// next ones on the way make up for it.
fn with_room_first(way: &[u16], replicas: usize, has_room: impl Fn(usize) -> bool) -> Vec<u16> {
    let mut chosen: Vec<u16> =
        way.iter().copied().filter(|node| has_room(usize::from(*node))).take(replicas).collect();
    let others: Vec<u16> = way.iter().copied().filter(|node| !chosen.contains(node)).collect();
    chosen.extend(others);
    chosen
}

/// Bytes beyond which a node gets no more. The total is taken in coarse steps, so that one more segment does not move
/// the bound, and with it others.
fn bound(nodes: usize, segments: &[Load]) -> u64 {
    let total: u64 = segments.iter().map(|load| load.bytes * load.replicas.min(nodes) as u64).sum();
    let step = (total.next_power_of_two() / 8).max(1);
    let total = total.div_ceil(step) * step;
    (total / nodes.max(1) as u64).saturating_mul(BOUND.0) / BOUND.1 + 1
}

/// A node on the ring, where there are many of it, by the hash of its name.
#[derive(Clone)]
struct Point {
    name: u64,
    number: u16,
}

impl std::hash::Hash for Point {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl PartialEq for Point {
    fn eq(&self, other: &Point) -> bool {
        self.name == other.name
    }
}

impl Eq for Point {}

#[cfg(test)]
mod tests {
    use super::*;
    use mishards_types::SegmentId;

    fn held(segments: &[Load]) -> [u64; 5] {
        let nodes: Vec<String> = (0..5).map(|i| format!("node-{i}")).collect();
        let mut held = [0; 5];
        for (load, order) in segments.iter().zip(BoundedRing.on(&nodes).place(segments)) {
            order.iter().take(load.replicas).for_each(|node| held[usize::from(*node)] += load.bytes);
        }
        held
    }

    #[test]
    fn no_node_holds_much_more_than_its_share() {
        // Sizes that differ a thousandfold, as those of merged and of fresh segments do.
        let load = |i| Load { segment: SegmentId(i), bytes: 1 << (i % 10), replicas: 1 + (i % 2) as usize };
        let segments: Vec<Load> = (0..200).map(load).collect();
        // A node with any room takes a segment whole.
        let most = bound(5, &segments) + 512;
        assert!(held(&segments).iter().all(|bytes| *bytes <= most), "{:?}, bound {most}", held(&segments));
    }

    #[test]
    fn a_node_that_is_full_gets_no_more() {
        let load = |i, bytes| Load { segment: SegmentId(i), bytes, replicas: 1 };
        let segments: Vec<Load> =
            std::iter::once(load(0, 10_000)).chain((1..100).map(|i| load(i, 100))).collect();
        assert_eq!(held(&segments).iter().max(), Some(&10_000), "it holds the large one and nothing else");
    }

    #[test]
    fn replicas_go_to_nodes_with_room_and_to_full_ones_where_there_are_no_others() {
        assert_eq!(with_room_first(&[2, 0, 1], 1, |node| node == 1), [1, 2, 0]);
        assert_eq!(with_room_first(&[2, 0, 1], 2, |node| node == 1), [1, 2, 0]);
        assert_eq!(with_room_first(&[2, 0, 1], 2, |_| false), [2, 0, 1]);
        assert_eq!(with_room_first(&[2, 0, 1], 3, |_| true), [2, 0, 1]);
    }

    #[test]
    fn the_bound_moves_in_steps() {
        let one = |bytes| [Load { segment: SegmentId(1), bytes, replicas: 1 }];
        assert_eq!(bound(4, &one(900_000)), bound(4, &one(910_000)));
        assert!(bound(4, &one(1_000_000)) > 1_000_000 / 4);
        assert_eq!(bound(4, &[]), 1);
    }
}
