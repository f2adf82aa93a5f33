//! The changes that no writer may commit, each refused by name, and those that it must be able to.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sample;

use mishards_catalog::*;
use mishards_types::{CollectionId, PartitionId, SegmentId, Sequence};
use sample::*;

fn flush(id: i64) -> Change {
    put_segment(segment(id, Origin::Flush, id as u64))
}

/// One that knows all deletes that are in delta files.
fn current(id: i64, origin: Origin, through: u64) -> Segment {
    Segment { folded_through: Sequence(40), ..segment(id, origin, through) }
}

fn drop_segment(id: i64) -> Change {
    remove(EntityKind::Segment, id)
}

/// Deletes seen so far, one segment with a delete file, and a segment that was merged away.
fn settled() -> Snapshot {
    let mut moved = collection(10, "c");
    moved.deltas_through = Sequence(40);
    moved.schema_version = 3;
    let old = Segment { folded_through: Sequence(30), ..segment(20, Origin::Flush, 20) };
    after([
        begin(),
        vec![
            put_segment(old),
            put_partition(partition(11, 10, 20)),
            put_partition(partition(12, 10, 0)),
            put_collection(moved),
            flush(21),
        ],
        vec![drop_segment(21)],
    ])
}

fn assert_refused(name: &str, changes: &[Change], because: &str) {
    let error = check_invariants(&settled(), changes).expect_err(name);
    assert_eq!(error.kind, Kind::Refused, "{name}");
    assert!(error.message.contains(because) && !error.is_retryable(), "{name}: {error}");
}

#[test]
fn each_broken_change_is_refused() {
    let base = || Segment { folded_through: Sequence(30), ..segment(20, Origin::Flush, 20) };
    let fresh = || current(29, Origin::Flush, 25);
    let named = |path: &str| Segment { footer: file(path), ..fresh() };
    let now = || (*settled().collections().next().unwrap().clone()).clone();
    let table: Vec<(&str, &str, Change)> = vec![
        ("footer", "never change", put_segment(Segment { footer: file("other"), ..base() })),
        ("files", "never change", put_segment(Segment { files: vec![file("other")], ..base() })),
        (
            "folded",
            "folded_through went back",
            put_segment(Segment { folded_through: Sequence(29), ..base() }),
        ),
        ("name in use", "name was used", put_segment(named("seg/20/footer"))),
        ("name of a removed one", "name was used", put_segment(named("seg/21/footer"))),
        ("a removed one comes back", "name was used", flush(21)),
        (
            "collection gone",
            "collection is gone",
            put_segment(Segment { collection: CollectionId(99), ..fresh() }),
        ),
        (
            "partition gone",
            "partition is gone",
            put_segment(Segment { partition: PartitionId(99), ..fresh() }),
        ),
        (
            "its deletes are gone",
            "have been dropped",
            put_segment(Segment { folded_through: Sequence(39), ..fresh() }),
        ),
        ("flushed back", "flushed_through went back", put_partition(partition(11, 10, 19))),
        ("flushed alone", "without a segment", put_partition(partition(11, 10, 21))),
        (
            "deltas",
            "deltas_through went back",
            put_collection(Collection { deltas_through: Sequence(39), ..now() }),
        ),
        ("schema", "schema version went back", put_collection(Collection { schema_version: 2, ..now() })),
    ];
    for (name, because, change) in table {
        assert_refused(name, std::slice::from_ref(&change), because);
        // Wherever it stands among good ones.
        assert_refused(name, &[put_alias(alias("a", 10)), change, put_delta(delta(31, 41))], because);
    }
    let late = vec![put_segment(current(29, Origin::Flush, 26)), put_partition(partition(11, 10, 25))];
    assert_refused("a segment beyond the watermark", &late, "without a segment");
    let elsewhere = Segment { partition: PartitionId(12), ..current(29, Origin::Flush, 25) };
    let other = vec![put_segment(elsewhere), put_partition(partition(11, 10, 25))];
    assert_refused("a segment of another partition", &other, "without a segment");
}

#[test]
fn what_the_writer_does_is_allowed() {
    let s = settled();
    let base = || Segment { folded_through: Sequence(30), ..segment(20, Origin::Flush, 20) };
    let now = || (*s.collections().next().unwrap().clone()).clone();
    let allowed: Vec<Vec<Change>> = vec![
        vec![],
        vec![put_segment(current(29, Origin::Flush, 25)), put_partition(partition(11, 10, 25))],
        vec![put_segment(with_index(base(), "idx/1"))],
        vec![put_segment(Segment { delete_file: Some(file("d")), folded_through: Sequence(31), ..base() })],
        vec![drop_segment(20), put_segment(current(29, Origin::Merge, 20))],
        vec![put_delta(delta(31, 44)), put_collection(Collection { deltas_through: Sequence(44), ..now() })],
        vec![put_collection(Collection { schema_version: 4, ..now() })],
        vec![put_partition(Partition { name: "new".to_owned(), ..partition(11, 10, 20) })],
        vec![remove(EntityKind::Collection, 10), drop_segment(20), remove(EntityKind::Partition, 11)],
        vec![put_collection(collection(50, "new")), put_partition(partition(51, 50, 0))],
    ];
    for changes in allowed {
        check_invariants(&s, &changes).unwrap();
    }
    // What it does not know is in a delta file still.
    let kept = s.apply(version(90), &[put_delta(DeltaFile { first: Sequence(31), ..delta(31, 40) })]);
    let behind = |through| {
        put_segment(Segment { folded_through: Sequence(through), ..current(29, Origin::Flush, 25) })
    };
    let publish = |through| vec![behind(through), put_partition(partition(11, 10, 25))];
    check_invariants(&kept, &publish(30)).unwrap();
    assert!(check_invariants(&kept, &publish(29)).is_err());
    let mut held = after([]);
    for (i, changes) in history().into_iter().enumerate() {
        check_invariants(&held, &changes).unwrap();
        held = held.apply(version(i as u64 + 1), &changes);
    }
    assert!(held.segment(SegmentId(22)).is_some());
}
