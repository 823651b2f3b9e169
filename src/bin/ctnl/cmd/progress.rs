//! A bar on standard error, for work that takes longer than a second and that somebody looks at.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often the clock is looked at.
const STEP: u64 = 256;

pub(super) struct Progress {
    begun: Instant,
    what: &'static str,
    total: Option<u64>,
    bar: Option<ProgressBar>,
    watched: bool,
}

impl Progress {
    /// Where lines are printed meanwhile, `printing`, not on the same terminal.
    pub(super) fn new(what: &'static str, total: Option<u64>, printing: bool) -> Self {
        Self {
            begun: Instant::now(),
            what,
            total,
            bar: None,
            watched: std::io::stderr().is_terminal()
                && !(printing && std::io::stdout().is_terminal()),
        }
    }

    /// So many are done.
    pub(super) fn at(&mut self, done: u64) {
        if !self.watched || done % STEP != 0 {
            return;
        }
        if self.bar.is_none() && self.begun.elapsed() > Duration::from_secs(1) {
            let bar = self
                .total
                .map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            let style = if self.total.is_some() {
                "{wide_bar} {human_pos}/{human_len} {msg}, {eta} left"
            } else {
                "{human_pos} {msg}, {elapsed}"
            };
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar.set_message(self.what);
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    pub(super) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
