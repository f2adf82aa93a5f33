//! What the writer pushes: the catalog after each commit, and deletes as they are applied.

use super::Writer;
use crate::columns::keys_to_wire;
use crate::follower::line_to_wire;
use crate::{Failure, Result};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use mishards_catalog::{Change, Snapshot};
use mishards_proto::node::{CatalogUpdate, DeleteEntry, DeletesUpdate, Version};
use mishards_segment::Delete;
use mishards_types::{CollectionId, Sequence, Version as CatalogVersion};
use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard, PoisonError};
use tokio_stream::wrappers::BroadcastStream;

pub type Stream<T> = BoxStream<'static, std::result::Result<T, tonic::Status>>;

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
                    let version = snapshot.version;
                    let building = Arc::clone(&writer);
                    // It grows with the catalog: not on an async worker.
                    let build = move || building.catalog_update(&snapshot, sent);
                    let update = writer.parts.pools.search(build).await;
                    return Some((update.map_err(tonic::Status::from), (writer, changed, Some(version))));
                }
                changed.changed().await.ok()?;
            }
        })
        .take_until(end)
        .boxed()
    }

    /// What leads from the version that was sent last to this snapshot: its changes, or all of it where these are not known
    /// any more.
    fn catalog_update(&self, snapshot: &Snapshot, sent: Option<CatalogVersion>) -> Result<CatalogUpdate> {
        let wire = |v: CatalogVersion| Version { commit_seq: v.commit_seq, commit_id: v.commit_id };
        let update = CatalogUpdate {
            version: Some(wire(snapshot.version)),
            epoch: self.log_id.epoch.0,
            oldest: snapshot.oldest_known(),
            ..Default::default()
        };
        let since = sent.and_then(|sent| Some((sent, self.recent().since(sent, snapshot.version)?)));
        Ok(match since {
            Some((sent, changes)) => CatalogUpdate {
                base: Some(wire(sent)),
                changes: serde_json::to_vec(&changes).map_err(Failure::internal)?,
                ..update
            },
            None => {
                CatalogUpdate { snapshot: serde_json::to_vec(snapshot).map_err(Failure::internal)?, ..update }
            }
        })
    }

    pub(super) fn recent(&self) -> MutexGuard<'_, RecentCommits> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that is kept, then each group's deletes; ends with the term, or when the reader is too slow.
    pub fn watch_deletes(self: &Arc<Writer>) -> Stream<DeletesUpdate> {
        // Under the lock, so that nothing falls between what is kept and the rest.
        let (through, rest) = {
            let state = self.state();
            (state.applied(), self.delete_stream.subscribe())
        };
        let slow = |_| tonic::Status::resource_exhausted("the reader is too slow, connect again");
        let rest = BroadcastStream::new(rest).map(move |update| update.map_err(slow));
        let kept = Kept::of(self, through);
        let writer = Arc::clone(self);
        let end = async move { writer.streams_end().await };
        stream::iter(kept).map(Ok).chain(rest).take_until(end).boxed()
    }
}

/// The changes of the last commits, for those who follow the catalog.
#[derive(Default)]
pub struct RecentCommits {
    commits: VecDeque<Recent>,
    changes: usize,
}

struct Recent {
    base: CatalogVersion,
    next: CatalogVersion,
    changes: Vec<Change>,
}

/// So many changes are kept; whoever is further behind gets the whole catalog.
const MOST_CHANGES: usize = 4096;

impl RecentCommits {
    pub fn add(&mut self, base: CatalogVersion, next: CatalogVersion, changes: &[Change]) {
        self.changes += changes.len();
        self.commits.push_back(Recent { base, next, changes: changes.to_vec() });
        while self.changes > MOST_CHANGES
            && let Some(oldest) = self.commits.pop_front()
        {
            self.changes -= oldest.changes.len();
        }
    }

    /// All changes from one version to another, in their order.
    fn since(&self, from: CatalogVersion, to: CatalogVersion) -> Option<Vec<Change>> {
        let begin = self.commits.iter().position(|commit| commit.base == from)?;
        let end = self.commits.iter().position(|commit| commit.next == to)?;
        (begin <= end)
            .then(|| self.commits.range(begin..=end).flat_map(|commit| commit.changes.clone()).collect())
    }
}

/// Keys in one message of what is kept.
/// Far below the message limit also with the longest keys.
const PAGE_KEYS: usize = 1024;
const START: (Sequence, usize) = (Sequence(0), 0);

/// What is kept up to a sequence, page by page. What is published meanwhile may be missing from the pages: the floors
/// of the last one are above it.
pub struct Kept {
    writer: Arc<Writer>,
    through: Sequence,
    collections: Vec<CollectionId>,
    from: (Sequence, usize),
    done: bool,
}

impl Kept {
    pub fn of(writer: &Arc<Writer>, through: Sequence) -> Kept {
        let collections = writer.deletes.floors().into_iter().map(|(id, _)| id).collect();
        Kept { writer: Arc::clone(writer), through, collections, from: START, done: false }
    }
}

impl Iterator for Kept {
    type Item = DeletesUpdate;

    fn next(&mut self) -> Option<DeletesUpdate> {
        if self.done {
            return None;
        }
        let mut update =
            DeletesUpdate { epoch: self.writer.log_id.epoch.0, more: true, ..Default::default() };
        let mut room = PAGE_KEYS;
        while let Some(collection) = self.collections.last().copied() {
            let (page, next) = self.writer.deletes.page(collection, self.from, self.through, room);
            room -= page.iter().map(Vec::len).sum::<usize>();
            update.deletes.extend(page.iter().filter_map(|record| entry_of(collection, record)));
            match next {
                Some(next) => {
                    self.from = next;
                    return Some(update);
                }
                None => {
                    self.collections.pop();
                    self.from = START;
                }
            }
        }
        self.done = true;
        update.more = false;
        update.through = self.through.0;
        update.line = Some(line_to_wire(&self.writer.line));
        update.floors = self.writer.deletes.floors().into_iter().map(|(id, floor)| (id.0, floor.0)).collect();
        Some(update)
    }
}

/// Deletes of one record.
fn entry_of(collection: CollectionId, record: &[Arc<Delete>]) -> Option<DeleteEntry> {
    let first = record.first()?;
    Some(DeleteEntry {
        collection_id: collection.0,
        partition_id: first.partition.0,
        sequence: first.sequence.0,
        visible_at: first.visible_at.0,
        resolved_at: first.resolved_at.0,
        keys: Some(keys_to_wire(record.iter().map(|d| d.key.clone()))),
    })
}
