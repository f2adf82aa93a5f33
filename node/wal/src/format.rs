//! The bytes of a log file; FORMAT.md is the description, this is the code.

use crate::Record;
use bytes::Bytes;
use mishards_types::{Epoch, Incarnation, LogId, Sequence, Timestamp, checksum};

pub const FORMAT: u32 = 1;
pub const FILE_HEADER: usize = 64;
pub const GROUP_HEADER: usize = 40;
/// The most bytes of records in one appended group.
pub const GROUP_LIMIT: usize = 512 << 20;
/// What a head group may have on top: the head beside a copy of the largest group.
pub const HEAD_ROOM: usize = 1 << 20;
pub const ALIGN: usize = 8;
const FILE_MAGIC: &[u8; 8] = b"MSHLOG\r\n";
const GROUP_MAGIC: u32 = 0x5047_534d; // "MSGP"
const RECORD_HEADER: usize = 12;

/// After this group the log goes on in the next file.
pub const FLAG_SWITCH: u32 = 1;

pub fn file_name(log: LogId, file: u64) -> String {
    format!("log/{log}/{file:010}")
}

/// `first` is the sequence of the record that comes next, `after` the timestamp of the last one before, so that
/// a log goes on above both when all its earlier files are dropped.
pub fn encode_file_header(log: LogId, file: u64, first: Sequence, after: Timestamp) -> [u8; FILE_HEADER] {
    let mut out = [0u8; FILE_HEADER];
    out[..8].copy_from_slice(FILE_MAGIC);
    out[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    out[16..24].copy_from_slice(&log.epoch.0.to_le_bytes());
    out[24..32].copy_from_slice(&log.incarnation.0.to_le_bytes());
    out[32..40].copy_from_slice(&file.to_le_bytes());
    out[40..48].copy_from_slice(&first.0.to_le_bytes());
    out[48..56].copy_from_slice(&after.0.to_le_bytes());
    let sum = checksum(&out[..56]);
    out[56..].copy_from_slice(&sum.to_le_bytes());
    out
}

/// What a file header says, or why it says nothing.
pub enum FileHeader {
    Valid { log: LogId, file: u64, first: Sequence, after: Timestamp },
    Newer(u32),
    Bad,
}

pub fn decode_file_header(bytes: &[u8]) -> FileHeader {
    if bytes.len() < FILE_HEADER || &bytes[..8] != FILE_MAGIC || checksum(&bytes[..56]) != u64_at(bytes, 56) {
        return FileHeader::Bad;
    }
    let format = u32_at(bytes, 8);
    if format > FORMAT {
        return FileHeader::Newer(format);
    }
    let log = LogId { epoch: Epoch(u64_at(bytes, 16)), incarnation: Incarnation(u64_at(bytes, 24)) };
    let (first, after) = (Sequence(u64_at(bytes, 40)), Timestamp(u64_at(bytes, 48)));
    FileHeader::Valid { log, file: u64_at(bytes, 32), first, after }
}

/// A decoded group.
pub struct Group {
    pub first: Sequence,
    pub flags: u32,
    pub records: Vec<Record>,
    /// Bytes from the group's first byte to the next group's.
    pub len: usize,
}

/// Appends one group of records to `out`. `first` is the sequence of the first record, or of the next record
/// to come when there is none.
pub fn encode_group(out: &mut Vec<u8>, log: LogId, first: Sequence, flags: u32, records: &[Record]) {
    let start = out.len();
    out.resize(start + GROUP_HEADER, 0);
    for record in records {
        out.extend_from_slice(&(record.payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&record.timestamp.0.to_le_bytes());
        out.extend_from_slice(&record.payload);
    }
    let body = (out.len() - start - GROUP_HEADER) as u32;
    out.resize(start + (out.len() - start).next_multiple_of(ALIGN), 0);
    let header = &mut out[start..];
    header[0..4].copy_from_slice(&GROUP_MAGIC.to_le_bytes());
    header[4..8].copy_from_slice(&flags.to_le_bytes());
    header[8..12].copy_from_slice(&body.to_le_bytes());
    header[12..16].copy_from_slice(&(records.len() as u32).to_le_bytes());
    header[16..24].copy_from_slice(&first.0.to_le_bytes());
    header[24..32].copy_from_slice(&(log.epoch.0 ^ log.incarnation.0).to_le_bytes());
    let sum = group_checksum(header);
    header[32..40].copy_from_slice(&sum.to_le_bytes());
}

/// Bytes of a group's body.
pub fn body_len(records: &[Record]) -> usize {
    records.iter().map(|r| RECORD_HEADER + r.payload.len()).sum()
}

/// Over the header without its checksum, then the body and padding.
fn group_checksum(group: &[u8]) -> u64 {
    checksum(&group[..32]) ^ checksum(&group[GROUP_HEADER..]).rotate_left(32)
}

/// Decodes the group at the start of `bytes`, or `None` when no valid group of this log stands there.
pub fn decode_group(bytes: &Bytes, log: LogId) -> Option<Group> {
    if bytes.len() < GROUP_HEADER || u32_at(bytes, 0) != GROUP_MAGIC {
        return None;
    }
    let body = u32_at(bytes, 8) as usize;
    let len = (GROUP_HEADER + body).next_multiple_of(ALIGN);
    if body > GROUP_LIMIT + HEAD_ROOM
        || len > bytes.len()
        || u64_at(bytes, 24) != log.epoch.0 ^ log.incarnation.0
    {
        return None;
    }
    if group_checksum(&bytes[..len]) != u64_at(bytes, 32) {
        return None;
    }
    let first = Sequence(u64_at(bytes, 16));
    let count = u32_at(bytes, 12);
    let mut records = Vec::new();
    let (mut at, end) = (GROUP_HEADER, GROUP_HEADER + body);
    for i in 0..u64::from(count) {
        if end - at < RECORD_HEADER {
            return None;
        }
        let size = u32_at(bytes, at) as usize;
        let timestamp = Timestamp(u64_at(bytes, at + 4));
        at += RECORD_HEADER;
        if end - at < size {
            return None;
        }
        let sequence = Sequence(first.0.checked_add(i)?);
        records.push(Record { sequence, timestamp, payload: bytes.slice(at..at + size) });
        at += size;
    }
    (at == end).then_some(Group { first, flags: u32_at(bytes, 4), records, len })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A successor carries the last group over, beside its head: also the largest that can be appended.
    #[test]
    fn the_largest_group_can_be_carried() {
        let log = LogId { epoch: Epoch(1), incarnation: Incarnation(1) };
        for (more, readable) in [(HEAD_ROOM, true), (HEAD_ROOM + 1, false)] {
            let payload = Bytes::from(vec![0; GROUP_LIMIT + more - RECORD_HEADER]);
            let record = Record { sequence: Sequence(1), timestamp: Timestamp(1), payload };
            let mut out = Vec::with_capacity(GROUP_LIMIT + more + 64);
            encode_group(&mut out, log, Sequence(1), 0, std::slice::from_ref(&record));
            assert_eq!(decode_group(&out.into(), log).is_some(), readable);
        }
    }
}
