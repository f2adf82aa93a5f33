//! What agents answer, and what they are asked.

use super::*;
use mishards_discovery::{Consul, ConsulOptions, Discovery, Tls};
use serde_json::{Value, json};
use sources::consul_agent::{Agent, Reply};
use sources::proxy::Proxy;
use sources::registry::consul;

fn member(name: &str, address: &str) -> Member {
    Member { name: name.to_owned(), address: address.to_owned() }
}

async fn begin() -> (Agent, Consul, Watch) {
    let agent = Agent::start().await;
    let consul = consul(&agent.address.to_string(), "mishards");
    put(&agent, "a", "10.0.0.1", 1);
    let mut watch = Watch::of(&consul);
    watch.begins_with(&[member("a", "10.0.0.1:1")]).await;
    (agent, consul, watch)
}

fn service(id: &str, address: &str, port: u16) -> Value {
    json!({ "ID": id, "Name": "mishards", "Address": address, "Port": port })
}

fn put(agent: &Agent, name: &str, address: &str, port: u16) {
    let id = format!("mishards-{name}");
    agent.put(&id, service(&id, address, port));
}

#[tokio::test]
async fn who_was_registered_by_others_is_a_member_too() {
    let (agent, _, mut watch) = begin().await;
    agent.put("other-id", service("other-id", "10.0.0.2", 2));
    put(&agent, "six", "fd00::1", 3);
    // Without an address of its own it is where its agent is.
    put(&agent, "at-agent", "", 4);
    let mut stranger = service("stranger", "10.0.0.3", 5);
    stranger["Name"] = json!("another-service");
    agent.put("stranger", stranger);
    let all = [
        member("a", "10.0.0.1:1"),
        member("other-id", "10.0.0.2:2"),
        member("six", "[fd00::1]:3"),
        member("at-agent", "10.9.9.9:4"),
    ];
    watch.until(&all).await;
}

#[tokio::test]
async fn an_address_is_registered_as_host_and_port() {
    let (agent, consul, mut watch) = begin().await;
    consul.register(&member("b", "[fd00::2]:2")).await.unwrap();
    consul.register(&member("c", "host.test:3")).await.unwrap();
    assert_eq!(agent.address_of("mishards-b").unwrap(), "fd00::2");
    let all = [member("a", "10.0.0.1:1"), member("b", "[fd00::2]:2"), member("c", "host.test:3")];
    watch.until(&all).await;
    for bad in ["", "host", "host:", "host:x", "host:65536"] {
        assert!(consul.register(&member("d", bad)).await.is_err(), "{bad:?}");
    }
}

/// Somebody's mistake must not hide all others.
#[tokio::test]
async fn a_service_without_a_port_is_left_out() {
    let (agent, _, mut watch) = begin().await;
    put(&agent, "bad", "10.0.0.2", 0);
    put(&agent, "b", "10.0.0.3", 3);
    watch.until(&[member("a", "10.0.0.1:1"), member("b", "10.0.0.3:3")]).await;
}

#[tokio::test]
async fn an_index_that_goes_back_loses_nothing() {
    let agent = Agent::start().await;
    put(&agent, "a", "10.0.0.1", 1);
    // The query of before is held back, for its index is larger.
    let consul = consul(&agent.address.to_string(), "mishards").held_for(Duration::from_millis(200));
    let mut watch = Watch::of(&consul);
    watch.begins_with(&[member("a", "10.0.0.1:1")]).await;
    agent.with(|s| s.index = 3);
    watch.is_quiet(Duration::from_millis(300)).await;
    put(&agent, "b", "10.0.0.2", 2);
    watch.until(&[member("a", "10.0.0.1:1"), member("b", "10.0.0.2:2")]).await;
    // 0 would not be held back.
    agent.with(|s| s.index = 0);
    watch.is_quiet(Duration::from_millis(300)).await;
    let asked = agent.with(|s| s.asked.len());
    assert!(asked < 20, "{asked} requests");
    agent.forget();
    watch.until(&[]).await;
}

