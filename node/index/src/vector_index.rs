//! The seam for vector index types: one file per type, this contract for all.

use crate::distance::{Kernel, normalize};
use mishards_types::{Bitmap, Metric};
use std::borrow::Cow;
use std::sync::atomic::AtomicBool;

/// Row-major vectors: row `i` is `data[i * dim..][..dim]`.
#[derive(Debug, Clone, Copy)]
pub struct Vectors<'a> {
    pub data: &'a [f32],
    pub dim: usize,
}

impl<'a> Vectors<'a> {
    pub fn len(&self) -> usize {
        self.data.len() / self.dim.max(1)
    }

    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    #[inline]
    pub fn row(&self, i: usize) -> &'a [f32] {
        &self.data[i * self.dim..(i + 1) * self.dim]
    }
}

/// Distances that may enter a result: `near <= d < far` (or `near < d`, when `near` is exclusive).
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub near: f32,
    pub near_exclusive: bool,
    pub far: f32,
}

impl Bounds {
    pub const NONE: Bounds = Bounds { near: f32::NEG_INFINITY, near_exclusive: false, far: f32::INFINITY };

    #[inline]
    pub fn admit(&self, d: f32) -> bool {
        let is_near_enough = d < self.far || (self.far == f32::INFINITY && d == self.far);
        is_near_enough && (d > self.near || (d == self.near && !self.near_exclusive))
    }

    pub fn is_none(&self) -> bool {
        self.near == f32::NEG_INFINITY && self.far == f32::INFINITY
    }
}

/// How hard to search.
#[derive(Debug, Clone, Copy)]
pub struct SearchParams {
    /// Number of rows wanted.
    pub k: usize,
    /// Size of the candidate list; at least `k` is used.
    pub ef: usize,
    pub bounds: Bounds,
}

/// A query vector made ready for many distances: distances are smaller for nearer (see `Metric::distance`).
#[derive(Debug, Clone)]
pub struct Query<'a> {
    pub metric: Metric,
    /// As it came; for COSINE of length 1, so that its product with a stored vector stays in range.
    vector: Cow<'a, [f32]>,
    kernel: Kernel,
}

impl<'a> Query<'a> {
    pub fn new(metric: Metric, vector: &'a [f32]) -> Query<'a> {
        let mut vector = Cow::Borrowed(vector);
        if metric == Metric::Cosine {
            normalize(vector.to_mut());
        }
        Query { metric, vector, kernel: Kernel::best() }
    }

    /// Distance to a stored vector. Never NaN: where sums of both signs overflow, the vector counts as farthest.
    #[inline]
    pub fn distance(&self, stored: &[f32]) -> f32 {
        let distance = match self.metric {
            Metric::L2 => self.kernel.squared_l2(&self.vector, stored),
            Metric::Ip => -self.kernel.dot(&self.vector, stored),
            Metric::Cosine => {
                let norm = self.kernel.inverse_norm(stored);
                self.cosine(stored, norm)
            }
        };
        known(distance)
    }

    /// Distance to a stored vector whose inverse norm is known (used by COSINE only).
    #[inline]
    pub fn distance_with_norm(&self, stored: &[f32], inverse_norm: f32) -> f32 {
        match self.metric {
            Metric::Cosine => known(self.cosine(stored, inverse_norm)),
            _ => self.distance(stored),
        }
    }

    #[inline]
    fn cosine(&self, stored: &[f32], inverse_norm: f32) -> f32 {
        -(self.kernel.dot(&self.vector, stored) * inverse_norm).clamp(-1.0, 1.0)
    }
}

/// Sums of both signs that overflow are no number: such a vector counts as farthest.
fn known(distance: f32) -> f32 {
    if distance.is_nan() { f32::INFINITY } else { distance }
}

/// A vector index over the rows of one segment. Immutable.
pub trait VectorIndex: Send + Sync {
    /// Name of the type, as in a segment's descriptor.
    fn kind(&self) -> &'static str;

    /// Number of rows that it covers.
    fn rows(&self) -> usize;

    /// Rows near the query, as (distance, row), nearest first, ties by row: `params.k` of them, and those that were found
    /// as far as the last of these. Only rows in `filter` are returned. Fewer than `k` come back when the index could not
    /// find more: the caller then scans. Once `stop` is set the answer means nothing.
    fn search(
        &self,
        vectors: Vectors<'_>,
        query: &Query<'_>,
        params: SearchParams,
        filter: Option<&Bitmap>,
        stop: &AtomicBool,
    ) -> Vec<(f32, u32)>;
}
