//! What a node does with a request: opens what it is about, runs it on the right threads, and describes the answer.

use crate::admission::{Admission, Inside, Share};
use crate::columns::keys_to_wire;
use crate::contact::{Contact, Heard};
use crate::deletes::Deletes;
use crate::read::{Found, ReadScope, SearchJob, fetch_columns, query_units, search_units};
use crate::segment_cache::{Deltas, SegmentCache};
use crate::standby::Standby;
use crate::unit::Unit;
use crate::{Failure, Metrics, NodeOptions, Pools, Result, Writer};
use arc_swap::ArcSwapOption;
use mishards_catalog::Command;
use mishards_index::Bounds;
use mishards_proto::node::*;
use mishards_storage::Storage;
use mishards_trace::{Span, Tracer};
use mishards_types::{Clock, CollectionId, Error, FieldId, Metric, SegmentId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The version of this API that we speak.
pub const API_VERSION: u32 = 1;

const TIDY_EVERY: std::time::Duration = std::time::Duration::from_secs(10);
const UNMARKED_EVERY: std::time::Duration = std::time::Duration::from_millis(250);

/// What a node is made of.
pub struct NodeParts {
    pub options: NodeOptions,
    pub storage: Arc<dyn Storage>,
    pub clock: Arc<dyn Clock>,
    pub pools: Pools,
    pub metrics: Metrics,
    pub tracer: Tracer,
}

/// A node: read-only until it is given a writer. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub options: NodeOptions,
    pub storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    pub pools: Pools,
    pub metrics: Metrics,
    tracer: Tracer,
    admission: Admission,
    pub deletes: Arc<Deletes>,
    pub cache: Arc<SegmentCache>,
    pub writer: ArcSwapOption<Writer>,
    pub standby: ArcSwapOption<Standby>,
    pub stands_by: AtomicBool,
    pub leaving: AtomicBool,
    /// Of the shared directory, as it was last seen; 0 when it has no marker yet.
    pub directory: AtomicU64,
    /// What was wrong with it when it was last looked at.
    pub directory_fault: ArcSwapOption<String>,
    pub contact: Arc<Contact>,
}

impl Node {
    pub fn new(parts: NodeParts) -> Node {
        let deletes = Arc::new(Deletes::default());
        let NodeParts { options, storage, clock, pools, metrics, tracer } = parts;
        let cache = Arc::new(SegmentCache::new(
            Arc::clone(&storage),
            Arc::clone(&deletes),
            Arc::clone(&clock),
            metrics.clone(),
        ));
        Node {
            inner: Arc::new(Inner {
                contact: Contact::new(Arc::clone(&clock)),
                admission: Admission::new(options.max_subqueries, metrics.clone()),
                options,
                storage,
                clock,
                pools,
                metrics,
                tracer,
                deletes,
                cache,
                writer: ArcSwapOption::empty(),
                standby: ArcSwapOption::empty(),
                stands_by: AtomicBool::new(false),
                leaving: AtomicBool::new(false),
                directory: AtomicU64::new(0),
                directory_fault: ArcSwapOption::empty(),
            }),
        }
    }

    /// Says of itself that it waits to be the writer.
    pub fn stand_by(&self) {
        self.inner.stands_by.store(true, Ordering::Relaxed);
        self.inner.metrics.is_standby.set(1);
    }

    /// Takes over as the writer and serves writes from then on.
    pub async fn become_writer(&self, parts: crate::WriterParts) -> Result<Arc<Writer>> {
        let started =
            Writer::start(parts, Arc::clone(&self.inner.deletes), Arc::clone(&self.inner.cache)).await;
        let writer = started.inspect_err(|_| self.inner.deletes.disown())?;
        self.inner.writer.store(Some(Arc::clone(&writer)));
        self.inner.standby.store(None);
        self.inner.stands_by.store(false, Ordering::Relaxed);
        let metrics = &self.inner.metrics;
        metrics.is_standby.set(0);
        metrics.is_writer.set(1);
        metrics.epoch.set(writer.log_id().epoch.0 as i64);
        // It serves already; if the marker cannot be read now, it is looked at again.
        if let Err(e) = self.look_at_directory().await {
            tracing::warn!(error = %e, "the marker of the shared directory could not be read");
        }
        Ok(writer)
    }

