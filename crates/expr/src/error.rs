//! Why a filter was refused.

pub type Result<T> = std::result::Result<T, Error>;

/// A refused filter: what is wrong, and at which column (1-based, in characters).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at column {column})")]
pub struct Error {
    pub column: usize,
    pub message: String,
}

impl Error {
    pub(crate) fn at(column: usize, message: impl Into<String>) -> Error {
        Error { column, message: message.into() }
    }

    /// Whether the same text could be accepted later: never.
    pub fn is_retryable(&self) -> bool {
        false
    }
}
