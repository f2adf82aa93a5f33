//! The write-ahead log: groups of records, checksummed, one group in flight at a time. The bytes are
//! described in FORMAT.md. What a record means is its owner's business.

mod error;
mod fence;
mod format;
mod head;
mod reader;
mod writer;

pub use error::{Error, Result};
pub use fence::{FENCE, is_fenced, is_fenced_by_others, is_set, make_fence, remove_fence, set_fence};
pub use head::{Head, Predecessor};
pub use reader::{Log, Scan, read_log};
pub use writer::{LogWriter, Options};

use bytes::Bytes;
use mishards_types::{Sequence, Timestamp};

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub sequence: Sequence,
    pub timestamp: Timestamp,
    pub payload: Bytes,
}

/// A place in a log: which file, and the first byte after the last valid group in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    pub file: u64,
    pub offset: u64,
}
