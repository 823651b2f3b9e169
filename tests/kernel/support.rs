//! A namespace for each test, entries of every protocol, and what the kernel can do.

use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use ctnetlink::{
    Conntrack, DccpInfo, DccpRole, DccpState, Entry, EntryBuilder, Filter, GreKeys, Icmp, Icmpv6,
    KernelSupport, Labels, NewEntry, Protocol, SctpInfo, SctpState, TcpState, Tuple,
};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::sched::{CloneFlags, unshare};

use crate::capabilities::Capability;

pub(crate) const LONG: Duration = Duration::from_secs(100_000);

thread_local! {
    /// Whether this thread has moved.
    static MOVED: Cell<bool> = const { Cell::new(false) };
}

/// Moves this test's thread into a network namespace of its own. It ends with the thread.
pub(crate) fn own_namespace() {
    unshare(CloneFlags::CLONE_NEWNET)
        .expect("cannot make a network namespace: run the tests as root or under `unshare -Urn`");
    MOVED.set(true);
}

/// What follows would otherwise reach the table of whoever runs the tests.
#[track_caller]
fn assert_moved() {
    assert!(MOVED.get(), "this thread has no namespace of its own");
}

/// A handle on a table of this test's own.
pub(crate) fn open() -> Conntrack {
    own_namespace();
    Conntrack::open().unwrap()
}

/// The same table by a handle that trusts the kernel with no filter.
#[track_caller]
pub(crate) fn unproven() -> Conntrack {
    assert_moved();
    let nothing = KernelSupport::unproven();
    Conntrack::builder().kernel_support(nothing).open().unwrap()
}

/// Loopback with tracking, where real packets go.
pub(crate) fn track_loopback() {
    run("ip", &["link", "set", "lo", "up"]);
    let rules =
        "table inet t { chain c { type filter hook output priority 0; ct state new accept; }; }";
    run("nft", &[rules]);
}

/// A UDP socket that does not wait for ever.
pub(crate) fn socket(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    let patience = Duration::from_secs(60);
    socket.set_read_timeout(Some(patience)).unwrap();
    socket
}

/// Room for labels: a rule that speaks of them reserves it.
pub(crate) fn reserve_labels() {
    run("nft", &["table inet l { chain c { ct label set 1; }; }"]);
}

pub(crate) fn labels(numbers: &[u8]) -> Labels {
    let all = numbers.iter().copied();
    all.fold(Labels::EMPTY, |labels, number| labels.with(number).unwrap())
}

pub(crate) fn v4(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

pub(crate) fn v4_peer(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 2], port))
}

pub(crate) fn v6(port: u16) -> SocketAddr {
    format!("[2001:db8::1]:{port}").parse().unwrap()
}

pub(crate) fn v6_peer(port: u16) -> SocketAddr {
    format!("[2001:db8::2]:{port}").parse().unwrap()
}

/// A UDP entry whose source port tells it from others.
pub(crate) fn udp(port: u16) -> EntryBuilder {
    Entry::udp(v4(port), v4_peer(53)).timeout(LONG)
}

/// Whether this kernel tracks DCCP.
pub(crate) fn tracks_dccp() -> bool {
    Capability::Dccp.is_there()
}

/// Whether this kernel tracks the protocol by its ports or keys.
pub(crate) fn tracks(protocol: Protocol) -> bool {
    match protocol {
        Protocol::DCCP => Capability::Dccp.is_there(),
        Protocol::UDPLITE => Capability::UdpLite.is_there(),
        _ => true,
    }
}

/// The tuple of UDP-Lite or DCCP as this kernel reports it: of a protocol that it does not track it
/// has the addresses alone, which is nothing that a user can say but on conntrack's line.
pub(crate) fn tuple_of(protocol: Protocol, src: SocketAddr, dst: SocketAddr) -> Tuple {
    let line = |[from, to]: [SocketAddr; 2]| {
        let ports = format!(" sport={} dport={}", from.port(), to.port());
        let ports = if tracks(protocol) { &*ports } else { "" };
        format!("src={} dst={}{ports}", from.ip(), to.ip())
    };
    let number = protocol.number();
    let (orig, reply) = (line([src, dst]), line([dst, src]));
    let line = format!("{protocol} {number} 1 {orig} {reply} mark=0 use=1");
    let entry: Entry = line
        .parse()
        .unwrap_or_else(|error| panic!("{line}: {error}"));
    *entry.orig()
}

