//! What collection commands change.

use super::{Planner, put_collection};
use crate::model::*;
use crate::snapshot::Change;
use mishards_types::{
    Code, CollectionId, DatabaseId, Error, PartitionId, Result, Sequence, check_collection_name, limits,
};
use std::sync::Arc;

/// The property of a database that limits its collections.
const MAX_COLLECTIONS: &str = "database.max.collections";

impl Planner<'_> {
    /// Refuses one collection more than a database may have.
    fn check_room(&self, id: DatabaseId) -> Result<()> {
        let Some(database) = self.snapshot.database_by_id(id) else { return Ok(()) };
        let limit = database.properties.get(MAX_COLLECTIONS).and_then(|text| text.parse().ok());
        match limit {
            Some(limit) if self.snapshot.collections_of(id).count() >= limit => Err(Error::new(
                Code::TOO_MANY_COLLECTIONS,
                format!("exceeded the limit number of collections[dbName={}][limit={limit}]", database.name),
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn create_collection(&mut self, mut collection: Collection) -> Result<Vec<Change>> {
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
                format!("exceeded the limit number of collections[limit={}]", limits::COLLECTIONS),
            ));
        }
        self.check_room(collection.database)?;
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

    pub(super) fn key_partitions(&self, collection: &Collection) -> Result<i64> {
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

    pub(super) fn put_partition(&mut self, collection: CollectionId, name: String) -> Change {
        let id = PartitionId((self.next_id)());
        Change::Put(Entity::Partition(Partition {
            id,
            collection,
            name,
            created_at: self.now,
            flushed_through: Sequence(0),
        }))
    }

    pub(super) fn drop_collection(&self, database: &str, name: &str) -> Result<Vec<Change>> {
        let db = self.database(database)?;
        if self.snapshot.alias(db.id, name).is_some() {
            return Err(Error::invalid(format!("cannot drop the collection via alias = {name}")));
        }
        let Some(collection) = self.snapshot.collection_named(db.id, name) else {
            return Ok(Vec::new());
        };
        let aliases: Vec<&str> = self.snapshot.aliases_of(collection.id).map(|a| a.name.as_str()).collect();
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

    pub(super) fn rename_collection(
        &self,
        database: &str,
        name: &str,
        new_name: &str,
        new_database: &str,
    ) -> Result<Vec<Change>> {
        check_collection_name(new_name)?;
        let db = self.database(database)?;
        let target = if new_database.is_empty() { Arc::clone(&db) } else { self.database(new_database)? };
        if self.snapshot.alias(db.id, name).is_some() {
            return Err(Error::invalid(format!(
                "unsupported use an alias to rename collection, alias:{name}"
            )));
        }
        let Some(collection) = self.snapshot.collection_named(db.id, name) else {
            return Err(Error::collection_not_found(database, name));
        };
        if self.snapshot.alias(target.id, new_name).is_some() {
            return Err(self.name_is_alias(target.id, new_name));
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
        if target.id != db.id {
            self.check_room(target.id)?;
        }
        let mut renamed = (**collection).clone();
        renamed.name = new_name.to_owned();
        renamed.database = target.id;
        renamed.updated_at = self.now;
        Ok(vec![put_collection(renamed)])
    }
}
