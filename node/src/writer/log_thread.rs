//! The thread that owns the log: takes what is waiting as one group, makes it durable, applies it, answers.

use super::followers::FollowedRecord;
use super::state::PreparedWrite;
use super::{EndsTerm, Writer};
use crate::{Failure, Result};
use bytes::Bytes;
use mishards_proto::node::{DeleteEntry, DeletesUpdate};
use mishards_types::{Code, Error, Sequence, Timestamp};
use mishards_wal::{LogWriter, Record};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tokio::sync::oneshot;

/// A group is closed by an empty one after this much silence.
const IDLE: Duration = Duration::from_millis(100);
const GROUP_BYTES: usize = 64 << 20;

/// Where a record stands in the log.
#[derive(Debug, Clone, Copy)]
pub struct Logged {
    pub sequence: Sequence,
    pub timestamp: Timestamp,
}

/// One record to be logged.
pub struct Entry {
    pub payload: Bytes,
    /// What to apply; `None` for records that only the log needs.
    pub write: Option<PreparedWrite>,
    pub reply: oneshot::Sender<Result<Logged>>,
}

enum Message {
    Log(Entry),
    Stop,
}

/// The way to the log thread. Never blocks.
pub struct LogQueue {
    send: Sender<Message>,
}

/// What the log thread receives.
pub struct Messages(Receiver<Message>);

impl LogQueue {
    pub fn new() -> (LogQueue, Messages) {
        let (send, receive) = channel();
        (LogQueue { send }, Messages(receive))
    }

    /// Logs and applies a record; answers when it is durable and visible.
    pub async fn log(&self, payload: Bytes, write: Option<PreparedWrite>) -> Result<Logged> {
        self.post(payload, write)?.wait().await
    }

    /// Puts a record in line. It is logged whether or not anybody waits for it.
    pub fn post(&self, payload: Bytes, write: Option<PreparedWrite>) -> Result<Posted> {
        let (reply, answer) = oneshot::channel();
        self.send
            .send(Message::Log(Entry { payload, write, reply }))
            .map_err(|_| Failure::not_writer("the log has stopped"))?;
        Ok(Posted(answer))
    }

    pub fn stop(&self) {
        let _ = self.send.send(Message::Stop);
    }
}

/// A record in line.
pub struct Posted(oneshot::Receiver<Result<Logged>>);

impl Posted {
    /// Waits until the record is durable and visible.
    pub async fn wait(self) -> Result<Logged> {
        self.0.await.map_err(|_| Failure::unknown_outcome("the log has stopped"))?
    }
}

/// Starts the thread.
pub fn start(writer: Arc<Writer>, log: LogWriter, messages: Messages) -> Result<()> {
    let run = move || {
        let _ends = EndsTerm { writer: Arc::clone(&writer), what: "the log thread" };
        LogThread { writer, log, owed: Vec::new() }.run(&messages.0);
    };
    let spawned = std::thread::Builder::new().name("log".to_owned()).spawn(run);
    spawned.map(drop).map_err(|e| Failure::internal(format!("cannot start the log thread: {e}")))
}

struct LogThread {
    writer: Arc<Writer>,
    log: LogWriter,
    /// Records of commits for which there was no room: they come before everything else. Nobody can take them back.
    owed: Vec<Entry>,
}

