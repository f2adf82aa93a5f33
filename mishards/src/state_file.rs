//! Files of this host, each with a checksum, where a router keeps what it was last told over a restart.

use mishards_router::StateFile;
use mishards_storage::{LocalDir, Storage};
use mishards_types::checksum;
use std::sync::Arc;

/// A file in a directory; `None` when no directory is set.
pub fn open(dir: &str, name: &'static str) -> Result<Option<Arc<dyn StateFile>>, String> {
    if dir.is_empty() {
        return Ok(None);
    }
    let dir = LocalDir::open(dir).map_err(|e| format!("server.state_dir: {e}"))?;
    Ok(Some(Arc::new(InDir { dir, name })))
}

struct InDir {
    dir: LocalDir,
    name: &'static str,
}

impl StateFile for InDir {
    fn read(&self) -> Option<Vec<u8>> {
        let bytes = self.dir.read(self.name).ok()?;
        let (sum, body) = bytes.split_at_checked(8)?;
        if sum != checksum(body).to_le_bytes() {
            tracing::warn!(file = self.name, "a file in server.state_dir is damaged, it is left out");
            return None;
        }
        Some(body.to_vec())
    }

    fn write(&self, bytes: &[u8]) -> Result<(), String> {
        let mut out = checksum(bytes).to_le_bytes().to_vec();
        out.extend_from_slice(bytes);
        self.dir.replace(self.name, &out).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back_and_damage_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_string_lossy().into_owned();
        assert!(open("", "x").unwrap().is_none());
        let file = open(&path, "x").unwrap().unwrap();
        assert!(file.read().is_none());
        file.write(b"one").unwrap();
        file.write(b"two").unwrap();
        assert_eq!(open(&path, "x").unwrap().unwrap().read().unwrap(), b"two");
        LocalDir::open(&path).unwrap().replace("x", b"12345678two").unwrap();
        assert!(file.read().is_none());
    }
}
