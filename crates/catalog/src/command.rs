//! Commands of users that change the catalog, and what each of them changes: a pure function of the snapshot.

use crate::model::*;
use crate::snapshot::{Change, Snapshot};
use mishards_types::{
    Code, CollectionId, DataType, DatabaseId, Error, IndexId, Metric, PartitionId, Result, Schema, Sequence,
    Timestamp, check_alias_name, check_collection_name, check_database_name, check_index_name,
    check_partition_name, limits,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
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

/// What a command changes. Nothing to change is success.
///
/// `next_id` gives ids that no other call ever gets; `now` is the timestamp of the change.
pub fn plan_command(
    snapshot: &Snapshot,
    command: &Command,
    next_id: &mut dyn FnMut() -> i64,
    now: Timestamp,
) -> Result<Vec<Change>> {
    Planner {
        snapshot,
        next_id,
        now,
    }
    .plan(command)
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
            Command::RenameCollection {
                database,
                name,
                new_name,
                new_database,
            } => self.rename_collection(database, name, new_name, new_database),
            Command::CreatePartition {
                database,
                collection,
                name,
            } => self.create_partition(database, collection, name),
            Command::DropPartition {
                database,
                collection,
                name,
            } => self.drop_partition(database, collection, name),
            Command::CreateAlias {
                database,
                collection,
                alias,
            } => self.create_alias(database, collection, alias),
            Command::AlterAlias {
                database,
                collection,
                alias,
            } => self.alter_alias(database, collection, alias),
            Command::DropAlias { database, alias } => self.drop_alias(database, alias),
            Command::CreateIndex { .. } => self.create_index(command),
            Command::DropIndex {
                database,
                collection,
                field,
                name,
            } => self.drop_index(database, collection, field, name),
            Command::Load {
                database,
                collection,
                partitions,
                replicas,
            } => self.load(database, collection, partitions, *replicas),
            Command::Release {
                database,
                collection,
                partitions,
            } => self.release(database, collection, partitions),
        }
    }

    fn database(&self, name: &str) -> Result<Arc<Database>> {
        self.snapshot
            .database(name)
            .cloned()
            .ok_or_else(|| Error::database_not_found(name))
    }

    fn resolve(&self, database: &str, name: &str) -> Result<Arc<Collection>> {
        let id = self.database(database)?.id;
        self.snapshot
            .resolve(id, name)
            .cloned()
            .ok_or_else(|| Error::collection_not_found(database, name))
    }

    fn partition(&self, collection: &Collection, name: &str) -> Result<Arc<Partition>> {
        self.snapshot
            .partition_named(collection.id, name)
            .cloned()
            .ok_or_else(|| Error::partition_not_found(name))
    }
}

/// Databases.
impl Planner<'_> {
    fn create_database(&mut self, name: &str, properties: &BTreeMap<String, String>) -> Result<Vec<Change>> {
        check_database_name(name)?;
        if self.snapshot.database(name).is_some() {
            return Err(Error::invalid(format!("database already exist: {name}")));
        }
        // `default` does not count.
        if self.snapshot.databases().count() > limits::DATABASES {
            return Err(Error::new(
                Code::TOO_MANY_DATABASES,
                format!(
                    "database number ({}) exceeds max configuration ({}): exceeded the limit number of database",
                    limits::DATABASES,
                    limits::DATABASES
                ),
            ));
        }
        let id = DatabaseId((self.next_id)());
        let (name, properties) = (name.to_owned(), properties.clone());
        Ok(vec![Change::Put(Entity::Database(Database {
            id,
            name,
            properties,
            created_at: self.now,
        }))])
    }

    fn drop_database(&self, name: &str) -> Result<Vec<Change>> {
        if name == DEFAULT_DATABASE {
            return Err(Error::invalid("can not drop default database"));
        }
        let database = self.database(name)?;
        if self.snapshot.collections_of(database.id).next().is_some() {
            return Err(Error::invalid(format!(
                "database:{name} not empty, must drop all collections before drop database"
            )));
        }
        Ok(vec![Change::Remove(
            EntityKind::Database,
            database.id.to_string(),
        )])
    }

    fn alter_database(
        &self,
        name: &str,
        set: &BTreeMap<String, String>,
        unset: &[String],
    ) -> Result<Vec<Change>> {
        let mut database = (*self.database(name)?).clone();
        if !set.is_empty() && !unset.is_empty() {
            return Err(Error::invalid("can not set and delete properties in one request"));
        }
        database.properties.extend(set.clone());
        database.properties.retain(|key, _| !unset.contains(key));
        Ok(vec![Change::Put(Entity::Database(database))])
    }
}

