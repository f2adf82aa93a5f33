//! Aliases.

use super::Router;
use super::names::database_name;
use crate::error::ok;
use mishards_catalog::Command;
use mishards_proto::common::Status;
use mishards_proto::milvus::*;
use mishards_types::{Error, Result, check_alias_name, check_collection_name};

impl Router {
    pub async fn create_alias(&self, db: &str, request: CreateAliasRequest) -> Result<Status> {
        check_alias_name(&request.alias)?;
        check_collection_name(&request.collection_name)?;
        let database = database_name(&request.db_name, db).to_owned();
        self.change(Command::CreateAlias {
            database,
            collection: request.collection_name,
            alias: request.alias,
        })
        .await?;
        Ok(ok())
    }

    pub async fn alter_alias(&self, db: &str, request: AlterAliasRequest) -> Result<Status> {
        check_alias_name(&request.alias)?;
        check_collection_name(&request.collection_name)?;
        let database = database_name(&request.db_name, db).to_owned();
        self.change(Command::AlterAlias {
            database,
            collection: request.collection_name,
            alias: request.alias,
        })
        .await?;
        Ok(ok())
    }

    pub async fn drop_alias(&self, db: &str, request: DropAliasRequest) -> Result<Status> {
        let database = database_name(&request.db_name, db).to_owned();
        self.change(Command::DropAlias { database, alias: request.alias }).await?;
        Ok(ok())
    }

    pub async fn describe_alias(
        &self,
        db: &str,
        request: DescribeAliasRequest,
    ) -> Result<DescribeAliasResponse> {
        check_alias_name(&request.alias)?;
        let (snapshot, database) = self.database(database_name(&request.db_name, db))?;
        let missing = || Error::alias_not_found(&database.name, &request.alias);
        let alias = snapshot.alias(database.id, &request.alias).ok_or_else(missing)?;
        let collection = snapshot.collection(alias.collection).ok_or_else(missing)?;
        Ok(DescribeAliasResponse {
            status: Some(ok()),
            db_name: database.name.clone(),
            alias: alias.name.clone(),
            collection: collection.name.clone(),
        })
    }

    pub async fn list_aliases(&self, db: &str, request: ListAliasesRequest) -> Result<ListAliasesResponse> {
        let name = database_name(&request.db_name, db);
        let (snapshot, database) = self.database(name)?;
        let aliases = if request.collection_name.is_empty() {
            snapshot.aliases_in(database.id).map(|a| a.name.clone()).collect()
        } else {
            check_collection_name(&request.collection_name)?;
            let named = self.collection(name, &request.collection_name).await?;
            named.snapshot.aliases_of(named.collection.id).map(|a| a.name.clone()).collect()
        };
        Ok(ListAliasesResponse {
            status: Some(ok()),
            db_name: database.name.clone(),
            collection_name: request.collection_name,
            aliases,
        })
    }
}
