//! The contract of a metadata backend.

use crate::{Change, Result, Snapshot};
use async_trait::async_trait;
use mishards_types::{Epoch, Incarnation, LogId, Version};

/// The lease row: who the writer is. An election, not the safety; the safety is the fence of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lease {
    pub epoch: Epoch,
    pub incarnation: Incarnation,
    /// Grows with each renewal, so that a taker can see that nobody renews.
    pub counter: u64,
    pub version: Version,
}

/// A transaction of the writer. It commits only if the lease row still shows this epoch, incarnation and
/// `base`, and then moves V to `next`: an old writer's transaction cannot commit, and none can commit twice.
#[derive(Debug, Clone)]
pub struct Commit {
    pub epoch: Epoch,
    pub incarnation: Incarnation,
    pub base: Version,
    pub next: Version,
    pub changes: Vec<Change>,
}

/// A takeover: the lease must still be `seen`, exactly. Its transaction registers the new log, so that a
/// successor finds it whatever happens next.
#[derive(Debug, Clone)]
pub struct Takeover {
    pub seen: Lease,
    pub log: LogId,
    /// V after it: above the V of `seen`, and above every V that a catalog which lost commits had given out.
    pub next: Version,
    /// What a catalog that lost commits lacks.
    pub changes: Vec<Change>,
}

impl Takeover {
    /// Of a catalog that lacks nothing.
    pub fn new(seen: Lease, log: LogId, commit_id: u64) -> Takeover {
        let next = Version { commit_seq: seen.version.commit_seq + 1, commit_id };
        Takeover { seen, log, next, changes: Vec::new() }
    }
}

/// What became of a commit whose outcome was unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in.
    Committed,
    /// It is not in, and the lease is unchanged: it may be sent again, with the same id.
    Absent,
    /// Somebody else has committed or taken over.
    Fenced,
}

/// Everything that the catalog holds.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub cluster_id: String,
    pub lease: Lease,
    pub snapshot: Snapshot,
}

/// The metadata database. The writable node is its only producer.
///
/// A call that changes something has either happened whole or not at all when it returns; `UnknownOutcome` is
/// the one exception, settled by [`Catalog::outcome`].
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// Makes or upgrades the tables, and names the cluster if it has no name. Called by a writable node alone.
    async fn migrate(&self, cluster_id: &str) -> Result<()>;

    /// Gives the cluster another name: a copy becomes a cluster of its own. Nobody may hold the lease.
    async fn rename(&self, cluster_id: &str) -> Result<()>;

    /// Reads everything in one consistent view. `None` before the first [`Catalog::migrate`].
    async fn load(&self) -> Result<Option<Loaded>>;

    /// Reads the lease row.
    async fn lease(&self) -> Result<Lease>;

    /// Takes the lease; `Fenced` if it is no longer as it was seen.
    async fn take_over(&self, takeover: &Takeover) -> Result<Lease>;

    /// Renews the lease; `Fenced` if it is held by somebody else. Returns it as it is then: a version below the
    /// holder's own says that the database went back in time.
    async fn renew(&self, epoch: Epoch, incarnation: Incarnation) -> Result<Lease>;

    /// Commits a transaction.
    async fn commit(&self, commit: &Commit) -> Result<()>;

    /// Settles a commit whose outcome is unknown, reading the lease row for update on the primary.
    async fn outcome(&self, commit: &Commit) -> Result<Outcome>;

    /// Forgets rows that were removed at or before this commit.
    async fn purge(&self, removed_through: u64) -> Result<()>;
}

/// The database that every new catalog has.
pub(crate) fn default_database() -> crate::Entity {
    crate::Entity::Database(crate::Database {
        id: mishards_types::DatabaseId(1),
        name: crate::DEFAULT_DATABASE.to_owned(),
        properties: std::collections::BTreeMap::new(),
        created_at: mishards_types::Timestamp::ZERO,
    })
}
