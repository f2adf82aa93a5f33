//! Work whose cost grows with its input leaves the async workers: everything else that they have in hand would wait for it.

use mishards_proto::off_worker::SMALL;
use mishards_types::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether whoever waited for a piece of work has left: nobody sees what becomes of the work then. Long loops look at it.
#[derive(Clone, Default)]
pub struct Left(Arc<AtomicBool>);

/// Items between two looks.
const STRIDE: usize = 4096;

impl Left {
    pub fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The items of a long loop, which end early when nobody waits any more.
    pub fn watch<I: IntoIterator>(&self, items: I) -> impl Iterator<Item = I::Item> {
        let is_wanted = |number: usize| !number.is_multiple_of(STRIDE) || !self.is_so();
        items.into_iter().enumerate().take_while(move |(number, _)| is_wanted(*number)).map(|(_, item)| item)
    }

    /// For loops of other crates.
    pub fn flag(&self) -> &AtomicBool {
        &self.0
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
/// the task go on. Where these are none, and the work borrows, `off_worker::in_place` does.
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
