//! What EndpointSlices mean, and how the API server is reached.

use super::*;
use mishards_discovery::{Kubernetes, KubernetesOptions};
use serde_json::{Value, json};
use sources::api_server::{ApiServer, SELECTOR, endpoint, slice};
use sources::simple::put;

fn member(name: &str, address: &str) -> Member {
    Member { name: name.to_owned(), address: address.to_owned() }
}

/// A watcher of these slices.
async fn watch(server: &ApiServer, port_name: &str) -> Watch {
    let port_name = port_name.to_owned();
    Watch::of(&Kubernetes::new(KubernetesOptions { port_name, ..server.options() }).unwrap())
}

fn with(endpoints: &[Value], ports: Value) -> Value {
    json!({ "endpoints": endpoints, "ports": ports })
}

#[tokio::test]
async fn an_endpoint_counts_unless_it_is_not_ready() {
    let server = ApiServer::start().await;
    let mut unsaid = endpoint("unsaid", "10.0.0.3", json!(true));
    unsaid["conditions"] = json!({});
    let mut bare = endpoint("bare", "10.0.0.4", json!(true));
    bare.as_object_mut().unwrap().remove("conditions");
    let endpoints = [
        endpoint("yes", "10.0.0.1", json!(true)),
        endpoint("no", "10.0.0.2", json!(false)),
        unsaid,
        bare,
        endpoint("unknown", "10.0.0.5", Value::Null),
    ];
    server.with(|s| s.put("s", with(&endpoints, json!([{ "port": 1 }]))));
    let mut watch = watch(&server, "").await;
    let ready = [
        member("yes", "10.0.0.1:1"),
        member("unsaid", "10.0.0.3:1"),
        member("bare", "10.0.0.4:1"),
        member("unknown", "10.0.0.5:1"),
    ];
    watch.begins_with(&ready).await;
    server.with(|s| s.put("s", with(&[endpoint("no", "10.0.0.2", json!(true))], json!([{ "port": 1 }]))));
    watch.until(&[member("no", "10.0.0.2:1")]).await;
}

#[tokio::test]
async fn the_port_is_the_named_one_or_the_first() {
    let server = ApiServer::start().await;
    let ports = json!([{ "name": "metrics", "port": 9091 }, { "name": "node", "port": 19530 }]);
    let pod = [endpoint("a", "10.0.0.1", json!(true))];
    server.with(|s| s.put("s", with(&pod, ports)));
    watch(&server, "").await.begins_with(&[member("a", "10.0.0.1:9091")]).await;
    watch(&server, "node").await.begins_with(&[member("a", "10.0.0.1:19530")]).await;
    watch(&server, "other").await.begins_with(&[]).await;
    // None at all, as a service without ports has it.
    server.with(|s| s.put("s", with(&pod, Value::Null)));
    watch(&server, "").await.begins_with(&[]).await;
}

#[tokio::test]
async fn who_has_no_pod_is_named_by_its_address() {
    let server = ApiServer::start().await;
    let mut outside = endpoint("", "10.0.0.1", json!(true));
    outside.as_object_mut().unwrap().remove("targetRef");
    let mut nowhere = outside.clone();
    nowhere["addresses"] = json!([]);
    server.with(|s| s.put("s", with(&[outside, nowhere], json!([{ "port": 1 }]))));
    watch(&server, "").await.begins_with(&[member("10.0.0.1:1", "10.0.0.1:1")]).await;
}

#[tokio::test]
async fn a_pod_with_addresses_of_both_kinds_is_one_member() {
    let server = ApiServer::start().await;
    server.with(|s| s.put("four", slice(&[("a", "10.0.0.1")])));
    server.with(|s| s.put("six", slice(&[("a", "fd00::1"), ("b", "fd00::2")])));
    let mut watch = watch(&server, "node").await;
    let b = member("b", "[fd00::2]:19530");
    watch.begins_with(&[member("a", "10.0.0.1:19530"), b.clone()]).await;
    server.with(|s| s.remove("four"));
    watch.until(&[member("a", "[fd00::1]:19530"), b]).await;
}

