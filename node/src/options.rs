//! What an operator can set of a node.

use std::time::Duration;

/// Settings of any node.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    pub name: String,
    pub cluster_id: String,
    /// Threads that search; 0 means one per core.
    pub search_threads: usize,
    /// How long a sub-query waits for a delete that it needs before the next candidate is tried.
    pub catch_up_wait: Duration,
    /// Sub-queries under way past which more are refused, to be answered by another node. Of those for published segments
    /// the writable node takes a quarter.
    pub max_subqueries: usize,
}

/// Settings of the writable node.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// A growing segment is sealed when it has this many rows, …
    pub seal_rows: usize,
    /// … or this many bytes, …
    pub seal_bytes: usize,
    /// … or is this old.
    pub seal_age: Duration,
    /// Growing rows and pending deletes together; past it writes are refused until there is room.
    pub growing_limit_bytes: usize,
    /// A delta file is written at this many pending deletes of a collection.
    pub delta_max_deletes: usize,
    /// Segments are merged as long as the result has at most this many rows.
    pub merge_max_rows: usize,
    /// Segments are merged as long as the result has at most this many bytes.
    pub merge_max_bytes: u64,
    /// How long what was removed stays readable.
    pub window: Duration,
    pub log_file_bytes: u64,
    /// Growing rows are written out when more of the log than this would have to be replayed.
    pub replay_limit_bytes: u64,
    pub lease_ttl: Duration,
    /// Threads that build indexes and merge, at low priority; 0 means one per core.
    pub background_threads: usize,
}

impl Default for IngestOptions {
    fn default() -> IngestOptions {
        IngestOptions {
            seal_rows: 1_000_000,
            seal_bytes: 512 << 20,
            seal_age: Duration::from_secs(600),
            growing_limit_bytes: 2 << 30,
            delta_max_deletes: 100_000,
            merge_max_rows: 4_000_000,
            merge_max_bytes: 1 << 30,
            window: Duration::from_secs(600),
            log_file_bytes: 256 << 20,
            replay_limit_bytes: 1 << 30,
            lease_ttl: Duration::from_secs(5),
            background_threads: 0,
        }
    }
}
