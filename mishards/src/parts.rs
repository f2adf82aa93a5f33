//! Settings to parts: storage, catalog, node, writer, router.

use crate::config::{Config, without_password};
use crate::discovery::advertised;
use crate::local_node::LocalNode;
use crate::peers::Peers;
use crate::shared_lock::SharedLock;
use crate::state_file;
use crate::system::{SystemClock, SystemEntropy};
use crate::telemetry::Traces;
use mishards_catalog::{Catalog, Heartbeats, MySql, MySqlOptions, Sqlite};
use mishards_discovery::{Discovery, Member, StaticList};
use mishards_node::{IngestOptions, Node, NodeOptions, NodeParts, Others, Pools, Presence, WriterParts};
use mishards_router::{
    CatalogView, Connect, GrpcNode, Identity, NodeClient, Router, RouterOptions, RouterParts, Sources,
    Topology,
};
use mishards_storage::{LocalCopies, LocalDir, Storage};
use mishards_types::{Clock, Entropy};
use prometheus::Registry;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tokio::net::TcpListener;

const MEMORY_SHARE: u64 = 4;

fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

/// The two sides of the metadata database.
struct Database {
    catalog: Arc<dyn Catalog>,
    heartbeats: Arc<dyn Heartbeats>,
}

impl Database {
    fn of(backend: impl Catalog + Heartbeats + Clone) -> Database {
        Database { catalog: Arc::new(backend.clone()), heartbeats: Arc::new(backend) }
    }
}

/// What every role starts from.
pub struct Base {
    pub config: Config,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub registry: Registry,
    traces: Traces,
    database: OnceLock<Database>,
    /// Of the shared directory.
    pub lock: Arc<SharedLock>,
}

