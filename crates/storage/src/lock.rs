//! A lock on a data directory: proof that no other process of this host owns it. The file names the terms of the writer
//! that held it last, so that whoever gets the lock knows of whom it is the proof.

use crate::{Error, Kind, Result};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

/// Held until dropped; the operating system frees it when the process dies.
#[derive(Debug)]
pub struct DirLock {
    file: File,
    name: String,
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
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| Error::io("open", &name, e))?;
        match file.try_lock() {
            Ok(()) => Ok(DirLock { file, name: name.into_owned() }),
            Err(std::fs::TryLockError::WouldBlock) => Err(Error::of(
                Kind::Locked,
                "lock",
                &name,
                "another mishards process is using this directory; stop it, or give this one another --data-dir",
            )),
            Err(std::fs::TryLockError::Error(e)) => Err(Error::io("lock", &name, e)),
        }
    }

    /// The terms of the writer that held the lock last, and of the one that it took over from.
    pub fn terms(&self) -> Result<Vec<u64>> {
        let mut text = String::new();
        let mut file = &self.file;
        file.rewind()
            .and_then(|()| file.take(4096).read_to_string(&mut text))
            .map_err(|e| Error::io("read", &self.name, e))?;
        Ok(text.split_whitespace().filter_map(|word| word.parse().ok()).collect())
    }

    /// Says which terms are, or may be, this process's own.
    pub fn note_terms(&self, terms: &[u64]) -> Result<()> {
        let text = terms.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        let mut file = &self.file;
        let mut write = || {
            file.rewind()?;
            file.set_len(0)?;
            file.write_all(text.as_bytes())?;
            file.sync_data()
        };
        write().map_err(|e| Error::io("write", &self.name, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_outlive_their_writer() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::acquire(dir.path()).unwrap();
        assert!(lock.terms().unwrap().is_empty());
        lock.note_terms(&[17, 4]).unwrap();
        lock.note_terms(&[5, 6]).unwrap();
        assert_eq!(DirLock::acquire(dir.path()).unwrap_err().kind, Kind::Locked);
        drop(lock);
        assert_eq!(DirLock::acquire(dir.path()).unwrap().terms().unwrap(), [5, 6]);
    }
}
