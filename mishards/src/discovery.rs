//! Settings to the plugin that says who is there.

use crate::config::Config;
use mishards_catalog::Heartbeats;
use mishards_discovery::{
    Consul, ConsulOptions, Discovery, Etcd, EtcdOptions, Exec, FromCatalog, Kubernetes, KubernetesOptions,
    Member, StaticList, Tls,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What `discovery.plugin` may be in this build.
pub fn plugins() -> Vec<&'static str> {
    let mut plugins = vec!["static", "dns", "catalog", "consul", "etcd", "zookeeper", "kubernetes", "exec"];
    let is_built = |plugin: &&str| match *plugin {
        "dns" => cfg!(feature = "dns"),
        "zookeeper" => cfg!(feature = "zookeeper"),
        _ => true,
    };
    plugins.retain(is_built);
    plugins
}

/// Refuses settings of the plugin that do not go together, without opening anything.
pub fn check(config: &Config) -> Result<(), String> {
    let plugin = config.text("discovery.plugin");
    let need = match plugin {
        "dns" => "discovery.dns_name",
        "consul" | "etcd" | "zookeeper" => "discovery.address",
        "kubernetes" => "discovery.label_selector",
        "exec" => "discovery.command",
        _ => return Ok(()),
    };
    let value = needed(config, need)?;
    let service = config.text("discovery.service");
    let refuse = |key: &str, what: &str| Err(format!("{}: {key} {what}", config.source(key)));
    let speaks_http = matches!(plugin, "consul" | "etcd");
    if speaks_http && !is_http(&value) {
        let what = format!("must be http://host:port or https://host:port for {plugin}, not {value:?}");
        return refuse(need, &what);
    }
    let token = config.text("discovery.token");
    if matches!(plugin, "etcd" | "zookeeper") && !token.is_empty() && !token.contains(':') {
        return refuse("discovery.token", &format!("must be of the form user:password for {plugin}"));
    }
    if plugin == "zookeeper" && format!("/{service}/").contains("//") {
        return refuse(
            "discovery.service",
            &format!("must be a part of a path for zookeeper, not {service:?}"),
        );
    }
    match (config.text("discovery.cert_file"), config.text("discovery.key_file")) {
        (cert, "") if !cert.is_empty() => refuse("discovery.cert_file", "needs discovery.key_file"),
        ("", key) if !key.is_empty() => refuse("discovery.key_file", "needs discovery.cert_file"),
        _ => Ok(()),
    }
}

fn is_http(text: &str) -> bool {
    let is_url = |uri: http::Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    text.parse().is_ok_and(is_url)
}

/// A plugin, or why there is none.
type Plugin = Result<Arc<dyn Discovery>, String>;

fn made(plugin: mishards_discovery::Result<impl Discovery>) -> Plugin {
    plugin.map(|p| Arc::new(p) as Arc<dyn Discovery>).map_err(|e| e.to_string())
}

/// The plugin of the settings.
pub fn plugin(config: &Config, heartbeats: &Arc<dyn Heartbeats>) -> Plugin {
    match config.text("discovery.plugin") {
        "static" => made(StaticList::parse(&config.list("discovery.static_nodes"))),
        "catalog" => made(Ok(FromCatalog::new(Arc::clone(heartbeats), ttl(config)?))),
        "exec" => made(Exec::parse(config.text("discovery.command"), config.text("cluster.id"))),
        "consul" => made(Consul::new(ConsulOptions {
            url: needed(config, "discovery.address")?,
            service: config.text("discovery.service").to_owned(),
            token: set(config, "discovery.token"),
            ttl: ttl(config)?,
            tls: tls(config)?,
        })),
        "etcd" => made(Etcd::new(EtcdOptions {
            url: needed(config, "discovery.address")?,
            prefix: format!("/{}/nodes", config.text("discovery.service")),
            user: set(config, "discovery.token"),
            ttl: ttl(config)?,
            tls: tls(config)?,
        })),
        "kubernetes" => made(Kubernetes::new(KubernetesOptions {
            kubeconfig: set(config, "discovery.kubeconfig").map(PathBuf::from),
            namespace: set(config, "discovery.namespace"),
            label_selector: needed(config, "discovery.label_selector")?,
            port_name: config.text("discovery.port_name").to_owned(),
        })),
        "dns" => dns(config),
        "zookeeper" => zookeeper(config),
        other => Err(format!(
            "discovery.plugin {other:?} is not known; this version has: {}",
            plugins().join(", ")
        )),
    }
}

/// How long an announcement lives without being renewed.
pub fn ttl(config: &Config) -> Result<Duration, String> {
    config.duration("discovery.ttl_seconds")
}

/// Where others reach this node.
pub fn advertised(config: &Config) -> Result<Member, String> {
    let name = config.text("node.name").to_owned();
    let listen = config.text("server.listen");
    let address = set(config, "node.advertise").unwrap_or_else(|| listen.to_owned());
    let host = address.rsplit_once(':').map_or("", |(host, _)| host);
    if host.is_empty() || host == "0.0.0.0" || host == "[::]" {
        return Err(format!(
            "server.listen is {listen}, which others cannot call: set node.advertise to this host's name or address, with the port"
        ));
    }
    Ok(Member { name, address })
}

#[cfg(feature = "dns")]
fn dns(config: &Config) -> Plugin {
    let port = config.number("discovery.dns_port")?;
    let port =
        u16::try_from(port).map_err(|_| format!("discovery.dns_port is {port}, the largest is 65535"))?;
    made(mishards_discovery::Dns::new(mishards_discovery::DnsOptions {
        name: needed(config, "discovery.dns_name")?,
        port: (port > 0).then_some(port),
        server: set(config, "discovery.dns_server"),
        every: std::time::Duration::from_secs(2),
    }))
}

#[cfg(feature = "zookeeper")]
fn zookeeper(config: &Config) -> Plugin {
    made(mishards_discovery::ZooKeeper::new(mishards_discovery::ZooKeeperOptions {
        servers: needed(config, "discovery.address")?,
        folder: format!("/{}/nodes", config.text("discovery.service")),
        digest: set(config, "discovery.token"),
        ttl: ttl(config)?,
    }))
}

#[cfg(not(feature = "dns"))]
fn dns(_: &Config) -> Plugin {
    Err("this program was built without the feature \"dns\"".to_owned())
}

#[cfg(not(feature = "zookeeper"))]
fn zookeeper(_: &Config) -> Plugin {
    Err("this program was built without the feature \"zookeeper\"".to_owned())
}

fn set(config: &Config, key: &str) -> Option<String> {
    Some(config.text(key)).filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

fn needed(config: &Config, key: &str) -> Result<String, String> {
    let plugin = config.text("discovery.plugin");
    set(config, key).ok_or_else(|| format!("discovery.plugin is {plugin:?}, which needs {key}"))
}

fn tls(config: &Config) -> Result<Tls, String> {
    let read = |key: &str| match set(config, key) {
        None => Ok(None),
        Some(path) => std::fs::read(&path).map(Some).map_err(|e| format!("{key}: cannot read {path}: {e}")),
    };
    let identity = read("discovery.cert_file")?.zip(read("discovery.key_file")?);
    Ok(Tls { ca: read("discovery.ca_file")?, identity })
}
