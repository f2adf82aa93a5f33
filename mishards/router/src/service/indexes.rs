//! Index definitions and their progress.

use super::Router;
use super::names::{Named, database_name};
use crate::error::ok;
use crate::wire::{Params, Place, check_known};
use mishards_catalog::{Command, IndexDef};
use mishards_proto::common::{IndexState, KeyValuePair, Status};
use mishards_proto::milvus::*;
use mishards_types::{Code, DataType, Error, Field, Metric, Result, limits};
use std::collections::BTreeMap;

const VECTOR_KINDS: [&str; 3] = ["FLAT", "HNSW", "AUTOINDEX"];
const SCALAR_KINDS: [&str; 2] = ["INVERTED", "AUTOINDEX"];

impl Router {
    pub async fn create_index(&self, db: &str, request: CreateIndexRequest) -> Result<Status> {
        let database = database_name(&request.db_name, db);
        let named = self.collection(database, &request.collection_name).await?;
        let schema = &named.collection.schema;
        let Some(field) = schema.field(&request.field_name) else {
            return Err(Error::invalid(format!(
                "cannot create index on non-exist field: {}",
                request.field_name
            )));
        };
        let definition = Definition::parse(field, &request.extra_params)?;
        self.change(Command::CreateIndex {
            database: database.to_owned(),
            collection: request.collection_name,
            field: request.field_name,
            name: request.index_name,
            kind: definition.kind,
            metric: definition.metric,
            params: definition.params,
            user_params: definition.user_params,
        })
        .await?;
        Ok(ok())
    }

    pub async fn drop_index(&self, db: &str, request: DropIndexRequest) -> Result<Status> {
        self.change(Command::DropIndex {
            database: database_name(&request.db_name, db).to_owned(),
            collection: request.collection_name,
            field: request.field_name,
            name: request.index_name,
        })
        .await?;
        Ok(ok())
    }

    pub async fn describe_index(
        &self,
        db: &str,
        request: DescribeIndexRequest,
    ) -> Result<DescribeIndexResponse> {
        let database = database_name(&request.db_name, db);
        let found = self
            .index_descriptions(database, &request.collection_name, &request.field_name, &request.index_name)
            .await?;
        Ok(DescribeIndexResponse { status: Some(ok()), index_descriptions: found })
    }

    pub async fn index_statistics(
        &self,
        db: &str,
        request: GetIndexStatisticsRequest,
    ) -> Result<GetIndexStatisticsResponse> {
        let database = database_name(&request.db_name, db);
        let found =
            self.index_descriptions(database, &request.collection_name, "", &request.index_name).await?;
        Ok(GetIndexStatisticsResponse { status: Some(ok()), index_descriptions: found })
    }

    pub async fn index_state(
        &self,
        db: &str,
        request: GetIndexStateRequest,
    ) -> Result<GetIndexStateResponse> {
        let database = database_name(&request.db_name, db);
        let found = self
            .index_descriptions(database, &request.collection_name, &request.field_name, &request.index_name)
            .await?;
        let state = found.first().map_or(0, |d| d.state);
        Ok(GetIndexStateResponse { status: Some(ok()), state, fail_reason: String::new() })
    }

    pub async fn index_build_progress(
        &self,
        db: &str,
        request: GetIndexBuildProgressRequest,
    ) -> Result<GetIndexBuildProgressResponse> {
        let database = database_name(&request.db_name, db);
        let found = self
            .index_descriptions(database, &request.collection_name, &request.field_name, &request.index_name)
            .await?;
        let (indexed_rows, total_rows) = found.first().map_or((0, 0), |d| (d.indexed_rows, d.total_rows));
        Ok(GetIndexBuildProgressResponse { status: Some(ok()), indexed_rows, total_rows })
    }

    async fn index_descriptions(
        &self,
        database: &str,
        collection: &str,
        field: &str,
        index: &str,
    ) -> Result<Vec<IndexDescription>> {
        let named = self.collection(database, collection).await?;
        let field_name =
            |i: &IndexDef| named.collection.schema.field_by_id(i.field).map_or("", |f| &f.name).to_owned();
        let wanted = |i: &&IndexDef| {
            (index.is_empty() || i.name == index) && (field.is_empty() || field_name(i) == field)
        };
        let found: Vec<IndexDescription> = named
            .collection
            .indexes
            .iter()
            .filter(wanted)
            .map(|i| describe(&named, i, field_name(i)))
            .collect();
        if found.is_empty() {
            return Err(Error::index_not_found(format!("collection={}", named.collection.name)));
        }
        Ok(found)
    }
}

