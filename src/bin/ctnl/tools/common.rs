//! What the subcommands have in common: where they work, how they print, and words of the command
//! line.

use std::io::{self, IsTerminal, Write};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use ctnetlink::{Conntrack, Zone, ranges};

/// The namespace to work in.
pub(super) struct At(pub(super) Option<String>);

impl At {
    /// Digits are a process, a slash makes a path, anything else is a name.
    pub(super) fn open(&self) -> ctnetlink::Result<Conntrack> {
        let builder = Conntrack::builder();
        let builder = match self.0.as_deref() {
            None => builder,
            Some(path) if path.contains('/') => builder.netns_path(path),
            Some(word) => match word.parse() {
                Ok(pid) => builder.netns_pid(pid),
                Err(_) => builder.netns(word),
            },
        };
        builder.open()
    }

    /// How it is called in a heading.
    pub(super) fn name(&self) -> &str {
        self.0.as_deref().unwrap_or("this network namespace")
    }
}

/// How what was found is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Style {
    /// Aligned columns
    Table,
    /// One object a line, in the documented form
    Json,
}

/// Writes to standard output. Gives whether anybody reads it still: a closed pipe is no failure.
pub(super) fn print(text: &str) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// A value as a line of JSON.
pub(super) fn json_line(value: &impl serde::Serialize) -> anyhow::Result<String> {
    let mut line = serde_json::to_string(value).context("cannot write it as JSON")?;
    line.push('\n');
    Ok(line)
}

/// Colours, where somebody sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paint(bool);

/// The colours of a terminal (`SGR`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Blue = 34,
    Magenta = 35,
    Cyan = 36,
    Grey = 90,
}

impl Paint {
    #[cfg(test)]
    pub(super) const ON: Self = Self(true);
    #[cfg(test)]
    pub(super) const OFF: Self = Self(false);

    /// On a terminal, unless `NO_COLOR` or the terminal says otherwise.
    pub(super) fn of_stdout() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self(io::stdout().is_terminal() && !set("NO_COLOR") && !dumb)
    }

    pub(super) fn paint(self, colour: Colour, text: &str) -> String {
        if self.0 && !text.is_empty() {
            format!("\x1b[{}m{text}\x1b[0m", colour as u8)
        } else {
            text.to_owned()
        }
    }
}

/// Becomes true at the first SIGINT or SIGTERM; the second one ends the process at once.
pub(super) fn interruption() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
            .context("cannot wait for signals")?;
    }
    Ok(flag)
}

/// Seconds, or a number with one of the units s, m, h and d.
pub(super) fn duration(text: &str) -> anyhow::Result<Duration> {
    let digits = text.trim_end_matches(['s', 'm', 'h', 'd']);
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => bail!("a number of seconds, or one with s, m, h or d behind it, is expected"),
    };
    let number: u64 = digits
        .parse()
        .context("a number of seconds, or one with s, m, h or d behind it, is expected")?;
    let seconds = number.checked_mul(unit).context("that is too long")?;
    Ok(Duration::from_secs(seconds))
}

/// Zones from one to another, both included: `FIRST-LAST`, one number, or a range by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ZoneRange {
    pub(super) first: Zone,
    pub(super) last: Zone,
}

impl ZoneRange {
    pub(super) fn contains(self, zone: Zone) -> bool {
        self.first <= zone && zone <= self.last
    }
}

impl FromStr for ZoneRange {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let named = match text {
            "neutron" => Some(ranges::NEUTRON),
            "ovn" => Some(ranges::OVN),
            _ => None,
        };
        if let Some(range) = named {
            return Ok(Self {
                first: Zone::new(*range.start()),
                last: Zone::new(*range.end()),
            });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = Self {
            first: first.parse()?,
            last: last.parse()?,
        };
        if range.first > range.last {
            bail!("the range {text} ends before it begins");
        }
        Ok(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in [
            ("7", 7),
            ("7s", 7),
            ("5m", 300),
            ("2h", 7200),
            ("1d", 86_400),
        ] {
            assert_eq!(
                duration(text).unwrap(),
                Duration::from_secs(seconds),
                "{text}"
            );
        }
        for bad in [
            "",
            "s",
            "-1",
            "+",
            "1.5",
            "5mm",
            "5w",
            "99999999999999999999",
            "m5",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_have_two_ends() {
        let range = |text: &str| {
            text.parse::<ZoneRange>()
                .map(|r| (r.first.get(), r.last.get()))
        };
        assert_eq!(range("5-9").unwrap(), (5, 9));
        assert_eq!(range("7").unwrap(), (7, 7));
        assert_eq!(range("neutron").unwrap(), (4097, 65_535));
        for bad in ["", "9-5", "5-", "-5", "5-65536", "5-9-11", "calico"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn colours_only_where_they_are_seen() {
        assert_eq!(Paint::OFF.paint(Colour::Red, "x"), "x");
        assert_eq!(Paint::ON.paint(Colour::Red, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(Paint::ON.paint(Colour::Red, ""), "");
        // No test runs on a terminal that it sees.
        assert!(Paint::of_stdout().paint(Colour::Red, "x").contains('x'));
    }
}
