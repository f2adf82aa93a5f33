//! One suite for every storage backend, the wrapper included.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mishards_storage::{Faulty, Kind, LocalCopies, LocalDir, Memory, Storage};

fn backends() -> Vec<(&'static str, Box<dyn Storage>, Option<tempfile::TempDir>)> {
    let dir = tempfile::tempdir().unwrap();
    let local = LocalDir::open(dir.path().join("data")).unwrap();
    let copied = tempfile::tempdir().unwrap();
    let sub = |name: &str| LocalDir::open(copied.path().join(name)).unwrap();
    let copies = LocalCopies::open(sub("shared"), sub("local"), None).unwrap();
    vec![
        ("local_dir", Box::new(local), Some(dir)),
        ("local_copies", Box::new(copies), Some(copied)),
        ("memory", Box::new(Memory::new()), None),
        ("faulty", Box::new(Faulty::new(Memory::new(), |_: &'static str, _: &str| false)), None),
    ]
}

fn on_all(test: impl Fn(&dyn Storage)) {
    for (name, storage, _guard) in backends() {
        println!("backend {name}");
        test(&*storage);
    }
}

#[test]
fn a_file_is_written_once_and_read_back() {
    on_all(|s| {
        s.put("a/b/c", &[b"he", b"", b"llo"]).unwrap();
        assert_eq!(&s.read("a/b/c").unwrap()[..], b"hello");
        assert_eq!(&s.map("a/b/c").unwrap()[..], b"hello");
        assert_eq!(s.put("a/b/c", &[b"x"]).unwrap_err().kind, Kind::Exists);
        assert_eq!(&s.read("a/b/c").unwrap()[..], b"hello");
    });
}

#[test]
fn appended_bytes_are_seen_by_a_new_open() {
    on_all(|s| {
        let mut sink = s.create("log/1").unwrap();
        assert_eq!(s.read("log/1").unwrap().len(), 0);
        sink.write(b"one").unwrap();
        sink.sync().unwrap();
        assert_eq!(&s.read("log/1").unwrap()[..], b"one");
        sink.write(b"two").unwrap();
        sink.sync().unwrap();
        assert_eq!(&s.read("log/1").unwrap()[..], b"onetwo");
    });
}

#[test]
fn what_was_not_synced_can_be_taken_back() {
    on_all(|s| {
        let mut sink = s.create("log/1").unwrap();
        sink.write(b"kept").unwrap();
        sink.sync().unwrap();
        sink.write(b"half of a").unwrap();
        sink.cut(4).unwrap();
        sink.write(b" and").unwrap();
        sink.sync().unwrap();
        assert_eq!(&s.read("log/1").unwrap()[..], b"kept and");
    });
}

#[test]
fn replace_makes_and_overwrites() {
    on_all(|s| {
        s.replace("marker", b"1").unwrap();
        s.replace("marker", b"22").unwrap();
        assert_eq!(&s.read("marker").unwrap()[..], b"22");
    });
}

/// Whoever reads sees one of the texts, whole: an empty fence would let a writer go on.
#[test]
fn replace_by_several_at_once_is_never_seen_half_done() {
    on_all(|s| {
        s.replace("marker", b"first").unwrap();
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3u8)
                .map(|number| {
                    scope.spawn(move || {
                        (0..100).for_each(|_| s.replace("marker", &[b'a' + number; 64]).unwrap());
                    })
                })
                .collect();
            let reader = scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let read = s.read("marker").unwrap();
                    let is_whole = read.len() == 64 && read.iter().all(|byte| *byte == read[0]);
                    assert!(&read[..] == b"first" || is_whole, "{read:?}");
                }
            });
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            reader.join().unwrap();
        });
    });
}

#[test]
fn listing_is_sorted_deep_and_empty_for_a_missing_directory() {
    on_all(|s| {
        s.put("d/2", &[b"22"]).unwrap();
        s.put("d/1", &[b"1"]).unwrap();
        s.put("d/e/3", &[b"3"]).unwrap();
        let names: Vec<_> = s.list("d").unwrap().into_iter().map(|e| (e.name, e.bytes)).collect();
        assert_eq!(names, vec![("1".to_owned(), 1), ("2".to_owned(), 2), ("e/3".to_owned(), 1)]);
        assert!(s.list("nothing").unwrap().is_empty());
    });
}

#[test]
fn remove_is_idempotent_and_a_missing_file_is_named() {
    on_all(|s| {
        s.put("x", &[b"1"]).unwrap();
        s.remove("x").unwrap();
        s.remove("x").unwrap();
        let error = s.read("x").unwrap_err();
        assert_eq!(error.kind, Kind::NotFound);
        assert!(error.to_string().contains('x'));
        assert_eq!(s.map("x").unwrap_err().kind, Kind::NotFound);
    });
}

#[test]
fn directories_that_are_left_empty_go_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let s = LocalDir::open(dir.path()).unwrap();
    s.put("a/b/1", &[b"1"]).unwrap();
    s.put("a/c/2", &[b"2"]).unwrap();
    s.remove("a/b/1").unwrap();
    assert!(!dir.path().join("a/b").exists() && dir.path().join("a/c").exists());
    s.put("a/b/3", &[b"3"]).unwrap();
    // Files come and go in one directory from several threads.
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let s = &s;
            scope.spawn(move || {
                for i in 0..100 {
                    let path = format!("a/busy/{thread}-{i}");
                    s.put(&path, &[b"x"]).unwrap();
                    s.remove(&path).unwrap();
                }
            });
        }
    });
    assert!(!dir.path().join("a/busy").exists());
}

#[test]
fn names_cannot_leave_the_directory() {
    on_all(|s| {
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "a\0b"] {
            assert_eq!(s.read(bad).unwrap_err().kind, Kind::BadName, "{bad:?}");
            assert_eq!(s.put(bad, &[b""]).unwrap_err().kind, Kind::BadName, "{bad:?}");
        }
    });
}

#[test]
fn a_map_is_aligned_and_survives_removal() {
    on_all(|s| {
        s.put("m", &[&[7u8; 100]]).unwrap();
        let map = s.map("m").unwrap();
        s.remove("m").unwrap();
        assert_eq!(map.as_ptr() as usize % 64, 0);
        assert_eq!(&map[..], &[7u8; 100]);
    });
}

#[test]
fn memory_forgets_what_was_not_synced() {
    let s = Memory::new();
    let mut sink = s.create("f").unwrap();
    sink.write(b"kept").unwrap();
    sink.sync().unwrap();
    sink.write(b"lost").unwrap();
    s.crash();
    assert_eq!(&s.read("f").unwrap()[..], b"kept");
}

#[test]
fn an_injected_fault_strikes_the_chosen_call() {
    let s = Faulty::new(Memory::new(), |op: &'static str, path: &str| op == "sync" && path == "log");
    let mut sink = s.create("log").unwrap();
    sink.write(b"x").unwrap();
    assert_eq!(sink.sync().unwrap_err().kind, Kind::Io);
    s.put("other", &[b"1"]).unwrap();
}

#[test]
fn a_directory_is_locked_once() {
    let dir = tempfile::tempdir().unwrap();
    let held = mishards_storage::DirLock::acquire(dir.path()).unwrap();
    assert_eq!(mishards_storage::DirLock::acquire(dir.path()).unwrap_err().kind, Kind::Locked);
    drop(held);
    mishards_storage::DirLock::acquire(dir.path()).unwrap();
}
