//! The two streams. What nobody reads any more is no failure.

use std::io::Write;

/// A line on standard error.
pub(crate) fn complain(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "ctnl: {line}");
}
