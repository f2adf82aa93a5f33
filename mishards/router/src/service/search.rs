//! Search: plan, scatter, gather, fetch, for one request.

use super::Router;
use super::names::{database_name, refuse_namespace};
use super::output::{Output, group_column};
use super::read::Read;
use super::read_point::Consistency;
use super::search_request::{Group, SearchJob, check_nq};
use crate::call::{Call, GROUPS, SEARCH, Subject};
use crate::error::{Failure, Kind, ok};
use crate::gather::{Row, decode, merge, page, page_groups};
use crate::offload::{Left, off_workers};
use crate::plan::{Filter, ReadPlan};
use crate::scatter::{About, Answer, Question, Scatter};
use crate::wire::{Place, ids_of, templates_from_wire};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use mishards_catalog::Collection;
use mishards_proto::milvus::{SearchRequest, SearchResults, search_request::SearchInput};
use mishards_proto::node::{RowBatch, SearchRequest as NodeSearch, Served};
use mishards_proto::schema::{FieldData, SearchIteratorV2Results, SearchResultData, i_ds::IdField};
use mishards_types::{DataType, Error, Key, Metric, Result, limits};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

impl Router {
    pub async fn search(&self, call: &Call, request: SearchRequest) -> Result<SearchResults> {
        let database = database_name(&request.db_name, &call.database);
        refuse_unsupported(&request)?;
        let named = self.loaded(database, &request.collection_name, &[]).await?;
        let placeholder = match &request.search_input {
            Some(SearchInput::PlaceholderGroup(bytes)) => bytes.clone(),
            Some(SearchInput::Ids(_)) => {
                return Err(Error::invalid("search by primary keys is not supported"));
            }
            None => Vec::new(),
        };
        let filter = Filter {
            text: request.dsl.clone(),
            values: templates_from_wire(request.expr_template_values.clone())?,
        };
        let (known, params) = (named.clone(), request.search_params.clone());
        let bytes = filter.text.len() + placeholder.len();
        let parse =
            move |left: &Left| SearchJob::parse(Place::Search, &known, &params, &placeholder, filter, left);
        let job = Arc::new(off_workers(bytes, parse).await??);
        check_nq(request.nq, job.nq)?;
        let output = Arc::new(Output::parse(&named.collection.schema, &request.output_fields, false)?);
        let consistency = Consistency {
            level: request.consistency_level,
            use_default: request.use_default_consistency,
            guarantee: request.guarantee_timestamp,
            exactly: job.is_iterator,
        };
        call.is_about(Subject {
            collection: request.collection_name.clone(),
            filter: job.filter.text.clone(),
            nq: job.nq,
            limit: job.limit,
        });
        let read = Read {
            database,
            collection: &request.collection_name,
            partitions: &request.partition_names,
            consistency,
        };
        self.replanned(call, || async {
            let (named, plan) = self.route(call, read, &job.filter).await?;
            call.plan(&plan);
            let lists = self.search_rows(call, &plan, &job).await?;
            let rows = off_workers(bytes_of(&lists), move |left| Rows::of(lists, left)).await??;
            let columns = self.fetch(call, &plan, &output, &rows.flat).await?;
            let (size, name) = (rows.flat.len() * ROW_BYTES, request.collection_name.clone());
            let (job, output, timestamp) = (Arc::clone(&job), Arc::clone(&output), plan.scope.timestamp);
            let made = move |left: &Left| {
                answer(&named.collection, name, &job, rows, columns, &output, timestamp, left)
            };
            Ok(off_workers(size, made).await?)
        })
        .await
    }

    /// The final rows of each query.
    pub(super) async fn search_rows(
        &self,
        call: &Call,
        plan: &ReadPlan,
        job: &Arc<SearchJob>,
    ) -> Result<Vec<Vec<Row>>, Failure> {
        let request = node_request(job);
        let Some(group) = job.group.clone().filter(|g| g.size > 1) else {
            return self.scatter_search(call, SEARCH, plan, job, request).await;
        };
        // First which groups, by their best rows; then the best rows of just these, on every node.
        let first = Arc::new(SearchJob {
            group: Some(Group { size: 1, strict: false, ..group }),
            limit: job.limit + job.offset,
            offset: 0,
            ..SearchJob::clone(job)
        });
        let best = self.scatter_search(call, GROUPS, plan, &first, node_request(&first)).await?;
        let dim = job.vectors.len() / job.nq.max(1);
        // Each query by itself: the groups of one are not those of another.
        let rounds = best.into_iter().enumerate().map(|(q, rows)| {
            let vectors = job.vectors[q * dim..(q + 1) * dim].to_vec();
            let one = Arc::new(SearchJob { nq: 1, vectors, ..SearchJob::clone(job) });
            async move {
                let mut group_keys: Vec<String> = rows.into_iter().filter_map(|row| row.group).collect();
                group_keys.sort_unstable();
                group_keys.dedup();
                let mut request = node_request(&one);
                // Also with no group every segment is searched: an answer says that it covers them.
                if !group_keys.is_empty() {
                    request.k = group_keys.len() as u32;
                    request.group_keys = group_keys;
                }
                self.scatter_search(call, SEARCH, plan, &one, request).await
            }
            .boxed()
        });
        let rounds: Vec<BoxFuture<'_, Result<Vec<Vec<Row>>, Failure>>> = rounds.collect();
        let lists: Vec<Vec<Vec<Row>>> = stream::iter(rounds).buffered(GROUPED_AT_ONCE).try_collect().await?;
        Ok(lists.into_iter().flatten().collect())
    }

