//! What is MySQL's own: addresses that cannot be used, a server that is away or asks for TLS, a session that hangs in
//! a transaction.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sample;
mod servers;

use mishards_catalog::*;
use sample::*;
use servers::{Database, execute, server};
use sqlx::{Connection, Executor, MySqlConnection};
use std::time::Duration;
use tokio::time::Instant;

fn options(url: &str) -> MySqlOptions {
    MySqlOptions { url: url.to_owned(), connections: 2, session_timeout: Duration::from_secs(2) }
}

fn text<T>(result: Result<T>) -> (Kind, String) {
    let error = result.err().unwrap();
    (error.kind, error.to_string())
}

#[test]
fn an_address_that_cannot_be_used_is_refused_and_keeps_its_password() {
    for url in
        ["mysql://root:secret@", "mysql://root:secret@localhost:99999/m", "mysql://root:secret@localhost"]
    {
        let (kind, text) = text(MySql::open(&options(url)));
        assert_eq!(kind, Kind::Refused, "{url}");
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable_within_seconds() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    for address in [closed, silent.local_addr().unwrap()] {
        let catalog = MySql::open(&options(&format!("mysql://root@{address}/m"))).unwrap();
        let began = Instant::now();
        let (kind, text) = text(catalog.lease().await);
        assert_eq!(kind, Kind::Unavailable, "{text}");
        assert!(began.elapsed() < Duration::from_secs(6));
    }
}

#[tokio::test]
async fn a_missing_database_is_named_with_the_next_step() {
    let catalog = MySql::open(&options(&format!("{}/nowhere", server()))).unwrap();
    let (kind, text) = text(catalog.load().await);
    assert_eq!(kind, Kind::Unavailable);
    assert!(text.contains("nowhere") && text.contains("CREATE DATABASE"), "{text}");
}

/// A database may have any character set: ours do not come from there.
#[tokio::test]
async fn every_table_has_its_own_character_set() {
    let name = format!("latin_{}", std::process::id());
    execute(&server(), format!("create database {name} character set latin1 collate latin1_german1_ci"))
        .await;
    let catalog = MySql::open(&options(&format!("{}/{name}", server()))).unwrap();
    catalog.migrate("cluster").await.unwrap();
    let mut connection = MySqlConnection::connect(&server()).await.unwrap();
    let sql = "select table_name, table_collation from information_schema.tables where table_schema = ?";
    let tables: Vec<(String, String)> =
        sqlx::query_as(sql).bind(&name).fetch_all(&mut connection).await.unwrap();
    execute(&server(), format!("drop database {name}")).await;
    assert!(tables.iter().any(|(table, _)| table == "mishards_lease"), "{tables:?}");
    for (table, collation) in tables {
        assert_eq!(collation, "utf8mb4_bin", "{table}");
    }
}

#[tokio::test]
async fn tls_is_verified() {
    let (url, ca) = (std::env::var("MISHARDS_TEST_MYSQL_TLS"), std::env::var("MISHARDS_TEST_MYSQL_CA"));
    let (url, ca) = (url.expect("MISHARDS_TEST_MYSQL_TLS is not set"), ca.unwrap());
    let name = format!("tls_{}", std::process::id());
    let with = |parameters: &str| options(&format!("{url}/{name}?{parameters}"));
    execute(&format!("{url}?ssl-mode=VERIFY_IDENTITY&ssl-ca={ca}"), format!("create database {name}")).await;
    let catalog = MySql::open(&with(&format!("ssl-mode=VERIFY_IDENTITY&ssl-ca={ca}"))).unwrap();
    catalog.migrate("cluster").await.unwrap();
    assert_eq!(catalog.load().await.unwrap().unwrap().cluster_id, "cluster");
    // Another authority, and no encryption at all.
    assert_eq!(
        text(MySql::open(&with("ssl-mode=VERIFY_IDENTITY")).unwrap().lease().await).0,
        Kind::Unavailable
    );
    assert_eq!(text(MySql::open(&with("ssl-mode=DISABLED")).unwrap().lease().await).0, Kind::Unavailable);
}

/// A writer that was stopped within its transaction holds locks only until the server ends its session.
#[tokio::test]
async fn a_session_that_hangs_in_a_transaction_does_not_hold_the_lease_for_ever() {
    let database = Database::create().await;
    let catalog =
        MySql::open(&MySqlOptions { session_timeout: Duration::from_secs(2), ..database.options() }).unwrap();
    catalog.migrate("cluster").await.unwrap();
    let lease = Holder::elect(&catalog, 1).await.lease;
    let mut stopped = MySqlConnection::connect(&database.options().url).await.unwrap();
    // What a session of ours is set to.
    stopped.execute("set session wait_timeout = 2").await.unwrap();
    stopped.execute("begin").await.unwrap();
    stopped.execute("update mishards_lease set commit_seq = commit_seq + 1 where id = 1").await.unwrap();
    let began = Instant::now();
    loop {
        match catalog.renew(lease.epoch, lease.incarnation).await {
            Ok(renewed) => {
                assert_eq!(renewed.version, lease.version, "what hung was rolled back");
                break;
            }
            Err(e) => assert_eq!(e.kind, Kind::Unavailable, "{e}"),
        }
        assert!(began.elapsed() < Duration::from_secs(15));
    }
    assert!(began.elapsed() > Duration::from_secs(1), "it did not have to wait");
    drop(stopped);
    database.remove().await;
}
