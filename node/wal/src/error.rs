//! What can go wrong with a log.

use crate::Position;
use mishards_types::LogId;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A successor has taken over: nothing more may be acknowledged from this log.
    #[error("log {log} is fenced: another writer has taken over")]
    Fenced { log: LogId },
    /// Damage before a group that is proven durable: acknowledged records are unreadable.
    #[error(
        "log {log} is corrupt in file {} at byte {}: {what}; a later valid group proves that these records were \
         acknowledged. The files are left as they are: restore them from a copy",
        at.file, at.offset
    )]
    Corrupt { log: LogId, at: Position, what: &'static str },
    /// A file of the log is missing although a later one is named.
    #[error("log {log} lacks file {file}, which an earlier group names")]
    MissingFile { log: LogId, file: u64 },
    /// Written by a newer version.
    #[error("log {log} has format {found}, this version reads up to {known}: use a newer mishards")]
    NewerFormat { log: LogId, found: u32, known: u32 },
    /// A write or sync failed before: what is on disk is unknown, so this log is dead.
    #[error("log {log} had a failed write and takes no more records")]
    Dead { log: LogId },
    /// There is no room for the group: nothing of it is in the log, which goes on when there is room again.
    #[error("log {log} has no room for a group: {source}")]
    Full { log: LogId, source: mishards_storage::Error },
    #[error("a record of {bytes} bytes exceeds the limit of {limit} bytes for one log group")]
    TooLarge { bytes: usize, limit: usize },
    #[error(transparent)]
    Storage(#[from] mishards_storage::Error),
}

impl Error {
    /// Whether the same call may succeed later. A dead or fenced log never comes back.
    pub fn is_retryable(&self) -> bool {
        false
    }
}
