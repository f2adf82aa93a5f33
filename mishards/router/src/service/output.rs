//! Output fields: which columns an answer has, and their values for the final rows only.

use super::Router;
use super::search::{ROW_BYTES, does_not_fit};
use crate::call::{Call, FETCH};
use crate::error::{Failure, Kind};
use crate::gather::Row;
use crate::offload::{Left, off_workers};
use crate::plan::ReadPlan;
use crate::scatter::{About, Answer, Question, Scatter, segments_of_rows};
use crate::wire::{empty_column, ids_of, project_dynamic, take_rows};
use mishards_expr::{Operand, Step};
use mishards_proto::columns::{append, row_count};
use mishards_proto::node::{FetchRequest, Scope};
use mishards_proto::schema::{FieldData, field_data, scalar_field};
use mishards_types::{DYNAMIC_FIELD, DataType, Error, Field, Key, Result, Schema, SegmentId, limits};
use prost::Message;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// What a client wants to see of each row.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// Declared fields, in the schema's order.
    pub fields: Vec<Field>,
    /// The dynamic field: all of it, or some keys.
    pub dynamic: Option<DynamicOutput>,
    /// Names as the answer repeats them.
    pub names: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct DynamicOutput {
    field: Field,
    /// Empty means the whole object.
    keys: Vec<String>,
}

impl Output {
    /// Reads the names of a request: fields, `*`, keys of the dynamic field.
    pub fn parse(schema: &Schema, names: &[String], with_key: bool) -> Result<Output> {
        let mut wanted: BTreeSet<&str> = BTreeSet::new();
        let mut out = Output::default();
        let (mut all_dynamic, mut keys) = (false, Vec::new());
        for name in names {
            let name = name.trim();
            if name == "*" {
                wanted.extend(schema.declared().map(|f| f.name.as_str()));
                all_dynamic |= schema.enable_dynamic;
            } else if name == DYNAMIC_FIELD && schema.enable_dynamic {
                all_dynamic = true;
            } else if let Some(field) = schema.field(name) {
                wanted.insert(&field.name);
            } else {
                keys.push(dynamic_key(schema, name)?);
            }
        }
        if with_key && let Some(primary) = schema.primary() {
            wanted.insert(&primary.name);
        }
        out.fields = schema.declared().filter(|f| wanted.contains(f.name.as_str())).cloned().collect();
        out.names = out.fields.iter().map(|f| f.name.clone()).collect();
        if let Some(field) = schema.dynamic().filter(|_| all_dynamic || !keys.is_empty()) {
            out.names.extend(if all_dynamic { vec![DYNAMIC_FIELD.to_owned()] } else { keys.clone() });
            out.dynamic = Some(DynamicOutput {
                field: field.clone(),
                keys: if all_dynamic { Vec::new() } else { keys },
            });
        }
        Ok(out)
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.dynamic.is_none()
    }

    /// Declared ones, then the dynamic one.
    fn all_fields(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().chain(self.dynamic.as_ref().map(|d| &d.field))
    }

    /// Bytes of a row in the fields whose width is known.
    fn fixed_bytes(&self) -> usize {
        let width = |field: &Field| match field.data_type {
            DataType::FloatVector => field.dim.unwrap_or(0) * 4,
            DataType::Int64 | DataType::Double => 8,
            DataType::Bool => 1,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Float => 4,
            _ => 0,
        };
        self.all_fields().map(width).sum()
    }

    fn field_ids(&self) -> Vec<i64> {
        self.all_fields().map(|f| f.id.0).collect()
    }

    fn empty_columns(&self) -> Vec<FieldData> {
        let mut columns: Vec<FieldData> = self.all_fields().map(empty_column).collect();
        self.finish(&mut columns);
        columns
    }

    fn finish(&self, columns: &mut [FieldData]) {
        if let (Some(dynamic), Some(column)) = (&self.dynamic, columns.last_mut())
            && !dynamic.keys.is_empty()
        {
            *column = project_dynamic(std::mem::take(column), &dynamic.keys);
        }
    }
}

