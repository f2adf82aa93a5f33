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

/// What `discovery.plugin` may be.
const PLUGINS: &str = "static, dns, catalog, consul, etcd, zookeeper, kubernetes, exec";

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
        other => Err(format!("discovery.plugin {other:?} is not known; this version has: {PLUGINS}")),
    }
}

/// How long an announcement lives without being renewed.
pub fn ttl(config: &Config) -> Result<Duration, String> {
    config.seconds("discovery.ttl_seconds")
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
    Some(config.text(key)).filter(|text| !text.is_empty()).map(str::to_owned)
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
