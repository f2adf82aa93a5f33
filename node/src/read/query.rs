//! Rows that match a filter, in key order, or their number; in slices that the search threads take in turn.

use super::{Found, ReadScope, admitted};
use crate::admission::Inside;
use crate::cancel::Cancel;
use crate::unit::Unit;
use crate::{Pools, Result};
use mishards_types::{Bitmap, limits};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
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
    cancel.check()?;
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
    cancel.check()?;
    let held = |list: &Vec<Found>| list.iter().map(|row| row.key.text_bytes()).sum::<usize>();
    limits::check_gathered(lists.iter().map(Vec::len).sum(), lists.iter().map(held).sum())?;
    let stop = cancel.clone();
    let merge = move || {
        let found = merge(lists, limit, &stop)?;
        limits::check_keys(found.len(), held(&found))?;
        Ok(found)
    };
    Ok((pools.search(merge).await?, total))
}

/// Lists in the order of their keys, each key once in a list, as one: of several copies the newest stays. Up to `limit` rows.
fn merge(lists: Vec<Vec<Found>>, limit: usize, cancel: &Cancel) -> Result<Vec<Found>> {
    // The lists of units stand at their units' numbers.
    if lists.iter().filter(|list| !list.is_empty()).count() < 2 {
        return Ok(lists.into_iter().find(|list| !list.is_empty()).unwrap_or_default());
    }
    let total = lists.iter().map(Vec::len).sum::<usize>();
    let mut found: Vec<Found> = Vec::with_capacity(total.min(limit));
    let mut lists: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
    let mut heads: BinaryHeap<Head> = lists.iter_mut().filter_map(|list| list.next().map(Head)).collect();
    for step in 0..total {
        cancel.check_at(step)?;
        let Some(mut head) = heads.peek_mut() else { break };
        let row = match lists[head.0.unit].next() {
            Some(next) => std::mem::replace(&mut head.0, next),
            None => PeekMut::pop(head).0,
        };
        if !put(&mut found, row, limit) {
            break;
        }
    }
    Ok(found)
}

/// Adds the row that comes next in the order of keys; false when there are `limit` keys already.
fn put(found: &mut Vec<Found>, row: Found, limit: usize) -> bool {
    let is_full = found.len() == limit;
    match found.last_mut().filter(|last| last.key == row.key) {
        Some(last) => {
            if row.age() > last.age() {
                *last = row;
            }
            true
        }
        None if is_full => false,
        None => {
            found.push(row);
            true
        }
    }
}

/// The next row of a list. The greatest is the one with the smallest key.
struct Head(Found);

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        other.0.key.cmp(&self.0.key)
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

/// The first `limit` keys of a unit, each with its newest copy.
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
    let (mut out, mut bytes, mut step): (Vec<Found>, usize, usize) = (Vec::new(), 0, 0);
    // False ends the loop: there are enough, there is too much, or nobody waits.
    let mut take = |row: u32| {
        let found = to_found(row);
        bytes += found.key.text_bytes();
        step += 1;
        put(&mut out, found, limit) && bytes <= limits::GATHER_BYTES && cancel.check_at(step).is_ok()
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
    cancel.check()?;
    limits::check_gathered(out.len(), bytes)?;
    Ok(out)
}
