//! A log that nobody damages: what was appended comes back, numbered and stamped as it was acknowledged, and a
//! writer that may not acknowledge says so.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod disk;

use bytes::Bytes;
use disk::{Dice, HEADER, file_header, group, log, one, path, replay, start};
use mishards_storage::{Faulty, Memory, Storage};
use mishards_types::{Sequence, Timestamp};
use mishards_wal::{
    Error, Head, LogWriter, Options, Position, Predecessor, Record, is_fenced, is_fenced_by_others,
    make_fence, set_fence,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const BIG: u64 = 1 << 30;

fn memory() -> Arc<dyn Storage> {
    Arc::new(Memory::new())
}

#[test]
fn random_groups_come_back_as_they_were_acknowledged() {
    for seed in 0..200 {
        println!("seed {seed}");
        let mut dice = Dice(seed);
        let storage = memory();
        let mut writer = start(&storage, log(1), 64 + dice.below(2_000)).unwrap();
        let mut written: Vec<Record> = Vec::new();
        for _ in 0..dice.below(40) {
            let group = (0..dice.below(5)).map(|_| dice.bytes(200).into()).collect();
            written.extend(writer.append(group, dice.below(1_000)).unwrap());
            if dice.below(4) == 0 {
                writer.close_group().unwrap();
            }
        }
        let (found, records) = replay(&*storage, log(1)).unwrap();
        assert_eq!(records, written);
        assert_eq!((found.end, found.torn), (writer.position(), 0));
        assert_eq!(found.last.0 + 1, writer.next_sequence().0);
        assert_eq!(found.last_timestamp, writer.last_timestamp());
        assert_eq!(found.head, Some(Head::default()));
        let sequences: Vec<u64> = records.iter().map(|r| r.sequence.0).collect();
        assert_eq!(sequences, (1..=records.len() as u64).collect::<Vec<_>>());
        assert!(records.is_sorted_by(|a, b| a.timestamp < b.timestamp));
    }
}

/// The bytes that FORMAT.md describes, made by a second encoder, are the bytes in the file.
#[test]
fn the_bytes_are_those_of_the_format() {
    let storage = memory();
    let mut writer = start(&storage, log(3), 232).unwrap();
    let records = writer.append(vec![Bytes::from_static(b"\x01abc"), Bytes::from_static(b"")], 7).unwrap();
    writer.close_group().unwrap();
    let switch = writer.append(one("end"), 7).unwrap();
    let stamps: Vec<u64> = records.iter().chain(&switch).map(|r| r.timestamp.0).collect();
    assert_eq!(stamps, [7 << 18, (7 << 18) + 1, (7 << 18) + 2]);
    let mut expected = file_header(1, log(3), 1, 0, 0);
    expected.extend(group(log(3), 0, 0, &[(0, b"\0")]));
    expected.extend(group(log(3), 0, 1, &[(stamps[0], b"\x01abc"), (stamps[1], b"")]));
    expected.extend(group(log(3), 0, 3, &[]));
    assert_eq!(expected.len(), 232, "the next group is the one that switches");
    expected.extend(group(log(3), 1, 3, &[(stamps[2], b"end")]));
    assert_eq!(storage.read(&path(log(3), 1)).unwrap(), expected);
    assert_eq!(storage.read(&path(log(3), 2)).unwrap(), file_header(1, log(3), 2, 4, stamps[2]));
    assert_eq!(log(3).to_string(), "0000000003-daa66d2c7ddf743f");
}

#[test]
fn a_full_file_is_followed_by_another() {
    let storage = memory();
    let mut writer = start(&storage, log(1), 200).unwrap();
    for n in 0..10u8 {
        writer.append(one(vec![n; 100]), 1).unwrap();
    }
    let (found, records) = replay(&*storage, log(1)).unwrap();
    assert_eq!(records.len(), 10);
    assert!(found.files.len() > 3);
    for (i, (file, size, last)) in found.files.iter().enumerate() {
        assert_eq!(*file, i as u64 + 1);
        assert_eq!(*size, storage.read(&path(log(1), *file)).unwrap().len() as u64);
        assert!(*last <= found.last);
    }
    assert!(found.files.is_sorted_by(|a, b| a.2 <= b.2));
    // Files at the front are dropped once they are covered; the rest still reads.
    let kept_from = found.files[0].2;
    storage.remove(&path(log(1), 1)).unwrap();
    let (rest, records) = replay(&*storage, log(1)).unwrap();
    assert_eq!(records[0].sequence.0, kept_from.0 + 1);
    assert_eq!((rest.end, rest.last), (found.end, found.last));
    assert_eq!(rest.first.0, kept_from.0 + 1);
}

/// A successor must not give a sequence or a timestamp twice, also when what is left holds no record.
#[test]
fn a_file_knows_how_far_the_files_before_it_had_come() {
    let storage = memory();
    let mut writer = start(&storage, log(1), 64).unwrap();
    writer.append(vec!["a".into(), "b".into(), "c".into()], 77).unwrap();
    assert_eq!(writer.position(), Position { file: 2, offset: 64 });
    storage.remove(&path(log(1), 1)).unwrap();
    let (found, records) = replay(&*storage, log(1)).unwrap();
    assert_eq!((records.len(), found.first, found.last), (0, Sequence(4), Sequence(3)));
    assert_eq!(found.last_timestamp, writer.last_timestamp());
}

#[test]
fn the_last_group_before_a_switch_may_be_the_end() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let fault =
        move |op: &'static str, _: &str| op == "create" && counted.fetch_add(1, Ordering::Relaxed) == 2;
    let memory = Memory::new();
    let storage: Arc<dyn Storage> = Arc::new(Faulty::new(memory.clone(), fault));
    let mut writer = start(&storage, log(1), 64).unwrap();
    assert!(matches!(writer.append(one("switch"), 1), Err(Error::Storage(_))));
    assert!(matches!(writer.append(one("more"), 1), Err(Error::Dead { .. })));
    let (found, records) = replay(&memory, log(1)).unwrap();
    assert_eq!((records.len(), found.end.file, found.torn), (1, 1, 0));
}

