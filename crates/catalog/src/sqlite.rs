//! The catalog in one SQLite file: for one host. WAL mode, `synchronous = FULL`.

use crate::catalog::*;
use crate::heartbeats::*;
use crate::model::EntityKind;
use crate::snapshot::{Change, Row, Snapshot};
use crate::{Error, Kind, Result};
use async_trait::async_trait;
use mishards_types::{Epoch, Incarnation, Version};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const FORMAT: i64 = 1;
const WAL_TRIES: u32 = 250;
const WAL_PAUSE: Duration = Duration::from_millis(20);

/// See [`Catalog`].
#[derive(Clone)]
pub struct Sqlite {
    path: PathBuf,
    connection: Arc<Mutex<Connection>>,
}

fn fail(e: rusqlite::Error) -> Error {
    use rusqlite::{Error as E, ErrorCode::*};
    let kind = match (&e, e.sqlite_error_code()) {
        (_, Some(DatabaseCorrupt | NotADatabase)) => Kind::Corrupt,
        (_, Some(ConstraintViolation)) => Kind::Refused,
        // A row that must be there is not, or holds something else than was written.
        (E::QueryReturnedNoRows | E::FromSqlConversionFailure(..) | E::InvalidColumnType(..), _) => {
            Kind::Corrupt
        }
        (E::IntegralValueOutOfRange(..) | E::Utf8Error(..), _) => Kind::Corrupt,
        _ => Kind::Unavailable,
    };
    Error::new(kind, format!("sqlite: {e}"))
}

fn corrupt(e: serde_json::Error) -> Error {
    Error::new(Kind::Corrupt, format!("sqlite: a row cannot be read: {e}"))
}

