//! Room on the shared directory's file system. Writes are refused while there is just enough left for what must still be
//! written: the growing rows, the log's own records, the catalog. A disk that has room again is noticed without anybody's
//! help. One that others fill at once, down to the last byte, ends no term either: a group that has no room is taken back.

use super::Writer;
use crate::Result;
use mishards_types::{Code, Error};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const EVERY: Duration = Duration::from_millis(250);
/// Of the whole file system this part is kept, …
const SHARE: u64 = 20;
/// … and this much at most.
const MOST: u64 = 1 << 30;
/// Changes of the catalog take from what is kept, down to this.
const CHANGES: u64 = 1 << 20;
/// Between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(30);

/// What is known of the room, in bytes.
pub struct Room {
    free: AtomicU64,
    reserve: AtomicU64,
}

impl Default for Room {
    /// Nothing is known: then nothing is refused.
    fn default() -> Room {
        Room { free: AtomicU64::new(u64::MAX), reserve: AtomicU64::new(0) }
    }
}

impl Room {
    /// There was no room for a write: what was known is not so any more, and is seen anew soon.
    pub fn is_full(&self) {
        self.free.store(0, Ordering::Relaxed);
    }

    /// Counts what was written since the last look.
    pub fn take(&self, bytes: u64) {
        let take = |free: u64| (free != u64::MAX).then(|| free.saturating_sub(bytes));
        let _ = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
    }
}

impl Writer {
    pub(super) async fn room_loop(self: Arc<Writer>) {
        let mut warned: Option<Duration> = None;
        while !self.has_ended() {
            if let Err(e) = self.look_at_room().await {
                tracing::warn!(error = %e, "the room of the shared directory is not known");
            }
            let now = self.parts.clock.elapsed();
            match self.check_disk() {
                Err(e) if warned.is_none_or(|at| now.saturating_sub(at) >= WARN_EVERY) => {
                    tracing::warn!(error = %e, "writes are refused, reads go on");
                    warned = Some(now);
                }
                Ok(()) if warned.take().is_some() => tracing::info!("there is room again, writes are taken"),
                _ => {}
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn look_at_room(&self) -> Result<()> {
        let storage = Arc::clone(&self.parts.storage);
        let space = self.parts.pools.fence(move || Ok(storage.space()?)).await?;
        // Some file systems of networks know no size.
        if let Some(space) = space.filter(|space| space.total > 0) {
            self.room.reserve.store((space.total / SHARE).min(MOST), Ordering::Relaxed);
            self.room.free.store(space.free, Ordering::Relaxed);
        } else {
            self.room.free.store(u64::MAX, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Refuses a change of the catalog whose record would have to wait for room.
    pub(super) fn check_room_for_changes(&self) -> Result<()> {
        let free = self.room.free.load(Ordering::Relaxed);
        if free >= CHANGES {
            return Ok(());
        }
        let text = format!(
            "disk limit exceeded: {free} bytes are free, a change of the catalog needs {CHANGES}: make room, or drop something"
        );
        Err(Error::new(Code::DISK_LIMIT, text).into())
    }

    /// Refuses a write when what must still be written would have no room.
    pub(super) fn check_disk(&self) -> Result<()> {
        let (free, reserve) =
            (self.room.free.load(Ordering::Relaxed), self.room.reserve.load(Ordering::Relaxed));
        // What is on its way is written to the log, and to a segment later.
        let on_its_way = self.in_flight.load(Ordering::Relaxed) as u64;
        let growing = self.unpublished_bytes() as u64 * 5 / 4 + on_its_way.saturating_mul(9) / 4;
        if free >= reserve.saturating_add(growing) {
            return Ok(());
        }
        // Written out, rows free the log files that hold them.
        self.seal(&mut self.state(), |g| g.rows() > 0);
        self.flush_wanted.notify_one();
        Err(Error::new(
            Code::DISK_LIMIT,
            format!(
                "disk limit exceeded: {free} bytes are free, {growing} are needed to write out what is growing and {reserve} are \
                 kept: make room, writes go on by themselves then"
            ),
        )
        .into())
    }

    /// Whether work that may wait, and makes new files of so many bytes, has the room for them.
    pub(super) fn has_room_for(&self, bytes: u64) -> bool {
        let free = self.room.free.load(Ordering::Relaxed);
        free == u64::MAX || free / 2 > bytes
    }
}
