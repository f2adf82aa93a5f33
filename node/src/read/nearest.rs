//! The nearest rows of one unit for one query: by graph where there is one and it pays, by exact scan elsewhere. In the one
//! order that holds everywhere: by distance, then by key.

use super::search::SearchJob;
use super::{Found, newest_copies};
use crate::Result;
use crate::cancel::Cancel;
use crate::unit::Unit;
use mishards_index::{Bounds, Query, SearchParams, VectorIndex, Vectors, rows_at, scan};
use mishards_types::{Bitmap, limits};

/// Units with fewer admitted rows than this are scanned.
const SCAN_ROWS: usize = 4096;
/// A graph is walked only when the filter leaves at least one row in this many.
const SCAN_SELECTIVITY: usize = 12;

/// What one unit has for one query.
pub struct UnitHits {
    /// Each key once, nearest first, ties by key.
    pub found: Vec<Found>,
    /// Rows at or beyond the last distance may have been left out.
    pub is_cut: bool,
}

impl UnitHits {
    /// What they take, about.
    pub fn bytes(&self) -> usize {
        self.found.iter().map(|row| limits::HIT_BYTES + row.key.text_bytes()).sum()
    }
}

/// One query over one unit.
pub struct Probe<'a> {
    pub job: &'a SearchJob,
    pub query: &'a Query<'a>,
    /// The unit's place among those of the request.
    pub index: usize,
    pub unit: &'a Unit,
    pub filter: Option<&'a Bitmap>,
    pub cancel: &'a Cancel,
}

impl Probe<'_> {
    /// The `k` best rows that the filter leaves, each key once.
    pub fn best(&self, k: usize) -> Result<UnitHits> {
        let matching = self.filter.map_or(self.unit.rows.len(), Bitmap::count);
        if matching == 0 {
            return Ok(UnitHits { found: Vec::new(), is_cut: false });
        }
        let k = k.min(matching);
        let mut wanted = k;
        loop {
            let rows = self.nearest(matching, wanted);
            let exhausted = rows.len() < wanted || wanted == matching;
            let (mut found, mut bytes) = (Vec::with_capacity(rows.len()), 0);
            for (distance, row) in rows {
                let row = self.found(distance, row);
                bytes += row.key.text_bytes();
                limits::check_gathered(found.len() + 1, bytes)?;
                found.push(row);
            }
            if self.unit.repeated_keys {
                found = newest_copies(found);
            }
            // Copies of keys used up places: look further.
            if found.len() < k && !exhausted && !self.cancel.is_cancelled() {
                wanted = (wanted * 2).min(matching);
                continue;
            }
            sort(&mut found);
            let is_cut = !exhausted || found.len() > k;
            found.truncate(k);
            return Ok(UnitHits { found, is_cut });
        }
    }

    /// Every row at exactly this distance.
    pub fn at(&self, distance: f32) -> Vec<Found> {
        let Some(vectors) = self.vectors() else { return Vec::new() };
        let rows = rows_at(vectors, self.query, distance, self.filter, self.cancel.flag());
        rows.into_iter().map(|row| self.found(distance, row)).collect()
    }

    fn found(&self, distance: f32, row: u32) -> Found {
        let unit = self.unit;
        Found { unit: self.index, row, key: unit.key(row), timestamp: unit.timestamp(row), distance }
    }

    fn vectors(&self) -> Option<Vectors<'_>> {
        let (data, dim) = self.unit.rows.vector(self.job.field)?;
        Some(Vectors { data, dim })
    }

    /// The `k` nearest rows; of those that are as far as the last one, the ones with the smallest keys.
    fn nearest(&self, matching: usize, k: usize) -> Vec<(f32, u32)> {
        let Some(vectors) = self.vectors() else { return Vec::new() };
        let params = SearchParams { k, ef: self.job.ef, bounds: self.job.bounds };
        if let Some(rows) = self.by_graph(vectors, matching, params) {
            return self.first_by_key(rows, k);
        }
        let nearest = scan(vectors, self.query, params, self.filter, self.cancel.flag());
        let mut rows = nearest.rows;
        if nearest.is_tied
            && let Some(last) = rows.last().map(|(distance, _)| *distance)
        {
            rows.retain(|(distance, _)| *distance < last);
            let tied = rows_at(vectors, self.query, last, self.filter, self.cancel.flag());
            rows.extend(tied.into_iter().map(|row| (last, row)));
        }
        self.first_by_key(rows, k)
    }

    /// The answer of the graph, where there is one, it pays, and it finds enough.
    fn by_graph(&self, vectors: Vectors, matching: usize, params: SearchParams) -> Option<Vec<(f32, u32)>> {
        let job = self.job;
        let pays = !job.exact
            && matching >= SCAN_ROWS
            && matching * SCAN_SELECTIVITY >= self.unit.rows.len()
            && params.k * 4 < matching;
        let graph = self.unit.graphs.get(&job.field).filter(|g| pays && g.metric() == job.metric)?;
        // The far bound is applied after the walk: inside, it would make the walk visit everything.
        let near_only = SearchParams { bounds: Bounds { far: f32::INFINITY, ..job.bounds }, ..params };
        let mut rows = graph.search(vectors, self.query, near_only, self.filter, self.cancel.flag());
        let reached_bound = !job.bounds.is_none() && rows.last().is_some_and(|r| r.0 >= job.bounds.far);
        if rows.len() < params.k && !reached_bound {
            return None;
        }
        rows.retain(|(d, _)| job.bounds.admit(*d));
        Some(rows)
    }

    /// Cuts rows that stand nearest first to `k`; of those that are as far as the last, the smallest keys stay.
    fn first_by_key(&self, mut rows: Vec<(f32, u32)>, k: usize) -> Vec<(f32, u32)> {
        if rows.len() > k
            && let Some(last) = rows.get(k.saturating_sub(1)).map(|(distance, _)| *distance)
        {
            let from = rows.partition_point(|(distance, _)| *distance < last);
            let keep = k - from;
            if keep < rows.len() - from {
                rows[from..].select_nth_unstable_by(keep, |a, b| self.unit.compare_keys(a.1, b.1));
            }
            rows.truncate(k);
        }
        rows
    }
}

/// The one order: nearest first, ties by the smaller key.
pub fn sort(found: &mut [Found]) {
    found.sort_by(|a, b| a.distance.total_cmp(&b.distance).then_with(|| a.key.cmp(&b.key)));
}
