//! Pooled sets of visited nodes: clearing one is adding one to its round.

use std::sync::{Mutex, PoisonError};

/// A set of node numbers.
pub struct Visited {
    rounds: Vec<u32>,
    round: u32,
}

impl Visited {
    fn reset(&mut self, nodes: usize) {
        if self.rounds.len() < nodes {
            self.rounds.resize(nodes, 0);
        }
        self.round = match self.round.checked_add(1) {
            Some(round) => round,
            None => {
                self.rounds.fill(0);
                1
            }
        };
    }

    /// Adds a node; true if it was not in.
    #[inline]
    pub fn insert(&mut self, node: u32) -> bool {
        let slot = &mut self.rounds[node as usize];
        let new = *slot != self.round;
        *slot = self.round;
        new
    }
}

static POOL: Mutex<Vec<Visited>> = Mutex::new(Vec::new());
const POOLED: usize = 64;

/// Runs `work` with an empty set for `nodes` nodes.
pub fn with_visited<T>(nodes: usize, work: impl FnOnce(&mut Visited) -> T) -> T {
    let pooled = POOL.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut visited = pooled.unwrap_or(Visited { rounds: Vec::new(), round: 0 });
    visited.reset(nodes);
    let out = work(&mut visited);
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if pool.len() < POOLED {
        pool.push(visited);
    }
    out
}
