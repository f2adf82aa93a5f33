//! etcd, by its JSON gateway (etcd 3.4 and newer): nodes are keys with a lease, watchers read all and then follow.
//! <https://etcd.io/docs/latest/dev-guide/api_grpc_gateway/>

use crate::http::{Http, HttpOptions};
use crate::{Discovery, Error, Event, Member, Result};
use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

const PLUGIN: &str = "etcd";
const PATIENCE: Duration = Duration::from_secs(5);
/// A watch is begun anew after this much silence, for a broken connection is silent too.
const SILENCE: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(1);

/// Where etcd is and which keys are members.
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    pub url: String,
    /// Keys are `<prefix>/<name>`, values `host:port`.
    pub prefix: String,
    /// `user:password`.
    pub user: Option<String>,
    pub ttl: Duration,
    pub tls: crate::Tls,
}

/// See [`Discovery`].
#[derive(Clone)]
pub struct Etcd {
    options: Arc<EtcdOptions>,
    http: Http,
    leases: Arc<Mutex<HashMap<String, Lease>>>,
    silence: Duration,
}

/// What stands behind a member of ours.
#[derive(Clone, PartialEq)]
struct Lease {
    id: String,
    address: String,
}

impl Etcd {
    pub fn new(options: EtcdOptions) -> Result<Etcd> {
        if options.user.as_ref().is_some_and(|user| !user.contains(':')) {
            return Err(Error::new(PLUGIN, "discovery.token is not of the form user:password"));
        }
        let http = Http::new(
            PLUGIN,
            HttpOptions { url: options.url.clone(), secret: None, tls: options.tls.clone() },
        )?;
        Ok(Etcd { options: Arc::new(options), http, leases: Arc::default(), silence: SILENCE })
    }

    /// A watch that is silent for longer is begun anew.
    pub fn silent_for(self, silence: Duration) -> Etcd {
        Etcd { silence, ..self }
    }

    fn key(&self, name: &str) -> String {
        BASE64_STANDARD.encode(format!("{}{name}", self.folder()))
    }

    fn folder(&self) -> String {
        format!("{}/", self.options.prefix.trim_end_matches('/'))
    }

    /// First and last key of the folder: `/` is followed by `0`.
    fn range(&self) -> (String, String) {
        let folder = self.folder();
        let end = format!("{}0", folder.trim_end_matches('/'));
        (BASE64_STANDARD.encode(&folder), BASE64_STANDARD.encode(end))
    }

    async fn call(&self, path: &str, body: Value) -> Result<Value> {
        let http = self.signed_in().await?;
        http.expect("POST", path, Some(&body), PATIENCE).await?.json(PLUGIN)
    }

    /// With a token, where a user is set. Tokens are short-lived: one is asked for each time.
    async fn signed_in(&self) -> Result<Http> {
        let Some((name, password)) = self.options.user.as_deref().and_then(|u| u.split_once(':')) else {
            return Ok(self.http.clone());
        };
        let body = json!({ "name": name, "password": password });
        let answer = self.http.expect("POST", "/v3/auth/authenticate", Some(&body), PATIENCE).await?;
        let token = answer.json(PLUGIN)?["token"].as_str().map(str::to_owned);
        let token = token.ok_or_else(|| Error::new(PLUGIN, "no token was given"))?;
        let (url, tls) = (self.options.url.clone(), self.options.tls.clone());
        Http::new(PLUGIN, HttpOptions { url, secret: Some(("authorization", token)), tls })
    }

    /// All members, and the revision that they were read at.
    async fn members(&self) -> Result<(Vec<Member>, i64)> {
        let (key, range_end) = self.range();
        let answer = self.call("/v3/kv/range", json!({ "key": key, "range_end": range_end })).await?;
        let revision = number(&answer["header"]["revision"])
            .ok_or_else(|| Error::new(PLUGIN, "the answer has no revision"))?;
        let list = answer["kvs"].as_array().cloned().unwrap_or_default();
        Ok((list.iter().filter_map(|kv| self.member(kv)).collect(), revision))
    }

    fn name(&self, kv: &Value) -> Option<String> {
        let name = text(&kv["key"])?.strip_prefix(&self.folder())?.to_owned();
        (!name.is_empty()).then_some(name)
    }

    fn member(&self, kv: &Value) -> Option<Member> {
        Some(Member { name: self.name(kv)?, address: text(&kv["value"])? })
    }

    /// The changes in one message of a watch; `None` when it must be begun anew.
    fn changes(&self, message: &Value) -> Option<Vec<Event>> {
        let result = &message["result"];
        if !result.is_object() || result["canceled"] == true || result["compact_revision"].is_string() {
            return None;
        }
        let events = result["events"].as_array().map(Vec::as_slice).unwrap_or_default();
        let change = |event: &Value| match event["type"].as_str() {
            Some("DELETE") => self.name(&event["kv"]).map(Event::Remove),
            _ => self.member(&event["kv"]).map(Event::Add),
        };
        Some(events.iter().filter_map(change).collect())
    }

