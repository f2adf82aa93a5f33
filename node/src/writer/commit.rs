//! Catalog transactions: one at a time, settled when their outcome is unknown, visible to readers in one step.

use super::Writer;
use super::state::State;
use crate::{Failure, Result};
use mishards_catalog::{Change, Commit, Kind, Outcome, Snapshot, check_invariants};
use mishards_types::Version;
use std::sync::Arc;
use std::time::Duration;

const SETTLE_EVERY: Duration = Duration::from_millis(200);

impl Writer {
    /// Commits what `plan` makes of the newest snapshot. When it is in, `finish` changes the state in the same
    /// step in which readers get the new snapshot. No changes is success without a commit.
    pub(super) async fn commit(
        &self,
        plan: impl FnOnce(&Snapshot) -> Result<Vec<Change>>,
        finish: impl FnOnce(&mut State),
    ) -> Result<Version> {
        let _one_at_a_time = self.commits.lock().await;
        self.check_serving()?;
        let before = Arc::clone(&self.state().snapshot);
        let changes = plan(&before)?;
        if changes.is_empty() {
            return Ok(before.version);
        }
        check_invariants(&before, &changes)?;
        let next =
            Version { commit_seq: before.version.commit_seq + 1, commit_id: self.parts.entropy.next_u64() };
        let commit = Commit {
            epoch: self.log_id.epoch,
            incarnation: self.log_id.incarnation,
            base: before.version,
            next,
            changes,
        };
        self.send(&commit).await?;
        let after = before.apply(next, &commit.changes);
        let mut state = self.state();
        state.snapshot = Arc::new(after);
        finish(&mut state);
        state.forget_dropped();
        self.note_commit(next);
        self.publish(&state);
        Ok(next)
    }

    /// Sends a transaction until its outcome is known. An unknown COMMIT is re-read by its id before anything else
    /// is committed or deleted; it is sent again only with the same id.
    async fn send(&self, commit: &Commit) -> Result<()> {
        let mut attempt = self.parts.catalog.commit(commit).await;
        loop {
            match attempt {
                Ok(()) => return Ok(()),
                Err(e) if e.kind == Kind::Fenced => {
                    self.step_down(&e);
                    return Err(Failure::not_writer(e));
                }
                Err(e) if e.kind != Kind::UnknownOutcome => return Err(e.into()),
                Err(e) => {
                    tracing::warn!(error = %e, "the outcome of a catalog commit is unknown, reading it back")
                }
            }
            attempt = match self.settle(commit).await {
                Outcome::Committed => return Ok(()),
                Outcome::Absent => self.parts.catalog.commit(commit).await,
                Outcome::Fenced => {
                    self.step_down(&"another writer has committed");
                    return Err(Failure::not_writer("another writer has committed"));
                }
            };
        }
    }

    async fn settle(&self, commit: &Commit) -> Outcome {
        loop {
            match self.parts.catalog.outcome(commit).await {
                Ok(outcome) => return outcome,
                Err(e) => tracing::warn!(error = %e, "the catalog does not answer"),
            }
            tokio::time::sleep(SETTLE_EVERY).await;
        }
    }
}
