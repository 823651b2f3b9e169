//! Deleting with a handle whose process has lost its rights since it was opened.
//!
//! A program of its own, without a test harness: only a process of one thread may move into a user
//! namespace. It needs root or `unshare -Urn`, and works in a network namespace of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

use std::process::Command;
use std::time::Duration;

use ctnetlink::{Conntrack, DeleteOptions, Entry, Family, Filter, KernelSupport, Zone};
use nix::sched::{CloneFlags, unshare};

const CHILD: &str = "CTNETLINK_TEST_LOSES_ITS_RIGHTS";
const FIVE: Zone = Zone::new(5);

fn main() {
    if std::env::var_os(CHILD).is_some() {
        return loses_its_rights();
    }
    unshare(CloneFlags::CLONE_NEWNET)
        .expect("cannot make a network namespace: run as root or under `unshare -Urn`");
    let ct = Conntrack::open().unwrap();
    for (port, zone) in [(1, FIVE), (2, FIVE), (3, Zone::DEFAULT), (4, Zone::MAX)] {
        let entry = Entry::udp(([10, 0, 0, 1], port).into(), ([10, 0, 0, 2], 53).into())
            .zone(zone)
            .timeout(Duration::from_secs(1000));
        ct.create(&entry.build().unwrap()).unwrap();
    }
    let ids = || -> Vec<_> {
        let list = ct.list(&Filter::new()).unwrap();
        list.map(|entry| entry.unwrap().id()).collect()
    };
    let before = ids();
    assert_eq!(before.len(), 4);
    let status = Command::new(std::env::current_exe().unwrap())
        .env(CHILD, "1")
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(ids(), before);
}

fn loses_its_rights() {
    let nothing = KernelSupport::unproven();
    let handles = [
        Conntrack::open().unwrap(),
        Conntrack::builder().kernel_support(nothing).open().unwrap(),
    ];
    // A trial after the loss would prove nothing, and nothing would be asked of the kernel.
    assert_eq!(handles[0].kernel_support().why_not(), None);
    unshare(CloneFlags::CLONE_NEWUSER).expect("user namespaces must be allowed");
    let filter = Filter::new().zone(FIVE);
    for ct in handles {
        let new = DeleteOptions::new;
        for options in [
            new(),
            new().dry_run(),
            new().verify(2),
            new().max_deletes(9),
            new().protect([Zone::MAX]),
        ] {
            let error = ct.delete_matching_with(&filter, &options).unwrap_err();
            assert!(error.is_permission_denied(), "{error}");
        }
        for error in [
            ct.flush_zone(FIVE).unwrap_err(),
            ct.flush_family(Family::Ipv4).unwrap_err(),
            ct.list(&filter).unwrap().next().unwrap().unwrap_err(),
        ] {
            assert!(error.is_permission_denied(), "{error}");
        }
    }
}