#[tokio::test]
async fn a_pod_that_comes_back_may_have_another_address() {
    let server = ApiServer::start().await;
    server.with(|s| s.put("s1", slice(&[("a", "10.0.0.1"), ("b", "10.0.0.2")])));
    let mut watch = watch(&server, "node").await;
    let b = member("b", "10.0.0.2:19530");
    watch.begins_with(&[member("a", "10.0.0.1:19530"), b.clone()]).await;
    server.with(|s| s.put("s1", slice(&[("a", "10.0.0.9"), ("b", "10.0.0.2")])));
    watch.until(&[member("a", "10.0.0.9:19530"), b.clone()]).await;
    // Not ready for a while, then in another slice.
    server.with(|s| s.put("s1", slice(&[("b", "10.0.0.2")])));
    watch.until(std::slice::from_ref(&b)).await;
    server.with(|s| s.put("s0", slice(&[("a", "10.0.0.8")])));
    watch.until(&[member("a", "10.0.0.8:19530"), b]).await;
}

#[tokio::test]
async fn a_token_file_is_read_again() {
    let server = ApiServer::start().await;
    server.with(|s| {
        s.token = Some("first".to_owned());
        s.put("s", slice(&[("a", "10.0.0.1")]));
    });
    let mut watch = watch(&server, "").await;
    watch.begins_with(&[member("a", "10.0.0.1:19530")]).await;
    watch.is_quiet(Duration::from_millis(100)).await;
    // The old one is refused before the new one is there.
    server.with(|s| {
        s.token = Some("second".to_owned());
        s.put("s", slice(&[("a", "10.0.0.2")]));
        s.end_watches();
    });
    watch.is_quiet(Duration::from_millis(300)).await;
    server.write_token("second");
    watch.until(&[member("a", "10.0.0.2:19530")]).await;
    let last = server.asked().pop().unwrap();
    assert_eq!(last.token.as_deref(), Some("second"));
}

#[tokio::test]
async fn a_missing_token_file_is_waited_for() {
    let server = ApiServer::start().await;
    server.with(|s| s.put("s", slice(&[("a", "10.0.0.1")])));
    let token = server.kubeconfig().with_file_name("token");
    std::fs::remove_file(&token).unwrap();
    let mut watch = watch(&server, "").await;
    watch.is_quiet(Duration::from_millis(200)).await;
    server.write_token("first");
    watch.begins_with(&[member("a", "10.0.0.1:19530")]).await;
}

#[tokio::test]
async fn a_token_in_the_file_is_used() {
    let server = ApiServer::start().await;
    server.with(|s| s.token = Some("secret".to_owned()));
    put(server.kubeconfig(), &server.config("token: secret"));
    watch(&server, "").await.begins_with(&[]).await;
}

/// The second context's cluster and namespace are the server's, which checks them.
#[tokio::test]
async fn files_that_cannot_be_used_are_refused() {
    let server = ApiServer::start().await;
    let good = server.config("token: secret");
    for (bad, why) in [
        (String::new(), "missing field"),
        (good.replace("current-context: here", "current-context: away"), "no context \"away\""),
        (good.replace("cluster: test, user", "cluster: other, user"), "no cluster \"other\""),
        (good.replace("http://", "ftp://"), "no address like"),
        (good.replace("token: secret", "exec: {command: aws}"), "not supported"),
        (good.replace("token: secret", "auth-provider: {name: gcp}"), "not supported"),
        (good.replace("token: secret", "client-certificate-data: '%'"), "base64"),
        (good.replace("token: secret", "client-certificate: missing.pem"), "missing.pem"),
        (good.replace("server:", "certificate-authority-data: bm9uc2Vuc2U=, server:"), "no certificate"),
        (good.replace("server:", "certificate-authority: missing.pem, server:"), "missing.pem"),
    ] {
        put(server.kubeconfig(), &bad);
        let error = Kubernetes::new(server.options()).err().unwrap().to_string();
        assert!(error.contains(why), "{error:?} should say {why:?}");
    }
    std::fs::remove_file(server.kubeconfig()).unwrap();
    assert!(Kubernetes::new(server.options()).is_err());
    let in_pod = KubernetesOptions { label_selector: SELECTOR.to_owned(), ..KubernetesOptions::default() };
    let error = Kubernetes::new(in_pod).err().unwrap().to_string();
    assert!(error.contains("not in a pod"), "{error}");
}
