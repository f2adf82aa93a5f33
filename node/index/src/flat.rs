//! Exact scan: every row that the filter leaves, nearest first.

use crate::vector_index::{Query, SearchParams, Vectors};
use mishards_types::{Bitmap, TopK};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows between two looks at whether anybody still waits.
const STRIDE: usize = 4096;

/// The nearest rows.
#[derive(Debug)]
pub struct Nearest {
    /// (distance, row), nearest first, ties by row.
    pub rows: Vec<(f32, u32)>,
    /// Rows as far as the last one were left out: which of them to have is the caller's to decide.
    pub is_tied: bool,
}

/// Up to `params.k` nearest rows. Once `stop` is set the answer means nothing.
pub fn scan(
    vectors: Vectors<'_>,
    query: &Query<'_>,
    params: SearchParams,
    filter: Option<&Bitmap>,
    stop: &AtomicBool,
) -> Nearest {
    let mut top = TopK::new(params.k);
    each_row(vectors.len(), filter, stop, |row| {
        let d = query.distance(vectors.row(row));
        if params.bounds.admit(d) {
            top.push(d, row as u32);
        }
    });
    Nearest { is_tied: top.is_tied(), rows: top.into_sorted() }
}

/// Every row at exactly this distance, ascending.
pub fn rows_at(
    vectors: Vectors<'_>,
    query: &Query<'_>,
    distance: f32,
    filter: Option<&Bitmap>,
    stop: &AtomicBool,
) -> Vec<u32> {
    let mut out = Vec::new();
    each_row(vectors.len(), filter, stop, |row| {
        if query.distance(vectors.row(row)) == distance {
            out.push(row as u32);
        }
    });
    out
}

fn each_row(rows: usize, filter: Option<&Bitmap>, stop: &AtomicBool, mut visit: impl FnMut(usize)) {
    let mut left = STRIDE;
    let mut visit = |row| {
        visit(row);
        left -= 1;
        if left == 0 {
            left = STRIDE;
            if stop.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    };
    let _ = match filter {
        Some(filter) => filter.iter().try_for_each(&mut visit),
        None => (0..rows).try_for_each(&mut visit),
    };
}
