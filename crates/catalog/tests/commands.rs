//! What commands on databases, collections, partitions and aliases change, and the codes that refuse them, in
//! tables: a world is built from commands, then one more is planned on it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sample;
mod world;

use mishards_catalog::*;
use mishards_types::{Code, CollectionId, Epoch, PartitionId, Sequence, Timestamp, Version, limits};
use sample::{put_segment, schema, segment};
use std::collections::BTreeMap;
use world::*;

#[test]
fn databases() {
    let make = || {
        world().with([
            database("db"),
            Command::CreateCollection {
                database: name("db"),
                name: name("c"),
                schema: Box::new(schema()),
                shards: 1,
                consistency: 0,
                key_partitions: 0,
                properties: BTreeMap::new(),
            },
            database("bare"),
        ])
    };
    let set = || BTreeMap::from([(name("k"), name("v"))]);
    let alter = |db: &str, set, unset: &[&str]| Command::AlterDatabase {
        name: name(db),
        set,
        unset: unset.iter().map(|k| name(k)).collect(),
    };
    table(
        make,
        [
            (database("other"), OK, true),
            (database("db"), 1100, false),
            (database("default"), 1100, false),
            (database("1db"), 802, false),
            (database("a-b"), 802, false),
            (database(""), 802, false),
            (database(&"a".repeat(256)), 802, false),
            (drop_database("bare"), OK, true),
            (drop_database("default"), 1100, false),
            (drop_database("db"), 1100, false),
            (drop_database("missing"), 800, false),
            (drop_database("1x"), 802, false),
            (alter("bare", set(), &[]), OK, true),
            (alter("bare", BTreeMap::new(), &["k"]), OK, true),
            (alter("bare", set(), &["k"]), 1100, false),
            (alter("missing", set(), &[]), 800, false),
        ],
    );
    let mut w = make();
    w.run(&alter("bare", set(), &[]));
    assert_eq!(w.snapshot.database("bare").unwrap().properties, set());
    w.run(&alter("bare", BTreeMap::new(), &["k", "unknown"]));
    assert!(w.snapshot.database("bare").unwrap().properties.is_empty());
}

#[test]
fn a_database_has_at_most_as_many_collections_as_it_says() {
    let limit = |n: &str| Command::AlterDatabase {
        name: name("db"),
        set: BTreeMap::from([(name("database.max.collections"), name(n))]),
        unset: Vec::new(),
    };
    let in_db = |collection: &str| Command::CreateCollection {
        database: name("db"),
        name: name(collection),
        schema: Box::new(schema()),
        shards: 1,
        consistency: 0,
        key_partitions: 0,
        properties: BTreeMap::new(),
    };
    let mut w = world().with([database("db"), limit("2"), in_db("a"), in_db("b"), create("outside")]);
    assert_eq!(w.run(&in_db("c")).0, 102);
    assert_eq!(w.run(&in_db("a")), (OK, 0), "the same one again is no other one");
    assert_eq!(w.run(&rename("outside", "moved", "db")).0, 102);
    assert_eq!(w.run(&create("c")).0, OK, "another database has its own limit");
    w.run(&limit("3"));
    assert_eq!(w.run(&in_db("c")).0, OK);
}

#[test]
fn at_most_64_databases_beside_the_default() {
    let mut w = world().with((0..64).map(|i| database(&format!("db{i}"))));
    assert_eq!(w.run(&database("one_more")).0, 801);
    w = w.with([drop_database("db7")]);
    assert_eq!(w.run(&database("one_more")).0, OK);
}

