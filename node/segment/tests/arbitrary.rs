//! Any bytes in the place of any file, also under right checksums: reading ends without a panic, and asks for no more
//! memory than a few times the file.

mod samples;

use bytes::Bytes;
use mishards_segment::{Footer, add_trailer, check_trailer, decode_deletes, decode_delta};
use mishards_types::{DataType, Schema, checksum};
use proptest::prelude::*;
use proptest::sample::Index;
use samples::{FOOTER, Files, Nulls, rows, schema, use_all};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The largest single allocation of this program so far.
static LARGEST: AtomicUsize = AtomicUsize::new(0);
/// No file here has more than 64 KiB.
const BOUND: usize = 4 << 20;

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

/// Panics of the Arrow decoder are caught and reported as damage; to print their traces takes memory of its own.
fn silence_the_decoder() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.location().is_some_and(|at| at.file().contains("arrow-")) {
            print(info);
        }
    }));
}

fn assert_bounded() {
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest <= BOUND, "an allocation of {largest} bytes");
}

static SEGMENT: LazyLock<(Schema, Files)> = LazyLock::new(|| {
    silence_the_decoder();
    let schema = schema(DataType::VarChar);
    let files = Files::of(&schema, &rows(&schema, 60, Nulls::Some, 1));
    assert!(files.0.values().all(|bytes| bytes.len() < 64 << 10));
    (schema, files)
});

fn try_sealed(name: &str, bytes: Vec<u8>) {
    let (schema, files) = &*SEGMENT;
    if let Ok(reader) = files.with_sealed(name, bytes).open(schema) {
        use_all(&reader);
    }
    assert_bounded();
}

fn noise(limit: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..limit)
}

/// Numbers that are likely to hurt, and small ones that often fit.
fn number() -> impl Strategy<Value = u32> {
    let odd = vec![u32::MAX, u32::MAX - 7, 1 << 31, i32::MAX as u32, 1 << 24];
    prop_oneof![3 => 0u32..100, 1 => any::<u32>(), 2 => prop::sample::select(odd)]
}

/// Changes some words of a file; most near its ends, where the Arrow metadata are.
fn change(bytes: &mut [u8], changes: &[(bool, Index, u32)]) {
    let words = bytes.len() / 4;
    let near = words.min(1_200);
    for (anywhere, index, to) in changes {
        let word = if *anywhere { index.index(words) } else { words - 1 - index.index(near) };
        bytes[word * 4..word * 4 + 4].copy_from_slice(&to.to_le_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_footer(bytes in noise(400), json in "[{}\\[\\]\",:a-z0-9]{0,60}") {
        Footer::decode(FOOTER, &Bytes::from(bytes)).ok();
        // The JSON under a right header.
        let mut file = b"MSHSEG1\n\x01\0\0\0".to_vec();
        file.extend_from_slice(&(json.len() as u32).to_le_bytes());
        let sum = checksum(&[file.as_slice(), json.as_bytes()].concat());
        file.extend_from_slice(&sum.to_le_bytes());
        file.extend_from_slice(json.as_bytes());
        prop_assert!(Footer::decode(FOOTER, &Bytes::from(file)).is_err());
        assert_bounded();
    }

    #[test]
    fn any_columns(bytes in noise(2_000)) {
        try_sealed("columns.arrow", bytes);
    }

    #[test]
    fn any_columns_between_the_magic_numbers(bytes in noise(400), length in 0u32..400) {
        let mut file = b"ARROW1\0\0".to_vec();
        file.extend_from_slice(&bytes);
        file.extend_from_slice(&length.to_le_bytes());
        file.extend_from_slice(b"ARROW1");
        try_sealed("columns.arrow", file);
    }

    #[test]
    fn columns_with_other_numbers(changes in prop::collection::vec((prop::bool::weighted(0.2), any::<Index>(), number()), 1..6)) {
        let mut bytes = SEGMENT.1.0["columns.arrow"].clone();
        change(&mut bytes, &changes);
        try_sealed("columns.arrow", bytes);
    }

    #[test]
    fn columns_with_other_numbers_in_the_batch_header(changes in prop::collection::vec((any::<Index>(), number()), 1..4)) {
        let mut bytes = SEGMENT.1.0["columns.arrow"].clone();
        // The schema's message and then the record batch's lie in front.
        let words = bytes.len().min(6_000) / 4;
        for (index, to) in changes {
            let at = index.index(words) * 4;
            bytes[at..at + 4].copy_from_slice(&to.to_le_bytes());
        }
        try_sealed("columns.arrow", bytes);
    }

    #[test]
    fn any_key_index(order in prop::collection::vec(0u32..70, 55..65), noise in noise(200)) {
        let bytes = order.iter().flat_map(|row| row.to_le_bytes()).collect();
        try_sealed("keys", add_trailer(bytes));
        try_sealed("keys", add_trailer(noise.clone()));
        try_sealed("keys", noise);
    }

    #[test]
    fn any_vectors(bytes in noise(4_000)) {
        try_sealed("120.vectors", bytes);
    }

    #[test]
    fn any_delete_file(bytes in noise(300), rows in 0usize..1_000) {
        decode_deletes("d", Bytes::from(bytes.clone()), rows).ok();
        if let Ok(found) = decode_deletes("d", Bytes::from(add_trailer(bytes)), rows) {
            prop_assert!(found.iter().all(|t| (t.row as usize) < rows));
        }
        assert_bounded();
    }

    #[test]
    fn any_delta_file(bytes in noise(300), heads in prop::collection::vec((0u8..3, number(), noise(20)), 0..6)) {
        decode_delta("d", Bytes::from(bytes.clone())).ok();
        decode_delta("d", Bytes::from(add_trailer(bytes))).ok();
        let mut file = Vec::new();
        for (kind, length, body) in heads {
            file.extend_from_slice(&[7; 32]);
            file.push(kind);
            file.extend_from_slice(&length.to_le_bytes());
            file.extend_from_slice(&body);
        }
        decode_delta("d", Bytes::from(add_trailer(file))).ok();
        assert_bounded();
    }

    #[test]
    fn any_trailer(bytes in noise(100)) {
        prop_assert!(check_trailer("t", Bytes::from(bytes)).is_err());
    }
}

#[test]
fn a_footer_that_names_other_files() {
    let (schema, files) = &*SEGMENT;
    let footer = Footer::decode(FOOTER, &Bytes::from(files.0[FOOTER].clone())).expect("a footer");
    let names: Vec<String> = footer.files.iter().map(|f| f.name.clone()).collect();
    for (skipped, name) in names.iter().enumerate() {
        let mut fewer = footer.clone();
        fewer.files.remove(skipped);
        let mut changed = files.clone();
        changed.0.insert(FOOTER.to_owned(), fewer.encode().expect("encoded"));
        assert!(changed.open(schema).is_err(), "without {name}");
    }
    for rows in [0, 59, 61, u32::MAX] {
        let mut changed = files.clone();
        let footer = Footer { rows, ..footer.clone() };
        changed.0.insert(FOOTER.to_owned(), footer.encode().expect("encoded"));
        assert!(changed.open(schema).is_err(), "{rows} rows");
    }
    assert_bounded();
}
