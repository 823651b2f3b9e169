//! `CTA_TUPLE_ORIG`, `CTA_TUPLE_REPLY`.

use std::net::{Ipv4Addr, Ipv6Addr};

use netlink_packet_core::NLA_F_NESTED;

use super::Malformed;
use super::attr::{
    CTA_IP_V4_DST, CTA_IP_V4_SRC, CTA_IP_V6_DST, CTA_IP_V6_SRC, CTA_PROTO_DST_PORT,
    CTA_PROTO_ICMP_CODE, CTA_PROTO_ICMP_ID, CTA_PROTO_ICMP_TYPE, CTA_PROTO_ICMPV6_CODE,
    CTA_PROTO_ICMPV6_ID, CTA_PROTO_ICMPV6_TYPE, CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_TUPLE_IP,
    CTA_TUPLE_PROTO, CTA_TUPLE_ZONE,
};
use super::reader::{Attrs, HEADER, Unknowns, header, pair, word, words};
use super::writer::Writer;
use crate::model::Addresses;
use crate::model::{GreKeys, Icmp, Icmpv6, Layer4, Ports, Protocol, Tuple, Zone};

/// Length of a tuple of IPv4 addresses and ports, and of one of IPv6 addresses.
const USUAL4: usize = 20 + USUAL_PORTS;
const USUAL6: usize = 44 + USUAL_PORTS;
const USUAL_PORTS: usize = 28;

/// What such a tuple begins with, and what its second half begins with.
const FIRST4: u64 = pair(
    header(20, CTA_TUPLE_IP | NLA_F_NESTED),
    header(8, CTA_IP_V4_SRC),
);
const FIRST6: u64 = pair(
    header(44, CTA_TUPLE_IP | NLA_F_NESTED),
    header(20, CTA_IP_V6_SRC),
);
const FIRST_PROTO: u64 = pair(
    header(28, CTA_TUPLE_PROTO | NLA_F_NESTED),
    header(5, CTA_PROTO_NUM),
);

/// A tuple of TCP or UDP, laid out as the kernel lays it out (`ctnetlink_dump_tuples`): nearly all
/// entries of nearly all tables. Every header is compared, so what differs in anything is left to
/// the general way, and both give the same for the same bytes.
///
/// Into its place: tuples that are passed on are copied.
#[inline]
pub(super) fn usual(value: &[u8], tuple: &mut Tuple) -> bool {
    if let Ok(bytes) = <&[u8; USUAL4]>::try_from(value) {
        if words(bytes, 0) != FIRST4 || word(bytes, 12) != header(8, CTA_IP_V4_DST) {
            return false;
        }
        let Some(layer4) = usual_ports(bytes, 20) else {
            return false;
        };
        tuple.addresses = Addresses::V4 {
            src: Ipv4Addr::from(word(bytes, 8).to_ne_bytes()),
            dst: Ipv4Addr::from(word(bytes, 16).to_ne_bytes()),
        };
        tuple.layer4 = layer4;
        return true;
    }
    let Ok(bytes) = <&[u8; USUAL6]>::try_from(value) else {
        return false;
    };
    if words(bytes, 0) != FIRST6 || word(bytes, 24) != header(20, CTA_IP_V6_DST) {
        return false;
    }
    let Some(layer4) = usual_ports(bytes, 44) else {
        return false;
    };
    let (Some(src), Some(dst)) = (bytes[8..].first_chunk(), bytes[28..].first_chunk()) else {
        return false;
    };
    tuple.addresses = Addresses::V6 {
        src: Ipv6Addr::from(*src as [u8; 16]),
        dst: Ipv6Addr::from(*dst as [u8; 16]),
    };
    tuple.layer4 = layer4;
    true
}

#[inline]
fn usual_ports<const N: usize>(bytes: &[u8; N], at: usize) -> Option<Layer4> {
    if words(bytes, at) != FIRST_PROTO
        || word(bytes, at + 12) != header(6, CTA_PROTO_SRC_PORT)
        || word(bytes, at + 20) != header(6, CTA_PROTO_DST_PORT)
    {
        return None;
    }
    let ports = Ports {
        src: u16::from_be_bytes([bytes[at + 16], bytes[at + 17]]),
        dst: u16::from_be_bytes([bytes[at + 24], bytes[at + 25]]),
    };
    match Protocol::new(bytes[at + 8]) {
        Protocol::TCP => Some(Layer4::Tcp(ports)),
        Protocol::UDP => Some(Layer4::Udp(ports)),
        _ => None,
    }
}

