//! Rows of an insert or upsert: checked against the schema, nothing missing, nulls and defaults filled in. What comes
//! out is row-aligned and in the schema's order.

use mishards_proto::schema::{
    ArrayArray, BoolArray, DoubleArray, FieldData, FloatArray, IntArray, JsonArray, LongArray, ScalarField,
    StringArray, field_data, scalar_field::Data, vector_field,
};
use mishards_types::{DataType, Error, Field, Key, Result, Schema, Value, limits};

/// Checked columns. The key column is missing when the writer is to assign ids.
#[derive(Debug)]
pub struct Rows {
    pub len: usize,
    pub columns: Vec<FieldData>,
    /// The primary keys, when they were given.
    pub keys: Option<Vec<Key>>,
}

/// Checks and completes the columns of `len` rows. With `keys_required` the primary key must be there even when ids
/// are automatic (upsert).
pub fn check_rows(
    schema: &Schema,
    mut given: Vec<FieldData>,
    len: usize,
    keys_required: bool,
) -> Result<Rows> {
    if len == 0 {
        return Err(Error::invalid("num_rows should be greater than 0"));
    }
    let mut columns = Vec::with_capacity(schema.fields.len());
    let mut keys = None;
    for field in &schema.fields {
        let matches = |c: &FieldData| {
            if field.dynamic { c.is_dynamic } else { !c.is_dynamic && c.field_name == field.name }
        };
        let mut found = None;
        while let Some(at) = given.iter().position(matches) {
            if found.is_some() {
                return Err(Error::invalid(format!("duplicated column for field {}", field.name)));
            }
            found = Some(given.swap_remove(at));
        }
        if field.primary && field.auto_id && !keys_required {
            if found.is_some() {
                return Err(Error::invalid(format!(
                    "more fieldData has pass in: field {} is the primary key with autoID, no data should be passed in for it",
                    field.name
                )));
            }
            continue;
        }
        let column = match found {
            Some(column) => check_column(field, column, len)?,
            None => missing_column(field, len)?,
        };
        if field.primary {
            keys = Some(keys_of_column(&column));
        }
        columns.push(column);
    }
    if let Some(extra) = given.first() {
        let name = if extra.is_dynamic { "$meta" } else { extra.field_name.as_str() };
        return Err(Error::invalid(format!(
            "field {name} not exist: the schema does not have it and dynamic fields are not enabled"
        )));
    }
    if let Some(dynamic) = columns.iter().find(|c| c.is_dynamic) {
        check_dynamic(schema, dynamic)?;
    }
    Ok(Rows { len, columns, keys })
}

/// A field that no data came for: its default, null, or refused.
fn missing_column(field: &Field, len: usize) -> Result<FieldData> {
    if field.dynamic {
        return Ok(column(field, Data::JsonData(JsonArray { data: vec![b"{}".to_vec(); len] }), Vec::new()));
    }
    if field.default.is_none() && !field.nullable {
        return Err(Error::invalid(format!(
            "fieldSchema({}) has no corresponding fieldData pass in",
            field.name
        )));
    }
    fill(field, empty_payload(field), vec![false; len])
}

fn column(field: &Field, data: Data, valid_data: Vec<bool>) -> FieldData {
    FieldData {
        r#type: field.data_type as i32,
        field_name: field.name.clone(),
        field_id: field.id.0,
        is_dynamic: field.dynamic,
        valid_data,
        field: Some(field_data::Field::Scalars(ScalarField { data: Some(data), ..Default::default() })),
    }
}

fn empty_payload(field: &Field) -> Data {
    match field.data_type {
        DataType::Bool => Data::BoolData(BoolArray::default()),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => Data::IntData(IntArray::default()),
        DataType::Int64 => Data::LongData(LongArray::default()),
        DataType::Float => Data::FloatData(FloatArray::default()),
        DataType::Double => Data::DoubleData(DoubleArray::default()),
        DataType::Json => Data::JsonData(JsonArray::default()),
        DataType::Array => Data::ArrayData(ArrayArray {
            data: Vec::new(),
            element_type: field.element.map_or(0, |e| e as i32),
        }),
        DataType::VarChar | DataType::FloatVector => Data::StringData(StringArray::default()),
    }
}

