//! What is particular to etcd: leases, watches that fall silent, users.

use super::*;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use mishards_discovery::{Announced, Discovery, Etcd, EtcdOptions, Event, Tls};
use serde_json::{Value, json};
use sources::proxy::Proxy;
use sources::registry::etcd;
use sources::servers::{another, host_and_port, needed, unique};
use std::sync::Arc;

fn member(name: &str, at: u16) -> Member {
    Member { name: name.to_owned(), address: sources::address(at) }
}

/// One call, as `etcdctl` would make it.
async fn call(server: &str, path: &str, body: Value) -> Value {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<axum::body::Bytes>>();
    let request = http::Request::post(format!("http://{server}{path}")).body(Full::from(body.to_string()));
    let answer = client.request(request.unwrap()).await.unwrap();
    let (status, body) = (answer.status(), answer.into_body().collect().await.unwrap().to_bytes());
    assert!(status.is_success(), "{path}: {body:?}");
    serde_json::from_slice(&body).unwrap()
}

async fn put(server: &str, key: &str, value: &str) {
    let (key, value) = (BASE64_STANDARD.encode(key), BASE64_STANDARD.encode(value));
    call(server, "/v3/kv/put", json!({ "key": key, "value": value })).await;
}

async fn delete(server: &str, key: &str) {
    call(server, "/v3/kv/deleterange", json!({ "key": BASE64_STANDARD.encode(key) })).await;
}

/// The shared server, and a prefix of this test's own.
fn place() -> (String, String) {
    let server = needed("MISHARDS_TEST_ETCD");
    (host_and_port(&server).to_owned(), format!("/{}/nodes", unique("etcd")))
}

#[tokio::test]
async fn keys_of_others_are_members_and_neighbours_are_not() {
    let (server, prefix) = place();
    let plugin = etcd(&server, &prefix);
    put(&server, &format!("{prefix}/a"), &sources::address(1)).await;
    put(&server, &format!("{prefix}0"), "neighbour:1").await;
    put(&server, &format!("{prefix}-more/x"), "neighbour:1").await;
    put(&server, &format!("{prefix}/"), "nameless:1").await;
    let mut watch = Watch::of(&plugin);
    watch.begins_with(&[member("a", 1)]).await;
    put(&server, &format!("{prefix}0"), "neighbour:2").await;
    put(&server, &format!("{prefix}/b"), &sources::address(2)).await;
    watch.until(&[member("a", 1), member("b", 2)]).await;
    delete(&server, &format!("{prefix}/a")).await;
    watch.until(&[member("b", 2)]).await;
}

#[tokio::test]
async fn one_change_is_one_event() {
    let (server, prefix) = place();
    let plugin = etcd(&server, &prefix);
    let mut watch = Watch::of(&plugin);
    watch.begins_with(&[]).await;
    plugin.register(&member("a", 1)).await.unwrap();
    watch.until(&[member("a", 1)]).await;
    plugin.register(&member("a", 2)).await.unwrap();
    watch.until(&[member("a", 2)]).await;
    plugin.deregister("a").await.unwrap();
    watch.until(&[]).await;
    watch.is_quiet(Duration::from_millis(200)).await;
    let expected = [
        Event::Reset(Vec::new()),
        Event::Add(member("a", 1)),
        Event::Add(member("a", 2)),
        Event::Remove("a".to_owned()),
    ];
    assert_eq!(watch.events(), expected);
}

/// Somebody who cleans up, or an old process of the same name.
#[tokio::test]
async fn a_key_that_was_deleted_is_written_again() {
    let (server, prefix) = place();
    let plugin = etcd(&server, &prefix);
    let mut watch = Watch::of(&plugin);
    watch.begins_with(&[]).await;
    plugin.register(&member("a", 1)).await.unwrap();
    watch.until(&[member("a", 1)]).await;
    delete(&server, &format!("{prefix}/a")).await;
    watch.until(&[]).await;
    plugin.register(&member("a", 1)).await.unwrap();
    watch.until(&[member("a", 1)]).await;
}

