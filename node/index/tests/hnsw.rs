//! The graph against the exact scan: recall for every metric, with filters, bounds, twins, and vectors of any size.

mod vectors;

use mishards_index::{
    Bounds, BuildOptions, HnswIndex, Query, SearchParams, VectorIndex, Vectors, build_hnsw, scan,
};
use mishards_types::{Bitmap, Metric};
use vectors::{
    EF, ENOUGH, K, METRICS, NEVER, Random, Rows, aligned, assert_recall, assert_sound, build, clustered,
    find, params, questions, recall, sample,
};

#[test]
fn recall_on_clusters() {
    let rows = clustered(4_000, 32, 1);
    METRICS.iter().for_each(|metric| assert_recall("4,000 clustered", &rows, *metric, None));
}

#[test]
fn recall_on_real_embeddings() {
    let rows = sample();
    assert_eq!(rows.len(), 5_000);
    METRICS.iter().for_each(|metric| assert_recall("5,000 sample", &rows, *metric, None));
}

#[test]
fn recall_on_vectors_far_from_unit_length() {
    for (what, low, high) in [
        ("lengths 0.1 to 10", -1.0, 1.0),
        ("lengths 0.001 to 1,000", -3.0, 3.0),
        ("lengths about 1e6", 6.0, 6.1),
    ] {
        let mut rows = clustered(3_000, 24, 2);
        let mut random = Random(3);
        for i in 0..rows.len() {
            let length: f32 = rows.row(i).iter().map(|x| x * x).sum::<f32>().sqrt();
            let power: f32 = low + (high - low) * random.unit();
            rows.scale_row(i, 10f32.powf(power) / length);
        }
        METRICS.iter().for_each(|metric| assert_recall(what, &rows, *metric, None));
    }
}

#[test]
fn recall_in_two_dimensions() {
    let rows = clustered(2_000, 2, 4);
    METRICS.iter().for_each(|metric| assert_recall("2 dimensions", &rows, *metric, None));
}

#[test]
fn filters_admit_only_their_rows() {
    let rows = clustered(4_000, 32, 5);
    for metric in METRICS {
        let index = build(&rows, metric);
        for percent in [50, 10, 1] {
            let mut random = Random(percent);
            let filter = Bitmap::from_fn(rows.len(), |_| random.below(100) < percent as usize);
            let found = recall(&index, &rows, &questions(&rows, 97), params(K, EF), Some(&filter));
            println!("recall@{K}, ef {EF}: {found:.4} {} filter {percent} %", metric.name());
            assert!(found >= ENOUGH, "{percent} %: recall {found}");
        }
        let query = Query::new(metric, rows.row(0));
        let none = Bitmap::zeros(rows.len());
        assert!(find(&index, rows.view(), &query, params(K, EF), Some(&none)).is_empty());
        let mut one = Bitmap::zeros(rows.len());
        one.set(3_999);
        let found = find(&index, rows.view(), &query, params(K, EF), Some(&one));
        assert_eq!(found.iter().map(|hit| hit.1).collect::<Vec<_>>(), [3_999], "the farthest is found");
    }
}

/// Every row `step` rows on becomes a copy of row 0, made by `copy`.
fn with_twins(count: usize, twins: usize, copy: impl Fn(usize, f32) -> f32) -> (Rows, Vec<u32>) {
    let mut rows = clustered(count, 32, 6);
    let step = count / twins;
    let first = rows.row(0).to_vec();
    let places: Vec<u32> = (0..twins).map(|i| (i * step) as u32).collect();
    for (i, row) in places.iter().enumerate() {
        let at = *row as usize * rows.dim;
        first.iter().enumerate().for_each(|(d, x)| rows.data[at + d] = copy(i, *x));
    }
    (rows, places)
}

#[test]
fn twins_come_back_whole() {
    let (rows, places) = with_twins(3_000, 100, |_, x| x);
    for metric in METRICS {
        let index = build(&rows, metric);
        let first = rows.row(0).to_vec();
        // Under IP the longest vectors win over the equal one, so there all that are as near are compared.
        let query = Query::new(metric, &first);
        for k in [100, 150] {
            let found = find(&index, rows.view(), &query, params(k, EF), None);
            assert_sound(&rows, &query, params(k, EF), None, &found);
            let exact = scan(rows.view(), &query, params(k, EF), None, &NEVER).rows;
            let twins = |hits: &[(f32, u32)]| hits.iter().filter(|hit| places.contains(&hit.1)).count();
            assert_eq!(twins(&found), twins(&exact), "{} k {k}", metric.name());
            if metric != Metric::Ip {
                assert_eq!(
                    found[..100].iter().map(|hit| hit.1).collect::<Vec<_>>(),
                    places,
                    "{}",
                    metric.name()
                );
            }
        }
        let ten = find(&index, rows.view(), &query, params(10, EF), None);
        if metric != Metric::Ip {
            assert_eq!(
                ten.iter().map(|hit| hit.1).collect::<Vec<_>>(),
                places[..10],
                "the first ten, by row"
            );
        }
        let recall = recall(&index, &rows, &questions(&rows, 31), params(K, EF), None);
        println!("recall@{K}, ef {EF}: {recall:.4} {} 100 twins", metric.name());
        assert!(recall >= ENOUGH, "{}: recall {recall}", metric.name());
    }
}