    /// Follows a writer's deletes until the future is dropped.
    pub fn follow(&self, source: Arc<dyn crate::DeleteSource>) -> impl Future<Output = ()> + Send + use<> {
        let source = Arc::new(Heard { source, contact: Arc::clone(&self.inner.contact) });
        crate::follow_deletes(source, Arc::clone(&self.inner.deletes))
    }

    /// Follows a writer's log, so that this node answers for growing rows too, until the future is dropped. `window` is
    /// how long the writer keeps what it removes.
    pub fn follow_log(
        &self,
        source: Arc<dyn crate::LogSource>,
        window: std::time::Duration,
    ) -> impl Future<Output = ()> + Send + use<> {
        let deletes = Arc::clone(&self.inner.deletes);
        let standby = Standby::new(deletes, self.inner.metrics.clone(), window);
        self.inner.standby.store(Some(Arc::clone(&standby)));
        let source = Arc::new(Heard { source, contact: Arc::clone(&self.inner.contact) });
        standby.follow(source, self.inner.pools.clone())
    }

    /// Closes what is not used any more, and sees whether the shared directory is still there, until the future is dropped.
    pub fn tidy(&self) -> impl Future<Output = ()> + Send + use<> {
        let node = self.clone();
        async move {
            loop {
                // The first writer of a cluster marks the directory: then it is to be known soon.
                tokio::time::sleep(if node.sees_its_directory() { TIDY_EVERY } else { UNMARKED_EVERY }).await;
                // The writer's housekeeping does it itself, where there is one.
                if node.writer().is_err() {
                    node.inner.cache.close_idle();
                }
                if let Err(e) = node.look_at_directory().await {
                    tracing::error!(error = %e, "the marker of the shared directory is not what it was");
                }
            }
        }
    }

    /// Lets a sub-query in.
    fn enter(&self, scope: &ReadScope) -> Result<Inside> {
        let share = if self.writer().is_ok() && !scope.growing { Share::Quarter } else { Share::All };
        self.inner.admission.enter(&self.inner.options.name, share)
    }

    /// The span of a sub-query, and what it says of what is read.
    fn span(&self, name: &'static str, traceparent: &str, scope: &ReadScope) -> Span {
        let span = self.inner.tracer.serve(name, Some(traceparent).filter(|text| !text.is_empty()));
        span.set("node", self.inner.options.name.clone());
        span.set("segments", scope.segments.len() as i64);
        span.set("growing", scope.growing);
        span
    }

    pub(crate) fn writer(&self) -> Result<Arc<Writer>> {
        let writer = self.inner.writer.load_full().filter(|w| !w.has_ended());
        writer.ok_or_else(|| Failure::not_writer(format!("node {} is read-only", self.inner.options.name)))
    }

    /// Opens everything that a scope is about, with every delete that it needs applied.
    async fn units(&self, scope: &Arc<ReadScope>) -> Result<Vec<Arc<Unit>>> {
        let inner = &self.inner;
        let needed = scope.delete_sequence;
        if needed > scope.deltas_through && !inner.deletes.wait_for(needed, inner.options.catch_up_wait).await
        {
            let applied = inner.deletes.applied();
            return Err(Failure::not_caught_up(format!(
                "node {} has applied {applied} of {needed}",
                inner.options.name
            )));
        }
        let fresh = if scope.growing { Some(self.fresh_rows(scope)?) } else { None };
        let (cache, scope) = (Arc::clone(&inner.cache), Arc::clone(scope));
        inner
            .pools
            .io(move || {
                let needed = scope.delete_sequence;
                let published = Deltas { files: &scope.deltas, through: scope.deltas_through, needed };
                let mut units = Vec::with_capacity(scope.segments.len());
                for segment in &scope.segments {
                    units.push(cache.open(segment, &scope.schema, &published)?);
                }
                let Some(fresh) = fresh else { return Ok(units) };
                let newest = Deltas { files: &fresh.deltas, through: fresh.deltas_through, needed };
                for segment in &fresh.segments {
                    // To the request these are growing rows still.
                    let mut unit = (*cache.open(segment, &scope.schema, &newest)?).clone();
                    unit.segment = SegmentId(0);
                    units.push(Arc::new(unit));
                }
                units.extend(fresh.growing);
                Ok(units)
            })
            .await
    }

