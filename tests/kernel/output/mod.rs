//! Every format, byte for byte against conntrack 1.4.7, on tables and events of every kind.
//!
//! `compare_with_conntrack` compares a whole table in all formats; `oracle::as_conntrack` lists what
//! differs on purpose, with the reason.

mod events;
mod fixtures;
mod oracle;

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};

use ctnetlink::{
    Conntrack, Entry, EntryZone, Filter, Format, GreKeys, Helper, Icmp, Labels, NatRange,
    ProtoInfo, Protocol, SctpInfo, SctpState, Status, TcpState, Tuple, Zone,
};

pub(crate) use self::oracle::compare_with_conntrack;
use self::oracle::{conntrack, start};
use crate::support::{
    LONG, every_protocol, listed, open, reserve_labels, run, set, socket, track_loopback,
    tracks_dccp, v4, v4_peer, v6, v6_peer,
};

const ZONES: [EntryZone; 4] = [
    EntryZone::Both(Zone::DEFAULT),
    EntryZone::Both(Zone::new(5)),
    EntryZone::Orig(Zone::new(6)),
    EntryZone::Reply(Zone::MAX),
];

/// Every protocol in every zone with every status, with and without counters, time stamps and labels.
fn fill_with_protocols(ct: &Conntrack) -> usize {
    let statuses = [
        Status::empty(),
        Status::SEEN_REPLY,
        Status::ASSURED | Status::FIXED_TIMEOUT,
        Status::SEEN_REPLY | Status::ASSURED,
    ];
    let labels: [&[u8]; 4] = [&[], &[0, 1, 127], &[2], &[1, 2, 63]];
    let mut n = 0;
    let mut made = 0;
    for (place, zone) in ZONES.into_iter().enumerate() {
        set("nf_conntrack_acct", if place % 2 == 0 { "1" } else { "0" });
        set("nf_conntrack_timestamp", if place < 2 { "1" } else { "0" });
        for (status, labels) in statuses.into_iter().zip(labels) {
            n += 1;
            let set = labels.iter().try_fold(Labels::EMPTY, |all, n| all.with(*n));
            for entry in every_protocol(n) {
                let mark = if n % 3 == 0 { u32::MAX } else { n.into() };
                let entry = entry.zone(zone).status(status).mark(mark);
                let entry = entry.labels(set.clone().unwrap());
                ct.create(&entry.build().unwrap()).unwrap();
                made += 1;
            }
        }
    }
    made
}

/// Every state, kind of ICMP, and form of an address.
fn fill_with_odds(ct: &Conntrack) -> usize {
    let mut all = Vec::new();
    for raw in 0..=9_u8 {
        let (a, b) = (v4(raw.into()), v4_peer(9));
        all.push(Entry::tcp(a, b).state(TcpState::from_raw(raw)));
        let info = SctpInfo::new(SctpState::from_raw(raw.min(8)), raw.into(), u32::MAX - 1);
        all.push(Entry::sctp(a, b).sctp_info(info));
    }
    for kind in [0, 8, 13, 14, 15, 16, 17, 18] {
        let key = Icmp::new(kind, 7, 0xffff - u16::from(kind)).unwrap();
        all.push(Entry::icmp([10, 0, 0, 3].into(), [10, 0, 0, 4].into(), key));
    }
    for address in [
        "::1.2.3.4",
        "::0.1.0.0",
        "::ffff:9.9.9.9",
        "::1:102:304",
        "1:0:2::3:0:0",
        "64:ff9b::102:304",
        "2001:db8:0:1:1:1:1:1",
    ] {
        let src = SocketAddr::new(address.parse().unwrap(), 65_535);
        all.push(Entry::udp(src, v6_peer(0)));
    }
    let keys = GreKeys {
        src: 0,
        dst: 0xffff,
    };
    all.push(Entry::gre(v4(0).ip(), v4_peer(0).ip(), keys));
    all.push(Entry::other(
        Protocol::new(255),
        v6(0).ip(),
        v6_peer(0).ip(),
    ));
    for entry in &all {
        let entry = entry.clone().timeout(LONG).zone(Zone::new(300));
        ct.create(&entry.build().unwrap()).unwrap();
    }
    all.len()
}