impl Sqlite {
    /// Opens the file, making it when it is not there.
    pub fn open(path: &Path) -> Result<Sqlite> {
        let connection = Connection::open(path).map_err(fail)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(fail)?;
        use_wal(&connection)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(fail)?;
        Ok(Sqlite { path: path.to_owned(), connection: Arc::new(Mutex::new(connection)) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work`, which writes, in one transaction on a thread that may block.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run_as(TransactionBehavior::Immediate, work).await
    }

    /// Runs `work`, which reads at one point in time. It waits for nobody who writes, and nobody waits for it.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run_as(TransactionBehavior::Deferred, work).await
    }

    async fn run_as<T: Send + 'static>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let connection = Arc::clone(&self.connection);
        let task = move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let tx = connection.transaction_with_behavior(behavior).map_err(fail)?;
            let out = work(&tx)?;
            // A failed COMMIT may have reached the disk: the caller settles it by reading the commit id.
            tx.commit().map_err(|e| Error::new(Kind::UnknownOutcome, format!("sqlite: commit: {e}")))?;
            Ok(out)
        };
        tokio::task::spawn_blocking(task)
            .await
            .map_err(|e| Error::new(Kind::UnknownOutcome, format!("sqlite: {e}")))?
    }
}

/// SQLite does not wait for others when the mode changes: of several processes that make the file, one does it.
fn use_wal(connection: &Connection) -> Result<()> {
    let mut tries = 0;
    loop {
        tries += 1;
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(e)
                if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) && tries < WAL_TRIES =>
            {
                std::thread::sleep(WAL_PAUSE);
            }
            done => return done.map_err(fail),
        }
    }
}

fn read_lease(tx: &Transaction) -> Result<Lease> {
    let sql = "select epoch, incarnation, counter, commit_seq, commit_id from mishards_lease where id = 1";
    tx.query_row(sql, [], |row| {
        let int = |i| row.get::<_, i64>(i).map(|v| v as u64);
        Ok(Lease {
            epoch: Epoch(int(0)?),
            incarnation: Incarnation(int(1)?),
            counter: int(2)?,
            version: Version { commit_seq: int(3)?, commit_id: int(4)? },
        })
    })
    .map_err(fail)
}

fn fenced(tx: &Transaction) -> Error {
    match read_lease(tx) {
        Ok(l) => Error::new(
            Kind::Fenced,
            format!("the lease is held by epoch {} incarnation {} at {}", l.epoch, l.incarnation, l.version),
        ),
        Err(e) => e,
    }
}

fn apply(tx: &Transaction, changes: &[Change], at: u64) -> Result<()> {
    let run = |sql: String, key: &str| {
        tx.prepare_cached(&sql).and_then(|mut s| s.execute(params![at as i64, key])).map(drop).map_err(fail)
    };
    let retire = |kind: EntityKind, key: &str| {
        let table = kind.table();
        // A version that this transaction itself has added was never visible.
        run(format!("delete from {table} where added_at = ?1 and id = ?2 and removed_at is null"), key)?;
        run(format!("update {table} set removed_at = ?1 where id = ?2 and removed_at is null"), key)
    };
    for change in changes {
        match change {
            Change::Remove(kind, key) => retire(*kind, key)?,
            Change::Put(entity) => {
                retire(entity.kind(), &entity.key())?;
                let sql =
                    format!("insert into {} (id, added_at, body) values (?1, ?2, ?3)", entity.kind().table());
                let body = serde_json::to_string(entity).map_err(corrupt)?;
                tx.prepare_cached(&sql)
                    .and_then(|mut s| s.execute(params![entity.key(), at as i64, body]))
                    .map_err(fail)?;
            }
        }
    }
    Ok(())
}

fn read_rows(tx: &Transaction) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for kind in EntityKind::ALL {
        let sql = format!("select added_at, removed_at, body from {}", kind.table());
        let mut statement = tx.prepare(&sql).map_err(fail)?;
        let mut found = statement.query([]).map_err(fail)?;
        while let Some(row) = found.next().map_err(fail)? {
            let body: String = row.get(2).map_err(fail)?;
            rows.push(Row {
                added_at: row.get::<_, i64>(0).map_err(fail)? as u64,
                removed_at: row.get::<_, Option<i64>>(1).map_err(fail)?.map(|v| v as u64),
                entity: serde_json::from_str(&body).map_err(corrupt)?,
            });
        }
    }
    Ok(rows)
}

fn cluster_id(tx: &Transaction) -> Result<Option<String>> {
    let exists: Option<i64> = tx
        .query_row("select 1 from sqlite_master where name = 'mishards_meta'", [], |r| r.get(0))
        .optional()
        .map_err(fail)?;
    if exists.is_none() {
        return Ok(None);
    }
    let (format, id): (i64, String) = tx
        .query_row("select format, cluster_id from mishards_meta", [], |r| Ok((r.get(0)?, r.get(1)?)))
        .map_err(fail)?;
    if format > FORMAT {
        return Err(Error::new(
            Kind::NewerFormat,
            format!(
                "sqlite: the catalog has format {format}, this version reads up to {FORMAT}: use a newer mishards"
            ),
        ));
    }
    Ok(Some(id))
}

const HEARTBEATS: &str =
    "create table if not exists mishards_nodes (name text primary key, address text not null,
    beat integer not null)";

#[async_trait]
impl Heartbeats for Sqlite {
    async fn beat(&self, name: &str, address: &str) -> Result<u64> {
        let (name, address) = (name.to_owned(), address.to_owned());
        self.run(move |tx| {
            let sql = "insert into mishards_nodes values (?1, ?2, 1)
                       on conflict (name) do update set address = ?2, beat = beat + 1 returning beat";
            tx.query_row(sql, params![name, address], |r| r.get::<_, i64>(0)).map(|b| b as u64).map_err(fail)
        })
        .await
    }

    async fn heartbeats(&self) -> Result<Vec<Heartbeat>> {
        self.read(|tx| {
            if cluster_id(tx)?.is_none() {
                return Ok(Vec::new());
            }
            let mut statement =
                tx.prepare("select name, address, beat from mishards_nodes order by name").map_err(fail)?;
            let row = |r: &rusqlite::Row| {
                Ok(Heartbeat { name: r.get(0)?, address: r.get(1)?, beat: r.get::<_, i64>(2)? as u64 })
            };
            statement.query_map([], row).and_then(Iterator::collect).map_err(fail)
        })
        .await
    }

    async fn stop(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.run(move |tx| {
            tx.execute("delete from mishards_nodes where name = ?1", [name]).map(drop).map_err(fail)
        })
        .await
    }

    async fn clear(&self) -> Result<()> {
        self.run(|tx| tx.execute("delete from mishards_nodes", []).map(drop).map_err(fail)).await
    }
}

#[async_trait]
impl Catalog for Sqlite {
    async fn migrate(&self, cluster: &str) -> Result<()> {
        let cluster = cluster.to_owned();
        self.run(move |tx| {
            // Came later than the first tables.
            tx.execute_batch(HEARTBEATS).map_err(fail)?;
            if cluster_id(tx)?.is_some() {
                return Ok(());
            }
            tx.execute_batch(
                "create table mishards_meta (format integer not null, cluster_id text not null);
                 create table mishards_lease (id integer primary key, epoch integer not null, incarnation integer not null,
                     counter integer not null, commit_seq integer not null, commit_id integer not null);
                 insert into mishards_lease values (1, 0, 0, 0, 0, 0);",
            )
            .map_err(fail)?;
            tx.execute("insert into mishards_meta values (?1, ?2)", params![FORMAT, cluster]).map_err(fail)?;
            for kind in EntityKind::ALL {
                let table = kind.table();
                tx.execute_batch(&format!(
                    "create table {table} (id text not null, added_at integer not null, removed_at integer, body text not null,
                         primary key (id, added_at));
                     create index {table}_removed on {table} (removed_at);"
                ))
                .map_err(fail)?;
            }
            apply(tx, &[Change::Put(default_database())], 0)
        })
        .await
    }

    async fn rename(&self, cluster: &str) -> Result<()> {
        let cluster = cluster.to_owned();
        self.run(move |tx| {
            tx.execute("update mishards_meta set cluster_id = ?1", [cluster]).map(drop).map_err(fail)
        })
        .await
    }

    async fn load(&self) -> Result<Option<Loaded>> {
        self.read(|tx| {
            let Some(cluster_id) = cluster_id(tx)? else {
                return Ok(None);
            };
            let lease = read_lease(tx)?;
            let snapshot = Snapshot::from_rows(lease.version, lease.epoch, read_rows(tx)?);
            Ok(Some(Loaded { cluster_id, lease, snapshot }))
        })
        .await
    }

    async fn lease(&self) -> Result<Lease> {
        self.read(read_lease).await
    }

    async fn take_over(&self, takeover: &Takeover) -> Result<Lease> {
        let takeover = takeover.clone();
        self.run(move |tx| {
            if read_lease(tx)? != takeover.seen {
                return Err(fenced(tx));
            }
            let lease = takeover.next_lease();
            apply(tx, &takeover.all_changes(), lease.version.commit_seq)?;
            let sql = "update mishards_lease set epoch = ?1, incarnation = ?2, counter = ?3, commit_seq = ?4, commit_id = ?5 where id = 1";
            let v = lease.version;
            let values = params![lease.epoch.0 as i64, lease.incarnation.0 as i64, lease.counter as i64, v.commit_seq as i64, v.commit_id as i64];
            tx.execute(sql, values).map_err(fail)?;
            Ok(lease)
        })
        .await
    }

    async fn renew(&self, epoch: Epoch, incarnation: Incarnation) -> Result<Lease> {
        self.run(move |tx| {
            let sql = "update mishards_lease set counter = counter + 1 where id = 1 and epoch = ?1 and incarnation = ?2";
            match tx.execute(sql, params![epoch.0 as i64, incarnation.0 as i64]).map_err(fail)? {
                1 => read_lease(tx),
                _ => Err(fenced(tx)),
            }
        })
        .await
    }

    async fn commit(&self, commit: &Commit) -> Result<()> {
        let c = commit.clone();
        self.run(move |tx| {
            // First, so that an old writer is told so, and not that its rows are in the way of newer ones.
            let held = read_lease(tx)?;
            if (held.epoch, held.incarnation, held.version) != (c.epoch, c.incarnation, c.base) {
                return Err(fenced(tx));
            }
            apply(tx, &c.changes, c.next.commit_seq)?;
            // It must change exactly one row.
            let sql = "update mishards_lease set commit_seq = ?1, commit_id = ?2
                       where id = 1 and epoch = ?3 and incarnation = ?4 and commit_seq = ?5 and commit_id = ?6";
            let values = [c.next.commit_seq, c.next.commit_id, c.epoch.0, c.incarnation.0, c.base.commit_seq, c.base.commit_id];
            match tx.execute(sql, rusqlite::params_from_iter(values.map(|v| v as i64))).map_err(fail)? {
                1 => Ok(()),
                _ => Err(fenced(tx)),
            }
        })
        .await
    }

    async fn outcome(&self, commit: &Commit) -> Result<Outcome> {
        let commit = commit.clone();
        self.run(move |tx| Ok(commit.outcome_under(&read_lease(tx)?))).await
    }

    async fn purge(&self, removed_through: u64) -> Result<()> {
        self.run(move |tx| {
            for kind in EntityKind::ALL {
                let sql = format!("delete from {} where removed_at <= ?1", kind.table());
                tx.execute(&sql, params![removed_through as i64]).map_err(fail)?;
            }
            Ok(())
        })
        .await
    }
}
