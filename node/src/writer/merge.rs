//! Merging small segments of a partition into larger ones. A merge makes no new rows; its inputs stay readable for
//! the window.

use super::Writer;
use super::flush::{NewSegment, directory_of};
use crate::segment_cache::Deltas;
use crate::unit::Unit;
use crate::{Failure, Result};
use mishards_catalog::{Change, Collection, DeltaFile, Entity, EntityKind, Origin, Segment};
use mishards_segment::{Rows, Tombstone};
use mishards_types::{SegmentId, Sequence, Timestamp};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

const TICK: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_secs(5);
/// Segments of a tier before they are merged; a tier spans a factor of four in rows.
const TIER: usize = 4;

impl Writer {
    pub(super) async fn merge_loop(self: Arc<Writer>) {
        // What could not be merged once is left alone in this term, so that it does not keep others from it.
        let mut set_aside = HashSet::new();
        while !self.has_ended() {
            tokio::time::sleep(TICK).await;
            let Some(inputs) = self.next_merge(&set_aside) else { continue };
            if !self.has_room_for(inputs.iter().map(|s| s.bytes()).sum()) {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            match self.merge(&inputs).await {
                Ok(()) => {}
                Err(e) if e.error.code.is_retriable() => {
                    tracing::warn!(error = %e, "a merge failed, it will be tried again");
                    tokio::time::sleep(AGAIN).await;
                }
                Err(e) => {
                    tracing::warn!(error = %e, "a merge failed, its segments are left as they are");
                    set_aside.extend(inputs.iter().map(|s| s.id));
                }
            }
        }
    }

    /// The first tier of a partition that is full.
    fn next_merge(&self, set_aside: &HashSet<SegmentId>) -> Option<Vec<Arc<Segment>>> {
        let view = self.view();
        let mut tiers: BTreeMap<(i64, u32), Vec<Arc<Segment>>> = BTreeMap::new();
        for segment in view.snapshot.segments().filter(|s| !set_aside.contains(&s.id)) {
            let tier = (segment.rows.max(256)).ilog2() / 2;
            tiers.entry((segment.partition.0, tier)).or_default().push(Arc::clone(segment));
        }
        let limits = &self.parts.ingest;
        tiers.into_values().filter(|t| t.len() >= TIER).find_map(|mut tier| {
            tier.sort_by_key(|s| s.through);
            let (mut rows, mut bytes) = (0, 0);
            let fits = |segment: &&Arc<Segment>| {
                rows += segment.rows as usize;
                bytes += segment.bytes();
                rows <= limits.merge_max_rows && bytes <= limits.merge_max_bytes
            };
            let inputs: Vec<_> = tier.iter().take(TIER * 2).take_while(fits).cloned().collect();
            (inputs.len() >= TIER).then_some(inputs)
        })
    }

    async fn merge(&self, inputs: &[Arc<Segment>]) -> Result<()> {
        let _merging = Merging::of(self, inputs);
        let id = SegmentId(self.next_id());
        let building = self.building(id);
        let view = self.view();
        // As they are now: deletes may have been folded into them before this merge kept the delta files.
        let inputs = inputs.iter().map(|s| view.snapshot.segment(s.id).cloned()).collect::<Option<Vec<_>>>();
        let Some(inputs) = inputs else { return Ok(()) };
        let Some(first) = inputs.first() else { return Ok(()) };
        let Some(collection) = view.snapshot.collection(first.collection).cloned() else { return Ok(()) };
        let deltas: Vec<DeltaFile> = view.snapshot.deltas_of(collection.id).map(|d| (**d).clone()).collect();
        let dead_before = view.applied_timestamp.minus_ms(self.parts.ingest.window.as_millis() as u64);
        let (cache, segments) = (Arc::clone(&self.cache), inputs.clone());
        let new = self
            .parts
            .pools
            .background(move || {
                let needed = Sequence(0);
                let deltas = Deltas { files: &deltas, through: collection.deltas_through, needed };
                let mut opened = Vec::new();
                for segment in &segments {
                    opened.push(cache.folded(segment, &Arc::new(collection.schema.clone()), &deltas)?);
                }
                combine(id, &collection, &segments, &opened, dead_before)
            })
            .await?;
        if let Some(new) = &new {
            building.knows(new.folded_through);
        }
        let written = match new {
            Some(new) => Some(self.write_indexed(new).await?),
            None => None,
        };
        let rows = written.as_ref().map_or(0, |s| s.rows);
        self.commit_files(
            written.iter().flat_map(|s| s.all_files().cloned()).collect(),
            |snapshot| {
                if inputs.iter().any(|s| snapshot.segment(s.id).is_none()) {
                    return Ok(Vec::new());
                }
                let removed = inputs.iter().map(|s| Change::Remove(EntityKind::Segment, s.id.to_string()));
                let defined = snapshot.collection(first.collection).map_or(&[][..], |c| &c.indexes);
                let added = written.map(|mut segment| {
                    // An index may have been dropped while it was built.
                    segment.indexes.retain(|file| defined.iter().any(|index| index.id == file.index));
                    Change::Put(Entity::Segment(Box::new(segment)))
                });
                Ok(removed.chain(added).collect())
            },
            |_| {},
        )
        .await?;
        self.parts.metrics.segments_merged_total.inc_by(inputs.len() as u64);
        tracing::info!(inputs = inputs.len(), segment = id.0, rows, "segments were merged");
        Ok(())
    }

    /// Writes a segment with all the indexes that its inputs had or were to get: searches go from the inputs' indexes to
    /// its own, and never scan what was indexed.
    async fn write_indexed(&self, new: NewSegment) -> Result<Segment> {
        let (rows, collection) = (new.rows.clone(), new.collection);
        let mut segment = self.write_segment(new).await?;
        let view = self.view();
        let indexes = view.snapshot.collection(collection).map_or(&[][..], |c| &c.indexes);
        for index in indexes {
            if !segment.lacks_index(index) {
                continue;
            }
            match self.write_index(directory_of(&segment), rows.clone(), index).await {
                Ok(file) => segment.indexes.push(file),
                Err(e) => {
                    if !self.has_ended() {
                        self.discard(segment.all_files().cloned().collect()).await;
                    }
                    return Err(e);
                }
            }
        }
        Ok(segment)
    }

    pub(super) fn merging(&self) -> MutexGuard<'_, HashSet<SegmentId>> {
        self.merging.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The inputs of a merge, as long as it runs.
struct Merging<'a> {
    writer: &'a Writer,
    inputs: Vec<SegmentId>,
}

impl Merging<'_> {
    fn of<'a>(writer: &'a Writer, inputs: &[Arc<Segment>]) -> Merging<'a> {
        let inputs: Vec<SegmentId> = inputs.iter().map(|s| s.id).collect();
        writer.merging().extend(&inputs);
        Merging { writer, inputs }
    }
}

