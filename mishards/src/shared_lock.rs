//! The lock on the shared directory against a second writer on this host. This process has it once, however many terms it
//! writes.

use mishards_storage::DirLock;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

const AGAIN: Duration = Duration::from_millis(250);

/// See the file's head.
pub struct SharedLock {
    dir: PathBuf,
    held: Mutex<Weak<DirLock>>,
    /// As long as this process lives.
    kept: Mutex<Option<Arc<DirLock>>>,
    /// The newest term of this process.
    term: AtomicU64,
    is_sought: AtomicBool,
}

impl SharedLock {
    pub fn new(dir: PathBuf) -> Arc<SharedLock> {
        Arc::new(SharedLock {
            dir,
            held: Mutex::default(),
            kept: Mutex::default(),
            term: AtomicU64::new(0),
            is_sought: AtomicBool::new(false),
        })
    }

    /// The lock, or that another process has it.
    pub fn get(&self) -> Result<Arc<DirLock>, String> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = held.upgrade() {
            return Ok(lock);
        }
        let lock = DirLock::acquire(&self.dir).map(Arc::new).map_err(|e| e.to_string())?;
        *held = Arc::downgrade(&lock);
        Ok(lock)
    }

    /// Keeps the lock as long as this process lives, which writes a term. Where a stopped predecessor still has it, it is taken
    /// as soon as it is free.
    pub fn keep(self: &Arc<SharedLock>, lock: Option<Arc<DirLock>>, term: u64) {
        self.term.store(term, Ordering::SeqCst);
        if lock.is_some() {
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = lock;
        } else if !self.is_sought.swap(true, Ordering::SeqCst) {
            let sought = Arc::clone(self);
            tokio::spawn(async move { sought.seek().await });
        }
    }

    async fn seek(&self) {
        let lock = loop {
            if let Ok(lock) = self.get() {
                break lock;
            }
            tokio::time::sleep(AGAIN).await;
        };
        if let Err(e) = lock.note_terms(&[self.term.load(Ordering::SeqCst)]) {
            tracing::warn!(error = %e, "the lock file could not be written: the next takeover waits for the lease");
        }
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
        self.is_sought.store(false, Ordering::SeqCst);
    }
}
