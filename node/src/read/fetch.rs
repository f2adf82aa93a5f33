//! Columns of rows that were found before.

use crate::cancel::Cancel;
use crate::columns::{column_to_wire, keys_from_wire};
use crate::unit::Unit;
use crate::{Failure, Result};
use arrow_array::cast::AsArray;
use mishards_proto::node::FetchRequest;
use mishards_proto::schema::FieldData;
use mishards_segment::Column;
use mishards_types::{FieldId, Key, Timestamp, limits};
use std::collections::HashMap;
use std::sync::Arc;

/// One column per field asked for, aligned with the request's rows. Rows of segments are found by number; growing
/// rows, which may have moved into a segment since, by partition, timestamp and ordinal, which name them alone.
pub fn fetch_columns(
    mut request: FetchRequest,
    units: &[Arc<Unit>],
    cancel: &Cancel,
) -> Result<Vec<FieldData>> {
    let keys = keys_from_wire(request.keys.take());
    let places = locate(&request, &keys, units, cancel)?;
    let schema = match units.first() {
        Some(unit) => Arc::clone(&unit.schema),
        None => return Err(Failure::too_old("the rows are not here any more")),
    };
    let mut bytes = 0;
    let mut column_of = |field: &i64| {
        let field = schema
            .field_by_id(FieldId(*field))
            .ok_or_else(|| Failure::internal(format!("no field {field}")))?;
        let missing = || Failure::internal(format!("field {} has no column", field.name));
        let columns: Vec<_> = units.iter().map(|unit| unit.rows.column(field.id)).collect();
        let mut cells = Vec::with_capacity(places.len());
        for (i, (unit, row)) in places.iter().enumerate() {
            cancel.check_at(i)?;
            let column = columns[*unit].ok_or_else(missing)?;
            bytes += cell_bytes(column, *row);
            cells.push((column, *row));
        }
        limits::check_columns(places.len(), bytes)?;
        Ok(column_to_wire(field, &cells))
    };
    request.field_ids.iter().map(&mut column_of).collect()
}

/// Bytes of a value on the wire, about.
fn cell_bytes(column: &Column, row: u32) -> usize {
    match column {
        Column::Vector { dim, .. } => dim * 4,
        Column::Scalar(array) => match (array.as_string_opt::<i32>(), array.as_list_opt::<i32>()) {
            (Some(texts), _) => texts.value_length(row as usize) as usize,
            (None, Some(lists)) => {
                let (from, to) =
                    (lists.value_offsets()[row as usize], lists.value_offsets()[row as usize + 1]);
                match lists.values().as_string_opt::<i32>() {
                    Some(texts) => {
                        (texts.value_offsets()[to as usize] - texts.value_offsets()[from as usize]) as usize
                    }
                    None => (to - from) as usize * 8,
                }
            }
            (None, None) => 8,
        },
    }
}

/// Where each row stands: its unit, and its number there.
fn locate(
    request: &FetchRequest,
    keys: &[Key],
    units: &[Arc<Unit>],
    cancel: &Cancel,
) -> Result<Vec<(usize, u32)>> {
    let by_segment: HashMap<i64, usize> = units.iter().enumerate().map(|(i, u)| (u.segment.0, i)).collect();
    let mut growing: HashMap<i64, Vec<usize>> = HashMap::new();
    for (i, unit) in units.iter().enumerate().filter(|(_, unit)| unit.segment.0 == 0) {
        growing.entry(unit.partition.0).or_default().push(i);
    }
    let count = request.segments.len();
    let is_aligned = keys.len() == count && request.timestamps.len() == count && request.rows.len() == count;
    let has_partitions = request.partitions.len() == count || request.segments.iter().all(|id| *id != 0);
    if !is_aligned || !has_partitions {
        return Err(Failure::internal("the rows to fetch are not aligned"));
    }
    (0..count)
        .map(|i| {
            cancel.check_at(i)?;
            let (key, row) = (&keys[i], request.rows[i]);
            let gone = || Failure::too_old(format!("row with key {key} has moved"));
            if request.segments[i] == 0 {
                let timestamp = Timestamp(request.timestamps[i]);
                let there = growing.get(&request.partitions[i]).ok_or_else(gone)?;
                let found =
                    there.iter().find_map(|unit| Some((*unit, units[*unit].row_named(timestamp, row)?)));
                return found.filter(|(unit, row)| units[*unit].key(*row) == *key).ok_or_else(gone);
            }
            let unit = *by_segment.get(&request.segments[i]).ok_or_else(gone)?;
            if (row as usize) < units[unit].rows.len() { Ok((unit, row)) } else { Err(gone()) }
        })
        .collect()
}
