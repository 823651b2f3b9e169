//! Filters as words: `zone=5 protocol=tcp orig-dst-port=1-1023`.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::{Filter, hexadecimal, number};
use crate::error::{Error, Result};
use crate::model::{EscapedWord, Helper, Labels, Protocol, Status, unescape};

/// The words, in the order in which they are printed: the condition that each sets, how its value is
/// read, and how it is written.
macro_rules! words {
    ($($name:literal => $($field:ident).+: $read:expr, $write:expr;)*) => {
        impl Filter {
            /// What a word before the `=` may be.
            pub(super) const WORDS: &'static [&'static str] = &[$($name),*];

            /// Sets what a word says. `None` if there is no such word, `false` if it was said before.
            fn say(&mut self, name: &str, value: &str) -> Option<Result<bool>> {
                Some(match name {
                    $($name => $read(value).map(|read| self.$($field).+.replace(read).is_none()),)*
                    _ => return None,
                })
            }
        }

        /// The words of the conditions in one order, or `all`.
        impl Display for Filter {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                if self.is_empty() {
                    return f.write_str("all");
                }
                let mut space = "";
                $(if let Some(value) = &self.$($field).+ {
                    write!(f, concat!("{}", $name, "="), space)?;
                    $write(value, f)?;
                    space = " ";
                })*
                let _ = space;
                Ok(())
            }
        }
    };
}
words! {
    "family" => family: str::parse, plain;
    "zone" => zone: str::parse, plain;
    "orig-zone" => zone_in.orig: str::parse, plain;
    "reply-zone" => zone_in.reply: str::parse, plain;
    "mark" => mark: str::parse, plain;
    "status" => status: read_status, |bits: &_, f| write_status(*bits, f);
    "labels" => labels: read_labels, write_labels;
    "protocol" => protocol: read_protocol, plain;
    "orig-src" => orig.src: prefix, plain;
    "orig-dst" => orig.dst: prefix, plain;
    "orig-src-port" => orig.src_port: str::parse, plain;
    "orig-dst-port" => orig.dst_port: str::parse, plain;
    "reply-src" => reply.src: prefix, plain;
    "reply-dst" => reply.dst: prefix, plain;
    "reply-src-port" => reply.src_port: str::parse, plain;
    "reply-dst-port" => reply.dst_port: str::parse, plain;
    "icmp-type" => icmp_type: |text| any_of(text, "a number from 0 to 255"), plain;
    "icmp-code" => icmp_code: |text| any_of(text, "a number from 0 to 255"), plain;
    "icmp-id" => icmp_id: |text| any_of(text, "a number from 0 to 65535"), plain;
    "state" => tcp_state: str::parse, plain;
    "helper" => helper: |text| Helper::new(&unescape(text)), write_helper;
    "nat" => nat: str::parse, plain;
    "timeout" => timeout: str::parse, plain;
    "id" => id: |text| any_of(text, "a number from 0 to 4294967295"), plain;
}

/// Widths that a filter is printed with are not those of its values.
fn plain(value: &impl Display, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "{value}")
}

/// What people write for a word, what is wrong with it, and what is right.
const NEARLY: &[(&[&str], &str, &str)] = &[
    (
        &["src", "saddr", "source"],
        "the direction is missing",
        "orig-src or reply-src",
    ),
    (
        &["dst", "daddr", "destination"],
        "the direction is missing",
        "orig-dst or reply-dst",
    ),
    (
        &["sport", "src-port"],
        "the direction is missing",
        "orig-src-port or reply-src-port",
    ),
    (
        &["dport", "dst-port"],
        "the direction is missing",
        "orig-dst-port or reply-dst-port",
    ),
    (
        &["port", "orig-port", "reply-port"],
        "direction and end are missing",
        "orig-src-port, orig-dst-port, reply-src-port or reply-dst-port",
    ),
    (&["orig-sport"], "no such condition", "orig-src-port"),
    (&["orig-dport"], "no such condition", "orig-dst-port"),
    (&["reply-sport"], "no such condition", "reply-src-port"),
    (&["reply-dport"], "no such condition", "reply-dst-port"),
    (
        &["proto", "protonum", "l4proto"],
        "no such condition",
        "protocol",
    ),
    (&["tcp-state"], "no such condition", "state"),
    (&["label"], "no such condition", "labels"),
    (&["type"], "no such condition", "icmp-type"),
    (&["code"], "no such condition", "icmp-code"),
];

/// The words that [`Filter`] lists. Empty text is refused: a condition that got lost must not turn
/// into all entries.
impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut filter = Self::new();
        let mut words = text.split_whitespace();
        let Some(first) = words.next() else {
            return Err(refuse(
                text,
                "it says nothing",
                "conditions such as zone=5, or `all` for every entry",
            ));
        };
        if first == "all" {
            return match words.next() {
                None => Ok(filter),
                Some(_) => Err(refuse(
                    text,
                    "`all` stands beside conditions",
                    "either of both",
                )),
            };
        }
        for word in std::iter::once(first).chain(words) {
            let Some((name, value)) = word.split_once('=') else {
                return Err(match word {
                    "all" => refuse(text, "`all` stands beside conditions", "either of both"),
                    _ => unknown(word, word),
                });
            };
            match filter.say(name, value) {
                Some(Ok(true)) => {}
                Some(Ok(false)) => {
                    let problem = format!("{name} is given twice");
                    return Err(refuse(word, problem, "each condition once"));
                }
                Some(Err(error)) => return Err(error.part_of("filter", word)),
                None => return Err(unknown(name, word)),
            }
        }
        Ok(filter)
    }
}

