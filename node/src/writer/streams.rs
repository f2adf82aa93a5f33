//! What the writer pushes: the catalog after each commit, and deletes as they are applied.

use super::Writer;
use crate::columns::keys_to_wire;
use crate::{Failure, Result};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use mishards_proto::node::{CatalogUpdate, DeleteEntry, DeletesUpdate, Version};
use std::sync::Arc;
use tokio_stream::wrappers::BroadcastStream;

type Stream<T> = BoxStream<'static, std::result::Result<T, tonic::Status>>;

impl Writer {
    /// The snapshot now and after each change of it; ends with the term.
    pub fn watch_catalog(self: &Arc<Writer>) -> Stream<CatalogUpdate> {
        let writer = Arc::clone(self);
        let changed = self.changed.subscribe();
        let ending = Arc::clone(self);
        let end = async move { ending.streams_end().await };
        stream::unfold((writer, changed, None), |(writer, mut changed, sent)| async move {
            loop {
                if writer.has_ended() {
                    return None;
                }
                let snapshot = Arc::clone(&writer.view().snapshot);
                if sent != Some(snapshot.version) {
                    let update = writer.catalog_update(&snapshot);
                    return Some((
                        update.map_err(tonic::Status::from),
                        (writer, changed, Some(snapshot.version)),
                    ));
                }
                changed.changed().await.ok()?;
            }
        })
        .take_until(end)
        .boxed()
    }

    fn catalog_update(&self, snapshot: &mishards_catalog::Snapshot) -> Result<CatalogUpdate> {
        Ok(CatalogUpdate {
            version: Some(Version {
                commit_seq: snapshot.version.commit_seq,
                commit_id: snapshot.version.commit_id,
            }),
            epoch: self.log_id.epoch.0,
            snapshot: serde_json::to_vec(snapshot).map_err(Failure::internal)?,
        })
    }

    /// Everything that is kept, then each group's deletes; ends with the term, or when the reader is too slow.
    pub fn watch_deletes(self: &Arc<Writer>) -> Stream<DeletesUpdate> {
        // Under the lock, so that nothing falls between the first message and the rest.
        let (first, rest) = {
            let state = self.state();
            (self.all_deletes(state.applied().0), self.delete_stream.subscribe())
        };
        let slow = |_| tonic::Status::resource_exhausted("the reader is too slow, connect again");
        let rest = BroadcastStream::new(rest).map(move |update| update.map_err(slow));
        let writer = Arc::clone(self);
        let end = async move { writer.streams_end().await };
        stream::once(async move { Ok(first) }).chain(rest).take_until(end).boxed()
    }

    fn all_deletes(&self, through: u64) -> DeletesUpdate {
        let mut update = DeletesUpdate { through, epoch: self.log_id.epoch.0, ..Default::default() };
        for (collection, floor) in self.deletes.floors() {
            update.floors.insert(collection.0, floor.0);
            let Some((deletes, _)) = self.deletes.since(collection, floor) else { continue };
            for d in deletes {
                update.deletes.push(DeleteEntry {
                    collection_id: collection.0,
                    partition_id: d.partition.0,
                    sequence: d.sequence.0,
                    visible_at: d.visible_at.0,
                    resolved_at: d.resolved_at.0,
                    keys: Some(keys_to_wire([d.key.clone()])),
                });
            }
        }
        update
    }
}
