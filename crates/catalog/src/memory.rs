//! A catalog in memory, for tests and simulations.

use crate::catalog::*;
use crate::heartbeats::*;
use crate::model::*;
use crate::snapshot::{Change, Row, Snapshot};
use crate::{Error, Kind, Result};
use async_trait::async_trait;
use mishards_types::{Epoch, Incarnation};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Default, Clone)]
struct State {
    cluster_id: Option<String>,
    lease: Lease,
    rows: Vec<Row>,
    beats: std::collections::BTreeMap<String, Heartbeat>,
}

/// See [`Catalog`]. Clones share the state.
#[derive(Default, Clone)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

impl Memory {
    pub fn new() -> Memory {
        Memory::default()
    }

    /// A copy as it is now, which shares nothing.
    pub fn backup(&self) -> Memory {
        Memory { state: Arc::new(Mutex::new(self.lock().clone())) }
    }

    /// Goes back to a backup, as a database does that is restored or fails over without its last commits.
    pub fn restore(&self, backup: &Memory) {
        let state = backup.lock().clone();
        *self.lock() = state;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn retire(rows: &mut Vec<Row>, kind: EntityKind, key: &str, at: u64) {
    let live = |row: &Row| row.removed_at.is_none() && row.entity.kind() == kind && row.entity.key() == key;
    let Some(i) = rows.iter().position(live) else {
        return;
    };
    // A version that this transaction itself has added was never visible.
    if rows[i].added_at == at {
        rows.remove(i);
    } else {
        rows[i].removed_at = Some(at);
    }
}

fn apply(rows: &mut Vec<Row>, changes: &[Change], at: u64) {
    for change in changes {
        match change {
            Change::Put(entity) => {
                retire(rows, entity.kind(), &entity.key(), at);
                rows.push(Row { added_at: at, removed_at: None, entity: entity.clone() });
            }
            Change::Remove(kind, key) => retire(rows, *kind, key, at),
        }
    }
}

fn fenced(lease: &Lease) -> Error {
    Error::new(
        Kind::Fenced,
        format!(
            "the lease is held by epoch {} incarnation {} at {}",
            lease.epoch, lease.incarnation, lease.version
        ),
    )
}

#[async_trait]
impl Catalog for Memory {
    async fn migrate(&self, cluster_id: &str) -> Result<()> {
        let mut state = self.lock();
        if state.cluster_id.is_none() {
            state.cluster_id = Some(cluster_id.to_owned());
            let database = crate::catalog::default_database();
            state.rows.push(Row { added_at: 0, removed_at: None, entity: database });
        }
        Ok(())
    }

    async fn rename(&self, cluster_id: &str) -> Result<()> {
        self.lock().cluster_id = Some(cluster_id.to_owned());
        Ok(())
    }

    async fn load(&self) -> Result<Option<Loaded>> {
        let state = self.lock();
        let Some(cluster_id) = state.cluster_id.clone() else {
            return Ok(None);
        };
        let snapshot = Snapshot::from_rows(state.lease.version, state.lease.epoch, state.rows.clone());
        Ok(Some(Loaded { cluster_id, lease: state.lease, snapshot }))
    }

    async fn lease(&self) -> Result<Lease> {
        Ok(self.lock().lease)
    }

    async fn take_over(&self, takeover: &Takeover) -> Result<Lease> {
        let mut state = self.lock();
        if state.lease != takeover.seen {
            return Err(fenced(&state.lease));
        }
        let lease = takeover.next_lease();
        apply(&mut state.rows, &takeover.all_changes(), lease.version.commit_seq);
        state.lease = lease;
        Ok(lease)
    }

    async fn renew(&self, epoch: Epoch, incarnation: Incarnation) -> Result<Lease> {
        let mut state = self.lock();
        if (state.lease.epoch, state.lease.incarnation) != (epoch, incarnation) {
            return Err(fenced(&state.lease));
        }
        state.lease.counter += 1;
        Ok(state.lease)
    }

    async fn commit(&self, commit: &Commit) -> Result<()> {
        let mut state = self.lock();
        let held = state.lease;
        if (held.epoch, held.incarnation, held.version) != (commit.epoch, commit.incarnation, commit.base) {
            return Err(fenced(&held));
        }
        apply(&mut state.rows, &commit.changes, commit.next.commit_seq);
        state.lease.version = commit.next;
        Ok(())
    }

    async fn outcome(&self, commit: &Commit) -> Result<Outcome> {
        Ok(commit.outcome_under(&self.lock().lease))
    }

    async fn purge(&self, removed_through: u64) -> Result<()> {
        self.lock().rows.retain(|row| row.removed_at.is_none_or(|at| at > removed_through));
        Ok(())
    }
}

#[async_trait]
impl Heartbeats for Memory {
    async fn beat(&self, name: &str, address: &str) -> Result<u64> {
        let mut state = self.lock();
        let beat = state.beats.get(name).map_or(1, |b| b.beat + 1);
        let row = Heartbeat { name: name.to_owned(), address: address.to_owned(), beat };
        state.beats.insert(name.to_owned(), row);
        Ok(beat)
    }

    async fn heartbeats(&self) -> Result<Vec<Heartbeat>> {
        Ok(self.lock().beats.values().cloned().collect())
    }

    async fn stop(&self, name: &str) -> Result<()> {
        self.lock().beats.remove(name);
        Ok(())
    }

    async fn clear(&self) -> Result<()> {
        self.lock().beats.clear();
        Ok(())
    }
}

impl Commit {
    /// What the lease row says of this commit.
    pub(crate) fn outcome_under(&self, lease: &Lease) -> Outcome {
        let mine = (lease.epoch, lease.incarnation) == (self.epoch, self.incarnation);
        match lease.version {
            v if v == self.next => Outcome::Committed,
            v if v == self.base && mine => Outcome::Absent,
            _ => Outcome::Fenced,
        }
    }
}

impl Takeover {
    pub(crate) fn next_lease(&self) -> Lease {
        Lease {
            epoch: self.log.epoch,
            incarnation: self.log.incarnation,
            counter: self.seen.counter + 1,
            version: self.next,
        }
    }

    pub(crate) fn all_changes(&self) -> Vec<Change> {
        let log = LogEntry { epoch: self.log.epoch, incarnation: self.log.incarnation, begun: false };
        self.changes.iter().cloned().chain([Change::Put(Entity::Log(log))]).collect()
    }
}
