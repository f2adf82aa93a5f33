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
pub type Ready = dyn Fn() -> bool + Send + Sync;

/// Serves until the token is cancelled.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    ready: Arc<Ready>,
    router: Option<Arc<mishards_router::Router>>,
    stop: CancellationToken,
) {
    let readyz = move || async move {
        if ready() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
    };
    let mut app = Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(move || async move { metrics(&registry) }));
    if let Some(router) = router {
        let explaining = Arc::clone(&router);
        app = app
            .route("/status", get(move || async move { json(&router.status()) }))
            .route("/explain", post(move |body: Bytes| async move { explain(&explaining, &body).await }));
    }
    let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(e) = served {
        tracing::error!(error = %e, "the ops port failed");
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