#[tokio::test]
async fn failures_change_nothing() {
    let replies = [
        Reply::Status(500),
        Reply::Text(20, "nonsense".to_owned()),
        Reply::Text(21, "{}".to_owned()),
        Reply::Text(22, "[{}]".to_owned()),
        Reply::Status(429),
    ];
    let cases = replies.map(async |reply| {
        let (agent, _, mut watch) = begin().await;
        agent.with(|s| {
            s.script.push_back(reply);
            s.index += 1;
        });
        watch.is_quiet(Duration::from_millis(300)).await;
        put(&agent, "b", "10.0.0.2", 2);
        watch.until(&[member("a", "10.0.0.1:1"), member("b", "10.0.0.2:2")]).await;
    });
    join_all(cases).await;
}

/// As with a proxy in front that strips the query.
#[tokio::test]
async fn an_agent_that_answers_at_once_is_not_asked_all_the_time() {
    let (agent, _, mut watch) = begin().await;
    agent.with(|s| s.never_waits = true);
    watch.is_quiet(Duration::from_secs(1)).await;
    let asked = agent.with(|s| s.asked.len());
    assert!(asked < 50, "{asked} requests in a second");
}

/// Busy agents count on: most answers say what the last one said.
#[tokio::test]
async fn changes_of_other_services_are_not_said() {
    let (agent, _, mut watch) = begin().await;
    for _ in 0..5 {
        agent.with(|s| s.index += 1);
        watch.is_quiet(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_query_that_hangs_is_given_up() {
    let agent = Agent::start().await;
    let proxy = Proxy::to(&agent.address.to_string()).await;
    put(&agent, "a", "10.0.0.1", 1);
    let consul = consul(&proxy.address.to_string(), "mishards").held_for(Duration::from_millis(100));
    let mut watch = Watch::of(&consul);
    watch.begins_with(&[member("a", "10.0.0.1:1")]).await;
    agent.with(|s| s.script.push_back(Reply::Hang));
    watch.is_quiet(Duration::from_millis(300)).await;
    put(&agent, "a", "10.0.0.2", 2);
    watch.until(&[member("a", "10.0.0.2:2")]).await;
}

#[tokio::test]
async fn a_token_is_sent_and_needed() {
    let agent = Agent::start().await;
    agent.with(|s| s.token = Some("secret".to_owned()));
    let with = |token: Option<&str>| {
        let (url, service) = (format!("http://{}", agent.address), "mishards".to_owned());
        let token = token.map(str::to_owned);
        Consul::new(ConsulOptions { url, service, token, ttl: TTL, tls: Tls::default() }).unwrap()
    };
    for wrong in [with(None), with(Some("wrong"))] {
        let error = wrong.register(&member("a", "10.0.0.1:1")).await.unwrap_err().to_string();
        assert!(error.contains("403") && error.contains("Permission denied"), "{error}");
        assert!(!error.contains("wrong"), "{error}");
        Watch::of(&wrong).is_quiet(Duration::from_millis(200)).await;
    }
    let right = with(Some("secret"));
    right.register(&member("a", "10.0.0.1:1")).await.unwrap();
    let mut watch = Watch::of(&right);
    watch.begins_with(&[member("a", "10.0.0.1:1")]).await;
    // Taken away for a while.
    agent.with(|s| (s.token, s.index) = (Some("other".to_owned()), s.index + 1));
    watch.is_quiet(Duration::from_millis(300)).await;
    agent.with(|s| s.token = Some("secret".to_owned()));
    right.deregister("a").await.unwrap();
    watch.until(&[]).await;
}

#[tokio::test]
async fn a_check_that_somebody_took_away_is_made_again() {
    let (agent, consul, mut watch) = begin().await;
    consul.register(&member("b", "10.0.0.2:2")).await.unwrap();
    let both = [member("a", "10.0.0.1:1"), member("b", "10.0.0.2:2")];
    watch.until(&both).await;
    agent.forget();
    consul.register(&member("b", "10.0.0.2:2")).await.unwrap();
    watch.until(&both[1..]).await;
}

#[test]
fn an_address_of_the_agent_has_a_scheme() {
    for url in ["", "localhost:8500", "ftp://localhost", "http://a b"] {
        let (url, service) = (url.to_owned(), "s".to_owned());
        assert!(
            Consul::new(ConsulOptions { url, service, token: None, ttl: TTL, tls: Tls::default() }).is_err()
        );
    }
}
