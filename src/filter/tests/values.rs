//! Entries and filters: of small domains, so that they often meet, and of whatever there is.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::select;

use crate::filter::{Filter, NatKind, PortRange, TimeoutRange, TupleFilter, ZoneIn};
use crate::model::{
    Entry, EntryZone, Family, Helper, Icmp, Icmpv6, Labels, Layer4, Mark, Ports, ProtoInfo,
    Protocol, Rare, SctpInfo, SctpState, Status, TcpFlagChange, TcpFlags, TcpInfo, TcpState, Tuple,
    Zone,
};

const V4: [&str; 3] = ["10.0.0.1", "10.0.1.1", "0.0.0.0"];
const V6: [&str; 3] = ["2001:db8::1", "fe80::1", "::"];
const PORTS: [u16; 3] = [0, 80, 40_000];
const HELPERS: [&str; 2] = ["ftp", "a b\\=\n"];
/// Those with meanings to filters, and one that has no name.
const BITS: u32 = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 31;

fn tuple() -> impl Strategy<Value = Tuple> {
    let ports = (select(&PORTS[..]), select(&PORTS[..])).prop_map(|(src, dst)| Ports { src, dst });
    let layer4 = (ports, 0..6_u8, 0..2_u8).prop_map(|(ports, which, code)| match which {
        0 => (Layer4::Tcp(ports), false),
        1 => (Layer4::Udp(ports), true),
        2 => (Layer4::Sctp(ports), false),
        3 => (Layer4::Icmp(Icmp::new(8, code, ports.src).unwrap()), false),
        4 => {
            let key = Icmpv6::new(128, code, ports.src).unwrap();
            (Layer4::Icmpv6(key), true)
        }
        _ => (Layer4::Other(Protocol::new(200)), true),
    });
    (layer4, 0..3_usize, 0..3_usize).prop_map(|((layer4, six), src, dst)| {
        let address = |at: usize| -> IpAddr { if six { V6[at] } else { V4[at] }.parse().unwrap() };
        Tuple::new(address(src), address(dst), layer4).unwrap()
    })
}

/// As kernels lay it out, and in parts.
fn tcp_info() -> impl Strategy<Value = TcpInfo> {
    (of(0..4_u8), any::<bool>()).prop_map(|(state, whole)| {
        let flags = whole.then_some(TcpFlagChange {
            flags: TcpFlags::SACK_PERM,
            mask: TcpFlags::empty(),
        });
        TcpInfo {
            state: state.map(TcpState::from_raw),
            orig_window_scale: whole.then_some(7),
            reply_window_scale: whole.then_some(7),
            orig_flags: flags,
            reply_flags: flags,
        }
    })
}

fn proto_info() -> impl Strategy<Value = ProtoInfo> {
    prop_oneof![
        tcp_info().prop_map(ProtoInfo::Tcp),
        (0..4_u8).prop_map(|state| {
            let state = SctpState::from_raw(state);
            ProtoInfo::Sctp(SctpInfo::new(state, 1, 2))
        }),
    ]
}

fn labels() -> impl Strategy<Value = Labels> {
    any::<[bool; 4]>().prop_map(|set| {
        let on = set.into_iter().zip([0, 63, 64, 127]);
        let bits = on.map(|(on, bit)| u128::from(on) << bit);
        Labels::from_bits(bits.sum())
    })
}

fn helper() -> impl Strategy<Value = Helper> {
    select(&HELPERS[..]).prop_map(|name| Helper::new(name).unwrap())
}

fn zone() -> impl Strategy<Value = Zone> {
    select(vec![Zone::DEFAULT, Zone::new(5), Zone::MAX])
}

prop_compose! {
    pub(crate) fn entry()(
        tuples in (tuple(), of(tuple())),
        (zone, direction) in (zone(), 0..3_u8),
        status in of(any::<u32>()),
        timeout in of(select(vec![0_u32, 30, 60, 600, u32::MAX])),
        mark in of(select(vec![0_u32, 1, 0x101])),
        numbers in any::<(Option<bool>, Option<u32>)>(),
        proto_info in of(proto_info()),
        labels in of(labels()),
        helper in of(helper()),
    ) -> Entry {
        let (orig, reply) = tuples;
        let rare = Rare { labels, helper, ..Rare::default() };
        Entry {
            zone: match direction {
                0 => EntryZone::Both(zone),
                1 => EntryZone::Orig(zone),
                _ => EntryZone::Reply(zone),
            }
            .canonical(),
            status: status.map(|bits| Status::from_bits_retain(bits & BITS)),
            timeout,
            mark,
            id: numbers.0.map(u32::from),
            use_count: numbers.1,
            proto_info,
            rare: (rare != Rare::default()).then(|| Box::new(rare)),
            ..Entry::new(orig, reply.unwrap_or_else(|| orig.reply()))
        }
    }
}

