//! `FieldData` to a column. Payloads are row-aligned or, beside `valid_data`, may hold only the valid rows.

use crate::{Failure, Result};
use arrow_array::builder::{
    ArrayBuilder, BooleanBuilder, Float32Builder, Float64Builder, Int8Builder, Int16Builder, Int32Builder,
    Int64Builder, ListBuilder, StringBuilder,
};
use arrow_array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array,
    StringArray,
};
use arrow_buffer::{Buffer, MutableBuffer, ScalarBuffer};
use mishards_proto::schema::{FieldData, ScalarField, field_data, scalar_field::Data, vector_field};
use mishards_segment::Column;
use mishards_types::{DataType, Field};
use std::sync::Arc;

/// Converts a column of `rows` rows. The router has checked values; here only shapes are.
pub fn column_from_wire(field: &Field, data: FieldData, rows: usize) -> Result<Column> {
    let bad = |what: &str| Failure::internal(format!("column of field {}: {what}", field.name));
    match data.field {
        Some(field_data::Field::Vectors(vectors)) => match vectors.data {
            Some(vector_field::Data::FloatVector(floats)) => {
                let dim = field.dim.unwrap_or(0);
                if floats.data.len() != dim * rows {
                    return Err(bad("wrong number of components"));
                }
                let mut buffer = MutableBuffer::new(floats.data.len() * 4);
                buffer.extend_from_slice(&floats.data);
                Ok(Column::Vector { dim, data: ScalarBuffer::from(Buffer::from(buffer)) })
            }
            _ => Err(bad("not a float vector")),
        },
        Some(field_data::Field::Scalars(scalars)) => {
            let valid = Valid::new(&data.valid_data, rows);
            let array = scalar(field, scalars, &valid)
                .ok_or_else(|| bad("its payload is of another type or length"))?;
            if array.len() == rows { Ok(Column::Scalar(array)) } else { Err(bad("wrong number of values")) }
        }
        _ => Err(bad("no payload")),
    }
}

/// Which rows have a value.
struct Valid<'a> {
    flags: &'a [bool],
    rows: usize,
    count: usize,
}

impl<'a> Valid<'a> {
    fn new(flags: &'a [bool], rows: usize) -> Valid<'a> {
        let count = if flags.is_empty() { rows } else { flags.iter().filter(|v| **v).count() };
        Valid { flags, rows, count }
    }

    /// The values as one option a row, whether the payload is full or compact.
    fn spread<T>(&self, payload: Vec<T>) -> Option<Vec<Option<T>>> {
        let full = payload.len() == self.rows;
        if !full && payload.len() != self.count {
            return None;
        }
        let mut values = payload.into_iter();
        (0..self.rows)
            .map(|row| match self.flags.get(row).copied().unwrap_or(true) {
                true => values.next().map(Some),
                false if full => values.next().map(|_| None),
                false => Some(None),
            })
            .collect()
    }
}

fn scalar(field: &Field, scalars: ScalarField, valid: &Valid) -> Option<ArrayRef> {
    Some(match (field.data_type, scalars.data?) {
        (DataType::Bool, Data::BoolData(v)) => Arc::new(BooleanArray::from(valid.spread(v.data)?)),
        (DataType::Int8, Data::IntData(v)) => {
            Arc::new(valid.spread(v.data)?.into_iter().map(|x| x.map(|x| x as i8)).collect::<Int8Array>())
        }
        (DataType::Int16, Data::IntData(v)) => {
            Arc::new(valid.spread(v.data)?.into_iter().map(|x| x.map(|x| x as i16)).collect::<Int16Array>())
        }
        (DataType::Int32, Data::IntData(v)) => Arc::new(Int32Array::from(valid.spread(v.data)?)),
        (DataType::Int64, Data::LongData(v)) => Arc::new(Int64Array::from(valid.spread(v.data)?)),
        (DataType::Float, Data::FloatData(v)) => Arc::new(Float32Array::from(valid.spread(v.data)?)),
        (DataType::Double, Data::DoubleData(v)) => Arc::new(Float64Array::from(valid.spread(v.data)?)),
        (DataType::VarChar, Data::StringData(v)) => Arc::new(StringArray::from(valid.spread(v.data)?)),
        (DataType::Json, Data::JsonData(v)) => {
            let texts = v.data.into_iter().map(|b| String::from_utf8(b).ok()).collect::<Option<Vec<_>>>()?;
            Arc::new(StringArray::from(valid.spread(texts)?))
        }
        (DataType::Array, Data::ArrayData(v)) => arrays(field.element?, valid.spread(v.data)?)?,
        _ => return None,
    })
}

fn arrays(element: DataType, rows: Vec<Option<ScalarField>>) -> Option<ArrayRef> {
    Some(match element {
        DataType::Bool => lists(
            BooleanBuilder::new(),
            rows,
            |d| match d {
                Data::BoolData(v) => Some(v.data),
                _ => None,
            },
            |b, v| b.append_value(v),
        )?,
        DataType::Int8 => lists(Int8Builder::new(), rows, ints, |b, v| b.append_value(v as i8))?,
        DataType::Int16 => lists(Int16Builder::new(), rows, ints, |b, v| b.append_value(v as i16))?,
        DataType::Int32 => lists(Int32Builder::new(), rows, ints, |b, v| b.append_value(v))?,
        DataType::Int64 => lists(
            Int64Builder::new(),
            rows,
            |d| match d {
                Data::LongData(v) => Some(v.data),
                _ => None,
            },
            |b, v| b.append_value(v),
        )?,
        DataType::Float => lists(
            Float32Builder::new(),
            rows,
            |d| match d {
                Data::FloatData(v) => Some(v.data),
                _ => None,
            },
            |b, v| b.append_value(v),
        )?,
        DataType::Double => lists(
            Float64Builder::new(),
            rows,
            |d| match d {
                Data::DoubleData(v) => Some(v.data),
                _ => None,
            },
            |b, v| b.append_value(v),
        )?,
        _ => lists(
            StringBuilder::new(),
            rows,
            |d| match d {
                Data::StringData(v) => Some(v.data),
                _ => None,
            },
            |b, v: String| b.append_value(v),
        )?,
    })
}

fn ints(data: Data) -> Option<Vec<i32>> {
    match data {
        Data::IntData(v) => Some(v.data),
        _ => None,
    }
}

fn lists<B: ArrayBuilder, T>(
    values: B,
    rows: Vec<Option<ScalarField>>,
    payload: impl Fn(Data) -> Option<Vec<T>>,
    append: impl Fn(&mut B, T),
) -> Option<ArrayRef> {
    let mut builder = ListBuilder::new(values);
    for row in rows {
        match row {
            None => builder.append_null(),
            Some(scalars) => {
                // An empty array may come without any payload.
                let items = match scalars.data {
                    Some(data) => payload(data)?,
                    None => Vec::new(),
                };
                items.into_iter().for_each(|v| append(builder.values(), v));
                builder.append(true);
            }
        }
    }
    Some(Arc::new(builder.finish()))
}
