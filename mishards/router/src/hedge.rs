//! Hedging: a sub-query that takes longer than most is sent to a second node as well, and the first answer counts. Within
//! a budget, so that a slow cluster is not given more to do. (What a silent node has in hand is no matter of the budget.)

use crate::error::Failure;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Of twenty sub-queries one may be sent twice.
const SHARE: u64 = 20;
/// Hedges that a quiet time saves up.
const SAVED: u64 = 10;
/// Bounds of what is waited for before a hedge.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);

/// What is known of sub-queries so far: how long they take, and how many more may be sent.
pub struct Hedging {
    /// Estimate of the 95th percentile, in microseconds.
    slow_micros: AtomicU64,
    /// In parts of `SHARE` to a hedge.
    saved: AtomicU64,
}

impl Default for Hedging {
    fn default() -> Hedging {
        Hedging { slow_micros: AtomicU64::new(100_000), saved: AtomicU64::new(0) }
    }
}

impl Hedging {
    /// Notes a sub-query that was sent.
    pub fn earn(&self) {
        let add = |saved: u64| Some((saved + 1).min(SAVED * SHARE));
        let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Whether one more may be sent.
    pub fn spend(&self) -> bool {
        let take = |saved: u64| saved.checked_sub(SHARE);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Notes how long a sub-query took. A value above the estimate moves it up by a nineteenfold of what one below moves
    /// it down: it settles where one in twenty is above.
    pub fn note(&self, took: Duration) {
        let took = took.as_micros() as u64;
        let step = |slow: u64| {
            let unit = (slow / 400).max(1);
            Some(if took > slow { slow + 19 * unit } else { slow.saturating_sub(unit).max(1) })
        };
        let _ = self.slow_micros.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }

    /// How long to wait for the first node.
    pub fn patience(&self) -> Duration {
        Duration::from_micros(2 * self.slow_micros.load(Ordering::Relaxed)).clamp(SHORTEST, LONGEST)
    }
}

/// The answer of `first`, or of `second` when that is begun, which is when `begin` is over, and is sooner or the only one.
/// Else why neither has answered; the second only if it was begun.
pub async fn race<T>(
    first: impl Future<Output = Result<T, Failure>>,
    begin: impl Future<Output = ()>,
    second: impl Future<Output = Result<T, Failure>>,
) -> Result<T, (Failure, Option<Failure>)> {
    tokio::pin!(first);
    tokio::pin!(second);
    tokio::select! {
        answer = &mut first => return answer.map_err(|failure| (failure, None)),
        () = begin => {}
    }
    tokio::select! {
        answer = &mut first => match answer {
            Ok(answer) => Ok(answer),
            Err(failure) => second.await.map_err(|other| (failure, Some(other))),
        },
        answer = &mut second => match answer {
            Ok(answer) => Ok(answer),
            Err(other) => first.await.map_err(|failure| (failure, Some(other))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use mishards_types::Error;
    use std::future::pending;
    use tokio::time::sleep;

    const SHORT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_secs(20);

    async fn after(wait: Duration, answer: Result<u8, &str>) -> Result<u8, Failure> {
        sleep(wait).await;
        answer.map_err(|e| Failure::new(Kind::Transport, Error::unavailable(e)))
    }

    #[test]
    fn one_in_twenty_is_sent_twice() {
        let hedging = Hedging::default();
        assert!(!hedging.spend(), "nothing is saved up at first");
        let mut sent = 0;
        for _ in 0..2000 {
            hedging.earn();
            sent += u32::from(hedging.spend());
        }
        assert_eq!(sent, 100);
        (0..10_000).for_each(|_| hedging.earn());
        assert_eq!((0..100).filter(|_| hedging.spend()).count() as u64, SAVED);
    }

    #[test]
    fn patience_follows_the_slow_ones() {
        let hedging = Hedging::default();
        for i in 0..40_000u64 {
            hedging.note(Duration::from_millis(if i % 20 == 0 { 80 } else { 20 }));
        }
        let patience = hedging.patience();
        assert!((40..200).contains(&(patience.as_millis() as u64)), "{patience:?}");
        (0..40_000).for_each(|_| hedging.note(Duration::from_micros(50)));
        assert_eq!(hedging.patience(), SHORTEST);
        (0..40_000).for_each(|_| hedging.note(Duration::from_secs(60)));
        assert_eq!(hedging.patience(), LONGEST);
    }

    #[tokio::test]
    async fn the_sooner_answer_counts() {
        let quick = race(after(Duration::ZERO, Ok(1)), sleep(SHORT), after(LONG, Ok(2))).await;
        assert_eq!(quick.unwrap(), 1);
        let hung = race(after(LONG, Ok(1)), sleep(SHORT), after(Duration::ZERO, Ok(2))).await;
        assert_eq!(hung.unwrap(), 2);
        let late = race(after(SHORT * 4, Ok(1)), sleep(SHORT), after(LONG, Ok(2))).await;
        assert_eq!(late.unwrap(), 1);
    }

    #[tokio::test]
    async fn one_that_fails_leaves_it_to_the_other() {
        // The first fails once the second has begun, which answers only then.
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (failed, has_failed) = tokio::sync::oneshot::channel();
        let first = async {
            let _ = has_begun.await;
            let _ = failed.send(());
            after(Duration::ZERO, Err("one")).await
        };
        let second = async {
            let _ = begun.send(());
            let _ = has_failed.await;
            after(SHORT, Ok(2)).await
        };
        assert_eq!(race(first, async {}, second).await.unwrap(), 2);
        let second_fails =
            race(after(SHORT * 8, Ok(1)), sleep(SHORT), after(Duration::ZERO, Err("two"))).await;
        assert_eq!(second_fails.unwrap(), 1);
        let both = race(after(SHORT, Err("one")), async {}, after(Duration::ZERO, Err("two"))).await;
        let (first, second) = both.unwrap_err();
        assert!(first.error.message.contains("one") && second.unwrap().error.message.contains("two"));
        let none_left = race(after(SHORT * 4, Err("one")), pending(), after(Duration::ZERO, Ok(2))).await;
        assert!(none_left.unwrap_err().1.is_none(), "the second was not begun");
    }
}
