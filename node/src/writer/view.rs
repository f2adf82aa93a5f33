//! What readers see of the writer: one consistent, immutable picture of catalog and growing rows.

use crate::unit::Unit;
use mishards_catalog::Snapshot;
use mishards_types::{CollectionId, PartitionId, Sequence, Timestamp, Version};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Rows of one partition that are not in published files.
#[derive(Clone)]
pub struct GrowingView {
    pub collection: CollectionId,
    /// Tells the growing segments of a partition apart.
    pub number: u64,
    pub sealed: bool,
    pub units: Vec<Arc<Unit>>,
    pub first: Sequence,
    pub last: Sequence,
    pub rows: usize,
    pub oldest: Timestamp,
}

/// Swapped whole, so that a row that moves into a file is in exactly one of the two at any moment.
#[derive(Clone)]
pub struct View {
    pub snapshot: Arc<Snapshot>,
    pub growing: HashMap<PartitionId, Arc<Vec<GrowingView>>>,
    /// The last log record whose effect is in this view.
    pub applied: Sequence,
    pub applied_timestamp: Timestamp,
    /// The last delete of each collection.
    pub last_delete: HashMap<CollectionId, Sequence>,
    /// V of the last change of a user.
    pub last_schema_change: Version,
}

impl View {
    pub fn growing_rows(&self) -> usize {
        self.growing.values().flat_map(|list| list.iter()).map(|g| g.rows).sum()
    }

    /// The growing rows of a collection; an empty set of partitions means all.
    pub fn growing_units(
        &self,
        collection: CollectionId,
        partitions: &BTreeSet<PartitionId>,
    ) -> Vec<Arc<Unit>> {
        let chosen = self.growing.iter().filter(|(id, _)| partitions.is_empty() || partitions.contains(id));
        let views = chosen.flat_map(|(_, list)| list.iter()).filter(|g| g.collection == collection);
        views.flat_map(|g| g.units.iter().cloned()).collect()
    }
}
