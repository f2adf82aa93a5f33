//! The delete file of a segment: rows that are hidden, each from a timestamp on.

use crate::trailer::{add_trailer, check_trailer};
use crate::{Error, Result};
use bytes::Bytes;
use mishards_types::Timestamp;

const ENTRY: usize = 12;

/// Row `row` is hidden from `visible_at` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tombstone {
    pub row: u32,
    pub visible_at: Timestamp,
}

/// Encodes tombstones, sorted by row; a row keeps its earliest.
pub fn encode_deletes(tombstones: &[Tombstone]) -> Vec<u8> {
    let mut sorted = tombstones.to_vec();
    sorted.sort_unstable();
    sorted.dedup_by_key(|t| t.row);
    let mut out = Vec::with_capacity(sorted.len() * ENTRY + 16);
    for t in sorted {
        out.extend_from_slice(&t.row.to_le_bytes());
        out.extend_from_slice(&t.visible_at.0.to_le_bytes());
    }
    add_trailer(out)
}

/// Decodes the tombstones of a segment with `rows` rows.
pub fn decode_deletes(file: &str, bytes: Bytes, rows: usize) -> Result<Vec<Tombstone>> {
    let payload = check_trailer(file, bytes)?;
    if payload.len() % ENTRY != 0 {
        return Err(Error::corrupt(file, "its length is no multiple of an entry's"));
    }
    let entry = |e: &[u8]| {
        let mut visible_at = [0; 8];
        visible_at.copy_from_slice(&e[4..12]);
        Tombstone {
            row: u32::from_le_bytes([e[0], e[1], e[2], e[3]]),
            visible_at: Timestamp(u64::from_le_bytes(visible_at)),
        }
    };
    let out: Vec<Tombstone> = payload.chunks_exact(ENTRY).map(entry).collect();
    match out.iter().all(|t| (t.row as usize) < rows) {
        true => Ok(out),
        false => Err(Error::corrupt(file, "a row is out of range")),
    }
}
