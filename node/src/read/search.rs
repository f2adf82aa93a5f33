//! A search over some units, in slices that the search threads take in turn: first the filter of each unit, then query
//! by query.

use super::nearest::{Probe, UnitHits, sort};
use super::{Found, ReadScope, admitted, group, newest_copies};
use crate::cancel::Cancel;
use crate::unit::Unit;
use crate::{Failure, Pools, Result};
use mishards_expr::{Operand, Step};
use mishards_index::{Bounds, Query};
use mishards_proto::node::SearchRequest;
use mishards_types::{Bitmap, Error, FieldId, Key, Metric, limits};
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Vector components that one slice compares, about: some milliseconds of work.
const SLICE_COMPONENTS: usize = 16 << 20;

/// Fewer rows of a unit are not looked at for groups.
const GROUPED_ROWS: usize = 1024;

/// Rows of all units that wait at the same time to be merged, about.
const HELD_ROWS: usize = 1 << 20;

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
    /// Also every row that is as far as the last one.
    pub with_ties: bool,
    pub bounds: Bounds,
    pub group: Option<Grouping>,
    /// Rows of the answer so far, and bytes of their keys.
    answered: (AtomicUsize, AtomicUsize),
}

/// The best `size` rows of each of the best `k` groups.
pub struct Grouping {
    pub key: Operand,
    pub size: usize,
    /// Empty means any group.
    pub only: HashSet<String>,
}

impl SearchJob {
    /// Reads a request.
    pub fn decode(mut request: SearchRequest, cancel: &Cancel) -> Result<SearchJob> {
        let scope = ReadScope::decode(request.scope.take(), cancel)?;
        let metric = Metric::parse(&request.metric)?;
        let nq = request.nq as usize;
        if nq == 0 || !request.vectors.len().is_multiple_of(nq) {
            return Err(Failure::internal("the query vectors do not divide by nq"));
        }
        let group = SearchJob::grouping(&request, &scope)?;
        let bounds = Bounds {
            near: request.range_filter.map_or(f32::NEG_INFINITY, |s| metric.distance(s)),
            near_exclusive: request.range_filter_exclusive,
            far: request.radius.map_or(f32::INFINITY, |s| metric.distance(s)),
        };
        let of_group = if group.is_some() { request.group_size.max(1) as usize } else { 1 };
        limits::check_answer(nq, (request.k as usize).saturating_mul(of_group))?;
        Ok(SearchJob {
            scope: Arc::new(scope),
            field: FieldId(request.field_id),
            metric,
            vectors: request.vectors,
            nq,
            k: request.k as usize,
            ef: request.ef as usize,
            exact: request.exact,
            with_ties: request.with_ties,
            bounds,
            group,
            answered: Default::default(),
        })
    }

    /// The grouping of a request, if it asks for one.
    fn grouping(request: &SearchRequest, scope: &ReadScope) -> Result<Option<Grouping>> {
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

    fn query(&self, q: usize) -> Query<'_> {
        let dim = self.dim();
        Query::new(self.metric, &self.vectors[q * dim..(q + 1) * dim])
    }

    fn dim(&self) -> usize {
        self.vectors.len() / self.nq.max(1)
    }

    /// Every unit must have vectors of the queries' dimension.
    fn check(&self, units: &[Arc<Unit>]) -> Result<()> {
        let dim = self.dim();
        let fits = |unit: &&Arc<Unit>| unit.rows.vector(self.field).is_some_and(|(_, d)| d == dim);
        match units.iter().find(|unit| !fits(unit)) {
            Some(unit) => {
                Err(Failure::internal(format!("segment {} has no vectors of dimension {dim}", unit.segment)))
            }
            None => Ok(()),
        }
    }

    /// How many rows of each unit are looked at first: those of groups are among the nearest, unless groups are few or far.
    fn first_rows(&self) -> usize {
        let of_groups =
            |group: &Grouping| self.k.saturating_mul(group.size).saturating_mul(8).max(GROUPED_ROWS);
        self.group.as_ref().map_or(self.k, of_groups)
    }

