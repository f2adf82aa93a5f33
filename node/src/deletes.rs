//! Deletes that are not in every delta file yet, in log order. The writer feeds it as it applies; other nodes feed
//! it from the writer's stream. What it holds may be newer than a request's T: tombstones carry their timestamp.

use mishards_segment::Delete;
use mishards_types::{CollectionId, Epoch, LogId, Sequence};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// A term of the log, and the terms whose records it took over: what its sequences mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub term: LogId,
    pub before: Vec<LogId>,
    /// The last record that it took over.
    pub recovered: Sequence,
}

impl Line {
    /// Whether what was applied of a term up to a sequence has happened in this line too. A directory and a catalog that
    /// were put back to an older copy give the same numbers to other records.
    fn goes_on_from(&self, term: LogId, applied: Sequence) -> bool {
        self.term == term || self.before.contains(&term) && applied <= self.recovered
    }
}

/// The deletes of one record of the log, or some of them.
pub type Record = Vec<Arc<Delete>>;

#[derive(Default)]
struct Collection {
    /// By sequence; one record may delete many keys.
    records: BTreeMap<Sequence, Record>,
    /// What is at or below it must come from delta files.
    floor: Sequence,
    /// What is at or below it is in delta files too (known to the writer alone).
    published: Sequence,
}

impl Collection {
    fn count(&self, range: impl std::ops::RangeBounds<Sequence>) -> usize {
        self.records.range(range).map(|(_, d)| d.len()).sum()
    }
}

/// The floor of a collection that was dropped.
const GONE: Sequence = Sequence(u64::MAX);

#[derive(Default)]
struct State {
    collections: HashMap<CollectionId, Collection>,
    applied: Sequence,
    epoch: Epoch,
    entries: usize,
    /// Of those, how many delta files hold too.
    published: usize,
    /// They come from this node's own log.
    own: bool,
    /// Whose log they come from, where its writer has said so.
    term: Option<LogId>,
    /// Another number for each line of time that was followed.
    line: u64,
    /// Collections that were let go of, the longest ago first.
    forgotten: VecDeque<CollectionId>,
}

/// Dropped collections that are remembered: far more than are dropped within a window.
const FORGOTTEN: usize = 1 << 16;

impl State {
    /// Whether what was applied has happened in this line too. Of a term whose writer has not said more than its epoch, that
    /// must do.
    fn is_before(&self, line: &Line) -> bool {
        let known = || line.before.iter().chain([&line.term]).find(|log| log.epoch == self.epoch);
        match self.term.or_else(|| known().copied()) {
            Some(term) => line.goes_on_from(term, self.applied),
            None => self.applied == Sequence(0),
        }
    }

    fn follows(&self, epoch: Epoch) -> bool {
        !self.own && self.epoch == epoch
    }

    fn raise_floor(&mut self, collection: CollectionId, floor: Sequence) {
        let entry = self.collections.entry(collection).or_default();
        if floor <= entry.floor {
            return;
        }
        entry.floor = floor;
        if floor == GONE {
            self.forgotten.push_back(collection);
        }
        let kept = entry.records.split_off(&floor.next());
        let gone =
            Collection { records: std::mem::replace(&mut entry.records, kept), ..Collection::default() };
        let published = gone.count(..=entry.published);
        self.entries -= gone.count(..);
        self.published -= published;
        if self.forgotten.len() > FORGOTTEN {
            self.forgotten.pop_front().into_iter().for_each(|oldest| drop(self.collections.remove(&oldest)));
        }
    }

    fn add(&mut self, collection: CollectionId, deletes: Vec<Arc<Delete>>) {
        self.entries += deletes.len();
        let records = &mut self.collections.entry(collection).or_default().records;
        for delete in deletes {
            records.entry(delete.sequence).or_default().push(delete);
        }
    }
}

/// See the file's head.
pub struct Deletes {
    state: Mutex<State>,
    applied: watch::Sender<Sequence>,
}

impl Default for Deletes {
    fn default() -> Deletes {
        Deletes { state: Mutex::default(), applied: watch::Sender::new(Sequence(0)) }
    }
}

impl Deletes {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of a log of this node's own.
    pub fn own(epoch: Epoch) -> Deletes {
        let state = State { epoch, own: true, ..State::default() };
        Deletes { state: Mutex::new(state), ..Deletes::default() }
    }

    /// From here on this node's own log, of this line, says what is deleted. What was followed stays readable until then.
    pub fn adopt(&self, own: Deletes, line: &Line) {
        let new = own.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let applied = new.applied;
        let mut state = self.lock();
        let goes_on = state.is_before(line);
        *state = State { term: Some(line.term), line: state.line + u64::from(!goes_on), ..new };
        self.applied.send_replace(applied);
    }

