//! Why a node did not answer, and how that travels: a gRPC status whose details carry the kind.

use mishards_proto::node as wire;
use mishards_types::{Code, Error as UserError};
use prost::Message;

pub type Result<T> = std::result::Result<T, Failure>;

/// What the caller may do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Refused,
    NotCaughtUp,
    SnapshotTooOld,
    NotWriter,
    UnknownOutcome,
    SchemaChanged,
    Unreadable,
    Busy,
}

/// A call that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    pub kind: Kind,
    pub error: UserError,
    /// A file that is not there: removed since the read was planned, or lost.
    pub missing_file: Option<String>,
}

impl Failure {
    pub fn new(kind: Kind, error: UserError) -> Failure {
        Failure { kind, error, missing_file: None }
    }

    pub fn not_caught_up(what: impl std::fmt::Display) -> Failure {
        Failure::new(Kind::NotCaughtUp, UserError::unavailable(format!("not caught up: {what}")))
    }

    pub fn too_old(what: impl std::fmt::Display) -> Failure {
        Failure::new(Kind::SnapshotTooOld, UserError::unavailable(format!("snapshot too old: {what}")))
    }

    pub fn file_missing(file: &str, what: impl std::fmt::Display) -> Failure {
        Failure { missing_file: Some(file.to_owned()), ..Failure::too_old(what) }
    }

    pub fn not_writer(what: impl std::fmt::Display) -> Failure {
        Failure::new(Kind::NotWriter, UserError::unavailable(format!("not the writer: {what}")))
    }

    pub fn unknown_outcome(what: impl std::fmt::Display) -> Failure {
        let text = format!("the write may or may not have been stored: {what}");
        Failure::new(Kind::UnknownOutcome, UserError::new(Code::UNEXPECTED, text))
    }

    pub fn unreadable(what: impl std::fmt::Display) -> Failure {
        Failure::new(
            Kind::Unreadable,
            UserError::new(Code::INTEGRITY, format!("{what}: data integrity check failed")),
        )
    }

    pub fn busy(what: impl std::fmt::Display) -> Failure {
        Failure::new(Kind::Busy, UserError::rate_limit(what))
    }

    pub fn internal(what: impl std::fmt::Display) -> Failure {
        Failure::new(Kind::Refused, UserError::internal(what))
    }

    /// Whether the same request may succeed at another node or a moment later.
    pub fn is_retryable(&self) -> bool {
        !matches!(self.kind, Kind::Refused | Kind::UnknownOutcome)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Failure {}

impl From<UserError> for Failure {
    fn from(error: UserError) -> Failure {
        Failure::new(Kind::Refused, error)
    }
}

impl From<mishards_segment::Error> for Failure {
    fn from(e: mishards_segment::Error) -> Failure {
        match e {
            mishards_segment::Error::Mismatch(what) => Failure::internal(what),
            damaged => Failure::unreadable(damaged),
        }
    }
}

impl From<mishards_index::Error> for Failure {
    fn from(e: mishards_index::Error) -> Failure {
        match e {
            mishards_index::Error::Build(what) => Failure::internal(what),
            damaged => Failure::unreadable(damaged),
        }
    }
}

impl From<mishards_storage::Error> for Failure {
    fn from(e: mishards_storage::Error) -> Failure {
        match e.kind {
            mishards_storage::Kind::NotFound => {
                Failure::file_missing(&e.path, format!("{e}: the file is not there"))
            }
            // The bytes were not seen: they may be fine, and another node or try may get them.
            _ => Failure::new(Kind::Unreadable, UserError::new(Code::IO, format!("{e}: IO failed"))),
        }
    }
}

impl From<mishards_catalog::Error> for Failure {
    fn from(e: mishards_catalog::Error) -> Failure {
        match e.kind {
            mishards_catalog::Kind::Fenced => Failure::not_writer(e),
            mishards_catalog::Kind::UnknownOutcome => Failure::unknown_outcome(e),
            mishards_catalog::Kind::Corrupt | mishards_catalog::Kind::NewerFormat => Failure::internal(e),
            _ => Failure::new(Kind::Refused, UserError::unavailable(e)),
        }
    }
}

impl From<Failure> for tonic::Status {
    fn from(failure: Failure) -> tonic::Status {
        use wire::failure::Kind as W;
        let (code, kind) = match failure.kind {
            Kind::Refused => (tonic::Code::FailedPrecondition, W::Refused),
            Kind::NotCaughtUp => (tonic::Code::Unavailable, W::NotCaughtUp),
            Kind::SnapshotTooOld => (tonic::Code::OutOfRange, W::SnapshotTooOld),
            Kind::NotWriter => (tonic::Code::Unavailable, W::NotWriter),
            Kind::UnknownOutcome => (tonic::Code::Unknown, W::UnknownOutcome),
            Kind::SchemaChanged => (tonic::Code::Aborted, W::SchemaChanged),
            Kind::Unreadable => (tonic::Code::DataLoss, W::Unreadable),
            Kind::Busy => (tonic::Code::ResourceExhausted, W::Busy),
        };
        let details = wire::Failure {
            kind: kind.into(),
            code: failure.error.code.0,
            message: failure.error.message.clone(),
            missing_file: failure.missing_file.unwrap_or_default(),
        };
        tonic::Status::with_details(code, failure.error.message, details.encode_to_vec().into())
    }
}
