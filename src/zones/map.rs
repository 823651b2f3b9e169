//! Who uses which zone, as a scan found it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::{RangeBounds, RangeInclusive};
use std::sync::Arc;

use super::options::zones;
use crate::error::Result;
use crate::model::{
    Claim, DirectionCounts, EntryZone, Exhausted, Family, RuledZones, Zone, ZoneRule, ZoneUse,
};

const ZONES: usize = 1 << 16;

/// What is counted of a zone.
#[derive(Clone, Copy, Default)]
struct Traffic {
    ipv4: DirectionCounts,
    ipv6: DirectionCounts,
    dying: u32,
    expectations: u32,
}

impl Traffic {
    fn is_none(&self) -> bool {
        self.ipv4.total() == 0
            && self.ipv6.total() == 0
            && self.dying == 0
            && self.expectations == 0
    }
}

/// Who uses which zone, and how.
///
/// It is what a scan found, so a zone that is free in it may be taken by now; only a lease makes sure.
#[derive(Clone)]
pub struct ZoneMap {
    traffic: Box<[Traffic]>,
    claims: BTreeMap<Zone, Vec<Claim>>,
    named: Arc<Named>,
    reserved: BTreeSet<Zone>,
    quarantined: HashSet<Zone>,
}

impl ZoneMap {
    pub(super) fn new(named: Named, reserved: BTreeSet<Zone>, quarantined: HashSet<Zone>) -> Self {
        Self {
            traffic: vec![Traffic::default(); ZONES].into_boxed_slice(),
            claims: BTreeMap::new(),
            named: Arc::new(named),
            reserved,
            quarantined,
        }
    }

    fn of(&mut self, zone: Zone) -> &mut Traffic {
        &mut self.traffic[usize::from(zone.get())]
    }

    fn traffic(&self, zone: Zone) -> &Traffic {
        &self.traffic[usize::from(zone.get())]
    }

    #[inline]
    pub(super) fn add_entry(&mut self, zone: EntryZone, family: Family) {
        let traffic = self.of(zone.zone());
        let counts = match family {
            Family::Ipv4 => &mut traffic.ipv4,
            Family::Ipv6 => &mut traffic.ipv6,
        };
        counts.add(zone);
    }

    pub(super) fn add_dying(&mut self, zone: Zone) {
        let dying = &mut self.of(zone).dying;
        *dying = dying.saturating_add(1);
    }

    pub(super) fn add_expectations(&mut self, zone: Zone, more: u32) {
        let expectations = &mut self.of(zone).expectations;
        *expectations = expectations.saturating_add(more);
    }

    pub(super) fn add_claim(&mut self, claim: Claim) {
        let claims = self.claims.entry(claim.zone()).or_default();
        // A walk may come past an entry twice.
        if !claims.iter().any(|known| known.is_same(&claim)) {
            claims.push(claim);
        }
    }

    /// Who uses this zone, and how.
    #[must_use]
    pub fn zone(&self, zone: Zone) -> ZoneUse {
        let traffic = self.traffic(zone);
        let claims = self.claims.get(&zone).cloned().unwrap_or_default();
        ZoneUse {
            ipv4: traffic.ipv4,
            ipv6: traffic.ipv6,
            dying: traffic.dying,
            expectations: traffic.expectations,
            claims,
            reserved: self.reserved.contains(&zone),
            quarantined: self.is_set_aside(zone),
            ..self.named.zone(zone)
        }
    }

    /// Whether nobody uses this zone in any way.
    #[must_use]
    pub fn is_free(&self, zone: Zone) -> bool {
        !zone.is_default() && !self.is_used(zone)
    }

    fn is_used(&self, zone: Zone) -> bool {
        !self.traffic(zone).is_none()
            || self.claims.contains_key(&zone)
            || self.named.contains(zone)
            || self.reserved.contains(&zone)
            || self.quarantined.contains(&zone)
    }

    /// By this allocator, or by another one's marker.
    fn is_set_aside(&self, zone: Zone) -> bool {
        let claims = self.claims.get(&zone).into_iter().flatten();
        self.quarantined.contains(&zone) || { claims }.any(Claim::sets_aside)
    }

    /// Why no zone of the range is free. `own` are those that are leased here: one of them whose claim
    /// was flushed away is to be put back.
    pub(super) fn exhausted(
        &self,
        range: &RangeInclusive<Zone>,
        own: impl Fn(Zone) -> bool,
    ) -> Exhausted {
        let (first, last) = (*range.start(), *range.end());
        let mut exhausted = Exhausted::of(first, last);
        for zone in (first.get()..=last.get()).map(Zone::new) {
            let count = if self.reserved.contains(&zone) || zone.is_default() {
                &mut exhausted.reserved
            } else if self.named.contains(zone) {
                &mut exhausted.ruled
            } else if self.is_set_aside(zone) {
                &mut exhausted.quarantined
            } else if self.claims.contains_key(&zone) || own(zone) {
                &mut exhausted.leased
            } else if !self.traffic(zone).is_none() {
                &mut exhausted.occupied
            } else {
                &mut exhausted.free
            };
            *count += 1;
        }
        exhausted
    }