    /// Names the term that the deletes come from.
    pub fn begin(&self, epoch: Epoch) {
        self.lock().epoch = epoch;
    }

    /// Whether this node's own log says what is deleted, and no other node's stream.
    pub fn is_own(&self) -> bool {
        self.lock().own
    }

    /// This node's own log has ended: what was applied of it stays, as if it had been followed, until another stream or a
    /// new term of this node takes its place.
    pub fn retire(&self) {
        self.lock().own = false;
    }

    /// Takes the place of what was held, in one step: readers see the old stream or the new one, never half of it. An older
    /// version does not say whose line its stream is of: that of the one before then.
    pub fn replace_with(&self, other: Deletes, line: Option<Line>) {
        let new = other.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let applied = new.applied;
        let mut state = self.lock();
        if state.own {
            return;
        }
        let goes_on = line.as_ref().is_none_or(|line| state.is_before(line));
        if !goes_on {
            let (before, now) = (state.term, line.as_ref().map(|line| line.term));
            tracing::warn!(
                ?before,
                ?now,
                applied = state.applied.0,
                "the writer's log does not go on from the one that was followed: the cluster was put back to an older copy, or records were given up; all segments are opened anew"
            );
        }
        *state = State { term: line.map(|line| line.term), line: state.line + u64::from(!goes_on), ..new };
        self.applied.send_replace(applied);
    }

    /// Which line of time the sequences are of: what was applied under another number counts for nothing.
    pub fn line(&self) -> u64 {
        self.lock().line
    }

    pub fn epoch(&self) -> Epoch {
        self.lock().epoch
    }

    /// Everything up to it has been applied.
    pub fn applied(&self) -> Sequence {
        self.lock().applied
    }

    /// Number of keys held that no delta file holds yet, and of those that one does.
    pub fn entries(&self) -> (usize, usize) {
        let state = self.lock();
        (state.entries - state.published, state.published)
    }

    /// Says that delta files hold everything of a collection up to `through`.
    pub fn note_published(&self, epoch: Epoch, collection: CollectionId, through: Sequence) {
        let mut state = self.lock();
        if state.epoch != epoch {
            return;
        }
        let entry = state.collections.entry(collection).or_default();
        if through > entry.published {
            let count = entry.count((Bound::Excluded(entry.published), Bound::Included(through)));
            entry.published = through;
            state.published += count;
        }
    }

    /// Adds deletes of another node's stream of an epoch. False, and nothing is changed, unless that stream is the one that
    /// is followed: without its beginning there would be a gap before them.
    pub fn add_followed(&self, epoch: Epoch, collection: CollectionId, deletes: Vec<Arc<Delete>>) -> bool {
        let mut state = self.lock();
        let follows = state.follows(epoch);
        if follows {
            state.add(collection, deletes);
        }
        follows
    }

    /// [`Deletes::advance`] of another node's stream; false as [`Deletes::add_followed`].
    pub fn advance_followed(&self, epoch: Epoch, through: Sequence) -> bool {
        let mut state = self.lock();
        let follows = state.follows(epoch);
        if follows {
            state.applied = state.applied.max(through);
            self.applied.send_replace(state.applied);
        }
        follows
    }

    /// [`Deletes::raise_floor`] of another node's stream; false as [`Deletes::add_followed`].
    pub fn raise_floor_followed(&self, epoch: Epoch, collection: CollectionId, floor: Sequence) -> bool {
        let mut state = self.lock();
        let follows = state.follows(epoch);
        if follows {
            state.raise_floor(collection, floor);
        }
        follows
    }

    /// Adds deletes of this node's own log, in its order. Here and below, what a term says that has ended changes nothing
    /// once another one has begun.
    pub fn add(&self, epoch: Epoch, collection: CollectionId, deletes: Vec<Arc<Delete>>) {
        let mut state = self.lock();
        if state.epoch == epoch {
            state.add(collection, deletes);
        }
    }

    /// Says that every record up to `through` has been applied.
    pub fn advance(&self, epoch: Epoch, through: Sequence) {
        let mut state = self.lock();
        if state.epoch != epoch {
            return;
        }
        state.applied = state.applied.max(through);
        self.applied.send_replace(state.applied);
    }

    /// Drops what is at or below `floor`, which delta files hold for everybody.
    pub fn raise_floor(&self, epoch: Epoch, collection: CollectionId, floor: Sequence) {
        let mut state = self.lock();
        if state.epoch == epoch {
            state.raise_floor(collection, floor);
        }
    }

    /// Lets go of a collection that was dropped. That it was there stays known: a reader of an older V must not take it
    /// for one without deletes.
    pub fn forget(&self, epoch: Epoch, collection: CollectionId) {
        self.raise_floor(epoch, collection, GONE);
    }

