//! Hybrid search: several searches at one point in time, fused into one list.

use super::Router;
use super::names::{database_name, refuse_namespace};
use super::output::Output;
use super::read::Read;
use super::read_point::Consistency;
use super::search::{ROW_BYTES, Rows, bytes_of, refuse_unsupported, result_data, rounded};
use super::search_request::{SearchJob, check_nq, round_decimal};
use crate::call::{Call, Subject};
use crate::error::{Failure, ok};
use crate::gather::Row;
use crate::offload::{Left, off_workers};
use crate::plan::{Filter, ReadPlan};
use crate::rank::{Ranker, fuse};
use crate::wire::{Params, Place, check_known, templates_from_wire};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use mishards_proto::milvus::{HybridSearchRequest, SearchResults, search_request::SearchInput};
use mishards_proto::schema::SearchResultData;
use mishards_types::{Error, Key, Metric, Result, limits};
use std::collections::HashMap;
use std::sync::Arc;

/// Parts of a hybrid search that are searched at the same time.
const PARTS_AT_ONCE: usize = 2;

#[derive(Clone)]
struct Fusion {
    ranker: Ranker,
    limit: usize,
    offset: usize,
    round_decimal: i64,
}

impl Fusion {
    fn parse(params: &Params, searches: usize) -> Result<Fusion> {
        check_known(Place::Ranking, params.iter())?;
        let limit = params.integer("limit")?.or(params.integer("topk")?).unwrap_or(10);
        let offset = params.integer("offset")?.unwrap_or(0);
        if limit < 1 || offset < 0 || limit.saturating_add(offset) > limits::TOP_K {
            return Err(Error::invalid(format!(
                "limit + offset ({limit} + {offset}) is invalid, it should be in range [1, {}]",
                limits::TOP_K
            )));
        }
        // `params` was merged into the rest when it was read.
        let mut ranker = serde_json::Map::new();
        for key in ["k", "weights", "norm_score"] {
            if let Some(value) = params.json(key) {
                ranker.insert(key.to_owned(), value);
            }
        }
        let ranker = Ranker::parse(&params.text("strategy"), &serde_json::Value::Object(ranker), searches)?;
        Ok(Fusion {
            ranker,
            limit: limit as usize,
            offset: offset as usize,
            round_decimal: round_decimal(params)?,
        })
    }
}

impl Router {
    pub async fn hybrid_search(&self, call: &Call, request: HybridSearchRequest) -> Result<SearchResults> {
        let database = database_name(&request.db_name, &call.database);
        let count = request.requests.len();
        if count == 0 || count > limits::HYBRID_REQUESTS {
            return Err(Error::invalid(format!(
                "the number of ann search requests should be in range [1, {}], got {count}",
                limits::HYBRID_REQUESTS
            )));
        }
        refuse_namespace(request.namespace.as_deref())?;
        if request.function_score.is_some() || !request.function_chains.is_empty() {
            return Err(Error::invalid("function_score of hybrid search is not supported"));
        }
        let named = self.collection(database, &request.collection_name).await?;
        let fusion = Fusion::parse(&Params::new(&request.rank_params)?, count)?;
        let mut jobs = Vec::with_capacity(count);
        for sub in &request.requests {
            refuse_unsupported(sub)?;
            let placeholder = match &sub.search_input {
                Some(SearchInput::PlaceholderGroup(bytes)) => bytes.as_slice(),
                _ => return Err(Error::invalid("a sub-request has no query vectors")),
            };
            let filter = Filter {
                text: sub.dsl.clone(),
                values: templates_from_wire(sub.expr_template_values.clone())?,
            };
            let (known, params, placeholder) =
                (named.clone(), sub.search_params.clone(), placeholder.to_vec());
            let bytes = filter.text.len() + placeholder.len();
            let parse = move |left: &Left| {
                SearchJob::parse(Place::SubSearch, &known, &params, &placeholder, filter, left)
            };
            let job = off_workers(bytes, parse).await??;
            check_nq(sub.nq, job.nq)?;
            // Clients repeat the offset of the whole in each part; it is taken once, after the fusion.
            jobs.push(Arc::new(SearchJob { offset: 0, ..job }));
        }
        if jobs.windows(2).any(|w| w[0].nq != w[1].nq) {
            return Err(Error::invalid("all sub-requests of a hybrid search must have the same nq"));
        }
        // The rows of all parts are held until they are fused.
        let most = jobs.iter().map(|job| job.limit).max().unwrap_or(0);
        limits::check_answer(jobs.iter().map(|job| job.nq).sum(), most)?;
        call.is_about(Subject {
            collection: request.collection_name.clone(),
            filter: jobs.iter().map(|job| job.filter.text.as_str()).collect::<Vec<_>>().join("; "),
            nq: jobs.first().map_or(0, |job| job.nq),
            limit: fusion.limit,
        });
        let output = Output::parse(&named.collection.schema, &request.output_fields, false)?;
        let consistency = Consistency {
            level: request.consistency_level,
            use_default: request.use_default_consistency,
            guarantee: request.guarantee_timestamp,
            exactly: false,
        };
        let partitions = request
            .requests
            .first()
            .map(|r| &r.partition_names)
            .filter(|n| !n.is_empty())
            .unwrap_or(&request.partition_names);
        let read = Read { database, collection: &request.collection_name, partitions, consistency };
        self.replanned(call, || async {
            let (_, plan) = self.route(call, read, &Filter::default()).await?;
            let results = self.search_and_fuse(call, &plan, &jobs, fusion.clone(), &output).await?;
            Ok(SearchResults {
                status: Some(ok()),
                results: Some(results),
                collection_name: request.collection_name.clone(),
                session_ts: 0,
            })
        })
        .await
    }

