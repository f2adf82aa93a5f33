//! A log on a disk in memory, and a second encoder of its bytes, written from FORMAT.md and not from the code.
#![allow(dead_code, reason = "each test file uses a part of it")]

use bytes::Bytes;
use mishards_storage::{Memory, Storage};
use mishards_types::{Epoch, Incarnation, LogId, Sequence, Timestamp, checksum};
use mishards_wal::{Head, Log, LogWriter, Options, Predecessor, Record, Result, Scan, read_log, set_fence};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const HEADER: usize = 64;

/// The log of an epoch.
pub fn log(epoch: u64) -> LogId {
    LogId { epoch: Epoch(epoch), incarnation: Incarnation(epoch.wrapping_mul(0x9e37_79b9_7f4a_7c15)) }
}

pub fn path(log: LogId, file: u64) -> String {
    format!("log/{log}/{file:010}")
}

/// A log without predecessors, whose files are followed by another at `file_bytes`.
pub fn start(storage: &Arc<dyn Storage>, log: LogId, file_bytes: u64) -> Result<LogWriter> {
    let options = Options { file_bytes, fence_tries: 1 };
    LogWriter::create(Arc::clone(storage), log, options, &Head::default(), &[], Timestamp::ZERO)
}

pub fn one(payload: impl Into<Bytes>) -> Vec<Bytes> {
    vec![payload.into()]
}

pub fn replay(storage: &dyn Storage, log: LogId) -> Result<(Log, Vec<Record>)> {
    replay_to(storage, log, Scan::default())
}

pub fn replay_to(storage: &dyn Storage, log: LogId, scan: Scan) -> Result<(Log, Vec<Record>)> {
    let mut records = Vec::new();
    let found = read_log(storage, log, scan, &mut |record| records.push(record))?;
    Ok((found, records))
}

/// A deep copy of a disk, so that each way of damage starts from the same bytes.
pub fn copy(from: &Memory, logs: &[LogId]) -> Memory {
    let to = Memory::new();
    for log in logs {
        let dir = format!("log/{log}");
        for entry in from.list(&dir).unwrap() {
            let path = format!("{dir}/{}", entry.name);
            to.replace(&path, &from.read(&path).unwrap()).unwrap();
        }
    }
    to
}

/// The 64 bytes at the start of a file.
pub fn file_header(format: u32, log: LogId, file: u64, first: u64, after: u64) -> Vec<u8> {
    let mut out = b"MSHLOG\r\n".to_vec();
    out.extend(format.to_le_bytes());
    out.extend([0; 4]);
    out.extend(log.epoch.0.to_le_bytes());
    out.extend(log.incarnation.0.to_le_bytes());
    out.extend(file.to_le_bytes());
    out.extend(first.to_le_bytes());
    out.extend(after.to_le_bytes());
    out.extend(checksum(&out).to_le_bytes());
    out
}

/// A group with a right checksum over any fields, also over ones that make no sense.
pub fn raw_group(log: LogId, flags: u32, count: u32, first: u64, body: &[u8]) -> Vec<u8> {
    let mut head = b"MSGP".to_vec();
    head.extend(flags.to_le_bytes());
    head.extend((body.len() as u32).to_le_bytes());
    head.extend(count.to_le_bytes());
    head.extend(first.to_le_bytes());
    head.extend((log.epoch.0 ^ log.incarnation.0).to_le_bytes());
    let mut rest = body.to_vec();
    rest.resize(rest.len().next_multiple_of(8), 0);
    let sum = checksum(&head) ^ checksum(&rest).rotate_left(32);
    head.extend(sum.to_le_bytes());
    head.extend(rest);
    head
}

/// A group of records.
pub fn group(log: LogId, flags: u32, first: u64, records: &[(u64, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (timestamp, payload) in records {
        body.extend((payload.len() as u32).to_le_bytes());
        body.extend(timestamp.to_le_bytes());
        body.extend(*payload);
    }
    raw_group(log, flags, records.len() as u32, first, &body)
}

/// What a takeover found in the open logs.
pub struct Found {
    pub records: BTreeMap<Sequence, Record>,
    pub head: Head,
    pub carried: Vec<Record>,
    pub last: Timestamp,
}

/// The takeover of section 7: fences every open log (oldest first), finds the newest one that has a head,
/// inherits the ends that it names, and reads each log up to its end.
pub fn take_over(storage: &dyn Storage, open: &[LogId], successor: LogId) -> Result<Found> {
    for log in open {
        set_fence(storage, *log, successor)?;
    }
    let mut found =
        Found { records: BTreeMap::new(), head: Head::default(), carried: Vec::new(), last: Timestamp::ZERO };
    let mut served = None;
    for (i, log) in open.iter().enumerate().rev() {
        let scan = replay(storage, *log)?;
        if let Some(head) = scan.0.head.clone() {
            served = Some((i, head, scan));
            break;
        }
        found.head.predecessors.push(Predecessor { log: *log, end: Default::default(), last: Sequence(0) });
    }
    let Some((at, head, (newest, records))) = served else {
        return Ok(found);
    };
    for log in &open[..at] {
        let named = head.predecessors.iter().find(|p| p.log == *log).copied();
        let named = named.expect("the head names every open predecessor");
        let (older, records) = replay_to(storage, *log, Scan { end: Some(named.end), ..Scan::default() })?;
        found.add(&older, records, named);
    }
    let end = Predecessor { log: open[at], end: newest.end, last: newest.last };
    found.add(&newest, records, end);
    found.carried = newest.last_group;
    Ok(found)
}

impl Found {
    fn add(&mut self, log: &Log, records: Vec<Record>, end: Predecessor) {
        for record in records {
            if let Some(copy) = self.records.insert(record.sequence, record.clone()) {
                assert_eq!(copy, record, "a carried copy differs from its record");
            }
        }
        self.last = self.last.max(log.last_timestamp);
        self.head.predecessors.push(end);
    }
}

/// Numbers that look random; the same for the same seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn bytes(&mut self, limit: u64) -> Vec<u8> {
        (0..self.below(limit)).map(|_| self.next() as u8).collect()
    }
}
