//! Which node answers for which segment: consistent hashing on the segment's id, the same on every router.

use consistent_hash_ring::{Ring, RingBuilder};
use mishards_types::SegmentId;
use std::hash::BuildHasherDefault;
use xxhash_rust::xxh3::Xxh3Default;

/// Points of a node on the ring. Never 0: a node without points makes the crate's replica walk endless.
const VIRTUAL_NODES: usize = 256;

type Hasher = BuildHasherDefault<Xxh3Default>;

/// A ring over node names. Built when membership changes, off the request path.
pub struct Placement {
    ring: Ring<String, Hasher>,
    names: Vec<String>,
}

impl Placement {
    /// Names in any order; the result depends on the set alone.
    pub fn new(names: impl IntoIterator<Item = String>) -> Placement {
        let mut names: Vec<String> = names.into_iter().collect();
        names.sort();
        names.dedup();
        let ring =
            RingBuilder::new(Hasher::default()).vnodes(VIRTUAL_NODES).nodes_iter(names.clone()).build();
        Placement { ring, names }
    }

    /// All nodes, in the order in which they are asked for this segment.
    pub fn candidates(&self, segment: SegmentId) -> Vec<&str> {
        if self.names.is_empty() {
            return Vec::new();
        }
        self.ring.replicas(segment.0).take(self.names.len()).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("node-{i}")).collect()
    }

    #[test]
    fn every_node_is_a_candidate_once() {
        let placement = Placement::new(names(5));
        for id in 0..200 {
            let mut found = placement.candidates(SegmentId(id));
            found.sort_unstable();
            assert_eq!(found, placement.names.iter().map(String::as_str).collect::<Vec<_>>());
        }
        assert!(Placement::new(Vec::new()).candidates(SegmentId(1)).is_empty());
    }

    #[test]
    fn the_order_of_joining_does_not_matter() {
        let mut reversed = names(4);
        reversed.reverse();
        let (a, b) = (Placement::new(names(4)), Placement::new(reversed));
        assert!((0..500).all(|id| a.candidates(SegmentId(id)) == b.candidates(SegmentId(id))));
    }

    #[test]
    fn neighbouring_ids_spread_and_a_lost_node_moves_only_its_own() {
        let (all, less) = (Placement::new(names(8)), Placement::new(names(7)));
        let mut shares: HashMap<String, usize> = HashMap::new();
        for id in 0..10_000 {
            let first = all.candidates(SegmentId(id))[0].to_owned();
            if first != "node-7" {
                assert_eq!(first, less.candidates(SegmentId(id))[0]);
            }
            *shares.entry(first).or_default() += 1;
        }
        assert!(shares.values().all(|n| (900..1600).contains(n)), "{shares:?}");
    }
}
