//! Catalog transactions: one at a time, settled when their outcome is unknown, visible to readers in one step.

use super::Writer;
use super::ddl::{Needed, encode_commit};
use super::lease::lost_commits;
use super::log_thread::{Logged, Posted};
use super::state::State;
use crate::{Failure, Result};
use mishards_catalog::{Change, Commit, FileRef, Kind, Outcome, Snapshot, check_invariants};
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
        let (version, _) = self.commit_alone(plan, finish, false).await?;
        Ok(version)
    }

    /// Publishes files that were written for this commit. They are removed again when it turns out to have nothing to
    /// do, or surely did not happen.
    pub(super) async fn commit_files(
        &self,
        files: Vec<FileRef>,
        plan: impl FnOnce(&Snapshot) -> Result<Vec<Change>>,
        finish: impl FnOnce(&mut State),
    ) -> Result<Version> {
        let mut is_used = false;
        let plan = |snapshot: &Snapshot| {
            let changes = plan(snapshot)?;
            is_used = !changes.is_empty();
            Ok(changes)
        };
        let done = self.commit(plan, finish).await;
        // A writer whose term has ended deletes nothing.
        if (done.is_err() || !is_used) && !self.has_ended() {
            self.discard(files).await;
        }
        done
    }

    /// Removes files that nothing names. What stays is removed by a later term.
    pub(super) async fn discard(&self, files: Vec<FileRef>) {
        let storage = Arc::clone(&self.parts.storage);
        let remove = move || {
            files.iter().for_each(|file| drop(storage.remove(&file.path)));
            Ok(())
        };
        let _ = self.parts.pools.io(remove).await;
    }

    /// Commits what a user asked for; answers when it is in the log too.
    pub(super) async fn commit_and_log(
        &self,
        plan: impl FnOnce(&Snapshot) -> Result<Vec<Change>>,
        finish: impl FnOnce(&mut State),
    ) -> Result<(Version, Logged)> {
        let (version, posted) = {
            let _one_at_a_time = self.commits.lock().await;
            self.commit_alone(plan, finish, true).await?
        };
        // The commit is in, whatever becomes of its record.
        let posted = posted.map_err(|e| Failure::unknown_outcome(e.error))?;
        Ok((version, posted.wait().await?))
    }

    /// With the lock on commits held. The second value is the record of the commit in the log.
    async fn commit_alone(
        &self,
        plan: impl FnOnce(&Snapshot) -> Result<Vec<Change>>,
        finish: impl FnOnce(&mut State),
        keep_changes: bool,
    ) -> Result<(Version, Result<Posted>)> {
        self.check_serving()?;
        let before = Arc::clone(&self.state().snapshot);
        let needed_before = self.first_needed();
        let changes = plan(&before)?;
        if changes.is_empty() {
            // A user's command that changes nothing is answered with its place in the log.
            let posted = match keep_changes {
                true => self.log.post(
                    encode_commit(before.version, Needed::unknown(self.first_needed()), &[], false)?,
                    None,
                ),
                false => Err(Failure::internal("nothing was committed")),
            };
            return Ok((before.version, posted));
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
        self.recent().add(before.version, next, &commit.changes);
        // Before anybody can see it: rows of something new come after the record that says what it is.
        let kept: &[Change] = if keep_changes { &commit.changes } else { &[] };
        let needed = Needed { before: needed_before, after: self.first_needed_by(&state) };
        let posted =
            encode_commit(next, needed, kept, false).and_then(|payload| self.log.post(payload, None));
        self.publish(&state);
        drop(state);
        Ok((next, posted))
    }

    /// Sends a transaction until its outcome is known. An unknown COMMIT is re-read by its id before anything else
    /// is committed or deleted; it is sent again only with the same id.
    async fn send(&self, commit: &Commit) -> Result<()> {
        let mut attempt = self.parts.catalog.commit(commit).await;
        loop {
            match attempt {
                Ok(()) => return Ok(()),
                Err(e) if e.kind == Kind::Fenced => {
                    self.step_down_from(&e).await;
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
                    // It may have come before that: sent again, a change that was made would be refused.
                    return Err(Failure::unknown_outcome("another writer has committed meanwhile"));
                }
            };
        }
    }

    /// Ends the term because the catalog refuses it: somebody has taken over, or the catalog has gone back in time.
    async fn step_down_from(&self, refusal: &mishards_catalog::Error) {
        let ours = self.view().snapshot.version;
        let lease = tokio::time::timeout(SETTLE_EVERY, self.parts.catalog.lease()).await;
        match lease {
            Ok(Ok(lease)) if self.holds(&lease) && lease.version.commit_seq < ours.commit_seq => {
                self.step_down(&lost_commits(lease.version, ours));
            }
            _ => self.step_down(refusal),
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
