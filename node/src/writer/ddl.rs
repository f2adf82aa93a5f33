//! Changes that users ask for: planned against the newest snapshot, committed, then logged whole, then answered.

use super::Writer;
use super::log_thread::Logged;
use crate::Result;
use mishards_catalog::{Change, Command, EntityKind, plan_command};
use mishards_proto::node::{LogRecord, log_record::Body};
use mishards_types::Version;
use prost::Message;

impl Writer {
    /// Runs a command.
    pub async fn change(&self, command: &Command) -> Result<(Version, Logged)> {
        let mut logged_changes: Vec<Change> = Vec::new();
        let plan = |snapshot: &mishards_catalog::Snapshot| {
            let changes = plan_command(snapshot, command, &mut || self.next_id(), self.now())?;
            logged_changes.clone_from(&changes);
            Ok(changes)
        };
        let version = self.commit(plan, |state| state.last_schema_change = state.snapshot.version).await?;
        // Logged whole, so that a replay knows collections that the catalog may have lost or purged.
        let schema = serde_json::to_vec(&logged_changes).map_err(crate::Failure::internal)?;
        let payload = encode_record(&LogRecord { body: Some(Body::Schema(schema)) });
        let logged = self.log.log(payload, None).await?;
        for (collection, _) in self.deletes.floors() {
            if self.view().snapshot.collection(collection).is_none() {
                self.deletes.forget(collection);
            }
        }
        Ok((version, logged))
    }
}

impl Writer {
    /// Logs what was dropped before this term: a writer that died between the commit of a drop and its record leaves
    /// rows in the log that nothing there explains, and the catalog forgets the drop after a window.
    pub(super) async fn log_drops(&self) -> Result<()> {
        let dropped = self.view().snapshot.dropped().clone();
        let gone = dropped.into_iter().map(|id| Change::Remove(EntityKind::Collection, id.to_string()));
        let changes: Vec<Change> = gone.collect();
        if changes.is_empty() {
            return Ok(());
        }
        let schema = serde_json::to_vec(&changes).map_err(crate::Failure::internal)?;
        self.log.log(encode_record(&LogRecord { body: Some(Body::Schema(schema)) }), None).await?;
        Ok(())
    }
}

/// First byte of our records; the log keeps 0 for its own.
const RECORD_TAG: u8 = 1;

/// A record as the log keeps it.
pub fn encode_record(record: &LogRecord) -> bytes::Bytes {
    let mut out = Vec::with_capacity(1 + record.encoded_len());
    out.push(RECORD_TAG);
    record.encode_raw(&mut out);
    out.into()
}

/// The record behind the tag.
pub fn decode_record(payload: &[u8]) -> Option<LogRecord> {
    LogRecord::decode(payload.strip_prefix(&[RECORD_TAG])?).ok()
}
