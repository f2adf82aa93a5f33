//! Appends groups to a log: one in flight at a time, durable and unfenced before it is acknowledged.

use crate::format::{self, FLAG_SWITCH, GROUP_LIMIT, HEAD_ROOM};
use crate::{Error, Head, Position, Record, Result, is_fenced, make_fence};
use bytes::Bytes;
use mishards_storage::{Kind, Sink, Storage};
use mishards_types::{LogId, Sequence, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// When to go on in a new file.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// A file that has reached this size is followed by another.
    pub file_bytes: u64,
    /// How often the fence is read after a group when the reading fails, a fiftieth of a second apart.
    pub fence_tries: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options { file_bytes: 256 << 20, fence_tries: 1500 }
    }
}

/// A new file is begun only where so many bytes are free.
const FILE_ROOM: u64 = 1 << 20;

/// Between two tries to read the fence.
const FENCE_PAUSE: Duration = Duration::from_millis(20);

/// The one writer of one log. Blocking; owned by one thread.
pub struct LogWriter {
    storage: Arc<dyn Storage>,
    log: LogId,
    options: Options,
    sink: Box<dyn Sink>,
    at: Position,
    next: Sequence,
    last: Timestamp,
    dead: bool,
    open_group: bool,
    buffer: Vec<u8>,
}

impl LogWriter {
    /// Makes the directory with its empty fence, the first file, and the head group: the head record, then
    /// copies of `carried` (the last group that was found, with its own sequences). Durable on return.
    ///
    /// The first new record gets the sequence after the last that the head names; the head itself takes the
    /// sequence before the carried records, or before the first new one when there are none. Replay hands over
    /// no head, so the record that had this sequence stays the only one.
    pub fn create(
        storage: Arc<dyn Storage>,
        log: LogId,
        options: Options,
        head: &Head,
        carried: &[Record],
        last: Timestamp,
    ) -> Result<LogWriter> {
        let next = head.predecessors.iter().map(|p| p.last.0.saturating_add(1)).max().unwrap_or(1);
        // The head group is numbered from the first carried record, less one for the head itself, so that the
        // copies keep their sequences.
        let first = carried.first().map_or(next, |r| r.sequence.0).saturating_sub(1);
        let mut records = vec![head.encode(Sequence(first), last)];
        records.extend(carried.iter().cloned());
        let (bytes, limit) = (format::body_len(&records), GROUP_LIMIT + HEAD_ROOM);
        if bytes > limit {
            return Err(Error::TooLarge { bytes, limit });
        }
        make_fence(&*storage, log)?;
        let sink = start_file(&*storage, log, 1, Sequence(first), last)?;
        let at = Position { file: 1, offset: format::FILE_HEADER as u64 };
        let mut writer = LogWriter {
            storage,
            log,
            options,
            sink,
            at,
            next: Sequence(next),
            last,
            dead: false,
            open_group: false,
            buffer: Vec::new(),
        };
        writer.write_group(Sequence(first), 0, &records)?;
        writer.open_group = true;
        Ok(writer)
    }

    pub fn log(&self) -> LogId {
        self.log
    }

    /// The end of the last durable group.
    pub fn position(&self) -> Position {
        self.at
    }

    /// The sequence that the next record will get.
    pub fn next_sequence(&self) -> Sequence {
        self.next
    }

    /// The timestamp of the last record.
    pub fn last_timestamp(&self) -> Timestamp {
        self.last
    }

    /// Appends `payloads` as one group, in order, with timestamps above the last one and at or above the wall
    /// clock. Returns the records once they are durable and the fence was still empty afterwards. After any
    /// error the log is dead, except [`Error::TooLarge`] and [`Error::Full`], which change nothing.
    pub fn append(&mut self, payloads: Vec<Bytes>, unix_ms: u64) -> Result<Vec<Record>> {
        self.check_alive()?;
        let bytes = payloads.iter().map(|p| p.len() + 16).sum();
        if bytes > GROUP_LIMIT {
            return Err(Error::TooLarge { bytes, limit: GROUP_LIMIT });
        }
        let mut records = Vec::with_capacity(payloads.len());
        for (i, payload) in payloads.into_iter().enumerate() {
            self.last = self.last.next(unix_ms);
            records.push(Record {
                sequence: Sequence(self.next.0 + i as u64),
                timestamp: self.last,
                payload,
            });
        }
        // A group that names another file is followed by it: without room for one, this file goes on.
        let full = self.at.offset >= self.options.file_bytes && self.has_room();
        let flags = if full { FLAG_SWITCH } else { 0 };
        let first = self.next;
        self.write_group(first, flags, &records)?;
        self.next = Sequence(first.0 + records.len() as u64);
        self.open_group = !records.is_empty();
        if full {
            self.switch()?;
        }
        Ok(records)
    }

    /// Writes an empty group after the last one, so that damage to that one is found as damage. Called when the
    /// writer has been idle for a moment; does nothing when there is nothing to close.
    pub fn close_group(&mut self) -> Result<()> {
        self.check_alive()?;
        if self.open_group {
            self.write_group(self.next, 0, &[])?;
            self.open_group = false;
        }
        Ok(())
    }

    fn check_alive(&self) -> Result<()> {
        if self.dead { Err(Error::Dead { log: self.log }) } else { Ok(()) }
    }

    fn write_group(&mut self, first: Sequence, flags: u32, records: &[Record]) -> Result<()> {
        self.dead = true;
        self.buffer.clear();
        format::encode_group(&mut self.buffer, self.log, first, flags, records);
        if let Err(e) = self.sink.write(&self.buffer) {
            // Never synced, so never acknowledged: what was written of it is taken back.
            if e.kind == Kind::Full && self.sink.cut(self.at.offset).is_ok() {
                self.dead = false;
                return Err(Error::Full { log: self.log, source: e });
            }
            return Err(e.into());
        }
        self.sink.sync()?;
        if self.is_fenced()? {
            return Err(Error::Fenced { log: self.log });
        }
        self.at.offset += self.buffer.len() as u64;
        self.buffer.shrink_to(1 << 20);
        self.dead = false;
        Ok(())
    }

    /// Reads the fence, for a while also when that fails: the group is durable, and nothing is acknowledged before the fence
    /// was seen empty, however late that is.
    fn is_fenced(&self) -> Result<bool> {
        let mut left = self.options.fence_tries;
        loop {
            match is_fenced(&*self.storage, self.log) {
                Err(_) if left > 1 => std::thread::sleep(FENCE_PAUSE),
                read => return read,
            }
            left -= 1;
        }
    }

    fn has_room(&self) -> bool {
        // Where it is not known, it is tried.
        self.storage.space().ok().flatten().is_none_or(|space| space.total == 0 || space.free >= FILE_ROOM)
    }

    fn switch(&mut self) -> Result<()> {
        self.dead = true;
        let file = self.at.file + 1;
        self.sink = start_file(&*self.storage, self.log, file, self.next, self.last)?;
        self.at = Position { file, offset: format::FILE_HEADER as u64 };
        self.open_group = false;
        self.dead = false;
        Ok(())
    }
}

fn start_file(
    storage: &dyn Storage,
    log: LogId,
    file: u64,
    first: Sequence,
    after: Timestamp,
) -> Result<Box<dyn Sink>> {
    let mut sink = storage.create(&format::file_name(log, file))?;
    sink.write(&format::encode_file_header(log, file, first, after))?;
    sink.sync()?;
    Ok(sink)
}
