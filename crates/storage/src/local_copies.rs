//! A shared directory on a network file system: what is to be mapped is copied to a local file system first, for a
//! file that another client unlinks under a map would end this process by SIGBUS. Copies are kept up to a limit, the
//! least recently used go first, and they outlive a restart. Whoever maps a file compares it with its checksums; a
//! copy that fails there is discarded and made once more before the file itself is blamed.

use crate::{DirLock, Entry, Kind, LocalDir, Result, Sink, Space, Storage};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

const DIR: &str = "copies";

/// Copies by last use.
#[derive(Default)]
struct Copies {
    /// Bytes and last use of each.
    files: HashMap<String, (u64, u64)>,
    by_use: BTreeMap<u64, String>,
    bytes: u64,
    uses: u64,
}

impl Copies {
    fn remove(&mut self, path: &str) -> bool {
        let Some((bytes, used)) = self.files.remove(path) else { return false };
        self.by_use.remove(&used);
        self.bytes -= bytes;
        true
    }

    fn put(&mut self, path: &str, bytes: u64) {
        self.remove(path);
        self.uses += 1;
        self.files.insert(path.to_owned(), (bytes, self.uses));
        self.by_use.insert(self.uses, path.to_owned());
        self.bytes += bytes;
    }

    /// What has to go, so that the rest is within `limit`; never `kept`.
    fn over(&mut self, limit: u64, kept: &str) -> Vec<String> {
        let mut gone = Vec::new();
        while self.bytes > limit
            && let Some(oldest) = self.by_use.values().find(|path| *path != kept).cloned()
        {
            self.remove(&oldest);
            gone.push(oldest);
        }
        gone
    }
}

/// See the file's head.
pub struct LocalCopies {
    shared: LocalDir,
    local: LocalDir,
    limit: u64,
    copies: Mutex<Copies>,
    _alone: DirLock,
}

impl LocalCopies {
    /// Keeps copies of files of `shared` in `local`, at most `limit` bytes (and the file that was asked for last);
    /// without a limit, four fifths of what is free now. Only one process may use `local`.
    pub fn open(shared: LocalDir, local: LocalDir, limit: Option<u64>) -> Result<LocalCopies> {
        let alone = DirLock::acquire(local.root())?;
        let mut copies = Copies::default();
        for Entry { name, bytes } in local.list(DIR)? {
            // What a process that died had not finished.
            match name.ends_with(".new") {
                true => local.remove(&copy_of(&name))?,
                false => copies.put(&name, bytes),
            }
        }
        let limit = match limit {
            Some(limit) => limit,
            None => (local.room()?.free + copies.bytes) / 5 * 4,
        };
        Ok(LocalCopies { shared, local, limit, copies: Mutex::new(copies), _alone: alone })
    }

    fn lock(&self) -> MutexGuard<'_, Copies> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_use(&self, path: &str, bytes: u64) {
        let gone = {
            let mut copies = self.lock();
            copies.put(path, bytes);
            copies.over(self.limit, path)
        };
        self.remove_all(&gone);
    }

    /// One that is mapped stays readable through its map. One that cannot be removed is found again at the next start.
    fn remove_all(&self, gone: &[String]) {
        gone.iter().for_each(|path| drop(self.local.remove(&copy_of(path))));
    }

    /// Copies a file. When that fails, for want of space say, it is tried once more with half of the copies gone.
    fn copy(&self, path: &str) -> Result<u64> {
        let copy = || self.local.copy_from(&self.shared, path, &copy_of(path));
        copy().or_else(|e| {
            if e.kind == Kind::NotFound {
                return Err(e);
            }
            let gone = {
                let mut copies = self.lock();
                let half = copies.bytes / 2;
                copies.over(half, path)
            };
            self.remove_all(&gone);
            copy()
        })
    }
}

fn copy_of(path: &str) -> String {
    format!("{DIR}/{path}")
}

impl Storage for LocalCopies {
    fn space(&self) -> Result<Option<Space>> {
        self.shared.space()
    }

    fn create(&self, path: &str) -> Result<Box<dyn Sink>> {
        self.shared.create(path)
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.shared.replace(path, bytes)
    }

    fn read(&self, path: &str) -> Result<Bytes> {
        self.shared.read(path)
    }

