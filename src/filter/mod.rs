//! Filters: which entries are meant.

mod check;
#[cfg(feature = "serde")]
mod json;
mod lower;
mod nat;
mod ports;
#[cfg(test)]
mod tests;
mod text;
mod timeout;

use ipnet::IpNet;

use crate::error::{Error, Result};
use crate::model::{Direction, Family, Helper, Labels, Mark, Protocol, Status, TcpState, Zone};

pub use nat::NatKind;
pub use ports::PortRange;
pub use timeout::TimeoutRange;

/// Which entries are meant: those that meet every condition. [`Filter::new`] has none, so it meets
/// all entries.
///
/// Conditions name their direction: `orig_dst_port` is the port that the client connected to,
/// `reply_src` the address that really answers (behind DNAT another one than `orig_dst`). An entry
/// that lacks what a condition asks about (a port, a mark) does not meet it. An unspecified address
/// (`0.0.0.0`) is that address, not "any": leave the condition out instead.
///
/// Setting a condition again replaces it. Conditions that no entry meets together, such as an ICMP
/// type of TCP, are no error: they mean no entry.
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
///
/// # Text
///
/// A filter is written as words between white space, in any order, each at most once; one without
/// conditions is the word `all`, and nothing at all is refused. It prints in one order, as words that
/// give the same filter when they are read.
///
/// ```
/// use ctnetlink::Filter;
///
/// let text = "zone=5 status=ASSURED,!DYING protocol=tcp orig-src=10.0.0.0/24 orig-dst-port=1-1023";
/// let filter: Filter = text.parse()?;
/// assert_eq!(filter.to_string(), text);
/// assert_eq!("all".parse::<Filter>()?, Filter::new());
/// assert_eq!(
///     "dport=80".parse::<Filter>().unwrap_err().to_string(),
///     "filter \"dport=80\": the direction is missing; expected orig-dst-port or reply-dst-port"
/// );
/// # Ok::<(), ctnetlink::Error>(())
/// ```
///
/// | word | value | method |
/// |---|---|---|
/// | `family` | `ipv4` or `ipv6` | [`family`](Self::family) |
/// | `zone` | number | [`zone`](Self::zone) |
/// | `orig-zone` `reply-zone` | number | [`zone_in`](Self::zone_in) |
/// | `mark` | `VALUE` or `VALUE/MASK` | [`mark`](Self::mark) |
/// | `status` | bits by name, joined by commas, `!` before those that are off; or `any` | [`status_masked`](Self::status_masked) |
/// | `labels` | labels by number, joined by commas, `!` before those that are off; `LIST/all` or `NONE/all` for no others; or `any` | [`labels_masked`](Self::labels_masked) |
/// | `protocol` | name or number | [`protocol`](Self::protocol) |
/// | `orig-src` `orig-dst` `reply-src` `reply-dst` | prefix or address | [`orig_src`](Self::orig_src) .. |
/// | `orig-src-port` `orig-dst-port` `reply-src-port` `reply-dst-port` | `PORT` or `FIRST-LAST` | [`orig_src_port`](Self::orig_src_port) .. |
/// | `icmp-type` `icmp-code` `icmp-id` | number | [`icmp_type`](Self::icmp_type) .. |
/// | `state` | name | [`tcp_state`](Self::tcp_state) |
/// | `helper` | name | [`helper`](Self::helper) |
/// | `nat` | `src`, `dst`, `any` or `none` | [`nat`](Self::nat) |
/// | `timeout` | seconds: `30..600`, `30..`, `..600` or `60` | [`timeout`](Self::timeout) |
/// | `id` | number | [`id`](Self::id) |
///
/// Numbers are decimal, or hexadecimal after `0x`. In the name of a helper, white space, control
/// characters and backslashes are written as `\u{..}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Filter {
    pub(crate) family: Option<Family>,
    pub(crate) zone: Option<Zone>,
    pub(crate) zone_in: ZoneIn,
    pub(crate) mark: Option<Mark>,
    /// Bits that are on, out of a mask that has them all.
    pub(crate) status: Option<(Status, Status)>,
    /// Labels that are set, out of a mask that has them all.
    pub(crate) labels: Option<(Labels, Labels)>,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) orig: TupleFilter,
    pub(crate) reply: TupleFilter,
    pub(crate) icmp_type: Option<u8>,
    pub(crate) icmp_code: Option<u8>,
    pub(crate) icmp_id: Option<u16>,
    pub(crate) tcp_state: Option<TcpState>,
    pub(crate) helper: Option<Helper>,
    pub(crate) nat: Option<NatKind>,
    pub(crate) timeout: Option<TimeoutRange>,
    pub(crate) id: Option<u32>,
}

