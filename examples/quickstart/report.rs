//! What was done, for people to read.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, IsTerminal, StdoutLock, Write};

use ctnetlink::Entry;

/// Writes steps: a word, a sentence, and the entries concerned as conntrack(8) prints them.
pub(crate) struct Report {
    out: StdoutLock<'static>,
    colour: bool,
}

impl Report {
    /// In colour on a terminal, unless `NO_COLOR` is set.
    pub(crate) fn to_stdout() -> Self {
        let out = io::stdout().lock();
        let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { out, colour }
    }

    pub(crate) fn step(&mut self, name: &str, text: impl Display) -> io::Result<()> {
        let (on, off) = self.style("\x1b[1;36m");
        writeln!(self.out, "{on}{name:<11}{off}{text}")
    }

    pub(crate) fn entries<'a>(
        &mut self,
        list: impl IntoIterator<Item = &'a Entry>,
    ) -> io::Result<()> {
        let (on, off) = self.style("\x1b[2m");
        list.into_iter()
            .try_for_each(|entry| writeln!(self.out, "    {on}{entry}{off}"))
    }

    fn style(&self, on: &'static str) -> (&'static str, &'static str) {
        if self.colour {
            (on, "\x1b[0m")
        } else {
            ("", "")
        }
    }
}

/// `1 entry`, `2 entries`.
pub(crate) fn entries(count: impl Display) -> String {
    let count = count.to_string();
    let noun = if count == "1" { "entry" } else { "entries" };
    format!("{count} {noun}")
}

/// Whether it is a write to a pipe that nobody reads any more.
pub(crate) fn is_closed_pipe(error: &(dyn Error + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
