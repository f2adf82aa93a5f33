//! Sources that members register at, by the plugin itself: the metadata database, Consul, etcd, ZooKeeper.

use super::consul_agent::Agent;
use super::proxy::Proxy;
use super::{Source, TTL, address, servers};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use mishards_catalog::{Catalog, Heartbeat, Heartbeats, Kind, Memory, Sqlite};
use mishards_discovery::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Where plugins register.
#[async_trait]
pub trait Place: Send + Sync + 'static {
    fn plugin(&self) -> Arc<dyn Discovery>;
    fn elsewhere(&self) -> Arc<dyn Discovery>;
    fn interrupt(&self);
    fn restore(&self);
    async fn lose_state(&self);
    fn running(&self) -> usize;
}

/// A place with members that are renewed, by a plugin elsewhere.
pub struct Registry<P> {
    pub place: P,
    plugin: Arc<dyn Discovery>,
    members: Arc<tokio::sync::Mutex<BTreeMap<String, Member>>>,
    renewing: JoinHandle<()>,
}

impl<P: Place> Registry<P> {
    pub fn at(place: P) -> Registry<P> {
        let plugin = place.elsewhere();
        let members = Arc::new(tokio::sync::Mutex::new(BTreeMap::<String, Member>::new()));
        let (renewed, by) = (Arc::clone(&members), Arc::clone(&plugin));
        let renewing = tokio::spawn(async move {
            loop {
                for member in renewed.lock().await.values() {
                    let _ = by.register(member).await;
                }
                tokio::time::sleep(TTL / 8).await;
            }
        });
        Registry { place, plugin, members, renewing }
    }
}

impl<P> Drop for Registry<P> {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

#[async_trait]
impl<P: Place> Source for Registry<P> {
    fn plugin(&self) -> Arc<dyn Discovery> {
        self.place.plugin()
    }

    fn elsewhere(&self) -> Arc<dyn Discovery> {
        self.place.elsewhere()
    }

    async fn join(&self, who: &str, at: u16) -> Member {
        let member = Member { name: who.to_owned(), address: address(at) };
        let mut members = self.members.lock().await;
        members.insert(who.to_owned(), member.clone());
        self.plugin.register(&member).await.unwrap();
        member
    }

    async fn leave(&self, who: &str) {
        let mut members = self.members.lock().await;
        members.remove(who);
        self.plugin.deregister(who).await.unwrap();
    }

    async fn interrupt(&self) {
        self.place.interrupt();
    }

    async fn restore(&self) {
        self.place.restore();
    }

    async fn lose_state(&self) {
        self.place.lose_state().await;
    }

