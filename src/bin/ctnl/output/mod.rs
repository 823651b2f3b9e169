//! How entries are printed: the library's formats, and those beyond them.

mod expectations;
mod table;

use std::io::{self, IsTerminal};

use ctnetlink::{Entry, Event, Expectation, Format, LabelNames};

use crate::args::Outputs;
use crate::out::Out;
use table::Table;

/// Prints entries, events and expectations in the way that `-o` says.
pub(crate) struct Printer {
    outputs: Outputs,
    format: Format,
    labels: Option<LabelNames>,
    table: Option<Table>,
    framed: Framed,
    /// What comes before the first was printed.
    begun: bool,
}

/// Whether an element of XML stands in a document. conntrack(8) has none around what it deletes or
/// changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framed {
    Yes,
    No,
}

impl Printer {
    pub(crate) fn new(outputs: Outputs, labels: Option<LabelNames>, framed: Framed) -> Self {
        let format = if outputs.save {
            Format::Save
        } else if outputs.xml {
            Format::Xml
        } else if outputs.extended {
            Format::Extended
        } else {
            Format::Plain
        };
        let coloured = || {
            let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            !plain && io::stdout().is_terminal()
        };
        Self {
            outputs,
            format,
            labels,
            table: outputs.table.then(|| Table::new(coloured())),
            framed,
            begun: false,
        }
    }

    /// # Errors
    /// When it cannot be written.
    #[inline]
    pub(crate) fn entry(&mut self, out: &mut Out, entry: &Entry) -> io::Result<()> {
        if self.outputs.json {
            return json(out, entry);
        }
        if let Some(table) = &mut self.table {
            return table.entry(out, entry, self.labels.as_ref());
        }
        self.begin(out)?;
        let line = entry
            .display(self.format)
            .id(self.outputs.id)
            .timestamps(self.outputs.ktimestamp)
            .utc_offset(crate::clock::utc_offset);
        match &self.labels {
            Some(names) => out.line(line.labels(names)),
            None => out.line(line),
        }
    }

    /// An entry that was deleted: `-o save` says so.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn deleted(&mut self, out: &mut Out, entry: &Entry) -> io::Result<()> {
        if self.format != Format::Save {
            return self.entry(out, entry);
        }
        let event = Event::Destroy(entry.clone());
        match event.display(Format::Save) {
            Some(line) => out.line(line),
            None => Ok(()),
        }
    }

    /// # Errors
    /// When it cannot be written.
    pub(crate) fn event(
        &mut self,
        out: &mut Out,
        event: &Event,
        caused_by: impl std::fmt::Display,
    ) -> io::Result<()> {
        if self.outputs.json {
            return json(out, event);
        }
        if let (Some(table), Some(entry)) = (&mut self.table, event.entry()) {
            return table.event(out, event, entry, self.labels.as_ref());
        }
        let Some(line) = event.display(self.format) else {
            return Ok(());
        };
        self.begin(out)?;
        let mut line = line
            .id(self.outputs.id)
            .timestamps(self.outputs.ktimestamp)
            .utc_offset(crate::clock::utc_offset);
        if self.outputs.timestamp {
            line = line.heard(std::time::SystemTime::now());
        }
        if let Some(names) = &self.labels {
            line = line.labels(names);
        }
        out.line(format_args!("{line}{caused_by}"))
    }

    /// # Errors
    /// When it cannot be written.
    pub(crate) fn expectation(
        &mut self,
        out: &mut Out,
        expectation: &Expectation,
    ) -> io::Result<()> {
        if self.outputs.json {
            return json(out, expectation);
        }
        if self.outputs.xml {
            if !self.begun {
                self.begun = true;
                out.text("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<expect>\n")?;
            }
            return out.line(expectations::Xml(expectation, None));
        }
        out.line(format_args!("{}{expectation}", self.stamp()))
    }

    /// # Errors
    /// When it cannot be written.
    pub(crate) fn expectation_event(&mut self, out: &mut Out, event: &Event) -> io::Result<()> {
        let Some(expectation) = event.expectation() else {
            return Ok(());
        };
        if self.outputs.json {
            return json(out, event);
        }
        if self.outputs.xml {
            if !self.begun {
                self.begun = true;
                out.text("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<expect>\n")?;
            }
            return out.line(expectations::Xml(expectation, Some(event)));
        }
        let happening = expectations::happening(event);
        out.line(format_args!("{}{happening}{expectation}", self.stamp()))
    }

    /// Expectations are stamped with the moment of printing, in a list too.
    fn stamp(&self) -> expectations::Stamp {
        expectations::Stamp(self.outputs.timestamp.then(std::time::SystemTime::now))
    }

    /// What comes after the last.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn end(&mut self, out: &mut Out, expectations: bool) -> io::Result<()> {
        if let Some(table) = &mut self.table {
            table.end(out)?;
        }
        if self.begun && self.framed == Framed::Yes && self.outputs.xml {
            if expectations {
                out.text("</expect>\n")?;
            } else {
                out.text(self.format.footer())?;
            }
        }
        out.flush()
    }

    fn begin(&mut self, out: &mut Out) -> io::Result<()> {
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        match self.framed {
            Framed::Yes => out.text(self.format.header()),
            Framed::No => Ok(()),
        }
    }
}

/// One object a line, in the form of docs/json.md.
fn json(out: &mut Out, value: &impl serde::Serialize) -> io::Result<()> {
    let line = serde_json::to_string(value).map_err(io::Error::other)?;
    out.line(line)
}
