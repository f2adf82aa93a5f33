//! Files of segments that are not there. A read that was planned long ago may name a file that has been removed since; if the
//! catalog names the file still, it is lost. A node knows no catalog of its own, so it says what it saw: in the log, by its
//! metrics, and to the router, which knows.

use crate::{Metrics, Result};
use mishards_types::SegmentId;
use std::time::Duration;

/// A segment is named in the log at most once in this time, and counts as lacking a file for so long.
const NAMED_FOR: Duration = Duration::from_secs(30);

/// What is known of the files of one segment.
#[derive(Default)]
pub struct LostFile {
    /// When a file was last found missing, and when that was last logged.
    seen: Option<Seen>,
}

struct Seen {
    at: Duration,
    logged: Duration,
    file: String,
}

impl LostFile {
    /// Notes what came of opening a segment.
    pub fn note<T>(&mut self, segment: SegmentId, now: Duration, opened: &Result<T>, metrics: &Metrics) {
        let file = match opened {
            Ok(_) => {
                self.seen = None;
                return;
            }
            Err(failure) => match &failure.missing_file {
                Some(file) => file,
                None => return,
            },
        };
        metrics.missing_files_total.inc();
        let known = self.seen.as_ref().filter(|seen| now.saturating_sub(seen.logged) <= NAMED_FOR);
        let logged = match known {
            Some(seen) => seen.logged,
            None => {
                tracing::warn!(
                    segment = segment.0,
                    file = %file,
                    "a file of a segment is missing: it is lost, unless the read was planned longer ago than \
                     retention.window_seconds"
                );
                now
            }
        };
        self.seen = Some(Seen { at: now, logged, file: file.clone() });
    }

    /// The file that was missing a moment ago.
    pub fn file(&self, now: Duration) -> Option<&str> {
        let seen = self.seen.as_ref().filter(|seen| now.saturating_sub(seen.at) <= NAMED_FOR)?;
        Some(&seen.file)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::Failure;

    #[test]
    fn a_missing_file_is_counted_and_known_until_it_is_back() {
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let (second, mut lost) = (Duration::from_secs(1), LostFile::default());
        let missing: Result<()> = Err(Failure::file_missing("segments/1/footer", "gone"));
        lost.note(SegmentId(1), second, &missing, &metrics);
        lost.note(SegmentId(1), 20 * second, &missing, &metrics);
        assert_eq!(metrics.missing_files_total.get(), 2);
        assert_eq!(lost.file(50 * second), Some("segments/1/footer"));
        assert_eq!(lost.file(51 * second), None);
        // Another failure says nothing of the file.
        lost.note(SegmentId(1), 21 * second, &Err::<(), _>(Failure::too_old("deletes")), &metrics);
        assert!(lost.file(22 * second).is_some());
        lost.note(SegmentId(1), 22 * second, &Ok(()), &metrics);
        assert_eq!(lost.file(22 * second), None);
        assert_eq!(metrics.missing_files_total.get(), 2);
    }

    #[test]
    fn a_segment_is_named_in_the_log_once_in_a_while() {
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let (second, mut lost) = (Duration::from_secs(1), LostFile::default());
        let missing: Result<()> = Err(Failure::file_missing("f", "gone"));
        let mut named = Vec::new();
        for at in [0, 10, 20, 30, 31, 60, 62] {
            lost.note(SegmentId(1), at * second, &missing, &metrics);
            named.push(lost.seen.as_ref().unwrap().logged.as_secs());
        }
        assert_eq!(named, [0, 0, 0, 0, 31, 31, 62]);
    }
}
