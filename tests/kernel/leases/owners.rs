//! Who gets which zone, and who does not hold it any more.

use std::time::{Duration, Instant};

use ctnetlink::{Claim, Filter, OwnerKey, Zone, ZoneOrder};

use super::{claimed, lowest, raw_trial, zone};
use crate::support::{assert_flows, listed, open, udp};

#[test]
fn a_key_has_one_zone_in_every_instance_and_order() {
    let ct = open();
    let keys = ["a", "b", "c", "d"];
    let first = lowest(10..=20).open(&ct).unwrap();
    let leases = first.acquire_many(keys).unwrap();
    let zones: Vec<u16> = leases
        .iter()
        .map(|lease| lease.as_ref().unwrap().zone().get())
        .collect();
    assert_eq!(zones, [10, 11, 12, 13]);
    // Asked again, the same leases.
    for (key, number) in keys.iter().zip(&zones) {
        let again = first.acquire(*key).unwrap();
        assert_eq!((again.zone().get(), again.previous()), (*number, None));
    }
    assert_eq!(claimed(&ct), (zones.clone(), 4));
    assert_eq!(first.leases().len(), 4);

    // Another instance, in another order, one key twice.
    let second = lowest(10..=20).open(&ct).unwrap();
    let later = second.acquire_many(["d", "b", "a", "c", "d"]).unwrap();
    let got: Vec<u16> = later
        .iter()
        .map(|lease| lease.as_ref().unwrap().zone().get())
        .collect();
    assert_eq!(got, [13, 11, 10, 12, 13]);
    for lease in &later {
        assert_eq!(lease.as_ref().unwrap().previous(), Some(first.instance()));
    }
    assert_eq!(claimed(&ct), (zones, 4));

    // The former self is told by whom it was replaced, and can do no harm.
    let guest = udp(1).zone(zone(10)).build().unwrap();
    ct.create(&guest).unwrap();
    for lease in leases {
        let lease = lease.unwrap();
        let error = lease.renew().unwrap_err();
        assert!(error.is_lost(), "{error}");
        assert_eq!(error.holder().unwrap().instance(), second.instance());
        assert_eq!(error.holder().unwrap().owner(), lease.owner());
        assert!(lease.is_lost());
        assert!(lease.flush().unwrap_err().is_lost());
        assert!(lease.release().unwrap_err().is_lost());
    }
    assert!(first.leases().is_empty());
    assert!(ct.get(&guest).is_ok());
    for lease in &later {
        lease.as_ref().unwrap().renew().unwrap();
    }
}

/// As by a command that is started anew for each step.
#[test]
fn a_lease_is_resumed_by_its_own_instance_alone() {
    let ct = open();
    let first = lowest(10..=20).open(&ct).unwrap();
    let lease = first.acquire("a").unwrap();
    let (owner, at) = (lease.owner(), lease.zone());
    let as_first = || lowest(10..=20).instance(first.instance());
    drop(lease);

    let longer = as_first().ttl(Duration::from_secs(1000));
    let same = longer.open(&ct).unwrap();
    let lease = same.resume(owner, at).unwrap();
    assert_eq!((lease.zone(), lease.previous()), (at, None));
    assert!(same.claims().unwrap()[0].ends_in().unwrap() > Duration::from_secs(900));
    assert_eq!(same.leases().len(), 1);
    // What is known already is renewed.
    assert_eq!(same.resume(owner, at).unwrap().zone(), at);

    let lost = |error: ctnetlink::Error| {
        assert!(error.is_lost(), "{error}");
        error.holder().map(Claim::instance)
    };
    let other = lowest(10..=20).open(&ct).unwrap();
    let error = other.resume(owner, at).unwrap_err();
    assert_eq!(lost(error), Some(first.instance()));
    assert_eq!(
        lost(same.resume("b", at).unwrap_err()),
        Some(first.instance())
    );
    assert_eq!(lost(same.resume(owner, zone(11)).unwrap_err()), None);
    assert_eq!(lost(same.resume(owner, Zone::DEFAULT).unwrap_err()), None);
    assert_eq!(claimed(&ct), (vec![at.get()], 1));

    // What a former process of the instance left can be released, unless it was taken over.
    let later = other.acquire("a").unwrap();
    let again = as_first().open(&ct).unwrap();
    let error = again.resume(owner, at).unwrap_err();
    assert_eq!(lost(error), Some(other.instance()));
    drop(later);
    let third = lowest(10..=20)
        .instance(other.instance())
        .open(&ct)
        .unwrap();
    assert_eq!(third.resume("a", at).unwrap().release().unwrap().zone, at);
    assert_eq!(claimed(&ct), (vec![], 0));
}

