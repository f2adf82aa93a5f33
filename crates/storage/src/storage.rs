//! The contract of the shared directory.

use crate::{Error, Kind, Result};
use bytes::Bytes;
use std::path::{Component, Path};

/// A directory that all nodes see. Calls block: run them on an I/O thread, never on an async worker.
///
/// Paths are relative, `/`-separated, without `.` or `..`. Parents are made as needed. When a call that
/// makes a file durable has returned `Ok`, the bytes and every directory entry on the way are on stable
/// storage. Every read opens the file anew.
pub trait Storage: Send + Sync + 'static {
    /// Writes a new file from `parts`, durably. Fails with [`Kind::Exists`] if the name was used.
    fn put(&self, path: &str, parts: &[&[u8]]) -> Result<()> {
        let mut sink = self.create(path)?;
        for part in parts {
            sink.write(part)?;
        }
        sink.sync()
    }

    /// Opens a new, empty file for appending; its directory entry is durable on return.
    fn create(&self, path: &str) -> Result<Box<dyn Sink>>;

    /// Writes a whole small file over whatever stands there: all of it or nothing. Only for markers and fences, which are
    /// read while their owner lives.
    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()>;

    /// The whole file, read anew.
    fn read(&self, path: &str) -> Result<Bytes>;

    /// The whole file as bytes that may be mapped; the file must never change. Aligned to at least 64 bytes.
    fn map(&self, path: &str) -> Result<Bytes>;

    /// The files below a directory, at any depth, sorted by name (relative to it); empty if there is no such directory.
    fn list(&self, dir: &str) -> Result<Vec<Entry>>;

    /// Removes a file, and the directories that it leaves empty; removing one that is not there is not an error.
    fn remove(&self, path: &str) -> Result<()>;

    /// How much room the file system has; nothing where that is not known.
    fn space(&self) -> Result<Option<Space>> {
        Ok(None)
    }

    /// Forgets the local copy of a file whose bytes turned out to be damaged; false when there is none, so that the
    /// damage is the file's own.
    fn discard_copy(&self, _path: &str) -> Result<bool> {
        Ok(false)
    }
}

/// Room of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Can still be written.
    pub free: u64,
    pub total: u64,
}

/// A file that is being written.
pub trait Sink: Send {
    /// Appends bytes; they may stay in memory until [`Sink::sync`].
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// Returns when everything written is on stable storage. After an error the file must be given up: what
    /// is on disk is unknown, and a second sync could say `Ok` for pages that were dropped.
    fn sync(&mut self) -> Result<()>;
    /// Takes back what was written behind the first `bytes` bytes and never synced, as after a write for which there was no
    /// room.
    fn cut(&mut self, bytes: u64) -> Result<()>;
}

/// One file in a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub name: String,
    pub bytes: u64,
}

/// Refuses names that are empty or leave the directory.
pub(crate) fn check_path(op: &'static str, path: &str) -> Result<()> {
    let fine = !path.is_empty()
        && !path.contains('\0')
        && Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
    if fine {
        Ok(())
    } else {
        Err(Error::of(Kind::BadName, op, path, "not a relative path below the directory"))
    }
}
