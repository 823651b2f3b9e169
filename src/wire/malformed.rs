//! Where and why bytes are not what they should be.

use std::fmt;

use super::path::Path;
use crate::error::{Error, Operation};

/// Where and why bytes from the kernel are not what they should be.
///
/// Small and without allocation: damage in every message of a dump must cost no more than the dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) path: Path,
    /// From the start of the netlink header.
    pub(crate) offset: u32,
    pub(crate) problem: &'static str,
}

impl Malformed {
    /// As the public error of an operation.
    #[cold]
    #[inline(never)]
    pub(crate) fn error(self, operation: Operation) -> Error {
        Error::malformed(operation, self.offset, self.to_string())
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at offset {}: {}",
            self.path, self.offset, self.problem
        )
    }
}
