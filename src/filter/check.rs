//! Whether an entry meets a filter.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Filter, PortRange, TupleFilter, ZoneIn};
use crate::error::{Operation, Result};
use crate::model::{Direction, Entry, EntryZone, Helper, Labels, Status, TcpState, Tuple, Zone};
use crate::wire::{EntryRef, Malformed};

impl ZoneIn {
    #[inline]
    fn matches(&self, zone: EntryZone) -> bool {
        self.orig.is_none_or(|orig| zone.orig() == orig)
            && self.reply.is_none_or(|reply| zone.reply() == reply)
    }
}

impl TupleFilter {
    fn is_empty(&self) -> bool {
        self.src.is_none()
            && self.dst.is_none()
            && self.src_port.is_none()
            && self.dst_port.is_none()
    }

    fn matches(&self, tuple: &Tuple) -> bool {
        fn address(net: Option<IpNet>, address: IpAddr) -> bool {
            net.is_none_or(|net| net.contains(&address))
        }
        fn port(range: Option<PortRange>, port: Option<u16>) -> bool {
            range.is_none_or(|range| port.is_some_and(|port| range.contains(port)))
        }
        address(self.src, tuple.src())
            && address(self.dst, tuple.dst())
            && port(self.src_port, tuple.src_port())
            && port(self.dst_port, tuple.dst_port())
    }
}

impl Filter {
    /// Whether the entry meets every condition.
    #[must_use]
    pub fn matches(&self, entry: &Entry) -> bool {
        // An owned entry has everything at hand, so nothing can be damaged.
        self.check(entry).unwrap_or(false)
    }

    /// Whether a borrowed entry meets every condition. Only the fields that conditions ask about
    /// are decoded, and nothing is allocated.
    ///
    /// # Errors
    /// When one of those is damaged.
    pub fn matches_ref(&self, entry: &EntryRef<'_>) -> Result<bool> {
        self.try_matches_ref(entry)
            .map_err(|malformed| malformed.error(Operation::List))
    }

    /// Whether any entry that has the tuple of one that matches, in the zone of its original
    /// direction, matches as well. By these two the kernel finds what is to be deleted.
    pub(crate) fn means_whoever_follows(&self) -> impl Fn(&Entry) -> bool + use<> {
        // What is not named here may differ from one entry of a tuple to the next.
        let fixed = Self {
            family: self.family,
            zone: self.zone,
            zone_in: ZoneIn {
                orig: self.zone_in.orig,
                reply: None,
            },
            protocol: self.protocol,
            orig: self.orig.clone(),
            icmp_type: self.icmp_type,
            icmp_code: self.icmp_code,
            icmp_id: self.icmp_id,
            ..Self::default()
        };
        let (fixed, zone) = (fixed == *self, self.zone);
        move |entry| {
            // An entry that is in the zone of the other direction may follow, and is not in zone 0.
            let kept = |zone: Zone| !zone.is_default() && entry.zone().orig() == zone;
            fixed && zone.is_none_or(kept)
        }
    }

    #[inline]
    pub(crate) fn try_matches_ref(&self, entry: &EntryRef<'_>) -> Result<bool, Malformed> {
        self.check(entry)
    }

    /// The one place that decides. Cheap conditions first; those that few filters have are out of
    /// line, so that the others stay as fast as they are alone.
    #[inline]
    fn check(&self, entry: &impl Fields) -> Result<bool, Malformed> {
        if let Some(zone) = self.zone {
            if entry.zone()?.zone() != zone {
                return Ok(false);
            }
        }
        if let Some(mark) = self.mark {
            if entry.mark()?.is_none_or(|value| !mark.matches(value)) {
                return Ok(false);
            }
        }
        if let Some((status, mask)) = self.status {
            let met = |value: Status| value.intersection(mask) == status;
            if !entry.status()?.is_some_and(met) {
                return Ok(false);
            }
        }
        if self.has_numbers() && !self.numbers(entry)? {
            return Ok(false);
        }
        if self.family.is_some() || self.protocol.is_some() || !self.orig.is_empty() {
            let orig = entry.tuple(Direction::Original)?;
            if self.family.is_some_and(|family| orig.family() != family)
                || self
                    .protocol
                    .is_some_and(|protocol| orig.protocol() != protocol)
                || !self.orig.matches(&orig)
            {
                return Ok(false);
            }
        }
        if !self.reply.is_empty() && !self.reply.matches(&entry.tuple(Direction::Reply)?) {
            return Ok(false);
        }
        if self.has_nests() && !self.nests(entry)? {
            return Ok(false);
        }
        Ok(true)
    }

    // Not `||`: tags that are put together are one branch.

    #[inline]
    fn has_numbers(&self) -> bool {
        self.zone_in.orig.is_some()
            | self.zone_in.reply.is_some()
            | self.nat.is_some()
            | self.timeout.is_some()
            | self.id.is_some()
    }

