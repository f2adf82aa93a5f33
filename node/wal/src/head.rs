//! The first record of a log: which logs came before it, and where each of them ends. Nobody ever replays
//! past a recorded end, so that a late record of an old writer can never come back.

use crate::format::u64_at;
use crate::{Position, Record};
use bytes::Bytes;
use mishards_types::{Epoch, Incarnation, LogId, Sequence, Timestamp};

/// The payload of a head record starts with this byte; owners use other first bytes for theirs.
pub const HEAD_TAG: u8 = 0;
const ENTRY: usize = 40;

/// A log that was open at a takeover, and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Predecessor {
    pub log: LogId,
    pub end: Position,
    /// The last sequence before the end; what comes later in that log never happened.
    pub last: Sequence,
}

/// Names every predecessor whose records may still be needed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    pub predecessors: Vec<Predecessor>,
}

impl Head {
    pub(crate) fn encode(&self, sequence: Sequence, timestamp: Timestamp) -> Record {
        let mut out = vec![HEAD_TAG];
        for p in &self.predecessors {
            for word in [p.log.epoch.0, p.log.incarnation.0, p.end.file, p.end.offset, p.last.0] {
                out.extend_from_slice(&word.to_le_bytes());
            }
        }
        Record { sequence, timestamp, payload: out.into() }
    }

    pub(crate) fn decode(payload: &Bytes) -> Option<Head> {
        let body = payload.strip_prefix(&[HEAD_TAG])?;
        if body.len() % ENTRY != 0 {
            return None;
        }
        let entry = |b: &[u8]| Predecessor {
            log: LogId { epoch: Epoch(u64_at(b, 0)), incarnation: Incarnation(u64_at(b, 8)) },
            end: Position { file: u64_at(b, 16), offset: u64_at(b, 24) },
            last: Sequence(u64_at(b, 32)),
        };
        Some(Head { predecessors: body.chunks_exact(ENTRY).map(entry).collect() })
    }
}