/// The tuple. `zone` is where the zone of its direction goes. What has no meaning here is kept with the
/// unknown: a zone where none is wanted, addresses or a protocol that are given again.
pub(super) fn decode(
    mut attrs: Attrs<'_>,
    mut zone: Option<&mut Option<Zone>>,
    unknowns: &mut Unknowns,
) -> Result<Tuple, Malformed> {
    let (mut addresses, mut layer4) = (None, None);
    while let Some(attr) = attrs.next() {
        match (attr.kind, &mut zone) {
            (CTA_TUPLE_IP, _) if addresses.is_none() => {
                addresses = Some(decode_ip(attrs.nested(attr), unknowns)?);
            }
            (CTA_TUPLE_PROTO, _) if layer4.is_none() => {
                layer4 = Some(decode_proto(attrs.nested(attr), unknowns)?);
            }
            (CTA_TUPLE_ZONE, Some(zone)) => **zone = Some(Zone::new(attrs.be16(attr)?)),
            _ => attrs.unknown(attr, unknowns),
        }
    }
    attrs.finish()?;
    match (addresses, layer4) {
        (Some(addresses), Some(layer4)) => Ok(Tuple { addresses, layer4 }),
        (None, _) => Err(attrs.lacks("CTA_TUPLE_IP is missing")),
        (_, None) => Err(attrs.lacks("CTA_TUPLE_PROTO is missing")),
    }
}

/// The zone of a tuple's direction, the rest passed over.
pub(super) fn decode_zone(mut attrs: Attrs<'_>) -> Result<Option<Zone>, Malformed> {
    let mut zone = None;
    while let Some(attr) = attrs.next() {
        if attr.kind == CTA_TUPLE_ZONE {
            zone = Some(Zone::new(attrs.be16(attr)?));
        }
    }
    attrs.finish()?;
    Ok(zone)
}

fn decode_ip(mut attrs: Attrs<'_>, unknowns: &mut Unknowns) -> Result<Addresses, Malformed> {
    let (mut src4, mut dst4, mut src6, mut dst6) = (None, None, None, None);
    while let Some(attr) = attrs.next() {
        match attr.kind {
            CTA_IP_V4_SRC => src4 = Some(Ipv4Addr::from(attrs.be32(attr)?)),
            CTA_IP_V4_DST => dst4 = Some(Ipv4Addr::from(attrs.be32(attr)?)),
            CTA_IP_V6_SRC => {
                src6 = Some(Ipv6Addr::from(
                    attrs.bytes::<16>(attr, "not 16 bytes long")?,
                ));
            }
            CTA_IP_V6_DST => {
                dst6 = Some(Ipv6Addr::from(
                    attrs.bytes::<16>(attr, "not 16 bytes long")?,
                ));
            }
            _ => attrs.unknown(attr, unknowns),
        }
    }
    attrs.finish()?;
    match (src4, dst4, src6, dst6) {
        (Some(src), Some(dst), None, None) => Ok(Addresses::V4 { src, dst }),
        (None, None, Some(src), Some(dst)) => Ok(Addresses::V6 { src, dst }),
        (None, _, None, _) => Err(attrs.lacks("the source address is missing")),
        (_, None, _, None) => Err(attrs.lacks("the destination address is missing")),
        _ => Err(attrs.lacks("addresses of two families")),
    }
}

/// What a protocol's tuples have beside its number.
enum Fields {
    Ports(fn(Ports) -> Layer4),
    Icmp,
    Icmpv6,
    Nothing,
}

impl Fields {
    fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::TCP => Self::Ports(Layer4::Tcp),
            Protocol::UDP => Self::Ports(Layer4::Udp),
            Protocol::UDPLITE => Self::Ports(Layer4::UdpLite),
            Protocol::SCTP => Self::Ports(Layer4::Sctp),
            Protocol::DCCP => Self::Ports(Layer4::Dccp),
            // nf_ct_port_nlattr_to_tuple serves GRE's keys too.
            Protocol::GRE => Self::Ports(|Ports { src, dst }| Layer4::Gre(GreKeys { src, dst })),
            Protocol::ICMP => Self::Icmp,
            Protocol::ICMPV6 => Self::Icmpv6,
            _ => Self::Nothing,
        }
    }
}

