//! Who uses which zone, as a scan found it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::RangeBounds;
use std::sync::Arc;

use super::options::zones;
use crate::error::Result;
use crate::model::{
    Claim, DirectionCounts, EntryZone, Family, RuledZones, Zone, ZoneRule, ZoneUse,
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
        let traffic = &self.traffic[usize::from(zone.get())];
        let claims = self.claims.get(&zone).cloned().unwrap_or_default();
        let set_aside = claims.iter().any(Claim::sets_aside);
        ZoneUse {
            ipv4: traffic.ipv4,
            ipv6: traffic.ipv6,
            dying: traffic.dying,
            expectations: traffic.expectations,
            claims,
            reserved: self.reserved.contains(&zone),
            quarantined: set_aside || self.quarantined.contains(&zone),
            ..self.named.zone(zone)
        }
    }

    /// Whether nobody uses this zone in any way.
    #[must_use]
    pub fn is_free(&self, zone: Zone) -> bool {
        !zone.is_default()
            && self.traffic[usize::from(zone.get())].is_none()
            && !self.claims.contains_key(&zone)
            && !self.named.contains(zone)
            && !self.reserved.contains(&zone)
            && !self.quarantined.contains(&zone)
    }

    /// The zones that somebody uses, the lowest first. Zone 0 is among them where it has traffic.
    pub fn used(&self) -> impl Iterator<Item = ZoneUse> + '_ {
        all().filter_map(|zone| {
            let used = self.zone(zone);
            (used != ZoneUse::unused(zone)).then_some(used)
        })
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

/// What names zones without the kernel's table of entries saying so.
#[derive(Clone, Default)]
pub(super) struct Named {
    rules: BTreeMap<Zone, Vec<Arc<ZoneRule>>>,
    sources: BTreeMap<Zone, Vec<String>>,
    unbounded: Vec<ZoneRule>,
}

impl Named {
    pub(super) fn add_rule(&mut self, rule: ZoneRule) {
        match rule.zones() {
            RuledZones::These(_) => {
                let rule = Arc::new(rule);
                if let RuledZones::These(zones) = rule.zones() {
                    for zone in zones {
                        self.rules.entry(*zone).or_default().push(Arc::clone(&rule));
                    }
                }
            }
            RuledZones::Any => self.unbounded.push(rule),
        }
    }

    pub(super) fn add_source(&mut self, zone: Zone, name: &str) {
        self.sources.entry(zone).or_default().push(name.to_owned());
    }

    pub(super) fn contains(&self, zone: Zone) -> bool {
        self.rules.contains_key(&zone) || self.sources.contains_key(&zone)
    }

    /// The zone with what names it, and nothing else.
    pub(super) fn zone(&self, zone: Zone) -> ZoneUse {
        ZoneUse {
            rules: self.rules.get(&zone).cloned().unwrap_or_default(),
            sources: self.sources.get(&zone).cloned().unwrap_or_default(),
            ..ZoneUse::unused(zone)
        }
    }
}

fn all() -> impl Iterator<Item = Zone> {
    (0..=u16::MAX).map(Zone::new)
}

impl std::fmt::Debug for ZoneMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.used()).finish()
    }
}
