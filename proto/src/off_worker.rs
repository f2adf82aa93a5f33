//! Work whose cost grows with its input, done where it stands: the thread becomes one that may block, and another one takes
//! over what the async worker has in hand.

use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::runtime::{Handle, RuntimeFlavor};

/// What an async worker may do itself, in bytes that are read or written once: some tens of microseconds.
pub const SMALL: usize = 32 << 10;

/// Runs `work` on about `bytes` bytes. Other futures of the same task wait meanwhile.
pub fn in_place<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes <= SMALL || !has_other_workers() { work() } else { tokio::task::block_in_place(work) }
}

fn has_other_workers() -> bool {
    Handle::try_current().is_ok_and(|h| h.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// A future of which each step may take long, as may its end.
pub struct OffWorker<F>(Option<Pin<Box<F>>>);

impl<F: Future> OffWorker<F> {
    pub fn new(work: F) -> OffWorker<F> {
        OffWorker(Some(Box::pin(work)))
    }
}

impl<F: Future> Future for OffWorker<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(work) = self.0.as_mut() else { return Poll::Pending };
        let step = in_place(usize::MAX, || work.as_mut().poll(context));
        if step.is_ready() {
            self.end();
        }
        step
    }
}

impl<F> OffWorker<F> {
    fn end(&mut self) {
        if let Some(work) = self.0.take() {
            in_place(usize::MAX, || drop(work));
        }
    }
}

impl<F> Drop for OffWorker<F> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs a future whose input has about `bytes` bytes: as it is when it is small.
pub async fn sized<F: Future>(bytes: usize, work: F) -> F::Output {
    if bytes <= SMALL { work.await } else { OffWorker::new(work).await }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use std::time::Duration;
    use tokio::time::Instant;

    /// Blocks in a step, and again when it is dropped.
    struct Slow;

    impl Drop for Slow {
        fn drop(&mut self) {
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    async fn slow() {
        let _slow = Slow;
        std::thread::sleep(Duration::from_millis(200));
        tokio::task::yield_now().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_go_on_while_a_step_or_the_end_takes_long() {
        let other = tokio::spawn(async {
            let mut longest = Duration::ZERO;
            for _ in 0..100 {
                let began = Instant::now();
                tokio::time::sleep(Duration::from_millis(2)).await;
                longest = longest.max(began.elapsed());
            }
            longest
        });
        tokio::spawn(sized(SMALL + 1, slow())).await.unwrap();
        let longest = other.await.unwrap();
        assert!(longest < Duration::from_millis(150), "{longest:?}");
    }

    #[tokio::test]
    async fn where_there_is_one_thread_it_does_the_work() {
        sized(SMALL + 1, async {}).await;
        assert_eq!(in_place(SMALL + 1, || 5), 5);
    }
}
