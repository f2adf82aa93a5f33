//! Commands of users that change the catalog, and what each of them changes: a pure function of the snapshot.

mod aliases;
mod collections;
mod databases;
mod indexes;
mod load;
mod partitions;

use crate::model::*;
use crate::snapshot::{Change, Snapshot};
use mishards_types::{CollectionId, Error, Metric, Result, Schema, Sequence, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a user asked for. Names are resolved by the writable node, against the newest snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    CreateDatabase {
        name: String,
        properties: BTreeMap<String, String>,
    },
    DropDatabase {
        name: String,
    },
    AlterDatabase {
        name: String,
        set: BTreeMap<String, String>,
        unset: Vec<String>,
    },
    CreateCollection {
        database: String,
        name: String,
        schema: Box<Schema>,
        shards: i32,
        consistency: i32,
        key_partitions: i64,
        properties: BTreeMap<String, String>,
    },
    DropCollection {
        database: String,
        name: String,
    },
    RenameCollection {
        database: String,
        name: String,
        new_name: String,
        new_database: String,
    },
    CreatePartition {
        database: String,
        collection: String,
        name: String,
    },
    DropPartition {
        database: String,
        collection: String,
        name: String,
    },
    CreateAlias {
        database: String,
        collection: String,
        alias: String,
    },
    AlterAlias {
        database: String,
        collection: String,
        alias: String,
    },
    DropAlias {
        database: String,
        alias: String,
    },
    CreateIndex {
        database: String,
        collection: String,
        field: String,
        name: String,
        kind: String,
        metric: Option<Metric>,
        params: BTreeMap<String, String>,
        user_params: Vec<(String, String)>,
    },
    DropIndex {
        database: String,
        collection: String,
        field: String,
        name: String,
    },
    Load {
        database: String,
        collection: String,
        partitions: Vec<String>,
        replicas: u32,
    },
    Release {
        database: String,
        collection: String,
        partitions: Vec<String>,
    },
}

impl Command {
    /// Whether nothing is there afterwards that was not there before.
    pub fn only_removes(&self) -> bool {
        matches!(
            self,
            Command::DropDatabase { .. }
                | Command::DropCollection { .. }
                | Command::DropPartition { .. }
                | Command::DropAlias { .. }
                | Command::DropIndex { .. }
                | Command::Release { .. }
        )
    }
}

/// What a command changes. Nothing to change is success.
///
/// `next_id` gives ids that no other call ever gets; `now` is the timestamp of the change.
pub fn plan_command(
    snapshot: &Snapshot,
    command: &Command,
    next_id: &mut dyn FnMut() -> i64,
    now: Timestamp,
) -> Result<Vec<Change>> {
    Planner { snapshot, next_id, now }.plan(command)
}

struct Planner<'a> {
    snapshot: &'a Snapshot,
    next_id: &'a mut dyn FnMut() -> i64,
    now: Timestamp,
}

fn put_collection(collection: Collection) -> Change {
    Change::Put(Entity::Collection(Box::new(collection)))
}

impl Planner<'_> {
    fn plan(&mut self, command: &Command) -> Result<Vec<Change>> {
        match command {
            Command::CreateDatabase { name, properties } => self.create_database(name, properties),
            Command::DropDatabase { name } => self.drop_database(name),
            Command::AlterDatabase { name, set, unset } => self.alter_database(name, set, unset),
            Command::CreateCollection {
                database,
                name,
                schema,
                shards,
                consistency,
                key_partitions,
                properties,
            } => {
                let database = self.database(database)?.id;
                let collection = Collection {
                    id: CollectionId(0),
                    database,
                    name: name.clone(),
                    schema: (**schema).clone(),
                    schema_version: 1,
                    shards: *shards,
                    consistency: *consistency,
                    key_partitions: *key_partitions,
                    properties: properties.clone(),
                    indexes: Vec::new(),
                    load: LoadState::default(),
                    created_at: self.now,
                    updated_at: self.now,
                    deltas_through: Sequence(0),
                };
                self.create_collection(collection)
            }
            Command::DropCollection { database, name } => self.drop_collection(database, name),
            Command::RenameCollection { database, name, new_name, new_database } => {
                self.rename_collection(database, name, new_name, new_database)
            }
            Command::CreatePartition { database, collection, name } => {
                self.create_partition(database, collection, name)
            }
            Command::DropPartition { database, collection, name } => {
                self.drop_partition(database, collection, name)
            }
            Command::CreateAlias { database, collection, alias } => {
                self.create_alias(database, collection, alias)
            }
            Command::AlterAlias { database, collection, alias } => {
                self.alter_alias(database, collection, alias)
            }
            Command::DropAlias { database, alias } => self.drop_alias(database, alias),
            Command::CreateIndex { .. } => self.create_index(command),
            Command::DropIndex { database, collection, field, name } => {
                self.drop_index(database, collection, field, name)
            }
            Command::Load { database, collection, partitions, replicas } => {
                self.load(database, collection, partitions, *replicas)
            }
            Command::Release { database, collection, partitions } => {
                self.release(database, collection, partitions)
            }
        }
    }

    fn database(&self, name: &str) -> Result<Arc<Database>> {
        self.snapshot.database(name).cloned().ok_or_else(|| Error::database_not_found(name))
    }

    fn resolve(&self, database: &str, name: &str) -> Result<Arc<Collection>> {
        let id = self.database(database)?.id;
        self.snapshot.resolve(id, name).cloned().ok_or_else(|| Error::collection_not_found(database, name))
    }

    fn partition(&self, collection: &Collection, name: &str) -> Result<Arc<Partition>> {
        self.snapshot
            .partition_named(collection.id, name)
            .cloned()
            .ok_or_else(|| Error::partition_not_found(name))
    }
}
