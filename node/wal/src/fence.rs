//! The fence: a file in each log's directory that is empty while its writer may acknowledge. A successor
//! fills it before it opens the log. A writer opens it anew after each fsync: empty proves that the fsync
//! came before the successor's replay (invariant 1).

use crate::Result;
use mishards_storage::{Kind, Storage};
use mishards_types::LogId;

/// Name of the fence in its log's directory.
pub const FENCE: &str = "fence";

fn path(log: LogId) -> String {
    format!("log/{log}/{FENCE}")
}

/// Makes the empty fence of a new log.
pub fn make_fence(storage: &dyn Storage, log: LogId) -> Result<()> {
    Ok(storage.put(&path(log), &[])?)
}

/// Fills the fence of `log`: its writer acknowledges nothing that is not durable by now.
pub fn set_fence(storage: &dyn Storage, log: LogId, successor: LogId) -> Result<()> {
    Ok(storage.replace(&path(log), successor.to_string().as_bytes())?)
}

/// Removes the fence of a log that is done with.
pub fn remove_fence(storage: &dyn Storage, log: LogId) -> Result<()> {
    Ok(storage.remove(&path(log))?)
}

/// Whether a successor has filled the fence of `log`. One that is not there was never made, or has been removed.
pub fn is_set(storage: &dyn Storage, log: LogId) -> Result<bool> {
    match storage.read(&path(log)) {
        Ok(bytes) => Ok(!bytes.is_empty()),
        Err(e) if e.kind == Kind::NotFound => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Whether anybody but `ours` has fenced `log`, or one of ours that has fenced it: whoever comes after one that has begun fences
/// that one, and no log before it. A fence that is gone counts as set; one of ours that was never made does not, for then that
/// log has never begun.
pub fn is_fenced_by_others(storage: &dyn Storage, log: LogId, ours: &[LogId]) -> Result<bool> {
    let mut last = log;
    loop {
        match storage.read(&path(last)) {
            Ok(bytes) if bytes.is_empty() => return Ok(false),
            Ok(bytes) => {
                let by = ours.iter().find(|log| log.to_string().as_bytes() == &*bytes);
                match by.filter(|by| by.epoch > last.epoch) {
                    Some(by) => last = *by,
                    None => return Ok(true),
                }
            }
            Err(e) if e.kind == Kind::NotFound => return Ok(last == log),
            Err(e) => return Err(e.into()),
        }
    }
}

/// Whether a successor has fenced `log`. A fence that is gone counts as set.
pub fn is_fenced(storage: &dyn Storage, log: LogId) -> Result<bool> {
    match storage.read(&path(log)) {
        Ok(bytes) => Ok(!bytes.is_empty()),
        Err(e) if e.kind == Kind::NotFound => Ok(true),
        Err(e) => Err(e.into()),
    }
}