/// A claim on trial has the tuples of the lease that it may become.
#[test]
fn a_trial_is_not_resumed() {
    let ct = open();
    let zones = lowest(10..=20).open(&ct).unwrap();
    let lease = zones.acquire("a").unwrap();
    let claim = listed(&ct, &Filter::new().zone(lease.zone())).remove(0);
    ct.delete(&claim).unwrap();
    let trial = ctnetlink::Entry::with_tuple(*claim.orig())
        .reply(*claim.reply())
        .zone(lease.zone())
        .timeout(Duration::from_secs(30))
        .status(ctnetlink::Status::SEEN_REPLY | ctnetlink::Status::CONFIRMED);
    ct.create(&trial.build().unwrap()).unwrap();
    let same = lowest(10..=20)
        .instance(zones.instance())
        .open(&ct)
        .unwrap();
    let error = same.resume("a", lease.zone()).unwrap_err();
    assert!(error.is_lost(), "{error}");
}

#[test]
fn names_are_uuids_that_others_can_compute() {
    // Compared with Python: uuid.uuid5(uuid.UUID('3b0e9d57-5c8c-4f5d-9a21-9c526bd03c7e'), 'tap7f3a')
    let named = OwnerKey::named("tap7f3a").unwrap();
    assert_eq!(named.to_string(), "ea2ef1da-eb03-5f6b-baf7-efb30dcb59d2");
    let ct = open();
    let zones = lowest(10..=10).open(&ct).unwrap();
    let lease = zones.acquire("tap7f3a").unwrap();
    let entry = &listed(&ct, &Filter::new().zone(zone(10)))[0];
    assert_eq!(entry.orig().src().to_string(), "100::6374:6e6c:7a6f:6e65");
    assert_eq!(entry.orig().dst().to_string(), "100::1");
    let bytes = u128::from_be_bytes(lease.owner().to_bytes());
    assert_eq!(entry.reply().src(), std::net::Ipv6Addr::from(bytes));
    assert!(zones.acquire("").unwrap_err().is_invalid_input());
    let nil = "00000000-0000-0000-0000-000000000000";
    assert!(zones.acquire(nil).unwrap_err().is_invalid_input());
}

#[test]
fn a_zone_moves_to_another_owner_with_its_entries() {
    let ct = open();
    let zones = lowest(10..=20).open(&ct).unwrap();
    let lease = zones.acquire("old").unwrap();
    let other = zones.acquire("other").unwrap();
    let guest = udp(1).zone(zone(10)).build().unwrap();
    ct.create(&guest).unwrap();
    let error = zones.rename(zones.acquire("old").unwrap(), "other");
    let error = error.unwrap_err();
    assert_eq!(error.holder().unwrap().zone(), other.zone());
    lease.renew().unwrap();

    let renamed = zones.rename(lease, "new").unwrap();
    assert_eq!(renamed.zone(), zone(10));
    assert_eq!(renamed.owner(), OwnerKey::named("new").unwrap());
    renamed.renew().unwrap();
    assert!(ct.get(&guest).is_ok());
    assert_eq!(claimed(&ct), (vec![10, 11], 2));
    assert_eq!(zones.acquire("new").unwrap().zone(), zone(10));
    assert_eq!(zones.acquire("old").unwrap().zone(), zone(12));

    // One that is held no more cannot be given away.
    let later = lowest(10..=20).open(&ct).unwrap();
    let taken = later.acquire("new").unwrap();
    let error = zones.rename(renamed, "newer").unwrap_err();
    assert!(error.is_lost(), "{error}");
    taken.renew().unwrap();
    assert_eq!(claimed(&ct), (vec![10, 11, 12], 3));
}