/// Collections.
impl Planner<'_> {
    fn create_collection(&mut self, mut collection: Collection) -> Result<Vec<Change>> {
        let name = collection.name.clone();
        check_collection_name(&name)?;
        collection.schema.validate()?;
        if !(1..=limits::SHARDS).contains(&collection.shards) {
            return Err(Error::invalid(format!(
                "maximum shards's number should be limited to {}, got {}",
                limits::SHARDS,
                collection.shards
            )));
        }
        if let Some(alias) = self.snapshot.alias(collection.database, &name) {
            return Err(self.name_is_alias(collection.database, &alias.name));
        }
        if let Some(existing) = self.snapshot.collection_named(collection.database, &name) {
            let same = existing.schema == collection.schema
                && existing.shards == collection.shards
                && existing.key_partitions == self.key_partitions(&collection)?;
            return if same {
                Ok(Vec::new())
            } else {
                Err(Error::invalid(format!(
                    "create duplicate collection with different parameters, collection: {name}"
                )))
            };
        }
        if self.snapshot.collections().count() >= limits::COLLECTIONS {
            return Err(Error::new(
                Code::TOO_MANY_COLLECTIONS,
                format!(
                    "exceeded the limit number of collections[limit={}]",
                    limits::COLLECTIONS
                ),
            ));
        }
        collection.key_partitions = self.key_partitions(&collection)?;
        collection.id = CollectionId((self.next_id)());
        let names: Vec<String> = match collection.key_partitions {
            0 => vec![DEFAULT_PARTITION.to_owned()],
            n => (0..n).map(|i| format!("{DEFAULT_PARTITION}_{i}")).collect(),
        };
        let id = collection.id;
        let mut changes = vec![put_collection(collection)];
        for name in names {
            changes.push(self.put_partition(id, name));
        }
        Ok(changes)
    }

    fn key_partitions(&self, collection: &Collection) -> Result<i64> {
        match (collection.schema.partition_key(), collection.key_partitions) {
            (None, 0 | 1) => Ok(0),
            (None, _) => Err(Error::invalid(
                "num_partitions should only be specified with partition key field enabled",
            )),
            (Some(_), 0) => Ok(limits::DEFAULT_PARTITION_KEY_PARTITIONS),
            (Some(_), n) if (1..=limits::PARTITIONS as i64).contains(&n) => Ok(n),
            (Some(_), n) => Err(Error::invalid(format!(
                "partition number ({n}) exceeds max configuration ({})",
                limits::PARTITIONS
            ))),
        }
    }

    fn put_partition(&mut self, collection: CollectionId, name: String) -> Change {
        let id = PartitionId((self.next_id)());
        Change::Put(Entity::Partition(Partition {
            id,
            collection,
            name,
            created_at: self.now,
            flushed_through: Sequence(0),
        }))
    }

    fn drop_collection(&self, database: &str, name: &str) -> Result<Vec<Change>> {
        let db = self.database(database)?;
        if self.snapshot.alias(db.id, name).is_some() {
            return Err(Error::invalid(format!(
                "cannot drop the collection via alias = {name}"
            )));
        }
        let Some(collection) = self.snapshot.collection_named(db.id, name) else {
            return Ok(Vec::new());
        };
        let aliases: Vec<&str> = self
            .snapshot
            .aliases_of(collection.id)
            .map(|a| a.name.as_str())
            .collect();
        if !aliases.is_empty() {
            return Err(Error::invalid(format!(
                "unable to drop the collection [{name}] because it has associated aliases {aliases:?}, please remove all aliases before dropping the collection"
            )));
        }
        let mut changes = vec![Change::Remove(EntityKind::Collection, collection.id.to_string())];
        for partition in self.snapshot.partitions_of(collection.id) {
            changes.push(Change::Remove(EntityKind::Partition, partition.id.to_string()));
        }
        for segment in self.snapshot.segments_of(collection.id) {
            changes.push(Change::Remove(EntityKind::Segment, segment.id.to_string()));
        }
        for delta in self.snapshot.deltas_of(collection.id) {
            changes.push(Change::Remove(EntityKind::DeltaFile, delta.id.to_string()));
        }
        Ok(changes)
    }

    fn rename_collection(
        &self,
        database: &str,
        name: &str,
        new_name: &str,
        new_database: &str,
    ) -> Result<Vec<Change>> {
        check_collection_name(new_name)?;
        let db = self.database(database)?;
        let target = if new_database.is_empty() {
            Arc::clone(&db)
        } else {
            self.database(new_database)?
        };
        if self.snapshot.alias(db.id, name).is_some() {
            return Err(Error::invalid(format!(
                "unsupported use an alias to rename collection, alias:{name}"
            )));
        }
        let Some(collection) = self.snapshot.collection_named(db.id, name) else {
            return Err(Error::collection_not_found(database, name));
        };
        if self.snapshot.alias(target.id, new_name).is_some() {
            return Err(Error::invalid(format!(
                "cannot rename collection to an existing alias: {new_name}"
            )));
        }
        if self.snapshot.collection_named(target.id, new_name).is_some() {
            return Err(Error::invalid(format!(
                "duplicated new collection name {new_name} in database {} with other collection name or alias",
                target.name
            )));
        }
        if target.id != db.id && self.snapshot.aliases_of(collection.id).next().is_some() {
            return Err(Error::invalid(
                "fail to rename collection to another database, must drop all aliases first",
            ));
        }
        let mut renamed = (**collection).clone();
        renamed.name = new_name.to_owned();
        renamed.database = target.id;
        renamed.updated_at = self.now;
        Ok(vec![put_collection(renamed)])
    }
}

