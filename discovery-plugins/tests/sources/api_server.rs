//! A Kubernetes API server that a test scripts: lists in pages, watches, and whatever goes wrong with them.

use super::proxy::Proxy;
use super::simple::put;
use super::{Source, query};
use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State as Shared};
use axum::response::Response;
use futures_util::stream::{self, StreamExt};
use mishards_discovery::{Discovery, Kubernetes, KubernetesOptions, Member};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::sync::watch;

pub const SELECTOR: &str = "kubernetes.io/service-name=mishards-node";

/// What a request gets instead of an answer.
#[derive(Clone, Debug)]
pub enum Reply {
    Status(u16),
    /// 200 and this, then the answer ends or stays open.
    Text {
        text: String,
        ends: bool,
    },
    /// Not even a status.
    Nothing,
    /// This slice goes, and with it what the list was made from.
    GoneWith(String),
}

/// A request: its query, and the token it came with.
#[derive(Clone, Debug)]
pub struct Asked {
    pub uri: http::Uri,
    pub token: Option<String>,
}

impl Asked {
    pub fn is_watch(&self) -> bool {
        query(&self.uri, "watch").is_some()
    }

    pub fn version(&self) -> Option<String> {
        query(&self.uri, "resourceVersion")
    }
}

#[derive(Default)]
pub struct State {
    slices: BTreeMap<String, Value>,
    version: u64,
    /// Changes with their versions; older ones than the first are forgotten.
    changes: Vec<(u64, Value)>,
    oldest: u64,
    /// Most objects on a page, whatever the client asks for.
    pub page: usize,
    /// What further pages are cut from.
    rest: BTreeMap<String, (Vec<Value>, u64)>,
    pub token: Option<String>,
    pub lists: VecDeque<Reply>,
    pub continuations: VecDeque<Reply>,
    pub watches: VecDeque<Reply>,
    /// What all watches get.
    pub every_watch: Option<Reply>,
    /// Watches that began before this many endings are over.
    endings: u64,
    pub asked: Vec<Asked>,
    open: usize,
}

pub struct ApiServer {
    pub proxy: Proxy,
    shared: Arc<Inner>,
    dir: TempDir,
    members: Mutex<BTreeMap<String, u16>>,
}

struct Inner {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

impl Inner {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap());
        self.changed.send_replace(());
        result
    }
}

/// Counts a request that is not over.
struct Open(Arc<Inner>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().open -= 1;
    }
}

impl ApiServer {
    pub async fn start() -> ApiServer {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::to(&listener.local_addr().unwrap().to_string()).await;
        let state = Mutex::new(State { version: 100, oldest: 100, page: 2, ..State::default() });
        let shared = Arc::new(Inner { state, changed: watch::Sender::new(()) });
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let server =
            ApiServer { proxy, shared, dir: tempfile::tempdir().unwrap(), members: Mutex::default() };
        put(server.kubeconfig(), &server.config("tokenFile: token"));
        server.write_token("first");
        server
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    pub fn config(&self, user: &str) -> String {
        format!(
            "current-context: here
contexts:
  - {{name: there, context: {{cluster: nowhere, user: nobody}}}}
  - {{name: here, context: {{cluster: test, user: me, namespace: ns}}}}
clusters: [{{name: test, cluster: {{server: 'http://{}'}}}}]
users: [{{name: me, user: {{{user}}}}}]
",
            self.proxy.address
        )
    }

    pub fn write_token(&self, token: &str) {
        put(self.dir.path().join("token"), &format!("{token}\n"));
    }

    pub fn options(&self) -> KubernetesOptions {
        KubernetesOptions {
            kubeconfig: Some(self.kubeconfig()),
            label_selector: SELECTOR.to_owned(),
            ..KubernetesOptions::default()
        }
    }

    pub fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        self.shared.with(change)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.with(|s| s.asked.clone())
    }

    /// Requests that are not over.
    pub fn open(&self) -> usize {
        self.with(|s| s.open)
    }
}

impl State {
    fn change(&mut self, kind: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if let Some(name) = object["metadata"]["name"].as_str() {
            match kind {
                "DELETED" => drop(self.slices.remove(name)),
                _ => drop(self.slices.insert(name.to_owned(), object.clone())),
            }
        }
        self.changes.push((self.version, json!({ "type": kind, "object": object })));
    }

    /// Adds a slice or changes it.
    pub fn put(&mut self, name: &str, mut slice: Value) {
        slice["metadata"]["name"] = json!(name);
        let kind = if self.slices.contains_key(name) { "MODIFIED" } else { "ADDED" };
        self.change(kind, slice);
    }

    pub fn remove(&mut self, name: &str) {
        if let Some(slice) = self.slices.get(name).cloned() {
            self.change("DELETED", slice);
        }
    }

    pub fn bookmark(&mut self) -> u64 {
        self.change("BOOKMARK", json!({ "kind": "EndpointSlice" }));
        self.version
    }

    /// Forgets what has changed so far.
    pub fn compact(&mut self) {
        self.version += 1;
        (self.oldest, self.changes) = (self.version, Vec::new());
    }

    pub fn end_watches(&mut self) {
        self.endings += 1;
    }

    fn list(&mut self, token: &str) -> Response {
        let (mut items, version) = match token {
            "" => (self.slices.values().cloned().collect(), self.version),
            token => match self.rest.remove(token) {
                Some(rest) => rest,
                None => return status(410),
            },
        };
        let mut metadata = json!({ "resourceVersion": version.to_string() });
        if items.len() > self.page {
            // Needs escaping, as real ones do.
            let token = format!("next/{}+=", self.asked.len());
            self.rest.insert(token.clone(), (items.split_off(self.page), version));
            metadata["continue"] = json!(token);
        }
        text(json!({ "kind": "EndpointSliceList", "metadata": metadata, "items": items }).to_string())
    }
}

