//! Rows that match a filter, in key order, or their number; in slices that the search threads take in turn.

use super::{Found, ReadScope, admitted, newest_copies};
use crate::admission::Inside;
use crate::cancel::{Cancel, STRIDE};
use crate::unit::Unit;
use crate::{Failure, Pools, Result};
use mishards_types::{Bitmap, limits};
use std::sync::Arc;

/// Rows are few when there are so many times as many in all.
const FEW: usize = 16;

/// Up to `limit` rows in key order, each key once, and the number of rows that match (copies counted). With
/// `count` only the number is made. `admit` lets so many rows in.
pub async fn query_units(
    pools: &Pools,
    scope: Arc<ReadScope>,
    units: Arc<Vec<Arc<Unit>>>,
    limit: usize,
    count: bool,
    admit: impl FnOnce(usize) -> Result<Inside>,
    cancel: &Cancel,
) -> Result<(Vec<Found>, u64)> {
    let (all, stop) = (Arc::clone(&units), cancel.clone());
    let filters = pools.slices(units.len(), move |i| Ok(admitted(&all[i], &scope, &stop))).await?;
    let matching = |(unit, filter): (&Arc<Unit>, &Option<Bitmap>)| {
        filter.as_ref().map_or(unit.rows.len(), Bitmap::count)
    };
    let numbers: Vec<usize> = units.iter().zip(&filters).map(matching).collect();
    let total = numbers.iter().map(|n| *n as u64).sum();
    check_waiting(cancel)?;
    if count {
        return Ok((Vec::new(), total));
    }
    let rows = numbers.iter().sum::<usize>().min(limit);
    limits::check_answer(1, rows)?;
    // How many there are is known only now.
    let _more = admit(rows)?;
    let stop = cancel.clone();
    let lists = pools
        .slices(units.len(), move |i| match numbers[i] {
            0 => Ok(Vec::new()),
            _ => first_rows(i, &units[i], filters[i].as_ref(), limit, &stop),
        })
        .await?;
    check_waiting(cancel)?;
    let held = |list: &Vec<Found>| list.iter().map(|row| row.key.text_bytes()).sum::<usize>();
    limits::check_gathered(lists.iter().map(Vec::len).sum(), lists.iter().map(held).sum())?;
    let merge = move || {
        let mut found = newest_copies(lists.into_iter().flatten().collect());
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found.truncate(limit);
        limits::check_keys(found.len(), held(&found))?;
        Ok(found)
    };
    Ok((pools.search(merge).await?, total))
}

fn check_waiting(cancel: &Cancel) -> Result<()> {
    if cancel.is_cancelled() { Err(Failure::internal("the caller went away")) } else { Ok(()) }
}

/// The first `limit` keys of a unit, with all their copies.
fn first_rows(
    index: usize,
    unit: &Unit,
    filter: Option<&Bitmap>,
    limit: usize,
    cancel: &Cancel,
) -> Result<Vec<Found>> {
    let passes = |row: &u32| filter.is_none_or(|f| f.get(*row as usize));
    let to_found = |row: u32| Found {
        unit: index,
        row,
        key: unit.key(row),
        timestamp: unit.timestamp(row),
        distance: 0.0,
    };
    let (mut out, mut keys, mut bytes): (Vec<Found>, usize, usize) = (Vec::new(), 0, 0);
    let mut take = |row: u32| {
        let found = to_found(row);
        keys += usize::from(out.last().is_none_or(|last| last.key != found.key));
        if keys > limit || (keys.is_multiple_of(STRIDE) && cancel.is_cancelled()) {
            return false;
        }
        bytes += found.key.text_bytes();
        out.push(found);
        bytes <= limits::GATHER_BYTES
    };
    // Few rows are sorted sooner than all are looked at in their order.
    let are_few = filter.is_some_and(|f| f.count().saturating_mul(FEW) < unit.rows.len());
    match unit.by_key().filter(|_| !are_few) {
        Some(keys) => {
            let _ = keys.in_key_order().iter().copied().filter(passes).all(&mut take);
        }
        None => {
            let mut rows: Vec<u32> = (0..unit.rows.len() as u32).filter(passes).collect();
            rows.sort_by(|a, b| unit.compare_keys(*a, *b));
            let _ = rows.into_iter().all(&mut take);
        }
    }
    limits::check_gathered(out.len(), bytes)?;
    Ok(newest_copies(out))
}
