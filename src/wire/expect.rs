//! Expectations: messages of the subsystem `NFNL_SUBSYS_CTNETLINK_EXP`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_netfilter::{NetfilterProtoFamily, NetfilterSubsystem};

use super::Malformed;
use super::attr::{
    CTA_EXPECT_CLASS, CTA_EXPECT_FLAGS, CTA_EXPECT_FN, CTA_EXPECT_HELP_NAME, CTA_EXPECT_ID,
    CTA_EXPECT_MASK, CTA_EXPECT_MASTER, CTA_EXPECT_NAT, CTA_EXPECT_NAT_DIR, CTA_EXPECT_NAT_TUPLE,
    CTA_EXPECT_TIMEOUT, CTA_EXPECT_TUPLE, CTA_EXPECT_ZONE, CTA_IP_V4_DST, CTA_IP_V4_SRC,
    CTA_IP_V6_DST, CTA_IP_V6_SRC, CTA_PROTO_DST_PORT, CTA_PROTO_ICMP_CODE, CTA_PROTO_ICMP_ID,
    CTA_PROTO_ICMP_TYPE, CTA_PROTO_ICMPV6_CODE, CTA_PROTO_ICMPV6_ID, CTA_PROTO_ICMPV6_TYPE,
    CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_TUPLE_IP, CTA_TUPLE_PROTO,
};
use super::entry_ref::{BODY, attributes};
use super::path::{Path, Root};
use super::reader::{Attrs, Unknowns};
use super::request::family;
use super::writer::{Datagram, Writer};
use super::{rare, tuple};
use crate::error::Result;
use crate::model::{
    Direction, ExpectFlags, ExpectKey, ExpectMask, ExpectNat, Expectation, NewExpectation,
    Protocol, Tuple, Zone,
};

type Decoded<T> = std::result::Result<T, Malformed>;

/// `NFNL_SUBSYS_CTNETLINK_EXP`
pub(crate) const EXPECTATIONS: NetfilterSubsystem = NetfilterSubsystem::Other(2);
/// `IPCTNL_MSG_EXP_*`
pub(crate) const EXP_NEW: u8 = 0;
const EXP_GET: u8 = 1;
pub(crate) const EXP_DELETE: u8 = 2;

/// From what follows the netlink header. Of an attribute that is given twice, which no kernel does, the
/// first counts.
pub(crate) fn decode_expectation(payload: &[u8]) -> Decoded<Expectation> {
    let path = Path::root(Root::Expectation);
    let mut attrs = Attrs::new(attributes(payload)?, BODY, path);
    let mut unknowns = Unknowns::default();
    let (mut expected, mut mask, mut master, mut nat) = (None, None, None, None);
    let (mut timeout, mut id, mut flags, mut class) = (None, None, None, None);
    let (mut zone, mut helper, mut function) = (None, None, None);
    macro_rules! first {
        ($field:ident, $value:expr) => {
            if $field.is_none() {
                $field = Some($value);
            }
        };
    }
    while let Some(attr) = attrs.next() {
        let inside = attrs.nested(attr);
        match attr.kind {
            CTA_EXPECT_TUPLE => first!(expected, tuple::decode(inside, None, &mut unknowns)?),
            CTA_EXPECT_MASTER => first!(master, tuple::decode(inside, None, &mut unknowns)?),
            CTA_EXPECT_MASK => first!(mask, decode_mask(inside, &mut unknowns)?),
            CTA_EXPECT_TIMEOUT => first!(timeout, attrs.be32(attr)?),
            CTA_EXPECT_ID => first!(id, attrs.be32(attr)?),
            CTA_EXPECT_HELP_NAME => first!(helper, rare::helper(&attrs, attr)?),
            CTA_EXPECT_ZONE => first!(zone, Zone::new(attrs.be16(attr)?)),
            CTA_EXPECT_FLAGS => first!(flags, attrs.be32(attr)?),
            CTA_EXPECT_CLASS => first!(class, attrs.be32(attr)?),
            CTA_EXPECT_NAT => first!(nat, decode_nat(inside, &mut unknowns)?),
            CTA_EXPECT_FN => first!(function, attrs.text(attr)?.to_owned()),
            _ => attrs.unknown(attr, &mut unknowns),
        }
    }
    attrs.finish()?;
    let (Some(expected), Some(mask), Some(master)) = (expected, mask, master) else {
        return Err(attrs.lacks("the tuple, the mask or the master is missing"));
    };
    Ok(Expectation {
        tuple: expected,
        mask,
        master,
        zone,
        timeout,
        id,
        helper,
        flags: flags.map(ExpectFlags::from_bits_retain),
        class,
        nat,
        function,
        unknown: unknowns.take(),
    })
}

