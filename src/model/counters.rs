//! Figures: packets and bytes of a direction, and how full the table is.

use super::Unknown;

/// Packets and bytes of one direction of a flow.
///
/// An entry has them only if `net.netfilter.nf_conntrack_acct` was on when it was made.
#[doc(alias = "CTA_COUNTERS_ORIG")]
#[doc(alias = "CTA_COUNTERS_REPLY")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Counters {
    /// Packets.
    #[doc(alias = "CTA_COUNTERS_PACKETS")]
    #[doc(alias = "CTA_COUNTERS32_PACKETS")]
    pub packets: u64,
    /// Bytes, of layer 3.
    #[doc(alias = "CTA_COUNTERS_BYTES")]
    #[doc(alias = "CTA_COUNTERS32_BYTES")]
    pub bytes: u64,
}

/// How many entries a namespace has, and how many it may have.
#[doc(alias = "CTA_STATS_GLOBAL_ENTRIES")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Count {
    /// Entries in this namespace, expired ones that are not collected yet included.
    pub entries: u32,
    /// `nf_conntrack_max` (`CTA_STATS_GLOBAL_MAX_ENTRIES`, since Linux 4.18); 0 means no limit.
    #[doc(alias = "CTA_STATS_GLOBAL_MAX_ENTRIES")]
    pub max: Option<u32>,
    /// Figures that this version of the library does not know.
    pub unknown: Vec<Unknown>,
}

impl Count {
    /// Whether there is a limit and it is reached.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        match self.max {
            Some(max) => max != 0 && self.entries >= max,
            None => false,
        }
    }
}
