//! Kubernetes: the ready endpoints of services, by EndpointSlices (discovery.k8s.io/v1): list, then watch from where the
//! list was made. <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>

use crate::http::{Http, escape};
use crate::kubeconfig::Access;
use crate::{Discovery, Error, Event, Member, Result};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const PLUGIN: &str = "kubernetes";
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the server holds a watch open.
const WATCH_SECONDS: u64 = 240;
/// A watch that is silent for longer is begun anew: bookmarks come once a minute.
const SILENCE: Duration = Duration::from_secs(150);
const AGAIN: Duration = Duration::from_secs(1);
/// Objects in one page of a list.
const PAGE: usize = 500;

/// Which API server, and which slices.
#[derive(Debug, Clone, Default)]
pub struct KubernetesOptions {
    /// A kubeconfig file; `None` means the pod's own access.
    pub kubeconfig: Option<PathBuf>,
    /// `None` means that of the pod or of the context.
    pub namespace: Option<String>,
    /// Such as `kubernetes.io/service-name=mishards-node`.
    pub label_selector: String,
    /// Name of the port in the slices; empty means the first.
    pub port_name: String,
}

/// See [`Discovery`].
#[derive(Clone)]
pub struct Kubernetes {
    options: Arc<KubernetesOptions>,
    access: Arc<Access>,
    namespace: String,
    silence: Duration,
}

/// The members of each slice, by the slice's name.
type Slices = BTreeMap<String, Vec<Member>>;

impl Kubernetes {
    pub fn new(options: KubernetesOptions) -> Result<Kubernetes> {
        let access = match &options.kubeconfig {
            Some(path) => Access::from_file(path)?,
            None => Access::in_cluster()?,
        };
        let namespace = options.namespace.clone().or_else(|| access.namespace.clone());
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        // What is wrong with the access is said at once.
        Http::new(PLUGIN, access.http.clone())?;
        Ok(Kubernetes { options: Arc::new(options), access: Arc::new(access), namespace, silence: SILENCE })
    }

    /// A watch that is silent for longer is begun anew.
    pub fn silent_for(self, silence: Duration) -> Kubernetes {
        Kubernetes { silence, ..self }
    }

    fn http(&self) -> Result<Http> {
        Http::new(PLUGIN, self.access.signed()?)
    }

    fn path(&self) -> String {
        let namespace = escape(&self.namespace);
        let selector = escape(&self.options.label_selector);
        format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector={selector}")
    }

    /// All slices, page by page, and the version that they were read at.
    async fn list(&self, http: &Http) -> Result<(Slices, String)> {
        let (mut slices, mut next) = (Slices::new(), String::new());
        loop {
            let path = format!("{}&limit={PAGE}&continue={}", self.path(), escape(&next));
            let answer = http.call("GET", &path, None, PATIENCE).await?;
            // The list is too old to go on with: begin anew.
            if answer.status == 410 && !next.is_empty() {
                (slices, next) = (Slices::new(), String::new());
                tokio::time::sleep(AGAIN / 10).await;
                continue;
            }
            if answer.status != 200 {
                return Err(http.refused("GET", &path, answer.status, &answer.body));
            }
            let list = answer.json(PLUGIN)?;
            for slice in list["items"].as_array().into_iter().flatten() {
                self.put(&mut slices, slice);
            }
            match list["metadata"]["continue"].as_str() {
                Some(more) if !more.is_empty() => next = more.to_owned(),
                _ => {
                    let version = list["metadata"]["resourceVersion"].as_str();
                    let version =
                        version.ok_or_else(|| Error::new(PLUGIN, "the list has no resourceVersion"))?;
                    return Ok((slices, version.to_owned()));
                }
            }
        }
    }

