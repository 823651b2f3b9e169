//! Claims on trial: made, looked at, and released unless they are confirmed.

use std::collections::HashMap;
use std::time::Instant;

use super::allocator::Inner;
use super::map::ZoneMap;
use super::options::Foreign;
use super::turns::{Turns, report_left};
use crate::error::{Error, Operation, Result};
use crate::model::{ClaimKind, Exhausted, Hold, OwnerKey, Zone};
use crate::ops;

/// Up to so many zones are looked at one by one; for more, one scan of all is cheaper.
const ONE_BY_ONE: usize = 4;

/// Claims that are held for a short time, and released unless they are confirmed.
pub(super) struct Provisional<'a> {
    inner: &'a Inner,
    turns: &'a Turns<'a>,
    pub(super) claims: HashMap<Zone, Hold>,
    /// When the claims and turns were last made or renewed, or earlier.
    renewed: Instant,
}

impl<'a> Provisional<'a> {
    pub(super) fn new(inner: &'a Inner, turns: &'a Turns<'a>) -> Self {
        Self {
            inner,
            turns,
            claims: HashMap::new(),
            renewed: turns.since(),
        }
    }

    /// Has all of them last, and the turns, where looking at zones or flushing them takes long.
    pub(super) fn keep(&mut self) -> Result<()> {
        let grace = self.inner.options.grace;
        if self.renewed.elapsed() < grace / 3 {
            return Ok(());
        }
        let at = Instant::now();
        let held: Vec<(Zone, Hold)> = self
            .claims
            .iter()
            .map(|(zone, own)| (*zone, *own))
            .collect();
        let holds = held.iter().map(|(_, own)| *own);
        let batch = ops::renew_many(self.inner.ct.session(), holds, grace)?;
        for ((zone, _), result) in held.iter().zip(batch.results()) {
            if result.as_ref().is_err_and(Error::is_not_found) {
                self.claims.remove(zone);
            }
        }
        if let Some(error) = batch.stopped() {
            return Err(error.clone());
        }
        self.turns.keep_all()?;
        self.renewed = at;
        Ok(())
    }

    /// Flushes a zone on trial, for as long as it is.
    pub(super) fn flush(&mut self, zone: Zone) -> Result<bool> {
        let inner = self.inner;
        let flushed = inner.flush_held(zone, inner.options.verify, &mut || {
            self.keep()?;
            match self.claims.get(&zone) {
                Some(own) if inner.still_on_trial(*own)? => Ok(()),
                _ => Err(Error::lost(Operation::Acquire, zone, None)),
            }
        });
        match flushed {
            Ok(deleted) => {
                let whole = !deleted.left && deleted.stopped.is_none();
                Ok(whole && !inner.look(zone)?.is_occupied())
            }
            Err(error) if error.is_lost() => Ok(false),
            Err(error) => Err(error),
        }
    }

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
        provisional: &mut Provisional<'_>,
    ) -> Result<(Tried, Tried)> {
        let flush = self.options.foreign == Foreign::Flush;
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
            if occupied && flush && found.claims.is_empty() {
                occupied = !provisional.flush(zone)?;
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
        let own = self.own_zones();
        Ok(map.exhausted(&self.options.range, |zone| own.contains(&zone)))
    }
}
