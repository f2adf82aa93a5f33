//! Threads by kind of work, so that nothing blocks an async worker: searches on a pool as wide as the cores, file
//! I/O on a bounded pool, index builds and merges on a pool of their own at low priority.

use crate::{Failure, Result};
use std::sync::Arc;
use tokio::sync::{Semaphore, oneshot};

const IO_TASKS: usize = 16;
/// Added to the niceness of background threads.
const NICE: libc::c_int = 10;

/// See the file's head. Cheap to clone.
#[derive(Clone)]
pub struct Pools {
    search: Arc<rayon::ThreadPool>,
    background: Arc<rayon::ThreadPool>,
    io: Arc<Semaphore>,
}

impl Pools {
    /// Starts the pools; 0 threads means one per core.
    pub fn start(search: usize, background: usize) -> Result<Pools> {
        let build = |name: &'static str, threads: usize, nice: bool| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .thread_name(move |i| format!("{name}-{i}"))
                .start_handler(move |_| {
                    if nice {
                        lower_priority()
                    }
                })
                .panic_handler(|_| tracing::error!("a worker thread panicked"))
                .build()
                .map(Arc::new)
                .map_err(|e| Failure::internal(format!("cannot start threads: {e}")))
        };
        Ok(Pools {
            search: build("search", search, false)?,
            background: build("background", background, true)?,
            io: Arc::new(Semaphore::new(IO_TASKS)),
        })
    }

    /// Runs `work` on the search pool; inside, rayon's iterators use that pool.
    pub async fn search<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        run(&self.search, work).await
    }

    /// Runs `work` on the background pool.
    pub async fn background<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        run(&self.background, work).await
    }

    /// Runs `work`, which may block on files.
    pub async fn io<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit =
            Arc::clone(&self.io).acquire_owned().await.map_err(|e| Failure::internal(e.to_string()))?;
        // The permit goes with the work, which runs on when nobody waits for it any more.
        let work = move || {
            let _permit = permit;
            work()
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| Failure::internal(format!("an I/O task failed: {e}")))?
    }
}

async fn run<T: Send + 'static>(
    pool: &rayon::ThreadPool,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (send, receive) = oneshot::channel();
    pool.spawn(move || drop(send.send(work())));
    receive.await.map_err(|_| Failure::internal("a worker thread panicked"))?
}

fn lower_priority() {
    // SAFETY: setpriority changes only the calling thread's niceness (who = 0 is the thread itself on Linux).
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}