/// The zones that the packets of each direction are looked up in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct ZoneIn {
    pub(crate) orig: Option<Zone>,
    pub(crate) reply: Option<Zone>,
}

/// The conditions on one direction's tuple.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct TupleFilter {
    pub(crate) src: Option<IpNet>,
    pub(crate) dst: Option<IpNet>,
    pub(crate) src_port: Option<PortRange>,
    pub(crate) dst_port: Option<PortRange>,
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

    /// Whose packets of this direction are looked up in this zone: [`EntryZone::orig`] or
    /// [`EntryZone::reply`].
    ///
    /// An entry that is in zone 5 in both directions is in zone 5 in each. One that is in zone 5 in
    /// the original direction only is there in zone 5, and in zone 0 in the reply direction. The two
    /// directions are two conditions; both with one zone mean entries that are in it in both.
    ///
    /// ```
    /// use ctnetlink::{Direction::{Original, Reply}, Entry, EntryZone, Filter, Zone};
    ///
    /// # let (a, b) = ("10.0.0.1:40000".parse().unwrap(), "10.0.0.2:53".parse().unwrap());
    /// let five = Zone::new(5);
    /// let half = Entry::udp(a, b).zone(EntryZone::Orig(five));
    /// let half = half.timeout(std::time::Duration::from_secs(30)).build()?;
    /// assert!(Filter::new().zone_in(Original, five).matches(half.entry()));
    /// assert!(Filter::new().zone_in(Reply, Zone::DEFAULT).matches(half.entry()));
    /// assert!(!Filter::new().zone_in(Reply, five).matches(half.entry()));
    /// # Ok::<(), ctnetlink::Error>(())
    /// ```
    ///
    /// [`EntryZone::orig`]: crate::EntryZone::orig
    /// [`EntryZone::reply`]: crate::EntryZone::reply
    #[doc(alias = "CTA_TUPLE_ZONE")]
    #[must_use]
    pub fn zone_in(mut self, direction: Direction, zone: Zone) -> Self {
        match direction {
            Direction::Original => self.zone_in.orig = Some(zone),
            Direction::Reply => self.zone_in.reply = Some(zone),
        }
        self
    }

    /// With this mark: a `u32` for all of it, a [`Mark`] for some of its bits.
    ///
    /// In events the kernel leaves out a mark of 0, unless it has just become that: such an event
    /// meets no mark, 0 included.
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

    /// With all of these labels, and perhaps others.
    ///
    /// An entry without labels is one of which none is set: the kernel sends them only where one is.
    /// In events it sends them only when they change ([`Event`](crate::Event)), so there a label
    /// that must be off may be on.
    #[doc(alias = "CTA_LABELS")]
    #[must_use]
    pub fn labels(mut self, labels: Labels) -> Self {
        self.labels = Some((labels, labels));
        self
    }

    /// With these labels, of those in the mask; the labels of the mask that are not in `labels` must
    /// be off. With [`Labels::ALL`] as the mask: these and no others.
    ///
    /// # Errors
    /// For labels outside of the mask, which no entry could meet.
    #[doc(alias = "CTA_LABELS_MASK")]
    pub fn labels_masked(mut self, labels: Labels, mask: Labels) -> Result<Self> {
        let beyond = Labels::from_bits(labels.bits() & !mask.bits());
        if !beyond.is_empty() {
            return Err(Error::invalid(
                "label filter",
                format!("{labels}/{mask}"),
                format!("{beyond} is outside of the mask"),
                "labels within the mask",
            ));
        }
        self.labels = Some((labels, mask));
        Ok(self)
    }

    /// Of this protocol.
    #[doc(alias = "CTA_PROTO_NUM")]
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

    /// ICMP or `ICMPv6` with this type in the original direction: 8 is an echo request of ICMP, 128
    /// one of `ICMPv6`. [`Filter::protocol`] says which of the two is meant.
    ///
    /// Types, codes and identifiers are checked in user space: kernels are not asked for them.
    #[doc(alias = "CTA_PROTO_ICMP_TYPE")]
    #[doc(alias = "CTA_PROTO_ICMPV6_TYPE")]
    #[must_use]
    pub fn icmp_type(mut self, kind: u8) -> Self {
        self.icmp_type = Some(kind);
        self
    }

    /// ICMP or `ICMPv6` with this code in the original direction.
    #[doc(alias = "CTA_PROTO_ICMP_CODE")]
    #[doc(alias = "CTA_PROTO_ICMPV6_CODE")]
    #[must_use]
    pub fn icmp_code(mut self, code: u8) -> Self {
        self.icmp_code = Some(code);
        self
    }

    /// ICMP or `ICMPv6` with this identifier in the original direction.
    #[doc(alias = "CTA_PROTO_ICMP_ID")]
    #[doc(alias = "CTA_PROTO_ICMPV6_ID")]
    #[must_use]
    pub fn icmp_id(mut self, id: u16) -> Self {
        self.icmp_id = Some(id);
        self
    }

    /// TCP in this state. The states of SCTP and DCCP, which have the same names, do not meet it; nor
    /// do offloaded flows, of which the kernel says no state.
    #[doc(alias = "CTA_PROTOINFO_TCP_STATE")]
    #[must_use]
    pub fn tcp_state(mut self, state: TcpState) -> Self {
        self.tcp_state = Some(state);
        self
    }

    /// Followed by this helper.
    #[doc(alias = "CTA_HELP_NAME")]
    #[must_use]
    pub fn helper(mut self, helper: Helper) -> Self {
        self.helper = Some(helper);
        self
    }

    /// Translated, or not. An entry whose status is not known meets no kind, [`NatKind::None`]
    /// included.
    #[must_use]
    pub fn nat(mut self, nat: NatKind) -> Self {
        self.nat = Some(nat);
        self
    }

    /// With so much of the time-out left. Offloaded flows have no time-out, and do not meet it.
    #[doc(alias = "CTA_TIMEOUT")]
    #[must_use]
    pub fn timeout(mut self, range: TimeoutRange) -> Self {
        self.timeout = Some(range);
        self
    }

    /// With this id: [`Entry::id`](crate::Entry::id) says what it tells apart.
    #[doc(alias = "CTA_ID")]
    #[must_use]
    pub fn id(mut self, id: u32) -> Self {
        self.id = Some(id);
        self
    }

    /// The zone that is asked for, as it is told in traces.
    pub(crate) fn zone_condition(&self) -> Option<Zone> {
        self.zone
    }

    /// The family that is asked for.
    pub(crate) fn family_condition(&self) -> Option<Family> {
        self.family
    }

    /// The zones that every match is in, in some direction: refused where they are protected.
    pub(crate) fn zones(&self) -> impl Iterator<Item = Zone> {
        [self.zone, self.zone_in.orig, self.zone_in.reply]
            .into_iter()
            .flatten()
    }
}

/// What stands after `0x` or `0X`.
fn hexadecimal(text: &str) -> Option<&str> {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))
}

/// A number in text: digits, or hexadecimal ones after `0x`, without a sign.
fn number<N: TryFrom<u64>>(text: &str) -> Option<N> {
    let (digits, radix) = match hexadecimal(text) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    crate::model::digits(digits, radix)
}