    /// The zones that somebody uses, the lowest first. Zone 0 is among them where it has traffic.
    pub fn used(&self) -> impl Iterator<Item = ZoneUse> + '_ {
        all()
            .filter(|zone| self.is_used(*zone))
            .map(|zone| self.zone(zone))
    }

    /// The zones of a range that nobody uses, the lowest first. Zone 0 is never among them.
    ///
    /// # Errors
    /// For a range without a zone in it.
    pub fn free(&self, range: impl RangeBounds<u16>) -> Result<impl Iterator<Item = Zone> + '_> {
        let range = zones((range.start_bound().cloned(), range.end_bound().cloned()))?;
        Ok((range.start().get()..=range.end().get())
            .map(Zone::new)
            .filter(|zone| self.is_free(*zone)))
    }

    /// Rules that put packets into zones of which only packets tell which: by a mark, say. They keep no
    /// zone from being free; to know what they come to, bring a [`ZoneSource`](crate::ZoneSource).
    #[must_use]
    pub fn unbounded_rules(&self) -> &[ZoneRule] {
        &self.named.unbounded
    }

    /// The claims of all zones, the lowest zone first.
    pub fn claims(&self) -> impl Iterator<Item = &Claim> + '_ {
        self.claims.values().flatten()
    }
}

/// What names zones without the kernel's table of entries saying so. It grows with what the kernel keeps,
/// not with each rule's zones: rules that look into one map are together.
#[derive(Default)]
pub(super) struct Named {
    /// Rules whose zones are known, in their order.
    rules: Vec<Arc<ZoneRule>>,
    /// Which sets of zones a zone is in, sorted.
    sets: Vec<(Zone, usize)>,
    /// The places of the rules that have a set, sorted.
    having: Vec<(usize, usize)>,
    sources: BTreeMap<Zone, Vec<String>>,
    unbounded: Vec<ZoneRule>,
}

impl Named {
    pub(super) fn by(rules: Vec<ZoneRule>) -> Self {
        let mut named = Self::default();
        // Where the zones are tells whether they are shared; the rules keep them there.
        let mut known: HashMap<*const Zone, usize> = HashMap::new();
        for rule in rules {
            let zones = match rule.zones() {
                RuledZones::These(zones) => zones,
                RuledZones::Any => {
                    named.unbounded.push(rule);
                    continue;
                }
            };
            if zones.is_empty() {
                continue;
            }
            let next = known.len();
            let set = *known.entry(zones.as_ptr()).or_insert(next);
            if set == next {
                named.sets.extend(zones.iter().map(|zone| (*zone, set)));
            }
            named.having.push((set, named.rules.len()));
            named.rules.push(Arc::new(rule));
        }
        named.sets.sort_unstable();
        named.having.sort_unstable();
        named
    }

    pub(super) fn add_source(&mut self, zone: Zone, name: &str) {
        self.sources.entry(zone).or_default().push(name.to_owned());
    }

    pub(super) fn contains(&self, zone: Zone) -> bool {
        of(&self.sets, zone).next().is_some() || self.sources.contains_key(&zone)
    }

    /// The zone with what names it, and nothing else.
    pub(super) fn zone(&self, zone: Zone) -> ZoneUse {
        let sets = of(&self.sets, zone);
        let mut places: Vec<usize> = sets.flat_map(|set| of(&self.having, set)).collect();
        places.sort_unstable();
        let rule = |place: usize| Arc::clone(&self.rules[place]);
        ZoneUse {
            rules: places.into_iter().map(rule).collect(),
            sources: self.sources.get(&zone).cloned().unwrap_or_default(),
            ..ZoneUse::unused(zone)
        }
    }
}

/// What sorted pairs have for a key.
fn of<K: Copy + Ord>(pairs: &[(K, usize)], key: K) -> impl Iterator<Item = usize> + '_ {
    let from = pairs.partition_point(|(known, _)| *known < key);
    { pairs[from..].iter() }
        .take_while(move |(known, _)| *known == key)
        .map(|(_, value)| *value)
}

fn all() -> impl Iterator<Item = Zone> {
    (0..=u16::MAX).map(Zone::new)
}

