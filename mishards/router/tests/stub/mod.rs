//! Nodes that answer as a test wants, behind a real router: real planning, placement, scattering and merging.
#![allow(dead_code, reason = "each test file uses a part of it")]

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use mishards_catalog::{
    Collection, Database, Entity, FileRef, IndexDef, LoadState, Origin, Partition, Row, Segment, Snapshot,
};
use mishards_discovery::{Discovery, Member, StaticList};
use mishards_proto::common::{KeyValuePair, PlaceholderGroup, PlaceholderType, PlaceholderValue};
use mishards_proto::milvus::{SearchRequest as ClientSearch, search_request::SearchInput};
use mishards_proto::node::{
    CatalogUpdate, ChangeRequest, ChangeResponse, CloseRequest, CloseResponse, DescribeResponse,
    FetchRequest, FetchResponse, FlushRequest, FlushResponse, GrowingRequest, GrowingResponse, OpenRequest,
    OpenResponse, ProveResponse, QueryRequest, ReadPointRequest, ReadPointResponse, RowBatch, Scope,
    SearchRequest, Served, WriteRequest, WriteResponse,
};
use mishards_proto::schema::{IDs, LongArray, i_ds::IdField};
use mishards_router::{
    Call, CatalogView, ClusterStatus, Connect, Metrics, NodeClient, Router, RouterOptions, RouterParts,
    Sources, Topology, policy,
};
use mishards_types::{
    Clock, CollectionId, DataType, DatabaseId, Epoch, Error, Field, FieldId, IndexId, Metric, PartitionId,
    Result, Schema, SegmentId, Sequence, Timestamp, Version,
};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub type Answer<T> = std::result::Result<T, mishards_router::Failure>;

pub const EPOCH: u64 = 7;
pub const COLLECTION: CollectionId = CollectionId(10);
/// Rows that each segment answers with.
pub const ROWS: i64 = 5;
const DIM: usize = 4;

/// What a node does with a search.
#[derive(Clone, Debug, PartialEq)]
pub enum Does {
    Answer,
    Hang,
    /// Neither searches nor probes are answered: a process that is stopped.
    Stop,
    /// Answers to nothing any more once it is asked to read.
    StopOnceAsked,
    /// It cannot be reached, or the connection breaks while it works.
    Unreached,
    Break,
    /// After a while.
    BreakLate(Duration),
    Fail(mishards_router::Kind),
    /// A file of this name is not there.
    Lack(String),
    /// An answer without one of its segments, but with their rows.
    LeaveOut,
    /// More rows than keys.
    Garbage,
    /// So many rows in all, as a node that has merged its segments.
    Top(usize),
}

/// See the file's head.
pub struct Stub {
    pub said: Mutex<DescribeResponse>,
    pub does: Mutex<Does>,
    snapshot: tokio::sync::watch::Receiver<Arc<Snapshot>>,
    pub written: Mutex<Vec<WriteRequest>>,
    /// Segments of each search or query, in the order in which they came.
    pub searched: Mutex<Vec<Vec<i64>>>,
    pub opened: Mutex<Vec<i64>>,
    pub closed: Mutex<Vec<i64>>,
    /// Whether it gets done with opening segments.
    pub opens: tokio::sync::watch::Sender<bool>,
    /// So many probes more are left without an answer.
    pub unanswered: AtomicUsize,
    pub under_way: AtomicUsize,
    /// Rows that are in no file, by key.
    pub growing: Mutex<Vec<i64>>,
    pub point: Mutex<Point>,
}

/// What a node does when it is asked for a read point.
#[derive(Clone, Copy)]
pub enum Point {
    At(u64),
    Fail,
    Hang,
}

impl Stub {
    fn new(name: &str, writable: bool, snapshot: tokio::sync::watch::Receiver<Arc<Snapshot>>) -> Arc<Stub> {
        let said = DescribeResponse {
            cluster_id: "c".to_owned(),
            name: name.to_owned(),
            writable,
            api_min: 1,
            api_max: 1,
            epoch: if writable { EPOCH } else { 0 },
            directory: 99,
            ..Default::default()
        };
        Arc::new(Stub {
            said: Mutex::new(said),
            does: Mutex::new(Does::Answer),
            snapshot,
            written: Mutex::default(),
            searched: Mutex::default(),
            opened: Mutex::default(),
            closed: Mutex::default(),
            opens: tokio::sync::watch::Sender::new(true),
            unanswered: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            growing: Mutex::default(),
            point: Mutex::new(Point::At(50)),
        })
    }

