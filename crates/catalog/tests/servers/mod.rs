//! Databases on the real server that the tests run against (see `tests/servers`).
#![allow(dead_code, reason = "each test file uses a part of it")]

use mishards_catalog::{MySql, MySqlOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Where the server is, without a database.
pub fn server() -> String {
    std::env::var("MISHARDS_TEST_MYSQL").unwrap_or_else(|_| {
        panic!("MISHARDS_TEST_MYSQL is not set: run this by `cargo nextest run`, which starts the servers, or start them with tests/servers/servers.py")
    })
}

/// A database of one test.
pub struct Database {
    pub name: String,
}

impl Database {
    pub async fn create() -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        execute(&server(), format!("create database {name} character set utf8mb4")).await;
        Database { name }
    }

    pub fn options(&self) -> MySqlOptions {
        let url = format!("{}/{}", server(), self.name);
        MySqlOptions { url, connections: 4, session_timeout: Duration::from_secs(5) }
    }

    pub fn open(&self) -> MySql {
        MySql::open(&self.options()).unwrap()
    }

    pub async fn remove(self) {
        execute(&server(), format!("drop database {}", self.name)).await;
    }
}

/// Runs one statement by a connection of its own.
pub async fn execute(url: &str, sql: String) {
    let mut connection = MySqlConnection::connect(url).await.unwrap();
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
    connection.close().await.unwrap();
}
