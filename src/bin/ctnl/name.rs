//! The name that the command was called by, and what follows from it.

use std::ffi::OsStr;
use std::fmt;
use std::io::Write;
use std::path::Path;

use crate::args::Refusal;
use crate::exit::Exit;

/// Who this is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// conntrack(8), through a link of that name: its grammar and its exit statuses.
    Conntrack,
    /// Itself.
    Ctnl,
}

impl Name {
    pub(crate) fn of(program: Option<&OsStr>) -> Self {
        let name = program.and_then(|program| Path::new(program).file_name());
        if name == Some(OsStr::new("conntrack")) {
            Self::Conntrack
        } else {
            Self::Ctnl
        }
    }

    /// Whether what conntrack(8) does not have is there.
    pub(crate) fn has_additions(self) -> bool {
        self == Self::Ctnl
    }

    /// A line on standard error, as conntrack(8) begins its own.
    pub(crate) fn says(self, line: impl fmt::Display) {
        let _ = match self {
            Self::Conntrack => {
                writeln!(
                    std::io::stderr().lock(),
                    "conntrack v1.4.7 (conntrack-tools): {line}"
                )
            }
            Self::Ctnl => writeln!(std::io::stderr().lock(), "ctnl: {line}"),
        };
    }

    pub(crate) fn refuses(self, refusal: &Refusal) -> u8 {
        self.says(refusal);
        if refusal.of_conntrack() == Exit::Usage as u8 {
            let help = match self {
                Self::Conntrack => "conntrack -h",
                Self::Ctnl => "ctnl --help",
            };
            let _ = writeln!(std::io::stderr().lock(), "`{help}` tells the options.");
        }
        match self {
            Self::Conntrack => refusal.of_conntrack(),
            Self::Ctnl => Exit::Usage as u8,
        }
    }

    /// The exit status; conntrack(8) has three.
    pub(crate) fn status(self, exit: Exit) -> u8 {
        match (self, exit) {
            (Self::Ctnl, exit) => exit as u8,
            (Self::Conntrack, Exit::Done) => 0,
            (Self::Conntrack, Exit::Usage) => 2,
            (Self::Conntrack, _) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_the_file() {
        let of = |text: &str| Name::of(Some(OsStr::new(text)));
        assert_eq!(of("conntrack"), Name::Conntrack);
        assert_eq!(of("/usr/sbin/conntrack"), Name::Conntrack);
        assert_eq!(of("./ctnl"), Name::Ctnl);
        assert_eq!(of("conntrack/ctnl"), Name::Ctnl);
        assert_eq!(Name::of(None), Name::Ctnl);
    }

    #[test]
    fn conntrack_has_three_exit_statuses() {
        for exit in [
            Exit::Nothing,
            Exit::Partial,
            Exit::Refused,
            Exit::Permission,
            Exit::Kernel,
        ] {
            assert_eq!(Name::Conntrack.status(exit), 1);
            assert_eq!(Name::Ctnl.status(exit), exit as u8);
        }
        assert_eq!(Name::Conntrack.status(Exit::Usage), 2);
        assert_eq!(Name::Conntrack.status(Exit::Done), 0);
    }
}
