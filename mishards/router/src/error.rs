//! Why a node did not answer, read back from a gRPC status, and what a client is told.

use mishards_proto::common;
use mishards_proto::node as wire;
use mishards_types::{Code, Error};
use prost::Message;
use std::collections::BTreeMap;

/// What the router may do about a failed call on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No connection could be made, so nothing was sent: the next candidate.
    Unreached,
    /// The node did not answer in time, or the way to it failed: the next candidate.
    Transport,
    /// The connection broke while the node had the request: the next candidate, once.
    Broken,
    Refused,
    NotCaughtUp,
    SnapshotTooOld,
    NotWriter,
    UnknownOutcome,
    SchemaChanged,
    Unreadable,
    /// The node has too much to do: the next candidate.
    Busy,
}

/// A failed call on a node.
#[derive(Debug, Clone)]
pub struct Failure {
    pub kind: Kind,
    pub error: Error,
    /// With "snapshot too old", the file that a node did not find.
    pub missing_file: Option<String>,
}

impl Failure {
    pub fn new(kind: Kind, error: Error) -> Failure {
        Failure { kind, error, missing_file: None }
    }

    /// Reads a status that a node, or the way to it, gave.
    pub fn from_status(node: &str, status: &tonic::Status) -> Failure {
        let known = wire::Failure::decode(status.details()).ok().filter(|f| f.code != 0);
        let Some(known) = known else {
            let text = format!("node {node}: {:?}: {}", status.code(), status.message());
            return Failure::new(transport_kind(status), Error::unavailable(text));
        };
        use wire::failure::Kind as W;
        let kind = match known.kind() {
            W::Refused => Kind::Refused,
            W::NotCaughtUp => Kind::NotCaughtUp,
            W::SnapshotTooOld => Kind::SnapshotTooOld,
            W::NotWriter => Kind::NotWriter,
            W::UnknownOutcome => Kind::UnknownOutcome,
            W::SchemaChanged => Kind::SchemaChanged,
            W::Unreadable => Kind::Unreadable,
            W::Busy => Kind::Busy,
        };
        let missing_file = Some(known.missing_file).filter(|file| !file.is_empty());
        Failure { kind, error: Error::new(Code(known.code), known.message), missing_file }
    }

    /// Whether the node, or the way to it, is at fault, and not what it was asked.
    pub fn is_of_the_node(&self) -> bool {
        matches!(self.kind, Kind::Unreached | Kind::Transport | Kind::Broken)
    }

    /// Whether another node may answer the same.
    pub fn is_retryable(&self) -> bool {
        !matches!(self.kind, Kind::Refused | Kind::UnknownOutcome | Kind::SchemaChanged)
    }
}

/// How the transport failed, as far as it tells.
fn transport_kind(status: &tonic::Status) -> Kind {
    let mut source = std::error::Error::source(status);
    if source.is_none() {
        return Kind::Transport;
    }
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return Kind::Unreached;
        }
        source = error.source();
    }
    Kind::Broken
}

/// What the router itself refuses, no node answers better.
impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::new(Kind::Refused, error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        failure.error
    }
}

/// The status of a refused or failed request.
pub fn status_of(error: &Error) -> common::Status {
    let mut extra_info = BTreeMap::new();
    if error.code.is_input() {
        // Clients read `report_value` from the map whenever there is one.
        extra_info.insert("is_input_error".to_owned(), "true".to_owned());
        extra_info.insert("report_value".to_owned(), "0".to_owned());
    }
    let text = shortened(&error.message);
    common::Status {
        error_code: error.code.legacy(),
        reason: text.clone(),
        code: error.code.0,
        retriable: error.code.is_retriable(),
        detail: text,
        extra_info,
    }
}

/// An error that repeats what it was given is no longer than this.
const MESSAGE_BYTES: usize = 16 << 10;

fn shortened(message: &str) -> String {
    if message.len() <= MESSAGE_BYTES {
        return message.to_owned();
    }
    let half = MESSAGE_BYTES / 2;
    let (begin, end) = (message.floor_char_boundary(half), message.ceil_char_boundary(message.len() - half));
    format!("{} ... ({} bytes are left out) ... {}", &message[..begin], end - begin, &message[end..])
}

/// The status of success.
pub fn ok() -> common::Status {
    common::Status::default()
}
