//! Rows of a column to `FieldData`: row-aligned payload, a placeholder where a row is null, and `valid_data` for
//! nullable fields.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use mishards_proto::schema::{
    ArrayArray, BoolArray, DoubleArray, FieldData, FloatArray, IntArray, JsonArray, LongArray, ScalarField,
    StringArray, VectorField, field_data, scalar_field::Data, vector_field,
};
use mishards_segment::Column;
use mishards_types::{DataType, Field};

/// Takes the rows numbered `rows` of the columns of several pieces, in order: `pieces[i]` gives the column that
/// `rows[i]` counts in.
pub fn column_to_wire(field: &Field, pieces: &[(&Column, u32)]) -> FieldData {
    let payload = if field.data_type.is_vector() {
        vectors(field, pieces)
    } else {
        let cells: Vec<(&ArrayRef, usize)> = pieces
            .iter()
            .filter_map(|(column, row)| match column {
                Column::Scalar(array) => Some((array, *row as usize)),
                Column::Vector { .. } => None,
            })
            .collect();
        field_data::Field::Scalars(ScalarField {
            data: Some(scalars(field.data_type, field.element, &cells)),
            ..Default::default()
        })
    };
    let valid = |(column, row): &(&Column, u32)| match column {
        Column::Scalar(array) => array.is_valid(*row as usize),
        Column::Vector { .. } => true,
    };
    FieldData {
        r#type: field.data_type as i32,
        field_name: field.name.clone(),
        field_id: field.id.0,
        is_dynamic: field.dynamic,
        valid_data: if field.nullable { pieces.iter().map(valid).collect() } else { Vec::new() },
        field: Some(payload),
    }
}

fn vectors(field: &Field, pieces: &[(&Column, u32)]) -> field_data::Field {
    let dim = field.dim.unwrap_or(0);
    let mut out = Vec::with_capacity(dim * pieces.len());
    for (column, row) in pieces {
        if let Column::Vector { data, .. } = column {
            out.extend_from_slice(&data[*row as usize * dim..(*row as usize + 1) * dim]);
        }
    }
    let data = vector_field::Data::FloatVector(FloatArray { data: out });
    field_data::Field::Vectors(VectorField { dim: dim as i64, data: Some(data), ..Default::default() })
}

macro_rules! primitive {
    ($cells:expr, $arrow:ty, $as:ty) => {
        $cells
            .iter()
            .map(|(a, row)| {
                let a = a.as_primitive::<$arrow>();
                if a.is_null(*row) { <$as>::default() } else { a.value(*row) as $as }
            })
            .collect()
    };
}

fn texts(cells: &[(&ArrayRef, usize)]) -> Vec<String> {
    let text = |(array, row): &(&ArrayRef, usize)| {
        let array = array.as_string::<i32>();
        if array.is_null(*row) { String::new() } else { array.value(*row).to_owned() }
    };
    cells.iter().map(text).collect()
}

fn scalars(data_type: DataType, element: Option<DataType>, cells: &[(&ArrayRef, usize)]) -> Data {
    match data_type {
        DataType::Bool => {
            let flag = |(a, row): &(&ArrayRef, usize)| a.is_valid(*row) && a.as_boolean().value(*row);
            Data::BoolData(BoolArray { data: cells.iter().map(flag).collect() })
        }
        DataType::Int8 => Data::IntData(IntArray { data: primitive!(cells, Int8Type, i32) }),
        DataType::Int16 => Data::IntData(IntArray { data: primitive!(cells, Int16Type, i32) }),
        DataType::Int32 => Data::IntData(IntArray { data: primitive!(cells, Int32Type, i32) }),
        DataType::Int64 => Data::LongData(LongArray { data: primitive!(cells, Int64Type, i64) }),
        DataType::Float => Data::FloatData(FloatArray { data: primitive!(cells, Float32Type, f32) }),
        DataType::Double => Data::DoubleData(DoubleArray { data: primitive!(cells, Float64Type, f64) }),
        DataType::Json => {
            Data::JsonData(JsonArray { data: texts(cells).into_iter().map(String::into_bytes).collect() })
        }
        DataType::Array => {
            let element = element.unwrap_or(DataType::Int64);
            let list = |(a, row): &(&ArrayRef, usize)| {
                if a.is_null(*row) {
                    return ScalarField { data: Some(scalars(element, None, &[])), ..Default::default() };
                }
                let items = a.as_list::<i32>().value(*row);
                let cells: Vec<(&ArrayRef, usize)> = (0..items.len()).map(|i| (&items, i)).collect();
                ScalarField { data: Some(scalars(element, None, &cells)), ..Default::default() }
            };
            Data::ArrayData(ArrayArray {
                data: cells.iter().map(list).collect(),
                element_type: element as i32,
            })
        }
        _ => Data::StringData(StringArray { data: texts(cells) }),
    }
}
