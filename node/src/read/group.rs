//! Group-by: the best rows of the best groups.

use super::Found;
use super::search::Grouping;
use crate::filter::group_key;
use crate::unit::Unit;
use std::collections::HashMap;
use std::sync::Arc;

/// From rows in order, the first `size` of each of the first `k` groups. Null is a group of its own. The second value says
/// that no further rows would change them.
pub fn best_groups(
    grouping: &Grouping,
    k: usize,
    units: &[Arc<Unit>],
    found: Vec<Found>,
) -> (Vec<(Found, Option<String>)>, bool) {
    let mut sizes: HashMap<String, usize> = HashMap::new();
    let mut full = 0;
    let mut out = Vec::new();
    for row in found {
        let key = group_key(&units[row.unit], &grouping.key, row.row);
        if !grouping.only.is_empty() && !grouping.only.contains(&key) {
            continue;
        }
        let groups = sizes.len();
        match sizes.get_mut(&key) {
            Some(size) if *size >= grouping.size => continue,
            Some(size) => *size += 1,
            None if groups >= k => continue,
            None => drop(sizes.insert(key.clone(), 1)),
        }
        full += usize::from(sizes.get(&key) == Some(&grouping.size));
        out.push((row, Some(key)));
        if full >= k {
            break;
        }
    }
    (out, full >= k)
}

/// Rows of a group that are held beyond those that may be shown, for some may be copies of which another unit has a newer one.
const SPARE: usize = 16;

/// From rows of one unit in order, the first of each group: no fewer than may be shown.
pub fn best_of_each(grouping: &Grouping, units: &[Arc<Unit>], found: Vec<Found>) -> Vec<Found> {
    let mut sizes: HashMap<String, usize> = HashMap::new();
    let mut is_among = |row: &Found| {
        let key = group_key(&units[row.unit], &grouping.key, row.row);
        if !grouping.only.is_empty() && !grouping.only.contains(&key) {
            return false;
        }
        let size = sizes.entry(key).or_default();
        *size += 1;
        *size <= 2 * grouping.size + SPARE
    };
    found.into_iter().filter(|row| is_among(row)).collect()
}
