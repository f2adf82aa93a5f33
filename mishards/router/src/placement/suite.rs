//! What every placement policy must keep.

use super::*;

fn names(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("node-{i}")).collect()
}

fn segments(n: i64, replicas: usize) -> Vec<Load> {
    (0..n).map(|i| Load { segment: SegmentId(i), bytes: 1000, replicas }).collect()
}

fn on_all(test: impl Fn(&str, &dyn PlacementPolicy)) {
    POLICIES.iter().for_each(|(name, make)| test(name, &*make()));
}

#[test]
fn every_policy_has_a_file_and_a_line_in_the_table() {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/placement")).unwrap();
    let policies =
        files.filter(|f| !matches!(f.as_ref().unwrap().file_name().to_str(), Some("mod.rs" | "suite.rs")));
    assert_eq!(policies.count(), POLICIES.len());
    assert!(policy("bounded-ring").is_ok());
    assert!(policy("ring").err().unwrap().contains("bounded-ring, rendezvous"));
}

#[test]
fn every_node_is_a_candidate_once() {
    on_all(|policy_name, policy| {
        let placement = Placement::new(policy, names(5), segments(200, 2));
        // Also of segments that are not in the placement.
        for id in 0..400 {
            let (mut found, replicas) = placement.candidates(SegmentId(id));
            found.sort_unstable();
            assert_eq!(found, names(5), "{policy_name}");
            assert_eq!(replicas, if id < 200 { 2 } else { 1 });
        }
    });
}

#[test]
fn no_nodes_or_no_segments_are_no_trouble() {
    on_all(|_, policy| {
        let nobody = Placement::new(policy, Vec::new(), segments(3, 1));
        assert!(nobody.candidates(SegmentId(1)).0.is_empty() && nobody.owners(SegmentId(9)).is_empty());
        let nothing = Placement::new(policy, names(2), Vec::new());
        assert_eq!(nothing.candidates(SegmentId(1)).0.len(), 2);
        let few = Placement::new(policy, names(2), segments(10, 5));
        assert_eq!(few.owners(SegmentId(1)).len(), 2);
    });
}

#[test]
fn the_order_of_joining_does_not_matter() {
    on_all(|name, policy| {
        let mut reversed = names(4);
        reversed.reverse();
        let mut shuffled = segments(300, 1);
        shuffled.reverse();
        let a = Placement::new(policy, names(4), segments(300, 1));
        let b = Placement::new(policy, reversed, shuffled);
        let differs = (0..500).find(|id| a.candidates(SegmentId(*id)) != b.candidates(SegmentId(*id)));
        assert_eq!(differs, None, "{name}");
    });
}

#[test]
fn segments_spread() {
    on_all(|name, policy| {
        let placement = Placement::new(policy, names(8), segments(8_000, 1));
        let shares = placement.shares();
        assert!(shares.values().all(|s| (600..1400).contains(&s.segments)), "{name}: {shares:?}");
        assert_eq!(shares.values().map(|s| s.bytes).sum::<u64>(), 8_000_000);
    });
}

#[test]
fn a_lost_node_moves_little_but_its_own() {
    on_all(|name, policy| {
        let all = Placement::new(policy, names(8), segments(8_000, 1));
        let less = Placement::new(policy, names(7), segments(8_000, 1));
        let stays = |id: &i64| all.owners(SegmentId(*id))[0] != "node-7";
        let moved =
            (0..8_000).filter(stays).filter(|id| all.owners(SegmentId(*id)) != less.owners(SegmentId(*id)));
        let moved = moved.count();
        assert!(moved < 800, "{name}: {moved} of the others' segments moved");
    });
}

#[test]
fn one_more_segment_moves_no_other() {
    on_all(|name, policy| {
        let before = Placement::new(policy, names(6), segments(1_000, 2));
        let after = Placement::new(policy, names(6), segments(1_001, 2));
        let moved =
            (0..1_000).filter(|id| before.owners(SegmentId(*id)) != after.owners(SegmentId(*id))).count();
        assert_eq!(moved, 0, "{name}");
    });
}

#[test]
fn another_replica_joins_the_first() {
    on_all(|name, policy| {
        let one = Placement::new(policy, names(6), Vec::new());
        let (order, _) = one.candidates(SegmentId(7));
        let two =
            Placement::new(policy, names(6), vec![Load { segment: SegmentId(7), bytes: 1, replicas: 2 }]);
        assert_eq!(two.owners(SegmentId(7)), order[..2], "{name}");
    });
}

/// Counts how often what depends on the nodes alone is made.
struct Counted(std::sync::atomic::AtomicUsize);

impl PlacementPolicy for Counted {
    fn on(&self, nodes: &[String]) -> Arc<dyn Places> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        bounded_ring::BoundedRing.on(nodes)
    }
}

#[test]
fn the_nodes_are_prepared_once_whatever_segments_come() {
    let policy = Counted(std::sync::atomic::AtomicUsize::new(0));
    let placement = Placement::new(&policy, names(4), segments(10, 1));
    let more = placement.of(segments(20, 1));
    for id in 0..100 {
        assert_eq!(placement.candidates(SegmentId(id)).0.len(), 4);
        assert_eq!(more.candidates(SegmentId(id)).0.len(), 4);
    }
    assert_eq!(policy.0.into_inner(), 1);
}
