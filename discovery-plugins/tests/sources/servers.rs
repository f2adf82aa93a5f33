//! The real servers (see `tests/servers`): those that all tests share, and empty ones of a test's own.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where a shared server is, or nothing if it is not on this machine.
pub fn shared(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

/// Where a shared server is that must be there.
pub fn needed(variable: &str) -> String {
    shared(variable).unwrap_or_else(|| {
        panic!("{variable} is not set: run this by `cargo nextest run`, which starts the servers, or start them with tests/servers/servers.py")
    })
}

/// Starts another server, which ends with this process.
pub async fn another(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = tokio::process::Command::new("python3")
        .arg(root.join("tests/servers/servers.py"))
        .args(["up", "--until", &std::process::id().to_string(), name])
        .env_remove("NEXTEST_ENV")
        .current_dir(root)
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    match text.trim().split_once('=') {
        Some((_, value)) => value.to_owned(),
        None => panic!("{name} did not start: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// The host and port of an address.
pub fn host_and_port(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

/// A name that no other test uses.
pub fn unique(what: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}