    async fn running(&self) -> usize {
        self.place.running()
    }
}

/// A metadata database with a switch.
pub struct Gate {
    heartbeats: Arc<dyn Heartbeats>,
    is_away: AtomicBool,
    asked: Mutex<Option<Instant>>,
}

impl Gate {
    fn pass(&self) -> mishards_catalog::Result<()> {
        *self.asked.lock().unwrap() = Some(Instant::now());
        match self.is_away.load(Ordering::SeqCst) {
            true => Err(mishards_catalog::Error::new(Kind::Unavailable, "the database is away")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Heartbeats for Gate {
    async fn beat(&self, name: &str, address: &str) -> mishards_catalog::Result<u64> {
        self.pass()?;
        self.heartbeats.beat(name, address).await
    }

    async fn heartbeats(&self) -> mishards_catalog::Result<Vec<Heartbeat>> {
        self.pass()?;
        self.heartbeats.heartbeats().await
    }

    async fn stop(&self, name: &str) -> mishards_catalog::Result<()> {
        self.pass()?;
        self.heartbeats.stop(name).await
    }

    async fn clear(&self) -> mishards_catalog::Result<()> {
        self.pass()?;
        self.heartbeats.clear().await
    }
}

/// The tables of a metadata database.
pub struct Tables {
    gate: Arc<Gate>,
    ttl: Duration,
    _dir: Option<TempDir>,
}

impl Tables {
    fn of(heartbeats: Arc<dyn Heartbeats>, dir: Option<TempDir>) -> Tables {
        let gate = Gate { heartbeats, is_away: AtomicBool::new(false), asked: Mutex::default() };
        Tables { gate: Arc::new(gate), ttl: TTL, _dir: dir }
    }

    pub async fn memory() -> Registry<Tables> {
        Registry::at(Tables::of(Arc::new(Memory::new()), None))
    }

    pub fn with_ttl(ttl: Duration) -> Registry<Tables> {
        Registry::at(Tables { ttl, ..Tables::of(Arc::new(Memory::new()), None) })
    }

    pub async fn sqlite() -> Registry<Tables> {
        let dir = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(&dir.path().join("catalog.db")).unwrap();
        sqlite.migrate("test").await.unwrap();
        Registry::at(Tables::of(Arc::new(sqlite), Some(dir)))
    }
}

#[async_trait]
impl Place for Tables {
    fn plugin(&self) -> Arc<dyn Discovery> {
        Arc::new(FromCatalog::new(self.gate.clone(), self.ttl))
    }

    fn elsewhere(&self) -> Arc<dyn Discovery> {
        Arc::new(FromCatalog::new(self.gate.heartbeats.clone(), self.ttl))
    }

    fn interrupt(&self) {
        self.gate.is_away.store(true, Ordering::SeqCst);
    }

    fn restore(&self) {
        self.gate.is_away.store(false, Ordering::SeqCst);
    }

    async fn lose_state(&self) {
        for row in self.gate.heartbeats.heartbeats().await.unwrap() {
            self.gate.heartbeats.stop(&row.name).await.unwrap();
        }
    }

    fn running(&self) -> usize {
        let asked = *self.gate.asked.lock().unwrap();
        usize::from(asked.is_some_and(|at| at.elapsed() < TTL / 3 * 2))
    }
}

type Make = Box<dyn Fn(&str) -> Arc<dyn Discovery> + Send + Sync>;
type Replace = Box<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>;

/// A server, with one way for the plugins of the test and one for those elsewhere.
pub struct Server {
    pub here: Proxy,
    there: Proxy,
    /// The plugin with the source at `host:port`.
    make: Make,
    /// Where an empty server is.
    replace: Replace,
}

impl Server {
    async fn at(host_and_port: &str, make: Make, replace: Replace) -> Registry<Server> {
        let (here, there) = (Proxy::to(host_and_port).await, Proxy::to(host_and_port).await);
        Registry::at(Server { here, there, make, replace })
    }

    pub async fn etcd() -> Registry<Server> {
        let prefix = format!("/{}/nodes", servers::unique("etcd"));
        let make = move |at: &str| -> Arc<dyn Discovery> { Arc::new(etcd(at, &prefix)) };
        let url = servers::needed("MISHARDS_TEST_ETCD");
        Server::at(servers::host_and_port(&url), Box::new(make), another("etcd")).await
    }

    pub async fn zookeeper() -> Registry<Server> {
        let folder = format!("/{}/nodes", servers::unique("zookeeper"));
        let make = move |at: &str| -> Arc<dyn Discovery> { Arc::new(zookeeper(at, &folder)) };
        let at = servers::needed("MISHARDS_TEST_ZOOKEEPER");
        Server::at(&at, Box::new(make), another("zookeeper")).await
    }

    /// A scripted agent.
    pub async fn agent() -> Registry<Server> {
        let agent = Agent::start().await;
        let make = |at: &str| -> Arc<dyn Discovery> { Arc::new(consul(at, "mishards")) };
        let at = agent.address.to_string();
        let replace: Replace = Box::new(move || {
            agent.forget();
            let at = agent.address.to_string();
            Box::pin(async move { at })
        });
        Server::at(&at, Box::new(make), replace).await
    }

    /// A real agent, if it is there.
    pub async fn consul() -> Option<Registry<Server>> {
        let url = servers::shared("MISHARDS_TEST_CONSUL")?;
        let service = servers::unique("consul");
        let make = move |at: &str| -> Arc<dyn Discovery> { Arc::new(consul(at, &service)) };
        Some(Server::at(servers::host_and_port(&url), Box::new(make), another("consul")).await)
    }
}

fn another(name: &'static str) -> Replace {
    Box::new(move || {
        Box::pin(async move { servers::host_and_port(&servers::another(name).await).to_owned() })
    })
}

pub fn etcd(at: &str, prefix: &str) -> Etcd {
    let (url, prefix) = (format!("http://{at}"), prefix.to_owned());
    Etcd::new(EtcdOptions { url, prefix, user: None, ttl: TTL, tls: Tls::default() }).unwrap()
}

pub fn consul(at: &str, service: &str) -> Consul {
    let (url, service) = (format!("http://{at}"), service.to_owned());
    let options = ConsulOptions { url, service, token: None, ttl: TTL, tls: Tls::default() };
    // A query with an index of before a restart is not answered earlier.
    Consul::new(options).unwrap().held_for(TTL)
}

pub fn zookeeper(at: &str, folder: &str) -> ZooKeeper {
    let (servers, folder) = (at.to_owned(), folder.to_owned());
    ZooKeeper::new(ZooKeeperOptions { servers, folder, digest: None, ttl: TTL }).unwrap()
}

#[async_trait]
impl Place for Server {
    fn plugin(&self) -> Arc<dyn Discovery> {
        (self.make)(&self.here.address.to_string())
    }

    fn elsewhere(&self) -> Arc<dyn Discovery> {
        (self.make)(&self.there.address.to_string())
    }

    fn interrupt(&self) {
        self.here.cut();
    }

    fn restore(&self) {
        self.here.restore();
    }

    async fn lose_state(&self) {
        let empty = (self.replace)().await;
        self.here.lead_to(&empty);
        self.there.lead_to(&empty);
    }

    fn running(&self) -> usize {
        self.here.connections()
    }
}
