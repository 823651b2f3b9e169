//! Statistics: what the kernel counts, against what was done and what /proc shows.

use ctnetlink::{Conntrack, CpuStats, ExpectCpuStats};

use crate::capabilities::Capability;
use crate::support::{open, socket, track_loopback};

/// A column of `/proc/net/stat/nf_conntrack`, summed over the CPUs.
fn proc_sum(column: &str) -> u64 {
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

fn sum(ct: &Conntrack) -> CpuStats {
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
    let socket = socket("127.0.0.1:0");
    socket.send_to(&[0; 8], "127.0.0.1:9").unwrap();
    let all = sum(&ct);
    for (ours, column) in [
        (all.found, "found"),
        (all.invalid, "invalid"),
        (all.insert, "insert"),
        (all.insert_failed, "insert_failed"),
        (all.drop, "drop"),
        (all.early_drop, "early_drop"),
        (all.search_restart, "search_restart"),
    ] {
        assert_eq!(ours, Some(proc_sum(column)), "{column}");
    }
    let counted = Capability::ChainsTooLong.is_there();
    let refused = counted.then(|| proc_sum("chainlength"));
    assert_eq!(all.chain_toolong, refused);
}

#[test]
fn expectations_are_counted() {
    let ct = open();
    let all: ExpectCpuStats = ct.expect_cpu_stats().unwrap().into_iter().sum();
    let none = ExpectCpuStats::default();
    assert_eq!(
        (all.met, all.create, all.delete),
        (Some(0), Some(0), Some(0))
    );
    assert_ne!(all, none);
}

#[test]
fn nothing_is_dying_where_all_is_delivered() {
    let ct = open();
    ct.create(&crate::support::udp(1).build().unwrap()).unwrap();
    ct.flush_all().unwrap();
    assert_eq!(ct.list_dying().unwrap().count(), 0);
}