#[test]
fn the_head_and_the_carried_records_keep_their_numbers() {
    let storage = memory();
    let mut old = start(&storage, log(1), BIG).unwrap();
    old.append(one("first"), 5).unwrap();
    let carried = old.append(vec!["a".into(), "b".into()], 5).unwrap();
    let (before, _) = replay(&*storage, log(1)).unwrap();
    assert_eq!(before.last_group, carried);
    let head = Head {
        predecessors: vec![Predecessor { log: log(1), end: before.end, last: before.last }, far(log(7))],
    };
    let options = Options::default();
    let mut new =
        LogWriter::create(Arc::clone(&storage), log(2), options, &head, &carried, before.last_timestamp)
            .unwrap();
    assert_eq!(new.next_sequence(), Sequence(4));
    let (found, records) = replay(&*storage, log(2)).unwrap();
    assert_eq!(found.head.as_ref(), Some(&head));
    assert_eq!((&records, &found.last_group), (&carried, &carried));
    assert_eq!((found.last, found.last_timestamp), (before.last, before.last_timestamp));
    let appended = new.append(one("c"), 0).unwrap();
    assert_eq!(appended[0].sequence, Sequence(4));
    assert_eq!(appended[0].timestamp, Timestamp(before.last_timestamp.0 + 1));
    let (found, records) = replay(&*storage, log(2)).unwrap();
    assert_eq!(records, [carried, appended].concat());
    assert_eq!(found.last, Sequence(4));
}

fn far(log: mishards_types::LogId) -> Predecessor {
    Predecessor { log, end: Position { file: u64::MAX, offset: u64::MAX }, last: Sequence(0) }
}

#[test]
fn a_successor_goes_on_above_the_last_even_when_nothing_is_carried() {
    let storage = memory();
    let end = Position { file: 4, offset: 640 };
    let head = Head { predecessors: vec![Predecessor { log: log(1), end, last: Sequence(90) }, far(log(2))] };
    let last = Timestamp::from_unix_ms(50);
    let mut writer =
        LogWriter::create(Arc::clone(&storage), log(3), Options::default(), &head, &[], last).unwrap();
    let (found, records) = replay(&*storage, log(3)).unwrap();
    assert!(records.is_empty());
    assert_eq!((found.last, found.last_timestamp), (Sequence(90), last));
    let record = &writer.append(one("x"), 10).unwrap()[0];
    assert_eq!((record.sequence, record.timestamp), (Sequence(91), Timestamp(last.0 + 1)));
}

