//! A mark with the bits of it that count.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A mark, and which of its bits are meant.
///
/// In a filter: the entry's mark, as far as the mask goes, equals the value. In an update: the bits
/// of the mask become those of the value, the others stay.
///
/// A value with bits outside of the mask cannot be built: as a filter it would match nothing, and
/// in an update the kernel would flip those bits (`new = (old & ~mask) ^ value`).
///
/// ```
/// use ctnetlink::Mark;
///
/// let tenant: Mark = "0x100/0xff00".parse()?;
/// assert!(tenant.matches(0x17f) && !tenant.matches(0x27f));
/// assert_eq!(Mark::from(7), Mark::masked(7, u32::MAX)?);
/// assert!(Mark::masked(0x1ff, 0xff).is_err());
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[doc(alias = "CTA_MARK")]
#[doc(alias = "CTA_MARK_MASK")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    value: u32,
    mask: u32,
}

impl Mark {
    /// All 32 bits.
    #[must_use]
    pub const fn new(value: u32) -> Self {
        Self {
            value,
            mask: u32::MAX,
        }
    }

    /// Only the bits of `mask`.
    ///
    /// # Errors
    /// For a value with bits outside of the mask.
    pub fn masked(value: u32, mask: u32) -> Result<Self> {
        if value & !mask != 0 {
            return Err(Error::invalid(
                "mark",
                format!("{value:#x}/{mask:#x}"),
                format!("the bits {:#x} are outside of the mask", value & !mask),
                "a value within its mask",
            ));
        }
        Ok(Self { value, mask })
    }

    /// The value.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.value
    }

    /// The bits that count.
    #[must_use]
    pub const fn mask(self) -> u32 {
        self.mask
    }

    /// Whether an entry's mark fits.
    #[must_use]
    pub const fn matches(self, mark: u32) -> bool {
        mark & self.mask == self.value
    }
}

impl From<u32> for Mark {
    fn from(value: u32) -> Self {
        Self::new(value)
    }
}

/// `0x7` for a whole mark, `0x100/0xff00` for a masked one.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.value)?;
        if self.mask != u32::MAX {
            write!(f, "/{:#x}", self.mask)?;
        }
        Ok(())
    }
}

impl FromStr for Mark {
    type Err = Error;

    /// `VALUE` or `VALUE/MASK`, decimal or hexadecimal.
    fn from_str(text: &str) -> Result<Self> {
        let number = |part: &str| {
            match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
                Some(hex) => super::digits(hex, 16),
                None => super::digits(part, 10),
            }
            .ok_or_else(|| {
                Error::invalid(
                    "mark",
                    text,
                    format!("{part:?} is not a 32 bit number"),
                    "VALUE or VALUE/MASK, decimal or 0x hexadecimal",
                )
            })
        };
        match text.split_once('/') {
            Some((value, mask)) => Self::masked(number(value)?, number(mask)?),
            None => number(text).map(Self::new),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!("7".parse::<Mark>().unwrap(), Mark::new(7));
        assert_eq!(
            "0xff/0xff".parse::<Mark>().unwrap(),
            Mark::masked(0xff, 0xff).unwrap()
        );
        assert_eq!(Mark::masked(1, 3).unwrap().to_string(), "0x1/0x3");
        for bad in [
            "",
            "/",
            "1/",
            "/1",
            "-1",
            "+1",
            "0x",
            "0x+1",
            "4294967296",
            "2/1",
            "1/2/3",
        ] {
            assert!(bad.parse::<Mark>().is_err(), "{bad}");
        }
    }

    #[test]
    fn zero_under_a_mask_is_a_value() {
        let clear = Mark::masked(0, 0xf).unwrap();
        assert!(clear.matches(0x10) && !clear.matches(0x11));
    }
}
