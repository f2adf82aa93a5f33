//! Ordered hits: the one order in which results stand everywhere, and a bounded collector for it.

use crate::{Key, Metric};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A hit's place in the order: nearest first, then the smaller key.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    pub key: Key,
    pub score: f32,
}

impl Hit {
    /// Orders two hits from first to last under `metric`.
    pub fn compare(&self, other: &Hit, metric: Metric) -> Ordering {
        metric.compare(self.score, other.score).then_with(|| self.key.cmp(&other.key))
    }
}

/// Keeps the `k` smallest (distance, id) pairs seen. Distances: smaller is nearer (see [`Metric::distance`]).
#[derive(Debug)]
pub struct TopK {
    k: usize,
    heap: BinaryHeap<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Entry(f32, u32);

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

impl TopK {
    pub fn new(k: usize) -> TopK {
        TopK { k, heap: BinaryHeap::with_capacity(k.min(4096) + 1) }
    }

    /// The largest distance that would still enter; infinite while there is room.
    #[inline]
    pub fn bound(&self) -> f32 {
        if self.heap.len() < self.k {
            f32::INFINITY
        } else {
            self.heap.peek().map_or(f32::NEG_INFINITY, |e| e.0)
        }
    }

    #[inline]
    pub fn push(&mut self, distance: f32, id: u32) {
        if self.heap.len() < self.k {
            self.heap.push(Entry(distance, id));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && Entry(distance, id) < *worst
        {
            *worst = Entry(distance, id);
        }
    }

    pub fn len(&self) -> usize {
        self.heap.len()
    }

    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// The kept pairs, nearest first, ties by id.
    pub fn into_sorted(self) -> Vec<(f32, u32)> {
        self.heap.into_sorted_vec().into_iter().map(|e| (e.0, e.1)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_nearest_with_ties_by_id() {
        let mut top = TopK::new(3);
        for (d, id) in [(2.0, 1), (1.0, 9), (1.0, 4), (3.0, 0), (1.0, 7)] {
            top.push(d, id);
        }
        assert_eq!(top.into_sorted(), vec![(1.0, 4), (1.0, 7), (1.0, 9)]);
    }

    #[test]
    fn zero_k_keeps_nothing() {
        let mut top = TopK::new(0);
        top.push(1.0, 1);
        assert!(top.is_empty());
    }
}