/// The key that a name means in the dynamic field.
fn dynamic_key(schema: &Schema, name: &str) -> Result<String> {
    let missing = || Error::field_not_exist(name);
    if !schema.enable_dynamic {
        return Err(missing());
    }
    match mishards_expr::parse_path(name, schema) {
        Ok(Operand::Json { path, .. }) => match path.as_slice() {
            [Step::Key(key)] => Ok(key.clone()),
            _ => Err(Error::invalid(format!(
                "output field {name} is a path deeper than one key, which is not supported"
            ))),
        },
        _ => Err(missing()),
    }
}

impl Router {
    /// The output columns of rows, aligned with them.
    pub(super) async fn fetch(
        &self,
        call: &Call,
        plan: &ReadPlan,
        output: &Output,
        rows: &Arc<Vec<Row>>,
    ) -> Result<Vec<FieldData>, Failure> {
        if output.is_empty() {
            return Ok(Vec::new());
        }
        if rows.is_empty() {
            return Ok(output.empty_columns());
        }
        limits::check_output(rows.len(), output.fixed_bytes())?;
        let size = rows.len() * ROW_BYTES;
        let (all, of) = (Arc::clone(rows), plan.segments.clone());
        let placed = move |left: &Left| segments_of_rows(&of, left.watch(&*all).map(|r| r.segment));
        let (segments, growing) = off_workers(size, placed).await?;
        let may_lack_growing = plan.growing_optional && growing;
        // The filter has done its work: these rows are known.
        let mut unfiltered = plan.scope.clone();
        unfiltered.filter.clear();
        unfiltered.templates.clear();
        let plan = ReadPlan {
            collection: Arc::clone(&plan.collection),
            segments: segments.clone(),
            growing_optional: false,
            scope: unfiltered,
        };
        let (field_ids, all) = (Arc::new(output.field_ids()), Arc::clone(rows));
        let fields: Arc<Vec<Field>> = Arc::new(output.all_fields().cloned().collect());
        let parts = Scatter { rows: rows.len(), ..self.scatter(call, FETCH, "do_fetch") }
            .run(&plan, &segments, growing, &move |client, Question { scope, about }| {
                let (fields, field_ids, all) =
                    (Arc::clone(&fields), Arc::clone(&field_ids), Arc::clone(&all));
                Box::pin(async move {
                    let made = move |left: &Left| request_for(scope, &about, &field_ids, &all, left);
                    let (request, places) = off_workers(size, made).await?;
                    let columns = client.fetch(request).await?.columns;
                    let is_of = |(c, field): (&FieldData, &Field)| fits(c, field, places.len());
                    if columns.len() != fields.len() || !columns.iter().zip(&*fields).all(is_of) {
                        return Err(does_not_fit(None));
                    }
                    Ok(Answer { value: (columns, places), served: None })
                })
            })
            .await
            // A new plan answers without rows that nobody has any more.
            .map_err(|failure| match failure.kind {
                Kind::Unreached | Kind::Transport | Kind::NotWriter if may_lack_growing => {
                    Failure::new(Kind::SnapshotTooOld, failure.error)
                }
                _ => failure,
            })?;
        let bytes = parts.iter().flat_map(|(columns, _)| columns).map(Message::encoded_len).sum();
        let (count, output) = (rows.len(), output.clone());
        let joined = move |left: &Left| {
            let mut columns = align(parts, count, output.field_ids().len(), left)?;
            output.finish(&mut columns);
            Ok(columns)
        };
        off_workers(bytes, joined).await?
    }
}

