//! One cluster in one process: real nodes and writers over a disk and a catalog in memory, called through the
//! server trait as a router calls them, with scopes built as a router builds them.
#![allow(dead_code, reason = "each test file uses a part of it")]

mod calls;

pub use calls::*;

use mishards_catalog::Catalog;
use mishards_node::{
    IngestOptions, Metrics, Node, NodeOptions, NodeParts, Others, Pools, Result, Writer, WriterParts,
};
use mishards_storage::{Fault, Faulty, Storage};
use mishards_types::{Clock, DataType, Entropy, FIRST_FIELD_ID, Field, FieldId, Schema};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Real time, which a test may move ahead.
pub struct TestClock {
    start: tokio::time::Instant,
    ahead_ms: AtomicU64,
    wall_ahead_ms: AtomicU64,
}

impl TestClock {
    /// Sets the wall clock this far ahead of the other one.
    pub fn set_wall_ahead(&self, by: Duration) {
        self.wall_ahead_ms.store(by.as_millis() as u64, Ordering::SeqCst);
    }

    pub fn advance(&self, by: Duration) {
        self.ahead_ms.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn unix_ms(&self) -> u64 {
        1_700_000_000_000 + self.elapsed().as_millis() as u64 + self.wall_ahead_ms.load(Ordering::SeqCst)
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed() + Duration::from_millis(self.ahead_ms.load(Ordering::SeqCst))
    }
}

struct Bits;

impl Entropy for Bits {
    fn next_u64(&self) -> u64 {
        RandomState::new().hash_one(0u8)
    }
}

/// What outlives every process: the disk, the catalog, time.
#[derive(Clone)]
pub struct World {
    pub disk: mishards_storage::Memory,
    pub storage: Arc<dyn Storage>,
    pub catalog: Arc<dyn Catalog>,
    pub clock: Arc<TestClock>,
    pub ingest: IngestOptions,
    pub accept_losses: bool,
}

struct FullDisk(Arc<AtomicBool>);

impl Fault for FullDisk {
    fn strikes(&self, _: &'static str, _: &str) -> bool {
        false
    }

    fn is_full(&self, op: &'static str, _: &str) -> bool {
        matches!(op, "create" | "replace" | "write") && self.0.load(Ordering::SeqCst)
    }
}

/// One process that was started as the writer.
pub struct Site {
    pub node: Node,
    pub writer: Arc<Writer>,
}

impl World {
    /// Operations on files that `hits` accepts hang as long as the first value says so; the second says that one does.
    pub fn hang(
        &mut self,
        hits: impl Fn(&str, &str) -> bool + Send + Sync + 'static,
    ) -> (Arc<AtomicBool>, Arc<AtomicBool>) {
        let (hangs, held) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (wanted, seen) = (Arc::clone(&hangs), Arc::clone(&held));
        self.storage = Arc::new(Faulty::new(self.disk.clone(), move |op: &'static str, path: &str| {
            while hits(op, path) && wanted.load(Ordering::SeqCst) {
                seen.store(true, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
            }
            false
        }));
        (hangs, held)
    }

    /// While the value says so, nothing can be created or written.
    pub fn fill_disk(&mut self) -> Arc<AtomicBool> {
        let is_full = Arc::new(AtomicBool::new(false));
        self.storage = Arc::new(Faulty::new(self.disk.clone(), FullDisk(Arc::clone(&is_full))));
        is_full
    }

    /// As many operations on files that `hits` accepts fail as the value says.
    pub fn fail(&mut self, hits: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Arc<AtomicUsize> {
        let failures = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&failures);
        self.storage = Arc::new(Faulty::new(self.disk.clone(), move |op: &'static str, path: &str| {
            hits(op, path)
                && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
        }));
        failures
    }

    pub fn new() -> World {
        let disk = mishards_storage::Memory::new();
        let clock = TestClock {
            start: tokio::time::Instant::now(),
            ahead_ms: AtomicU64::new(0),
            wall_ahead_ms: AtomicU64::new(0),
        };
        World {
            storage: Arc::new(disk.clone()),
            disk,
            catalog: Arc::new(mishards_catalog::Memory::new()),
            clock: Arc::new(clock),
            ingest: IngestOptions { background_threads: 1, log_file_bytes: 4096, ..IngestOptions::default() },
            accept_losses: false,
        }
    }

    /// With a window so short that a test can wait for it.
    pub fn with_short_window() -> World {
        let mut world = World::new();
        world.ingest.window = Duration::from_millis(300);
        world
    }

    pub fn with_catalog(mut self, catalog: impl Catalog) -> World {
        self.catalog = Arc::new(catalog);
        self
    }