    pub fn name(&self) -> String {
        self.said.lock().unwrap().name.clone()
    }

    pub fn does(&self, what: Does) {
        *self.does.lock().unwrap() = what;
    }

    pub fn says(&self, change: impl FnOnce(&mut DescribeResponse)) {
        change(&mut self.said.lock().unwrap());
    }

    pub fn searches(&self) -> usize {
        self.searched.lock().unwrap().len()
    }

    fn batch(&self, scope: &Scope, nq: u32) -> RowBatch {
        let segments: Vec<i64> =
            scope.segments.iter().map(|json| serde_json::from_slice::<Segment>(json).unwrap().id.0).collect();
        let growing = if scope.growing { self.growing.lock().unwrap().clone() } else { Vec::new() };
        let rows = segments.iter().flat_map(|id| (0..ROWS).map(move |row| (id * 100 + row, *id, row as u32)));
        let all: Vec<(i64, i64, u32)> = rows.chain(growing.into_iter().map(|key| (key, 0, 0))).collect();
        let mut batch = RowBatch {
            served: Some(Served {
                node: self.name(),
                segments,
                growing: scope.growing,
                rows_scanned: all.len() as u64,
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut keys = Vec::new();
        for _ in 0..nq {
            batch.lens.push(all.len() as u32);
            for (key, segment, row) in &all {
                keys.push(*key);
                batch.timestamps.push(1);
                batch.segments.push(*segment);
                batch.rows.push(*row);
                batch.partitions.push(i64::from(*segment == 0));
                batch.scores.push(distance(*key));
            }
        }
        batch.keys = Some(IDs { id_field: Some(IdField::IntId(LongArray { data: keys })) });
        batch
    }
}

impl Stub {
    /// Answers a search or query, or does what the test wants instead.
    async fn read(&self, scope: Scope, nq: u32) -> Answer<RowBatch> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let _under_way = UnderWay(&self.under_way);
        // As over a connection: it is not there at once.
        tokio::task::yield_now().await;
        let mut batch = self.batch(&scope, nq);
        self.searched.lock().unwrap().push(batch.served.as_ref().unwrap().segments.clone());
        let does = self.does.lock().unwrap().clone();
        match does {
            Does::Answer => {}
            Does::Hang | Does::Stop => std::future::pending().await,
            Does::StopOnceAsked => {
                self.does(Does::Stop);
                std::future::pending().await
            }
            Does::Unreached => return fails(mishards_router::Kind::Unreached, "refused"),
            Does::Break => return fails(mishards_router::Kind::Broken, "reset"),
            Does::BreakLate(wait) => {
                tokio::time::sleep(wait).await;
                return fails(mishards_router::Kind::Broken, "reset");
            }
            Does::Fail(kind) => return fails(kind, "as the test wants"),
            Does::Lack(file) => {
                let error = Error::unavailable("snapshot too old: the file is not there");
                let failure = mishards_router::Failure::new(mishards_router::Kind::SnapshotTooOld, error);
                return Err(mishards_router::Failure { missing_file: Some(file), ..failure });
            }
            Does::LeaveOut => drop(batch.served.as_mut().unwrap().segments.pop()),
            Does::Garbage => batch.timestamps.push(1),
            Does::Top(k) => return Ok(self.top(batch, k)),
        }
        Ok(batch)
    }

    /// The first segment's rows, or more than it has, in the order of their distance.
    fn top(&self, batch: RowBatch, k: usize) -> RowBatch {
        let served = batch.served.unwrap_or_default();
        let segment = served.segments.first().copied().unwrap_or(0);
        let keys = (0..k as i64).map(|row| segment * 100_000 + row).collect();
        RowBatch {
            lens: vec![k as u32],
            timestamps: vec![1; k],
            segments: vec![segment; k],
            rows: (0..k as u32).collect(),
            scores: (0..k).map(|row| row as f32 + segment as f32 / 1000.0).collect(),
            keys: Some(IDs { id_field: Some(IdField::IntId(LongArray { data: keys })) }),
            served: Some(served),
            ..Default::default()
        }
    }
}

/// Of a row to the query vector: some order that is not that of the keys.
pub fn distance(key: i64) -> f32 {
    (key * 7919 % 1009) as f32
}

/// Counts a call, also one that is given up.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn fails<T>(kind: mishards_router::Kind, text: &str) -> Answer<T> {
    Err(mishards_router::Failure::new(kind, Error::unavailable(text)))
}

#[tonic::async_trait]
impl NodeClient for Stub {
    async fn describe(&self) -> Answer<DescribeResponse> {
        let left = self.unanswered.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if left.is_ok() || *self.does.lock().unwrap() == Does::Stop {
            std::future::pending::<()>().await;
        }
        Ok(self.said.lock().unwrap().clone())
    }

