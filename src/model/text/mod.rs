//! Entries and events as text, as conntrack(8) prints them, and its lines read back.
//!
//! What is written agrees byte for byte with conntrack 1.4.7 and `libnetfilter_conntrack` 1.0.9, save
//! where those say what is not so:
//!
//! - They print ports of 0 where the kernel gave none. Here there are none.
//! - In XML they name the states of SCTP and DCCP after those of TCP with the same numbers. Here they
//!   have their own names.
//! - A state that they do not know is `NONE` to them. Here it is `STATE_` and its number.
//! - They do not escape names, neither in lines nor in XML. Here names are escaped, and no name ends a
//!   line or a field.
//! - Where none of an entry's labels has a name, they write the word `labels` and nothing else. Here
//!   the field is left out.
//! - Of a `connlabel.conf` they pass over names with characters such as an underscore, which are read
//!   here, and read names of digits alone and the name `NONE`, which are passed over here.
//! - A flow that ended before it began, by a clock that was set back, is to them close to 2^64 seconds
//!   old. Here it is 0 seconds old.

mod gather;
mod line;
mod moment;
mod parse;
mod save;
mod xml;

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::SystemTime;

pub(crate) use line::Layer4Text;

use super::{Entry, Event, LabelNames};
use crate::error::{Error, Result};

/// How an entry is written: the formats of conntrack(8).
///
/// ```
/// use ctnetlink::{Entry, Format};
/// use std::time::Duration;
///
/// let dns = Entry::udp("10.0.0.1:40000".parse().unwrap(), "10.0.0.2:53".parse().unwrap())
///     .timeout(Duration::from_secs(30))
///     .build()?;
/// assert_eq!(
///     dns.entry().display(Format::Save).to_string(),
///     "-A -t 30 -s 10.0.0.1 -d 10.0.0.2 -r 10.0.0.2 -q 10.0.0.1 \
///      -p udp --sport 40000 --dport 53 --reply-port-src 53 --reply-port-dst 40000"
/// );
/// assert_eq!("save".parse::<Format>()?, Format::Save);
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// A line, as `conntrack -L` prints it.
    Plain,
    /// A line with the family in front, as `conntrack -o extended` prints it.
    Extended,
    /// The options that make the entry again, as `conntrack -o save` prints them and `conntrack -R`
    /// reads them. Marks, labels, helpers and ports that translation chose are not among what comes
    /// back: [`Entry::to_new`] keeps those.
    Save,
    /// An element `<flow>` on a line, as `conntrack -o xml` prints it. It has no ICMP fields.
    /// [`Format::header`] and [`Format::footer`] belong around all of them.
    Xml,
}

impl Format {
    /// What comes before the first entry: in XML the declaration and the opening tag, else nothing.
    #[must_use]
    pub const fn header(self) -> &'static str {
        match self {
            Self::Xml => "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<conntrack>\n",
            _ => "",
        }
    }

    /// What comes after the last entry: in XML the closing tag, else nothing.
    #[must_use]
    pub const fn footer(self) -> &'static str {
        match self {
            Self::Xml => "</conntrack>\n",
            _ => "",
        }
    }
}

/// `plain`, or conntrack(8)'s word: `extended`, `save`, `xml`.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Plain => "plain",
            Self::Extended => "extended",
            Self::Save => "save",
            Self::Xml => "xml",
        })
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "plain" => Ok(Self::Plain),
            "extended" => Ok(Self::Extended),
            "save" => Ok(Self::Save),
            "xml" => Ok(Self::Xml),
            _ => Err(Error::invalid(
                "format",
                text,
                "no such format",
                "plain, extended, save or xml",
            )),
        }
    }
}

/// What happened to the entry that is written.
#[derive(Debug, Clone, Copy)]
enum Happening {
    New,
    Update,
    Destroy,
}

/// An entry, or an event, that is written in a [`Format`] when it is printed.
///
/// From [`Entry::display`] and [`Event::display`]. What conntrack(8) adds with further words of `-o`
/// is added by methods; [`Format::Save`] takes none of them.
///
/// ```
/// use ctnetlink::{Entry, Format, LabelNames, Labels};
/// use std::time::Duration;
///
/// let names = LabelNames::from_text("1 seen\n2 heard\n")?;
/// let dns = Entry::udp("10.0.0.1:40000".parse().unwrap(), "10.0.0.2:53".parse().unwrap())
///     .labels(Labels::bit(2)?)
///     .timeout(Duration::from_secs(30))
///     .build()?;
/// let line = dns.entry().display(Format::Plain).id(true).labels(&names).to_string();
/// assert!(line.ends_with("dport=40000 labels=heard")); // it has no id as yet
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "nothing is written until it is printed"]
pub struct EntryDisplay<'a> {
    entry: &'a Entry,
    format: Format,
    happening: Option<Happening>,
    id: bool,
    timestamps: bool,
    /// `delta-time=`, which a line that is to be read back at any time does without.
    age: bool,
    labels: Option<&'a LabelNames>,
    now: Option<SystemTime>,
    heard: Option<SystemTime>,
    utc_offset: fn(SystemTime) -> i32,
}

