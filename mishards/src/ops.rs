//! The ops port: alive, ready, metrics; of a router also the cluster's status, and reads explained. Nothing here changes
//! state.

use axum::Router;
use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use prometheus::{Encoder, Registry, TextEncoder};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Whether requests can be served now.
#[derive(Default)]
pub struct Readiness {
    /// Why not; empty when they can.
    pub reasons: Vec<String>,
    /// What needs a look though they are.
    pub warnings: Vec<String>,
}

/// Asks the parts of a process.
pub type Ready = dyn Fn() -> Readiness + Send + Sync;

/// The readiness of a process that has these parts and serves until `stop` is cancelled.
pub fn ready(
    stop: &CancellationToken,
    router: Option<Arc<mishards_router::Router>>,
    node: Option<mishards_node::Node>,
) -> Arc<Ready> {
    let stop = stop.clone();
    Arc::new(move || {
        let mut now = Readiness::default();
        if stop.is_cancelled() {
            now.reasons.push("asked to stop, draining".to_owned());
        }
        if let Some(router) = &router {
            now.reasons.extend(router.not_ready());
            now.warnings.extend(router.warnings());
        }
        if let Some(node) = &node {
            now.reasons.extend(node.not_ready());
            now.warnings.extend(node.warnings());
        }
        now
    })
}

/// Each reason is a line. Warnings stand behind "ready".
fn readyz(now: &Readiness) -> (StatusCode, String) {
    let lines =
        |what: &str, list: &[String]| list.iter().map(|line| format!("{what}{line}\n")).collect::<String>();
    match now.reasons.is_empty() {
        true => (StatusCode::OK, format!("ready\n{}", lines("warning: ", &now.warnings))),
        false => (StatusCode::SERVICE_UNAVAILABLE, lines("", &now.reasons)),
    }
}

/// Serves until the token is cancelled.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    ready: Arc<Ready>,
    router: Option<Arc<mishards_router::Router>>,
    stop: CancellationToken,
) {
    let asked = Arc::clone(&ready);
    let mut app = Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(move || async move { readyz(&asked()) }))
        .route("/metrics", get(move || async move { metrics(&registry) }));
    if let Some(router) = router {
        let explaining = Arc::clone(&router);
        app = app
            .route("/status", get(move || async move { json(&status(&router, ready())) }))
            .route("/explain", post(move |body: Bytes| async move { explain(&explaining, &body).await }));
    }
    let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(e) = served {
        tracing::error!(error = %e, "the ops port failed");
    }
}

/// What the router says, and what it does not know of its process.
fn status(router: &mishards_router::Router, now: Readiness) -> mishards_router::ClusterStatus {
    let Readiness { reasons, warnings } = now;
    mishards_router::ClusterStatus {
        ready: reasons.is_empty(),
        not_ready: reasons,
        warnings,
        ..router.status()
    }
}

fn metrics(registry: &Registry) -> Response {
    let encoder = TextEncoder::new();
    let mut out = Vec::new();
    match encoder.encode(&registry.gather(), &mut out) {
        Ok(()) => ([(header::CONTENT_TYPE, encoder.format_type().to_owned())], out).into_response(),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, e.to_string()).into_response(),
    }
}

/// Runs a read and says what it did. It is as heavy as the read itself, and changes nothing.
async fn explain(router: &mishards_router::Router, body: &[u8]) -> Response {
    let request = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(e) => {
            let text = format!("the request must be a JSON object that names a collection: {e}\n");
            return (StatusCode::BAD_REQUEST, text).into_response();
        }
    };
    match router.explain(request).await {
        Ok(explained) => json(&explained),
        Err(e) if e.code.is_retriable() => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{e}\n")).into_response()
        }
        Err(e) => (StatusCode::BAD_REQUEST, format!("{e}\n")).into_response(),
    }
}

fn json(value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, e.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_a_line() {
        let two = vec!["no node".to_owned(), "draining".to_owned()];
        let not = Readiness { reasons: two.clone(), warnings: vec!["old".to_owned()] };
        assert_eq!(readyz(&not), (StatusCode::SERVICE_UNAVAILABLE, "no node\ndraining\n".to_owned()));
        let ready = Readiness { reasons: Vec::new(), warnings: two };
        assert_eq!(
            readyz(&ready),
            (StatusCode::OK, "ready\nwarning: no node\nwarning: draining\n".to_owned())
        );
    }
}
