//! Reads a log back: every record up to its end, telling a torn tail from damage to acknowledged records.
//!
//! One group is in flight at a time, so a valid group proves that all before it were durable, and a file proves
//! the same of the files before it. A bad spot with one of them after it is therefore corruption; a bad spot with
//! nothing after it is a torn tail.

use crate::format::{self, ALIGN, FILE_HEADER, FLAG_SWITCH, FileHeader};
use crate::{Error, Head, Position, Record, Result};
use bytes::Bytes;
use mishards_storage::{Kind, Storage};
use mishards_types::{LogId, Sequence, Timestamp};

/// A log that was read.
#[derive(Debug, Default)]
pub struct Log {
    /// The first record, when the log has one. A log without a head served nothing.
    pub head: Option<Head>,
    /// The first byte after the last valid group.
    pub end: Position,
    /// Where the first retained file begins: what came before must be covered by the watermarks, or a file that
    /// was still needed is gone.
    pub first: Sequence,
    /// The last sequence and timestamp found, those of dropped files included.
    pub last: Sequence,
    pub last_timestamp: Timestamp,
    /// The records of the last group that has any, for its successor to carry over.
    pub last_group: Vec<Record>,
    /// Bytes of a torn tail that were left out.
    pub torn: u64,
    /// What a lossy scan stepped over, each with its place; empty for any other scan.
    pub damage: Vec<String>,
    /// For each file, its number, size and the last sequence in it.
    pub files: Vec<(u64, u64, Sequence)>,
}

/// What to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scan {
    /// The recorded end of this log, when a successor has fixed one: nothing after it is looked at.
    pub end: Option<Position>,
    /// Begin with this file; 0 means with the first that is retained.
    pub from: u64,
    /// Step over damaged and missing parts, and say so in [`Log::damage`], where any other scan fails. For an operator who
    /// has decided to give them up.
    pub lossy: bool,
}

/// Reads a log from its first retained file, handing each record to `visit` in order (the head is not handed
/// over; carried copies are, with their original sequences).
pub fn read_log(storage: &dyn Storage, log: LogId, scan: Scan, visit: &mut dyn FnMut(Record)) -> Result<Log> {
    let dir = format!("log/{log}");
    let mut files: Vec<u64> = storage.list(&dir)?.iter().filter_map(|e| e.name.parse().ok()).collect();
    // Files behind a recorded end never happened, whatever is in them.
    files.retain(|file| *file >= scan.from && scan.end.is_none_or(|end| *file <= end.file));
    files.sort_unstable();
    let mut out = Log::default();
    let mut expected = None;
    let Some(&first) = files.first() else {
        return Ok(out);
    };
    let mut file = first;
    loop {
        if files.last().is_none_or(|last| *last < file) {
            return Ok(out);
        }
        let bytes = match storage.read(&format::file_name(log, file)) {
            Ok(bytes) => bytes,
            Err(e) if e.kind == Kind::NotFound && scan.lossy => {
                out.damage.push(Error::MissingFile { log, file }.to_string());
                file += 1;
                continue;
            }
            Err(e) if e.kind == Kind::NotFound => return Err(Error::MissingFile { log, file }),
            Err(e) => return Err(e.into()),
        };
        let limit = match scan.end {
            Some(end) if file == end.file => (end.offset as usize).min(bytes.len()),
            _ => bytes.len(),
        };
        let followed = files.last().is_some_and(|last| *last > file);
        let reader = FileReader { log, file, bytes: bytes.slice(..limit), followed, lossy: scan.lossy };
        let switched = reader.read(&mut out, &mut expected, visit)?;
        let size = bytes.len() as u64;
        out.files.push((file, size, out.last));
        let goes_on = switched || scan.lossy && followed;
        if !goes_on {
            return Ok(out);
        }
        file += 1;
    }
}

struct FileReader {
    log: LogId,
    file: u64,
    bytes: Bytes,
    /// Whether a later file is there. It was made after this one's last group was durable.
    followed: bool,
    /// See [`Scan::lossy`].
    lossy: bool,
}

