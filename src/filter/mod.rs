//! Filters: which entries are meant.

#[cfg(feature = "serde")]
mod json;
mod ports;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::error::{Error, Result};
use crate::model::{Direction, Entry, EntryZone, Family, Mark, Protocol, Status, Tuple, Zone};
use crate::wire::EntryRef;
use crate::wire::Malformed;

pub use ports::PortRange;

/// Which entries are meant: those that meet every condition. [`Filter::new`] has none, so it meets
/// all entries.
///
/// Conditions name their direction: `orig_dst_port` is the port that the client connected to,
/// `reply_src` the address that really answers (behind DNAT another one than `orig_dst`). An entry
/// that lacks what a condition asks about (a port, a mark) does not meet it. An unspecified address
/// (`0.0.0.0`) is that address, not "any": leave the condition out instead.
///
/// Setting a condition again replaces it.
///
/// ```
/// use ctnetlink::{Entry, Filter, PortRange, Protocol, Zone};
///
/// let filter = Filter::new()
///     .zone(Zone::new(5))
///     .protocol(Protocol::TCP)
///     .orig_src("10.0.0.0/24".parse::<ipnet::IpNet>().unwrap())
///     .orig_dst_port(PortRange::new(1, 1023)?);
/// let entry: Entry = "tcp 6 60 src=10.0.0.7 dst=10.0.1.1 sport=4000 dport=443 \
///                     src=10.0.1.1 dst=10.0.0.7 sport=443 dport=4000 zone=5".parse()?;
/// assert!(filter.matches(&entry));
/// assert!(!filter.clone().zone(Zone::DEFAULT).matches(&entry));
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Filter {
    family: Option<Family>,
    zone: Option<Zone>,
    mark: Option<Mark>,
    status: Option<(Status, Status)>,
    protocol: Option<Protocol>,
    orig: TupleFilter,
    reply: TupleFilter,
}

/// The conditions on one direction's tuple.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct TupleFilter {
    src: Option<IpNet>,
    dst: Option<IpNet>,
    src_port: Option<PortRange>,
    dst_port: Option<PortRange>,
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
    /// Without conditions: all entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is no condition, so that all entries are meant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Of this address family.
    #[must_use]
    pub fn family(mut self, family: Family) -> Self {
        self.family = Some(family);
        self
    }

    /// In this zone, in whichever direction it holds. Zone 0 means the entries that are in no other
    /// zone in either direction; it is not the same as leaving the condition out.
    #[doc(alias = "CTA_ZONE")]
    #[must_use]
    pub fn zone(mut self, zone: Zone) -> Self {
        self.zone = Some(zone);
        self
    }

    /// With this mark: a `u32` for all of it, a [`Mark`] for some of its bits.
    #[doc(alias = "CTA_MARK")]
    #[doc(alias = "CTA_MARK_MASK")]
    #[must_use]
    pub fn mark(mut self, mark: impl Into<Mark>) -> Self {
        self.mark = Some(mark.into());
        self
    }

    /// With all of these status bits.
    #[doc(alias = "CTA_STATUS")]
    #[must_use]
    pub fn status(mut self, status: Status) -> Self {
        self.status = Some((status, status));
        self
    }

    /// With these status bits, of those in the mask; the bits of the mask that are not in `status`
    /// must be off.
    ///
    /// # Errors
    /// For bits outside of the mask, which no entry could meet.
    #[doc(alias = "CTA_STATUS_MASK")]
    pub fn status_masked(mut self, status: Status, mask: Status) -> Result<Self> {
        let beyond = status.difference(mask);
        if !beyond.is_empty() {
            return Err(Error::invalid(
                "status filter",
                format!("{status}/{mask}"),
                format!("{beyond} is outside of the mask"),
                "status bits within the mask",
            ));
        }
        self.status = Some((status, mask));
        Ok(self)
    }

    /// Of this protocol.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// Original source address in this prefix.
    #[must_use]
    pub fn orig_src(mut self, prefix: impl Into<IpNet>) -> Self {
        self.orig.src = Some(prefix.into());
        self
    }

    /// Original destination address in this prefix.
    #[must_use]
    pub fn orig_dst(mut self, prefix: impl Into<IpNet>) -> Self {
        self.orig.dst = Some(prefix.into());
        self
    }

    /// Source address of the answers in this prefix.
    #[must_use]
    pub fn reply_src(mut self, prefix: impl Into<IpNet>) -> Self {
        self.reply.src = Some(prefix.into());
        self
    }

    /// Destination address of the answers in this prefix.
    #[must_use]
    pub fn reply_dst(mut self, prefix: impl Into<IpNet>) -> Self {
        self.reply.dst = Some(prefix.into());
        self
    }

    /// Original source port.
    #[must_use]
    pub fn orig_src_port(mut self, ports: impl Into<PortRange>) -> Self {
        self.orig.src_port = Some(ports.into());
        self
    }

    /// Original destination port.
    #[must_use]
    pub fn orig_dst_port(mut self, ports: impl Into<PortRange>) -> Self {
        self.orig.dst_port = Some(ports.into());
        self
    }

    /// Source port of the answers.
    #[must_use]
    pub fn reply_src_port(mut self, ports: impl Into<PortRange>) -> Self {
        self.reply.src_port = Some(ports.into());
        self
    }

    /// Destination port of the answers.
    #[must_use]
    pub fn reply_dst_port(mut self, ports: impl Into<PortRange>) -> Self {
        self.reply.dst_port = Some(ports.into());
        self
    }

    /// The zone that is asked for, for traces.
    pub(crate) fn zone_condition(&self) -> Option<Zone> {
        self.zone
    }

    /// Whether the entry meets every condition.
    #[must_use]
    pub fn matches(&self, entry: &Entry) -> bool {
        // An owned entry has everything at hand, so nothing can be damaged.
        self.check(entry).unwrap_or(false)
    }

    /// Whether a borrowed entry meets every condition. Only the fields that conditions ask about
    /// are decoded.
    ///
    /// # Errors
    /// When one of those is damaged.
    pub fn matches_ref(&self, entry: &EntryRef<'_>) -> Result<bool> {
        self.try_matches_ref(entry)
            .map_err(|malformed| malformed.error(crate::error::Operation::List))
    }

    #[inline]
    pub(crate) fn try_matches_ref(&self, entry: &EntryRef<'_>) -> Result<bool, Malformed> {
        self.check(entry)
    }

    /// The one place that decides. Cheap conditions first.
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
        Ok(true)
    }
}

