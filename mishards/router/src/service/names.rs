//! Names to things. A name that this router does not know is asked of the writable node once before it is refused.

use super::Router;
use super::read_point::until_gone;
use crate::error::Kind;
use crate::plan::choose_partitions;
use mishards_catalog::{Collection, DEFAULT_DATABASE, Database, Snapshot};
use mishards_proto::node::ReadPointRequest;
use mishards_types::{Error, Result, Version};
use std::sync::Arc;

/// A collection and the snapshot that it was found in.
#[derive(Clone)]
pub struct Named {
    pub snapshot: Arc<Snapshot>,
    pub database: Arc<Database>,
    pub collection: Arc<Collection>,
}

/// The database that a request means: its own field, else the connection's, else the default.
pub fn database_name<'a>(request: &'a str, connection: &'a str) -> &'a str {
    match (request, connection) {
        ("", "") => DEFAULT_DATABASE,
        ("", connection) => connection,
        (request, _) => request,
    }
}

/// Refuses a namespace: collections have none here.
pub fn refuse_namespace(namespace: Option<&str>) -> Result<()> {
    match namespace {
        None | Some("") => Ok(()),
        Some(name) => Err(Error::invalid(format!("namespace is not supported, got {name}"))),
    }
}

impl Router {
    pub(super) fn database(&self, name: &str) -> Result<(Arc<Snapshot>, Arc<Database>)> {
        let snapshot = self.catalog.get()?;
        let database = snapshot.database(name).cloned().ok_or_else(|| Error::database_not_found(name))?;
        Ok((snapshot, database))
    }

    /// A collection by name or alias.
    pub(super) async fn collection(&self, database: &str, name: &str) -> Result<Named> {
        match self.known(database, name) {
            Ok(named) => Ok(named),
            Err(error) => {
                let writer = self.topology.wait_for_writer().await?;
                let request = ReadPointRequest {
                    database: database.to_owned(),
                    collection: name.to_owned(),
                    from_standby: false,
                };
                let asked = until_gone(&writer, writer.client.read_point(request));
                let point = asked.await.map_err(|failure| match failure.kind {
                    Kind::Refused => error,
                    _ => failure.error,
                })?;
                let v = point.version.unwrap_or_default();
                self.catalog.wait_for(Version { commit_seq: v.commit_seq, commit_id: v.commit_id }).await?;
                self.known(database, name)
            }
        }
    }

    /// A collection that is loaded, with the partitions named. Whoever made or loaded it may have asked another router, so
    /// this one catches up before it refuses.
    pub(super) async fn loaded(&self, database: &str, name: &str, partitions: &[String]) -> Result<Named> {
        let named = self.collection(database, name).await?;
        if choose_partitions(&named.snapshot, &named.collection, partitions).is_ok() {
            return Ok(named);
        }
        self.catch_up().await;
        let named = self.known(database, name)?;
        choose_partitions(&named.snapshot, &named.collection, partitions)?;
        Ok(named)
    }

    /// The same collection in the catalog of the term that a read point is of. Whoever takes over and does not write yet may
    /// have made a newer one, which nobody knows who answers for the rows that are in no file.
    /// It must have the commit `commit_seq`.
    pub(super) fn of_term(&self, named: Named, epoch: u64, commit_seq: u64) -> Named {
        if named.snapshot.epoch.0 <= epoch {
            return named;
        }
        let older = self.catalog.of_term(epoch, commit_seq);
        let found = older.and_then(|snapshot| {
            let collection = snapshot.collection(named.collection.id).cloned()?;
            Some(Named { snapshot, database: named.database.clone(), collection })
        });
        found.unwrap_or(named)
    }

    /// A collection by name or alias, as this router knows it.
    pub(super) fn known(&self, database: &str, name: &str) -> Result<Named> {
        let (snapshot, found) = self.database(database)?;
        let collection = snapshot.resolve(found.id, name).cloned();
        let collection = collection.ok_or_else(|| Error::collection_not_found(database, name))?;
        Ok(Named { snapshot, database: found, collection })
    }
}
