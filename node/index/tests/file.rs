//! Index files that are not as they were written. The header checks itself; the bytes after it are under a checksum
//! of the caller, so damage there may pass `open`, but never leads a search out of its bounds.

mod vectors;

use bytes::Bytes;
use mishards_index::{
    BuildOptions, Error, HnswIndex, InvertedBuilder, InvertedIndex, Query, Term, VectorIndex, build_hnsw,
};
use mishards_types::{Bitmap, Metric, checksum};
use proptest::prelude::*;
use std::ops::Bound;
use std::sync::LazyLock;
use vectors::{METRICS, Rows, aligned, clustered, find, params};

const HEADER: usize = 256;
const SUM: usize = HEADER - 8;

static ROWS: LazyLock<Rows> = LazyLock::new(|| clustered(120, 4, 21));

static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let graph = |metric| {
        build_hnsw(ROWS.view(), metric, BuildOptions { m: 4, ef_construction: 20, serial: true })
            .expect("built")
    };
    let mut files: Vec<Vec<u8>> = METRICS.into_iter().map(graph).collect();
    let (mut ints, mut texts) = (InvertedBuilder::default(), InvertedBuilder::default());
    for row in 0..120 {
        ints.add(row, Term::Int(i64::from(row % 7)));
        texts.add(row, Term::Str(format!("word {}", row % 11)));
    }
    files.extend([ints.finish(120), texts.finish(120)]);
    files
});

/// Opens the bytes as both kinds of index and uses whatever opens.
fn use_all(bytes: &Bytes) -> (Result<(), Error>, Result<(), Error>) {
    (
        HnswIndex::open(bytes.clone()).map(|i| use_graph(&i)),
        InvertedIndex::open(bytes.clone()).map(|i| use_lists(&i)),
    )
}

fn use_graph(index: &HnswIndex) {
    let dim = index.dim();
    // A search refuses vectors of another shape, so it gets some of the shape that the file claims.
    if index.rows().saturating_mul(dim) > 1 << 20 {
        return;
    }
    let rows = Rows { data: (0..index.rows() * dim).map(|i| ROWS.data[i % ROWS.data.len()]).collect(), dim };
    let question: Vec<f32> = (0..dim).map(|i| i as f32).collect();
    let filter = Bitmap::from_fn(index.rows(), |i| i % 2 == 0);
    for filter in [None, Some(&filter)] {
        let found = find(index, rows.view(), &Query::new(index.metric(), &question), params(10, 20), filter);
        assert!(found.len() <= 10);
    }
}

fn use_lists(index: &InvertedIndex) {
    if index.rows() > 1 << 24 {
        return;
    }
    let mut out = Bitmap::zeros(index.rows());
    for term in [Term::Int(3), Term::Float(0.0), Term::Str("word 3".to_owned())] {
        index.equal(&term, &mut out);
        index.range(Bound::Excluded(&term), Bound::Unbounded, &mut out);
        index.range(Bound::Unbounded, Bound::Included(&term), &mut out);
    }
    index.range(Bound::Unbounded, Bound::Unbounded, &mut out);
    index.matching("word", |text| text.len() > 3, &mut out);
    index.matching("", |_| true, &mut out);
}

