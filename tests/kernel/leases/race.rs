//! Processes that lease zones at random, some of them killed, and a referee.
//!
//! A worker reports each lease with a time up to which it is sure to hold it, by a clock that all
//! processes share. It begins after the zone was handed out, and ends before the zone is given back or
//! the claim may end, so the times for which a zone is held by two owners overlap only if the
//! allocator handed it out twice. A slow machine makes these times shorter, never longer.

#![expect(
    clippy::print_stdout,
    reason = "the seed and what came of it, for a failed test and for who asks with --nocapture"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use ctnetlink::{Claim, ClaimKind, Error, Lease, OwnerKey, Zone, ZoneAllocator, ZoneOrder};

use super::{Random, Worker, claim_entries, handle, key, nanoseconds, now, report, task};
use crate::support::{open, unproven};

const NAME: &str = "leases::race::no_zone_is_held_twice";
const RANGE: std::ops::RangeInclusive<u16> = 4097..=4596;
const WORKERS: usize = 8;
const KEYS: usize = 60;
const LASTS: Duration = Duration::from_secs(30);
const TTL: Duration = Duration::from_secs(4);
const GRACE: Duration = Duration::from_secs(3);
/// The kernel counts in ticks, which may come late.
const MARGIN: Duration = Duration::from_secs(1);

#[test]
fn no_zone_is_held_twice() {
    match task() {
        Some(task) => work(&task),
        None => referee(),
    }
}

/// What a worker does until its time is over.
struct Work {
    zones: ZoneAllocator,
    random: Random,
    keys: Vec<String>,
    held: BTreeMap<OwnerKey, (Lease, i64)>,
}

fn work(task: &str) {
    let words: Vec<&str> = task.split(' ').collect();
    let (seed, number, end) = (words[0], words[1], words[2].parse::<i64>().unwrap());
    let mut random = Random(seed.parse().unwrap());
    let ct = handle(random.below(4) == 0);
    let order = match random.below(3) {
        0 => ZoneOrder::Lowest,
        1 => ZoneOrder::LongestFree,
        _ => ZoneOrder::Seeded(random.next()),
    };
    let zones = ZoneAllocator::builder()
        .range(RANGE)
        .order(order)
        .ttl(TTL)
        .grace(GRACE)
        .open(&ct)
        .unwrap();
    report(&format!("instance {}", zones.instance().get()));
    let keys = (0..KEYS).map(|n| format!("race-{number}-{n}")).collect();
    let mut work = Work {
        zones,
        random,
        keys,
        held: BTreeMap::new(),
    };
    // Many of them are those of its former self.
    work.acquire_many(KEYS / 2);
    let mut renewed = now();
    while now() < end {
        if now() - renewed > nanoseconds(TTL / 4) {
            renewed = now();
            work.renew();
        }
        work.step();
        // Nothing is waited for: so that workers come and go out of step.
        let pause = work.random.below(30);
        std::thread::sleep(Duration::from_millis(pause as u64));
    }
}

/// Whether an operation came to nothing for a reason that there may be.
fn forgive(error: &Error) {
    // On a slow machine a lease may end while others are looked for in the same call.
    assert!(
        error.is_exhausted() || error.is_scan_incomplete() || error.is_lost(),
        "{error}: {error:?}"
    );
    if let Some(why) = error.exhausted() {
        let zones = why.reserved + why.ruled + why.leased + why.quarantined + why.occupied;
        assert_eq!((why.reserved, why.ruled, why.quarantined), (0, 0, 0));
        assert_eq!((zones + why.free) as usize, RANGE.len(), "{why}");
    }
}

impl Work {
    fn step(&mut self) {
        match self.random.below(16) {
            0..=3 => {
                let name = self.any_key();
                let got = self.zones.acquire(&name);
                self.got(got);
            }
            4..=6 => {
                let count = 2 + self.random.below(8);
                self.acquire_many(count);
            }
            7 | 8 => {
                let got = self.zones.allocate();
                self.got(got);
            }
            9 | 10 => {
                if let Some((lease, until)) = self.any_lease() {
                    // It is as if it were taken from here on.
                    let asked = now();
                    match lease.renew() {
                        Ok(()) => self.renewed(lease, asked),
                        Err(error) => assert_in_time(&error, until),
                    }
                }
            }
            11..=14 => {
                if let Some((lease, until)) = self.any_lease() {
                    end(&lease);
                    match lease.release() {
                        Ok(released) => assert!(!released.quarantined, "{released:?}"),
                        Err(error) => assert_in_time(&error, until),
                    }
                }
            }
            _ => {
                if let Some((lease, _)) = self.any_lease() {
                    end(&lease);
                    lease.leave();
                }
            }
        }
    }