impl LogThread {
    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let mut group = std::mem::take(&mut self.owed);
            let mut stop = match messages.recv_timeout(IDLE) {
                Ok(Message::Log(entry)) => {
                    group.push(entry);
                    false
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => true,
                Err(RecvTimeoutError::Timeout) if group.is_empty() => {
                    match self.timed(LogWriter::close_group) {
                        Ok(()) | Err(mishards_wal::Error::Full { .. }) => continue,
                        Err(e) => return self.writer.step_down(&e),
                    }
                }
                Err(RecvTimeoutError::Timeout) => false,
            };
            let mut bytes = 0;
            while bytes < GROUP_BYTES
                && let Ok(message) = messages.try_recv()
            {
                match message {
                    Message::Log(entry) => {
                        bytes += entry.payload.len();
                        group.push(entry);
                    }
                    Message::Stop => stop = true,
                }
            }
            if !group.is_empty() && !self.write(group) {
                return;
            }
            if stop {
                let _ = self.timed(LogWriter::close_group);
                return self.writer.retire();
            }
        }
    }

    /// Calls the log, which may hang, while the lease knows since when.
    fn timed<T>(&mut self, call: impl FnOnce(&mut LogWriter) -> T) -> T {
        self.writer.note_sync(Some(self.writer.parts.clock.elapsed()));
        let out = call(&mut self.log);
        self.writer.note_sync(None);
        out
    }

    /// Logs and applies one group; false when the term has ended.
    fn write(&mut self, group: Vec<Entry>) -> bool {
        self.writer.room.take(group.iter().map(|e| e.payload.len() as u64).sum());
        let payloads = group.iter().map(|e| e.payload.clone()).collect();
        let before = self.log.position();
        let timer = self.writer.parts.metrics.log_sync_seconds.start_timer();
        let now = self.writer.parts.clock.unix_ms();
        let logged = self.timed(|log| log.append(payloads, now));
        drop(timer);
        match logged {
            Ok(records) => {
                self.writer.note_log_file(before, self.log.position(), &records);
                self.apply(group, &records);
                true
            }
            Err(e @ mishards_wal::Error::TooLarge { .. }) => {
                let failure = Failure::from(Error::new(Code::TOO_LARGE, e.to_string()));
                group.into_iter().for_each(|entry| drop(entry.reply.send(Err(failure.clone()))));
                true
            }
            Err(e @ mishards_wal::Error::Full { .. }) => {
                self.refuse(group, &e);
                true
            }
            Err(e) => {
                self.writer.step_down(&e);
                group.into_iter().for_each(|entry| drop(entry.reply.send(Err(Failure::unknown_outcome(&e)))));
                false
            }
        }
    }

    /// Refuses the writes of a group for which there was no room: none of it is stored. What is no write is tried again.
    fn refuse(&mut self, group: Vec<Entry>, e: &mishards_wal::Error) {
        self.writer.room.is_full();
        let failure = Failure::from(Error::new(
            Code::DISK_LIMIT,
            format!(
                "disk limit exceeded: {e}; nothing was stored. Make room, writes go on by themselves then"
            ),
        ));
        let (writes, owed): (Vec<Entry>, Vec<Entry>) = group.into_iter().partition(|e| e.write.is_some());
        writes.into_iter().for_each(|entry| drop(entry.reply.send(Err(failure.clone()))));
        if self.owed.is_empty() && !owed.is_empty() {
            tracing::warn!(error = %e, records = owed.len(), "records of the catalog's commits wait for room");
        }
        self.owed = owed;
    }

    fn apply(&self, group: Vec<Entry>, records: &[Record]) {
        let writer = &self.writer;
        let mut replies = Vec::with_capacity(group.len());
        let mut streamed = DeletesUpdate { epoch: writer.log_id.epoch.0, ..Default::default() };
        let mut followed = Vec::with_capacity(group.len());
        let mut state = writer.state();
        state.now = writer.parts.clock.elapsed();
        for (entry, record) in group.into_iter().zip(records) {
            let logged = Logged { sequence: record.sequence, timestamp: record.timestamp };
            let mut result = Ok(logged);
            if let Some(write) = entry.write {
                streamed.deletes.extend(stream_entry(&write, logged));
                let full = state.full(write.inserts.iter().map(|part| part.partition), &writer.parts.ingest);
                if !full.is_empty() {
                    // Whoever follows seals at the same place.
                    writer.followers.group(std::mem::take(&mut followed));
                    writer.seal(&mut state, |g| full.contains(&g.partition));
                }
                writer
                    .parts
                    .metrics
                    .rows_written_total
                    .inc_by(write.inserts.iter().map(|p| p.rows as u64).sum());
                let add = |id, list| writer.deletes.add(writer.log_id.epoch, id, list);
                result = state.apply(write, logged.sequence, logged.timestamp, add).map(|()| logged);
            }
            let Logged { sequence, timestamp } = logged;
            followed.push(FollowedRecord { sequence, timestamp, payload: entry.payload });
            state.advance(logged.sequence, logged.timestamp);
            replies.push((entry.reply, result));
        }
        state.settle();
        writer.deletes.advance(writer.log_id.epoch, state.applied());
        writer.followers.group(followed);
        writer.publish(&state);
        if !streamed.deletes.is_empty() {
            streamed.through = state.applied().0;
            let _ = writer.delete_stream.send(streamed);
        }
        drop(state);
        replies.into_iter().for_each(|(reply, result)| drop(reply.send(result)));
        writer.flush_wanted.notify_one();
    }
}

fn stream_entry(write: &PreparedWrite, logged: Logged) -> Option<DeleteEntry> {
    if write.deletes.is_empty() {
        return None;
    }
    let resolved_at =
        if write.resolved_at == Timestamp::ZERO { logged.timestamp.pred() } else { write.resolved_at };
    Some(DeleteEntry {
        collection_id: write.collection.0,
        partition_id: write.delete_partition.0,
        sequence: logged.sequence.0,
        visible_at: logged.timestamp.0,
        resolved_at: resolved_at.0,
        keys: Some(crate::columns::keys_to_wire(write.deletes.iter().cloned())),
    })
}
