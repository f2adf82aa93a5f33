//! What a node does with a request: opens what it is about, runs it on the right threads, and describes the answer.

use crate::columns::keys_to_wire;
use crate::deletes::Deletes;
use crate::read::{Found, ReadScope, SearchJob, fetch_columns, query_units, search_units};
use crate::segment_cache::{Deltas, SegmentCache};
use crate::unit::Unit;
use crate::{Failure, Metrics, NodeOptions, Pools, Result, Writer};
use arc_swap::ArcSwapOption;
use mishards_catalog::{Command, DeltaFile, Segment};
use mishards_index::Bounds;
use mishards_proto::node::*;
use mishards_storage::Storage;
use mishards_types::{Clock, CollectionId, Error, FieldId, Metric, SegmentId, Sequence};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The version of this API that we speak.
pub const API_VERSION: u32 = 1;

const TIDY_EVERY: std::time::Duration = std::time::Duration::from_secs(10);

/// What a node is made of.
pub struct NodeParts {
    pub options: NodeOptions,
    pub storage: Arc<dyn Storage>,
    pub clock: Arc<dyn Clock>,
    pub pools: Pools,
    pub metrics: Metrics,
}

/// A node: read-only until it is given a writer. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    options: NodeOptions,
    clock: Arc<dyn Clock>,
    pools: Pools,
    metrics: Metrics,
    deletes: Arc<Deletes>,
    cache: Arc<SegmentCache>,
    writer: ArcSwapOption<Writer>,
    stands_by: AtomicBool,
}

impl Node {
    pub fn new(parts: NodeParts) -> Node {
        let deletes = Arc::new(Deletes::default());
        let cache = Arc::new(SegmentCache::new(
            parts.storage,
            Arc::clone(&deletes),
            Arc::clone(&parts.clock),
            parts.metrics.clone(),
        ));
        let NodeParts { options, clock, pools, metrics, .. } = parts;
        Node {
            inner: Arc::new(Inner {
                options,
                clock,
                pools,
                metrics,
                deletes,
                cache,
                writer: ArcSwapOption::empty(),
                stands_by: AtomicBool::new(false),
            }),
        }
    }

    /// Says of itself that it waits to be the writer.
    pub fn stand_by(&self) {
        self.inner.stands_by.store(true, Ordering::Relaxed);
    }

    /// Takes over as the writer and serves writes from then on.
    pub async fn become_writer(&self, parts: crate::WriterParts) -> Result<Arc<Writer>> {
        let started =
            Writer::start(parts, Arc::clone(&self.inner.deletes), Arc::clone(&self.inner.cache)).await;
        let writer = started.inspect_err(|_| self.inner.deletes.disown())?;
        self.inner.writer.store(Some(Arc::clone(&writer)));
        self.inner.stands_by.store(false, Ordering::Relaxed);
        self.inner.metrics.is_writer.set(1);
        Ok(writer)
    }

    /// Follows a writer's deletes, and closes what is not used any more, until the future is dropped.
    pub fn follow(&self, source: Arc<dyn crate::DeleteSource>) -> impl Future<Output = ()> + Send + use<> {
        let follow = crate::follow_deletes(source, Arc::clone(&self.inner.deletes));
        let inner = Arc::clone(&self.inner);
        let tidy = async move {
            loop {
                tokio::time::sleep(TIDY_EVERY).await;
                inner.cache.close_idle();
            }
        };
        async move {
            tokio::join!(follow, tidy);
        }
    }

    pub(crate) fn writer(&self) -> Result<Arc<Writer>> {
        let writer = self.inner.writer.load_full().filter(|w| !w.has_ended());
        writer.ok_or_else(|| Failure::not_writer(format!("node {} is read-only", self.inner.options.name)))
    }

