//! Columns of rows that were found before.

use crate::columns::{column_to_wire, keys_from_wire};
use crate::unit::Unit;
use crate::{Failure, Result};
use mishards_proto::node::FetchRequest;
use mishards_proto::schema::FieldData;
use mishards_types::{FieldId, Key, Timestamp};
use std::collections::HashMap;
use std::sync::Arc;

/// One column per field asked for, aligned with the request's rows. Rows of segments are found by number; growing
/// rows, which may have moved into a segment since, by key and timestamp.
pub fn fetch_columns(request: FetchRequest, units: &[Arc<Unit>]) -> Result<Vec<FieldData>> {
    let places = locate(&request, units)?;
    let schema = match units.first() {
        Some(unit) => Arc::clone(&unit.schema),
        None => return Err(Failure::too_old("the rows are not here any more")),
    };
    let column_of = |field: &i64| {
        let field = schema
            .field_by_id(FieldId(*field))
            .ok_or_else(|| Failure::internal(format!("no field {field}")))?;
        let cells: Option<Vec<_>> =
            places.iter().map(|(unit, row)| Some((units[*unit].rows.column(field.id)?, *row))).collect();
        let cells = cells.ok_or_else(|| Failure::internal(format!("field {} has no column", field.name)))?;
        Ok(column_to_wire(field, &cells))
    };
    request.field_ids.iter().map(column_of).collect()
}

fn locate(request: &FetchRequest, units: &[Arc<Unit>]) -> Result<Vec<(usize, u32)>> {
    let by_segment: HashMap<i64, usize> = units.iter().enumerate().map(|(i, u)| (u.segment.0, i)).collect();
    let keys = keys_from_wire(request.keys.clone());
    let count = request.segments.len();
    if keys.len() != count || request.timestamps.len() != count || request.rows.len() != count {
        return Err(Failure::internal("the rows to fetch are not aligned"));
    }
    let mut wanted: HashMap<(Key, Timestamp), Option<(usize, u32)>> = HashMap::new();
    for i in (0..count).filter(|i| request.segments[*i] == 0) {
        wanted.insert((keys[i].clone(), Timestamp(request.timestamps[i])), None);
    }
    find_by_key(&mut wanted, units);
    (0..count)
        .map(|i| {
            let gone = || Failure::too_old(format!("row with key {} has moved", keys[i]));
            if request.segments[i] == 0 {
                let place = wanted.get(&(keys[i].clone(), Timestamp(request.timestamps[i])));
                return place.copied().flatten().ok_or_else(gone);
            }
            let unit = *by_segment.get(&request.segments[i]).ok_or_else(gone)?;
            let row = request.rows[i];
            if (row as usize) < units[unit].rows.len() { Ok((unit, row)) } else { Err(gone()) }
        })
        .collect()
}

fn find_by_key(wanted: &mut HashMap<(Key, Timestamp), Option<(usize, u32)>>, units: &[Arc<Unit>]) {
    if wanted.is_empty() {
        return;
    }
    for (i, unit) in units.iter().enumerate() {
        match &unit.keys {
            Some(keys) => {
                for ((key, timestamp), place) in wanted.iter_mut() {
                    if let Some(row) = keys.rows_of(key).filter(|r| unit.timestamp(*r) == *timestamp).last() {
                        *place = Some((i, row));
                    }
                }
            }
            None => {
                for row in 0..unit.rows.len() as u32 {
                    if let Some(place) = wanted.get_mut(&(unit.key(row), unit.timestamp(row))) {
                        *place = Some((i, row));
                    }
                }
            }
        }
    }
}