    fn any_key(&mut self) -> String {
        let at = self.random.below(self.keys.len());
        self.keys[at].clone()
    }

    fn any_lease(&mut self) -> Option<(Lease, i64)> {
        let count = self.held.len();
        let at = (count > 0).then(|| self.random.below(count))?;
        let owner = *self.held.keys().nth(at)?;
        self.held.remove(&owner)
    }

    fn acquire_many(&mut self, count: usize) {
        let mut names = self.keys.clone();
        self.random.shuffle(&mut names);
        let results = self.zones.acquire_many(&names[..count]).unwrap();
        assert_eq!(results.len(), count);
        for (name, result) in names.iter().zip(results) {
            if let Ok(lease) = &result {
                assert_eq!(lease.owner(), key(name));
            }
            self.got(result);
        }
    }

    fn got(&mut self, result: ctnetlink::Result<Lease>) {
        let lease = match result {
            Ok(lease) => lease,
            Err(error) => return forgive(&error),
        };
        let from = now();
        let until = sure_until(&lease, from);
        let (zone, owner) = (lease.zone(), lease.owner());
        assert!(RANGE.contains(&zone.get()), "{zone}");
        report(&format!("hold {from} {until} {} {owner}", zone.get()));
        // What ended before it was renewed, and came to another key of this worker.
        self.held.retain(|other, (old, until)| {
            let stays = old.zone() != zone || *other == owner;
            assert!(
                stays || *until <= from,
                "zone {zone} of {other} and {owner}"
            );
            stays
        });
        self.held.insert(owner, (lease, until));
    }

    fn renewed(&mut self, lease: Lease, asked: i64) {
        let until = sure_until(&lease, asked);
        let (zone, owner) = (lease.zone(), lease.owner());
        report(&format!("renew {asked} {until} {} {owner}", zone.get()));
        self.held.insert(owner, (lease, until));
    }

    fn renew(&mut self) {
        let asked = now();
        let renewed = self.zones.renew();
        assert_eq!(renewed.renewed + renewed.failed.len(), self.held.len());
        let failed: HashMap<Zone, Error> = renewed.failed.into_iter().collect();
        for (_, (lease, until)) in std::mem::take(&mut self.held) {
            match failed.get(&lease.zone()) {
                None => self.renewed(lease, asked),
                Some(error) => assert_in_time(error, until),
            }
        }
    }
}

/// Up to when this lease is sure to be held: never later than it is in truth.
fn sure_until(lease: &Lease, before: i64) -> i64 {
    before + nanoseconds(lease.remaining()) - nanoseconds(MARGIN)
}

fn end(lease: &Lease) {
    report(&format!(
        "end {} 0 {} {}",
        now(),
        lease.zone().get(),
        lease.owner()
    ));
}

/// A lease of this process may be lost only if the process was too slow to renew it.
#[track_caller]
fn assert_in_time(error: &Error, until: i64) {
    assert!(error.is_lost() && now() >= until, "{error}: {error:?}");
}

/// What the referee hears, with the time at which it was so.
enum What {
    Hold {
        until: i64,
    },
    Renew {
        until: i64,
    },
    End,
    /// A look at the kernel's table begins, and it is at an end.
    Look,
    Seen(BTreeSet<(Zone, OwnerKey, u64)>),
}

struct Happened {
    at: i64,
    /// The worker's, by its instance.
    who: u64,
    zone: Zone,
    owner: OwnerKey,
    what: What,
}

impl Happened {
    fn parse(who: u64, line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<i64>().unwrap();
        let until = number(2);
        Self {
            at: number(1),
            who,
            zone: words[3].parse().unwrap(),
            owner: words[4].parse().unwrap(),
            what: match words[0] {
                "hold" => What::Hold { until },
                "renew" => What::Renew { until },
                "end" => What::End,
                other => panic!("{other}"),
            },
        }
    }

