//! Partitions.

use super::Router;
use super::collections::row_count_pair;
use super::names::database_name;
use crate::error::ok;
use mishards_catalog::Command;
use mishards_proto::common::Status;
use mishards_proto::milvus::*;
use mishards_types::{CollectionId, Error, Result, check_collection_name, check_partition_name};

impl Router {
    pub async fn create_partition(&self, db: &str, request: CreatePartitionRequest) -> Result<Status> {
        check_collection_name(&request.collection_name)?;
        check_partition_name(&request.partition_name)?;
        let database = database_name(&request.db_name, db).to_owned();
        self.change(Command::CreatePartition {
            database,
            collection: request.collection_name,
            name: request.partition_name,
        })
        .await?;
        Ok(ok())
    }

    pub async fn drop_partition(&self, db: &str, request: DropPartitionRequest) -> Result<Status> {
        check_collection_name(&request.collection_name)?;
        check_partition_name(&request.partition_name)?;
        let database = database_name(&request.db_name, db).to_owned();
        self.change(Command::DropPartition {
            database,
            collection: request.collection_name,
            name: request.partition_name,
        })
        .await?;
        Ok(ok())
    }

    pub async fn has_partition(&self, db: &str, request: HasPartitionRequest) -> Result<BoolResponse> {
        check_collection_name(&request.collection_name)?;
        check_partition_name(&request.partition_name)?;
        let named = self.collection(database_name(&request.db_name, db), &request.collection_name).await?;
        let value = named.snapshot.partition_named(named.collection.id, &request.partition_name).is_some();
        Ok(BoolResponse { status: Some(ok()), value })
    }

    pub async fn show_partitions(
        &self,
        db: &str,
        request: ShowPartitionsRequest,
    ) -> Result<ShowPartitionsResponse> {
        let database = database_name(&request.db_name, db);
        let named = if request.collection_name.is_empty() {
            let snapshot = self.catalog.get()?;
            let collection = snapshot.collection(CollectionId(request.collection_id)).cloned();
            let name = collection
                .ok_or_else(|| Error::collection_not_found(database, request.collection_id))?
                .name
                .clone();
            self.collection(database, &name).await?
        } else {
            check_collection_name(&request.collection_name)?;
            self.collection(database, &request.collection_name).await?
        };
        let only_loaded = request.r#type == ShowType::InMemory as i32;
        let mut answer = ShowPartitionsResponse { status: Some(ok()), ..Default::default() };
        for name in &request.partition_names {
            if named.snapshot.partition_named(named.collection.id, name).is_none() {
                return Err(Error::partition_not_found(name));
            }
        }
        for p in named.snapshot.partitions_of(named.collection.id) {
            let wanted = request.partition_names.is_empty() || request.partition_names.contains(&p.name);
            let loaded = named.collection.load.has(p.id);
            if !wanted || (only_loaded && !loaded) {
                continue;
            }
            answer.partition_names.push(p.name.clone());
            answer.partition_i_ds.push(p.id.0);
            answer.created_timestamps.push(p.created_at.0);
            answer.created_utc_timestamps.push(p.created_at.unix_ms());
            answer.in_memory_percentages.push(if loaded { 100 } else { 0 });
        }
        Ok(answer)
    }

    pub async fn partition_statistics(
        &self,
        db: &str,
        request: GetPartitionStatisticsRequest,
    ) -> Result<GetPartitionStatisticsResponse> {
        let named = self.collection(database_name(&request.db_name, db), &request.collection_name).await?;
        let partition = named.snapshot.partition_named(named.collection.id, &request.partition_name);
        let partition = partition.ok_or_else(|| Error::partition_not_found(&request.partition_name))?.id;
        let rows = self.row_count(&named.collection, Some(partition)).await?;
        Ok(GetPartitionStatisticsResponse { status: Some(ok()), stats: vec![row_count_pair(rows)] })
    }
}
