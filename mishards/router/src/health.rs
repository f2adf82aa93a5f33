//! How a node has fared lately: what it has in hand, and whether it is worth asking (silence, and a circuit breaker).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Failures in a row after which a node is avoided.
const FAILURES: u32 = 3;
/// How long at first; each failed trial doubles it.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(16);

/// Lives as long as the node is known, over all that it is asked.
#[derive(Debug, Default)]
pub struct Health {
    outstanding: AtomicUsize,
    breaker: Mutex<Breaker>,
    /// A probe has been without an answer for a while, and nothing else was answered since.
    silent: watch::Sender<bool>,
}

/// Closed, or open until some time; then one call is a trial.
#[derive(Debug, Default, Clone, Copy)]
struct Breaker {
    /// In a row.
    failures: u32,
    open_until: Option<Duration>,
    /// How long it is open.
    pause: Duration,
}

impl Health {
    /// Counts a call for as long as the value lives.
    pub fn begin(&self) -> Outstanding<'_> {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        Outstanding(&self.outstanding)
    }

    /// Calls that are under way.
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// Whether others are to be asked before it. `now` is of the monotonic clock.
    pub fn is_avoided(&self, now: Duration) -> bool {
        *self.silent.borrow() || self.lock().open_until.is_some_and(|until| now < until)
    }

    /// Notes that a probe is without an answer for longer than it should.
    pub fn note_silence(&self) {
        self.set_silent(true);
    }

    /// Notes that a probe was answered.
    pub fn note_heard(&self) {
        self.set_silent(false);
    }

    /// Waits until nothing is heard of it.
    pub async fn silence(&self) {
        let mut silent = self.silent.subscribe();
        // The other end is our own.
        let _ = silent.wait_for(|silent| *silent).await;
    }

    fn set_silent(&self, now: bool) {
        self.silent.send_if_modified(|silent| std::mem::replace(silent, now) != now);
    }

    /// Notes a call that was answered.
    pub fn note_success(&self) {
        self.note_heard();
        *self.lock() = Breaker::default();
    }

    /// Notes a call that was not answered, or not in time.
    pub fn note_failure(&self, now: Duration) {
        let mut breaker = self.lock();
        breaker.failures = breaker.failures.saturating_add(1);
        // Calls that were under way when it opened say nothing new; one after that was the trial.
        if breaker.failures >= FAILURES && breaker.open_until.is_none_or(|until| now >= until) {
            breaker.pause = (breaker.pause * 2).clamp(SHORTEST, LONGEST);
            breaker.open_until = Some(now + breaker.pause);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is under way.
pub struct Outstanding<'a>(&'a AtomicUsize);

impl Drop for Outstanding<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn three_failures_in_a_row_open_it_and_a_success_closes_it() {
        let health = Health::default();
        for _ in 0..10 {
            health.note_failure(SECOND);
            health.note_failure(SECOND);
            health.note_success();
        }
        assert!(!health.is_avoided(SECOND));
        (0..3).for_each(|_| health.note_failure(SECOND));
        assert!(health.is_avoided(SECOND) && health.is_avoided(SECOND + SHORTEST / 2));
        assert!(!health.is_avoided(SECOND + SHORTEST), "now it is tried");
        health.note_success();
        assert!(!health.is_avoided(SECOND));
    }

    #[test]
    fn each_failed_trial_doubles_the_pause_up_to_a_bound() {
        let health = Health::default();
        let mut now = SECOND;
        (0..3).for_each(|_| health.note_failure(now));
        for expected in [1, 2, 4, 8, 16, 32, 32, 32].map(|n| SHORTEST * n) {
            // Calls that were under way already change nothing.
            health.note_failure(now);
            assert!(health.is_avoided(now + expected - Duration::from_millis(1)), "{expected:?}");
            assert!(!health.is_avoided(now + expected), "{expected:?}");
            now += expected;
            health.note_failure(now);
        }
    }

    #[tokio::test]
    async fn one_that_is_silent_is_avoided_until_it_is_heard() {
        let health = Health::default();
        health.note_silence();
        health.silence().await;
        assert!(health.is_avoided(SECOND) && health.is_avoided(SECOND * 1000));
        health.note_heard();
        assert!(!health.is_avoided(SECOND));
        health.note_silence();
        health.note_success();
        assert!(!health.is_avoided(SECOND), "an answer is as good as one to a probe");
    }

    #[test]
    fn calls_under_way_are_counted_until_they_end() {
        let health = Health::default();
        let first = health.begin();
        let second = health.begin();
        assert_eq!(health.outstanding(), 2);
        drop(first);
        drop(second);
        assert_eq!(health.outstanding(), 0);
    }
}