    fn look(at: i64, what: What) -> Self {
        Self {
            at,
            who: 0,
            zone: Zone::DEFAULT,
            owner: key("referee"),
            what,
        }
    }
}

/// A worker, and what it said.
struct Player {
    worker: Worker,
    reports: Receiver<Vec<String>>,
}

/// The lines of a worker, once it has ended.
fn gather(reports: impl Iterator<Item = String> + Send + 'static, to: Sender<Vec<String>>) {
    std::thread::spawn(move || {
        // Where the test failed, nobody wants them.
        let _ = to.send(reports.collect());
    });
}

struct Referee {
    random: Random,
    end: i64,
    happened: Vec<Happened>,
    /// When workers were killed, by their instance.
    killed: HashMap<u64, i64>,
}

impl Referee {
    fn start(&mut self, number: usize) -> Player {
        let task = format!("{} {number} {}", self.random.next(), self.end);
        let (worker, lines) = Worker::start(NAME, &task);
        let (sender, reports) = mpsc::channel();
        gather(lines, sender);
        Player { worker, reports }
    }

    fn hear(&mut self, player: &Player, killed: Option<i64>) {
        let lines = player.reports.recv().unwrap();
        // It may have been killed before it said anything.
        let Some(first) = lines.first() else {
            return assert!(killed.is_some());
        };
        let instance: u64 = first.strip_prefix("instance ").unwrap().parse().unwrap();
        self.killed.extend(killed.map(|at| (instance, at)));
        let events = lines[1..]
            .iter()
            .map(|line| Happened::parse(instance, line));
        self.happened.extend(events);
    }

    /// What happened, in its order.
    fn judge(mut self) -> usize {
        let rank = |what: &What| matches!(what, What::Seen(_));
        self.happened
            .sort_by_key(|event| (event.at, rank(&event.what)));
        let mut held = Holds::default();
        let mut before = Vec::new();
        let mut holds = 0;
        for Happened {
            at,
            who,
            zone,
            owner,
            what,
        } in self.happened
        {
            let hold = |until| Hold {
                owner,
                who,
                until,
                serial: 0,
            };
            match what {
                What::Hold { until } => {
                    held.hold(at, zone, hold(until));
                    holds += 1;
                }
                What::Renew { until } => held.renew(at, zone, hold(until)),
                What::End => held.end(zone, owner, who),
                What::Look => before = held.all(),
                What::Seen(table) => {
                    let still: BTreeSet<_> = held.all().into_iter().collect();
                    for hold in before.drain(..).filter(|hold| still.contains(hold)) {
                        let (zone, owner, who, _) = hold;
                        let lives = self.killed.get(&who).is_none_or(|killed| *killed > at);
                        if lives && held.zones[&zone].until >= at {
                            let seen = table.contains(&(zone, owner, who));
                            assert!(seen, "zone {zone} of {owner} has no claim at {at}");
                        }
                    }
                }
            }
        }
        holds
    }
}

#[derive(Debug, Clone, Copy)]
struct Hold {
    owner: OwnerKey,
    who: u64,
    until: i64,
    /// Tells a lease from a later one of the same zone.
    serial: u64,
}

#[derive(Default)]
struct Holds {
    zones: BTreeMap<Zone, Hold>,
    serial: u64,
}

impl Holds {
    fn all(&self) -> Vec<(Zone, OwnerKey, u64, u64)> {
        let all = self.zones.iter();
        all.map(|(zone, hold)| (*zone, hold.owner, hold.who, hold.serial))
            .collect()
    }

    fn assert_nobody_else(&self, at: i64, zone: Zone, new: &Hold) {
        if let Some(old) = self.zones.get(&zone) {
            assert!(
                old.owner == new.owner || old.until <= at,
                "zone {zone} is held twice at {at}: {old:?} and {new:?}"
            );
        }
    }

    fn hold(&mut self, at: i64, zone: Zone, mut new: Hold) {
        // The machine was so slow that it was over already: the worker holds nothing.
        if new.until <= at {
            return;
        }
        self.assert_nobody_else(at, zone, &new);
        for (other, old) in &self.zones {
            assert!(
                *other == zone || old.owner != new.owner || old.until <= at,
                "{} holds the zones {other} and {zone} at {at}: {old:?} and {new:?}",
                new.owner
            );
        }
        self.serial += 1;
        new.serial = self.serial;
        self.zones.insert(zone, new);
    }

