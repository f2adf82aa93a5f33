//! Sub-queries: what they are about, and the three that read rows.

mod fetch;
mod group;
mod nearest;
mod query;
mod scope;
mod search;

pub use fetch::fetch_columns;
pub use query::query_units;
pub use scope::ReadScope;
pub use search::{SearchJob, search_units};

use crate::cancel::Cancel;
use crate::unit::Unit;
use mishards_types::{Bitmap, Key, Timestamp};

/// A row by reference.
#[derive(Debug, Clone)]
pub struct Found {
    /// Which unit of the request, and which row of it.
    pub unit: usize,
    pub row: u32,
    pub key: Key,
    pub timestamp: Timestamp,
    /// Smaller is nearer; 0 for queries.
    pub distance: f32,
}

impl Found {
    /// Of several copies of a key the greatest is the newest: a later row wins among equals.
    fn age(&self) -> (Timestamp, usize, u32) {
        (self.timestamp, self.unit, self.row)
    }
}

/// The rows of a unit that a scope admits; `None` means all.
pub fn admitted(unit: &Unit, scope: &ReadScope, cancel: &Cancel) -> Option<Bitmap> {
    let visible = unit.visible(scope.timestamp);
    match (visible, crate::filter::matching_rows(unit, &scope.predicate, cancel)) {
        (None, matching) => matching,
        (visible, None) => visible,
        (Some(mut visible), Some(matching)) => {
            visible.and(&matching);
            Some(visible)
        }
    }
}

/// Of several copies of a key the newest stays (a later row wins among equals). Order is lost.
pub fn newest_copies(found: Vec<Found>) -> Vec<Found> {
    let mut newest: std::collections::HashMap<Key, Found> =
        std::collections::HashMap::with_capacity(found.len());
    for row in found {
        match newest.get(&row.key) {
            Some(known) if known.age() >= row.age() => {}
            _ => drop(newest.insert(row.key.clone(), row)),
        }
    }
    newest.into_values().collect()
}