/// A mask has the layout of a tuple. Of its destination every bit is set (`ctnetlink_exp_dump_mask`);
/// one that differs is kept with the unknown. Linux 4.19 and later leave out its addresses, until the
/// fix in 5.12 and the stable kernels of its time.
fn decode_mask(mut attrs: Attrs<'_>, unknowns: &mut Unknowns) -> Decoded<ExpectMask> {
    let mut mask = ExpectMask {
        src: None,
        src_port: None,
    };
    while let Some(attr) = attrs.next() {
        let inside = attrs.nested(attr);
        match attr.kind {
            CTA_TUPLE_IP => mask.src = mask_address(inside, unknowns)?.or(mask.src),
            CTA_TUPLE_PROTO => mask.src_port = mask_port(inside, unknowns)?.or(mask.src_port),
            _ => attrs.unknown(attr, unknowns),
        }
    }
    attrs.finish()?;
    Ok(mask)
}

fn mask_address(mut attrs: Attrs<'_>, unknowns: &mut Unknowns) -> Decoded<Option<IpAddr>> {
    let mut src = None;
    while let Some(attr) = attrs.next() {
        let ones = match attr.kind {
            CTA_IP_V4_SRC => {
                src = Some(IpAddr::V4(Ipv4Addr::from(attrs.be32(attr)?)));
                continue;
            }
            CTA_IP_V6_SRC => {
                let bytes = attrs.bytes::<16>(attr, "not 16 bytes long")?;
                src = Some(IpAddr::V6(Ipv6Addr::from(bytes)));
                continue;
            }
            CTA_IP_V4_DST => attrs.be32(attr)? == u32::MAX,
            CTA_IP_V6_DST => attrs.bytes::<16>(attr, "not 16 bytes long")? == [0xff; 16],
            _ => false,
        };
        if !ones {
            attrs.unknown(attr, unknowns);
        }
    }
    attrs.finish()?;
    Ok(src)
}

fn mask_port(mut attrs: Attrs<'_>, unknowns: &mut Unknowns) -> Decoded<Option<u16>> {
    let mut src = None;
    while let Some(attr) = attrs.next() {
        let ones = match attr.kind {
            CTA_PROTO_SRC_PORT | CTA_PROTO_ICMP_ID | CTA_PROTO_ICMPV6_ID => {
                src = Some(attrs.be16(attr)?);
                continue;
            }
            // Which protocol it is, is in the tuple.
            CTA_PROTO_NUM => {
                attrs.u8(attr)?;
                continue;
            }
            CTA_PROTO_DST_PORT => attrs.be16(attr)? == u16::MAX,
            CTA_PROTO_ICMP_TYPE
            | CTA_PROTO_ICMP_CODE
            | CTA_PROTO_ICMPV6_TYPE
            | CTA_PROTO_ICMPV6_CODE => attrs.u8(attr)? == u8::MAX,
            _ => false,
        };
        if !ones {
            attrs.unknown(attr, unknowns);
        }
    }
    attrs.finish()?;
    Ok(src)
}

fn decode_nat(mut attrs: Attrs<'_>, unknowns: &mut Unknowns) -> Decoded<ExpectNat> {
    let (mut direction, mut saved) = (None, None);
    while let Some(attr) = attrs.next() {
        match attr.kind {
            CTA_EXPECT_NAT_DIR => {
                direction = Some(match attrs.be32(attr)? {
                    0 => Direction::Original,
                    1 => Direction::Reply,
                    _ => return Err(attrs.wrong(attr, "neither 0 nor 1")),
                });
            }
            CTA_EXPECT_NAT_TUPLE => {
                saved = Some(tuple::decode(attrs.nested(attr), None, unknowns)?);
            }
            _ => attrs.unknown(attr, unknowns),
        }
    }
    attrs.finish()?;
    match (direction, saved) {
        (Some(direction), Some(saved)) => Ok(ExpectNat {
            direction,
            address: saved.src(),
            port: saved_port(&saved),
        }),
        _ => Err(attrs.lacks("a part of the translation is missing")),
    }
}

/// The kernel keeps 16 bits and writes them as the master's protocol has them.
fn saved_port(tuple: &Tuple) -> u16 {
    use crate::model::Layer4;
    match tuple.layer4() {
        Layer4::Gre(keys) => keys.src,
        Layer4::Icmp(key) => key.id,
        Layer4::Icmpv6(key) => key.id,
        layer4 => layer4.ports().map_or(0, |ports| ports.src),
    }
}

pub(super) fn encode_nat(w: &mut Writer<'_>, nat: ExpectNat, protocol: Protocol) {
    let direction = u32::from(nat.direction == Direction::Reply);
    w.nest(CTA_EXPECT_NAT, |w| {
        w.be32(CTA_EXPECT_NAT_DIR, direction);
        tuple::encode(w, CTA_EXPECT_NAT_TUPLE, &nat.tuple(protocol), None);
    });
}