/// Partitions.
impl Planner<'_> {
    fn partitioned(&self, database: &str, collection: &str, what: &str) -> Result<Arc<Collection>> {
        let collection = self.resolve(database, collection)?;
        if collection.key_partitions > 0 {
            return Err(Error::invalid(format!(
                "disable {what} partition if partition key mode is used"
            )));
        }
        Ok(collection)
    }

    fn create_partition(&mut self, database: &str, collection: &str, name: &str) -> Result<Vec<Change>> {
        check_partition_name(name)?;
        let collection = self.partitioned(database, collection, "create")?;
        if self.snapshot.partition_named(collection.id, name).is_some() {
            return Ok(Vec::new());
        }
        let count = self.snapshot.partitions_of(collection.id).count();
        if count >= limits::PARTITIONS {
            return Err(Error::invalid(format!(
                "partition number ({count}) exceeds max configuration ({}), collection: {}",
                limits::PARTITIONS,
                collection.name
            )));
        }
        Ok(vec![self.put_partition(collection.id, name.to_owned())])
    }

    fn drop_partition(&self, database: &str, collection: &str, name: &str) -> Result<Vec<Change>> {
        let collection = self.partitioned(database, collection, "drop")?;
        if name == DEFAULT_PARTITION {
            return Err(Error::invalid("default partition cannot be deleted"));
        }
        let Some(partition) = self.snapshot.partition_named(collection.id, name) else {
            return Ok(Vec::new());
        };
        if collection.load.has(partition.id) {
            return Err(Error::invalid(format!(
                "partition {name} cannot be dropped, partition is loaded, please release it first"
            )));
        }
        let mut changes = vec![Change::Remove(EntityKind::Partition, partition.id.to_string())];
        for segment in self
            .snapshot
            .segments_of(collection.id)
            .filter(|s| s.partition == partition.id)
        {
            changes.push(Change::Remove(EntityKind::Segment, segment.id.to_string()));
        }
        Ok(changes)
    }
}

