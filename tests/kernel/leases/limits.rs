//! Ranges that are exhausted, tables that are full, and rights that are missing.

use std::time::Duration;

use ctnetlink::{Conntrack, Filter, KernelSupport, Lease, NewEntry};

use super::{claimed, lowest, zone};
use crate::capabilities::Capability;
use crate::support::{in_initial_user_namespace, listed, open, own_namespace, setting};

/// The whole range, then one more, then one back.
fn exhaust(range: std::ops::RangeInclusive<u16>) {
    let ct = Conntrack::open().unwrap();
    let (first, last) = (*range.start(), *range.end());
    let size = u32::from(last - first) + 1;
    // All of it must be done before what is claimed on trial ends.
    let zones = lowest(range)
        .grace(Duration::from_secs(3000))
        .open(&ct)
        .unwrap();
    let keys: Vec<String> = (0..size).map(|n| format!("key {n}")).collect();
    let leases = zones.acquire_many(&keys).unwrap();
    let mut leases: Vec<Lease> = leases.into_iter().map(Result::unwrap).collect();
    assert!(
        leases
            .iter()
            .map(|lease| lease.zone().get())
            .eq(first..=last)
    );
    // Claims, and nothing else.
    assert_eq!(ct.count().unwrap().entries, size);

    let error = zones.acquire("one more").unwrap_err();
    let counts = error.exhausted().unwrap();
    assert_eq!((counts.first, counts.last), (zone(first), zone(last)));
    assert_eq!((counts.leased, counts.occupied, counts.free), (size, 0, 0));
    assert_eq!(
        (counts.reserved, counts.ruled, counts.quarantined),
        (0, 0, 0)
    );
    assert!(zones.allocate().unwrap_err().is_exhausted());
    assert_eq!(ct.count().unwrap().entries, size);

    let place = leases.len() / 2;
    let released = leases.remove(place).release().unwrap();
    let next = zones.acquire("one more").unwrap();
    assert_eq!(next.zone(), released.zone);
    assert!(zones.allocate().unwrap_err().is_exhausted());
    let renewed = zones.renew();
    assert_eq!(
        (renewed.renewed, renewed.failed.len()),
        (leases.len() + 1, 0)
    );
}

#[test]
fn a_range_of_one_and_one_less_than_all() {
    own_namespace();
    exhaust(7..=7);
    let ct = open();
    let zones = lowest(10..=15).open(&ct).unwrap();
    let five = zones.acquire_many(["a", "b", "c", "d", "e"]).unwrap();
    assert!(five.iter().all(Result::is_ok));
    assert_eq!(zones.acquire("f").unwrap().zone(), zone(15));
    assert!(zones.allocate().unwrap_err().is_exhausted());
    let error = lowest(10..=15).ttl(Duration::from_millis(2500)).open(&ct);
    assert!(error.unwrap_err().is_invalid_input());
}

/// All zones where the table has room for that. Emulated machines have a small one, and the whole range
/// has a run of its own there, below.
#[test]
fn a_whole_range_is_leased_and_the_next_one_refused() {
    own_namespace();
    let max: u32 = setting("nf_conntrack_max").parse().unwrap();
    // While they are acquired there is another entry for each key.
    exhaust(1..=if max >= 140_000 { u16::MAX } else { 2000 });
}

/// On a machine of its own, whose table it may enlarge.
#[test]
#[ignore = "changes settings of the whole machine: tests/kernels/run.sh runs it in machines of its own"]
fn all_zones_are_leased_and_the_next_one_refused() {
    for (name, value) in [
        ("nf_conntrack_max", "140000"),
        ("nf_conntrack_buckets", "65536"),
    ] {
        std::fs::write(format!("/proc/sys/net/netfilter/{name}"), value).unwrap();
    }
    own_namespace();
    // Kernels before 5.15, which do not count such chains either, leave the zone out of the hash: all
    // claims are in one chain, and the time goes with the square.
    let hashed = Capability::ChainsTooLong.is_there();
    exhaust(1..=if hashed { u16::MAX } else { 4000 });
}

#[test]
fn a_full_table_is_said_and_nothing_is_leaked() {
    let ct = open();
    let max: usize = setting("nf_conntrack_max").parse().unwrap();
    let most = 2_000_000;
    assert!(
        max <= most,
        "nf_conntrack_max is {max}: more than {most} takes too long to fill"
    );
    let zones = lowest(10..=20).open(&ct).unwrap();
    let lease = zones.acquire("before").unwrap();
    let flows = (0..max - 1).map(|n| -> NewEntry {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(n).unwrap());
        let peer = "10.255.0.1:53".parse().unwrap();
        ctnetlink::Entry::udp((address, 1000).into(), peer)
            .status(
                ctnetlink::Status::ASSURED
                    | ctnetlink::Status::SEEN_REPLY
                    | ctnetlink::Status::CONFIRMED,
            )
            .timeout(crate::support::LONG)
            .build()
            .unwrap()
    });
    assert!(ct.create_many(flows).is_ok());
    let error = zones.acquire("after").unwrap_err();
    assert!(error.is_table_full(), "{error}");
    for result in zones.acquire_many(["x", "y"]).unwrap() {
        assert!(result.unwrap_err().is_table_full());
    }
    assert_eq!(usize::try_from(ct.count().unwrap().entries).unwrap(), max);
    assert_eq!(claimed(&ct), (vec![10], 1));
    // What is held stays held.
    lease.renew().unwrap();
    assert_eq!(zones.acquire("before").unwrap().zone(), lease.zone());
    let later = lowest(10..=20).open(&ct).unwrap();
    // There is no room for the turn either, so nothing is begun.
    assert!(later.acquire("before").unwrap_err().is_table_full());
    lease.renew().unwrap();
    ct.flush_all().unwrap();
}

/// IPv6 may be switched off for packets; the claims are entries all the same.
#[test]
fn leases_work_where_ipv6_is_switched_off() {
    let ct = open();
    for of in ["all", "default", "lo"] {
        let path = format!("/proc/sys/net/ipv6/conf/{of}/disable_ipv6");
        match std::fs::write(&path, "1") {
            Ok(()) => {}
            // Older kernels let no user namespace write it.
            Err(error) => assert!(!in_initial_user_namespace(), "{path}: {error}"),
        }
    }
    let zones = lowest(10..=20).open(&ct).unwrap();
    let lease = zones.acquire("a").unwrap();
    lease.renew().unwrap();
    let released = lease.release().unwrap();
    assert!(!released.quarantined);
    assert_eq!(listed(&ct, &Filter::new()).len(), 0);
}

/// The handle keeps the namespace that its name no longer leads to.
#[test]
fn a_namespace_without_a_name_keeps_its_leases() {
    let ct = open();
    let zones = lowest(10..=20).open(&ct).unwrap();
    let lease = zones.acquire("a").unwrap();
    own_namespace();
    lease.renew().unwrap();
    let unproven = Conntrack::builder()
        .kernel_support(KernelSupport::unproven())
        .open()
        .unwrap();
    assert_eq!(claimed(&unproven), (vec![], 0));
    assert_eq!(zones.acquire("b").unwrap().zone(), zone(11));
    assert_eq!(claimed(&ct), (vec![10, 11], 2));
}