    async fn prove(&self) -> Answer<ProveResponse> {
        Ok(ProveResponse::default())
    }

    async fn search(&self, request: SearchRequest) -> Answer<RowBatch> {
        self.read(request.scope.unwrap(), request.nq).await
    }

    async fn query(&self, request: QueryRequest) -> Answer<RowBatch> {
        let mut batch = self.read(request.scope.unwrap(), 1).await?;
        batch.count = batch.timestamps.len() as u64;
        Ok(batch)
    }

    async fn fetch(&self, _: FetchRequest) -> Answer<FetchResponse> {
        fails(mishards_router::Kind::Refused, "no columns here")
    }

    async fn read_point(&self, _: ReadPointRequest) -> Answer<ReadPointResponse> {
        let point = *self.point.lock().unwrap();
        let timestamp = match point {
            Point::At(timestamp) => timestamp,
            Point::Fail => return fails(mishards_router::Kind::Transport, "no read point"),
            Point::Hang => std::future::pending().await,
        };
        let said = self.said.lock().unwrap();
        let epoch = if said.writable { said.epoch } else { said.tails_epoch };
        Ok(ReadPointResponse { timestamp, epoch, collection_id: COLLECTION.0, ..Default::default() })
    }

    async fn write(&self, request: WriteRequest) -> Answer<WriteResponse> {
        self.written.lock().unwrap().push(request);
        Ok(WriteResponse::default())
    }

    async fn change(&self, _: ChangeRequest) -> Answer<ChangeResponse> {
        Ok(ChangeResponse::default())
    }

    async fn flush(&self, _: FlushRequest) -> Answer<FlushResponse> {
        fails(mishards_router::Kind::NotWriter, "no flush here")
    }

    async fn growing(&self, _: GrowingRequest) -> Answer<GrowingResponse> {
        Ok(GrowingResponse::default())
    }

    async fn open(&self, request: OpenRequest) -> Answer<OpenResponse> {
        self.opens.subscribe().wait_for(|opens| *opens).await.unwrap();
        let segments = self.batch(&request.scope.unwrap(), 0).served.unwrap().segments;
        let count = segments.len() as u32;
        self.opened.lock().unwrap().extend(segments);
        Ok(OpenResponse { segments: count })
    }

    async fn close(&self, request: CloseRequest) -> Answer<CloseResponse> {
        self.closed.lock().unwrap().extend(request.segments);
        Ok(CloseResponse::default())
    }

    async fn watch_catalog(&self) -> Answer<BoxStream<'static, Answer<CatalogUpdate>>> {
        let updates = tokio_stream::wrappers::WatchStream::new(self.snapshot.clone()).map(|snapshot| {
            Ok(CatalogUpdate {
                version: None,
                epoch: EPOCH,
                snapshot: serde_json::to_vec(&*snapshot).unwrap(),
                ..Default::default()
            })
        });
        Ok(updates.boxed())
    }
}

/// The system's monotonic clock, until it is stopped.
pub struct Real {
    began: tokio::time::Instant,
    stopped: Mutex<Option<Duration>>,
}

