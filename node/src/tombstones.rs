//! Which rows of a segment are hidden, and from when on.

use mishards_segment::Tombstone;
use mishards_types::{Bitmap, Timestamp};
use std::sync::Arc;

/// Immutable; a new one is made when deletes are applied. What is added lies in runs, each at least twice as long as the
/// next: adding one tombstone after another copies each a logarithmic number of times.
#[derive(Debug, Clone)]
pub struct Tombstones {
    /// In the order in which they were applied.
    runs: Vec<Arc<Run>>,
    hidden: Bitmap,
    oldest: Timestamp,
    newest: Timestamp,
}

#[derive(Debug)]
struct Run {
    list: Vec<Tombstone>,
    newest: Timestamp,
}

impl Run {
    fn new(list: Vec<Tombstone>) -> Run {
        let newest = list.iter().map(|t| t.visible_at).max().unwrap_or_default();
        Run { list, newest }
    }
}

impl Tombstones {
    pub fn none(rows: usize) -> Tombstones {
        let hidden = Bitmap::zeros(rows);
        Tombstones { runs: Vec::new(), hidden, oldest: Timestamp::MAX, newest: Timestamp::ZERO }
    }

    /// With more tombstones. A row that is hidden already keeps its first, which is the earliest: deletes are
    /// applied in log order.
    pub fn with(&self, more: impl IntoIterator<Item = Tombstone>) -> Tombstones {
        let mut out = self.clone();
        let mut added = Vec::new();
        for t in more {
            if !out.hidden.get(t.row as usize) {
                out.hidden.set(t.row as usize);
                out.oldest = out.oldest.min(t.visible_at);
                out.newest = out.newest.max(t.visible_at);
                added.push(t);
            }
        }
        if added.is_empty() {
            return out;
        }
        while let Some(last) = out.runs.pop_if(|run| run.list.len() < 2 * added.len()) {
            let mut joined = last.list.clone();
            joined.append(&mut added);
            added = joined;
        }
        out.runs.push(Arc::new(Run::new(added)));
        out
    }

    /// All of them, in the order in which they were applied.
    pub fn iter(&self) -> impl Iterator<Item = &Tombstone> {
        self.runs.iter().flat_map(|run| &run.list)
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub fn is_hidden(&self, row: u32) -> bool {
        self.hidden.get(row as usize)
    }

    /// The rows that are visible at `at`; `None` means all of them.
    pub fn visible(&self, at: Timestamp, timestamps: &[u64], newest_row: Timestamp) -> Option<Bitmap> {
        if self.oldest > at && newest_row <= at {
            return None;
        }
        let mut visible = if newest_row <= at {
            Bitmap::ones(timestamps.len())
        } else {
            Bitmap::from_fn(timestamps.len(), |i| timestamps[i] <= at.0)
        };
        visible.and_not(&self.hidden);
        // Few are newer than a read: those come back.
        for run in self.runs.iter().filter(|run| run.newest > at) {
            for t in run.list.iter().filter(|t| t.visible_at > at && timestamps[t.row as usize] <= at.0) {
                visible.set(t.row as usize);
            }
        }
        Some(visible)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tombstone(row: u32, at: u64) -> Tombstone {
        Tombstone { row, visible_at: Timestamp(at) }
    }

    #[test]
    fn rows_and_deletes_above_t_do_not_exist() {
        let timestamps = [10, 20, 30];
        let t = Tombstones::none(3).with([tombstone(0, 15), tombstone(1, 40)]);
        let at = |ts: u64| {
            t.visible(Timestamp(ts), &timestamps, Timestamp(30)).map(|b| b.iter().collect::<Vec<_>>())
        };
        assert_eq!(at(12), Some(vec![0]));
        assert_eq!(at(15), Some(vec![]));
        assert_eq!(at(30), Some(vec![1, 2]));
        assert_eq!(at(40), Some(vec![2]));
        assert_eq!(Tombstones::none(3).visible(Timestamp(30), &timestamps, Timestamp(30)), None);
    }

    #[test]
    fn adding_one_by_one_is_as_adding_all_at_once_and_copies_little() {
        let timestamps = vec![1; 5000];
        let mut one_by_one = Tombstones::none(5000);
        for row in 0..5000u32 {
            one_by_one = one_by_one.with([tombstone(row, 10 + u64::from(row)), tombstone(row, 9000)]);
        }
        let at_once = Tombstones::none(5000).with((0..5000).map(|row| tombstone(row, 10 + u64::from(row))));
        assert!(one_by_one.iter().eq(at_once.iter()));
        assert!(one_by_one.runs.len() <= 14, "{} runs", one_by_one.runs.len());
        for at in [0, 9, 10, 11, 2500, 5008, 5009, 6000] {
            let visible = |t: &Tombstones| t.visible(Timestamp(at), &timestamps, Timestamp(1));
            assert_eq!(visible(&one_by_one), visible(&at_once), "{at}");
            let left = visible(&one_by_one).map_or(5000, |b| b.count() as u64);
            assert_eq!(left, if at == 0 { 0 } else { 5000 - (at.max(9) - 9).min(5000) });
        }
    }
}
