//! The decoded scope of a sub-query.

use crate::{Failure, Result};
use mishards_catalog::{DeltaFile, Segment};
use mishards_expr::{Predicate, Templates};
use mishards_proto::node as wire;
use mishards_proto::schema::{TemplateArrayValue, TemplateValue, template_array_value, template_value};
use mishards_types::{CollectionId, Epoch, Error, PartitionId, Schema, Sequence, Timestamp, Value, Version};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Which rows a sub-query is about, ready to use.
pub struct ReadScope {
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
    pub fn decode(scope: Option<wire::Scope>) -> Result<ReadScope> {
        let scope = scope.ok_or_else(|| Failure::internal("the sub-query has no scope"))?;
        let json = |what: &str, e: serde_json::Error| Failure::internal(format!("the sub-query's {what} cannot be read: {e}"));
        let schema: Schema = serde_json::from_slice(&scope.schema).map_err(|e| json("schema", e))?;
        let templates = templates(scope.templates)?;
        let predicate = mishards_expr::compile(&scope.filter, &templates, &schema)
            .map_err(|e| Failure::from(Error::invalid(format!("cannot parse expression: {}, error: {e}", scope.filter))))?;
        let version = scope.version.unwrap_or_default();
        Ok(ReadScope {
            epoch: Epoch(scope.epoch),
            version: Version { commit_seq: version.commit_seq, commit_id: version.commit_id },
            timestamp: Timestamp(scope.timestamp),
            delete_sequence: Sequence(scope.delete_sequence),
            collection: CollectionId(scope.collection_id),
            schema: Arc::new(schema),
            segments: scope.segments.iter().map(|s| serde_json::from_slice(s)).collect::<std::result::Result<_, _>>().map_err(|e| json("segments", e))?,
            deltas: scope.deltas.iter().map(|s| serde_json::from_slice(s)).collect::<std::result::Result<_, _>>().map_err(|e| json("delta files", e))?,
            deltas_through: Sequence(scope.deltas_through),
            growing: scope.growing,
            partitions: scope.partitions.into_iter().map(PartitionId).collect(),
            predicate,
        })
    }
}

/// Template values of the wire to values.
fn templates(wire: std::collections::BTreeMap<String, TemplateValue>) -> Result<Templates> {
    wire.into_iter()
        .map(|(name, value)| match template(value) {
            Some(value) => Ok((name, value)),
            None => Err(Error::invalid(format!("the value of template {name} cannot be used in a filter")).into()),
        })
        .collect()
}

fn template(value: TemplateValue) -> Option<Value> {
    Some(match value.val? {
        template_value::Val::BoolVal(v) => Value::Bool(v),
        template_value::Val::Int64Val(v) => Value::Int(v),
        template_value::Val::FloatVal(v) => Value::Float(v),
        template_value::Val::StringVal(v) => Value::Str(v),
        template_value::Val::ArrayVal(list) => Value::Array(list_of(list, 0)?),
        template_value::Val::BytesVal(_) => return None,
    })
}

fn list_of(list: TemplateArrayValue, depth: usize) -> Option<Vec<Value>> {
    use template_array_value::Data;
    if depth > 16 {
        return None;
    }
    match list.data {
        None => Some(Vec::new()),
        Some(Data::BoolData(v)) => Some(v.data.into_iter().map(Value::Bool).collect()),
        Some(Data::LongData(v)) => Some(v.data.into_iter().map(Value::Int).collect()),
        Some(Data::DoubleData(v)) => Some(v.data.into_iter().map(Value::Float).collect()),
        Some(Data::StringData(v)) => Some(v.data.into_iter().map(Value::Str).collect()),
        Some(Data::ArrayData(v)) => v.data.into_iter().map(|l| list_of(l, depth + 1).map(Value::Array)).collect(),
        Some(Data::JsonData(v)) => v.data.iter().map(|b| from_json(serde_json::from_slice(b).ok()?)).collect(),
    }
}

fn from_json(value: serde_json::Value) -> Option<Value> {
    Some(match value {
        serde_json::Value::Bool(v) => Value::Bool(v),
        serde_json::Value::Number(n) => n.as_i64().map(Value::Int).or_else(|| n.as_f64().map(Value::Float))?,
        serde_json::Value::String(s) => Value::Str(s),
        serde_json::Value::Array(items) => Value::Array(items.into_iter().map(from_json).collect::<Option<_>>()?),
        _ => return None,
    })
}
