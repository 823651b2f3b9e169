//! What an allocator remembers. The kernel's table is what decides; this only spares looks at it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::lease::{Handle, Held};
use super::options::{Options, ZoneOrder};
use crate::model::{OwnerKey, Zone};

/// A handle that it gives out must not be dropped while it is locked: the last one of a lease locks it.
#[derive(Default)]
pub(super) struct Memory {
    leases: HashMap<Zone, Kept>,
    zones: HashMap<OwnerKey, Zone>,
    /// In which order zones were released.
    released: HashMap<Zone, u64>,
    releases: u64,
    /// Seen with traffic of others: tried last.
    occupied: HashSet<Zone>,
    quarantined: HashMap<Zone, Instant>,
}

/// A lease, and the users' handle of it.
struct Kept {
    held: Arc<Held>,
    handle: Weak<Handle>,
}

impl Memory {
    /// The handle of this zone's lease, if this allocator has it.
    pub(super) fn handle(&self, zone: Zone) -> Option<Arc<Handle>> {
        self.leases.get(&zone)?.handle.upgrade()
    }

    /// The handle of this owner's lease, if this allocator has it.
    pub(super) fn handle_of(&self, owner: OwnerKey) -> Option<Arc<Handle>> {
        self.handle(*self.zones.get(&owner)?)
    }

    /// Whether this allocator has a lease of this zone.
    pub(super) fn has(&self, zone: Zone) -> bool {
        self.leases.contains_key(&zone)
    }

    /// All handles, the lowest zone first.
    pub(super) fn handles(&self) -> Vec<Arc<Handle>> {
        let kept = self.leases.values();
        let mut handles: Vec<_> = kept.filter_map(|kept| kept.handle.upgrade()).collect();
        handles.sort_by_key(|handle| handle.held().zone());
        handles
    }

    /// The lease of this owner, if this allocator has it.
    pub(super) fn lease_of(&self, owner: OwnerKey) -> Option<Arc<Held>> {
        let kept = self.leases.get(self.zones.get(&owner)?)?;
        Some(Arc::clone(&kept.held))
    }

    /// All leases, the lowest zone first.
    pub(super) fn leases(&self) -> Vec<Arc<Held>> {
        let kept = self.leases.values();
        let mut leases: Vec<_> = kept.map(|kept| Arc::clone(&kept.held)).collect();
        leases.sort_by_key(|held| held.zone());
        leases
    }

    /// Gives the leases that had the zone before, or that the owner had, if they are others: they are
    /// over.
    #[must_use]
    pub(super) fn keep(&mut self, handle: &Arc<Handle>) -> Vec<Arc<Held>> {
        let held = handle.held();
        let mut before = Vec::new();
        before.extend(self.lease_of(held.owner()));
        let kept = Kept {
            held: Arc::clone(held),
            handle: Arc::downgrade(handle),
        };
        if let Some(kept) = self.leases.insert(held.zone(), kept) {
            self.zones.remove(&kept.held.owner());
            before.push(kept.held);
        }
        self.zones.insert(held.owner(), held.zone());
        before.retain(|before| !Arc::ptr_eq(before, held));
        before
    }

    /// Forgets a lease, unless a newer one has its zone.
    pub(super) fn forget(&mut self, held: &Held) {
        let same = |kept: &Kept| std::ptr::eq(&raw const *kept.held, held);
        if self.leases.get(&held.zone()).is_some_and(same) {
            self.leases.remove(&held.zone());
            if self.zones.get(&held.owner()) == Some(&held.zone()) {
                self.zones.remove(&held.owner());
            }
        }
    }

    pub(super) fn release(&mut self, zone: Zone) {
        self.releases += 1;
        self.released.insert(zone, self.releases);
    }

    pub(super) fn saw_traffic(&mut self, zone: Zone) {
        self.occupied.insert(zone);
    }

    pub(super) fn saw_none(&mut self, zone: Zone) {
        self.occupied.remove(&zone);
    }

    pub(super) fn quarantine(&mut self, zone: Zone, lasts: Duration) {
        self.quarantined.insert(zone, Instant::now() + lasts);
    }

    pub(super) fn end_quarantine(&mut self, zone: Zone) {
        self.quarantined.remove(&zone);
    }

    pub(super) fn quarantined(&mut self) -> HashSet<Zone> {
        let now = Instant::now();
        self.quarantined.retain(|_, until| *until > now);
        self.quarantined.keys().copied().collect()
    }

    /// The zones of the range in the order in which they are to be tried, and how many of them were
    /// not seen with traffic before; the rest, which was, comes last.
    pub(super) fn candidates(&self, options: &Options) -> (Vec<Zone>, usize) {
        let (first, last) = (options.range.start().get(), options.range.end().get());
        let mut zones: Vec<Zone> = (first..=last).map(Zone::new).collect();
        match options.order {
            ZoneOrder::Lowest => {}
            ZoneOrder::LongestFree => {
                zones.sort_by_key(|zone| self.released.get(zone).copied().unwrap_or(0));
            }
            ZoneOrder::Seeded(seed) => {
                let start = usize::try_from(mix(seed) % zones.len() as u64).unwrap_or(0);
                zones.rotate_left(start);
            }
        }
        let occupied = |zone: &Zone| self.occupied.contains(zone);
        let (mut zones, last): (Vec<Zone>, Vec<Zone>) =
            zones.into_iter().partition(|zone| !occupied(zone));
        let fresh = zones.len();
        zones.extend(last);
        (zones, fresh)
    }
}

/// Neighbouring seeds give places far apart (the finalizer of `SplitMix64`).
const fn mix(seed: u64) -> u64 {
    let seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}
