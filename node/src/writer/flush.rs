//! Growing rows into files: sealed by size, age, memory or request; written; published in the order of sealing.

use super::Writer;
use super::growing::GrowingSegment;
use super::state::State;
use crate::{Failure, Result};
use bytes::Bytes;
use mishards_catalog::{Change, Entity, FileRef, Origin, Segment};
use mishards_segment::{Rows, SegmentMeta, Tombstone, add_trailer, encode_deletes, encode_segment};
use mishards_storage::Storage;
use mishards_types::{CollectionId, PartitionId, Schema, SegmentId, Sequence};
use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

const TICK: Duration = Duration::from_millis(250);
/// Between two tries to write what could not be written.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Rows with what hides them, to become a segment.
pub struct NewSegment {
    pub id: SegmentId,
    pub collection: CollectionId,
    pub partition: PartitionId,
    pub schema: Arc<Schema>,
    pub origin: Origin,
    pub rows: Rows,
    pub tombstones: Vec<Tombstone>,
    pub folded_through: Sequence,
    pub through: Sequence,
}

impl Writer {
    pub(super) async fn flush_loop(self: Arc<Writer>) {
        while !self.has_ended() {
            let _ = tokio::time::timeout(TICK, self.flush_wanted.notified()).await;
            self.seal_full();
            self.flush_sealed().await;
        }
    }

    /// One segment of each partition after another: one that fails does not keep the others waiting.
    async fn flush_sealed(&self) {
        let mut pause = TICK;
        loop {
            let sealed = self.state().sealed();
            let (mut any, mut failed) = (false, false);
            for (partition, number) in sealed {
                match self.flush_one(partition, number).await {
                    Ok(()) => any = true,
                    Err(e) => {
                        tracing::warn!(partition = partition.0, error = %e, "a flush failed, it will be tried again");
                        failed = true;
                    }
                }
            }
            if failed {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            if (!any && !failed) || self.has_ended() {
                return;
            }
        }
    }

    fn seal_full(&self) {
        let limits = &self.parts.ingest;
        // By the clock that nobody sets: the wall clock may jump.
        let now = self.parts.clock.elapsed();
        let much_to_replay = self.to_replay() > limits.replay_limit_bytes;
        let full = |g: &GrowingSegment| {
            much_to_replay
                || g.rows() >= limits.seal_rows
                || g.bytes() >= limits.seal_bytes
                || now.saturating_sub(g.opened) >= limits.seal_age
        };
        self.seal(&mut self.state(), full);
    }

    /// Seals open segments; whoever follows the log does the same.
    pub(super) fn seal(&self, state: &mut State, wanted: impl Fn(&GrowingSegment) -> bool) {
        let sealed = state.seal(wanted);
        self.followers.sealed(&sealed);
    }

    /// Seals what some collections have growing and waits until it is published. Empty means all collections.
    pub async fn flush(&self, collections: &[CollectionId], wait: bool) -> Result<bool> {
        self.check_serving()?;
        let wanted = |id: CollectionId| collections.is_empty() || collections.contains(&id);
        let through = {
            let mut state = self.state();
            if wait {
                self.seal(&mut state, |g| wanted(g.collection));
            }
            state.applied()
        };
        self.flush_wanted.notify_one();
        let pending = || {
            self.state()
                .segments()
                .any(|(_, g)| wanted(g.collection) && g.first <= through && (g.sealed || !wait))
        };
        if !wait {
            return Ok(!pending());
        }
        let mut changed = self.changed.subscribe();
        while pending() {
            self.check_serving()?;
            let _ = tokio::time::timeout(TICK, changed.changed()).await;
        }
        Ok(true)
    }

    async fn flush_one(&self, partition: PartitionId, number: u64) -> Result<()> {
        let id = SegmentId(self.next_id());
        let building = self.building(id);
        let Some(new) = self.collect(id, partition, number) else { return Ok(()) };
        let new = new?;
        building.knows(new.folded_through);
        let through = new.through;
        let rows = new.rows.len();
        let segment = self.write_segment(new).await?;
        self.commit_files(
            segment.all_files().cloned().collect(),
            |snapshot| {
                // A partition that was dropped meanwhile has nothing to publish.
                let Some(found) = snapshot.partition(partition) else { return Ok(Vec::new()) };
                let mut moved = (**found).clone();
                moved.flushed_through = through;
                Ok(vec![
                    Change::Put(Entity::Segment(Box::new(segment))),
                    Change::Put(Entity::Partition(moved)),
                ])
            },
            |state| state.remove(partition, number),
        )
        .await?;
        self.state().remove(partition, number);
        self.parts.metrics.segments_flushed_total.inc();
        tracing::info!(segment = id.0, rows, through = through.0, "growing rows were written to a segment");
        Ok(())
    }

    fn collect(&self, id: SegmentId, partition: PartitionId, number: u64) -> Option<Result<NewSegment>> {
        let state = self.state();
        let growing = state.segment(partition, number)?;
        let parts: Vec<Rows> = growing.units().iter().map(|u| u.rows.clone()).collect();
        let mut tombstones = Vec::new();
        let mut base = 0;
        for unit in growing.units() {
            tombstones.extend(unit.tombstones.iter().map(|t| Tombstone { row: t.row + base, ..*t }));
            base += unit.rows.len() as u32;
        }
        let (collection, schema, through, folded_through) =
            (growing.collection, Arc::clone(&growing.schema), growing.last, state.applied());
        drop(state);
        Some(Rows::concat(&parts).map_err(Failure::from).map(|rows| NewSegment {
            id,
            collection,
            partition,
            schema,
            origin: Origin::Flush,
            rows,
            tombstones,
            folded_through,
            through,
        }))
    }

    /// Keeps all delta files for a segment that is being written. To be called before it is decided which deletes the
    /// segment knows.
    pub(super) fn building(&self, id: SegmentId) -> Building<'_> {
        self.all_building().insert(id, Sequence(0));
        Building { writer: self, id }
    }

