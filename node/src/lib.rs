//! The stateful server: answers sub-queries over segments and growing rows, and, as the writable node, owns the
//! log, the catalog and all background work.

mod admission;
mod cancel;
mod columns;
mod contact;
mod deletes;
mod describe;
mod directory;
mod error;
mod filter;
mod follower;
mod fresh_rows;
mod grpc;
mod hidden_rows;
mod lost_files;
mod metrics;
mod open;
mod options;
mod pools;
mod presence;
mod read;
mod role;
mod search_pool;
mod segment_cache;
mod service;
mod standby;
mod tombstones;
mod unit;
mod writer;

pub use error::{Failure, Kind, Result};
pub use follower::{DeleteSource, follow_deletes};
pub use metrics::Metrics;
pub use options::{IngestOptions, NodeOptions};
pub use pools::Pools;
pub use presence::Presence;
pub use service::{API_VERSION, Node, NodeParts};
pub use standby::LogSource;
pub use writer::{Others, OwnTerms, Writer, WriterParts, find_losses, rename_cluster, silent_lease};