    /// How many queries make a slice of their own.
    fn queries_in_a_slice(&self, units: &[Arc<Unit>]) -> usize {
        // A walk compares some thousand rows, whatever the size of its unit.
        let compared = |unit: &Arc<Unit>| match unit.graphs.contains_key(&self.field) && !self.exact {
            true => unit.rows.len().min(64 * self.ef.max(self.k)),
            false => unit.rows.len(),
        };
        let rows: usize = units.iter().map(compared).sum();
        (SLICE_COMPONENTS / (rows * self.dim()).max(1)).clamp(1, self.nq)
    }
}

/// One result list per query, nearest first, ties by key, each key once; with each row its group key when grouped.
pub async fn search_units(
    pools: &Pools,
    job: Arc<SearchJob>,
    units: Arc<Vec<Arc<Unit>>>,
    cancel: &Cancel,
) -> Result<Vec<Hits>> {
    job.check(&units)?;
    let filters = match job.scope.predicate.is_all() && units.len() <= 16 {
        // What is visible takes no time to find out.
        true => units.iter().map(|unit| admitted(unit, &job.scope, cancel)).collect(),
        false => {
            let (job, all, cancel) = (Arc::clone(&job), Arc::clone(&units), cancel.clone());
            pools.slices(units.len(), move |i| Ok(admitted(&all[i], &job.scope, &cancel))).await?
        }
    };
    let step = job.queries_in_a_slice(&units);
    let cancel = cancel.clone();
    if step == 1 && units.len() > 1 {
        return by_unit(pools, job, units, filters, cancel).await;
    }
    let slices = job.nq.div_ceil(step);
    let search = move |slice: usize| {
        let queries = slice * step..(slice * step + step).min(job.nq);
        queries.map(|q| one_query(&job, q, &units, &filters, &cancel)).collect::<Result<Vec<Hits>>>()
    };
    Ok(pools.slices(slices, search).await?.into_iter().flatten().collect())
}

/// Where one query over all units is much work, each unit is a slice of its own.
async fn by_unit(
    pools: &Pools,
    job: Arc<SearchJob>,
    units: Arc<Vec<Arc<Unit>>>,
    filters: Vec<Option<Bitmap>>,
    cancel: Cancel,
) -> Result<Vec<Hits>> {
    let filters = Arc::new(filters);
    // The lists of all units wait until the last of their query is there.
    let at_once = (HELD_ROWS / (units.len() * job.first_rows()).max(1)).clamp(1, job.nq);
    let mut all = Vec::with_capacity(job.nq);
    for first in (0..job.nq).step_by(at_once) {
        let queries: Vec<usize> = (first..(first + at_once).min(job.nq)).collect();
        let of = Round { job: &job, units: &units, filters: &filters, cancel: &cancel };
        let found = of.run(pools, queries.clone(), job.first_rows()).await?;
        let again: Vec<usize> =
            queries.into_iter().zip(&found).filter(|(_, f)| f.is_none()).map(|(q, _)| q).collect();
        let mut longer = of.finish(pools, again).await?.into_iter();
        all.extend(found.into_iter().map(|hits| hits.or_else(|| longer.next()).unwrap_or_default()));
    }
    Ok(all)
}

/// Queries of which each unit is a slice of its own.
struct Round<'a> {
    job: &'a Arc<SearchJob>,
    units: &'a Arc<Vec<Arc<Unit>>>,
    filters: &'a Arc<Vec<Option<Bitmap>>>,
    cancel: &'a Cancel,
}

