//! The requests of ctnetlink, as messages.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::conntrack::ConntrackMessageType;

use super::attr::{
    CTA_IP_V4_DST, CTA_IP_V4_SRC, CTA_PROTO_NUM, CTA_TIMEOUT, CTA_TUPLE_IP, CTA_TUPLE_ORIG,
    CTA_TUPLE_PROTO,
};
use super::entry::{encode_id, encode_key, encode_new, encode_update};
use super::expect::EXPECTATIONS;
use super::writer::Datagram;
use crate::error::Result;
use crate::model::{Family, Key, NewEntry, Protocol, Status, Update};

/// Which dump is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// `IPCTNL_MSG_CT_GET`
    List,
    /// `IPCTNL_MSG_CT_GET_CTRZERO`
    ListAndZeroCounters,
    /// `IPCTNL_MSG_CT_GET_DYING`
    ListDying,
    /// `IPCTNL_MSG_CT_GET_UNCONFIRMED`
    ListUnconfirmed,
}

// Those that netlink-packet-netfilter has no names for.
const GET_CTRZERO: u8 = 3;
const GET_STATS_CPU: u8 = 4;
const GET_STATS: u8 = 5;
const GET_DYING: u8 = 6;
const GET_UNCONFIRMED: u8 = 7;
/// `IPCTNL_MSG_EXP_GET_STATS_CPU`
const EXP_GET_STATS_CPU: u8 = 3;

pub(super) fn family(family: Family) -> NetfilterProtoFamily {
    match family {
        Family::Ipv4 => NetfilterProtoFamily::IPv4,
        Family::Ipv6 => NetfilterProtoFamily::IPv6,
    }
}

/// The whole table, or all of a family, with nothing else filtered.
pub(crate) fn dump(datagram: &mut Datagram, request: Request, of: Option<Family>) -> Result<()> {
    let kind = match request {
        Request::List => ConntrackMessageType::Get.into(),
        Request::ListAndZeroCounters => GET_CTRZERO,
        Request::ListDying => GET_DYING,
        Request::ListUnconfirmed => GET_UNCONFIRMED,
    };
    let family = of.map_or(NetfilterProtoFamily::Unspec, family);
    datagram.message(kind, NLM_F_DUMP, family, |_| {})
}

pub(crate) fn get(datagram: &mut Datagram, key: &Key) -> Result<()> {
    datagram.message(
        ConntrackMessageType::Get.into(),
        0,
        family(key.tuple.family()),
        |w| encode_key(w, key),
    )
}

/// Exclusive: `EEXIST` where either tuple is taken.
pub(crate) fn create(datagram: &mut Datagram, new: &NewEntry) -> Result<()> {
    datagram.message(
        ConntrackMessageType::New.into(),
        NLM_F_CREATE | NLM_F_EXCL,
        family(new.entry().family()),
        |w| encode_new(w, new),
    )
}

pub(crate) fn update(
    datagram: &mut Datagram,
    key: &Key,
    update: &Update,
    status: Option<Status>,
) -> Result<()> {
    datagram.message(
        ConntrackMessageType::New.into(),
        0,
        family(key.tuple.family()),
        |w| {
            encode_key(w, key);
            encode_update(w, update, status);
        },
    )
}

pub(crate) fn delete(datagram: &mut Datagram, key: &Key) -> Result<()> {
    datagram.message(
        ConntrackMessageType::Delete.into(),
        0,
        family(key.tuple.family()),
        |w| {
            encode_key(w, key);
            encode_id(w, key.id);
        },
    )
}

/// A delete without a tuple: every entry of every zone and both families.
pub(crate) fn flush(datagram: &mut Datagram) -> Result<()> {
    datagram.message(
        ConntrackMessageType::Delete.into(),
        0,
        NetfilterProtoFamily::Unspec,
        |_| {},
    )
}

pub(crate) fn stats_request(datagram: &mut Datagram) -> Result<()> {
    datagram.message(GET_STATS, 0, NetfilterProtoFamily::Unspec, |_| {})
}

/// What each CPU counts.
pub(crate) fn cpu_stats_dump(datagram: &mut Datagram) -> Result<()> {
    let family = NetfilterProtoFamily::Unspec;
    datagram.message(GET_STATS_CPU, NLM_F_DUMP, family, |_| {})
}

/// What each CPU counts of expectations.
pub(crate) fn expect_cpu_stats_dump(datagram: &mut Datagram) -> Result<()> {
    let family = NetfilterProtoFamily::Unspec;
    datagram.message_to(EXPECTATIONS, EXP_GET_STATS_CPU, NLM_F_DUMP, family, |_| {})
}

/// A creation whose time-out is one byte long, to see how a refusal is told.
pub(crate) fn create_malformed(datagram: &mut Datagram) -> Result<()> {
    let kind = ConntrackMessageType::New.into();
    datagram.message(kind, NLM_F_CREATE, NetfilterProtoFamily::IPv4, |w| {
        w.put(CTA_TIMEOUT, [0]);
    })?;
    datagram.acknowledge_last();
    Ok(())
}

/// A look-up that lacks the ports on purpose. A kernel that tracks the protocol says `EINVAL`
/// (`nf_ct_port_nlattr_to_tuple`), one that does not says `ENOENT`; nothing changes either way.
pub(crate) fn portless_get(datagram: &mut Datagram, protocol: Protocol) -> Result<()> {
    datagram.message(
        ConntrackMessageType::Get.into(),
        0,
        NetfilterProtoFamily::IPv4,
        |w| {
            w.nest(CTA_TUPLE_ORIG, |w| {
                w.nest(CTA_TUPLE_IP, |w| {
                    w.put(CTA_IP_V4_SRC, [0; 4]);
                    w.put(CTA_IP_V4_DST, [0; 4]);
                });
                w.nest(CTA_TUPLE_PROTO, |w| {
                    w.put(CTA_PROTO_NUM, [protocol.number()]);
                });
            });
        },
    )
}

impl NewEntry {
    /// Writes the request that creates the entry, netlink header included, for those who talk to
    /// the kernel over a socket of their own. What the buffer held is lost.
    ///
    /// It is exclusive, and asks for an acknowledgement:
    /// [`Conntrack::create`](crate::Conntrack::create) without the socket, and without its looking
    /// at what kernels leave out silently.
    ///
    /// # Errors
    /// None for an entry that could be built, as things are.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ctnetlink::Entry;
    ///
    /// let dns = Entry::udp("10.0.0.1:4000".parse().unwrap(), "10.0.0.2:53".parse().unwrap())
    ///     .timeout(Duration::from_secs(30))
    ///     .build()?;
    /// let mut buffer = Vec::new();
    /// dns.write_request(1, &mut buffer)?;
    /// let length = u32::from_ne_bytes(buffer[..4].try_into().unwrap());
    /// assert_eq!(length as usize, buffer.len());
    /// # Ok::<(), ctnetlink::Error>(())
    /// ```
    #[doc(alias = "IPCTNL_MSG_CT_NEW")]
    pub fn write_request(&self, sequence: u32, buffer: &mut Vec<u8>) -> Result<()> {
        let mut datagram = Datagram::into(std::mem::take(buffer), sequence);
        let written = create(&mut datagram, self);
        datagram.acknowledge_last();
        *buffer = datagram.into_bytes();
        written
    }
}
