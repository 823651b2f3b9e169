//! Walking the table: lists, visits, filters, counts, counters, flush.

use std::collections::HashSet;
use std::ops::ControlFlow;

use ctnetlink::{
    Completeness, Conntrack, EntryZone, Family, Filter, Mark, NewEntry, PortRange, Protocol,
    Status, Zone,
};
use ipnet::IpNet;

use crate::support::{
    assert_flows, every_protocol, listed, open, own_namespace, set, socket, track_loopback, udp,
    unproven,
};

fn fill(ct: &Conntrack, count: u16) {
    let entries = (0..count).map(|n| udp(n).mark(u32::from(n)).build().unwrap());
    assert!(ct.create_many(entries).is_ok());
}

#[test]
fn a_long_list_gives_each_entry_once() {
    let ct = open();
    fill(&ct, 20_000);
    let marks: Vec<u32> = listed(&ct, &Filter::new())
        .iter()
        .map(|entry| entry.mark().unwrap())
        .collect();
    assert_eq!(marks.len(), 20_000);
    assert_eq!(marks.iter().collect::<HashSet<_>>().len(), 20_000);
    assert_eq!(ct.count().unwrap().entries, 20_000);
}

#[test]
fn an_early_stop_leaves_the_handle_usable() {
    let ct = open();
    fill(&ct, 5000);
    for _ in 0..20 {
        let first = ct.list(&Filter::new()).unwrap().next().unwrap().unwrap();
        assert_eq!(ct.get(&first).unwrap().id(), first.id());
        let visited = ct
            .visit(&Filter::new(), |entry| {
                ControlFlow::Break(entry.id().unwrap())
            })
            .unwrap();
        assert_eq!(visited.matched, 1);
        assert!(visited.stopped.unwrap().is_some());
        assert_eq!(ct.count().unwrap().entries, 5000);
    }
    assert_eq!(listed(&ct, &Filter::new()).len(), 5000);
}

#[test]
fn a_list_does_not_block_other_requests() {
    let ct = open();
    fill(&ct, 5000);
    // Told apart by their marks: two of 5000 ids are the same once in a few hundred runs.
    let mut deleted = HashSet::new();
    for entry in ct.list(&Filter::new()).unwrap() {
        let entry = entry.unwrap();
        // A bucket that is walked again gives an entry twice; it is gone by then.
        if deleted.insert(entry.mark().unwrap()) {
            ct.delete(&entry).unwrap();
        }
    }
    assert_eq!(deleted.len(), 5000);
    assert_eq!(listed(&ct, &Filter::new()).len(), 0);

    fill(&ct, 100);
    let visited = ct
        .visit(&Filter::new(), |entry| {
            let entry = entry.to_entry().unwrap();
            if entry.mark().unwrap() % 2 == 0 {
                ct.delete(&entry).unwrap();
            }
            ControlFlow::<()>::Continue(())
        })
        .unwrap();
    assert!(visited.matched >= 100 && visited.malformed == 0 && !visited.incomplete);
    assert_eq!(listed(&ct, &Filter::new()).len(), 50);
}

#[test]
fn a_visit_sees_what_a_list_sees() {
    let ct = open();
    let entries: Vec<_> = every_protocol(1)
        .into_iter()
        .chain(every_protocol(2).into_iter().map(|e| e.zone(Zone::new(7))))
        .map(|entry| entry.mark(3).status(Status::ASSURED).build().unwrap())
        .collect();
    ct.create_many(&entries).into_result().unwrap();
    let list = listed(&ct, &Filter::new());
    let mut seen = Vec::new();
    let visited = ct
        .visit(&Filter::new(), |entry| {
            let owned = entry.to_entry().unwrap();
            assert_eq!(entry.orig().unwrap(), *owned.orig());
            assert_eq!(entry.reply().unwrap(), *owned.reply());
            assert_eq!(entry.zone().unwrap(), owned.zone());
            assert_eq!(entry.status().unwrap(), owned.status());
            assert_eq!(entry.timeout().unwrap(), owned.timeout());
            assert_eq!(entry.mark().unwrap(), owned.mark());
            assert_eq!(entry.id().unwrap(), owned.id());
            assert_eq!(entry.use_count().unwrap(), owned.use_count());
            assert_eq!(entry.proto_info().unwrap().as_ref(), owned.proto_info());
            assert_eq!(entry.orig_counters().unwrap(), owned.orig_counters());
            assert_eq!(entry.reply_counters().unwrap(), owned.reply_counters());
            seen.push(owned.id());
            ControlFlow::<()>::Continue(())
        })
        .unwrap();
    assert_eq!(visited.seen, entries.len() as u64);
    let mut ids: Vec<_> = list.iter().map(ctnetlink::Entry::id).collect();
    ids.sort();
    seen.sort();
    assert_eq!(seen, ids);
}

