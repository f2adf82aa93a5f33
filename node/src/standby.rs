//! A standby's copy of what is in no file yet: it follows the log of the writable node, and answers for these rows as that
//! node does. It never reads the live log's files.

use crate::deletes::Deletes;
use crate::follower::{add_deletes, line_from_wire};
use crate::writer::{RestoredPart, State, View, Writer, decode_record, prepare_rows, prepare_write};
use crate::{Failure, Metrics, Pools, Result};
use arc_swap::ArcSwapOption;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use mishards_catalog::Snapshot;
use mishards_proto::node::{GrowingChunk, LogUpdate, log_record::Body};
use mishards_segment::{Rows, Tombstone};
use mishards_types::{CollectionId, Epoch, Sequence, Timestamp, Version};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const RETRY: Duration = Duration::from_millis(200);

type Updates = BoxStream<'static, std::result::Result<LogUpdate, tonic::Status>>;

/// Where the log of the writable node can be followed.
#[tonic::async_trait]
pub trait LogSource: Send + Sync + 'static {
    /// Opens the stream from its beginning.
    async fn watch_log(&self) -> std::result::Result<Updates, tonic::Status>;
}

/// See the file's head.
pub struct Standby {
    deletes: Arc<Deletes>,
    metrics: Metrics,
    /// Only the follower changes it.
    state: Mutex<Option<Copy>>,
    view: ArcSwapOption<TailView>,
    /// How long the writable node keeps what it removes.
    pub window: Duration,
    /// The term of this node before it was a standby, until there is another one to follow.
    ended: ArcSwapOption<Writer>,
}

struct Copy {
    epoch: Epoch,
    state: State,
}

/// What readers see.
pub struct TailView {
    pub epoch: Epoch,
    pub view: Arc<View>,
}

impl Standby {
    pub fn new(deletes: Arc<Deletes>, metrics: Metrics, window: Duration) -> Arc<Standby> {
        let (state, view) = (Mutex::default(), ArcSwapOption::empty());
        Arc::new(Standby { deletes, metrics, state, view, window, ended: ArcSwapOption::empty() })
    }

    /// One that knows all of a term that has ended.
    pub fn at_end_of(ended: Arc<Writer>, deletes: Arc<Deletes>, metrics: Metrics) -> Arc<Standby> {
        let (state, view, window) = (Mutex::default(), ArcSwapOption::empty(), ended.window());
        Arc::new(Standby { deletes, metrics, state, view, window, ended: ArcSwapOption::new(Some(ended)) })
    }

    /// Whether it answers of a term of this node's own.
    pub fn has_written(&self) -> bool {
        self.ended.load().is_some()
    }

    /// Whether a view has all that was ever written. Of what was followed nobody knows.
    pub async fn is_newest(&self, tail: &TailView) -> bool {
        match self.ended.load_full().filter(|ended| ended.log_id().epoch == tail.epoch) {
            Some(ended) => ended.is_last().await,
            None => false,
        }
    }

    /// The newest that has been followed; `None` before anything has. Of a term of this node's own, all that its log thread
    /// has acknowledged, which may have had a group in hand when the term ended.
    pub fn view(&self) -> Option<Arc<TailView>> {
        match self.ended.load_full() {
            Some(ended) => Some(Arc::new(TailView { epoch: ended.log_id().epoch, view: ended.view() })),
            None => self.view.load_full(),
        }
    }

