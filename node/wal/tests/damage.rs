//! Damage on the disk: an acknowledged record that a later write proves durable is never dropped in silence and
//! never served wrong; what lies after the last valid group is a torn tail; a recorded end is final.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod disk;

use bytes::Bytes;
use disk::{copy, file_header, group, log, one, path, raw_group, replay, replay_to, start};
use mishards_storage::{Memory, Storage};
use mishards_types::LogId;
use mishards_wal::{Error, Head, LogWriter, Options, Position, Predecessor, Record, Scan};
use std::sync::Arc;

const BIG: u64 = 1 << 30;

/// A log on a disk, with every record that was acknowledged.
struct Sample {
    memory: Memory,
    records: Vec<Record>,
    writer: LogWriter,
}

/// Groups of one to three records, in files of at most about `file_bytes`.
fn sample(groups: usize, file_bytes: u64) -> Sample {
    let memory = Memory::new();
    let storage: Arc<dyn Storage> = Arc::new(memory.clone());
    let mut writer = start(&storage, log(1), file_bytes).unwrap();
    let mut records = Vec::new();
    for n in 0..groups {
        let payloads: Vec<Bytes> = (0..=n % 3).map(|i| vec![n as u8 + 1; 5 + 7 * i].into()).collect();
        records.extend(writer.append(payloads, 1).unwrap());
    }
    Sample { memory, records, writer }
}

fn files(memory: &Memory) -> Vec<(u64, usize)> {
    let entries = memory.list(&format!("log/{}", log(1))).unwrap();
    entries.iter().filter_map(|e| Some((e.name.parse().ok()?, e.bytes as usize))).collect()
}

/// Every disk that differs from `memory` in one bit of the log, with the place of the bit.
fn each_flip(memory: &Memory, log: LogId, mut test: impl FnMut(u64, usize, u8, &Memory)) {
    for (file, size) in files(memory) {
        let damaged = copy(memory, &[log]);
        for byte in 0..size {
            for bit in 0..8 {
                damaged.tamper(&path(log, file), |bytes| bytes[byte] ^= 1 << bit);
                test(file, byte, bit, &damaged);
                damaged.tamper(&path(log, file), |bytes| bytes[byte] ^= 1 << bit);
            }
        }
    }
}

/// Any flipped bit before `closed` is corruption; behind it, there is nothing to lose.
fn assert_protected(sample: &Sample, closed: Position) {
    each_flip(&sample.memory, log(1), |file, byte, bit, damaged| {
        let at = format!("file {file} byte {byte} bit {bit}");
        match replay(damaged, log(1)) {
            Err(Error::Corrupt { at: found, .. }) => {
                assert!(found <= Position { file, offset: byte as u64 }, "{at}: blames {found:?}")
            }
            Ok((_, records)) if (file, byte as u64) >= (closed.file, closed.offset) => {
                assert_eq!(records, sample.records, "{at}")
            }
            other => panic!("{at}: {:?}", other.map(|(log, records)| (log, records.len()))),
        }
    });
}

#[test]
fn a_flipped_bit_in_a_closed_log_is_corruption() {
    let mut sample = sample(5, BIG);
    let closed = sample.writer.position();
    sample.writer.close_group().unwrap();
    assert_protected(&sample, closed);
}

#[test]
fn a_flipped_bit_in_a_log_of_several_files_is_corruption() {
    let mut sample = sample(7, 200);
    assert!(files(&sample.memory).len() > 2);
    let closed = sample.writer.position();
    sample.writer.close_group().unwrap();
    assert_protected(&sample, closed);
}

/// The file that follows a switch proves the switching group durable, even before it holds a group itself.
#[test]
fn a_flipped_bit_before_a_file_that_was_just_begun_is_corruption() {
    let mut sample = sample(1, 64);
    let closed = sample.writer.position();
    assert_eq!(closed, Position { file: 2, offset: 64 });
    sample.writer.close_group().unwrap();
    assert_protected(&sample, Position { file: 2, offset: 0 });
}

#[test]
fn a_flipped_bit_in_a_head_that_was_closed_is_corruption() {
    let old = sample(2, BIG);
    let (before, _) = replay(&old.memory, log(1)).unwrap();
    let memory = Memory::new();
    let end = Predecessor { log: log(9), end: before.end, last: before.last };
    let head = Head { predecessors: vec![end] };
    let carried = before.last_group;
    let mut writer = LogWriter::create(
        Arc::new(memory.clone()),
        log(1),
        Options::default(),
        &head,
        &carried,
        before.last_timestamp,
    )
    .unwrap();
    let closed = writer.position();
    writer.close_group().unwrap();
    assert_protected(&Sample { memory, records: carried, writer }, closed);
}

