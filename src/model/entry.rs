//! An entry of the conntrack table, as the kernel reported it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::{
    Counters, EntryBuilder, EntryZone, Family, GreKeys, Helper, Icmp, Icmpv6, Key, Labels, Layer4,
    ProtoInfo, Protocol, Rare, SeqAdjust, Status, Synproxy, TcpInfo, TcpState, Timestamps, Tuple,
    Unknown,
};
use crate::error::Result;

/// An entry of the conntrack table.
///
/// The kernel reports entries; [`Conntrack::list`](crate::Conntrack::list) and
/// [`Conntrack::get`](crate::Conntrack::get) give them. To make one, start with a constructor named
/// after the protocol: it gives an [`EntryBuilder`], whose
/// [`build`](EntryBuilder::build) gives a [`NewEntry`](super::NewEntry) that can be created.
///
/// Printed, an entry is the line that conntrack(8) prints, and [`str::parse`] reads such a line.
/// `{:#}` adds the family in front and the id, as `conntrack -o extended,id` does. [`Entry::display`]
/// gives its other formats.
///
/// ```
/// use ctnetlink::{Entry, Status, TcpState, Zone};
/// use std::time::Duration;
///
/// let web = Entry::tcp("10.0.0.1:40000".parse().unwrap(), "10.0.0.2:443".parse().unwrap())
///     .zone(Zone::new(5))
///     .state(TcpState::Established)
///     .status(Status::SEEN_REPLY | Status::ASSURED)
///     .mark(7)
///     .timeout(Duration::from_secs(600))
///     .build()?;
/// let line = "tcp      6 600 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=443 \
///             src=10.0.0.2 dst=10.0.0.1 sport=443 dport=40000 [ASSURED] mark=7 zone=5";
/// assert_eq!(web.to_string(), line);
/// assert_eq!(line.parse::<Entry>()?.to_string(), line);
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    pub(crate) orig: Tuple,
    pub(crate) reply: Tuple,
    pub(crate) zone: EntryZone,
    pub(crate) status: Option<Status>,
    pub(crate) timeout: Option<u32>,
    pub(crate) mark: Option<u32>,
    pub(crate) id: Option<u32>,
    pub(crate) use_count: Option<u32>,
    pub(crate) proto_info: Option<ProtoInfo>,
    pub(crate) orig_counters: Option<Counters>,
    pub(crate) reply_counters: Option<Counters>,
    /// Not among the rare: kernels with a SYN proxy send it for every TCP entry.
    pub(crate) synproxy: Option<Synproxy>,
    pub(crate) rare: Option<Box<Rare>>,
}

/// A new entry, to be built.
impl Entry {
    /// Any protocol, from a tuple.
    pub fn with_tuple(orig: Tuple) -> EntryBuilder {
        EntryBuilder::new(Ok(orig))
    }

    /// TCP from `src` to `dst`.
    pub fn tcp(src: SocketAddr, dst: SocketAddr) -> EntryBuilder {
        EntryBuilder::new(Tuple::tcp(src, dst))
    }

    /// UDP from `src` to `dst`.
    pub fn udp(src: SocketAddr, dst: SocketAddr) -> EntryBuilder {
        EntryBuilder::new(Tuple::udp(src, dst))
    }

    /// UDP-Lite from `src` to `dst`.
    pub fn udplite(src: SocketAddr, dst: SocketAddr) -> EntryBuilder {
        EntryBuilder::new(Tuple::udplite(src, dst))
    }

    /// SCTP from `src` to `dst`.
    pub fn sctp(src: SocketAddr, dst: SocketAddr) -> EntryBuilder {
        EntryBuilder::new(Tuple::sctp(src, dst))
    }

    /// DCCP from `src` to `dst`.
    pub fn dccp(src: SocketAddr, dst: SocketAddr) -> EntryBuilder {
        EntryBuilder::new(Tuple::dccp(src, dst))
    }

    /// ICMP from `src` to `dst`.
    pub fn icmp(src: Ipv4Addr, dst: Ipv4Addr, key: Icmp) -> EntryBuilder {
        EntryBuilder::new(Ok(Tuple::icmp(src, dst, key)))
    }

    /// `ICMPv6` from `src` to `dst`.
    pub fn icmpv6(src: Ipv6Addr, dst: Ipv6Addr, key: Icmpv6) -> EntryBuilder {
        EntryBuilder::new(Ok(Tuple::icmpv6(src, dst, key)))
    }