fn check_column(field: &Field, given: FieldData, len: usize) -> Result<FieldData> {
    let name = &field.name;
    match given.field {
        Some(field_data::Field::Vectors(vectors)) if field.data_type == DataType::FloatVector => {
            if given.valid_data.iter().any(|v| !v) {
                return Err(Error::invalid(format!("vector field {name} does not support null")));
            }
            check_vectors(field, &vectors, len)?;
            Ok(FieldData {
                r#type: field.data_type as i32,
                field_name: name.clone(),
                field_id: field.id.0,
                field: Some(field_data::Field::Vectors(vectors)),
                ..Default::default()
            })
        }
        Some(field_data::Field::Scalars(scalars)) if !field.data_type.is_vector() => {
            let data = scalars.data.unwrap_or_else(|| empty_payload(field));
            if std::mem::discriminant(&data) != std::mem::discriminant(&empty_payload(field)) {
                return Err(Error::invalid(format!(
                    "the data of field {name} is not of type {}",
                    field.data_type.name()
                )));
            }
            let valid = if given.valid_data.is_empty() { vec![true; len] } else { given.valid_data };
            if valid.len() != len {
                return Err(Error::invalid(format!(
                    "the length of valid_data of field {name} ({}) is not equal to num_rows ({len})",
                    valid.len()
                )));
            }
            if valid.contains(&false) && !field.nullable && field.default.is_none() {
                return Err(Error::invalid(format!(
                    "field {name} is not nullable and has no default value, but a null was passed in"
                )));
            }
            let filled = fill(field, data, valid)?;
            check_values(field, &filled)?;
            Ok(filled)
        }
        None if field.data_type.is_vector() => Err(not_float_vectors(name, "got nil")),
        _ if field.data_type.is_vector() => Err(not_float_vectors(name, "got scalars")),
        _ => {
            Err(Error::invalid(format!("the data of field {name} is not of type {}", field.data_type.name())))
        }
    }
}

fn not_float_vectors(field: &str, actual: &str) -> Error {
    let what = format!("float vector field '{field}' is illegal, array type mismatch");
    Error::mismatch(what, "need float vector", actual)
}

fn check_vectors(field: &Field, vectors: &mishards_proto::schema::VectorField, len: usize) -> Result<()> {
    let (name, dim) = (&field.name, field.dim.unwrap_or(0));
    let Some(vector_field::Data::FloatVector(floats)) = &vectors.data else {
        let actual = if vectors.data.is_none() { "got nil" } else { "got another kind of vector" };
        return Err(not_float_vectors(name, actual));
    };
    if dim > 0 && floats.data.len() % dim != 0 {
        return Err(Error::invalid(format!(
            "the length({}) of float data should divide the dim({dim}) of field {name}",
            floats.data.len()
        )));
    }
    if vectors.dim != dim as i64 {
        return Err(Error::invalid(format!(
            "the dim ({}) of field data({name}) is not equal to schema dim ({dim})",
            vectors.dim
        )));
    }
    if floats.data.len() != dim * len {
        return Err(Error::invalid(format!(
            "the num_rows ({}) of field ({name}) is not equal to passed num_rows ({len})",
            floats.data.len() / dim.max(1)
        )));
    }
    match floats.data.iter().position(|x| !x.is_finite()) {
        Some(i) => Err(Error::invalid(format!(
            "value '{}' is not a number or infinity: field {name}, row {}",
            floats.data[i],
            i / dim
        ))),
        None => Ok(()),
    }
}

