//! Work on columns of the wire: taking rows, empty columns, the keys of dynamic fields.

use mishards_proto::schema::{
    ArrayArray, BoolArray, DoubleArray, FieldData, FloatArray, IntArray, JsonArray, LongArray, ScalarField,
    StringArray, VectorField, field_data, scalar_field::Data, vector_field,
};
use mishards_types::{DataType, Field};

fn pick<T: Clone>(data: &[T], rows: &[usize]) -> Vec<T> {
    rows.iter().filter_map(|r| data.get(*r).cloned()).collect()
}

/// The rows with these numbers of a row-aligned column.
pub fn take_rows(column: &FieldData, rows: &[usize]) -> FieldData {
    let field = match &column.field {
        Some(field_data::Field::Scalars(s)) => {
            let data = s.data.as_ref().map(|d| take_scalars(d, rows));
            Some(field_data::Field::Scalars(ScalarField { data, ..Default::default() }))
        }
        Some(field_data::Field::Vectors(v)) => Some(field_data::Field::Vectors(take_vectors(v, rows))),
        other => other.clone(),
    };
    FieldData {
        field,
        valid_data: pick(&column.valid_data, rows),
        field_name: column.field_name.clone(),
        ..*column
    }
}

fn take_scalars(data: &Data, rows: &[usize]) -> Data {
    match data {
        Data::BoolData(v) => Data::BoolData(BoolArray { data: pick(&v.data, rows) }),
        Data::IntData(v) => Data::IntData(IntArray { data: pick(&v.data, rows) }),
        Data::LongData(v) => Data::LongData(LongArray { data: pick(&v.data, rows) }),
        Data::FloatData(v) => Data::FloatData(FloatArray { data: pick(&v.data, rows) }),
        Data::DoubleData(v) => Data::DoubleData(DoubleArray { data: pick(&v.data, rows) }),
        Data::StringData(v) => Data::StringData(StringArray { data: pick(&v.data, rows) }),
        Data::JsonData(v) => Data::JsonData(JsonArray { data: pick(&v.data, rows) }),
        Data::ArrayData(v) => {
            Data::ArrayData(ArrayArray { data: pick(&v.data, rows), element_type: v.element_type })
        }
        other => other.clone(),
    }
}

fn take_vectors(vectors: &VectorField, rows: &[usize]) -> VectorField {
    let dim = vectors.dim as usize;
    let data = match &vectors.data {
        Some(vector_field::Data::FloatVector(floats)) => {
            let mut out = Vec::with_capacity(rows.len() * dim);
            rows.iter().for_each(|r| out.extend_from_slice(&floats.data[r * dim..(r + 1) * dim]));
            Some(vector_field::Data::FloatVector(FloatArray { data: out }))
        }
        other => other.clone(),
    };
    VectorField { dim: vectors.dim, data, ..Default::default() }
}

/// A typed column without rows: clients read the types of an empty answer.
pub fn empty_column(field: &Field) -> FieldData {
    let scalar = |data| field_data::Field::Scalars(ScalarField { data: Some(data), ..Default::default() });
    let payload = match field.data_type {
        DataType::FloatVector => field_data::Field::Vectors(VectorField {
            dim: field.dim.unwrap_or(0) as i64,
            data: Some(vector_field::Data::FloatVector(FloatArray::default())),
            ..Default::default()
        }),
        DataType::Bool => scalar(Data::BoolData(BoolArray::default())),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => scalar(Data::IntData(IntArray::default())),
        DataType::Int64 => scalar(Data::LongData(LongArray::default())),
        DataType::Float => scalar(Data::FloatData(FloatArray::default())),
        DataType::Double => scalar(Data::DoubleData(DoubleArray::default())),
        DataType::VarChar => scalar(Data::StringData(StringArray::default())),
        DataType::Json => scalar(Data::JsonData(JsonArray::default())),
        DataType::Array => scalar(Data::ArrayData(ArrayArray {
            data: Vec::new(),
            element_type: field.element.map_or(0, |e| e as i32),
        })),
    };
    FieldData {
        r#type: field.data_type as i32,
        field_name: field.name.clone(),
        field_id: field.id.0,
        is_dynamic: field.dynamic,
        field: Some(payload),
        ..Default::default()
    }
}

/// Keeps only some keys of each row's JSON object.
pub fn project_dynamic(mut column: FieldData, keys: &[String]) -> FieldData {
    if let Some(field_data::Field::Scalars(ScalarField { data: Some(Data::JsonData(rows)), .. })) =
        &mut column.field
    {
        for row in &mut rows.data {
            if let Ok(serde_json::Value::Object(mut map)) = serde_json::from_slice(row) {
                map.retain(|key, _| keys.contains(key));
                *row = serde_json::to_vec(&map).unwrap_or_default();
            }
        }
    }
    column
}
