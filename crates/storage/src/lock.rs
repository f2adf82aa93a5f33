//! A lock on a data directory: proof that no other process of this host owns it.

use crate::{Error, Kind, Result};
use std::fs::{File, OpenOptions};
use std::path::Path;

/// Held until dropped; the operating system frees it when the process dies.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes the lock, or says at once that another process has it.
    pub fn acquire(dir: &Path) -> Result<DirLock> {
        let path = dir.join("LOCK");
        let name = path.to_string_lossy();
        std::fs::create_dir_all(dir).map_err(|e| Error::io("create directory", &name, e))?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| Error::io("open", &name, e))?;
        match file.try_lock() {
            Ok(()) => Ok(DirLock { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) => Err(Error::of(
                Kind::Locked,
                "lock",
                &name,
                "another mishards process is using this directory; stop it, or give this one another --data-dir",
            )),
            Err(std::fs::TryLockError::Error(e)) => Err(Error::io("lock", &name, e)),
        }
    }
}
