//! Work whose cost grows with its input leaves the async workers: everything else that they have in hand would wait for it.

use mishards_types::{Error, Result};

/// What an async worker may do itself, in bytes that are read or written once: some tens of microseconds.
const SMALL: usize = 32 << 10;

/// Runs `work` on about `bytes` bytes: where it is when it is small, else on a thread that may block.
pub async fn off_workers<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    if bytes <= SMALL {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(format!("a task failed: {e}")))
}
