//! Index files for published segments, built in the background.

use super::Writer;
use super::flush::directory_of;
use crate::unit::Unit;
use crate::{Failure, Kind, Result};
use arrow_array::Array;
use arrow_array::cast::AsArray;
use mishards_catalog::{Change, Entity, IndexDef, IndexFile, Segment};
use mishards_index::{BuildOptions, InvertedBuilder, Term, Vectors, build_hnsw};
use mishards_segment::Column;
use mishards_types::{Code, Metric};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

const TICK: Duration = Duration::from_millis(500);

impl Writer {
    pub(super) async fn index_loop(self: Arc<Writer>) {
        // What its own data made fail is not tried again in this term.
        let mut given_up = HashSet::new();
        while !self.has_ended() {
            let Some((segment, index)) = self.missing_index(&given_up) else {
                tokio::time::sleep(TICK).await;
                continue;
            };
            if let Err(e) = self.build_index(&segment, &index).await {
                tracing::error!(segment = segment.id.0, index = %index.name, error = %e, "an index could not be built");
                if e.kind == Kind::Unreadable || e.error.code == Code::INTERNAL {
                    given_up.insert((segment.id, index.id));
                }
                tokio::time::sleep(TICK).await;
            }
        }
    }

    /// A segment that lacks an index it should have, the oldest first.
    fn missing_index(
        &self,
        given_up: &HashSet<(mishards_types::SegmentId, mishards_types::IndexId)>,
    ) -> Option<(Arc<Segment>, IndexDef)> {
        let view = self.view();
        view.snapshot.segments().find_map(|segment| {
            let collection = view.snapshot.collection(segment.collection)?;
            let lacks = |i: &&IndexDef| segment.lacks_index(i) && !given_up.contains(&(segment.id, i.id));
            collection.indexes.iter().find(lacks).map(|i| (Arc::clone(segment), i.clone()))
        })
    }

    async fn build_index(&self, segment: &Arc<Segment>, index: &IndexDef) -> Result<()> {
        let schema = match self.view().snapshot.collection(segment.collection) {
            Some(collection) => Arc::new(collection.schema.clone()),
            None => return Ok(()),
        };
        let (cache, opened) = (Arc::clone(&self.cache), Arc::clone(segment));
        // Deletes do not matter to an index: rows are all in it.
        let unit = self.parts.pools.io(move || cache.rows_of(&opened, &schema)).await?;
        let definition = index.clone();
        let kind = if index.is_graph() { "hnsw" } else { "inverted" };
        let payload = self.parts.pools.background(move || encode_index(&unit, &definition)).await?;
        let file =
            self.write_file(directory_of(segment), &format!("{}.{kind}", index.field), payload).await?;
        let entry =
            IndexFile { index: index.id, field: index.field, kind: kind.to_owned(), file: file.clone() };
        self.commit_files(
            vec![file],
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
        tracing::info!(segment = segment.id.0, rows = segment.rows, index = %index.name, kind, "index built");
        Ok(())
    }
}

fn encode_index(unit: &Unit, index: &IndexDef) -> Result<Vec<u8>> {
    match unit.rows.column(index.field) {
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
