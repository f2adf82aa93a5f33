//! The decoded scope of a sub-query.

use crate::cancel::Cancel;
use crate::{Failure, Result};
use mishards_catalog::{DeltaFile, Segment};
use mishards_expr::{Predicate, Templates};
use mishards_proto::node as wire;
use mishards_types::{CollectionId, Epoch, Error, PartitionId, Schema, Sequence, Timestamp, Version};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Which rows a sub-query is about, ready to use.
pub struct ReadScope {
    /// The term that T and the rows beyond the files are of.
    pub epoch: Epoch,
    pub version: Version,
    pub timestamp: Timestamp,
    pub delete_sequence: Sequence,
    pub collection: CollectionId,
    pub schema: Arc<Schema>,
    pub segments: Vec<Segment>,
    pub deltas: Vec<DeltaFile>,
    pub deltas_through: Sequence,
    pub growing: bool,
    pub partitions: BTreeSet<PartitionId>,
    pub predicate: Predicate,
}

impl ReadScope {
    pub fn decode(scope: Option<wire::Scope>, cancel: &Cancel) -> Result<ReadScope> {
        let scope = scope.ok_or_else(|| Failure::internal("the sub-query has no scope"))?;
        let json = |what: &str, e: serde_json::Error| {
            Failure::internal(format!("the sub-query's {what} cannot be read: {e}"))
        };
        let schema: Schema = serde_json::from_slice(&scope.schema).map_err(|e| json("schema", e))?;
        let templates: Templates = match scope.templates.is_empty() {
            true => Templates::new(),
            false => serde_json::from_slice(&scope.templates).map_err(|e| json("template values", e))?,
        };
        let compiled = mishards_expr::compile_unless(cancel.flag(), &scope.filter, &templates, &schema);
        let predicate = compiled.map_err(|e| {
            Failure::from(Error::invalid(format!("cannot parse expression: {}, error: {e}", scope.filter)))
        })?;
        let version = scope.version.unwrap_or_default();
        Ok(ReadScope {
            epoch: Epoch(scope.epoch),
            version: Version { commit_seq: version.commit_seq, commit_id: version.commit_id },
            timestamp: Timestamp(scope.timestamp),
            delete_sequence: Sequence(scope.delete_sequence),
            collection: CollectionId(scope.collection_id),
            schema: Arc::new(schema),
            segments: scope
                .segments
                .iter()
                .map(|s| serde_json::from_slice(s))
                .collect::<std::result::Result<_, _>>()
                .map_err(|e| json("segments", e))?,
            deltas: scope
                .deltas
                .iter()
                .map(|s| serde_json::from_slice(s))
                .collect::<std::result::Result<_, _>>()
                .map_err(|e| json("delta files", e))?,
            deltas_through: Sequence(scope.deltas_through),
            growing: scope.growing,
            partitions: scope.partitions.into_iter().map(PartitionId).collect(),
            predicate,
        })
    }
}