#[test]
fn twins_up_to_a_factor_do_not_cut_the_graph() {
    // For COSINE they stand in one point, though no two are equal. For IP the longest of a ray win, as they should.
    let (rows, _) = with_twins(3_000, 150, |i, x| x * (1.0 + i as f32 / 16.0));
    [Metric::L2, Metric::Cosine]
        .iter()
        .for_each(|metric| assert_recall("150 scaled twins", &rows, *metric, None));
    let (rows, _) = with_twins(3_000, 150, |i, x| x + i as f32 * 1e-7);
    METRICS.iter().for_each(|metric| assert_recall("150 near twins", &rows, *metric, None));
}

#[test]
fn nothing_but_twins() {
    let rows = Rows { data: [1.0, 2.0, 3.0].repeat(500), dim: 3 };
    for metric in METRICS {
        let index = build(&rows, metric);
        let query = Query::new(metric, &[3.0, 2.0, 1.0]);
        let found = find(&index, rows.view(), &query, params(500, EF), None);
        assert_eq!(found.iter().map(|hit| hit.1).collect::<Vec<_>>(), (0..500).collect::<Vec<_>>());
    }
}

#[test]
fn more_wanted_than_there_are() {
    let rows = clustered(50, 8, 7);
    for metric in METRICS {
        let index = build(&rows, metric);
        let query = Query::new(metric, rows.row(3));
        for k in [50, 51, 1_000, usize::MAX] {
            for wanted in [params(k, EF), params(k, 0), params(1, k)] {
                let found = find(&index, rows.view(), &query, wanted, None);
                assert_sound(&rows, &query, wanted, None, &found);
                assert_eq!(found.len(), wanted.k.min(50));
            }
        }
        assert!(find(&index, rows.view(), &query, params(0, EF), None).is_empty());
    }
}

#[test]
fn few_rows_and_none() {
    for metric in METRICS {
        for count in [0, 1, 2, 3] {
            let rows = clustered(count, 8, 8);
            let index = build(&rows, metric);
            assert_eq!((index.rows(), index.dim(), index.metric(), index.kind()), (count, 8, metric, "hnsw"));
            let query = Query::new(metric, &[1.0; 8]);
            let found = find(&index, rows.view(), &query, params(K, EF), None);
            assert_eq!(found, scan(rows.view(), &query, params(K, EF), None, &NEVER).rows);
            assert_eq!(found.len(), count);
        }
    }
}

#[test]
fn vectors_of_another_segment_give_nothing() {
    let rows = clustered(50, 8, 9);
    let index = build(&rows, Metric::L2);
    let query = Query::new(Metric::L2, rows.row(0));
    for data in [&rows.data[..8 * 49], &[]] {
        assert!(find(&index, Vectors { data, dim: 8 }, &query, params(K, EF), None).is_empty());
    }
    assert!(find(&index, Vectors { data: &rows.data, dim: 4 }, &query, params(K, EF), None).is_empty());
}

#[test]
fn bounds_cut_on_both_sides() {
    let rows = clustered(3_000, 16, 10);
    for metric in METRICS {
        let index = build(&rows, metric);
        let (mut hits, mut wanted) = (0, 0);
        for i in (0..3_000).step_by(211) {
            let query = Query::new(metric, rows.row(i));
            let ranked = scan(rows.view(), &query, params(100, 100), None, &NEVER).rows;
            let (near, far) = (ranked[20].0, ranked[60].0);
            for near_exclusive in [false, true] {
                let bounded = SearchParams { k: 50, ef: 100, bounds: Bounds { near, near_exclusive, far } };
                let found = find(&index, rows.view(), &query, bounded, None);
                assert_sound(&rows, &query, bounded, None, &found);
                let exact = scan(rows.view(), &query, bounded, None, &NEVER).rows;
                assert_eq!(exact.len(), 40 - usize::from(near_exclusive), "from rank 20 to 59");
                hits += found.iter().filter(|hit| exact.contains(hit)).count();
                wanted += exact.len();
            }
        }
        println!("recall of ranges: {:.4} {}", hits as f64 / wanted as f64, metric.name());
        assert!(hits as f64 >= ENOUGH * wanted as f64, "{}: {hits} of {wanted}", metric.name());
    }
}

#[test]
fn serial_builds_are_equal_byte_for_byte() {
    let rows = clustered(1_500, 16, 11);
    for metric in METRICS {
        let options = BuildOptions { serial: true, ..BuildOptions::default() };
        let first = build_hnsw(rows.view(), metric, options).expect("built");
        let second = build_hnsw(rows.view(), metric, options).expect("built");
        assert!(first == second, "{}: two builds differ", metric.name());
        let index = HnswIndex::open(aligned(&first)).expect("opened");
        assert!(recall(&index, &rows, &questions(&rows, 37), params(K, EF), None) >= ENOUGH);
    }
}

#[test]
fn any_degree_builds() {
    let rows = clustered(600, 8, 12);
    for m in [0, 1, 2, 5, 48, 128, 1_000] {
        let options = BuildOptions { m, ef_construction: 40, serial: false };
        let file = build_hnsw(rows.view(), Metric::L2, options).expect("built");
        let index = HnswIndex::open(aligned(&file)).expect("opened");
        let found = recall(&index, &rows, &questions(&rows, 37), params(K, EF), None);
        assert!(found >= if m < 5 { 0.5 } else { ENOUGH }, "m {m}: recall {found}");
    }
}