fn refuse(
    word: &str,
    problem: impl Into<std::borrow::Cow<'static, str>>,
    expected: impl Into<std::borrow::Cow<'static, str>>,
) -> Error {
    Error::invalid("filter", word, problem, expected)
}

/// The error of a word whose name is none.
fn unknown(name: &str, word: &str) -> Error {
    let hyphens = name.replace('_', "-").to_ascii_lowercase();
    if let Some(known) = Filter::WORDS.iter().find(|known| **known == hyphens) {
        let problem = if name == *known {
            "it has no value"
        } else {
            "no such condition"
        };
        return refuse(word, problem, format!("{known}=VALUE"));
    }
    let nearly = NEARLY
        .iter()
        .find(|(names, ..)| names.contains(&hyphens.as_str()));
    match nearly {
        Some((_, problem, expected)) => refuse(word, *problem, *expected),
        None => refuse(
            word,
            "no such condition",
            format!(
                "`all`, or NAME=VALUE with one of {}",
                Filter::WORDS.join(", ")
            ),
        ),
    }
}

fn any_of<N: TryFrom<u64>>(text: &str, expected: &'static str) -> Result<N> {
    number(text).ok_or_else(|| refuse(text, "not such a number", expected))
}

/// `ADDRESS/LENGTH`, or an address alone for a prefix of nothing else.
pub(super) fn prefix(text: &str) -> Result<IpNet> {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| {
            let expected = "a prefix such as 10.0.0.0/24, or an address";
            Error::invalid("prefix", text, "not a prefix", expected)
        })
}

fn read_protocol(text: &str) -> Result<Protocol> {
    number(text).map_or_else(|| text.parse(), |number| Ok(Protocol::new(number)))
}

/// Bits of either kind, with those that are to be off behind a `!`, as a value and its mask.
fn read_bits<T>(
    text: &str,
    expected: &'static str,
    bits: impl Fn(&str) -> Option<T>,
) -> Result<(T, T)>
where
    T: Copy + Default + PartialEq + std::ops::BitOr<Output = T> + std::ops::BitAnd<Output = T>,
{
    let none = T::default();
    let (mut on, mut mask) = (none, none);
    if text == "any" {
        return Ok((on, mask));
    }
    for word in text.split(',') {
        let (off, name) = match word.strip_prefix('!') {
            Some(name) => (true, name),
            None => (false, word),
        };
        // A word that asks for nothing would be lost.
        let Some(these) = bits(name).filter(|these| *these != none) else {
            return Err(refuse(text, format!("{word:?} is none"), expected));
        };
        if mask & these != none {
            return Err(refuse(text, format!("{name} is given twice"), expected));
        }
        mask = mask | these;
        if !off {
            on = on | these;
        }
    }
    Ok((on, mask))
}

fn read_status(text: &str) -> Result<(Status, Status)> {
    let expected = "bits such as ASSURED,!DYING, or `any`";
    read_bits(text, expected, |name| match hexadecimal(name) {
        Some(_) => number(name).map(Status::from_bits_retain),
        None => Status::from_name(name),
    })
}

fn write_status((on, mask): (Status, Status), f: &mut Formatter<'_>) -> fmt::Result {
    if mask.is_empty() {
        return f.write_str("any");
    }
    let mut rest = mask;
    let mut comma = "";
    for (name, bit) in mask.iter_names() {
        let off = if on.contains(bit) { "" } else { "!" };
        write!(f, "{comma}{off}{name}")?;
        rest.remove(bit);
        comma = ",";
    }
    for (off, bits) in [("", rest & on), ("!", rest.difference(on))] {
        if !bits.is_empty() {
            write!(f, "{comma}{off}{:#x}", bits.bits())?;
            comma = ",";
        }
    }
    Ok(())
}

fn read_labels(text: &str) -> Result<(Labels, Labels)> {
    let expected = "labels such as 1,!77, 1,77/all for no others, NONE/all, or `any`";
    let bit = |name: &str| Some(1_u128 << number::<u8>(name).filter(|number| *number < 128)?);
    let (list, all) = match text.strip_suffix("/all") {
        Some(list) => (list, true),
        None => (text, false),
    };
    if all && list == "NONE" {
        return Ok((Labels::EMPTY, Labels::ALL));
    }
    let (on, mask) = read_bits(list, expected, bit)?;
    if all && (mask == 0 || on != mask) {
        let problem = "with /all, the others are off anyway";
        return Err(refuse(text, problem, expected));
    }
    let mask = if all { u128::MAX } else { mask };
    Ok((Labels::from_bits(on), Labels::from_bits(mask)))
}

fn write_labels((on, mask): &(Labels, Labels), f: &mut Formatter<'_>) -> fmt::Result {
    if mask.is_empty() {
        return f.write_str("any");
    }
    if *mask == Labels::ALL {
        return write!(f, "{on}/all");
    }
    let mut comma = "";
    for number in mask.iter() {
        let off = if on.contains(number) { "" } else { "!" };
        write!(f, "{comma}{off}{number}")?;
        comma = ",";
    }
    Ok(())
}

fn write_helper(helper: &Helper, f: &mut Formatter<'_>) -> fmt::Result {
    EscapedWord(helper.as_str()).fmt(f)
}
