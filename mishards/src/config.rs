//! Settings: a table of keys with defaults; a TOML file, then `MISHARDS__SECTION__KEY`, then flags override them. An
//! unknown key is an error that names the nearest known one.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const PREFIX: &str = "MISHARDS__";

/// Key, default, what it is.
const KEYS: &[(&str, &str, &str)] = &[
    ("cluster.id", "mishards", "name of the cluster; all nodes and the catalog must agree"),
    ("cluster.shared_dir", "./mishards-data", "directory that all nodes see: segments and log"),
    (
        "cluster.catalog",
        "",
        "sqlite:PATH or mysql://user:password@host:port/database; empty means sqlite:catalog.db in the shared directory",
    ),
    ("cluster.catalog_connections", "8", "most connections of one process to MySQL"),
    (
        "server.listen",
        "127.0.0.1:19530",
        "address for clients (router, standalone) or for the node API (node)",
    ),
    (
        "server.ops_listen",
        "127.0.0.1:9091",
        "address for /healthz, /readyz and /metrics; of a router also /status and /explain",
    ),
    (
        "server.leave_seconds",
        "0",
        "how long a router that is asked to stop goes on serving while /readyz says no, so that load balancers see it",
    ),
    (
        "server.drain_seconds",
        "10",
        "longest time that running requests get when the process is asked to stop",
    ),
    (
        "server.state_dir",
        "",
        "router: directory of this host where the last catalog and members are kept, for a start while the database and the writable node are away; empty means none",
    ),
    (
        "router.placement",
        "bounded-ring",
        "which node holds which segment: bounded-ring (consistent hashing, no node much above its share) or rendezvous",
    ),
    ("router.subquery_seconds", "30", "longest time for one call on one node before the next one is asked"),
    ("node.name", "node", "identity of a node: unique and the same after a restart"),
    ("node.search_threads", "0", "threads that search; 0 means one per core"),
    ("node.catch_up_ms", "50", "how long a sub-query waits for a delete before the next node is tried"),
    (
        "node.cache_dir",
        "",
        "local directory for copies of segments; needed when the shared directory is on a network file system",
    ),
    ("node.cache_bytes", "0", "most that the copies may take; 0 means 80 % of what is free at the start"),
    (
        "node.max_subqueries",
        "256",
        "sub-queries under way past which a node refuses more, so that another one is asked",
    ),
    (
        "node.leave_seconds",
        "2",
        "how long a read-only node that is asked to stop goes on answering, while others open its segments",
    ),
    ("node.advertise", "", "host:port under which others reach this node; empty means server.listen"),
    (
        "discovery.plugin",
        "static",
        "how nodes are found: static, dns, catalog, consul, etcd, zookeeper, kubernetes, exec",
    ),
    ("discovery.static_nodes", "", "static: name=host:port, separated by commas or as a TOML list"),
    (
        "discovery.address",
        "",
        "consul, etcd: http://host:port or https://host:port; zookeeper: host:port,host:port",
    ),
    (
        "discovery.service",
        "mishards",
        "consul: name of the service; etcd, zookeeper: members are at /SERVICE/nodes",
    ),
    ("discovery.token", "", "consul: ACL token; etcd, zookeeper: user:password"),
    ("discovery.ttl_seconds", "10", "how long a node counts as there that does not renew its announcement"),
    (
        "discovery.ca_file",
        "",
        "consul, etcd: the authority that https:// is verified with; empty means the public ones",
    ),
    ("discovery.cert_file", "", "consul, etcd: our certificate"),
    ("discovery.key_file", "", "consul, etcd: its private key"),
    ("discovery.dns_name", "", "dns: name to look up"),
    ("discovery.dns_port", "0", "dns: port of the node API at each address; 0 means SRV records"),
    ("discovery.dns_server", "", "dns: ip:port of the name server; empty means those of the system"),
    ("discovery.namespace", "", "kubernetes: empty means the pod's or the context's own"),
    ("discovery.label_selector", "", "kubernetes: which EndpointSlices"),
    ("discovery.port_name", "", "kubernetes: name of the node API's port; empty means the first"),
    ("discovery.kubeconfig", "", "kubernetes: kubeconfig file; empty means that this process is in a pod"),
    ("discovery.command", "", "exec: program that prints members as JSON lines, with its arguments"),
    ("ingest.seal_rows", "1000000", "rows at which a growing segment is written out"),
    ("ingest.seal_bytes", "536870912", "bytes at which a growing segment is written out"),
    ("ingest.seal_age_seconds", "600", "age at which a growing segment is written out"),
    (
        "ingest.growing_limit_bytes",
        "0",
        "growing rows and deletes together before writes are refused; 0 means 25 % of memory",
    ),
    ("ingest.delta_max_deletes", "100000", "pending deletes of a collection before they are published"),
    ("ingest.merge_max_rows", "4000000", "largest segment that a merge makes, in rows"),
    ("ingest.merge_max_bytes", "1073741824", "largest segment that a merge makes, in bytes"),
    (
        "ingest.background_threads",
        "0",
        "threads for index builds and merges, at low priority; 0 means one per core",
    ),
    (
        "retention.window_seconds",
        "600",
        "how long removed files, old snapshots and covered log files are kept",
    ),
    ("log.file_bytes", "268435456", "size at which the write-ahead log goes on in another file"),
    ("log.format", "text", "log lines: text or json"),
    (
        "log.level",
        "info,hnsw_rs=warn,sqlx=warn,opentelemetry=warn",
        "log filter: error, warn, info, debug, or target=level pairs",
    ),
    ("log.slow_query_ms", "1000", "reads that take longer are logged with what they did; 0 logs none"),
    (
        "trace.endpoint",
        "",
        "where traces go by OTLP over gRPC, such as http://jaeger:4317; empty means no traces",
    ),
    (
        "trace.sample_ratio",
        "1",
        "share of the requests that are traced, 0 to 1; a request that comes with a trace follows that",
    ),
    ("lease.ttl_seconds", "5", "how long a writer that does not renew keeps its lease"),
    ("protocol.version", "v2.6.0-mishards", "version that clients are told, in the form of Milvus versions"),
    ("protocol.max_request_bytes", "67108864", "largest message of a client"),
];