    fn served(&self, started: std::time::Duration, scope: &ReadScope, units: &[Arc<Unit>]) -> Served {
        Served {
            node: self.inner.options.name.clone(),
            micros: self.inner.clock.elapsed().saturating_sub(started).as_micros() as u64,
            segments: scope.segments.iter().map(|s| s.id.0).collect(),
            rows_scanned: units.iter().map(|u| u.rows.len() as u64).sum(),
            growing: scope.growing,
        }
    }

    pub(crate) async fn run_search(&self, request: SearchRequest) -> Result<RowBatch> {
        let _timer = self.inner.metrics.search_seconds.start_timer();
        let started = self.inner.clock.elapsed();
        let traceparent = traceparent_of(request.scope.as_ref());
        let job = search_job(request)?;
        let scope = Arc::clone(&job.scope);
        let _inside = self.enter(&scope)?;
        let span = self.span("node_search", &traceparent, &scope);
        span.set("nq", job.nq as i64);
        span.set("topk", job.k as i64);
        let open = span.child("open_segments");
        let units = self.units(&scope).await?;
        drop(open);
        span.set("rows", units.iter().map(|u| u.rows.len() as i64).sum::<i64>());
        let _work = span.child("search_segments");
        let cancelled = CancelOnDrop::default();
        let flag = Arc::clone(&cancelled.0);
        let (lists, units) = self
            .inner
            .pools
            .search(move || search_units(&job, &units, &flag).map(|lists| (lists, units)))
            .await?;
        let mut batch = RowBatch { served: Some(self.served(started, &scope, &units)), ..Default::default() };
        let mut found = Vec::new();
        for list in lists {
            batch.lens.push(list.len() as u32);
            for (row, group) in list {
                batch.groups.extend(group);
                found.push(row);
            }
        }
        add_rows(&mut batch, found, &units);
        Ok(batch)
    }

    pub(crate) async fn run_query(&self, request: QueryRequest) -> Result<RowBatch> {
        let _timer = self.inner.metrics.query_seconds.start_timer();
        let started = self.inner.clock.elapsed();
        let traceparent = traceparent_of(request.scope.as_ref());
        let scope = Arc::new(ReadScope::decode(request.scope)?);
        let _inside = self.enter(&scope)?;
        let _span = self.span("node_query", &traceparent, &scope);
        let units = self.units(&scope).await?;
        let (job_scope, job_units) = (Arc::clone(&scope), units.clone());
        let limit = request.limit as usize;
        let (found, count) = self
            .inner
            .pools
            .search(move || Ok(query_units(&job_scope, &job_units, limit, request.count)))
            .await?;
        let mut batch = RowBatch { count, lens: vec![found.len() as u32], ..Default::default() };
        batch.served = Some(self.served(started, &scope, &units));
        add_rows(&mut batch, found, &units);
        Ok(batch)
    }

    pub(crate) async fn run_fetch(&self, mut request: FetchRequest) -> Result<FetchResponse> {
        let traceparent = traceparent_of(request.scope.as_ref());
        let scope = Arc::new(ReadScope::decode(request.scope.take())?);
        let _span = self.span("node_fetch", &traceparent, &scope);
        let units = self.units(&scope).await?;
        let columns = self.inner.pools.search(move || fetch_columns(request, &units)).await?;
        Ok(FetchResponse { columns })
    }

