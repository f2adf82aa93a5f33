//! Vectors to search: clusters under a seed, the sample data, and the exact answers to compare with.
#![allow(dead_code, reason = "each test program uses a part of it")]

use bytes::Bytes;
use half::f16;
use mishards_index::{
    Bounds, BuildOptions, HnswIndex, Query, SearchParams, VectorIndex, Vectors, build_hnsw, scan,
};
use mishards_types::{Bitmap, Metric};
use std::sync::atomic::AtomicBool;

/// Rows wanted, size of the candidate list, and the recall that is enough.
pub const K: usize = 10;
pub const EF: usize = 64;
pub const ENOUGH: f64 = 0.95;
pub const METRICS: [Metric; 3] = [Metric::L2, Metric::Ip, Metric::Cosine];

/// What the graph finds, without the rows that are as far as the last one wanted.
pub fn find(
    index: &HnswIndex,
    vectors: Vectors,
    query: &Query,
    params: SearchParams,
    filter: Option<&Bitmap>,
) -> Vec<(f32, u32)> {
    let mut found = index.search(vectors, query, params, filter, &NEVER);
    if let Some(last) = found.get(params.k.max(1) - 1).map(|hit| hit.0) {
        assert!(found.iter().skip(params.k).all(|hit| hit.0 == last), "more than ties beyond k");
    }
    found.truncate(params.k);
    found
}

/// Nobody leaves.
pub static NEVER: AtomicBool = AtomicBool::new(false);

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly in [0, 1).
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 24) as f32
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.bits() % limit as u64) as usize
    }

    /// Close enough to the normal distribution.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }
}

/// Owned row-major vectors.
pub struct Rows {
    pub data: Vec<f32>,
    pub dim: usize,
}

impl Rows {
    pub fn view(&self) -> Vectors<'_> {
        Vectors { data: &self.data, dim: self.dim }
    }

    pub fn row(&self, i: usize) -> &[f32] {
        self.view().row(i)
    }

    pub fn len(&self) -> usize {
        self.view().len()
    }

    pub fn scale_row(&mut self, i: usize, by: f32) {
        let dim = self.dim;
        self.data[i * dim..(i + 1) * dim].iter_mut().for_each(|x| *x *= by);
    }
}

/// `count` vectors around 40 centres.
pub fn clustered(count: usize, dim: usize, seed: u64) -> Rows {
    let mut random = Random(seed);
    let centres: Vec<f32> = (0..40 * dim).map(|_| random.normal()).collect();
    let mut data = Vec::with_capacity(count * dim);
    for _ in 0..count {
        let centre = random.below(40);
        data.extend((0..dim).map(|d| centres[centre * dim + d] + 0.4 * random.normal()));
    }
    Rows { data, dim }
}

/// Every `step`th row, moved a little.
pub fn questions(rows: &Rows, step: usize) -> Rows {
    let mut random = Random(99);
    let data = (0..rows.len())
        .step_by(step)
        .flat_map(|i| rows.row(i))
        .map(|x| x + 0.2 * x * random.normal())
        .collect();
    Rows { data, dim: rows.dim }
}

/// The 5,000 sample vectors, read from their npy file: a header whose length is at byte 8, then f16.
pub fn sample() -> Rows {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/sample/vectors_f16.npy");
    let bytes = std::fs::read(path).expect("the sample data");
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let data = bytes[header..].chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect();
    Rows { data, dim: 384 }
}

/// Bytes at an address that is a multiple of 64, as a map has it.
pub fn aligned(bytes: &[u8]) -> Bytes {
    let mut padded = vec![0u8; bytes.len() + 64];
    let start = padded.as_ptr().align_offset(64);
    padded[start..start + bytes.len()].copy_from_slice(bytes);
    Bytes::from(padded).slice(start..start + bytes.len())
}

pub fn build(rows: &Rows, metric: Metric) -> HnswIndex {
    let file = build_hnsw(rows.view(), metric, BuildOptions::default()).expect("built");
    HnswIndex::open(aligned(&file)).expect("opened")
}

pub fn params(k: usize, ef: usize) -> SearchParams {
    SearchParams { k, ef, bounds: Bounds::NONE }
}

/// Checks what holds for every answer: near to far with ties by row, no row twice, only admitted rows and distances,
/// each distance that of its row.
pub fn assert_sound(
    rows: &Rows,
    query: &Query<'_>,
    params: SearchParams,
    filter: Option<&Bitmap>,
    found: &[(f32, u32)],
) {
    assert!(found.len() <= params.k);
    for pair in found.windows(2) {
        assert!(
            pair[0].0.total_cmp(&pair[1].0).then(pair[0].1.cmp(&pair[1].1)).is_lt(),
            "{pair:?} are out of order"
        );
    }
    let mut seen = Bitmap::zeros(rows.len());
    for (distance, row) in found {
        let row = *row as usize;
        assert!(!seen.get(row), "row {row} twice");
        seen.set(row);
        assert!(filter.is_none_or(|f| f.get(row)), "row {row} is not admitted");
        assert!(params.bounds.admit(*distance), "{distance} is out of bounds");
        let exact = query.distance(rows.row(row));
        assert!(
            (exact - distance).abs() <= 1e-4 * exact.abs().max(1.0) || exact == *distance,
            "{distance}, {exact} of row {row}"
        );
    }
}

/// Share of the exact answers that the index finds; an equally near row counts.
pub fn recall(
    index: &HnswIndex,
    rows: &Rows,
    questions: &Rows,
    params: SearchParams,
    filter: Option<&Bitmap>,
) -> f64 {
    let (mut hits, mut wanted) = (0, 0);
    for i in 0..questions.len() {
        let query = Query::new(index.metric(), questions.row(i));
        let exact = scan(rows.view(), &query, params, filter, &NEVER).rows;
        let found = find(index, rows.view(), &query, params, filter);
        assert_sound(rows, &query, params, filter, &found);
        let last = exact.last().map_or(f32::NEG_INFINITY, |hit| hit.0);
        hits += found.iter().filter(|hit| hit.0 <= last).count().min(exact.len());
        wanted += exact.len();
    }
    if wanted == 0 { 1.0 } else { hits as f64 / wanted as f64 }
}

/// Builds, measures, and prints the figure (seen with `--nocapture`).
pub fn assert_recall(what: &str, rows: &Rows, metric: Metric, filter: Option<&Bitmap>) {
    let index = build(rows, metric);
    let found = recall(&index, rows, &questions(rows, 37), params(K, EF), filter);
    println!("recall@{K}, ef {EF}: {found:.4} {} {what}", metric.name());
    assert!(found >= ENOUGH, "{what}: recall {found} of {}", metric.name());
}
