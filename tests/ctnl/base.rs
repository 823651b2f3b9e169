//! The table that every command line finds.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ctnetlink::{
    DccpInfo, DccpRole, DccpState, Entry, EntryBuilder, EntryZone, GreKeys, Helper, Icmp, Icmpv6,
    Key, Labels, NatRange, NewEntry, NewExpectation, Protocol, SctpInfo, SctpState, Status,
    TcpState, Tuple, Zone,
};

/// Names of labels that both read. Label 2 has none.
pub(crate) const LABELS: &str = "0 zero\n1 one\n3 three\n63 sixtythree\n127 last\n";

pub(crate) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn labels(numbers: &[u8]) -> Labels {
    let all = numbers.iter().copied();
    all.fold(Labels::EMPTY, |labels, number| labels.with(number).unwrap())
}

fn nat(address: &str) -> NatRange {
    NatRange::address(ip(address))
}

fn nat_port(address: &str, port: u16) -> NatRange {
    nat(address).ports(port, port).unwrap()
}

/// The control connection of the expectations.
fn control() -> (SocketAddr, SocketAddr) {
    (at("10.0.0.1:40000"), at("10.0.0.2:21"))
}

fn tcp() -> Vec<EntryBuilder> {
    let (client, server) = control();
    let web = |port: u16| Entry::tcp((ip("10.0.0.1"), port).into(), at("10.0.0.2:443"));
    vec![
        Entry::tcp(client, server)
            .state(TcpState::Established)
            .helper(Helper::FTP)
            .status(Status::SEEN_REPLY | Status::ASSURED),
        web(1001).state(TcpState::Established).mark(1),
        web(1002)
            .state(TcpState::SynSent)
            .status(Status::SEEN_REPLY),
        web(1003)
            .state(TcpState::TimeWait)
            .status(Status::SEEN_REPLY | Status::ASSURED)
            .mark(0xff),
        web(1004).state(TcpState::CloseWait).labels(labels(&[0, 1])),
        web(1001)
            .state(TcpState::Established)
            .zone(Zone::new(5))
            .status(Status::SEEN_REPLY | Status::ASSURED)
            .mark(5),
        web(1008)
            .state(TcpState::Close)
            .zone(EntryZone::Orig(Zone::new(6))),
        web(1005)
            .state(TcpState::Established)
            .zone(EntryZone::Reply(Zone::new(7)))
            .status(Status::FIXED_TIMEOUT),
        Entry::tcp(at("10.0.0.5:2000"), at("192.0.2.10:80"))
            .state(TcpState::Established)
            .nat_dst(nat_port("10.1.0.7", 8080)),
        Entry::tcp(at("10.0.0.5:2001"), at("192.0.2.10:80"))
            .state(TcpState::Established)
            .nat_dst(nat_port("10.1.0.7", 8080))
            .nat_src(nat_port("203.0.113.9", 6000)),
        Entry::tcp(at("[2001:db8::1]:1001"), at("[2001:db8::2]:443"))
            .state(TcpState::Established)
            .status(Status::SEEN_REPLY | Status::ASSURED),
    ]
}

fn udp() -> Vec<EntryBuilder> {
    let ask = |port: u16| Entry::udp((ip("10.0.0.1"), port).into(), at("10.0.0.2:53"));
    vec![
        ask(1001),
        ask(1002).status(Status::SEEN_REPLY).mark(2),
        ask(1003)
            .status(Status::SEEN_REPLY | Status::ASSURED)
            .mark(0x1_0000)
            .labels(labels(&[1, 2, 63])),
        ask(1004).labels(labels(&[127])),
        ask(1001).zone(Zone::new(5)),
        ask(1001).zone(Zone::MAX).mark(7),
        ask(1005).nat_src(nat("203.0.113.9")),
        ask(1006).nat_src(nat_port("203.0.113.9", 7000)),
        ask(1007)
            .nat_dst(nat("10.1.0.7"))
            .zone(Zone::new(5))
            .mark(9),
        ask(1008).labels(labels(&[0, 3])),
        ask(1009).labels(labels(&[2])),
        Entry::udp(at("10.0.1.1:1001"), at("192.0.2.10:53")),
        Entry::udp(at("[2001:db8::1]:1001"), at("[2001:db8::2]:53")).mark(1),
        Entry::udp(at("[2001:db8:1::1]:1002"), at("[2001:db8::2]:53"))
            .nat_src(nat("2001:db8::99"))
            .zone(Zone::new(5)),
    ]
}

fn others() -> Vec<EntryBuilder> {
    let (a, b) = (ip("10.0.0.1"), ip("10.0.0.2"));
    let (a6, b6) = (ip("2001:db8::1"), ip("2001:db8::2"));
    let sctp = |port: u16, state| {
        Entry::sctp(at(&format!("10.0.0.1:{port}")), at("10.0.0.2:36412"))
            .sctp_info(SctpInfo::new(state, 0x10, 0x20))
    };
    let gre = |src, dst| Entry::gre(a, b, GreKeys { src, dst });
    vec![
        sctp(1001, SctpState::Established),
        sctp(1002, SctpState::CookieWait).mark(3),
        Entry::udplite(at("10.0.0.1:1001"), at("10.0.0.2:9")),
        Entry::dccp(at("10.0.0.1:1001"), at("10.0.0.2:9"))
            .dccp_info(DccpInfo::new(DccpState::Open, DccpRole::Client)),
        // As a kernel without a tracker for it has it; one with a tracker refuses it.
        Entry::other(Protocol::DCCP, a, b),
        gre(1, 2),
        gre(3, 4).zone(Zone::new(5)),
        Entry::icmp(
            [10, 0, 0, 1].into(),
            [10, 0, 0, 2].into(),
            Icmp::echo_request(7),
        ),
        Entry::icmp(
            [10, 0, 0, 1].into(),
            [10, 0, 0, 2].into(),
            Icmp::new(13, 0, 8).unwrap(),
        )
        .mark(4),
        Entry::icmpv6(
            "2001:db8::1".parse().unwrap(),
            "2001:db8::2".parse().unwrap(),
            Icmpv6::echo_request(9),
        ),
        Entry::other(Protocol::new(50), a, b),
        Entry::other(Protocol::new(200), a, b).mark(1),
        Entry::other(Protocol::new(50), a6, b6),
    ]
}

/// Which entries there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    All,
    /// Those that conntrack's -U can change: in no zone, and not translated.
    Plain,
}

fn is_plain(new: &NewEntry) -> bool {
    let zone = new.entry().zone();
    zone == EntryZone::Both(Zone::DEFAULT) && (new.nat_src(), new.nat_dst()) == (None, None)
}

pub(crate) fn entries(base: Base) -> Vec<NewEntry> {
    let all = [tcp(), udp(), others()].concat();
    let timeouts = (3000..).step_by(1000);
    all.into_iter()
        .zip(timeouts)
        .filter_map(|(entry, timeout)| entry.timeout(Duration::from_secs(timeout)).build().ok())
        .filter(|new| base == Base::All || is_plain(new))
        .collect()
}

pub(crate) fn expectations() -> Vec<NewExpectation> {
    let (client, server) = control();
    let master = Tuple::tcp(client, server).unwrap();
    let data = Tuple::tcp(at("10.0.0.2:0"), at("10.0.0.1:20000")).unwrap();
    let one = NewExpectation::builder(Key::orig(master), data)
        .timeout(Duration::from_secs(5900))
        .build();
    vec![one.unwrap()]
}
