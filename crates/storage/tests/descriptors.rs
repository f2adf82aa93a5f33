//! A process whose connections have taken every descriptor still reads and writes its files. By itself: the limit is the
//! process's.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

use mishards_storage::{LocalDir, Storage};
use std::fs::File;
use std::time::{Duration, Instant};

#[test]
#[expect(clippy::disallowed_methods, reason = "real time is what is measured")]
fn files_are_read_and_made_when_no_descriptor_is_left() {
    let limit = libc::rlimit { rlim_cur: 128, rlim_max: 128 };
    // SAFETY: `limit` is a valid rlimit that outlives the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    let dir = tempfile::tempdir().unwrap();
    let storage = LocalDir::open(dir.path()).unwrap();
    storage.put("a", &[b"before"]).unwrap();
    let mut taken = Vec::new();
    let mut take_all = || {
        while let Ok(file) = File::open("/dev/null") {
            taken.push(file);
        }
    };
    take_all();
    let began = Instant::now();
    for i in 0..40 {
        assert_eq!(&storage.read("a").unwrap()[..], b"before");
        assert_eq!(&storage.map("a").unwrap()[..], b"before");
        if i % 10 == 0 {
            storage.replace("marker", b"x").unwrap();
        }
        take_all();
    }
    // A log's next file stays open.
    let mut sink = storage.create("log/2").unwrap();
    sink.write(b"x").unwrap();
    sink.sync().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
