//! An end that is asked for from outside.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

/// Whether `SIGINT` or `SIGTERM` came. The first lets what is under way end in order, with what was
/// counted so far; the second ends the process.
pub(crate) struct Stop {
    asked: Arc<AtomicBool>,
    wakes: UnixStream,
}

impl Stop {
    /// # Errors
    /// When the signals cannot be caught.
    pub(crate) fn new() -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let (wakes, waker) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM] {
            // In this order: only a second signal finds the flag set.
            signal_hook::flag::register_conditional_shutdown(
                signal,
                128 + signal,
                Arc::clone(&asked),
            )?;
            signal_hook::flag::register(signal, Arc::clone(&asked))?;
            signal_hook::low_level::pipe::register(signal, waker.try_clone()?)?;
        }
        Ok(Self { asked, wakes })
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Readable when the end was asked for.
impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wakes.as_fd()
    }
}
