//! What a standby follows: the growing rows as they are, then every group of the log, every sealing and every commit, in the
//! order in which they take effect here.

use super::Writer;
use super::state::State;
use super::streams::{Kept, Stream};
use super::view::{GrowingView, View};
use crate::columns::column_to_wire;
use crate::unit::Unit;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use mishards_catalog::Snapshot;
use mishards_proto::node::{GrowingChunk, LogUpdate, LoggedRecord, PartitionRows, Sealed, Version};
use mishards_types::{PartitionId, Sequence, Timestamp, Version as CatalogVersion};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// A follower that is further behind than this, or than the growing rows that it begins with, begins anew.
const BEHIND_BYTES: usize = 256 << 20;
/// Rows in one message of the beginning, and the bytes that they may have in memory.
const PAGE_ROWS: usize = 8192;
const PAGE_BYTES: usize = 16 << 20;

/// Those who follow the log of this term. Every call is made with the lock of the state held, so that all see one order.
#[derive(Default)]
pub struct Followers {
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    followers: Vec<Follower>,
    /// The catalog that they were told last.
    told: Option<Arc<Snapshot>>,
}

struct Follower {
    send: mpsc::UnboundedSender<Event>,
    /// Bytes of records that have not been read yet.
    behind: Arc<AtomicUsize>,
    limit: usize,
}

#[derive(Clone)]
enum Event {
    Group(Arc<Vec<FollowedRecord>>),
    Sealed(Vec<PartitionId>),
    Catalog(Arc<Snapshot>, CatalogVersion),
    /// Deletes that are let go of.
    Floors(BTreeMap<i64, u64>),
}

/// A record of a group, as it stands in the log.
pub struct FollowedRecord {
    pub sequence: Sequence,
    pub timestamp: Timestamp,
    pub payload: Bytes,
}

const BYTES_OF_ID: usize = 8;
const BYTES_OF_FLOOR: usize = 32;
/// A snapshot shares what has not changed with the one before.
const BYTES_OF_CATALOG: usize = 64 << 10;

impl Event {
    fn bytes(&self) -> usize {
        match self {
            Event::Group(records) => records.iter().map(|r| r.payload.len()).sum(),
            Event::Sealed(partitions) => partitions.len() * BYTES_OF_ID,
            Event::Floors(floors) => floors.len() * BYTES_OF_FLOOR,
            Event::Catalog(..) => BYTES_OF_CATALOG,
        }
    }
}

impl Followers {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A group has taken effect.
    pub fn group(&self, records: Vec<FollowedRecord>) {
        self.lock().tell(|| Event::Group(Arc::new(records)));
    }

    /// The open segments of partitions get no more rows.
    pub fn sealed(&self, partitions: &[PartitionId]) {
        if !partitions.is_empty() {
            self.lock().tell(|| Event::Sealed(partitions.to_vec()));
        }
    }

    /// Deletes at or below these sequences are let go of.
    pub fn floors(&self, floors: &BTreeMap<i64, u64>) {
        self.lock().tell(|| Event::Floors(floors.clone()));
    }

    /// The catalog may be another one than before.
    pub fn catalog(&self, state: &State) {
        let mut list = self.lock();
        if list.told.as_ref().is_none_or(|told| !Arc::ptr_eq(told, &state.snapshot)) {
            list.told = Some(Arc::clone(&state.snapshot));
            list.tell(|| Event::Catalog(Arc::clone(&state.snapshot), state.last_schema_change));
        }
    }

    fn join(&self, growing_bytes: usize) -> (mpsc::UnboundedReceiver<Event>, Arc<AtomicUsize>) {
        let (send, receive) = mpsc::unbounded_channel();
        let behind = Arc::new(AtomicUsize::new(0));
        let limit = BEHIND_BYTES.max(growing_bytes);
        self.lock().followers.push(Follower { send, behind: Arc::clone(&behind), limit });
        (receive, behind)
    }
}

impl List {
    fn tell(&mut self, event: impl FnOnce() -> Event) {
        if self.followers.is_empty() {
            return;
        }
        let event = event();
        let bytes = event.bytes();
        self.followers.retain(|follower| {
            let behind = follower.behind.fetch_add(bytes, Ordering::Relaxed) + bytes;
            behind <= follower.limit && follower.send.send(event.clone()).is_ok()
        });
    }
}

