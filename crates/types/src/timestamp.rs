//! Hybrid timestamps as Milvus clients read them: milliseconds in the upper 46 bits, a counter in the lower 18.

use serde::{Deserialize, Serialize};
use std::fmt;

const LOGICAL_BITS: u32 = 18;

/// A hybrid timestamp: `(unix_ms << 18) | logical`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    pub const ZERO: Timestamp = Timestamp(0);
    pub const MAX: Timestamp = Timestamp(u64::MAX);

    /// The first timestamp of a millisecond.
    pub fn from_unix_ms(ms: u64) -> Timestamp {
        Timestamp(ms << LOGICAL_BITS)
    }

    /// Milliseconds since the Unix epoch.
    pub fn unix_ms(self) -> u64 {
        self.0 >> LOGICAL_BITS
    }

    /// The least timestamp above both `self` and the wall clock: what a log assigns to its next record.
    pub fn next(self, unix_ms: u64) -> Timestamp {
        Timestamp((self.0 + 1).max(unix_ms << LOGICAL_BITS))
    }

    /// The timestamp just before this one.
    pub fn pred(self) -> Timestamp {
        Timestamp(self.0.saturating_sub(1))
    }

    /// Moves back by whole milliseconds.
    pub fn minus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_sub(ms << LOGICAL_BITS))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_is_above_a_clock_that_went_back() {
        let t = Timestamp::from_unix_ms(1_000);
        assert_eq!(t.next(999), Timestamp(t.0 + 1));
        assert_eq!(t.next(2_000), Timestamp::from_unix_ms(2_000));
    }
}