/// Counts are of rows in files; growing rows have no index yet.
fn describe(named: &Named, index: &IndexDef, field_name: String) -> IndexDescription {
    let (mut total, mut pending) = (0i64, 0i64);
    for segment in named.snapshot.segments_of(named.collection.id) {
        total += i64::from(segment.rows);
        if segment.lacks_index(index) {
            pending += i64::from(segment.rows);
        }
    }
    let state = if pending > 0 { IndexState::InProgress } else { IndexState::Finished };
    IndexDescription {
        index_name: index.name.clone(),
        index_id: index.id.0,
        params: index
            .user_params
            .iter()
            .map(|(k, v)| KeyValuePair { key: k.clone(), value: v.clone() })
            .collect(),
        field_name,
        indexed_rows: total - pending,
        total_rows: total,
        state: state.into(),
        pending_index_rows: pending,
        ..Default::default()
    }
}

/// A checked index definition.
struct Definition {
    kind: String,
    metric: Option<Metric>,
    params: BTreeMap<String, String>,
    user_params: Vec<(String, String)>,
}

impl Definition {
    fn parse(field: &Field, pairs: &[KeyValuePair]) -> Result<Definition> {
        let size: usize = pairs.iter().map(|p| p.key.len() + p.value.len()).sum();
        if size > limits::INDEX_PARAM_BYTES {
            return Err(Error::invalid(format!(
                "the index params have {size} bytes, the maximum is {}",
                limits::INDEX_PARAM_BYTES
            )));
        }
        for (i, pair) in pairs.iter().enumerate() {
            if pairs[..i].iter().any(|p| p.key == pair.key) {
                return Err(Error::invalid(format!("duplicated index param {}", pair.key)));
            }
        }
        let params = Params::new(pairs)?;
        check_known(Place::IndexParam, params.iter())?;
        let kind = match params.text("index_type").to_ascii_uppercase() {
            kind if kind.is_empty() => "AUTOINDEX".to_owned(),
            kind => kind,
        };
        if field.data_type.is_vector() {
            Definition::vector(field, &params, kind)
        } else {
            Definition::scalar(field, &params, kind)
        }
    }

    fn vector(field: &Field, params: &Params, kind: String) -> Result<Definition> {
        if !VECTOR_KINDS.contains(&kind.as_str()) {
            return Err(unsupported(field, &kind, &VECTOR_KINDS));
        }
        let metric = match params.text("metric_type") {
            name if name.is_empty() => Metric::Cosine,
            name => Metric::parse(&name).map_err(|_| {
                Error::invalid(format!(
                    "float vector index does not support metric type: {name}, supported: [L2 IP COSINE]"
                ))
            })?,
        };
        let mut build = BTreeMap::new();
        if kind == "HNSW" {
            for (key, low, high) in [("M", 2, 2048), ("efConstruction", 1, i64::from(i32::MAX))] {
                if let Some(value) = params.integer(key)? {
                    if !(low..=high).contains(&value) {
                        return Err(Error::invalid(format!(
                            "invalid index params: {key} should be in [{low}, {high}], got {value}"
                        )));
                    }
                    build.insert(key.to_owned(), value.to_string());
                }
            }
        } else if kind == "AUTOINDEX" && ["M", "efConstruction", "nlist"].iter().any(|k| params.has(k)) {
            return Err(Error::invalid("only metric type can be passed when use AutoIndex"));
        }
        let mut user_params = user_params(params, &kind);
        user_params.push(("metric_type".to_owned(), metric.name().to_owned()));
        Ok(Definition { kind, metric: Some(metric), params: build, user_params })
    }

    fn scalar(field: &Field, params: &Params, kind: String) -> Result<Definition> {
        if !SCALAR_KINDS.contains(&kind.as_str()) {
            return Err(unsupported(field, &kind, &SCALAR_KINDS));
        }
        if field.data_type == DataType::Json {
            return Err(Error::invalid(format!(
                "data type JSON can't build with this index {kind}: field {}",
                field.name
            )));
        }
        let user_params = user_params(params, &kind);
        Ok(Definition { kind, metric: None, params: BTreeMap::new(), user_params })
    }
}

fn user_params(params: &Params, kind: &str) -> Vec<(String, String)> {
    let others = params.iter().filter(|(k, _)| *k != "index_type" && *k != "metric_type");
    let mut out: Vec<(String, String)> = others.map(|(k, v)| (k.to_owned(), v)).collect();
    out.push(("index_type".to_owned(), kind.to_owned()));
    out
}

fn unsupported(field: &Field, kind: &str, known: &[&str]) -> Error {
    let text = format!(
        "invalid parameter[expected=valid index][actual=invalid index type: {kind}]: data type {} can't build with this index {kind}, supported: {known:?}",
        field.data_type.name()
    );
    Error::new(Code::INVALID, text)
}