    fn map(&self, path: &str) -> Result<Bytes> {
        if self.lock().files.contains_key(path) {
            match self.local.map(&copy_of(path)) {
                Ok(map) => {
                    self.note_use(path, map.len() as u64);
                    return Ok(map);
                }
                Err(e) if e.kind == Kind::NotFound => drop(self.lock().remove(path)),
                Err(e) => return Err(e),
            }
        }
        let bytes = self.copy(path)?;
        let map = self.local.map(&copy_of(path))?;
        self.note_use(path, bytes);
        Ok(map)
    }

    fn list(&self, dir: &str) -> Result<Vec<Entry>> {
        self.shared.list(dir)
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.discard_copy(path)?;
        self.shared.remove(path)
    }

    fn discard_copy(&self, path: &str) -> Result<bool> {
        let was_there = self.lock().remove(path);
        if was_there {
            self.local.remove(&copy_of(path))?;
        }
        Ok(was_there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dirs {
        shared: tempfile::TempDir,
        local: tempfile::TempDir,
    }

    impl Dirs {
        fn new() -> Dirs {
            Dirs { shared: tempfile::tempdir().unwrap(), local: tempfile::tempdir().unwrap() }
        }

        fn open(&self, limit: u64) -> LocalCopies {
            let dir = |d: &tempfile::TempDir| LocalDir::open(d.path()).unwrap();
            LocalCopies::open(dir(&self.shared), dir(&self.local), Some(limit)).unwrap()
        }

        /// Names of the copies that are there.
        fn copies(&self) -> Vec<String> {
            let entries = LocalDir::open(self.local.path()).unwrap().list(DIR).unwrap();
            entries.into_iter().map(|e| e.name).collect()
        }
    }

    #[test]
    fn a_file_is_copied_once_also_over_a_restart() {
        let dirs = Dirs::new();
        let s = dirs.open(1 << 20);
        s.put("a/b", &[b"hello"]).unwrap();
        assert_eq!(&s.map("a/b").unwrap()[..], b"hello");
        assert_eq!(dirs.copies(), ["a/b"]);
        LocalDir::open(dirs.shared.path()).unwrap().remove("a/b").unwrap();
        assert_eq!(&s.map("a/b").unwrap()[..], b"hello", "from the copy");
        drop(s);
        let s = dirs.open(1 << 20);
        assert_eq!(&s.map("a/b").unwrap()[..], b"hello", "from the copy of another start");
        assert_eq!(s.map("a/c").unwrap_err().kind, Kind::NotFound);
    }

    #[test]
    fn two_processes_do_not_share_copies() {
        let dirs = Dirs::new();
        let _one = dirs.open(1 << 20);
        let dir = |d: &tempfile::TempDir| LocalDir::open(d.path()).unwrap();
        let two = LocalCopies::open(dir(&dirs.shared), dir(&dirs.local), None);
        assert_eq!(two.err().unwrap().kind, Kind::Locked);
    }

    #[test]
    fn the_least_recently_used_go_first_and_their_maps_stay() {
        let dirs = Dirs::new();
        let s = dirs.open(250);
        for name in ["1", "2", "3"] {
            s.put(name, &[&[name.as_bytes()[0]; 100]]).unwrap();
        }
        let one = s.map("1").unwrap();
        s.map("2").unwrap();
        s.map("1").unwrap();
        s.map("3").unwrap();
        assert_eq!(dirs.copies(), ["1", "3"]);
        s.map("2").unwrap();
        assert_eq!(dirs.copies(), ["2", "3"]);
        assert_eq!(&one[..], &[b'1'; 100]);
        drop(s);
        assert_eq!(dirs.open(150).copies().1, 200, "found again");
    }

    #[test]
    fn a_discarded_copy_is_made_again_and_a_removed_file_has_none() {
        let dirs = Dirs::new();
        let s = dirs.open(1 << 20);
        s.put("x", &[b"whole"]).unwrap();
        s.map("x").unwrap();
        LocalDir::open(dirs.local.path()).unwrap().replace("copies/x", b"rot").unwrap();
        assert_eq!(&s.map("x").unwrap()[..], b"rot");
        assert!(s.discard_copy("x").unwrap() && !s.discard_copy("x").unwrap());
        assert_eq!(&s.map("x").unwrap()[..], b"whole");
        s.remove("x").unwrap();
        assert!(dirs.copies().is_empty());
    }

    impl LocalCopies {
        fn copies(&self) -> (usize, u64) {
            let copies = self.lock();
            (copies.files.len(), copies.bytes)
        }
    }
}
