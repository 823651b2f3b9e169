//! What the exit status says.

use std::process::ExitCode;

use ctnetlink::Error;

/// Documented in docs/ctnl.md and in the manual page. 0, 1 and 2 are conntrack(8)'s own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Nothing matched, or what was asked for is not there.
    Nothing = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A part was done.
    Partial = 4,
    /// Refused before anything was changed: more than was allowed, protected, or somebody else's.
    Refused = 5,
    /// The right is missing.
    Permission = 6,
    /// The kernel said no, or could not be asked.
    Kernel = 7,
}

impl Exit {
    /// Whether somebody reads the output or not: what nobody wants is done.
    pub(crate) const fn from_reader(_: bool) -> Self {
        Self::Done
    }
}

impl From<&Error> for Exit {
    fn from(error: &Error) -> Self {
        if error.is_permission_denied() {
            Self::Permission
        } else if error.is_too_many() || error.is_conflict() || error.is_lost() {
            Self::Refused
        } else if error.is_invalid_input() {
            Self::Usage
        } else if error.is_not_found() || error.is_exhausted() {
            Self::Nothing
        } else {
            Self::Kernel
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