    /// An echo request from `src` to `dst`: ICMP or `ICMPv6`, as the addresses have it.
    pub fn echo(src: IpAddr, dst: IpAddr, id: u16) -> EntryBuilder {
        let layer4 = match src {
            IpAddr::V4(_) => Layer4::Icmp(Icmp::echo_request(id)),
            IpAddr::V6(_) => Layer4::Icmpv6(Icmpv6::echo_request(id)),
        };
        EntryBuilder::new(Tuple::new(src, dst, layer4))
    }

    /// GRE from `src` to `dst`.
    pub fn gre(src: IpAddr, dst: IpAddr, keys: GreKeys) -> EntryBuilder {
        EntryBuilder::new(Tuple::gre(src, dst, keys))
    }

    /// Any protocol without ports from `src` to `dst`.
    pub fn other(protocol: Protocol, src: IpAddr, dst: IpAddr) -> EntryBuilder {
        EntryBuilder::new(Tuple::other(protocol, src, dst))
    }
}

impl Entry {
    pub(crate) const fn new(orig: Tuple, reply: Tuple) -> Self {
        Self {
            orig,
            reply,
            zone: EntryZone::Both(super::Zone::DEFAULT),
            status: None,
            timeout: None,
            mark: None,
            id: None,
            use_count: None,
            proto_info: None,
            orig_counters: None,
            reply_counters: None,
            synproxy: None,
            rare: None,
        }
    }

    fn rare<T>(&self, field: impl FnOnce(&Rare) -> Option<T>) -> Option<T> {
        self.rare.as_deref().and_then(field)
    }

    /// The tuple of the packets that began the flow.
    #[doc(alias = "CTA_TUPLE_ORIG")]
    #[must_use]
    pub const fn orig(&self) -> &Tuple {
        &self.orig
    }

    /// The tuple of the packets that answer.
    #[doc(alias = "CTA_TUPLE_REPLY")]
    #[must_use]
    pub const fn reply(&self) -> &Tuple {
        &self.reply
    }

    /// The family of all four addresses.
    #[must_use]
    pub const fn family(&self) -> Family {
        self.orig.family()
    }