#[test]
fn a_lease_that_is_left_ends_by_itself_and_one_released_at_once() {
    let ct = open();
    let zones = lowest(10..=11)
        .ttl(Duration::from_secs(2))
        .grace(Duration::from_secs(2))
        .open(&ct)
        .unwrap();
    let left = zones.acquire("left").unwrap();
    assert!(left.remaining() <= Duration::from_secs(2));
    left.leave();
    assert_eq!(claimed(&ct), (vec![10], 1));
    let released = zones.acquire("released").unwrap();
    assert_eq!(released.zone(), zone(11));
    let _ = released.release().unwrap();
    assert_eq!(claimed(&ct).0.len(), 1);
    let until = Instant::now() + Duration::from_secs(60);
    while claimed(&ct).1 > 0 {
        assert!(Instant::now() < until, "it does not end");
    }

    let dropping = lowest(10..=11).release_on_drop(true).open(&ct).unwrap();
    let guest = udp(1).zone(zone(10)).build().unwrap();
    let lease = dropping.acquire("a").unwrap();
    ct.create(&guest).unwrap();
    let second = dropping.acquire("a").unwrap();
    drop(lease);
    assert_eq!(claimed(&ct), (vec![10], 1));
    drop(second);
    assert_eq!(claimed(&ct), (vec![], 0));
    assert!(ct.get(&guest).unwrap_err().is_not_found());
    dropping.acquire("b").unwrap().leave();
    assert_eq!(claimed(&ct), (vec![10], 1));
}

#[test]
fn zones_rest_before_they_are_used_again() {
    let ct = open();
    let zones = lowest(10..=13)
        .order(ZoneOrder::LongestFree)
        .open(&ct)
        .unwrap();
    let next = || {
        let lease = zones.allocate().unwrap();
        lease.release().unwrap().zone.get()
    };
    let seen: Vec<u16> = (0..6).map(|_| next()).collect();
    assert_eq!(seen, [10, 11, 12, 13, 10, 11]);
    let start = |seed| {
        let seeded = lowest(1..=65_535)
            .order(ZoneOrder::Seeded(seed))
            .open(&ct)
            .unwrap();
        let lease = seeded.allocate().unwrap();
        lease.release().unwrap().zone
    };
    assert_eq!(start(7), start(7));
    assert_ne!(start(7), start(8));
}

/// Each of the ways in which an acquisition can be broken off leaves what the next one finds.
#[test]
fn what_a_takeover_left_is_found_again() {
    let ct = open();
    let first = lowest(10..=20).open(&ct).unwrap();
    let lease = first.acquire("a").unwrap();
    let guest = udp(1).zone(zone(10)).build().unwrap();
    ct.create(&guest).unwrap();
    let claim = listed(&ct, &Filter::new().zone(zone(10)))
        .into_iter()
        .find(|entry| ctnetlink::Claim::of(entry).is_some())
        .unwrap();
    // The marker of a takeover, as docs/zones.md has it.
    let orig = ctnetlink::Tuple::other(
        ctnetlink::Protocol::new(253),
        claim.orig().src(),
        "100::2".parse().unwrap(),
    )
    .unwrap();
    let reply = ctnetlink::Tuple::other(
        ctnetlink::Protocol::new(253),
        claim.reply().src(),
        "100::7".parse().unwrap(),
    )
    .unwrap();
    let marker = ctnetlink::Entry::with_tuple(orig)
        .reply(reply)
        .zone(zone(10))
        .timeout(Duration::from_secs(300))
        .build()
        .unwrap();

    // Killed after its first step: both are there.
    ct.create(&marker).unwrap();
    let second = lowest(10..=20).open(&ct).unwrap();
    let again = second.acquire("a").unwrap();
    assert_eq!(
        (again.zone(), again.previous()),
        (zone(10), Some(first.instance()))
    );
    assert_eq!(claimed(&ct), (vec![10], 1));

    // Killed after its second step: only the marker is there, and keeps others away.
    ct.create(&marker).unwrap();
    let claims = Filter::new()
        .zone(zone(10))
        .protocol(ctnetlink::Protocol::new(253));
    let claim = listed(&ct, &claims)
        .into_iter()
        .find(|entry| *entry.orig() == *claim.orig())
        .unwrap();
    ct.delete(&claim).unwrap();
    let rival = lowest(10..=10).open(&ct).unwrap();
    assert!(rival.acquire("rival").unwrap_err().is_exhausted());
    assert!(rival.adopt("rival", zone(10)).unwrap_err().is_conflict());
    let third = lowest(10..=20).open(&ct).unwrap();
    let found = third.acquire("a").unwrap();
    assert_eq!(found.zone(), zone(10));
    assert_eq!(claimed(&ct), (vec![10], 1));
    assert!(again.renew().unwrap_err().is_lost());
    assert!(lease.renew().unwrap_err().is_lost());
    let guests = listed(&ct, &Filter::new().orig_src_port(1));
    assert_flows(&guests, [&guest]);
    let _: Zone = found.release().unwrap().zone;
}