/// Every condition against a table of everything: what it finds is what it should, exactly.
#[test]
fn filters_find_exactly_what_they_mean() {
    let ct = open();
    let mut all: Vec<NewEntry> = Vec::new();
    for n in 1..=4_u16 {
        for builder in every_protocol(n) {
            let entry = builder
                .mark(u32::from(n) << 4)
                .zone(match n {
                    1 => EntryZone::default(),
                    2 => EntryZone::Both(Zone::new(65_535)),
                    3 => EntryZone::Orig(Zone::new(3)),
                    _ => EntryZone::Reply(Zone::new(3)),
                })
                .status(if n % 2 == 0 {
                    Status::ASSURED
                } else {
                    Status::SEEN_REPLY
                });
            all.push(entry.build().unwrap());
        }
    }
    ct.create_many(&all).into_result().unwrap();
    let net = |text: &str| -> IpNet { text.parse().unwrap() };
    let new = Filter::new;
    let filters = [
        new(),
        new().family(Family::Ipv4),
        new().family(Family::Ipv6),
        new().zone(Zone::DEFAULT),
        new().zone(Zone::new(3)),
        new().zone(Zone::MAX),
        new().zone(Zone::new(9)),
        new().mark(0x20),
        new().mark(Mark::masked(0x20, 0x20).unwrap()),
        new().mark(Mark::masked(0, 0x10).unwrap()),
        new().status(Status::ASSURED),
        new()
            .status_masked(Status::empty(), Status::ASSURED)
            .unwrap(),
        new().protocol(Protocol::SCTP),
        new().protocol(Protocol::ICMPV6),
        new().orig_src(net("10.0.0.0/8")),
        new().orig_src(net("2001:db8::/32")),
        new().orig_dst(net("10.0.0.2/32")),
        new().reply_src(net("2001:db8::2/128")),
        new().reply_dst(net("10.0.0.2/32")),
        new().orig_src_port(1001),
        new().orig_dst_port(PortRange::new(1, 80).unwrap()),
        new().reply_src_port(80),
        new().reply_dst_port(PortRange::new(1003, 1004).unwrap()),
        new()
            .zone(Zone::new(3))
            .protocol(Protocol::TCP)
            .family(Family::Ipv6),
    ];
    let unproven = unproven();
    let mut sizes = Vec::new();
    for filter in filters {
        let want: Vec<_> = all
            .iter()
            .filter(|new| filter.matches(new.entry()))
            .collect();
        sizes.push(want.len());
        // With what was proven of this kernel, and with nothing.
        for (ct, proven) in [(&ct, true), (&unproven, false)] {
            assert_flows(&listed(ct, &filter), want.iter().copied());
            let mut visited = 0;
            let outcome = ct
                .visit(&filter, |entry| {
                    assert!(filter.matches_ref(&entry).unwrap());
                    visited += 1;
                    ControlFlow::<()>::Continue(())
                })
                .unwrap();
            assert_eq!(visited, want.len());
            // A kernel that checks a part of it sends less.
            assert!(outcome.seen >= want.len() as u64 && outcome.seen <= all.len() as u64);
            assert!(proven || outcome.seen == all.len() as u64);
        }
    }
    // The filters do tell entries apart: none but the first finds all, one finds none.
    assert_eq!(sizes[0], all.len());
    assert_eq!(sizes.iter().filter(|size| **size == all.len()).count(), 1);
    assert_eq!(sizes.iter().filter(|size| **size == 0).count(), 2);
}

