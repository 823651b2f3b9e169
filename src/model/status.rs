//! Status bits of an entry.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

bitflags::bitflags! {
    /// The status bits of an entry (`IPS_*`). Bits that are not named here are kept.
    ///
    /// ```
    /// use ctnetlink::Status;
    ///
    /// let status = Status::SEEN_REPLY | Status::ASSURED;
    /// assert_eq!(status.to_string(), "SEEN_REPLY,ASSURED");
    /// assert_eq!("SEEN_REPLY,ASSURED".parse::<Status>()?, status);
    /// # Ok::<(), ctnetlink::Error>(())
    /// ```
    #[doc(alias = "CTA_STATUS")]
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
    pub struct Status: u32 {
        /// The flow was expected: it has a master.
        const EXPECTED = 1;
        /// Packets went both ways. Can be set, never cleared.
        const SEEN_REPLY = 1 << 1;
        /// Early drop spares the entry when the table is full. Can be set, never cleared.
        const ASSURED = 1 << 2;
        /// The entry is in the table.
        const CONFIRMED = 1 << 3;
        /// The source is translated.
        const SRC_NAT = 1 << 4;
        /// The destination is translated.
        const DST_NAT = 1 << 5;
        /// TCP sequence numbers are adjusted.
        const SEQ_ADJUST = 1 << 6;
        /// Source translation has been decided.
        const SRC_NAT_DONE = 1 << 7;
        /// Destination translation has been decided.
        const DST_NAT_DONE = 1 << 8;
        /// The entry is being removed.
        const DYING = 1 << 9;
        /// The time-out is not refreshed by packets.
        const FIXED_TIMEOUT = 1 << 10;
        /// A template of rules, not a flow.
        const TEMPLATE = 1 << 11;
        /// Untracked. Kernels since 4.12 use another mark for it.
        const UNTRACKED = 1 << 12;
        /// A helper was attached by rule.
        const HELPER = 1 << 13;
        /// Handled by a flow table.
        const OFFLOAD = 1 << 14;
        /// Handled by a flow table in hardware.
        const HW_OFFLOAD = 1 << 15;

        const _ = !0;
    }
}

impl Status {
    /// What a user may give a new entry: `SEEN_REPLY`, `ASSURED`, `FIXED_TIMEOUT`, and
    /// `CONFIRMED`, which the kernel sets anyway.
    ///
    /// The kernel answers others with `EBUSY`, or ignores them (`__nf_ct_change_status`).
    pub const SETTABLE: Self = Self::SEEN_REPLY
        .union(Self::ASSURED)
        .union(Self::FIXED_TIMEOUT)
        .union(Self::CONFIRMED);
}

/// Names joined by commas, bits without one in hexadecimal, `NONE` when empty.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("NONE");
        }
        let mut rest = *self;
        let mut comma = "";
        for (name, flag) in self.iter_names() {
            write!(f, "{comma}{name}")?;
            rest.remove(flag);
            comma = ",";
        }
        if !rest.is_empty() {
            write!(f, "{comma}{:#x}", rest.bits())?;
        }
        Ok(())
    }
}

impl FromStr for Status {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "NONE" {
            return Ok(Self::empty());
        }
        let mut status = Self::empty();
        for word in text.split(',') {
            let bits = Self::from_name(word).or_else(|| {
                let digits = word.strip_prefix("0x")?;
                super::digits(digits, 16).map(Self::from_bits_retain)
            });
            status |= bits.ok_or_else(|| {
                Error::invalid(
                    "status",
                    text,
                    format!("{word:?} is not a status bit"),
                    "names such as SEEN_REPLY,ASSURED, a hexadecimal number, or NONE",
                )
            })?;
        }
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_survives_its_text() {
        for bit in 0..32 {
            let status = Status::from_bits_retain(1 << bit);
            assert_eq!(status.to_string().parse::<Status>().unwrap(), status);
        }
        let all = Status::from_bits_retain(u32::MAX);
        assert_eq!(all.to_string().parse::<Status>().unwrap(), all);
        assert_eq!("NONE".parse::<Status>().unwrap(), Status::empty());
        assert!("".parse::<Status>().is_err());
        assert!("ASSURED,".parse::<Status>().is_err());
        assert!("assured".parse::<Status>().is_err());
    }
}
