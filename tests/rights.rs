//! Deleting and reading rules with a handle whose process has lost its rights since it was opened.
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

use ctnetlink::{
    Conntrack, DeleteOptions, Entry, Family, Filter, Helper, Instance, KernelSupport, Lease,
    NewEntry, NewExpectation, NewTimeoutPolicy, Tuple, UdpTimeouts, Update, Zone, ZoneAllocator,
};
use nix::sched::{CloneFlags, unshare};

const CHILD: &str = "CTNETLINK_TEST_LOSES_ITS_RIGHTS";
const FIVE: Zone = Zone::new(5);
const LONG: Duration = Duration::from_secs(1000);
const POLICY: &str = "kept";

/// One that expects.
fn master() -> NewEntry {
    let entry = Entry::tcp(([10, 0, 0, 1], 5).into(), ([10, 0, 0, 2], 21).into())
        .helper(Helper::FTP)
        .timeout(LONG);
    entry.build().unwrap()
}

fn expectation() -> NewExpectation {
    let data = Tuple::tcp(([10, 0, 0, 2], 0).into(), ([10, 0, 0, 1], 6).into()).unwrap();
    let new = NewExpectation::builder(&master(), data).timeout(LONG);
    new.build().unwrap()
}

/// All that there is to delete, by what tells it from another of its kind.
fn kept(ct: &Conntrack) -> Vec<String> {
    let entries = ct.list(&Filter::new()).unwrap().map(|entry| {
        let entry = entry.unwrap();
        assert_ne!(entry.mark(), Some(9), "{entry}");
        format!("entry {:?}", entry.id())
    });
    let expectations = ct.expectations().list().unwrap();
    let expectations = expectations.map(|one| format!("expectation {:?}", one.unwrap().id()));
    let policies = ct.timeout_policies().list().unwrap();
    let policies = policies.map(|one| format!("policy {}", one.unwrap().name()));
    entries.chain(expectations).chain(policies).collect()
}

/// Two processes that are one instance, so that both hold it.
fn lease(ct: &Conntrack) -> (ZoneAllocator, Lease) {
    let zones = ZoneAllocator::builder().instance(Instance::new(7));
    let zones = zones.range(10..=20).open(ct).unwrap();
    let lease = zones.acquire("held").unwrap();
    (zones, lease)
}

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
            .timeout(LONG);
        ct.create(&entry.build().unwrap()).unwrap();
    }
    ct.create(&master()).unwrap();
    ct.expectations().create(&expectation()).unwrap();
    let policy = NewTimeoutPolicy::new(POLICY, Family::Ipv4, UdpTimeouts::new()).unwrap();
    ct.timeout_policies().create(&policy).unwrap();
    let (_zones, _lease) = lease(&ct);
    let before = kept(&ct);
    assert_eq!(before.len(), 8);
    let status = Command::new(std::env::current_exe().unwrap())
        .env(CHILD, "1")
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(kept(&ct), before);
}

fn loses_its_rights() {
    let nothing = KernelSupport::unproven();
    let handles = [
        Conntrack::open().unwrap(),
        Conntrack::builder().kernel_support(nothing).open().unwrap(),
    ];
    // A trial after the loss would prove nothing, and nothing would be asked of the kernel.
    assert_eq!(handles[0].kernel_support().why_not(), None);
    let (zones, held) = lease(&handles[0]);
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
        let (master, expected, mark) = (master(), expectation(), Update::builder().mark(9));
        let mark = mark.build().unwrap();
        let (expectations, policies) = (ct.expectations(), ct.timeout_policies());
        for error in [
            ct.flush_zone(FIVE).unwrap_err(),
            ct.flush_family(Family::Ipv4).unwrap_err(),
            ct.flush_all().unwrap_err(),
            ct.delete(&master).unwrap_err(),
            ct.delete_many([&master]).into_result().unwrap_err(),
            ct.update(&master, &mark).unwrap_err(),
            ct.list(&filter).unwrap().next().unwrap().unwrap_err(),
            expectations.flush_all().unwrap_err(),
            expectations.delete(expected.key()).unwrap_err(),
            expectations.delete_of(&master).unwrap_err(),
            expectations.delete_by_helper(Helper::FTP).unwrap_err(),
            policies.delete(POLICY).unwrap_err(),
            ct.zone_rules().unwrap_err(),
        ] {
            assert!(error.is_permission_denied(), "{error}");
        }
    }
    let many = zones.acquire_many(["x", "y"]).unwrap();
    for error in many.into_iter().map(Result::unwrap_err).chain([
        zones.acquire("new").unwrap_err(),
        zones.acquire("held").unwrap_err(),
        zones.reserve("new", Zone::MAX).unwrap_err(),
        zones.claims().unwrap_err(),
        zones.scan().unwrap_err(),
        zones.who(FIVE).unwrap_err(),
        held.renew().unwrap_err(),
        held.flush().unwrap_err(),
        held.release().unwrap_err(),
    ]) {
        assert!(error.is_permission_denied(), "{error}");
    }
}
