//! Expectations that several want at once, that real packets meet, and whose masters end meanwhile.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use ctnetlink::{ExpectCpuStats, Status};

use super::*;
use crate::stats::proc_sum;
use crate::support::{socket, track_loopback};

/// Exactly one of those who create the same has created it.
#[test]
fn of_several_that_create_the_same_one_wins() {
    const THREADS: usize = 6;
    let ct = open();
    let masters: Vec<_> = (40_000..40_002)
        .map(|port| dispatcher(port, Zone::new(5)))
        .collect();
    assert!(ct.create_many(&masters).is_ok());
    let bystander = NewExpectation::builder(&masters[0], Tuple::udp(v4_peer(0), v4(9)).unwrap());
    let bystander = bystander.timeout(LONG).build().unwrap();
    ct.expectations().create(&bystander).unwrap();
    let before = ct.expectations().get(bystander.key()).unwrap();
    for round in 0..20 {
        let tuple = Tuple::udp(v4_peer(0), v4(20_000 + round)).unwrap();
        let barrier = Barrier::new(THREADS);
        // Of either master, with masks that clash, each with a time-out of its own.
        let one = |n: usize| {
            let master = &masters[n % masters.len()];
            let seconds = Duration::from_secs(1000 * (n as u64 + 1));
            let mut new = NewExpectation::builder(master, tuple).timeout(seconds);
            if n % 3 == 2 {
                new = new.mask(ExpectMask::any(Family::Ipv4));
            }
            let new = new.build().unwrap();
            barrier.wait();
            ct.expectations().create(&new)
        };
        let results: Vec<_> = thread::scope(|scope| {
            let all: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || one(n))).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let winners: Vec<_> = (0..THREADS).filter(|n| results[*n].is_ok()).collect();
        let [winner] = winners[..] else {
            panic!("{results:?}");
        };
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert!(error.is_exists(), "{error}");
        }
        let key = ExpectKey::new(tuple).zone(Zone::new(5));
        let kept = ct.expectations().get(key).unwrap();
        assert_eq!(kept.master(), masters[winner % 2].entry().orig());
        let seconds = 1000 * (winner as u64 + 1);
        let left = kept.timeout().unwrap().as_secs();
        assert!((seconds - 10..=seconds).contains(&left), "{left}");
        ct.expectations().delete(kept.key(Zone::new(5))).unwrap();
    }
    let rest = all(&ct);
    assert_eq!(rest.len(), 1);
    assert_eq!(
        (rest[0].id(), rest[0].tuple()),
        (before.id(), before.tuple())
    );
}

fn live() -> Conntrack {
    let ct = open();
    track_loopback();
    ct
}

/// An entry that is nobody's real flow. The helper of RAS may expect 32 at once, where others may
/// expect one (`expect_policy`).
fn dispatcher(port: u16, zone: impl Into<EntryZone>) -> NewEntry {
    let master = Entry::udp(v4(port), v4_peer(1719)).helper(Helper::RAS);
    master.zone(zone).timeout(LONG).build().unwrap()
}

/// A server on loopback, and what is expected of it: from any port.
fn server() -> (UdpSocket, SocketAddr, Tuple) {
    let server = socket("127.0.0.1:0");
    let at = server.local_addr().unwrap();
    let tuple = Tuple::udp("127.0.0.1:0".parse().unwrap(), at).unwrap();
    (server, at, tuple)
}

/// A flow to the server, which gets its packet: the flow's tuple.
fn knock(server: &UdpSocket, at: SocketAddr) -> Tuple {
    let client = socket("127.0.0.1:0");
    client.send_to(&[0; 8], at).unwrap();
    let (_, from) = server.recv_from(&mut [0; 8]).unwrap();
    assert_eq!(from, client.local_addr().unwrap());
    Tuple::udp(from, at).unwrap()
}

fn master_of(ct: &Conntrack, key: impl Into<Key>) -> Option<Tuple> {
    let entry = ct.get(key).unwrap();
    let related = entry.status().unwrap().contains(Status::EXPECTED);
    assert_eq!(related, entry.master().is_some(), "{entry}");
    entry.master().copied()
}