impl Real {
    pub fn stop(&self) {
        *self.stopped.lock().unwrap() = Some(self.began.elapsed());
    }

    pub fn go_on(&self) {
        *self.stopped.lock().unwrap() = None;
    }
}

impl Clock for Real {
    fn unix_ms(&self) -> u64 {
        1_700_000_000_000 + self.elapsed().as_millis() as u64
    }

    fn elapsed(&self) -> Duration {
        self.stopped.lock().unwrap().unwrap_or_else(|| self.began.elapsed())
    }
}

/// A router over stub nodes.
pub struct Cluster {
    pub router: Arc<Router>,
    pub topology: Arc<Topology>,
    pub clock: Arc<Real>,
    pub nodes: BTreeMap<String, Arc<Stub>>,
    pub catalog: tokio::sync::watch::Sender<Arc<Snapshot>>,
    pub metrics: Metrics,
    members: tokio::sync::watch::Sender<BTreeSet<String>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// How a cluster is made.
pub struct Make {
    /// Names; one that begins with `w` is the writable node, with `s` a standby.
    pub nodes: Vec<String>,
    /// Of these, who is there from the beginning.
    pub present: Vec<String>,
    pub segments: i64,
    pub replicas: u32,
    pub patience: Duration,
}

impl Make {
    pub fn of(nodes: &[&str], segments: i64) -> Make {
        let nodes: Vec<String> = nodes.iter().map(|name| (*name).to_owned()).collect();
        Make { present: nodes.clone(), nodes, segments, replicas: 1, patience: Duration::from_secs(5) }
    }

    pub async fn start(self) -> Cluster {
        let snapshot = Arc::new(snapshot(self.segments, self.replicas, 1));
        let catalog = tokio::sync::watch::Sender::new(snapshot);
        let stub = |name: &String| {
            let stub = Stub::new(name, name.starts_with('w'), catalog.subscribe());
            stub.says(|said| said.standby = name.starts_with('s'));
            (name.clone(), stub)
        };
        let nodes: BTreeMap<String, Arc<Stub>> = self.nodes.iter().map(stub).collect();
        let present: BTreeSet<String> = self.present.iter().cloned().collect();
        let members = tokio::sync::watch::Sender::new(present);
        let real = Arc::new(Real { began: tokio::time::Instant::now(), stopped: Mutex::default() });
        let clock: Arc<dyn Clock> = Arc::clone(&real) as Arc<dyn Clock>;
        let topology = Topology::new("c".to_owned(), Arc::clone(&clock), None);
        let view = CatalogView::new();
        let (known, listed) = (nodes.clone(), members.clone());
        let connect: Arc<Connect> = Arc::new(move |member: &Member| {
            let inner = Arc::clone(known.get(&member.name)?);
            let members = listed.clone();
            Some(Arc::new(Present { name: member.name.clone(), inner, members }) as Arc<dyn NodeClient>)
        });
        let list: Vec<String> = self.nodes.iter().map(|name| format!("{name}=127.0.0.1:1")).collect();
        let list: Arc<dyn Discovery> = Arc::new(StaticList::parse(&list).unwrap());
        let sources = Sources { cluster_id: "c".to_owned(), database: None, file: None };
        let tasks = vec![
            tokio::spawn(Arc::clone(&topology).run(list, connect, None)),
            tokio::spawn(Arc::clone(&view).run(Arc::clone(&topology), sources)),
        ];
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let router = Router::new(RouterParts {
            options: RouterOptions {
                version: "test".to_owned(),
                subquery_patience: self.patience,
                request_patience: self.patience * 3,
                slow_query: Duration::ZERO,
            },
            topology: Arc::clone(&topology),
            catalog: view,
            policy: policy("bounded-ring").unwrap(),
            clock,
            metrics: metrics.clone(),
            tracer: mishards_trace::Tracer::default(),
        });
        let cluster = Cluster { router, topology, clock: real, nodes, catalog, metrics, members, tasks };
        let present = self.present.len();
        cluster
            .eventually("the cluster is whole", |status| {
                status.nodes.len() == present && status.nodes.iter().all(|node| node.state == "serving")
            })
            .await;
        let ready = || cluster.router.is_ready();
        wait_for("the router is ready", ready).await;
        cluster
    }
}

/// A stub that answers as long as it is a member.
struct Present {
    name: String,
    inner: Arc<Stub>,
    members: tokio::sync::watch::Sender<BTreeSet<String>>,
}

macro_rules! if_present {
    ($($method:ident($request:ty) -> $answer:ty;)*) => {
        #[tonic::async_trait]
        impl NodeClient for Present {
            async fn describe(&self) -> Answer<DescribeResponse> {
                self.check()?;
                self.inner.describe().await
            }

            async fn prove(&self) -> Answer<ProveResponse> {
                self.check()?;
                self.inner.prove().await
            }

            async fn watch_catalog(&self) -> Answer<BoxStream<'static, Answer<CatalogUpdate>>> {
                self.check()?;
                self.inner.watch_catalog().await
            }

            $(async fn $method(&self, request: $request) -> Answer<$answer> {
                self.check()?;
                self.inner.$method(request).await
            })*
        }
    };
}