#[test]
fn collections() {
    let make = || world().with([create("c"), create("d"), alias("c", "a"), create_with("k", keyed(), 1, 3)]);
    let mut other = schema();
    other.fields[2].max_length = Some(65);
    let mut no_vector = schema();
    no_vector.fields.remove(1);
    let in_db = |db: &str| Command::CreateCollection {
        database: name(db),
        name: name("c"),
        schema: Box::new(schema()),
        shards: 1,
        consistency: 2,
        key_partitions: 0,
        properties: BTreeMap::new(),
    };
    table(
        make,
        [
            (create("new"), OK, true),
            (create("c"), OK, false),
            (create_with("c", schema(), 1, 1), OK, false),
            (create_with("c", other, 1, 0), 1100, false),
            (create_with("c", schema(), 2, 0), 1100, false),
            (create_with("k", keyed(), 1, 3), OK, false),
            (create_with("k", keyed(), 1, 4), 1100, false),
            (create("a"), 1601, false),
            (create("1c"), 1100, false),
            (create(""), 1100, false),
            (create(&"a".repeat(256)), 1100, false),
            (create(&"a".repeat(255)), OK, true),
            (create_with("new", no_vector, 1, 0), 1100, false),
            (create_with("new", schema(), 0, 0), 1100, false),
            (create_with("new", schema(), 16, 0), OK, true),
            (create_with("new", schema(), 17, 0), 1100, false),
            (create_with("new", schema(), 1, 2), 1100, false),
            (create_with("new", keyed(), 1, -1), 1100, false),
            (create_with("new", keyed(), 1, 1025), 1100, false),
            (create_with("new", keyed(), 1, 1024), OK, true),
            (in_db("missing"), 800, false),
        ],
    );
    let mut w = make();
    assert_eq!(w.partitions("c"), ["_default"]);
    assert_eq!(w.partitions("k"), ["_default_0", "_default_1", "_default_2"]);
    w.run(&create_with("many", keyed(), 1, 0));
    assert_eq!(w.partitions("many").len() as i64, limits::DEFAULT_PARTITION_KEY_PARTITIONS);
    let c = w.collection("c");
    assert_eq!((c.schema_version, c.created_at, c.deltas_through), (1, Timestamp(5), Sequence(0)));
    assert!(!c.load.is_loaded() && c.indexes.is_empty());
}

#[test]
fn no_id_is_given_twice() {
    let w = world().with([
        database("db"),
        create("c"),
        create_with("k", keyed(), 1, 3),
        index("c", "vec", "", "8"),
    ]);
    let mut ids: Vec<i64> = w.snapshot.collections().map(|c| c.id.0).collect();
    ids.extend(
        w.snapshot
            .collections()
            .flat_map(|c| w.snapshot.partitions_of(c.id).map(|p| p.id.0).collect::<Vec<_>>()),
    );
    ids.extend(w.collection("c").indexes.iter().map(|i| i.id.0));
    ids.extend(w.snapshot.databases().map(|d| d.id.0));
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), count), (9, 9));
}

#[test]
fn at_most_65536_collections() {
    let template = sample::collection(1, "c");
    let rows = (0..limits::COLLECTIONS as i64).map(|i| {
        let collection = Collection { id: CollectionId(i), name: format!("c{i}"), ..template.clone() };
        Row { added_at: 0, removed_at: None, entity: Entity::Collection(Box::new(collection)) }
    });
    let rows = world().snapshot.rows().into_iter().chain(rows).collect();
    let mut full = World { snapshot: Snapshot::from_rows(Version::default(), Epoch(1), rows), next: 1 << 40 };
    assert_eq!(full.plan(&create("one_more")).unwrap_err().code, Code::TOO_MANY_COLLECTIONS);
    full.apply(&[sample::remove(EntityKind::Collection, 77)]);
    full.plan(&create("one_more")).unwrap();
}

#[test]
fn dropping_and_renaming_collections() {
    let make = || world().with([database("db"), create("c"), create("d"), alias("c", "a")]);
    table(
        make,
        [
            (drop_collection("d"), OK, true),
            (drop_collection("missing"), OK, false),
            (drop_collection("c"), 1100, false),
            (drop_collection("a"), 1100, false),
            (Command::DropCollection { database: name("missing"), name: name("c") }, 800, false),
            (rename("c", "new", ""), OK, true),
            (rename("d", "new", "db"), OK, true),
            (rename("d", "d", "db"), OK, true),
            (rename("c", "new", "db"), 1100, false),
            (rename("c", "d", ""), 1100, false),
            (rename("c", "a", ""), 1601, false),
            (rename("a", "new", ""), 1100, false),
            (rename("c", "1", ""), 1100, false),
            (rename("missing", "new", ""), 100, false),
            (rename("c", "new", "missing"), 800, false),
        ],
    );
    let mut w = make();
    w.run(&rename("c", "new", "default"));
    let renamed = w.collection("new");
    assert_eq!((&*renamed.name, w.collection("a").id), ("new", renamed.id), "the alias follows");
    assert_eq!(w.partitions("new"), ["_default"]);
}

