//! Small entities to fill a catalog with, and a writer that commits them.
#![allow(dead_code, reason = "each test file uses a part of it")]

use mishards_catalog::*;
use mishards_types::*;
use std::collections::{BTreeMap, BTreeSet};

pub fn field(id: i64, name: &str, data_type: DataType) -> Field {
    Field {
        primary: id == FIRST_FIELD_ID,
        dim: data_type.is_vector().then_some(8),
        max_length: (data_type == DataType::VarChar).then_some(64),
        ..Field::new(FieldId(id), name, data_type)
    }
}

/// A key, a vector and a string.
pub fn schema() -> Schema {
    let fields = vec![
        field(100, "id", DataType::Int64),
        field(101, "vec", DataType::FloatVector),
        field(102, "tag", DataType::VarChar),
    ];
    Schema { description: String::new(), fields, enable_dynamic: false }
}

pub fn collection(id: i64, name: &str) -> Collection {
    Collection {
        id: CollectionId(id),
        database: DatabaseId(1),
        name: name.to_owned(),
        schema: schema(),
        schema_version: 1,
        shards: 1,
        consistency: 2,
        key_partitions: 0,
        properties: BTreeMap::from([("collection.ttl.seconds".to_owned(), "60".to_owned())]),
        indexes: Vec::new(),
        load: LoadState { all: false, partitions: BTreeSet::from([PartitionId(id + 1)]), replicas: 1 },
        created_at: Timestamp(7),
        updated_at: Timestamp(8),
        deltas_through: Sequence(0),
    }
}

pub fn partition(id: i64, collection: i64, flushed: u64) -> Partition {
    Partition {
        id: PartitionId(id),
        collection: CollectionId(collection),
        name: format!("p{id}"),
        created_at: Timestamp(9),
        flushed_through: Sequence(flushed),
    }
}

pub fn file(path: impl Into<String>) -> FileRef {
    FileRef { path: path.into(), bytes: 10 }
}

/// A segment of collection 10, partition 11, with rows up to `through`.
pub fn segment(id: i64, origin: Origin, through: u64) -> Segment {
    Segment {
        id: SegmentId(id),
        collection: CollectionId(10),
        partition: PartitionId(11),
        origin,
        rows: 100,
        deleted_rows: 0,
        min_timestamp: Timestamp(1),
        max_timestamp: Timestamp(u64::MAX),
        through: Sequence(through),
        footer: file(format!("seg/{id}/footer")),
        files: vec![file(format!("seg/{id}/columns")), file(format!("seg/{id}/vectors"))],
        indexes: Vec::new(),
        delete_file: None,
        folded_through: Sequence(0),
    }
}

pub fn with_index(mut segment: Segment, path: &str) -> Segment {
    let kind = "hnsw".to_owned();
    segment.indexes.push(IndexFile { index: IndexId(5), field: FieldId(101), kind, file: file(path) });
    segment
}

pub fn delta(id: i64, through: u64) -> DeltaFile {
    let (collection, file) = (CollectionId(10), file(format!("delta/{id}")));
    DeltaFile {
        id: SegmentId(id),
        collection,
        file,
        entries: 3,
        first: Sequence(1),
        through: Sequence(through),
    }
}

pub fn alias(name: &str, collection: i64) -> Alias {
    let collection = CollectionId(collection);
    Alias { database: DatabaseId(1), name: name.to_owned(), collection, created_at: Timestamp(3) }
}

pub fn log(epoch: u64) -> LogId {
    // A large incarnation: it does not fit a signed 64-bit integer.
    LogId { epoch: Epoch(epoch), incarnation: Incarnation(u64::MAX - epoch) }
}

pub fn put_collection(collection: Collection) -> Change {
    Change::Put(Entity::Collection(Box::new(collection)))
}

pub fn put_partition(partition: Partition) -> Change {
    Change::Put(Entity::Partition(partition))
}

pub fn put_segment(segment: Segment) -> Change {
    Change::Put(Entity::Segment(Box::new(segment)))
}

