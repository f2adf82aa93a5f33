//! Identifiers. Each is its own type, so that one is never passed for another.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(/// A database.
    DatabaseId, i64);
id!(/// A collection.
    CollectionId, i64);
id!(/// A partition.
    PartitionId, i64);
id!(/// A segment: immutable files of rows of one partition.
    SegmentId, i64);
id!(/// A field of a schema; user fields start at 100.
    FieldId, i64);
id!(/// An index definition on a field.
    IndexId, i64);
id!(/// One term of a writer. Grows by at least one with each takeover.
    Epoch, u64);
id!(/// Position of a record in the log; grows by one with each record, across log files and epochs.
    Sequence, u64);

impl Sequence {
    /// The one after it.
    pub fn next(self) -> Sequence {
        Sequence(self.0.saturating_add(1))
    }
}

/// One start of one process, drawn at random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The log of one writer: its directory is `log/<epoch>-<incarnation>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct LogId {
    pub epoch: Epoch,
    pub incarnation: Incarnation,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}-{}", self.epoch.0, self.incarnation)
    }
}

impl LogId {
    /// Reads the name of a log's directory.
    pub fn parse(name: &str) -> Option<LogId> {
        let (epoch, incarnation) = name.split_once('-')?;
        let id = LogId {
            epoch: Epoch(epoch.parse().ok()?),
            incarnation: Incarnation(u64::from_str_radix(incarnation, 16).ok()?),
        };
        (id.to_string() == name).then_some(id)
    }
}

/// V, the one version of all metadata. Two histories that part ways have different `commit_id`s at the
/// same `commit_seq`, so both are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Version {
    pub commit_seq: u64,
    pub commit_id: u64,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:016x}", self.commit_seq, self.commit_id)
    }
}
