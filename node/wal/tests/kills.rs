//! Kills and power failures at random calls, thousands of them under printed seeds: whatever was acknowledged,
//! and whatever a takeover has replayed once, is replayed by every later one, exactly once, unchanged.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod disk;

use disk::{Dice, Found, log, take_over};
use mishards_storage::{Faulty, Memory, Storage};
use mishards_types::{LogId, Sequence, Timestamp};
use mishards_wal::{LogWriter, Options, Record, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What must be true of the disk, kept beside it.
struct Cluster {
    dice: Dice,
    memory: Memory,
    /// The logs that the catalog names, oldest first.
    open: Vec<LogId>,
    epoch: u64,
    /// Everything that must come back: acknowledged, or replayed by a writer that went on to serve.
    kept: BTreeMap<Sequence, Record>,
    /// The payloads of a group whose outcome nobody knows.
    unknown: Vec<Vec<u8>>,
    /// Records up to here are in segments, and their logs may be dropped.
    flushed: Sequence,
    last: Timestamp,
    served: u64,
    revived: u64,
}

impl Cluster {
    fn new(seed: u64) -> Cluster {
        Cluster {
            dice: Dice(seed),
            memory: Memory::new(),
            open: Vec::new(),
            epoch: 0,
            kept: BTreeMap::new(),
            unknown: Vec::new(),
            flushed: Sequence(0),
            last: Timestamp::ZERO,
            served: 0,
            revived: 0,
        }
    }

    /// A disk on which every call fails from a random one on, or none does.
    fn failing(&mut self) -> Arc<dyn Storage> {
        let fuse = AtomicU64::new(self.dice.below(60));
        let blown = move |_: &'static str, _: &str| {
            fuse.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_err()
        };
        Arc::new(Faulty::new(self.memory.clone(), blown))
    }

    /// One life of a writer: takeover, some groups, death.
    fn live_and_die(&mut self) {
        self.epoch += 1;
        let log = log(self.epoch);
        let storage = self.failing();
        let found = take_over(&*storage, &self.open, log);
        // The lease transaction has registered the log, whatever comes of it.
        self.open.push(log);
        if let Ok(found) = found {
            self.check(&found);
            self.write(storage, log, found);
        }
        self.die();
    }

    /// The replayed records against the model.
    fn check(&mut self, found: &Found) {
        let above = |(sequence, _): &(&Sequence, &Record)| **sequence > self.flushed;
        for (sequence, record) in self.kept.iter().filter(above) {
            assert_eq!(found.records.get(sequence), Some(record), "lost or changed");
        }
        let extra: Vec<&Record> = found
            .records
            .iter()
            .filter(above)
            .filter(|(sequence, _)| !self.kept.contains_key(sequence))
            .map(|(_, record)| record)
            .collect();
        if !extra.is_empty() {
            let extra: Vec<&[u8]> = extra.iter().map(|r| &r.payload[..]).collect();
            assert_eq!(extra, self.unknown, "a record that nobody wrote last has come back");
        }
        let sequences: Vec<u64> = found.records.keys().map(|s| s.0).filter(|s| *s > self.flushed.0).collect();
        assert!(sequences.windows(2).all(|w| w[0] + 1 == w[1]), "a gap in {sequences:?}");
        let stamps: Vec<Timestamp> = found.records.values().map(|r| r.timestamp).collect();
        assert!(stamps.is_sorted_by(|a, b| a < b));
        assert!(stamps.iter().all(|t| *t <= found.last) && found.last >= self.last);
    }

    fn write(&mut self, storage: Arc<dyn Storage>, log: LogId, found: Found) {
        let options = Options { file_bytes: 64 + self.dice.below(1_500), fence_tries: 1 };
        let writer = LogWriter::create(storage, log, options, &found.head, &found.carried, found.last);
        let Ok(mut writer) = writer else { return };
        // It serves from here on: what it has replayed is seen by searches and stays.
        self.served += 1;
        self.revived +=
            u64::from(found.records.keys().any(|s| *s > self.flushed && !self.kept.contains_key(s)));
        self.kept.extend(found.records);
        self.unknown.clear();
        self.drop_old(log, &writer);
        while self.step(&mut writer).is_ok() {}
    }

    /// Sometimes everything replayed is flushed, and the older logs go.
    fn drop_old(&mut self, log: LogId, writer: &LogWriter) {
        if self.dice.below(3) != 0 {
            return;
        }
        self.flushed = Sequence(writer.next_sequence().0 - 1);
        self.last = writer.last_timestamp();
        for old in self.open.drain(..self.open.len() - 1) {
            for entry in self.memory.list(&format!("log/{old}")).unwrap() {
                self.memory.remove(&format!("log/{old}/{}", entry.name)).unwrap();
            }
        }
        assert_eq!(self.open, [log]);
    }

    fn step(&mut self, writer: &mut LogWriter) -> Result<()> {
        if self.dice.below(4) == 0 {
            return writer.close_group();
        }
        let payloads: Vec<Vec<u8>> = (0..self.dice.below(4)).map(|_| self.payload()).collect();
        self.unknown = payloads.clone();
        let now = self.dice.below(50);
        let records = writer.append(payloads.into_iter().map(Into::into).collect(), now)?;
        self.unknown.clear();
        self.kept.extend(records.into_iter().map(|r| (r.sequence, r)));
        Ok(())
    }

    fn payload(&mut self) -> Vec<u8> {
        let mut out = vec![1];
        out.extend(self.dice.next().to_le_bytes());
        out.extend(self.dice.bytes(120));
        out
    }

    /// The process dies; sometimes the machine with it, and then of what was not synced any part is lost.
    fn die(&mut self) {
        if self.dice.below(2) == 0 {
            return;
        }
        let mut before = Vec::new();
        for log in &self.open {
            for entry in self.memory.list(&format!("log/{log}")).unwrap() {
                let path = format!("log/{log}/{}", entry.name);
                before.push((path.clone(), self.memory.read(&path).unwrap()));
            }
        }
        self.memory.crash();
        for (path, bytes) in before {
            let durable = self.memory.read(&path).unwrap().len();
            let mut tail = bytes[durable..].to_vec();
            tail.truncate(self.dice.below(tail.len() as u64 + 1) as usize);
            for byte in &mut tail {
                if self.dice.below(40) == 0 {
                    *byte = 0;
                }
            }
            self.memory.tamper(&path, |bytes| bytes.extend(tail));
        }
    }
}

#[test]
fn acknowledged_records_survive_every_kill_exactly_once() {
    let (mut served, mut revived, mut records) = (0, 0, 0);
    for seed in 0..40 {
        println!("seed {seed}");
        let mut cluster = Cluster::new(seed);
        for _ in 0..150 {
            cluster.live_and_die();
        }
        served += cluster.served;
        revived += cluster.revived;
        records += cluster.kept.len();
    }
    // The dice reach what this test is about.
    assert!(served > 1_500 && revived > 100 && records > 10_000, "{served} {revived} {records}");
}
