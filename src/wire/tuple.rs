//! `CTA_TUPLE_ORIG`, `CTA_TUPLE_REPLY`.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Malformed;
use super::attr::{
    CTA_IP_V4_DST, CTA_IP_V4_SRC, CTA_IP_V6_DST, CTA_IP_V6_SRC, CTA_PROTO_DST_PORT,
    CTA_PROTO_ICMP_CODE, CTA_PROTO_ICMP_ID, CTA_PROTO_ICMP_TYPE, CTA_PROTO_ICMPV6_CODE,
    CTA_PROTO_ICMPV6_ID, CTA_PROTO_ICMPV6_TYPE, CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_TUPLE_IP,
    CTA_TUPLE_PROTO, CTA_TUPLE_ZONE,
};
use super::reader::Attrs;
use super::writer::Writer;
use crate::model::Addresses;
use crate::model::{GreKeys, Icmp, Icmpv6, Layer4, Ports, Protocol, Tuple, Zone};

/// The tuple, and the zone of its direction if one is inside.
pub(super) fn decode(mut attrs: Attrs<'_>) -> Result<(Tuple, Option<Zone>), Malformed> {
    let (mut addresses, mut layer4, mut zone) = (None, None, None);
    while let Some(attr) = attrs.next()? {
        match attr.kind {
            CTA_TUPLE_IP => addresses = Some(decode_ip(attrs.nested(attr))?),
            CTA_TUPLE_PROTO => layer4 = Some(decode_proto(attrs.nested(attr))?),
            CTA_TUPLE_ZONE => zone = Some(Zone::new(attrs.be16(attr)?)),
            _ => {}
        }
    }
    match (addresses, layer4) {
        (Some(addresses), Some(layer4)) => Ok((Tuple { addresses, layer4 }, zone)),
        (None, _) => Err(attrs.lacks("CTA_TUPLE_IP is missing")),
        (_, None) => Err(attrs.lacks("CTA_TUPLE_PROTO is missing")),
    }
}

/// The zone of a tuple's direction, the rest passed over.
pub(super) fn decode_zone(mut attrs: Attrs<'_>) -> Result<Option<Zone>, Malformed> {
    let mut zone = None;
    while let Some(attr) = attrs.next()? {
        if attr.kind == CTA_TUPLE_ZONE {
            zone = Some(Zone::new(attrs.be16(attr)?));
        }
    }
    Ok(zone)
}

fn decode_ip(mut attrs: Attrs<'_>) -> Result<Addresses, Malformed> {
    let (mut src4, mut dst4, mut src6, mut dst6) = (None, None, None, None);
    while let Some(attr) = attrs.next()? {
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
            _ => {}
        }
    }
    match (src4, dst4, src6, dst6) {
        (Some(src), Some(dst), None, None) => Ok(Addresses::V4 { src, dst }),
        (None, None, Some(src), Some(dst)) => Ok(Addresses::V6 { src, dst }),
        (None, _, None, _) => Err(attrs.lacks("the source address is missing")),
        (_, None, _, None) => Err(attrs.lacks("the destination address is missing")),
        _ => Err(attrs.lacks("addresses of two families")),
    }
}

fn decode_proto(mut attrs: Attrs<'_>) -> Result<Layer4, Malformed> {
    let mut protocol = None;
    let (mut src, mut dst) = (None, None);
    let (mut id, mut kind, mut code) = (None, None, None);
    let (mut id6, mut kind6, mut code6) = (None, None, None);
    while let Some(attr) = attrs.next()? {
        match attr.kind {
            CTA_PROTO_NUM => protocol = Some(Protocol::new(attrs.u8(attr)?)),
            CTA_PROTO_SRC_PORT => src = Some(attrs.be16(attr)?),
            CTA_PROTO_DST_PORT => dst = Some(attrs.be16(attr)?),
            CTA_PROTO_ICMP_ID => id = Some(attrs.be16(attr)?),
            CTA_PROTO_ICMP_TYPE => kind = Some(attrs.u8(attr)?),
            CTA_PROTO_ICMP_CODE => code = Some(attrs.u8(attr)?),
            CTA_PROTO_ICMPV6_ID => id6 = Some(attrs.be16(attr)?),
            CTA_PROTO_ICMPV6_TYPE => kind6 = Some(attrs.u8(attr)?),
            CTA_PROTO_ICMPV6_CODE => code6 = Some(attrs.u8(attr)?),
            _ => {}
        }
    }
    let Some(protocol) = protocol else {
        return Err(attrs.lacks("CTA_PROTO_NUM is missing"));
    };
    let ported = |layer4: fn(Ports) -> Layer4| match (src, dst) {
        (Some(src), Some(dst)) => Ok(layer4(Ports { src, dst })),
        // A kernel that does not track this protocol keeps no ports.
        (None, None) => Ok(Layer4::Other(protocol)),
        _ => Err(attrs.lacks("one port is missing")),
    };
    match protocol {
        Protocol::TCP => ported(Layer4::Tcp),
        Protocol::UDP => ported(Layer4::Udp),
        Protocol::UDPLITE => ported(Layer4::UdpLite),
        Protocol::SCTP => ported(Layer4::Sctp),
        Protocol::DCCP => ported(Layer4::Dccp),
        Protocol::GRE => ported(|Ports { src, dst }| Layer4::Gre(GreKeys { src, dst })),
        Protocol::ICMP => match (kind, code, id) {
            (Some(kind), Some(code), Some(id)) => Ok(Layer4::Icmp(Icmp { kind, code, id })),
            _ => Err(attrs.lacks("an ICMP field is missing")),
        },
        Protocol::ICMPV6 => match (kind6, code6, id6) {
            (Some(kind), Some(code), Some(id)) => Ok(Layer4::Icmpv6(Icmpv6 { kind, code, id })),
            _ => Err(attrs.lacks("an ICMPv6 field is missing")),
        },
        other => Ok(Layer4::Other(other)),
    }
}

/// Writes a tuple; `zone` only for one that holds in this direction alone.
pub(super) fn encode(w: &mut Writer<'_>, kind: u16, tuple: &Tuple, zone: Option<Zone>) {
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
