//! Port ranges.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::number;
use crate::error::{Error, Result};

/// A port, or a range of ports with both ends included. It is never empty.
///
/// ```
/// use ctnetlink::PortRange;
///
/// assert!(PortRange::from(443).contains(443));
/// assert!(PortRange::new(1024, 65535)?.contains(40000));
/// assert_eq!("1024-65535".parse::<PortRange>()?, PortRange::new(1024, 65535)?);
/// assert!(PortRange::new(2, 1).is_err());
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Every port, 0 included: any entry that has ports.
    pub const ANY: Self = Self {
        first: 0,
        last: u16::MAX,
    };

    /// From `first` to `last`, both included.
    ///
    /// # Errors
    /// When `first` is greater than `last`.
    pub fn new(first: u16, last: u16) -> Result<Self> {
        if first > last {
            return Err(Error::invalid(
                "port range",
                format!("{first}-{last}"),
                "the first port is greater than the last",
                "FIRST to LAST, both included",
            ));
        }
        Ok(Self { first, last })
    }

    /// Whether the port is in the range.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// The first port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The last port.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }
}

impl From<u16> for PortRange {
    fn from(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }
}

impl TryFrom<RangeInclusive<u16>> for PortRange {
    type Error = Error;

    fn try_from(range: RangeInclusive<u16>) -> Result<Self> {
        Self::new(*range.start(), *range.end())
    }
}

/// `443` or `1024-65535`.
impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.first != self.last {
            write!(f, "-{}", self.last)?;
        }
        Ok(())
    }
}

impl FromStr for PortRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let port = |digits: &str| {
            number(digits).ok_or_else(|| {
                let problem = format!("{digits:?} is not a port");
                let expected = "a port from 0 to 65535, or FIRST-LAST with both included";
                Error::invalid("port range", text, problem, expected)
            })
        };
        match text.split_once('-') {
            Some((first, last)) => Self::new(port(first)?, port(last)?),
            None => port(text).map(Self::from),
        }
    }
}