    /// Waits until everything up to `sequence` has been applied; false if it takes longer than `patience`.
    pub async fn wait_for(&self, sequence: Sequence, patience: Duration) -> bool {
        let mut applied = self.applied.subscribe();
        tokio::time::timeout(patience, applied.wait_for(|a| *a >= sequence)).await.is_ok_and(|r| r.is_ok())
    }

    /// The deletes of a collection above `after`, and the sequence up to which they are complete; `None` when some
    /// of them have been dropped already.
    pub fn since(&self, collection: CollectionId, after: Sequence) -> Option<(Vec<Arc<Delete>>, Sequence)> {
        let state = self.lock();
        let Some(entry) = state.collections.get(&collection) else {
            return Some((Vec::new(), state.applied));
        };
        if entry.floor > after {
            return None;
        }
        let newer = entry.records.range(after.next()..);
        Some((newer.flat_map(|(_, d)| d.iter().cloned()).collect(), state.applied))
    }

    /// What is held of a collection, by record, from `from` on (a sequence, and how many keys of its record to skip) and up to
    /// `through`: at most `limit` keys. The second value is where to go on.
    pub fn page(
        &self,
        collection: CollectionId,
        from: (Sequence, usize),
        through: Sequence,
        limit: usize,
    ) -> (Vec<Record>, Option<(Sequence, usize)>) {
        let state = self.lock();
        let mut page = Vec::new();
        let mut room = limit;
        let Some(entry) = state.collections.get(&collection) else { return (page, None) };
        for (sequence, record) in entry.records.range(from.0..).take_while(|(s, _)| **s <= through) {
            let skip = if *sequence == from.0 { from.1.min(record.len()) } else { 0 };
            let taken = room.min(record.len() - skip);
            if taken > 0 {
                page.push(record[skip..skip + taken].to_vec());
            }
            room -= taken;
            if skip + taken < record.len() {
                return (page, Some((*sequence, skip + taken)));
            }
        }
        (page, None)
    }

    /// Whether a collection has more than `most` deletes above `after`.
    pub fn has_more_than(&self, collection: CollectionId, after: Sequence, most: usize) -> bool {
        let state = self.lock();
        let Some(entry) = state.collections.get(&collection) else { return false };
        let mut left = most;
        entry.records.range(after.next()..).any(|(_, record)| {
            let over = record.len() > left;
            left = left.saturating_sub(record.len());
            over
        })
    }

    /// Number of deletes of a collection above `after`, and the first of their sequences.
    pub fn pending(&self, collection: CollectionId, after: Sequence) -> (usize, Option<Sequence>) {
        let state = self.lock();
        let Some(entry) = state.collections.get(&collection) else { return (0, None) };
        let mut newer = entry.records.range(after.next()..).peekable();
        let first = newer.peek().map(|(s, _)| **s);
        (newer.map(|(_, d)| d.len()).sum(), first)
    }

    /// The first delete of a collection above `after`.
    pub fn first_after(&self, collection: CollectionId, after: Sequence) -> Option<Sequence> {
        let state = self.lock();
        let entry = state.collections.get(&collection)?;
        entry.records.range(after.next()..).next().map(|(sequence, _)| *sequence)
    }

