//! Threads that search. Work comes in slices, and everything that waits gets one slice in turn: a small search never waits
//! for a large one to end. A piece of work has as many slices under way as there are cores; there are twice as many
//! threads, so that beside one large search another begins at once.

use crate::{Failure, Result};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// See the file's head. Its threads end with it.
pub struct SearchPool {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Slices of one piece of work that may be under way.
    width: usize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    closed: bool,
}

/// Work that has slices left.
struct Waiting {
    work: Arc<dyn Work>,
    next: usize,
    total: usize,
}

trait Work: Send + Sync {
    /// Slices that are under way.
    fn running(&self) -> &AtomicUsize;
    fn run(&self, slice: usize);
}

impl Queue {
    /// The next slice in turn. Its work goes to the end of the line.
    fn take(&mut self, width: usize) -> Option<(Arc<dyn Work>, usize)> {
        let free = |w: &Waiting| w.work.running().load(Ordering::Relaxed) < width;
        let at = self.waiting.iter().position(free)?;
        let mut next = self.waiting.remove(at)?;
        let (work, slice) = (Arc::clone(&next.work), next.next);
        work.running().fetch_add(1, Ordering::Relaxed);
        next.next += 1;
        if next.next < next.total {
            self.waiting.push_back(next);
        }
        Some((work, slice))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut queue = self.lock();
        loop {
            match queue.take(self.width) {
                Some((work, slice)) => {
                    // Whoever sleeps because work had all the room that it may have looks again.
                    if !queue.waiting.is_empty() {
                        self.wake.notify_one();
                    }
                    drop(queue);
                    work.run(slice);
                    work.running().fetch_sub(1, Ordering::Relaxed);
                    // What the last of its slices lets go of may be large: not under the lock.
                    drop(work);
                    queue = self.lock();
                }
                None if queue.closed => return,
                None => queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl SearchPool {
    /// Starts the threads; `width` 0 means one core each.
    pub fn start(width: usize) -> Result<SearchPool> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let width = if width == 0 { cores } else { width };
        let shared = Arc::new(Shared { queue: Mutex::default(), wake: Condvar::new(), width });
        for i in 0..2 * width {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(format!("search-{i}")).spawn(move || shared.work());
            thread.map_err(|e| Failure::internal(format!("cannot start threads: {e}")))?;
        }
        Ok(SearchPool { shared })
    }

    /// Runs `work` for every slice from 0 to `total`; the answers in their order. After a failure the rest is left out.
    pub async fn slices<T: Send + 'static>(
        &self,
        total: usize,
        work: impl Fn(usize) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Vec<T>> {
        if total == 0 {
            return Ok(Vec::new());
        }
        let (done, answer) = oneshot::channel();
        let job = Job {
            work,
            running: AtomicUsize::new(0),
            results: Mutex::new(Results {
                found: (0..total).map(|_| None).collect(),
                left: total,
                failure: None,
                done: Some(done),
            }),
        };
        self.shared.lock().waiting.push_back(Waiting { work: Arc::new(job), next: 0, total });
        match total {
            1 => self.shared.wake.notify_one(),
            _ => self.shared.wake.notify_all(),
        }
        answer.await.map_err(|_| Failure::internal("the search threads have ended"))?
    }

    /// Runs `work` as one slice.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let once = Mutex::new(Some(work));
        let take = move |_| match once.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(work) => work(),
            None => Err(Failure::internal("a slice was run twice")),
        };
        let mut answers = self.slices(1, take).await?;
        answers.pop().ok_or_else(|| Failure::internal("a slice has no answer"))
    }
}

impl Drop for SearchPool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

struct Job<T, F> {
    work: F,
    running: AtomicUsize,
    results: Mutex<Results<T>>,
}

struct Results<T> {
    found: Vec<Option<T>>,
    left: usize,
    failure: Option<Failure>,
    done: Option<oneshot::Sender<Result<Vec<T>>>>,
}

impl<T: Send, F: Fn(usize) -> Result<T> + Send + Sync> Job<T, F> {
    fn results(&self) -> MutexGuard<'_, Results<T>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send, F: Fn(usize) -> Result<T> + Send + Sync> Work for Job<T, F> {
    fn running(&self) -> &AtomicUsize {
        &self.running
    }

    fn run(&self, slice: usize) {
        let result = match self.results().failure.is_some() {
            true => None,
            false => Some(
                catch_unwind(AssertUnwindSafe(|| (self.work)(slice)))
                    .unwrap_or_else(|_| Err(Failure::internal("a search thread panicked"))),
            ),
        };
        let mut results = self.results();
        match result {
            Some(Ok(found)) => results.found[slice] = Some(found),
            Some(Err(failure)) => results.failure = Some(failure),
            None => {}
        }
        results.left -= 1;
        if results.left == 0
            && let Some(done) = results.done.take()
        {
            let answer = match results.failure.take() {
                Some(failure) => Err(failure),
                None => Ok(results.found.iter_mut().filter_map(Option::take).collect()),
            };
            let _ = done.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    #[tokio::test(flavor = "multi_thread")]
    async fn answers_come_in_order_and_a_failure_ends_the_rest() {
        let pool = SearchPool::start(2).unwrap();
        assert_eq!(
            pool.slices(100, |i| Ok(i * 2)).await.unwrap(),
            (0..100).map(|i| i * 2).collect::<Vec<_>>()
        );
        assert!(pool.slices(0, |_| Ok(())).await.unwrap().is_empty());
        let ran = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&ran);
        let failed = pool.slices(10_000, move |i| {
            counted.fetch_add(1, Ordering::SeqCst);
            if i == 3 { Err(Failure::internal("three")) } else { Ok(()) }
        });
        assert!(failed.await.unwrap_err().to_string().contains("three"));
        assert!(ran.load(Ordering::SeqCst) < 10_000);
        let panicked = pool.run(|| -> Result<()> { panic!("a slice") }).await;
        assert!(panicked.unwrap_err().to_string().contains("panicked"));
        assert_eq!(pool.run(|| Ok(7)).await.unwrap(), 7, "its threads go on");
    }

    /// Large work of many slices fills all the room that it may have; small work is done meanwhile.
    #[tokio::test(flavor = "multi_thread")]
    async fn small_work_does_not_wait_for_large_work_to_end() {
        let pool = Arc::new(SearchPool::start(1).unwrap());
        let (hold, begun) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let large: Vec<_> = (0..3)
            .map(|_| {
                let (pool, hold, begun) = (Arc::clone(&pool), Arc::clone(&hold), Arc::clone(&begun));
                tokio::spawn(async move {
                    let work = move |_| {
                        begun.fetch_add(1, Ordering::SeqCst);
                        let pause = if hold.load(Ordering::SeqCst) { 2 } else { 0 };
                        std::thread::sleep(Duration::from_millis(pause));
                        Ok(())
                    };
                    pool.slices(2_000, work).await.map(drop)
                })
            })
            .collect();
        while begun.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let before = begun.load(Ordering::SeqCst);
        pool.run(|| Ok(())).await.unwrap();
        let slices = begun.load(Ordering::SeqCst) - before;
        assert!(slices < 50, "{slices} slices of large work came first");
        hold.store(false, Ordering::SeqCst);
        for work in large {
            work.await.unwrap().unwrap();
        }
    }
}
