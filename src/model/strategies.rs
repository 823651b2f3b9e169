//! Values that the properties of several rooms draw.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::option::of;
use proptest::prelude::*;

use super::{
    Addresses, EntryZone, GreKeys, Icmp, Icmpv6, Layer4, Ports, Protocol, SeqAdjust, Synproxy,
    TcpFlagChange, TcpFlags, TcpInfo, TcpState, Tuple, Zone,
};

pub(crate) fn layer4(six: bool) -> impl Strategy<Value = Layer4> {
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

fn addresses(six: bool) -> BoxedStrategy<Addresses> {
    let v4 = (any::<u32>(), any::<u32>()).prop_map(|(src, dst)| Addresses::V4 {
        src: Ipv4Addr::from_bits(src),
        dst: Ipv4Addr::from_bits(dst),
    });
    // Among them those that are written with an IPv4 address at the end.
    let bits = || {
        prop_oneof![
            any::<u128>(),
            any::<u32>().prop_map(|low| 0xffff_0000_0000 | u128::from(low))
        ]
    };
    let v6 = (bits(), bits()).prop_map(|(src, dst)| Addresses::V6 {
        src: Ipv6Addr::from_bits(src),
        dst: Ipv6Addr::from_bits(dst),
    });
    if six { v6.boxed() } else { v4.boxed() }
}

pub(crate) fn tuple_of(six: bool) -> impl Strategy<Value = Tuple> {
    (addresses(six), layer4(six)).prop_map(|(addresses, layer4)| Tuple { addresses, layer4 })
}

pub(crate) fn tuple() -> impl Strategy<Value = Tuple> {
    any::<bool>().prop_flat_map(tuple_of)
}

pub(crate) fn zone() -> impl Strategy<Value = EntryZone> {
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

/// A protocol without its tracker cannot be created.
pub(crate) fn tracked(tuple: Tuple, ports: (u16, u16)) -> Tuple {
    let layer4 = match tuple.layer4 {
        Layer4::Other(protocol) if protocol.name().is_some() => Layer4::Tcp(Ports {
            src: ports.0,
            dst: ports.1,
        }),
        other => other,
    };
    Tuple { layer4, ..tuple }
}

fn flag_change() -> impl Strategy<Value = TcpFlagChange> {
    let bits = prop_oneof![Just(0), Just(0xff), any::<u8>()];
    (any::<u8>(), bits, any::<bool>()).prop_map(|(flags, mask, same)| TcpFlagChange {
        flags: TcpFlags::from_bits_retain(flags),
        mask: TcpFlags::from_bits_retain(if same { flags } else { mask }),
    })
}

prop_compose! {
    pub(crate) fn any_tcp_info()(
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
pub(crate) fn tcp_info() -> impl Strategy<Value = TcpInfo> {
    let scales = of((0..=14_u8, 0..=14_u8));
    (any_tcp_info(), 0..10_u8, scales).prop_map(|(info, state, scales)| {
        let on = |change: Option<TcpFlagChange>| {
            change.map(|TcpFlagChange { flags, mask }| TcpFlagChange {
                flags: flags | TcpFlags::WINDOW_SCALE,
                mask: mask | TcpFlags::WINDOW_SCALE,
            })
        };
        let scales = scales.filter(|_| info.orig_flags.is_some() && info.reply_flags.is_some());
        TcpInfo {
            state: info.state.and(Some(TcpState::from_raw(state))),
            orig_window_scale: scales.map(|scales| scales.0),
            reply_window_scale: scales.map(|scales| scales.1),
            orig_flags: on(info.orig_flags),
            reply_flags: on(info.reply_flags),
        }
    })
}

pub(crate) fn adjust() -> impl Strategy<Value = SeqAdjust> {
    (any::<u32>(), any::<i32>(), any::<i32>()).prop_map(
        |(correction_pos, offset_before, offset_after)| SeqAdjust {
            correction_pos,
            offset_before,
            offset_after,
        },
    )
}

pub(crate) fn synproxy() -> impl Strategy<Value = Synproxy> {
    (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(isn, its, tsoff)| Synproxy {
        isn,
        its,
        tsoff,
    })
}