#[test]
fn a_dropped_collection_takes_everything_with_it() {
    let mut w = world().with([create("c"), create("d"), partition("c", "p")]);
    let c = w.collection("c").id;
    let kept = w.collection("d").id;
    let parts: Vec<PartitionId> = w.snapshot.partitions_of(c).map(|p| p.id).collect();
    let mut one = segment(50, Origin::Flush, 3);
    (one.collection, one.partition) = (c, parts[1]);
    let delta = DeltaFile { collection: c, ..sample::delta(51, 3) };
    w.apply(&[put_segment(one), sample::put_delta(delta)]);
    assert_eq!(w.run(&drop_collection("c")).0, OK);
    assert_eq!((w.snapshot.segments().count(), w.snapshot.deltas().count()), (0, 0));
    assert_eq!(w.snapshot.partitions_of(c).count(), 0);
    assert_eq!(w.snapshot.partitions_of(kept).count(), 1);
    assert_eq!(w.snapshot.files_removed_through(w.snapshot.version.commit_seq).len(), 4);
}

#[test]
fn partitions() {
    let vectors = [index("c", "vec", "", "8")];
    let make = || {
        world()
            .with([
                create("c"),
                partition("c", "p"),
                partition("c", "q"),
                alias("c", "a"),
                create_with("k", keyed(), 1, 2),
            ])
            .with(vectors.clone())
            .with([load("c", &["q"])])
    };
    table(
        make,
        [
            (partition("c", "new"), OK, true),
            (partition("a", "2024-01"), OK, true),
            (partition("c", "p"), OK, false),
            (partition("c", "_default"), OK, false),
            (partition("c", "-x"), 1100, false),
            (partition("c", ""), 1100, false),
            (partition("missing", "p"), 100, false),
            (partition("k", "p"), 1100, false),
            (drop_partition("c", "p"), OK, true),
            (drop_partition("a", "p"), OK, true),
            (drop_partition("c", "missing"), OK, false),
            (drop_partition("c", "_default"), 1100, false),
            (drop_partition("c", "q"), 1100, false),
            (drop_partition("k", "_default_0"), 1100, false),
            (drop_partition("missing", "p"), 100, false),
        ],
    );
}

#[test]
fn at_most_1024_partitions() {
    let mut w = world().with([create("c")]).with((1..1024).map(|i| partition("c", &format!("p{i}"))));
    assert_eq!(w.run(&partition("c", "one_more")).0, 1100);
    assert_eq!(w.run(&partition("c", "p7")), (OK, 0), "one that is there is no new one");
    assert_eq!(w.run(&drop_partition("c", "p7")).0, OK);
    assert_eq!(w.run(&partition("c", "one_more")).0, OK);
}

#[test]
fn a_dropped_partition_takes_its_segments_alone() {
    let mut w = world().with([create("c"), partition("c", "p")]);
    let c = w.collection("c").id;
    let parts: Vec<PartitionId> = w.snapshot.partitions_of(c).map(|p| p.id).collect();
    for (i, partition) in parts.iter().enumerate() {
        let one =
            Segment { collection: c, partition: *partition, ..segment(50 + i as i64, Origin::Flush, 3) };
        w.apply(&[put_segment(one)]);
    }
    assert_eq!(w.run(&drop_partition("c", "p")), (OK, 2));
    assert_eq!(w.snapshot.segments().map(|s| s.id.0).collect::<Vec<_>>(), [50]);
}

#[test]
fn aliases() {
    let make = || world().with([database("db"), create("c"), create("d"), alias("c", "a")]);
    table(
        make,
        [
            (alias("c", "new"), OK, true),
            (alias("c", "a"), OK, false),
            (alias("d", "a"), 1602, false),
            (alias("c", "d"), 1601, false),
            (alias("missing", "new"), 100, false),
            (alias("c", "1"), 1100, false),
            (
                Command::CreateAlias { database: name("missing"), collection: name("c"), alias: name("n") },
                800,
                false,
            ),
            (alter_alias("d", "a"), OK, true),
            (alter_alias("c", "a"), OK, false),
            (alter_alias("c", "missing"), 1600, false),
            (alter_alias("missing", "a"), 100, false),
            (alter_alias("c", "d"), 1601, false),
            (drop_alias("a"), OK, true),
            (drop_alias("missing"), OK, false),
            (Command::DropAlias { database: name("db"), alias: name("a") }, OK, false),
        ],
    );
    let mut w = make();
    w.run(&alter_alias("d", "a"));
    assert_eq!(w.collection("a").name, "d");
    let w = w.with([drop_alias("a"), drop_collection("c"), create("a")]);
    assert_eq!(w.collection("a").name, "a", "the name is free again");
}
