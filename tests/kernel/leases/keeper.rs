//! What a keeper renews, restores and reports.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use ctnetlink::{Filter, LeaseEvent, ZoneAllocator};

use super::{claimed, lowest};
use crate::support::{listed, open, own_namespace};

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

/// Busy while its claim was taken over and then the table flushed, it finds no claim at all, and what
/// ended last was its successor's.
#[test]
fn a_keeper_that_was_busy_gives_way_to_who_had_the_zone_last() {
    let ct = open();
    let first = lowest(10..=12).open(&ct).unwrap();
    let (sender, told) = mpsc::channel();
    let (go, gone_on) = mpsc::channel::<()>();
    let keeper = first
        .keep_with(move |event| {
            sender.send(event).unwrap();
            // Until the rest of the test has happened.
            let _ = gone_on.recv();
        })
        .unwrap();
    let leases = first.acquire_many(["a", "b"]).unwrap();
    let [stays, goes] = leases.try_into().unwrap();
    let (stays, goes) = (stays.unwrap(), goes.unwrap());
    let claim = |zone| ct.list(&Filter::new().zone(zone)).unwrap().next();
    ct.delete(claim(stays.zone()).unwrap().unwrap()).unwrap();
    let event = told.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(event, LeaseEvent::Restored { zone, .. } if zone == stays.zone()));
    // Now it is busy.
    let second = lowest(10..=12).open(&ct).unwrap();
    let new = second.acquire("b").unwrap();
    assert_eq!(new.zone(), goes.zone());
    ct.flush_all().unwrap();
    drop(go);
    let mut events = [(); 2].map(|()| told.recv_timeout(PATIENCE).unwrap());
    events.sort_by_key(|event| matches!(event, LeaseEvent::Lost { .. }));
    assert!(
        matches!(events[0], LeaseEvent::Restored { zone, .. } if zone == stays.zone()),
        "{events:?}"
    );
    assert!(
        matches!(events[1], LeaseEvent::Lost { zone, holder: None, .. } if zone == goes.zone()),
        "{events:?}"
    );
    assert_eq!(claimed(&ct), (vec![stays.zone().get()], 1));
    // The successor has its zone back as soon as it asks.
    assert_eq!(second.acquire("b").unwrap().zone(), new.zone());
    drop(keeper);
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
