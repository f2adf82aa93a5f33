//! What database commands change.

use super::Planner;
use crate::model::*;
use crate::snapshot::Change;
use mishards_types::{Code, DatabaseId, Error, Result, check_database_name, limits};
use std::collections::BTreeMap;

impl Planner<'_> {
    pub(super) fn create_database(
        &mut self,
        name: &str,
        properties: &BTreeMap<String, String>,
    ) -> Result<Vec<Change>> {
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
        Ok(vec![Change::Put(Entity::Database(Database { id, name, properties, created_at: self.now }))])
    }

    pub(super) fn drop_database(&self, name: &str) -> Result<Vec<Change>> {
        check_database_name(name)?;
        if name == DEFAULT_DATABASE {
            return Err(Error::invalid("can not drop default database"));
        }
        let database = self.database(name)?;
        if self.snapshot.collections_of(database.id).next().is_some() {
            return Err(Error::invalid(format!(
                "database:{name} not empty, must drop all collections before drop database"
            )));
        }
        Ok(vec![Change::Remove(EntityKind::Database, database.id.to_string())])
    }

    pub(super) fn alter_database(
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
