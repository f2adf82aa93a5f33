//! A delta file: deletes of one collection in log order, by key, not yet folded into every segment.

use crate::trailer::{add_trailer, check_trailer};
use crate::{Error, Result};
use bytes::Bytes;
use mishards_types::{Key, PartitionId, Sequence, Timestamp};

const HEAD: usize = 37;

/// Hides every row with `key` and a timestamp at or below `resolved_at`, from `visible_at` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    pub sequence: Sequence,
    /// 0 means every partition.
    pub partition: PartitionId,
    pub visible_at: Timestamp,
    pub resolved_at: Timestamp,
    pub key: Key,
}

/// Encodes deletes in the order given.
pub fn encode_delta(deletes: &[Delete]) -> Vec<u8> {
    let mut out = Vec::new();
    for d in deletes {
        out.extend_from_slice(&d.sequence.0.to_le_bytes());
        out.extend_from_slice(&d.partition.0.to_le_bytes());
        out.extend_from_slice(&d.visible_at.0.to_le_bytes());
        out.extend_from_slice(&d.resolved_at.0.to_le_bytes());
        match &d.key {
            Key::Int(v) => {
                out.push(0);
                out.extend_from_slice(&8u32.to_le_bytes());
                out.extend_from_slice(&v.to_le_bytes());
            }
            Key::Str(s) => {
                out.push(1);
                out.extend_from_slice(&(s.len() as u32).to_le_bytes());
                out.extend_from_slice(s.as_bytes());
            }
        }
    }
    add_trailer(out)
}

pub fn decode_delta(file: &str, bytes: Bytes) -> Result<Vec<Delete>> {
    let payload = check_trailer(file, bytes)?;
    let mut rest = &payload[..];
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (delete, after) =
            decode_one(rest).ok_or_else(|| Error::corrupt(file, "an entry is malformed"))?;
        out.push(delete);
        rest = after;
    }
    Ok(out)
}

fn decode_one(bytes: &[u8]) -> Option<(Delete, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let word = |at: usize| head[at..at + 8].try_into().ok().map(u64::from_le_bytes);
    let length = u32::from_le_bytes(head[33..37].try_into().ok()?) as usize;
    let (body, rest) = rest.split_at_checked(length)?;
    let key = match head[32] {
        0 => Key::Int(i64::from_le_bytes(body.try_into().ok()?)),
        1 => Key::Str(std::str::from_utf8(body).ok()?.into()),
        _ => return None,
    };
    let delete = Delete {
        sequence: Sequence(word(0)?),
        partition: PartitionId(word(8)? as i64),
        visible_at: Timestamp(word(16)?),
        resolved_at: Timestamp(word(24)?),
        key,
    };
    Some((delete, rest))
}