    /// Collections that are held, each with its floor.
    pub fn floors(&self) -> Vec<(CollectionId, Sequence)> {
        self.lock().collections.iter().map(|(id, c)| (*id, c.floor)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use mishards_types::{Incarnation, Key, PartitionId, Timestamp};

    const C: CollectionId = CollectionId(5);
    const E: Epoch = Epoch(3);

    fn delete(sequence: u64) -> Vec<Arc<Delete>> {
        vec![Arc::new(Delete {
            sequence: Sequence(sequence),
            partition: PartitionId(0),
            visible_at: Timestamp(sequence),
            resolved_at: Timestamp(sequence),
            key: Key::Int(1),
        })]
    }

    /// A table that follows epoch 3, complete up to 10.
    fn following() -> Deletes {
        let deletes = Deletes::default();
        deletes.begin(E);
        assert!(deletes.add_followed(E, C, delete(4)) && deletes.advance_followed(E, Sequence(10)));
        deletes
    }

    #[test]
    fn what_comes_by_another_stream_changes_nothing() {
        let deletes = following();
        for other in [Epoch(0), Epoch(2), Epoch(4)] {
            assert!(!deletes.add_followed(other, C, delete(11)));
            assert!(!deletes.raise_floor_followed(other, C, Sequence(9)));
            assert!(!deletes.advance_followed(other, Sequence(20)));
        }
        let (found, through) = deletes.since(C, Sequence(0)).unwrap();
        assert_eq!((found.len(), through), (1, Sequence(10)));
        deletes.adopt(Deletes::own(Epoch(4)), &line(log(4, 40), &[], 0));
        assert!(!deletes.add_followed(E, C, delete(11)), "its own log says what is deleted");
    }

    #[test]
    fn what_an_ended_term_has_applied_stays_until_the_next_stream() {
        let deletes = following();
        deletes.adopt(Deletes::own(Epoch(4)), &line(log(4, 40), &[log(3, 30)], 10));
        deletes.add(Epoch(4), C, delete(12));
        deletes.advance(Epoch(4), Sequence(12));
        deletes.retire();
        assert_eq!(deletes.since(C, Sequence(0)).unwrap().0.len(), 1);
        assert!(!deletes.advance_followed(E, Sequence(13)), "the stream of another term");
        let before = deletes.line();
        deletes.adopt(Deletes::own(Epoch(5)), &line(log(5, 50), &[log(4, 40)], 12));
        assert_eq!(deletes.line(), before, "its next term goes on from its last one");
        deletes.add(Epoch(4), C, delete(13));
        deletes.advance(Epoch(4), Sequence(13));
        assert!(deletes.applied() < Sequence(13), "a late word of the ended term");
        deletes.advance(Epoch(5), Sequence(20));
        deletes.retire();
        let next = Deletes::default();
        next.begin(Epoch(6));
        deletes.replace_with(next, Some(line(log(6, 60), &[log(5, 50)], 19)));
        assert!(deletes.line() > before, "another writer lacks what was applied");
    }

    fn log(epoch: u64, incarnation: u64) -> LogId {
        LogId { epoch: Epoch(epoch), incarnation: Incarnation(incarnation) }
    }

    fn line(term: LogId, before: &[LogId], recovered: u64) -> Line {
        Line { term, before: before.to_vec(), recovered: Sequence(recovered) }
    }

    #[test]
    fn of_an_older_writer_the_epoch_must_do() {
        let next = || {
            let next = Deletes::default();
            next.begin(Epoch(4));
            next
        };
        let deletes = following();
        deletes.replace_with(next(), Some(line(log(4, 40), &[log(3, 30)], 10)));
        assert_eq!(deletes.line(), 0);
        let deletes = following();
        deletes.replace_with(next(), Some(line(log(4, 40), &[log(3, 30)], 9)));
        assert_eq!(deletes.line(), 1);
    }

    #[test]
    fn another_line_of_time_is_told_by_its_terms_and_not_by_its_numbers() {
        let deletes = Deletes::default();
        let follow = |term: LogId, before: &[LogId], recovered: u64, applied: u64| {
            let next = Deletes::default();
            next.begin(term.epoch);
            assert!(next.advance_followed(term.epoch, Sequence(applied)));
            let was = deletes.line();
            deletes.replace_with(next, Some(line(term, before, recovered)));
            deletes.line() == was
        };
        assert!(follow(log(3, 30), &[], 0, 10), "nothing was applied before");
        assert!(follow(log(3, 30), &[], 0, 12), "the same log");
        assert!(follow(log(4, 40), &[log(3, 30)], 12, 15), "its successor");
        assert!(!follow(log(4, 41), &[log(3, 30)], 12, 15), "the same numbers, another log");
        assert!(!follow(log(5, 50), &[log(3, 30), log(4, 41)], 14, 20), "a record less than was applied");
        assert!(!follow(log(7, 70), &[log(6, 60)], 99, 100), "its predecessor is not known");
        let before = deletes.line();
        deletes.adopt(Deletes::own(Epoch(8)), &line(log(8, 80), &[log(7, 70)], 100));
        assert_eq!(deletes.line(), before, "its own log goes on from what it followed");
    }

    #[test]
    fn floors_let_go_and_a_dropped_collection_is_not_one_without_deletes() {
        let deletes = following();
        deletes.add_followed(E, C, delete(8));
        assert_eq!(deletes.entries(), (2, 0));
        assert!(deletes.raise_floor_followed(E, C, Sequence(4)));
        assert_eq!(deletes.entries(), (1, 0));
        assert!(deletes.since(C, Sequence(3)).is_none() && deletes.since(C, Sequence(4)).is_some());
        deletes.forget(E, C);
        assert_eq!(deletes.entries(), (0, 0));
        assert!(deletes.since(C, Sequence(10)).is_none());
        for id in 0..2 * FORGOTTEN as i64 {
            deletes.forget(E, CollectionId(1000 + id));
        }
        assert_eq!(deletes.floors().len(), FORGOTTEN, "those that were dropped lately");
        assert!(deletes.since(CollectionId(999 + 2 * FORGOTTEN as i64), Sequence(10)).is_none());
    }
}