if_present! {
    search(SearchRequest) -> RowBatch;
    query(QueryRequest) -> RowBatch;
    fetch(FetchRequest) -> FetchResponse;
    read_point(ReadPointRequest) -> ReadPointResponse;
    write(WriteRequest) -> WriteResponse;
    change(ChangeRequest) -> ChangeResponse;
    flush(FlushRequest) -> FlushResponse;
    growing(GrowingRequest) -> GrowingResponse;
    open(OpenRequest) -> OpenResponse;
    close(CloseRequest) -> CloseResponse;
}

impl Present {
    fn check(&self) -> Answer<()> {
        match self.members.borrow().contains(&self.name) {
            true => Ok(()),
            false => fails(mishards_router::Kind::Transport, "connection refused"),
        }
    }
}

impl Cluster {
    pub fn node(&self, name: &str) -> &Arc<Stub> {
        &self.nodes[name]
    }

    pub fn gets_done_opening(&self, name: &str, does: bool) {
        self.node(name).opens.send_replace(does);
    }

    pub fn join(&self, name: &str) {
        self.members.send_if_modified(|members| members.insert(name.to_owned()));
    }

    pub fn die(&self, name: &str) {
        self.members.send_if_modified(|members| members.remove(name));
    }

    /// What its router says of a node; `gone` when it does not answer.
    pub fn state(&self, name: &str) -> &'static str {
        self.router.status().nodes.iter().find(|n| n.name == name).map_or("gone", |n| n.state)
    }

    /// Waits until the status is as wanted.
    pub async fn eventually(&self, what: &str, holds: impl Fn(&ClusterStatus) -> bool) {
        for _ in 0..500 {
            if holds(&self.router.status()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} never came true: {:#?}", self.router.status());
    }

    /// Keys of a search, nearest first, and what the answer covers.
    pub async fn search_as(&self, call: &Call, level: i32) -> Result<Vec<i64>> {
        let answer = self.router.search(call, request(level)).await?;
        match answer.results.unwrap().ids.and_then(|ids| ids.id_field) {
            Some(IdField::IntId(list)) => Ok(list.data),
            other => panic!("keys are {other:?}"),
        }
    }

    /// A strong search.
    pub async fn search(&self) -> Result<Vec<i64>> {
        self.search_as(&Call::of("default"), STRONG).await
    }

    /// The nearest keys of all segments and growing rows.
    pub fn expected(&self) -> Vec<i64> {
        let snapshot = self.catalog.borrow().clone();
        let segments = snapshot.segments().flat_map(|s| (0..ROWS).map(move |row| s.id.0 * 100 + row));
        let growing: BTreeSet<i64> =
            self.nodes.values().flat_map(|node| node.growing.lock().unwrap().clone()).collect();
        let mut all: Vec<i64> = segments.chain(growing).collect();
        all.sort_by(|a, b| distance(*a).total_cmp(&distance(*b)).then(a.cmp(b)));
        all.truncate(LIMIT);
        all
    }

    /// Segments that each node was asked for since the last time.
    pub fn asked(&self) -> BTreeMap<String, BTreeSet<i64>> {
        let of =
            |node: &Stub| std::mem::take(&mut *node.searched.lock().unwrap()).concat().into_iter().collect();
        self.nodes.iter().map(|(name, node)| (name.clone(), of(node))).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tasks.iter().for_each(|task| task.abort());
    }
}

pub async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} never came true");
}