impl Base {
    /// `role` is what traces call this process.
    pub fn new(config: Config, role: &str) -> Result<Base, String> {
        let traces = Traces::start(&config, role)?;
        let lock = SharedLock::new(PathBuf::from(config.text("cluster.shared_dir")));
        Ok(Base {
            config,
            traces,
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy),
            registry: Registry::new(),
            database: OnceLock::new(),
            lock,
        })
    }

    pub fn shared_dir(&self) -> &Path {
        Path::new(self.config.text("cluster.shared_dir"))
    }

    pub async fn bind(&self, key: &str) -> Result<TcpListener, String> {
        let address = self.config.text(key);
        TcpListener::bind(address).await.map_err(|e| format!("cannot listen on {address} ({key}): {e}"))
    }

    /// Opens the shared directory.
    fn storage(&self) -> Result<Arc<dyn Storage>, String> {
        let shared = LocalDir::open(self.shared_dir()).map_err(text)?;
        let is_local = shared.is_local();
        let cache_dir = self.config.text("node.cache_dir");
        if cache_dir.is_empty() && is_local {
            return Ok(Arc::new(shared));
        }
        if cache_dir.is_empty() {
            return Err(format!(
                "{} is on a network file system, from which segments are not mapped in place: set node.cache_dir to a \
                 directory of this host",
                self.shared_dir().display()
            ));
        }
        let local = LocalDir::open(cache_dir).map_err(text)?;
        if !local.is_local() {
            return Err(format!("node.cache_dir: {cache_dir} is on a network file system too"));
        }
        let limit = match self.config.number("node.cache_bytes")? {
            0 => None,
            bytes => Some(bytes),
        };
        let copies = LocalCopies::open(shared, local, limit).map_err(text)?;
        Ok(Arc::new(copies))
    }

    /// Whether no other host sees the shared directory, so that a lock on it says who lives.
    pub fn is_local(&self) -> Result<bool, String> {
        LocalDir::open(self.shared_dir()).map(|dir| dir.is_local()).map_err(text)
    }

    /// The metadata database, opened once.
    pub fn catalog(&self) -> Result<Arc<dyn Catalog>, String> {
        Ok(Arc::clone(&self.database()?.catalog))
    }

    fn database(&self) -> Result<&Database, String> {
        match self.database.get() {
            Some(database) => Ok(database),
            None => {
                let opened = self.open_database()?;
                Ok(self.database.get_or_init(|| opened))
            }
        }
    }

    fn open_database(&self) -> Result<Database, String> {
        let setting = self.config.text("cluster.catalog");
        if setting.starts_with("mysql://") || setting.starts_with("mariadb://") {
            return self.mysql(setting);
        }
        let path = match setting.strip_prefix("sqlite:") {
            Some(path) => PathBuf::from(path),
            None if setting.is_empty() => self.shared_dir().join("catalog.db"),
            None => {
                return Err(format!(
                    "cluster.catalog must be sqlite:PATH or mysql://user:password@host:port/database, not {:?}",
                    without_password(setting)
                ));
            }
        };
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !LocalDir::open(parent).map_err(text)?.is_local() {
            return Err(format!(
                "{} is on a network file system: SQLite is for one host; its locks do not hold there",
                path.display()
            ));
        }
        Ok(Database::of(Sqlite::open(&path).map_err(text)?))
    }

    fn mysql(&self, url: &str) -> Result<Database, String> {
        let options = MySqlOptions {
            url: url.to_owned(),
            connections: self.config.number("cluster.catalog_connections")? as u32,
            session_timeout: self.config.duration("lease.ttl_seconds")?,
        };
        Ok(Database::of(MySql::open(&options).map_err(text)?))
    }

    fn node_options(&self) -> Result<NodeOptions, String> {
        Ok(NodeOptions {
            name: self.config.text("node.name").to_owned(),
            cluster_id: self.config.text("cluster.id").to_owned(),
            search_threads: self.config.number("node.search_threads")? as usize,
            catch_up_wait: self.config.duration("node.catch_up_ms")?,
            max_subqueries: self.config.number("node.max_subqueries")? as usize,
        })
    }

    fn ingest_options(&self) -> Result<IngestOptions, String> {
        let c = &self.config;
        let limit = match c.number("ingest.growing_limit_bytes")? {
            0 => memory_bytes() / MEMORY_SHARE,
            bytes => bytes,
        };
        Ok(IngestOptions {
            seal_rows: c.number("ingest.seal_rows")? as usize,
            seal_bytes: c.number("ingest.seal_bytes")? as usize,
            seal_age: c.duration("ingest.seal_age_seconds")?,
            growing_limit_bytes: limit as usize,
            delta_max_deletes: c.number("ingest.delta_max_deletes")? as usize,
            merge_max_rows: c.number("ingest.merge_max_rows")? as usize,
            merge_max_bytes: c.number("ingest.merge_max_bytes")?,
            window: c.duration("retention.window_seconds")?,
            log_file_bytes: c.number("log.file_bytes")?,
            replay_limit_bytes: c.number("log.replay_limit_bytes")?,
            lease_ttl: c.duration("lease.ttl_seconds")?,
            background_threads: c.number("ingest.background_threads")? as usize,
        })
    }

    /// A node that reads, and what it takes to make it the writer.
    pub fn node(&self) -> Result<(Node, WriterParts), String> {
        let (shared, options, ingest) = (self.storage()?, self.node_options()?, self.ingest_options()?);
        let pools = Pools::start(options.search_threads, ingest.background_threads).map_err(text)?;
        let metrics = mishards_node::Metrics::register(&self.registry).map_err(text)?;
        let node = Node::new(NodeParts {
            options: options.clone(),
            storage: Arc::clone(&shared),
            clock: Arc::clone(&self.clock),
            pools: pools.clone(),
            metrics: metrics.clone(),
            tracer: self.traces.tracer(),
        });
        let parts = WriterParts {
            storage: shared,
            catalog: self.catalog()?,
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            pools,
            metrics,
            node: options,
            ingest,
            others: Others::Unknown,
            accept_losses: false,
            terms: Default::default(),
        };
        Ok((node, parts))
    }

    /// A router over nodes that discovery finds.
    pub fn router(
        &self,
        discovery: Arc<dyn Discovery>,
        connect: Arc<Connect>,
        catalog: Option<Arc<dyn Catalog>>,
    ) -> Result<Arc<Router>, String> {
        let identity = catalog.is_some().then(|| self.identity()).transpose()?;
        let cluster = self.config.text("cluster.id").to_owned();
        let topology = Topology::new(cluster, Arc::clone(&self.clock), identity);
        let view = CatalogView::new();
        let state_dir = self.config.text("server.state_dir");
        let members = state_file::open(state_dir, "members.json")?;
        tokio::spawn(Arc::clone(&topology).run(discovery, connect, members));
        let file = state_file::open(state_dir, "catalog.json")?;
        let sources =
            Sources { cluster_id: self.config.text("cluster.id").to_owned(), database: catalog, file };
        tokio::spawn(Arc::clone(&view).run(Arc::clone(&topology), sources));
        Ok(Router::new(RouterParts {
            options: RouterOptions {
                version: self.config.text("protocol.version").to_owned(),
                subquery_patience: self.config.duration("router.subquery_seconds")?,
                request_patience: self.config.duration("router.request_seconds")?,
                slow_query: self.config.duration("log.slow_query_ms")?,
            },
            topology,
            catalog: view,
            policy: mishards_router::policy(self.config.text("router.placement"))
                .map_err(|e| format!("router.placement: {e}"))?,
            clock: Arc::clone(&self.clock),
            tracer: self.traces.tracer(),
            metrics: mishards_router::Metrics::register(&self.registry).map_err(text)?,
        }))
    }

    /// The catalog that other nodes must belong to.
    pub fn identity(&self) -> Result<Identity, String> {
        let by_heartbeats = self.config.text("discovery.plugin") == "catalog";
        let heartbeats = Arc::clone(&self.database()?.heartbeats);
        Ok(Identity { catalog: self.catalog()?, heartbeats: by_heartbeats.then_some(heartbeats) })
    }

    /// Removes the heartbeats of all nodes from the catalog.
    pub async fn forget_nodes(&self) -> Result<(), String> {
        self.database()?.heartbeats.clear().await.map_err(text)
    }

    /// The other nodes, for one that follows whichever of them writes.
    pub fn peers(&self, discovery: &Arc<dyn Discovery>) -> Result<Arc<Peers>, String> {
        Ok(Peers::follow(discovery, self.config.text("node.name"), self.identity()?, Arc::clone(&self.clock)))
    }

    /// Where this node is found, if that is the catalog.
    pub fn presence(&self) -> Result<Option<Arc<dyn Presence>>, String> {
        if self.config.text("discovery.plugin") != "catalog" {
            return Ok(None);
        }
        let (member, heartbeats) = (advertised(&self.config)?, Arc::clone(&self.database()?.heartbeats));
        Ok(Some(Arc::new(InCatalog { member, heartbeats })))
    }

    /// The discovery plugin of the settings.
    pub fn discovery(&self) -> Result<Arc<dyn Discovery>, String> {
        crate::discovery::plugin(&self.config, &self.database()?.heartbeats)
    }
}

