//! Commands of an operator: some look into a running cluster through the ops port of one of its routers, two repair
//! or rename one that is stopped.

mod explain;
mod rename;
mod repair;
mod status;
mod table;

pub use explain::explain;
pub use rename::rename;
pub use repair::repair;
pub use status::status;

use axum::body::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// Asks a router; the answer must be JSON.
async fn ask(ops: &str, method: Method, path: &str, body: Vec<u8>) -> Result<Value, String> {
    let ops = ops.trim_end_matches('/').trim_start_matches("http://");
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{ops}{path}"))
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| format!("{ops} is no address of the form host:port: {e}"))?;
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let answer = async {
        let response = client.request(request).await.map_err(|e| {
            let cause = std::error::Error::source(&e).map_or_else(|| e.to_string(), |cause| cause.to_string());
            format!("no router answers at {ops}: {cause}; --ops is server.ops_listen of a router or standalone server")
        })?;
        let status = response.status();
        let body =
            response.into_body().collect().await.map_err(|e| format!("{ops} broke off: {e}"))?.to_bytes();
        Ok::<_, String>((status, body))
    };
    let (status, body) = tokio::time::timeout(PATIENCE, answer)
        .await
        .map_err(|_| format!("{ops} has not answered within {} s", PATIENCE.as_secs()))??;
    if status == http::StatusCode::NOT_FOUND {
        return Err(format!(
            "the process at {ops} is no router: ask server.ops_listen of a router or standalone server"
        ));
    }
    if !status.is_success() {
        return Err(String::from_utf8_lossy(&body).trim_end().to_owned());
    }
    serde_json::from_slice(&body).map_err(|e| format!("{ops} does not answer as a router does: {e}"))
}

/// A text of an answer; empty when it is not there.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

fn print_json(value: &Value) {
    println!("{value:#}");
}
