//! Index files for published segments, built in the background.

use super::Writer;
use super::flush::directory_of;
use crate::{Failure, Result};
use arrow_array::Array;
use arrow_array::cast::AsArray;
use mishards_catalog::{Change, Entity, IndexDef, IndexFile, Segment};
use mishards_index::{BuildOptions, InvertedBuilder, Term, Vectors, build_hnsw};
use mishards_segment::{Column, Rows};
use mishards_types::{IndexId, Metric, SegmentId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const TICK: Duration = Duration::from_millis(500);

/// After a failed build it is tried again after this long, each time after twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// When builds that failed are due again. A full disk passes; what its own data makes fail costs a try in ten minutes.
#[derive(Default)]
struct Failed {
    builds: HashMap<(SegmentId, IndexId), (Duration, Duration)>,
}

impl Failed {
    fn is_due(&self, build: (SegmentId, IndexId), now: Duration) -> bool {
        self.builds.get(&build).is_none_or(|(due, _)| *due <= now)
    }

    fn record(&mut self, build: (SegmentId, IndexId), now: Duration) {
        let (due, pause) = self.builds.entry(build).or_insert((now, FIRST_PAUSE / 2));
        *pause = (*pause * 2).min(LONGEST_PAUSE);
        *due = now + *pause;
    }
}

impl Writer {
    pub(super) async fn index_loop(self: Arc<Writer>) {
        let mut failed = Failed::default();
        while !self.has_ended() {
            let Some((segment, index)) = self.missing_index(&failed) else {
                tokio::time::sleep(TICK).await;
                continue;
            };
            let build = (segment.id, index.id);
            if !self.has_room_for(segment.bytes()) {
                tokio::time::sleep(FIRST_PAUSE).await;
                continue;
            }
            match self.build_index(&segment, &index).await {
                Ok(()) => drop(failed.builds.remove(&build)),
                Err(e) => {
                    tracing::error!(segment = segment.id.0, index = %index.name, error = %e, "an index could not be built, it will be tried again");
                    failed.record(build, self.parts.clock.elapsed());
                    tokio::time::sleep(TICK).await;
                }
            }
        }
    }

    /// A segment that lacks an index it should have, the oldest first. One that a merge is about to replace gets none.
    fn missing_index(&self, failed: &Failed) -> Option<(Arc<Segment>, IndexDef)> {
        let (view, now) = (self.view(), self.parts.clock.elapsed());
        let merging = self.merging().clone();
        view.snapshot.segments().filter(|segment| !merging.contains(&segment.id)).find_map(|segment| {
            let collection = view.snapshot.collection(segment.collection)?;
            let lacks = |i: &&IndexDef| segment.lacks_index(i) && failed.is_due((segment.id, i.id), now);
            collection.indexes.iter().find(lacks).map(|i| (Arc::clone(segment), i.clone()))
        })
    }

    /// Builds and writes an index over rows that are, or will be, a segment with files in `dir`.
    pub(super) async fn write_index(&self, dir: &str, rows: Rows, index: &IndexDef) -> Result<IndexFile> {
        let definition = index.clone();
        let kind = if index.is_graph() { "hnsw" } else { "inverted" };
        let payload = self.parts.pools.background(move || encode_index(&rows, &definition)).await?;
        let file = self.write_file(dir, &format!("{}.{kind}", index.field), payload).await?;
        Ok(IndexFile { index: index.id, field: index.field, kind: kind.to_owned(), file })
    }

    async fn build_index(&self, segment: &Arc<Segment>, index: &IndexDef) -> Result<()> {
        let schema = match self.view().snapshot.collection(segment.collection) {
            Some(collection) => Arc::new(collection.schema.clone()),
            None => return Ok(()),
        };
        let (cache, opened) = (Arc::clone(&self.cache), Arc::clone(segment));
        // Deletes do not matter to an index: rows are all in it.
        let unit = self.parts.pools.io(move || cache.rows_of(&opened, &schema)).await?;
        let entry = self.write_index(directory_of(segment), unit.rows.clone(), index).await?;
        self.commit_files(
            vec![entry.file.clone()],
            |snapshot| {
                let still = snapshot
                    .collection(segment.collection)
                    .is_some_and(|c| c.indexes.iter().any(|i| i.id == index.id));
                let Some(current) = snapshot.segment(segment.id).filter(|_| still) else {
                    return Ok(Vec::new());
                };
                let mut current = (**current).clone();
                current.indexes.push(entry);
                Ok(vec![Change::Put(Entity::Segment(Box::new(current)))])
            },
            |_| {},
        )
        .await?;
        self.parts.metrics.indexes_built_total.inc();
        tracing::info!(segment = segment.id.0, rows = segment.rows, index = %index.name, kind = %index.kind, "index built");
        Ok(())
    }
}

fn encode_index(rows: &Rows, index: &IndexDef) -> Result<Vec<u8>> {
    match rows.column(index.field) {
        Some(Column::Vector { dim, data }) => {
            let number = |key: &str, default: usize| {
                index.params.get(key).and_then(|v| v.parse().ok()).unwrap_or(default)
            };
            let options = BuildOptions {
                m: number("M", 16),
                ef_construction: number("efConstruction", 200),
                serial: false,
            };
            let metric = index.metric.unwrap_or(Metric::Cosine);
            Ok(build_hnsw(Vectors { data, dim: *dim }, metric, options)?)
        }
        Some(Column::Scalar(array)) => Ok(inverted(array)),
        None => Err(Failure::internal("the indexed field has no column")),
    }
}

fn inverted(array: &arrow_array::ArrayRef) -> Vec<u8> {
    let mut builder = InvertedBuilder::default();
    for row in 0..array.len() {
        match array.as_list_opt::<i32>() {
            Some(list) if list.is_valid(row) => {
                let items = list.value(row);
                (0..items.len()).filter_map(|i| term(&items, i)).for_each(|t| builder.add(row as u32, t));
            }
            Some(_) => {}
            None => {
                if let Some(t) = term(array, row) {
                    builder.add(row as u32, t);
                }
            }
        }
    }
    builder.finish(array.len() as u32)
}

fn term(array: &arrow_array::ArrayRef, row: usize) -> Option<Term> {
    crate::filter::index_term(array, row)
}