    async fn scatter_search(
        &self,
        call: &Call,
        what: &'static str,
        plan: &ReadPlan,
        job: &Arc<SearchJob>,
        request: NodeSearch,
    ) -> Result<Vec<Vec<Row>>, Failure> {
        let (mut request, nq) = (request, job.nq);
        loop {
            let k = request.k;
            let rows = nq.saturating_mul(k as usize);
            let scatter = Scatter { rows, ..self.scatter(call, what, "do_search") };
            let asked = Arc::new(request.clone());
            let gathered = Gathered::default();
            let parts = scatter
                .run(plan, &plan.segments, true, &move |client, Question { scope, about }| {
                    let request = NodeSearch { scope: Some(scope), ..NodeSearch::clone(&asked) };
                    let gathered = gathered.clone();
                    Box::pin(
                        async move { checked(client.search(request).await?, nq, about, &gathered).await },
                    )
                })
                .await?;
            let span = call.span.child("do_merge");
            let _timer = self.metrics.gather_seconds.start_timer();
            let rows: usize = parts.iter().flatten().map(Vec::len).sum();
            span.set("candidates", rows as i64);
            let job = Arc::clone(job);
            // Longer lists than an answer may have are not asked for.
            let is_last = limits::check_answer(nq, 2 * k as usize).is_err();
            let merge = move |left: &Left| merge_all(&job, parts, k as usize, is_last, left);
            if let Some(lists) = off_workers(rows * ROW_BYTES, merge).await? {
                return Ok(lists);
            }
            // Copies that are not shown took places in some lists: these are to be longer.
            request.k = k.saturating_mul(2);
            call.begin();
            call.plan(plan);
        }
    }
}

/// Queries of one request whose groups are filled at the same time.
const GROUPED_AT_ONCE: usize = 4;

/// What a row takes while it is merged, about.
pub(super) const ROW_BYTES: usize = 96;

/// The final rows of each query, from the lists of all nodes with up to `k` rows each. Nothing when some may be missing
/// because copies of keys that are not shown stood in their places, unless this is the `last` round.
fn merge_all(
    job: &SearchJob,
    parts: Vec<Vec<Vec<Row>>>,
    k: usize,
    last: bool,
    left: &Left,
) -> Option<Vec<Vec<Row>>> {
    let mut by_query: Vec<Vec<Vec<Row>>> = vec![Vec::new(); job.nq];
    for lists in parts {
        lists.into_iter().zip(&mut by_query).for_each(|(list, all)| all.push(list));
    }
    let wanted = job.limit + job.offset;
    let merged = by_query.into_iter().map(|lists| {
        if left.is_so() {
            return None;
        }
        let whole = known_whole(&lists, k);
        let total: usize = lists.iter().map(Vec::len).sum();
        let rows = merge(lists);
        let is_whole = match (whole, rows.get(wanted.saturating_sub(1))) {
            (Some((distance, key)), Some(last)) => {
                last.distance.total_cmp(&distance).then_with(|| last.key.cmp(&key)).is_le()
            }
            (Some(_), None) => false,
            (None, _) => true,
        };
        (last || job.group.is_some() || total == rows.len() || is_whole).then(|| finish(job, rows))
    });
    merged.collect()
}

/// Up to which distance and key lists of up to `k` rows have everything together; nothing when none was cut.
fn known_whole(lists: &[Vec<Row>], k: usize) -> Option<(f32, Key)> {
    let reach =
        |list: &Vec<Row>| list.last().filter(|_| list.len() >= k).map(|row| (row.distance, row.key.clone()));
    lists.iter().filter_map(reach).min_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)))
}

