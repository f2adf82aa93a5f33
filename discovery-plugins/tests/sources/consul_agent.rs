//! A Consul agent that a test scripts: services with checks, blocking queries, and whatever goes wrong.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State as Shared};
use axum::response::Response;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// What the next queries get instead of an answer.
#[derive(Clone, Debug)]
pub enum Reply {
    Status(u16),
    /// The whole answer, with an index.
    Text(u64, String),
    Hang,
}

struct Service {
    body: Value,
    ttl: Duration,
    renewed: Instant,
    passes: bool,
}

#[derive(Default)]
pub struct State {
    pub index: u64,
    services: BTreeMap<String, Service>,
    pub token: Option<String>,
    pub script: VecDeque<Reply>,
    /// Answers at once, whatever the query says.
    pub never_waits: bool,
    /// Paths and queries that were asked for, without those that are held back.
    pub asked: Vec<String>,
}

#[derive(Clone)]
pub struct Agent {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
}

impl Agent {
    pub async fn start() -> Agent {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = Arc::new(Mutex::new(State { index: 10, ..State::default() }));
        let address = listener.local_addr().unwrap();
        let agent = Agent { address, state, changed: watch::Sender::new(()) };
        let app = Router::new().fallback(answer).with_state(agent.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let ticking = agent.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                ticking.expire();
            }
        });
        agent
    }

    /// Changes something and wakes those that wait.
    pub fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap());
        self.changed.send_replace(());
        result
    }

    /// Begins anew, with a lower index.
    pub fn forget(&self) {
        self.with(|s| (s.services, s.index) = (BTreeMap::new(), 1));
    }

    pub fn address_of(&self, id: &str) -> Option<Value> {
        self.with(|s| s.services.get(id).map(|service| service.body["Address"].clone()))
    }

    /// Puts a service there as somebody else would have registered it.
    pub fn put(&self, id: &str, body: Value) {
        let (ttl, renewed) = (Duration::from_secs(3600), Instant::now());
        self.with(|s| {
            s.index += 1;
            s.services.insert(id.to_owned(), Service { body, ttl, renewed, passes: true });
        });
    }

    fn expire(&self) {
        let mut state = self.state.lock().unwrap();
        let mut is_changed = false;
        for service in state.services.values_mut() {
            if service.passes && service.renewed.elapsed() >= service.ttl {
                (service.passes, is_changed) = (false, true);
            }
        }
        if is_changed {
            state.index += 1;
            drop(state);
            self.changed.send_replace(());
        }
    }

    async fn health(&self, name: &str, index: u64, wait: Duration) -> Response {
        match self.with(|s| s.script.pop_front()) {
            Some(Reply::Status(code)) => return status(code, "scripted"),
            Some(Reply::Text(index, text)) => return list(index, text),
            Some(Reply::Hang) => return std::future::pending().await,
            None => {}
        }
        let mut changed = self.changed.subscribe();
        let deadline = Instant::now() + wait;
        loop {
            let answer = {
                let state = self.state.lock().unwrap();
                let is_due = state.never_waits || state.index > index || Instant::now() >= deadline;
                is_due.then(|| {
                    let passing = state.services.values().filter(|s| s.passes && s.body["Name"] == name);
                    let entry = |s: &Service| json!({ "Node": { "Address": "10.9.9.9" }, "Service": s.body });
                    (state.index, Value::from_iter(passing.map(entry)))
                })
            };
            if let Some((index, entries)) = answer {
                return list(index, entries.to_string());
            }
            let _ = tokio::time::timeout_at(deadline, changed.changed()).await;
        }
    }

    fn register(&self, body: Value) -> Response {
        let ttl = body["Check"]["TTL"].as_str().and_then(|t| t.strip_suffix("ms")?.parse().ok());
        let Some(ttl) = ttl.map(Duration::from_millis) else { return status(400, "no TTL") };
        let passes = body["Check"]["Status"] == "passing";
        let id = body["ID"].as_str().unwrap().to_owned();
        self.with(|s| {
            s.index += 1;
            s.services.insert(id, Service { body, ttl, renewed: Instant::now(), passes });
        });
        status(200, "")
    }

    fn pass(&self, id: &str) -> Response {
        self.with(|s| match s.services.get_mut(id) {
            None => status(404, "Unknown check ID"),
            Some(service) => {
                let was_passing = std::mem::replace(&mut service.passes, true);
                service.renewed = Instant::now();
                s.index += u64::from(!was_passing);
                status(200, "")
            }
        })
    }

    fn remove(&self, id: &str) -> Response {
        self.with(|s| match s.services.remove(id) {
            // What new agents say, old ones say 200.
            None => status(404, "Unknown service ID"),
            Some(_) => {
                s.index += 1;
                status(200, "")
            }
        })
    }
}

fn status(code: u16, text: &str) -> Response {
    Response::builder().status(code).body(Body::from(text.to_owned())).unwrap()
}

fn list(index: u64, text: String) -> Response {
    Response::builder().header("x-consul-index", index).body(Body::from(text)).unwrap()
}

async fn answer(Shared(agent): Shared<Agent>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let token = head.headers.get("x-consul-token").map(|t| t.to_str().unwrap().to_owned());
    let refused = agent.with(|s| {
        s.asked.push(head.uri.to_string());
        s.token.is_some() && s.token != token
    });
    if refused {
        return status(403, "Permission denied");
    }
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let path = head.uri.path().to_owned();
    if let Some(name) = path.strip_prefix("/v1/health/service/") {
        assert!(super::query(&head.uri, "passing").is_some(), "{}", head.uri);
        let index = super::query(&head.uri, "index").map_or(0, |i| i.parse().unwrap());
        let wait = super::query(&head.uri, "wait").unwrap();
        let wait = match wait.strip_suffix("ms") {
            Some(ms) => Duration::from_millis(ms.parse().unwrap()),
            None => Duration::from_secs(wait.strip_suffix('s').unwrap().parse().unwrap()),
        };
        return agent.health(name, index, wait).await;
    }
    if let Some(id) = path.strip_prefix("/v1/agent/check/pass/service:") {
        return agent.pass(id);
    }
    if let Some(id) = path.strip_prefix("/v1/agent/service/deregister/") {
        return agent.remove(id);
    }
    match path.as_str() {
        "/v1/agent/service/register" => agent.register(serde_json::from_slice(&body).unwrap()),
        _ => status(404, "no such path"),
    }
}
