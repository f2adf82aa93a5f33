//! Who says that it is there: one row a node, in the metadata database. Not part of V, and of no commit.

use crate::Result;
use async_trait::async_trait;

/// A node's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    pub name: String,
    /// host:port of its API.
    pub address: String,
    /// Grows while the node lives. A watcher compares it by its own clock.
    pub beat: u64,
}

/// The table of nodes. It is made by [`crate::Catalog::migrate`].
#[async_trait]
pub trait Heartbeats: Send + Sync + 'static {
    /// Adds a row, or moves its beat on. The answer is the beat that the row has now.
    async fn beat(&self, name: &str, address: &str) -> Result<u64>;

    /// All rows, by name; none where there are no tables yet.
    async fn heartbeats(&self) -> Result<Vec<Heartbeat>>;

    /// Removes a row.
    async fn stop(&self, name: &str) -> Result<()>;

    /// Removes all rows: nobody of a copied table is there.
    async fn clear(&self) -> Result<()>;
}