    /// A read-only node.
    pub fn node(&self, name: &str) -> Node {
        self.node_with(self.node_options(name), Pools::start(2, 1).unwrap())
    }

    fn node_options(&self, name: &str) -> NodeOptions {
        NodeOptions {
            name: name.to_owned(),
            cluster_id: "test".to_owned(),
            search_threads: 2,
            catch_up_wait: Duration::from_millis(100),
            max_subqueries: 64,
        }
    }

    /// A node, and what it counts.
    pub fn node_and_metrics(&self, name: &str) -> (Node, Metrics) {
        let metrics = metrics();
        let parts = NodeParts {
            options: self.node_options(name),
            storage: Arc::clone(&self.storage),
            clock: self.clock.clone(),
            pools: Pools::start(2, 1).unwrap(),
            metrics: metrics.clone(),
            tracer: mishards_trace::Tracer::default(),
        };
        (Node::new(parts), metrics)
    }

    fn node_with(&self, options: NodeOptions, pools: Pools) -> Node {
        Node::new(NodeParts {
            options,
            storage: Arc::clone(&self.storage),
            clock: self.clock.clone(),
            pools,
            metrics: metrics(),
            tracer: mishards_trace::Tracer::default(),
        })
    }

    /// Starts a process that takes over as the writer, whoever else lives.
    pub async fn try_start(&self) -> Result<Site> {
        let pools = Pools::start(2, 1).unwrap();
        let node = self.node_with(self.node_options("writer"), pools.clone());
        let writer = node.become_writer(self.writer_parts_with(pools)).await?;
        Ok(Site { node, writer })
    }

    /// A node of this world becomes the writer.
    pub async fn take_over(&self, node: &Node) -> Site {
        self.try_to_take_over(node).await.unwrap()
    }

    /// A node of this world tries to become the writer.
    pub async fn try_to_take_over(&self, node: &Node) -> Result<Site> {
        let parts = self.writer_parts();
        Ok(Site { node: node.clone(), writer: node.become_writer(parts).await? })
    }

    /// What a writer of this world is made of.
    pub fn writer_parts(&self) -> WriterParts {
        self.writer_parts_with(Pools::start(2, 1).unwrap())
    }

    fn writer_parts_with(&self, pools: Pools) -> WriterParts {
        WriterParts {
            storage: Arc::clone(&self.storage),
            catalog: Arc::clone(&self.catalog),
            clock: self.clock.clone(),
            entropy: Arc::new(Bits),
            pools,
            metrics: metrics(),
            node: self.node_options("writer"),
            ingest: self.ingest.clone(),
            others: Others::Dead,
            accept_losses: self.accept_losses,
            terms: Default::default(),
        }
    }

    pub async fn start(&self) -> Site {
        self.try_start().await.unwrap()
    }

    /// Starts the first writer and makes the collection.
    pub async fn start_with_collection(&self) -> Site {
        let site = self.start().await;
        site.create_collection(schema()).await.unwrap();
        site
    }

    /// The process ends with a power failure, and the next one starts.
    pub async fn restart(&self, site: Site) -> Site {
        site.kill(self).await;
        self.start().await
    }

    /// Names of files below a directory.
    pub fn files(&self, dir: &str) -> Vec<String> {
        self.disk.list(dir).unwrap().into_iter().map(|e| format!("{dir}/{}", e.name)).collect()
    }

    /// Changes a bit in the middle of a file.
    pub fn flip(&self, path: &str) {
        self.disk.tamper(path, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
        });
    }
}

impl Site {
    /// Stops the log as a killed process would: nothing more is written.
    pub async fn kill(self, world: &World) {
        self.writer.drain().await;
        self.writer.ended().await;
        world.disk.crash();
    }
}

pub fn metrics() -> Metrics {
    Metrics::register(&prometheus::Registry::new()).unwrap()
}

/// Polls until something holds; panics with `what` when it never does.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} never came true");
}

pub fn field(id: i64, name: &str, data_type: DataType) -> Field {
    Field {
        primary: id == FIRST_FIELD_ID,
        dim: data_type.is_vector().then_some(DIM),
        max_length: (data_type == DataType::VarChar).then_some(64),
        ..Field::new(FieldId(id), name, data_type)
    }
}

/// A key, a vector and a string.
pub fn schema() -> Schema {
    let fields = vec![
        field(100, "id", DataType::Int64),
        field(101, "vec", DataType::FloatVector),
        field(102, "tag", DataType::VarChar),
    ];
    Schema { description: String::new(), fields, enable_dynamic: false }
}
