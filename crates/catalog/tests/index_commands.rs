//! What commands on indexes, load and release change, and the codes that refuse them, in tables.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sample;
mod world;

use mishards_catalog::*;
use mishards_types::{DataType, Metric, Schema};
use sample::{field, put_segment, schema, segment, with_index};
use world::*;

fn two_vectors() -> Schema {
    let mut schema = schema();
    schema.fields.push(field(103, "vec2", DataType::FloatVector));
    schema
}

#[test]
fn indexes() {
    let make = || {
        world().with([
            create_with("c", two_vectors(), 1, 0),
            alias("c", "a"),
            index("c", "vec", "", "8"),
            index("c", "tag", "t", "1"),
        ])
    };
    let mut cosine = index("c", "vec", "", "8");
    if let Command::CreateIndex { metric, .. } = &mut cosine {
        *metric = Some(Metric::Cosine);
    }
    table(
        make,
        [
            (index("c", "vec", "", "8"), OK, false),
            (index("a", "vec", "vec", "8"), OK, false),
            (index("c", "vec", "", "9"), 1100, false),
            (cosine, 1100, false),
            (index("c", "vec", "other", "8"), 1100, false),
            (index("c", "vec2", "vec", "8"), 1100, false),
            (index("c", "vec2", "", "8"), OK, true),
            (index("c", "vec2", "bad name", "8"), 1100, false),
            (index("c", "missing", "", "8"), 1100, false),
            (index("missing", "vec", "", "8"), 100, false),
            (drop_index("c", "vec", ""), OK, true),
            (drop_index("c", "", "t"), OK, true),
            (drop_index("c", "vec", "t"), OK, false),
            (drop_index("c", "", "missing"), OK, false),
            (drop_index("c", "missing", ""), OK, false),
            (drop_index("c", "", ""), 702, false),
            (drop_index("missing", "vec", ""), 100, false),
        ],
    );
    assert_eq!(make().collection("c").index_on(mishards_types::FieldId(101)).unwrap().name, "vec");
    let loaded = || make().with([index("c", "vec2", "", "8"), load("c", &[])]);
    table(loaded, [(drop_index("c", "vec", ""), 1100, false), (drop_index("c", "tag", ""), OK, true)]);
    let released = || loaded().with([release("c", &[])]);
    table(released, [(drop_index("c", "vec", ""), OK, true)]);
}

#[test]
fn a_dropped_index_takes_its_files_alone() {
    let mut w = world().with([create("c"), index("c", "vec", "", "8"), index("c", "tag", "", "1")]);
    let c = w.collection("c");
    let partition = w.snapshot.partitions_of(c.id).next().unwrap().id;
    let mut one = with_index(with_index(segment(50, Origin::Flush, 3), "idx/vec"), "idx/tag");
    (one.collection, one.partition) = (c.id, partition);
    (one.indexes[0].index, one.indexes[1].index) = (c.indexes[0].id, c.indexes[1].id);
    w.apply(&[put_segment(one)]);
    assert_eq!(w.run(&drop_index("c", "vec", "")), (OK, 2));
    let left = w.snapshot.segments().next().unwrap();
    assert_eq!(left.indexes.iter().map(|i| &*i.file.path).collect::<Vec<_>>(), ["idx/tag"]);
    let gone = w.snapshot.files_removed_through(w.snapshot.version.commit_seq);
    assert_eq!(gone.iter().map(|f| &*f.path).collect::<Vec<_>>(), ["idx/vec"]);
}

#[test]
fn loading_needs_an_index_on_every_vector() {
    let make = || world().with([create_with("c", two_vectors(), 1, 0), index("c", "tag", "", "1")]);
    table(make, [(load("c", &[]), 700, false), (load("missing", &[]), 100, false)]);
    let half = || make().with([index("c", "vec", "", "8")]);
    table(half, [(load("c", &[]), 1100, false), (release("c", &[]), OK, false)]);
    let full = || half().with([index("c", "vec2", "", "8")]);
    table(full, [(load("c", &[]), OK, true)]);
}

#[test]
fn load_and_release() {
    let base = || {
        world()
            .with([create("c"), partition("c", "p"), alias("c", "a"), index("c", "vec", "", "8")])
            .with([create_with("k", keyed(), 1, 2), index("k", "vec", "", "8")])
    };
    table(
        base,
        [
            (load("a", &[]), OK, true),
            (load("c", &["p"]), OK, true),
            (load("c", &["p", "missing"]), 200, false),
            (load("k", &["_default_0"]), 1100, false),
            (load("k", &[]), OK, true),
            (release("c", &[]), OK, false),
            (release("c", &["p"]), OK, false),
            (release("c", &["missing"]), 200, false),
            (release("k", &["_default_0"]), 1100, false),
            (release("missing", &[]), 100, false),
        ],
    );
    let whole = || base().with([load("c", &[])]);
    table(
        whole,
        [
            (load("c", &[]), OK, false),
            (load("c", &["p"]), OK, false),
            (load("c", &["missing"]), 200, false),
            (release("a", &[]), OK, true),
            (release("c", &["p"]), OK, true),
        ],
    );
    assert_eq!(whole().with([partition("c", "later")]).loaded("c"), ["_default", "p", "later"]);
    assert_eq!(whole().with([release("c", &["p"])]).loaded("c"), ["_default"]);
    let part = || base().with([load("c", &["p"])]);
    assert_eq!(part().with([partition("c", "later")]).loaded("c"), ["p"]);
    assert_eq!(part().with([load("c", &["_default"])]).loaded("c"), ["_default", "p"]);
    assert_eq!(part().with([load("c", &[])]).loaded("c"), ["_default", "p"]);
    let none = part().with([release("c", &["p"])]);
    assert_eq!(none.collection("c").load, LoadState::default(), "without its last partition it is released");
    let none = whole().with([release("c", &["p", "_default"])]);
    assert!(!none.collection("c").load.is_loaded());
    let replicas =
        Command::Load { database: name("default"), collection: name("c"), partitions: vec![], replicas: 0 };
    assert_eq!(base().with([replicas]).collection("c").load.replicas, 1);
}