    pub(crate) fn run_describe(&self) -> DescribeResponse {
        let writer = self.inner.writer.load_full().filter(|w| !w.has_ended());
        DescribeResponse {
            cluster_id: self.inner.options.cluster_id.clone(),
            name: self.inner.options.name.clone(),
            writable: writer.is_some(),
            api_min: API_VERSION,
            api_max: API_VERSION,
            epoch: writer.map_or(0, |w| w.log_id().epoch.0),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            standby: self.inner.stands_by.load(Ordering::Relaxed),
        }
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
        let (mut segments, mut deltas, mut through) = (Vec::new(), Vec::new(), scope.deltas_through);
        let mut growing = Vec::new();
        if scope.growing {
            (growing, segments, deltas, through) = self.not_in(scope)?;
        }
        let (cache, scope) = (Arc::clone(&inner.cache), Arc::clone(scope));
        inner
            .pools
            .io(move || {
                let published = Deltas { files: &scope.deltas, through: scope.deltas_through };
                let mut units = Vec::with_capacity(scope.segments.len() + segments.len() + growing.len());
                for segment in &scope.segments {
                    units.push(cache.open(segment, &scope.schema, &published)?);
                }
                let newest = Deltas { files: &deltas, through };
                for segment in &segments {
                    // To the request these are growing rows still.
                    let mut unit = (*cache.open(segment, &scope.schema, &newest)?).clone();
                    unit.segment = SegmentId(0);
                    units.push(Arc::new(unit));
                }
                units.extend(growing);
                Ok(units)
            })
            .await
    }

    /// Every row that is not in V: growing rows, and segments written from growing rows after V.
    #[expect(clippy::type_complexity, reason = "four plain lists, used once")]
    fn not_in(
        &self,
        scope: &ReadScope,
    ) -> Result<(Vec<Arc<Unit>>, Vec<Arc<Segment>>, Vec<DeltaFile>, Sequence)> {
        let writer = self.writer()?;
        let view = writer.view();
        let snapshot = &view.snapshot;
        if scope.version.commit_seq > snapshot.version.commit_seq || view.applied_timestamp < scope.timestamp
        {
            return Err(Failure::not_caught_up(format!(
                "V {} or T {} is not here yet",
                scope.version, scope.timestamp
            )));
        }
        if !snapshot.knows(scope.version) {
            return Err(Failure::too_old(format!(
                "V {} is not in the history up to {}",
                scope.version, snapshot.version
            )));
        }
        // Merges have left out rows that were dead for longer than the window.
        let oldest = view.applied_timestamp.minus_ms(writer.window().as_millis() as u64);
        if scope.timestamp < oldest {
            let text =
                format!("the read is at {}, older than the window: begin anew", scope.timestamp.unix_ms());
            return Err(Failure::new(crate::Kind::Refused, Error::new(mishards_types::Code(11), text)));
        }
        // Its growing rows went with it.
        let Some(collection) = snapshot.collection(scope.collection) else {
            return Err(Failure::too_old(format!("collection {} has been dropped", scope.collection)));
        };
        if snapshot.has_dropped_since(scope.version.commit_seq, scope.collection, &scope.partitions) {
            return Err(Failure::too_old(format!(
                "a partition of collection {} was dropped after V {}",
                scope.collection, scope.version
            )));
        }
        let wanted =
            |s: &Arc<Segment>| scope.partitions.is_empty() || scope.partitions.contains(&s.partition);
        let segments =
            snapshot.flushed_since(scope.version, scope.collection).into_iter().filter(wanted).collect();
        let growing = view.growing_units(scope.collection, &scope.partitions);
        let deltas = snapshot.recent_deltas_of(scope.collection).map(|d| (**d).clone()).collect();
        Ok((growing, segments, deltas, collection.deltas_through))
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
        let job = search_job(request)?;
        let scope = Arc::clone(&job.scope);
        let units = self.units(&scope).await?;
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
        let scope = Arc::new(ReadScope::decode(request.scope)?);
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
        let scope = Arc::new(ReadScope::decode(request.scope.take())?);
        let units = self.units(&scope).await?;
        let columns = self.inner.pools.search(move || fetch_columns(request, &units)).await?;
        Ok(FetchResponse { columns })
    }

    pub(crate) async fn run_read_point(&self, request: ReadPointRequest) -> Result<ReadPointResponse> {
        let writer = self.writer()?;
        let view = writer.view();
        let database = view
            .snapshot
            .database(&request.database)
            .ok_or_else(|| Error::database_not_found(&request.database))?;
        let collection = view
            .snapshot
            .resolve(database.id, &request.collection)
            .ok_or_else(|| Error::collection_not_found(&request.database, &request.collection))?;
        // T was taken with the view; only now the fence says that it was ours to give.
        writer.check_not_fenced().await?;
        let v = view.last_schema_change;
        Ok(ReadPointResponse {
            version: Some(Version { commit_seq: v.commit_seq, commit_id: v.commit_id }),
            timestamp: view.applied_timestamp.0,
            delete_sequence: view.last_delete.get(&collection.id).map_or(0, |s| s.0),
            epoch: writer.log_id().epoch.0,
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
