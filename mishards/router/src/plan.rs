//! From a request to a scope: which collection, partitions, segments and deletes a read is about, at one V and one T.
//! Pure.

use mishards_catalog::{Collection, Segment, Snapshot};
use mishards_expr::Templates;
use mishards_proto::node::{Scope, Version as WireVersion};
use mishards_types::{CollectionId, Error, PartitionId, Result, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Where a read stands in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPoint {
    pub timestamp: Timestamp,
    pub delete_sequence: u64,
    pub epoch: u64,
    /// Eventual reads take what is in files when nobody answers for the growing rows.
    pub growing_optional: bool,
}

/// What a read is about.
#[derive(Clone)]
pub struct ReadPlan {
    pub collection: Arc<Collection>,
    pub segments: Vec<Arc<Segment>>,
    /// The growing rows may be left out when nobody answers for them (eventual reads).
    pub growing_optional: bool,
    /// Everything of the scope but the segments.
    pub scope: Scope,
}

impl ReadPlan {
    /// The same with another filter.
    pub fn with(&self, filter: &Filter) -> Result<ReadPlan> {
        let mut plan = self.clone();
        (plan.scope.filter, plan.scope.templates) = (filter.text.clone(), filter.encoded_values()?);
        Ok(plan)
    }
}

/// A filter as it came, with its values.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub text: String,
    pub values: Templates,
}

impl Filter {
    fn encoded_values(&self) -> Result<Vec<u8>> {
        if self.values.is_empty() { Ok(Vec::new()) } else { serde_json::to_vec(&self.values).map_err(json) }
    }
}

/// The loaded partitions that a read covers; an empty list of names means all that are loaded.
pub fn choose_partitions(
    snapshot: &Snapshot,
    collection: &Collection,
    names: &[String],
) -> Result<BTreeSet<PartitionId>> {
    if !collection.load.is_loaded() {
        return Err(Error::collection_not_loaded(&collection.name));
    }
    if names.is_empty() {
        let loaded =
            snapshot.partitions_of(collection.id).map(|p| p.id).filter(|id| collection.load.has(*id));
        return Ok(loaded.collect());
    }
    if collection.key_partitions > 0 {
        return Err(Error::invalid(
            "not support manually specifying the partition names if partition key mode is used",
        ));
    }
    let find = |name: &String| {
        let partition = snapshot.partition_named(collection.id, name);
        let partition = partition.ok_or_else(|| Error::partition_not_found(name))?;
        match collection.load.has(partition.id) {
            true => Ok(partition.id),
            false => Err(Error::partition_not_loaded(name)),
        }
    };
    names.iter().map(find).collect()
}

/// Puts a plan together. `filter` must have been checked against the schema.
pub fn plan_read(
    snapshot: &Snapshot,
    collection: &Arc<Collection>,
    partitions: &BTreeSet<PartitionId>,
    filter: &Filter,
    at: ReadPoint,
) -> Result<ReadPlan> {
    let covered = |s: &&Arc<Segment>| partitions.contains(&s.partition) && s.min_timestamp <= at.timestamp;
    let segments = snapshot.segments_of(collection.id).filter(covered).cloned().collect();
    let all = snapshot.partitions_of(collection.id).all(|p| partitions.contains(&p.id));
    let scope = Scope {
        epoch: at.epoch,
        timestamp: at.timestamp.0,
        delete_sequence: at.delete_sequence,
        partitions: if all { Vec::new() } else { partitions.iter().map(|p| p.0).collect() },
        filter: filter.text.clone(),
        templates: filter.encoded_values()?,
        ..scope_of(snapshot, collection)?
    };
    Ok(ReadPlan {
        collection: Arc::clone(collection),
        segments,
        growing_optional: at.growing_optional,
        scope,
    })
}

/// A scope that is about opening some segments of a collection, and nothing else; `None` when the collection is gone.
pub fn scope_to_open(
    snapshot: &Snapshot,
    collection: CollectionId,
    segments: &[Arc<Segment>],
) -> Option<Scope> {
    let mut scope = scope_of(snapshot, snapshot.collection(collection)?).ok()?;
    scope.segments = segments.iter().map(|s| serde_json::to_vec(&**s)).collect::<Result<_, _>>().ok()?;
    Some(scope)
}

/// What is the same for every scope of a collection at one V.
fn scope_of(snapshot: &Snapshot, collection: &Collection) -> Result<Scope> {
    let deltas = snapshot.deltas_of(collection.id).map(|d| serde_json::to_vec(&**d).map_err(json));
    Ok(Scope {
        epoch: snapshot.epoch.0,
        version: Some(WireVersion {
            commit_seq: snapshot.version.commit_seq,
            commit_id: snapshot.version.commit_id,
        }),
        timestamp: Timestamp::MAX.0,
        collection_id: collection.id.0,
        schema: serde_json::to_vec(&collection.schema).map_err(json)?,
        deltas: deltas.collect::<Result<_>>()?,
        deltas_through: collection.deltas_through.0,
        ..Scope::default()
    })
}

fn json(e: serde_json::Error) -> Error {
    Error::internal(format!("cannot encode the plan: {e}"))
}
