//! What is given to a kernel is never narrower than the filter, and for a flush it is the same.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::model::{
    Entry, EntryZone, GreKeys, Icmp, Icmpv6, Layer4, Mark, Ports, Status, Trial, Tuple, Verdict,
    Zone,
};

fn v4(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, n])
}

fn v6(n: u8) -> IpAddr {
    format!("2001:db8::{n}").parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// A kernel that was seen to do right by one shape.
fn proven(shape: FilterShape, family: Option<Family>) -> KernelSupport {
    let trial = Trial {
        shape,
        family: family.filter(|_| shape.contains(FilterShape::FAMILY)),
        dump: Verdict::Right,
        flush: Verdict::Right,
    };
    KernelSupport {
        trials: vec![trial],
        ..KernelSupport::default()
    }
}

/// What a kernel that does right by everything is asked to flush.
fn flushed(filter: &Filter) -> Option<KernelFilter> {
    let kernel = filter.kernel();
    filter.for_flush(&proven(kernel.shape(), kernel.family))
}

fn shape(filter: &Filter) -> String {
    filter.kernel().shape().to_string()
}

#[test]
fn what_is_lowered_and_what_is_not() {
    let new = Filter::new;
    let tcp = || new().protocol(Protocol::TCP);
    let v4 = Family::Ipv4;
    let cases = [
        (new(), "", false),
        (new().family(v4), "family", true),
        (new().zone(Zone::new(5)), "zone", true),
        (new().zone(Zone::DEFAULT), "zone_0", true),
        (new().mark(0), "mark", true),
        (new().mark(Mark::masked(1, 3).unwrap()), "mark_mask", true),
        // No bit is looked at.
        (new().mark(Mark::masked(0, 0).unwrap()), "", false),
        (new().status(Status::empty()), "", false),
        (new().status(Status::ASSURED), "status", true),
        (new().orig_src(net("10.0.0.1/32")), "family+orig_src", true),
        (
            new().reply_dst(net("2001:db8::1/128")),
            "family+reply_dst",
            true,
        ),
        // Prefixes and ranges: their family is all that is known to the kernel.
        (new().orig_src(net("10.0.0.0/31")), "family", false),
        (new().orig_src(net("10.0.0.1/0")), "family", false),
        // Ports without a protocol, or without a family, or of a protocol whose ports it ignores.
        (new().orig_dst_port(53), "", false),
        (tcp().orig_dst_port(53), "", false),
        (
            tcp().family(v4).orig_dst_port(53),
            "family+orig_protocol+orig_dst_port",
            true,
        ),
        (
            new().protocol(Protocol::SCTP).family(v4).orig_dst_port(53),
            "family+orig_protocol",
            false,
        ),
        (
            tcp()
                .family(v4)
                .orig_src_port(PortRange::new(1, 2).unwrap()),
            "family+orig_protocol",
            false,
        ),
        (
            tcp().family(v4).reply_src_port(53),
            "family+orig_protocol+reply_protocol+reply_src_port",
            true,
        ),
        // Families that exclude each other: nothing of the other one is sent.
        (
            new().family(Family::Ipv6).orig_src(net("10.0.0.1/32")),
            "family",
            false,
        ),
        (
            new()
                .orig_src(net("10.0.0.1/32"))
                .orig_dst(net("2001:db8::1/128")),
            "family+orig_src",
            false,
        ),
    ];
    for (filter, want, whole) in cases {
        assert_eq!(shape(&filter), want, "{filter:?}");
        assert_eq!(
            flushed(&filter).is_some(),
            whole && !want.is_empty(),
            "{filter:?}"
        );
        assert_eq!(
            filter.is_for_kernel(),
            whole && !want.is_empty(),
            "{filter:?}"
        );
    }
}

#[test]
fn what_leaves_nothing_out_means_everything() {
    let none = Filter::new()
        .mark(Mark::masked(0, 0).unwrap())
        .status(Status::empty());
    assert!(Filter::new().means_everything() && none.means_everything());
    for nothing in [
        Filter::new().labels(crate::model::Labels::EMPTY),
        Filter::new().timeout(TimeoutRange::ANY),
    ] {
        assert!(nothing.means_everything(), "{nothing:?}");
    }
    for some in [
        none.clone().zone(Zone::DEFAULT),
        none.clone().mark(0),
        none.clone().status(Status::ASSURED),
        none.clone().family(Family::Ipv4),
        none.clone().orig_src(net("0.0.0.0/0")),
        none.orig_dst_port(PortRange::ANY),
    ] {
        assert!(!some.means_everything(), "{some:?}");
    }
}

#[test]
fn only_what_was_proven_is_asked() {
    let filter = Filter::new()
        .zone(Zone::new(5))
        .orig_src(net("10.0.0.1/32"));
    assert_eq!(filter.for_dump(&KernelSupport::unproven()), None);
    assert_eq!(filter.for_flush(&KernelSupport::unproven()), None);
    // The other family, zone 0 or a larger shape proves nothing.
    let family = FilterShape::FAMILY;
    for (shape, of) in [
        (family | FilterShape::ORIG_SRC, Some(Family::Ipv6)),
        (FilterShape::ZONE_0, None),
        (FilterShape::ZONE | FilterShape::MARK, None),
        (
            family | FilterShape::ZONE | FilterShape::REPLY_SRC,
            Some(Family::Ipv4),
        ),
    ] {
        assert_eq!(filter.for_dump(&proven(shape, of)), None, "{shape}");
        assert_eq!(filter.for_flush(&proven(shape, of)), None, "{shape}");
    }
    // A part serves a list, never a flush; nor does what was seen to be wrong.
    let zone = proven(FilterShape::ZONE, None);
    let asked = filter.for_dump(&zone).unwrap();
    assert_eq!((asked.shape(), asked.family), (FilterShape::ZONE, None));
    assert_eq!(filter.for_flush(&zone), None);
    let kernel = filter.kernel();
    for verdict in [
        Verdict::Ignored,
        Verdict::Inverted,
        Verdict::Omits,
        Verdict::Wrong,
        Verdict::Unproven,
    ] {
        let mut support = proven(kernel.shape(), kernel.family);
        support.trials[0].dump = verdict;
        assert_eq!(filter.for_dump(&support), None);
        assert_eq!(filter.for_flush(&support), Some(kernel));
        support.trials[0].flush = verdict;
        assert_eq!(filter.for_flush(&support), None);
    }
}

fn families() -> impl Strategy<Value = Option<Family>> {
    prop_oneof![
        4 => Just(None),
        1 => Just(Some(Family::Ipv4)),
        1 => Just(Some(Family::Ipv6)),
    ]
}

fn nets() -> impl Strategy<Value = Option<IpNet>> {
    let prefix = |of: fn(u8) -> IpAddr, full: u8| {
        (
            0..3_u8,
            prop_oneof![3 => Just(0_u8), 1 => 1..3_u8, 1 => Just(full)],
        )
            .prop_map(move |(n, wider)| Some(IpNet::new(of(n), full - wider).unwrap()))
    };
    prop_oneof![5 => Just(None), 2 => prefix(v4, 32), 1 => prefix(v6, 128)]
}

fn ports() -> impl Strategy<Value = Option<PortRange>> {
    let range = (0..3_u16, prop_oneof![3 => Just(0), 1 => 0..3_u16])
        .prop_map(|(first, more)| Some(PortRange::new(first, first + more).unwrap()));
    prop_oneof![3 => Just(None), 1 => range]
}

const STATUS: [Status; 4] = [
    Status::empty(),
    Status::ASSURED,
    Status::SEEN_REPLY,
    Status::ASSURED.union(Status::SEEN_REPLY),
];

fn protocols() -> impl Strategy<Value = Protocol> {
    prop_oneof![
        4 => Just(Protocol::TCP),
        2 => Just(Protocol::UDP),
        1 => Just(Protocol::SCTP),
        1 => Just(Protocol::ICMP),
        1 => Just(Protocol::GRE),
        1 => Just(Protocol::new(200)),
    ]
}

fn maybe<T: std::fmt::Debug + Clone>(
    of: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<T>> {
    proptest::option::weighted(0.3, of)
}

prop_compose! {
    fn tuple_filters()(src in nets(), dst in nets(), src_port in ports(), dst_port in ports())
        -> TupleFilter {
        TupleFilter { src, dst, src_port, dst_port }
    }
}

prop_compose! {
    fn filters()(
        family in families(),
        zone in maybe((0..3_u16).prop_map(Zone::new)),
        mark in maybe((0..4_u32, prop_oneof![Just(0), 1..4_u32, Just(u32::MAX)])),
        status in maybe((0..4_usize, 0..4_usize)),
        protocol in proptest::option::of(protocols()),
        orig in tuple_filters(),
        reply in tuple_filters(),
    ) -> Filter {
        let mut filter = Filter::new();
        filter.family = family;
        filter.zone = zone;
        filter.mark = mark.map(|(value, mask)| Mark::masked(value & mask, mask).unwrap());
        filter.status = status.map(|(value, mask)| (STATUS[value] & STATUS[mask], STATUS[mask]));
        filter.protocol = protocol;
        filter.orig = orig;
        filter.reply = reply;
        filter
    }
}

fn tuple(six: bool, addresses: (u8, u8), protocol: Protocol, ports: (u16, u16)) -> Tuple {
    let of = if six { v6 } else { v4 };
    let (src, dst) = (of(addresses.0), of(addresses.1));
    let both = Ports {
        src: ports.0,
        dst: ports.1,
    };
    let layer4 = match protocol {
        Protocol::TCP => Layer4::Tcp(both),
        Protocol::UDP => Layer4::Udp(both),
        Protocol::SCTP => Layer4::Sctp(both),
        Protocol::ICMP if six => Layer4::Icmpv6(Icmpv6::echo_request(ports.0)),
        Protocol::ICMP => Layer4::Icmp(Icmp::echo_request(ports.0)),
        Protocol::GRE => Layer4::Gre(GreKeys {
            src: ports.0,
            dst: ports.1,
        }),
        other => Layer4::Other(other),
    };
    Tuple::new(src, dst, layer4).unwrap()
}

prop_compose! {
    fn entries()(
        six in proptest::bool::weighted(0.3),
        addresses in ((0..3_u8, 0..3_u8), (0..3_u8, 0..3_u8)),
        protocol in protocols(),
        ports in ((0..3_u16, 0..3_u16), (0..3_u16, 0..3_u16)),
        zone in (0..3_u16, 0..3_u8),
        mark in proptest::option::weighted(0.9, 0..8_u32),
        status in proptest::option::weighted(0.9, 0..4_usize),
    ) -> Entry {
        let zone = match zone {
            (n, 1) => EntryZone::Orig(Zone::new(n)).canonical(),
            (n, 2) => EntryZone::Reply(Zone::new(n)).canonical(),
            (n, _) => EntryZone::Both(Zone::new(n)),
        };
        let new = Entry::with_tuple(tuple(six, addresses.0, protocol, ports.0))
            .reply(tuple(six, addresses.1, protocol, ports.1))
            .zone(zone)
            .timeout(std::time::Duration::from_secs(1))
            .build()
            .unwrap();
        let mut entry = new.entry().clone();
        entry.mark = mark;
        entry.status = status.map(|n| STATUS[n]);
        entry
    }
}

/// An entry that meets as much of the filter as can be made to.
fn close(filter: &Filter, mut entry: Entry) -> Entry {
    let six = filter.kernel().family == Some(Family::Ipv6);
    let side = |of: &TupleFilter, tuple_: &Tuple| {
        let address = |net: Option<IpNet>, own: IpAddr| match net.map_or(own, |net| net.addr()) {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(address) => address.octets()[15],
        };
        let port = |range: Option<PortRange>, own: Option<u16>| {
            range.map_or(own.unwrap_or(0), PortRange::first)
        };
        tuple(
            six,
            (address(of.src, tuple_.src()), address(of.dst, tuple_.dst())),
            filter.protocol.unwrap_or(entry_protocol(tuple_)),
            (
                port(of.src_port, tuple_.src_port()),
                port(of.dst_port, tuple_.dst_port()),
            ),
        )
    };
    entry.orig = side(&filter.orig, &entry.orig);
    entry.reply = side(&filter.reply, &entry.reply);
    if let Some(zone) = filter.zone {
        entry.zone = EntryZone::Both(zone);
    }
    if let Some(mark) = filter.mark {
        entry.mark = Some(mark.value());
    }
    if let Some((status, _)) = filter.status {
        entry.status = Some(status);
    }
    entry
}

fn entry_protocol(tuple: &Tuple) -> Protocol {
    match tuple.protocol() {
        Protocol::ICMPV6 => Protocol::ICMP,
        other => other,
    }
}

/// One field of `entry` as `other` has it.
fn apart(mut entry: Entry, other: &Entry, field: u8) -> Entry {
    // The tuples of an entry are of one family and one protocol.
    let of = |entry: &Entry| (entry.family(), entry.protocol());
    let same = of(&entry) == of(other);
    match field {
        0 | 1 if !same => {}
        0 => entry.orig = other.orig,
        1 => entry.reply = other.reply,
        2 => entry.zone = other.zone,
        3 => entry.mark = other.mark,
        4 => entry.status = other.status,
        _ => {}
    }
    entry
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4000) })]

    #[test]
    fn a_list_is_never_asked_for_too_little(
        filter in filters(),
        bits in any::<u32>(),
        one in entries(),
        another in entries(),
        field in 0..7_u8,
    ) {
        let kernel = filter.kernel();
        let part = kernel.shape() & FilterShape::from_bits_truncate(bits);
        let near = close(&filter, one.clone());
        let candidates = [apart(near.clone(), &another, field), near, one, another];
        for shape in [part, kernel.shape()] {
            let Some(asked) = filter.for_dump(&proven(shape, kernel.family)) else {
                prop_assert!(false, "{shape} was proven");
                continue;
            };
            prop_assert_eq!(asked.shape(), shape);
            for entry in &candidates {
                prop_assert!(!filter.matches(entry) || asked.matches(entry), "{}", entry);
            }
        }
    }

    /// By a tuple and the zone of its direction the kernel finds what it is to delete.
    #[test]
    fn whoever_follows_on_a_tuple_is_meant_or_looked_at(
        filter in filters(),
        plain in any::<bool>(),
        one in entries(),
        another in entries(),
    ) {
        // Of the other half, most differ in what a follower may have otherwise.
        let mut filter = filter;
        if plain {
            (filter.mark, filter.status, filter.reply) = (None, None, TupleFilter::default());
        }
        let near = close(&filter, one.clone());
        let follows = filter.means_whoever_follows();
        for first in [apart(near.clone(), &another, 2), near, one] {
            if !filter.matches(&first) || !follows(&first) {
                continue;
            }
            let zone = first.zone.orig();
            let mut zones = vec![EntryZone::Both(zone), EntryZone::Orig(zone).canonical()];
            if zone.is_default() {
                zones.push(EntryZone::Reply(Zone::new(1)));
            }
            for zone in zones {
                let next = Entry { orig: first.orig, zone, ..another.clone() };
                prop_assert!(filter.matches(&next), "{} {}", first, next);
            }
        }
    }

    #[test]
    fn a_flush_is_the_filter_itself(
        filter in filters(),
        one in entries(),
        another in entries(),
        field in 0..7_u8,
    ) {
        let near = close(&filter, one.clone());
        let candidates = [apart(near.clone(), &another, field), near, one, another];
        if let Some(asked) = flushed(&filter) {
            for entry in &candidates {
                prop_assert_eq!(asked.matches(entry), filter.matches(entry), "{}", entry);
            }
        }
    }
}