/// Nothing proves the last group of a log that was not closed: damage to it looks like a torn write. Whatever
/// is dropped is dropped whole, and what comes back is right.
#[test]
fn a_flipped_bit_in_the_open_group_loses_that_group_alone() {
    let sample = sample(4, BIG);
    let (found, _) = replay(&sample.memory, log(1)).unwrap();
    let kept = sample.records.len() - found.last_group.len();
    let start = found.end.offset as usize - group_len(&found.last_group);
    each_flip(&sample.memory, log(1), |file, byte, bit, damaged| match replay(damaged, log(1)) {
        Err(Error::Corrupt { .. }) => assert!(byte < start, "byte {byte} bit {bit}"),
        Ok((found, records)) => {
            assert_eq!((file, found.end.offset as usize), (1, start), "byte {byte} bit {bit}");
            assert_eq!(records, sample.records[..kept], "byte {byte} bit {bit}");
        }
        Err(other) => panic!("byte {byte} bit {bit}: {other}"),
    });
}

fn group_len(records: &[Record]) -> usize {
    (40 + records.iter().map(|r| 12 + r.payload.len()).sum::<usize>()).next_multiple_of(8)
}

#[test]
fn a_cut_anywhere_in_the_last_group_is_a_torn_tail() {
    for (groups, file_bytes) in [(1, BIG), (6, BIG), (7, 200)] {
        let sample = sample(groups, file_bytes);
        let (whole, _) = replay(&sample.memory, log(1)).unwrap();
        let kept = sample.records.len() - whole.last_group.len();
        let end = whole.end.offset as usize;
        let start = end.checked_sub(group_len(&whole.last_group)).expect("the last file has the last group");
        for cut in start..end {
            let damaged = copy(&sample.memory, &[log(1)]);
            damaged.tamper(&path(log(1), whole.end.file), |bytes| bytes.truncate(cut));
            let (found, records) = replay(&damaged, log(1)).unwrap();
            assert_eq!(records, sample.records[..kept], "cut at {cut}");
            assert_eq!(found.end, Position { file: whole.end.file, offset: start as u64 }, "cut at {cut}");
            assert_eq!(found.torn as usize, cut - start);
            assert_eq!(found.last.0, kept as u64);
        }
    }
}

#[test]
fn bytes_that_never_were_a_group_behind_the_last_are_a_torn_tail() {
    let sample = sample(3, BIG);
    let torn = group(log(1), 0, 99, &[(1, &[9; 80])]);
    for tail in [vec![0; 4_096], vec![0xff; 13], torn[..torn.len() - 1].to_vec(), torn[8..].to_vec()] {
        let damaged = copy(&sample.memory, &[log(1)]);
        damaged.tamper(&path(log(1), 1), |bytes| bytes.extend(&tail));
        let (found, records) = replay(&damaged, log(1)).unwrap();
        assert_eq!((records, found.torn), (sample.records.clone(), tail.len() as u64));
        assert_eq!(found.end, sample.writer.position());
    }
}

#[test]
fn a_cut_in_a_file_that_another_follows_is_corruption() {
    for groups in [1, 6] {
        let sample = sample(groups, 64);
        let all = files(&sample.memory);
        for (file, size) in &all[..all.len() - 1] {
            for cut in 0..*size {
                let damaged = copy(&sample.memory, &[log(1)]);
                damaged.tamper(&path(log(1), *file), |bytes| bytes.truncate(cut));
                let result = replay(&damaged, log(1));
                assert!(matches!(result, Err(Error::Corrupt { .. })), "file {file} cut at {cut} of {size}");
            }
        }
    }
}

/// Every group names its first sequence, so a group that is gone without a trace is missed.
#[test]
fn a_group_that_is_gone_is_corruption() {
    let sample = sample(4, BIG);
    let (found, _) = replay(&sample.memory, log(1)).unwrap();
    let last = group_len(&found.last_group);
    let before = found.end.offset as usize - last - group_len(&sample.records[3..6]);
    let damaged = copy(&sample.memory, &[log(1)]);
    damaged.tamper(&path(log(1), 1), |bytes| drop(bytes.drain(before..bytes.len() - last)));
    assert!(matches!(replay(&damaged, log(1)), Err(Error::Corrupt { .. })));
    let twice = copy(&sample.memory, &[log(1)]);
    twice.tamper(&path(log(1), 1), |bytes| bytes.extend_from_within(before..));
    assert!(matches!(replay(&twice, log(1)), Err(Error::Corrupt { .. })));
}

#[test]
fn a_missing_file_in_the_middle_is_named() {
    let sample = sample(6, 64);
    let all = files(&sample.memory);
    assert!(all.len() > 3);
    for (file, _) in &all[1..all.len() - 1] {
        let damaged = copy(&sample.memory, &[log(1)]);
        damaged.remove(&path(log(1), *file)).unwrap();
        let error = replay(&damaged, log(1)).unwrap_err();
        assert!(matches!(error, Error::MissingFile { file: found, .. } if found == *file), "{error}");
    }
}

