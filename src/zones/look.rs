//! Looking at who uses which zone: all of them, one, or the claims alone.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::allocator::Inner;
use super::map::{Named, ZoneMap};
use crate::error::{Error, Operation, Result};
use crate::filter::Filter;
use crate::model::{CLAIM_PROTOCOL, Claim, Completeness, Family, Tuple, Zone, ZoneUse};
use crate::wire::EntryRef;

/// How often a look is repeated that may have missed something.
const TRIES: u32 = 3;

impl Inner {
    /// Walks the table, again and from an empty state if the walk may have missed something. Gives up
    /// with an error: what may be incomplete says of no zone that it is free.
    fn walk<S: Clone>(
        &self,
        filter: &Filter,
        empty: &S,
        mut visitor: impl FnMut(&mut S, &EntryRef<'_>) -> Result<()>,
    ) -> Result<S> {
        let mut why = String::new();
        for _ in 0..TRIES {
            let mut state = empty.clone();
            let visited = self
                .ct
                .visit(filter, |entry| match visitor(&mut state, &entry) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => ControlFlow::Break(error),
                });
            why = match visited {
                Ok(visited) if visited.malformed > 0 => {
                    format!("{} entries could not be read", visited.malformed)
                }
                Ok(visited) => match (visited.stopped, visited.completeness) {
                    (Some(error), _) => error.to_string(),
                    (None, Completeness::Complete) => return Ok(state),
                    (None, Completeness::Unknown) if visited.same_size => return Ok(state),
                    (None, Completeness::Unknown) => {
                        "whether the hash table is resized cannot be seen".to_owned()
                    }
                    (None, Completeness::Interrupted) => {
                        "answers were lost, or the hash table was resized".to_owned()
                    }
                },
                // Nothing that another try would mend.
                Err(error) if error.is_permission_denied() => return Err(error),
                Err(error) => error.to_string(),
            };
            tracing::warn!(why, "a look at the table is repeated");
        }
        Err(Error::scan_incomplete(Operation::Scan, why))
    }

    /// The zones of entries that have ended and are still held. Asked after the table: an entry goes
    /// from there to here, never back.
    fn dying(&self) -> Result<Vec<Zone>> {
        let what = "dying entries";
        let mut list = self.ct.list_dying()?;
        let mut zones = Vec::new();
        for entry in list.by_ref() {
            let entry = entry.map_err(|error| incomplete(what, error))?;
            zones.push(entry.zone().zone());
        }
        if list.is_incomplete() {
            let reason = format!("{what}: answers were lost");
            return Err(Error::scan_incomplete(Operation::Scan, reason));
        }
        Ok(zones)
    }

    /// How many expectations each master has. The kernel does not say in which zone they are.
    fn expectations(&self) -> Result<HashMap<Tuple, u32>> {
        let mut masters = HashMap::new();
        let mut list = self.ct.expectations().list()?;
        for expectation in list.by_ref() {
            let expectation = expectation.map_err(|error| incomplete("expectations", error))?;
            *masters.entry(*expectation.master()).or_insert(0) += 1;
        }
        if list.is_incomplete() {
            return Err(Error::scan_incomplete(
                Operation::Scan,
                "expectations: answers were lost",
            ));
        }
        Ok(masters)
    }

    /// What names zones: rules, and the caller's own sources.
    pub(super) fn named(&self) -> Result<Named> {
        let rules = self.ct.zone_rules();
        let mut named = Named::by(rules.map_err(|error| incomplete("rules", error))?);
        for source in &self.options.sources {
            let zones = source.zones().map_err(|error| {
                Error::scan_incomplete(Operation::Scan, format!("{}: {error}", source.name()))
            })?;
            for zone in zones {
                named.add_source(zone, source.name());
            }
        }
        Ok(named)
    }

    pub(super) fn scan(&self) -> Result<ZoneMap> {
        let map = ZoneMap::new(
            self.named()?,
            self.options.reserved.clone(),
            self.memory().quarantined(),
        );
        let masters = self.expectations()?;
        let mut map = self.walk(&Filter::new(), &map, |map, entry| {
            note(entry, &masters, map)
        })?;
        for zone in self.dying()? {
            map.add_dying(zone);
        }
        Ok(map)
    }

    /// Who is in one zone, by what the kernel says: rules, sources and reserves aside.
    pub(super) fn look(&self, zone: Zone) -> Result<ZoneUse> {
        let filter = Filter::new().zone(zone);
        let mut found = self.walk(&filter, &ZoneUse::unused(zone), |found, entry| {
            let orig = entry.orig()?;
            if let Some(claim) = claim_of(entry, &orig)? {
                if !found.claims.iter().any(|known| known.is_same(&claim)) {
                    found.claims.push(claim);
                }
                return Ok(());
            }
            let counts = match orig.family() {
                Family::Ipv4 => &mut found.ipv4,
                Family::Ipv6 => &mut found.ipv6,
            };
            counts.add(entry.zone()?);
            Ok(())
        })?;
        for of in self.dying()? {
            found.dying += u32::from(of == zone);
        }
        Ok(found)
    }

    /// One zone, with everything that is known of it.
    pub(super) fn who(&self, zone: Zone) -> Result<ZoneUse> {
        let masters = self.expectations()?;
        let mut found = self.look(zone)?;
        if !masters.is_empty() {
            found.expectations = self.walk(&Filter::new().zone(zone), &0, |count, entry| {
                *count += masters.get(&entry.orig()?).copied().unwrap_or(0);
                Ok(())
            })?;
        }
        let named = self.named()?.zone(zone);
        found.rules = named.rules;
        found.sources = named.sources;
        found.reserved = self.options.reserved.contains(&zone);
        found.quarantined = found.claims.iter().any(Claim::sets_aside)
            || self.memory().quarantined().contains(&zone);
        Ok(found)
    }

    /// The claims of all zones.
    pub(super) fn claims(&self) -> Result<Vec<Claim>> {
        let filter = Filter::new().family(Family::Ipv6).protocol(CLAIM_PROTOCOL);
        let mut claims = self.walk(&filter, &Vec::new(), |claims, entry| {
            claims.extend(Claim::of(&entry.to_entry()?));
            Ok(())
        })?;
        claims.sort_by_key(|claim| (claim.zone(), claim.kind(), claim.owner(), claim.instance()));
        // A walk may come past an entry twice.
        claims.dedup_by(|one, other| one.is_same(other));
        Ok(claims)
    }
}

/// A part of a look that failed. A missing right stays what it is.
fn incomplete(what: &str, error: Error) -> Error {
    if error.is_permission_denied() {
        return error;
    }
    Error::scan_incomplete(Operation::Scan, format!("{what}: {error}"))
}

fn claim_of(entry: &EntryRef<'_>, orig: &Tuple) -> Result<Option<Claim>> {
    if orig.protocol() == CLAIM_PROTOCOL {
        Ok(Claim::of(&entry.to_entry()?))
    } else {
        Ok(None)
    }
}

fn note(entry: &EntryRef<'_>, masters: &HashMap<Tuple, u32>, map: &mut ZoneMap) -> Result<()> {
    let orig = entry.orig()?;
    let zone = entry.zone()?;
    if let Some(claim) = claim_of(entry, &orig)? {
        map.add_claim(claim);
        return Ok(());
    }
    map.add_entry(zone, orig.family());
    if !masters.is_empty() {
        if let Some(count) = masters.get(&orig) {
            map.add_expectations(zone.zone(), *count);
        }
    }
    Ok(())
}
