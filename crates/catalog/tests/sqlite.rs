//! The SQLite file: it survives reopening, and a file that is damaged, foreign or newer is refused with an error.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sample;

use mishards_catalog::*;
use sample::*;
use std::path::Path;

async fn filled(path: &Path) -> Snapshot {
    let catalog = Sqlite::open(path).unwrap();
    catalog.migrate("cluster").await.unwrap();
    let mut holder = Holder::elect(&catalog, 1).await;
    for changes in history() {
        holder.send(&catalog, changes).await;
    }
    snapshot(&catalog).await
}

/// Opens and reads it, as a start does.
async fn read(path: &Path) -> Result<Option<Loaded>> {
    let catalog = Sqlite::open(path)?;
    catalog.lease().await?;
    catalog.load().await
}

#[tokio::test]
async fn a_reopened_file_holds_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    let before = filled(&path).await;
    let after = read(&path).await.unwrap().unwrap();
    assert_eq!(rows(&before), rows(&after.snapshot));
    assert_eq!((after.cluster_id.as_str(), after.snapshot.version), ("cluster", before.version));
    assert_eq!(after.lease.incarnation, log(1).incarnation, "64 bits survive");
    let catalog = Sqlite::open(&path).unwrap();
    assert_eq!(catalog.path(), path);
    let mut holder = Holder { lease: after.lease, version: after.lease.version };
    holder.send(&catalog, vec![put_collection(collection(40, "later"))]).await;
    assert_eq!(snapshot(&catalog).await.collections().count(), 2);
}

#[tokio::test]
async fn a_newer_format_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    filled(&path).await;
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute("update mishards_meta set format = 2", []).unwrap();
    let catalog = Sqlite::open(&path).unwrap();
    for error in [catalog.load().await.map(drop).unwrap_err(), catalog.migrate("x").await.unwrap_err()] {
        assert_eq!(error.kind, Kind::NewerFormat);
        assert!(error.message.contains("format 2") && !error.is_retryable(), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (i, bytes) in
        [vec![b'x'; 5_000], b"SQLite format 3\0".repeat(400), vec![0xff; 100]].into_iter().enumerate()
    {
        let path = dir.path().join(format!("garbage{i}"));
        std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), &bytes).unwrap();
        let error = match Sqlite::open(&path) {
            Ok(catalog) => catalog.migrate("cluster").await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind, Kind::Corrupt, "{i}: {error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{i}: it is left as it is");
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named_as_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    filled(&path).await;
    let raw = rusqlite::Connection::open(&path).unwrap();
    for body in ["", "{", "{\"collection\":{}}", "{\"strange\":1}", "null"] {
        raw.execute("update mishards_segments set body = ?1", [body]).unwrap();
        assert_eq!(read(&path).await.unwrap_err().kind, Kind::Corrupt, "{body}");
    }
    raw.execute("update mishards_segments set body = x'00ff'", []).unwrap();
    assert_eq!(read(&path).await.unwrap_err().kind, Kind::Corrupt);
}

#[tokio::test]
async fn tables_without_their_row_are_damage() {
    for table in ["mishards_meta", "mishards_lease"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.db");
        filled(&path).await;
        rusqlite::Connection::open(&path).unwrap().execute(&format!("delete from {table}"), []).unwrap();
        assert_eq!(read(&path).await.unwrap_err().kind, Kind::Corrupt, "{table}");
    }
}

/// Bytes changed anywhere: an error or an answer, never a panic.
#[tokio::test]
async fn a_damaged_file_never_panics() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    filled(&path).await;
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())).unwrap();
    drop(raw);
    let bytes = std::fs::read(&path).unwrap();
    let (mut refused, mut at) = (0, 1);
    for round in 0..200usize {
        let damaged = dir.path().join(format!("damaged{round}"));
        let mut copy = bytes.clone();
        for i in 0..16 {
            at = (at * 48_271) % 2_147_483_647;
            let place = at % copy.len();
            copy[place] ^= 1 << (i % 8);
        }
        if round % 10 == 0 {
            copy.truncate(at % bytes.len());
        }
        std::io::Write::write_all(&mut std::fs::File::create(&damaged).unwrap(), &copy).unwrap();
        refused += usize::from(read(&damaged).await.is_err());
    }
    assert!(refused > 20, "{refused}");
}

/// Another process writes, and takes its time: reads see what was there before, and do not wait.
#[tokio::test]
async fn reads_do_not_wait_for_a_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    let before = filled(&path).await;
    let catalog = Sqlite::open(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("begin immediate; delete from mishards_meta").unwrap();
    let reads = async {
        let lease = catalog.lease().await.unwrap();
        assert_eq!(lease.version, before.version);
        assert_eq!(rows(&catalog.load().await.unwrap().unwrap().snapshot), rows(&before));
        catalog.heartbeats().await.unwrap();
    };
    // A writer is waited for up to 5 s.
    tokio::time::timeout(std::time::Duration::from_secs(2), reads).await.unwrap();
    other.execute_batch("rollback").unwrap();
}
