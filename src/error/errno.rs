//! What the system said.

use std::fmt;

/// An error number of the system, as in errno(3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// From the positive number, as in `<errno.h>`.
    #[must_use]
    pub const fn from_raw(raw: i32) -> Self {
        Self(raw)
    }

    /// The positive number.
    #[must_use]
    pub const fn raw(self) -> i32 {
        self.0
    }

    pub(crate) fn is(self, errno: nix::errno::Errno) -> bool {
        self.0 == errno as i32
    }
}

impl From<nix::errno::Errno> for Errno {
    fn from(errno: nix::errno::Errno) -> Self {
        Self(errno as i32)
    }
}

impl From<&std::io::Error> for Errno {
    fn from(error: &std::io::Error) -> Self {
        Self(
            error
                .raw_os_error()
                .unwrap_or(nix::errno::Errno::EIO as i32),
        )
    }
}

/// Shows the symbol, `ENOENT`.
impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match nix::errno::Errno::from_raw(self.0) {
            nix::errno::Errno::UnknownErrno => write!(f, "errno {}", self.0),
            known => write!(f, "{known:?}"),
        }
    }
}

/// Shows the symbol and its meaning, `ENOENT (No such file or directory)`.
impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match nix::errno::Errno::from_raw(self.0) {
            nix::errno::Errno::UnknownErrno => write!(f, "errno {}", self.0),
            known => write!(f, "{known:?} ({})", known.desc()),
        }
    }
}

/// An `NLMSG_ERROR`, or an `NLMSG_DONE` that carries an error: errno and extended ack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) errno: Errno,
    /// `NLMSGERR_ATTR_MSG`
    pub(crate) message: Option<String>,
    /// `NLMSGERR_ATTR_OFFS`: from the start of the request's netlink header.
    pub(crate) offset: Option<u32>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.errno, f)?;
        if let Some(message) = &self.message {
            write!(f, ": the kernel says {message:?}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, " (attribute at offset {offset} of the request)")?;
        }
        Ok(())
    }
}
