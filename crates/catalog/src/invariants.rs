//! What must hold of every commit, checked before it is sent. A change that breaks one is a fault of ours: it
//! is refused and nothing is written.

use crate::model::*;
use crate::snapshot::{Change, Snapshot};
use crate::{Error, Kind, Result};

/// Checks a transaction against the snapshot that it starts from.
pub fn check_invariants(before: &Snapshot, changes: &[Change]) -> Result<()> {
    for change in changes {
        let Change::Put(entity) = change else { continue };
        let broken = match entity {
            Entity::Segment(new) => segment_rule(before, new),
            Entity::Partition(new) => partition_rule(before, new, changes),
            Entity::Collection(new) => collection_rule(before, new),
            _ => None,
        };
        if let Some(what) = broken {
            return Err(Error::new(
                Kind::Refused,
                format!("refused to commit {:?} {}: {what}", entity.kind(), entity.key()),
            ));
        }
    }
    Ok(())
}

fn segment_rule(before: &Snapshot, new: &Segment) -> Option<&'static str> {
    match before.segment(new.id) {
        Some(old) if old.files != new.files || old.footer != new.footer => {
            Some("the rows of a published segment never change")
        }
        Some(old) if old.folded_through > new.folded_through => Some("folded_through went back"),
        Some(_) => None,
        // Also that of a segment which was removed: an index that was built meanwhile must not bring it back.
        None if before.has_had_footer(&new.footer.path) => Some("its name was used before"),
        None if before.collection(new.collection).is_none() => Some("its collection is gone"),
        None if before.partition(new.partition).is_none() => Some("its partition is gone"),
        None if !has_deletes_after(before, new) => {
            Some("delta files that it does not know have been dropped")
        }
        None => None,
    }
}

/// Whether the deletes that a new segment does not know are all in delta files, or in none yet.
fn has_deletes_after(before: &Snapshot, new: &Segment) -> bool {
    let known = new.folded_through;
    if before.collection(new.collection).is_none_or(|c| c.deltas_through <= known) {
        return true;
    }
    let first = before.deltas_of(new.collection).filter(|d| d.through > known).map(|d| d.first).min();
    first.is_some_and(|first| first <= known.next())
}

fn partition_rule(before: &Snapshot, new: &Partition, changes: &[Change]) -> Option<&'static str> {
    let old = before.partition(new.id)?;
    if old.flushed_through > new.flushed_through {
        return Some("flushed_through went back");
    }
    let covers = |change: &Change| match change {
        Change::Put(Entity::Segment(s)) => s.partition == new.id && s.through <= new.flushed_through,
        _ => false,
    };
    let moved = old.flushed_through < new.flushed_through;
    (moved && !changes.iter().any(covers)).then_some("flushed_through moved without a segment that covers it")
}

fn collection_rule(before: &Snapshot, new: &Collection) -> Option<&'static str> {
    let old = before.collection(new.id)?;
    if old.deltas_through > new.deltas_through {
        return Some("deltas_through went back");
    }
    (old.schema_version > new.schema_version).then_some("the schema version went back")
}
