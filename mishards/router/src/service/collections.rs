//! Collections: create, drop, describe, list, rename, statistics.

use super::Router;
use super::databases::pairs_to_map;
use super::isolation;
use super::names::database_name;
use crate::error::ok;
use crate::wire::{Place, check_known, describe_collection, schema_from_wire};
use mishards_catalog::{Collection, Command, Snapshot};
use mishards_proto::common::{KeyValuePair, Status};
use mishards_proto::milvus::*;
use mishards_proto::node::{GrowingPartition, GrowingRequest};
use mishards_proto::schema::CollectionSchema;
use mishards_types::{Code, CollectionId, Error, PartitionId, Result, Version, check_collection_name};
use prost::Message;
use std::collections::HashSet;

/// How often growing rows are asked for again because a flush came between them and the catalog.
const FLUSHES: usize = 20;

impl Router {
    pub async fn create_collection(&self, db: &str, request: CreateCollectionRequest) -> Result<Status> {
        check_collection_name(&request.collection_name)?;
        let wire = CollectionSchema::decode(request.schema.as_slice())
            .map_err(|e| Error::invalid(format!("the schema cannot be read: {e}")))?;
        if wire.name != request.collection_name {
            return Err(Error::invalid(format!(
                "collection name matches schema name: {} and {} differ",
                request.collection_name, wire.name
            )));
        }
        // Clients may put them into either message; the request has the last word.
        let mut properties = pairs_to_map(wire.properties.clone());
        properties.extend(pairs_to_map(request.properties));
        check_known(Place::CollectionProperty, &properties)?;
        let schema = schema_from_wire(wire)?;
        schema.validate()?;
        isolation::check_property(&schema, &properties)?;
        self.change(Command::CreateCollection {
            database: database_name(&request.db_name, db).to_owned(),
            name: request.collection_name,
            schema: Box::new(schema),
            shards: if request.shards_num == 0 { 1 } else { request.shards_num },
            consistency: request.consistency_level,
            key_partitions: request.num_partitions,
            properties,
        })
        .await?;
        Ok(ok())
    }

    pub async fn drop_collection(&self, db: &str, request: DropCollectionRequest) -> Result<Status> {
        check_collection_name(&request.collection_name)?;
        let database = database_name(&request.db_name, db).to_owned();
        self.change(Command::DropCollection { database, name: request.collection_name }).await?;
        Ok(ok())
    }

    pub async fn rename_collection(&self, db: &str, request: RenameCollectionRequest) -> Result<Status> {
        self.change(Command::RenameCollection {
            database: database_name(&request.db_name, db).to_owned(),
            name: request.old_name,
            new_name: request.new_name,
            new_database: request.new_db_name,
        })
        .await?;
        Ok(ok())
    }

    pub async fn has_collection(&self, db: &str, request: HasCollectionRequest) -> Result<BoolResponse> {
        check_collection_name(&request.collection_name)?;
        let found = self.collection(database_name(&request.db_name, db), &request.collection_name).await;
        let value = match found {
            Ok(_) => true,
            Err(e) if e.code == Code::COLLECTION_NOT_FOUND => false,
            Err(e) => return Err(e),
        };
        Ok(BoolResponse { status: Some(ok()), value })
    }

    pub async fn describe_collection(
        &self,
        db: &str,
        request: DescribeCollectionRequest,
    ) -> Result<DescribeCollectionResponse> {
        let database = database_name(&request.db_name, db);
        if request.collection_name.is_empty() && request.collection_id != 0 {
            let snapshot = self.catalog.get()?;
            let collection = snapshot.collection(CollectionId(request.collection_id));
            let missing = || cannot_find(database, request.collection_id);
            return Ok(describe_collection(&snapshot, collection.ok_or_else(missing)?));
        }
        check_collection_name(&request.collection_name)?;
        let named = self.collection(database, &request.collection_name).await;
        let named = named.map_err(|error| match error.code {
            Code::COLLECTION_NOT_FOUND => cannot_find(database, &request.collection_name),
            _ => error,
        })?;
        Ok(describe_collection(&named.snapshot, &named.collection))
    }

    pub async fn show_collections(
        &self,
        db: &str,
        request: ShowCollectionsRequest,
    ) -> Result<ShowCollectionsResponse> {
        let (snapshot, database) = self.database(database_name(&request.db_name, db))?;
        let only_loaded = request.r#type == ShowType::InMemory as i32;
        let mut answer = ShowCollectionsResponse { status: Some(ok()), ..Default::default() };
        let asked: HashSet<&str> = request.collection_names.iter().map(String::as_str).collect();
        for c in snapshot.collections_of(database.id) {
            let named = asked.is_empty() || asked.contains(c.name.as_str());
            if !named || (only_loaded && !c.load.is_loaded()) {
                continue;
            }
            answer.collection_names.push(c.name.clone());
            answer.collection_ids.push(c.id.0);
            answer.created_timestamps.push(c.created_at.0);
            answer.created_utc_timestamps.push(c.created_at.unix_ms());
            answer.shards_num.push(c.shards);
            if only_loaded {
                answer.in_memory_percentages.push(100);
                answer.query_service_available.push(true);
            }
        }
        Ok(answer)
    }

    pub async fn collection_statistics(
        &self,
        db: &str,
        request: GetCollectionStatisticsRequest,
    ) -> Result<GetCollectionStatisticsResponse> {
        let named = self.collection(database_name(&request.db_name, db), &request.collection_name).await?;
        let rows = self.row_count(&named.collection, None).await?;
        Ok(GetCollectionStatisticsResponse { status: Some(ok()), stats: vec![row_count_pair(rows)] })
    }

    /// Rows in files and growing; deletes are not subtracted.
    pub(super) async fn row_count(
        &self,
        collection: &Collection,
        partition: Option<PartitionId>,
    ) -> Result<u64> {
        let (snapshot, growing) = self.growing_of(collection).await?;
        let wanted = |p: PartitionId| partition.is_none_or(|only| only == p);
        let segments = snapshot.segments_of(collection.id).filter(|s| wanted(s.partition));
        let in_files: u64 = segments.map(|s| u64::from(s.rows)).sum();
        Ok(in_files
            + growing.iter().filter(|g| wanted(PartitionId(g.partition_id))).map(|g| g.rows).sum::<u64>())
    }

    /// The growing partitions, and a snapshot from the same moment: asked again when a flush came between.
    pub(super) async fn growing_of(
        &self,
        collection: &Collection,
    ) -> Result<(std::sync::Arc<Snapshot>, Vec<GrowingPartition>)> {
        for _ in 0..FLUSHES {
            let request = GrowingRequest { collection_id: collection.id.0 };
            let growing = self.topology.writer()?.client.growing(request).await.map_err(Error::from)?;
            let v = growing.version.unwrap_or_default();
            let at = Version { commit_seq: v.commit_seq, commit_id: v.commit_id };
            let snapshot = self.catalog.wait_for(at).await?;
            if snapshot.version == at {
                return Ok((snapshot, growing.partitions));
            }
        }
        Err(Error::unavailable("the catalog keeps changing"))
    }
}

/// What a description of an unknown collection says; old clients look for these words.
fn cannot_find(database: &str, what: impl std::fmt::Display) -> Error {
    let text = format!("can't find collection[database={database}][collection={what}]");
    Error::new(Code::COLLECTION_NOT_FOUND, text)
}

pub fn row_count_pair(rows: u64) -> KeyValuePair {
    KeyValuePair { key: "row_count".to_owned(), value: rows.to_string() }
}
