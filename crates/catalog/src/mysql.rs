//! The catalog in MySQL or MariaDB: for a cluster. Every call is bounded in time; whatever hangs reads as unavailable, or
//! as an unknown outcome once a COMMIT was on its way.

use crate::catalog::*;
use crate::heartbeats::*;
use crate::model::EntityKind;
use crate::mysql_address::read_address;
use crate::snapshot::{Change, Row, Snapshot};
use crate::{Error, Kind, Result};
use async_trait::async_trait;
use mishards_types::{Epoch, Incarnation, Version};
use sqlx::mysql::{MySqlDatabaseError, MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::{AssertSqlSafe, Executor, MySqlConnection, Row as _};
use std::collections::HashSet;
use std::time::Duration;

const FORMAT: u32 = 1;

/// How long a connection may take to be made or to be free.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a transaction may take. All are short; only reading and purging grow with the catalog.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a row may be waited for that another transaction has locked.
const LOCK_WAIT_SECONDS: u32 = 3;

/// One consistent view, whatever commits meanwhile.
const BEGIN_READ: &str = "start transaction with consistent snapshot, read only";

/// See [`Catalog`].
#[derive(Clone)]
pub struct MySql {
    pool: MySqlPool,
}

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct MySqlOptions {
    /// `mysql://user:password@host:port/database`, with options as in `mysql_address.rs`.
    pub url: String,
    /// Connections of this process.
    pub connections: u32,
    /// A session that has been silent for this long is ended by the server, and with it its locks.
    pub session_timeout: Duration,
}

/// Error numbers of the server (mysqld_error.h).
const NO_SUCH_DATABASE: u16 = 1049;
const DUPLICATE_KEY: u16 = 1062;
const NO_SUCH_TABLE: u16 = 1146;

fn number(e: &(dyn sqlx::error::DatabaseError + 'static)) -> u16 {
    e.try_downcast_ref::<MySqlDatabaseError>().map_or(0, MySqlDatabaseError::number)
}

fn fail(e: sqlx::Error) -> Error {
    let kind = match &e {
        sqlx::Error::Database(e) if number(&**e) == DUPLICATE_KEY => Kind::Refused,
        sqlx::Error::Database(_) => Kind::Unavailable,
        sqlx::Error::RowNotFound | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Kind::Corrupt,
        _ => Kind::Unavailable,
    };
    let hint = match &e {
        sqlx::Error::Database(e) if number(&**e) == NO_SUCH_DATABASE => {
            "; make it first: CREATE DATABASE name CHARACTER SET utf8mb4"
        }
        sqlx::Error::PoolTimedOut => "; it does not answer, or all connections are busy",
        _ => "",
    };
    Error::new(kind, format!("mysql: {e}{hint}"))
}

fn corrupt(e: serde_json::Error) -> Error {
    Error::new(Kind::Corrupt, format!("mysql: a row cannot be read: {e}"))
}

impl MySql {
    /// Reads the address; connects when it is first used, so that a process may start before its database.
    pub fn open(options: &MySqlOptions) -> Result<MySql> {
        let connect = read_address(&options.url)?.statement_cache_capacity(100);
        let seconds = options.session_timeout.as_secs().max(1);
        let session = format!(
            "set session wait_timeout = {seconds}, innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS}, \
             transaction_isolation = 'REPEATABLE-READ'"
        );
        // The older name of the last one.
        let older = session.replace("transaction_isolation", "tx_isolation");
        let pool = MySqlPoolOptions::new()
            .max_connections(options.connections.max(1))
            .acquire_timeout(CONNECT)
            .idle_timeout(options.session_timeout / 2)
            .after_connect(move |connection, _| {
                let (session, older) = (session.clone(), older.clone());
                Box::pin(async move {
                    if connection.execute(AssertSqlSafe(session)).await.is_err() {
                        connection.execute(AssertSqlSafe(older)).await?;
                    }
                    Ok(())
                })
            })
            .connect_lazy_with(connect);
        Ok(MySql { pool })
    }

    async fn begin(&self) -> Result<Tx> {
        self.pool.begin().await.map_err(fail)
    }
}

type Tx = sqlx::Transaction<'static, sqlx::MySql>;

/// Ends work that takes too long. Nothing was changed then: its COMMIT was not sent.
async fn bounded<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| Error::new(Kind::Unavailable, format!("mysql: no answer within {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, work).await.map_err(late)?
}

/// From here on a failure may come after the deed.
async fn commit(tx: Tx) -> Result<()> {
    let unknown = |what: String| Error::new(Kind::UnknownOutcome, format!("mysql: commit: {what}"));
    match tokio::time::timeout(PATIENCE, tx.commit()).await {
        Ok(done) => done.map_err(|e| unknown(e.to_string())),
        Err(_) => Err(unknown(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

const LEASE: &str =
    "select epoch, incarnation, counter, commit_seq, commit_id from mishards_lease where id = 1";
const LEASE_FOR_UPDATE: &str =
    "select epoch, incarnation, counter, commit_seq, commit_id from mishards_lease where id = 1 for update";

async fn read_lease(tx: &mut MySqlConnection, sql: &'static str) -> Result<Lease> {
    let row = sqlx::query(sql).fetch_one(tx).await.map_err(fail)?;
    let int = |i: usize| row.try_get::<u64, _>(i).map_err(fail);
    Ok(Lease {
        epoch: Epoch(int(0)?),
        incarnation: Incarnation(int(1)?),
        counter: int(2)?,
        version: Version { commit_seq: int(3)?, commit_id: int(4)? },
    })
}

fn fenced(l: Lease) -> Error {
    Error::new(
        Kind::Fenced,
        format!("the lease is held by epoch {} incarnation {} at {}", l.epoch, l.incarnation, l.version),
    )
}

async fn apply(tx: &mut MySqlConnection, changes: &[Change], at: u64) -> Result<()> {
    let mut seen = HashSet::new();
    for change in changes {
        let (kind, key) = match change {
            Change::Put(entity) => (entity.kind(), entity.key()),
            Change::Remove(kind, key) => (*kind, key.clone()),
        };
        let table = kind.table();
        let mut run = async |sql: String| {
            let query = sqlx::query(AssertSqlSafe(sql)).bind(at).bind(&key);
            query.execute(&mut *tx).await.map(drop).map_err(fail)
        };
        // A version that this transaction itself has added was never visible.
        if !seen.insert((kind, key.clone())) {
            run(format!("delete from {table} where added_at = ? and id = ? and removed_at is null")).await?;
        }
        run(format!("update {table} set removed_at = ? where id = ? and removed_at is null")).await?;
        if let Change::Put(entity) = change {
            let body = serde_json::to_string(entity).map_err(corrupt)?;
            let sql = format!("insert into {table} (added_at, id, body) values (?, ?, ?)");
            let query = sqlx::query(AssertSqlSafe(sql)).bind(at).bind(&key).bind(body);
            query.execute(&mut *tx).await.map_err(fail)?;
        }
    }
    Ok(())
}

async fn read_rows(tx: &mut MySqlConnection) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for kind in EntityKind::ALL {
        let sql = format!("select added_at, removed_at, body from {}", kind.table());
        for row in sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *tx).await.map_err(fail)? {
            rows.push(read_row(&row)?);
        }
    }
    Ok(rows)
}

fn read_row(row: &MySqlRow) -> Result<Row> {
    Ok(Row {
        added_at: row.try_get(0).map_err(fail)?,
        removed_at: row.try_get(1).map_err(fail)?,
        entity: serde_json::from_str(row.try_get(2).map_err(fail)?).map_err(corrupt)?,
    })
}

/// The name of the cluster; `None` where there are no tables yet.
async fn cluster_id(tx: &mut MySqlConnection) -> Result<Option<String>> {
    let sql = "select format, cluster_id from mishards_meta where id = 1";
    let row = match sqlx::query(sql).fetch_optional(tx).await {
        Ok(row) => row,
        Err(sqlx::Error::Database(e)) if number(&*e) == NO_SUCH_TABLE => return Ok(None),
        Err(e) => return Err(fail(e)),
    };
    let Some(row) = row else { return Ok(None) };
    let format: u32 = row.try_get(0).map_err(fail)?;
    if format > FORMAT {
        return Err(Error::new(
            Kind::NewerFormat,
            format!(
                "mysql: the catalog has format {format}, this version reads up to {FORMAT}: use a newer mishards"
            ),
        ));
    }
    row.try_get(1).map(Some).map_err(fail)
}

#[async_trait]
impl Heartbeats for MySql {
    async fn beat(&self, name: &str, address: &str) -> Result<u64> {
        bounded(async {
            // The server says what it set: a second statement might see what came later, and needs a transaction.
            let sql = "insert into mishards_nodes values (?, ?, last_insert_id(1))
                       on duplicate key update address = values(address), beat = last_insert_id(beat + 1)";
            let query = sqlx::query(sql).bind(name).bind(address);
            query.execute(&self.pool).await.map(|done| done.last_insert_id()).map_err(fail)
        })
        .await
    }

    async fn heartbeats(&self) -> Result<Vec<Heartbeat>> {
        bounded(async {
            let query = sqlx::query("select name, address, beat from mishards_nodes order by name");
            let rows = match query.fetch_all(&self.pool).await {
                Err(sqlx::Error::Database(e)) if number(&*e) == NO_SUCH_TABLE => return Ok(Vec::new()),
                rows => rows.map_err(fail)?,
            };
            let read = |row: &MySqlRow| {
                Ok(Heartbeat { name: row.try_get(0)?, address: row.try_get(1)?, beat: row.try_get(2)? })
            };
            rows.iter().map(read).collect::<std::result::Result<_, _>>().map_err(fail)
        })
        .await
    }

    async fn stop(&self, name: &str) -> Result<()> {
        bounded(async {
            let query = sqlx::query("delete from mishards_nodes where name = ?").bind(name);
            query.execute(&self.pool).await.map(drop).map_err(fail)
        })
        .await
    }

    async fn clear(&self) -> Result<()> {
        let query = sqlx::query("delete from mishards_nodes");
        bounded(async { query.execute(&self.pool).await.map(drop).map_err(fail) }).await
    }
}

#[async_trait]
impl Catalog for MySql {
    /// Each statement may be repeated, for DDL cannot be rolled back; what makes the catalog exist is the last
    /// transaction.
    async fn migrate(&self, cluster: &str) -> Result<()> {
        let tx = bounded(async {
            let mut tx = self.begin().await?;
            if cluster_id(&mut tx).await?.is_some() {
                return Ok(tx);
            }
            for sql in TABLES {
                tx.execute(sql).await.map_err(fail)?;
            }
            for kind in EntityKind::ALL {
                tx.execute(AssertSqlSafe(entity_table(kind.table()))).await.map_err(fail)?;
            }
            // DDL has ended the first transaction.
            drop(tx);
            let mut tx = self.begin().await?;
            let made = tx
                .execute("insert ignore into mishards_lease values (1, 0, 0, 0, 0, 0)")
                .await
                .map_err(fail)?;
            if made.rows_affected() == 1 {
                apply(&mut tx, &[Change::Put(default_database())], 0).await?;
            }
            let named =
                sqlx::query("insert ignore into mishards_meta values (1, ?, ?)").bind(FORMAT).bind(cluster);
            named.execute(&mut *tx).await.map_err(fail)?;
            Ok(tx)
        })
        .await?;
        commit(tx).await
    }

    async fn rename(&self, cluster: &str) -> Result<()> {
        bounded(async {
            let query = sqlx::query("update mishards_meta set cluster_id = ? where id = 1").bind(cluster);
            query.execute(&self.pool).await.map(drop).map_err(fail)
        })
        .await
    }

    async fn load(&self) -> Result<Option<Loaded>> {
        bounded(async {
            let mut tx = self.pool.begin_with(BEGIN_READ).await.map_err(fail)?;
            let Some(cluster_id) = cluster_id(&mut tx).await? else { return Ok(None) };
            let lease = read_lease(&mut tx, LEASE).await?;
            let snapshot = Snapshot::from_rows(lease.version, lease.epoch, read_rows(&mut tx).await?);
            Ok(Some(Loaded { cluster_id, lease, snapshot }))
        })
        .await
    }

    async fn lease(&self) -> Result<Lease> {
        bounded(async {
            let mut connection = self.pool.acquire().await.map_err(fail)?;
            read_lease(&mut connection, LEASE).await
        })
        .await
    }

    async fn take_over(&self, takeover: &Takeover) -> Result<Lease> {
        let (tx, lease) = bounded(async {
            let mut tx = self.begin().await?;
            let held = read_lease(&mut tx, LEASE_FOR_UPDATE).await?;
            if held != takeover.seen {
                return Err(fenced(held));
            }
            let lease = takeover.next_lease();
            apply(&mut tx, &takeover.all_changes(), lease.version.commit_seq).await?;
            let sql = "update mishards_lease set epoch = ?, incarnation = ?, counter = ?, commit_seq = ?, commit_id = ? where id = 1";
            let v = lease.version;
            let values = [lease.epoch.0, lease.incarnation.0, lease.counter, v.commit_seq, v.commit_id];
            let query = values.into_iter().fold(sqlx::query(sql), |query, value| query.bind(value));
            query.execute(&mut *tx).await.map_err(fail)?;
            Ok((tx, lease))
        })
        .await?;
        commit(tx).await?;
        Ok(lease)
    }

    async fn renew(&self, epoch: Epoch, incarnation: Incarnation) -> Result<Lease> {
        let (tx, lease) = bounded(async {
            let mut tx = self.begin().await?;
            let sql = "update mishards_lease set counter = counter + 1 where id = 1 and epoch = ? and incarnation = ?";
            let query = sqlx::query(sql).bind(epoch.0).bind(incarnation.0);
            let changed = query.execute(&mut *tx).await.map_err(fail)?.rows_affected();
            let lease = read_lease(&mut tx, LEASE).await?;
            if changed == 1 { Ok((tx, lease)) } else { Err(fenced(lease)) }
        })
        .await?;
        commit(tx).await?;
        Ok(lease)
    }

    async fn commit(&self, c: &Commit) -> Result<()> {
        let tx = bounded(async {
            let mut tx = self.begin().await?;
            // First, so that an old writer is told so, and not that its rows are in the way of newer ones; locked, so
            // that two writers wait for each other and do not deadlock.
            let held = read_lease(&mut tx, LEASE_FOR_UPDATE).await?;
            if (held.epoch, held.incarnation, held.version) != (c.epoch, c.incarnation, c.base) {
                return Err(fenced(held));
            }
            apply(&mut tx, &c.changes, c.next.commit_seq).await?;
            // It must change exactly one row.
            let sql = "update mishards_lease set commit_seq = ?, commit_id = ?
                       where id = 1 and epoch = ? and incarnation = ? and commit_seq = ? and commit_id = ?";
            let values = [
                c.next.commit_seq,
                c.next.commit_id,
                c.epoch.0,
                c.incarnation.0,
                c.base.commit_seq,
                c.base.commit_id,
            ];
            let query = values.into_iter().fold(sqlx::query(sql), |query, value| query.bind(value));
            match query.execute(&mut *tx).await.map_err(fail)?.rows_affected() {
                1 => Ok(tx),
                _ => Err(fenced(read_lease(&mut tx, LEASE_FOR_UPDATE).await?)),
            }
        })
        .await?;
        commit(tx).await
    }

    async fn outcome(&self, c: &Commit) -> Result<Outcome> {
        bounded(async {
            let mut tx = self.begin().await?;
            // Waits for a transaction of ours that the server has not given up yet.
            Ok(c.outcome_under(&read_lease(&mut tx, LEASE_FOR_UPDATE).await?))
        })
        .await
    }

    async fn purge(&self, removed_through: u64) -> Result<()> {
        for kind in EntityKind::ALL {
            bounded(async {
                let sql = format!("delete from {} where removed_at <= ?", kind.table());
                let query = sqlx::query(AssertSqlSafe(sql)).bind(removed_through);
                query.execute(&self.pool).await.map(drop).map_err(fail)
            })
            .await?;
        }
        Ok(())
    }
}

const TABLES: [&str; 3] = [
    "create table if not exists mishards_meta (
        id tinyint unsigned primary key, format int unsigned not null, cluster_id varchar(255) not null
     ) engine = InnoDB character set utf8mb4 collate utf8mb4_bin",
    "create table if not exists mishards_lease (
        id tinyint unsigned primary key, epoch bigint unsigned not null, incarnation bigint unsigned not null,
        counter bigint unsigned not null, commit_seq bigint unsigned not null, commit_id bigint unsigned not null
     ) engine = InnoDB character set utf8mb4 collate utf8mb4_bin",
    "create table if not exists mishards_nodes (
        name varchar(255) primary key, address varchar(255) not null, beat bigint unsigned not null
     ) engine = InnoDB character set utf8mb4 collate utf8mb4_bin",
];

/// Keys are ids, or a database and an alias: compared byte by byte.
fn entity_table(name: &str) -> String {
    format!(
        "create table if not exists {name} (
            id varchar(600) not null, added_at bigint unsigned not null, removed_at bigint unsigned,
            body longtext not null, primary key (id, added_at), key {name}_removed (removed_at)
         ) engine = InnoDB character set utf8mb4 collate utf8mb4_bin"
    )
}
