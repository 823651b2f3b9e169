//! Conntrack zones: which of several overlapping address spaces an entry belongs to.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A conntrack zone, 0 to 65535.
///
/// Zone 0 is [`Zone::DEFAULT`], where everything lives that no rule puts elsewhere. The kernel
/// does not send it: an entry without a zone attribute is in zone 0.
///
/// ```
/// use ctnetlink::Zone;
///
/// let zone = Zone::new(4097);
/// assert_eq!(zone.get(), 4097);
/// assert_eq!("4097".parse::<Zone>()?, zone);
/// assert_eq!(Zone::try_from(4097_i64)?, zone);
/// assert!(Zone::try_from(-1).is_err());
/// assert!(Zone::try_from(65_536_u32).is_err());
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[doc(alias = "CTA_ZONE")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Zone(u16);

const EXPECTED: &str = "a number from 0 to 65535";

impl Zone {
    /// Zone 0 (`NF_CT_DEFAULT_ZONE_ID`).
    pub const DEFAULT: Self = Self(0);
    /// Zone 65535, the last one.
    pub const MAX: Self = Self(u16::MAX);

    /// Every `u16` is a zone.
    #[must_use]
    pub const fn new(zone: u16) -> Self {
        Self(zone)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether this is zone 0.
    #[must_use]
    pub const fn is_default(self) -> bool {
        self.0 == 0
    }

    fn from_wide(value: i128) -> Result<Self> {
        u16::try_from(value).map(Self).map_err(|_| {
            let problem = if value < 0 { "negative" } else { "too large" };
            Error::invalid("zone", value.to_string(), problem, EXPECTED)
        })
    }
}

impl From<u16> for Zone {
    fn from(zone: u16) -> Self {
        Self(zone)
    }
}

impl From<u8> for Zone {
    fn from(zone: u8) -> Self {
        Self(zone.into())
    }
}

impl From<Zone> for u16 {
    fn from(zone: Zone) -> Self {
        zone.0
    }
}

macro_rules! zone_from_wider {
    ($($int:ty),*) => {$(
        /// Refuses what is negative or over 65535, each with its own message.
        impl TryFrom<$int> for Zone {
            type Error = Error;

            fn try_from(value: $int) -> Result<Self> {
                // Lossless: every one of these types fits, save `usize`/`u128` beyond `i128::MAX`,
                // which is clamped and so refused as too large.
                Self::from_wide(i128::try_from(value).unwrap_or(i128::MAX))
            }
        }
    )*};
}
zone_from_wider!(i8, i16, i32, i64, i128, isize, u32, u64, u128, usize);

impl FromStr for Zone {
    type Err = Error;

    /// Decimal, or hexadecimal after `0x`.
    fn from_str(text: &str) -> Result<Self> {
        let refuse = |problem: &'static str| Error::invalid("zone", text, problem, EXPECTED);
        if text.is_empty() {
            return Err(refuse("empty"));
        }
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (digits, radix) = match digits
            .strip_prefix("0x")
            .or_else(|| digits.strip_prefix("0X"))
        {
            Some(rest) => (rest, 16),
            None => (digits, 10),
        };
        if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
            return Err(refuse("not a number"));
        }
        if negative {
            return Err(refuse("negative"));
        }
        u16::from_str_radix(digits, radix)
            .map(Self)
            .map_err(|_| refuse("too large"))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The zone of an entry, and the directions in which it holds.
///
/// An entry has one zone. Rules such as nftables' `ct original zone set 5` make it count in one
/// direction alone; the other direction is then looked up in zone 0.
#[doc(alias = "CTA_TUPLE_ZONE")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryZone {
    /// In both directions (`CTA_ZONE`).
    Both(Zone),
    /// In the original direction only (`CTA_TUPLE_ZONE` inside `CTA_TUPLE_ORIG`).
    Orig(Zone),
    /// In the reply direction only (`CTA_TUPLE_ZONE` inside `CTA_TUPLE_REPLY`).
    Reply(Zone),
}

impl EntryZone {
    /// The zone, in whichever direction it holds.
    #[must_use]
    pub const fn zone(self) -> Zone {
        match self {
            Self::Both(zone) | Self::Orig(zone) | Self::Reply(zone) => zone,
        }
    }

    /// The zone in which the original tuple is looked up.
    #[must_use]
    pub const fn orig(self) -> Zone {
        match self {
            Self::Both(zone) | Self::Orig(zone) => zone,
            Self::Reply(_) => Zone::DEFAULT,
        }
    }

    /// The zone in which the reply tuple is looked up.
    #[must_use]
    pub const fn reply(self) -> Zone {
        match self {
            Self::Both(zone) | Self::Reply(zone) => zone,
            Self::Orig(_) => Zone::DEFAULT,
        }
    }

    /// The kernel cannot tell zone 0 of one direction from zone 0 of both.
    pub(crate) fn canonical(self) -> Self {
        if self.zone().is_default() {
            Self::default()
        } else {
            self
        }
    }
}

/// Zone 0.
impl Default for EntryZone {
    fn default() -> Self {
        Self::Both(Zone::DEFAULT)
    }
}

impl From<Zone> for EntryZone {
    fn from(zone: Zone) -> Self {
        Self::Both(zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(error: &Error) -> String {
        error.to_string()
    }

    #[test]
    fn every_bad_input_has_its_own_message() {
        let parse = |text: &str| message(&text.parse::<Zone>().unwrap_err());
        assert_eq!(parse(""), format!("zone \"\": empty; expected {EXPECTED}"));
        assert_eq!(
            parse("-1"),
            format!("zone \"-1\": negative; expected {EXPECTED}")
        );
        assert_eq!(
            parse("65536"),
            format!("zone \"65536\": too large; expected {EXPECTED}")
        );
        assert_eq!(
            parse("99999999999999999999999999"),
            format!("zone \"99999999999999999999999999\": too large; expected {EXPECTED}")
        );
        for text in ["red", "1a", "0x", "-", "--1", "+1", " 1", "1 ", "1.0"] {
            assert_eq!(
                parse(text),
                format!("zone {text:?}: not a number; expected {EXPECTED}")
            );
        }
    }

    #[test]
    fn conversions_refuse_negative_and_too_large() {
        assert_eq!(Zone::try_from(0_i8).unwrap(), Zone::DEFAULT);
        assert_eq!(Zone::try_from(65_535_u64).unwrap(), Zone::MAX);
        assert!(message(&Zone::try_from(-1_i16).unwrap_err()).contains("negative"));
        assert!(message(&Zone::try_from(i64::MIN).unwrap_err()).contains("negative"));
        assert!(message(&Zone::try_from(65_536_i32).unwrap_err()).contains("too large"));
        assert!(message(&Zone::try_from(u128::MAX).unwrap_err()).contains("too large"));
        assert!(message(&Zone::try_from(usize::MAX).unwrap_err()).contains("too large"));
    }

    #[test]
    fn every_zone_survives_its_text() {
        for n in 0..=u16::MAX {
            let zone = Zone::new(n);
            assert_eq!(zone.to_string().parse::<Zone>().unwrap(), zone);
        }
        assert_eq!("0xffff".parse::<Zone>().unwrap(), Zone::MAX);
    }

    #[test]
    fn a_one_direction_zone_is_default_in_the_other() {
        let five = Zone::new(5);
        assert_eq!(
            (EntryZone::Both(five).orig(), EntryZone::Both(five).reply()),
            (five, five)
        );
        assert_eq!(
            (EntryZone::Orig(five).orig(), EntryZone::Orig(five).reply()),
            (five, Zone::DEFAULT)
        );
        assert_eq!(
            (
                EntryZone::Reply(five).orig(),
                EntryZone::Reply(five).reply()
            ),
            (Zone::DEFAULT, five)
        );
    }
}