    /// Follows until dropped; connects again, and begins anew, whenever the stream ends. What was followed stays
    /// readable meanwhile: the writable node may be dead.
    pub async fn follow(self: Arc<Standby>, source: Arc<dyn LogSource>, pools: Pools) {
        loop {
            match source.watch_log().await {
                Ok(stream) => match Arc::clone(&self).follow_stream(stream, &pools).await {
                    Ok(()) => tracing::info!("the stream of the log ended, connecting again"),
                    Err(e) => tracing::warn!(error = %e, "the log cannot be followed, beginning anew"),
                },
                Err(e) => tracing::debug!(error = %e, "no log to follow yet"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn follow_stream(self: Arc<Standby>, mut stream: Updates, pools: &Pools) -> Result<()> {
        let mut beginning = Vec::new();
        loop {
            let Some(Ok(update)) = stream.next().await else { return Ok(()) };
            let more = update.more;
            beginning.push(update);
            if !more {
                break;
            }
        }
        let standby = Arc::clone(&self);
        pools.io(move || standby.begin(beginning)).await?;
        while let Some(Ok(update)) = stream.next().await {
            let standby = Arc::clone(&self);
            pools.io(move || standby.apply(update)).await?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Copy>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over the beginning of a stream, in one step for those who read.
    pub fn begin(&self, updates: Vec<LogUpdate>) -> Result<()> {
        let last = updates.last().ok_or_else(|| Failure::internal("a stream without a beginning"))?;
        let (epoch, applied) = (Epoch(last.epoch), Sequence(last.applied));
        let line = last.line.as_ref().map(line_from_wire);
        let snapshot = Arc::new(read_snapshot(&last.snapshot)?);
        let mut state = State::new(Arc::clone(&snapshot), applied, Timestamp(last.applied_timestamp));
        state.last_schema_change = version_of(last);
        let last_deletes = last.last_deletes.iter();
        state.restore_last_deletes(
            last_deletes.map(|(id, sequence)| (CollectionId(*id), Sequence(*sequence))).collect(),
        );
        let whole = Deletes::default();
        whole.begin(epoch);
        for update in updates {
            add_deletes(&whole, epoch, update.deletes, update.floors);
            for chunk in update.growing {
                restore(&mut state, &snapshot, chunk)?;
            }
        }
        whole.advance_followed(epoch, applied);
        let mut copy = self.lock();
        self.deletes.replace_with(whole, line);
        tracing::info!(
            epoch = epoch.0,
            rows = state.growing_rows(),
            applied = applied.0,
            "following the log"
        );
        self.show(copy.insert(Copy { epoch, state }));
        self.ended.store(None);
        Ok(())
    }

    /// Takes over what came after the beginning.
    pub fn apply(&self, update: LogUpdate) -> Result<()> {
        let mut copy = self.lock();
        let copy = copy.as_mut().ok_or_else(|| Failure::internal("the stream has not begun"))?;
        if Epoch(update.epoch) != copy.epoch {
            return Err(Failure::internal(format!("epoch {} in a stream of {}", update.epoch, copy.epoch)));
        }
        let epoch = copy.epoch;
        let state = &mut copy.state;
        let schema_change = version_of(&update);
        for record in update.records {
            let (sequence, timestamp) = (Sequence(record.sequence), Timestamp(record.timestamp));
            if sequence <= state.applied() {
                continue;
            }
            let damaged = || Failure::unreadable(format!("log record {sequence} cannot be decoded"));
            match decode_record(&record.payload).and_then(|r| r.body).ok_or_else(damaged)? {
                Body::Write(write) => {
                    let id = CollectionId(write.collection_id);
                    if let Some(collection) = state.snapshot.collection(id).cloned() {
                        let prepared = prepare_write(&collection, write)?;
                        let add = |id, list| {
                            self.deletes.add_followed(epoch, id, list);
                        };
                        state.apply(prepared, sequence, timestamp, add)?;
                    }
                }
                Body::Commit(_) => {}
            }
            state.advance(sequence, timestamp);
        }
        state.settle();
        if !update.sealed.is_empty() {
            state.seal_partitions(update.sealed.iter().map(|s| s.partition_id));
        }
        if !update.snapshot.is_empty() {
            let snapshot = read_snapshot(&update.snapshot)?.following(&state.snapshot, update.oldest);
            state.snapshot = Arc::new(snapshot);
            state.last_schema_change = schema_change;
            state.forget_published();
            state.forget_dropped();
        }
        add_deletes(&self.deletes, epoch, Vec::new(), update.floors);
        let follows = self.deletes.advance_followed(epoch, state.applied());
        if !follows && !self.deletes.is_own() {
            return Err(Failure::internal("the deletes that are held are not of this stream"));
        }
        self.show(copy);
        Ok(())
    }

    fn show(&self, copy: &Copy) {
        let view = TailView { epoch: copy.epoch, view: Arc::new(copy.state.view()) };
        self.view.store(Some(Arc::new(view)));
        self.metrics.growing_rows.set(copy.state.growing_rows() as i64);
        self.metrics.growing_bytes.set(copy.state.growing_bytes() as i64);
        self.metrics.applied_sequence.set(copy.state.applied().0 as i64);
    }
}

fn version_of(update: &LogUpdate) -> Version {
    let version = update.last_schema_change.unwrap_or_default();
    Version { commit_seq: version.commit_seq, commit_id: version.commit_id }
}

fn read_snapshot(json: &[u8]) -> Result<Snapshot> {
    serde_json::from_slice(json).map_err(|e| Failure::internal(format!("the catalog cannot be read: {e}")))
}

/// Adds a part of a growing segment. One whose collection is gone by now goes nowhere.
fn restore(state: &mut State, snapshot: &Snapshot, chunk: GrowingChunk) -> Result<()> {
    let Some(collection) = snapshot.collection(CollectionId(chunk.collection_id)) else { return Ok(()) };
    let part = chunk.rows.ok_or_else(|| Failure::internal("a part of a growing segment has no rows"))?;
    let prepared = prepare_rows(collection, part)?;
    let aligned = chunk.timestamps.len() == prepared.rows && chunk.hidden_rows.len() == chunk.hidden_at.len();
    let inside = chunk.hidden_rows.iter().all(|row| (*row as usize) < prepared.rows);
    if !(aligned && inside) {
        return Err(Failure::internal("a part of a growing segment does not fit together"));
    }
    let schema = Arc::new(collection.schema.clone());
    let rows = Rows::new(&schema, chunk.timestamps.into(), prepared.columns)?;
    let hidden = chunk.hidden_rows.iter().zip(&chunk.hidden_at);
    state.restore(
        prepared.partition,
        RestoredPart {
            number: chunk.number,
            collection: collection.id,
            schema,
            rows,
            tombstones: hidden.map(|(row, at)| Tombstone { row: *row, visible_at: Timestamp(*at) }).collect(),
            first: Sequence(chunk.first),
            last: Sequence(chunk.last),
            opened_at: Timestamp(chunk.opened_at),
            sealed: chunk.sealed,
        },
    )
}
