//! Any value of each kind, and not only those that the kernel would take.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::option::of;
use proptest::prelude::*;

use crate::model::{
    Addresses, Counters, DccpInfo, DccpRole, DccpState, Entry, EntryZone, GreKeys, Icmp, Icmpv6,
    LabelChange, Labels, Layer4, Mark, NatRange, NewEntry, Ports, ProtoInfo, Protocol, Rare,
    SctpInfo, SctpState, SeqAdjust, Status, Synproxy, TcpFlagChange, TcpFlags, TcpInfo, TcpState,
    Timestamps, Tuple, Unknown, Zone,
};

fn layer4(six: bool) -> impl Strategy<Value = Layer4> {
    let numbers = (any::<u16>(), any::<u16>(), any::<u8>(), 0..9_u8);
    numbers.prop_map(move |(src, dst, byte, which)| {
        let ports = Ports { src, dst };
        match which {
            0 => Layer4::Tcp(ports),
            1 => Layer4::Udp(ports),
            2 => Layer4::UdpLite(ports),
            3 => Layer4::Sctp(ports),
            4 => Layer4::Dccp(ports),
            5 => Layer4::Gre(GreKeys { src, dst }),
            6 if six => Layer4::Icmpv6(Icmpv6::new(128 | (byte & 1), byte, src).unwrap()),
            6 => Layer4::Icmp(Icmp::new(13 + byte % 6, byte, src).unwrap()),
            // Of kernels without a tracker.
            7 => Layer4::Other(
                [
                    Protocol::DCCP,
                    Protocol::SCTP,
                    Protocol::UDPLITE,
                    Protocol::GRE,
                ][usize::from(byte % 4)],
            ),
            _ => Layer4::Other(Protocol::new(0xc8 | byte)),
        }
    })
}

pub(super) fn tuple() -> impl Strategy<Value = Tuple> {
    let v4 = (any::<u32>(), any::<u32>(), layer4(false)).prop_map(|(src, dst, layer4)| Tuple {
        addresses: Addresses::V4 {
            src: Ipv4Addr::from_bits(src),
            dst: Ipv4Addr::from_bits(dst),
        },
        layer4,
    });
    // Among them those that are written with an IPv4 address at the end.
    let six = || {
        prop_oneof![
            any::<u128>(),
            any::<u32>().prop_map(|low| 0xffff_0000_0000 | u128::from(low))
        ]
    };
    let v6 = (six(), six(), layer4(true)).prop_map(|(src, dst, layer4)| Tuple {
        addresses: Addresses::V6 {
            src: Ipv6Addr::from_bits(src),
            dst: Ipv6Addr::from_bits(dst),
        },
        layer4,
    });
    prop_oneof![v4, v6]
}

pub(super) fn zone() -> impl Strategy<Value = EntryZone> {
    (any::<u16>(), 0..4_u8).prop_map(|(zone, which)| {
        match which {
            0 => EntryZone::default(),
            1 => EntryZone::Both(Zone::new(zone)),
            2 => EntryZone::Orig(Zone::new(zone)),
            _ => EntryZone::Reply(Zone::new(zone)),
        }
        .canonical()
    })
}

fn flag_change() -> impl Strategy<Value = TcpFlagChange> {
    let bits = prop_oneof![Just(0), Just(0xff), any::<u8>()];
    (any::<u8>(), bits, any::<bool>()).prop_map(|(flags, mask, same)| TcpFlagChange {
        flags: TcpFlags::from_bits_retain(flags),
        mask: TcpFlags::from_bits_retain(if same { flags } else { mask }),
    })
}

prop_compose! {
    pub(super) fn any_tcp_info()(
        state in of(any::<u8>()),
        orig_window_scale in of(any::<u8>()),
        reply_window_scale in of(any::<u8>()),
        orig_flags in of(flag_change()),
        reply_flags in of(flag_change()),
    ) -> TcpInfo {
        TcpInfo {
            state: state.map(TcpState::from_raw),
            orig_window_scale,
            reply_window_scale,
            orig_flags,
            reply_flags,
        }
    }
}

/// What the kernel would take.
pub(super) fn tcp_info() -> impl Strategy<Value = TcpInfo> {
    (any_tcp_info(), 0..10_u8, 0..=14_u8).prop_map(|(info, state, scale)| {
        let on = |change: Option<TcpFlagChange>| {
            change.map(|TcpFlagChange { flags, mask }| TcpFlagChange {
                flags: flags | TcpFlags::WINDOW_SCALE,
                mask: mask | TcpFlags::WINDOW_SCALE,
            })
        };
        let scale = (info.orig_flags.is_some() && info.reply_flags.is_some()).then_some(scale);
        TcpInfo {
            state: info.state.and(Some(TcpState::from_raw(state))),
            orig_window_scale: scale,
            reply_window_scale: scale,
            orig_flags: on(info.orig_flags),
            reply_flags: on(info.reply_flags),
        }
    })
}

prop_compose! {
    pub(super) fn sctp_info()(state in any::<u8>(), orig_vtag in any::<Option<u32>>(), reply_vtag in any::<Option<u32>>()) -> SctpInfo {
        SctpInfo { state: SctpState::from_raw(state), orig_vtag, reply_vtag }
    }
}

prop_compose! {
    pub(super) fn dccp_info()(state in any::<u8>(), role in any::<Option<u8>>(), handshake_seq in any::<Option<u64>>()) -> DccpInfo {
        DccpInfo { state: DccpState::from_raw(state), role: role.map(DccpRole::from_raw), handshake_seq }
    }
}