/// A torn write cannot make a whole header with another name in it.
#[test]
fn a_file_in_the_place_of_another_is_corruption() {
    let sample = sample(3, 64);
    let first = sample.records[0].sequence.0 + 1;
    let strange = [
        file_header(1, log(2), 2, first, 0),
        file_header(1, log(1), 3, first, 0),
        file_header(1, log(1), 2, first + 1, 0),
        sample.memory.read(&path(log(1), 3)).unwrap().into(),
    ];
    for other in strange {
        let damaged = copy(&sample.memory, &[log(1)]);
        for file in 3..=4 {
            damaged.remove(&path(log(1), file)).unwrap();
        }
        damaged.tamper(&path(log(1), 2), |bytes| *bytes = other.clone());
        let result = replay(&damaged, log(1));
        assert!(matches!(result, Err(Error::Corrupt { at: Position { file: 2, offset: 0 }, .. })));
    }
}

#[test]
fn a_group_of_another_log_is_not_read() {
    let sample = sample(2, BIG);
    sample.memory.tamper(&path(log(1), 1), |bytes| bytes.extend(group(log(2), 0, 9, &[(9, b"strange")])));
    let (found, records) = replay(&sample.memory, log(1)).unwrap();
    assert_eq!((records, found.end), (sample.records, sample.writer.position()));
}

/// Fields that contradict each other under a right checksum: refused as a group, not trusted.
#[test]
fn a_group_whose_fields_contradict_each_other_is_not_read() {
    let record = |size: u32, bytes: usize| [size.to_le_bytes().to_vec(), vec![0; 8 + bytes]].concat();
    let bad = [
        raw_group(log(1), 0, u32::MAX, 9, b""),
        raw_group(log(1), 0, 2, 9, &record(4, 4)),
        raw_group(log(1), 0, 0, 9, &record(4, 4)),
        raw_group(log(1), 0, 1, 9, &record(5, 4)),
        raw_group(log(1), 0, 1, 9, &record(u32::MAX, 4)),
        raw_group(log(1), 0, 1, 9, &[0; 11]),
        raw_group(log(1), 0, 2, u64::MAX, &record(0, 12)),
    ];
    for group in bad {
        let sample = sample(2, BIG);
        sample.memory.tamper(&path(log(1), 1), |bytes| bytes.extend(&group));
        let (found, records) = replay(&sample.memory, log(1)).unwrap();
        assert_eq!((records, found.torn), (sample.records, group.len() as u64));
    }
}

#[test]
fn nothing_behind_a_recorded_end_is_read() {
    let mut sample = sample(4, 200);
    let end = Some(sample.writer.position());
    let before = replay(&sample.memory, log(1)).unwrap();
    sample.writer.append(one("late"), 1).unwrap();
    sample.writer.append(one("later, in another file"), 1).unwrap();
    sample.writer.append(one("latest"), 1).unwrap();
    assert!(replay(&sample.memory, log(1)).unwrap().1.len() > before.1.len());
    let (found, records) = replay_to(&sample.memory, log(1), Scan { end, ..Scan::default() }).unwrap();
    assert_eq!((records, found.end, found.last), (before.1, before.0.end, before.0.last));
}

/// Files behind the end may be missing, garbage or full: they never happened.
#[test]
fn the_files_behind_a_recorded_end_do_not_matter() {
    let sample = sample(6, 64);
    let (whole, _) = replay(&sample.memory, log(1)).unwrap();
    let (ended, size, last) = whole.files[1];
    let end = Position { file: ended, offset: size };
    let harms: [fn(&Memory); 4] = [
        |_| {},
        |m| m.remove(&path(log(1), 3)).unwrap(),
        |m| m.tamper(&path(log(1), 3), |bytes| bytes[70] ^= 1),
        |m| m.tamper(&path(log(1), 3), |bytes| *bytes = file_header(9, log(1), 3, 0, 0)),
    ];
    for (i, harm) in harms.iter().enumerate() {
        let damaged = copy(&sample.memory, &[log(1)]);
        harm(&damaged);
        let (found, records) =
            replay_to(&damaged, log(1), Scan { end: Some(end), ..Scan::default() }).unwrap();
        assert_eq!(records, sample.records[..last.0 as usize], "harm {i}");
        assert_eq!(found.end, end, "harm {i}");
    }
    // The same where the end lies within a file: the later files are no proof against the torn tail there.
    let end = Position { file: ended, offset: size - 1 };
    let (found, records) =
        replay_to(&sample.memory, log(1), Scan { end: Some(end), ..Scan::default() }).unwrap();
    assert_eq!(found.end.file, ended);
    assert!(records.len() < last.0 as usize);
}

#[test]
fn a_log_that_ends_at_zero_has_no_records() {
    let sample = sample(3, BIG);
    let (found, records) =
        replay_to(&sample.memory, log(1), Scan { end: Some(Position::default()), ..Scan::default() })
            .unwrap();
    assert_eq!((records.len(), found.end, found.head), (0, Position::default(), None));
}

#[test]
fn a_head_that_was_torn_is_no_head() {
    let sample = sample(0, BIG);
    for cut in 0..sample.writer.position().offset as usize {
        let damaged = copy(&sample.memory, &[log(1)]);
        damaged.tamper(&path(log(1), 1), |bytes| bytes.truncate(cut));
        let (found, records) = replay(&damaged, log(1)).unwrap();
        assert_eq!((found.head, records.len()), (None, 0), "cut at {cut}");
    }
}