/// A slice of ready pods with their addresses.
pub fn slice(pods: &[(&str, &str)]) -> Value {
    let endpoints: Vec<Value> = pods.iter().map(|(name, ip)| endpoint(name, ip, json!(true))).collect();
    json!({ "endpoints": endpoints, "ports": [{ "name": "node", "port": 19530 }] })
}

pub fn endpoint(name: &str, ip: &str, ready: Value) -> Value {
    json!({
        "addresses": [ip], "conditions": { "ready": ready },
        "targetRef": { "kind": "Pod", "name": name },
    })
}

fn status(code: u16) -> Response {
    Response::builder().status(code).body(Body::from(format!("{{\"code\": {code}}}"))).unwrap()
}

fn text(text: String) -> Response {
    Response::builder().body(Body::from(text)).unwrap()
}

fn gone() -> String {
    let status = json!({ "kind": "Status", "code": 410, "reason": "Expired" });
    json!({ "type": "ERROR", "object": status }).to_string() + "\n"
}

async fn answer(Shared(shared): Shared<Arc<Inner>>, request: Request) -> Response {
    let token = request.headers().get("authorization").map(|t| t.to_str().unwrap().to_owned());
    let token = token.map(|t| t.strip_prefix("Bearer ").unwrap().to_owned());
    let asked = Asked { uri: request.uri().clone(), token: token.clone() };
    let refused = shared.with(|s| {
        s.asked.push(asked.clone());
        s.token.is_some() && s.token != token
    });
    shared.state.lock().unwrap().open += 1;
    let open = Open(Arc::clone(&shared));
    assert_eq!(asked.uri.path(), "/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices");
    assert_eq!(query(&asked.uri, "labelSelector").unwrap(), SELECTOR);
    if refused {
        return status(401);
    }
    let next = query(&asked.uri, "continue").unwrap_or_default();
    let scripted = shared.with(|s| match (asked.is_watch(), next.is_empty()) {
        (true, _) => s.watches.pop_front().or_else(|| s.every_watch.clone()),
        (false, true) => s.lists.pop_front(),
        (false, false) => s.continuations.pop_front(),
    });
    match scripted {
        Some(Reply::Status(code)) => status(code),
        Some(Reply::Nothing) => std::future::pending().await,
        Some(Reply::GoneWith(name)) => {
            shared.with(|s| s.remove(&name));
            status(410)
        }
        Some(Reply::Text { text: said, ends: true }) => text(said),
        Some(Reply::Text { text: said, ends: false }) => {
            let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from(said))]);
            let rest = stream::pending().inspect(move |_| {
                let _ = &open;
            });
            Response::new(Body::from_stream(first.chain(rest)))
        }
        None if asked.is_watch() => follow(&shared, asked.version().unwrap().parse().unwrap(), open),
        None => {
            assert!(query(&asked.uri, "limit").unwrap().parse::<usize>().unwrap() > 0);
            shared.with(|s| s.list(&next))
        }
    }
}

fn follow(shared: &Arc<Inner>, version: u64, open: Open) -> Response {
    let (oldest, endings) = shared.with(|s| (s.oldest, s.endings));
    if version < oldest {
        return text(gone());
    }
    let start = (Arc::clone(shared), shared.changed.subscribe(), version, open);
    let lines = stream::unfold(start, move |(shared, mut changed, version, open)| async move {
        loop {
            changed.mark_unchanged();
            let next = {
                let state = shared.state.lock().unwrap();
                if state.endings != endings {
                    return None;
                }
                state.changes.iter().find(|(v, _)| *v > version).cloned()
            };
            if let Some((version, change)) = next {
                let line = Bytes::from(format!("{change}\n"));
                return Some((Ok::<_, std::io::Error>(line), (shared, changed, version, open)));
            }
            changed.changed().await.ok()?;
        }
    });
    Response::new(Body::from_stream(lines))
}

impl ApiServer {
    /// Half of the members are in one slice, half in another.
    fn write_slice(&self, who: &str) {
        let half = |who: &str| who.as_bytes()[0] % 2;
        let members = self.members.lock().unwrap();
        let pods: Vec<(String, String)> = members
            .iter()
            .filter(|(name, _)| half(name) == half(who))
            .map(|(name, at)| (name.clone(), pod_ip(*at)))
            .collect();
        let pods: Vec<(&str, &str)> = pods.iter().map(|(name, ip)| (name.as_str(), ip.as_str())).collect();
        let name = format!("mishards-node-{}", half(who));
        self.with(|s| if pods.is_empty() { s.remove(&name) } else { s.put(&name, slice(&pods)) });
    }
}

fn pod_ip(at: u16) -> String {
    let [high, low] = at.to_be_bytes();
    format!("10.1.{high}.{low}")
}

#[async_trait]
impl Source for ApiServer {
    fn plugin(&self) -> Arc<dyn Discovery> {
        Arc::new(Kubernetes::new(self.options()).unwrap())
    }

    async fn join(&self, who: &str, at: u16) -> Member {
        self.members.lock().unwrap().insert(who.to_owned(), at);
        self.write_slice(who);
        Member { name: who.to_owned(), address: format!("{}:19530", pod_ip(at)) }
    }

    async fn leave(&self, who: &str) {
        self.members.lock().unwrap().remove(who);
        self.write_slice(who);
    }

    async fn interrupt(&self) {
        self.proxy.cut();
    }

    async fn restore(&self) {
        self.proxy.restore();
    }

    async fn running(&self) -> usize {
        self.proxy.connections()
    }
}
