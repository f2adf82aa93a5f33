//! What the catalog knows of: plain data, one struct a kind. Stored as JSON beside the columns that are
//! searched by; unknown fields of a newer version are kept out by the format version, not guessed at.

use mishards_types::{
    CollectionId, DatabaseId, Epoch, FieldId, Incarnation, IndexId, LogId, Metric, PartitionId, Schema,
    SegmentId, Sequence, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

pub const DEFAULT_DATABASE: &str = "default";
pub const DEFAULT_PARTITION: &str = "_default";

pub type Properties = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Database {
    pub id: DatabaseId,
    pub name: String,
    pub properties: Properties,
    pub created_at: Timestamp,
}

/// What of a collection is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct LoadState {
    /// The whole collection, partitions made later included.
    pub all: bool,
    pub partitions: BTreeSet<PartitionId>,
    pub replicas: u32,
}

impl LoadState {
    pub fn is_loaded(&self) -> bool {
        self.all || !self.partitions.is_empty()
    }

    pub fn has(&self, partition: PartitionId) -> bool {
        self.all || self.partitions.contains(&partition)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Collection {
    pub id: CollectionId,
    pub database: DatabaseId,
    pub name: String,
    pub schema: Schema,
    /// Grows with each change of the schema.
    pub schema_version: u32,
    pub shards: i32,
    /// Number of the consistency level (Strong 0, Session 1, Bounded 2, Eventually 3).
    pub consistency: i32,
    /// Partitions of a partition key; 0 without one.
    pub key_partitions: i64,
    pub properties: Properties,
    pub indexes: Vec<IndexDef>,
    pub load: LoadState,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Every delete up to it is in published delta files.
    pub deltas_through: Sequence,
}

impl Collection {
    pub fn index_on(&self, field: FieldId) -> Option<&IndexDef> {
        self.indexes.iter().find(|i| i.field == field)
    }
}

/// An index as a user defined it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexDef {
    pub id: IndexId,
    pub name: String,
    pub field: FieldId,
    /// Upper-case type: FLAT, HNSW, AUTOINDEX, INVERTED.
    pub kind: String,
    pub metric: Option<Metric>,
    /// Build parameters (M, efConstruction).
    pub params: BTreeMap<String, String>,
    /// As the client gave them, echoed by describe.
    pub user_params: Vec<(String, String)>,
    pub created_at: Timestamp,
}

impl IndexDef {
    /// Whether segments get a graph for it.
    pub fn is_graph(&self) -> bool {
        self.metric.is_some() && matches!(self.kind.as_str(), "HNSW" | "AUTOINDEX")
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Partition {
    pub id: PartitionId,
    pub collection: CollectionId,
    pub name: String,
    pub created_at: Timestamp,
    /// Every row up to it is in published segments.
    pub flushed_through: Sequence,
}

/// Where a segment's rows came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Growing rows that were written out: rows that are new to the files.
    Flush,
    /// Other segments.
    Merge,
}

/// One file below the shared directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileRef {
    pub path: String,
    pub bytes: u64,
}

/// An index file of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexFile {
    pub index: IndexId,
    pub field: FieldId,
    /// `hnsw` or `inverted`.
    pub kind: String,
    pub file: FileRef,
}

/// A segment's descriptor: everything that a node needs to open it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    pub id: SegmentId,
    pub collection: CollectionId,
    pub partition: PartitionId,
    pub origin: Origin,
    pub rows: u32,
    /// Rows that the delete file hides.
    pub deleted_rows: u32,
    pub min_timestamp: Timestamp,
    pub max_timestamp: Timestamp,
    /// The last log sequence of its rows; segments of a partition are ordered by it.
    pub through: Sequence,
    /// Columns, vectors, primary-key index and footer, in the directory of the segment.
    pub footer: FileRef,
    pub files: Vec<FileRef>,
    pub indexes: Vec<IndexFile>,
    pub delete_file: Option<FileRef>,
    /// Deletes up to it are in the delete file.
    pub folded_through: Sequence,
}

