//! What a node does with a request: opens what it is about, runs it on the right threads, and describes the answer.

use crate::admission::{Admission, Inside, Share};
use crate::cancel::{Cancel, CancelOnDrop};
use crate::columns::keys_to_wire;
use crate::contact::Contact;
use crate::deletes::Deletes;
use crate::read::{Found, ReadScope, SearchJob, fetch_columns, query_units, search_units};
use crate::segment_cache::{Deltas, SegmentCache};
use crate::standby::Standby;
use crate::unit::Unit;
use crate::{Failure, Metrics, NodeOptions, Pools, Result, Writer};
use arc_swap::ArcSwapOption;
use mishards_catalog::{Command, Segment};
use mishards_proto::node::*;
use mishards_storage::Storage;
use mishards_trace::{Span, Tracer};
use mishards_types::{Clock, CollectionId, Error, Schema, SegmentId};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

/// The version of this API that we speak.
pub const API_VERSION: u32 = 1;

/// Scopes of fewer bytes are decoded where they arrive.
const SMALL_SCOPE: usize = 16 << 10;
/// A sub-query counts as one more for each so many rows of its answer.
const ROWS_OF_ONE: usize = 32_768;

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
    pub presence: OnceLock<Arc<dyn crate::Presence>>,
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
                presence: OnceLock::new(),
            }),
        }
    }

    /// Lets a sub-query in whose answer has up to so many rows.
    fn enter(&self, scope: &ReadScope, rows: usize) -> Result<Inside> {
        let share = if self.writer().is_ok() && !scope.growing { Share::Quarter } else { Share::All };
        self.inner.admission.enter(&self.inner.options.name, share, 1 + rows / ROWS_OF_ONE)
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
        let published = Deltas { files: &scope.deltas, through: scope.deltas_through, needed };
        let mut units = Vec::with_capacity(scope.segments.len());
        for segment in &scope.segments {
            units.push(self.opened(segment, &scope.schema, &published).await?);
        }
        let Some(fresh) = fresh else { return Ok(units) };
        let newest = Deltas { files: &fresh.deltas, through: fresh.deltas_through, needed };
        for segment in &fresh.segments {
            // To the request these are growing rows still.
            let mut unit = (*self.opened(segment, &scope.schema, &newest).await?).clone();
            unit.segment = SegmentId(0);
            units.push(Arc::new(unit));
        }
        units.extend(fresh.growing);
        Ok(units)
    }

    /// A segment, opened. One that is open already needs no I/O thread; of several who want a closed one, one opens it and
    /// the others wait without a thread.
    async fn opened(
        &self,
        segment: &Segment,
        schema: &Arc<Schema>,
        deltas: &Deltas<'_>,
    ) -> Result<Arc<Unit>> {
        let cache = &self.inner.cache;
        if let Some(unit) = cache.open_now(segment, deltas) {
            return unit;
        }
        let turn = cache.turn(segment.id);
        let _one_at_a_time = turn.lock().await;
        if let Some(unit) = cache.open_now(segment, deltas) {
            return unit;
        }
        let (cache, segment, schema) = (Arc::clone(cache), segment.clone(), Arc::clone(schema));
        let (files, through, needed) = (deltas.files.to_vec(), deltas.through, deltas.needed);
        let open = move || cache.open(&segment, &schema, &Deltas { files: &files, through, needed });
        self.inner.pools.io(open).await
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
        let bytes = bytes_of(request.scope.as_ref());
        let job = Arc::new(self.decoded(bytes, request, SearchJob::decode).await?);
        let scope = Arc::clone(&job.scope);
        let inside = self.enter(&scope, job.nq.saturating_mul(job.k))?;
        let span = self.span("node_search", &traceparent, &scope);
        span.set("nq", job.nq as i64);
        span.set("topk", job.k as i64);
        let open = span.child("open_segments");
        let units = Arc::new(self.units(&scope).await?);
        drop(open);
        span.set("rows", units.iter().map(|u| u.rows.len() as i64).sum::<i64>());
        let _work = span.child("search_segments");
        let work = Admitted::new(inside);
        let lists = search_units(&self.inner.pools, job, Arc::clone(&units), &work.cancel).await?;
        let mut batch = RowBatch { served: Some(self.served(started, &scope, &units)), ..Default::default() };
        let encode = move |cancel: &Cancel| {
            let mut found = Vec::new();
            for list in lists {
                cancel.check()?;
                batch.lens.push(list.len() as u32);
                for (row, group) in list {
                    batch.groups.extend(group);
                    found.push(row);
                }
            }
            add_rows(&mut batch, found, &units, cancel)?;
            Ok(batch)
        };
        work.finish(&self.inner.pools, encode).await
    }

    pub(crate) async fn run_query(&self, request: QueryRequest) -> Result<RowBatch> {
        let _timer = self.inner.metrics.query_seconds.start_timer();
        let started = self.inner.clock.elapsed();
        let traceparent = traceparent_of(request.scope.as_ref());
        let (limit, count) = (request.limit as usize, request.count);
        let decode = |request: QueryRequest, cancel: &Cancel| ReadScope::decode(request.scope, cancel);
        let bytes = bytes_of(request.scope.as_ref());
        let scope = Arc::new(self.decoded(bytes, request, decode).await?);
        let inside = self.enter(&scope, 0)?;
        let _span = self.span("node_query", &traceparent, &scope);
        let units = Arc::new(self.units(&scope).await?);
        let work = Admitted::new(inside);
        let (found, count) = query_units(
            &self.inner.pools,
            Arc::clone(&scope),
            Arc::clone(&units),
            limit,
            count,
            |rows| self.enter(&scope, rows),
            &work.cancel,
        )
        .await?;
        let mut batch = RowBatch { count, lens: vec![found.len() as u32], ..Default::default() };
        batch.served = Some(self.served(started, &scope, &units));
        let encode = move |cancel: &Cancel| add_rows(&mut batch, found, &units, cancel).map(|()| batch);
        work.finish(&self.inner.pools, encode).await
    }

    pub(crate) async fn run_fetch(&self, mut request: FetchRequest) -> Result<FetchResponse> {
        let traceparent = traceparent_of(request.scope.as_ref());
        let scope = request.scope.take();
        let scope = Arc::new(self.decoded(bytes_of(scope.as_ref()), scope, ReadScope::decode).await?);
        let inside = self.enter(&scope, request.rows.len())?;
        let _span = self.span("node_fetch", &traceparent, &scope);
        let units = self.units(&scope).await?;
        let work = Admitted::new(inside);
        let columns =
            work.finish(&self.inner.pools, move |cancel| fetch_columns(request, &units, cancel)).await?;
        Ok(FetchResponse { columns })
    }

    /// A decoded request: on a search thread, unless its scope is so small that the way there costs more.
    async fn decoded<R: Send + 'static, T: Send + 'static>(
        &self,
        bytes: usize,
        request: R,
        decode: impl FnOnce(R, &Cancel) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let cancel = Cancel::default();
        if bytes < SMALL_SCOPE {
            return decode(request, &cancel);
        }
        let _left = cancel.on_drop();
        let decode = move || decode(request, &cancel);
        self.inner.pools.search(decode).await
    }

    pub(crate) async fn run_read_point(&self, request: ReadPointRequest) -> Result<ReadPointResponse> {
        let standby = || self.inner.standby.load_full().and_then(|standby| Some((standby.view()?, standby)));
        let (writer, view, epoch, tail) = match (self.writer(), standby()) {
            (Ok(writer), _) => (Some(Arc::clone(&writer)), writer.view(), writer.log_id().epoch, None),
            (Err(_), Some((tail, standby))) if request.from_standby => {
                (None, Arc::clone(&tail.view), tail.epoch, Some((tail, standby)))
            }
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
        let newest = match (writer, tail) {
            (Some(writer), _) => writer.check_not_fenced().await.map(|()| true)?,
            (None, Some((tail, standby))) => standby.is_newest(&tail).await,
            (None, None) => false,
        };
        let v = view.last_schema_change;
        Ok(ReadPointResponse {
            version: Some(Version { commit_seq: v.commit_seq, commit_id: v.commit_id }),
            timestamp: view.applied_timestamp.0,
            delete_sequence: view.last_delete.get(&collection.id).map_or(0, |s| s.0),
            epoch: epoch.0,
            collection_id: collection.id.0,
            newest,
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

/// Work that was let in. Its room is free again when the last of its slices has ended, also when whoever waited for it has
/// left before.
struct Admitted {
    cancel: Cancel,
    _left: CancelOnDrop,
}

impl Admitted {
    fn new(inside: Inside) -> Admitted {
        let cancel = Cancel::holding(inside);
        Admitted { _left: cancel.on_drop(), cancel }
    }

    /// The last step, on a search thread.
    async fn finish<T: Send + 'static>(
        self,
        pools: &Pools,
        work: impl FnOnce(&Cancel) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let cancel = self.cancel.clone();
        let work = move || {
            let out = cancel.check().and_then(|()| work(&cancel));
            drop(cancel);
            out
        };
        pools.search(work).await
    }
}

/// Bytes of a scope that are to be parsed.
fn bytes_of(scope: Option<&Scope>) -> usize {
    scope.map_or(0, |scope| {
        let listed = scope.segments.iter().chain(&scope.deltas).map(Vec::len).sum::<usize>();
        listed + scope.schema.len() + scope.filter.len() + scope.templates.len()
    })
}

fn traceparent_of(scope: Option<&Scope>) -> String {
    scope.map_or_else(String::new, |scope| scope.traceparent.clone())
}

fn add_rows(batch: &mut RowBatch, found: Vec<Found>, units: &[Arc<Unit>], cancel: &Cancel) -> Result<()> {
    for (i, row) in found.iter().enumerate() {
        cancel.check_at(i)?;
        let unit = &units[row.unit];
        let is_growing = unit.segment.0 == 0;
        batch.timestamps.push(row.timestamp.0);
        batch.segments.push(unit.segment.0);
        batch.rows.push(if is_growing { unit.ordinal(row.row) } else { row.row });
        batch.partitions.push(if is_growing { unit.partition.0 } else { 0 });
        batch.scores.push(row.distance);
    }
    if batch.partitions.iter().all(|id| *id == 0) {
        batch.partitions.clear();
    }
    batch.keys = Some(keys_to_wire(found.into_iter().map(|row| row.key)));
    Ok(())
}
