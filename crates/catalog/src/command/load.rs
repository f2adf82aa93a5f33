//! What load and release change.

use super::{Planner, put_collection};
use crate::model::*;
use crate::snapshot::Change;
use mishards_types::{DataType, Error, Result};
use std::collections::BTreeSet;

impl Planner<'_> {
    pub(super) fn load(
        &self,
        database: &str,
        collection: &str,
        partitions: &[String],
        replicas: u32,
    ) -> Result<Vec<Change>> {
        let mut collection = (*self.resolve(database, collection)?).clone();
        if !partitions.is_empty() && collection.key_partitions > 0 {
            return Err(Error::invalid("disable load partitions if partition key mode is used"));
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
            collection.load = LoadState { all: true, partitions: BTreeSet::new(), replicas: before.replicas };
        }
        collection.load.replicas = replicas.max(1);
        Ok(if collection.load == before { Vec::new() } else { vec![put_collection(collection)] })
    }

    pub(super) fn release(
        &self,
        database: &str,
        collection: &str,
        partitions: &[String],
    ) -> Result<Vec<Change>> {
        let mut collection = (*self.resolve(database, collection)?).clone();
        if !partitions.is_empty() && collection.key_partitions > 0 {
            return Err(Error::invalid("disable release partitions if partition key mode is used"));
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
                collection.load = LoadState { all: false, partitions: all, replicas: before.replicas };
            }
            collection.load.partitions.retain(|id| !ids.contains(id));
            if collection.load.partitions.is_empty() {
                collection.load = LoadState::default();
            }
        }
        Ok(if collection.load == before { Vec::new() } else { vec![put_collection(collection)] })
    }
}
