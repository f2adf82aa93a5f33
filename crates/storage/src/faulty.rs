//! A wrapper that makes chosen calls fail, so that faults are inputs of a test.

use crate::{Entry, Error, Kind, Result, Sink, Space, Storage};
use bytes::Bytes;
use std::sync::Arc;

/// Asked before every call with the operation's name and the path.
pub trait Fault: Send + Sync + 'static {
    /// Whether this call fails with an I/O error. `op` is one of create, replace, read, map, list, remove,
    /// write, sync.
    fn strikes(&self, op: &'static str, path: &str) -> bool;

    /// Whether there is no room for this call, which creates or writes: half of what it writes is written.
    fn is_full(&self, _op: &'static str, _path: &str) -> bool {
        false
    }
}

impl<F: Fn(&'static str, &str) -> bool + Send + Sync + 'static> Fault for F {
    fn strikes(&self, op: &'static str, path: &str) -> bool {
        self(op, path)
    }
}

/// See [`Storage`]; passes calls on to `inner` unless the fault strikes.
pub struct Faulty<S> {
    inner: S,
    fault: Arc<dyn Fault>,
}

impl<S: Storage> Faulty<S> {
    pub fn new(inner: S, fault: impl Fault) -> Faulty<S> {
        Faulty { inner, fault: Arc::new(fault) }
    }

    fn check(&self, op: &'static str, path: &str) -> Result<()> {
        strike(&*self.fault, op, path)
    }
}

fn full(op: &'static str, path: &str) -> Error {
    Error::of(Kind::Full, op, path, "injected: no room")
}

fn strike(fault: &dyn Fault, op: &'static str, path: &str) -> Result<()> {
    if fault.is_full(op, path) {
        return Err(full(op, path));
    }
    if fault.strikes(op, path) { Err(Error::of(Kind::Io, op, path, "injected fault")) } else { Ok(()) }
}

impl<S: Storage> Storage for Faulty<S> {
    fn space(&self) -> Result<Option<Space>> {
        self.inner.space()
    }

    fn create(&self, path: &str) -> Result<Box<dyn Sink>> {
        self.check("create", path)?;
        let inner = self.inner.create(path)?;
        Ok(Box::new(FaultySink { inner, path: path.to_owned(), fault: Arc::clone(&self.fault) }))
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.check("replace", path)?;
        self.inner.replace(path, bytes)
    }

    fn read(&self, path: &str) -> Result<Bytes> {
        self.check("read", path)?;
        self.inner.read(path)
    }

    fn map(&self, path: &str) -> Result<Bytes> {
        self.check("map", path)?;
        self.inner.map(path)
    }

    fn list(&self, dir: &str) -> Result<Vec<Entry>> {
        self.check("list", dir)?;
        self.inner.list(dir)
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.check("remove", path)?;
        self.inner.remove(path)
    }

    fn discard_copy(&self, path: &str) -> Result<bool> {
        self.inner.discard_copy(path)
    }
}

struct FaultySink {
    inner: Box<dyn Sink>,
    path: String,
    fault: Arc<dyn Fault>,
}

impl Sink for FaultySink {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.fault.is_full("write", &self.path) {
            self.inner.write(&bytes[..bytes.len() / 2])?;
            return Err(full("write", &self.path));
        }
        strike(&*self.fault, "write", &self.path)?;
        self.inner.write(bytes)
    }

    fn cut(&mut self, bytes: u64) -> Result<()> {
        self.inner.cut(bytes)
    }

    fn sync(&mut self) -> Result<()> {
        strike(&*self.fault, "sync", &self.path)?;
        self.inner.sync()
    }
}