/// What the protocol of a tuple says, wherever its number stands. Fields of other protocols mean
/// nothing beside it and are kept with the unknown.
fn decode_proto(attrs: Attrs<'_>, unknowns: &mut Unknowns) -> Result<Layer4, Malformed> {
    let (mut numbers, mut attrs) = (attrs, attrs);
    let mut protocol = None;
    while let Some(attr) = numbers.next() {
        if attr.kind == CTA_PROTO_NUM {
            protocol = Some(Protocol::new(numbers.u8(attr)?));
        }
    }
    numbers.finish()?;
    let Some(protocol) = protocol else {
        return Err(numbers.lacks("CTA_PROTO_NUM is missing"));
    };
    let fields = Fields::of(protocol);
    let (mut src, mut dst) = (None, None);
    let (mut id, mut kind, mut code) = (None, None, None);
    while let Some(attr) = attrs.next() {
        match (attr.kind, &fields) {
            (CTA_PROTO_NUM, _) => {}
            (CTA_PROTO_SRC_PORT, Fields::Ports(_)) => src = Some(attrs.be16(attr)?),
            (CTA_PROTO_DST_PORT, Fields::Ports(_)) => dst = Some(attrs.be16(attr)?),
            (CTA_PROTO_ICMP_ID, Fields::Icmp) | (CTA_PROTO_ICMPV6_ID, Fields::Icmpv6) => {
                id = Some(attrs.be16(attr)?);
            }
            (CTA_PROTO_ICMP_TYPE, Fields::Icmp) | (CTA_PROTO_ICMPV6_TYPE, Fields::Icmpv6) => {
                kind = Some(attrs.u8(attr)?);
            }
            (CTA_PROTO_ICMP_CODE, Fields::Icmp) | (CTA_PROTO_ICMPV6_CODE, Fields::Icmpv6) => {
                code = Some(attrs.u8(attr)?);
            }
            _ => attrs.unknown(attr, unknowns),
        }
    }
    match (fields, (src, dst), (kind, code, id)) {
        (Fields::Ports(layer4), (Some(src), Some(dst)), _) => Ok(layer4(Ports { src, dst })),
        // A kernel that does not track this protocol keeps no ports.
        (Fields::Ports(_), (None, None), _) | (Fields::Nothing, ..) => Ok(Layer4::Other(protocol)),
        (Fields::Ports(_), ..) => Err(attrs.lacks("one port is missing")),
        (Fields::Icmp, _, (Some(kind), Some(code), Some(id))) => {
            Ok(Layer4::Icmp(Icmp { kind, code, id }))
        }
        (Fields::Icmp, ..) => Err(attrs.lacks("an ICMP field is missing")),
        (Fields::Icmpv6, _, (Some(kind), Some(code), Some(id))) => {
            Ok(Layer4::Icmpv6(Icmpv6 { kind, code, id }))
        }
        (Fields::Icmpv6, ..) => Err(attrs.lacks("an ICMPv6 field is missing")),
    }
}

/// A tuple with ports in one piece, as [`usual`] reads it: attribute by attribute it takes three
/// times as many instructions.
fn encode_usual(w: &mut Writer<'_>, kind: u16, addresses: Addresses, layer4: [u8; USUAL_PORTS]) {
    match addresses {
        Addresses::V4 { src, dst } => {
            let mut bytes = [0; HEADER + USUAL4];
            put(&mut bytes, 0, header(52, kind | NLA_F_NESTED));
            put(&mut bytes, 4, header(20, CTA_TUPLE_IP | NLA_F_NESTED));
            put(&mut bytes, 8, header(8, CTA_IP_V4_SRC));
            bytes[12..16].copy_from_slice(&src.octets());
            put(&mut bytes, 16, header(8, CTA_IP_V4_DST));
            bytes[20..24].copy_from_slice(&dst.octets());
            bytes[24..].copy_from_slice(&layer4);
            w.raw(&bytes);
        }
        Addresses::V6 { src, dst } => {
            let mut bytes = [0; HEADER + USUAL6];
            put(&mut bytes, 0, header(76, kind | NLA_F_NESTED));
            put(&mut bytes, 4, header(44, CTA_TUPLE_IP | NLA_F_NESTED));
            put(&mut bytes, 8, header(20, CTA_IP_V6_SRC));
            bytes[12..28].copy_from_slice(&src.octets());
            put(&mut bytes, 28, header(20, CTA_IP_V6_DST));
            bytes[32..48].copy_from_slice(&dst.octets());
            bytes[48..].copy_from_slice(&layer4);
            w.raw(&bytes);
        }
    }
}

