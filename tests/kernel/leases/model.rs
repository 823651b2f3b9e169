//! Random sequences of operations, against a model of what docs/zones.md promises.

use std::collections::{BTreeMap, BTreeSet};

use ctnetlink::{
    Claim, ClaimKind, Conntrack, Error, Exhausted, Instance, Key, Lease, OwnerKey, Zone,
    ZoneAllocator, ZoneOrder,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

use super::{LEASE, MARKER, claim_entries, claims_of, key, raw_claim, traffic};
use crate::support::open;

/// The range, and two zones beside it that are reserved and adopted as well.
const RANGE: std::ops::RangeInclusive<u16> = 10..=15;
const ZONES: std::ops::RangeInclusive<u16> = 9..=16;
const KEYS: usize = 8;

#[derive(Debug, Clone)]
enum Step {
    Acquire(usize),
    AcquireMany(Vec<usize>),
    Allocate,
    Reserve(usize, u16),
    Adopt(usize, u16),
    Rename(Index, usize),
    Release(Index),
    Leave(Index),
    Renew(Index),
    RenewAll,
    Flush(Index),
    FlushZone(u16),
    /// A new allocator; the old one's leases are still there, as those of a process that hangs.
    Restart,
    /// Traffic of somebody unknown comes or goes.
    Traffic(u16),
    /// A claim of somebody else comes, or whosever claim is there ends.
    Claim(u16),
    /// A takeover broke off: only its marker is left.
    Marker(usize, u16),
    FlushAll,
}

fn step() -> impl Strategy<Value = Step> {
    let at = any::<Index>;
    prop_oneof![
        6 => (0..KEYS).prop_map(Step::Acquire),
        3 => vec(0..KEYS, 0..8).prop_map(Step::AcquireMany),
        1 => Just(Step::Allocate),
        3 => (0..KEYS, ZONES).prop_map(|(key, zone)| Step::Reserve(key, zone)),
        2 => (0..KEYS, ZONES).prop_map(|(key, zone)| Step::Adopt(key, zone)),
        3 => (at(), 0..KEYS).prop_map(|(at, key)| Step::Rename(at, key)),
        4 => at().prop_map(Step::Release),
        1 => at().prop_map(Step::Leave),
        2 => at().prop_map(Step::Renew),
        1 => Just(Step::RenewAll),
        1 => at().prop_map(Step::Flush),
        1 => ZONES.prop_map(Step::FlushZone),
        2 => Just(Step::Restart),
        4 => ZONES.prop_map(Step::Traffic),
        3 => ZONES.prop_map(Step::Claim),
        2 => (0..KEYS, ZONES).prop_map(|(key, zone)| Step::Marker(key, zone)),
        1 => Just(Step::FlushAll),
    ]
}

fn owner(number: usize) -> OwnerKey {
    key(&format!("model-{number}"))
}

type Claimed = (ClaimKind, OwnerKey, Instance);

/// What the kernel's table has, and what the allocator saw.
#[derive(Default)]
struct Model {
    claims: BTreeMap<u16, Claimed>,
    traffic: BTreeSet<u16>,
    /// Zones that were tried and had traffic: they are tried last.
    seen: BTreeSet<u16>,
}

impl Model {
    fn lease_of(&self, owner: OwnerKey) -> Option<(u16, Instance)> {
        let mut claims = self.claims.iter();
        claims.find_map(|(zone, (kind, of, instance))| {
            (*kind == ClaimKind::Lease && *of == owner).then_some((*zone, *instance))
        })
    }

    fn marker_of(&self, owner: OwnerKey) -> Option<u16> {
        let mut claims = self.claims.iter();
        claims.find_map(|(zone, (kind, of, _))| {
            (*kind == ClaimKind::Marker && *of == owner).then_some(*zone)
        })
    }

    fn holds(&self, lease: &Lease) -> bool {
        // One that was told so is lost for good, whoever has the zone since.
        !lease.is_lost()
            && self.claims.get(&lease.zone().get())
                == Some(&(ClaimKind::Lease, lease.owner(), lease.instance()))
    }

    /// The zones that may be handed out, in their order.
    fn free(&self) -> Vec<u16> {
        let free = |zone: &u16| !self.claims.contains_key(zone) && !self.traffic.contains(zone);
        let (last, first): (Vec<u16>, Vec<u16>) = RANGE.partition(|zone| self.seen.contains(zone));
        first.into_iter().chain(last).filter(free).collect()
    }

    /// So many zones are looked for.
    fn look(&mut self, wanted: usize) {
        let tried =
            RANGE.filter(|zone| !self.claims.contains_key(zone) && !self.seen.contains(zone));
        let tried: Vec<u16> = tried.take(wanted).collect();
        self.seen
            .extend(tried.iter().filter(|zone| self.traffic.contains(zone)));
    }

    fn lease(&mut self, zone: u16, owner: OwnerKey, instance: Instance) {
        self.claims
            .insert(zone, (ClaimKind::Lease, owner, instance));
    }

    fn exhausted(&self, error: &Error) {
        let Exhausted {
            reserved,
            ruled,
            leased,
            quarantined,
            occupied,
            free,
            ..
        } = *error.exhausted().unwrap_or_else(|| panic!("{error:?}"));
        let count = |wanted: fn(&Self, &u16) -> bool| {
            u32::try_from(RANGE.filter(|zone| wanted(self, zone)).count()).unwrap()
        };
        let want_leased = count(|model, zone| model.claims.contains_key(zone));
        let want_occupied =
            count(|model, zone| !model.claims.contains_key(zone) && model.traffic.contains(zone));
        assert_eq!((leased, occupied), (want_leased, want_occupied), "{error}");
        assert_eq!(
            (reserved, ruled, quarantined, free),
            (0, 0, 0, 0),
            "{error}"
        );
    }
}

/// An allocator on a real kernel, and the model of it.
struct Both<'a> {
    ct: &'a Conntrack,
    zones: ZoneAllocator,
    /// Leases of this and of former allocators.
    leases: Vec<Lease>,
    model: Model,
}