pub fn put_delta(delta: DeltaFile) -> Change {
    Change::Put(Entity::DeltaFile(delta))
}

pub fn put_alias(alias: Alias) -> Change {
    Change::Put(Entity::Alias(alias))
}

pub fn remove(kind: EntityKind, key: impl ToString) -> Change {
    Change::Remove(kind, key.to_string())
}

/// Collection 10 with partition 11.
pub fn begin() -> Vec<Change> {
    vec![put_collection(collection(10, "c")), put_partition(partition(11, 10, 0))]
}

/// A history that has every kind of row, replaced and removed ones among them.
pub fn history() -> Vec<Vec<Change>> {
    use EntityKind as Kind;
    let flushed = |flushed| put_partition(partition(11, 10, flushed));
    vec![
        begin(),
        vec![
            put_segment(segment(20, Origin::Flush, 5)),
            put_segment(segment(21, Origin::Flush, 9)),
            flushed(9),
        ],
        vec![put_segment(with_index(segment(20, Origin::Flush, 5), "idx/1")), put_delta(delta(30, 4))],
        vec![
            put_alias(alias("a", 10)),
            put_collection(collection(12, "d")),
            put_partition(partition(13, 12, 0)),
        ],
        vec![
            remove(Kind::Segment, 20),
            remove(Kind::Segment, 21),
            put_segment(segment(22, Origin::Merge, 9)),
            put_delta(delta(31, 9)),
        ],
        vec![remove(Kind::DeltaFile, 30), put_alias(alias("a", 12)), remove(Kind::Partition, 13)],
        vec![remove(Kind::Alias, "1/a"), remove(Kind::Collection, 12), remove(Kind::Log, log(1))],
        vec![put_segment(segment(23, Origin::Flush, 12)), flushed(12), remove(Kind::Segment, 99)],
    ]
}

pub fn version(seq: u64) -> Version {
    Version { commit_seq: seq, commit_id: seq * 1_000 + 1 }
}

/// The snapshot after these commits, numbered from 1.
pub fn after(commits: impl IntoIterator<Item = Vec<Change>>) -> Snapshot {
    let empty = Snapshot::from_rows(version(0), Epoch(1), Vec::new());
    commits.into_iter().enumerate().fold(empty, |s, (i, changes)| s.apply(version(i as u64 + 1), &changes))
}

/// Rows as a set: backends return them in any order.
pub fn rows(snapshot: &Snapshot) -> BTreeSet<String> {
    snapshot.rows().iter().map(|row| serde_json::to_string(row).unwrap()).collect()
}

/// The holder of the lease, and the V that it has reached.
#[derive(Debug, Clone, Copy)]
pub struct Holder {
    pub lease: Lease,
    pub version: Version,
}

impl Holder {
    /// Takes the lease from whoever has it.
    pub async fn elect(catalog: &dyn Catalog, epoch: u64) -> Holder {
        let seen = catalog.lease().await.unwrap();
        let takeover = Takeover::new(seen, log(epoch), u64::MAX - 1_000 * epoch);
        let lease = catalog.take_over(&takeover).await.unwrap();
        Holder { lease, version: lease.version }
    }

    pub fn commit(&self, changes: Vec<Change>) -> Commit {
        let base = self.version;
        let next = Version {
            commit_seq: base.commit_seq + 1,
            commit_id: base.commit_id.wrapping_mul(31).wrapping_add(7),
        };
        Commit { epoch: self.lease.epoch, incarnation: self.lease.incarnation, base, next, changes }
    }

    pub async fn send(&mut self, catalog: &dyn Catalog, changes: Vec<Change>) {
        let commit = self.commit(changes);
        catalog.commit(&commit).await.unwrap();
        self.version = commit.next;
    }
}

pub async fn snapshot(catalog: &dyn Catalog) -> Snapshot {
    catalog.load().await.unwrap().expect("the catalog has tables").snapshot
}
