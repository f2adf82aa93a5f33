//! What can go wrong between us and a source of membership.

pub type Result<T> = std::result::Result<T, Error>;

/// A source that cannot be used as it is set up, or did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("discovery ({plugin}): {what}")]
pub struct Error {
    pub plugin: &'static str,
    pub what: String,
}

impl Error {
    pub fn new(plugin: &'static str, what: impl std::fmt::Display) -> Error {
        Error { plugin, what: what.to_string() }
    }
}
