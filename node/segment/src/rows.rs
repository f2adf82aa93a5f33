//! Rows in columns: Arrow arrays for scalars, flat aligned floats for vectors, and each row's timestamp.

use crate::{Error, Result};
use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_buffer::{MutableBuffer, ScalarBuffer};
use arrow_schema::{DataType as Arrow, Field as ArrowField};
use mishards_types::{DataType, Field, FieldId, Schema, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One field's values.
#[derive(Debug, Clone)]
pub enum Column {
    Scalar(ArrayRef),
    /// Row-major components.
    Vector {
        dim: usize,
        data: ScalarBuffer<f32>,
    },
}

impl Column {
    pub fn len(&self) -> usize {
        match self {
            Column::Scalar(array) => array.len(),
            Column::Vector { dim, data } => data.len() / (*dim).max(1),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn bytes(&self) -> usize {
        match self {
            Column::Scalar(array) => array.get_buffer_memory_size(),
            Column::Vector { data, .. } => data.len() * 4,
        }
    }
}

/// Immutable rows of one partition. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rows {
    len: usize,
    timestamps: ScalarBuffer<u64>,
    columns: BTreeMap<FieldId, Column>,
    primary: FieldId,
}

/// The Arrow type of a scalar field.
pub fn arrow_type(field: &Field) -> Arrow {
    let scalar = |t: DataType| match t {
        DataType::Bool => Arrow::Boolean,
        DataType::Int8 => Arrow::Int8,
        DataType::Int16 => Arrow::Int16,
        DataType::Int32 => Arrow::Int32,
        DataType::Int64 => Arrow::Int64,
        DataType::Float => Arrow::Float32,
        DataType::Double => Arrow::Float64,
        _ => Arrow::Utf8,
    };
    match (field.data_type, field.element) {
        (DataType::Array, Some(element)) => {
            Arrow::List(Arc::new(ArrowField::new("item", scalar(element), true)))
        }
        (t, _) => scalar(t),
    }
}

impl Rows {
    /// Puts columns together; every field of the schema must be there, with one value per timestamp.
    pub fn new(
        schema: &Schema,
        timestamps: ScalarBuffer<u64>,
        columns: BTreeMap<FieldId, Column>,
    ) -> Result<Rows> {
        let len = timestamps.len();
        for field in &schema.fields {
            let Some(column) = columns.get(&field.id) else {
                return Err(Error::Mismatch(format!("field {} has no column", field.name)));
            };
            if column.len() != len {
                return Err(Error::Mismatch(format!(
                    "field {} has {} values for {len} rows",
                    field.name,
                    column.len()
                )));
            }
            let fits = match column {
                Column::Scalar(array) => {
                    !field.data_type.is_vector() && *array.data_type() == arrow_type(field)
                }
                Column::Vector { dim, data } => field.dim == Some(*dim) && data.len() == dim * len,
            };
            if !fits {
                return Err(Error::Mismatch(format!("field {} has a column of another type", field.name)));
            }
        }
        let primary =
            schema.primary().map(|f| f.id).ok_or_else(|| Error::Mismatch("no primary key".to_owned()))?;
        Ok(Rows { len, timestamps, columns, primary })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One timestamp per row.
    pub fn timestamps(&self) -> &[u64] {
        &self.timestamps
    }

    pub fn min_timestamp(&self) -> Timestamp {
        Timestamp(self.timestamps.iter().copied().min().unwrap_or(0))
    }

    pub fn max_timestamp(&self) -> Timestamp {
        Timestamp(self.timestamps.iter().copied().max().unwrap_or(0))
    }

    pub fn column(&self, field: FieldId) -> Option<&Column> {
        self.columns.get(&field)
    }

    pub fn columns(&self) -> impl Iterator<Item = (FieldId, &Column)> {
        self.columns.iter().map(|(id, column)| (*id, column))
    }

    pub fn scalar(&self, field: FieldId) -> Option<&ArrayRef> {
        match self.columns.get(&field) {
            Some(Column::Scalar(array)) => Some(array),
            _ => None,
        }
    }

    /// Components and dimension of a vector field.
    pub fn vector(&self, field: FieldId) -> Option<(&[f32], usize)> {
        match self.columns.get(&field) {
            Some(Column::Vector { dim, data }) => Some((data, *dim)),
            _ => None,
        }
    }

    /// The primary key's column.
    pub fn keys(&self) -> Option<&ArrayRef> {
        self.scalar(self.primary)
    }

    pub fn primary(&self) -> FieldId {
        self.primary
    }

    /// Memory of all columns.
    pub fn bytes(&self) -> usize {
        self.len * 8 + self.columns.values().map(Column::bytes).sum::<usize>()
    }

    /// All rows of `parts`, one part after the other.
    pub fn concat(parts: &[Rows]) -> Result<Rows> {
        let Some(first) = parts.first() else {
            return Err(Error::Mismatch("no rows to put together".to_owned()));
        };
        if parts.len() == 1 {
            return Ok(first.clone());
        }
        let len = parts.iter().map(|p| p.len).sum();
        let mut columns = BTreeMap::new();
        for (id, column) in &first.columns {
            let same: Option<Vec<&Column>> = parts.iter().map(|p| p.columns.get(id)).collect();
            let same = same.ok_or_else(|| Error::Mismatch(format!("field {id} is missing in a part")))?;
            columns.insert(*id, concat_column(column, &same)?);
        }
        let timestamps = concat_buffers(parts.iter().map(|p| &p.timestamps));
        Ok(Rows { len, timestamps, columns, primary: first.primary })
    }

    /// The rows with these numbers, in this order.
    pub fn take(&self, rows: &[u32]) -> Result<Rows> {
        let indices = UInt32Array::from(rows.to_vec());
        let mut columns = BTreeMap::new();
        for (id, column) in &self.columns {
            let taken = match column {
                Column::Scalar(array) => Column::Scalar(
                    arrow_select::take::take(array, &indices, None)
                        .map_err(|e| Error::Mismatch(e.to_string()))?,
                ),
                Column::Vector { dim, data } => {
                    let mut out = MutableBuffer::new(rows.len() * dim * 4);
                    rows.iter().for_each(|r| {
                        out.extend_from_slice(&data[*r as usize * dim..(*r as usize + 1) * dim])
                    });
                    Column::Vector { dim: *dim, data: ScalarBuffer::from(arrow_buffer::Buffer::from(out)) }
                }
            };
            columns.insert(*id, taken);
        }
        let timestamps = rows.iter().map(|r| self.timestamps[*r as usize]).collect();
        Ok(Rows { len: rows.len(), timestamps, columns, primary: self.primary })
    }
}

fn concat_column(first: &Column, parts: &[&Column]) -> Result<Column> {
    match first {
        Column::Vector { dim, .. } => {
            let buffers = parts.iter().filter_map(|p| match p {
                Column::Vector { data, .. } => Some(data),
                Column::Scalar(_) => None,
            });
            Ok(Column::Vector { dim: *dim, data: concat_buffers(buffers) })
        }
        Column::Scalar(_) => {
            let arrays: Vec<&dyn Array> = parts
                .iter()
                .filter_map(|p| match p {
                    Column::Scalar(array) => Some(array.as_ref()),
                    Column::Vector { .. } => None,
                })
                .collect();
            let array = arrow_select::concat::concat(&arrays).map_err(|e| Error::Mismatch(e.to_string()))?;
            Ok(Column::Scalar(array))
        }
    }
}

/// Arrow's buffers are aligned to 64 bytes, which the kernels like.
fn concat_buffers<'a, T: arrow_buffer::ArrowNativeType>(
    parts: impl Iterator<Item = &'a ScalarBuffer<T>> + Clone,
) -> ScalarBuffer<T> {
    let bytes = parts.clone().map(|p| p.len() * size_of::<T>()).sum();
    let mut out = MutableBuffer::new(bytes);
    parts.for_each(|p| out.extend_from_slice(p));
    ScalarBuffer::from(arrow_buffer::Buffer::from(out))
}
