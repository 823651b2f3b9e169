//! Ranges of time-outs.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::number;
use crate::error::{Error, Result};

/// What may be left of a time-out: from one end to the other in whole seconds, as the kernel reports
/// it, with both ends included. It is never empty.
///
/// ```
/// use ctnetlink::TimeoutRange;
/// use std::time::Duration;
///
/// let (half, ten) = (Duration::from_secs(30), Duration::from_secs(600));
/// let range = TimeoutRange::new(half, ten)?;
/// assert!(range.contains(half) && range.contains(ten) && !range.contains(Duration::ZERO));
/// assert_eq!(range, "30..600".parse()?);
/// assert_eq!(TimeoutRange::at_most(half)?, "..30".parse()?);
/// assert_eq!(TimeoutRange::at_least(ten)?, "600..".parse()?);
/// assert!(TimeoutRange::new(ten, half).is_err());
/// assert!(TimeoutRange::at_most(Duration::from_millis(1500)).is_err());
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeoutRange {
    first: u32,
    last: u32,
}

const EXPECTED: &str = "seconds as FIRST..LAST with both included, FIRST.., ..LAST or a number";

/// Entries of kernels with fewer than 1000 jiffies a second may have longer time-outs than a new entry
/// can be given everywhere, so any number that the attribute holds will do.
fn seconds(end: Duration) -> Result<u32> {
    let refuse = |problem: &'static str| {
        let expected = "whole seconds, at most 4294967295";
        Error::invalid("time-out", format!("{end:?}"), problem, expected)
    };
    if end.subsec_nanos() != 0 {
        return Err(refuse("not whole seconds"));
    }
    u32::try_from(end.as_secs()).map_err(|_| refuse("too long"))
}

impl TimeoutRange {
    /// Any: every entry that has a time-out.
    pub const ANY: Self = Self {
        first: 0,
        last: u32::MAX,
    };

    /// From `first` to `last`, both included.
    ///
    /// # Errors
    /// When `first` is longer than `last`, and for what is not whole seconds or over `u32::MAX` of
    /// them.
    pub fn new(first: Duration, last: Duration) -> Result<Self> {
        Self::of(seconds(first)?, seconds(last)?)
    }

    /// `last` or less.
    ///
    /// # Errors
    /// For what is not whole seconds or over `u32::MAX` of them.
    pub fn at_most(last: Duration) -> Result<Self> {
        Self::new(Duration::ZERO, last)
    }

    /// `first` or more.
    ///
    /// # Errors
    /// For what is not whole seconds or over `u32::MAX` of them.
    pub fn at_least(first: Duration) -> Result<Self> {
        Self::of(seconds(first)?, u32::MAX)
    }

    fn of(first: u32, last: u32) -> Result<Self> {
        if first > last {
            return Err(Error::invalid(
                "time-out range",
                format!("{first}..{last}"),
                "the first is longer than the last",
                EXPECTED,
            ));
        }
        Ok(Self { first, last })
    }

    /// One number of seconds.
    #[cfg(feature = "serde")]
    pub(super) const fn exactly(seconds: u32) -> Self {
        Self {
            first: seconds,
            last: seconds,
        }
    }

    /// The number of seconds, if only one will do.
    #[cfg(feature = "serde")]
    pub(super) fn one(self) -> Option<u32> {
        (self.first == self.last).then_some(self.first)
    }

    /// Whether what is left is in the range.
    #[must_use]
    pub fn contains(self, timeout: Duration) -> bool {
        self.first() <= timeout && self.last().is_none_or(|last| timeout <= last)
    }

    #[inline]
    pub(super) const fn has(self, seconds: u32) -> bool {
        self.first <= seconds && seconds <= self.last
    }

    /// The shortest.
    #[must_use]
    pub const fn first(self) -> Duration {
        Duration::from_secs(self.first as u64)
    }

    /// The longest; `None` if nothing is too long.
    #[must_use]
    pub fn last(self) -> Option<Duration> {
        (self.last != u32::MAX).then(|| Duration::from_secs(self.last.into()))
    }
}

/// `60`, `30..600`, `..60` or `30..`, in seconds.
impl fmt::Display for TimeoutRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.last) {
            (first, last) if first == last => write!(f, "{first}"),
            (first, u32::MAX) => write!(f, "{first}.."),
            (0, last) => write!(f, "..{last}"),
            (first, last) => write!(f, "{first}..{last}"),
        }
    }
}

impl FromStr for TimeoutRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let second = |digits: &str| {
            number(digits).ok_or_else(|| {
                let problem = format!("{digits:?} is not a number of seconds");
                Error::invalid("time-out range", text, problem, EXPECTED)
            })
        };
        match text.split_once("..") {
            Some(("", "")) => Err(Error::invalid(
                "time-out range",
                text,
                "it has no end",
                EXPECTED,
            )),
            Some((first, "")) => Self::of(second(first)?, u32::MAX),
            Some(("", last)) => Self::of(0, second(last)?),
            Some((first, last)) => Self::of(second(first)?, second(last)?),
            None => {
                let only = second(text)?;
                Self::of(only, only)
            }
        }
    }
}
