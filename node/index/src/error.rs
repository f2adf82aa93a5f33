//! What can go wrong with an index.

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not a valid index file.
    #[error("index file is not valid: {0}")]
    Invalid(String),
    #[error("index file has format {found}, this version reads up to {known}: use a newer mishards")]
    NewerFormat { found: u32, known: u32 },
    /// The graph builder failed.
    #[error("building the index failed: {0}")]
    Build(String),
}

impl Error {
    /// Whether the same call may succeed later: never.
    pub fn is_retryable(&self) -> bool {
        false
    }
}
