//! Entries that another one hides: with a zone in one direction alone, the kernel lets the original
//! tuple of one be the reply tuple of another in the same zone, and finds the newer by it.

use std::net::SocketAddr;

use ctnetlink::{
    Conntrack, DeleteOptions, Entry, EntryBuilder, EntryZone, Filter, Helper, Key, NewEntry,
    NewExpectation, Tuple, Update, Zone, ZoneAllocator,
};

use crate::deleting::net;
use crate::support::{LONG, listed, open, unproven};

const FIVE: Zone = Zone::new(5);

fn host(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 500))
}

fn flow(from: u8, to: u8) -> Tuple {
    Tuple::udp(host(from), host(to)).unwrap()
}

fn entry(orig: Tuple, reply: Tuple, zone: impl Into<EntryZone>, mark: u32) -> EntryBuilder {
    let entry = Entry::with_tuple(orig).reply(reply);
    entry.zone(zone).mark(mark).timeout(LONG)
}

/// One, marked 1, and the one that hides it, in the zones in which both can be there.
fn pairs() -> [[NewEntry; 2]; 2] {
    [
        (EntryZone::from(FIVE), EntryZone::Reply(FIVE)),
        (EntryZone::from(Zone::DEFAULT), EntryZone::Orig(FIVE)),
    ]
    .map(|(zone, other)| {
        [
            entry(flow(1, 2), flow(2, 1), zone, 1),
            entry(flow(2, 9), flow(1, 2), other, 2),
        ]
        .map(|new| new.build().unwrap())
    })
}

/// Hides the entry by its reply tuple as well.
fn second_rival() -> NewEntry {
    let rival = entry(flow(2, 1), flow(1, 8), EntryZone::Orig(FIVE), 3);
    rival.build().unwrap()
}

fn marks(ct: &Conntrack) -> Vec<u32> {
    let all = listed(ct, &Filter::new());
    let mut marks: Vec<_> = all.iter().map(|entry| entry.mark().unwrap()).collect();
    marks.sort_unstable();
    marks
}

#[test]
fn a_hidden_entry_is_deleted_and_what_hides_it_stays() {
    let ct = open();
    let plain = unproven();
    for [hidden, rival] in pairs() {
        let zone = hidden.entry().zone().orig();
        for filter in [
            Filter::new().mark(1),
            Filter::new().zone(zone).orig_src(net("10.0.0.1/32")),
        ] {
            for (handle, verify) in [(&ct, 0), (&plain, 2)] {
                ct.create(&hidden).unwrap();
                ct.create(&rival).unwrap();
                let options = DeleteOptions::new().verify(verify);
                let deleted = handle.delete_matching_with(&filter, &options).unwrap();
                assert!(deleted.is_clean(), "{filter} {deleted:?}");
                if let Some(count) = deleted.deleted {
                    assert_eq!((count, deleted.already_gone), (1, 0), "{filter}");
                }
                assert_eq!(marks(&ct), [2], "{filter}");
                ct.flush_all().unwrap();
            }
        }
    }
}

#[test]
fn a_hidden_entry_is_found_changed_and_deleted_by_its_key() {
    let ct = open();
    for [hidden, rival] in pairs() {
        let again = || {
            ct.flush_all().unwrap();
            ct.create(&hidden).unwrap();
            ct.create(&rival).unwrap();
            let mut found = listed(&ct, &Filter::new().mark(1));
            found.remove(0)
        };
        let listed = again();
        assert_eq!(ct.get(&hidden).unwrap().id(), listed.id());
        assert_eq!(ct.get(&listed).unwrap().id(), listed.id());
        // Of one tuple it cannot be known.
        let key = Key::orig(*listed.orig()).zone(listed.zone());
        assert!(ct.get(key).unwrap_err().is_not_found());
        let mark = |mark: u32| Update::builder().mark(mark).build().unwrap();
        ct.update(&hidden, &mark(4)).unwrap();
        assert_eq!(marks(&ct), [2, 4]);
        assert!(ct.update_many([(&listed, mark(5))]).is_ok());
        assert_eq!(marks(&ct), [2, 5]);
        ct.upsert(&hidden).unwrap();
        assert_eq!(marks(&ct), [1, 2]);
        ct.delete(&hidden).unwrap();
        assert_eq!(marks(&ct), [2]);
        assert!(ct.get(&hidden).unwrap_err().is_not_found());
        assert!(ct.delete(&listed).unwrap_err().is_not_found());
        ct.delete(again()).unwrap();
        assert_eq!(marks(&ct), [2]);
        again();
        assert!(ct.delete_many([&hidden]).is_ok());
        assert_eq!(marks(&ct), [2]);
        let listed = again();
        assert!(ct.delete_many([&listed]).is_ok());
        assert_eq!(marks(&ct), [2]);
        let failed = ct.delete_many([&listed]);
        assert!(failed.results()[0].as_ref().unwrap_err().is_not_found());
    }
    ct.flush_all().unwrap();
}