    async fn search_and_fuse(
        &self,
        call: &Call,
        plan: &ReadPlan,
        jobs: &[Arc<SearchJob>],
        fusion: Fusion,
        output: &Output,
    ) -> Result<SearchResultData, Failure> {
        let search = |job| {
            async move {
                let job: &Arc<SearchJob> = job;
                let plan = plan.with(&job.filter)?;
                call.plan(&plan);
                Ok::<_, Failure>((job.metric, self.search_rows(call, &plan, job).await?))
            }
            .boxed()
        };
        let searches: Vec<BoxFuture<'_, _>> = jobs.iter().map(search).collect();
        // Not all at once: together they could be more than a node lets in.
        let results: Vec<_> = stream::iter(searches).buffered(PARTS_AT_ONCE).try_collect().await?;
        let nq = jobs.first().map_or(0, |j| j.nq);
        let size = results.iter().map(|(_, lists)| bytes_of(lists)).sum();
        let limit = fusion.limit;
        let fused = move |left: &Left| fuse_all(&fusion, &results, nq, left);
        let (rows, scores) = off_workers(size, fused).await??;
        let columns = self.fetch(call, plan, output, &rows.flat).await?;
        let (size, collection) = (rows.flat.len() * ROW_BYTES, Arc::clone(&plan.collection));
        let made = move |left: &Left| result_data(&collection, rows, scores, limit, left);
        let mut data = off_workers(size, made).await?;
        data.fields_data = columns;
        data.output_fields = output.names.clone();
        Ok(data)
    }
}

/// The rows of all queries, and their scores.
fn fuse_all(
    fusion: &Fusion,
    results: &[(Metric, Vec<Vec<Row>>)],
    nq: usize,
    left: &Left,
) -> Result<(Rows, Vec<f32>)> {
    let wanted = (0..nq).take_while(|_| !left.is_so());
    let fused: Vec<Vec<(Row, f32)>> = wanted.map(|q| fuse_query(fusion, results, q)).collect();
    let scores = fused.iter().flatten().map(|(_, s)| rounded(*s, fusion.round_decimal)).collect();
    let lists = fused.into_iter().map(|l| l.into_iter().map(|(row, _)| row).collect()).collect();
    Ok((Rows::of(lists, left)?, scores))
}

/// Fuses what each search found for one query: best score first, ties by the smaller key.
fn fuse_query(fusion: &Fusion, results: &[(Metric, Vec<Vec<Row>>)], q: usize) -> Vec<(Row, f32)> {
    let mut numbers: HashMap<&Key, usize> = HashMap::new();
    let mut rows: Vec<&Row> = Vec::new();
    let mut lists = Vec::with_capacity(results.len());
    for (metric, found) in results {
        let mut list = Vec::with_capacity(found[q].len());
        for row in &found[q] {
            let number = *numbers.entry(&row.key).or_insert_with(|| {
                rows.push(row);
                rows.len() - 1
            });
            list.push((number, metric.distance(row.distance)));
        }
        lists.push((*metric, list));
    }
    let (scores, larger_is_better) = fuse(&fusion.ranker, &lists);
    let mut out: Vec<(&Row, f32)> = scores.into_iter().map(|(n, score)| (rows[n], score)).collect();
    out.sort_by(|a, b| {
        let order = if larger_is_better { b.1.total_cmp(&a.1) } else { a.1.total_cmp(&b.1) };
        order.then_with(|| a.0.key.cmp(&b.0.key))
    });
    let page = out.into_iter().skip(fusion.offset).take(fusion.limit);
    page.map(|(row, score)| (row.clone(), score)).collect()
}
