//! A directory in memory, for tests. [`Memory::crash`] forgets what was not synced.

use crate::storage::check_path;
use crate::{Entry, Error, Kind, Result, Sink, Space, Storage};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default, Clone)]
struct File {
    bytes: Vec<u8>,
    durable: usize,
}

type Files = BTreeMap<String, File>;

/// See [`Storage`]. Clones share the files.
#[derive(Default, Clone)]
pub struct Memory {
    files: Arc<Mutex<Files>>,
    space: Arc<Mutex<Option<Space>>>,
}

fn lock(files: &Mutex<Files>) -> MutexGuard<'_, Files> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    pub fn new() -> Memory {
        Memory::default()
    }

    /// Cuts every file to what was synced, as a power failure does.
    pub fn crash(&self) {
        for file in lock(&self.files).values_mut() {
            file.bytes.truncate(file.durable);
        }
    }

    /// Says how much room there is; nothing is kept from being written by it.
    pub fn set_space(&self, space: Space) {
        *self.space.lock().unwrap_or_else(PoisonError::into_inner) = Some(space);
    }

    /// Changes bytes on the "disk", to test that damage is found.
    pub fn tamper(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(file) = lock(&self.files).get_mut(path) {
            change(&mut file.bytes);
            file.durable = file.bytes.len();
        }
    }
}

fn not_found(op: &'static str, path: &str) -> Error {
    Error::of(Kind::NotFound, op, path, "no such file")
}

impl Storage for Memory {
    fn space(&self) -> Result<Option<Space>> {
        Ok(*self.space.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn create(&self, path: &str) -> Result<Box<dyn Sink>> {
        check_path("create", path)?;
        let mut files = lock(&self.files);
        if files.contains_key(path) {
            return Err(Error::of(Kind::Exists, "create", path, "file exists"));
        }
        files.insert(path.to_owned(), File::default());
        Ok(Box::new(MemorySink { files: Arc::clone(&self.files), path: path.to_owned() }))
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        check_path("replace", path)?;
        lock(&self.files).insert(path.to_owned(), File { bytes: bytes.to_vec(), durable: bytes.len() });
        Ok(())
    }

    fn read(&self, path: &str) -> Result<Bytes> {
        check_path("read", path)?;
        let files = lock(&self.files);
        files.get(path).map(|f| f.bytes.clone().into()).ok_or_else(|| not_found("read", path))
    }

    fn map(&self, path: &str) -> Result<Bytes> {
        check_path("map", path)?;
        let files = lock(&self.files);
        let file = files.get(path).ok_or_else(|| not_found("map", path))?;
        // Over-aligned, as a map is: 64-byte blocks behind a view of the exact length.
        let mut blocks = vec![Block([0; 64]); file.bytes.len().div_ceil(64)];
        for (block, bytes) in blocks.iter_mut().zip(file.bytes.chunks(64)) {
            block.0[..bytes.len()].copy_from_slice(bytes);
        }
        Ok(Bytes::from_owner(Blocks(blocks)).slice(..file.bytes.len()))
    }

    fn list(&self, dir: &str) -> Result<Vec<Entry>> {
        check_path("list", dir)?;
        let prefix = format!("{dir}/");
        let files = lock(&self.files);
        let below = files.iter().filter_map(|(path, file)| {
            let name = path.strip_prefix(&prefix)?;
            Some(Entry { name: name.to_owned(), bytes: file.bytes.len() as u64 })
        });
        Ok(below.collect())
    }

    fn remove(&self, path: &str) -> Result<()> {
        check_path("remove", path)?;
        lock(&self.files).remove(path);
        Ok(())
    }
}

#[derive(Clone)]
#[repr(C, align(64))]
struct Block([u8; 64]);

struct Blocks(Vec<Block>);

impl AsRef<[u8]> for Blocks {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `Block` is 64 plain bytes without padding, so the vector is `64 * len` initialised bytes.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 64) }
    }
}

struct MemorySink {
    files: Arc<Mutex<Files>>,
    path: String,
}

impl Sink for MemorySink {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let mut files = lock(&self.files);
        let file = files.get_mut(&self.path).ok_or_else(|| not_found("write", &self.path))?;
        file.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let mut files = lock(&self.files);
        let file = files.get_mut(&self.path).ok_or_else(|| not_found("sync", &self.path))?;
        file.durable = file.bytes.len();
        Ok(())
    }

    fn cut(&mut self, bytes: u64) -> Result<()> {
        let mut files = lock(&self.files);
        let file = files.get_mut(&self.path).ok_or_else(|| not_found("cut", &self.path))?;
        file.bytes.truncate(bytes as usize);
        Ok(())
    }
}