/// Makes the header's checksum right again.
fn seal(file: &mut [u8]) {
    let sum = checksum(&file[..SUM]);
    file[SUM..HEADER].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn each_opens_as_what_it_is() {
    for (i, file) in FILES.iter().enumerate() {
        let (graph, lists) = use_all(&aligned(file));
        assert_eq!((graph.is_ok(), lists.is_ok()), (i < 3, i >= 3), "file {i}");
    }
}

#[test]
fn every_bit_of_the_header_counts() {
    for file in FILES.iter() {
        for bit in 0..HEADER * 8 {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let (graph, lists) = use_all(&aligned(&damaged));
            assert!(
                matches!(graph, Err(Error::Invalid(_))) && matches!(lists, Err(Error::Invalid(_))),
                "bit {bit}"
            );
        }
    }
}

#[test]
fn every_bit_of_the_body_is_harmless() {
    for file in FILES.iter() {
        for byte in HEADER..file.len() {
            let mut damaged = file.clone();
            damaged[byte] ^= 1 << (byte % 8);
            use_all(&aligned(&damaged)).0.ok();
        }
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    for file in FILES.iter() {
        for length in 0..file.len() {
            let (graph, lists) = use_all(&aligned(&file[..length]));
            assert!(graph.is_err() && lists.is_err(), "cut to {length} of {}", file.len());
        }
    }
}

#[test]
fn bytes_after_the_last_section_are_ignored() {
    for (i, file) in FILES.iter().enumerate() {
        let longer = [file.as_slice(), &[7; 100]].concat();
        let (graph, lists) = use_all(&aligned(&longer));
        assert_eq!((graph.is_ok(), lists.is_ok()), (i < 3, i >= 3));
    }
}

#[test]
fn a_newer_format_says_so() {
    for (i, file) in FILES.iter().enumerate() {
        let mut newer = file.clone();
        newer[8..12].copy_from_slice(&9u32.to_le_bytes());
        seal(&mut newer);
        let (graph, lists) = use_all(&aligned(&newer));
        let found = if i < 3 { graph } else { lists };
        assert_eq!(found, Err(Error::NewerFormat { found: 9, known: 1 }));
    }
}

#[test]
fn bytes_that_are_not_aligned_are_refused() {
    let padded = aligned(&[&[0], FILES[0].as_slice()].concat());
    let refused = HnswIndex::open(padded.slice(1..)).err();
    assert_eq!(refused, Some(Error::Invalid("not aligned in memory".to_owned())));
}

/// Numbers that are likely to hurt.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0u32..200, 1 => any::<u32>(), 1 => prop::sample::select(vec![u32::MAX, u32::MAX - 1, 1 << 31, 1 << 16])]
}

/// A field of the header: one of the 12 words, or an offset or a length of a section.
fn change() -> impl Strategy<Value = (usize, u64)> {
    prop_oneof![
        (0usize..12, number()).prop_map(|(word, to)| (16 + word * 4, u64::from(to))),
        (
            0usize..16,
            prop_oneof![(0u64..100).prop_map(|n| n * 64), any::<u64>(), Just(u64::MAX), Just(u64::MAX - 63)]
        )
            .prop_map(|(field, to)| (64 + field * 8, to)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        use_all(&aligned(&bytes)).0.ok();
    }

    #[test]
    fn any_header_under_a_right_checksum_ends(file in 0usize..5, changes in prop::collection::vec(change(), 1..6)) {
        let mut file = FILES[file].clone();
        for (at, to) in changes {
            let width = if at < 64 { 4 } else { 8 };
            file[at..at + width].copy_from_slice(&to.to_le_bytes()[..width]);
        }
        seal(&mut file);
        use_all(&aligned(&file)).0.ok();
    }

    #[test]
    fn any_body_under_a_right_header_ends(
        file in 0usize..5,
        changes in prop::collection::vec((any::<prop::sample::Index>(), number()), 1..30),
    ) {
        let mut file = FILES[file].clone();
        let words = (file.len() - HEADER) / 4;
        for (at, to) in changes {
            let at = HEADER + at.index(words) * 4;
            file[at..at + 4].copy_from_slice(&to.to_le_bytes());
        }
        use_all(&aligned(&file)).0.ok();
    }
}

#[test]
fn metrics_have_numbers() {
    for (metric, number) in [(Metric::L2, 1u32), (Metric::Ip, 2), (Metric::Cosine, 3)] {
        let file = build_hnsw(ROWS.view(), metric, BuildOptions::default()).expect("built");
        assert_eq!(file[16..20], number.to_le_bytes());
        assert_eq!(file[20..24], 4u32.to_le_bytes(), "the dimension");
        assert_eq!(file[28..32], 120u32.to_le_bytes(), "the rows");
    }
}