/// Settings that are never shown.
const SECRET: [&str; 1] = ["discovery.token"];

struct Setting {
    value: String,
    source: String,
}

/// All settings, each with where it came from.
pub struct Config {
    settings: BTreeMap<&'static str, Setting>,
}

/// Reads the settings. Later sources win: defaults, file, environment, flags.
pub fn load(file: Option<&Path>, flags: &[(&str, Option<String>)]) -> Result<Config, String> {
    let defaults = KEYS
        .iter()
        .map(|(key, value, _)| (*key, Setting { value: (*value).to_owned(), source: "default".to_owned() }));
    let mut config = Config { settings: defaults.collect() };
    if let Some(path) = file {
        let text =
            std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let table: toml::Table = text.parse().map_err(|e| format!("{}: {e}", path.display()))?;
        for (section, value) in table {
            let toml::Value::Table(keys) = value else {
                return Err(format!("{}: {section} must be a section, [{section}]", path.display()));
            };
            for (key, value) in keys {
                config.set(&format!("{section}.{key}"), text_of(&value)?, &path.display().to_string())?;
            }
        }
    }
    for (name, value) in std::env::vars() {
        if let Some(rest) = name.strip_prefix(PREFIX) {
            config.set(&rest.to_lowercase().replace("__", "."), value, &name)?;
        }
    }
    for (key, value) in flags {
        if let Some(value) = value {
            config.set(key, value.clone(), "command line")?;
        }
    }
    Ok(config)
}

fn text_of(value: &toml::Value) -> Result<String, String> {
    Ok(match value {
        toml::Value::String(s) => s.clone(),
        toml::Value::Array(items) => items.iter().map(text_of).collect::<Result<Vec<_>, _>>()?.join(","),
        toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => value.to_string(),
        other => return Err(format!("{other} is no value of a setting")),
    })
}

impl Config {
    fn set(&mut self, key: &str, value: String, source: &str) -> Result<(), String> {
        match self.settings.iter_mut().find(|(known, _)| **known == key) {
            Some((_, setting)) => {
                *setting = Setting { value, source: source.to_owned() };
                Ok(())
            }
            None => Err(format!(
                "{source}: unknown setting {key}; did you mean {}? `mishards config` lists all",
                nearest(key)
            )),
        }
    }

    /// A setting; every key in the code is in the table.
    pub fn text(&self, key: &str) -> &str {
        self.settings.get(key).map_or("", |s| s.value.as_str())
    }

