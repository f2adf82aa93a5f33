//! The sample (5,000 packages of Debian 12, see tests/data/sample/README.md) and the few calls that the demo makes, as
//! any Milvus client would.

use super::Client;
use half::f16;
use mishards_proto::common::{
    DslType, KeyValuePair, PlaceholderGroup, PlaceholderType, PlaceholderValue, Status,
};
use mishards_proto::milvus::search_request::SearchInput;
use mishards_proto::milvus::*;
use mishards_proto::schema::{
    ArrayArray, CollectionSchema, DataType, FieldData, FieldSchema, FloatArray, LongArray, ScalarField,
    StringArray, VectorField, field_data, scalar_field::Data, vector_field,
};
use prost::Message;
use std::ops::Range;

pub const COLLECTION: &str = "packages";
const DIM: usize = 384;
const RECORDS: &str = include_str!("../../../tests/data/sample/records.tsv");
const QUESTIONS: &str = include_str!("../../../tests/data/sample/questions.txt");
const VECTORS: &[u8] = include_bytes!("../../../tests/data/sample/vectors_f16.npy");
const QUESTION_VECTORS: &[u8] = include_bytes!("../../../tests/data/sample/question_vectors_f32.npy");

/// One package.
pub struct Record {
    pub id: i64,
    pub name: String,
    pub section: String,
    pub priority: String,
    pub installed_kb: i64,
    pub tags: Vec<String>,
}

/// The sample, decoded.
pub struct Sample {
    pub records: Vec<Record>,
    pub questions: Vec<String>,
    vectors: Vec<f32>,
    question_vectors: Vec<f32>,
}

impl Sample {
    pub fn read() -> Result<Sample, String> {
        let records: Option<Vec<Record>> = RECORDS.lines().skip(1).map(record).collect();
        let records = records.ok_or("tests/data/sample/records.tsv has a malformed line")?;
        let vectors: Vec<f32> =
            npy_body(VECTORS)?.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect();
        let question_vectors: Vec<f32> = npy_body(QUESTION_VECTORS)?
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        let questions: Vec<String> = QUESTIONS.lines().map(str::to_owned).collect();
        if vectors.len() != records.len() * DIM || question_vectors.len() != questions.len() * DIM {
            return Err("the sample's vectors do not belong to its records".to_owned());
        }
        Ok(Sample { records, questions, vectors, question_vectors })
    }

    pub fn question_vector(&self, question: usize) -> &[f32] {
        &self.question_vectors[question * DIM..(question + 1) * DIM]
    }
}

fn record(line: &str) -> Option<Record> {
    let mut fields = line.split('\t');
    Some(Record {
        id: fields.next()?.parse().ok()?,
        name: fields.next()?.to_owned(),
        section: fields.next()?.to_owned(),
        priority: fields.next()?.to_owned(),
        installed_kb: fields.next()?.parse().ok()?,
        tags: fields.next()?.split('|').filter(|t| !t.is_empty()).map(str::to_owned).collect(),
    })
}

/// The data behind the header of a .npy file (format 1.0 or 2.0, numpy's `format` page).
fn npy_body(bytes: &[u8]) -> Result<&[u8], String> {
    let start = match bytes.get(..12) {
        Some([0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, a, b, ..]) => {
            10 + usize::from(u16::from_le_bytes([*a, *b]))
        }
        Some([0x93, b'N', b'U', b'M', b'P', b'Y', 2, _, a, b, c, d]) => {
            12 + u32::from_le_bytes([*a, *b, *c, *d]) as usize
        }
        _ => return Err("not a .npy file".to_owned()),
    };
    bytes.get(start..).ok_or_else(|| "a .npy file ends in its header".to_owned())
}

fn pair(key: &str, value: impl ToString) -> KeyValuePair {
    KeyValuePair { key: key.to_owned(), value: value.to_string() }
}