/// By either tuple another one is found: it cannot be reached, which is said.
#[test]
fn an_entry_that_is_hidden_twice_is_not_said_to_be_gone() {
    open();
    let ct = unproven();
    let [[hidden, rival], _] = pairs();
    for new in [&hidden, &rival, &second_rival()] {
        ct.create(new).unwrap();
    }
    for verify in [0, 2] {
        let options = DeleteOptions::new().verify(verify);
        let filter = Filter::new().mark(1);
        let deleted = ct.delete_matching_with(&filter, &options).unwrap();
        assert_eq!((deleted.matched, deleted.deleted), (Some(1), Some(0)));
        assert_eq!((deleted.already_gone, deleted.failed.len()), (0, 1));
        assert_eq!(deleted.failed[0].count, 1);
        assert_eq!(deleted.left, verify > 0);
        assert!(!deleted.is_clean());
    }
    let listed = listed(&ct, &Filter::new().mark(1)).remove(0);
    for error in [
        ct.get(&listed).unwrap_err(),
        ct.delete(&listed).unwrap_err(),
        ct.delete(&hidden).unwrap_err(),
        ct.delete_many([&listed]).into_result().unwrap_err(),
    ] {
        assert!(error.is_unsupported() && !error.is_not_found(), "{error}");
    }
    assert_eq!(marks(&ct), [1, 2, 3]);
    // With one of the two gone it can.
    ct.delete(&second_rival()).unwrap();
    assert!(
        ct.delete_matching(&Filter::new().mark(1))
            .unwrap()
            .is_clean()
    );
    assert_eq!(marks(&ct), [2]);
}

fn tcp(from: u8, to: u8) -> Tuple {
    Tuple::tcp(host(from), host(to)).unwrap()
}

#[test]
fn the_expectations_of_a_hidden_master_are_found() {
    let ct = open();
    for (zone, other) in [
        (EntryZone::from(FIVE), EntryZone::Reply(FIVE)),
        (EntryZone::Orig(FIVE), EntryZone::Reply(FIVE)),
    ] {
        let master = entry(tcp(1, 2), tcp(2, 1), zone, 1)
            .helper(Helper::FTP)
            .build()
            .unwrap();
        let rival = entry(tcp(2, 9), tcp(1, 2), other, 2);
        let rival = rival.helper(Helper::FTP).build().unwrap();
        let data = |port: u16| {
            let to = SocketAddr::from(([10, 0, 0, 1], port));
            let data = Tuple::tcp(SocketAddr::from(([10, 0, 0, 2], 0)), to).unwrap();
            let new = NewExpectation::builder(&master, data).timeout(LONG);
            new.build().unwrap()
        };
        let expectations = ct.expectations();
        ct.create(&master).unwrap();
        expectations.create(&data(6000)).unwrap();
        ct.create(&rival).unwrap();
        let listed = expectations.list_by_helper(Helper::FTP);
        let deleted = expectations.delete_by_helper(Helper::FTP).unwrap();
        if let EntryZone::Both(_) = zone {
            assert_eq!(listed.unwrap().len(), 1);
            assert_eq!(expectations.list_of(&master).unwrap().count(), 0);
            assert!(deleted.is_ok() && deleted.succeeded() == 1);
            expectations.create(&data(6001)).unwrap();
            let made: Vec<_> = expectations.list_of(&master).unwrap().collect();
            assert_eq!(made.len(), 1);
            assert_eq!(made[0].as_ref().unwrap().master(), master.entry().orig());
        } else {
            // Requests that name a master have no zone of one direction.
            assert!(listed.unwrap_err().is_outcome_unknown());
            assert!(deleted.stopped().is_some() && deleted.succeeded() == 0);
            assert!(expectations.list_of(&master).is_err());
            assert!(expectations.create(&data(6001)).is_err());
            assert_eq!(expectations.list().unwrap().count(), 1);
        }
        ct.flush_all().unwrap();
    }
}

#[test]
fn a_hidden_claim_survives_a_flush_of_its_zone() {
    let ct = open();
    let zones = ZoneAllocator::builder().range(5..=5).open(&ct).unwrap();
    let lease = zones.acquire("tap").unwrap();
    let claim = listed(&ct, &Filter::new().zone(FIVE)).remove(0);
    let address = |text: &str| text.parse().unwrap();
    let (from, to) = (address("2001:db8::1"), address("2001:db8::2"));
    let orig = Tuple::other(claim.orig().protocol(), from, to).unwrap();
    let rival = entry(orig, *claim.orig(), EntryZone::Reply(FIVE), 2);
    ct.create(&rival.build().unwrap()).unwrap();
    assert!(ct.flush_zone(FIVE).unwrap().is_clean());
    let left = listed(&ct, &Filter::new().zone(FIVE));
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id(), claim.id());
    let _ = lease.release().unwrap();
}