impl FileReader {
    /// Reads one file; true when its last group says that the log goes on in the next. `expected` is the
    /// sequence of the next record, once a file was begun.
    fn read(&self, out: &mut Log, expected: &mut Option<u64>, visit: &mut dyn FnMut(Record)) -> Result<bool> {
        match format::decode_file_header(&self.bytes) {
            FileHeader::Valid { log, file, first, after } if log == self.log && file == self.file => {
                self.begin(out, expected, first, after)?;
            }
            // No torn write makes a whole header of another file.
            FileHeader::Valid { .. } => {
                return self.give_up(out, 0, "the file is another log's, or has another number");
            }
            FileHeader::Newer(found) => {
                return Err(Error::NewerFormat { log: self.log, found, known: format::FORMAT });
            }
            _ => return self.stop(out, 0, "the file header is not valid"),
        }
        let mut at = FILE_HEADER;
        out.end = Position { file: self.file, offset: at as u64 };
        loop {
            if at >= self.bytes.len() {
                return self.at_end(out, at);
            }
            let Some(group) = format::decode_group(&self.bytes.slice(at..), self.log) else {
                let what = "a group's checksum does not match";
                match self.next_group(at).filter(|_| self.lossy) {
                    Some(next) => {
                        out.damage.push(self.corrupt(at, what).to_string());
                        at = next;
                        continue;
                    }
                    None => return self.stop(out, at, what),
                }
            };
            if let Some(expected) = expected.filter(|expected| *expected != group.first.0) {
                if !self.lossy || group.first.0 < expected {
                    return self.give_up(out, at, "the records before this group are missing");
                }
                let missing = group.first.0 - expected;
                out.damage.push(format!(
                    "log {}: {missing} records from {expected} on are missing before byte {at} of file {}",
                    self.log, self.file
                ));
            }
            at += group.len;
            out.end.offset = at as u64;
            self.take(out, group.records, visit);
            *expected = Some(out.last.0.saturating_add(1));
            if group.flags & FLAG_SWITCH != 0 {
                return Ok(true);
            }
        }
    }

    /// Takes over what the file's header says of the files before it.
    fn begin(
        &self,
        out: &mut Log,
        expected: &mut Option<u64>,
        first: Sequence,
        after: Timestamp,
    ) -> Result<()> {
        match expected {
            // What is missing in between is noticed at the first group.
            Some(_) if self.lossy => {}
            Some(expected) if *expected != first.0 => {
                return Err(self.corrupt(0, "the file does not go on where the one before it ended"));
            }
            Some(_) => {}
            None => {
                out.first = first;
                *expected = Some(first.0);
            }
        }
        out.last = out.last.max(Sequence(first.0.saturating_sub(1)));
        out.last_timestamp = out.last_timestamp.max(after);
        Ok(())
    }

    /// The file ended between two groups: fine, unless a later file proves that more had been written.
    fn at_end(&self, out: &mut Log, at: usize) -> Result<bool> {
        if self.followed {
            self.give_up(out, at, "groups are missing at the end of the file")
        } else {
            Ok(false)
        }
    }

    fn take(&self, out: &mut Log, records: Vec<Record>, visit: &mut dyn FnMut(Record)) {
        let mut records = records.into_iter().peekable();
        let starts_log = out.head.is_none() && self.file == 1 && out.last_group.is_empty();
        if starts_log
            && let Some(record) = records.peek()
            && let Some(head) = Head::decode(&record.payload)
        {
            out.last_timestamp = out.last_timestamp.max(record.timestamp);
            let named = head.predecessors.iter().map(|p| p.last);
            out.last = named.fold(out.last.max(record.sequence), Sequence::max);
            out.head = Some(head);
            records.next();
        }
        let records: Vec<Record> = records.collect();
        for record in &records {
            out.last = out.last.max(record.sequence);
            out.last_timestamp = out.last_timestamp.max(record.timestamp);
            visit(record.clone());
        }
        if !records.is_empty() {
            out.last_group = records;
        }
    }

    /// A bad spot at `at`: corruption if anything valid follows, else the torn tail of a group in flight.
    fn stop(&self, out: &mut Log, at: usize, what: &'static str) -> Result<bool> {
        if self.followed || self.next_group(at).is_some() {
            return self.give_up(out, at, what);
        }
        out.torn = (self.bytes.len() - at) as u64;
        Ok(false)
    }

    /// Where the next valid group after a bad spot begins.
    fn next_group(&self, at: usize) -> Option<usize> {
        let mut probe = at.next_multiple_of(ALIGN);
        while probe + format::GROUP_HEADER <= self.bytes.len() {
            if format::decode_group(&self.bytes.slice(probe..), self.log).is_some() {
                return Some(probe);
            }
            probe += ALIGN;
        }
        None
    }

    /// The rest of the file cannot be read: an error, or for a lossy scan one more damage.
    fn give_up(&self, out: &mut Log, at: usize, what: &'static str) -> Result<bool> {
        let error = self.corrupt(at, what);
        if !self.lossy {
            return Err(error);
        }
        out.damage.push(error.to_string());
        Ok(false)
    }

    fn corrupt(&self, at: usize, what: &'static str) -> Error {
        Error::Corrupt { log: self.log, at: Position { file: self.file, offset: at as u64 }, what }
    }
}