fn check(what: &str, status: Option<Status>) -> Result<(), String> {
    match status {
        Some(s) if s.code != 0 || s.error_code != 0 => {
            Err(format!("{what} failed: {} (code {})", s.reason, s.code))
        }
        _ => Ok(()),
    }
}

fn call_failed(what: &str) -> impl Fn(tonic::Status) -> String {
    move |e| format!("{what} failed: {e}")
}

fn field(name: &str, data_type: DataType, params: &[(&str, usize)]) -> FieldSchema {
    FieldSchema {
        name: name.to_owned(),
        data_type: data_type.into(),
        is_primary_key: name == "id",
        type_params: params.iter().map(|(k, v)| pair(k, v)).collect(),
        element_type: if data_type == DataType::Array { DataType::VarChar.into() } else { 0 },
        ..Default::default()
    }
}

/// Makes the collection with an HNSW index, and loads it.
pub async fn create_collection(client: &mut Client) -> Result<(), String> {
    let schema = CollectionSchema {
        name: COLLECTION.to_owned(),
        fields: vec![
            field("id", DataType::Int64, &[]),
            field("name", DataType::VarChar, &[("max_length", 200)]),
            field("section", DataType::VarChar, &[("max_length", 50)]),
            field("priority", DataType::VarChar, &[("max_length", 20)]),
            field("installed_kb", DataType::Int64, &[]),
            field("tags", DataType::Array, &[("max_length", 200), ("max_capacity", 200)]),
            field("vector", DataType::FloatVector, &[("dim", DIM)]),
        ],
        ..Default::default()
    };
    let collection_name = COLLECTION.to_owned();
    let create = CreateCollectionRequest {
        collection_name: collection_name.clone(),
        schema: schema.encode_to_vec(),
        ..Default::default()
    };
    let done = client.create_collection(create).await.map_err(call_failed("creating the collection"))?;
    check("creating the collection", Some(done.into_inner()))?;
    let index = CreateIndexRequest {
        collection_name: collection_name.clone(),
        field_name: "vector".to_owned(),
        extra_params: vec![pair("index_type", "HNSW"), pair("metric_type", "COSINE")],
        ..Default::default()
    };
    let done = client.create_index(index).await.map_err(call_failed("creating the index"))?;
    check("creating the index", Some(done.into_inner()))?;
    let load = LoadCollectionRequest { collection_name, ..Default::default() };
    let done = client.load_collection(load).await.map_err(call_failed("loading the collection"))?;
    check("loading the collection", Some(done.into_inner()))
}

fn scalars(name: &str, data_type: DataType, data: Data) -> FieldData {
    FieldData {
        r#type: data_type.into(),
        field_name: name.to_owned(),
        field: Some(field_data::Field::Scalars(ScalarField { data: Some(data), ..Default::default() })),
        ..Default::default()
    }
}

fn texts<'a>(items: impl Iterator<Item = &'a String>) -> Data {
    Data::StringData(StringArray { data: items.cloned().collect() })
}

pub async fn insert(client: &mut Client, sample: &Sample, rows: Range<usize>) -> Result<(), String> {
    let part = &sample.records[rows.clone()];
    let longs = |values: Vec<i64>| Data::LongData(LongArray { data: values });
    let tags =
        part.iter().map(|r| ScalarField { data: Some(texts(r.tags.iter())), ..Default::default() }).collect();
    let vectors = VectorField {
        dim: DIM as i64,
        data: Some(vector_field::Data::FloatVector(FloatArray {
            data: sample.vectors[rows.start * DIM..rows.end * DIM].to_vec(),
        })),
        ..Default::default()
    };
    let request = InsertRequest {
        collection_name: COLLECTION.to_owned(),
        num_rows: part.len() as u32,
        fields_data: vec![
            scalars("id", DataType::Int64, longs(part.iter().map(|r| r.id).collect())),
            scalars("name", DataType::VarChar, texts(part.iter().map(|r| &r.name))),
            scalars("section", DataType::VarChar, texts(part.iter().map(|r| &r.section))),
            scalars("priority", DataType::VarChar, texts(part.iter().map(|r| &r.priority))),
            scalars("installed_kb", DataType::Int64, longs(part.iter().map(|r| r.installed_kb).collect())),
            scalars(
                "tags",
                DataType::Array,
                Data::ArrayData(ArrayArray { data: tags, element_type: DataType::VarChar.into() }),
            ),
            FieldData {
                r#type: DataType::FloatVector.into(),
                field_name: "vector".to_owned(),
                field: Some(field_data::Field::Vectors(vectors)),
                ..Default::default()
            },
        ],
        ..Default::default()
    };
    let done = client.insert(request).await.map_err(call_failed("inserting"))?.into_inner();
    check("inserting", done.status)
}

