//! What is not an object: numbers, words, lists of words.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;

use bitflags::Flags;
use serde::de::{self, SeqAccess, Unexpected, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserializer, Serializer};

use super::form::{In, Out, Part, Side};
use crate::error::Error;
use crate::model::{
    ClaimKind, Completeness, DccpRole, DccpState, Direction, EventGroups, EventsMode, ExpectFlags,
    Family, FilterShape, Helper, Labels, Mark, Protocol, RuledBy, SctpState, Status, TcpFlags,
    TcpState, Zone, digits,
};

macro_rules! numbers {
    ($($type:ty: $read:ident, $write:ident as $wide:ty;)*) => {$(
        impl Part for $type {
            fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
                to.$write(<$wide>::try_from(*self).map_err(serde::ser::Error::custom)?)
            }

            fn read<'de, D: Deserializer<'de>>(_: Side, from: D) -> Result<Self, D::Error> {
                from.$read(Number::<$type> { min: <$type>::MIN, max: <$type>::MAX })
            }
        }
    )*};
}
numbers! {
    u8: deserialize_u8, serialize_u8 as u8;
    u16: deserialize_u16, serialize_u16 as u16;
    u32: deserialize_u32, serialize_u32 as u32;
    u64: deserialize_u64, serialize_u64 as u64;
    i32: deserialize_i32, serialize_i32 as i32;
    usize: deserialize_u64, serialize_u64 as u64;
}

struct Number<T> {
    min: T,
    max: T,
}

impl<T: fmt::Display + TryFrom<u64> + TryFrom<i64>> Visitor<'_> for Number<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number from {} to {}", self.min, self.max)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        T::try_from(value).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        T::try_from(value).map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))
    }
}

impl Part for bool {
    fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bool(*self)
    }

    fn read<'de, D: Deserializer<'de>>(_: Side, from: D) -> Result<Self, D::Error> {
        <Self as serde::Deserialize>::deserialize(from)
    }
}

impl Part for String {
    fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self)
    }

    fn read<'de, D: Deserializer<'de>>(_: Side, from: D) -> Result<Self, D::Error> {
        read_text(from, "a string", |text| Ok(text.to_owned()))
    }
}

impl Part for Helper {
    fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }

    fn read<'de, D: Deserializer<'de>>(_: Side, from: D) -> Result<Self, D::Error> {
        read_text(from, "a helper's name as a string", str::parse)
    }
}

/// Refuses with the same words as the conversions do.
impl Part for Zone {
    fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u16(self.get())
    }

    fn read<'de, D: Deserializer<'de>>(_: Side, from: D) -> Result<Self, D::Error> {
        struct ZoneVisitor;

        impl Visitor<'_> for ZoneVisitor {
            type Value = Zone;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a zone as a number from 0 to 65535")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Zone, E> {
                Zone::try_from(value).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Zone, E> {
                Zone::try_from(value).map_err(E::custom)
            }
        }

        from.deserialize_u16(ZoneVisitor)
    }
}

/// A string that `parse` makes something of.
pub(crate) fn read_text<'de, T, D: Deserializer<'de>>(
    from: D,
    expected: &'static str,
    parse: impl FnOnce(&str) -> Result<T, Error>,
) -> Result<T, D::Error> {
    struct Text<F>(&'static str, F);

    impl<T, F: FnOnce(&str) -> Result<T, Error>> Visitor<'_> for Text<F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            (self.1)(text).map_err(E::custom)
        }
    }

    from.deserialize_str(Text(expected, parse))
}

impl Part for IpAddr {
    fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }

    fn read<'de, D: Deserializer<'de>>(_: Side, from: D) -> Result<Self, D::Error> {
        read_text(from, "an address as a string", address)
    }
}

fn address(text: &str) -> Result<IpAddr, Error> {
    text.parse().map_err(|_| {
        let expected = "an IPv4 or IPv6 address";
        Error::invalid("address", text, "not an address", expected)
    })
}