/// Aliases.
impl Planner<'_> {
    fn name_is_alias(&self, database: DatabaseId, alias: &str) -> Error {
        let db = self.snapshot.database_by_id(database).map_or("", |d| &d.name);
        Error::new(
            Code::ALIAS_IS_COLLECTION,
            format!("alias and collection name conflict[database={db}][alias={alias}]"),
        )
    }

    fn put_alias(&self, database: DatabaseId, alias: &str, collection: CollectionId) -> Vec<Change> {
        vec![Change::Put(Entity::Alias(Alias {
            database,
            name: alias.to_owned(),
            collection,
            created_at: self.now,
        }))]
    }

    fn create_alias(&self, database: &str, collection: &str, alias: &str) -> Result<Vec<Change>> {
        check_alias_name(alias)?;
        let db = self.database(database)?.id;
        if self.snapshot.collection_named(db, alias).is_some() {
            return Err(self.name_is_alias(db, alias));
        }
        let target = self.resolve(database, collection)?;
        match self.snapshot.alias(db, alias) {
            Some(existing) if existing.collection == target.id => Ok(Vec::new()),
            Some(existing) => {
                let owner = self
                    .snapshot
                    .collection(existing.collection)
                    .map_or("", |c| &c.name);
                Err(Error::new(
                    Code::ALIAS_EXISTS,
                    format!(
                        "{alias} is alias to another collection: {owner}: alias already exist[database={database}][alias={alias}]"
                    ),
                ))
            }
            None => Ok(self.put_alias(db, alias, target.id)),
        }
    }

    fn alter_alias(&self, database: &str, collection: &str, alias: &str) -> Result<Vec<Change>> {
        check_alias_name(alias)?;
        let db = self.database(database)?.id;
        if self.snapshot.collection_named(db, alias).is_some() {
            return Err(self.name_is_alias(db, alias));
        }
        let target = self.resolve(database, collection)?;
        match self.snapshot.alias(db, alias) {
            None => Err(Error::alias_not_found(database, alias)),
            Some(existing) if existing.collection == target.id => Ok(Vec::new()),
            Some(_) => Ok(self.put_alias(db, alias, target.id)),
        }
    }

    fn drop_alias(&self, database: &str, alias: &str) -> Result<Vec<Change>> {
        let db = self.database(database)?.id;
        if self.snapshot.alias(db, alias).is_none() {
            return Err(Error::alias_not_found(database, alias));
        }
        Ok(vec![Change::Remove(EntityKind::Alias, Alias::key(db, alias))])
    }
}

