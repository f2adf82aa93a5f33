//! What can go wrong with the bytes of a segment.

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes differ from those that were written: never served, the file is to be quarantined.
    #[error("{file} is corrupt: {what}")]
    Corrupt { file: String, what: String },
    #[error("{file} has format {found}, this version reads up to {known}: use a newer mishards")]
    NewerFormat { file: String, found: u32, known: u32 },
    /// The columns do not fit the schema: a fault of the caller.
    #[error("columns do not fit: {0}")]
    Mismatch(String),
}

impl Error {
    pub(crate) fn corrupt(file: &str, what: impl std::fmt::Display) -> Error {
        Error::Corrupt { file: file.to_owned(), what: what.to_string() }
    }

    /// Whether the same call may succeed later: with another copy of the bytes, a corrupt file may.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Error::Corrupt { .. })
    }
}
