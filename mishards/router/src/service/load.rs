//! Load and release. A node opens a segment when it is first asked for it, so that a load is done when it is
//! committed.

use super::Router;
use super::names::database_name;
use crate::error::ok;
use mishards_catalog::Command;
use mishards_proto::common::{LoadState, Status};
use mishards_proto::milvus::*;
use mishards_types::{Code, Error, Result};

impl Router {
    async fn load(
        &self,
        database: &str,
        collection: String,
        partitions: Vec<String>,
        replicas: i32,
        refresh: bool,
    ) -> Result<Status> {
        if refresh {
            let named = self.collection(database, &collection).await?;
            if !named.collection.load.is_loaded() {
                return Err(Error::collection_not_loaded(&collection));
            }
            return Ok(ok());
        }
        if replicas < 0 {
            return Err(Error::invalid(format!("replica_number must not be negative, got {replicas}")));
        }
        let replicas = replicas.max(1) as u32;
        self.change(Command::Load { database: database.to_owned(), collection, partitions, replicas })
            .await?;
        Ok(ok())
    }

    pub async fn load_collection(&self, db: &str, request: LoadCollectionRequest) -> Result<Status> {
        let database = database_name(&request.db_name, db);
        self.load(database, request.collection_name, Vec::new(), request.replica_number, request.refresh)
            .await
    }

    pub async fn load_partitions(&self, db: &str, request: LoadPartitionsRequest) -> Result<Status> {
        if request.partition_names.is_empty() {
            return Err(Error::invalid("partition names is empty"));
        }
        let database = database_name(&request.db_name, db);
        self.load(
            database,
            request.collection_name,
            request.partition_names,
            request.replica_number,
            request.refresh,
        )
        .await
    }

    pub async fn release_collection(&self, db: &str, request: ReleaseCollectionRequest) -> Result<Status> {
        let database = database_name(&request.db_name, db).to_owned();
        self.change(Command::Release {
            database,
            collection: request.collection_name,
            partitions: Vec::new(),
        })
        .await?;
        Ok(ok())
    }

    pub async fn release_partitions(&self, db: &str, request: ReleasePartitionsRequest) -> Result<Status> {
        if request.partition_names.is_empty() {
            return Err(Error::invalid("partition names is empty"));
        }
        let database = database_name(&request.db_name, db).to_owned();
        self.change(Command::Release {
            database,
            collection: request.collection_name,
            partitions: request.partition_names,
        })
        .await?;
        Ok(ok())
    }

    pub async fn load_state(&self, db: &str, request: GetLoadStateRequest) -> Result<GetLoadStateResponse> {
        let state = match self
            .is_loaded(
                database_name(&request.db_name, db),
                &request.collection_name,
                &request.partition_names,
            )
            .await
        {
            Ok(true) => LoadState::Loaded,
            Ok(false) => LoadState::NotLoad,
            Err(e) if matches!(e.code, Code::COLLECTION_NOT_FOUND) => LoadState::NotExist,
            Err(e) => return Err(e),
        };
        Ok(GetLoadStateResponse { status: Some(ok()), state: state.into() })
    }

    pub async fn loading_progress(
        &self,
        db: &str,
        request: GetLoadingProgressRequest,
    ) -> Result<GetLoadingProgressResponse> {
        let names = &request.partition_names;
        if self.is_loaded(database_name(&request.db_name, db), &request.collection_name, names).await? {
            return Ok(GetLoadingProgressResponse {
                status: Some(ok()),
                progress: 100,
                refresh_progress: 100,
            });
        }
        Err(match names.first() {
            Some(name) => Error::partition_not_loaded(name),
            None => Error::collection_not_loaded(&request.collection_name),
        })
    }

    /// Whether all of the partitions named, or anything of the collection, is loaded.
    async fn is_loaded(&self, database: &str, collection: &str, partitions: &[String]) -> Result<bool> {
        let named = self.collection(database, collection).await?;
        let mut loaded = named.collection.load.is_loaded();
        for name in partitions {
            let partition = named.snapshot.partition_named(named.collection.id, name);
            loaded &=
                named.collection.load.has(partition.ok_or_else(|| Error::partition_not_found(name))?.id);
        }
        Ok(loaded)
    }
}
