//! The primary-key index: row numbers sorted by key, then by row.

use crate::trailer::{add_trailer, check_trailer};
use crate::{Error, Result, Rows};
use arrow_array::{Array, ArrayRef, Int64Array, StringArray};
use bytes::Bytes;
use mishards_types::Key;
use std::cmp::Ordering;
use std::sync::Arc;

/// The key in row `row` of a primary-key column.
pub fn key_at(keys: &ArrayRef, row: usize) -> Key {
    match keys.as_any().downcast_ref::<Int64Array>() {
        Some(ints) => Key::Int(ints.value(row)),
        None => Key::Str(keys.as_any().downcast_ref::<StringArray>().map_or("", |s| s.value(row)).into()),
    }
}

/// Orders the key in a row against another.
fn compare(keys: &ArrayRef, row: usize, key: &Key) -> Ordering {
    match key {
        Key::Int(v) => {
            keys.as_any().downcast_ref::<Int64Array>().map_or(Ordering::Less, |a| a.value(row).cmp(v))
        }
        Key::Str(v) => {
            keys.as_any().downcast_ref::<StringArray>().map_or(Ordering::Less, |a| a.value(row).cmp(v))
        }
    }
}

/// Encodes the index of `rows`: one u32 per row, and the trailer.
pub fn encode(rows: &Rows) -> Result<Vec<u8>> {
    let keys = rows.keys().ok_or_else(|| Error::Mismatch("no primary key".to_owned()))?;
    Ok(add_trailer(bytemuck::cast_slice(&sorted(keys)).to_vec()))
}

/// Row numbers in the order of their keys.
fn sorted(keys: &ArrayRef) -> Vec<u32> {
    let mut order: Vec<u32> = (0..keys.len() as u32).collect();
    if let Some(ints) = keys.as_any().downcast_ref::<Int64Array>() {
        order.sort_by_key(|r| ints.value(*r as usize));
    } else if let Some(texts) = keys.as_any().downcast_ref::<StringArray>() {
        order.sort_by(|a, b| texts.value(*a as usize).cmp(texts.value(*b as usize)));
    }
    order
}

/// Row numbers as bytes.
struct Order(Vec<u32>);

impl AsRef<[u8]> for Order {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// An opened index.
#[derive(Debug, Clone)]
pub struct KeyIndex {
    order: Bytes,
    keys: ArrayRef,
}

impl KeyIndex {
    pub fn open(file: &str, bytes: Bytes, keys: ArrayRef) -> Result<KeyIndex> {
        let order = check_trailer(file, bytes)?;
        let rows: &[u32] = bytemuck::try_cast_slice(&order).map_err(|e| Error::corrupt(file, e))?;
        if rows.len() != keys.len() || rows.iter().any(|r| *r as usize >= keys.len()) {
            return Err(Error::corrupt(file, "it does not belong to these rows"));
        }
        Ok(KeyIndex { order, keys })
    }

    /// The index of a column that has none in a file: n log n.
    pub fn of(keys: &ArrayRef) -> KeyIndex {
        KeyIndex { order: Bytes::from_owner(Order(sorted(keys))), keys: Arc::clone(keys) }
    }

    fn order(&self) -> &[u32] {
        bytemuck::cast_slice(&self.order)
    }

    /// The rows with this key, ascending.
    pub fn rows_of<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = u32> + 'a {
        let order = self.order();
        let start = order.partition_point(|r| compare(&self.keys, *r as usize, key).is_lt());
        order[start..].iter().copied().take_while(move |r| compare(&self.keys, *r as usize, key).is_eq())
    }

    /// All rows in key order.
    pub fn in_key_order(&self) -> &[u32] {
        self.order()
    }
}
