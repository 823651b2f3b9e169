//! Statistics: what the kernel counts, against what was done and what /proc shows.

use std::io::Write;
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use ctnetlink::{Conntrack, CpuStats, Entry, NatRange, Tuple};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use crate::capabilities::Capability;
use crate::support::{Deaf, LONG, open, set, track_loopback, udp, v4_peer};

/// A column of `/proc/net/stat/nf_conntrack`, summed over the CPUs.
pub(crate) fn proc_sum(column: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/stat/nf_conntrack").unwrap();
    let mut lines = text.lines();
    let header = lines.next().unwrap();
    let at = header
        .split_whitespace()
        .position(|name| name == column)
        .unwrap();
    lines
        .map(|line| {
            let field = line.split_whitespace().nth(at).unwrap();
            u64::from_str_radix(field, 16).unwrap()
        })
        .sum()
}

pub(crate) fn sum(ct: &Conntrack) -> CpuStats {
    ct.cpu_stats().unwrap().into_iter().sum()
}

#[test]
fn every_cpu_answers_once_with_its_number() {
    let ct = open();
    let mut cpus: Vec<_> = ct
        .cpu_stats()
        .unwrap()
        .iter()
        .map(|stats| stats.cpu.unwrap())
        .collect();
    cpus.sort_unstable();
    let possible = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap();
    let last: u16 = possible
        .trim()
        .rsplit(['-', ','])
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(cpus, (0..=last).collect::<Vec<_>>());
    assert_eq!(ct.expect_cpu_stats().unwrap().len(), cpus.len());
}

#[test]
fn counts_are_those_of_proc() {
    let ct = open();
    assert_eq!((sum(&ct).drop, sum(&ct).invalid), (Some(0), Some(0)));
    track_loopback();
    // Of two that are translated to the same, the second finds its first choice taken.
    let to = NatRange::address("203.0.113.9".parse().unwrap());
    for src in ["10.0.0.1:1", "10.0.0.3:1"] {
        let flow = Entry::udp(src.parse().unwrap(), v4_peer(53)).nat_src(to);
        ct.create(&flow.timeout(LONG).build().unwrap()).unwrap();
    }
    // A connection whose answers would be those of another flow is dropped.
    let [here, there] = [7001, 7002].map(|port| SockaddrIn::new(127, 0, 0, 1, port));
    let [near, far] = [here, there].map(|end| SocketAddrV4::from(end).into());
    let answers = Tuple::tcp(far, near).unwrap();
    let other = Entry::tcp("127.0.0.9:1".parse().unwrap(), far).reply(answers);
    ct.create(&other.timeout(LONG).build().unwrap()).unwrap();
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let lost = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    bind(lost.as_raw_fd(), &here).unwrap();
    assert_eq!(connect(lost.as_raw_fd(), &there), Err(Errno::EINPROGRESS));
    // It would try again.
    drop(lost);
    // What goes on in the middle of a connection that nobody knows belongs to none.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    set("nf_conntrack_tcp_loose", "0");
    ct.flush_all().unwrap();
    stream.write_all(b"lost").unwrap();
    let all = sum(&ct);
    for (counted, ours, column) in [
        (true, all.found, "found"),
        (true, all.invalid, "invalid"),
        (true, all.insert, "insert"),
        (true, all.insert_failed, "insert_failed"),
        (true, all.drop, "drop"),
        // A full table and chance would make these.
        (false, all.early_drop, "early_drop"),
        (false, all.search_restart, "search_restart"),
    ] {
        assert_eq!(ours, Some(proc_sum(column)), "{column}");
        assert!(!counted || ours > Some(0), "{column}");
    }
    let counted = Capability::ChainsTooLong.is_there();
    let refused = counted.then(|| proc_sum("chainlength"));
    assert_eq!(all.chain_toolong, refused);
}

#[test]
fn nothing_is_dying_where_all_is_delivered() {
    let ct = open();
    ct.create(&udp(1).build().unwrap()).unwrap();
    ct.flush_all().unwrap();
    assert_eq!(ct.list_dying().unwrap().count(), 0);
}

/// An entry whose end a listener asked for and could not be told is kept until it can.
#[test]
fn what_is_not_delivered_is_dying() {
    let ct = open();
    let (deaf, dying) = Deaf::keep(&ct, |port| udp(port).mark(7).build().unwrap());
    for entry in dying {
        assert_eq!(entry.mark(), Some(7), "{entry}");
        assert_eq!(entry.orig().dst_port(), Some(53), "{entry}");
        assert!(ct.get(&entry).unwrap_err().is_not_found(), "{entry}");
    }
    deaf.leave(&ct);
}