pub const LIMIT: usize = 20;
pub const STRONG: i32 = 0;
pub const SESSION: i32 = 1;
pub const BOUNDED: i32 = 2;
pub const EVENTUALLY: i32 = 3;

pub fn request(level: i32) -> ClientSearch {
    let group = PlaceholderGroup {
        placeholders: vec![PlaceholderValue {
            tag: "$0".to_owned(),
            r#type: PlaceholderType::FloatVector.into(),
            values: vec![vec![0; DIM * 4]],
            ..Default::default()
        }],
    };
    let pair = |key: &str, value: String| KeyValuePair { key: key.to_owned(), value };
    ClientSearch {
        collection_name: "t".to_owned(),
        search_input: Some(SearchInput::PlaceholderGroup(group.encode_to_vec())),
        search_params: vec![pair("anns_field", "vec".to_owned()), pair("topk", LIMIT.to_string())],
        nq: 1,
        consistency_level: level,
        ..Default::default()
    }
}

fn field(id: i64, name: &str, data_type: DataType) -> Field {
    Field {
        primary: id == 100,
        dim: data_type.is_vector().then_some(DIM),
        ..Field::new(FieldId(id), name, data_type)
    }
}

/// A catalog with one loaded collection, `t`, of segments 1, 2, …
pub fn snapshot(segments: i64, replicas: u32, version: u64) -> Snapshot {
    let partition = PartitionId(11);
    let file = |name: String, bytes| FileRef { path: name, bytes };
    let index = IndexDef {
        id: IndexId(5),
        name: "vec".to_owned(),
        field: FieldId(101),
        kind: "FLAT".to_owned(),
        metric: Some(Metric::L2),
        params: BTreeMap::new(),
        user_params: Vec::new(),
        created_at: Timestamp(1),
    };
    let collection = Collection {
        id: COLLECTION,
        database: DatabaseId(1),
        name: "t".to_owned(),
        schema: Schema {
            description: String::new(),
            enable_dynamic: false,
            fields: vec![field(100, "id", DataType::Int64), field(101, "vec", DataType::FloatVector)],
        },
        schema_version: 1,
        shards: 1,
        consistency: STRONG,
        key_partitions: 0,
        properties: BTreeMap::new(),
        indexes: vec![index],
        load: LoadState { all: true, partitions: BTreeSet::new(), replicas },
        created_at: Timestamp(1),
        updated_at: Timestamp(1),
        deltas_through: Sequence(0),
    };
    let segment = |id: i64| Segment {
        id: SegmentId(id),
        collection: COLLECTION,
        partition,
        origin: Origin::Flush,
        rows: ROWS as u32,
        deleted_rows: 0,
        min_timestamp: Timestamp(1),
        max_timestamp: Timestamp(1),
        through: Sequence(1),
        footer: file(format!("{id}/footer"), 10),
        files: vec![file(format!("{id}/columns"), 1000)],
        indexes: Vec::new(),
        delete_file: None,
        folded_through: Sequence(0),
    };
    let database = Database {
        id: DatabaseId(1),
        name: "default".to_owned(),
        properties: BTreeMap::new(),
        created_at: Timestamp(1),
    };
    let first = Partition {
        id: partition,
        collection: COLLECTION,
        name: "_default".to_owned(),
        created_at: Timestamp(1),
        flushed_through: Sequence(0),
    };
    let mut entities =
        vec![Entity::Database(database), Entity::Collection(Box::new(collection)), Entity::Partition(first)];
    entities.extend((1..=segments).map(|id| Entity::Segment(Box::new(segment(id)))));
    let rows = entities.into_iter().map(|entity| Row { added_at: version, removed_at: None, entity });
    let at = Version { commit_seq: version, commit_id: version };
    Snapshot::from_rows(at, Epoch(EPOCH), rows.collect())
}
