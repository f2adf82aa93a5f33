//! Columns of rows as they are on the wire.

use crate::schema::{FieldData, field_data, scalar_field, vector_field};

/// Number of rows of a row-aligned column.
pub fn row_count(column: &FieldData) -> usize {
    match &column.field {
        Some(field_data::Field::Vectors(v)) => match &v.data {
            Some(vector_field::Data::FloatVector(floats)) => floats.data.len() / (v.dim.max(1) as usize),
            _ => 0,
        },
        Some(field_data::Field::Scalars(s)) => match &s.data {
            Some(scalar_field::Data::BoolData(v)) => v.data.len(),
            Some(scalar_field::Data::IntData(v)) => v.data.len(),
            Some(scalar_field::Data::LongData(v)) => v.data.len(),
            Some(scalar_field::Data::FloatData(v)) => v.data.len(),
            Some(scalar_field::Data::DoubleData(v)) => v.data.len(),
            Some(scalar_field::Data::StringData(v)) => v.data.len(),
            Some(scalar_field::Data::JsonData(v)) => v.data.len(),
            Some(scalar_field::Data::ArrayData(v)) => v.data.len(),
            _ => 0,
        },
        _ => 0,
    }
}

/// Appends the rows of one column to another of the same field. False, and the column is as it was, where they are of different
/// types.
pub fn append(to: &mut FieldData, from: FieldData) -> bool {
    use field_data::Field as F;
    use scalar_field::Data as D;
    use vector_field::Data as V;
    match (&mut to.field, from.field) {
        (Some(F::Vectors(a)), Some(F::Vectors(b))) if a.dim == b.dim => match (&mut a.data, b.data) {
            (Some(V::FloatVector(a)), Some(V::FloatVector(b))) => a.data.extend(b.data),
            _ => return false,
        },
        (Some(F::Scalars(a)), Some(F::Scalars(b))) => match (&mut a.data, b.data) {
            (Some(D::BoolData(a)), Some(D::BoolData(b))) => a.data.extend(b.data),
            (Some(D::IntData(a)), Some(D::IntData(b))) => a.data.extend(b.data),
            (Some(D::LongData(a)), Some(D::LongData(b))) => a.data.extend(b.data),
            (Some(D::FloatData(a)), Some(D::FloatData(b))) => a.data.extend(b.data),
            (Some(D::DoubleData(a)), Some(D::DoubleData(b))) => a.data.extend(b.data),
            (Some(D::StringData(a)), Some(D::StringData(b))) => a.data.extend(b.data),
            (Some(D::JsonData(a)), Some(D::JsonData(b))) => a.data.extend(b.data),
            (Some(D::ArrayData(a)), Some(D::ArrayData(b))) => a.data.extend(b.data),
            _ => return false,
        },
        _ => return false,
    }
    to.valid_data.extend(from.valid_data);
    true
}
