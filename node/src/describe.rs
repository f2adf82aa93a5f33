//! What a node says of itself, and how it comes and goes.

use crate::directory::directory_id;
use crate::service::{API_VERSION, Node};
use crate::{Failure, Result};
use mishards_proto::node::{DescribeResponse, Version};
use mishards_types::Code;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Stands for a shared directory that was there and is not any more, or is another one: no directory has this id.
const LOST: u64 = u64::MAX;

impl Node {
    pub(crate) fn run_describe(&self) -> DescribeResponse {
        let inner = &self.inner;
        let writer = inner.writer.load_full().filter(|w| !w.has_ended());
        let tail = inner.standby.load_full().and_then(|standby| standby.view());
        let (view, tails_epoch) = match (&writer, &tail) {
            (Some(writer), _) => (Some(writer.view()), 0),
            (None, Some(tail)) => (Some(Arc::clone(&tail.view)), tail.epoch.0),
            (None, None) => (None, 0),
        };
        let schema_change = writer.as_ref().and(view.as_ref()).map(|view| Version {
            commit_seq: view.last_schema_change.commit_seq,
            commit_id: view.last_schema_change.commit_id,
        });
        let last_delete =
            writer.as_ref().and(view.as_ref()).and_then(|v| v.last_delete.values().max().copied());
        let heard = inner.contact.ago().filter(|_| writer.is_none());
        let applied = view.as_ref().map_or_else(|| inner.deletes.applied(), |view| view.applied);
        let standby = inner.stands_by.load(Ordering::Relaxed);
        let epoch = writer.as_ref().map_or(0, |w| w.log_id().epoch.0);
        inner.metrics.applied_sequence.set(applied.0 as i64);
        DescribeResponse {
            cluster_id: inner.options.cluster_id.clone(),
            name: inner.options.name.clone(),
            writable: writer.is_some(),
            api_min: API_VERSION,
            api_max: API_VERSION,
            epoch,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            standby,
            leaving: inner.leaving.load(Ordering::Relaxed),
            tails_epoch,
            applied: applied.0,
            directory: inner.directory.load(Ordering::Relaxed),
            growing_rows: view.map_or(0, |view| view.growing_rows() as u64),
            open_segments: inner.cache.open_segments() as u64,
            schema_change,
            last_delete: last_delete.unwrap_or_default().0,
            heard_ago_ms: heard.map(|ago| ago.as_millis() as u64),
            quarantined_segments: inner.metrics.quarantined_segments.get() as u64,
            has_written: inner.standby.load().as_ref().is_some_and(|standby| standby.has_written()),
            incomplete_segments: inner.metrics.incomplete_segments.get() as u64,
        }
    }

    /// Says of itself from now on that it is about to stop, so that others take over what it holds. It goes on answering.
    pub fn leave(&self) {
        self.inner.leaving.store(true, Ordering::Relaxed);
    }

    /// Looks which shared directory is mounted. An error says that it is not that of this cluster; one that was there and
    /// is not any more makes this node say so to routers, which then ask others.
    pub async fn look_at_directory(&self) -> Result<()> {
        let (storage, cluster) = (Arc::clone(&self.inner.storage), self.inner.options.cluster_id.clone());
        let before = self.inner.directory.load(Ordering::Relaxed);
        let found = self.inner.pools.io(move || directory_id(&*storage, &cluster)).await;
        let (now, failure) = match found {
            Ok(Some(id)) => (id, None),
            Ok(None) if before == 0 => (0, None),
            Ok(None) => {
                let text = "the shared directory has lost its marker file: is it still mounted?";
                (LOST, Some(Failure::internal(text)))
            }
            // That it could not be read says nothing of what is mounted.
            Err(failure) if failure.error.code == Code::IO => (before, Some(failure)),
            Err(failure) => (LOST, Some(failure)),
        };
        self.inner.directory.store(now, Ordering::Relaxed);
        self.inner.directory_fault.store(failure.as_ref().map(|failure| Arc::new(failure.to_string())));
        failure.map_or(Ok(()), Err)
    }

    /// Why this node cannot answer; empty when it can.
    pub fn not_ready(&self) -> Vec<String> {
        if self.sees_its_directory() {
            return Vec::new();
        }
        let fault = self.inner.directory_fault.load();
        let unmarked = "the shared directory has no marker file yet: no writable node has begun there";
        vec![fault.as_ref().map_or_else(|| unmarked.to_owned(), |fault| fault.to_string())]
    }

    /// What needs a look, though this node answers. Segments that are damaged or lack a file are no reason to send it no
    /// requests: it answers for all others, another node may have whole copies, and a file that is lost in the shared
    /// directory would take all nodes away at once.
    pub fn warnings(&self) -> Vec<String> {
        let fault = self.inner.directory_fault.load_full().filter(|_| self.sees_its_directory());
        let mut warnings: Vec<String> = fault.iter().map(|fault| fault.to_string()).collect();
        warnings.extend(self.inner.cache.faults());
        warnings
    }

    /// Whether it has seen the marker, and saw it when it looked last.
    pub(crate) fn sees_its_directory(&self) -> bool {
        !matches!(self.inner.directory.load(Ordering::Relaxed), 0 | LOST)
    }
}