    pub fn number(&self, key: &str) -> Result<u64, String> {
        let setting = self.text(key);
        let source = self.settings.get(key).map_or("", |s| s.source.as_str());
        setting.trim().parse().map_err(|_| format!("{source}: {key} must be a whole number, not {setting:?}"))
    }

    pub fn seconds(&self, key: &str) -> Result<Duration, String> {
        let setting = self.text(key);
        match setting.trim().parse::<f64>() {
            Ok(s) if s.is_finite() && s >= 0.0 => Ok(Duration::from_secs_f64(s)),
            _ => Err(format!("{key} must be a number of seconds, not {setting:?}")),
        }
    }

    pub fn list(&self, key: &str) -> Vec<String> {
        self.text(key).split(',').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()
    }

    /// All settings as TOML, with source and meaning as comments.
    pub fn explain(&self) -> String {
        let mut out = String::new();
        let mut section = "";
        for (key, _, meaning) in KEYS {
            let (head, name) = key.split_once('.').unwrap_or(("", key));
            if head != section {
                out.push_str(&format!("{}[{head}]\n", if section.is_empty() { "" } else { "\n" }));
                section = head;
            }
            let Some(setting) = self.settings.get(key) else { continue };
            let value = match setting.value.parse::<i64>() {
                Ok(n) => n.to_string(),
                Err(_) if SECRET.contains(key) && !setting.value.is_empty() => "\"***\"".to_owned(),
                Err(_) => format!("{:?}", without_password(&setting.value)),
            };
            out.push_str(&format!("# {meaning} (from: {})\n{name} = {value}\n", setting.source));
        }
        out
    }
}

/// What is shown of an address that may hold a password.
pub fn without_password(value: &str) -> String {
    let hidden = value.split_once("://").and_then(|(scheme, rest)| {
        let (user, place) = rest.rsplit_once('@')?;
        let (name, _) = user.split_once(':')?;
        Some(format!("{scheme}://{name}:***@{place}"))
    });
    hidden.unwrap_or_else(|| value.to_owned())
}

/// The known key with the fewest edits.
fn nearest(key: &str) -> &'static str {
    KEYS.iter().map(|k| k.0).min_by_key(|known| edits(key, known)).unwrap_or("")
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.toml");
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::write(&path, text).unwrap();
        load(Some(&path), &[("server.listen", Some("1.2.3.4:5".to_owned()))])
    }

    #[test]
    fn later_sources_win() {
        let config =
            with_file("[server]\nlisten = \"x:1\"\nops_listen = \"y:2\"\n[ingest]\nseal_rows = 7\n").unwrap();
        assert_eq!(config.text("server.listen"), "1.2.3.4:5");
        assert_eq!(config.text("server.ops_listen"), "y:2");
        assert_eq!(config.number("ingest.seal_rows"), Ok(7));
        assert_eq!(config.text("cluster.id"), "mishards");
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let error = with_file("[ingest]\nseal_row = 7\n").err().unwrap();
        assert!(
            error.contains("ingest.seal_row") && error.contains("did you mean ingest.seal_rows"),
            "{error}"
        );
        assert!(with_file("seal = 7\n").err().unwrap().contains("must be a section"));
        assert!(with_file("[ingest\n").is_err());
    }

    #[test]
    fn passwords_are_not_shown() {
        let config =
            with_file("[cluster]\ncatalog = \"mysql://me:se:cr@t@db:3306/m?ssl-mode=REQUIRED\"\n").unwrap();
        assert!(config.explain().contains("\"mysql://me:***@db:3306/m?ssl-mode=REQUIRED\""));
        assert_eq!(without_password("mysql://me@db/m"), "mysql://me@db/m");
        assert_eq!(without_password("sqlite:a@b:c"), "sqlite:a@b:c");
    }

    #[test]
    fn what_explain_prints_is_a_valid_file() {
        let config = with_file("[discovery]\nstatic_nodes = [\"a=h:1\", \"b=h:2\"]\n").unwrap();
        let again: toml::Table = config.explain().parse().unwrap();
        assert_eq!(again["discovery"]["static_nodes"].as_str(), Some("a=h:1,b=h:2"));
        assert_eq!(config.list("discovery.static_nodes").len(), 2);
    }
}
