//! What partition commands change.

use super::Planner;
use crate::model::*;
use crate::snapshot::Change;
use mishards_types::{Error, Result, check_partition_name, limits};
use std::sync::Arc;

impl Planner<'_> {
    pub(super) fn partitioned(
        &self,
        database: &str,
        collection: &str,
        what: &str,
    ) -> Result<Arc<Collection>> {
        let collection = self.resolve(database, collection)?;
        if collection.key_partitions > 0 {
            return Err(Error::invalid(format!("disable {what} partition if partition key mode is used")));
        }
        Ok(collection)
    }

    pub(super) fn create_partition(
        &mut self,
        database: &str,
        collection: &str,
        name: &str,
    ) -> Result<Vec<Change>> {
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

    pub(super) fn drop_partition(&self, database: &str, collection: &str, name: &str) -> Result<Vec<Change>> {
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
        for segment in self.snapshot.segments_of(collection.id).filter(|s| s.partition == partition.id) {
            changes.push(Change::Remove(EntityKind::Segment, segment.id.to_string()));
        }
        Ok(changes)
    }
}