/// The rows that a question is about, and their places in the answer.
fn request_for(
    scope: Scope,
    about: &About,
    field_ids: &[i64],
    rows: &[Row],
    left: &Left,
) -> (FetchRequest, Vec<usize>) {
    let asked: HashSet<i64> = about.segments.iter().copied().collect();
    let here = |row: &Row| match row.segment {
        SegmentId(0) => about.growing,
        SegmentId(id) => asked.contains(&id),
    };
    let places: Vec<usize> = left.watch(0..rows.len()).filter(|i| here(&rows[*i])).collect();
    let strings = rows.iter().any(|r| matches!(r.key, Key::Str(_)));
    let chosen = || left.watch(&places).map(|i| &rows[*i]);
    let request = FetchRequest {
        field_ids: field_ids.to_vec(),
        keys: Some(ids_of(chosen().map(|r| r.key.clone()), strings)),
        timestamps: chosen().map(|r| r.timestamp.0).collect(),
        segments: chosen().map(|r| r.segment.0).collect(),
        rows: chosen().map(|r| r.row).collect(),
        partitions: chosen().map(|r| r.partition.0).collect(),
        scope: Some(scope),
    };
    (request, places)
}

/// Puts the columns of several parts together in the order of the answer.
fn align(
    parts: Vec<(Vec<FieldData>, Vec<usize>)>,
    rows: usize,
    fields: usize,
    left: &Left,
) -> Result<Vec<FieldData>, Failure> {
    let broken = || Failure::new(Kind::Refused, Error::internal("a node's columns do not fit its rows"));
    let is_one = parts.len() == 1;
    let mut from = vec![None; rows];
    let mut base = 0;
    for (_, places) in &parts {
        for (i, place) in left.watch(places).enumerate() {
            from[*place] = Some(base + i);
        }
        base += places.len();
    }
    let order: Vec<usize> = left.watch(from).collect::<Option<_>>().ok_or_else(broken)?;
    let in_order = is_one && order.windows(2).all(|w| w[0] < w[1]);
    let mut parts = parts.into_iter().map(|(columns, _)| columns);
    let mut joined = parts.next().unwrap_or_default();
    for columns in parts {
        if columns.len() != joined.len() {
            return Err(broken());
        }
        if !joined.iter_mut().zip(columns).all(|(to, from)| append(to, from)) {
            return Err(broken());
        }
    }
    if joined.len() != fields {
        return Err(broken());
    }
    let wanted = |_: &&FieldData| !left.is_so();
    let reordered = || joined.iter().take_while(wanted).map(|column| take_rows(column, &order)).collect();
    Ok(if in_order { joined } else { reordered() })
}

/// Whether a column is one of this field with so many rows.
fn fits(column: &FieldData, field: &Field, rows: usize) -> bool {
    use field_data::Field as F;
    use mishards_proto::schema::vector_field::Data as V;
    use scalar_field::Data as D;
    let data = match &column.field {
        Some(F::Vectors(vectors)) => {
            let dim = field.dim.unwrap_or(0);
            let Some(V::FloatVector(list)) = &vectors.data else { return false };
            return column.field_id == field.id.0
                && field.data_type.is_vector()
                && vectors.dim == dim as i64
                && list.data.len() == rows * dim
                && valid_fits(column, rows);
        }
        Some(F::Scalars(scalars)) => &scalars.data,
        _ => return false,
    };
    let is_of_type = matches!(
        (field.data_type, data),
        (DataType::Bool, Some(D::BoolData(_)))
            | (DataType::Int8 | DataType::Int16 | DataType::Int32, Some(D::IntData(_)))
            | (DataType::Int64, Some(D::LongData(_)))
            | (DataType::Float, Some(D::FloatData(_)))
            | (DataType::Double, Some(D::DoubleData(_)))
            | (DataType::VarChar, Some(D::StringData(_)))
            | (DataType::Json, Some(D::JsonData(_)))
            | (DataType::Array, Some(D::ArrayData(_)))
    );
    column.field_id == field.id.0 && is_of_type && row_count(column) == rows && valid_fits(column, rows)
}

fn valid_fits(column: &FieldData, rows: usize) -> bool {
    column.valid_data.is_empty() || column.valid_data.len() == rows
}