/// Bits beyond the prefix are kept, so that a filter is what it was.
fn net(small: bool) -> BoxedStrategy<IpNet> {
    let known = (0..6_usize, select(vec![0_u8, 16, 24, 32]));
    let known = known.prop_map(|(at, length)| {
        let address: IpAddr = V4.into_iter().chain(V6).nth(at).unwrap().parse().unwrap();
        let length = if address.is_ipv6() {
            length * 4
        } else {
            length
        };
        IpNet::new(address, length).unwrap()
    });
    if small {
        return known.boxed();
    }
    let v4 = (any::<[u8; 4]>(), 0..=32_u8);
    let v6 = (any::<[u8; 16]>(), 0..=128_u8);
    prop_oneof![
        known,
        v4.prop_map(|(address, length)| IpNet::new(address.into(), length).unwrap()),
        v6.prop_map(|(address, length)| IpNet::new(address.into(), length).unwrap()),
    ]
    .boxed()
}

fn ports(small: bool) -> BoxedStrategy<PortRange> {
    let port = || {
        if small {
            select(&PORTS[..]).boxed()
        } else {
            any::<u16>().boxed()
        }
    };
    (port(), port(), any::<bool>())
        .prop_map(|(a, b, one)| {
            let last = if one { a } else { b };
            PortRange::new(a.min(last), a.max(last)).unwrap()
        })
        .boxed()
}

fn timeout(small: bool) -> impl Strategy<Value = TimeoutRange> {
    let end = || {
        if small {
            select(vec![0, 30, 60, u32::MAX]).boxed()
        } else {
            any::<u32>().boxed()
        }
    };
    (end(), end(), 0..4_u8).prop_map(|(a, b, which)| {
        let (first, last) = match which {
            0 => (a, a),
            1 => (a, u32::MAX),
            2 => (0, a),
            _ => (a.min(b), a.max(b)),
        };
        format!("{first}..{last}").parse().unwrap()
    })
}

prop_compose! {
    fn end(p: f64, small: bool)(
        src in weighted(p, net(small)),
        dst in weighted(p, net(small)),
        src_port in weighted(p, ports(small)),
        dst_port in weighted(p, ports(small)),
    ) -> TupleFilter {
        TupleFilter { src, dst, src_port, dst_port }
    }
}

/// Bits out of a mask.
type Masked = ((Status, Status), (Labels, Labels));

fn masked(small: bool) -> impl Strategy<Value = Masked> {
    let keep = if small { BITS } else { u32::MAX };
    let wide = prop_oneof![
        labels(),
        Just(Labels::ALL),
        any::<u128>().prop_map(Labels::from_bits)
    ];
    (any::<(u32, u32, bool)>(), labels(), wide).prop_map(move |((on, mask, same), set, wide)| {
        let mask = if same { on } else { mask } & keep;
        let status = (
            Status::from_bits_retain(on & mask),
            Status::from_bits_retain(mask),
        );
        let set = Labels::from_bits(set.bits() & wide.bits());
        (status, (set, wide))
    })
}

prop_compose! {
    fn of_domain(p: f64, small: bool)(
        family in weighted(p, select(vec![Family::Ipv4, Family::Ipv6])),
        zones in proptest::array::uniform3(weighted(p, zone())),
        mark in weighted(p, (select(vec![0_u32, 1, 0x101]), select(vec![0_u32, 1, 0xff, u32::MAX]))),
        ((status, labels), with_status, with_labels) in (masked(small), weighted(p, Just(())), weighted(p, Just(()))),
        protocol in weighted(p, select(vec![1, 6, 17, 58, 132, 200])),
        tuples in (end(p, small), end(p, small)),
        icmp in (weighted(p, select(vec![8_u8, 128])), weighted(p, 0..2_u8), weighted(p, select(&PORTS[..]))),
        state in weighted(p, 0..12_u8),
        helper in weighted(p, helper()),
        nat in weighted(p, select(vec![NatKind::Source, NatKind::Destination, NatKind::Any, NatKind::None])),
        timeout in weighted(p, timeout(small)),
        id in weighted(p, if small { (0..2_u32).boxed() } else { any::<u32>().boxed() }),
    ) -> Filter {
        Filter {
            family,
            zone: zones[0],
            zone_in: ZoneIn { orig: zones[1], reply: zones[2] },
            mark: mark.map(|(value, mask)| Mark::masked(value & mask, mask).unwrap()),
            status: with_status.map(|()| status),
            labels: with_labels.map(|()| labels),
            protocol: protocol.map(Protocol::new),
            orig: tuples.0,
            reply: tuples.1,
            icmp_type: icmp.0,
            icmp_code: icmp.1,
            icmp_id: icmp.2,
            tcp_state: state.map(TcpState::from_raw),
            helper,
            nat,
            timeout,
            id,
        }
    }
}

/// Whatever a filter can be.
pub(crate) fn filter() -> impl Strategy<Value = Filter> {
    prop_oneof![of_domain(0.5, false), of_domain(0.05, false)]
}

/// Filters that some entries meet.
pub(crate) fn likely() -> impl Strategy<Value = Filter> {
    prop_oneof![of_domain(0.5, true), of_domain(0.1, true)]
}