/// What a filter asks an entry, owned or borrowed.
trait Fields {
    fn zone(&self) -> Result<EntryZone, Malformed>;
    fn mark(&self) -> Result<Option<u32>, Malformed>;
    fn status(&self) -> Result<Option<Status>, Malformed>;
    fn tuple(&self, direction: Direction) -> Result<Tuple, Malformed>;
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

    fn tuple(&self, direction: Direction) -> Result<Tuple, Malformed> {
        Ok(match direction {
            Direction::Original => self.orig,
            Direction::Reply => self.reply,
        })
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

    fn tuple(&self, direction: Direction) -> Result<Tuple, Malformed> {
        match direction {
            Direction::Original => self.try_orig(),
            Direction::Reply => self.try_reply(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "tcp 6 600 ESTABLISHED src=10.0.0.1 dst=192.0.2.1 sport=40000 dport=80 \
                        src=10.9.9.9 dst=10.0.0.1 sport=8080 dport=40000 [ASSURED] mark=257 zone=5";
    const ECHO: &str = "icmpv6 58 30 src=fe80::1 dst=fe80::2 type=128 code=0 id=9 [UNREPLIED] \
                        src=fe80::2 dst=fe80::1 type=129 code=0 id=9";

    fn entry(line: &str) -> Entry {
        line.parse().unwrap()
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn every_condition_selects_and_rejects() {
        let web = entry(LINE);
        let new = Filter::new;
        let meets = [
            new(),
            new().family(Family::Ipv4),
            new().zone(Zone::new(5)),
            new().mark(257),
            new().mark(Mark::masked(0x100, 0xff00).unwrap()),
            new().status(Status::ASSURED),
            new()
                .status_masked(Status::ASSURED, Status::ASSURED | Status::DYING)
                .unwrap(),
            new().protocol(Protocol::TCP),
            new().orig_src(net("10.0.0.0/30")),
            new().orig_dst(net("192.0.2.1/32")),
            new().reply_src(net("10.9.0.0/16")),
            new().reply_dst(net("10.0.0.1/32")),
            new().orig_src_port(40000),
            new().orig_dst_port(PortRange::new(1, 100).unwrap()),
            new().reply_src_port(8080),
            new().reply_dst_port(40000),
        ];
        for filter in meets {
            assert!(filter.matches(&web), "{filter:?}");
        }
        let fails = [
            new().family(Family::Ipv6),
            new().zone(Zone::DEFAULT),
            new().zone(Zone::new(6)),
            new().mark(1),
            new().mark(Mark::masked(0x200, 0xff00).unwrap()),
            new().status(Status::DYING),
            new()
                .status_masked(Status::empty(), Status::ASSURED)
                .unwrap(),
            new().protocol(Protocol::UDP),
            new().orig_src(net("10.0.0.2/32")),
            new().orig_src(net("0.0.0.0/32")),
            new().orig_src(net("::/0")),
            new().orig_dst(net("10.9.9.9/32")),
            new().reply_src(net("192.0.2.1/32")),
            new().reply_dst(net("10.0.0.2/32")),
            new().orig_src_port(80),
            new().orig_dst_port(8080),
            new().reply_src_port(80),
            new().reply_dst_port(80),
        ];
        for filter in fails {
            assert!(!filter.matches(&web), "{filter:?}");
        }
    }

    #[test]
    fn what_an_entry_lacks_it_does_not_meet() {
        let echo = entry(ECHO);
        assert!(Filter::new().zone(Zone::DEFAULT).matches(&echo));
        assert!(!Filter::new().orig_dst_port(PortRange::ANY).matches(&echo));
        assert!(!Filter::new().mark(0).matches(&echo)); // the line says nothing of a mark
        assert!(
            Filter::new()
                .status_masked(Status::empty(), Status::SEEN_REPLY)
                .unwrap()
                .matches(&echo)
        );
    }

    #[test]
    fn a_one_direction_zone_is_its_zone_alone() {
        let mut one = entry(LINE);
        for zone in [
            EntryZone::Orig(Zone::new(9)),
            EntryZone::Reply(Zone::new(9)),
        ] {
            one.zone = zone;
            assert!(Filter::new().zone(Zone::new(9)).matches(&one));
            assert!(!Filter::new().zone(Zone::DEFAULT).matches(&one));
        }
    }

    #[test]
    fn empty_is_known() {
        assert!(Filter::new().is_empty());
        assert!(!Filter::new().zone(Zone::DEFAULT).is_empty());
        assert!(!Filter::new().mark(0).is_empty());
        assert!(!Filter::new().reply_src_port(1).is_empty());
        assert!(
            Filter::new()
                .status_masked(Status::ASSURED, Status::DYING)
                .is_err()
        );
    }
}
