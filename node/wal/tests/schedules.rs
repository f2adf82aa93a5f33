//! Schedules of an old writer that is paused at the worst moment while a successor takes over: the old one is
//! refused, and what its log still gets never happened.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod disk;

use disk::{Found, group, log, one, path, replay, replay_to, start, take_over};
use mishards_storage::{Faulty, Memory, Storage};
use mishards_types::Sequence;
use mishards_wal::{Error, LogWriter, Options, Record, Scan};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

type Hook = Box<dyn FnOnce() + Send>;

/// A disk whose `nth` call of `op` runs a hook first, as if its caller were paused for that long.
fn pausing(memory: &Memory, op: &'static str, nth: usize, hook: Hook) -> Arc<dyn Storage> {
    let (calls, hook) = (AtomicUsize::new(0), Mutex::new(Some(hook)));
    let pause = move |now: &'static str, _: &str| {
        if now == op
            && calls.fetch_add(1, Ordering::Relaxed) == nth
            && let Some(hook) = hook.lock().unwrap().take()
        {
            hook();
        }
        false
    };
    Arc::new(Faulty::new(memory.clone(), pause))
}

/// Takes over log 1 and begins log 2.
fn succeed(memory: &Memory) -> (Found, LogWriter) {
    let found = take_over(memory, &[log(1)], log(2)).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(memory.clone());
    let options = Options::default();
    let writer =
        LogWriter::create(storage, log(2), options, &found.head, &found.carried, found.last).unwrap();
    (found, writer)
}

fn payloads<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<String> {
    records.into_iter().map(|r| String::from_utf8(r.payload.to_vec()).unwrap()).collect()
}

/// The old writer appends "kept", then "late" with a takeover at the given call; the new one appends "new".
fn race(op: &'static str, nth: usize) -> (Memory, Vec<String>) {
    let memory = Memory::new();
    let seen = Arc::new(Mutex::new(None));
    let (disk, out) = (memory.clone(), Arc::clone(&seen));
    let hook = Box::new(move || *out.lock().unwrap() = Some(succeed(&disk)));
    let storage = pausing(&memory, op, nth, hook);
    let mut old = start(&storage, log(1), 1 << 30).unwrap();
    old.append(one("kept"), 1).unwrap();
    let late = old.append(one("late"), 1);
    assert!(matches!(late, Err(Error::Fenced { .. })), "{op}: {late:?}");
    assert!(matches!(old.append(one("later"), 1), Err(Error::Dead { .. })));
    let (found, mut new) = seen.lock().unwrap().take().expect("the successor ran");
    let seen = payloads(found.records.values());
    let record = &new.append(one("new"), 1).unwrap()[0];
    assert_eq!(record.sequence, Sequence(seen.len() as u64 + 1));
    (memory, seen)
}

/// What a third writer replays: exactly what the second saw, and what it acknowledged.
fn assert_third_agrees(memory: &Memory, seen: &[String]) {
    let third = take_over(memory, &[log(1), log(2)], log(3)).unwrap();
    let expected: Vec<String> = seen.iter().cloned().chain(["new".to_owned()]).collect();
    assert_eq!(payloads(third.records.values()), expected);
}

/// Paused before the write (calls: file header, head, "kept"): the record lands behind the recorded end.
#[test]
fn a_record_written_after_the_takeover_never_happened() {
    let (memory, seen) = race("write", 3);
    assert_eq!(seen, ["kept"]);
    assert_eq!(payloads(&replay(&memory, log(1)).unwrap().1), ["kept", "late"], "it is in the file");
    assert_third_agrees(&memory, &seen);
    memory.crash();
    assert_third_agrees(&memory, &seen);
}

/// Paused between write and fsync (syncs: fence, file header, head, "kept"): the successor sees the record,
/// keeps it for good, and it survives the loss of what was not synced.
#[test]
fn a_record_that_was_seen_but_not_synced_is_carried_over() {
    let (memory, seen) = race("sync", 4);
    assert_eq!(seen, ["kept", "late"]);
    assert_third_agrees(&memory, &seen);

    let memory = Memory::new();
    let disk = memory.clone();
    let hook = Box::new(move || {
        let (found, _) = succeed(&disk);
        assert_eq!(payloads(found.records.values()), ["kept", "late"]);
        disk.crash();
    });
    let storage = pausing(&memory, "sync", 4, hook);
    let mut old = start(&storage, log(1), 1 << 30).unwrap();
    old.append(one("kept"), 1).unwrap();
    assert!(matches!(old.append(one("late"), 1), Err(Error::Fenced { .. })));
    assert_eq!(payloads(&replay(&memory, log(1)).unwrap().1), ["kept"], "the old log has lost it");
    let third = take_over(&memory, &[log(1), log(2)], log(3)).unwrap();
    assert_eq!(payloads(third.records.values()), ["kept", "late"]);
}

