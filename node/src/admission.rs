//! How many sub-queries are let in at once: past that, another node is faster than waiting here.

use crate::{Failure, Metrics, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Cheap to clone.
#[derive(Clone)]
pub struct Admission {
    inside: Arc<AtomicUsize>,
    limit: usize,
    metrics: Metrics,
}

impl Admission {
    pub fn new(limit: usize, metrics: Metrics) -> Admission {
        Admission { inside: Arc::default(), limit, metrics }
    }

    /// Lets a sub-query in, or says that this node has too much to do. `share` of the room is for this kind of it, at
    /// least one. `cost` is how many small ones it is worth; one that is worth more than all the room has it alone.
    pub fn enter(&self, name: &str, share: Share, cost: usize) -> Result<Inside> {
        let limit = match share {
            Share::All => self.limit,
            Share::Quarter => (self.limit / 4).max(1),
        };
        let cost = cost.clamp(1, limit);
        let before = self.inside.fetch_add(cost, Ordering::Relaxed);
        let inside = Inside(Arc::clone(&self.inside), cost);
        if before + cost > limit {
            self.metrics.busy_total.inc();
            return Err(Failure::busy(format!(
                "node {name} has {before} sub-queries under way (large ones count as several), its limit for this kind is \
                 {limit}, and this one counts as {cost}"
            )));
        }
        Ok(inside)
    }
}

/// How much of a node a kind of sub-query may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    All,
    /// Published segments on the writable node, which others can read: it has the writes to do.
    Quarter,
}

/// A sub-query that was let in, until it is dropped.
pub struct Inside(Arc<AtomicUsize>, usize);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::Kind;

    #[test]
    fn past_the_limit_sub_queries_are_refused_until_one_ends() {
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let admission = Admission::new(8, metrics.clone());
        let mut inside: Vec<Inside> =
            (0..2).map(|_| admission.enter("n", Share::Quarter, 1).unwrap()).collect();
        assert_eq!(admission.enter("n", Share::Quarter, 1).err().unwrap().kind, Kind::Busy);
        inside.extend((0..6).map(|_| admission.enter("n", Share::All, 1).unwrap()));
        let refused = admission.enter("n", Share::All, 1).err().unwrap();
        assert!(refused.error.message.contains("8 sub-queries"), "{refused}");
        assert_eq!(metrics.busy_total.get(), 2);
        inside.pop();
        assert!(admission.enter("n", Share::All, 2).is_err(), "there is room for one");
        admission.enter("n", Share::All, 1).unwrap();
        inside.clear();
        let large = admission.enter("n", Share::All, 1000).unwrap();
        assert!(admission.enter("n", Share::All, 1).is_err(), "it has all the room");
        drop(large);
        admission.enter("n", Share::All, 1).unwrap();
    }
}
