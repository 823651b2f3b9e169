//! Debian's conntrack reads what we create, and we read what it creates, field for field.

use ctnetlink::{
    Entry, EntryZone, Filter, ProtoInfo, Protocol, SctpInfo, SctpState, Status, TcpState, Tuple,
    Zone,
};

use crate::support::{
    LONG, assert_flows, every_protocol, listed, open, run, set, tracks_dccp, tuple_of, udp, v4,
    v4_peer,
};

/// A line without its time-out, which runs on between two commands.
fn timeless(line: &str) -> String {
    let mut words: Vec<_> = line.split_whitespace().collect();
    let at = if matches!(words[0], "ipv4" | "ipv6") {
        4
    } else {
        2
    };
    let timeout: u64 = words.remove(at).parse().unwrap();
    assert!(
        timeout <= LONG.as_secs() && timeout > LONG.as_secs() - 60,
        "{line}"
    );
    words.join(" ")
}

fn sorted<T: AsRef<str>>(lines: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut lines: Vec<_> = lines
        .into_iter()
        .map(|line| timeless(line.as_ref()))
        .collect();
    lines.sort();
    lines
}

#[test]
fn conntrack_prints_our_entries_as_we_do() {
    let ct = open();
    set("nf_conntrack_acct", "1");
    let zones = [
        EntryZone::default(),
        EntryZone::Both(Zone::new(5)),
        EntryZone::Orig(Zone::new(6)),
        EntryZone::Reply(Zone::MAX),
    ];
    let statuses = [
        Status::empty(),
        Status::SEEN_REPLY,
        Status::ASSURED,
        Status::SEEN_REPLY | Status::ASSURED,
    ];
    let mut n = 0;
    let mut count = 0;
    for zone in zones {
        for status in statuses {
            n += 1;
            for entry in every_protocol(n) {
                let entry = entry.zone(zone).status(status).mark(n.into());
                ct.create(&entry.build().unwrap()).unwrap();
                count += 1;
            }
        }
    }
    // Accounting is on for these, off for those that follow.
    set("nf_conntrack_acct", "0");
    for raw in 0..=9 {
        let entry = Entry::tcp(v4(raw.into()), v4_peer(9)).state(TcpState::from_raw(raw));
        ct.create(&entry.timeout(LONG).build().unwrap()).unwrap();
        let info = SctpInfo::new(SctpState::from_raw(raw.min(8)), 1, 2);
        let entry = Entry::sctp(v4(raw.into()), v4_peer(9)).sctp_info(info);
        ct.create(&entry.timeout(LONG).build().unwrap()).unwrap();
        count += 2;
    }
    let ours = listed(&ct, &Filter::new());
    assert_eq!(ours.len(), count);
    assert_eq!(
        sorted(ours.iter().map(ToString::to_string)),
        sorted(run("conntrack", &["-L"]).lines())
    );
    let extended = run("conntrack", &["-L", "-o", "extended,id"]);
    assert_eq!(
        sorted(ours.iter().map(|entry| format!("{entry:#}"))),
        sorted(extended.lines())
    );
    // And every line that conntrack prints is read back to the same line.
    for line in extended.lines() {
        let entry: Entry = line.parse().unwrap();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&format!("{entry:#}")), words(line));
    }
}

/// One `conntrack -I` line: arguments, and what we must find.
#[track_caller]
fn created_by_conntrack(arguments: &str, want: impl FnOnce(&Entry)) {
    let ct = open();
    let bystander = udp(9).zone(Zone::new(77)).build().unwrap();
    ct.create(&bystander).unwrap();
    let timeout = LONG.as_secs().to_string();
    let mut words = vec!["-I", "-t", &timeout];
    words.extend(arguments.split_whitespace());
    run("conntrack", &words);
    let all: Vec<_> = listed(&ct, &Filter::new())
        .into_iter()
        .filter(|entry| entry.zone().zone() != Zone::new(77))
        .collect();
    assert_eq!(all.len(), 1, "{arguments}");
    want(&all[0]);
    // What it created, our key deletes, and the bystander stays.
    ct.delete(&all[0]).unwrap();
    assert_flows(&listed(&ct, &Filter::new()), [&bystander]);
}

