//! Explains a read: runs it, and says what was planned, where each segment is placed, and who answered how fast.

use super::Router;
use super::names::database_name;
use crate::call::{Call, Coverage};
use crate::candidates;
use mishards_proto::common::{KeyValuePair, PlaceholderGroup, PlaceholderType, PlaceholderValue};
use mishards_proto::milvus::{QueryRequest, SearchRequest, search_request::SearchInput};
use mishards_proto::schema::{i_ds::IdField, scalar_field};
use mishards_types::{Error, Result};
use prost::Message;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A read to be explained, as JSON. Without a vector it is a query: of `limit` rows, or, without a limit, their number.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExplainRequest {
    pub database: String,
    pub collection: String,
    pub filter: String,
    pub partitions: Vec<String>,
    pub vector: Vec<f32>,
    /// The vector field; may be left out where there is one only.
    pub field: String,
    pub limit: Option<usize>,
    /// Parameters of the search, such as `ef`.
    pub params: BTreeMap<String, serde_json::Value>,
    /// `strong`, `session`, `bounded`, `eventually`; the collection's own when left out.
    pub consistency: String,
}

/// What became of a read. Field names are part of what `mishards explain --json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Explained {
    pub collection: String,
    pub micros: u64,
    /// Why there is no answer.
    pub error: Option<String>,
    /// Keys that were found, nearest first; of a query in their order.
    pub keys: Vec<String>,
    pub scores: Vec<f32>,
    /// The answer of a count.
    pub count: Option<i64>,
    pub coverage: Coverage,
    pub segments: Vec<ExplainedSegment>,
}

/// A segment of the collection, and where it is read.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainedSegment {
    pub id: i64,
    pub partition: String,
    pub rows: u32,
    pub bytes: u64,
    /// Kinds of its index files.
    pub indexes: Vec<String>,
    /// All nodes in the order in which they are asked now.
    pub candidates: Vec<String>,
    /// Who read it for this answer; nobody when it was left out by its partition or its age.
    pub read_by: Option<String>,
}

impl Router {
    /// Runs a read and explains it. An error says that there is nothing to explain; one of the read itself is in the answer.
    pub async fn explain(&self, request: ExplainRequest) -> Result<Explained> {
        let database = database_name(&request.database, "").to_owned();
        let named = self.collection(&database, &request.collection).await?;
        let call = Call::of(&database);
        let began = self.clock.elapsed();
        let (found, error) = match self.read_to_explain(&call, &request).await {
            Ok(found) => (found, None),
            Err(error) => (Found::default(), Some(error.message)),
        };
        let micros = self.clock.elapsed().saturating_sub(began).as_micros() as u64;
        let coverage = call.coverage();
        let (nodes, placement, now) = (self.topology.nodes(), self.placer.placement(), self.topology.now());
        let reader = |id: i64| {
            let read = coverage.subqueries.iter().find(|s| s.failure.is_none() && s.segments.contains(&id));
            read.map(|s| s.node.clone())
        };
        let loaded = named
            .snapshot
            .segments_of(named.collection.id)
            .filter(|s| named.collection.load.has(s.partition));
        let segments = loaded.map(|segment| ExplainedSegment {
            id: segment.id.0,
            partition: named
                .snapshot
                .partition(segment.partition)
                .map_or_else(String::new, |p| p.name.clone()),
            rows: segment.rows,
            bytes: segment.bytes(),
            indexes: segment.indexes.iter().map(|index| index.kind.clone()).collect(),
            candidates: candidates::in_order(&nodes, &placement, segment.id, now)
                .into_iter()
                .map(|node| node.name.clone())
                .collect(),
            read_by: reader(segment.id.0),
        });
        let segments = segments.collect();
        let Found { keys, scores, count } = found;
        Ok(Explained {
            collection: request.collection,
            micros,
            error,
            keys,
            scores,
            count,
            coverage,
            segments,
        })
    }

    async fn read_to_explain(&self, call: &Call, request: &ExplainRequest) -> Result<Found> {
        let (consistency_level, use_default_consistency) = level(&request.consistency)?;
        if request.vector.is_empty() {
            let count = vec!["count(*)".to_owned()];
            let limit = request.limit.map(|limit| pair("limit", limit));
            let query = QueryRequest {
                collection_name: request.collection.clone(),
                expr: request.filter.clone(),
                partition_names: request.partitions.clone(),
                output_fields: if limit.is_some() { Vec::new() } else { count },
                query_params: limit.into_iter().collect(),
                consistency_level,
                use_default_consistency,
                ..Default::default()
            };
            let answer = self.query(call, query).await?;
            return Ok(Found::of_columns(&answer.fields_data, request.limit.is_none()));
        }
        let group = PlaceholderGroup {
            placeholders: vec![PlaceholderValue {
                tag: "$0".to_owned(),
                r#type: PlaceholderType::FloatVector.into(),
                values: vec![request.vector.iter().flat_map(|v| v.to_le_bytes()).collect()],
                ..Default::default()
            }],
        };
        let params = serde_json::to_string(&request.params).map_err(Error::internal)?;
        let search = SearchRequest {
            collection_name: request.collection.clone(),
            dsl: request.filter.clone(),
            partition_names: request.partitions.clone(),
            search_input: Some(SearchInput::PlaceholderGroup(group.encode_to_vec())),
            search_params: vec![
                pair("anns_field", &request.field),
                pair("topk", request.limit.unwrap_or(10)),
                pair("params", params),
            ],
            nq: 1,
            consistency_level,
            use_default_consistency,
            ..Default::default()
        };
        let answer = self.search(call, search).await?.results.unwrap_or_default();
        Ok(Found { keys: texts(answer.ids.and_then(|ids| ids.id_field)), scores: answer.scores, count: None })
    }
}

#[derive(Default)]
struct Found {
    keys: Vec<String>,
    scores: Vec<f32>,
    count: Option<i64>,
}

impl Found {
    /// The only column of an answer: keys, or the number of rows.
    fn of_columns(columns: &[mishards_proto::schema::FieldData], counted: bool) -> Found {
        use mishards_proto::schema::field_data::Field;
        let data = columns.first().and_then(|column| match &column.field {
            Some(Field::Scalars(scalars)) => scalars.data.clone(),
            _ => None,
        });
        match data {
            Some(scalar_field::Data::LongData(list)) if counted => {
                Found { count: list.data.first().copied(), ..Found::default() }
            }
            Some(scalar_field::Data::LongData(list)) => {
                Found { keys: list.data.iter().map(i64::to_string).collect(), ..Found::default() }
            }
            Some(scalar_field::Data::StringData(list)) => Found { keys: list.data, ..Found::default() },
            _ => Found::default(),
        }
    }
}

fn texts(ids: Option<IdField>) -> Vec<String> {
    match ids {
        Some(IdField::IntId(list)) => list.data.iter().map(i64::to_string).collect(),
        Some(IdField::StrId(list)) => list.data,
        _ => Vec::new(),
    }
}

fn pair(key: &str, value: impl ToString) -> KeyValuePair {
    KeyValuePair { key: key.to_owned(), value: value.to_string() }
}

/// The number of a consistency level, and whether the collection's own counts instead.
fn level(name: &str) -> Result<(i32, bool)> {
    const LEVELS: [&str; 4] = ["strong", "session", "bounded", "eventually"];
    match LEVELS.iter().position(|level| *level == name) {
        Some(number) => Ok((number as i32, false)),
        None if name.is_empty() => Ok((0, true)),
        None => Err(Error::invalid(format!("consistency {name:?} is none of {}", LEVELS.join(", ")))),
    }
}
