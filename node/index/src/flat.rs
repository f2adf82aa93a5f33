//! Exact scan: every row that the filter leaves, nearest first.

use crate::vector_index::{Query, SearchParams, Vectors};
use mishards_types::{Bitmap, TopK};

/// Up to `params.k` nearest rows as (distance, row), nearest first, ties by row.
pub fn scan(
    vectors: Vectors<'_>,
    query: &Query<'_>,
    params: SearchParams,
    filter: Option<&Bitmap>,
) -> Vec<(f32, u32)> {
    let mut top = TopK::new(params.k);
    let mut visit = |row: usize| {
        let d = query.distance(vectors.row(row));
        if params.bounds.admit(d) {
            top.push(d, row as u32);
        }
    };
    match filter {
        Some(filter) => filter.iter().for_each(&mut visit),
        None => (0..vectors.len()).for_each(&mut visit),
    }
    top.into_sorted()
}
