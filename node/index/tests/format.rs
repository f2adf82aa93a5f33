//! The bytes of small index files, compared with what FORMAT.md says, field by field.

mod vectors;

use mishards_index::{BuildOptions, InvertedBuilder, Term, Vectors, build_hnsw};
use mishards_types::{Metric, checksum};

const HEADER: usize = 256;

fn u32_at(file: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]])
}

fn u64_at(file: &[u8], at: usize) -> usize {
    u64::from_le_bytes(file[at..at + 8].try_into().expect("eight bytes")) as usize
}

fn word(file: &[u8], i: usize) -> u32 {
    u32_at(file, 16 + i * 4)
}

fn section(file: &[u8], i: usize) -> &[u8] {
    let (offset, length) = (u64_at(file, 64 + i * 16), u64_at(file, 72 + i * 16));
    assert!(offset >= HEADER && offset.is_multiple_of(64));
    &file[offset..offset + length]
}

fn numbers(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|b| u32_at(b, 0)).collect()
}

/// What all kinds have in common.
fn assert_header(file: &[u8], magic: &[u8; 8], words: usize, sections: usize) {
    assert_eq!(&file[..8], magic);
    assert_eq!((u32_at(file, 8), u32_at(file, 12)), (1, 0), "format, zero");
    assert!((words..12).all(|i| word(file, i) == 0));
    assert!(file[64 + sections * 16..HEADER - 8].iter().all(|b| *b == 0));
    assert_eq!(u64_at(file, HEADER - 8) as u64, checksum(&file[..HEADER - 8]));
    let mut end = HEADER;
    for i in 0..sections {
        let offset = u64_at(file, 64 + i * 16);
        assert_eq!(offset, end.next_multiple_of(64), "section {i} follows the one before");
        assert!(file[end..offset].iter().all(|b| *b == 0));
        end = offset + section(file, i).len();
    }
    assert_eq!(end, file.len());
}

#[test]
fn graph() {
    // Five rows, three nodes: rows 0, 2 and 4 are equal.
    let data = [3.0, 4.0, 0.0, 0.0, 3.0, 4.0, 1.0, 0.0, 3.0, 4.0];
    let options = BuildOptions { m: 4, ef_construction: 16, serial: true };
    for (metric, number) in [(Metric::L2, 1), (Metric::Ip, 2), (Metric::Cosine, 3)] {
        let file = build_hnsw(Vectors { data: &data, dim: 2 }, metric, options).expect("built");
        assert_header(&file, b"\x4d\x53\x48\x48\x4e\x53\x57\x0a", 8, 7);
        assert_eq!((0..5).map(|i| word(&file, i)).collect::<Vec<_>>(), [number, 2, 4, 5, 3]);
        let (entry, d0, du) = (word(&file, 5), word(&file, 6) as usize, word(&file, 7) as usize);
        let levels = section(&file, 0);
        assert_eq!(levels.len(), 3);
        assert_eq!(levels.get(entry as usize), levels.iter().max());
        let lowest = numbers(section(&file, 1));
        assert_eq!(lowest.len(), 3 * (d0 + 1));
        for (node, list) in lowest.chunks_exact(d0 + 1).enumerate() {
            let (links, rest) = list[1..].split_at(list[0] as usize);
            assert!(!links.is_empty() && links.iter().all(|n| *n < 3 && *n as usize != node));
            assert!(rest.iter().all(|n| *n == 0));
        }
        let upper_nodes = numbers(section(&file, 2)).iter().filter(|at| **at != u32::MAX).count();
        assert_eq!(upper_nodes, levels.iter().filter(|level| **level > 0).count());
        let lists: usize = levels.iter().map(|level| usize::from(*level)).sum();
        assert_eq!(numbers(section(&file, 3)).len(), lists * (du + 1));
        assert_eq!(numbers(section(&file, 4)), [0, 3, 4, 5]);
        assert_eq!(numbers(section(&file, 5)), [0, 2, 4, 1, 3]);
        let norms: Vec<f32> = numbers(section(&file, 6)).into_iter().map(f32::from_bits).collect();
        assert_eq!(norms, if metric == Metric::Cosine { vec![0.2, 0.0, 1.0] } else { Vec::new() });
    }
}

#[test]
fn inverted_integers_and_floats() {
    let mut ints = InvertedBuilder::default();
    [(0, 5), (1, -7), (1, 5), (3, -7)].iter().for_each(|(row, v)| ints.add(*row, Term::Int(*v)));
    let file = ints.finish(4);
    assert_header(&file, b"\x4d\x53\x48\x49\x4e\x56\x54\x0a", 3, 5);
    assert_eq!((word(&file, 0), word(&file, 1), word(&file, 2)), (1, 4, 2));
    assert_eq!(section(&file, 0), [(-7i64).to_le_bytes(), 5i64.to_le_bytes()].concat());
    assert_eq!((numbers(section(&file, 1)), section(&file, 2).len()), (vec![0], 0));
    assert_eq!((numbers(section(&file, 3)), numbers(section(&file, 4))), (vec![0, 2, 4], vec![1, 3, 0, 1]));

    let mut floats = InvertedBuilder::default();
    let values = [(0, 0.5), (1, -0.0), (2, f64::NAN), (3, 0.0), (4, f64::NEG_INFINITY)];
    values.iter().for_each(|(row, v)| floats.add(*row, Term::Float(*v)));
    let file = floats.finish(5);
    assert_header(&file, b"\x4d\x53\x48\x49\x4e\x56\x54\x0a", 3, 5);
    assert_eq!((word(&file, 0), word(&file, 1), word(&file, 2)), (2, 5, 3));
    assert_eq!(
        section(&file, 0),
        [f64::NEG_INFINITY.to_le_bytes(), 0f64.to_le_bytes(), 0.5f64.to_le_bytes()].concat()
    );
    assert_eq!(
        (numbers(section(&file, 3)), numbers(section(&file, 4))),
        (vec![0, 1, 3, 4], vec![4, 1, 3, 0])
    );
}

#[test]
fn inverted_text() {
    let mut texts = InvertedBuilder::default();
    [(0, "é"), (1, ""), (2, "abc"), (3, "é")]
        .iter()
        .for_each(|(row, s)| texts.add(*row, Term::Str((*s).to_owned())));
    let file = texts.finish(9);
    assert_header(&file, b"\x4d\x53\x48\x49\x4e\x56\x54\x0a", 3, 5);
    assert_eq!((word(&file, 0), word(&file, 1), word(&file, 2)), (3, 9, 3));
    assert!(section(&file, 0).is_empty());
    assert_eq!((numbers(section(&file, 1)), section(&file, 2)), (vec![0, 0, 3, 5], "abcé".as_bytes()));
    assert_eq!(
        (numbers(section(&file, 3)), numbers(section(&file, 4))),
        (vec![0, 1, 2, 4], vec![1, 2, 0, 3])
    );
    assert_header(&InvertedBuilder::default().finish(7), b"\x4d\x53\x48\x49\x4e\x56\x54\x0a", 3, 5);
}
