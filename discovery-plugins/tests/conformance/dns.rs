//! What name servers answer.

use super::*;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use mishards_discovery::{Dns, DnsOptions};
use sources::name_server::{Mode, NameServer, PORT, ip, service};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering;

fn at(address: &str) -> Member {
    Member { name: address.to_owned(), address: address.to_owned() }
}

fn v4() -> Member {
    at("10.0.0.1:19530")
}

fn v6() -> Member {
    at("[fd00::1]:19530")
}

/// A name with an address of each kind.
async fn two_kinds() -> NameServer {
    let server = NameServer::start().await;
    server.put("four", ip(Ipv4Addr::new(10, 0, 0, 1)));
    server.put("six", ip(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)));
    server
}

#[tokio::test]
async fn addresses_of_both_kinds_are_members() {
    let server = two_kinds().await;
    let dns = server.plugin(Some(PORT));
    let mut watch = Watch::of(&dns);
    watch.begins_with(&[v4(), v6()]).await;
    // One kind only.
    server.remove("six");
    watch.until(&[v4()]).await;
    server.put("six", ip(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)));
    server.remove("four");
    watch.until(&[v6()]).await;
}

/// A name server that is being started, or has lost its upstream, says what a name without members says.
#[tokio::test]
async fn a_name_that_has_no_addresses_any_more_changes_nothing() {
    let server = two_kinds().await;
    let dns = server.plugin(Some(PORT));
    let mut watch = Watch::of(&dns);
    watch.begins_with(&[v4(), v6()]).await;
    for mode in [Mode::Code(ResponseCode::NXDomain), Mode::Code(ResponseCode::Refused), Mode::Empty] {
        server.set(mode);
        watch.is_quiet(Duration::from_millis(250)).await;
    }
    server.set(Mode::Answer);
    watch.is_quiet(Duration::from_millis(200)).await;
    server.remove("six");
    watch.until(&[v4()]).await;
}

#[tokio::test]
async fn half_an_answer_changes_nothing() {
    let server = two_kinds().await;
    let dns = server.plugin(Some(PORT));
    let mut watch = Watch::of(&dns);
    watch.begins_with(&[v4(), v6()]).await;
    for kind in [RecordType::AAAA, RecordType::A] {
        server.set_for(kind, Mode::Code(ResponseCode::ServFail));
        watch.is_quiet(Duration::from_millis(250)).await;
        server.set(Mode::Answer);
        watch.is_quiet(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn silence_of_the_name_server_changes_nothing() {
    let server = two_kinds().await;
    let dns = server.plugin(Some(PORT));
    let mut watch = Watch::of(&dns);
    watch.begins_with(&[v4(), v6()]).await;
    server.set(Mode::Silent);
    watch.is_quiet(Duration::from_secs(2)).await;
    server.remove("six");
    server.set(Mode::Answer);
    watch.until(&[v4()]).await;
}

/// They do not fit into a datagram.
#[tokio::test]
async fn many_members_are_asked_for_over_tcp() {
    let server = NameServer::start().await;
    let mut members = Vec::new();
    for i in 0..200 {
        server.put(&format!("m{i}"), ip(Ipv4Addr::new(10, 0, 1, i)));
        members.push(at(&format!("10.0.1.{i}:19530")));
    }
    let dns = server.plugin(Some(PORT));
    Watch::of(&dns).begins_with(&members).await;
    assert!(server.tcp_queries.load(Ordering::SeqCst) > 0);
}

#[tokio::test]
async fn one_address_twice_is_one_member() {
    let server = NameServer::start().await;
    server.put("one", ip(Ipv4Addr::new(10, 0, 0, 1)));
    server.put("same", ip(Ipv4Addr::new(10, 0, 0, 1)));
    Watch::of(&server.plugin(Some(PORT))).begins_with(&[v4()]).await;
}

#[tokio::test]
async fn services_are_members_by_host_and_port() {
    let server = NameServer::start().await;
    server.put("a", service("pod-0.nodes.test.", 1));
    server.put("b", service("pod-0.nodes.test.", 2));
    server.put("c", service("pod-1.nodes.test.", 1));
    let mut watch = Watch::of(&server.plugin(None));
    watch.begins_with(&[at("pod-0.nodes.test:1"), at("pod-0.nodes.test:2"), at("pod-1.nodes.test:1")]).await;
    // "There is no such service", RFC 2782.
    server.put("c", service(".", 0));
    watch.until(&[at("pod-0.nodes.test:1"), at("pod-0.nodes.test:2")]).await;
}

#[tokio::test]
async fn an_answer_is_not_kept() {
    let server = two_kinds().await;
    let dns = server.plugin(Some(PORT));
    let mut watch = Watch::of(&dns);
    watch.begins_with(&[v4(), v6()]).await;
    let changed = tokio::time::Instant::now();
    server.remove("six");
    watch.until(&[v4()]).await;
    assert!(changed.elapsed() < Duration::from_secs(2), "the records may be kept for 30 s, and must not be");
}

#[test]
fn a_name_server_is_an_address() {
    for server in ["", "localhost", "127.0.0.1", "x:53"] {
        let (name, server) = ("nodes.test.".to_owned(), Some(server.to_owned()));
        let made = Dns::new(DnsOptions { name, port: None, server, every: Duration::from_secs(1) });
        assert!(made.is_err());
    }
}