    pub(crate) async fn run_read_point(&self, request: ReadPointRequest) -> Result<ReadPointResponse> {
        let standby = || self.inner.standby.load_full().and_then(|standby| standby.view());
        let (writer, view, epoch) = match (self.writer(), standby()) {
            (Ok(writer), _) => (Some(Arc::clone(&writer)), writer.view(), writer.log_id().epoch),
            (Err(_), Some(tail)) if request.from_standby => (None, Arc::clone(&tail.view), tail.epoch),
            (Err(failure), _) => return Err(failure),
        };
        let database = view
            .snapshot
            .database(&request.database)
            .ok_or_else(|| Error::database_not_found(&request.database))?;
        let collection = view
            .snapshot
            .resolve(database.id, &request.collection)
            .ok_or_else(|| Error::collection_not_found(&request.database, &request.collection))?;
        // T was taken with the view; only now the fence says that it was ours to give.
        if let Some(writer) = writer {
            writer.check_not_fenced().await?;
        }
        let v = view.last_schema_change;
        Ok(ReadPointResponse {
            version: Some(Version { commit_seq: v.commit_seq, commit_id: v.commit_id }),
            timestamp: view.applied_timestamp.0,
            delete_sequence: view.last_delete.get(&collection.id).map_or(0, |s| s.0),
            epoch: epoch.0,
            collection_id: collection.id.0,
        })
    }

    pub(crate) async fn run_change(&self, request: ChangeRequest) -> Result<ChangeResponse> {
        let command: Command = serde_json::from_slice(&request.command)
            .map_err(|e| Failure::internal(format!("the command cannot be read: {e}")))?;
        let (version, logged) = self.writer()?.change(&command).await?;
        let version = Version { commit_seq: version.commit_seq, commit_id: version.commit_id };
        Ok(ChangeResponse { version: Some(version), timestamp: logged.timestamp.0 })
    }

    pub(crate) async fn run_flush(&self, request: FlushRequest) -> Result<FlushResponse> {
        let writer = self.writer()?;
        let timestamp = writer.view().applied_timestamp.0;
        let ids: Vec<CollectionId> = request.collection_ids.into_iter().map(CollectionId).collect();
        let flushed = writer.flush(&ids, request.wait).await?;
        let v = writer.view().snapshot.version;
        Ok(FlushResponse {
            version: Some(Version { commit_seq: v.commit_seq, commit_id: v.commit_id }),
            timestamp,
            flushed,
        })
    }

    pub(crate) fn run_growing(&self, request: GrowingRequest) -> Result<GrowingResponse> {
        let view = self.writer()?.view();
        let mut partitions: BTreeMap<i64, GrowingPartition> = BTreeMap::new();
        for (id, list) in &view.growing {
            for growing in list.iter().filter(|g| g.collection.0 == request.collection_id) {
                let entry = partitions.entry(id.0).or_insert_with(|| GrowingPartition {
                    partition_id: id.0,
                    oldest_timestamp: growing.oldest.0,
                    ..Default::default()
                });
                entry.rows += growing.rows as u64;
                entry.oldest_timestamp = entry.oldest_timestamp.min(growing.oldest.0);
            }
        }
        let v = view.snapshot.version;
        let version = Some(Version { commit_seq: v.commit_seq, commit_id: v.commit_id });
        Ok(GrowingResponse { partitions: partitions.into_values().collect(), version })
    }
}

/// Tells the search threads that nobody waits any more.
#[derive(Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn traceparent_of(scope: Option<&Scope>) -> String {
    scope.map_or_else(String::new, |scope| scope.traceparent.clone())
}

fn search_job(request: SearchRequest) -> Result<SearchJob> {
    let mut request = request;
    let scope = ReadScope::decode(request.scope.take())?;
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
    Ok(SearchJob {
        scope: Arc::new(scope),
        field: FieldId(request.field_id),
        metric,
        vectors: request.vectors,
        nq,
        k: request.k as usize,
        ef: request.ef as usize,
        exact: request.exact,
        bounds,
        group,
    })
}

fn add_rows(batch: &mut RowBatch, found: Vec<Found>, units: &[Arc<Unit>]) {
    for row in &found {
        batch.timestamps.push(row.timestamp.0);
        batch.segments.push(units[row.unit].segment.0);
        batch.rows.push(row.row);
        batch.scores.push(row.distance);
    }
    batch.keys = Some(keys_to_wire(found.into_iter().map(|row| row.key)));
}
