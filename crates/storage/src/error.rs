//! What can go wrong with a file.

use std::io;

pub type Result<T> = std::result::Result<T, Error>;

/// What a caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No file of this name.
    NotFound,
    /// A file of this name is there already: names are never used twice.
    Exists,
    /// The name leaves the directory, or is empty.
    BadName,
    /// Another process holds the directory.
    Locked,
    /// There is no room left, on the disk or for this user.
    Full,
    /// The device or the network said no.
    Io,
}

/// A failed file operation, with the file it was about.
#[derive(Debug, thiserror::Error)]
#[error("{op} {path}: {source}")]
pub struct Error {
    pub kind: Kind,
    pub op: &'static str,
    pub path: String,
    #[source]
    pub source: io::Error,
}

impl Error {
    pub(crate) fn io(op: &'static str, path: &str, source: io::Error) -> Error {
        let kind = match source.kind() {
            io::ErrorKind::NotFound => Kind::NotFound,
            io::ErrorKind::AlreadyExists => Kind::Exists,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Full,
            _ => Kind::Io,
        };
        Error { kind, op, path: path.to_owned(), source }
    }

    pub(crate) fn of(kind: Kind, op: &'static str, path: &str, text: &str) -> Error {
        Error { kind, op, path: path.to_owned(), source: io::Error::other(text.to_owned()) }
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, Kind::Io | Kind::Full)
    }
}
