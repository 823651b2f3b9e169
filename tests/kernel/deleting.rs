//! Deleting by filter: the target goes, and no bystander does, whoever checks the filter.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ctnetlink::{
    Conntrack, DeleteOptions, Entry, EntryBuilder, EntryZone, Family, Filter, FilterShape, Icmp,
    Mark, NewEntry, PortRange, Protocol, Status, Tuple, Zone,
};
use ipnet::IpNet;

use crate::support::{LONG, assert_flows, listed, open, own_namespace, unproven};

const FIVE: Zone = Zone::new(5);

/// The same table, with what was proven of the kernel and with nothing proven.
fn handles() -> [Conntrack; 2] {
    [open(), unproven()]
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// The target of most filters, of one family.
fn target(six: bool, protocol: Protocol) -> EntryBuilder {
    let (src, dst, from, to) = if six {
        ("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4")
    } else {
        ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
    };
    let tuple = |a: SocketAddr, b: SocketAddr| match protocol {
        Protocol::UDP => Tuple::udp(a, b).unwrap(),
        _ => Tuple::tcp(a, b).unwrap(),
    };
    Entry::with_tuple(tuple(at(src, 1000), at(dst, 443)))
        .reply(tuple(at(from, 8443), at(to, 2000)))
        .timeout(LONG)
}

/// The target, what differs from it in one respect, and its mirror.
fn population() -> Vec<NewEntry> {
    let mut all = Vec::new();
    for six in [false, true] {
        for protocol in [Protocol::TCP, Protocol::UDP] {
            let one = || {
                target(six, protocol)
                    .zone(FIVE)
                    .mark(0x107)
                    .status(Status::ASSURED | Status::SEEN_REPLY)
            };
            all.push(one());
            for zone in [0, 1, 6, u16::MAX].map(Zone::new) {
                all.push(one().zone(zone));
            }
            let mirrored = one().build().unwrap();
            let (orig, reply) = (mirrored.entry().reply(), mirrored.entry().orig());
            // What the target's answers look like, as a flow of its own; its tuples are taken in
            // the target's zone.
            all.push(
                Entry::with_tuple(*orig)
                    .reply(*reply)
                    .zone(Zone::new(7))
                    .mark(0x107)
                    .status(Status::ASSURED | Status::SEEN_REPLY)
                    .timeout(LONG),
            );
            // One field apart, in the target's zone.
            let (src, dst) = if six {
                ("2001:db8::1", "2001:db8::2")
            } else {
                ("10.0.0.1", "10.0.0.2")
            };
            let net = if six { "2001:db8::f" } else { "10.0.0.15" };
            let far = if six { "2001:db8:1::1" } else { "10.1.0.1" };
            for (n, (a, b)) in [
                (at(net, 1000), at(dst, 443)),
                (at(far, 1000), at(dst, 443)),
                (at(src, 1000), at(net, 443)),
                (at(src, 1000), at(far, 443)),
                (at(src, 1001), at(dst, 443)),
                (at(src, 1999), at(dst, 443)),
                (at(src, 1000), at(dst, 444)),
            ]
            .into_iter()
            .enumerate()
            {
                let builder = match protocol {
                    Protocol::UDP => Entry::udp(a, b),
                    _ => Entry::tcp(a, b),
                };
                let mark = [0, 0x107, 0x207, 0x106][n % 4];
                let status = [Status::SEEN_REPLY, Status::ASSURED | Status::SEEN_REPLY][n % 2];
                let zone = match n {
                    3 => EntryZone::Orig(FIVE),
                    4 => EntryZone::Reply(FIVE),
                    5 => EntryZone::Both(Zone::MAX),
                    _ => EntryZone::Both(FIVE),
                };
                all.push(builder.zone(zone).mark(mark).status(status).timeout(LONG));
            }
        }
    }
    let (a, b) = (at("10.0.0.1", 0).ip(), at("10.0.0.2", 0).ip());
    all.push(
        Entry::icmp(
            [10, 0, 0, 1].into(),
            [10, 0, 0, 2].into(),
            Icmp::echo_request(443),
        )
        .zone(FIVE),
    );
    all.push(Entry::sctp(at("10.0.0.1", 1000), at("10.0.0.2", 443)));
    all.push(Entry::other(Protocol::new(200), a, b).zone(FIVE));
    for of_another in all.iter_mut().rev().take(3) {
        *of_another = of_another
            .clone()
            .mark(0)
            .status(Status::SEEN_REPLY)
            .timeout(LONG);
    }
    all.into_iter()
        .map(|entry| entry.build().unwrap())
        .collect()
}

fn ports(first: u16, last: u16) -> PortRange {
    PortRange::new(first, last).unwrap()
}

/// Every kind of condition, alone and together.
fn filters() -> Vec<Filter> {
    let new = Filter::new;
    let five = || new().zone(FIVE);
    let mut all = vec![
        new().family(Family::Ipv4),
        new().family(Family::Ipv6),
        five(),
        new().zone(Zone::DEFAULT),
        new().zone(Zone::new(1)),
        new().zone(Zone::MAX),
        new().mark(0x107),
        new().mark(0),
        new().mark(Mark::masked(0x07, 0xff).unwrap()),
        new().mark(Mark::masked(0, 0x01).unwrap()),
        new().status(Status::ASSURED),
        new()
            .status_masked(Status::empty(), Status::ASSURED)
            .unwrap(),
        new().protocol(Protocol::TCP),
        new().protocol(Protocol::ICMP),
        new().orig_dst_port(443),
        five().mark(0x107),
        five().status(Status::ASSURED),
        five().mark(0).status(Status::SEEN_REPLY),
        // Nothing can meet these; they are asked all the same.
        new().family(Family::Ipv6).orig_src(net("10.0.0.1/32")),
        new()
            .orig_src(net("10.0.0.1/32"))
            .orig_dst(net("2001:db8::2/128")),
        new().family(Family::Ipv4).protocol(Protocol::ICMPV6),
    ];
    for (family, addresses, wide) in [
        (
            Family::Ipv4,
            ["10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32", "10.0.0.4/32"],
            "10.0.0.0/29",
        ),
        (
            Family::Ipv6,
            [
                "2001:db8::1/128",
                "2001:db8::2/128",
                "2001:db8::3/128",
                "2001:db8::4/128",
            ],
            "2001:db8::/125",
        ),
    ] {
        let [a, b, c, d] = addresses.map(net);
        let wide = net(wide);
        let of = || new().family(family);
        all.extend([
            of().zone(FIVE),
            of().zone(Zone::DEFAULT),
            new().orig_src(a),
            new().orig_dst(b),
            new().reply_src(c),
            new().reply_dst(d),
            new().orig_src(wide),
            new().orig_dst(wide),
            new().reply_src(wide),
            new().reply_dst(wide),
            five().orig_src(a),
            five().orig_src(wide),
            five().orig_src(a).orig_dst(b),
            five().orig_src(a).reply_src(c).mark(0x107),
            of().protocol(Protocol::ICMP),
            of().protocol(Protocol::new(200)),
            of().protocol(Protocol::SCTP).orig_dst_port(443),
        ]);
        let tcp = || of().protocol(Protocol::TCP);
        all.extend([
            tcp().orig_src_port(ports(1000, 1001)),
            tcp().orig_dst_port(ports(443, 444)),
            tcp().reply_src_port(ports(8000, 9000)),
            tcp().reply_dst_port(ports(1, 2000)),
        ]);
        for protocol in [Protocol::TCP, Protocol::UDP] {
            let of = || of().protocol(protocol);
            all.extend([
                of(),
                of().orig_src_port(1000),
                of().orig_dst_port(443),
                of().reply_src_port(8443),
                of().reply_dst_port(2000),
                of().orig_src(a).orig_dst_port(443),
                of().zone(FIVE)
                    .orig_src(a)
                    .orig_dst(b)
                    .orig_src_port(1000)
                    .orig_dst_port(443),
            ]);
        }
    }
    all
}

/// Makes what is not there.
fn make(ct: &Conntrack, all: &[NewEntry]) {
    let batch = ct.create_many(all);
    assert!(batch.failures().all(|(_, error)| error.is_exists()));
}

/// The same, and gives the ids of all.
fn fill(ct: &Conntrack, all: &[NewEntry]) -> BTreeMap<String, Option<u32>> {
    make(ct, all);
    let ids = ids(ct);
    assert_eq!(ids.len(), all.len());
    ids
}

pub(crate) fn ids(ct: &Conntrack) -> BTreeMap<String, Option<u32>> {
    named(&listed(ct, &Filter::new())).collect()
}

pub(crate) fn named(entries: &[Entry]) -> impl Iterator<Item = (String, Option<u32>)> {
    let name = |entry: &Entry| format!("{:?} {:?}", entry.orig(), entry.zone());
    entries.iter().map(move |entry| (name(entry), entry.id()))
}

#[test]
fn the_target_goes_and_no_bystander_does_as_proven() {
    the_target_goes_and_no_bystander_does(&open());
}

#[test]
fn the_target_goes_and_no_bystander_does_in_user_space() {
    own_namespace();
    the_target_goes_and_no_bystander_does(&unproven());
}

fn the_target_goes_and_no_bystander_does(ct: &Conntrack) {
    let all = population();
    let mut deleting = 0;
    for (place, filter) in filters().into_iter().enumerate() {
        let (targets, stay): (Vec<_>, Vec<_>) =
            all.iter().partition(|new| filter.matches(new.entry()));
        deleting += usize::from(!targets.is_empty());
        let many = targets.len() as u64;
        let new = DeleteOptions::new;
        make(ct, &all);
        assert_flows(&listed(ct, &filter), targets.iter().copied());
        let look = ct.delete_matching_with(&filter, &new().dry_run()).unwrap();
        assert_eq!((look.matched, look.deleted), (Some(many), Some(0)));
        assert_eq!(look.sample.len() as u64, many.min(10));
        assert!(look.sample.iter().all(|entry| filter.matches(entry)));
        if many > 0 {
            let fewer = new().max_deletes(many - 1);
            let error = ct.delete_matching_with(&filter, &fewer).unwrap_err();
            assert!(error.is_too_many(), "{error}");
        }
        let before = ids(ct);
        assert_eq!(before.len(), all.len());
        let careful = [
            new().max_deletes(many),
            new().verify(2),
            new().protect([Zone::new(99)]),
        ];
        for options in [&new(), &careful[place % 3]] {
            make(ct, &all);
            let deleted = ct.delete_matching_with(&filter, options).unwrap();
            assert!(deleted.is_clean(), "{filter:?} {deleted:?}");
            if !deleted.by_kernel() {
                assert_eq!((deleted.matched, deleted.deleted), (Some(many), Some(many)));
            }
            assert_eq!((deleted.already_gone, deleted.busy), (0, 0));
            let left = listed(ct, &Filter::new());
            assert_flows(&left, stay.iter().copied());
            // They are not only as before, they are the same.
            assert!(named(&left).all(|(name, id)| before[&name] == id));
        }
    }
    assert!(deleting > 50, "{deleting}");
}

#[test]
fn flushes_of_zones_and_families_take_their_own() {
    let all = population();
    for ct in handles() {
        for zone in [0, 1, 5, 6, 7, 8, u16::MAX].map(Zone::new) {
            fill(&ct, &all);
            assert!(ct.flush_zone(zone).unwrap().is_clean());
            let stay = all.iter().filter(|new| new.entry().zone().zone() != zone);
            assert_flows(&listed(&ct, &Filter::new()), stay);
        }
        for family in [Family::Ipv4, Family::Ipv6] {
            fill(&ct, &all);
            assert!(ct.flush_family(family).unwrap().is_clean());
            let stay = all.iter().filter(|new| new.entry().family() != family);
            assert_flows(&listed(&ct, &Filter::new()), stay);
        }
    }
}

/// One request of the kernel's where it was seen to do right by just that, and none elsewhere.
#[test]
fn the_kernel_is_asked_where_it_was_proven_and_only_there() {
    use FilterShape as S;
    let all = population();
    let by_kernel = |ct: &Conntrack, shape, family| {
        let right = ct.kernel_support().flush(shape, family).is_right();
        // Some are right on every kernel.
        assert!(right || shape != S::FAMILY || ct.kernel_support().trials().is_empty());
        right
    };
    for ct in handles() {
        for zone in [Zone::DEFAULT, FIVE, Zone::MAX] {
            make(&ct, &all);
            let shape = if zone == Zone::DEFAULT {
                S::ZONE_0
            } else {
                S::ZONE
            };
            let flushed = ct.flush_zone(zone).unwrap();
            assert_eq!(flushed.by_kernel(), by_kernel(&ct, shape, None), "{zone}");
        }
        for family in [Family::Ipv4, Family::Ipv6] {
            make(&ct, &all);
            let flushed = ct.flush_family(family).unwrap();
            let want = by_kernel(&ct, S::FAMILY, Some(family));
            assert_eq!(flushed.by_kernel(), want, "{family}");
            let address = net(if family == Family::Ipv4 {
                "10.0.0.1/32"
            } else {
                "2001:db8::1/128"
            });
            let of = || Filter::new().family(family);
            let tcp = || of().protocol(Protocol::TCP);
            for (filter, shape) in [
                (of(), S::FAMILY),
                (of().zone(FIVE), S::FAMILY | S::ZONE),
                (of().orig_src(address), S::FAMILY | S::ORIG_SRC),
                (of().reply_src(address), S::FAMILY | S::REPLY_SRC),
                (tcp(), S::FAMILY | S::ORIG_PROTOCOL),
                (
                    tcp().orig_dst_port(443),
                    S::FAMILY | S::ORIG_PROTOCOL | S::ORIG_DST_PORT,
                ),
            ] {
                make(&ct, &all);
                let deleted = ct.delete_matching(&filter).unwrap();
                let want = by_kernel(&ct, shape, Some(family));
                assert_eq!(deleted.by_kernel(), want, "{filter}");
            }
        }
        for (filter, shape) in [
            (Filter::new().zone(FIVE), S::ZONE),
            (Filter::new().mark(0x107), S::MARK),
            (
                Filter::new().mark(Mark::masked(0x07, 0xff).unwrap()),
                S::MARK_MASK,
            ),
            (Filter::new().status(Status::ASSURED), S::STATUS),
            (Filter::new().zone(FIVE).mark(0x107), S::ZONE | S::MARK),
        ] {
            make(&ct, &all);
            let deleted = ct.delete_matching(&filter).unwrap();
            assert_eq!(deleted.by_kernel(), by_kernel(&ct, shape, None), "{filter}");
        }
        // What no request can say.
        for filter in [
            Filter::new().protocol(Protocol::TCP),
            Filter::new().orig_dst_port(443),
        ] {
            assert!(
                !ct.delete_matching(&filter).unwrap().by_kernel(),
                "{filter}"
            );
        }
    }
}

#[test]
fn a_filter_that_means_everything_is_refused() {
    let all = population();
    for ct in handles() {
        let before = fill(&ct, &all);
        for filter in [
            Filter::new(),
            Filter::new().status(Status::empty()),
            Filter::new().mark(Mark::masked(0, 0).unwrap()),
        ] {
            let new = DeleteOptions::new;
            for options in [
                new(),
                new().dry_run(),
                new().max_deletes(1000),
                new().protect([FIVE]),
                new().verify(1),
            ] {
                let error = ct.delete_matching_with(&filter, &options).unwrap_err();
                assert!(error.is_invalid_input(), "{error}");
            }
            assert!(ct.delete_matching(&filter).unwrap_err().is_invalid_input());
        }
        assert_eq!(ids(&ct), before);
    }
}

#[test]
fn a_protected_zone_survives_what_it_matches() {
    let all = population();
    let filter = Filter::new().family(Family::Ipv4);
    for ct in handles() {
        for zone in [0, 5, u16::MAX].map(Zone::new) {
            fill(&ct, &all);
            let safe = |new: &&NewEntry| match new.entry().zone() {
                EntryZone::Both(own) => own == zone,
                // Their other direction is in zone 0.
                one => one.zone() == zone || zone == Zone::DEFAULT,
            };
            let stay = all
                .iter()
                .filter(|new| !filter.matches(new.entry()) || safe(new));
            let stay: Vec<_> = stay.collect();
            let gone = (all.len() - stay.len()) as u64;
            let options = DeleteOptions::new().protect([zone]).verify(1);
            let deleted = ct.delete_matching_with(&filter, &options).unwrap();
            assert_eq!((deleted.matched, deleted.deleted), (Some(gone), Some(gone)));
            assert!(deleted.is_clean());
            assert_flows(&listed(&ct, &Filter::new()), stay);
            let own = Filter::new().zone(zone);
            let error = ct.delete_matching_with(&own, &options).unwrap_err();
            assert!(error.is_invalid_input(), "{error}");
        }
    }
}
