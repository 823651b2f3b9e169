//! What a keeper renews, restores and reports.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use ctnetlink::{Conntrack, Filter, Keeper, Lease, LeaseEvent, OwnerKey, Zone, ZoneAllocator};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};

use super::{claimed, lowest, raw_trial};
use crate::support::{listed, open, own_namespace, udp};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn leases_outlast_their_time_to_live() {
    let ct = open();
    let short = || lowest(10..=20).ttl(Duration::from_secs(3));
    let zones = short().open(&ct).unwrap();
    let keeper = zones.keep().unwrap();
    let kept = zones.acquire("kept").unwrap();
    let others = short().open(&ct).unwrap();
    let left = others.acquire("left").unwrap();
    // The one that nobody renews is gone after its time; the kept one by then as well, were it not
    // kept.
    let until = Instant::now() + PATIENCE;
    let kept_until = Instant::now() + Duration::from_secs(7);
    while claimed(&ct).0.contains(&left.zone().get()) || Instant::now() < kept_until {
        assert!(Instant::now() < until, "{:?}", claimed(&ct));
        assert!(claimed(&ct).0.contains(&kept.zone().get()));
        std::thread::yield_now();
    }
    assert!(left.renew().unwrap_err().is_lost());
    kept.renew().unwrap();
    assert!(keeper.events().try_recv().is_err());
    // With the keeper goes the keeping.
    drop(keeper);
    while claimed(&ct).1 > 0 {
        assert!(Instant::now() < until, "{:?}", claimed(&ct));
    }
}

#[test]
fn a_flush_of_the_table_costs_no_lease() {
    let ct = open();
    let zones = lowest(10..=300).open(&ct).unwrap();
    let (sender, told) = mpsc::channel();
    let keeper = zones
        .keep_with(move |event| sender.send(event).unwrap())
        .unwrap();
    let keys: Vec<String> = (0..200).map(|n| format!("key {n}")).collect();
    let leases = zones.acquire_many(&keys).unwrap();
    let before = claimed(&ct);
    assert_eq!(before.1, 200);
    ct.flush_all().unwrap();
    let mut restored = Vec::new();
    while restored.len() < 200 {
        match told.recv_timeout(PATIENCE).unwrap() {
            LeaseEvent::Restored { zone, .. } => restored.push(zone.get()),
            other => panic!("{other:?}"),
        }
    }
    restored.sort_unstable();
    assert_eq!((restored, 200), before);
    assert_eq!(claimed(&ct), before);
    for lease in leases {
        lease.unwrap().renew().unwrap();
    }
    drop(keeper);
    assert!(told.try_recv().is_err());
}