/// A word out of few.
macro_rules! words {
    ($($type:ty, $what:literal: $($word:literal => $value:path),*;)*) => {$(
        impl Part for $type {
            fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(match self { $($value => $word),* })
            }

            fn read<'de, D: Deserializer<'de>>(_: Side, from: D) -> Result<Self, D::Error> {
                read_text(from, concat!($what, " as a string"), |text| match text {
                    $($word => Ok($value),)*
                    _ => Err(Error::invalid($what, text, "not known", concat!("one of:" $(, " ", $word)*))),
                })
            }
        }
    )*};
}
words! {
    Family, "address family": "ipv4" => Family::Ipv4, "ipv6" => Family::Ipv6;
    Direction, "direction": "orig" => Direction::Original, "reply" => Direction::Reply;
    EventsMode, "events mode": "off" => EventsMode::Off, "on" => EventsMode::On, "auto" => EventsMode::Auto;
    Completeness, "completeness": "complete" => Completeness::Complete,
        "unknown" => Completeness::Unknown, "interrupted" => Completeness::Interrupted;
    ClaimKind, "kind of claim": "lease" => ClaimKind::Lease, "trial" => ClaimKind::Trial,
        "marker" => ClaimKind::Marker;
    RuledBy, "statement": "nftables" => RuledBy::Nftables, "iptables" => RuledBy::Iptables;
}

/// A number, or a string.
pub(crate) enum Word {
    Number(u64),
    Text(String),
}

impl Word {
    pub(crate) fn read<'de, D: Deserializer<'de>>(
        from: D,
        expected: &'static str,
    ) -> Result<Self, D::Error> {
        struct WordVisitor(&'static str);

        impl Visitor<'_> for WordVisitor {
            type Value = Word;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0)
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Word, E> {
                Ok(Word::Number(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Word, E> {
                match u64::try_from(value) {
                    Ok(value) => Ok(Word::Number(value)),
                    Err(_) => Err(E::invalid_value(Unexpected::Signed(value), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Word, E> {
                Ok(Word::Text(text.to_owned()))
            }
        }

        from.deserialize_any(WordVisitor(expected))
    }

    /// A number of a narrower type, or what a string says.
    pub(crate) fn either<N: TryFrom<u64>, T, E: de::Error>(
        self,
        expected: &'static str,
        number: impl FnOnce(N) -> T,
        text: impl FnOnce(&str) -> Result<T, Error>,
    ) -> Result<T, E> {
        match self {
            Self::Number(value) => N::try_from(value)
                .map(number)
                .map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &expected)),
            Self::Text(words) => text(&words).map_err(E::custom),
        }
    }
}

/// Numbers with names: the name where there is one, else the number.
macro_rules! named_numbers {
    ($($type:ty, $expected:literal: $name:expr, $raw:expr, $from:expr, $parse:expr;)*) => {$(
        impl Part for $type {
            fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
                match $name(*self) {
                    Some(name) => to.serialize_str(name),
                    None => to.serialize_u8($raw(*self)),
                }
            }

            fn read<'de, D: Deserializer<'de>>(_: Side, from: D) -> Result<Self, D::Error> {
                const EXPECTED: &str = $expected;
                Word::read(from, EXPECTED)?.either(EXPECTED, $from, $parse)
            }
        }
    )*};
}
named_numbers! {
    Protocol, "a protocol's name, or its number from 0 to 255":
        Protocol::name, Protocol::number, Protocol::new, str::parse;
    TcpState, "a TCP state's name, or its number from 0 to 255":
        TcpState::name, TcpState::raw, TcpState::from_raw, str::parse;
    SctpState, "an SCTP state's name, or its number from 0 to 255":
        SctpState::name, SctpState::raw, SctpState::from_raw, str::parse;
    DccpState, "a DCCP state's name, or its number from 0 to 255":
        DccpState::name, DccpState::raw, DccpState::from_raw, str::parse;
    DccpRole, "client, server, or a number from 0 to 255":
        role_name, DccpRole::raw, DccpRole::from_raw, role;
}

fn role_name(role: DccpRole) -> Option<&'static str> {
    match role {
        DccpRole::Client => Some("client"),
        DccpRole::Server => Some("server"),
        DccpRole::Other(_) => None,
    }
}

fn role(text: &str) -> Result<DccpRole, Error> {
    match text {
        "client" => Ok(DccpRole::Client),
        "server" => Ok(DccpRole::Server),
        _ => Err(Error::invalid(
            "DCCP role",
            text,
            "not known",
            "client or server",
        )),
    }
}

/// A number for all 32 bits, a string with the mask for some.
impl Part for Mark {
    fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
        if self.mask() == u32::MAX {
            to.serialize_u32(self.value())
        } else {
            to.collect_str(self)
        }
    }

    fn read<'de, D: Deserializer<'de>>(_: Side, from: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "a number from 0 to 4294967295, or a string VALUE/MASK";
        Word::read(from, EXPECTED)?.either(EXPECTED, Self::new, str::parse)
    }
}

/// The first and the last address: one address, or `FIRST-LAST`.
pub(crate) struct AddressSpan(pub(crate) IpAddr, pub(crate) IpAddr);

impl Part for AddressSpan {
    fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
        if self.0 == self.1 {
            to.collect_str(&self.0)
        } else {
            to.collect_str(&format_args!("{}-{}", self.0, self.1))
        }
    }

