//! Claims on trial: made, looked at, and released unless they are confirmed.

use std::collections::HashMap;

use super::allocator::Inner;
use super::map::ZoneMap;
use super::turns::report_left;
use crate::error::Result;
use crate::model::{ClaimKind, Exhausted, Hold, OwnerKey, Zone};
use crate::ops;

/// Up to so many zones are looked at one by one; for more, one scan of all is cheaper.
const ONE_BY_ONE: usize = 4;

/// Claims that are held for a short time, and released unless they are confirmed.
pub(super) struct Provisional<'a> {
    pub(super) inner: &'a Inner,
    pub(super) claims: HashMap<Zone, Hold>,
}

impl Provisional<'_> {
    pub(super) fn release(&mut self, zones: impl IntoIterator<Item = Zone>) {
        let holds: Vec<Hold> = zones
            .into_iter()
            .filter_map(|zone| self.claims.remove(&zone))
            .collect();
        if !holds.is_empty() {
            report_left(&ops::release_many(
                self.inner.ct.session(),
                holds.into_iter(),
            ));
        }
    }
}

impl Drop for Provisional<'_> {
    fn drop(&mut self) {
        let zones: Vec<Zone> = self.claims.keys().copied().collect();
        self.release(zones);
    }
}

/// Zones with the owners that they were claimed for.
pub(super) type Tried = Vec<(Zone, OwnerKey)>;

impl Inner {
    /// Claims what is not claimed.
    pub(super) fn claim(
        &self,
        batch: &[(Zone, OwnerKey)],
        provisional: &mut Provisional<'_>,
    ) -> Result<Tried> {
        let hold = |(zone, owner): &(Zone, OwnerKey)| {
            Hold::claim(ClaimKind::Lease, *zone, *owner, self.instance)
        };
        let taken = ops::try_many(
            self.ct.session(),
            batch.iter().map(hold),
            self.options.grace,
        );
        let mut tried = Vec::with_capacity(batch.len());
        let mut problem = taken.stopped().cloned();
        for (pair, result) in batch.iter().zip(taken.into_results()) {
            match result {
                Ok(()) => {
                    provisional.claims.insert(pair.0, hold(pair));
                    tried.push(*pair);
                }
                Err(error) if error.is_exists() => {}
                Err(error) => {
                    // It may have been taken all the same.
                    provisional.claims.insert(pair.0, hold(pair));
                    problem.get_or_insert(error);
                }
            }
        }
        // What was got before the table was full, say, is enough for some.
        match problem {
            Some(error) if tried.is_empty() => Err(error),
            _ => Ok(tried),
        }
    }

    /// Tells apart the claimed zones that nobody else is in from the others.
    pub(super) fn verify(
        &self,
        tried: Tried,
        map: &mut Option<ZoneMap>,
        flush: bool,
    ) -> Result<(Tried, Tried)> {
        let all = if tried.len() > ONE_BY_ONE {
            Some(&*map.insert(self.scan()?))
        } else {
            None
        };
        let (mut clean, mut dirty) = (Vec::new(), Vec::new());
        for (zone, owner) in tried {
            let own = Hold::claim(ClaimKind::Lease, zone, owner, self.instance);
            let mut found = match all {
                Some(map) => map.zone(zone),
                None => self.look(zone)?,
            };
            found.claims.retain(|claim| claim.hold() != own);
            let mut occupied = found.is_occupied();
            // Flushing others may have taken long: only what is still claimed may be flushed.
            if occupied && flush && found.claims.is_empty() && self.still_on_trial(own)? {
                occupied = self.flush_zone(zone)?.left || self.look(zone)?.is_occupied();
            }
            let mut memory = self.memory();
            if occupied {
                memory.saw_traffic(zone);
            } else {
                memory.saw_none(zone);
            }
            if occupied || !found.claims.is_empty() {
                dirty.push((zone, owner));
            } else {
                clean.push((zone, owner));
            }
        }
        Ok((clean, dirty))
    }

    fn still_on_trial(&self, own: Hold) -> Result<bool> {
        let own = std::iter::once(own);
        let batch = ops::renew_many(self.ct.session(), own, self.options.grace)?;
        Ok(batch.succeeded() == 1)
    }

    /// Why there is no zone left, by a scan.
    pub(super) fn exhausted(&self) -> Result<Exhausted> {
        let map = self.scan()?;
        let (first, last) = (*self.options.range.start(), *self.options.range.end());
        let mut exhausted = Exhausted::of(first, last);
        let own = self.own_zones();
        for zone in (first.get()..=last.get()).map(Zone::new) {
            let used = map.zone(zone);
            // Leased here, and its claim was flushed away: it is to be put back.
            if used.claims.is_empty() && own.contains(&zone) {
                exhausted.leased += 1;
            } else {
                exhausted.add(&used);
            }
        }
        Ok(exhausted)
    }
}
