//! The calls that routers make, and the scopes that they make them with.

use super::Site;
use mishards_catalog::{Collection, Command, Partition, Segment, Snapshot};
use mishards_node::Node;
use mishards_proto::node::node_server::Node as _;
use mishards_proto::node::{failure::Kind, *};
use mishards_proto::schema::{
    FieldData, FloatArray, IDs, LongArray, ScalarField, StringArray, VectorField, field_data, i_ds::IdField,
    scalar_field, vector_field,
};
use mishards_types::{FieldId, Metric, Schema};
use prost::Message;
use std::collections::BTreeMap;
use std::sync::Arc;
use tonic::{Request, Status};

/// The collection of most tests.
pub const COLLECTION: &str = "c";
pub const DATABASE: &str = "default";
pub const DIM: usize = 4;

/// A row as a query finds it: key and timestamp.
pub type Row = (i64, u64);

/// A V and a T that a request holds on to.
#[derive(Clone)]
pub struct Pinned {
    pub snapshot: Arc<Snapshot>,
    pub point: ReadPointResponse,
}

/// Who is to blame, from the details of a status.
pub fn failure(status: &Status) -> Failure {
    Failure::decode(status.details()).unwrap()
}

/// The kind of a refusal; panics on an answer.
pub fn kind_of<T>(answer: Result<T, Status>) -> Kind {
    match answer {
        Ok(_) => panic!("it was answered"),
        Err(status) => failure(&status).kind(),
    }
}

pub fn ids(keys: impl IntoIterator<Item = i64>) -> IDs {
    IDs { id_field: Some(IdField::IntId(LongArray { data: keys.into_iter().collect() })) }
}

pub fn scalars(id: i64, data: scalar_field::Data, valid: Vec<bool>) -> FieldData {
    FieldData {
        field_id: id,
        valid_data: valid,
        field: Some(field_data::Field::Scalars(ScalarField { data: Some(data), ..Default::default() })),
        ..Default::default()
    }
}

pub fn vectors(keys: &[i64]) -> FieldData {
    let data = keys.iter().flat_map(|k| [*k as f32, 1.0, 2.0, 3.0]).collect();
    let data = vector_field::Data::FloatVector(FloatArray { data });
    let vectors = VectorField { dim: DIM as i64, data: Some(data), ..Default::default() };
    FieldData { field_id: 101, field: Some(field_data::Field::Vectors(vectors)), ..Default::default() }
}

fn columns(keys: &[i64]) -> Vec<FieldData> {
    let tags = keys.iter().map(|k| format!("t{}", k % 7)).collect();
    vec![
        scalars(100, scalar_field::Data::LongData(LongArray { data: keys.to_vec() }), Vec::new()),
        vectors(keys),
        scalars(102, scalar_field::Data::StringData(StringArray { data: tags }), Vec::new()),
    ]
}

impl Pinned {
    pub fn collection(&self) -> &Arc<Collection> {
        let database = self.snapshot.database(DATABASE).unwrap().id;
        self.snapshot.collection_named(database, COLLECTION).unwrap()
    }

    /// The segments that a router plans for.
    pub fn segments(&self) -> Vec<Arc<Segment>> {
        let at = self.point.timestamp;
        let covered = |s: &&Arc<Segment>| s.min_timestamp.0 <= at;
        self.snapshot.segments_of(self.collection().id).filter(covered).cloned().collect()
    }

    /// A scope over some segments.
    pub fn scope(&self, segments: &[Arc<Segment>], growing: bool) -> Scope {
        let collection = self.collection();
        let version = self.snapshot.version;
        Scope {
            epoch: self.point.epoch,
            version: Some(Version { commit_seq: version.commit_seq, commit_id: version.commit_id }),
            timestamp: self.point.timestamp,
            delete_sequence: self.point.delete_sequence,
            collection_id: collection.id.0,
            schema: serde_json::to_vec(&collection.schema).unwrap(),
            segments: segments.iter().map(|s| serde_json::to_vec(&**s).unwrap()).collect(),
            deltas: self
                .snapshot
                .deltas_of(collection.id)
                .map(|d| serde_json::to_vec(&**d).unwrap())
                .collect(),
            deltas_through: collection.deltas_through.0,
            growing,
            ..Default::default()
        }
    }

    /// The scope of everything, in one sub-query.
    pub fn whole(&self) -> Scope {
        self.scope(&self.segments(), true)
    }

    /// The scope of what is in files.
    pub fn files(&self) -> Scope {
        self.scope(&self.segments(), false)
    }
}

/// The rows of a scope in key order, and the number that the node counted.
pub async fn query_counted(node: &Node, scope: Scope) -> Result<(Vec<Row>, u64), Status> {
    let request = QueryRequest { scope: Some(scope), limit: 1 << 30, count: false };
    let batch = node.query(Request::new(request)).await?.into_inner();
    let keys = match batch.keys.and_then(|k| k.id_field) {
        Some(IdField::IntId(list)) => list.data,
        other => panic!("keys are {other:?}"),
    };
    Ok((keys.into_iter().zip(batch.timestamps).collect(), batch.count))
}

/// The rows of a scope in key order; each must be there once.
pub async fn query(node: &Node, scope: Scope) -> Result<Vec<Row>, Status> {
    let (rows, count) = query_counted(node, scope).await?;
    assert_eq!(rows.len() as u64, count, "some row is there twice: {rows:?}");
    Ok(rows)
}

/// Keys that a scope's query finds.
pub async fn keys(node: &Node, scope: Scope) -> Result<Vec<i64>, Status> {
    Ok(query(node, scope).await?.into_iter().map(|r| r.0).collect())
}

