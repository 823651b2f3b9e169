//! Each condition against a table that has it and its opposite: what is listed is named by its mark.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use ctnetlink::{
    Conntrack, Entry, EntryBuilder, EntryZone, Filter, Helper, Icmp, Icmpv6, NatRange, NewEntry,
    Status, TcpState, Zone,
};

use crate::support::{
    LONG, flows, labels, listed, open, reserve_labels, run, socket, udp, unproven, v4, v4_peer, v6,
    v6_peer,
};

/// The marks of what a filter finds, in order. A list, a visit and a check of each entry of the whole
/// table find the same.
#[track_caller]
fn found(ct: &Conntrack, text: &str) -> Vec<u32> {
    let filter: Filter = text.parse().unwrap();
    let list = listed(ct, &filter);
    let mut marks: Vec<_> = list.iter().map(|entry| entry.mark().unwrap()).collect();
    marks.sort_unstable();

    let mut visited = Vec::new();
    let outcome = ct.visit(&filter, |entry| {
        assert!(filter.matches_ref(&entry).unwrap());
        visited.push(entry.mark().unwrap().unwrap());
        ControlFlow::<()>::Continue(())
    });
    assert_eq!(outcome.unwrap().malformed, 0);
    visited.sort_unstable();
    assert_eq!(visited, marks, "{text}");

    let mut all = listed(ct, &Filter::new());
    all.retain(|entry| filter.matches(entry));
    assert_eq!(flows(&all), flows(&list), "{text}");
    marks
}

