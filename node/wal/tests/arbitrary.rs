//! Any bytes in the place of a log file: reading ends, without a panic, and asks for no more memory than a few
//! times the file.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod disk;

use disk::{file_header, group, log, path, raw_group, replay, replay_to};
use mishards_storage::{Memory, Storage};
use mishards_wal::{Position, Scan};
use proptest::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The largest single allocation of this program so far.
static LARGEST: AtomicUsize = AtomicUsize::new(0);

struct Watched;

// SAFETY: passes every call on to the system's allocator, which upholds the contract.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise on `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `alloc` above with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// Small ones fit often enough that reading goes on.
fn sequence() -> impl Strategy<Value = u64> {
    prop_oneof![9 => 0..9u64, 1 => any::<u64>()]
}

/// A piece of a file: noise, zeros, groups that are right, and groups that are wrong under a right checksum.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let bytes = |limit| proptest::collection::vec(any::<u8>(), 0..limit);
    let fields = (0..4u32, any::<u32>(), sequence(), bytes(100));
    let records = proptest::collection::vec((any::<u64>(), bytes(40)), 0..4);
    prop_oneof![
        bytes(200),
        (0..100usize).prop_map(|n| vec![0; n]),
        fields.prop_map(|(flags, count, first, body)| raw_group(log(1), flags, count, first, &body)),
        (0..2u32, sequence(), records.clone()).prop_map(|(flags, first, records)| {
            let records: Vec<_> = records.iter().map(|(t, p)| (*t, p.as_slice())).collect();
            group(log(1), flags, first, &records)
        }),
        (any::<u32>(), records).prop_map(|(size, records)| {
            let records: Vec<_> = records.iter().map(|(t, p)| (*t, p.as_slice())).collect();
            let mut bytes = group(log(1), 0, 1, &records);
            bytes[8..12].copy_from_slice(&size.to_le_bytes());
            bytes
        }),
    ]
}

fn file(number: u64) -> impl Strategy<Value = Vec<u8>> {
    let header = prop_oneof![
        4 => (0..9u64, any::<u64>()).prop_map(move |(first, after)| file_header(1, log(1), number, first, after)),
        1 => (any::<u64>(), any::<u64>()).prop_map(move |(first, after)| file_header(1, log(1), number, first, after)),
        1 => Just(file_header(1, log(2), number, 0, 0)),
        1 => Just(file_header(7, log(1), number, 0, 0)),
        1 => Just(Vec::new()),
    ];
    (header, proptest::collection::vec(piece(), 0..8), any::<bool>()).prop_map(|(header, pieces, aligned)| {
        let mut out = header;
        for piece in pieces {
            out.extend(piece);
            if aligned {
                out.resize(out.len().next_multiple_of(8), 0);
            }
        }
        out
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reading_ends_without_panic(files in (file(1), file(2)), two: bool, end: Option<(u8, u16)>) {
        let memory = Memory::new();
        memory.put(&path(log(1), 1), &[&files.0]).unwrap();
        if two {
            memory.put(&path(log(1), 2), &[&files.1]).unwrap();
        }
        let end = end.map(|(file, offset)| Position { file: file as u64 % 4, offset: offset as u64 });
        if let Ok((found, records)) = replay_to(&memory, log(1), Scan { end, ..Scan::default() }) {
            prop_assert!(found.torn as usize <= files.0.len().max(files.1.len()));
            let payloads: usize = records.iter().map(|r| r.payload.len()).sum();
            prop_assert!(payloads <= files.0.len() + files.1.len());
            if let Some(end) = end {
                prop_assert!(found.end <= end);
            }
        }
        prop_assert!(LARGEST.load(Ordering::Relaxed) < 8 << 20);
    }

    /// What is read from a changed file is a prefix of what was there, or nothing at all.
    #[test]
    fn a_changed_log_reads_as_a_prefix_or_an_error(at in 0..600usize, with: Vec<u8>) {
        let memory = Memory::new();
        let mut bytes = file_header(1, log(1), 1, 0, 0);
        bytes.extend(group(log(1), 0, 0, &[(0, b"\0")]));
        for n in 1..=8u64 {
            bytes.extend(group(log(1), 0, n, &[(n, &[n as u8; 20])]));
        }
        memory.put(&path(log(1), 1), &[&bytes]).unwrap();
        let (_, before) = replay(&memory, log(1)).unwrap();
        memory.tamper(&path(log(1), 1), |bytes| {
            for (byte, new) in bytes.iter_mut().skip(at).zip(&with) {
                *byte = *new;
            }
        });
        if let Ok((_, records)) = replay(&memory, log(1)) {
            prop_assert!(before.starts_with(&records));
        }
    }
}