    async fn follow(&self, after: i64) -> Result<BoxStream<'static, Result<Value>>> {
        let (key, range_end) = self.range();
        let body = json!({ "create_request": {
            "key": key, "range_end": range_end, "start_revision": after + 1, "progress_notify": true,
        }});
        let http = self.signed_in().await?;
        let (status, lines) = http.lines("POST", "/v3/watch", Some(&body), self.silence).await?;
        if status == 200 { Ok(lines) } else { Err(http.refused("POST", "/v3/watch", status, b"")) }
    }

    async fn is_there(&self, name: &str) -> Result<bool> {
        let answer = self.call("/v3/kv/range", json!({ "key": self.key(name), "keys_only": true })).await?;
        Ok(answer["kvs"].as_array().is_some_and(|kvs| !kvs.is_empty()))
    }

    /// A lease that lives: the one of before when it can be renewed, else a new one. Says whether it is new.
    async fn lease(&self, known: Option<&Lease>) -> Result<(String, bool)> {
        if let Some(lease) = known {
            let answer = self.call("/v3/lease/keepalive", json!({ "ID": lease.id })).await?;
            if number(&answer["result"]["TTL"]).is_some_and(|ttl| ttl > 0) {
                return Ok((lease.id.clone(), false));
            }
        }
        let ttl = self.options.ttl.as_secs().max(1);
        let answer = self.call("/v3/lease/grant", json!({ "TTL": ttl })).await?;
        let id = answer["ID"].as_str().map(str::to_owned);
        Ok((id.ok_or_else(|| Error::new(PLUGIN, "no lease was granted"))?, true))
    }
}

/// 64-bit numbers come as text.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn text(value: &Value) -> Option<String> {
    String::from_utf8(BASE64_STANDARD.decode(value.as_str()?).ok()?).ok()
}

/// Where a watcher stands.
enum At {
    /// All must be read.
    Start,
    Following(BoxStream<'static, Result<Value>>, Vec<Event>),
}

#[async_trait]
impl Discovery for Etcd {
    fn watch(&self) -> BoxStream<'static, Event> {
        let start = (self.clone(), At::Start, None::<BTreeMap<String, String>>);
        stream::unfold(start, |(etcd, mut at, mut known)| async move {
            loop {
                match at {
                    At::Start => match etcd.begin().await {
                        Ok((members, lines)) => {
                            at = At::Following(lines, Vec::new());
                            let all = members.iter().map(|m| (m.name.clone(), m.address.clone())).collect();
                            if known.as_ref() != Some(&all) {
                                known = Some(all);
                                return Some((Event::Reset(members), (etcd, at, known)));
                            }
                        }
                        Err(e) => {
                            tracing::warn!(error = %e, "members could not be read, the last ones stay");
                            tokio::time::sleep(AGAIN).await;
                        }
                    },
                    At::Following(lines, mut waiting) if !waiting.is_empty() => {
                        let event = waiting.remove(0);
                        let all = known.get_or_insert_default();
                        match &event {
                            Event::Add(member) => {
                                drop(all.insert(member.name.clone(), member.address.clone()))
                            }
                            Event::Remove(name) => drop(all.remove(name)),
                            Event::Reset(_) => {}
                        }
                        return Some((event, (etcd, At::Following(lines, waiting), known)));
                    }
                    At::Following(mut lines, _) => {
                        let message = lines.next().await;
                        at = match message.and_then(Result::ok).and_then(|m| etcd.changes(&m)) {
                            Some(changes) => At::Following(lines, changes),
                            None => {
                                tokio::time::sleep(AGAIN / 10).await;
                                At::Start
                            }
                        };
                    }
                }
            }
        })
        .boxed()
    }

    async fn register(&self, member: &Member) -> Result<()> {
        let known = self.leases.lock().await.get(&member.name).cloned();
        let (id, is_new) = self.lease(known.as_ref()).await?;
        let lease = Lease { id, address: member.address.clone() };
        // Somebody may have deleted the key. One that is another process' by now is left alone.
        let is_written = !is_new && known.as_ref() == Some(&lease) && self.is_there(&member.name).await?;
        if !is_written {
            let (key, value) = (self.key(&member.name), BASE64_STANDARD.encode(&member.address));
            self.call("/v3/kv/put", json!({ "key": key, "value": value, "lease": lease.id })).await?;
            self.leases.lock().await.insert(member.name.clone(), lease);
        }
        Ok(())
    }

    async fn deregister(&self, name: &str) -> Result<()> {
        // The key goes with its lease, unless another process has it by now.
        let Some(lease) = self.leases.lock().await.remove(name) else { return Ok(()) };
        let (http, body) = (self.signed_in().await?, json!({ "ID": lease.id }));
        match http.call("POST", "/v3/lease/revoke", Some(&body), PATIENCE).await? {
            // Or it has expired.
            answer if matches!(answer.status, 200 | 404) => Ok(()),
            answer => Err(self.http.refused("POST", "/v3/lease/revoke", answer.status, &answer.body)),
        }
    }
}

impl Etcd {
    /// All members, and what comes after them.
    async fn begin(&self) -> Result<(Vec<Member>, BoxStream<'static, Result<Value>>)> {
        let (members, revision) = self.members().await?;
        Ok((members, self.follow(revision).await?))
    }
}
