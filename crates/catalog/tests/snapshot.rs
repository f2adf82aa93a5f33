//! The snapshot as a pure function of its commits: which rows are new to files, which files nobody needs any
//! more, and that it survives the wire.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sample;

use mishards_catalog::*;
use mishards_types::{CollectionId, FieldId, IndexId, Sequence, Version};
use sample::*;
use std::collections::BTreeSet;

fn flushed_since(snapshot: &Snapshot, seq: u64) -> Vec<i64> {
    snapshot.flushed_since(version(seq), CollectionId(10)).iter().map(|s| s.id.0).collect()
}

fn removed_through(snapshot: &Snapshot, commit: u64) -> Vec<String> {
    snapshot.files_removed_through(commit).into_iter().map(|f| f.path).collect()
}

fn flush(id: i64) -> Change {
    put_segment(segment(id, Origin::Flush, id as u64))
}

fn drop_segment(id: i64) -> Change {
    remove(EntityKind::Segment, id)
}

#[test]
fn rows_are_new_to_files_from_the_commit_of_their_flush_on() {
    let s = after([begin(), vec![flush(20)], vec![flush(21), flush(22)], vec![put_delta(delta(30, 1))]]);
    for (seq, expected) in
        [(0, vec![20, 21, 22]), (1, vec![20, 21, 22]), (2, vec![21, 22]), (3, vec![]), (4, vec![])]
    {
        assert_eq!(flushed_since(&s, seq), expected, "since {seq}");
    }
    assert!(s.flushed_since(version(0), CollectionId(12)).is_empty());
}

/// A merge makes no new rows: its inputs still answer for a V before they were flushed, its output never does.
#[test]
fn a_merge_makes_no_new_rows() {
    let merged = vec![drop_segment(20), drop_segment(21), put_segment(segment(25, Origin::Merge, 21))];
    let again = vec![drop_segment(25), drop_segment(22), put_segment(segment(26, Origin::Merge, 22))];
    let s = after([begin(), vec![flush(20)], vec![flush(21)], merged, vec![flush(22)], again]);
    for (seq, expected) in
        [(1, vec![20, 21, 22]), (2, vec![21, 22]), (3, vec![22]), (4, vec![22]), (5, vec![])]
    {
        assert_eq!(flushed_since(&s, seq), expected, "since {seq}");
    }
}

/// A new version of a segment (an index, a delete file) is described as it is now, and counted from its first.
#[test]
fn an_index_makes_no_new_rows() {
    let indexed = || with_index(segment(20, Origin::Flush, 20), "idx/1");
    let folded = Segment { delete_file: Some(file("del/1")), folded_through: Sequence(9), ..indexed() };
    let s =
        after([begin(), vec![flush(20)], vec![put_segment(indexed())], vec![put_segment(folded.clone())]]);
    assert_eq!(flushed_since(&s, 1), [20]);
    assert_eq!(*s.flushed_since(version(1), CollectionId(10))[0], folded);
    for seq in [2, 3, 4] {
        assert!(flushed_since(&s, seq).is_empty(), "since {seq}");
    }
    // The same once it was merged away: the newest version describes the files.
    let s = s.apply(version(5), &[drop_segment(20), put_segment(segment(25, Origin::Merge, 20))]);
    assert_eq!(*s.flushed_since(version(1), CollectionId(10))[0], folded);
    assert!(flushed_since(&s, 2).is_empty());
}

/// Whoever loads the rows, whoever got them over the wire and whoever applied each commit give the same answer.
#[test]
fn every_holder_of_a_version_answers_alike() {
    let applied = after(history());
    let loaded = Snapshot::from_rows(applied.version, applied.epoch, applied.rows());
    let mut reversed = applied.rows();
    reversed.reverse();
    let reversed = Snapshot::from_rows(applied.version, applied.epoch, reversed);
    for seq in 0..=8 {
        for other in [&loaded, &reversed] {
            assert_eq!(flushed_since(other, seq), flushed_since(&applied, seq));
            assert_eq!(removed_through(other, seq), removed_through(&applied, seq));
        }
    }
    assert_eq!(flushed_since(&applied, 1), [20, 21, 23]);
}

#[test]
fn files_go_with_the_last_row_that_names_them() {
    let s = after(history());
    let names = |paths: &[&str]| paths.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
    assert!(removed_through(&s, 4).is_empty());
    let inputs =
        ["idx/1", "seg/20/columns", "seg/20/footer", "seg/20/vectors", "seg/21/columns", "seg/21/footer"];
    let mut expected = names(&inputs);
    expected.push("seg/21/vectors".to_owned());
    assert_eq!(removed_through(&s, 5), expected);
    expected.insert(0, "delta/30".to_owned());
    assert_eq!(removed_through(&s, 6), expected);
}