/// A column made from group keys, as JSON texts.
pub fn group_column(field: Option<&Field>, name: &str, groups: &[Option<String>]) -> FieldData {
    use mishards_proto::schema::{BoolArray, IntArray, LongArray, ScalarField, StringArray};
    let parsed: Vec<serde_json::Value> = groups
        .iter()
        .map(|g| g.as_deref().and_then(|t| serde_json::from_str(t).ok()).unwrap_or_default())
        .collect();
    let valid = parsed.iter().map(|v| !v.is_null()).collect();
    let (data_type, data) = match field.map(|f| f.data_type) {
        Some(DataType::Bool) => (
            DataType::Bool,
            scalar_field::Data::BoolData(BoolArray {
                data: parsed.iter().map(|v| v == &serde_json::Value::Bool(true)).collect(),
            }),
        ),
        Some(t @ (DataType::Int8 | DataType::Int16 | DataType::Int32)) => (
            t,
            scalar_field::Data::IntData(IntArray {
                data: parsed.iter().map(|v| v.as_i64().unwrap_or(0) as i32).collect(),
            }),
        ),
        Some(DataType::Int64) => (
            DataType::Int64,
            scalar_field::Data::LongData(LongArray {
                data: parsed.iter().map(|v| v.as_i64().unwrap_or(0)).collect(),
            }),
        ),
        _ => {
            let text = |v: &serde_json::Value| {
                v.as_str()
                    .map_or_else(|| if v.is_null() { String::new() } else { v.to_string() }, str::to_owned)
            };
            (
                DataType::VarChar,
                scalar_field::Data::StringData(StringArray { data: parsed.iter().map(text).collect() }),
            )
        }
    };
    FieldData {
        r#type: data_type as i32,
        field_name: name.to_owned(),
        field_id: field.map_or(0, |f| f.id.0),
        valid_data: valid,
        field: Some(field_data::Field::Scalars(ScalarField { data: Some(data), ..Default::default() })),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use mishards_proto::schema::{FloatArray, LongArray, ScalarField, VectorField, vector_field};
    use mishards_types::FieldId;

    fn long(id: i64, rows: usize) -> FieldData {
        let data = scalar_field::Data::LongData(LongArray { data: vec![0; rows] });
        FieldData {
            field_id: id,
            field: Some(field_data::Field::Scalars(ScalarField { data: Some(data), ..Default::default() })),
            ..Default::default()
        }
    }

    fn vectors(dim: i64, numbers: usize) -> FieldData {
        let data = vector_field::Data::FloatVector(FloatArray { data: vec![0.0; numbers] });
        let vectors = VectorField { dim, data: Some(data), ..Default::default() };
        FieldData { field_id: 7, field: Some(field_data::Field::Vectors(vectors)), ..Default::default() }
    }

    #[test]
    fn a_column_that_would_break_or_shift_an_answer_does_not_fit() {
        let number = Field::new(FieldId(5), "n", DataType::Int64);
        assert!(fits(&long(5, 3), &number, 3));
        assert!(!fits(&long(6, 3), &number, 3), "another field");
        assert!(!fits(&long(5, 2), &number, 3), "a row too few");
        assert!(!fits(&long(5, 3), &Field { data_type: DataType::Double, ..number.clone() }, 3));
        assert!(!fits(&FieldData { valid_data: vec![true], ..long(5, 3) }, &number, 3));
        assert!(!fits(&FieldData { field: None, ..long(5, 3) }, &number, 3));
        let vector = Field { dim: Some(4), ..Field::new(FieldId(7), "v", DataType::FloatVector) };
        assert!(fits(&vectors(4, 12), &vector, 3));
        for (dim, numbers) in [(2, 12), (-4, 12), (4, 11), (3, 9), (0, 0)] {
            assert!(!fits(&vectors(dim, numbers), &vector, 3), "{dim} {numbers}");
        }
        assert!(!fits(&vectors(4, 12), &number, 3), "vectors for a number");
        assert!(!fits(&FieldData { field_id: 8, ..vectors(4, 12) }, &vector, 3), "another vector field");
    }
}
