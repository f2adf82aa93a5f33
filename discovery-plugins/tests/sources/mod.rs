//! What the suite runs on: for each plugin a source of membership that a test can change, cut off and empty.

pub mod api_server;
pub mod consul_agent;
pub mod name_server;
pub mod own;
pub mod proxy;
pub mod registry;
pub mod servers;
pub mod simple;
pub mod tls_front;
pub mod watch;

use async_trait::async_trait;
use mishards_discovery::{Discovery, Member};
use std::sync::Arc;
use std::time::Duration;

/// How long an announcement lives in the suite. Leases of etcd have whole seconds.
pub const TTL: Duration = Duration::from_secs(4);

/// One source of membership. Those of one test share nothing.
#[async_trait]
pub trait Source: Send + Sync {
    /// The plugin, as a process has it that was just started. Its way to the source can be interrupted.
    fn plugin(&self) -> Arc<dyn Discovery>;

    /// The plugin of a process elsewhere, with a way of its own.
    fn elsewhere(&self) -> Arc<dyn Discovery> {
        self.plugin()
    }

    /// `who` joins or moves; returns how watchers are to see that.
    async fn join(&self, who: &str, at: u16) -> Member;

    async fn leave(&self, who: &str);

    /// From now on, the plugins of [`Source::plugin`] get no answer.
    async fn interrupt(&self);

    async fn restore(&self);

    /// All is forgotten, as by a restart on an empty disk.
    async fn lose_state(&self) {}

    /// How many connections, programs or polls are under way for the plugins of [`Source::plugin`].
    async fn running(&self) -> usize;
}

/// The address of most sources.
pub fn address(at: u16) -> String {
    format!("10.0.0.1:{at}")
}

/// The first example in a language in the README.
pub fn readme(language: &str) -> &'static str {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once(&format!("\n```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

/// A value of a query, unescaped.
pub fn query(uri: &http::Uri, key: &str) -> Option<String> {
    let pair = uri.query()?.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name == key).then_some(value)
    })?;
    let mut bytes = Vec::new();
    let mut rest = pair.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let hex = [rest.next().unwrap(), rest.next().unwrap()];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
            }
            byte => bytes.push(byte),
        }
    }
    Some(String::from_utf8(bytes).unwrap())
}

/// Waits until `done` says so.
pub async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + watch::PATIENCE;
    while !done().await {
        assert!(tokio::time::Instant::now() < deadline, "not in {:?}: {what}", watch::PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
