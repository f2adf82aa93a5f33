//! Merging sub-results: newest copy of each key, one order, offset and limit, groups. Pure.

use crate::offload::Left;
use crate::scatter::About;
use crate::wire::keys_of;
use mishards_proto::node::RowBatch;
use mishards_types::{Key, PartitionId, SegmentId, Timestamp};
use std::cmp::Ordering;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// A row that a node found.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub key: Key,
    pub timestamp: Timestamp,
    /// 0 for growing rows.
    pub segment: SegmentId,
    /// Of growing rows.
    pub partition: PartitionId,
    pub row: u32,
    /// Smaller is nearer.
    pub distance: f32,
    pub group: Option<String>,
}

/// The lists of one sub-result, one per query. `None` when its parts do not fit together, or are not about what was
/// asked: an answer that lacks a segment would be missed by nobody.
pub fn decode(batch: RowBatch, queries: usize, about: &About, left: &Left) -> Option<Vec<Vec<Row>>> {
    if !is_about(&batch, about) || batch.lens.len() != queries {
        return None;
    }
    let keys = keys_of(batch.keys);
    let count = keys.len();
    let aligned = [batch.timestamps.len(), batch.segments.len(), batch.rows.len(), batch.scores.len()]
        .iter()
        .all(|n| *n == count);
    let total: u64 = batch.lens.iter().map(|n| u64::from(*n)).sum();
    if !aligned || total != count as u64 || !(batch.groups.is_empty() || batch.groups.len() == count) {
        return None;
    }
    let asked: HashSet<i64> = about.segments.iter().copied().collect();
    let known = |id: &i64| if *id == 0 { about.growing } else { asked.contains(id) };
    let has_partitions = batch.partitions.len() == count || batch.segments.iter().all(|id| *id != 0);
    if !batch.segments.iter().all(known) || !has_partitions {
        return None;
    }
    let mut groups = batch.groups.into_iter();
    let mut rows = left.watch(keys).enumerate().map(|(i, key)| Row {
        key,
        timestamp: Timestamp(batch.timestamps[i]),
        segment: SegmentId(batch.segments[i]),
        partition: PartitionId(batch.partitions.get(i).copied().unwrap_or(0)),
        row: batch.rows[i],
        distance: batch.scores[i],
        group: groups.next(),
    });
    let list = |length: &u32| {
        let mut list = Vec::with_capacity(*length as usize);
        list.extend(rows.by_ref().take(*length as usize));
        list
    };
    Some(batch.lens.iter().map(list).collect())
}

/// Whether a node has answered for all that it was asked about.
pub fn is_about(batch: &RowBatch, about: &About) -> bool {
    let mut asked = about.segments.clone();
    let Some(served) = &batch.served else { return false };
    let mut answered = served.segments.clone();
    asked.sort_unstable();
    answered.sort_unstable();
    asked == answered && served.growing == about.growing
}

/// Of several copies of a key the newest stays; then nearest first, ties by the smaller key.
pub fn merge(lists: Vec<Vec<Row>>) -> Vec<Row> {
    let mut newest: HashMap<Key, Row> = HashMap::new();
    for row in lists.into_iter().flatten() {
        match newest.get(&row.key) {
            Some(known) if newer_first(known, &row).is_le() => {}
            _ => drop(newest.insert(row.key.clone(), row)),
        }
    }
    let mut rows: Vec<Row> = newest.into_values().collect();
    rows.sort_by(|a, b| a.distance.total_cmp(&b.distance).then_with(|| a.key.cmp(&b.key)));
    rows
}