fn tcp(port: u16, state: TcpState) -> EntryBuilder {
    Entry::tcp(v4(port), v4_peer(21)).state(state).timeout(LONG)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The entries by their marks: 1, 2, 3 ..
fn fill(ct: &Conntrack) -> Vec<NewEntry> {
    let five = Zone::new(5);
    let ping = |id| {
        let (a, b) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        Entry::icmp(a, b, Icmp::echo_request(id)).timeout(LONG)
    };
    let stamp = Entry::icmp(
        [10, 0, 0, 1].into(),
        [10, 0, 0, 2].into(),
        Icmp::new(13, 1, 7).unwrap(),
    );
    let (a, b) = (
        "2001:db8::1".parse().unwrap(),
        "2001:db8::2".parse().unwrap(),
    );
    let range = |text: &str| NatRange::address(text.parse().unwrap());
    // Answered by another, and not translated.
    let odd =
        udp(17).reply(ctnetlink::Tuple::udp("192.0.2.9:53".parse().unwrap(), v4(17)).unwrap());
    let entries = [
        udp(1).timeout(secs(90_000)),
        udp(2).zone(five),
        udp(3).zone(EntryZone::Orig(five)),
        udp(4).zone(EntryZone::Reply(five)),
        tcp(5, TcpState::Established).helper(Helper::FTP),
        tcp(6, TcpState::SynSent).status(Status::ASSURED),
        udp(7).labels(labels(&[1, 77])),
        udp(8).labels(labels(&[1])),
        ping(7),
        ping(8),
        stamp.timeout(LONG),
        Entry::icmpv6(a, b, Icmpv6::echo_request(7)).timeout(LONG),
        udp(13).nat_src(range("203.0.113.9")),
        udp(14).nat_dst(range("203.0.113.9")),
        udp(15)
            .nat_src(range("203.0.113.10"))
            .nat_dst(range("203.0.113.9")),
        Entry::udp(v6(16), v6_peer(53))
            .nat_src(range("2001:db8::99"))
            .timeout(LONG),
        odd,
        tcp(18, TcpState::Close).timeout(secs(80_000)),
    ];
    let entries: Vec<_> = entries
        .into_iter()
        .zip(1..)
        .map(|(entry, mark)| entry.mark(mark).build().unwrap())
        .collect();
    ct.create_many(&entries).into_result().unwrap();
    entries
}

/// The conditions, and the marks of what they find.
fn conditions() -> Vec<(&'static str, Vec<u32>)> {
    let all_but = |without: &[u32]| -> Vec<u32> {
        let rest = 1..=18;
        rest.filter(|mark| !without.contains(mark)).collect()
    };
    let icmp = [9, 10, 11, 12];
    let translated = [13, 14, 15, 16];
    vec![
        ("family=ipv6", vec![12, 16]),
        ("zone=5", vec![2, 3, 4]),
        ("zone=0", all_but(&[2, 3, 4])),
        ("orig-zone=5", vec![2, 3]),
        ("orig-zone=0", all_but(&[2, 3])),
        ("reply-zone=5", vec![2, 4]),
        ("reply-zone=0", all_but(&[2, 4])),
        ("orig-zone=5 reply-zone=5", vec![2]),
        ("orig-zone=5 reply-zone=0", vec![3]),
        ("zone=5 orig-zone=0", vec![4]),
        ("mark=3", vec![3]),
        ("mark=0x10/0x10", vec![16, 17, 18]),
        ("status=ASSURED", vec![6]),
        ("status=CONFIRMED,!ASSURED", all_but(&[6])),
        ("labels=1", vec![7, 8]),
        ("labels=1,77", vec![7]),
        ("labels=1,!77", vec![8]),
        ("labels=1/all", vec![8]),
        ("labels=!77", all_but(&[7])),
        ("labels=NONE/all", all_but(&[7, 8])),
        ("labels=2", vec![]),
        ("protocol=tcp", vec![5, 6, 18]),
        ("protocol=icmp", vec![9, 10, 11]),
        ("orig-src=2001:db8::/32", vec![12, 16]),
        ("orig-dst=10.0.0.2 protocol=tcp", vec![5, 6, 18]),
        ("orig-src=0.0.0.0", vec![]),
        ("reply-src=203.0.113.9", vec![14, 15]),
        ("reply-dst=203.0.113.0/24", vec![13, 15]),
        ("orig-src-port=13-15", vec![13, 14, 15]),
        ("orig-dst-port=0-65535", all_but(&icmp)),
        ("orig-dst-port=21", vec![5, 6, 18]),
        ("reply-src-port=21", vec![5, 6, 18]),
        ("reply-dst-port=1-5", vec![1, 2, 3, 4, 5]),
        ("icmp-type=8", vec![9, 10]),
        ("icmp-type=128", vec![12]),
        ("icmp-type=0", vec![]),
        ("icmp-code=1", vec![11]),
        ("icmp-id=7", vec![9, 11, 12]),
        ("icmp-id=7 protocol=icmp", vec![9, 11]),
        ("icmp-type=8 protocol=tcp", vec![]),
        ("state=ESTABLISHED", vec![5]),
        ("state=SYN_SENT", vec![6]),
        ("state=NONE", vec![]),
        ("helper=ftp", vec![5]),
        ("helper=sip", vec![]),
        ("nat=src", vec![13, 15, 16]),
        ("nat=dst", vec![14, 15]),
        ("nat=any", translated.to_vec()),
        ("nat=none", all_but(&translated)),
        ("timeout=..80000", vec![18]),
        ("timeout=80001..90000", vec![1]),
        ("timeout=90001..", all_but(&[1, 18])),
        ("timeout=100001..", vec![]),
        ("zone=5 orig-src-port=2-3 protocol=udp", vec![2, 3]),
    ]
}

#[test]
fn each_condition_finds_exactly_its_entries() {
    let ct = open();
    reserve_labels();
    assert_eq!(fill(&ct).len(), 18);
    for text in ["all", "timeout=0.."] {
        assert_eq!(found(&ct, text), (1..=18).collect::<Vec<_>>(), "{text}");
    }
    for (text, want) in conditions() {
        assert_eq!(found(&ct, text), want, "{text}");
    }
    // Each entry by its id.
    for entry in listed(&ct, &Filter::new()) {
        let text = format!("id={}", entry.id().unwrap());
        assert_eq!(found(&ct, &text), [entry.mark().unwrap()]);
    }
}

/// What is deleted by a condition is what it finds, and what is left is not only as before, it is
/// the same.
#[test]
fn each_condition_deletes_exactly_its_entries() {
    let proven = open();
    reserve_labels();
    let entries = fill(&proven);
    let ids = || -> BTreeMap<u32, Option<u32>> {
        let all = listed(&proven, &Filter::new());
        let id = |entry: &Entry| (entry.mark().unwrap(), entry.id());
        all.iter().map(id).collect()
    };
    let each = listed(&proven, &Filter::new()).into_iter().map(|entry| {
        let text = format!("id={}", entry.id().unwrap());
        (text, vec![entry.mark().unwrap()])
    });
    // Deleted and made again, an entry has another id: these first, each of them once.
    let each: Vec<_> = each.collect();
    let of_conditions = || {
        conditions()
            .into_iter()
            .map(|(text, want)| (text.to_owned(), want))
    };
    let by_handle = [
        (
            &proven,
            each.into_iter().chain(of_conditions()).collect::<Vec<_>>(),
        ),
        (&unproven(), of_conditions().collect()),
    ];
    for (ct, conditions) in by_handle {
        for (text, want) in conditions {
            let mut stay = ids();
            assert_eq!(stay.len(), entries.len());
            stay.retain(|mark, _| !want.contains(mark));
            let deleted = ct.delete_matching(&text.parse().unwrap()).unwrap();
            assert!(deleted.is_clean(), "{text}: {deleted:?}");
            if !deleted.by_kernel() {
                let many = Some(want.len() as u64);
                assert_eq!((deleted.matched, deleted.deleted), (many, many), "{text}");
            }
            assert_eq!(ids(), stay, "{text}");
            let gone = entries
                .iter()
                .zip(1..)
                .filter(|(_, mark)| want.contains(mark));
            let again = ct.create_many(gone.map(|(entry, _)| entry));
            again.into_result().unwrap();
        }
    }
}

/// What is deleted by a filter is what it means, and nothing beside it.
#[test]
fn entries_that_a_filter_lists_are_deleted_and_no_others() {
    let ct = open();
    reserve_labels();
    fill(&ct);
    let doomed = listed(&ct, &"nat=any family=ipv4".parse().unwrap());
    assert_eq!(doomed.len(), 3);
    assert!(ct.delete_many(&doomed).is_ok());
    let rest: Vec<u32> = (1..=18).filter(|mark| !(13..=15).contains(mark)).collect();
    assert_eq!(found(&ct, "all"), rest);
}

/// Where a translation was looked for and none was found, the flow is not translated.
#[test]
fn real_flows_are_translated_as_the_rules_say() {
    let ct = open();
    run("ip", &["link", "set", "lo", "up"]);
    let rules = "table ip t { \
        chain o { type nat hook output priority -100; ip daddr 127.0.0.9 dnat to 127.0.0.1; }; \
        chain p { type nat hook postrouting priority 100; }; \
        chain i { type filter hook input priority 0; ct state new accept; }; }";
    run("nft", &[rules]);
    let (receiver, sender) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    let port = receiver.local_addr().unwrap().port();
    for to in ["127.0.0.1", "127.0.0.9"] {
        sender.send_to(b"x", (to, port)).unwrap();
        receiver.recv_from(&mut [0; 8]).unwrap();
    }
    let ours = format!("protocol=udp orig-dst-port={port}");
    for (words, want) in [
        ("", vec!["127.0.0.1", "127.0.0.9"]),
        ("nat=none", vec!["127.0.0.1"]),
        ("nat=any", vec!["127.0.0.9"]),
        ("nat=dst reply-src=127.0.0.1", vec!["127.0.0.9"]),
    ] {
        let filter: Filter = format!("{ours} {words}").parse().unwrap();
        let mut found: Vec<_> = listed(&ct, &filter)
            .iter()
            .map(|entry| entry.orig().dst().to_string())
            .collect();
        found.sort();
        assert_eq!(found, want, "{words}");
    }
}
