//! The shared directory behind a trait: files that are written once, read anew, mapped and removed.
//!
//! A backend is one file; all of them pass the suite in `tests/conformance.rs`.

mod descriptors;
mod error;
mod faulty;
mod local_copies;
mod local_dir;
mod lock;
mod memory;
mod storage;

pub use error::{Error, Kind, Result};
pub use faulty::{Fault, Faulty};
pub use local_copies::LocalCopies;
pub use local_dir::LocalDir;
pub use lock::DirLock;
pub use memory::Memory;
pub use storage::{Entry, Sink, Space, Storage};
