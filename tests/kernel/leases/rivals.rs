//! Rivals: for the same keys, or for the same zone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use ctnetlink::{
    Claim, ClaimKind, Conntrack, Filter, Instance, Key, Lease, OwnerKey, Zone, ZoneAllocator,
    ZoneAllocatorBuilder, ZoneOrder,
};

use super::{
    LEASE, MARKER, PATIENCE, Random, Worker, await_order, claims, handle, key, raw_claim, report,
    task, traffic,
};
use crate::support::{listed, open};

const KEYS: usize = 50;

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{n}")).collect()
}

fn builder() -> ZoneAllocatorBuilder {
    ZoneAllocator::builder().range(100..=999).patience(PATIENCE)
}

/// What a worker says next.
#[track_caller]
fn next(reports: &Receiver<String>) -> String {
    reports.recv_timeout(PATIENCE).expect("a report")
}

/// What workers say of keys, up to their word that there is no more.
fn until_done(reports: &Receiver<String>) -> BTreeMap<String, String> {
    let lines = std::iter::from_fn(|| Some(next(reports)));
    lines
        .take_while(|line| line != "done")
        .map(|line| {
            let (name, value) = line.split_once(' ').unwrap();
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

#[test]
fn sixteen_processes_for_the_same_keys_get_the_same_zones() {
    const NAME: &str = "leases::rivals::sixteen_processes_for_the_same_keys_get_the_same_zones";
    if let Some(number) = task() {
        return one_of_sixteen(number.parse().unwrap());
    }
    let ct = open();
    let mut workers: Vec<_> = (0..16)
        .map(|number| Worker::listen(NAME, &number.to_string()))
        .collect();
    for (_, reports) in &workers {
        assert_eq!(next(reports), "ready");
    }
    for (worker, _) in &mut workers {
        worker.order();
    }
    let zones: Vec<_> = workers
        .iter()
        .map(|(_, reports)| until_done(reports))
        .collect();
    assert_eq!(zones[0].len(), KEYS);
    for other in &zones[1..] {
        assert_eq!(*other, zones[0]);
    }
    let table = claims(&ct);
    assert!(
        table.iter().all(|claim| claim.kind() == ClaimKind::Lease),
        "{table:?}"
    );
    let claimed: BTreeMap<OwnerKey, &Claim> =
        table.iter().map(|claim| (claim.owner(), claim)).collect();
    assert_eq!((table.len(), claimed.len()), (KEYS, KEYS));
    let distinct: BTreeSet<Zone> = table.iter().map(Claim::zone).collect();
    assert_eq!(distinct.len(), KEYS);
    for (name, zone) in &zones[0] {
        assert_eq!(claimed[&key(name)].zone().get().to_string(), *zone);
    }
    // Each learns which are its own, and who has the others.
    for (worker, _) in &mut workers {
        worker.order();
    }
    let mut held = 0;
    for (_, reports) in &workers {
        let instance = next(reports);
        for (name, holder) in until_done(reports) {
            assert_eq!(holder, claimed[&key(&name)].instance().to_string());
            held += usize::from(holder == instance);
        }
    }
    assert_eq!(held, KEYS);
    for (worker, _) in &mut workers {
        worker.finish();
    }
}

fn one_of_sixteen(number: usize) {
    let zones = builder().open(&handle(number % 8 == 0)).unwrap();
    report("ready");
    await_order();
    let mut names = names("same", KEYS);
    Random(number as u64).shuffle(&mut names);
    let leases: Vec<Lease> = if number % 4 == 1 {
        let one = |name: &String| zones.acquire(name).unwrap();
        names.iter().map(one).collect()
    } else {
        let results = zones.acquire_many(&names).unwrap();
        results.into_iter().map(Result::unwrap).collect()
    };
    for (name, lease) in names.iter().zip(&leases) {
        report(&format!("{name} {}", lease.zone().get()));
    }
    report("done");
    await_order();
    report(&zones.instance().to_string());
    for (name, lease) in names.iter().zip(&leases) {
        let holder = match lease.renew() {
            Ok(()) => lease.instance(),
            Err(error) => {
                assert!(error.is_lost() && lease.is_lost(), "{error:?}");
                let holder = error.holder().unwrap();
                assert_eq!((holder.zone(), holder.owner()), (lease.zone(), key(name)));
                holder.instance()
            }
        };
        report(&format!("{name} {holder}"));
    }
    report("done");
}

#[test]
fn a_killed_process_finds_its_zones_again() {
    const NAME: &str = "leases::rivals::a_killed_process_finds_its_zones_again";
    const COUNT: usize = 20;
    if let Some(seed) = task() {
        let seed: u64 = seed.parse().unwrap();
        let order = match seed {
            0 => ZoneOrder::Lowest,
            1 => ZoneOrder::LongestFree,
            seed => ZoneOrder::Seeded(seed),
        };
        let zones = builder().order(order).open(&handle(seed == 0)).unwrap();
        let mut names = names("again", COUNT);
        Random(seed).shuffle(&mut names);
        let mut leases = Vec::new();
        for names in names.chunks(1 + usize::try_from(seed).unwrap() * 3) {
            leases.extend(
                zones
                    .acquire_many(names)
                    .unwrap()
                    .into_iter()
                    .map(Result::unwrap),
            );
        }
        for (name, lease) in names.iter().zip(&leases) {
            let previous = lease.previous().map_or(0, Instance::get);
            report(&format!("{name} {} {previous}", lease.zone().get()));
        }
        report(&format!("instance {}", zones.instance().get()));
        report("done");
        // Until it is killed.
        return await_order();
    }
    let ct = open();
    let mut first: Option<BTreeMap<String, String>> = None;
    let mut previous = "0".to_owned();
    for seed in 0..4 {
        let (mut worker, reports) = Worker::listen(NAME, &seed.to_string());
        let mut said = until_done(&reports);
        worker.kill();
        let instance = said.remove("instance").unwrap();
        let zones: BTreeMap<String, String> = said
            .into_iter()
            .map(|(name, value)| {
                let (zone, of) = value.split_once(' ').unwrap();
                assert_eq!(of, previous, "{name}");
                (name, zone.to_owned())
            })
            .collect();
        assert_eq!(zones.len(), COUNT);
        assert_eq!(*first.get_or_insert_with(|| zones.clone()), zones);
        let table = claims(&ct);
        assert_eq!(table.len(), COUNT, "{table:?}");
        let of_it = |claim: &Claim| claim.instance().get().to_string() == instance;
        assert!(table.iter().all(of_it), "{table:?}");
        previous = instance;
    }
}

#[test]
fn a_stale_instance_changes_nothing() {
    let ct = open();
    let zones = || builder().open(&ct).unwrap();
    let names = names("stale", 5);
    let old: Vec<Lease> = names
        .iter()
        .map(|name| zones().acquire(name).unwrap())
        .collect();
    let dropping = builder().release_on_drop(true).open(&ct).unwrap();
    let dropped = dropping.acquire("stale-dropped").unwrap();
    let current = zones();
    let holder = |error: &ctnetlink::Error| error.holder().map(Claim::instance);
    let new: Vec<Lease> = names
        .iter()
        .map(|name| current.acquire(name).unwrap())
        .collect();
    let last = current.acquire("stale-dropped").unwrap();
    assert_eq!(
        (last.zone(), last.previous()),
        (dropped.zone(), Some(dropping.instance()))
    );
    for (old, new) in old.iter().zip(&new) {
        assert_eq!(
            (old.zone(), new.previous()),
            (new.zone(), Some(old.instance()))
        );
        ct.create(&traffic(new.zone())).unwrap();
    }
    ct.create(&traffic(last.zone())).unwrap();
    let table = listed(&ct, &Filter::new()).len();
    let lost = |error: &ctnetlink::Error| {
        assert!(error.is_lost(), "{error:?}");
        assert_eq!(holder(error), Some(current.instance()));
    };
    let mut stale = old.into_iter();
    let one = stale.next().unwrap();
    assert!(!one.is_lost());
    lost(&one.renew().unwrap_err());
    assert!(one.is_lost());
    lost(&one.flush().unwrap_err());
    lost(&one.release().unwrap_err());
    // Also where it has not found out yet.
    lost(&stale.next().unwrap().release().unwrap_err());
    lost(&stale.next().unwrap().flush().unwrap_err());
    let other = zones();
    let error = other
        .rename(stale.next().unwrap(), "stale-new")
        .unwrap_err();
    lost(&error);
    drop(dropped);
    drop(dropping);
    stale.next().unwrap().leave();
    assert_eq!(listed(&ct, &Filter::new()).len(), table);
    for lease in new.iter().chain([&last]) {
        lease.renew().unwrap();
        assert!(ct.get(&traffic(lease.zone())).is_ok());
    }
    // Nor where somebody else has the zone by now.
    let stranded = zones().acquire(&names[0]).unwrap();
    let released = current.acquire(&names[0]).unwrap().release().unwrap();
    let heir = other.reserve("stale-heir", released.zone).unwrap();
    ct.create(&traffic(heir.zone())).unwrap();
    let error = stranded.release().unwrap_err();
    assert_eq!(error.holder().map(Claim::owner), Some(key("stale-heir")));
    assert!(ct.get(&traffic(heir.zone())).is_ok());
    heir.renew().unwrap();
}

const SEVEN: Zone = Zone::new(7);
const ROUNDS: usize = 60;

/// Calls `work` in threads until the test has done its own, which needs each rival to have tried.
fn beside(rivals: Vec<Box<dyn FnMut() + Send + '_>>, work: impl FnOnce(&dyn Fn() -> bool)) {
    let stop = AtomicBool::new(false);
    let tries: Vec<AtomicUsize> = rivals.iter().map(|_| AtomicUsize::new(0)).collect();
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        for (mut rival, tries) in rivals.into_iter().zip(&tries) {
            let stop = &stop;
            scope.spawn(move || {
                let _stop = Stop(stop);
                while !stop.load(Ordering::Relaxed) {
                    rival();
                    tries.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        work(&|| {
            // A rival that failed has ended, and the test will.
            assert!(!stop.load(Ordering::Relaxed), "a rival failed");
            tries.iter().any(|tries| tries.load(Ordering::Relaxed) < 20)
        });
    });
}

/// Ends the rivals also where the test fails, which would wait for them for ever.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One that uses the library: by each way to a zone in turn.
fn rival(ct: &Conntrack, name: &'static str) -> Box<dyn FnMut() + Send> {
    let zones = builder().range(7..=7).open(ct).unwrap();
    let mut turn = 0;
    Box::new(move || {
        turn += 1;
        let got = match turn % 4 {
            0 => zones.acquire(name),
            1 => zones.allocate(),
            2 => zones.reserve(name, SEVEN),
            _ => zones.adopt(name, SEVEN),
        };
        let error = got.expect_err("the zone is somebody's");
        assert!(error.is_exhausted() || error.is_conflict(), "{error:?}");
    })
}

/// One that has only read the documentation: claim, look, back off.
fn stranger(ct: &Conntrack, name: &'static str) -> Box<dyn FnMut() + Send> {
    let ct = ct.clone();
    let instance = Instance::random();
    Box::new(move || {
        let claim = raw_claim(LEASE, SEVEN, key(name), instance);
        if let Err(error) = ct.create(&claim) {
            return assert!(error.is_exists(), "{error:?}");
        }
        let marker = raw_claim(MARKER, SEVEN, key(name), instance);
        let found = ct.get(Key::orig(*marker.entry().orig()).zone(SEVEN));
        ct.delete(Key::reply(*claim.entry().reply()).zone(SEVEN))
            .unwrap();
        assert!(found.is_ok(), "the zone was {name}'s: {found:?}");
    })
}

fn rivals(ct: &Conntrack) -> Vec<Box<dyn FnMut() + Send + '_>> {
    let flush = || {
        let deleted = ct.flush_zone(SEVEN).unwrap();
        assert!(deleted.stopped.is_none(), "{deleted:?}");
    };
    vec![
        rival(ct, "rival-1"),
        rival(ct, "rival-2"),
        stranger(ct, "stranger-1"),
        stranger(ct, "stranger-2"),
        Box::new(flush),
    ]
}

#[test]
fn nobody_gets_a_zone_that_is_being_taken_over() {
    let ct = open();
    let zones = || builder().range(7..=7).open(&ct).unwrap();
    let mut lease = zones().acquire("holder").unwrap();
    beside(rivals(&ct), |go_on| {
        let mut rounds = 0;
        while rounds < ROUNDS || go_on() {
            let next = zones().acquire("holder").unwrap();
            assert_eq!(
                (next.zone(), next.previous()),
                (SEVEN, Some(lease.instance()))
            );
            assert_eq!(
                lease.renew().unwrap_err().holder().map(Claim::instance),
                Some(next.instance())
            );
            lease = next;
            rounds += 1;
        }
    });
    lease.renew().unwrap();
    let table = claims(&ct);
    assert_eq!(table.len(), 1, "{table:?}");
    assert_eq!(table[0].instance(), lease.instance());
}

#[test]
fn nobody_gets_a_zone_that_is_being_renamed() {
    let ct = open();
    let zones = builder().range(7..=7).open(&ct).unwrap();
    let mut lease = Some(zones.acquire("name-0").unwrap());
    let mut names: HashMap<bool, OwnerKey> = HashMap::new();
    names.extend([(false, key("name-0")), (true, key("name-1"))]);
    beside(rivals(&ct), |go_on| {
        let mut rounds = 0;
        while rounds < ROUNDS || go_on() {
            rounds += 1;
            let name = names[&(rounds % 2 == 1)];
            let renamed = zones.rename(lease.take().unwrap(), name).unwrap();
            assert_eq!((renamed.zone(), renamed.owner()), (SEVEN, name));
            lease = Some(renamed);
        }
    });
    let lease = lease.unwrap();
    lease.renew().unwrap();
    let table = claims(&ct);
    assert_eq!(table.len(), 1, "{table:?}");
    assert_eq!(table[0].owner(), lease.owner());
    assert!(table[0].ends_in() > Some(Duration::from_secs(200)));
}
