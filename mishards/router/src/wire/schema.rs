//! Collection schemas from the wire and back.

use super::known::{Place, check_known};
use mishards_proto::common::KeyValuePair;
use mishards_proto::schema::{self as wire, ValueField, value_field};
use mishards_types::{
    DYNAMIC_FIELD, DataType, Error, FIRST_FIELD_ID, Field, FieldId, Result, Schema, Value, limits,
};
use std::collections::BTreeMap;

/// Reads a schema and gives its fields their ids. Rules that need more than one field are checked later, by
/// `Schema::validate`.
pub fn schema_from_wire(wire: wire::CollectionSchema) -> Result<Schema> {
    if !wire.struct_array_fields.is_empty() {
        return Err(Error::invalid("struct array fields are not supported"));
    }
    if !wire.functions.is_empty() {
        return Err(Error::invalid("functions are not supported"));
    }
    if wire.enable_namespace {
        return Err(Error::invalid("namespaces are not supported"));
    }
    if !wire.external_source.is_empty() || !wire.external_spec.is_empty() {
        return Err(Error::invalid("external collections are not supported"));
    }
    let of_fields: usize = wire.fields.iter().map(|f| f.description.len()).sum();
    limits::check_definition("the description", wire.description.len() + of_fields)?;
    let legacy_auto_id = wire.auto_id;
    let mut fields = Vec::with_capacity(wire.fields.len() + 1);
    for (i, field) in wire.fields.into_iter().enumerate() {
        fields.push(field_from_wire(field, FIRST_FIELD_ID + i as i64, legacy_auto_id)?);
    }
    if wire.enable_dynamic_field {
        fields.push(dynamic_field(FIRST_FIELD_ID + fields.len() as i64));
    }
    Ok(Schema { description: wire.description, fields, enable_dynamic: wire.enable_dynamic_field })
}

fn dynamic_field(id: i64) -> Field {
    Field { dynamic: true, ..Field::new(FieldId(id), DYNAMIC_FIELD, DataType::Json) }
}

fn type_of(number: i32, field: &str, what: &str) -> Result<DataType> {
    let name = wire::DataType::try_from(number).map_or("unknown", |t| t.as_str_name());
    DataType::from_wire(number)
        .ok_or_else(|| Error::invalid(format!("{what} {name} of field {field} is not supported")))
}

fn field_from_wire(f: wire::FieldSchema, id: i64, legacy_auto_id: bool) -> Result<Field> {
    let data_type = type_of(f.data_type, &f.name, "data type")?;
    if f.is_dynamic {
        return Err(Error::invalid(format!("cannot explicitly set a field as a dynamic field: {}", f.name)));
    }
    let element = match data_type {
        DataType::Array => Some(type_of(f.element_type, &f.name, "element type")?),
        _ => None,
    };
    if f.is_function_output || !f.external_field.is_empty() || f.element_nullable || f.type_schema.is_some() {
        return Err(Error::invalid(format!(
            "field {} is an output of a function, of an external source or of nested types: not supported",
            f.name
        )));
    }
    check_known(Place::FieldParam, f.type_params.iter().map(|p| (&p.key, &p.value)))?;
    check_known(Place::IndexParam, f.index_params.iter().map(|p| (&p.key, &p.value)))?;
    let params: BTreeMap<String, String> = f.type_params.into_iter().map(|p| (p.key, p.value)).collect();
    let number = |key: &str| match params.get(key) {
        None => Ok(None),
        Some(text) => match text.trim().parse::<i64>() {
            Ok(n) => Ok(Some(usize::try_from(n).unwrap_or(0))),
            Err(_) => {
                Err(Error::invalid(format!("type param {key} of field {} is not a number: {text}", f.name)))
            }
        },
    };
    Ok(Field {
        id: FieldId(id),
        dim: number("dim")?,
        max_length: number("max_length")?,
        max_capacity: number("max_capacity")?,
        name: f.name,
        data_type,
        description: f.description,
        primary: f.is_primary_key,
        auto_id: f.auto_id || (legacy_auto_id && f.is_primary_key),
        partition_key: f.is_partition_key,
        clustering_key: f.is_clustering_key,
        dynamic: false,
        nullable: f.nullable,
        default: f.default_value.and_then(|v| v.data).map(default_from_wire),
        element,
        params,
    })
}

fn default_from_wire(data: value_field::Data) -> Value {
    use value_field::Data;
    match data {
        Data::BoolData(v) => Value::Bool(v),
        Data::IntData(v) => Value::Int(v.into()),
        Data::LongData(v) | Data::TimestamptzData(v) | Data::TimeData(v) => Value::Int(v),
        Data::DateData(v) => Value::Int(v.into()),
        Data::FloatData(v) => Value::Float(v.into()),
        Data::DoubleData(v) => Value::Float(v),
        Data::StringData(v) => Value::Str(v),
        Data::BytesData(v) => Value::Str(String::from_utf8_lossy(&v).into_owned()),
    }
}

fn default_to_wire(data_type: DataType, value: &Value) -> ValueField {
    use value_field::Data;
    let data = match (data_type, value) {
        (DataType::Int64, Value::Int(v)) => Data::LongData(*v),
        (_, Value::Int(v)) => Data::IntData(*v as i32),
        (DataType::Float, Value::Float(v)) => Data::FloatData(*v as f32),
        (_, Value::Float(v)) => Data::DoubleData(*v),
        (_, Value::Bool(v)) => Data::BoolData(*v),
        (_, Value::Str(v)) => Data::StringData(v.clone()),
        (_, Value::Array(_)) => Data::BytesData(Vec::new()),
    };
    ValueField { data: Some(data) }
}

/// A field as describe shows it.
pub fn field_to_wire(field: &Field) -> wire::FieldSchema {
    wire::FieldSchema {
        field_id: field.id.0,
        name: field.name.clone(),
        is_primary_key: field.primary,
        description: field.description.clone(),
        data_type: field.data_type as i32,
        type_params: field
            .params
            .iter()
            .map(|(k, v)| KeyValuePair { key: k.clone(), value: v.clone() })
            .collect(),
        auto_id: field.auto_id,
        element_type: field.element.map_or(0, |e| e as i32),
        default_value: field.default.as_ref().map(|v| default_to_wire(field.data_type, v)),
        is_dynamic: field.dynamic,
        is_partition_key: field.partition_key,
        is_clustering_key: field.clustering_key,
        nullable: field.nullable,
        ..Default::default()
    }
}