    /// What one attribute of a few bytes tells.
    #[inline(never)]
    fn numbers(&self, entry: &impl Fields) -> Result<bool, Malformed> {
        if self.zone_in != ZoneIn::default() && !self.zone_in.matches(entry.zone()?) {
            return Ok(false);
        }
        if let Some(nat) = self.nat {
            if !entry.status()?.is_some_and(|status| nat.matches(status)) {
                return Ok(false);
            }
        }
        if let Some(range) = self.timeout {
            if !entry.timeout()?.is_some_and(|left| range.has(left)) {
                return Ok(false);
            }
        }
        if self.id.is_some() && entry.id()? != self.id {
            return Ok(false);
        }
        Ok(true)
    }

    #[inline]
    fn has_nests(&self) -> bool {
        self.icmp_type.is_some()
            | self.icmp_code.is_some()
            | self.icmp_id.is_some()
            | self.tcp_state.is_some()
            | self.labels.is_some()
            | self.helper.is_some()
    }

    /// What takes longer to find or to decode.
    #[inline(never)]
    fn nests(&self, entry: &impl Fields) -> Result<bool, Malformed> {
        if self.icmp_type.is_some() | self.icmp_code.is_some() | self.icmp_id.is_some() {
            let met = |(kind, code, id): (u8, u8, u16)| {
                self.icmp_type.is_none_or(|want| kind == want)
                    && self.icmp_code.is_none_or(|want| code == want)
                    && self.icmp_id.is_none_or(|want| id == want)
            };
            let orig = entry.tuple(Direction::Original)?;
            if !orig.icmp_fields().is_some_and(met) {
                return Ok(false);
            }
        }
        if self.tcp_state.is_some() && entry.tcp_state()? != self.tcp_state {
            return Ok(false);
        }
        if let Some((labels, mask)) = self.labels {
            // ctnetlink_dump_labels: they are sent only if one is set.
            let value = entry.labels()?.unwrap_or_default();
            if value.bits() & mask.bits() != labels.bits() {
                return Ok(false);
            }
        }
        if self.helper.is_some() && entry.helper()? != self.helper {
            return Ok(false);
        }
        Ok(true)
    }
}

/// What a filter asks an entry, owned or borrowed.
trait Fields {
    fn zone(&self) -> Result<EntryZone, Malformed>;
    fn mark(&self) -> Result<Option<u32>, Malformed>;
    fn status(&self) -> Result<Option<Status>, Malformed>;
    fn timeout(&self) -> Result<Option<u32>, Malformed>;
    fn id(&self) -> Result<Option<u32>, Malformed>;
    fn tuple(&self, direction: Direction) -> Result<Tuple, Malformed>;
    fn tcp_state(&self) -> Result<Option<TcpState>, Malformed>;
    fn labels(&self) -> Result<Option<Labels>, Malformed>;
    fn helper(&self) -> Result<Option<Helper>, Malformed>;
}

impl Fields for Entry {
    fn zone(&self) -> Result<EntryZone, Malformed> {
        Ok(self.zone)
    }

    fn mark(&self) -> Result<Option<u32>, Malformed> {
        Ok(self.mark)
    }

    fn status(&self) -> Result<Option<Status>, Malformed> {
        Ok(self.status)
    }

    fn timeout(&self) -> Result<Option<u32>, Malformed> {
        Ok(self.timeout)
    }

    fn id(&self) -> Result<Option<u32>, Malformed> {
        Ok(self.id)
    }

    fn tuple(&self, direction: Direction) -> Result<Tuple, Malformed> {
        Ok(match direction {
            Direction::Original => self.orig,
            Direction::Reply => self.reply,
        })
    }

    fn tcp_state(&self) -> Result<Option<TcpState>, Malformed> {
        Ok(Entry::tcp_state(self))
    }

    fn labels(&self) -> Result<Option<Labels>, Malformed> {
        Ok(Entry::labels(self))
    }

    fn helper(&self) -> Result<Option<Helper>, Malformed> {
        Ok(Entry::helper(self))
    }
}

impl Fields for EntryRef<'_> {
    fn zone(&self) -> Result<EntryZone, Malformed> {
        self.try_zone()
    }

    fn mark(&self) -> Result<Option<u32>, Malformed> {
        self.try_mark()
    }

    fn status(&self) -> Result<Option<Status>, Malformed> {
        self.try_status()
    }

    fn timeout(&self) -> Result<Option<u32>, Malformed> {
        self.try_timeout()
    }

    fn id(&self) -> Result<Option<u32>, Malformed> {
        self.try_id()
    }

    fn tuple(&self, direction: Direction) -> Result<Tuple, Malformed> {
        match direction {
            Direction::Original => self.try_orig(),
            Direction::Reply => self.try_reply(),
        }
    }

    fn tcp_state(&self) -> Result<Option<TcpState>, Malformed> {
        self.try_tcp_state()
    }

    fn labels(&self) -> Result<Option<Labels>, Malformed> {
        self.try_labels()
    }

    fn helper(&self) -> Result<Option<Helper>, Malformed> {
        self.try_helper()
    }
}