pub(super) fn mark() -> impl Strategy<Value = Mark> {
    let mask = prop_oneof![Just(u32::MAX), any::<u32>()];
    (any::<u32>(), mask).prop_map(|(value, mask)| Mark::masked(value & mask, mask).unwrap())
}

fn labels() -> impl Strategy<Value = Labels> {
    prop_oneof![Just(0), Just(u128::MAX), any::<u128>()].prop_map(Labels::from_bits)
}

pub(super) fn label_change() -> impl Strategy<Value = LabelChange> {
    prop_oneof![
        labels().prop_map(LabelChange::add),
        (labels(), labels()).prop_map(|(labels, mask)| LabelChange { labels, mask }),
    ]
}

pub(super) fn nat_range() -> impl Strategy<Value = NatRange> {
    let v4 = || any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)));
    let v6 = || any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)));
    let pair = prop_oneof![(v4(), v4()), (v6(), v6()), v6().prop_map(|one| (one, one))];
    (pair, of((any::<u16>(), any::<u16>()))).prop_map(|((a, b), ports)| {
        let range = NatRange::addresses(a.min(b), a.max(b)).unwrap();
        match ports {
            Some((a, b)) => range.ports(a.min(b), a.max(b)).unwrap(),
            None => range,
        }
    })
}

fn adjust() -> impl Strategy<Value = SeqAdjust> {
    (any::<u32>(), any::<i32>(), any::<i32>()).prop_map(
        |(correction_pos, offset_before, offset_after)| SeqAdjust {
            correction_pos,
            offset_before,
            offset_after,
        },
    )
}

fn synproxy() -> impl Strategy<Value = Synproxy> {
    (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(isn, its, tsoff)| Synproxy {
        isn,
        its,
        tsoff,
    })
}

fn unknown() -> impl Strategy<Value = Unknown> {
    (any::<u16>(), any::<Vec<u8>>()).prop_map(|(kind, value)| Unknown { kind, value })
}

prop_compose! {
    fn rare()(
        labels in of(labels()),
        stamps in of(any::<[Option<u64>; 3]>()),
        helper in of("[a-z0-9.\"\\\\-]{1,15}"),
        master in of(tuple()),
        orig_seq_adjust in of(adjust()),
        reply_seq_adjust in of(adjust()),
        secctx in of(".{0,20}"),
        unknown in proptest::collection::vec(unknown(), 0..3),
    ) -> Rare {
        let timestamps = stamps.map(|[start, stop, event]| Timestamps { start, stop, event });
        Rare {
            labels,
            timestamps,
            helper,
            master,
            orig_seq_adjust,
            reply_seq_adjust,
            secctx,
            unknown,
            ..Rare::default()
        }
    }
}

fn proto_info() -> impl Strategy<Value = ProtoInfo> {
    prop_oneof![
        any_tcp_info().prop_map(ProtoInfo::Tcp),
        sctp_info().prop_map(ProtoInfo::Sctp),
        dccp_info().prop_map(ProtoInfo::Dccp),
    ]
}

fn counters() -> impl Strategy<Value = Counters> {
    (any::<u64>(), any::<u64>()).prop_map(|(packets, bytes)| Counters { packets, bytes })
}

prop_compose! {
    /// Whatever the type can hold.
    pub(super) fn entry()(
        tuples in (tuple(), of(tuple())),
        zone in zone(),
        numbers in any::<[Option<u32>; 5]>(),
        proto_info in of(proto_info()),
        orig_counters in of(counters()),
        reply_counters in of(counters()),
        synproxy in of(synproxy()),
        rare in rare(),
    ) -> Entry {
        let (orig, reply) = tuples;
        let [status, timeout, mark, id, use_count] = numbers;
        Entry {
            zone,
            status: status.map(Status::from_bits_retain),
            timeout,
            mark,
            id,
            use_count,
            proto_info,
            orig_counters,
            reply_counters,
            synproxy,
            rare: (rare != Rare::default()).then(|| Box::new(rare)),
            ..Entry::new(orig, reply.unwrap_or_else(|| orig.reply()))
        }
    }
}

prop_compose! {
    /// What can be created.
    pub(super) fn new_entry()(
        entry in entry(),
        ports in (any::<u16>(), any::<u16>()),
        timeout in 0..=2_147_483_u32,
        tcp in tcp_info(),
        nat in (of(nat_range()), of(nat_range())),
    ) -> NewEntry {
        let mut entry = entry;
        // A protocol without its tracker cannot be created.
        entry.orig.layer4 = match entry.orig.layer4 {
            Layer4::Other(protocol) if protocol.name().is_some() => {
                Layer4::Tcp(Ports { src: ports.0, dst: ports.1 })
            }
            other => other,
        };
        entry.reply = entry.orig.reply();
        entry.timeout = Some(timeout);
        let number = timeout.to_ne_bytes()[0];
        entry.proto_info = match entry.orig.protocol() {
            Protocol::TCP => Some(ProtoInfo::Tcp(tcp)),
            Protocol::SCTP => {
                let state = SctpState::from_raw(number % 10);
                Some(ProtoInfo::Sctp(SctpInfo::new(state, timeout, !timeout)))
            }
            Protocol::DCCP => {
                let role = DccpRole::from_raw(number & 1);
                Some(ProtoInfo::Dccp(DccpInfo::new(DccpState::from_raw(number % 8), role)))
            }
            _ => None,
        };
        let of_family = |range: &NatRange| range.check(&entry.orig).is_ok();
        let nat = crate::model::builder::Nat {
            src: nat.0.filter(of_family),
            dst: nat.1.filter(of_family),
        };
        let created = entry.to_new().unwrap();
        NewEntry::check(created.into(), nat).unwrap()
    }
}