    fn all_building(&self) -> MutexGuard<'_, BTreeMap<SegmentId, Sequence>> {
        self.building.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The deletes that every segment which is being written knows.
    pub(super) fn known_to_all_building(&self) -> Sequence {
        self.all_building().values().copied().min().unwrap_or(Sequence(u64::MAX))
    }

    /// Writes the files of a segment, durably, and describes them.
    pub(super) async fn write_segment(&self, new: NewSegment) -> Result<Segment> {
        let storage = Arc::clone(&self.parts.storage);
        let dir = format!("segments/{}/{}-{}", new.collection, new.id, self.log_id.incarnation);
        self.parts.pools.io(move || write_files(&*storage, &dir, new)).await
    }

    /// Writes one more file of a segment under a name of its own.
    pub(super) async fn write_file(&self, dir: &str, name: &str, payload: Vec<u8>) -> Result<FileRef> {
        self.put_file(format!("{dir}/{name}-{}", self.next_id()), move || add_trailer(payload)).await
    }

    /// Writes a new file, durably. On a failure nothing is left behind.
    pub(super) async fn put_file(
        &self,
        path: String,
        content: impl FnOnce() -> Vec<u8> + Send + 'static,
    ) -> Result<FileRef> {
        let storage = Arc::clone(&self.parts.storage);
        let put = move || {
            let bytes = content();
            if let Err(e) = storage.put(&path, &[&bytes]) {
                let _ = storage.remove(&path);
                return Err(e.into());
            }
            Ok(FileRef { path, bytes: bytes.len() as u64 })
        };
        self.parts.pools.io(put).await
    }
}

/// A segment that is being written, until it is published or given up.
pub struct Building<'a> {
    writer: &'a Writer,
    id: SegmentId,
}

impl Building<'_> {
    /// Says which deletes the segment knows: delta files up to there may go.
    pub fn knows(&self, through: Sequence) {
        self.writer.all_building().insert(self.id, through);
    }
}

impl Drop for Building<'_> {
    fn drop(&mut self) {
        self.writer.all_building().remove(&self.id);
    }
}

/// On a failure nothing is left behind, so that a full disk is not filled by trying.
fn write_files(storage: &dyn Storage, dir: &str, new: NewSegment) -> Result<Segment> {
    let meta = SegmentMeta { segment: new.id, collection: new.collection, partition: new.partition };
    let encoded = encode_segment(meta, &new.schema, &new.rows)?;
    let mut all: Vec<(String, Bytes)> =
        encoded.into_iter().map(|file| (file.name, Bytes::from(file.bytes))).collect();
    let deleted_rows = new.tombstones.len() as u32;
    if deleted_rows > 0 {
        all.push(("deletes".to_owned(), encode_deletes(&new.tombstones).into()));
    }
    let mut files = Vec::new();
    for (name, bytes) in all {
        let path = format!("{dir}/{name}");
        let written = storage.put(&path, &[&bytes]);
        files.push(FileRef { path, bytes: bytes.len() as u64 });
        if let Err(e) = written {
            files.iter().for_each(|file| drop(storage.remove(&file.path)));
            return Err(e.into());
        }
    }
    let delete_file = if deleted_rows > 0 { files.pop() } else { None };
    let footer = files.pop().ok_or_else(|| Failure::internal("a segment without files"))?;
    Ok(Segment {
        id: new.id,
        collection: new.collection,
        partition: new.partition,
        origin: new.origin,
        rows: new.rows.len() as u32,
        deleted_rows,
        min_timestamp: new.rows.min_timestamp(),
        max_timestamp: new.rows.max_timestamp(),
        through: new.through,
        footer,
        files,
        indexes: Vec::new(),
        delete_file,
        folded_through: new.folded_through,
    })
}

/// The directory of a segment's files.
pub fn directory_of(segment: &Segment) -> &str {
    segment.footer.path.rsplit_once('/').map_or("", |(dir, _)| dir)
}