impl std::fmt::Debug for ZoneMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.used()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RuleFamily, RuledBy};

    fn rule(handle: u64, zones: RuledZones) -> ZoneRule {
        ZoneRule {
            family: RuleFamily::INET,
            table: "t".to_owned(),
            chain: "c".to_owned(),
            handle,
            zones,
            direction: None,
            by: RuledBy::Nftables,
        }
    }

    fn these(zones: impl IntoIterator<Item = u16>) -> RuledZones {
        RuledZones::These(zones.into_iter().map(Zone::new).collect())
    }

    fn handles(used: &ZoneUse) -> Vec<u64> {
        used.rules.iter().map(|rule| rule.handle()).collect()
    }

    fn counted(counts: &Exhausted) -> [u32; 6] {
        [
            counts.reserved,
            counts.ruled,
            counts.quarantined,
            counts.leased,
            counts.occupied,
            counts.free,
        ]
    }

    #[test]
    fn rules_are_those_of_the_zone_in_their_order() {
        let map = these([5, 7, 65_535]);
        let mut named = Named::by(vec![
            rule(1, these([7])),
            rule(2, map.clone()),
            rule(3, these([5, 6])),
            rule(4, RuledZones::Any),
            rule(5, these([])),
            rule(6, map),
            rule(7, these([7])),
        ]);
        named.add_source(Zone::new(8), "the map");
        for (zone, rules) in [
            (0, &[][..]),
            (4, &[]),
            (5, &[2, 3, 6]),
            (6, &[3]),
            (7, &[1, 2, 6, 7]),
            (8, &[]),
            (65_534, &[]),
            (65_535, &[2, 6]),
        ] {
            let zone = Zone::new(zone);
            let used = named.zone(zone);
            assert_eq!(handles(&used), rules, "zone {zone}");
            assert_eq!(named.contains(zone), used.is_ruled(), "zone {zone}");
        }
        assert_eq!(named.zone(Zone::new(8)).sources, ["the map"]);
        assert_eq!(named.unbounded.len(), 1);
    }

    /// Not of each rule and each zone: the product of both does not fit into memory.
    #[test]
    fn rules_of_one_map_take_what_they_and_the_map_take() {
        let map = these(1..=60_000);
        let rules = (0..1000).map(|handle| rule(handle, map.clone()));
        let named = Named::by(rules.collect());
        assert_eq!((named.sets.len(), named.having.len()), (60_000, 1000));
        for zone in [1, 60_000].map(Zone::new) {
            let all: Vec<u64> = (0..1000).collect();
            assert_eq!(handles(&named.zone(zone)), all);
        }
        let map = ZoneMap::new(named, BTreeSet::new(), HashSet::new());
        let range = Zone::new(1)..=Zone::new(60_001);
        let counts = map.exhausted(&range, |_| false);
        assert_eq!(counted(&counts), [0, 60_000, 0, 0, 0, 1]);
        assert_eq!(map.free(..).unwrap().count(), 5535);
        assert_eq!(map.used().map(|used| used.zone.get()).max(), Some(60_000));
    }

    /// A zone that is several of it counts as the first; one that is leased here, and that nobody is seen
    /// to claim, as leased.
    #[test]
    fn what_a_zone_counts_as() {
        const RESERVED: u16 = 1;
        const RULED: u16 = 2;
        const QUARANTINED: u16 = 4;
        const LEASED: u16 = 8;
        const OCCUPIED: u16 = 16;
        const OWN: u16 = 32;
        let with = |what: u16| {
            let zones = 1..64_u16;
            zones.filter(move |zone| zone & what != 0).map(Zone::new)
        };
        let ruled = RuledZones::These(with(RULED).collect());
        let named = Named::by(vec![rule(1, ruled)]);
        let mut map = ZoneMap::new(named, with(RESERVED).collect(), with(QUARANTINED).collect());
        for zone in with(LEASED) {
            let entry = format!(
                "unknown 253 9 src=100::6374:6e6c:7a6f:6e65 dst=100::1 src=fd00::7 dst=100::2a \
                 [ASSURED] zone={zone}"
            );
            map.add_claim(Claim::of(&entry.parse().unwrap()).unwrap());
        }
        for zone in with(OCCUPIED) {
            map.add_dying(zone);
        }
        for zone in 1..64_u16 {
            let order = [RESERVED, RULED, QUARANTINED, LEASED | OWN, OCCUPIED];
            let first = order.iter().position(|what| zone & what != 0);
            let mut want = [0; 6];
            want[first.unwrap_or(5)] = 1;
            let one = Zone::new(zone)..=Zone::new(zone);
            let counts = map.exhausted(&one, |zone| zone.get() & OWN != 0);
            assert_eq!(counted(&counts), want, "{zone:#b}");
            let used = map.zone(Zone::new(zone));
            assert_eq!(map.is_free(used.zone), used.is_free(), "{zone:#b}");
        }
        let all = Zone::DEFAULT..=Zone::new(64);
        let counts = map.exhausted(&all, |zone| zone.get() & OWN != 0);
        // Nobody can have zone 0.
        assert_eq!(counted(&counts), [33, 16, 8, 6, 1, 1]);
        assert_eq!((counts.first, counts.last), (Zone::DEFAULT, Zone::new(64)));
    }
}