impl Writer {
    /// See the file's head. Ends with the term, or when the reader is too slow.
    pub fn watch_log(self: &Arc<Writer>) -> Stream<LogUpdate> {
        // Under the lock, so that nothing falls between the beginning and the rest.
        let (view, applied, deletes, (events, behind)) = {
            let state = self.state();
            (
                state.view(),
                state.applied(),
                state.last_deletes().clone(),
                self.followers.join(state.growing_bytes()),
            )
        };
        let epoch = self.log_id().epoch.0;
        let pages = pages(&view);
        let kept = Kept::of(self, applied);
        let mut last = LogUpdate {
            applied: applied.0,
            applied_timestamp: view.applied_timestamp.0,
            last_deletes: deletes.into_iter().map(|(id, sequence)| (id.0, sequence.0)).collect(),
            ..catalog_update(&view.snapshot, view.last_schema_change)
        };
        let growing = stream::iter(pages).map(|(partition, growing, unit, rows)| LogUpdate {
            more: true,
            growing: vec![chunk(partition, &growing, &unit, rows)],
            ..Default::default()
        });
        // The floors come with the last page of deletes.
        let deletes = stream::iter(kept).map(move |update| {
            let more = LogUpdate { more: true, ..Default::default() };
            let mut out = if update.more { more } else { std::mem::take(&mut last) };
            out.deletes = update.deletes;
            out.floors = update.floors;
            out.line = update.line;
            out
        });
        let rest = UnboundedReceiverStream::new(events).map(move |event| {
            behind.fetch_sub(event.bytes(), Ordering::Relaxed);
            told(event)
        });
        let ending = Arc::clone(self);
        let end = async move { ending.streams_end().await };
        let stamp = move |update: LogUpdate| Ok(LogUpdate { epoch, ..update });
        growing.chain(deletes).chain(rest).map(stamp).take_until(end).boxed()
    }
}

fn told(event: Event) -> LogUpdate {
    match event {
        Event::Group(records) => LogUpdate {
            records: records
                .iter()
                .map(|record| LoggedRecord {
                    sequence: record.sequence.0,
                    timestamp: record.timestamp.0,
                    payload: record.payload.to_vec(),
                })
                .collect(),
            ..Default::default()
        },
        Event::Sealed(partitions) => LogUpdate {
            sealed: partitions.into_iter().map(|id| Sealed { partition_id: id.0 }).collect(),
            ..Default::default()
        },
        Event::Floors(floors) => LogUpdate { floors, ..Default::default() },
        Event::Catalog(snapshot, schema_change) => catalog_update(&snapshot, schema_change),
    }
}

fn catalog_update(snapshot: &Snapshot, schema_change: CatalogVersion) -> LogUpdate {
    let json = serde_json::to_vec(snapshot);
    LogUpdate {
        last_schema_change: Some(Version {
            commit_seq: schema_change.commit_seq,
            commit_id: schema_change.commit_id,
        }),
        oldest: snapshot.oldest_known(),
        snapshot: json
            .inspect_err(|e| tracing::error!(error = %e, "the catalog cannot be encoded"))
            .unwrap_or_default(),
        ..Default::default()
    }
}

/// The growing rows in pieces that fit a message: whose, and which rows of which chunk.
fn pages(view: &View) -> impl Iterator<Item = (PartitionId, GrowingView, Arc<Unit>, Range<u32>)> + use<> {
    let all: Vec<(PartitionId, Arc<Vec<GrowingView>>)> =
        view.growing.iter().map(|(id, list)| (*id, Arc::clone(list))).collect();
    all.into_iter().flat_map(|(id, list)| {
        let mut pieces = Vec::new();
        for growing in list.iter() {
            for unit in &growing.units {
                let rows = unit.rows.len();
                let fitting = PAGE_BYTES / (unit.rows.bytes() / rows.max(1)).max(1);
                let step = fitting.clamp(1, PAGE_ROWS);
                for from in (0..rows).step_by(step) {
                    let to = (from + step).min(rows);
                    let meta = GrowingView { units: Vec::new(), ..growing.clone() };
                    pieces.push((id, meta, Arc::clone(unit), from as u32..to as u32));
                }
            }
        }
        pieces
    })
}

fn chunk(partition: PartitionId, growing: &GrowingView, unit: &Unit, rows: Range<u32>) -> GrowingChunk {
    let columns = unit.schema.fields.iter().filter_map(|field| {
        let column = unit.rows.column(field.id)?;
        let cells: Vec<_> = rows.clone().map(|row| (column, row)).collect();
        Some(column_to_wire(field, &cells))
    });
    let hidden = || unit.tombstones.iter().filter(|t| rows.contains(&t.row));
    GrowingChunk {
        collection_id: growing.collection.0,
        number: growing.number,
        sealed: growing.sealed,
        first: growing.first.0,
        last: growing.last.0,
        opened_at: growing.oldest.0,
        rows: Some(PartitionRows {
            partition_id: partition.0,
            rows: rows.end - rows.start,
            columns: columns.collect(),
        }),
        timestamps: unit.rows.timestamps()[rows.start as usize..rows.end as usize].to_vec(),
        hidden_rows: hidden().map(|t| t.row - rows.start).collect(),
        hidden_at: hidden().map(|t| t.visible_at.0).collect(),
    }
}
