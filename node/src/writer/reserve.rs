//! Bytes of the shared directory that nobody can take: a file that is there to be removed. A start on a full disk removes
//! it, and has room for its term's first files; reads go on then, and writes are refused until there is more room.

use super::{Writer, WriterParts};
use crate::{Failure, Result};
use mishards_storage::{Kind, Space};
use mishards_types::{Code, Entropy, Error};
use std::sync::Arc;

/// Its directory in the shared one, and its name.
const DIRECTORY: &str = "reserve";
const FILE: &str = "reserve/1";
const BYTES: usize = 8 << 20;
/// With less than this, no term can begin.
const NEEDED: u64 = 256 << 10;
/// The file is made where so many times its bytes are free.
const PLENTY: u64 = 8;

/// Sees that there is room for a new term, giving up the reserve if need be.
pub async fn make_room(parts: &WriterParts) -> Result<()> {
    let storage = Arc::clone(&parts.storage);
    let free = move || -> Result<Option<Space>> {
        let has_less_than = |bytes| move |space: &Space| space.total > 0 && space.free < bytes;
        if storage.space()?.filter(has_less_than(BYTES as u64)).is_some()
            && !storage.list(DIRECTORY)?.is_empty()
        {
            tracing::warn!(
                "the shared directory's disk is full: its reserve is given up, so that reads go on"
            );
            storage.remove(FILE)?;
        }
        Ok(storage.space()?.filter(has_less_than(NEEDED)))
    };
    match parts.pools.io(free).await? {
        None => Ok(()),
        Some(space) => Err(Failure::from(Error::new(
            Code::DISK_LIMIT,
            format!(
                "disk limit exceeded: {} bytes are free in the shared directory, a new term needs {NEEDED}: make room",
                space.free
            ),
        ))),
    }
}

impl Writer {
    /// Makes the reserve where it is not there and there is plenty of room.
    pub(super) async fn keep_reserve(&self) -> Result<()> {
        let (storage, entropy) = (Arc::clone(&self.parts.storage), Arc::clone(&self.parts.entropy));
        let make = move || {
            let is_there = !storage.list(DIRECTORY)?.is_empty();
            let has_plenty = storage.space()?.is_some_and(|space| space.free >= PLENTY * BYTES as u64);
            if is_there || !has_plenty {
                return Ok(());
            }
            match storage.put(FILE, &[&noise(&*entropy)]) {
                // Another writer's.
                Err(e) if e.kind == Kind::Exists => Ok(()),
                made => Ok(made?),
            }
        };
        self.parts.pools.io(make).await
    }
}

/// Bytes that no file system stores in fewer.
fn noise(entropy: &dyn Entropy) -> Vec<u8> {
    (0..BYTES / 8).flat_map(|_| entropy.next_u64().to_le_bytes()).collect()
}