/// An entry of each protocol in each family, with the time-out set. `n` tells sets apart.
pub(crate) fn every_protocol(n: u16) -> Vec<EntryBuilder> {
    let mut all = Vec::new();
    for (src, dst) in [(v4(1000 + n), v4_peer(80)), (v6(1000 + n), v6_peer(80))] {
        all.push(Entry::tcp(src, dst).state(TcpState::Established));
        all.push(Entry::udp(src, dst));
        if tracks(Protocol::UDPLITE) {
            all.push(Entry::udplite(src, dst));
        }
        all.push(Entry::sctp(src, dst).sctp_info(SctpInfo::new(
            SctpState::Established,
            7,
            0xffff_ffff,
        )));
        if tracks_dccp() {
            all.push(
                Entry::dccp(src, dst).dccp_info(DccpInfo::new(DccpState::Open, DccpRole::Client)),
            );
        }
        let keys = GreKeys { src: n, dst: 9 };
        all.push(Entry::gre(src.ip(), dst.ip(), keys));
        // Nothing but addresses and the protocol's number tells these apart.
        let number = 200 + u8::try_from(n).unwrap();
        all.push(Entry::other(Protocol::new(number), src.ip(), dst.ip()));
    }
    let (a, b) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    all.push(Entry::icmp(a, b, Icmp::echo_request(n)));
    all.push(Entry::icmp(a, b, Icmp::new(13, 0, n).unwrap()));
    let (a, b) = (
        "2001:db8::1".parse().unwrap(),
        "2001:db8::2".parse().unwrap(),
    );
    all.push(Entry::icmpv6(a, b, Icmpv6::echo_request(n)));
    all.into_iter().map(|entry| entry.timeout(LONG)).collect()
}

/// What a list finds.
pub(crate) fn listed(ct: &Conntrack, filter: &Filter) -> Vec<Entry> {
    let mut entries = ct.list(filter).unwrap();
    let all = entries.by_ref().map(Result::unwrap).collect();
    assert!(!entries.is_incomplete());
    all
}

/// What tells a listed entry apart, sorted: tuples and zone.
pub(crate) fn flows<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<String> {
    let mut flows: Vec<_> = entries
        .into_iter()
        .map(|entry| format!("{:?} {:?} {:?}", entry.orig(), entry.reply(), entry.zone()))
        .collect();
    flows.sort();
    flows
}

/// That the listed entries are these and no others.
#[track_caller]
pub(crate) fn assert_flows<'a>(got: &[Entry], want: impl IntoIterator<Item = &'a NewEntry>) {
    assert_eq!(flows(got), flows(want.into_iter().map(NewEntry::entry)));
}

/// Runs a command in this thread's namespace; a missing command fails the test with its name.
#[track_caller]
pub(crate) fn command(program: &str, args: &[&str]) -> Output {
    assert_moved();
    Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; tests/run.sh installs it"))
}

/// Runs a command that must succeed, and gives what it printed.
#[track_caller]
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = command(program, args);
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Writes a setting of this thread's namespace.
#[track_caller]
pub(crate) fn set(name: &str, value: &str) {
    assert_moved();
    let path = format!("/proc/sys/net/netfilter/{name}");
    std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// A setting of this thread's namespace.
pub(crate) fn setting(name: &str) -> String {
    let path = format!("/proc/sys/net/netfilter/{name}");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.trim().to_owned()
}

/// Whether this process is privileged in the initial user namespace.
pub(crate) fn in_initial_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The netlink sockets of this thread's namespace for netfilter: port and inode.
///
/// The file walks a hash table of all namespaces. When another test's sockets let it grow meanwhile,
/// a walk may miss one or show it twice, so what several walks see is put together.
fn netfilter_sockets() -> Vec<(u32, u64)> {
    let mut sockets = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let table = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
        sockets.extend(table.lines().skip(1).filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let port = fields[2].parse::<u32>().unwrap();
            // Port 0 is the kernel's own end.
            (fields[1] == "12" && port != 0).then(|| (port, fields[9].parse().unwrap()))
        }));
    }
    sockets.into_iter().collect()
}

/// The same, once there are as many as they should be.
///
/// A process that another test starts holds a copy of every descriptor from the fork until it executes
/// its program, and so keeps what was closed meanwhile.
#[track_caller]
pub(crate) fn netfilter_sockets_when(enough: impl Fn(usize) -> bool) -> Vec<(u32, u64)> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let sockets = netfilter_sockets();
        if enough(sockets.len()) {
            return sockets;
        }
        assert!(Instant::now() < until, "it stays at {sockets:?}");
        std::thread::yield_now();
    }
}

/// A listener for the end of entries who hears nothing: entries that it cannot be told of stay dying.
pub(crate) struct Deaf(Socket);

impl Deaf {
    /// Ends flows, each on another port, until some are dying.
    pub(crate) fn keep(ct: &Conntrack, flow: impl Fn(u16) -> NewEntry) -> (Self, Vec<Entry>) {
        let mut socket = Socket::new(NETLINK_NETFILTER).unwrap();
        socket.bind_auto().unwrap();
        // NFNLGRP_CONNTRACK_DESTROY
        socket.add_membership(3).unwrap();
        socket.set_rx_buf_sz(1_u32).unwrap();
        socket.set_broadcast_error(true).unwrap();
        for port in 1..500 {
            let flow = flow(port);
            ct.create(&flow).unwrap();
            ct.delete(&flow).unwrap();
            let dying: Vec<Entry> = ct.list_dying().unwrap().map(Result::unwrap).collect();
            if !dying.is_empty() {
                return (Self(socket), dying);
            }
        }
        panic!("none is dying");
    }

    /// Lets go, and waits for the end of those that were dying.
    pub(crate) fn leave(self, ct: &Conntrack) {
        drop(self.0);
        let until = Instant::now() + Duration::from_secs(60);
        while ct.list_dying().unwrap().next().is_some() {
            assert!(Instant::now() < until, "they stay for ever");
        }
    }
}