#[test]
fn timestamps_grow_when_the_clock_goes_back() {
    let storage = memory();
    let mut writer = start(&storage, log(1), BIG).unwrap();
    let mut stamps = Vec::new();
    for ms in [1_000, 999, 0, 1_000, 1_001, 5] {
        stamps.extend(writer.append(one("x"), ms).unwrap().iter().map(|r| r.timestamp));
    }
    assert_eq!(stamps[0], Timestamp::from_unix_ms(1_000));
    assert_eq!(stamps[3], Timestamp(stamps[0].0 + 3));
    assert_eq!(stamps[4], Timestamp::from_unix_ms(1_001));
    assert!(stamps.is_sorted_by(|a, b| a < b));
}

#[test]
fn an_idle_writer_closes_once_with_an_empty_group() {
    let storage = memory();
    let mut writer = start(&storage, log(1), BIG).unwrap();
    for step in 0..2 {
        let before = writer.position();
        writer.close_group().unwrap();
        let closed = writer.position();
        assert_eq!(closed.offset - before.offset, 40, "after step {step}");
        writer.close_group().unwrap();
        assert_eq!(writer.position(), closed);
        writer.append(one("x"), 1).unwrap();
    }
    writer.close_group().unwrap();
    let (found, records) = replay(&*storage, log(1)).unwrap();
    assert_eq!((records.len(), found.last, found.last_group.len()), (2, Sequence(2), 1));
}

#[test]
fn a_group_that_is_too_large_changes_nothing() {
    let storage = memory();
    let mut writer = start(&storage, log(1), BIG).unwrap();
    let part = Bytes::from(vec![0u8; 64 << 20]);
    let before = (writer.position(), writer.next_sequence(), writer.last_timestamp());
    let error = writer.append(vec![part; 9], 1).unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit, .. } if limit == 512 << 20), "{error}");
    assert_eq!((writer.position(), writer.next_sequence(), writer.last_timestamp()), before);
    assert_eq!(writer.append(one("x"), 1).unwrap()[0].sequence, Sequence(1));
    assert_eq!(replay(&*storage, log(1)).unwrap().1.len(), 1);
}

#[test]
fn a_head_group_that_no_reader_would_take_is_not_begun() {
    let storage = memory();
    let payload = Bytes::from(vec![0u8; 64 << 20]);
    let copy = |n| Record { sequence: Sequence(n), timestamp: Timestamp(n), payload: payload.clone() };
    let carried: Vec<Record> = (1..10).map(copy).collect();
    let (options, head) = (Options::default(), Head::default());
    let result = LogWriter::create(Arc::clone(&storage), log(1), options, &head, &carried, Timestamp::ZERO);
    assert!(matches!(result.err(), Some(Error::TooLarge { .. })));
    assert!(storage.list(&format!("log/{}", log(1))).unwrap().is_empty());
}

/// A writer on a disk where the `nth` call of `op` on the files of a log fails.
fn failing(op: &'static str, nth: usize) -> (Memory, Arc<dyn Storage>) {
    let memory = Memory::new();
    let calls = AtomicUsize::new(0);
    let fault = move |now: &'static str, _: &str| now == op && calls.fetch_add(1, Ordering::Relaxed) == nth;
    (memory.clone(), Arc::new(Faulty::new(memory, fault)))
}

#[test]
fn a_failed_call_makes_the_log_dead_for_good() {
    // How many calls come before the first append: writes of the file header and the head; their syncs and the
    // fence's; one look at the fence.
    for (op, before) in [("write", 2), ("sync", 3), ("read", 1)] {
        let (memory, storage) = failing(op, before + 1);
        let mut writer = start(&storage, log(1), BIG).unwrap();
        writer.append(one("kept"), 1).unwrap();
        let error = writer.append(one("lost"), 1).unwrap_err();
        assert!(matches!(error, Error::Storage(_)), "{op}: {error}");
        assert!(!error.is_retryable());
        for _ in 0..2 {
            assert!(matches!(writer.append(one("more"), 1), Err(Error::Dead { .. })), "{op}");
            assert!(matches!(writer.close_group(), Err(Error::Dead { .. })), "{op}");
        }
        memory.crash();
        let (_, records) = replay(&memory, log(1)).unwrap();
        assert_eq!(records[0].payload, "kept");
        assert!(records.iter().all(|r| r.payload != "more"));
    }
}