/// A node that is found by its heartbeats in the catalog.
struct InCatalog {
    member: Member,
    heartbeats: Arc<dyn Heartbeats>,
}

#[tonic::async_trait]
impl Presence for InCatalog {
    async fn beat(&self) -> Result<u64, String> {
        self.heartbeats.beat(&self.member.name, &self.member.address).await.map_err(text)
    }
}

/// Connects to members over gRPC.
pub fn connect_grpc() -> Arc<Connect> {
    Arc::new(|member: &Member| match GrpcNode::new(&member.name, &member.address) {
        Ok(node) => Some(Arc::new(node) as Arc<dyn NodeClient>),
        Err(e) => {
            tracing::error!(node = %member.name, address = %member.address, error = %e, "this address cannot be used");
            None
        }
    })
}

/// One node of this process, under its name.
pub fn connect_local(name: &str, node: Node) -> (Arc<dyn Discovery>, Arc<Connect>) {
    let list = StaticList::parse(&[format!("{name}=local:1")]).unwrap_or_else(|e| unreachable!("{e}"));
    let name = name.to_owned();
    let connect = move |_: &Member| {
        Some(Arc::new(LocalNode { name: name.clone(), node: node.clone() }) as Arc<dyn NodeClient>)
    };
    (Arc::new(list), Arc::new(connect))
}

/// Memory of the machine, or of the control group when that has less.
fn memory_bytes() -> u64 {
    let number = |path: &str| std::fs::read_to_string(path).ok().and_then(|s| s.trim().parse::<u64>().ok());
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|info| {
        let line = info.lines().find(|l| l.starts_with("MemTotal:"))?.to_owned();
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    let machine = total.map_or(4 << 30, |kib| kib * 1024);
    number("/sys/fs/cgroup/memory.max").map_or(machine, |limit| limit.min(machine))
}
