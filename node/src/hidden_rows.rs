//! Which rows a list of deletes hides, when many of them are about few keys: a counter that is written fifty times a
//! second has as many copies as deletes, and their product must not be walked.

use mishards_segment::{Delete, Tombstone};
use mishards_types::{Key, Timestamp};
use std::collections::HashMap;

/// The rows that deletes hide, given in log order: each once, from the first delete on that hides it. `rows_of` are the
/// rows with a key that nothing hides yet, and their timestamps. For d deletes of a key with n rows it takes d + n log d
/// steps.
pub fn hidden_rows<'a>(
    deletes: impl Iterator<Item = &'a Delete>,
    rows_of: impl Fn(&Key) -> Vec<(u32, Timestamp)>,
) -> Vec<Tombstone> {
    let mut by_key: HashMap<&Key, Vec<&Delete>> = HashMap::new();
    for delete in deletes {
        let list = by_key.entry(&delete.key).or_default();
        // One that reaches no farther than one before it hides nothing more.
        if list.last().is_none_or(|last| last.resolved_at < delete.resolved_at) {
            list.push(delete);
        }
    }
    let mut found = Vec::new();
    for (key, deletes) in by_key {
        for (row, timestamp) in rows_of(key) {
            let first = deletes.partition_point(|d| d.resolved_at < timestamp);
            found.extend(deletes.get(first).map(|d| Tombstone { row, visible_at: d.visible_at }));
        }
    }
    found.sort_unstable_by_key(|t| (t.visible_at, t.row));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use mishards_types::{PartitionId, Sequence};
    use proptest::prelude::*;

    fn delete((key, sequence, resolved_at): (i64, u64, u64)) -> Delete {
        let (sequence, visible_at) = (Sequence(sequence), Timestamp(1000 + sequence));
        let (partition, resolved_at, key) = (PartitionId(0), Timestamp(resolved_at), Key::Int(key));
        Delete { sequence, partition, visible_at, resolved_at, key }
    }

    proptest! {
        #[test]
        fn each_row_is_hidden_by_the_first_delete_that_reaches_it(
            deletes in proptest::collection::vec((0i64..4, 0u64..50), 0..40),
            rows in proptest::collection::vec((0i64..4, 0u64..50), 0..40),
        ) {
            let deletes: Vec<Delete> =
                deletes.iter().enumerate().map(|(i, (key, at))| delete((*key, i as u64, *at))).collect();
            let rows_of = |key: &Key| {
                let numbered = rows.iter().enumerate().filter(|(_, (k, _))| Key::Int(*k) == *key);
                numbered.map(|(i, (_, at))| (i as u32, Timestamp(*at))).collect()
            };
            let mut expected = Vec::new();
            for (row, (key, at)) in rows.iter().enumerate() {
                let hides = |d: &&Delete| d.key == Key::Int(*key) && d.resolved_at >= Timestamp(*at);
                let first = deletes.iter().find(hides);
                expected.extend(first.map(|d| Tombstone { row: row as u32, visible_at: d.visible_at }));
            }
            expected.sort_unstable_by_key(|t| (t.visible_at, t.row));
            prop_assert_eq!(hidden_rows(deletes.iter(), rows_of), expected);
        }
    }
}
