//! The metadata: what exists, in which version, and who may change it.
//!
//! A backend is one file; all of them pass the suite in `tests/conformance.rs`. A snapshot is plain data that
//! routers and nodes hold in memory; no SQL runs on the search path.

mod catalog;
mod command;
mod error;
mod faulty;
mod heartbeats;
mod invariants;
mod memory;
mod model;
mod mysql;
mod mysql_address;
mod snapshot;
mod sqlite;

pub use catalog::{Catalog, Commit, Lease, Loaded, Outcome, Takeover};
pub use command::{Command, plan_command};
pub use error::{Error, Kind, Result};
pub use faulty::{Fault, Faulty};
pub use heartbeats::{Heartbeat, Heartbeats};
pub use invariants::check_invariants;
pub use memory::Memory;
pub use model::{
    Alias, Collection, DEFAULT_DATABASE, DEFAULT_PARTITION, Database, DeltaFile, Entity, EntityKind, FileRef,
    IndexDef, IndexFile, LoadState, LogEntry, Origin, Partition, Segment,
};
pub use mysql::{MySql, MySqlOptions};
pub use mysql_address::check_mysql_url;
pub use snapshot::{Change, Row, Snapshot};
pub use sqlite::Sqlite;
