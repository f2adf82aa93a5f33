//! Vectors at the ends of what a float can hold: zero, huge, tiny, not finite; and the scan against double precision.

mod vectors;

use mishards_index::{BuildOptions, Error, Query, build_hnsw, scan};
use mishards_types::Metric;
use vectors::{EF, K, METRICS, NEVER, assert_recall, assert_sound, build, clustered, find, params};

#[test]
fn what_is_not_finite_is_refused() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut rows = clustered(20, 4, 13);
        rows.data[41] = bad;
        for metric in METRICS {
            let refused = build_hnsw(rows.view(), metric, BuildOptions::default());
            assert!(matches!(&refused, Err(Error::Build(what)) if what.contains("not finite")));
            assert!(refused.is_err_and(|e| !e.is_retryable()));
        }
        let rows = clustered(20, 4, 13);
        for metric in METRICS {
            // A question that is not finite ends, with whatever is ordered.
            let question = [1.0, bad, 0.0, 1.0];
            let query = Query::new(metric, &question);
            find(&build(&rows, metric), rows.view(), &query, params(5, 10), None);
        }
    }
}

#[test]
fn zero_vectors() {
    let mut rows = clustered(500, 8, 14);
    (0..500).step_by(5).for_each(|i| rows.scale_row(i, 0.0));
    for metric in METRICS {
        let index = build(&rows, metric);
        for question in [vec![0.0; 8], rows.row(1).to_vec()] {
            let query = Query::new(metric, &question);
            let found = find(&index, rows.view(), &query, params(500, 500), None);
            assert_sound(&rows, &query, params(500, 500), None, &found);
            assert!(found.len() >= 495, "{} of 500", found.len());
            assert!(found.iter().all(|hit| hit.0.is_finite()));
        }
    }
    let query = Query::new(Metric::Cosine, rows.row(1));
    assert_eq!(query.distance(&[0.0; 8]).abs(), 0.0, "the zero vector's cosine is 0");
}

#[test]
fn cosine_of_extreme_lengths() {
    for scale in [1e30f32, 1e-30, 1e18, 1e-18] {
        let mut rows = clustered(1_500, 16, 15);
        (0..rows.len()).for_each(|i| rows.scale_row(i, scale));
        assert_recall(&format!("scaled by {scale:e}"), &rows, Metric::Cosine, None);
    }
    let query = [3e30f32, 4e30];
    for stored in [[3e30f32, 4e30], [3e-30, 4e-30], [3.0, 4.0]] {
        assert!((Query::new(Metric::Cosine, &query).distance(&stored) + 1.0).abs() < 1e-5, "{stored:?}");
        assert!((Query::new(Metric::Cosine, &stored).distance(&query) + 1.0).abs() < 1e-5, "{stored:?}");
    }
}

#[test]
fn extreme_magnitudes_do_not_panic() {
    let scales = [1e30f32, 1e-30, f32::MAX / 64.0, f32::MIN_POSITIVE, 1e-45, -1e30];
    for scale in scales {
        for mixed in [false, true] {
            let mut rows = clustered(300, 8, 16);
            (0..300).filter(|i| !mixed || i % 3 == 0).for_each(|i| rows.scale_row(i, scale));
            for metric in METRICS {
                let index = build(&rows, metric);
                for i in [0, 1, 2] {
                    let query = Query::new(metric, rows.row(i));
                    let found = find(&index, rows.view(), &query, params(K, EF), None);
                    assert!(found.len() <= K && found.iter().all(|hit| !hit.0.is_nan()));
                }
            }
        }
    }
}

#[test]
fn the_scan_agrees_with_double_precision() {
    let rows = clustered(200, 24, 17);
    for metric in METRICS {
        let query = Query::new(metric, rows.row(7));
        let mut exact: Vec<(f64, u32)> =
            (0..200).map(|i| (reference(metric, rows.row(7), rows.row(i)), i as u32)).collect();
        exact.sort_by(|a, b| a.0.total_cmp(&b.0));
        let found = scan(rows.view(), &query, params(20, 0), None, &NEVER).rows;
        for (hit, (distance, _)) in found.iter().zip(&exact) {
            assert!((f64::from(hit.0) - distance).abs() < 1e-3, "{hit:?}, {distance}");
        }
    }
}

fn reference(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let sum =
        |f: fn(f64, f64) -> f64| a.iter().zip(b).map(|(x, y)| f(f64::from(*x), f64::from(*y))).sum::<f64>();
    match metric {
        Metric::L2 => sum(|x, y| (x - y) * (x - y)),
        Metric::Ip => -sum(|x, y| x * y),
        Metric::Cosine => -sum(|x, y| x * y) / (sum(|x, _| x * x) * sum(|_, y| y * y)).sqrt(),
    }
}
