//! A Consul agent: nodes are services with a check that they renew, watchers ask for the healthy ones by blocking
//! queries. HTTP API v1: <https://developer.hashicorp.com/consul/api-docs>.

use crate::http::{Http, HttpOptions, escape};
use crate::{Discovery, Error, Event, Member, Result};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const PLUGIN: &str = "consul";
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the agent may hold a query back. It adds up to a sixteenth.
const WAIT: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_secs(1);

/// Where the agent is and what is asked of it.
#[derive(Debug, Clone)]
pub struct ConsulOptions {
    pub url: String,
    /// Name of the service.
    pub service: String,
    /// ACL token.
    pub token: Option<String>,
    /// A check that was not renewed for this long is critical; the service is removed a minute later.
    pub ttl: Duration,
    pub tls: crate::Tls,
}

/// See [`Discovery`].
#[derive(Clone)]
pub struct Consul {
    http: Http,
    service: String,
    ttl: Duration,
    wait: Duration,
    /// The addresses that we have registered, by name.
    registered: Arc<Mutex<HashMap<String, String>>>,
}

impl Consul {
    pub fn new(options: ConsulOptions) -> Result<Consul> {
        let http = Http::new(
            PLUGIN,
            HttpOptions {
                url: options.url,
                secret: options.token.map(|token| ("x-consul-token", token)),
                tls: options.tls,
            },
        )?;
        let registered = Arc::default();
        Ok(Consul { http, service: options.service, ttl: options.ttl, wait: WAIT, registered })
    }

    /// The agent holds a query back for this long at most.
    pub fn held_for(self, wait: Duration) -> Consul {
        Consul { wait, ..self }
    }

    fn registered(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self, name: &str) -> String {
        format!("{}-{name}", self.service)
    }

    /// The healthy members and the index of this answer; waits until there is something newer than `index`.
    async fn members(&self, index: u64) -> Result<(Vec<Member>, u64)> {
        let path = format!(
            "/v1/health/service/{}?passing=1&index={index}&wait={}ms",
            escape(&self.service),
            self.wait.as_millis()
        );
        let patience = self.wait + self.wait / 16 + PATIENCE;
        let answer = self.http.expect("GET", &path, None, patience).await?;
        let newer = answer.headers.get("x-consul-index").and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let newer = newer.ok_or_else(|| Error::new(PLUGIN, "the answer has no X-Consul-Index"))?;
        let list = answer.json(PLUGIN)?;
        let list = list.as_array().ok_or_else(|| Error::new(PLUGIN, "the answer is no list"))?;
        let members = list.iter().filter_map(|entry| self.member(entry).transpose());
        let mut members = members.collect::<Result<Vec<_>>>()?;
        members.sort();
        Ok((members, newer))
    }

    /// `None` without a port: one such service must not hide the others.
    fn member(&self, entry: &Value) -> Result<Option<Member>> {
        let service = &entry["Service"];
        let id = service["ID"].as_str().ok_or_else(|| Error::new(PLUGIN, "a service has no ID"))?;
        let port = service["Port"].as_u64().filter(|p| *p > 0 && *p <= 65_535);
        let Some(port) = port else {
            tracing::warn!(service = id, "this service has no port and is left out");
            return Ok(None);
        };
        // A service without an address is at its node's.
        let own = service["Address"].as_str().filter(|a| !a.is_empty());
        let host = own.or_else(|| entry["Node"]["Address"].as_str());
        let host = host.ok_or_else(|| Error::new(PLUGIN, format!("service {id} has no address")))?;
        let name = id.strip_prefix(&format!("{}-", self.service)).unwrap_or(id);
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        Ok(Some(Member { name: name.to_owned(), address: format!("{host}:{port}") }))
    }
}

#[async_trait]
impl Discovery for Consul {
    fn watch(&self) -> BoxStream<'static, Event> {
        let start = (self.clone(), 0u64, None::<Vec<Member>>);
        stream::unfold(start, |(consul, mut index, mut known)| async move {
            loop {
                match consul.members(index).await {
                    Ok((members, newer)) => {
                        // An index that goes back, or is 0, means that the agent began anew.
                        index = if newer < index { 0 } else { newer.max(1) };
                        if known.as_ref() != Some(&members) {
                            known = Some(members.clone());
                            return Some((Event::Reset(members), (consul, index, known)));
                        }
                        // Some agents, or what is before them, hold nothing back.
                        tokio::time::sleep(AGAIN / 10).await;
                    }
                    Err(e) => {
                        tracing::warn!(error = %e, "members could not be read, the last ones stay");
                        index = 0;
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
        })
        .boxed()
    }

    async fn register(&self, member: &Member) -> Result<()> {
        let id = self.id(&member.name);
        let pass = format!("/v1/agent/check/pass/service:{}", escape(&id));
        let is_ours = self.registered().get(&member.name) == Some(&member.address);
        // An agent that lost its state, or a check that was taken away, says so.
        if is_ours && self.http.call("PUT", &pass, None, PATIENCE).await?.status == 200 {
            return Ok(());
        }
        let (host, port) = member
            .address
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)))
            .ok_or_else(|| Error::new(PLUGIN, format!("{:?} is not host:port", member.address)))?;
        let body = json!({
            "ID": id, "Name": self.service, "Port": port,
            "Address": host.trim_start_matches('[').trim_end_matches(']'),
            "Check": {
                "TTL": format!("{}ms", self.ttl.as_millis()), "Status": "passing",
                "DeregisterCriticalServiceAfter": "1m",
            },
        });
        self.http.expect("PUT", "/v1/agent/service/register", Some(&body), PATIENCE).await?;
        self.registered().insert(member.name.clone(), member.address.clone());
        Ok(())
    }

    async fn deregister(&self, name: &str) -> Result<()> {
        self.registered().remove(name);
        let path = format!("/v1/agent/service/deregister/{}", escape(&self.id(name)));
        let answer = self.http.call("PUT", &path, None, PATIENCE).await?;
        match answer.status {
            // Or it is gone already.
            200 | 404 => Ok(()),
            status => Err(self.http.refused("PUT", &path, status, &answer.body)),
        }
    }
}