/// A process that was killed before it had looked at what is in the zone.
#[test]
fn a_claim_that_was_left_on_trial_is_no_lease() {
    let ct = open();
    let trial = raw_trial(zone(10), OwnerKey::named("a").unwrap());
    ct.create(&trial).unwrap();
    let guest = udp(1).zone(zone(10)).build().unwrap();
    ct.create(&guest).unwrap();
    let zones = lowest(10..=20).open(&ct).unwrap();
    assert_eq!(
        zones.who(zone(10)).unwrap().claims[0].kind(),
        ctnetlink::ClaimKind::Trial
    );
    // To others it is taken.
    let rival = lowest(10..=10).open(&ct).unwrap();
    let counts = *rival.acquire("rival").unwrap_err().exhausted().unwrap();
    assert_eq!(counts.leased, 1);
    let lease = zones.acquire("a").unwrap();
    assert_eq!(lease.zone(), zone(11));
    assert_eq!(claimed(&ct), (vec![11], 1));
    let status = listed(&ct, &Filter::new().zone(zone(11)))[0]
        .status()
        .unwrap();
    assert!(status.contains(ctnetlink::Status::ASSURED), "{status}");
    assert!(ct.get(&guest).is_ok());
}

/// A handle whose lease was lost does nothing to the one that its owner has since.
#[test]
fn a_lease_that_is_over_harms_no_later_one() {
    let ct = open();
    let zones = lowest(10..=12).open(&ct).unwrap();
    let old = zones.acquire("a").unwrap();
    ct.flush_all().unwrap();
    assert!(old.renew().unwrap_err().is_lost());
    let new = zones.acquire("a").unwrap();
    assert_eq!(new.zone(), old.zone());
    let guest = udp(1).zone(zone(10)).build().unwrap();
    ct.create(&guest).unwrap();
    assert!(old.renew().unwrap_err().is_lost());
    assert!(old.flush().unwrap_err().is_lost());
    assert!(old.release().unwrap_err().is_lost());
    assert!(ct.get(&guest).is_ok());
    new.renew().unwrap();
    assert!(!new.is_lost());
    assert_eq!(claimed(&ct), (vec![10], 1));
}

/// Nobody is handed the zone of a sibling whose claim was flushed away.
#[test]
fn a_flushed_sibling_keeps_its_zone() {
    let ct = open();
    let zones = lowest(10..=14).open(&ct).unwrap();
    let [a, b] = ["a", "b"].map(|key| zones.acquire(key).unwrap());
    ct.flush_all().unwrap();
    assert_eq!(zones.acquire("new").unwrap().zone(), zone(12));
    assert!(zones.reserve("newer", zone(10)).unwrap_err().is_conflict());
    // Asked for again, it is put back where it was.
    assert_eq!(zones.acquire("b").unwrap().zone(), b.zone());
    assert_eq!(zones.acquire("a").unwrap().zone(), a.zone());
    a.renew().unwrap();
    b.renew().unwrap();
    assert_eq!(claimed(&ct), (vec![10, 11, 12], 3));
}

