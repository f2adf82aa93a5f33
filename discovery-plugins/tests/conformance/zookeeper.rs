//! What is particular to ZooKeeper: sessions, znodes of others, users.

use super::*;
use mishards_discovery::{Discovery, ZooKeeper, ZooKeeperOptions};
use sources::proxy::Proxy;
use sources::registry::zookeeper;
use sources::servers::{needed, unique};
use zookeeper_client::{Acls, Client, CreateMode};

fn member(name: &str, at: u16) -> Member {
    Member { name: name.to_owned(), address: sources::address(at) }
}

/// The shared server, and a folder of this test's own.
fn place() -> (String, String) {
    (needed("MISHARDS_TEST_ZOOKEEPER"), format!("/{}/nodes", unique("zookeeper")))
}

async fn put(client: &Client, path: &str, data: &str) {
    let persistent = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.create(path, data.as_bytes(), &persistent).await.unwrap();
}

#[tokio::test]
async fn znodes_of_others_are_members() {
    let (server, folder) = place();
    let plugin = zookeeper(&server, &folder);
    let mut watch = Watch::of(&plugin);
    watch.begins_with(&[]).await;
    let client = Client::connect(&server).await.unwrap();
    put(&client, &format!("{folder}/a"), &sources::address(1)).await;
    watch.until(&[member("a", 1)]).await;
    // Children of members mean nothing.
    put(&client, &format!("{folder}/a/child"), "x").await;
    watch.is_quiet(Duration::from_millis(100)).await;
    client.set_data(&format!("{folder}/a"), sources::address(2).as_bytes(), None).await.unwrap();
    watch.until(&[member("a", 2)]).await;
}

#[tokio::test]
async fn what_is_no_text_is_no_member() {
    let (server, folder) = place();
    let plugin = zookeeper(&server, &folder);
    let mut watch = Watch::of(&plugin);
    watch.begins_with(&[]).await;
    let client = Client::connect(&server).await.unwrap();
    let persistent = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.create(&format!("{folder}/bad"), &[0xff], &persistent).await.unwrap();
    put(&client, &format!("{folder}/a"), &sources::address(1)).await;
    watch.until(&[member("a", 1)]).await;
}

/// Somebody who cleans up.
#[tokio::test]
async fn a_folder_that_was_deleted_is_made_again() {
    let (server, folder) = place();
    let plugin = zookeeper(&server, &folder);
    plugin.register(&member("a", 1)).await.unwrap();
    let mut watch = Watch::of(&plugin);
    watch.begins_with(&[member("a", 1)]).await;
    let client = Client::connect(&server).await.unwrap();
    client.delete(&format!("{folder}/a"), None).await.unwrap();
    client.delete(&folder, None).await.unwrap();
    watch.until(&[]).await;
    plugin.register(&member("a", 1)).await.unwrap();
    watch.until(&[member("a", 1)]).await;
}

/// The server closes the session that a plugin loses, at the latest.
#[tokio::test]
async fn a_plugin_that_is_dropped_takes_its_members_away() {
    let (server, folder) = place();
    let (plugin, other) = (zookeeper(&server, &folder), zookeeper(&server, &folder));
    plugin.register(&member("a", 1)).await.unwrap();
    let mut watch = Watch::of(&other);
    watch.begins_with(&[member("a", 1)]).await;
    drop(plugin);
    watch.until(&[]).await;
}

/// A connection that is broken and does not say so.
#[tokio::test]
async fn a_connection_that_hangs_is_left() {
    let (server, folder) = place();
    let proxy = Proxy::to(&server).await;
    let (plugin, other) = (zookeeper(&proxy.address.to_string(), &folder), zookeeper(&server, &folder));
    let mut watch = Watch::of(&plugin);
    watch.begins_with(&[]).await;
    proxy.freeze();
    other.register(&member("a", 1)).await.unwrap();
    watch.is_quiet(Duration::from_millis(300)).await;
    proxy.restore();
    watch.until(&[member("a", 1)]).await;
}

#[tokio::test]
async fn of_several_servers_one_is_enough() {
    let (server, folder) = place();
    let plugin = zookeeper(&format!("127.0.0.1:1,{server}"), &folder);
    plugin.register(&member("a", 1)).await.unwrap();
    Watch::of(&plugin).begins_with(&[member("a", 1)]).await;
}

#[tokio::test]
async fn with_a_user_others_may_read_only() {
    let (servers, folder) = place();
    let (digest, ttl) = (Some("me:secret".to_owned()), TTL);
    let options = ZooKeeperOptions { servers: servers.clone(), folder: folder.clone(), digest, ttl };
    let plugin = ZooKeeper::new(options).unwrap();
    plugin.register(&member("a", 1)).await.unwrap();
    let anyone = zookeeper(&servers, &folder);
    let mut watch = Watch::of(&anyone);
    watch.begins_with(&[member("a", 1)]).await;
    assert!(anyone.register(&member("a", 2)).await.is_err());
    assert!(anyone.register(&member("b", 2)).await.is_err());
    let client = Client::connect(&servers).await.unwrap();
    assert!(client.set_data(&format!("{folder}/a"), b"evil:1", None).await.is_err());
    watch.is_quiet(Duration::from_millis(100)).await;
    // The user's other processes may.
    let digest = Some("me:secret".to_owned());
    let again = ZooKeeper::new(ZooKeeperOptions { servers, folder, digest, ttl }).unwrap();
    again.register(&member("a", 3)).await.unwrap();
    watch.until(&[member("a", 3)]).await;
}

#[tokio::test]
async fn names_that_are_no_znodes_are_refused() {
    let (server, folder) = place();
    let plugin = zookeeper(&server, &folder);
    for bad in ["", "a/b"] {
        assert!(plugin.register(&member(bad, 1)).await.is_err(), "{bad:?}");
    }
    for folder in ["", "m", "/m/", "//m", "/"] {
        let (servers, folder) = (server.clone(), folder.to_owned());
        assert!(ZooKeeper::new(ZooKeeperOptions { servers, folder, digest: None, ttl: TTL }).is_err());
    }
}