    /// The protocol of both tuples.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.orig.protocol()
    }

    /// The layer 4 part of the original tuple.
    #[must_use]
    pub const fn layer4(&self) -> Layer4 {
        self.orig.layer4()
    }

    /// The zone, and the directions in which it holds. The kernel does not send zone 0, so this is
    /// always known.
    #[doc(alias = "CTA_ZONE")]
    #[must_use]
    pub const fn zone(&self) -> EntryZone {
        self.zone
    }

    /// Status bits.
    #[doc(alias = "CTA_STATUS")]
    #[must_use]
    pub const fn status(&self) -> Option<Status> {
        self.status
    }

    /// What is left of the time-out, in whole seconds. Offloaded flows have none.
    #[doc(alias = "CTA_TIMEOUT")]
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.map(|secs| Duration::from_secs(secs.into()))
    }

    /// The mark. `None` if the kernel was built without marks (`CONFIG_NF_CONNTRACK_MARK`).
    #[doc(alias = "CTA_MARK")]
    #[must_use]
    pub const fn mark(&self) -> Option<u32> {
        self.mark
    }

    /// The kernel's id of this very entry.
    ///
    /// It is a hash of the entry's place in memory and its original tuple (`nf_ct_get_id`). Entries
    /// that are in the table together have different ids. One that is made with the tuple of one that
    /// has just ended is mostly given its place, and then has the same id.
    #[doc(alias = "CTA_ID")]
    #[must_use]
    pub const fn id(&self) -> Option<u32> {
        self.id
    }

    /// The kernel's reference count; a look-up counts itself.
    #[doc(alias = "CTA_USE")]
    #[must_use]
    pub const fn use_count(&self) -> Option<u32> {
        self.use_count
    }

    /// What the protocol's tracker knows.
    #[doc(alias = "CTA_PROTOINFO")]
    #[must_use]
    pub const fn proto_info(&self) -> Option<&ProtoInfo> {
        self.proto_info.as_ref()
    }

    /// What the TCP tracker knows.
    #[must_use]
    pub const fn tcp_info(&self) -> Option<&TcpInfo> {
        match &self.proto_info {
            Some(ProtoInfo::Tcp(info)) => Some(info),
            _ => None,
        }
    }

    /// The TCP state.
    #[must_use]
    pub fn tcp_state(&self) -> Option<TcpState> {
        self.tcp_info().and_then(|info| info.state)
    }

    /// Packets and bytes of the original direction, if accounting was on when the flow began.
    #[doc(alias = "CTA_COUNTERS_ORIG")]
    #[must_use]
    pub const fn orig_counters(&self) -> Option<Counters> {
        self.orig_counters
    }

    /// Packets and bytes of the reply direction, if accounting was on when the flow began.
    #[doc(alias = "CTA_COUNTERS_REPLY")]
    #[must_use]
    pub const fn reply_counters(&self) -> Option<Counters> {
        self.reply_counters
    }

    /// Labels. `None` if none is set: the kernel sends them only when one is.
    #[doc(alias = "CTA_LABELS")]
    #[must_use]
    pub fn labels(&self) -> Option<Labels> {
        self.rare(|rare| rare.labels)
    }

    /// When the flow began and ended, if time stamps were on when it began.
    #[doc(alias = "CTA_TIMESTAMP")]
    #[must_use]
    pub fn timestamps(&self) -> Option<Timestamps> {
        self.rare(|rare| rare.timestamps)
    }

    /// The helper that follows the flow.
    #[doc(alias = "CTA_HELP")]
    #[doc(alias = "CTA_HELP_NAME")]
    #[must_use]
    pub fn helper(&self) -> Option<Helper> {
        self.rare(|rare| rare.helper)
    }

    /// What the helper keeps of the flow, in a form of its own. Only helpers in user space
    /// (`NFNL_SUBSYS_CTHELPER`) have it.
    #[doc(alias = "CTA_HELP_INFO")]
    #[must_use]
    pub fn helper_info(&self) -> Option<&[u8]> {
        self.rare.as_deref()?.helper_info.as_deref()
    }

    /// The original tuple of the entry that this one was expected by.
    #[doc(alias = "CTA_TUPLE_MASTER")]
    #[must_use]
    pub fn master(&self) -> Option<&Tuple> {
        self.rare.as_deref()?.master.as_ref()
    }

    /// How sequence numbers of the original direction are adjusted.
    #[doc(alias = "CTA_SEQ_ADJ_ORIG")]
    #[must_use]
    pub fn orig_seq_adjust(&self) -> Option<SeqAdjust> {
        self.rare(|rare| rare.orig_seq_adjust)
    }

    /// How sequence numbers of the reply direction are adjusted.
    #[doc(alias = "CTA_SEQ_ADJ_REPLY")]
    #[must_use]
    pub fn reply_seq_adjust(&self) -> Option<SeqAdjust> {
        self.rare(|rare| rare.reply_seq_adjust)
    }

    /// What the SYN proxy remembers.
    #[doc(alias = "CTA_SYNPROXY")]
    #[must_use]
    pub const fn synproxy(&self) -> Option<Synproxy> {
        self.synproxy
    }

    /// The security context, by name.
    #[doc(alias = "CTA_SECCTX")]
    #[doc(alias = "CTA_SECCTX_NAME")]
    #[must_use]
    pub fn security_context(&self) -> Option<&str> {
        self.rare.as_deref()?.secctx.as_deref()
    }

    /// The security mark, a number. Kernels before 2.6.37 have it; later ones name the context
    /// ([`Entry::security_context`]).
    #[doc(alias = "CTA_SECMARK")]
    #[must_use]
    pub fn security_mark(&self) -> Option<u32> {
        self.rare(|rare| rare.secmark)
    }

    /// Attributes that this version of the library does not know, at whatever depth they stood, and
    /// those that it knows in other places alone.
    #[must_use]
    pub fn unknown(&self) -> &[Unknown] {
        self.rare.as_deref().map_or(&[], |rare| &rare.unknown)
    }

    /// The key of this very entry: its original tuple, its zone, and its id where known.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::from(self)
    }

    /// This entry as one that can be created, for example to restore a table.
    ///
    /// What creation cannot set is left out: id, use count, counters, time stamps, security context and mark,
    /// unknown attributes, and status bits beyond [`Status::SETTABLE`]. So is the master, which may
    /// be gone, and the SYN proxy's part where it is all zero.
    ///
    /// Of a flow that is translated, by [`Status::SRC_NAT`] and [`Status::DST_NAT`], the new entry
    /// starts untranslated and asks for exactly the addresses and ports of the reply, so that the kernel
    /// makes the same tuples and translates packets by them. Where another entry has them by now,
    /// creation fails with [`Error::is_exists`](crate::Error::is_exists); nothing else is chosen.
    /// A line of conntrack(8) does not say what is translated: of an entry that was read from one the
    /// reply is kept, and packets pass untranslated.
    ///
    /// # Errors
    /// For an entry without a time-out, and for states that the kernel does not take.
    pub fn to_new(&self) -> Result<super::NewEntry> {
        super::NewEntry::try_from(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_at_most_256_bytes() {
        assert!(size_of::<Entry>() <= 256, "{}", size_of::<Entry>());
    }
}
