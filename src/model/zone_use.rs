//! Who uses a zone, and how.

use std::fmt;
use std::sync::Arc;

use super::{Claim, ClaimKind, EntryZone, Family, Zone, ZoneRule};

/// Entries of a zone and a family, by the directions in which the zone holds for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct DirectionCounts {
    /// In both.
    pub both: u32,
    /// In the original direction alone.
    pub orig: u32,
    /// In the reply direction alone.
    pub reply: u32,
}

impl DirectionCounts {
    #[inline]
    pub(crate) fn add(&mut self, zone: EntryZone) {
        let count = match zone {
            EntryZone::Both(_) => &mut self.both,
            EntryZone::Orig(_) => &mut self.orig,
            EntryZone::Reply(_) => &mut self.reply,
        };
        *count = count.saturating_add(1);
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        [self.both, self.orig, self.reply]
            .map(u64::from)
            .iter()
            .sum()
    }
}

/// Who uses a zone, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ZoneUse {
    /// Which zone.
    pub zone: Zone,
    /// IPv4 entries.
    pub ipv4: DirectionCounts,
    /// IPv6 entries, but for claims.
    pub ipv6: DirectionCounts,
    /// Entries that have ended and are still held.
    pub dying: u32,
    /// Expectations of entries of the zone.
    pub expectations: u32,
    /// Who claims it.
    pub claims: Vec<Claim>,
    /// The rules that put packets into it.
    pub rules: Vec<Arc<ZoneRule>>,
    /// The names of sources that the caller brought and that name the zone.
    pub sources: Vec<String>,
    /// Whether the caller reserved it.
    pub reserved: bool,
    /// Whether entries came back after its release, not long ago.
    pub quarantined: bool,
}

impl ZoneUse {
    pub(crate) fn unused(zone: Zone) -> Self {
        Self {
            zone,
            ipv4: DirectionCounts::default(),
            ipv6: DirectionCounts::default(),
            dying: 0,
            expectations: 0,
            claims: Vec::new(),
            rules: Vec::new(),
            sources: Vec::new(),
            reserved: false,
            quarantined: false,
        }
    }

    /// The entries of a family.
    #[must_use]
    pub const fn entries(&self, family: Family) -> DirectionCounts {
        match family {
            Family::Ipv4 => self.ipv4,
            Family::Ipv6 => self.ipv6,
        }
    }

    /// Whether there is traffic in it: entries, dying ones or expectations.
    #[must_use]
    pub fn is_occupied(&self) -> bool {
        self.ipv4.total() > 0 || self.ipv6.total() > 0 || self.dying > 0 || self.expectations > 0
    }

    /// Whether a rule or one of the caller's sources names it.
    #[must_use]
    pub fn is_ruled(&self) -> bool {
        !self.rules.is_empty() || !self.sources.is_empty()
    }

    /// Whether nobody uses it in any way. Zone 0 is never free.
    #[must_use]
    pub fn is_free(&self) -> bool {
        !self.zone.is_default() && *self == Self::unused(self.zone)
    }

    /// The claim by which somebody holds it.
    #[must_use]
    pub fn lease(&self) -> Option<&Claim> {
        self.claims
            .iter()
            .find(|claim| claim.kind() == ClaimKind::Lease)
    }
}

/// `zone 5: 3 IPv4 entries, reserved`
impl fmt::Display for ZoneUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zone {}: ", self.zone)?;
        let mut separator = "";
        let mut say = |f: &mut fmt::Formatter<'_>, what: fmt::Arguments<'_>| {
            write!(f, "{separator}{what}")?;
            separator = ", ";
            Ok(())
        };
        for claim in &self.claims {
            say(f, format_args!("{claim}"))?;
        }
        for (family, counts) in [("IPv4", &self.ipv4), ("IPv6", &self.ipv6)] {
            for (count, direction) in [
                (counts.both, ""),
                (counts.orig, " of the original direction"),
                (counts.reply, " of the reply direction"),
            ] {
                if count > 0 {
                    let plural = if count == 1 { "entry" } else { "entries" };
                    say(f, format_args!("{count} {family} {plural}{direction}"))?;
                }
            }
        }
        if self.dying > 0 {
            say(f, format_args!("{} dying", self.dying))?;
        }
        if self.expectations > 0 {
            say(f, format_args!("{} expected", self.expectations))?;
        }
        for rule in &self.rules {
            say(f, format_args!("set by {rule}"))?;
        }
        for source in &self.sources {
            say(f, format_args!("named by {source}"))?;
        }
        if self.reserved {
            say(f, format_args!("reserved"))?;
        }
        if self.quarantined {
            say(f, format_args!("quarantined"))?;
        }
        if self.zone.is_default() {
            say(f, format_args!("the default of everything"))?;
        }
        if self.is_free() {
            say(f, format_args!("free"))?;
        }
        Ok(())
    }
}

/// Why no zone of a range is free: how many of them are what. A zone that is several of it counts
/// as the first in this order: reserved, ruled, quarantined, leased, occupied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Exhausted {
    /// The first zone of the range.
    pub first: Zone,
    /// The last zone of the range.
    pub last: Zone,
    /// Reserved by the caller.
    pub reserved: u32,
    /// Named by a rule, or by a source that the caller brought.
    pub ruled: u32,
    /// Claimed by somebody, or leased here while the claim, which was flushed away, is to be put back.
    pub leased: u32,
    /// Set aside because entries came back after a release.
    pub quarantined: u32,
    /// With entries, dying ones or expectations.
    pub occupied: u32,
    /// Those that became free while they were looked for, or were lost to another allocator.
    pub free: u32,
}

impl Exhausted {
    pub(crate) const fn of(first: Zone, last: Zone) -> Self {
        Self {
            first,
            last,
            reserved: 0,
            ruled: 0,
            leased: 0,
            quarantined: 0,
            occupied: 0,
            free: 0,
        }
    }
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "of the zones {} to {}, {} are leased, {} occupied, {} reserved, {} quarantined, {} named by rules",
            self.first,
            self.last,
            self.leased,
            self.occupied,
            self.reserved,
            self.quarantined,
            self.ruled
        )?;
        if self.free > 0 {
            write!(f, ", and {} became free meanwhile", self.free)?;
        }
        Ok(())
    }
}
