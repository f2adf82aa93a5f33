//! The search kernel: greedy from the top layer down, then a best-first walk of the lowest layer. Every node may
//! be walked through; only nodes with a row that the filter and the bounds admit enter the result.

use super::frozen::HnswIndex;
use super::visited::{Visited, with_visited};
use crate::vector_index::{Query, SearchParams, VectorIndex, Vectors};
use mishards_types::Bitmap;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, Ordering as AtomicOrdering};

/// Nodes between two looks at whether anybody still waits.
const STRIDE: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Near(f32, u32);

impl Eq for Near {}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Near) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Near {
    fn cmp(&self, other: &Near) -> Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

struct Walk<'a> {
    index: &'a HnswIndex,
    vectors: Vectors<'a>,
    query: &'a Query<'a>,
    params: SearchParams,
    filter: Option<&'a Bitmap>,
    stop: &'a AtomicBool,
}

impl VectorIndex for HnswIndex {
    fn kind(&self) -> &'static str {
        "hnsw"
    }

    fn rows(&self) -> usize {
        self.row_count()
    }

    fn search(
        &self,
        vectors: Vectors<'_>,
        query: &Query<'_>,
        params: SearchParams,
        filter: Option<&Bitmap>,
        stop: &AtomicBool,
    ) -> Vec<(f32, u32)> {
        if self.nodes() == 0 || params.k == 0 || vectors.len() != self.row_count() || vectors.dim != self.dim
        {
            return Vec::new();
        }
        let walk = Walk { index: self, vectors, query, params, filter, stop };
        with_visited(self.nodes(), |visited| walk.run(visited))
    }
}

impl Walk<'_> {
    fn run(&self, visited: &mut Visited) -> Vec<(f32, u32)> {
        let mut at = Near(self.distance(self.index.entry), self.index.entry);
        for layer in (1..=self.index.level(self.index.entry)).rev() {
            at = self.descend(at, layer);
        }
        self.expand(self.lowest(at, visited))
    }

    #[inline]
    fn distance(&self, node: u32) -> f32 {
        let row = self.index.rows_of(node)[0] as usize;
        self.query.distance_with_norm(self.vectors.row(row), self.index.inverse_norm(node))
    }

    #[inline]
    fn prefetch(&self, node: u32) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let row = self.index.rows_of(node)[0] as usize;
            let vector = self.vectors.row(row).as_ptr();
            // SAFETY: prefetching is a hint; it does not access memory.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(vector.cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = node;
    }

    /// Goes to the nearest node that greedy steps on one layer reach.
    fn descend(&self, mut at: Near, layer: usize) -> Near {
        loop {
            let nearest = self.index.links_up(at.1, layer).iter().map(|n| Near(self.distance(*n), *n)).min();
            match nearest {
                Some(next) if next < at => at = next,
                _ => return at,
            }
        }
    }

    fn admits(&self, near: Near) -> bool {
        let row_passes = |row: &u32| self.filter.is_none_or(|f| f.get(*row as usize));
        self.params.bounds.admit(near.0) && self.index.rows_of(near.1).iter().any(row_passes)
    }

    /// Best-first walk; up to `ef` admitted nodes, in no order.
    fn lowest(&self, start: Near, visited: &mut Visited) -> BinaryHeap<Near> {
        let ef = self.params.ef.max(self.params.k).clamp(1, self.index.nodes());
        let mut open = BinaryHeap::from([Reverse(start)]);
        let mut found: BinaryHeap<Near> = BinaryHeap::with_capacity(ef + 1);
        visited.insert(start.1);
        if self.admits(start) {
            found.push(start);
        }
        let mut left = STRIDE;
        while let Some(Reverse(next)) = open.pop() {
            left -= 1;
            if left == 0 {
                left = STRIDE;
                if self.stop.load(AtomicOrdering::Relaxed) {
                    break;
                }
            }
            if found.len() >= ef && found.peek().is_some_and(|worst| next.0 > worst.0) {
                break;
            }
            let links = self.index.links0(next.1);
            links.iter().take(4).for_each(|n| self.prefetch(*n));
            for (i, node) in links.iter().enumerate() {
                if let Some(ahead) = links.get(i + 4) {
                    self.prefetch(*ahead);
                }
                if !visited.insert(*node) {
                    continue;
                }
                let near = Near(self.distance(*node), *node);
                let full = found.len() >= ef;
                if full && found.peek().is_some_and(|worst| near >= *worst) {
                    continue;
                }
                open.push(Reverse(near));
                if self.admits(near) {
                    found.push(near);
                    if found.len() > ef {
                        found.pop();
                    }
                }
            }
        }
        found
    }

    /// Nodes to rows: every admitted row of a node, nearest first, ties by row; also those as far as the `k`th.
    fn expand(&self, found: BinaryHeap<Near>) -> Vec<(f32, u32)> {
        let mut out = Vec::with_capacity(self.params.k.min(self.index.row_count()));
        for Near(distance, node) in found.into_sorted_vec() {
            let full = out.len() >= self.params.k;
            if full && out.last().is_some_and(|last: &(f32, u32)| last.0 < distance) {
                break;
            }
            let rows =
                self.index.rows_of(node).iter().filter(|r| self.filter.is_none_or(|f| f.get(**r as usize)));
            out.extend(rows.map(|row| (distance, *row)));
        }
        out.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        if let Some(last) = out.get(self.params.k.saturating_sub(1)).map(|(distance, _)| *distance) {
            out.truncate(out.partition_point(|(distance, _)| *distance <= last));
        }
        out
    }
}