#[tokio::test]
async fn a_lease_that_was_revoked_is_replaced() {
    let (server, prefix) = place();
    let plugin = etcd(&server, &prefix);
    let mut watch = Watch::of(&plugin);
    watch.begins_with(&[]).await;
    plugin.register(&member("a", 1)).await.unwrap();
    watch.until(&[member("a", 1)]).await;
    let key = BASE64_STANDARD.encode(format!("{prefix}/a"));
    let row = call(&server, "/v3/kv/range", json!({ "key": key })).await;
    call(&server, "/v3/lease/revoke", json!({ "ID": row["kvs"][0]["lease"] })).await;
    watch.until(&[]).await;
    plugin.register(&member("a", 1)).await.unwrap();
    watch.until(&[member("a", 1)]).await;
}

/// A watch without a message is the rule: nothing has changed.
#[tokio::test]
async fn a_watch_that_is_silent_says_nothing_when_it_is_begun_anew() {
    let (server, prefix) = place();
    let plugin = etcd(&server, &prefix).silent_for(Duration::from_millis(300));
    put(&server, &format!("{prefix}/a"), &sources::address(1)).await;
    let mut watch = Watch::of(&plugin);
    watch.begins_with(&[member("a", 1)]).await;
    watch.is_quiet(Duration::from_secs(1)).await;
}

/// A connection that is broken and does not say so.
#[tokio::test]
async fn a_connection_that_hangs_is_left() {
    let (server, prefix) = place();
    let proxy = Proxy::to(&server).await;
    let plugin = etcd(&proxy.address.to_string(), &prefix).silent_for(Duration::from_millis(500));
    let mut watch = Watch::of(&plugin);
    watch.begins_with(&[]).await;
    proxy.freeze();
    put(&server, &format!("{prefix}/a"), &sources::address(1)).await;
    watch.stays(&[], Duration::from_millis(300)).await;
    proxy.restore();
    watch.until(&[member("a", 1)]).await;
}

/// The history that a watcher has missed is gone when it comes back.
#[tokio::test]
async fn a_compaction_during_an_outage_loses_nothing() {
    let (server, prefix) = place();
    let proxy = Proxy::to(&server).await;
    let plugin = etcd(&proxy.address.to_string(), &prefix);
    let mut watch = Watch::of(&plugin);
    put(&server, &format!("{prefix}/a"), &sources::address(1)).await;
    watch.begins_with(&[member("a", 1)]).await;
    proxy.cut();
    delete(&server, &format!("{prefix}/a")).await;
    put(&server, &format!("{prefix}/b"), &sources::address(2)).await;
    let key = BASE64_STANDARD.encode(&prefix);
    let now = call(&server, "/v3/kv/range", json!({ "key": key })).await;
    call(&server, "/v3/kv/compaction", json!({ "revision": now["header"]["revision"] })).await;
    proxy.restore();
    watch.until(&[member("b", 2)]).await;
}

#[tokio::test]
async fn users_sign_in() {
    let server = host_and_port(&another("etcd").await).to_owned();
    for (path, body) in [
        ("/v3/auth/user/add", json!({ "name": "root", "password": "all" })),
        ("/v3/auth/user/grant", json!({ "user": "root", "role": "root" })),
        ("/v3/auth/enable", json!({})),
    ] {
        call(&server, path, body).await;
    }
    let with = |user: Option<&str>| {
        let (url, prefix) = (format!("http://{server}"), "/m/nodes".to_owned());
        let user = user.map(str::to_owned);
        Etcd::new(EtcdOptions { url, prefix, user, ttl: TTL, tls: Tls::default() }).unwrap()
    };
    for wrong in [with(None), with(Some("root:other"))] {
        let error = wrong.register(&member("a", 1)).await.unwrap_err().to_string();
        assert!(!error.contains("other"), "{error}");
        Watch::of(&wrong).is_quiet(Duration::from_millis(100)).await;
    }
    let right = with(Some("root:all"));
    let mut watch = Watch::of(&right);
    watch.begins_with(&[]).await;
    let announced = Announced::start(Arc::new(right), member("a", 1), TTL);
    watch.until(&[member("a", 1)]).await;
    watch.is_quiet(TTL).await;
    announced.leave().await;
    watch.until(&[]).await;
}

/// What is set without effect is said at the start.
#[test]
fn a_user_without_a_password_is_refused() {
    let (url, prefix) = ("http://127.0.0.1:1".to_owned(), "/m/nodes".to_owned());
    let user = Some("no-colon".to_owned());
    assert!(Etcd::new(EtcdOptions { url, prefix, user, ttl: TTL, tls: Tls::default() }).is_err());
}