/// One that is used up is met once, a permanent one again and again, an inactive one never.
#[test]
fn real_packets_meet_what_is_expected() {
    let ct = live();
    // Before the master is made: what it expects is told only if somebody listened then.
    let mut events = ct
        .events()
        .groups(EventGroups::EXPECT_NEW | EventGroups::EXPECT_DESTROY)
        .open()
        .unwrap();
    let master = dispatcher(40_000, Zone::DEFAULT);
    ct.create(&master).unwrap();
    let orig = *master.entry().orig();
    let (server, at, tuple) = server();
    let expectations = ct.expectations();
    let make = |flags| {
        let new = NewExpectation::builder(&master, tuple).timeout(LONG);
        expectations
            .create(&new.flags(flags).build().unwrap())
            .unwrap();
        expectations.get(ExpectKey::new(tuple)).unwrap()
    };

    let once = make(ExpectFlags::empty());
    assert_eq!(master_of(&ct, Key::orig(knock(&server, at))), Some(orig));
    let gone = expectations.delete(once.key(Zone::DEFAULT)).unwrap_err();
    assert!(gone.is_not_found(), "{gone}");
    assert_eq!(master_of(&ct, Key::orig(knock(&server, at))), None);

    let permanent = make(ExpectFlags::PERMANENT);
    let flows = [knock(&server, at), knock(&server, at)];
    assert_ne!(flows[0], flows[1]);
    for flow in flows {
        assert_eq!(master_of(&ct, Key::orig(flow)), Some(orig));
    }
    let kept = expectations.get(permanent.key(Zone::DEFAULT)).unwrap();
    assert_eq!(kept.flags(), Some(ExpectFlags::PERMANENT));
    expectations.delete(kept.key(Zone::DEFAULT)).unwrap();

    let inactive = make(ExpectFlags::INACTIVE);
    assert_eq!(master_of(&ct, Key::orig(knock(&server, at))), None);
    expectations.delete(inactive.key(Zone::DEFAULT)).unwrap();
    assert_eq!(all(&ct), []);

    // Being met is told as an end, by the packet that met it too.
    for one in [&once, &permanent, &inactive] {
        for ended in [false, true] {
            match (ended, events.next_within(SOON).unwrap()) {
                (false, Some(Event::ExpectNew(heard)))
                | (true, Some(Event::ExpectDestroy(heard))) => assert_eq!(heard.id(), one.id()),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(events.try_next().unwrap(), None);
}

#[test]
fn expectations_are_counted() {
    let ct = live();
    let sum = || -> ExpectCpuStats { ct.expect_cpu_stats().unwrap().into_iter().sum() };
    let none = (Some(0), Some(0), Some(0));
    assert_eq!((sum().met, sum().create, sum().delete), none);
    let master = dispatcher(40_000, Zone::DEFAULT);
    ct.create(&master).unwrap();
    let (server, at, tuple) = server();
    let to_be_deleted = Tuple::udp(v4_peer(0), v4(9)).unwrap();
    for tuple in [tuple, to_be_deleted] {
        let new = NewExpectation::builder(&master, tuple).timeout(LONG);
        ct.expectations().create(&new.build().unwrap()).unwrap();
    }
    knock(&server, at);
    let key = ExpectKey::new(to_be_deleted);
    ct.expectations().delete(key).unwrap();
    let all = sum();
    // What was met has ended too.
    for (ours, count, column) in [
        (all.met, 1, "expect_new"),
        (all.create, 2, "expect_create"),
        (all.delete, 2, "expect_delete"),
    ] {
        assert_eq!((ours, proc_sum(column)), (Some(count), count), "{column}");
    }
}

/// The expectation of the flow's zone is met, in whichever direction its master has it.
#[test]
fn real_packets_meet_what_their_zone_expects() {
    let ct = live();
    let rules = "table inet z {
        chain o { type filter hook output priority raw; ct zone set 5; }
        chain p { type filter hook prerouting priority raw; ct zone set 5; }
    }";
    run("nft", &[rules]);
    let (server, at, tuple) = server();
    let five = Zone::new(5);
    let zones = [five.into(), EntryZone::Orig(five), EntryZone::Reply(five)];
    let other = dispatcher(40_009, Zone::DEFAULT);
    ct.create(&other).unwrap();
    let bystander = NewExpectation::builder(&other, tuple).timeout(LONG);
    let bystander = bystander.build().unwrap();
    ct.expectations().create(&bystander).unwrap();
    for (n, zone) in (40_000..).zip(zones) {
        let master = dispatcher(n, zone);
        ct.create(&master).unwrap();
        let new = NewExpectation::builder(&master, tuple).timeout(LONG);
        ct.expectations().create(&new.build().unwrap()).unwrap();
        let flow = knock(&server, at);
        assert_eq!(
            master_of(&ct, Key::orig(flow).zone(five)),
            Some(*master.entry().orig()),
            "{zone:?}"
        );
        assert_eq!(ct.expectations().list_of(&master).unwrap().count(), 0);
        assert!(ct.expectations().get(bystander.key()).is_ok());
    }
    assert_eq!(all(&ct).len(), 1);
}

/// However early it is met, a creation succeeded.
#[test]
fn met_at_once_is_made_all_the_same() {
    let ct = live();
    let master = dispatcher(40_000, Zone::DEFAULT);
    ct.create(&master).unwrap();
    let (_server, at, tuple) = server();
    let new = NewExpectation::builder(&master, tuple).timeout(LONG);
    let new = new.build().unwrap();
    let (over, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                // Each packet is a flow, and the table has an end.
                if sent < 100 * (made.load(Ordering::Relaxed) + 1) {
                    let client = socket("127.0.0.1:0");
                    client.send_to(&[0; 8], at).unwrap();
                    sent += 1;
                } else {
                    thread::yield_now();
                }
            }
        });
        let until = Instant::now() + Duration::from_secs(60);
        let mut failure = None;
        while made.load(Ordering::Relaxed) < 100 && failure.is_none() && Instant::now() < until {
            match ct.expectations().create(&new) {
                Ok(()) => drop(made.fetch_add(1, Ordering::Relaxed)),
                // Not met yet, it stands in the way of the next.
                Err(error) if error.is_exists() => {}
                Err(error) => failure = Some(error),
            }
        }
        over.store(true, Ordering::Relaxed);
        assert!(failure.is_none(), "{failure:?}");
    });
    // Each but the last could only be made because the one before it had been met.
    assert_eq!(made.into_inner(), 100);
    let related = Filter::new().status(Status::EXPECTED);
    assert!(listed(&ct, &related).len() >= 99);
}

