//! Work whose cost grows with its input leaves the async workers: everything else that they have in hand would wait for it.

use mishards_proto::off_worker::SMALL;
use mishards_types::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use mishards_proto::off_worker::in_place;

/// Whether whoever waited for a piece of work has left. Long loops look at it.
#[derive(Clone, Default)]
pub struct Left(Arc<AtomicBool>);

impl Left {
    pub fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Says so when it is dropped.
struct OnDrop(Left);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` on about `bytes` bytes: where it is when it is small, else on a thread that may block, while other futures of
/// the task go on. Where these are none, and the work borrows, [`in_place`] does.
pub async fn off_workers<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce(&Left) -> T + Send + 'static,
) -> Result<T> {
    let left = Left::default();
    if bytes <= SMALL {
        return Ok(work(&left));
    }
    let _leaving = OnDrop(left.clone());
    let done = tokio::task::spawn_blocking(move || work(&left)).await;
    done.map_err(|e| Error::internal(format!("a task failed: {e}")))
}