impl Site {
    pub async fn change(&self, command: &Command) -> Result<ChangeResponse, Status> {
        let request = ChangeRequest { command: serde_json::to_vec(command).unwrap() };
        Ok(self.node.change(Request::new(request)).await?.into_inner())
    }

    pub async fn create_collection(&self, schema: Schema) -> Result<(), Status> {
        let command = Command::CreateCollection {
            database: DATABASE.to_owned(),
            name: COLLECTION.to_owned(),
            schema: Box::new(schema),
            shards: 1,
            consistency: 0,
            key_partitions: 0,
            properties: BTreeMap::new(),
        };
        self.change(&command).await.map(drop)
    }

    pub async fn create_partition(&self, name: &str) -> Result<(), Status> {
        let (database, collection) = (DATABASE.to_owned(), COLLECTION.to_owned());
        self.change(&Command::CreatePartition { database, collection, name: name.to_owned() }).await.map(drop)
    }

    pub async fn drop_partition(&self, name: &str) -> Result<(), Status> {
        let (database, collection) = (DATABASE.to_owned(), COLLECTION.to_owned());
        self.change(&Command::DropPartition { database, collection, name: name.to_owned() }).await.map(drop)
    }

    pub async fn create_index(&self, field: &str, kind: &str, metric: Option<Metric>) -> Result<(), Status> {
        let command = Command::CreateIndex {
            database: DATABASE.to_owned(),
            collection: COLLECTION.to_owned(),
            field: field.to_owned(),
            name: format!("{field}_index"),
            kind: kind.to_owned(),
            metric,
            params: BTreeMap::new(),
            user_params: Vec::new(),
        };
        self.change(&command).await.map(drop)
    }

    /// The collection as the writer has it now.
    pub fn collection(&self) -> Arc<Collection> {
        let snapshot = self.snapshot();
        let database = snapshot.database(DATABASE).unwrap().id;
        Arc::clone(snapshot.collection_named(database, COLLECTION).unwrap())
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.writer.view().snapshot)
    }

    pub fn segments(&self) -> Vec<Arc<Segment>> {
        self.snapshot().segments().cloned().collect()
    }

    pub fn partition(&self, name: &str) -> Arc<Partition> {
        Arc::clone(self.snapshot().partition_named(self.collection().id, name).unwrap())
    }

    pub async fn write(&self, change: impl FnOnce(&mut WriteRequest)) -> Result<WriteResponse, Status> {
        let collection = self.collection();
        let mut request = WriteRequest {
            database: DATABASE.to_owned(),
            collection: COLLECTION.to_owned(),
            collection_id: collection.id.0,
            schema_version: collection.schema_version,
            ..Default::default()
        };
        change(&mut request);
        Ok(self.node.write(Request::new(request)).await?.into_inner())
    }

    pub fn rows_for(&self, partition: &str, keys: &[i64]) -> PartitionRows {
        let partition_id = self.partition(partition).id.0;
        PartitionRows { partition_id, rows: keys.len() as u32, columns: columns(keys) }
    }

    pub async fn insert_into(
        &self,
        partition: &str,
        keys: impl IntoIterator<Item = i64>,
    ) -> Result<WriteResponse, Status> {
        let keys: Vec<i64> = keys.into_iter().collect();
        self.write(|w| w.inserts = vec![self.rows_for(partition, &keys)]).await
    }

    pub async fn insert(&self, keys: impl IntoIterator<Item = i64>) -> Result<WriteResponse, Status> {
        self.insert_into("_default", keys).await
    }

    pub async fn upsert(&self, keys: impl IntoIterator<Item = i64>) -> Result<WriteResponse, Status> {
        let keys: Vec<i64> = keys.into_iter().collect();
        let rows = self.rows_for("_default", &keys);
        self.write(|w| (w.inserts, w.deletes) = (vec![rows], Some(ids(keys)))).await
    }

    pub async fn delete(&self, keys: impl IntoIterator<Item = i64>) -> Result<WriteResponse, Status> {
        self.write(|w| w.deletes = Some(ids(keys))).await
    }

    pub async fn flush(&self) -> Result<(), Status> {
        let request = FlushRequest { collection_ids: Vec::new(), wait: true };
        self.node.flush(Request::new(request)).await.map(drop)
    }

    pub async fn read_point(&self) -> Result<ReadPointResponse, Status> {
        let (database, collection) = (DATABASE.to_owned(), COLLECTION.to_owned());
        Ok(self
            .node
            .read_point(Request::new(ReadPointRequest { database, collection, from_standby: false }))
            .await?
            .into_inner())
    }

    /// V and T as they are now.
    pub async fn pin(&self) -> Pinned {
        Pinned { snapshot: self.snapshot(), point: self.read_point().await.unwrap() }
    }

    /// What a strong read finds now.
    pub async fn rows(&self) -> Vec<Row> {
        query(&self.node, self.pin().await.whole()).await.unwrap()
    }

    pub async fn keys(&self) -> Vec<i64> {
        self.rows().await.into_iter().map(|r| r.0).collect()
    }

    /// Keys of the rows nearest to the vector of `key`.
    pub async fn search(&self, scope: Scope, key: i64, k: u32) -> Result<Vec<i64>, Status> {
        let request = SearchRequest {
            scope: Some(scope),
            field_id: FieldId(101).0,
            metric: "L2".to_owned(),
            vectors: vec![key as f32, 1.0, 2.0, 3.0],
            nq: 1,
            k,
            ..Default::default()
        };
        let batch = self.node.search(Request::new(request)).await?.into_inner();
        match batch.keys.and_then(|keys| keys.id_field) {
            Some(IdField::IntId(list)) => Ok(list.data),
            other => panic!("keys are {other:?}"),
        }
    }
}
