//! Follows the writer's deletes: a read-only node answers for rows only when it knows what hides them.

use crate::columns::keys_from_wire;
use crate::deletes::{Deletes, Line};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use mishards_proto::node::{self as wire, DeleteEntry, DeletesUpdate, Term};
use mishards_segment::Delete;
use mishards_types::{CollectionId, Epoch, Incarnation, LogId, PartitionId, Sequence, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const RETRY: Duration = Duration::from_millis(200);

/// Where deletes come from: the writer, behind a connection.
#[tonic::async_trait]
pub trait DeleteSource: Send + Sync + 'static {
    /// Opens the stream from its start.
    async fn watch_deletes(
        &self,
    ) -> Result<BoxStream<'static, Result<DeletesUpdate, tonic::Status>>, tonic::Status>;
}

/// Follows until the task is dropped, unless this node is the writer; connects again whenever the stream ends.
pub async fn follow_deletes(source: Arc<dyn DeleteSource>, deletes: Arc<Deletes>) {
    loop {
        if deletes.is_own() {
            tokio::time::sleep(RETRY).await;
            continue;
        }
        match source.watch_deletes().await {
            Ok(mut stream) => {
                // Without all that is kept, what comes after it would have a gap before it.
                if let Some((whole, line)) = receive_kept(&mut stream).await {
                    deletes.replace_with(whole, line);
                    while let Some(Ok(update)) = stream.next().await
                        && apply(&deletes, update)
                    {}
                }
                tracing::info!("the stream of deletes ended, connecting again");
            }
            Err(e) => tracing::debug!(error = %e, "no stream of deletes yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Everything that the source keeps, and the line of time that it is of; `None` when the stream ends within it.
async fn receive_kept(
    stream: &mut BoxStream<'static, Result<DeletesUpdate, tonic::Status>>,
) -> Option<(Deletes, Option<Line>)> {
    let whole = Deletes::default();
    loop {
        let update = stream.next().await?.ok()?;
        let (more, line) = (update.more, update.line.as_ref().map(line_from_wire));
        whole.begin(Epoch(update.epoch));
        apply(&whole, update);
        if !more {
            return Some((whole, line));
        }
    }
}

pub fn line_from_wire(line: &wire::Line) -> Line {
    let log = |t: &Term| LogId { epoch: Epoch(t.epoch), incarnation: Incarnation(t.incarnation) };
    Line {
        term: line.term.as_ref().map(log).unwrap_or_default(),
        before: line.before.iter().map(log).collect(),
        recovered: Sequence(line.recovered),
    }
}

pub fn line_to_wire(line: &Line) -> wire::Line {
    let term = |log: &LogId| Term { epoch: log.epoch.0, incarnation: log.incarnation.0 };
    wire::Line {
        term: Some(term(&line.term)),
        before: line.before.iter().map(term).collect(),
        recovered: line.recovered.0,
    }
}

/// False when what is held is not of this stream, so that it must begin anew.
fn apply(deletes: &Deletes, update: DeletesUpdate) -> bool {
    let epoch = Epoch(update.epoch);
    add_deletes(deletes, epoch, update.deletes, update.floors);
    deletes.advance_followed(epoch, Sequence(update.through))
}

/// Adds what another node says of deletes in a stream of an epoch; nothing unless that stream is followed.
pub fn add_deletes(deletes: &Deletes, epoch: Epoch, entries: Vec<DeleteEntry>, floors: BTreeMap<i64, u64>) {
    for entry in entries {
        let one = |key| {
            Arc::new(Delete {
                sequence: Sequence(entry.sequence),
                partition: PartitionId(entry.partition_id),
                visible_at: Timestamp(entry.visible_at),
                resolved_at: Timestamp(entry.resolved_at),
                key,
            })
        };
        let list = keys_from_wire(entry.keys).into_iter().map(one).collect();
        deletes.add_followed(epoch, CollectionId(entry.collection_id), list);
    }
    for (collection, floor) in floors {
        deletes.raise_floor_followed(epoch, CollectionId(collection), Sequence(floor));
    }
}
