//! What alias commands change.

use super::Planner;
use crate::model::*;
use crate::snapshot::Change;
use mishards_types::{Code, CollectionId, DatabaseId, Error, Result, check_alias_name};

impl Planner<'_> {
    pub(super) fn name_is_alias(&self, database: DatabaseId, alias: &str) -> Error {
        let db = self.snapshot.database_by_id(database).map_or("", |d| &d.name);
        Error::new(
            Code::ALIAS_IS_COLLECTION,
            format!("alias and collection name conflict[database={db}][alias={alias}]"),
        )
    }

    pub(super) fn put_alias(
        &self,
        database: DatabaseId,
        alias: &str,
        collection: CollectionId,
    ) -> Vec<Change> {
        vec![Change::Put(Entity::Alias(Alias {
            database,
            name: alias.to_owned(),
            collection,
            created_at: self.now,
        }))]
    }

    pub(super) fn create_alias(&self, database: &str, collection: &str, alias: &str) -> Result<Vec<Change>> {
        check_alias_name(alias)?;
        let db = self.database(database)?.id;
        if self.snapshot.collection_named(db, alias).is_some() {
            return Err(self.name_is_alias(db, alias));
        }
        let target = self.resolve(database, collection)?;
        match self.snapshot.alias(db, alias) {
            Some(existing) if existing.collection == target.id => Ok(Vec::new()),
            Some(existing) => {
                let owner = self.snapshot.collection(existing.collection).map_or("", |c| &c.name);
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

    pub(super) fn alter_alias(&self, database: &str, collection: &str, alias: &str) -> Result<Vec<Change>> {
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

    pub(super) fn drop_alias(&self, database: &str, alias: &str) -> Result<Vec<Change>> {
        let db = self.database(database)?.id;
        if self.snapshot.alias(db, alias).is_none() {
            return Ok(Vec::new());
        }
        Ok(vec![Change::Remove(EntityKind::Alias, Alias::key(db, alias))])
    }
}