/// Spreads a compact payload over the rows; a null becomes the default, or a placeholder with its flag.
fn fill(field: &Field, data: Data, valid: Vec<bool>) -> Result<FieldData> {
    let count = valid.iter().filter(|v| **v).count();
    let len = valid.len();
    let wrong = |got: usize| {
        Error::invalid(format!(
            "the num_rows ({got}) of field ({}) is not equal to passed num_rows ({len})",
            field.name
        ))
    };
    macro_rules! spread {
        ($variant:ident, $array:ident, $list:expr, $default:expr) => {{
            let list = $list;
            let got = list.data.len();
            let full = got == len;
            if !full && got != count {
                return Err(wrong(got));
            }
            let mut values = list.data.into_iter();
            let default = $default;
            let data = valid
                .iter()
                .map(|v| {
                    let value =
                        if *v || full { values.next().unwrap_or_default() } else { Default::default() };
                    if *v { value } else { default.clone() }
                })
                .collect();
            Data::$variant($array { data })
        }};
    }
    let default = field.default.as_ref();
    let int = default.map_or(0, |v| if let Value::Int(v) = v { *v } else { 0 });
    let float = default.and_then(Value::as_f64).unwrap_or(0.0);
    let text =
        default.map_or_else(String::new, |v| if let Value::Str(v) = v { v.clone() } else { String::new() });
    let data = match data {
        Data::BoolData(v) => spread!(BoolData, BoolArray, v, default == Some(&Value::Bool(true))),
        Data::IntData(v) => spread!(IntData, IntArray, v, int as i32),
        Data::LongData(v) => spread!(LongData, LongArray, v, int),
        Data::FloatData(v) => spread!(FloatData, FloatArray, v, float as f32),
        Data::DoubleData(v) => spread!(DoubleData, DoubleArray, v, float),
        Data::StringData(v) => spread!(StringData, StringArray, v, text),
        Data::JsonData(v) => spread!(JsonData, JsonArray, v, b"null".to_vec()),
        Data::ArrayData(v) => {
            let element_type = field.element.map_or(0, |e| e as i32);
            let (got, full) = (v.data.len(), v.data.len() == len);
            if !full && got != count {
                return Err(wrong(got));
            }
            let mut values = v.data.into_iter();
            let take = |v: &bool| {
                if *v || full { values.next().unwrap_or_default() } else { ScalarField::default() }
            };
            Data::ArrayData(ArrayArray { data: valid.iter().map(take).collect(), element_type })
        }
        _ => {
            return Err(Error::invalid(format!(
                "the data of field {} is of an unsupported type",
                field.name
            )));
        }
    };
    // A null that a default stands in for is a value.
    let valid_data = if field.nullable && field.default.is_none() { valid } else { Vec::new() };
    Ok(column(field, data, valid_data))
}

fn check_values(field: &Field, column: &FieldData) -> Result<()> {
    let Some(field_data::Field::Scalars(ScalarField { data: Some(data), .. })) = &column.field else {
        return Ok(());
    };
    let name = &field.name;
    match data {
        Data::JsonData(rows) => {
            for (i, row) in
                rows.data.iter().enumerate().filter(|(i, _)| column.valid_data.get(*i) != Some(&false))
            {
                if row.len() > limits::JSON_BYTES {
                    return Err(Error::invalid(format!(
                        "the length ({}) of json field ({name}) exceeds max length ({}) in row {i}",
                        row.len(),
                        limits::JSON_BYTES
                    )));
                }
                if std::str::from_utf8(row).is_err()
                    || serde_json::from_slice::<serde::de::IgnoredAny>(row).is_err()
                {
                    return Err(Error::invalid(format!(
                        "the data of json field ({name}) in row {i} is not valid JSON"
                    )));
                }
            }
            Ok(())
        }
        Data::ArrayData(rows) => {
            let (element, capacity) =
                (field.element.unwrap_or(DataType::Int64), field.max_capacity.unwrap_or(0));
            for (i, row) in rows.data.iter().enumerate() {
                let Some(items) = &row.data else { continue };
                let got = count_of(items);
                if got > capacity {
                    return Err(Error::invalid(format!(
                        "the length ({got}) of array exceeds max capacity ({capacity}) of field {name} in row {i}: array length {got} exceeds max_capacity {capacity}"
                    )));
                }
                if std::mem::discriminant(items)
                    != std::mem::discriminant(&empty_payload(&Field { data_type: element, ..field.clone() }))
                {
                    return Err(Error::invalid(format!(
                        "insert data of array field {name} does not match its element type {} in row {i}",
                        element.name()
                    )));
                }
                check_scalars(name, element, field.max_length, items)?;
            }
            Ok(())
        }
        other => check_scalars(name, field.data_type, field.max_length, other),
    }
}