impl Round<'_> {
    /// What some queries answer of the `k` best rows of each unit; nothing for those that need longer lists.
    async fn run(&self, pools: &Pools, queries: Vec<usize>, k: usize) -> Result<Vec<Option<Hits>>> {
        let (of, number, nq) = (self.shared(), self.units.len(), queries.len());
        let asked = queries.clone();
        let best = move |slice: usize| {
            let (job, units, filters, cancel) = &of;
            let (q, index) = (asked[slice / number], slice % number);
            let query = job.query(q);
            let (unit, filter) = (&units[index], filters[index].as_ref());
            let hits = Probe { job, query: &query, index, unit, filter, cancel }.best(k)?;
            cancel.check()?;
            Ok(of_groups(job, units, hits))
        };
        let mut hits = pools.slices(nq * number, best).await?.into_iter();
        let lists: Vec<Mutex<Vec<UnitHits>>> =
            (0..nq).map(|_| Mutex::new(hits.by_ref().take(number).collect())).collect();
        let of = self.shared();
        let finish = move |i: usize| {
            let (job, units, filters, cancel) = &of;
            let lists = std::mem::take(&mut *lists[i].lock().unwrap_or_else(PoisonError::into_inner));
            limits::check_gathered(
                lists.iter().map(|list| list.found.len()).sum(),
                lists.iter().map(UnitHits::bytes).sum(),
            )?;
            finished(job, &job.query(queries[i]), units, filters, cancel, lists)
        };
        pools.slices(nq, finish).await
    }

    /// Queries whose first lists were too short: one after the other with all rows for groups, else each in a slice.
    async fn finish(&self, pools: &Pools, queries: Vec<usize>) -> Result<Vec<Hits>> {
        if self.job.group.is_none() {
            let of = self.shared();
            let number = queries.len();
            let one = move |i: usize| one_query(&of.0, queries[i], &of.1, &of.2, &of.3);
            return pools.slices(number, one).await;
        }
        let mut all = Vec::with_capacity(queries.len());
        for q in queries {
            all.extend(
                self.run(pools, vec![q], usize::MAX).await?.into_iter().map(Option::unwrap_or_default),
            );
        }
        Ok(all)
    }

    #[expect(clippy::type_complexity, reason = "what a slice takes along")]
    fn shared(&self) -> (Arc<SearchJob>, Arc<Vec<Arc<Unit>>>, Arc<Vec<Option<Bitmap>>>, Cancel) {
        (Arc::clone(self.job), Arc::clone(self.units), Arc::clone(self.filters), self.cancel.clone())
    }
}

/// Of a list that has all rows of its unit, those that may be shown of their groups: the others need not be held.
fn of_groups(job: &SearchJob, units: &[Arc<Unit>], hits: UnitHits) -> UnitHits {
    match &job.group {
        Some(grouping) if !hits.is_cut => {
            UnitHits { found: group::best_of_each(grouping, units, hits.found), ..hits }
        }
        _ => hits,
    }
}

fn probes<'a>(
    job: &'a SearchJob,
    query: &'a Query<'a>,
    units: &'a [Arc<Unit>],
    filters: &'a [Option<Bitmap>],
    cancel: &'a Cancel,
) -> Vec<Probe<'a>> {
    let all = units.iter().zip(filters).enumerate();
    all.map(|(index, (unit, filter))| Probe { job, query, index, unit, filter: filter.as_ref(), cancel })
        .collect()
}

fn one_query(
    job: &SearchJob,
    q: usize,
    units: &[Arc<Unit>],
    filters: &[Option<Bitmap>],
    cancel: &Cancel,
) -> Result<Hits> {
    let query = job.query(q);
    let probes = probes(job, &query, units, filters, cancel);
    let mut k = job.first_rows();
    loop {
        let (mut lists, mut held) = (Vec::with_capacity(probes.len()), (0, 0));
        for probe in &probes {
            let hits = of_groups(job, units, probe.best(k)?);
            held = (held.0 + hits.found.len(), held.1 + hits.bytes());
            limits::check_gathered(held.0, held.1)?;
            lists.push(hits);
            cancel.check()?;
        }
        if let Some(hits) = finished(job, &query, units, filters, cancel, lists)? {
            return Ok(hits);
        }
        // Copies that are not shown took places in some lists: these are to be longer. Groups that lack rows want all.
        k = if job.group.is_some() { usize::MAX } else { k.saturating_mul(2) };
    }
}