/// Segments with fewer rows are scanned exactly: a graph would not pay.
pub const MIN_GRAPH_ROWS: u32 = 4096;

impl Segment {
    /// Whether an index file of this definition is still to be built.
    pub fn lacks_index(&self, index: &IndexDef) -> bool {
        let wanted =
            if index.metric.is_some() { index.is_graph() && self.rows >= MIN_GRAPH_ROWS } else { true };
        wanted && !self.indexes.iter().any(|file| file.index == index.id)
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes).sum::<u64>()
            + self.indexes.iter().map(|i| i.file.bytes).sum::<u64>()
    }

    /// Every file that belongs to it.
    pub fn all_files(&self) -> impl Iterator<Item = &FileRef> {
        std::iter::once(&self.footer)
            .chain(&self.files)
            .chain(self.indexes.iter().map(|i| &i.file))
            .chain(self.delete_file.as_ref())
    }
}

/// Deletes of one collection, published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeltaFile {
    pub id: SegmentId,
    pub collection: CollectionId,
    pub file: FileRef,
    pub entries: u64,
    pub first: Sequence,
    pub through: Sequence,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alias {
    pub database: DatabaseId,
    pub name: String,
    pub collection: CollectionId,
    pub created_at: Timestamp,
}

/// A log whose records may still be needed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    pub epoch: Epoch,
    pub incarnation: Incarnation,
    /// Its head is durable: from then on it has files, until nothing needs them.
    #[serde(default)]
    pub begun: bool,
}

impl LogEntry {
    pub fn id(&self) -> LogId {
        LogId { epoch: self.epoch, incarnation: self.incarnation }
    }
}

/// Kinds of rows, each in its own table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntityKind {
    Database,
    Collection,
    Partition,
    Segment,
    DeltaFile,
    Alias,
    Log,
}

impl EntityKind {
    pub const ALL: [EntityKind; 7] = [
        EntityKind::Database,
        EntityKind::Collection,
        EntityKind::Partition,
        EntityKind::Segment,
        EntityKind::DeltaFile,
        EntityKind::Alias,
        EntityKind::Log,
    ];

    /// Name of the table.
    pub fn table(self) -> &'static str {
        match self {
            EntityKind::Database => "mishards_databases",
            EntityKind::Collection => "mishards_collections",
            EntityKind::Partition => "mishards_partitions",
            EntityKind::Segment => "mishards_segments",
            EntityKind::DeltaFile => "mishards_delta_files",
            EntityKind::Alias => "mishards_aliases",
            EntityKind::Log => "mishards_logs",
        }
    }
}

/// Any row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entity {
    Database(Database),
    Collection(Box<Collection>),
    Partition(Partition),
    Segment(Box<Segment>),
    DeltaFile(DeltaFile),
    Alias(Alias),
    Log(LogEntry),
}

impl Entity {
    pub fn kind(&self) -> EntityKind {
        match self {
            Entity::Database(_) => EntityKind::Database,
            Entity::Collection(_) => EntityKind::Collection,
            Entity::Partition(_) => EntityKind::Partition,
            Entity::Segment(_) => EntityKind::Segment,
            Entity::DeltaFile(_) => EntityKind::DeltaFile,
            Entity::Alias(_) => EntityKind::Alias,
            Entity::Log(_) => EntityKind::Log,
        }
    }

    /// The key that stays the same over the row's versions.
    pub fn key(&self) -> String {
        match self {
            Entity::Database(x) => x.id.to_string(),
            Entity::Collection(x) => x.id.to_string(),
            Entity::Partition(x) => x.id.to_string(),
            Entity::Segment(x) => x.id.to_string(),
            Entity::DeltaFile(x) => x.id.to_string(),
            Entity::Alias(x) => Alias::key(x.database, &x.name),
            Entity::Log(x) => x.id().to_string(),
        }
    }
}

impl Alias {
    pub fn key(database: DatabaseId, name: &str) -> String {
        format!("{database}/{name}")
    }
}
