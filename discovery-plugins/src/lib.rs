//! Who is there. A plugin is one file that implements [`Discovery`]; whether a member is healthy is not its business.
//!
//! All plugins pass the suite in `tests/conformance.rs`. `README.md` tells how to write one.

mod announce;
mod catalog;
mod consul;
#[cfg(feature = "dns")]
mod dns;
mod error;
mod etcd;
mod exec;
mod http;
mod kubeconfig;
mod kubernetes;
mod poll;
mod static_list;
#[cfg(feature = "zookeeper")]
mod zookeeper;

pub use announce::Announced;
pub use catalog::FromCatalog;
pub use consul::{Consul, ConsulOptions};
#[cfg(feature = "dns")]
pub use dns::{Dns, DnsOptions};
pub use error::{Error, Result};
pub use etcd::{Etcd, EtcdOptions};
pub use exec::Exec;
pub use http::{HttpOptions, Tls};
pub use kubernetes::{Kubernetes, KubernetesOptions};
pub use static_list::StaticList;
#[cfg(feature = "zookeeper")]
pub use zookeeper::{ZooKeeper, ZooKeeperOptions};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

/// A node that may be called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// Tells the members of one source apart. Who a node is, it says itself.
    pub name: String,
    /// host:port of the node API.
    pub address: String,
}

/// A change of membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// These are all members.
    Reset(Vec<Member>),
    /// A member is new, or is to be connected to anew: its address or what its host name stands for has changed.
    Add(Member),
    /// The member of this name is gone.
    Remove(String),
}

/// A source of membership.
#[async_trait]
pub trait Discovery: Send + Sync + 'static {
    /// Events from now on; the first is an [`Event::Reset`]. While the source does not answer, nothing is said: the
    /// members that were there are still taken for members. The stream goes on trying and ends only where nothing can
    /// change any more.
    fn watch(&self) -> BoxStream<'static, Event>;

    /// Announces a member for a while, or renews that. Called again and again, see [`Announced`].
    async fn register(&self, _member: &Member) -> Result<()> {
        Ok(())
    }

    /// Takes a member's announcement back.
    async fn deregister(&self, _name: &str) -> Result<()> {
        Ok(())
    }
}
