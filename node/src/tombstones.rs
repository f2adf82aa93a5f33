//! Which rows of a segment are hidden, and from when on.

use mishards_segment::Tombstone;
use mishards_types::{Bitmap, Timestamp};

/// Immutable; a new one is made when deletes are applied.
#[derive(Debug, Clone)]
pub struct Tombstones {
    /// In the order in which they were applied.
    list: Vec<Tombstone>,
    hidden: Bitmap,
    newest: Timestamp,
}

impl Tombstones {
    pub fn none(rows: usize) -> Tombstones {
        Tombstones { list: Vec::new(), hidden: Bitmap::zeros(rows), newest: Timestamp::ZERO }
    }

    /// With more tombstones. A row that is hidden already keeps its first, which is the earliest: deletes are
    /// applied in log order.
    pub fn with(&self, more: impl IntoIterator<Item = Tombstone>) -> Tombstones {
        let mut out = self.clone();
        for t in more {
            if !out.hidden.get(t.row as usize) {
                out.hidden.set(t.row as usize);
                out.newest = out.newest.max(t.visible_at);
                out.list.push(t);
            }
        }
        out
    }

    pub fn list(&self) -> &[Tombstone] {
        &self.list
    }

    pub fn is_hidden(&self, row: u32) -> bool {
        self.hidden.get(row as usize)
    }

    /// The rows that are visible at `at`; `None` means all of them.
    pub fn visible(&self, at: Timestamp, timestamps: &[u64], newest_row: Timestamp) -> Option<Bitmap> {
        let any_hidden = self.list.iter().any(|t| t.visible_at <= at);
        if !any_hidden && newest_row <= at {
            return None;
        }
        let mut visible = if newest_row <= at {
            Bitmap::ones(timestamps.len())
        } else {
            Bitmap::from_fn(timestamps.len(), |i| timestamps[i] <= at.0)
        };
        if self.newest <= at {
            visible.and_not(&self.hidden);
        } else {
            let hides = self.list.iter().filter(|t| t.visible_at <= at);
            hides.for_each(|t| visible.clear(t.row as usize));
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
}