#[test]
fn a_replaced_version_gives_up_only_what_the_new_one_does_not_name() {
    let indexed = |path| put_segment(with_index(segment(20, Origin::Flush, 20), path));
    let s = after([begin(), vec![flush(20)], vec![indexed("idx/1")], vec![indexed("idx/2")]]);
    assert!(removed_through(&s, 3).is_empty());
    assert_eq!(removed_through(&s, 4), ["idx/1"]);
    let moved = delta(30, 9);
    let s = after([begin(), vec![put_delta(delta(30, 4))], vec![put_delta(moved)]]);
    assert!(removed_through(&s, 3).is_empty());
}

/// Every V from `commit` on is still answered: no file that it names is given up.
#[test]
fn no_file_of_an_answerable_version_is_given_up() {
    let more = vec![
        vec![put_delta(delta(40, 1)), flush(50)],
        vec![put_delta(delta(40, 2)), put_segment(with_index(segment(50, Origin::Flush, 50), "idx/50"))],
        vec![
            remove(EntityKind::DeltaFile, 40),
            drop_segment(50),
            put_segment(segment(51, Origin::Merge, 50)),
        ],
        vec![put_segment(with_index(segment(51, Origin::Merge, 50), "idx/51"))],
        vec![put_segment(segment(51, Origin::Merge, 50))],
    ];
    let commits: Vec<_> = history().into_iter().chain(more).collect();
    let last = commits.len() as u64;
    let at: Vec<Snapshot> = (0..=commits.len()).map(|n| after(commits[..n].iter().cloned())).collect();
    let end = &at[commits.len()];
    let mut all = BTreeSet::new();
    for commit in 0..=last {
        let given_up: BTreeSet<String> = removed_through(end, commit).into_iter().collect();
        for answerable in &at[commit as usize..] {
            let segments = answerable.segments().flat_map(|s| s.all_files());
            for file in segments.chain(answerable.deltas().map(|d| &d.file)) {
                assert!(!given_up.contains(&file.path), "{} at {}", file.path, answerable.version);
            }
        }
        assert!(all.is_subset(&given_up), "what is given up stays given up");
        all = given_up;
    }
    let named = |s: &Snapshot| {
        s.segments().flat_map(|s| s.all_files().cloned().collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let ever: BTreeSet<String> = at.iter().flat_map(named).map(|f| f.path).collect();
    let live: BTreeSet<String> = named(end).into_iter().map(|f| f.path).collect();
    assert!(ever.difference(&live).all(|path| all.contains(path)), "nothing is kept for ever");
}

#[test]
fn a_purge_forgets_what_was_removed_and_the_versions_before() {
    let mut s = after(history());
    assert!((0..=8).all(|seq| s.knows(version(seq))));
    assert!(!s.knows(Version { commit_id: 5, ..version(3) }), "another history");
    let live = |s: &Snapshot| s.rows().into_iter().filter(|r| r.removed_at.is_none()).count();
    let before = live(&s);
    s.purge(5);
    assert!((0..=5).all(|seq| !s.knows(version(seq))) && (6..=8).all(|seq| s.knows(version(seq))));
    assert!(removed_through(&s, 5).is_empty());
    assert_eq!(removed_through(&s, 6), ["delta/30"]);
    s.purge(100);
    assert_eq!((live(&s), s.rows().len()), (before, before));
    assert!(s.knows(s.version), "the present is always known");
}

#[test]
fn a_snapshot_survives_the_wire() {
    let mut with_options = collection(60, "options");
    with_options.indexes.push(IndexDef {
        id: IndexId(5),
        name: "vec".to_owned(),
        field: FieldId(101),
        kind: "HNSW".to_owned(),
        metric: Some(mishards_types::Metric::Cosine),
        params: [("M".to_owned(), "16".to_owned())].into(),
        user_params: vec![("metric_type".to_owned(), "COSINE".to_owned())],
        created_at: mishards_types::Timestamp(u64::MAX),
    });
    with_options.schema.fields[2].default = Some(mishards_types::Value::Float(0.1));
    let s = after(history().into_iter().chain([vec![put_collection(with_options)]]));
    let wire = serde_json::to_vec(&s).unwrap();
    let back: Snapshot = serde_json::from_slice(&wire).unwrap();
    assert_eq!(rows(&back), rows(&s));
    assert_eq!((back.version, back.epoch), (s.version, s.epoch));
    assert!(back.knows(s.version));
    assert_eq!(back.collections().collect::<Vec<_>>(), s.collections().collect::<Vec<_>>());
    assert!(serde_json::from_slice::<Snapshot>(&wire[..wire.len() - 1]).is_err());
    assert!(serde_json::from_slice::<Snapshot>(b"[{},1]").is_err());
}
