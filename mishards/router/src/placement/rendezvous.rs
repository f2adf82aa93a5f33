//! Rendezvous hashing: each node draws a number for each segment, and the segment goes to those with the highest.
//! (Thaler, Ravishankar: Using name-based mappings to increase hit rates, 1998.) It bounds nothing, and nothing that
//! happens to one segment ever moves another.

use super::{Load, PlacementPolicy, Places};
use mishards_types::SegmentId;
use std::cmp::Reverse;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub struct Rendezvous;

impl PlacementPolicy for Rendezvous {
    fn on(&self, nodes: &[String]) -> Arc<dyn Places> {
        Arc::new(Draws { nodes: nodes.to_vec() })
    }
}

struct Draws {
    nodes: Vec<String>,
}

impl Places for Draws {
    fn place(&self, segments: &[Load]) -> Vec<Vec<u16>> {
        segments.iter().map(|load| order(&self.nodes, load.segment)).collect()
    }
}

fn order(nodes: &[String], segment: SegmentId) -> Vec<u16> {
    let draw = |node: &u16| xxh3_64_with_seed(nodes[usize::from(*node)].as_bytes(), segment.0 as u64);
    let mut order: Vec<u16> = (0..nodes.len() as u16).collect();
    order.sort_by_cached_key(|node| Reverse(draw(node)));
    order
}
