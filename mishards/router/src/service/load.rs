//! Load and release. A load is done when it is committed: a node opens a segment at the latest when it is first asked for
//! it. The nodes that the segments are placed on are told at once, and waited for a while.

use super::Router;
use super::names::{Named, database_name};
use crate::candidates::holders;
use crate::error::ok;
use crate::open::{Wanted, close_segments, open_segments};
use crate::wire::{Place, check_known};
use mishards_catalog::{Collection, Command};
use mishards_proto::common::{LoadState, Status};
use mishards_proto::milvus::*;
use mishards_types::{Code, Error, Result, check_collection_name};
use std::sync::Arc;
use std::time::Duration;

const DEFAULT_RESOURCE_GROUP: &str = "__default_resource_group";

/// How long a load waits for segments to be opened, and how long they are opened at most.
const LOAD_PATIENCE: Duration = Duration::from_secs(10);
const OPEN_PATIENCE: Duration = Duration::from_secs(600);

/// Refuses what would have no effect: all fields are loaded, and all nodes are of one group.
fn check_options(request: &LoadPartitionsRequest, collection: Option<&Collection>) -> Result<()> {
    check_known(Place::LoadParam, &request.load_params)?;
    if let Some(group) = request.resource_groups.iter().find(|g| *g != DEFAULT_RESOURCE_GROUP) {
        return Err(Error::invalid(format!("resource groups are not supported, got {group}")));
    }
    if request.skip_load_dynamic_field {
        return Err(Error::invalid("skip_load_dynamic_field is not supported: all fields are loaded"));
    }
    let left_out = collection
        .filter(|_| !request.load_fields.is_empty())
        .and_then(|c| c.schema.declared().find(|f| !request.load_fields.contains(&f.name)));
    match left_out {
        Some(field) => Err(Error::invalid(format!(
            "load_fields is not supported: all fields are loaded, and {} is not among them",
            field.name
        ))),
        None => Ok(()),
    }
}

impl Router {
    /// Loads some partitions, or all where none is named.
    async fn load(&self, db: &str, request: LoadPartitionsRequest) -> Result<Status> {
        let (database, name) = (database_name(&request.db_name, db), request.collection_name.clone());
        check_collection_name(&name)?;
        check_options(&request, self.known(database, &name).ok().as_ref().map(|n| &*n.collection))?;
        if request.refresh {
            let named = self.collection(database, &name).await?;
            if !named.collection.load.is_loaded() {
                return Err(Error::collection_not_loaded(&name));
            }
            return Ok(ok());
        }
        let replicas = request.replica_number;
        if replicas < 0 {
            return Err(Error::invalid(format!("replica_number must not be negative, got {replicas}")));
        }
        let replicas = replicas.max(1) as u32;
        let (collection, partitions) = (request.collection_name, request.partition_names);
        self.change(Command::Load { database: database.to_owned(), collection, partitions, replicas })
            .await?;
        if let Ok(named) = self.known(database, &name) {
            self.warm(named).await;
        }
        Ok(ok())
    }

    /// Has the segments of a collection opened where they are placed; what takes longer goes on in the background.
    async fn warm(&self, named: Named) {
        let (nodes, placement) = (self.topology.nodes(), self.placer.place_all(&named.snapshot).await);
        let mut wanted = Wanted::new();
        let loaded = named.snapshot.segments_of(named.collection.id);
        for segment in loaded.filter(|s| named.collection.load.has(s.partition)) {
            for node in holders(&nodes, &placement, segment.id) {
                wanted.entry(node.to_owned()).or_default().push(Arc::clone(segment));
            }
        }
        let topology = Arc::clone(&self.topology);
        let open = async move { open_segments(&topology, &named.snapshot, wanted, OPEN_PATIENCE).await };
        let _ = tokio::time::timeout(LOAD_PATIENCE, tokio::spawn(open)).await;
    }

    /// Has segments closed that are not loaded any more.
    async fn cool(&self, before: Option<Named>) {
        let Some(before) = before else { return };
        let Ok(now) = self.known(&before.database.name, &before.collection.name) else { return };
        let loaded = before.snapshot.segments_of(before.collection.id);
        let released = loaded.filter(|s| !now.collection.load.has(s.partition)).map(|s| s.id.0);
        close_segments(&self.topology, released.collect()).await;
    }

    pub async fn load_collection(&self, db: &str, request: LoadCollectionRequest) -> Result<Status> {
        let all = LoadPartitionsRequest {
            base: request.base,
            db_name: request.db_name,
            collection_name: request.collection_name,
            partition_names: Vec::new(),
            replica_number: request.replica_number,
            resource_groups: request.resource_groups,
            refresh: request.refresh,
            load_fields: request.load_fields,
            skip_load_dynamic_field: request.skip_load_dynamic_field,
            load_params: request.load_params,
        };
        self.load(db, all).await
    }

    pub async fn load_partitions(&self, db: &str, request: LoadPartitionsRequest) -> Result<Status> {
        if request.partition_names.is_empty() {
            return Err(Error::invalid("partition names is empty"));
        }
        self.load(db, request).await
    }

    pub async fn release_collection(&self, db: &str, request: ReleaseCollectionRequest) -> Result<Status> {
        check_collection_name(&request.collection_name)?;
        let database = database_name(&request.db_name, db).to_owned();
        let before = self.known(&database, &request.collection_name).ok();
        self.change(Command::Release {
            database,
            collection: request.collection_name,
            partitions: Vec::new(),
        })
        .await?;
        self.cool(before).await;
        Ok(ok())
    }

    pub async fn release_partitions(&self, db: &str, request: ReleasePartitionsRequest) -> Result<Status> {
        check_collection_name(&request.collection_name)?;
        if request.partition_names.is_empty() {
            return Err(Error::invalid("partition names is empty"));
        }
        let database = database_name(&request.db_name, db).to_owned();
        let before = self.known(&database, &request.collection_name).ok();
        self.change(Command::Release {
            database,
            collection: request.collection_name,
            partitions: request.partition_names,
        })
        .await?;
        self.cool(before).await;
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