#[test]
fn a_rename_that_fails_frees_nothing() {
    let ct = open();
    let zones = lowest(10..=14).release_on_drop(true).open(&ct).unwrap();
    let lease = zones.acquire("a").unwrap();
    let other = zones.acquire("b").unwrap();
    let guest = udp(1).zone(zone(10)).build().unwrap();
    ct.create(&guest).unwrap();
    assert!(zones.rename(lease, "b").unwrap_err().is_conflict());
    assert!(ct.get(&guest).is_ok());
    assert_eq!(claimed(&ct), (vec![10, 11], 2));
    assert_eq!(zones.acquire("a").unwrap().zone(), zone(10));
    other.renew().unwrap();
}

/// Somebody makes entries in the zone while it is released: it rests, for its owner as well.
#[test]
fn a_zone_in_which_entries_come_back_is_set_aside() {
    let ct = open();
    // A release looks once at least.
    let zones = lowest(10..=11).verify(0).open(&ct).unwrap();
    let lease = zones.acquire("a").unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (begun, filled) = std::sync::mpsc::channel();
    let released = std::thread::scope(|scope| {
        let (ct, stop) = (&ct, &stop);
        let filling = scope.spawn(move || {
            let mut port = 0_u16;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                port = port.wrapping_add(1);
                let entry = udp(port).zone(zone(10)).build().unwrap();
                match ct.create(&entry) {
                    Err(error) if !error.is_exists() => panic!("{error}"),
                    _ => {}
                }
                let _ = begun.send(());
            }
        });
        filled.recv().unwrap();
        let mut released = lease.release().unwrap();
        // On a busy machine nothing may have come back in the moment in which it was looked for.
        for _ in 0..100 {
            if !released.quarantined {
                released = zones.adopt("a", zone(10)).unwrap().release().unwrap();
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        filling.join().unwrap();
        released
    });
    assert!(released.quarantined, "{released:?}");
    let _ = ct
        .delete_matching(&Filter::new().zone(zone(10)).orig_dst_port(53))
        .unwrap();
    assert!(zones.who(zone(10)).unwrap().quarantined);
    let again = zones.acquire("a").unwrap();
    assert_eq!(again.zone(), zone(11));
    let counts = *zones.acquire("b").unwrap_err().exhausted().unwrap();
    assert_eq!((counts.quarantined, counts.leased), (1, 1));
    // Others see that it is not to be had, and why.
    let others = lowest(10..=10).open(&ct).unwrap();
    assert!(others.who(zone(10)).unwrap().quarantined);
    assert!(others.scan().unwrap().zone(zone(10)).quarantined);
    let counts = *others.acquire("c").unwrap_err().exhausted().unwrap();
    assert_eq!((counts.quarantined, counts.leased), (1, 0));
    // Whose marker it is, nobody can be.
    let nobody = OwnerKey::QUARANTINE;
    assert!(others.acquire(nobody).unwrap_err().is_invalid_input());
    let renamed = zones.rename(again, nobody);
    assert!(renamed.unwrap_err().is_invalid_input());
}

/// What a flush made last for the grace lasts, as far as the lease knows.
#[test]
fn a_flush_renews_the_lease() {
    let ct = open();
    let ttl = Duration::from_secs(60);
    let zones = lowest(10..=10).ttl(ttl).open(&ct).unwrap();
    let lease = zones.acquire("a").unwrap();
    while ttl.saturating_sub(lease.remaining()) < Duration::from_millis(50) {
        std::thread::yield_now();
    }
    let before = Instant::now();
    assert!(lease.flush().unwrap().is_clean());
    assert!(lease.remaining() >= ttl.saturating_sub(before.elapsed()));
}
