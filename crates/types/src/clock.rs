//! Time and randomness as parameters, so that a whole cluster can run under a seed.

use std::time::Duration;

/// A source of time. Implementations must be monotonic in [`Clock::elapsed`]; the wall clock may jump.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch, as the wall clock has it.
    fn unix_ms(&self) -> u64;
    /// Time since a fixed moment of this process; never goes back.
    fn elapsed(&self) -> Duration;
}

/// A source of random bits.
pub trait Entropy: Send + Sync + 'static {
    /// Sixty-four random bits.
    fn next_u64(&self) -> u64;
}