    fn renew(&mut self, at: i64, zone: Zone, new: Hold) {
        self.assert_nobody_else(at, zone, &new);
        match self.zones.get_mut(&zone) {
            Some(old) if old.owner == new.owner && old.who == new.who => old.until = new.until,
            // It was over when it was handed out, and was found to be there still.
            _ => self.hold(at, zone, new),
        }
    }

    fn end(&mut self, zone: Zone, owner: OwnerKey, who: u64) {
        match self.zones.get(&zone) {
            Some(old) if old.owner == owner && old.who == who => {
                self.zones.remove(&zone);
            }
            _ => {}
        }
    }
}

fn referee() {
    let ct = open();
    let witness = unproven();
    let seed = Random::seed();
    println!("CTNETLINK_TEST_SEED={seed}");
    let mut referee = Referee {
        random: Random(seed),
        end: now() + nanoseconds(LASTS),
        happened: Vec::new(),
        killed: HashMap::new(),
    };
    let mut players: Vec<Player> = (0..WORKERS).map(|number| referee.start(number)).collect();
    let pace = mpsc::channel::<()>();
    let mut next_kill = now() + nanoseconds(Duration::from_secs(2));
    let mut kills = 0;
    while now() < referee.end {
        let pause = pace.1.recv_timeout(Duration::from_millis(100));
        assert_eq!(pause, Err(RecvTimeoutError::Timeout));
        let from = now();
        let table: Vec<Claim> = claim_entries(&witness)
            .iter()
            .filter_map(Claim::of)
            .collect();
        let leases = table
            .iter()
            .filter(|claim| claim.kind() == ClaimKind::Lease);
        let seen: BTreeSet<_> = leases
            .map(|claim| (claim.zone(), claim.owner(), claim.instance().get()))
            .collect();
        let zones: BTreeSet<Zone> = seen.iter().map(|(zone, ..)| *zone).collect();
        let ends = zones.iter().all(|zone| RANGE.contains(&zone.get()));
        assert!(ends, "{zones:?}");
        referee.happened.push(Happened::look(from, What::Look));
        referee
            .happened
            .push(Happened::look(now(), What::Seen(seen)));
        if now() > next_kill && now() < referee.end - nanoseconds(MARGIN) {
            let victim = referee.random.below(WORKERS);
            let player = &mut players[victim];
            if player.worker.child.try_wait().unwrap().is_some() {
                player.worker.finish();
            }
            let at = now();
            player.worker.kill();
            let dead = std::mem::replace(player, referee.start(victim));
            referee.hear(&dead, Some(at));
            kills += 1;
            let pause = 500 + referee.random.below(1500);
            next_kill = now() + nanoseconds(Duration::from_millis(pause as u64));
        }
    }
    for player in &mut players {
        player.worker.finish();
    }
    every_zone_comes_back(&ct);
    for player in &players {
        referee.hear(player, None);
    }
    let holds = referee.judge();
    println!("{holds} leases, {kills} workers killed");
    assert!(holds > 200 && kills > 3);
}

fn every_zone_comes_back(ct: &ctnetlink::Conntrack) {
    for entry in claim_entries(ct) {
        let left = entry.timeout().unwrap();
        assert!(left <= TTL.max(GRACE), "{entry}");
    }
    let until = Instant::now() + super::PATIENCE;
    while !claim_entries(ct).is_empty() {
        // Each list takes time itself.
        assert!(Instant::now() < until);
    }
    let zones = ZoneAllocator::builder().range(RANGE).open(ct).unwrap();
    let keys: Vec<String> = (0..=RANGE.len()).map(|n| format!("later-{n}")).collect();
    let mut results = zones.acquire_many(&keys).unwrap();
    let error = results.pop().unwrap().unwrap_err();
    let leases: Vec<Lease> = results.into_iter().map(Result::unwrap).collect();
    let got: BTreeSet<u16> = leases.iter().map(|lease| lease.zone().get()).collect();
    assert!(got.into_iter().eq(RANGE));
    assert_eq!(error.exhausted().unwrap().leased as usize, RANGE.len());
}