pub async fn flush(client: &mut Client) -> Result<(), String> {
    let request = FlushRequest { collection_names: vec![COLLECTION.to_owned()], ..Default::default() };
    let done = client.flush(request).await.map_err(call_failed("flushing"))?.into_inner();
    check("flushing", done.status)
}

/// Rows that are indexed, and rows in files.
pub async fn index_progress(client: &mut Client) -> Result<(usize, usize), String> {
    let request = DescribeIndexRequest { collection_name: COLLECTION.to_owned(), ..Default::default() };
    let done =
        client.describe_index(request).await.map_err(call_failed("describing the index"))?.into_inner();
    check("describing the index", done.status)?;
    Ok(done.index_descriptions.first().map_or((0, 0), |d| (d.indexed_rows as usize, d.total_rows as usize)))
}

/// A package that was found.
pub struct Hit {
    pub name: String,
    pub section: String,
    pub tags: Vec<String>,
    pub score: f32,
}

/// Asks for the five nearest packages.
pub fn search(vector: &[f32], filter: &str) -> SearchRequest {
    let bytes = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    let value = PlaceholderValue {
        tag: "$0".to_owned(),
        r#type: PlaceholderType::FloatVector.into(),
        values: vec![bytes],
        ..Default::default()
    };
    SearchRequest {
        collection_name: COLLECTION.to_owned(),
        dsl: filter.to_owned(),
        dsl_type: DslType::BoolExprV1.into(),
        search_input: Some(SearchInput::PlaceholderGroup(
            PlaceholderGroup { placeholders: vec![value] }.encode_to_vec(),
        )),
        output_fields: ["name", "section", "tags"].map(str::to_owned).to_vec(),
        search_params: vec![pair("anns_field", "vector"), pair("topk", 5), pair("params", "{}")],
        nq: 1,
        ..Default::default()
    }
}

/// The packages of an answer.
pub fn hits(done: SearchResults) -> Result<Vec<Hit>, String> {
    let results = done.results.ok_or("the search has no results")?;
    let column = |name: &str| results.fields_data.iter().find(|f| f.field_name == name);
    let names = column("name").map(texts_of).unwrap_or_default();
    let sections = column("section").map(texts_of).unwrap_or_default();
    let tags = column("tags").map(lists_of).unwrap_or_default();
    let hits = names.into_iter().zip(sections).zip(tags).zip(results.scores);
    Ok(hits.map(|(((name, section), tags), score)| Hit { name, section, tags, score }).collect())
}

fn data_of(column: &FieldData) -> Option<&Data> {
    match &column.field {
        Some(field_data::Field::Scalars(s)) => s.data.as_ref(),
        _ => None,
    }
}

fn strings(data: Option<&Data>) -> Vec<String> {
    match data {
        Some(Data::StringData(v)) => v.data.clone(),
        _ => Vec::new(),
    }
}

fn texts_of(column: &FieldData) -> Vec<String> {
    strings(data_of(column))
}

fn lists_of(column: &FieldData) -> Vec<Vec<String>> {
    match data_of(column) {
        Some(Data::ArrayData(v)) => v.data.iter().map(|row| strings(row.data.as_ref())).collect(),
        _ => Vec::new(),
    }
}