/// Translation of every kind, replies that were chosen without it, a helper, and what it expected.
fn fill_with_nat_and_helpers(ct: &Conntrack) -> usize {
    let zone = Zone::new(400);
    let to = |text: &str| NatRange::address(text.parse().unwrap());
    let ports = |text: &str, port| to(text).ports(port, port).unwrap();
    let control = Entry::tcp(v4(40_000), v4_peer(21))
        .state(TcpState::Established)
        .helper(Helper::FTP);
    let master = Tuple::tcp(v4(40_000), v4_peer(21)).unwrap();
    let all = [
        control,
        Entry::tcp(v4_peer(20), v4(1024))
            .state(TcpState::SynSent)
            .status(Status::SEEN_REPLY)
            .master(master),
        Entry::udp(v4(1), v4_peer(53)).nat_src(to("203.0.113.9")),
        Entry::udp(v4(2), v4_peer(53)).nat_src(ports("203.0.113.9", 1024)),
        Entry::udp(v4(3), v4_peer(53)).nat_src(ports("10.0.0.1", 1025)),
        Entry::udp(v4(4), v4_peer(53)).nat_dst(to("192.0.2.7")),
        Entry::tcp(v4(5), v4_peer(53))
            .state(TcpState::TimeWait)
            .nat_dst(ports("192.0.2.7", 5353))
            .nat_src(ports("203.0.113.9", 2000)),
        Entry::udp(v6(6), v6_peer(53)).nat_src(to("2001:db8::99")),
        Entry::udp(v6(7), v6_peer(53))
            .nat_dst(ports("2001:db8::98", 5353))
            .nat_src(to("2001:db8::97")),
        Entry::udp(v4(8), v4_peer(53)).reply(
            Tuple::udp(
                "192.0.2.1:5353".parse().unwrap(),
                "192.0.2.2:8".parse().unwrap(),
            )
            .unwrap(),
        ),
        Entry::icmp(
            [10, 0, 0, 1].into(),
            [10, 0, 0, 2].into(),
            Icmp::echo_request(1),
        )
        .nat_src(to("203.0.113.9")),
        Entry::gre(v4(0).ip(), v4_peer(0).ip(), GreKeys { src: 3, dst: 4 })
            .nat_dst(to("192.0.2.7")),
        Entry::other(Protocol::new(50), v4(0).ip(), v4_peer(0).ip()).nat_src(to("203.0.113.9")),
    ];
    for entry in &all {
        let entry = entry.clone().timeout(LONG).zone(zone).build().unwrap();
        ct.create(&entry).unwrap();
    }
    all.len()
}

#[test]
fn every_format_is_conntracks() {
    let ct = open();
    // An empty table first.
    compare_with_conntrack(&ct);
    reserve_labels();
    let made = fill_with_protocols(&ct) + fill_with_odds(&ct) + fill_with_nat_and_helpers(&ct);
    assert_eq!(listed(&ct, &Filter::new()).len(), made);
    compare_with_conntrack(&ct);
    // What the table must have had for this to mean something.
    let lines = conntrack(&["-L", "-o", "extended,labels,ktimestamp"]);
    for word in [
        "[UNREPLIED]",
        "[ASSURED]",
        "helper=ftp",
        "labels=one,sixtythree",
        " labels\n",
        "zone=5 ",
        "zone-orig=6",
        "zone-reply=65535",
        "delta-time=",
        "[start=",
        "packets=0",
        "unknown  255",
        "HEARTBEAT_SENT",
        "SYN_SENT2",
        "mark=4294967295",
        "src=::1.2.3.4",
    ] {
        assert!(lines.contains(word), "{word}");
    }
}

