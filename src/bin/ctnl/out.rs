//! The two streams. What nobody reads any more is no failure.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

/// Written out when this much is there.
const FULL: usize = 64 * 1024;

/// Standard output, gathered: a system call for some hundred lines, and no lock for each.
pub(crate) struct Out {
    file: File,
    text: String,
}

impl Out {
    /// # Errors
    /// Without a standard output.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            file: File::from(io::stdout().as_fd().try_clone_to_owned()?),
            text: String::with_capacity(FULL + FULL / 8),
        })
    }

    /// A line.
    ///
    /// # Errors
    /// When it cannot be written; [`io::ErrorKind::BrokenPipe`] when nobody reads it any more.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> io::Result<()> {
        let _ = writeln!(self.text, "{line}");
        self.written()
    }

    /// Text as it is.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub(crate) fn text(&mut self, text: impl fmt::Display) -> io::Result<()> {
        let _ = write!(self.text, "{text}");
        self.written()
    }

    fn written(&mut self) -> io::Result<()> {
        if self.text.len() < FULL {
            return Ok(());
        }
        self.flush()
    }

    /// Writes out what was gathered.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let written = self.file.write_all(self.text.as_bytes());
        self.text.clear();
        written
    }
}