/// The group is durable by then: only its acknowledgement waits.
#[test]
fn a_fence_that_cannot_be_read_is_read_again() {
    let calls = AtomicUsize::new(0);
    let memory = Memory::new();
    let fault = move |op: &'static str, _: &str| {
        op == "read" && (1..4).contains(&calls.fetch_add(1, Ordering::Relaxed))
    };
    let storage: Arc<dyn Storage> = Arc::new(Faulty::new(memory.clone(), fault));
    let options = Options { file_bytes: BIG, fence_tries: 4 };
    let mut writer =
        LogWriter::create(storage, log(1), options, &Head::default(), &[], Timestamp::ZERO).unwrap();
    let records = writer.append(one("kept"), 1).unwrap();
    assert_eq!(records.len(), 1);
    let fault = |op: &'static str, _: &str| op == "read";
    let storage: Arc<dyn Storage> = Arc::new(Faulty::new(Memory::new(), fault));
    let never = LogWriter::create(storage, log(2), options, &Head::default(), &[], Timestamp::ZERO);
    assert!(matches!(never.err(), Some(Error::Storage(_))), "not for ever");
}

#[test]
fn a_fenced_writer_acknowledges_nothing() {
    let storage = memory();
    let mut writer = start(&storage, log(1), BIG).unwrap();
    writer.append(one("kept"), 1).unwrap();
    assert!(!is_fenced(&*storage, log(1)).unwrap());
    set_fence(&*storage, log(1), log(2)).unwrap();
    assert!(is_fenced(&*storage, log(1)).unwrap());
    assert_eq!(storage.read(&format!("log/{}/fence", log(1))).unwrap(), log(2).to_string());
    assert!(matches!(writer.append(one("late"), 1), Err(Error::Fenced { .. })));
    assert!(matches!(writer.append(one("late"), 1), Err(Error::Dead { .. })));
}

#[test]
fn an_idle_writer_learns_of_its_fence_when_it_closes() {
    let storage = memory();
    let mut writer = start(&storage, log(1), BIG).unwrap();
    writer.append(one("kept"), 1).unwrap();
    set_fence(&*storage, log(1), log(2)).unwrap();
    assert!(matches!(writer.close_group(), Err(Error::Fenced { .. })));
}

#[test]
fn a_fence_that_is_gone_counts_as_set() {
    let storage = memory();
    let mut writer = start(&storage, log(1), BIG).unwrap();
    storage.remove(&format!("log/{}/fence", log(1))).unwrap();
    assert!(matches!(writer.append(one("late"), 1), Err(Error::Fenced { .. })));
}

#[test]
fn a_log_that_was_fenced_before_it_was_made_is_never_made() {
    let storage = memory();
    set_fence(&*storage, log(1), log(2)).unwrap();
    assert!(start(&storage, log(1), BIG).is_err());
    assert!(make_fence(&*storage, log(1)).is_err());
    assert!(is_fenced(&*storage, log(1)).unwrap());
    let (found, records) = replay(&*storage, log(1)).unwrap();
    assert_eq!((found.head, found.end, records.len()), (None, Position::default(), 0));
}

#[test]
fn a_log_is_made_once() {
    let storage = memory();
    start(&storage, log(1), BIG).unwrap().append(one("kept"), 1).unwrap();
    assert!(start(&storage, log(1), BIG).is_err());
    assert_eq!(replay(&*storage, log(1)).unwrap().1.len(), 1);
}

#[test]
fn a_newer_format_is_named() {
    let storage = memory();
    let mut bytes = file_header(2, log(1), 1, 0, 0);
    bytes.extend(vec![7; 100]);
    storage.put(&path(log(1), 1), &[&bytes]).unwrap();
    let error = replay(&*storage, log(1)).unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 2, known: 1, .. }), "{error}");
    assert!(bytes.len() > HEADER);
}

/// The fences of a process's own later logs lead on; the first of somebody else ends the way.
#[test]
fn a_log_is_fenced_by_others_when_the_last_of_ours_is() {
    let storage = Memory::new();
    let (first, second, third, other) = (log(1), log(2), log(3), log(4));
    let ours = [first, second, third];
    let by_others = || is_fenced_by_others(&storage, first, &ours).unwrap();
    assert!(by_others(), "a fence that is gone");
    make_fence(&storage, first).unwrap();
    assert!(!by_others());
    set_fence(&storage, first, second).unwrap();
    assert!(!by_others(), "the second has never begun");
    make_fence(&storage, second).unwrap();
    assert!(!by_others());
    set_fence(&storage, second, third).unwrap();
    make_fence(&storage, third).unwrap();
    assert!(!by_others());
    set_fence(&storage, third, other).unwrap();
    assert!(by_others(), "whoever came after the third fenced that one alone");
    set_fence(&storage, third, first).unwrap();
    assert!(by_others(), "no way leads back");
    set_fence(&storage, first, other).unwrap();
    assert!(by_others());
}
