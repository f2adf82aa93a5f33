//! The table of all settings: key, what it may be, default, meaning. Whatever is checked of a value is said here.

use super::values::Kind;
use std::time::Duration;

/// A setting.
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    pub meaning: &'static str,
}

const fn key(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, default, meaning }
}

const fn number(min: u64, max: u64) -> Kind {
    Kind::Number { min, max }
}

const fn bytes(min: u64) -> Kind {
    Kind::Bytes { min }
}

const fn seconds(min: Duration) -> Kind {
    Kind::Duration { unit: "s", min }
}

const fn millis(min: Duration) -> Kind {
    Kind::Duration { unit: "ms", min }
}

/// Rows are numbered in 32 bits.
const ROWS: u64 = u32::MAX as u64;
const THREADS: u64 = 4096;
const SECOND: Duration = Duration::from_secs(1);
/// A shorter time for a sub-query would fail healthy nodes.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(100);
/// A log file holds its head and a group at least.
const SMALLEST_LOG_FILE: u64 = 4096;
const SMALLEST_MESSAGE: u64 = 1024;

/// Settings that are never shown.
pub const SECRET: [&str; 1] = ["discovery.token"];

pub const KEYS: &[Key] = &[
    key("cluster.id", Kind::Name, "mishards", "name of the cluster; all nodes and the catalog must agree"),
    key(
        "cluster.shared_dir",
        Kind::Path,
        "./mishards-data",
        "directory that all nodes see: segments and log",
    ),
    key(
        "cluster.catalog",
        Kind::Catalog,
        "",
        "sqlite:PATH or mysql://user:password@host:port/database; empty means sqlite:catalog.db in the shared directory",
    ),
    key("cluster.catalog_connections", number(1, 1000), "8", "most connections of one process to MySQL"),
    key(
        "server.listen",
        Kind::Listen,
        "127.0.0.1:19530",
        "address for clients (router, standalone) or for the node API (node)",
    ),
    key(
        "server.ops_listen",
        Kind::Listen,
        "127.0.0.1:9091",
        "address for /healthz, /readyz and /metrics; of a router also /status and /explain",
    ),
    key(
        "server.leave_seconds",
        seconds(Duration::ZERO),
        "0",
        "how long a router that is asked to stop goes on serving while /readyz says no, so that load balancers see it",
    ),
    key(
        "server.drain_seconds",
        seconds(Duration::ZERO),
        "10",
        "longest time that running requests get when the process is asked to stop",
    ),
    key(
        "server.state_dir",
        Kind::Text,
        "",
        "router: directory of this host where the last catalog and members are kept, for a start while the database and the writable node are away; empty means none",
    ),
    key(
        "router.placement",
        Kind::OneOf(placements),
        "bounded-ring",
        "which node holds which segment: bounded-ring (consistent hashing, no node much above its share) or rendezvous",
    ),
    key(
        "router.subquery_seconds",
        seconds(SHORTEST_PATIENCE),
        "30",
        "longest time for one call on one node before the next one is asked, and as long again for each 262,144 rows of its answer",
    ),
    key(
        "router.request_seconds",
        seconds(SHORTEST_PATIENCE),
        "300",
        "longest time for a read whose client gives no deadline of its own",
    ),
    key("node.name", Kind::NodeName, "node", "identity of a node: unique and the same after a restart"),
    key("node.search_threads", number(0, THREADS), "0", "threads that search; 0 means one per core"),
    key(
        "node.catch_up_ms",
        millis(Duration::ZERO),
        "50",
        "how long a sub-query waits for a delete before the next node is tried",
    ),
    key(
        "node.cache_dir",
        Kind::Text,
        "",
        "local directory for copies of segments; needed when the shared directory is on a network file system",
    ),
    key(
        "node.cache_bytes",
        bytes(0),
        "0",
        "most that the copies may take; 0 means 80 % of what is free at the start",
    ),
    key(
        "node.max_subqueries",
        number(1, 1_000_000),
        "256",
        "sub-queries under way past which a node refuses more, so that another one is asked",
    ),
    key(
        "node.leave_seconds",
        seconds(Duration::ZERO),
        "2",
        "how long a read-only node that is asked to stop goes on answering, while others open its segments",
    ),
    key(
        "node.advertise",
        Kind::Address,
        "",
        "host:port under which others reach this node; empty means server.listen",
    ),
    key(
        "discovery.plugin",
        Kind::OneOf(crate::discovery::plugins),
        "static",
        "how nodes are found: static, dns, catalog, consul, etcd, zookeeper, kubernetes, exec",
    ),
    key(
        "discovery.static_nodes",
        Kind::Members,
        "",
        "static: name=host:port, separated by commas or as a TOML list",
    ),
    key(
        "discovery.address",
        Kind::List,
        "",
        "consul, etcd: http://host:port or https://host:port; zookeeper: host:port,host:port",
    ),
    key(
        "discovery.service",
        Kind::Name,
        "mishards",
        "consul: name of the service; etcd, zookeeper: members are at /SERVICE/nodes",
    ),
    key("discovery.token", Kind::Text, "", "consul: ACL token; etcd, zookeeper: user:password"),
    key(
        "discovery.ttl_seconds",
        seconds(SECOND),
        "10",
        "how long a node counts as there that does not renew its announcement",
    ),
    key(
        "discovery.ca_file",
        Kind::Text,
        "",
        "consul, etcd: the authority that https:// is verified with; empty means the public ones",
    ),
    key("discovery.cert_file", Kind::Text, "", "consul, etcd: our certificate"),
    key("discovery.key_file", Kind::Text, "", "consul, etcd: its private key"),
    key("discovery.dns_name", Kind::Text, "", "dns: name to look up"),
    key(
        "discovery.dns_port",
        number(0, u16::MAX as u64),
        "0",
        "dns: port of the node API at each address; 0 means SRV records",
    ),
    key(
        "discovery.dns_server",
        Kind::SocketAddress,
        "",
        "dns: ip:port of the name server; empty means those of the system",
    ),
    key("discovery.namespace", Kind::Text, "", "kubernetes: empty means the pod's or the context's own"),
    key("discovery.label_selector", Kind::List, "", "kubernetes: which EndpointSlices"),
    key(
        "discovery.port_name",
        Kind::Text,
        "",
        "kubernetes: name of the node API's port; empty means the first",
    ),
    key(
        "discovery.kubeconfig",
        Kind::Text,
        "",
        "kubernetes: kubeconfig file; empty means that this process is in a pod",
    ),
    key(
        "discovery.command",
        Kind::Text,
        "",
        "exec: program that prints members as JSON lines, with its arguments",
    ),
    key("ingest.seal_rows", number(1, ROWS), "1000000", "rows at which a growing segment is written out"),
    key("ingest.seal_bytes", bytes(1), "512MiB", "bytes at which a growing segment is written out"),
    key("ingest.seal_age_seconds", seconds(SECOND), "600", "age at which a growing segment is written out"),
    key(
        "ingest.growing_limit_bytes",
        bytes(0),
        "0",
        "growing rows and deletes together before writes are refused; 0 means 25 % of memory",
    ),
    key(
        "ingest.delta_max_deletes",
        number(1, ROWS),
        "100000",
        "pending deletes of a collection before they are published",
    ),
    key(
        "ingest.merge_max_rows",
        number(0, ROWS),
        "4000000",
        "largest segment that a merge makes, in rows; 0 means that segments stay as they are",
    ),
    key("ingest.merge_max_bytes", bytes(0), "1GiB", "largest segment that a merge makes, in bytes"),
    key(
        "ingest.background_threads",
        number(0, THREADS),
        "0",
        "threads for index builds and merges, at low priority; 0 means one per core",
    ),
    key(
        "retention.window_seconds",
        seconds(SECOND),
        "600",
        "how long removed files, old snapshots and covered log files are kept",
    ),
    key(
        "log.file_bytes",
        bytes(SMALLEST_LOG_FILE),
        "256MiB",
        "size at which the write-ahead log goes on in another file",
    ),
    key(
        "log.replay_limit_bytes",
        bytes(SMALLEST_LOG_FILE),
        "1GiB",
        "growing rows are written out when more of the log than this would have to be replayed after a crash",
    ),
    key("log.format", Kind::OneOf(formats), "text", "log lines: text or json"),
    key(
        "log.level",
        Kind::LogFilter,
        "info,hnsw_rs=warn,sqlx=warn,opentelemetry=warn",
        "log filter: error, warn, info, debug, trace or off, or target=level pairs",
    ),
    key(
        "log.slow_query_ms",
        millis(Duration::ZERO),
        "1000",
        "reads that take longer are logged with what they did; 0 logs none",
    ),
    key(
        "trace.endpoint",
        Kind::Http,
        "",
        "where traces go by OTLP over gRPC, such as http://jaeger:4317; empty means no traces",
    ),
    key(
        "trace.sample_ratio",
        Kind::Ratio,
        "1",
        "share of the requests that are traced, 0 to 1; a request that comes with a trace follows that",
    ),
    key("lease.ttl_seconds", seconds(SECOND), "5", "how long a writer that does not renew keeps its lease"),
    key(
        "protocol.version",
        Kind::Version,
        "v2.6.0-mishards",
        "version that clients are told, in the form of Milvus versions",
    ),
    key("protocol.max_request_bytes", bytes(SMALLEST_MESSAGE), "64MiB", "largest message of a client"),
];

/// The key of a name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

fn placements() -> Vec<&'static str> {
    mishards_router::POLICIES.iter().map(|(name, _)| *name).collect()
}

fn formats() -> Vec<&'static str> {
    vec!["text", "json"]
}
