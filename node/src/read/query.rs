//! Rows that match a filter, in key order, or their number.

use super::{Found, ReadScope, admitted, newest_copies};
use crate::unit::Unit;
use mishards_types::Bitmap;
use rayon::prelude::*;
use std::sync::Arc;

/// Up to `limit` rows in key order, each key once, and the number of rows that match (copies counted). With
/// `count` only the number is made.
pub fn query_units(scope: &ReadScope, units: &[Arc<Unit>], limit: usize, count: bool) -> (Vec<Found>, u64) {
    let lists: Vec<(Vec<Found>, u64)> = units
        .par_iter()
        .enumerate()
        .map(|(i, unit)| {
            let filter = admitted(unit, scope);
            let number = filter.as_ref().map_or(unit.rows.len(), Bitmap::count) as u64;
            if count || number == 0 {
                (Vec::new(), number)
            } else {
                (first_rows(i, unit, filter.as_ref(), limit), number)
            }
        })
        .collect();
    let number = lists.iter().map(|l| l.1).sum();
    let mut found = newest_copies(lists.into_iter().flat_map(|l| l.0).collect());
    found.sort_by(|a, b| a.key.cmp(&b.key));
    found.truncate(limit);
    (found, number)
}

/// The first `limit` keys of a unit, with all their copies.
fn first_rows(index: usize, unit: &Unit, filter: Option<&Bitmap>, limit: usize) -> Vec<Found> {
    let passes = |row: &u32| filter.is_none_or(|f| f.get(*row as usize));
    let to_found = |row: u32| Found {
        unit: index,
        row,
        key: unit.key(row),
        timestamp: unit.timestamp(row),
        distance: 0.0,
    };
    let (mut out, mut keys): (Vec<Found>, usize) = (Vec::new(), 0);
    let mut take = |row: u32| {
        let found = to_found(row);
        keys += usize::from(out.last().is_none_or(|last| last.key != found.key));
        if keys > limit {
            return false;
        }
        out.push(found);
        true
    };
    match &unit.keys {
        Some(keys) => {
            let _ = keys.in_key_order().iter().copied().filter(passes).all(&mut take);
        }
        None => {
            let mut rows: Vec<u32> = (0..unit.rows.len() as u32).filter(passes).collect();
            rows.sort_by_cached_key(|row| unit.key(*row));
            let _ = rows.into_iter().all(&mut take);
        }
    }
    newest_copies(out)
}