/// What nodes have answered so far: rows, and their bytes.
#[derive(Clone, Default)]
pub(super) struct Gathered(Arc<(AtomicUsize, AtomicUsize)>);

/// An answer that is counted, and not when it is given up: another one was faster.
struct Counted {
    of: Gathered,
    rows: usize,
    bytes: usize,
    is_kept: bool,
}

impl Gathered {
    /// Refuses more than may be held.
    fn add(&self, batch: &RowBatch) -> Result<Counted> {
        let texts = match batch.keys.as_ref().and_then(|keys| keys.id_field.as_ref()) {
            Some(IdField::StrId(list)) => list.data.iter().map(String::len).sum(),
            _ => 0,
        };
        let rows = batch.rows.len();
        let counted =
            Counted { of: self.clone(), rows, bytes: rows * limits::HIT_BYTES + texts, is_kept: false };
        let (all, held) = &*self.0;
        let rows = all.fetch_add(rows, Ordering::Relaxed) + rows;
        let bytes = held.fetch_add(counted.bytes, Ordering::Relaxed) + counted.bytes;
        limits::check_gathered(rows, bytes).map(|()| counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if !self.is_kept {
            self.of.0.0.fetch_sub(self.rows, Ordering::Relaxed);
            self.of.0.1.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

/// A node's rows, if they fit the question.
pub(super) async fn checked(
    mut batch: RowBatch,
    queries: usize,
    about: About,
    gathered: &Gathered,
) -> std::result::Result<Answer<Vec<Vec<Row>>>, Failure> {
    let mut counted = gathered.add(&batch)?;
    let served = batch.served.clone();
    batch.count = 0;
    let bytes = batch.rows.len() * ROW_BYTES;
    match off_workers(bytes, move |left| decode(batch, queries, &about, left)).await? {
        Some(value) => {
            counted.is_kept = true;
            Ok(Answer { value, served })
        }
        None => Err(does_not_fit(served.as_ref())),
    }
}

/// An answer that is not one to the question: another node may do better.
pub(super) fn does_not_fit(served: Option<&Served>) -> Failure {
    let node = served.map_or("a node", |served| served.node.as_str());
    let text = format!("the answer of {node} does not fit what it was asked");
    Failure::new(Kind::Unreadable, Error::internal(text))
}

/// Cuts a merged list to what the client gets.
fn finish(job: &SearchJob, rows: Vec<Row>) -> Vec<Row> {
    if let Some(group) = &job.group {
        return page_groups(rows, job.offset, job.limit, group.size, group.strict);
    }
    match &job.iterator {
        Some(page_of) => iterator_page(rows, page_of.batch),
        None => page(rows, job.offset, job.limit),
    }
}

/// A page of an iterator. The next one begins beyond this one's last score, so all rows of one score are on one page: those
/// at the score where the page would break go to the next, unless they are the whole page. Then it is as long as they are.
fn iterator_page(mut rows: Vec<Row>, batch: usize) -> Vec<Row> {
    let Some(last) = rows.get(batch.saturating_sub(1)).map(|r| r.distance) else { return rows };
    rows.truncate(rows.partition_point(|r| r.distance <= last));
    if rows.len() > batch && rows.first().is_some_and(|r| r.distance < last) {
        rows.retain(|r| r.distance < last);
    }
    rows
}

fn node_request(job: &SearchJob) -> NodeSearch {
    let bound = job.iterator.as_ref().and_then(|page| page.last_bound);
    // Another page begins beyond the last score, or at the client's own inner bound if that is farther.
    let beyond = match (bound, job.range_filter) {
        (Some(bound), Some(inner)) => job.metric.distance(bound) >= job.metric.distance(inner),
        (bound, _) => bound.is_some(),
    };
    NodeSearch {
        scope: None,
        field_id: job.field.id.0,
        metric: job.metric.name().to_owned(),
        vectors: job.vectors.clone(),
        nq: job.nq as u32,
        k: (job.limit + job.offset) as u32,
        with_ties: job.iterator.is_some(),
        ef: job.ef as u32,
        exact: job.exact,
        radius: job.radius,
        range_filter: if beyond { bound } else { job.range_filter },
        range_filter_exclusive: beyond,
        group_field_id: job.group.as_ref().map(|g| g.field.0),
        group_path: job.group.as_ref().map_or_else(Vec::new, |g| g.path.clone()),
        group_size: job.group.as_ref().map_or(0, |g| g.size as u32),
        group_keys: Vec::new(),
    }
}

/// The rows of all queries, one after the other, and how many each has.
pub(super) struct Rows {
    pub flat: Arc<Vec<Row>>,
    pub lens: Vec<usize>,
}

impl Rows {
    /// Refuses more than an answer may have.
    pub fn of(lists: Vec<Vec<Row>>, left: &Left) -> Result<Rows> {
        let lens: Vec<usize> = lists.iter().map(Vec::len).collect();
        let mut flat = Vec::with_capacity(lens.iter().sum());
        flat.extend(left.watch(lists.into_iter().flatten()));
        limits::check_keys(flat.len(), flat.iter().map(|row| row.key.text_bytes()).sum())?;
        Ok(Rows { flat: Arc::new(flat), lens })
    }

    /// The last row of the last query.
    fn last(&self) -> Option<&Row> {
        self.lens.last().filter(|len| **len > 0).and_then(|_| self.flat.last())
    }
}

/// What lists of rows take, about.
pub(super) fn bytes_of(lists: &[Vec<Row>]) -> usize {
    lists.iter().map(Vec::len).sum::<usize>() * ROW_BYTES
}

#[expect(clippy::too_many_arguments, reason = "what an answer is made of")]
fn answer(
    collection: &Collection,
    name: String,
    job: &SearchJob,
    rows: Rows,
    columns: Vec<FieldData>,
    output: &Output,
    timestamp: u64,
    left: &Left,
) -> SearchResults {
    let score = |row: &Row| rounded(job.metric.distance(row.distance), job.round_decimal);
    let scores: Vec<f32> = left.watch(&*rows.flat).map(score).collect();
    let group_by = job.group.as_ref().map(|group| {
        let groups: Vec<Option<String>> = left.watch(&*rows.flat).map(|r| r.group.clone()).collect();
        let field = collection.schema.field_by_id(group.field).filter(|f| f.data_type != DataType::Json);
        group_column(field, &group.name, &groups)
    });
    let bound = rows.last().map(|row| job.metric.distance(row.distance));
    let iterator = job.iterator.as_ref().map(|page| SearchIteratorV2Results {
        token: if page.token.is_empty() { format!("{timestamp:x}") } else { page.token.clone() },
        // Not rounded: the next page begins there.
        last_bound: bound.or(page.last_bound).unwrap_or(if job.metric == Metric::L2 {
            f32::MAX
        } else {
            -f32::MAX
        }),
    });
    let mut data = result_data(collection, rows, scores, job.limit, left);
    data.fields_data = columns;
    data.output_fields = output.names.clone();
    data.group_by_field_values = group_by.iter().cloned().collect();
    data.group_by_field_value = group_by;
    data.search_iterator_v2_results = iterator;
    SearchResults {
        status: Some(ok()),
        results: Some(data),
        collection_name: name,
        session_ts: if job.is_iterator { timestamp } else { 0 },
    }
}

/// Ids and scores of the rows.
pub(super) fn result_data(
    collection: &Collection,
    rows: Rows,
    scores: Vec<f32>,
    limit: usize,
    left: &Left,
) -> SearchResultData {
    let primary = collection.schema.primary();
    let strings = primary.is_some_and(|f| f.data_type == DataType::VarChar);
    let Rows { flat, lens } = rows;
    let ids = match Arc::try_unwrap(flat) {
        Ok(rows) => ids_of(left.watch(rows).map(|row| row.key), strings),
        Err(rows) => ids_of(left.watch(&*rows).map(|row| row.key.clone()), strings),
    };
    SearchResultData {
        num_queries: lens.len() as i64,
        top_k: limit as i64,
        scores,
        ids: Some(ids),
        topks: lens.into_iter().map(|len| len as i64).collect(),
        primary_field_name: primary.map_or_else(String::new, |f| f.name.clone()),
        ..Default::default()
    }
}

/// Rounds to `decimals` places; -1 leaves the score as it is.
pub fn rounded(score: f32, decimals: i64) -> f32 {
    if decimals < 0 {
        return score;
    }
    let scale = 10f64.powi(decimals as i32);
    ((f64::from(score) * scale + 0.5).floor() / scale) as f32
}

/// Refuses what a search asks for beside its parameters and would not get.
pub(super) fn refuse_unsupported(request: &SearchRequest) -> Result<()> {
    refuse_namespace(request.namespace.as_deref())?;
    let what = if request.function_score.is_some() {
        "function_score"
    } else if request.highlighter.is_some() {
        "highlighter"
    } else if request.search_aggregation.is_some() {
        "search_aggregation"
    } else if !request.function_chains.is_empty() {
        "function_chains"
    } else if !request.sub_reqs.is_empty() {
        "sub_reqs"
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!("{what} of search is not supported")))
}