/// Paused between fsync and the look at the fence (looks: head, "kept").
#[test]
fn a_record_synced_before_the_takeover_is_kept_and_not_acknowledged() {
    let (memory, seen) = race("read", 2);
    assert_eq!(seen, ["kept", "late"]);
    assert_third_agrees(&memory, &seen);
}

/// Whatever lands in the old log once its end is recorded, in the same file or in new ones.
#[test]
fn nothing_that_lands_behind_the_recorded_end_is_replayed() {
    let late = |first: u64| group(log(1), 0, first, &[(u64::MAX / 2, b"late")]);
    for (op, nth) in [("write", 3), ("sync", 4), ("read", 2)] {
        let (memory, seen) = race(op, nth);
        let next = replay(&memory, log(1)).unwrap().0.last.0 + 1;
        memory.tamper(&path(log(1), 1), |bytes| bytes.extend([late(next), late(next + 1)].concat()));
        assert!(replay(&memory, log(1)).unwrap().1.len() > seen.len());
        assert_third_agrees(&memory, &seen);
        memory.tamper(&path(log(1), 1), |bytes| bytes.extend([0xff; 33]));
        assert_third_agrees(&memory, &seen);
        memory
            .put(&path(log(1), 2), &[&disk::file_header(1, log(1), 2, next + 2, 0), &late(next + 2)])
            .unwrap();
        assert_third_agrees(&memory, &seen);
        memory.put(&path(log(1), 4), &[b"noise"]).unwrap();
        assert_third_agrees(&memory, &seen);
    }
}

/// Paused between the look at the fence and the next file: the group was acknowledged in time and is kept, the
/// file comes too late.
#[test]
fn a_file_begun_after_the_takeover_never_happened() {
    let memory = Memory::new();
    let seen = Arc::new(Mutex::new(None));
    let (disk, out) = (memory.clone(), Arc::clone(&seen));
    // Files that are created: fence, first file, second file.
    let hook = Box::new(move || *out.lock().unwrap() = Some(succeed(&disk)));
    let storage = pausing(&memory, "create", 2, hook);
    let mut old = start(&storage, log(1), 64).unwrap();
    let kept = old.append(one("kept"), 1).unwrap();
    assert!(matches!(old.append(one("late"), 1), Err(Error::Fenced { .. })));
    let (found, mut new) = seen.lock().unwrap().take().expect("the successor ran");
    assert_eq!(found.records.into_values().collect::<Vec<_>>(), kept);
    new.append(one("new"), 1).unwrap();
    assert_eq!(payloads(&replay(&memory, log(1)).unwrap().1), ["kept", "late"]);
    assert_third_agrees(&memory, &["kept".to_owned()]);
}

/// A successor that is itself overtaken while it writes its head: it ends at 0, and its head, when it comes, is
/// not believed.
#[test]
fn a_successor_overtaken_before_its_head_served_nothing() {
    let memory = Memory::new();
    let storage: Arc<dyn Storage> = Arc::new(memory.clone());
    start(&storage, log(1), 1 << 30).unwrap().append(one("kept"), 1).unwrap();
    let found = take_over(&memory, &[log(1)], log(2)).unwrap();
    let seen = Arc::new(Mutex::new(None));
    let (disk, out) = (memory.clone(), Arc::clone(&seen));
    let hook = Box::new(move || {
        let third = take_over(&disk, &[log(1), log(2)], log(3)).unwrap();
        let storage: Arc<dyn Storage> = Arc::new(disk);
        let writer =
            LogWriter::create(storage, log(3), Options::default(), &third.head, &third.carried, third.last);
        *out.lock().unwrap() = Some((third, writer.unwrap()));
    });
    // Writes: the file header, the head.
    let second = pausing(&memory, "write", 1, hook);
    let result =
        LogWriter::create(second, log(2), Options::default(), &found.head, &found.carried, found.last);
    assert!(matches!(result.err(), Some(Error::Fenced { .. })));
    let (third, mut writer) = seen.lock().unwrap().take().expect("the third ran");
    assert_eq!(payloads(third.records.values()), ["kept"]);
    writer.append(one("new"), 1).unwrap();
    let end = third.head.predecessors.iter().find(|p| p.log == log(2)).unwrap().end;
    assert!(replay(&memory, log(2)).unwrap().0.head.is_some(), "the late head is in the file");
    assert!(replay_to(&memory, log(2), Scan { end: Some(end), ..Scan::default() }).unwrap().0.head.is_none());
    let fourth = take_over(&memory, &[log(1), log(2), log(3)], log(4)).unwrap();
    assert_eq!(payloads(fourth.records.values()), ["kept", "new"]);
}