/// Indexes, load and release.
impl Planner<'_> {
    fn create_index(&mut self, command: &Command) -> Result<Vec<Change>> {
        let Command::CreateIndex {
            database,
            collection,
            field,
            name,
            kind,
            metric,
            params,
            user_params,
        } = command
        else {
            return Ok(Vec::new());
        };
        let mut collection = (*self.resolve(database, collection)?).clone();
        let Some(target) = collection.schema.field(field) else {
            return Err(Error::invalid(format!(
                "cannot create index on non-exist field: {field}"
            )));
        };
        let name = if name.is_empty() {
            field.clone()
        } else {
            name.clone()
        };
        check_index_name(&name)?;
        if let Some(existing) = collection.index_on(target.id) {
            if existing.name != name {
                return Err(Error::invalid(
                    "CreateIndex failed: creating multiple indexes on same field is not supported",
                ));
            }
            let same = existing.kind == *kind && existing.metric == *metric && existing.params == *params;
            return if same {
                Ok(Vec::new())
            } else {
                Err(Error::invalid(
                    "CreateIndex failed: at most one distinct index is allowed per field",
                ))
            };
        }
        if collection.indexes.iter().any(|i| i.name == name) {
            return Err(Error::invalid(format!(
                "CreateIndex failed: index name {name} is used by another field"
            )));
        }
        let index = IndexDef {
            id: IndexId((self.next_id)()),
            name,
            field: target.id,
            kind: kind.clone(),
            metric: *metric,
            params: params.clone(),
            user_params: user_params.clone(),
            created_at: self.now,
        };
        collection.indexes.push(index);
        Ok(vec![put_collection(collection)])
    }

    fn drop_index(&self, database: &str, collection: &str, field: &str, name: &str) -> Result<Vec<Change>> {
        let mut collection = (*self.resolve(database, collection)?).clone();
        let matches = |index: &IndexDef| {
            let field_name = collection.schema.field_by_id(index.field).map_or("", |f| &f.name);
            (name.is_empty() || index.name == name) && (field.is_empty() || field_name == field)
        };
        let found: Vec<IndexDef> = collection
            .indexes
            .iter()
            .filter(|i| matches(i))
            .cloned()
            .collect();
        if found.is_empty() {
            return Ok(Vec::new());
        }
        if found.len() > 1 {
            return Err(Error::new(
                Code::INDEX_AMBIGUOUS,
                "index duplicates: there are several indexes, say which by index_name",
            ));
        }
        let index = &found[0];
        if index.metric.is_some() && collection.load.is_loaded() {
            return Err(Error::invalid(
                "vector index cannot be dropped on loaded collection, please release it first",
            ));
        }
        collection.indexes.retain(|i| i.id != index.id);
        let mut changes = Vec::new();
        for segment in self.snapshot.segments_of(collection.id) {
            if segment.indexes.iter().any(|f| f.index == index.id) {
                let mut bare = (**segment).clone();
                bare.indexes.retain(|f| f.index != index.id);
                changes.push(Change::Put(Entity::Segment(Box::new(bare))));
            }
        }
        changes.push(put_collection(collection));
        Ok(changes)
    }

    fn load(
        &self,
        database: &str,
        collection: &str,
        partitions: &[String],
        replicas: u32,
    ) -> Result<Vec<Change>> {
        let mut collection = (*self.resolve(database, collection)?).clone();
        if !partitions.is_empty() && collection.key_partitions > 0 {
            return Err(Error::invalid(
                "disable load partitions if partition key mode is used",
            ));
        }
        let missing: Vec<&str> = collection
            .schema
            .fields
            .iter()
            .filter(|f| f.data_type == DataType::FloatVector && collection.index_on(f.id).is_none())
            .map(|f| f.name.as_str())
            .collect();
        if missing.len() == collection.schema.vectors().count() {
            return Err(Error::index_not_found(format!("collection={}", collection.name)));
        }
        if !missing.is_empty() {
            return Err(Error::invalid(format!(
                "there is no vector index on field: {missing:?}, please create index firstly"
            )));
        }
        let before = collection.load.clone();
        for name in partitions {
            let id = self.partition(&collection, name)?.id;
            if !collection.load.all {
                collection.load.partitions.insert(id);
            }
        }
        if partitions.is_empty() {
            collection.load = LoadState {
                all: true,
                partitions: BTreeSet::new(),
                replicas: before.replicas,
            };
        }
        collection.load.replicas = replicas.max(1);
        Ok(if collection.load == before {
            Vec::new()
        } else {
            vec![put_collection(collection)]
        })
    }

    fn release(&self, database: &str, collection: &str, partitions: &[String]) -> Result<Vec<Change>> {
        let mut collection = (*self.resolve(database, collection)?).clone();
        if !partitions.is_empty() && collection.key_partitions > 0 {
            return Err(Error::invalid(
                "disable release partitions if partition key mode is used",
            ));
        }
        let before = collection.load.clone();
        if partitions.is_empty() {
            collection.load = LoadState::default();
        } else {
            let mut ids = BTreeSet::new();
            for name in partitions {
                ids.insert(self.partition(&collection, name)?.id);
            }
            if collection.load.all {
                let all = self.snapshot.partitions_of(collection.id).map(|p| p.id).collect();
                collection.load = LoadState {
                    all: false,
                    partitions: all,
                    replicas: before.replicas,
                };
            }
            collection.load.partitions.retain(|id| !ids.contains(id));
            if collection.load.partitions.is_empty() {
                collection.load = LoadState::default();
            }
        }
        Ok(if collection.load == before {
            Vec::new()
        } else {
            vec![put_collection(collection)]
        })
    }
}
