//! Databases.

use super::Router;
use super::names::database_name;
use crate::error::ok;
use crate::wire::{Place, check_known};
use mishards_catalog::Command;
use mishards_proto::common::{KeyValuePair, Status};
use mishards_proto::milvus::*;
use mishards_types::{Error, Result};
use std::collections::BTreeMap;

pub fn pairs_to_map(pairs: Vec<KeyValuePair>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|p| (p.key, p.value)).collect()
}

/// Refuses properties that would have no effect, or are ill-formed.
fn check_properties(properties: &BTreeMap<String, String>) -> Result<()> {
    check_known(Place::DatabaseProperty, properties)?;
    match properties.get("database.max.collections") {
        Some(limit) if limit.parse::<usize>().is_err() => Err(Error::invalid(format!(
            "invalid database property: [key=database.max.collections] [value={limit}]"
        ))),
        _ => Ok(()),
    }
}

impl Router {
    pub async fn create_database(&self, request: CreateDatabaseRequest) -> Result<Status> {
        let properties = pairs_to_map(request.properties);
        check_properties(&properties)?;
        self.change(Command::CreateDatabase { name: request.db_name, properties }).await?;
        Ok(ok())
    }

    pub async fn drop_database(&self, request: DropDatabaseRequest) -> Result<Status> {
        self.change(Command::DropDatabase { name: request.db_name }).await?;
        Ok(ok())
    }

    pub async fn alter_database(&self, request: AlterDatabaseRequest) -> Result<Status> {
        let (set, unset) = (pairs_to_map(request.properties), request.delete_keys);
        check_properties(&set)?;
        self.change(Command::AlterDatabase { name: request.db_name, set, unset }).await?;
        Ok(ok())
    }

    pub async fn list_databases(&self) -> Result<ListDatabasesResponse> {
        let snapshot = self.catalog.get()?;
        let mut answer = ListDatabasesResponse { status: Some(ok()), ..Default::default() };
        for database in snapshot.databases() {
            answer.db_names.push(database.name.clone());
            answer.created_timestamp.push(database.created_at.0);
            answer.db_ids.push(database.id.0);
        }
        Ok(answer)
    }

    pub async fn describe_database(
        &self,
        db: &str,
        request: DescribeDatabaseRequest,
    ) -> Result<DescribeDatabaseResponse> {
        let (_, database) = self.database(database_name(&request.db_name, db))?;
        Ok(DescribeDatabaseResponse {
            status: Some(ok()),
            db_name: database.name.clone(),
            db_id: database.id.0,
            created_timestamp: database.created_at.0,
            properties: database
                .properties
                .iter()
                .map(|(k, v)| KeyValuePair { key: k.clone(), value: v.clone() })
                .collect(),
        })
    }
}