#[test]
fn flush_all_empties_every_zone_and_family() {
    let ct = open();
    let all: Vec<_> = every_protocol(1)
        .into_iter()
        .zip(0..)
        .map(|(entry, n)| entry.zone(Zone::new(n * 3000)).build().unwrap())
        .collect();
    ct.create_many(&all).into_result().unwrap();
    let count = ct.count().unwrap();
    assert_eq!(count.entries as usize, all.len());
    assert!(!count.is_full());
    ct.flush_all().unwrap();
    assert_eq!(ct.count().unwrap().entries, 0);
    assert_eq!(listed(&ct, &Filter::new()), []);
    ct.flush_all().unwrap();
}

#[test]
fn flush_all_stays_in_its_namespace() {
    let ct = open();
    let kept = udp(1).build().unwrap();
    ct.create(&kept).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let other = open();
            other.create(&udp(1).build().unwrap()).unwrap();
            other.flush_all().unwrap();
            assert_eq!(other.count().unwrap().entries, 0);
        });
    });
    assert_flows(&listed(&ct, &Filter::new()), [&kept]);
}

/// Real packets over the loopback device, tracked because a rule asks for it.
#[test]
fn counters_are_read_and_zeroed() {
    let ct = open();
    track_loopback();
    set("nf_conntrack_acct", "1");
    let (receiver, sender) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    let (from, to) = (sender.local_addr().unwrap(), receiver.local_addr().unwrap());
    for _ in 0..3 {
        sender.send_to(&[0; 72], to).unwrap();
        receiver.recv_from(&mut [0; 100]).unwrap();
    }
    let flow = ctnetlink::Key::orig(ctnetlink::Tuple::udp(from, to).unwrap());
    let counters = ct.get(flow).unwrap().orig_counters().unwrap();
    assert_eq!((counters.packets, counters.bytes), (3, 300));
    // Of the other family alone: this one keeps its figures.
    let other = ct.list_family_and_zero_counters(Family::Ipv6).unwrap();
    assert_eq!(other.count(), 0);
    assert_eq!(ct.get(flow).unwrap().orig_counters(), Some(counters));
    let taken = ct
        .list_and_zero_counters()
        .unwrap()
        .map(Result::unwrap)
        .find(|entry| entry.orig() == flow.tuple())
        .unwrap();
    assert_eq!(taken.orig_counters(), Some(counters));
    assert_eq!(taken.reply_counters(), Some(ctnetlink::Counters::default()));
    assert_eq!(
        ct.get(flow).unwrap().orig_counters(),
        Some(ctnetlink::Counters::default())
    );
}

#[test]
fn without_accounting_there_are_no_counters() {
    let ct = open();
    set("nf_conntrack_acct", "0");
    ct.create(&udp(1).build().unwrap()).unwrap();
    let entry = &listed(&ct, &Filter::new())[0];
    assert_eq!(
        (entry.orig_counters(), entry.reply_counters()),
        (None, None)
    );
}

#[test]
fn lists_say_how_whole_they_are() {
    own_namespace();
    for ct in [Conntrack::open().unwrap(), unproven()] {
        let few: Vec<_> = (0..3)
            .map(|n| udp(n).zone(Zone::new(5)).build().unwrap())
            .collect();
        let many: Vec<_> = (0..3000).map(|n| udp(n).build().unwrap()).collect();
        assert!(ct.create_many(&few).is_ok() && ct.create_many(&many).is_ok());
        for (filter, count, complete) in [
            (Filter::new().orig_dst_port(54), 0, None),
            (Filter::new(), 3003, Some(Completeness::Unknown)),
        ] {
            let mut list = ct.list(&filter).unwrap();
            assert_eq!(list.completeness(), Completeness::Interrupted);
            assert_eq!(list.by_ref().count(), count);
            if let Some(complete) = complete {
                assert_eq!(list.completeness(), complete);
            }
        }
        ct.flush_all().unwrap();
        assert!(ct.create_many(&few).is_ok());
        let mut list = ct.list(&Filter::new().zone(Zone::new(5))).unwrap();
        assert_eq!(list.by_ref().count(), 3);
        assert_eq!(list.completeness(), Completeness::Complete);
        ct.flush_all().unwrap();
    }
}