impl<'a> EntryDisplay<'a> {
    const fn new(entry: &'a Entry, format: Format) -> Self {
        Self {
            entry,
            format,
            happening: None,
            id: false,
            timestamps: false,
            age: true,
            labels: None,
            now: None,
            heard: None,
            utc_offset: |_| 0,
        }
    }

    /// Whether a line ends with the id, as with `-o id`. XML always has it.
    pub const fn id(mut self, yes: bool) -> Self {
        self.id = yes;
        self
    }

    /// Whether to say when the flow began and ended, where that is known, as with `-o ktimestamp`.
    /// How long it has lasted is said in any case.
    #[doc(alias = "ktimestamp")]
    pub const fn timestamps(mut self, yes: bool) -> Self {
        self.timestamps = yes;
        self
    }

    /// The labels by these names, as with `-o labels`. Like conntrack(8), this leaves out labels
    /// without a name; [`Entry::labels`] has them all.
    pub const fn labels(mut self, names: &'a LabelNames) -> Self {
        self.labels = Some(names);
        self
    }

    /// The moment up to which a flow that has not ended is said to have lasted. Without this, it is
    /// the moment of printing.
    pub const fn now(mut self, now: SystemTime) -> Self {
        self.now = Some(now);
        self
    }

    /// When the event was heard of, as with `-o timestamp`. Of an entry that is no event,
    /// conntrack(8) does not say it, nor does this.
    #[doc(alias = "timestamp")]
    pub const fn heard(mut self, at: SystemTime) -> Self {
        self.heard = Some(at);
        self
    }

    /// How many seconds local time is ahead of UTC at a moment. Without this, moments are in UTC;
    /// conntrack(8) has them in the local time of its process.
    pub const fn utc_offset(mut self, offset: fn(SystemTime) -> i32) -> Self {
        self.utc_offset = offset;
        self
    }
}

impl fmt::Display for EntryDisplay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.format {
            Format::Plain | Format::Extended => line::write(f, self),
            Format::Save => save::write(f, self),
            Format::Xml => xml::write(f, self),
        }
    }
}

impl Entry {
    /// The entry as conntrack(8) prints it in a format. [`Format::Plain`] differs from printing the
    /// entry itself in that it says how long the flow has lasted.
    pub const fn display(&self, format: Format) -> EntryDisplay<'_> {
        EntryDisplay::new(self, format)
    }
}

impl Event {
    /// The event as `conntrack -E` prints it in a format, without the program that caused it. `None`
    /// for what is not about an entry.
    #[must_use]
    pub const fn display(&self, format: Format) -> Option<EntryDisplay<'_>> {
        let (entry, happening) = match self {
            Self::New(entry) => (entry, Happening::New),
            Self::Update(entry) => (entry, Happening::Update),
            Self::Destroy(entry) => (entry, Happening::Destroy),
            // Of these conntrack(8) prints the line, which is their own.
            Self::ExpectNew(_)
            | Self::ExpectUpdate(_)
            | Self::ExpectDestroy(_)
            | Self::Overrun(_) => return None,
        };
        Some(EntryDisplay {
            happening: Some(happening),
            ..EntryDisplay::new(entry, format)
        })
    }
}

/// An address as `inet_ntop` writes it: where it begins with 96 zero bits and goes on with others, the
/// last 32 are written as an IPv4 address. The standard library does so for `::ffff:0:0/96` alone.
pub(super) struct Address(pub(super) IpAddr);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V6(address) => match address.segments() {
                [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
                    let last = u32::from(high) << 16 | u32::from(low);
                    write!(f, "::{}", Ipv4Addr::from(last))
                }
                _ => fmt::Display::fmt(&address, f),
            },
            IpAddr::V4(address) => fmt::Display::fmt(&address, f),
        }
    }
}

/// A name that somebody chose, as a word of a line: what would end the word or the line, or steer a
/// terminal, is written as `\u{..}`, and so is the backslash.
pub(crate) struct Word<'a>(pub(crate) &'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() || c.is_whitespace() || c == '\\' {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// The name that [`Word`] wrote. What is no escape is taken as it is, for conntrack(8) writes none.
pub(crate) fn unescape(word: &str) -> String {
    let mut name = String::with_capacity(word.len());
    let mut rest = word;
    while let Some((before, after)) = rest.split_once("\\u{") {
        name.push_str(before);
        // At most six digits: a search to the end of the line would be made at each escape.
        let near = after.bytes().take(7).position(|byte| byte == b'}');
        let escaped = near.and_then(|end| {
            let (digits, after) = (after.get(..end)?, after.get(end + 1..)?);
            let number = super::digits(digits, 16)?;
            Some((char::from_u32(number)?, after))
        });
        if let Some((c, after)) = escaped {
            name.push(c);
            rest = after;
        } else {
            name.push_str("\\u{");
            rest = after;
        }
    }
    name.push_str(rest);
    name
}

#[cfg(test)]
mod tests;