/// A master that comes and goes: what it expects goes with it, and a creation works or says that
/// there is no master.
#[test]
fn a_master_that_ends_meanwhile() {
    let ct = open();
    let master = dispatcher(40_000, Zone::new(5));
    let bystander = dispatcher(40_001, Zone::new(5));
    ct.create(&bystander).unwrap();
    let lasting = NewExpectation::builder(&bystander, Tuple::udp(v4_peer(0), v4(9)).unwrap());
    ct.expectations()
        .create(&lasting.timeout(LONG).build().unwrap())
        .unwrap();
    let over = AtomicBool::new(false);
    let (mut made, mut refused, mut failure) = (0, 0, None);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                ct.create(&master).unwrap();
                ct.delete(&master).unwrap();
            }
        });
        let until = Instant::now() + Duration::from_secs(60);
        for port in (20_000..30_000).cycle() {
            let tuple = Tuple::udp(v4_peer(0), v4(port)).unwrap();
            let new = NewExpectation::builder(&master, tuple).timeout(LONG);
            match ct.expectations().create(&new.build().unwrap()) {
                Ok(()) => made += 1,
                Err(error) if error.is_not_found() => refused += 1,
                Err(error) => failure = Some(error),
            }
            let seen = made >= 100 && refused >= 100;
            if seen || failure.is_some() || Instant::now() > until {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(failure.is_none(), "{failure:?}");
    assert!(made > 0 && refused > 0, "{made} made, {refused} refused");
    assert_eq!(ports(&ct), [9]);
    assert_flows(&listed(&ct, &Filter::new()), [&bystander]);
}

/// The master by its reply tuple, in zones of either direction.
#[test]
fn masters_are_found_by_their_answers_too() {
    let ct = open();
    let five = Zone::new(5);
    let zones = [
        EntryZone::default(),
        five.into(),
        EntryZone::Orig(Zone::new(6)),
        EntryZone::Reply(Zone::new(7)),
    ];
    for six in [false, true] {
        for (n, zone) in (1..).zip(zones) {
            let (src, dst) = if six {
                (v6(n), v6_peer(5060))
            } else {
                (v4(n), v4_peer(5060))
            };
            // Translated, so that neither tuple is the other turned round.
            let front = SocketAddr::new(dst.ip(), 999);
            let master = Entry::udp(src, front)
                .reply(Tuple::udp(dst, src).unwrap())
                .zone(zone)
                .helper(Helper::SIP)
                .timeout(LONG)
                .build()
                .unwrap();
            ct.create(&master).unwrap();
            let key = Key::reply(*master.entry().reply()).zone(zone);
            let expected = Tuple::udp(SocketAddr::new(dst.ip(), 0), src).unwrap();
            let new = NewExpectation::builder(key, expected).timeout(LONG);
            let new = new.build().unwrap();
            ct.expectations().create(&new).unwrap();
            let found = ct.expectations().get(new.key()).unwrap();
            assert_eq!(found.master(), master.entry().orig());
            let of: Vec<_> = ct
                .expectations()
                .list_of(key)
                .unwrap()
                .map(Result::unwrap)
                .collect();
            assert_eq!(of.len(), 1);
            assert_eq!((of[0].id(), of[0].zone()), (found.id(), Some(zone.zone())));
            // The same tuple in the other direction is not that master.
            let turned = Key::orig(*master.entry().reply()).zone(zone);
            assert!(
                ct.expectations()
                    .list_of(turned)
                    .unwrap_err()
                    .is_not_found()
            );
            let gone = ct.expectations().delete_of(key).unwrap();
            assert_eq!(gone.into_result().unwrap(), 1);
        }
    }
    assert_eq!(all(&ct), []);
}