fn zone(w: &mut Writer<'_>, zone: Zone) {
    if !zone.is_default() {
        w.be16(CTA_EXPECT_ZONE, zone.get());
    }
}

/// Exclusive: `EEXIST` where an expectation covers the tuple. `master` is the tuple of the direction
/// in which the master's zone holds; `with_nat` is off for kernels without translation.
pub(crate) fn create_expectation(
    datagram: &mut Datagram,
    new: &NewExpectation,
    master: &Tuple,
    with_nat: bool,
) -> Result<()> {
    datagram.message_to(
        EXPECTATIONS,
        EXP_NEW,
        NLM_F_CREATE | NLM_F_EXCL,
        family(new.tuple.family()),
        |w| {
            tuple::encode(w, CTA_EXPECT_MASTER, master, None);
            tuple::encode(w, CTA_EXPECT_TUPLE, &new.tuple, None);
            tuple::encode(w, CTA_EXPECT_MASK, &new.mask_tuple(), None);
            if let Some(timeout) = new.timeout {
                w.be32(CTA_EXPECT_TIMEOUT, timeout);
            }
            if let Some(helper) = new.helper {
                w.text(CTA_EXPECT_HELP_NAME, helper.as_str());
            }
            zone(w, new.master.zone.zone());
            if !new.flags.is_empty() {
                w.be32(CTA_EXPECT_FLAGS, new.flags.bits());
            }
            if let Some(class) = new.class {
                w.be32(CTA_EXPECT_CLASS, class);
            }
            if with_nat {
                // Any protocol with ports can carry the port; of these two every kernel has a tracker.
                let carrier = match new.tuple.protocol() {
                    Protocol::UDP => Protocol::UDP,
                    _ => Protocol::TCP,
                };
                encode_nat(w, new.asked_nat(), carrier);
            }
            if let Some(function) = &new.function {
                w.text(CTA_EXPECT_FN, function);
            }
        },
    )
}

/// A change of the time-out, the only one that the kernel makes (`ctnetlink_change_expect`). It
/// insists on mask and master and looks at neither.
pub(crate) fn change_expectation(
    datagram: &mut Datagram,
    found: &Expectation,
    key: &ExpectKey,
    timeout: u32,
) -> Result<()> {
    datagram.message_to(EXPECTATIONS, EXP_NEW, 0, family(key.tuple.family()), |w| {
        tuple::encode(w, CTA_EXPECT_MASTER, &found.master, None);
        tuple::encode(w, CTA_EXPECT_TUPLE, &key.tuple, None);
        tuple::encode(w, CTA_EXPECT_MASK, &key.tuple, None);
        w.be32(CTA_EXPECT_TIMEOUT, timeout);
        zone(w, key.zone);
    })
}

fn key(w: &mut Writer<'_>, key: &ExpectKey) {
    tuple::encode(w, CTA_EXPECT_TUPLE, &key.tuple, None);
    zone(w, key.zone);
    if let Some(id) = key.id {
        w.be32(CTA_EXPECT_ID, id);
    }
}

pub(crate) fn get_expectation(datagram: &mut Datagram, wanted: &ExpectKey) -> Result<()> {
    let family = family(wanted.tuple.family());
    datagram.message_to(EXPECTATIONS, EXP_GET, 0, family, |w| key(w, wanted))
}

/// Always with a tuple: without one the kernel removes all expectations of all masters.
pub(crate) fn delete_expectation(datagram: &mut Datagram, wanted: &ExpectKey) -> Result<()> {
    let family = family(wanted.tuple.family());
    datagram.message_to(EXPECTATIONS, EXP_DELETE, 0, family, |w| key(w, wanted))
}

/// A delete without a tuple.
pub(crate) fn flush_expectations(datagram: &mut Datagram) -> Result<()> {
    let family = NetfilterProtoFamily::Unspec;
    datagram.message_to(EXPECTATIONS, EXP_DELETE, 0, family, |_| {})
}

/// All expectations of both families.
pub(crate) fn dump_expectations(datagram: &mut Datagram) -> Result<()> {
    let family = NetfilterProtoFamily::Unspec;
    datagram.message_to(EXPECTATIONS, EXP_GET, NLM_F_DUMP, family, |_| {})
}

/// Those of one master. Of a master that never had a helper there is no dump, and without the
/// acknowledgement there would be no answer at all (`ctnetlink_dump_exp_ct`).
pub(crate) fn dump_expectations_of(
    datagram: &mut Datagram,
    master: &Tuple,
    of_zone: Zone,
) -> Result<()> {
    let flags = NLM_F_DUMP | NLM_F_ACK;
    let family = family(master.family());
    datagram.message_to(EXPECTATIONS, EXP_GET, flags, family, |w| {
        tuple::encode(w, CTA_EXPECT_MASTER, master, None);
        zone(w, of_zone);
    })
}