#[test]
fn one_of_several_is_lost_to_a_rival_and_the_rest_restored() {
    let ct = open();
    let ttl = Duration::from_secs(30);
    let zones = lowest(10..=12).ttl(ttl).open(&ct).unwrap();
    let leases = zones.acquire_many(["a", "b", "c"]).unwrap();
    let leases: Vec<_> = leases.into_iter().map(Result::unwrap).collect();
    ct.flush_all().unwrap();
    let rivals = lowest(11..=11).open(&ct).unwrap();
    let rival = rivals.acquire("rival").unwrap();
    // Started late, the keeper learns of it by the first renewal.
    let keeper = zones.keep().unwrap();
    let mut events: Vec<LeaseEvent> = (0..3)
        .map(|_| keeper.events().recv_timeout(PATIENCE).unwrap())
        .collect();
    events.sort_by_key(|event| match event {
        LeaseEvent::Restored { zone, .. }
        | LeaseEvent::Lost { zone, .. }
        | LeaseEvent::Failed { zone, .. } => *zone,
        other => panic!("{other:?}"),
    });
    assert!(
        matches!(events[0], LeaseEvent::Restored { .. }),
        "{events:?}"
    );
    assert!(
        matches!(events[2], LeaseEvent::Restored { .. }),
        "{events:?}"
    );
    match &events[1] {
        LeaseEvent::Lost { holder, .. } => {
            assert_eq!(holder.unwrap().instance(), rivals.instance());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(claimed(&ct), (vec![10, 11, 12], 3));
    rival.renew().unwrap();
    leases[0].renew().unwrap();
    assert!(leases[1].is_lost());
    leases[2].renew().unwrap();
    assert_eq!(zones.leases().len(), 2);
}

/// A former self hears that its claim is gone, and must not put it back.
#[test]
fn a_keeper_does_not_fight_its_successor() {
    let ct = open();
    let first = lowest(10..=12).open(&ct).unwrap();
    let keeper = first.keep().unwrap();
    let old = first.acquire("a").unwrap();
    let second = lowest(10..=12).open(&ct).unwrap();
    let new = second.acquire("a").unwrap();
    assert_eq!(new.zone(), old.zone());
    match keeper.events().recv_timeout(PATIENCE).unwrap() {
        LeaseEvent::Lost { holder, zone, .. } => {
            assert_eq!(zone, old.zone());
            assert_eq!(holder.unwrap().owner(), new.owner());
        }
        other => panic!("{other:?}"),
    }
    new.renew().unwrap();
    assert_eq!(claimed(&ct), (vec![10], 1));
    assert_eq!(listed(&ct, &Filter::new()).len(), 1);
}

/// A keeper that is at its callback and hears nothing, until the sender is dropped.
fn busy(
    ct: &Conntrack,
    zones: &ZoneAllocator,
) -> (Keeper, mpsc::Receiver<LeaseEvent>, mpsc::Sender<()>, Lease) {
    let (sender, told) = mpsc::channel();
    let (go, gone_on) = mpsc::channel::<()>();
    let keeper = zones
        .keep_with(move |event| {
            sender.send(event).unwrap();
            let _ = gone_on.recv();
        })
        .unwrap();
    let first = zones.acquire("first").unwrap();
    end_claim(ct, first.zone());
    let event = told.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(event, LeaseEvent::Restored { zone, .. } if zone == first.zone()));
    (keeper, told, go, first)
}

fn end_claim(ct: &Conntrack, zone: Zone) {
    let claim = ct.list(&Filter::new().zone(zone)).unwrap().next();
    ct.delete(claim.unwrap().unwrap()).unwrap();
}

/// What is told next: the zones that are restored, and who has those that are lost.
type Told = (Vec<u16>, Vec<(u16, Option<Zone>)>);

fn next(told: &mpsc::Receiver<LeaseEvent>, count: usize) -> Told {
    let (mut restored, mut lost) = (Vec::new(), Vec::new());
    for _ in 0..count {
        match told.recv_timeout(PATIENCE).unwrap() {
            LeaseEvent::Restored { zone, .. } => restored.push(zone.get()),
            LeaseEvent::Lost { zone, holder, .. } => {
                lost.push((zone.get(), holder.map(|claim| claim.zone())));
            }
            other => panic!("{other:?}"),
        }
    }
    restored.sort_unstable();
    lost.sort_unstable();
    (restored, lost)
}

/// Busy while its claim was taken over and then the table flushed, it finds no claim at all, and what
/// ended last was its successor's.
#[test]
fn a_keeper_that_was_busy_gives_way_to_who_had_the_zone_last() {
    let ct = open();
    let first = lowest(10..=12).open(&ct).unwrap();
    let (keeper, told, go, _stays) = busy(&ct, &first);
    let goes = first.acquire("b").unwrap();
    let second = lowest(10..=12).open(&ct).unwrap();
    let new = second.acquire("b").unwrap();
    assert_eq!(new.zone(), goes.zone());
    ct.flush_all().unwrap();
    drop(go);
    assert_eq!(next(&told, 2), (vec![10], vec![(11, None)]));
    assert!(goes.is_lost());
    assert_eq!(claimed(&ct), (vec![10], 1));
    // The successor has its zone back as soon as it asks.
    assert_eq!(second.acquire("b").unwrap().zone(), new.zone());
    drop(keeper);
}

/// An expired claim says that it ended when somebody comes past it.
#[test]
fn a_keeper_that_was_busy_gives_way_to_whose_lease_ran_out() {
    let ct = open();
    let first = lowest(10..=12).open(&ct).unwrap();
    let (keeper, told, go, _stays) = busy(&ct, &first);
    let goes = first.acquire("b").unwrap();
    ct.flush_all().unwrap();
    let times = Duration::from_secs(2);
    let rivals = lowest(11..=11).ttl(times).grace(times).open(&ct).unwrap();
    let rival = rivals.acquire("rival").unwrap();
    assert_eq!(rival.zone(), goes.zone());
    rival.leave();
    // Nobody may come past it until the keeper does.
    let over = Instant::now() + times + Duration::from_millis(100);
    while Instant::now() < over {
        std::thread::yield_now();
    }
    drop(go);
    assert_eq!(next(&told, 2), (vec![10], vec![(11, None)]));
    drop(keeper);
}

/// The ends that were lost may be anybody's: what was heard before them says nothing.
#[test]
fn a_keeper_that_missed_the_end_of_its_claim_puts_it_back() {
    let ct = open();
    let first = lowest(10..=12).open(&ct).unwrap();
    let (keeper, told, go, _stays) = busy(&ct, &first);
    let others = lowest(11..=11).open(&ct).unwrap();
    let released = others.acquire("other").unwrap().release().unwrap();
    assert_eq!(released.zone.get(), 11);
    let kept = first.acquire("b").unwrap();
    assert_eq!(kept.zone(), released.zone);
    // Of so many ends most are lost; what is made while somebody listens tells of its end.
    for _ in 0..8 {
        let flows = (0..5000).map(|port| udp(port).zone(Zone::new(100)).build().unwrap());
        ct.create_many(flows).into_result().unwrap();
        assert!(ct.flush_zone(Zone::new(100)).unwrap().is_clean());
    }
    ct.flush_all().unwrap();
    drop(go);
    assert_eq!(next(&told, 2), (vec![10, 11], vec![]));
    kept.renew().unwrap();
    drop(keeper);
}

/// A restarted process is quicker than the keeper of its former self, and finds no claim.
#[test]
fn a_key_has_one_zone_though_the_table_was_flushed() {
    let ct = open();
    let first = lowest(10..=14).open(&ct).unwrap();
    let (keeper, told, go, _stays) = busy(&ct, &first);
    let old = first.acquire_many(["b", "c"]).unwrap();
    let old: Vec<Lease> = old.into_iter().map(Result::unwrap).collect();
    ct.flush_all().unwrap();
    let second = lowest(13..=14).open(&ct).unwrap();
    let new = second.acquire("c").unwrap();
    assert_eq!((old[1].zone().get(), new.zone().get()), (12, 13));
    drop(go);
    // Who holds it is told, be it in another zone.
    let thirteen = Some(Zone::new(13));
    assert_eq!(next(&told, 3), (vec![10, 11], vec![(12, thirteen)]));
    assert_eq!(claimed(&ct), (vec![10, 11, 13], 3));
    new.renew().unwrap();
    drop(keeper);

    // The same of an owner that acquires again.
    let third = lowest(10..=14).open(&ct).unwrap();
    ct.flush_all().unwrap();
    let taken = third.reserve("c", Zone::new(14)).unwrap();
    let again = second.acquire("c").unwrap();
    assert_eq!(again.zone(), taken.zone());
    assert!(taken.renew().unwrap_err().is_lost() && new.is_lost());
    assert_eq!(claimed(&ct), (vec![14], 1));
    again.renew().unwrap();

    // And of one whose zone nobody has: it is the same again.
    ct.flush_all().unwrap();
    assert_eq!(second.acquire("c").unwrap().zone(), taken.zone());
    again.renew().unwrap();
    ct.flush_all().unwrap();
    let rival = third.reserve("rival", taken.zone()).unwrap();
    let another = second.acquire("c").unwrap();
    assert_eq!(another.zone().get(), 13);
    assert!(again.is_lost());
    rival.renew().unwrap();
}

/// A rival looks at a zone for long, and the owner of the zone waits for it: the others' leases are kept.
#[test]
fn who_waits_for_a_rival_does_not_hold_the_keeper_up() {
    let ct = open();
    let patience = Duration::from_secs(4);
    let zones = lowest(10..=20).patience(patience).open(&ct).unwrap();
    let (sender, told) = mpsc::channel();
    let keeper = zones
        .keep_with(move |event| sender.send(event).unwrap())
        .unwrap();
    let keys = ["a", "b", "c", "d", "e"];
    let leases = zones.acquire_many(keys).unwrap();
    let leases: Vec<Lease> = leases.into_iter().map(Result::unwrap).collect();
    let trial = raw_trial(Zone::new(10), OwnerKey::random());
    ct.flush_all().unwrap();
    // Unless the keeper is quicker, which may well be.
    while ct.create(&trial).is_err() {
        ct.flush_all().unwrap();
    }
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| zones.acquire("a"));
        // What comes before is of flushes before the trial.
        let until = Instant::now() + PATIENCE;
        while claimed(&ct).1 < 5 {
            assert!(Instant::now() < until && !waiting.is_finished());
        }
        assert_eq!(claimed(&ct), (vec![10, 11, 12, 13, 14], 5));
        let waited = waiting.join().unwrap();
        assert!(waited.unwrap_err().is_deadline());
    });
    assert!(!leases[0].is_lost());
    // It finds something there, and goes.
    ct.delete(&trial).unwrap();
    assert_eq!(zones.acquire("a").unwrap().zone().get(), 10);
    for lease in &leases {
        lease.renew().unwrap();
    }
    assert!(
        told.try_iter()
            .all(|event| matches!(event, LeaseEvent::Restored { .. }))
    );
    drop(keeper);
}