fn count_of(data: &Data) -> usize {
    match data {
        Data::BoolData(v) => v.data.len(),
        Data::IntData(v) => v.data.len(),
        Data::LongData(v) => v.data.len(),
        Data::FloatData(v) => v.data.len(),
        Data::DoubleData(v) => v.data.len(),
        Data::StringData(v) => v.data.len(),
        _ => 0,
    }
}

fn check_scalars(name: &str, data_type: DataType, max_length: Option<usize>, data: &Data) -> Result<()> {
    let not_finite =
        |v: f64| Error::invalid(format!("value '{v}' is not a number or infinity: field {name}"));
    match data {
        Data::IntData(v) => {
            let (low, high) = data_type.integer_range().unwrap_or((i64::MIN, i64::MAX));
            match v.data.iter().find(|x| !(low..=high).contains(&i64::from(**x))) {
                Some(x) => Err(Error::invalid(format!(
                    "the value ({x}) of field {name} is out of range [{low}, {high}] of {}",
                    data_type.name()
                ))),
                None => Ok(()),
            }
        }
        Data::FloatData(v) => {
            v.data.iter().find(|x| !x.is_finite()).map_or(Ok(()), |x| Err(not_finite(f64::from(*x))))
        }
        Data::DoubleData(v) => v.data.iter().find(|x| !x.is_finite()).map_or(Ok(()), |x| Err(not_finite(*x))),
        Data::StringData(v) => {
            let max = max_length.unwrap_or(usize::MAX);
            match v.data.iter().enumerate().find(|(_, s)| s.len() > max) {
                Some((i, s)) => Err(Error::invalid(format!(
                    "length of varchar field {name} exceeds max length, row number: {i}, length: {}, max length: {max}",
                    s.len()
                ))),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn check_dynamic(schema: &Schema, column: &FieldData) -> Result<()> {
    let Some(field_data::Field::Scalars(ScalarField { data: Some(Data::JsonData(rows)), .. })) =
        &column.field
    else {
        return Ok(());
    };
    for (i, row) in rows.data.iter().enumerate().filter(|(_, row)| row.as_slice() != b"{}") {
        let Ok(serde_json::Value::Object(map)) = serde_json::from_slice(row) else {
            return Err(Error::invalid(format!("the dynamic field in row {i} is not a JSON object")));
        };
        if let Some(key) = map.keys().find(|k| schema.field(k).is_some()) {
            return Err(Error::invalid(format!(
                "dynamic field name cannot be the same as a static field: {key} in row {i}"
            )));
        }
    }
    Ok(())
}

/// The keys of a checked key column.
pub fn keys_of_column(column: &FieldData) -> Vec<Key> {
    match &column.field {
        Some(field_data::Field::Scalars(ScalarField { data: Some(Data::LongData(v)), .. })) => {
            v.data.iter().copied().map(Key::Int).collect()
        }
        Some(field_data::Field::Scalars(ScalarField { data: Some(Data::StringData(v)), .. })) => {
            v.data.iter().map(|s| Key::Str(s.as_str().into())).collect()
        }
        _ => Vec::new(),
    }
}
