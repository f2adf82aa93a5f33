//! Changes that users ask for: planned against the newest snapshot, committed, then logged whole, then answered. And
//! what a record of the log looks like.

use super::Writer;
use super::log_thread::Logged;
use crate::{Failure, Result};
use mishards_catalog::{Change, Command, Entity, LogEntry, plan_command};
use mishards_proto::node::{LogCommit, LogRecord, log_record::Body};
use mishards_types::{Sequence, Version};
use prost::Message;

impl Writer {
    /// Runs a command.
    pub async fn change(&self, command: &Command) -> Result<(Version, Logged)> {
        let plan = |snapshot: &mishards_catalog::Snapshot| {
            Ok(plan_command(snapshot, command, &mut || self.next_id(), self.now())?)
        };
        if !command.only_removes() {
            self.check_room_for_changes()?;
        }
        let done =
            self.commit_and_log(plan, |state| state.last_schema_change = state.snapshot.version).await?;
        for (collection, _) in self.deletes.floors() {
            if self.view().snapshot.collection(collection).is_none() {
                self.deletes.forget(self.log_id.epoch, collection);
            }
        }
        Ok(done)
    }

    /// Logs the V that this term starts from, and everything that users have made: a writer that died between a commit
    /// and its record leaves a hole in the log, which this fills.
    pub(super) async fn log_start(&self) -> Result<()> {
        let before = self.first_needed();
        self.log_version(|after| Needed { before, after }).await?;
        // From here on the log is known to have files: their loss is noticed.
        let begun = LogEntry { epoch: self.log_id.epoch, incarnation: self.log_id.incarnation, begun: true };
        self.commit(|_| Ok(vec![Change::Put(Entity::Log(begun))]), |_| {}).await.map(drop)
    }

    /// Logs V once more, whole.
    pub(super) async fn log_version(&self, needed: impl FnOnce(Sequence) -> Needed) -> Result<()> {
        let posted = {
            let _one_at_a_time = self.commits.lock().await;
            let snapshot = std::sync::Arc::clone(&self.view().snapshot);
            let whole: Vec<Change> = snapshot.made_by_users().map(Change::Put).collect();
            let payload = encode_commit(snapshot.version, needed(self.first_needed()), &whole, true)?;
            self.log.post(payload, None)?
        };
        posted.wait().await.map(drop)
    }
}

/// First byte of our records; the log keeps 0 for its own.
const RECORD_TAG: u8 = 1;
/// Second byte of those that hold a commit: the protobuf key of [`LogRecord`]'s field 2.
const COMMIT_KEY: u8 = 2 << 3 | 2;

/// A record as the log keeps it.
pub fn encode_record(record: &LogRecord) -> bytes::Bytes {
    let mut out = Vec::with_capacity(1 + record.encoded_len());
    out.push(RECORD_TAG);
    record.encode_raw(&mut out);
    out.into()
}

/// The first records that replays over the catalog before and after a commit need.
pub struct Needed {
    pub before: Sequence,
    pub after: Sequence,
}

impl Needed {
    /// When it is not known what was needed before.
    pub fn unknown(after: Sequence) -> Needed {
        Needed { before: Sequence(0), after }
    }
}

/// The record of a commit, with what a user changed by it.
pub fn encode_commit(
    version: Version,
    needed: Needed,
    changes: &[Change],
    whole: bool,
) -> Result<bytes::Bytes> {
    let json = |changes| serde_json::to_vec(changes).map_err(Failure::internal);
    let commit = LogCommit {
        commit_seq: version.commit_seq,
        commit_id: version.commit_id,
        needed_before: needed.before.0,
        needed_after: needed.after.0,
        changes: if changes.is_empty() { Vec::new() } else { json(changes)? },
        whole,
    };
    Ok(encode_record(&LogRecord { body: Some(Body::Commit(commit)) }))
}

/// Whether a record holds a commit, without decoding it.
pub fn is_commit(payload: &[u8]) -> bool {
    payload.starts_with(&[RECORD_TAG, COMMIT_KEY])
}

/// The record behind the tag.
pub fn decode_record(payload: &[u8]) -> Option<LogRecord> {
    LogRecord::decode(payload.strip_prefix(&[RECORD_TAG])?).ok()
}

/// The changes of a commit that a user asked for.
pub fn changes_of(commit: &LogCommit) -> Option<Vec<Change>> {
    if commit.changes.is_empty() { Some(Vec::new()) } else { serde_json::from_slice(&commit.changes).ok() }
}