/// Real flows: their counters count, and they were not made by hand.
#[test]
fn real_flows_are_shown_as_by_conntrack() {
    let ct = open();
    traffic_is_tracked();
    let pairs: Vec<_> = ["127.0.0.1:0", "[::1]:0"].map(exchange).into();
    assert_eq!(listed(&ct, &Filter::new()).len(), pairs.len());
    compare_with_conntrack(&ct);
}

fn traffic_is_tracked() {
    track_loopback();
    let labels =
        "table inet l { chain c { type filter hook output priority 0; ct label set 1; }; }";
    run("nft", &[labels]);
    set("nf_conntrack_acct", "1");
    set("nf_conntrack_timestamp", "1");
    // Nothing ends while a slow machine compares.
    set("nf_conntrack_udp_timeout", "600");
}

/// A question and its answer.
fn exchange(address: &str) -> (UdpSocket, UdpSocket) {
    let (a, b) = (socket(address), socket(address));
    a.send_to(&[0; 100], b.local_addr().unwrap()).unwrap();
    let (_, from) = b.recv_from(&mut [0; 200]).unwrap();
    b.send_to(&[0; 50], from).unwrap();
    a.recv_from(&mut [0; 200]).unwrap();
    (a, b)
}

/// What `-o save` says of an entry.
fn saved(entry: &Entry) -> String {
    let told = Status::SEEN_REPLY | Status::ASSURED | Status::FIXED_TIMEOUT;
    let state = match entry.proto_info() {
        Some(ProtoInfo::Tcp(info)) => format!("{:?}", info.state),
        other => format!("{other:?}"),
    };
    format!(
        "{:?} {:?} {:?} {:?} {state}",
        entry.orig(),
        entry.reply(),
        entry.zone(),
        entry.status().unwrap() & told
    )
}

/// Our lines, read by `conntrack -R` in another namespace, give the same table.
#[test]
fn conntrack_restores_what_we_save() {
    let ct = open();
    reserve_labels();
    let made = fill_with_protocols(&ct) + fill_with_odds(&ct) + fill_with_nat_and_helpers(&ct);
    let entries = listed(&ct, &Filter::new());
    // What conntrack -R cannot make: the kernel refuses EXPECTED of users; -g and -n take no port that
    // translation chose; conntrack asks for a state of DCCP, which a kernel without a tracker for it
    // does not have; and a heartbeat of SCTP crashes it.
    let able = |entry: &&Entry| {
        let status = entry.status().unwrap();
        let translated = status.intersects(Status::SRC_NAT_DONE | Status::DST_NAT_DONE);
        let heartbeat = |info: &ProtoInfo| matches!(info, ProtoInfo::Sctp(info) if info.state == SctpState::HeartbeatSent);
        !(status.contains(Status::EXPECTED)
            || translated && entry.reply().layer4() != entry.orig().reply().layer4()
            || entry.protocol() == Protocol::DCCP && !tracks_dccp()
            || entry.proto_info().is_some_and(heartbeat))
    };
    let entries: Vec<_> = entries.iter().filter(able).collect();
    assert!(entries.len() > made * 9 / 10, "{} of {made}", entries.len());
    let lines: Vec<_> = entries
        .iter()
        .map(|entry| entry.display(Format::Save).to_string())
        .collect();
    let text = lines.join(
        "
",
    ) + "
";
    let restored = std::thread::scope(|scope| {
        let restore = || {
            let ct = open();
            let mut child = start(&["-R", "-"]);
            child
                .stdin
                .take()
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap();
            let output = child.wait_with_output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{errors}");
            listed(&ct, &Filter::new())
        };
        scope.spawn(restore).join().unwrap()
    });
    let sorted = |entries: &mut dyn Iterator<Item = &Entry>| {
        let mut all: Vec<_> = entries.map(saved).collect();
        all.sort();
        all
    };
    let (want, got) = (
        sorted(&mut entries.iter().copied()),
        sorted(&mut restored.iter()),
    );
    for (want, got) in want.iter().zip(&got) {
        assert_eq!(want, got);
    }
    assert_eq!(want.len(), got.len());
}