    fn read<'de, D: Deserializer<'de>>(_: Side, from: D) -> Result<Self, D::Error> {
        read_text(from, "an address, or FIRST-LAST, as a string", |text| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            Ok(Self(address(first)?, address(last)?))
        })
    }
}

/// The first and the last port: a number for one port, a string `FIRST-LAST` for several.
pub(crate) struct PortSpan(pub(crate) u16, pub(crate) u16);

impl Part for PortSpan {
    fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
        if self.0 == self.1 {
            to.serialize_u16(self.0)
        } else {
            to.collect_str(&format_args!("{}-{}", self.0, self.1))
        }
    }

    fn read<'de, D: Deserializer<'de>>(_: Side, from: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "a port from 0 to 65535, or a string FIRST-LAST";
        let one = |port| Self(port, port);
        Word::read(from, EXPECTED)?.either(EXPECTED, one, |text| {
            text.split_once('-')
                .and_then(|(first, last)| Some(Self(digits(first, 10)?, digits(last, 10)?)))
                .ok_or_else(|| Error::invalid("ports", text, "not a range of ports", EXPECTED))
        })
    }
}

impl<T: Part> Part for Vec<T> {
    fn write<S: Serializer>(&self, side: Side, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter().map(|item| Out(item, side)))
    }

    fn read<'de, D: Deserializer<'de>>(side: Side, from: D) -> Result<Self, D::Error> {
        read_list(from, side, "a list", Self::new(), |mut list, item| {
            list.push(item);
            Ok(list)
        })
    }
}

/// A list whose items are added up. Nothing is reserved by what the input says of its length.
fn read_list<'de, T: Part, A, D: Deserializer<'de>>(
    from: D,
    side: Side,
    expected: &'static str,
    start: A,
    add: impl FnMut(A, T) -> Result<A, Error>,
) -> Result<A, D::Error> {
    from.deserialize_seq(List {
        side,
        expected,
        start,
        add,
        item: PhantomData,
    })
}

struct List<T, A, F> {
    side: Side,
    expected: &'static str,
    start: A,
    add: F,
    item: PhantomData<T>,
}

impl<'de, T: Part, A, F: FnMut(A, T) -> Result<A, Error>> Visitor<'de> for List<T, A, F> {
    type Value = A;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_seq<S: SeqAccess<'de>>(mut self, mut items: S) -> Result<A, S::Error> {
        let mut sum = self.start;
        while let Some(item) = items.next_element_seed(In::new(self.side))? {
            sum = (self.add)(sum, item).map_err(de::Error::custom)?;
        }
        Ok(sum)
    }
}

