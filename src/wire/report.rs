//! Entries and expectations as the kernel reports them: what [`try_entry`](super::EntryRef) and
//! `decode_expectation` read, written again.
//!
//! Requests say less (`encode_new`), so this serves conversions to other libraries and the tests that
//! hold decoders and encoders together. The order of attributes is the kernel's
//! (`ctnetlink_fill_info`).

use super::attr::{
    CTA_COUNTERS_BYTES, CTA_COUNTERS_ORIG, CTA_COUNTERS_PACKETS, CTA_COUNTERS_REPLY, CTA_HELP,
    CTA_HELP_INFO, CTA_HELP_NAME, CTA_ID, CTA_LABELS, CTA_MARK, CTA_SECCTX, CTA_SECCTX_NAME,
    CTA_SECMARK, CTA_STATUS, CTA_SYNPROXY, CTA_TIMEOUT, CTA_TIMESTAMP, CTA_TIMESTAMP_EVENT,
    CTA_TIMESTAMP_START, CTA_TIMESTAMP_STOP, CTA_TUPLE_MASTER, CTA_TUPLE_ORIG, CTA_TUPLE_REPLY,
    CTA_USE,
};
#[cfg(any(test, fuzzing))]
use super::attr::{
    CTA_EXPECT_CLASS, CTA_EXPECT_FLAGS, CTA_EXPECT_FN, CTA_EXPECT_HELP_NAME, CTA_EXPECT_ID,
    CTA_EXPECT_MASK, CTA_EXPECT_MASTER, CTA_EXPECT_NAT, CTA_EXPECT_NAT_DIR, CTA_EXPECT_NAT_TUPLE,
    CTA_EXPECT_TIMEOUT, CTA_EXPECT_TUPLE, CTA_EXPECT_ZONE, CTA_IP_V4_DST, CTA_IP_V4_SRC,
    CTA_IP_V6_DST, CTA_IP_V6_SRC, CTA_PROTO_DST_PORT, CTA_PROTO_NUM, CTA_PROTO_SRC_PORT,
    CTA_TIMEOUT_DATA, CTA_TIMEOUT_L3PROTO, CTA_TIMEOUT_L4PROTO, CTA_TIMEOUT_NAME, CTA_TIMEOUT_USE,
    CTA_TUPLE_IP, CTA_TUPLE_PROTO,
};
use super::entry::{encode_zone, orig_only, reply_only};
use super::reader::{HEADER, split};
use super::writer::Writer;
use super::{protoinfo, rare, tuple};
use crate::error::{Error, Result};
use crate::model::{Counters, Entry, Rare, Unknown};
#[cfg(any(test, fuzzing))]
use {
    crate::model::{Addresses, Direction, ExpectNat, Expectation, Layer4, Ports, Timeouts, Tuple},
    std::net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The attributes of the kernel's report of an entry.
///
/// # Errors
/// When an attribute is longer than netlink can say.
pub(crate) fn encode_report(entry: &Entry) -> Result<Vec<u8>> {
    let known = Writer::alone(|w| encode(w, entry))?;
    with_unknown(known, entry.unknown())
}

/// The attributes of the kernel's report of an expectation (`ctnetlink_exp_dump_expect`).
///
/// # Errors
/// As [`encode_report`].
#[cfg(any(test, fuzzing))]
pub(crate) fn encode_expectation_report(expectation: &Expectation) -> Result<Vec<u8>> {
    let known = Writer::alone(|w| {
        tuple::encode(w, CTA_EXPECT_TUPLE, &expectation.tuple, None);
        encode_mask(w, expectation);
        tuple::encode(w, CTA_EXPECT_MASTER, &expectation.master, None);
        if let Some(nat) = expectation.nat {
            let saved = saved(&expectation.master, nat);
            w.nest(CTA_EXPECT_NAT, |w| {
                w.be32(
                    CTA_EXPECT_NAT_DIR,
                    u32::from(nat.direction == Direction::Reply),
                );
                tuple::encode(w, CTA_EXPECT_NAT_TUPLE, &saved, None);
            });
        }
        for (kind, number) in [
            (CTA_EXPECT_TIMEOUT, expectation.timeout),
            (CTA_EXPECT_ID, expectation.id),
            (
                CTA_EXPECT_FLAGS,
                expectation.flags.map(|flags| flags.bits()),
            ),
            (CTA_EXPECT_CLASS, expectation.class),
        ] {
            if let Some(number) = number {
                w.be32(kind, number);
            }
        }
        if let Some(helper) = expectation.helper {
            w.text(CTA_EXPECT_HELP_NAME, helper.as_str());
        }
        if let Some(function) = &expectation.function {
            w.text(CTA_EXPECT_FN, function);
        }
        if let Some(zone) = expectation.zone {
            w.be16(CTA_EXPECT_ZONE, zone.get());
        }
    })?;
    with_unknown(known, &expectation.unknown)
}

/// Of the destination every bit is set.
#[cfg(any(test, fuzzing))]
fn encode_mask(w: &mut Writer<'_>, expectation: &Expectation) {
    let mask = expectation.mask;
    w.nest(CTA_EXPECT_MASK, |w| {
        w.nest(CTA_TUPLE_IP, |w| match mask.src {
            Some(IpAddr::V4(src)) => {
                w.put(CTA_IP_V4_SRC, src.octets());
                w.put(CTA_IP_V4_DST, [0xff; 4]);
            }
            Some(IpAddr::V6(src)) => {
                w.put(CTA_IP_V6_SRC, src.octets());
                w.put(CTA_IP_V6_DST, [0xff; 16]);
            }
            None => {}
        });
        w.nest(CTA_TUPLE_PROTO, |w| {
            w.put(CTA_PROTO_NUM, [expectation.tuple.protocol().number()]);
            if let Some(port) = mask.src_port {
                w.be16(CTA_PROTO_SRC_PORT, port);
                w.be16(CTA_PROTO_DST_PORT, u16::MAX);
            }
        });
    });
}

/// What the kernel keeps of a translation, with the protocol of the master.
#[cfg(any(test, fuzzing))]
fn saved(master: &Tuple, nat: ExpectNat) -> Tuple {
    let ports = Ports {
        src: nat.port,
        dst: 0,
    };
    Tuple {
        addresses: match nat.address {
            IpAddr::V4(src) => Addresses::V4 {
                src,
                dst: Ipv4Addr::UNSPECIFIED,
            },
            IpAddr::V6(src) => Addresses::V6 {
                src,
                dst: Ipv6Addr::UNSPECIFIED,
            },
        },
        layer4: match master.layer4 {
            Layer4::Udp(_) => Layer4::Udp(ports),
            Layer4::UdpLite(_) => Layer4::UdpLite(ports),
            Layer4::Sctp(_) => Layer4::Sctp(ports),
            Layer4::Dccp(_) => Layer4::Dccp(ports),
            _ => Layer4::Tcp(ports),
        },
    }
}

/// The attributes of the kernel's report of a time-out policy (`ctnl_timeout_fill_info`), or, without
/// a name, of the defaults of a protocol (`cttimeout_default_fill_info`).
///
/// # Errors
/// As [`encode_report`].
#[cfg(any(test, fuzzing))]
pub(crate) fn encode_policy_report(
    name: Option<&str>,
    family: u16,
    timeouts: &Timeouts,
    use_count: Option<u32>,
    unknown: &[Unknown],
) -> Result<Vec<u8>> {
    let known = Writer::alone(|w| {
        if let Some(name) = name {
            w.text(CTA_TIMEOUT_NAME, name);
        }
        w.be16(CTA_TIMEOUT_L3PROTO, family);
        w.put(CTA_TIMEOUT_L4PROTO, [timeouts.protocol().number()]);
        if let Some(uses) = use_count {
            w.be32(CTA_TIMEOUT_USE, uses);
        }
        w.nest(CTA_TIMEOUT_DATA, |w| {
            for (kind, seconds) in (1..).zip(&timeouts.states) {
                if let Some(seconds) = seconds {
                    w.be32(kind, *seconds);
                }
            }
        });
    })?;
    with_unknown(with_unknown(known, unknown)?, &timeouts.unknown)
}

/// With the attributes that nobody knows back in their places: each behind what its nest has.
///
/// # Errors
/// For a place that no attribute can have, and one that has become too long.
pub(super) fn with_unknown(known: Vec<u8>, unknown: &[Unknown]) -> Result<Vec<u8>> {
    if unknown.is_empty() {
        return Ok(known);
    }
    let mut all: Vec<&Unknown> = unknown.iter().collect();
    for one in &all {
        if !one.is_possible() {
            return Err(Error::invalid(
                "unknown attribute",
                format!("{:?}", one.path),
                "not a place of an attribute",
                "1 to 4 numbers up to 16383: those that lead to it, and its own",
            ));
        }
    }
    // Stable, so that what stands in one nest keeps its order.
    all.sort_by(|a, b| a.path.cmp(&b.path));
    insert(&known, 0, &all)
}

fn encode(w: &mut Writer<'_>, entry: &Entry) {
    let nothing = Rare::default();
    let rare = entry.rare.as_deref().unwrap_or(&nothing);
    tuple::encode(w, CTA_TUPLE_ORIG, &entry.orig, orig_only(entry.zone));
    tuple::encode(w, CTA_TUPLE_REPLY, &entry.reply, reply_only(entry.zone));
    encode_zone(w, entry.zone);
    if let Some(status) = entry.status {
        w.be32(CTA_STATUS, status.bits());
    }
    if let Some(mark) = entry.mark {
        w.be32(CTA_MARK, mark);
    }
    if let Some(mark) = rare.secmark {
        w.be32(CTA_SECMARK, mark);
    }
    if let Some(context) = &rare.secctx {
        w.nest(CTA_SECCTX, |w| w.text(CTA_SECCTX_NAME, context));
    }
    if let Some(id) = entry.id {
        w.be32(CTA_ID, id);
    }
    if let Some(uses) = entry.use_count {
        w.be32(CTA_USE, uses);
    }
    if let Some(master) = &rare.master {
        tuple::encode(w, CTA_TUPLE_MASTER, master, None);
    }
    if let Some(timeout) = entry.timeout {
        w.be32(CTA_TIMEOUT, timeout);
    }
    if let Some(info) = &entry.proto_info {
        protoinfo::encode(w, info);
    }
    encode_counters(w, CTA_COUNTERS_ORIG, entry.orig_counters);
    encode_counters(w, CTA_COUNTERS_REPLY, entry.reply_counters);
    if let Some(stamps) = rare.timestamps {
        if stamps.start.is_some() || stamps.stop.is_some() {
            w.nest(CTA_TIMESTAMP, |w| {
                for (kind, nanos) in [
                    (CTA_TIMESTAMP_START, stamps.start),
                    (CTA_TIMESTAMP_STOP, stamps.stop),
                ] {
                    if let Some(nanos) = nanos {
                        w.put(kind, nanos.to_be_bytes());
                    }
                }
            });
        }
    }
    if let Some(helper) = rare.helper {
        w.nest(CTA_HELP, |w| {
            w.text(CTA_HELP_NAME, helper.as_str());
            if let Some(info) = &rare.helper_info {
                w.bytes(CTA_HELP_INFO, info);
            }
        });
    }
    if let Some(labels) = rare.labels {
        rare::encode_labels(w, CTA_LABELS, labels);
    }
    rare::encode_seq_adjust(w, rare);
    if let Some(proxy) = entry.synproxy {
        rare::encode_synproxy(w, CTA_SYNPROXY, proxy);
    }
    if let Some(nanos) = rare.timestamps.and_then(|stamps| stamps.event) {
        w.put(CTA_TIMESTAMP_EVENT, nanos.to_be_bytes());
    }
}

fn encode_counters(w: &mut Writer<'_>, kind: u16, counters: Option<Counters>) {
    if let Some(Counters { packets, bytes }) = counters {
        w.nest(kind, |w| {
            w.put(CTA_COUNTERS_PACKETS, packets.to_be_bytes());
            w.put(CTA_COUNTERS_BYTES, bytes.to_be_bytes());
        });
    }
}

/// The region with more attributes at its end, and in its nests; a nest that is not there is made.
/// `unknown` is sorted by path and of this region: what their paths have before `depth` led here.
fn insert(region: &[u8], depth: usize, unknown: &[&Unknown]) -> Result<Vec<u8>> {
    let number = |one: &&Unknown| one.path.get(depth).copied().unwrap_or_default();
    let is_own = |one: &&&Unknown| one.path.len() == depth + 1;
    // The nests below, each with what goes into it.
    let mut nests: Vec<(u16, Vec<&Unknown>)> = Vec::new();
    for one in unknown.iter().filter(|one| !is_own(one)) {
        match nests.last_mut() {
            Some((kind, inside)) if *kind == number(one) => inside.push(one),
            _ => nests.push((number(one), vec![one])),
        }
    }
    let mut bytes = Vec::with_capacity(region.len());
    let put = |bytes: &mut Vec<u8>, kind: u16, inner: &[u8]| -> Result<()> {
        bytes.extend(Writer::alone(|w| w.nest_of(kind, inner))?);
        Ok(())
    };
    let mut rest = region;
    while let Some(header) = rest.first_chunk::<HEADER>() {
        let (length, kind) = split(*header);
        let (Some(content), Some(whole)) = (
            rest.get(HEADER..length),
            rest.get(..((length + 3) & !3).min(rest.len())),
        ) else {
            break;
        };
        match nests.iter().position(|(nest, _)| *nest == kind) {
            Some(place) => {
                let (_, inside) = nests.remove(place);
                put(&mut bytes, kind, &insert(content, depth + 1, &inside)?)?;
            }
            None => bytes.extend_from_slice(whole),
        }
        rest = &rest[whole.len()..];
    }
    for (kind, inside) in nests {
        put(&mut bytes, kind, &insert(&[], depth + 1, &inside)?)?;
    }
    for one in unknown.iter().filter(is_own) {
        bytes.extend(Writer::alone(|w| w.bytes(number(one), &one.value))?);
    }
    Ok(bytes)
}
