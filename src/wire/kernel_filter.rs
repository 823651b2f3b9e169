//! Filters that the kernel is asked to check: in a dump, or in a flush.

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::conntrack::ConntrackMessageType;

use super::attr::{
    CTA_FILTER, CTA_FILTER_ORIG_FLAGS, CTA_FILTER_REPLY_FLAGS, CTA_IP_V4_DST, CTA_IP_V4_SRC,
    CTA_IP_V6_DST, CTA_IP_V6_SRC, CTA_MARK, CTA_MARK_MASK, CTA_PROTO_DST_PORT, CTA_PROTO_NUM,
    CTA_PROTO_SRC_PORT, CTA_STATUS, CTA_STATUS_MASK, CTA_TUPLE_IP, CTA_TUPLE_ORIG, CTA_TUPLE_PROTO,
    CTA_TUPLE_REPLY, CTA_ZONE,
};
use super::request::family;
use super::writer::{Datagram, Writer};
use crate::error::{Error, Result};
use crate::model::{KernelFilter, KernelTuple};
use std::net::IpAddr;

/// `CTA_FILTER_F_*`: what of a tuple is compared. In the host's byte order.
const IP_SRC: u32 = 1;
const IP_DST: u32 = 1 << 1;
const PROTO_NUM: u32 = 1 << 3;
const PROTO_SRC_PORT: u32 = 1 << 4;
const PROTO_DST_PORT: u32 = 1 << 5;

/// The entries of the table that the kernel finds to match.
pub(crate) fn dump_filtered(datagram: &mut Datagram, filter: &KernelFilter) -> Result<()> {
    let kind = ConntrackMessageType::Get.into();
    let of = filter.family.map_or(NetfilterProtoFamily::Unspec, family);
    datagram.message(kind, NLM_F_DUMP, of, |w| encode(w, filter))
}

/// Removes the entries that the kernel finds to match. Only for what was seen to be right: a kernel
/// that does not know the filter removes everything.
///
/// # Errors
/// Without a condition it would be a flush of everything.
pub(crate) fn flush_filtered(datagram: &mut Datagram, filter: &KernelFilter) -> Result<()> {
    if filter.shape().is_empty() {
        return Err(Error::invalid(
            "filter",
            "",
            "the kernel can be asked about none of its conditions",
            "a condition that the kernel knows",
        ));
    }
    let kind = ConntrackMessageType::Delete.into();
    let of = filter.family.map_or(NetfilterProtoFamily::Unspec, family);
    datagram.message(kind, 0, of, |w| encode(w, filter))?;
    if filter.family.is_some() {
        datagram.heed_family();
    }
    Ok(())
}

fn encode(w: &mut Writer<'_>, filter: &KernelFilter) {
    let (orig, reply) = (flags(&filter.orig), flags(&filter.reply));
    if orig != 0 {
        encode_tuple(w, CTA_TUPLE_ORIG, &filter.orig);
    }
    if reply != 0 {
        encode_tuple(w, CTA_TUPLE_REPLY, &filter.reply);
    }
    if let Some((status, mask)) = filter.status {
        w.be32(CTA_STATUS, status.bits());
        w.be32(CTA_STATUS_MASK, mask.bits());
    }
    if let Some(mark) = filter.mark {
        w.be32(CTA_MARK, mark.value());
        // Some kernels look at the mark only where there is a mask.
        w.be32(CTA_MARK_MASK, mark.mask());
    }
    if let Some(zone) = filter.zone {
        w.be16(CTA_ZONE, zone.get());
    }
    if orig | reply != 0 {
        w.nest(CTA_FILTER, |w| {
            w.put(CTA_FILTER_ORIG_FLAGS, orig.to_ne_bytes());
            w.put(CTA_FILTER_REPLY_FLAGS, reply.to_ne_bytes());
        });
    }
}

fn flags(tuple: &KernelTuple) -> u32 {
    [
        (tuple.src.is_some(), IP_SRC),
        (tuple.dst.is_some(), IP_DST),
        (tuple.protocol.is_some(), PROTO_NUM),
        (tuple.src_port.is_some(), PROTO_SRC_PORT),
        (tuple.dst_port.is_some(), PROTO_DST_PORT),
    ]
    .into_iter()
    .filter(|(there, _)| *there)
    .fold(0, |flags, (_, flag)| flags | flag)
}

fn encode_tuple(w: &mut Writer<'_>, kind: u16, tuple: &KernelTuple) {
    w.nest(kind, |w| {
        if tuple.src.is_some() || tuple.dst.is_some() {
            w.nest(CTA_TUPLE_IP, |w| {
                encode_address(w, tuple.src, CTA_IP_V4_SRC, CTA_IP_V6_SRC);
                encode_address(w, tuple.dst, CTA_IP_V4_DST, CTA_IP_V6_DST);
            });
        }
        if let Some(protocol) = tuple.protocol {
            w.nest(CTA_TUPLE_PROTO, |w| {
                w.put(CTA_PROTO_NUM, [protocol.number()]);
                if let Some(port) = tuple.src_port {
                    w.be16(CTA_PROTO_SRC_PORT, port);
                }
                if let Some(port) = tuple.dst_port {
                    w.be16(CTA_PROTO_DST_PORT, port);
                }
            });
        }
    });
}

fn encode_address(w: &mut Writer<'_>, address: Option<IpAddr>, v4: u16, v6: u16) {
    match address {
        Some(IpAddr::V4(address)) => w.put(v4, address.octets()),
        Some(IpAddr::V6(address)) => w.put(v6, address.octets()),
        None => {}
    }
}