/// `CTA_TUPLE_PROTO` of a protocol with ports.
#[inline]
fn usual_layer4(protocol: Protocol, ports: Ports) -> [u8; USUAL_PORTS] {
    let mut bytes = [0; USUAL_PORTS];
    put(&mut bytes, 0, header(28, CTA_TUPLE_PROTO | NLA_F_NESTED));
    put(&mut bytes, 4, header(5, CTA_PROTO_NUM));
    bytes[8] = protocol.number();
    put(&mut bytes, 12, header(6, CTA_PROTO_SRC_PORT));
    bytes[16..18].copy_from_slice(&ports.src.to_be_bytes());
    put(&mut bytes, 20, header(6, CTA_PROTO_DST_PORT));
    bytes[24..26].copy_from_slice(&ports.dst.to_be_bytes());
    bytes
}

#[inline]
fn put<const N: usize>(bytes: &mut [u8; N], at: usize, word: u32) {
    bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
}

/// Writes a tuple; `zone` only for one that holds in this direction alone.
pub(super) fn encode(w: &mut Writer<'_>, kind: u16, tuple: &Tuple, zone: Option<Zone>) {
    match (tuple.layer4.ports(), zone) {
        (Some(ports), None) => {
            let layer4 = usual_layer4(tuple.protocol(), ports);
            encode_usual(w, kind, tuple.addresses, layer4);
        }
        _ => encode_any(w, kind, tuple, zone),
    }
}

fn encode_any(w: &mut Writer<'_>, kind: u16, tuple: &Tuple, zone: Option<Zone>) {
    w.nest(kind, |w| {
        w.nest(CTA_TUPLE_IP, |w| match tuple.addresses {
            Addresses::V4 { src, dst } => {
                w.put(CTA_IP_V4_SRC, src.octets());
                w.put(CTA_IP_V4_DST, dst.octets());
            }
            Addresses::V6 { src, dst } => {
                w.put(CTA_IP_V6_SRC, src.octets());
                w.put(CTA_IP_V6_DST, dst.octets());
            }
        });
        w.nest(CTA_TUPLE_PROTO, |w| {
            w.put(CTA_PROTO_NUM, [tuple.protocol().number()]);
            match tuple.layer4 {
                Layer4::Icmp(key) => {
                    w.be16(CTA_PROTO_ICMP_ID, key.id);
                    w.put(CTA_PROTO_ICMP_TYPE, [key.kind]);
                    w.put(CTA_PROTO_ICMP_CODE, [key.code]);
                }
                Layer4::Icmpv6(key) => {
                    w.be16(CTA_PROTO_ICMPV6_ID, key.id);
                    w.put(CTA_PROTO_ICMPV6_TYPE, [key.kind]);
                    w.put(CTA_PROTO_ICMPV6_CODE, [key.code]);
                }
                // nf_ct_port_nlattr_to_tuple serves GRE's keys too.
                Layer4::Gre(GreKeys { src, dst }) => {
                    w.be16(CTA_PROTO_SRC_PORT, src);
                    w.be16(CTA_PROTO_DST_PORT, dst);
                }
                Layer4::Other(_) => {}
                layer4 => {
                    if let Some(ports) = layer4.ports() {
                        w.be16(CTA_PROTO_SRC_PORT, ports.src);
                        w.be16(CTA_PROTO_DST_PORT, ports.dst);
                    }
                }
            }
        });
        if let Some(zone) = zone {
            w.be16(CTA_TUPLE_ZONE, zone.get());
        }
    });
}
