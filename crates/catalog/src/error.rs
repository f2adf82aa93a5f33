//! What can go wrong between us and the metadata.

use std::fmt;

pub type Result<T> = std::result::Result<T, Error>;

/// What a caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The lease is held by somebody else now: this writer's term is over.
    Fenced,
    /// The database did not answer; nothing was changed.
    Unavailable,
    /// The commit was sent and its outcome is not known: re-read it by its id before anything else.
    UnknownOutcome,
    /// The change would break an invariant; nothing was changed.
    Refused,
    /// The database holds something that cannot be read.
    Corrupt,
    /// Made by a newer version.
    NewerFormat,
}

/// A failed call on the catalog.
#[derive(Debug)]
pub struct Error {
    pub kind: Kind,
    pub message: String,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into() }
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.kind == Kind::Unavailable
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "catalog: {}", self.message)
    }
}

impl std::error::Error for Error {}
