//! Whom to ask for a segment: the nodes that it is placed on, the least busy first, then everybody else who could read it.

use crate::placement::Placement;
use crate::topology::{Node, Nodes};
use mishards_types::SegmentId;
use std::time::Duration;

/// The first node in the order of [`in_order`] that `wanted` accepts. Nearly always it is an owner, and the others are not
/// looked at.
pub fn first<'a>(
    nodes: &'a Nodes,
    placement: &Placement,
    segment: SegmentId,
    now: Duration,
    wanted: impl Fn(&Node) -> bool,
) -> Option<&'a Node> {
    let owners = placement.owners(segment).into_iter().filter_map(|name| nodes.by_name.get(name));
    let well = owners.filter(|node| !node.health.is_avoided(now) && wanted(node));
    // Of equals the first, as a stable sort has it.
    well.min_by_key(|node| node.health.outstanding())
        .or_else(|| in_order(nodes, placement, segment, now).into_iter().find(|node| wanted(node)))
}

/// All nodes that answer, in the order in which they are asked for a segment: its owners by what they have in hand, the
/// others on its way around the ring, nodes that just come or go, who stands by, and the writable node last. Nodes that
/// failed lately, or are silent, come after all others.
pub fn in_order<'a>(
    nodes: &'a Nodes,
    placement: &Placement,
    segment: SegmentId,
    now: Duration,
) -> Vec<&'a Node> {
    let (order, replicas) = placement.candidates(segment);
    let mut placed: Vec<&Node> = order.iter().filter_map(|name| nodes.by_name.get(*name)).collect();
    // Those of the owners that do not answer are not among them.
    let owners = order.iter().take(replicas).filter(|name| nodes.by_name.contains_key(**name)).count();
    placed[..owners].sort_by_key(|node| node.health.outstanding());
    // Every order has all nodes of the placement, which are sorted.
    let is_placed = |node: &&Node| placement.nodes().binary_search(&node.name).is_ok();
    let moving = nodes.by_name.values().filter(|n| !n.writable && !n.standby && !is_placed(n));
    let standby = nodes.by_name.values().filter(|n| n.standby && !is_placed(n));
    let writer = nodes.writer().into_iter().filter(|n| !is_placed(n));
    let all: Vec<&Node> = placed.iter().copied().chain(moving).chain(standby).chain(writer).collect();
    let (mut well, ill): (Vec<&Node>, Vec<&Node>) =
        all.into_iter().partition(|node| !node.health.is_avoided(now));
    well.extend(ill);
    well
}

/// The nodes that hold a segment: its owners, and the writable node where nobody else is there.
pub fn holders<'a>(nodes: &'a Nodes, placement: &'a Placement, segment: SegmentId) -> Vec<&'a str> {
    let owners = placement.owners(segment);
    if owners.is_empty() { nodes.writer().map(|n| n.name.as_str()).into_iter().collect() } else { owners }
}
