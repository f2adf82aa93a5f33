//! Descriptors that are kept for files: connections of clients may take all others of the process, and the log, its fence
//! and searches must go on.

use std::fs::File;
use std::io::Result;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

const KEPT: usize = 16;
/// Something that can be opened any number of times.
const NOTHING: &str = "/dev/null";
/// How often a file is opened anew when none is left, half a minute in all.
const TRIES: u32 = 600;
const PAUSE: Duration = Duration::from_millis(50);

static NOTHING_OPEN: OnceLock<File> = OnceLock::new();
static SPARE: Mutex<Vec<File>> = Mutex::new(Vec::new());

fn spare() -> MutexGuard<'static, Vec<File>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the descriptors that are to be kept, as far as there are any.
pub fn keep() {
    if NOTHING_OPEN.get().is_none()
        && let Ok(file) = File::open(NOTHING)
    {
        let _ = NOTHING_OPEN.set(file);
    }
    let mut kept = spare();
    while kept.len() < KEPT
        && let Ok(file) = File::open(NOTHING)
    {
        kept.push(file);
    }
}

/// Opens a file: with one of the kept descriptors when this process has no other left, and waiting for a while when it has
/// none at all. Nothing has happened then, and connections come and go.
pub fn open(open: impl Fn() -> Result<File>) -> Result<File> {
    let mut left = TRIES;
    loop {
        match open() {
            Err(e) if left > 0 && matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                left -= 1;
                // Closed with the lock held, and opened at once: an accept may still be faster.
                if spare().pop().is_none() {
                    std::thread::sleep(PAUSE);
                }
            }
            opened => return opened,
        }
    }
}

/// Closes a file, unless its descriptor is one to be kept: closed, the next connection would have it.
pub fn close(file: File) {
    let mut kept = spare();
    if kept.len() >= KEPT {
        return;
    }
    // The file itself is let go of: its bytes may be free one day.
    let Some(nothing) = NOTHING_OPEN.get() else { return };
    // SAFETY: both are open, and `dup2` puts one in the other's place in one step.
    if unsafe { libc::dup2(nothing.as_raw_fd(), file.as_raw_fd()) } >= 0 {
        kept.push(file);
    }
}