impl Drop for Merging<'_> {
    fn drop(&mut self) {
        self.writer.merging().retain(|id| !self.inputs.contains(id));
    }
}

/// One segment from the rows of several, without the rows that were dead before the window. `None` when no row is
/// left.
fn combine(
    id: SegmentId,
    collection: &Collection,
    inputs: &[Arc<Segment>],
    opened: &[(Arc<Unit>, Sequence)],
    dead_before: Timestamp,
) -> Result<Option<NewSegment>> {
    let (mut parts, mut tombstones, mut base) = (Vec::new(), Vec::new(), 0u32);
    for (unit, _) in opened {
        let mut hidden_at: Vec<Option<Timestamp>> = vec![None; unit.rows.len()];
        unit.tombstones.iter().for_each(|t| hidden_at[t.row as usize] = Some(t.visible_at));
        let keep: Vec<u32> = (0..unit.rows.len() as u32)
            .filter(|r| hidden_at[*r as usize].is_none_or(|at| at > dead_before))
            .collect();
        for (i, row) in keep.iter().enumerate() {
            if let Some(visible_at) = hidden_at[*row as usize] {
                tombstones.push(Tombstone { row: base + i as u32, visible_at });
            }
        }
        base += keep.len() as u32;
        parts.push(if keep.len() == unit.rows.len() { unit.rows.clone() } else { unit.rows.take(&keep)? });
    }
    if base == 0 {
        return Ok(None);
    }
    let Some(first) = inputs.first() else { return Err(Failure::internal("a merge of nothing")) };
    Ok(Some(NewSegment {
        id,
        collection: collection.id,
        partition: first.partition,
        schema: Arc::new(collection.schema.clone()),
        origin: Origin::Merge,
        rows: Rows::concat(&parts)?,
        tombstones,
        // Each input may know more; the least is true of all.
        folded_through: opened.iter().map(|(_, folded)| *folded).min().unwrap_or_default(),
        through: inputs.iter().map(|s| s.through).max().unwrap_or_default(),
    }))
}