#[test]
#[ignore = "sets the clock of the whole machine: tests/kernels/run.sh runs it in machines of its own"]
fn a_jump_of_the_clock_costs_no_lease() {
    let ct = open();
    let ttl = Duration::from_secs(3);
    let zones = lowest(10..=12).ttl(ttl).open(&ct).unwrap();
    let keeper = zones.keep().unwrap();
    let leases = zones.acquire_many(["a", "b"]).unwrap();
    let clock = ClockId::CLOCK_REALTIME;
    for days in [400, -800, 400] {
        let jump = TimeSpec::from(Duration::from_secs(86_400 * 400)) * (days / 400);
        clock_settime(clock, clock_gettime(clock).unwrap() + jump).unwrap();
        let until = Instant::now() + ttl * 2;
        while Instant::now() < until {
            assert_eq!(claimed(&ct), (vec![10, 11], 2));
        }
    }
    assert!(keeper.events().try_recv().is_err());
    for lease in leases {
        lease.unwrap().renew().unwrap();
    }
}

/// The keeper hears that a claim ended, and must not put back what was released or renamed.
#[test]
fn a_keeper_lets_go_of_what_is_given_up() {
    let ct = open();
    let zones = lowest(10..=12).open(&ct).unwrap();
    let keeper = zones.keep().unwrap();
    for round in 0..30 {
        let lease = zones.acquire("a").unwrap();
        assert_eq!(lease.zone().get(), 10, "round {round}");
        let renamed = zones.rename(lease, "b").unwrap();
        renamed.renew().unwrap();
        let _ = renamed.release().unwrap();
        assert_eq!(claimed(&ct), (vec![], 0), "round {round}");
    }
    assert!(keeper.events().try_recv().is_err());
}

#[test]
fn a_keeper_ends_with_its_allocator_or_its_handle_and_leaves_no_thread() {
    own_namespace();
    let ct = ctnetlink::Conntrack::open().unwrap();
    let zones = ZoneAllocator::builder().open(&ct).unwrap();
    let (sender, ended) = mpsc::channel::<()>();
    let keeper = zones
        .keep_with(move |_| {
            // Owned by the thread, so that it is dropped with it.
            let _ = &sender;
        })
        .unwrap();
    drop(zones);
    drop(keeper);
    assert_eq!(
        ended.recv_timeout(PATIENCE),
        Err(mpsc::RecvTimeoutError::Disconnected)
    );
}