#[test]
fn we_read_tcp_of_conntrack() {
    created_by_conntrack(
        "-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 40000 --dport 443 --state ESTABLISHED -w 5 -m 6 -u SEEN_REPLY,ASSURED",
        |entry| {
            let tuple = Tuple::tcp(v4(40_000), v4_peer(443)).unwrap();
            assert_eq!((*entry.orig(), *entry.reply()), (tuple, tuple.reply()));
            assert_eq!(entry.zone(), EntryZone::Both(Zone::new(5)));
            // conntrack 1.4.7 puts the status (6) into the mark when -u follows -m, so the mark is
            // chosen to be the same.
            assert_eq!(entry.mark(), Some(6));
            assert_eq!(entry.tcp_state(), Some(TcpState::Established));
            assert_eq!(
                entry.status(),
                Some(Status::SEEN_REPLY | Status::ASSURED | Status::CONFIRMED)
            );
        },
    );
}

#[test]
fn we_read_nat_of_conntrack() {
    created_by_conntrack(
        "-p udp -s 10.0.0.1 -d 192.0.2.1 --sport 40000 --dport 53 --src-nat 203.0.113.9:1024 -u UNSET",
        |entry| {
            let reply = Tuple::udp(
                "192.0.2.1:53".parse().unwrap(),
                "203.0.113.9:1024".parse().unwrap(),
            );
            assert_eq!(*entry.reply(), reply.unwrap());
            assert!(entry.status().unwrap().contains(Status::SRC_NAT));
        },
    );
}

#[test]
fn we_read_one_direction_zones_of_conntrack() {
    created_by_conntrack(
        "-p udplite -s fe80::1 -d fe80::2 --sport 1 --dport 2 --orig-zone 9",
        |entry| {
            assert_eq!(entry.zone(), EntryZone::Orig(Zone::new(9)));
            let (from, to) = (
                "[fe80::1]:1".parse().unwrap(),
                "[fe80::2]:2".parse().unwrap(),
            );
            assert_eq!(*entry.orig(), tuple_of(Protocol::UDPLITE, from, to));
        },
    );
    created_by_conntrack(
        "-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 --reply-zone 9",
        |entry| assert_eq!(entry.zone(), EntryZone::Reply(Zone::new(9))),
    );
}

#[test]
fn we_read_the_other_protocols_of_conntrack() {
    created_by_conntrack(
        "-p icmp -s 10.0.0.1 -d 10.0.0.2 --icmp-type 8 --icmp-code 0 --icmp-id 99",
        |entry| {
            assert_eq!(entry.orig().icmp_fields(), Some((8, 0, 99)));
            assert_eq!(entry.reply().icmp_fields(), Some((0, 0, 99)));
        },
    );
    created_by_conntrack(
        "-p icmpv6 -s fe80::1 -d fe80::2 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 99",
        |entry| {
            assert_eq!(entry.orig().icmp_fields(), Some((128, 0, 99)));
            assert_eq!(entry.reply().icmp_fields(), Some((129, 0, 99)));
        },
    );
    created_by_conntrack(
        "-p gre -s 10.0.0.1 -d 10.0.0.2 --srckey 5 --dstkey 0xffff",
        |entry| {
            let keys = ctnetlink::GreKeys {
                src: 5,
                dst: 0xffff,
            };
            assert_eq!(entry.layer4(), ctnetlink::Layer4::Gre(keys));
        },
    );
    created_by_conntrack(
        "-p sctp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 --state ESTABLISHED --orig-vtag 3 --reply-vtag 4",
        |entry| {
            // conntrack 1.4.7 sends verification tags in the host's order; the kernel keeps them as
            // they are on the wire (struct sctphdr).
            let (orig, reply) = (3_u32.swap_bytes(), 4_u32.swap_bytes());
            let info = SctpInfo::new(SctpState::Established, orig, reply);
            assert_eq!(entry.proto_info(), Some(&ProtoInfo::Sctp(info)));
        },
    );
    created_by_conntrack("-p 50 -s 10.0.0.1 -d 10.0.0.2", |entry| {
        assert_eq!(entry.protocol().number(), 50);
        assert_eq!(
            (entry.orig().src_port(), entry.orig().icmp_fields()),
            (None, None)
        );
    });
}

/// Where the kernel drops DCCP's ports, conntrack prints zeros; here they are absent.
#[test]
fn we_do_not_invent_ports() {
    created_by_conntrack(
        "-p dccp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 --state OPEN --role client",
        |entry| {
            let port = tracks_dccp().then_some(1);
            assert_eq!(entry.orig().src_port(), port);
            assert_eq!(entry.to_string().contains("sport="), tracks_dccp());
        },
    );
}
