//! Delta files: deletes published so that any node can apply them, folded into the segments over time, and dropped
//! when every segment has them.

use super::Writer;
use super::flush::directory_of;
use crate::Result;
use crate::segment_cache::Deltas;
use mishards_catalog::{Change, Collection, DeltaFile, Entity, EntityKind, FileRef, Segment, Snapshot};
use mishards_segment::{Delete, Tombstone, encode_deletes, encode_delta};
use mishards_types::{CollectionId, SegmentId, Sequence};
use std::sync::Arc;

/// Segments whose folded deletes are published in one commit.
const FOLDED_AT_ONCE: usize = 64;

/// A collection with more delta files than this has them folded.
const FOLD_FILES: usize = 3;

/// A segment whose deletes are in a file.
struct Folded {
    segment: SegmentId,
    deleted_rows: u32,
    through: Sequence,
    /// None where the file before says the same.
    file: Option<FileRef>,
}

impl Writer {
    /// Publishes what is pending of collections that have much, or whose deletes keep old log files alive; of all when
    /// memory is short.
    pub(super) async fn publish_deltas(&self, pinned_below: Option<Sequence>) -> Result<()> {
        let view = self.view();
        let limit = self.parts.ingest.growing_limit_bytes;
        let short = self.unpublished_bytes() >= limit && self.unpublished_delete_bytes() >= limit / 4;
        for collection in view.snapshot.collections() {
            let (count, first) = self.deletes.pending(collection.id, collection.deltas_through);
            let pins = first.zip(pinned_below).is_some_and(|(first, bound)| first < bound);
            if count >= self.parts.ingest.delta_max_deletes || pins || short {
                self.publish_delta(collection).await?;
            }
        }
        Ok(())
    }

    async fn publish_delta(&self, collection: &Collection) -> Result<()> {
        let after = collection.deltas_through;
        let Some((deletes, through)) = self.deletes.since(collection.id, after) else { return Ok(()) };
        if deletes.is_empty() {
            return Ok(());
        }
        let list: Vec<Delete> = deletes.iter().map(|d| (**d).clone()).collect();
        let (entries, id) = (list.len() as u64, SegmentId(self.next_id()));
        let path = format!("deltas/{}/{id}-{}", collection.id, self.log_id.incarnation);
        let file = self.put_file(path, move || encode_delta(&list)).await?;
        let delta = DeltaFile {
            id,
            collection: collection.id,
            file: file.clone(),
            entries,
            first: after.next(),
            through,
        };
        self.commit_files(
            vec![file],
            |snapshot| {
                let Some(current) = snapshot.collection(collection.id) else { return Ok(Vec::new()) };
                let mut current = (**current).clone();
                current.deltas_through = through;
                Ok(vec![
                    Change::Put(Entity::DeltaFile(delta)),
                    Change::Put(Entity::Collection(Box::new(current))),
                ])
            },
            |_| {},
        )
        .await?;
        self.deletes.note_published(self.log_id.epoch, collection.id, through);
        tracing::info!(
            collection = collection.id.0,
            entries,
            through = through.0,
            "deletes were published in a delta file"
        );
        Ok(())
    }

    /// Folds delta files into the segments of collections that have many, then drops the files that all have.
    pub(super) async fn fold_deltas(&self) -> Result<()> {
        let view = self.view();
        for collection in view.snapshot.collections() {
            let files: Vec<DeltaFile> =
                view.snapshot.deltas_of(collection.id).map(|d| (**d).clone()).collect();
            if files.len() <= FOLD_FILES {
                continue;
            }
            let through = files.iter().map(|f| f.through).max().unwrap_or_default();
            let behind: Vec<&Arc<Segment>> =
                view.snapshot.segments_of(collection.id).filter(|s| s.folded_through < through).collect();
            for some in behind.chunks(FOLDED_AT_ONCE) {
                let mut folded = Vec::new();
                for segment in some {
                    match self.fold_segment(collection, segment, &files).await {
                        Ok(one) => folded.push(one),
                        Err(e) => {
                            tracing::warn!(segment = segment.id.0, error = %e, "deletes could not be folded into a segment");
                        }
                    }
                }
                self.publish_folded(folded).await?;
            }
            self.drop_folded(collection.id).await?;
        }
        Ok(())
    }

    /// Writes what hides rows of a segment to a file, unless that has not changed.
    async fn fold_segment(
        &self,
        collection: &Collection,
        segment: &Arc<Segment>,
        files: &[DeltaFile],
    ) -> Result<Folded> {
        let (cache, schema) = (Arc::clone(&self.cache), Arc::new(collection.schema.clone()));
        let (opened, files, through) = (Arc::clone(segment), files.to_vec(), collection.deltas_through);
        let (unit, folded) = self
            .parts
            .pools
            .io(move || {
                cache.folded(&opened, &schema, &Deltas { files: &files, through, needed: Sequence(0) })
            })
            .await?;
        let list: Vec<Tombstone> = unit.tombstones.iter().copied().collect();
        let deleted_rows = list.len() as u32;
        let mut file = None;
        if deleted_rows != segment.deleted_rows {
            let path = format!("{}/deletes-{}", directory_of(segment), self.next_id());
            file = Some(self.put_file(path, move || encode_deletes(&list)).await?);
        }
        Ok(Folded { segment: segment.id, deleted_rows, through: folded, file })
    }

    /// Publishes what was folded into some segments, in one commit.
    async fn publish_folded(&self, folded: Vec<Folded>) -> Result<()> {
        let files: Vec<FileRef> = folded.iter().filter_map(|one| one.file.clone()).collect();
        let (made, segments) = (files.clone(), folded.iter().map(|one| one.segment).collect::<Vec<_>>());
        let plan = |snapshot: &Snapshot| {
            let moved = folded.into_iter().filter_map(|one| {
                let mut current = (**snapshot.segment(one.segment)?).clone();
                if one.file.is_some() {
                    (current.delete_file, current.deleted_rows) = (one.file, one.deleted_rows);
                }
                current.folded_through = one.through.max(current.folded_through);
                Some(Change::Put(Entity::Segment(Box::new(current))))
            });
            Ok(moved.collect())
        };
        self.commit_files(files, plan, |_| {}).await?;
        // Those of segments that a merge replaced meanwhile.
        let snapshot = Arc::clone(&self.view().snapshot);
        let is_gone = |id: &SegmentId| snapshot.segment(*id).is_none();
        if segments.iter().any(is_gone) {
            let named = |file: &FileRef| {
                let of = segments.iter().filter_map(|id| snapshot.segment(*id));
                of.filter_map(|s| s.delete_file.as_ref()).any(|named| named.path == file.path)
            };
            self.discard(made.into_iter().filter(|file| !named(file)).collect()).await;
        }
        Ok(())
    }

    /// A segment that is being written knows only the deletes of its start.
    async fn drop_folded(&self, collection: CollectionId) -> Result<()> {
        self.commit(
            |snapshot| {
                let folded = snapshot.segments_of(collection).map(|s| s.folded_through);
                let folded = folded.min().unwrap_or(Sequence(u64::MAX)).min(self.known_to_all_building());
                let done = snapshot.deltas_of(collection).filter(|d| d.through <= folded);
                Ok(done.map(|d| Change::Remove(EntityKind::DeltaFile, d.id.to_string())).collect())
            },
            |_| {},
        )
        .await?;
        Ok(())
    }
}