/// What a query answers of the rows that were found for it in each unit; nothing when longer lists are needed.
fn finished(
    job: &SearchJob,
    query: &Query,
    units: &[Arc<Unit>],
    filters: &[Option<Bitmap>],
    cancel: &Cancel,
    lists: Vec<UnitHits>,
) -> Result<Option<Hits>> {
    let hits = match &job.group {
        Some(grouping) => {
            let (found, is_all) = known_whole(lists);
            let (groups, is_complete) = group::best_groups(grouping, job.k, units, found);
            if !is_all && !is_complete {
                return Ok(None);
            }
            groups
        }
        None => {
            let Some(mut found) = merge(lists, job) else { return Ok(None) };
            if job.with_ties {
                found = with_ties(job, &probes(job, query, units, filters, cancel), found)?;
            } else {
                found.truncate(job.k);
            }
            found.into_iter().map(|row| (row, None)).collect()
        }
    };
    let (rows, bytes) = (hits.len(), hits.iter().map(|(row, _)| row.key.text_bytes()).sum::<usize>());
    let rows = job.answered.0.fetch_add(rows, Ordering::Relaxed) + rows;
    limits::check_keys(rows, job.answered.1.fetch_add(bytes, Ordering::Relaxed) + bytes)?;
    Ok(Some(hits))
}

/// What lies beyond the shortest reach of the lists that were cut is not known whole: that reach, if there is one.
fn reach(lists: &[UnitHits]) -> Option<(f32, Key)> {
    let end = |list: &UnitHits| {
        list.found.last().filter(|_| list.is_cut).map(|row| (row.distance, row.key.clone()))
    };
    lists.iter().filter_map(end).min_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)))
}

/// The rows of all units up to where all are known, each key once, in their order; and whether these are all.
fn known_whole(lists: Vec<UnitHits>) -> (Vec<Found>, bool) {
    let end = reach(&lists);
    let mut found = newest_copies(lists.into_iter().flat_map(|list| list.found).collect());
    sort(&mut found);
    if let Some((distance, key)) = &end {
        let is_before = |row: &Found| row.distance.total_cmp(distance).then_with(|| row.key.cmp(key)).is_le();
        found.truncate(found.partition_point(is_before));
    }
    (found, end.is_none())
}

/// The lists of all units as one, each key once. Nothing when rows may be missing from the first `k` because copies that
/// are not shown stood in their places.
fn merge(lists: Vec<UnitHits>, job: &SearchJob) -> Option<Vec<Found>> {
    let known = reach(&lists);
    let total: usize = lists.iter().map(|list| list.found.len()).sum();
    let mut found = newest_copies(lists.into_iter().flat_map(|list| list.found).collect());
    let hidden = total - found.len();
    sort(&mut found);
    let is_whole = match (known, found.get(job.k.saturating_sub(1))) {
        (Some((distance, key)), Some(last)) => {
            last.distance.total_cmp(&distance).then_with(|| last.key.cmp(&key)).is_le()
        }
        (Some(_), None) => false,
        (None, _) => true,
    };
    (hidden == 0 || is_whole).then_some(found)
}

/// The first `k`, and every row that is as far as the last of them.
fn with_ties(job: &SearchJob, probes: &[Probe], mut found: Vec<Found>) -> Result<Vec<Found>> {
    let Some(last) = found.get(job.k.saturating_sub(1)).map(|row| row.distance) else { return Ok(found) };
    found.retain(|row| row.distance < last);
    let known: HashSet<_> = found.iter().map(|row| row.key.clone()).collect();
    let tied = newest_copies(probes.iter().flat_map(|probe| probe.at(last)).collect());
    found.extend(tied.into_iter().filter(|row| !known.contains(&row.key)));
    limits::check_answer(1, found.len())?;
    sort(&mut found);
    Ok(found)
}