/// Bits as a list of their names; one without a name as a hexadecimal number in a string, so that
/// it survives.
macro_rules! flags {
    ($($type:ty, $what:literal, $example:literal, $name:expr;)*) => {$(
        impl Part for $type {
            fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
                let mut list = to.serialize_seq(None)?;
                let mut rest = *self;
                for known in Self::FLAGS {
                    if !known.name().is_empty() && self.contains(*known.value()) {
                        list.serialize_element(&*$name(known.name()))?;
                        rest.remove(*known.value());
                    }
                }
                let mut rest = rest.bits();
                while rest != 0 {
                    let bit = rest & rest.wrapping_neg();
                    list.serialize_element(&format_args!("{bit:#x}"))?;
                    rest &= !bit;
                }
                list.end()
            }

            fn read<'de, D: Deserializer<'de>>(side: Side, from: D) -> Result<Self, D::Error> {
                let expected = concat!("a list of names such as ", $example);
                read_list(from, side, expected, Self::empty(), |flags, word: String| {
                    let named = Self::FLAGS.iter().find(|known| {
                        !known.name().is_empty() && $name(known.name()) == word
                    });
                    let flag = named.map(|known| *known.value()).or_else(|| {
                        digits(word.strip_prefix("0x")?, 16).map(Self::from_bits_retain)
                    });
                    match flag {
                        Some(flag) => Ok(flags | flag),
                        None => Err(Error::invalid($what, word, "no such bit", concat!(
                            "names such as ", $example, ", or a hexadecimal number such as 0x80"
                        ))),
                    }
                })
            }
        }
    )*};
}
flags! {
    Status, "status", "SEEN_REPLY", Cow::Borrowed;
    TcpFlags, "TCP flags", "BE_LIBERAL", Cow::Borrowed;
    ExpectFlags, "flags of an expectation", "PERMANENT", Cow::Borrowed;
    // As the field `event` has them.
    EventGroups, "event groups", "new", lower;
    // As a shape is shown.
    FilterShape, "shape", "zone", lower;
}

fn lower(name: &str) -> Cow<'_, str> {
    Cow::Owned(name.to_ascii_lowercase())
}

impl Part for Labels {
    fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter())
    }

    fn read<'de, D: Deserializer<'de>>(side: Side, from: D) -> Result<Self, D::Error> {
        read_list(
            from,
            side,
            "a list of label numbers",
            Self::EMPTY,
            add_label,
        )
    }
}

fn add_label(labels: Labels, number: u64) -> Result<Labels, Error> {
    match u8::try_from(number) {
        Ok(number) => labels.with(number),
        Err(_) => Err(Error::invalid(
            "label",
            number.to_string(),
            "too large",
            "a number from 0 to 127",
        )),
    }
}

/// Labels, where all of them are a common case.
pub(crate) struct LabelMask(pub(crate) Labels);

impl Part for LabelMask {
    fn write<S: Serializer>(&self, side: Side, to: S) -> Result<S::Ok, S::Error> {
        if self.0 == Labels::ALL {
            to.serialize_str("all")
        } else {
            self.0.write(side, to)
        }
    }

    fn read<'de, D: Deserializer<'de>>(side: Side, from: D) -> Result<Self, D::Error> {
        struct MaskVisitor(Side);

        impl<'de> Visitor<'de> for MaskVisitor {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of label numbers, or \"all\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Labels, E> {
                match text {
                    "all" => Ok(Labels::ALL),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }

            fn visit_seq<S: SeqAccess<'de>>(self, items: S) -> Result<Labels, S::Error> {
                let side = self.0;
                Labels::read(side, de::value::SeqAccessDeserializer::new(items))
            }
        }

        from.deserialize_any(MaskVisitor(side)).map(Self)
    }
}

/// Bytes as hexadecimal digits.
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl Part for Hex {
    fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
        struct Digits<'a>(&'a [u8]);

        impl fmt::Display for Digits<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        to.collect_str(&Digits(&self.0))
    }

    fn read<'de, D: Deserializer<'de>>(_: Side, from: D) -> Result<Self, D::Error> {
        let expected = "an even number of hexadecimal digits";
        read_text(from, expected, |text| {
            let digits: Option<Vec<u8>> = text
                .chars()
                .map(|digit| digit.to_digit(16).and_then(|digit| digit.try_into().ok()))
                .collect();
            digits
                .filter(|digits| digits.len() % 2 == 0)
                .map(|digits| Self(digits.chunks(2).map(|two| two[0] << 4 | two[1]).collect()))
                .ok_or_else(|| Error::invalid("bytes", text, "not hexadecimal", expected))
        })
    }
}