/// Lists in the order of their keys, each key once in a list, as one: of several copies of a key the newest stays. Up to
/// `limit` rows.
pub fn merge_by_key(lists: Vec<Vec<Row>>, limit: usize, left: &Left) -> Vec<Row> {
    let total: usize = lists.iter().map(Vec::len).sum();
    let mut rows: Vec<Row> = Vec::with_capacity(total.min(limit));
    let mut lists: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
    let heads =
        lists.iter_mut().enumerate().filter_map(|(list, rows)| Some(Head { row: rows.next()?, list }));
    let mut heads: BinaryHeap<Head> = heads.collect();
    for _ in left.watch(0..total) {
        let Some(mut head) = heads.peek_mut() else { break };
        let row = match lists[head.list].next() {
            Some(next) => std::mem::replace(&mut head.row, next),
            None => PeekMut::pop(head).row,
        };
        let is_full = rows.len() == limit;
        match rows.last_mut().filter(|last| last.key == row.key) {
            Some(last) if newer_first(last, &row).is_le() => {}
            Some(last) => *last = row,
            None if is_full => break,
            None => rows.push(row),
        }
    }
    rows
}

/// The next row of a list. The greatest is the one with the smallest key.
struct Head {
    row: Row,
    list: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        other.row.key.cmp(&self.row.key).then_with(|| other.list.cmp(&self.list))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

/// Copies of one write have one timestamp: then the place decides, so that the answer does not depend on who was
/// faster.
fn newer_first(a: &Row, b: &Row) -> Ordering {
    (b.timestamp, b.segment, b.partition, b.row).cmp(&(a.timestamp, a.segment, a.partition, a.row))
}

/// The rows after `offset`, at most `limit`.
pub fn page(rows: Vec<Row>, offset: usize, limit: usize) -> Vec<Row> {
    rows.into_iter().skip(offset).take(limit).collect()
}

/// The groups after the first `offset`, at most `limit`, each with its first `size` rows. With `strict` only groups
/// that have all `size` rows count.
pub fn page_groups(rows: Vec<Row>, offset: usize, limit: usize, size: usize, strict: bool) -> Vec<Row> {
    let mut order: Vec<String> = Vec::new();
    let mut groups: HashMap<String, Vec<Row>> = HashMap::new();
    for row in rows {
        let key = row.group.clone().unwrap_or_default();
        let group = groups.entry(key.clone()).or_insert_with(|| {
            order.push(key);
            Vec::new()
        });
        if group.len() < size {
            group.push(row);
        }
    }
    let chosen = order.iter().filter_map(|key| groups.get(key)).filter(|g| !strict || g.len() == size);
    chosen.skip(offset).take(limit).flatten().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(key: i64, timestamp: u64, distance: f32) -> Row {
        Row {
            key: Key::Int(key),
            timestamp: Timestamp(timestamp),
            segment: SegmentId(1),
            partition: PartitionId(0),
            row: 0,
            distance,
            group: None,
        }
    }

    #[test]
    fn the_newest_copy_wins_even_when_it_is_farther() {
        let merged = merge(vec![vec![row(1, 10, 0.1), row(2, 5, 0.2)], vec![row(1, 20, 0.9)]]);
        assert_eq!(
            merged.iter().map(|r| (r.key.clone(), r.distance)).collect::<Vec<_>>(),
            vec![(Key::Int(2), 0.2), (Key::Int(1), 0.9)]
        );
    }

    #[test]
    fn nothing_merges_to_nothing() {
        assert!(merge(Vec::new()).is_empty());
        assert!(merge(vec![Vec::new(), Vec::new()]).is_empty());
        assert!(page(merge(vec![vec![row(1, 1, 0.0)]]), 1, 10).is_empty());
    }

    #[test]
    fn groups_are_limited_and_strict_ones_are_full() {
        let with =
            |key, distance, group: &str| Row { group: Some(group.to_owned()), ..row(key, 1, distance) };
        let rows = || {
            vec![
                with(1, 0.1, "a"),
                with(2, 0.2, "b"),
                with(3, 0.3, "a"),
                with(4, 0.4, "c"),
                with(5, 0.5, "a"),
            ]
        };
        let keys = |rows: Vec<Row>| rows.into_iter().map(|r| r.key).collect::<Vec<_>>();
        assert_eq!(keys(page_groups(rows(), 0, 2, 2, false)), [1, 3, 2].map(Key::Int));
        assert_eq!(keys(page_groups(rows(), 1, 5, 2, false)), [2, 4].map(Key::Int));
        assert_eq!(keys(page_groups(rows(), 0, 5, 2, true)), [1, 3].map(Key::Int));
    }

    #[test]
    fn a_batch_that_does_not_fit_is_refused() {
        use mishards_proto::node::Served;
        use mishards_proto::schema::{IDs, LongArray, i_ds::IdField};
        let about = About { segments: vec![7, 8], growing: true };
        let good = RowBatch {
            lens: vec![1, 1],
            keys: Some(IDs { id_field: Some(IdField::IntId(LongArray { data: vec![1, 2] })) }),
            timestamps: vec![5, 6],
            segments: vec![8, 0],
            rows: vec![0, 1],
            partitions: vec![0, 3],
            scores: vec![0.5, 0.25],
            served: Some(Served { segments: vec![8, 7], growing: true, ..Default::default() }),
            ..Default::default()
        };
        let lists = decode(good.clone(), 2, &about, &Left::default()).unwrap();
        assert_eq!((lists[0][0].segment, lists[1][0].segment), (SegmentId(8), SegmentId(0)));
        type Spoil = fn(&mut RowBatch);
        let spoil: [(&str, Spoil); 10] = [
            ("a growing row without its partition", |b| b.partitions.clear()),
            ("another number of queries", |b| b.lens = vec![2]),
            ("lengths that do not add up", |b| b.lens = vec![1, 2]),
            ("a score too few", |b| b.scores.truncate(1)),
            ("a group too few", |b| b.groups = vec!["1".to_owned()]),
            ("no keys", |b| b.keys = None),
            ("a row of a segment that was not asked for", |b| b.segments = vec![9, 0]),
            ("a segment left out", |b| b.served.as_mut().unwrap().segments = vec![8]),
            ("growing rows left out", |b| b.served.as_mut().unwrap().growing = false),
            ("no word of what was searched", |b| b.served = None),
        ];
        for (what, spoil) in spoil {
            let mut bad = good.clone();
            spoil(&mut bad);
            assert!(decode(bad, 2, &about, &Left::default()).is_none(), "{what}");
        }
        assert!(
            decode(good, 2, &About { growing: false, ..about }, &Left::default()).is_none(),
            "a growing row that was not asked for"
        );
    }

    proptest! {
        /// Splitting rows into sub-results in any way and merging their top k gives the top k of all.
        #[test]
        fn merge_equals_brute_force(
            rows in prop::collection::vec((0i64..30, 1u64..5, 0u8..6, 0usize..4), 0..60),
            k in 0usize..20,
        ) {
            let all: Vec<Row> = rows.iter().enumerate().map(|(i, (key, ts, d, part))| Row {
                segment: SegmentId(*part as i64), row: i as u32, ..row(*key, *ts, f32::from(*d))
            }).collect();
            let expected = page(merge(vec![all.clone()]), 0, k);
            let mut parts = vec![Vec::new(); 4];
            for (row, (.., part)) in all.into_iter().zip(&rows) {
                parts[*part].push(row);
            }
            // A node may cut its list at k only if it holds every copy of a key, so parts here are whole.
            prop_assert_eq!(page(merge(parts), 0, k), expected);
        }

        /// So it is with lists in the order of their keys.
        #[test]
        fn merge_by_key_equals_brute_force(
            rows in prop::collection::vec((0i64..30, 1u64..5, 0usize..4), 0..60),
            limit in 0usize..40,
        ) {
            let mut parts = vec![Vec::new(); 4];
            for (i, (key, ts, part)) in rows.iter().enumerate() {
                parts[*part].push(Row { segment: SegmentId(*part as i64), row: i as u32, ..row(*key, *ts, 0.0) });
            }
            // Of each node each key once, in order.
            let parts: Vec<Vec<Row>> = parts.into_iter().map(|part| merge(vec![part])).collect();
            let expected = page(merge(parts.clone()), 0, limit);
            prop_assert_eq!(merge_by_key(parts, limit, &Left::default()), expected);
        }
    }
}
