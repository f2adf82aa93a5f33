//! Threads by kind of work, so that nothing blocks an async worker: searches in slices on threads of their own, file I/O on
//! a bounded pool, looks at the fence beside it, index builds and merges on a pool of their own at low priority.

use crate::search_pool::SearchPool;
use crate::{Failure, Result};
use std::sync::Arc;
use tokio::sync::{Semaphore, oneshot};

const IO_TASKS: usize = 16;
/// Looks at the fence never wait for segments that are opened.
const FENCE_TASKS: usize = 4;
/// Added to the niceness of background threads.
const NICE: libc::c_int = 10;

/// See the file's head. Cheap to clone.
#[derive(Clone)]
pub struct Pools {
    search: Arc<SearchPool>,
    background: Arc<rayon::ThreadPool>,
    io: Arc<Semaphore>,
    fence: Arc<Semaphore>,
}

impl Pools {
    /// Starts the pools; 0 threads means one per core.
    pub fn start(search: usize, background: usize) -> Result<Pools> {
        let background = rayon::ThreadPoolBuilder::new()
            .num_threads(background)
            .thread_name(|i| format!("background-{i}"))
            .start_handler(|_| lower_priority())
            .panic_handler(|_| tracing::error!("a worker thread panicked"))
            .build()
            .map_err(|e| Failure::internal(format!("cannot start threads: {e}")))?;
        Ok(Pools {
            search: Arc::new(SearchPool::start(search)?),
            background: Arc::new(background),
            io: Arc::new(Semaphore::new(IO_TASKS)),
            fence: Arc::new(Semaphore::new(FENCE_TASKS)),
        })
    }

    /// Runs `work`, which is short, on a search thread.
    pub async fn search<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.search.run(work).await
    }

    /// Runs `work` for each of `total` slices on the search threads, in turn with what else is to be done there.
    pub async fn slices<T: Send + 'static>(
        &self,
        total: usize,
        work: impl Fn(usize) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Vec<T>> {
        self.search.slices(total, work).await
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
        blocking(&self.io, work).await
    }

    /// Runs `work`, which looks at a fence.
    pub async fn fence<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        blocking(&self.fence, work).await
    }
}

/// Runs `work` on a thread that may block, as soon as one of `permits` is free.
async fn blocking<T: Send + 'static>(
    permits: &Arc<Semaphore>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(|e| Failure::internal(e.to_string()))?;
    // The permit goes with the work, which runs on when nobody waits for it any more.
    let work = move || {
        let _permit = permit;
        work()
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Failure::internal(format!("an I/O task failed: {e}")))?
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