fn allocator(ct: &Conntrack) -> ZoneAllocator {
    let builder = ZoneAllocator::builder()
        .range(RANGE)
        .order(ZoneOrder::Lowest);
    builder.open(ct).unwrap()
}

/// What a call that hands out a zone is to come to.
enum Want {
    Zone {
        zone: u16,
        previous: Option<Instance>,
    },
    Any,
    Conflict,
}

impl Both<'_> {
    fn take(&mut self, at: Index) -> Option<Lease> {
        (!self.leases.is_empty()).then(|| self.leases.swap_remove(at.index(self.leases.len())))
    }

    /// What is expected of an owner that may have a zone already.
    fn want(&self, owner: OwnerKey, place: Option<u16>, with_traffic: bool) -> Want {
        if let Some((zone, instance)) = self.model.lease_of(owner) {
            let fits = place.is_none_or(|place| place == zone);
            let previous = (instance != self.zones.instance()).then_some(instance);
            return if fits {
                Want::Zone { zone, previous }
            } else {
                Want::Conflict
            };
        }
        let marker = self.model.marker_of(owner);
        let Some(zone) = place else {
            return match marker {
                Some(zone) => Want::Zone {
                    zone,
                    previous: None,
                },
                None => Want::Any,
            };
        };
        let own = marker == Some(zone);
        let claimed = self.model.claims.contains_key(&zone) && !own;
        let occupied = self.model.traffic.contains(&zone) && !own && !with_traffic;
        if claimed || occupied {
            Want::Conflict
        } else {
            Want::Zone {
                zone,
                previous: None,
            }
        }
    }

    fn got(&mut self, owner: OwnerKey, want: &Want, got: ctnetlink::Result<Lease>) {
        match (want, got) {
            (Want::Zone { zone, previous }, Ok(lease)) => {
                assert_eq!((lease.zone().get(), lease.owner()), (*zone, owner));
                assert_eq!(lease.previous(), *previous);
                self.hand_out(lease);
            }
            (Want::Conflict, Err(error)) => assert!(error.is_conflict(), "{error:?}"),
            (Want::Any, got) => {
                let free = self.model.free();
                self.model.look(1);
                match (free.first(), got) {
                    (Some(zone), Ok(lease)) => {
                        assert_eq!((lease.zone().get(), lease.owner()), (*zone, owner));
                        assert_eq!(lease.previous(), None);
                        self.model.seen.remove(zone);
                        self.hand_out(lease);
                    }
                    (None, Err(error)) => self.model.exhausted(&error),
                    (zone, got) => panic!("{zone:?} expected: {got:?}"),
                }
            }
            (_, got) => panic!("{got:?}"),
        }
    }

    fn hand_out(&mut self, lease: Lease) {
        let zone = lease.zone().get();
        self.model.lease(zone, lease.owner(), self.zones.instance());
        self.leases.push(lease);
    }

    fn acquire_many(&mut self, numbers: &[usize]) {
        let owners: Vec<OwnerKey> = numbers.iter().map(|number| owner(*number)).collect();
        let results = self.zones.acquire_many(&owners).unwrap();
        assert_eq!(results.len(), owners.len());
        let wants: Vec<Want> = owners
            .iter()
            .map(|of| self.want(*of, None, false))
            .collect();
        let mut anywhere = BTreeMap::new();
        let mut again = Vec::new();
        let mut done = BTreeSet::new();
        for ((owner, want), result) in owners.into_iter().zip(&wants).zip(results) {
            match want {
                // Those that are asked for twice are given the same.
                _ if done.contains(&owner) => again.push((owner, result)),
                Want::Any => {
                    anywhere.insert(owner, result);
                    done.insert(owner);
                }
                want => {
                    self.got(owner, want, result);
                    done.insert(owner);
                }
            }
        }
        // Which of them gets which of the zones is not said.
        let mut free = self.model.free();
        free.truncate(anywhere.len());
        self.model.look(anywhere.len());
        let mut got = BTreeSet::new();
        let mut refused = Vec::new();
        for (owner, result) in anywhere {
            match result {
                Ok(lease) => {
                    assert_eq!((lease.owner(), lease.previous()), (owner, None));
                    got.insert(lease.zone().get());
                    self.model.seen.remove(&lease.zone().get());
                    self.hand_out(lease);
                }
                Err(error) => refused.push(error),
            }
        }
        assert!(
            got.iter().eq(&free.into_iter().collect::<BTreeSet<u16>>()),
            "{got:?}"
        );
        for error in refused {
            self.model.exhausted(&error);
        }
        for (owner, result) in again {
            let zone = self.model.lease_of(owner).map(|(zone, _)| zone);
            match result {
                Ok(lease) => assert_eq!(Some(lease.zone().get()), zone),
                Err(error) => assert!(error.is_exhausted() || error.is_conflict(), "{error:?}"),
            }
        }
    }

    fn rename(&mut self, lease: Lease, number: usize) {
        let (zone, held, old) = (lease.zone().get(), self.model.holds(&lease), lease.owner());
        let new = owner(number);
        let taken = self
            .model
            .claims
            .values()
            .any(|(_, owner, _)| *owner == new);
        match self.zones.rename(lease, new) {
            Ok(lease) if old == new => self.leases.push(lease),
            Ok(lease) => {
                assert!(held && !taken, "{lease:?}");
                assert_eq!((lease.zone().get(), lease.owner()), (zone, new));
                self.hand_out(lease);
            }
            Err(error) if !held => assert!(error.is_lost(), "{error:?}"),
            Err(error) => assert!(taken && error.is_conflict(), "{error:?}"),
        }
    }

    /// What came of an operation that needs the lease to be held: says whether it was.
    fn held<T>(&self, lease: &Lease, result: &ctnetlink::Result<T>) -> bool {
        let held = self.model.holds(lease);
        match result {
            Ok(_) => assert!(held, "{lease:?} is lost"),
            Err(error) => {
                assert!(error.is_lost() && !held, "{lease:?}: {error:?}");
                let claim = self.model.claims.get(&lease.zone().get());
                assert_eq!(error.holder().map(claimed), claim.copied());
            }
        }
        held
    }

    fn renew_all(&self) {
        let leases = self.zones.leases();
        let (held, lost): (Vec<_>, Vec<_>) =
            leases.iter().partition(|lease| self.model.holds(lease));
        let renewed = self.zones.renew();
        assert_eq!(renewed.renewed, held.len());
        let failed: Vec<Zone> = renewed.failed.iter().map(|(zone, _)| *zone).collect();
        assert_eq!(
            failed,
            lost.iter().map(|lease| lease.zone()).collect::<Vec<_>>()
        );
        assert!(renewed.failed.iter().all(|(_, error)| error.is_lost()));
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Acquire(number) => {
                let want = self.want(owner(number), None, false);
                let got = self.zones.acquire(owner(number));
                self.got(owner(number), &want, got);
            }
            Step::AcquireMany(numbers) => self.acquire_many(&numbers),
            Step::Allocate => {
                let got = self.zones.allocate();
                let owner = got.as_ref().map_or(owner(0), Lease::owner);
                self.got(owner, &Want::Any, got);
            }
            Step::Reserve(number, zone) => {
                let want = self.want(owner(number), Some(zone), false);
                let got = self.zones.reserve(owner(number), Zone::new(zone));
                self.got(owner(number), &want, got);
            }
            Step::Adopt(number, zone) => {
                let want = self.want(owner(number), Some(zone), true);
                let got = self.zones.adopt(owner(number), Zone::new(zone));
                self.got(owner(number), &want, got);
            }
            Step::RenewAll => self.renew_all(),
            Step::Restart => {
                self.zones = allocator(self.ct);
                self.model.seen.clear();
            }
            Step::Rename(at, number) => {
                if let Some(lease) = self.take(at) {
                    self.rename(lease, number);
                }
            }
            Step::Release(at) => {
                if let Some(lease) = self.take(at) {
                    self.release(lease);
                }
            }
            Step::Leave(at) => {
                if let Some(lease) = self.take(at) {
                    lease.leave();
                }
            }
            Step::Renew(at) => {
                if let Some(lease) = self.take(at) {
                    self.held(&lease, &lease.renew());
                    self.leases.push(lease);
                }
            }
            Step::Flush(at) => {
                if let Some(lease) = self.take(at) {
                    if self.held(&lease, &lease.flush()) {
                        self.model.traffic.remove(&lease.zone().get());
                    }
                    self.leases.push(lease);
                }
            }
            others => {
                self.by_others(others);
                // Until it is told, the allocator counts on putting its claims back.
                self.renew_all();
            }
        }
    }

    fn release(&mut self, lease: Lease) {
        let (zone, held) = (lease.zone().get(), self.model.holds(&lease));
        match lease.release() {
            Ok(released) => {
                assert!(held && !released.quarantined, "{released:?}");
                assert_eq!(released.zone.get(), zone);
                assert_eq!(
                    released.deleted.matched,
                    Some(u64::from(self.model.traffic.remove(&zone)))
                );
                self.model.claims.remove(&zone);
            }
            Err(error) => assert!(error.is_lost() && !held, "{error:?}"),
        }
    }

    /// What happens without the allocator.
    fn by_others(&mut self, step: Step) {
        match step {
            Step::FlushZone(zone) => {
                let deleted = self.ct.flush_zone(Zone::new(zone)).unwrap();
                assert!(deleted.is_clean(), "{deleted:?}");
                self.model.traffic.remove(&zone);
            }
            Step::FlushAll => {
                self.ct.flush_all().unwrap();
                self.model.claims.clear();
                self.model.traffic.clear();
            }
            Step::Traffic(zone) => {
                let entry = traffic(Zone::new(zone));
                if self.model.traffic.remove(&zone) {
                    self.ct.delete(&entry).unwrap();
                } else {
                    self.ct.create(&entry).unwrap();
                    self.model.traffic.insert(zone);
                }
            }
            Step::Claim(zone) => match self.model.claims.remove(&zone) {
                Some((kind, owner, instance)) => {
                    let claim = raw(kind, zone, owner, instance);
                    let own = Key::reply(*claim.entry().reply()).zone(Zone::new(zone));
                    self.ct.delete(own).unwrap();
                }
                None => self.claim(ClaimKind::Lease, zone, key("stranger")),
            },
            Step::Marker(number, zone) => {
                let owner = owner(number);
                let free = !self.model.claims.contains_key(&zone);
                if free && self.model.marker_of(owner).is_none() {
                    self.claim(ClaimKind::Marker, zone, owner);
                }
            }
            step => panic!("{step:?}"),
        }
    }

    fn claim(&mut self, kind: ClaimKind, zone: u16, owner: OwnerKey) {
        let instance = Instance::random();
        self.ct.create(&raw(kind, zone, owner, instance)).unwrap();
        self.model.claims.insert(zone, (kind, owner, instance));
    }

    fn assert_same(&self) {
        let entries = claim_entries(self.ct);
        let table = claims_of(&entries);
        let got: Vec<_> = table
            .iter()
            .map(|claim| (claim.zone().get(), claimed(claim)))
            .collect();
        let want: Vec<_> = self
            .model
            .claims
            .iter()
            .map(|(zone, claim)| (*zone, *claim))
            .collect();
        assert_eq!(got, want);
        // The turns were given back as well.
        assert_eq!(entries.len(), table.len());
    }

    fn assert_scan_same(&self) {
        let map = self.zones.scan().unwrap();
        for zone in ZONES {
            let found = map.zone(Zone::new(zone));
            let claim = self.model.claims.get(&zone);
            assert_eq!(found.claims.first().map(claimed), claim.copied());
            assert_eq!(
                found.is_occupied(),
                self.model.traffic.contains(&zone),
                "{found}"
            );
        }
        assert_eq!(self.zones.claims().unwrap().len(), self.model.claims.len());
    }
}

fn claimed(claim: &Claim) -> Claimed {
    (claim.kind(), claim.owner(), claim.instance())
}

fn raw(kind: ClaimKind, zone: u16, owner: OwnerKey, instance: Instance) -> ctnetlink::NewEntry {
    let place = match kind {
        ClaimKind::Lease | ClaimKind::Trial => LEASE,
        ClaimKind::Marker => MARKER,
    };
    raw_claim(place, Zone::new(zone), owner, instance)
}

#[test]
fn operations_do_as_the_model_says() {
    let ct = open();
    let mut config = Config::with_cases(12);
    // The next run has other cases; a failed one is printed.
    config.failure_persistence = None;
    config.max_shrink_iters = 200;
    let mut runner = TestRunner::new(config);
    let tested = runner.run(&vec(step(), 1..40), |steps| {
        ct.flush_all().unwrap();
        let mut both = Both {
            ct: &ct,
            zones: allocator(&ct),
            leases: Vec::new(),
            model: Model::default(),
        };
        for step in steps {
            both.step(step);
            both.assert_same();
        }
        both.assert_scan_same();
        Ok(())
    });
    if let Err(error) = tested {
        panic!("{error}");
    }
}
