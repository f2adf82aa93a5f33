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
    /// The smallest distance that was left out.
    left_out: f32,
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
        TopK { k, heap: BinaryHeap::with_capacity(k.min(4096) + 1), left_out: f32::INFINITY }
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
        } else if let Some(mut worst) = self.heap.peek_mut() {
            let entry = Entry(distance, id);
            let out = if entry < *worst { std::mem::replace(&mut *worst, entry).0 } else { distance };
            self.left_out = self.left_out.min(out);
        }
    }

    /// Whether something as far as the last pair kept was left out.
    pub fn is_tied(&self) -> bool {
        self.heap.len() == self.k && self.heap.peek().is_some_and(|last| last.0 == self.left_out)
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
    fn says_when_an_equal_was_left_out() {
        let tied = |k: usize, distances: &[f32]| {
            let mut top = TopK::new(k);
            distances.iter().zip(0..).for_each(|(d, id)| top.push(*d, id));
            top.is_tied()
        };
        assert!(
            tied(2, &[1.0, 1.0, 1.0]) && tied(2, &[3.0, 1.0, 2.0, 2.0]) && tied(2, &[2.0, 3.0, 2.0, 1.0])
        );
        assert!(
            !tied(3, &[1.0, 1.0, 1.0]) && !tied(2, &[3.0, 1.0, 2.0, 4.0]) && !tied(2, &[3.0, 3.0, 2.0, 1.0])
        );
        assert!(tied(1, &[f32::INFINITY, f32::INFINITY]));
    }

    #[test]
    fn zero_k_keeps_nothing() {
        let mut top = TopK::new(0);
        top.push(1.0, 1);
        assert!(top.is_empty());
    }
}
