//! A directory of the local file system (or a mounted network file system).

use crate::descriptors;
use crate::storage::check_path;
use crate::{Entry, Error, Kind, Result, Sink, Space, Storage};
use bytes::Bytes;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

/// File systems of one host, where a lock on a file says which processes live (`statfs` magic numbers, linux/magic.h):
/// ext2 to ext4, XFS, Btrfs, ZFS, F2FS, tmpfs, ramfs, overlayfs.
const LOCAL_FS: [u32; 8] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0x2fc1_2fc1, 0xf2f5_2010, 0x0102_1994, 0x8584_58f6, 0x794c_7630];

/// Directories to remember; beyond it they are made durable again.
const KNOWN_DIRECTORIES: usize = 4096;

/// Numbers the temporary files of this process.
static REPLACED: AtomicU64 = AtomicU64::new(0);

/// Tries to make a file below directories that other processes remove when they are empty.
const CREATE_TRIES: usize = 5;

/// See [`Storage`].
pub struct LocalDir {
    root: PathBuf,
    /// Directories whose entries up to the root this process has made durable.
    durable: Mutex<HashSet<PathBuf>>,
    /// Held shared while a file and the directories above it are made, alone while empty directories are removed.
    emptying: RwLock<()>,
}

impl LocalDir {
    /// Opens `root`, making it when it is not there.
    pub fn open(root: impl Into<PathBuf>) -> Result<LocalDir> {
        let root = root.into();
        let name = root.to_string_lossy().into_owned();
        let fail = |e| Error::io("create directory", &name, e);
        fs::create_dir_all(&root).map_err(fail)?;
        let root = root.canonicalize().map_err(fail)?;
        if let Some(parent) = root.parent() {
            sync_dir(&name, parent)?;
        }
        descriptors::keep();
        Ok(LocalDir { root, durable: Mutex::default(), emptying: RwLock::default() })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the directory is on a local file system, so that a lock held by a process proves which
    /// processes live. Unknown counts as not local.
    #[allow(clippy::unnecessary_cast, reason = "the type of f_type differs from platform to platform")]
    pub fn is_local(&self) -> bool {
        let Ok(path) = std::ffi::CString::new(self.root.as_os_str().as_encoded_bytes()) else {
            return false;
        };
        let mut stat = std::mem::MaybeUninit::<libc::statfs>::zeroed();
        // SAFETY: `path` is a NUL-terminated string and `stat` a writable statfs that outlives the call.
        let rc = unsafe { libc::statfs(path.as_ptr(), stat.as_mut_ptr()) };
        // SAFETY: zeroed is a valid statfs, whatever the call wrote.
        rc == 0 && LOCAL_FS.contains(&(unsafe { stat.assume_init() }.f_type as u32))
    }

    fn full(&self, op: &'static str, path: &str) -> Result<PathBuf> {
        check_path(op, path)?;
        Ok(self.root.join(path))
    }

    /// Makes the parents of `full`, and every entry on the way durable: also those of directories that are there
    /// already, whose maker may have died before its fsync.
    fn make_parents(&self, path: &str, full: &Path) -> Result<()> {
        let parent = full.parent().unwrap_or(&self.root);
        if parent == self.root || self.known().contains(parent) {
            return Ok(());
        }
        fs::create_dir_all(parent).map_err(|e| Error::io("create directory", path, e))?;
        let below_root = parent.ancestors().take_while(|dir| *dir != self.root);
        for dir in below_root {
            sync_dir(path, dir.parent().unwrap_or(&self.root))?;
        }
        let mut known = self.known();
        if known.len() >= KNOWN_DIRECTORIES {
            known.clear();
        }
        known.insert(parent.to_owned());
        Ok(())
    }

    /// Writes a whole file, all of it or nothing, over whatever stands there.
    fn replace_with(
        &self,
        op: &'static str,
        path: &str,
        fill: impl FnOnce(&mut File) -> std::io::Result<()>,
    ) -> Result<()> {
        let full = self.full(op, path)?;
        // Two at a time must not share a file: one would empty what the other has just put in place.
        let mut temporary = full.clone().into_os_string();
        let number = REPLACED.fetch_add(1, Ordering::Relaxed);
        temporary.push(format!(".{}-{number}.new", std::process::id()));
        let mut file = self.make(path, &full, || descriptors::open(|| File::create(&temporary)), op)?;
        let write = || {
            fill(&mut file)?;
            file.sync_all()?;
            #[expect(
                clippy::disallowed_methods,
                reason = "the one place that writes over: see Storage::replace"
            )]
            fs::rename(&temporary, &full)
        };
        if let Err(e) = write() {
            let _ = fs::remove_file(&temporary);
            return Err(Error::io(op, path, e));
        }
        sync_dir(path, full.parent().unwrap_or(&self.root))
    }

    /// Makes a file and the directories above it; those that another process has just left empty are made again.
    fn make(
        &self,
        path: &str,
        full: &Path,
        file: impl Fn() -> std::io::Result<File>,
        op: &'static str,
    ) -> Result<File> {
        let _not_emptied = self.emptying.read().unwrap_or_else(PoisonError::into_inner);
        let mut tries = 0;
        loop {
            tries += 1;
            let parents = self.make_parents(path, full);
            // A directory that goes while it is made may also read as "exists", and not be there.
            let vanished = matches!(&parents, Err(e) if e.kind == Kind::Exists);
            let made = parents.and_then(|()| file().map_err(|e| Error::io(op, path, e)));
            match made {
                Err(e) if (vanished || e.kind == Kind::NotFound) && tries < CREATE_TRIES => {
                    let _ = full.parent().map(|parent| self.known().remove(parent));
                }
                made => return made,
            }
        }
    }

    /// Copies a file of another directory; answers its bytes.
    pub(crate) fn copy_from(&self, other: &LocalDir, path: &str, to: &str) -> Result<u64> {
        let mut from = File::open(other.full("copy", path)?).map_err(|e| Error::io("copy", path, e))?;
        let mut bytes = 0;
        self.replace_with("copy", to, |file| {
            bytes = std::io::copy(&mut from, file)?;
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Room of this file system.
    #[allow(clippy::unnecessary_cast, reason = "the types of statvfs differ from platform to platform")]
    pub fn room(&self) -> Result<Space> {
        let name = self.root.to_string_lossy().into_owned();
        let path = std::ffi::CString::new(self.root.as_os_str().as_encoded_bytes())
            .map_err(|e| Error::io("statvfs", &name, e.into()))?;
        let mut stat = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
        // SAFETY: `path` is a NUL-terminated string and `stat` a writable statvfs that outlives the call.
        if unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
            return Err(Error::io("statvfs", &name, std::io::Error::last_os_error()));
        }
        // SAFETY: zeroed is a valid statvfs, and the call has filled it.
        let stat = unsafe { stat.assume_init() };
        let bytes = |blocks: u64| blocks * stat.f_frsize as u64;
        Ok(Space { free: bytes(stat.f_bavail as u64), total: bytes(stat.f_blocks as u64) })
    }

    fn known(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sync_dir(path: &str, dir: &Path) -> Result<()> {
    let fail = |e| Error::io("sync directory of", path, e);
    let dir = descriptors::open(|| File::open(dir)).map_err(fail)?;
    let synced = dir.sync_all().map_err(fail);
    descriptors::close(dir);
    synced
}

impl Storage for LocalDir {
    fn space(&self) -> Result<Option<Space>> {
        self.room().map(Some)
    }

    fn create(&self, path: &str) -> Result<Box<dyn Sink>> {
        let full = self.full("create", path)?;
        let new = || descriptors::open(|| OpenOptions::new().write(true).create_new(true).open(&full));
        let file = self.make(path, &full, new, "create")?;
        sync_dir(path, full.parent().unwrap_or(&self.root))?;
        Ok(Box::new(FileSink { file, path: path.to_owned() }))
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.replace_with("replace", path, |file| file.write_all(bytes))
    }

    fn read(&self, path: &str) -> Result<Bytes> {
        let full = self.full("read", path)?;
        let mut bytes = Vec::new();
        let fail = |e| Error::io("read", path, e);
        let mut file = descriptors::open(|| File::open(&full)).map_err(fail)?;
        let read = file.read_to_end(&mut bytes).map_err(fail);
        descriptors::close(file);
        read.map(|_| bytes.into())
    }

    fn map(&self, path: &str) -> Result<Bytes> {
        let full = self.full("map", path)?;
        let file = descriptors::open(|| File::open(&full)).map_err(|e| Error::io("map", path, e))?;
        if file.metadata().map_err(|e| Error::io("map", path, e))?.len() == 0 {
            return Ok(Bytes::new());
        }
        // SAFETY: files are written once and never changed or truncated after they are published (invariant 3),
        // and an unlinked file on a local file system stays readable through its map.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io("map", path, e));
        descriptors::close(file);
        Ok(Bytes::from_owner(map?))
    }

    fn list(&self, dir: &str) -> Result<Vec<Entry>> {
        let full = self.full("list", dir)?;
        let mut found = Vec::new();
        let mut below = vec![full.clone()];
        while let Some(next) = below.pop() {
            list_one(&full, &next, &mut found, &mut below).map_err(|e| Error::io("list", dir, e))?;
        }
        found.sort();
        Ok(found)
    }

    fn remove(&self, path: &str) -> Result<()> {
        let full = self.full("remove", path)?;
        match fs::remove_file(&full) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io("remove", path, e)),
            _ => {}
        }
        let _nobody_makes = self.emptying.write().unwrap_or_else(PoisonError::into_inner);
        // Fails at the first that is not empty.
        for parent in full.ancestors().skip(1).take_while(|dir| *dir != self.root) {
            self.known().remove(parent);
            if fs::remove_dir(parent).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Adds the files of one directory, and the directories in it, which may go meanwhile.
fn list_one(
    root: &Path,
    dir: &Path,
    found: &mut Vec<Entry>,
    below: &mut Vec<PathBuf>,
) -> std::io::Result<()> {
    let gone = |e: &std::io::Error| e.kind() == ErrorKind::NotFound;
    let entries = match fs::read_dir(dir) {
        Err(e) if gone(&e) => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let meta = match entry.metadata() {
            Err(e) if gone(&e) => continue,
            meta => meta?,
        };
        let path = entry.path();
        if meta.is_dir() {
            below.push(path);
        } else if let (true, Ok(name)) = (meta.is_file(), path.strip_prefix(root)) {
            found.push(Entry { name: name.to_string_lossy().into_owned(), bytes: meta.len() });
        }
    }
    Ok(())
}

struct FileSink {
    file: File,
    path: String,
}

impl Sink for FileSink {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| Error::io("write", &self.path, e))
    }

    fn sync(&mut self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io("sync", &self.path, e))
    }

    fn cut(&mut self, bytes: u64) -> Result<()> {
        let cut = self.file.set_len(bytes).and_then(|()| self.file.seek(SeekFrom::Start(bytes)));
        cut.map(drop).map_err(|e| Error::io("cut", &self.path, e))
    }
}
