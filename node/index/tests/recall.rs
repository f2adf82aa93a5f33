//! Recall of the graph on data that is not of unit length and not spread evenly, for every metric: what real embeddings,
//! factor models and duplicated records look like.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod vectors;

use mishards_index::{
    Bounds, BuildOptions, HnswIndex, Query, SearchParams, VectorIndex, Vectors, build_hnsw, scan,
};
use mishards_types::Metric;
use std::sync::atomic::AtomicBool;
use vectors::{Random, aligned};

const ROWS: usize = 4000;
const QUERIES: usize = 100;
const K: usize = 10;

/// A way to make a vector.
type Make = fn(&mut Random, usize) -> Vec<f32>;

fn normal(random: &mut Random, dim: usize) -> Vec<f32> {
    (0..dim).map(|_| random.normal()).collect()
}

fn scaled(vector: Vec<f32>, by: f32) -> Vec<f32> {
    vector.into_iter().map(|x| x * by).collect()
}

const DATA: &[(&str, Make)] = &[
    ("normal", normal),
    ("log-normal lengths", |random, dim| {
        let length = random.normal().exp();
        scaled(normal(random, dim), length)
    }),
    ("a long tail", |random, dim| {
        let length = if random.below(100) == 0 { 50.0 } else { 1.0 };
        scaled(normal(random, dim), length)
    }),
    ("clusters", |random, dim| {
        let mut centre = Random(1000 + random.below(40) as u64);
        let centre = scaled(normal(&mut centre, dim), 4.0);
        normal(random, dim).iter().zip(centre).map(|(x, c)| x + c).collect()
    }),
    ("sparse-like", |random, dim| {
        (0..dim).map(|_| if random.below(4) == 0 { random.normal().abs() } else { 0.0 }).collect()
    }),
    ("clones", |random, dim| {
        let mut one_of = Random(5000 + random.below(2000) as u64);
        normal(&mut one_of, dim)
    }),
];

fn recall(metric: Metric, make: Make, dim: usize, seed: u64) -> f64 {
    let mut random = Random(seed);
    let data: Vec<f32> = (0..ROWS).flat_map(|_| make(&mut random, dim)).collect();
    let queries: Vec<Vec<f32>> = (0..QUERIES).map(|_| make(&mut random, dim)).collect();
    let vectors = Vectors { data: &data, dim };
    let options = BuildOptions { m: 16, ef_construction: 200, serial: true };
    let index = HnswIndex::open(aligned(&build_hnsw(vectors, metric, options).unwrap())).unwrap();
    let never = AtomicBool::new(false);
    let mut found = 0;
    for query in &queries {
        let query = Query::new(metric, query);
        let params = SearchParams { k: K, ef: 64, bounds: Bounds::NONE };
        let exact = scan(vectors, &query, params, None, &never).rows;
        // By distance: of clones any will do.
        let bound = exact.last().unwrap().0;
        let near = index.search(vectors, &query, params, None, &never);
        found += near.iter().take(K).filter(|(distance, _)| *distance <= bound).count();
    }
    found as f64 / (QUERIES * K) as f64
}

/// What is enough: 0.95, but where the graph of faiss 1.15 with the same M, efConstruction and ef does not reach that either.
/// Measured with it on data made alike: even directions in 64 dimensions 0.86 to 0.92, log-normal lengths under L2 0.93 in
/// 16 dimensions and 0.50 in 64.
fn enough(name: &str, metric: Metric, dim: usize) -> f64 {
    match (name, metric, dim) {
        ("log-normal lengths", Metric::L2, 64) => 0.45,
        ("log-normal lengths", Metric::L2, 16) => 0.88,
        ("a long tail" | "log-normal lengths", Metric::Ip, _) => 0.95,
        ("normal" | "a long tail" | "log-normal lengths", _, 64) => 0.87,
        _ => 0.95,
    }
}

fn holds_for(metric: Metric) {
    let mut low = Vec::new();
    for (name, make) in DATA {
        for dim in [16, 64] {
            let recall = recall(metric, *make, dim, 7);
            println!("{name}, {}, dim {dim}: {recall:.3}", metric.name());
            if recall < enough(name, metric, dim) {
                low.push(format!("{name}, dim {dim}: {recall:.3}"));
            }
        }
    }
    assert!(low.is_empty(), "recall@10 of {} at ef 64 is too low: {low:#?}", metric.name());
}

#[test]
fn l2_recall_holds_for_every_shape_of_data() {
    holds_for(Metric::L2);
}

#[test]
fn inner_product_recall_holds_for_every_shape_of_data() {
    holds_for(Metric::Ip);
}

#[test]
fn cosine_recall_holds_for_every_shape_of_data() {
    holds_for(Metric::Cosine);
}
