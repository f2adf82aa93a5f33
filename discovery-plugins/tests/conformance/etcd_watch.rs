//! Watches of etcd that go wrong in ways that a real server cannot be made to show.

use super::*;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::stream::{self, StreamExt};
use serde_json::json;
use sources::registry::etcd;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// One member, whose port counts how often it was asked for; and what watches get.
struct Gateway {
    address: String,
    shared: Arc<Shared>,
}

struct Shared {
    port: AtomicU16,
    asked: AtomicUsize,
    watch: Mutex<Reply>,
}

#[derive(Clone)]
enum Reply {
    Status(u16),
    /// Ends, or stays open.
    Text(&'static str, bool),
}

const CREATED: &str = "{\"result\": {\"header\": {\"revision\": \"5\"}, \"created\": true}}\n";

impl Gateway {
    async fn start(watch: Reply) -> Gateway {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (port, asked) = (AtomicU16::new(0), AtomicUsize::new(0));
        let shared = Arc::new(Shared { port, asked, watch: Mutex::new(watch) });
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Gateway { address, shared }
    }

    fn watch(&self) -> Watch {
        Watch::of(&etcd(&self.address, "/m/nodes"))
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    shared.asked.fetch_add(1, Ordering::SeqCst);
    if request.uri().path() == "/v3/kv/range" {
        let port = shared.port.fetch_add(1, Ordering::SeqCst) + 1;
        let kv = json!({
            "key": BASE64_STANDARD.encode("/m/nodes/a"),
            "value": BASE64_STANDARD.encode(sources::address(port)),
        });
        return Response::new(Body::from(json!({ "header": { "revision": "5" }, "kvs": [kv] }).to_string()));
    }
    let reply = shared.watch.lock().unwrap().clone();
    match reply {
        Reply::Status(code) => Response::builder().status(code).body(Body::empty()).unwrap(),
        Reply::Text(text, true) => Response::new(Body::from(text)),
        Reply::Text(text, false) => {
            let first = stream::iter([Ok::<_, Infallible>(Bytes::from(text))]);
            Response::new(Body::from_stream(first.chain(stream::pending())))
        }
    }
}

fn member(at: u16) -> Member {
    Member { name: "a".to_owned(), address: sources::address(at) }
}

#[tokio::test]
async fn a_watch_that_is_over_reads_all_anew() {
    let cases = [
        "{\"result\": {\"header\": {}, \"canceled\": true, \"cancel_reason\": \"no leader\"}}\n",
        "{\"result\": {\"header\": {}, \"compact_revision\": \"9\"}}\n",
        "{\"error\": {\"grpc_code\": 14, \"message\": \"unavailable\"}}\n",
        "nonsense\n",
        "[]\n",
    ];
    let cases = cases.map(async |text| {
        let gateway = Gateway::start(Reply::Text(text, false)).await;
        let mut watch = gateway.watch();
        watch.begins_with(&[member(1)]).await;
        watch.until(&[member(2)]).await;
        *gateway.shared.watch.lock().unwrap() = Reply::Text(CREATED, false);
        watch.event(Duration::from_secs(1)).await;
        watch.is_quiet(Duration::from_millis(500)).await;
    });
    join_all(cases).await;
}

#[tokio::test]
async fn messages_without_news_say_nothing() {
    let quiet = concat!(
        "{\"result\": {\"header\": {\"revision\": \"5\"}, \"created\": true}}\n\n",
        "{\"result\": {\"header\": {\"revision\": \"7\"}}}\n",
        "{\"result\": {\"header\": {}, \"events\": []}}\n",
        "{\"result\": {\"header\": {}, \"events\": [{}, {\"kv\": {\"key\": \"%\"}}, {\"type\": \"DELETE\"}]}}\n",
        "{\"result\": {\"header\": {}, \"events\": [{\"kv\"",
    );
    let gateway = Gateway::start(Reply::Text(quiet, false)).await;
    let mut watch = gateway.watch();
    watch.begins_with(&[member(1)]).await;
    watch.is_quiet(Duration::from_millis(500)).await;
}

#[tokio::test]
async fn a_watch_that_ends_at_once_is_not_begun_all_the_time() {
    let cases = [Reply::Status(500), Reply::Status(401), Reply::Text("", true), Reply::Text("x\n", true)];
    let cases = cases.map(async |reply| {
        let gateway = Gateway::start(reply).await;
        let mut watch = gateway.watch();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(1);
        while watch.event(deadline.saturating_duration_since(tokio::time::Instant::now())).await.is_some() {}
        let asked = gateway.shared.asked.load(Ordering::SeqCst);
        assert!((2..50).contains(&asked), "{asked} requests in a second");
    });
    join_all(cases).await;
}
