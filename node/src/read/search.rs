//! The nearest rows of some units: by graph where there is one and it pays, by exact scan elsewhere.

use super::{Found, ReadScope, admitted, group, newest_copies};
use crate::unit::Unit;
use crate::{Failure, Result};
use mishards_expr::{Operand, Step};
use mishards_index::{Bounds, Query, SearchParams, VectorIndex, Vectors, scan};
use mishards_proto::node::SearchRequest;
use mishards_types::{Bitmap, Error, FieldId, Metric};
use rayon::prelude::*;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Units with fewer admitted rows than this are scanned.
const SCAN_ROWS: usize = 4096;
/// A graph is walked only when the filter leaves at least one row in this many.
const SCAN_SELECTIVITY: usize = 12;

/// Rows of one query, nearest first, each with its group key when grouped.
pub type Hits = Vec<(Found, Option<String>)>;

/// A decoded search.
pub struct SearchJob {
    pub scope: Arc<ReadScope>,
    pub field: FieldId,
    pub metric: Metric,
    pub vectors: Vec<f32>,
    pub nq: usize,
    pub k: usize,
    pub ef: usize,
    pub exact: bool,
    pub bounds: Bounds,
    pub group: Option<Grouping>,
}

/// The best `size` rows of each of the best `k` groups.
pub struct Grouping {
    pub key: Operand,
    pub size: usize,
    /// Empty means any group.
    pub only: HashSet<String>,
}

impl SearchJob {
    /// The grouping of a request, if it asks for one.
    pub fn grouping(request: &SearchRequest, scope: &ReadScope) -> Result<Option<Grouping>> {
        let Some(field) = request.group_field_id.map(FieldId) else { return Ok(None) };
        let unknown = || Failure::from(Error::field_not_exist(field));
        let data_type = scope.schema.field_by_id(field).ok_or_else(unknown)?.data_type;
        let key = if request.group_path.is_empty() {
            Operand::Column { field, data_type }
        } else {
            Operand::Json { field, path: request.group_path.iter().cloned().map(Step::Key).collect() }
        };
        let only = request.group_keys.iter().cloned().collect();
        Ok(Some(Grouping { key, size: request.group_size.max(1) as usize, only }))
    }

    fn dim(&self) -> usize {
        self.vectors.len() / self.nq.max(1)
    }
}

/// One result list per query, nearest first, each key once; with each row its group key when grouped.
/// `cancelled` is looked at between units. Runs on the calling pool's threads.
pub fn search_units(job: &SearchJob, units: &[Arc<Unit>], cancelled: &AtomicBool) -> Result<Vec<Hits>> {
    let dim = job.dim();
    for unit in units {
        match unit.rows.vector(job.field) {
            Some((_, d)) if d == dim => {}
            _ => {
                return Err(Failure::internal(format!(
                    "segment {} has no vectors of dimension {dim}",
                    unit.segment
                )));
            }
        }
    }
    let filters: Vec<Option<Bitmap>> = units.par_iter().map(|unit| admitted(unit, &job.scope)).collect();
    (0..job.nq)
        .into_par_iter()
        .map(|q| {
            let query = Query::new(job.metric, &job.vectors[q * dim..(q + 1) * dim]);
            one_query(job, &query, units, &filters, cancelled)
        })
        .collect()
}

fn one_query(
    job: &SearchJob,
    query: &Query,
    units: &[Arc<Unit>],
    filters: &[Option<Bitmap>],
    cancelled: &AtomicBool,
) -> Result<Hits> {
    let lists = units.par_iter().zip(filters).enumerate().map(|(i, (unit, filter))| {
        if cancelled.load(Ordering::Relaxed) {
            return Err(Failure::internal("the caller went away"));
        }
        Ok(search_unit(job, query, i, unit, filter.as_ref()))
    });
    let found: Vec<Found> = lists.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    let mut found = newest_copies(found);
    found.sort_by(|a, b| a.distance.total_cmp(&b.distance).then_with(|| a.key.cmp(&b.key)));
    match &job.group {
        Some(grouping) => Ok(group::best_groups(grouping, job.k, units, found)),
        None => {
            found.truncate(job.k);
            Ok(found.into_iter().map(|row| (row, None)).collect())
        }
    }
}

fn search_unit(
    job: &SearchJob,
    query: &Query,
    index: usize,
    unit: &Unit,
    filter: Option<&Bitmap>,
) -> Vec<Found> {
    let matching = filter.map_or(unit.rows.len(), Bitmap::count);
    if matching == 0 {
        return Vec::new();
    }
    let to_found = |(distance, row): (f32, u32)| Found {
        unit: index,
        row,
        key: unit.key(row),
        timestamp: unit.timestamp(row),
        distance,
    };
    // Grouping wants the best rows of every group: all that match are ranked.
    let mut k = if job.group.is_some() { matching } else { job.k.min(matching) };
    loop {
        let rows = nearest(job, query, unit, filter, matching, k);
        let exhausted = rows.len() < k || k == matching;
        let found: Vec<Found> = rows.into_iter().map(to_found).collect();
        if !unit.repeated_keys || exhausted {
            return if unit.repeated_keys { newest_copies(found) } else { found };
        }
        let distinct = newest_copies(found);
        if distinct.len() >= job.k {
            return distinct;
        }
        // Copies of keys used up places: look further.
        k = (k * 2).min(matching);
    }
}

fn nearest(
    job: &SearchJob,
    query: &Query,
    unit: &Unit,
    filter: Option<&Bitmap>,
    matching: usize,
    k: usize,
) -> Vec<(f32, u32)> {
    let Some((data, dim)) = unit.rows.vector(job.field) else { return Vec::new() };
    let vectors = Vectors { data, dim };
    let params = SearchParams { k, ef: job.ef, bounds: job.bounds };
    let worth_it = !job.exact
        && matching >= SCAN_ROWS
        && matching * SCAN_SELECTIVITY >= unit.rows.len()
        && k * 4 < matching;
    if worth_it && let Some(graph) = unit.graphs.get(&job.field).filter(|g| g.metric() == job.metric) {
        // The far bound is applied after the walk: inside, it would make the walk visit everything.
        let near_only = SearchParams { bounds: Bounds { far: f32::INFINITY, ..job.bounds }, ..params };
        let mut rows = graph.search(vectors, query, near_only, filter);
        let enough =
            rows.len() >= k || !job.bounds.is_none() && rows.last().is_some_and(|r| r.0 >= job.bounds.far);
        if enough {
            rows.retain(|(d, _)| job.bounds.admit(*d));
            return rows;
        }
    }
    scan(vectors, query, params, filter)
}