    async fn follow(&self, http: &Http, version: &str) -> Result<BoxStream<'static, Result<Value>>> {
        let path = format!(
            "{}&watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={}",
            self.path(),
            escape(version)
        );
        let (status, lines) = http.lines("GET", &path, None, self.silence).await?;
        if status == 200 { Ok(lines) } else { Err(http.refused("GET", &path, status, b"")) }
    }

    fn put(&self, slices: &mut Slices, slice: &Value) {
        if let Some(name) = slice["metadata"]["name"].as_str() {
            slices.insert(name.to_owned(), self.members(slice));
        }
    }

    /// The ready endpoints of a slice. "Unknown" counts as ready, as the API says.
    fn members(&self, slice: &Value) -> Vec<Member> {
        let wanted = &self.options.port_name;
        let ports = slice["ports"].as_array().into_iter().flatten();
        let port = ports
            .filter(|p| wanted.is_empty() || p["name"].as_str() == Some(wanted))
            .find_map(|p| p["port"].as_u64());
        let Some(port) = port else { return Vec::new() };
        let endpoints = slice["endpoints"].as_array().into_iter().flatten();
        let ready = endpoints.filter(|e| e["conditions"]["ready"].as_bool() != Some(false));
        ready
            .filter_map(|endpoint| {
                let ip = endpoint["addresses"].as_array()?.first()?.as_str()?;
                let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
                let address = format!("{host}:{port}");
                // A pod that comes back under its name may have another address.
                let name = endpoint["targetRef"]["name"].as_str().unwrap_or(&address).to_owned();
                Some(Member { name, address })
            })
            .collect()
    }
}

/// One pod may stand in several slices, of IPv4 and IPv6 say: the first counts.
fn all(slices: &Slices) -> Vec<Member> {
    let mut by_name = BTreeMap::new();
    for member in slices.values().flatten() {
        by_name.entry(member.name.clone()).or_insert_with(|| member.clone());
    }
    by_name.into_values().collect()
}

/// What a watch goes on from.
struct Following {
    slices: Slices,
    version: String,
    lines: Option<BoxStream<'static, Result<Value>>>,
}

impl Kubernetes {
    async fn begin(&self) -> Result<Following> {
        let http = self.http()?;
        let (slices, version) = self.list(&http).await?;
        Ok(Following { slices, version, lines: None })
    }

    /// Takes the next message in; false when all must be listed anew.
    async fn advance(&self, following: &mut Following) -> Result<bool> {
        let Some(lines) = &mut following.lines else {
            following.lines = Some(self.follow(&self.http()?, &following.version).await?);
            return Ok(true);
        };
        // The server ends a watch now and then: it goes on from the last version.
        let Some(Ok(message)) = lines.next().await else {
            following.lines = None;
            tokio::time::sleep(AGAIN / 10).await;
            return Ok(true);
        };
        let (kind, object) = (message["type"].as_str().unwrap_or_default(), &message["object"]);
        match kind {
            "ADDED" | "MODIFIED" => self.put(&mut following.slices, object),
            "DELETED" => {
                object["metadata"]["name"].as_str().map(|name| following.slices.remove(name));
            }
            "BOOKMARK" => {}
            // 410 Gone, or anything else that says that this watch is over.
            _ => return Ok(false),
        }
        if let Some(version) = object["metadata"]["resourceVersion"].as_str() {
            following.version = version.to_owned();
        }
        Ok(true)
    }
}

#[async_trait]
impl Discovery for Kubernetes {
    fn watch(&self) -> BoxStream<'static, Event> {
        let start = (self.clone(), None::<Following>, None::<Vec<Member>>);
        stream::unfold(start, |(kubernetes, mut following, mut known)| async move {
            loop {
                let step = match &mut following {
                    None => kubernetes.begin().await.map(|began| {
                        following = Some(began);
                        true
                    }),
                    Some(state) => kubernetes.advance(state).await,
                };
                match step {
                    Ok(true) => {}
                    Ok(false) => {
                        following = None;
                        tokio::time::sleep(AGAIN / 10).await;
                        continue;
                    }
                    Err(e) => {
                        tracing::warn!(error = %e, "members could not be read, the last ones stay");
                        following = None;
                        tokio::time::sleep(AGAIN).await;
                        continue;
                    }
                }
                let members = following.as_ref().map(|f| all(&f.slices)).unwrap_or_default();
                if known.as_ref() != Some(&members) {
                    known = Some(members.clone());
                    return Some((Event::Reset(members), (kubernetes, following, known)));
                }
            }
        })
        .boxed()
    }
}
