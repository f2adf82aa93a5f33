//! Files that nodes do not find although the newest catalog names them: they are lost, and no new plan mends that.

use super::Router;
use crate::error::Failure;
use mishards_catalog::Snapshot;
use mishards_types::{Code, Error};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A catalog that was confirmed so lately names no file that has been removed: what it has let go of is kept for a window,
/// which is a second at least and ten minutes by default.
const CURRENT: Duration = Duration::from_secs(1);
/// A file is named in the log once in this time.
const NAMED_FOR: Duration = Duration::from_secs(30);

/// When each lost file was last named in the log.
#[derive(Default)]
pub struct LostFiles(Mutex<BTreeMap<String, Duration>>);

impl LostFiles {
    /// Whether a file is to be named now.
    fn is_news(&self, file: &str, now: Duration) -> bool {
        let mut named = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        named.retain(|_, at| now.saturating_sub(*at) <= NAMED_FOR);
        let is_news = !named.contains_key(file);
        if is_news {
            named.insert(file.to_owned(), now);
        }
        is_news
    }
}

impl Router {
    /// What is said of a read under which a file was missing until the end, when the file must be there. `None` when it may
    /// have been removed rightly, as far as this router knows.
    pub(super) fn lost_file(&self, failure: &Failure) -> Option<Error> {
        let file = failure.missing_file.as_deref()?;
        let now = self.clock.elapsed();
        self.catalog.age(now).filter(|age| *age <= CURRENT)?;
        let what = named_by(&*self.catalog.get().ok()?, file)?;
        self.metrics.lost_files_total.inc();
        if self.lost_files.is_news(file, now) {
            tracing::error!(file, of = %what, "a file is lost: the catalog names it, and it is not in the shared directory");
        }
        Some(Error::new(
            Code::INTEGRITY,
            format!(
                "{what}: the file {file} is missing from the shared directory, though the catalog names it: restore it from a \
                 copy: data integrity check failed"
            ),
        ))
    }
}

/// What in the catalog a file belongs to.
fn named_by(snapshot: &Snapshot, file: &str) -> Option<String> {
    let segment = snapshot.segments().find(|s| s.all_files().any(|f| f.path == file));
    let delta = || snapshot.deltas().find(|delta| delta.file.path == file);
    let deletes = || delta().map(|delta| format!("deletes of collection {}", delta.collection));
    segment.map(|segment| format!("segment {}", segment.id)).or_else(deletes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_file_is_named_once_in_a_while() {
        let (lost, second) = (LostFiles::default(), Duration::from_secs(1));
        let news: Vec<bool> = [0, 1, 30, 31, 32].iter().map(|at| lost.is_news("a", *at * second)).collect();
        assert_eq!(news, [true, false, false, true, false]);
        assert!(lost.is_news("b", 32 * second));
    }
}
