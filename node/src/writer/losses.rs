//! Acknowledged data that cannot be found any more: a log that is shorter than the catalog knows, damaged, or gone. Each
//! loss is said with its figures. A start refuses them all; `mishards repair --accept-loss` gives them up.

use super::takeover::log_failure;
use crate::{Failure, Result};
use mishards_wal::Log;

/// See the file's head.
#[derive(Default)]
pub struct Losses {
    accepted: bool,
    found: Vec<String>,
}

impl Losses {
    /// Refuses losses, or gives them up where an operator has `accepted` that.
    pub fn new(accepted: bool) -> Losses {
        Losses { accepted, found: Vec::new() }
    }

    pub fn are_accepted(&self) -> bool {
        self.accepted
    }

    /// Whether something has been given up.
    pub fn are_any(&self) -> bool {
        !self.found.is_empty()
    }

    /// Notes that something is missing: an error unless that is accepted.
    pub fn found(&mut self, what: impl std::fmt::Display) -> Result<()> {
        if !self.accepted {
            return Err(Failure::unreadable(format!(
                "{what}. Put back what is missing; what cannot be put back is shown by `mishards repair`, and given up by \
                 `mishards repair --accept-loss`"
            )));
        }
        tracing::error!(loss = %what, "acknowledged data is given up");
        self.found.push(what.to_string());
        Ok(())
    }

    /// A log that was read. One that is damaged is a loss; what a lossy scan stepped over is one each.
    pub fn of_log(&mut self, read: mishards_wal::Result<Log>) -> Result<Log> {
        use mishards_wal::Error::{Corrupt, MissingFile};
        match read {
            Err(e @ (Corrupt { .. } | MissingFile { .. })) => {
                self.found(e)?;
                Ok(Log::default())
            }
            read => read.map_err(log_failure),
        }
    }

    /// What was given up, a line each.
    pub fn into_lines(self) -> Vec<String> {
        self.found
    }
}
