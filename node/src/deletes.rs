//! Deletes that are not in every delta file yet, in log order. The writer feeds it as it applies; other nodes feed
//! it from the writer's stream. What it holds may be newer than a request's T: tombstones carry their timestamp.

use mishards_segment::Delete;
use mishards_types::{CollectionId, Epoch, Sequence};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

#[derive(Default)]
struct Collection {
    /// By sequence; one record may delete many keys.
    records: BTreeMap<Sequence, Vec<Arc<Delete>>>,
    /// What is at or below it must come from delta files.
    floor: Sequence,
}

#[derive(Default)]
struct State {
    collections: HashMap<CollectionId, Collection>,
    applied: Sequence,
    epoch: Epoch,
    entries: usize,
}

/// See the file's head.
pub struct Deletes {
    state: Mutex<State>,
    applied: watch::Sender<Sequence>,
}

impl Default for Deletes {
    fn default() -> Deletes {
        Deletes { state: Mutex::default(), applied: watch::Sender::new(Sequence(0)) }
    }
}

impl Deletes {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets everything: a log is replayed anew.
    pub fn reset(&self, epoch: Epoch) {
        *self.lock() = State { epoch, ..State::default() };
        self.applied.send_replace(Sequence(0));
    }

    /// Takes the place of what was held, in one step: readers see the old stream or the new one, never half of it.
    pub fn replace_with(&self, other: Deletes) {
        let new = other.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let applied = new.applied;
        *self.lock() = new;
        self.applied.send_replace(applied);
    }

    pub fn epoch(&self) -> Epoch {
        self.lock().epoch
    }

    /// Everything up to it has been applied.
    pub fn applied(&self) -> Sequence {
        self.lock().applied
    }

    /// Number of keys held.
    pub fn entries(&self) -> usize {
        self.lock().entries
    }

    /// Adds deletes, in log order.
    pub fn add(&self, collection: CollectionId, deletes: Vec<Arc<Delete>>) {
        let mut state = self.lock();
        state.entries += deletes.len();
        let records = &mut state.collections.entry(collection).or_default().records;
        for delete in deletes {
            records.entry(delete.sequence).or_default().push(delete);
        }
    }

    /// Says that every record up to `through` has been applied.
    pub fn advance(&self, through: Sequence) {
        let mut state = self.lock();
        state.applied = state.applied.max(through);
        let applied = state.applied;
        drop(state);
        self.applied.send_replace(applied);
    }

    /// Drops what is at or below `floor`, which delta files hold for everybody.
    pub fn raise_floor(&self, collection: CollectionId, floor: Sequence) {
        let mut state = self.lock();
        let entry = state.collections.entry(collection).or_default();
        if floor <= entry.floor {
            return;
        }
        entry.floor = floor;
        let kept = entry.records.split_off(&Sequence(floor.0.saturating_add(1)));
        let dropped: usize = std::mem::replace(&mut entry.records, kept).values().map(Vec::len).sum();
        state.entries -= dropped;
    }

    /// Forgets a collection that was dropped.
    pub fn forget(&self, collection: CollectionId) {
        let mut state = self.lock();
        if let Some(gone) = state.collections.remove(&collection) {
            state.entries -= gone.records.values().map(Vec::len).sum::<usize>();
        }
    }

    /// Waits until everything up to `sequence` has been applied; false if it takes longer than `patience`.
    pub async fn wait_for(&self, sequence: Sequence, patience: Duration) -> bool {
        let mut applied = self.applied.subscribe();
        tokio::time::timeout(patience, applied.wait_for(|a| *a >= sequence)).await.is_ok_and(|r| r.is_ok())
    }

    /// The deletes of a collection above `after`, and the sequence up to which they are complete; `None` when some
    /// of them have been dropped already.
    pub fn since(&self, collection: CollectionId, after: Sequence) -> Option<(Vec<Arc<Delete>>, Sequence)> {
        let state = self.lock();
        let Some(entry) = state.collections.get(&collection) else {
            return Some((Vec::new(), state.applied));
        };
        if entry.floor > after {
            return None;
        }
        let newer = entry.records.range(Sequence(after.0 + 1)..);
        Some((newer.flat_map(|(_, d)| d.iter().cloned()).collect(), state.applied))
    }

    /// Number of deletes of a collection above `after`, and the first of their sequences.
    pub fn pending(&self, collection: CollectionId, after: Sequence) -> (usize, Option<Sequence>) {
        let state = self.lock();
        let Some(entry) = state.collections.get(&collection) else { return (0, None) };
        let mut newer = entry.records.range(Sequence(after.0 + 1)..).peekable();
        let first = newer.peek().map(|(s, _)| **s);
        (newer.map(|(_, d)| d.len()).sum(), first)
    }

    /// Collections that are held, each with its floor.
    pub fn floors(&self) -> Vec<(CollectionId, Sequence)> {
        self.lock().collections.iter().map(|(id, c)| (*id, c.floor)).collect()
    }
}
