//! A DNS name: its addresses with one port (A and AAAA, as a headless Kubernetes service has them), or its services (SRV).

use crate::poll::poll;
use crate::{Discovery, Error, Event, Member, Result};
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

const PLUGIN: &str = "dns";

/// What is looked up, where, and how often.
#[derive(Debug, Clone)]
pub struct DnsOptions {
    pub name: String,
    /// The port of addresses; `None` asks for SRV records.
    pub port: Option<u16>,
    /// `ip:port` of a name server; `None` means those of the system.
    pub server: Option<String>,
    pub every: Duration,
}

/// See [`Discovery`].
#[derive(Clone)]
pub struct Dns {
    options: Arc<DnsOptions>,
    resolver: Arc<TokioResolver>,
}

impl Dns {
    pub fn new(options: DnsOptions) -> Result<Dns> {
        let fail = |e: &dyn std::fmt::Display| Error::new(PLUGIN, e);
        let mut builder = match &options.server {
            None => Resolver::builder_tokio().map_err(|e| fail(&e))?,
            Some(server) => {
                let at: SocketAddr = server
                    .parse()
                    .map_err(|_| fail(&format!("{server:?} is no name server like 10.0.0.1:53")))?;
                let connection = |protocol| {
                    let mut connection = ConnectionConfig::new(protocol);
                    connection.port = at.port();
                    connection
                };
                let connections = vec![connection(ProtocolConfig::Udp), connection(ProtocolConfig::Tcp)];
                let server = NameServerConfig::new(at.ip(), true, connections);
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
                Resolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        // What is asked for is what is true now.
        builder.options_mut().cache_size = 0;
        let resolver = builder.build().map_err(|e| fail(&e))?;
        Ok(Dns { options: Arc::new(options), resolver: Arc::new(resolver) })
    }

    /// The addresses of one kind; `None` where there are none. One kind without an answer is no answer.
    async fn addresses(&self, kind: RecordType) -> std::result::Result<Option<Vec<IpAddr>>, NetError> {
        match self.resolver.lookup(self.options.name.as_str(), kind).await {
            Ok(found) => {
                Ok(Some(found.answers().iter().filter_map(|record| record.data.ip_addr()).collect()))
            }
            Err(e) if e.is_no_records_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    async fn members(&self) -> Result<Vec<Member>> {
        let fail = |e| Error::new(PLUGIN, format!("{}: {e}", self.options.name));
        match self.options.port {
            Some(port) => {
                let (four, six) =
                    futures_util::join!(self.addresses(RecordType::A), self.addresses(RecordType::AAAA));
                let found = match (four.map_err(fail)?, six.map_err(fail)?) {
                    (None, None) => {
                        return Err(Error::new(PLUGIN, format!("{} has no addresses", self.options.name)));
                    }
                    (four, six) => four.into_iter().chain(six).flatten(),
                };
                let members = found.map(|ip| {
                    let address = SocketAddr::new(ip, port).to_string();
                    Member { name: address.clone(), address }
                });
                Ok(members.collect())
            }
            None => {
                let found = self.resolver.srv_lookup(self.options.name.as_str()).await.map_err(fail)?;
                let members = found.answers().iter().filter_map(|record| match &record.data {
                    // The root as target: there is no such service, RFC 2782.
                    RData::SRV(srv) if !srv.target.is_root() => {
                        let host = srv.target.to_utf8();
                        let address = format!("{}:{}", host.trim_end_matches('.'), srv.port);
                        Some(Member { name: address.clone(), address })
                    }
                    _ => None,
                });
                Ok(members.collect())
            }
        }
    }
}

#[async_trait]
impl Discovery for Dns {
    fn watch(&self) -> BoxStream<'static, Event> {
        let dns = self.clone();
        poll(self.options.every, move || {
            let dns = dns.clone();
            async move { dns.members().await }
        })
    }
}
