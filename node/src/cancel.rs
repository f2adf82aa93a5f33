//! Whether anybody still waits for a piece of work. Every loop whose length grows with its input looks at it every few
//! thousand steps.

use crate::{Failure, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Steps between two looks.
pub const STRIDE: usize = 4096;

/// Cheap to clone; all clones are one flag.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Flag>);

#[derive(Default)]
struct Flag {
    is_set: AtomicBool,
    /// What is let go of when the last of the work has ended.
    _held: Option<Box<dyn std::any::Any + Send + Sync>>,
}

impl Cancel {
    /// Keeps `held` until every clone is gone, and with it the work that looks at it.
    pub fn holding(held: impl Send + Sync + 'static) -> Cancel {
        Cancel(Arc::new(Flag { is_set: AtomicBool::new(false), _held: Some(Box::new(held)) }))
    }

    pub fn cancel(&self) {
        self.0.is_set.store(true, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.is_set.load(Ordering::Relaxed)
    }

    /// An error when nobody waits any more.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Failure::internal("the caller went away")) } else { Ok(()) }
    }

    /// [`Cancel::check`] at some of the steps of a loop.
    pub fn check_at(&self, step: usize) -> Result<()> {
        if step.is_multiple_of(STRIDE) { self.check() } else { Ok(()) }
    }

    /// For loops of other crates.
    pub fn flag(&self) -> &AtomicBool {
        &self.0.is_set
    }

    /// Cancels when it is dropped: whoever waited has left.
    pub fn on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(self.clone())
    }
}

/// See [`Cancel::on_drop`].
pub struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
