//! Acquiring zones: claim, look, and only then hand out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::allocator::Inner;
use super::lease::{Held, Lease};
use super::map::ZoneMap;
use super::options::Foreign;
use super::takeover::{Move, take_over};
use crate::error::{Error, Operation, Result};
use crate::model::{Claim, ClaimKind, Exhausted, Hold, Instance, OwnerKey, Zone, ZoneUse};
use crate::ops;

/// Up to so many zones are looked at one by one; for more, one scan of all is cheaper.
const ONE_BY_ONE: usize = 4;
/// Between looks whether another process is done: doubled each time, up to the second.
const PAUSE: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) struct Want {
    owner: OwnerKey,
    at: Option<Zone>,
    /// Traffic and rules are no hindrance.
    with_traffic: bool,
}

impl Want {
    pub(super) fn any(owner: OwnerKey) -> Self {
        Self {
            owner,
            at: None,
            with_traffic: false,
        }
    }

    pub(super) fn at(owner: OwnerKey, zone: Zone) -> Result<Self> {
        if zone.is_default() {
            return Err(Error::invalid(
                "zone",
                zone.to_string(),
                "the default of everything, which nobody holds",
                "a zone from 1 to 65535",
            ));
        }
        Ok(Self {
            at: Some(zone),
            ..Self::any(owner)
        })
    }

    pub(super) fn with_its_traffic(self) -> Self {
        Self {
            with_traffic: true,
            ..self
        }
    }
}

/// What was got.
#[derive(Clone)]
struct Got {
    held: Arc<Held>,
    previous: Option<Instance>,
}

/// A wait that grows, up to a bound.
pub(super) struct Patience {
    until: Instant,
    whole: Duration,
    pause: Duration,
}

impl Patience {
    pub(super) fn new(whole: Duration) -> Self {
        Self {
            until: Instant::now() + whole,
            whole,
            pause: PAUSE,
        }
    }

    /// Waits a little. Not when the time is over.
    pub(super) fn wait(&mut self) -> Result<()> {
        if Instant::now() >= self.until {
            return Err(Error::deadline(Operation::Acquire, self.whole));
        }
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}

/// One result for each want, in order.
pub(super) fn acquire(inner: &Arc<Inner>, wants: &[Want]) -> Vec<Result<Lease>> {
    let span = tracing::debug_span!("acquire", wants = wants.len());
    let _entered = span.enter();
    let mut got: HashMap<OwnerKey, Result<Got>> = HashMap::with_capacity(wants.len());
    let mut seen = HashSet::new();
    let mut pending: Vec<Want> = wants
        .iter()
        .filter(|want| seen.insert(want.owner))
        .copied()
        .collect();
    let mut patience = Patience::new(inner.options.patience);
    while !pending.is_empty() {
        let mut turns = Turns::take(inner, pending, &mut got);
        let mut search = Search {
            inner,
            got: &mut got,
            again: std::mem::take(&mut turns.busy),
        };
        search.all(&mut turns);
        pending = search.again;
        turns.give_back();
        if !pending.is_empty() {
            if let Err(error) = patience.wait() {
                for want in std::mem::take(&mut pending) {
                    got.insert(want.owner, Err(error.clone()));
                }
            }
        }
    }
    wants
        .iter()
        .map(|want| match got.get(&want.owner) {
            Some(Ok(got)) => Ok(Lease::new(Arc::clone(&got.held), got.previous)),
            Some(Err(error)) => Err(error.clone()),
            None => unreachable!("each owner is decided on"),
        })
        .collect()
}

/// The right to look for zones for some owners, which nobody else has meanwhile: else two processes
/// could find a zone each for the same owner.
pub(super) struct Turns<'a> {
    inner: &'a Inner,
    token: Instance,
    wants: Vec<Want>,
    busy: Vec<Want>,
}

impl<'a> Turns<'a> {
    fn take(inner: &'a Inner, wants: Vec<Want>, got: &mut HashMap<OwnerKey, Result<Got>>) -> Self {
        let mut turns = Self::new(inner);
        let holds = wants.iter().map(|want| turns.hold(want.owner));
        let batch = ops::take_many(inner.ct.session(), holds, inner.options.grace);
        let stopped = batch.stopped().cloned();
        let mut results = batch.into_results().into_iter();
        for want in wants {
            match results.next() {
                Some(Ok(())) => turns.wants.push(want),
                Some(Err(error)) if error.is_exists() => turns.busy.push(want),
                Some(Err(error)) => {
                    got.insert(want.owner, Err(error));
                }
                None => {
                    let error = stopped.clone();
                    let error = error.unwrap_or_else(|| Error::overrun(Operation::Claim));
                    got.insert(want.owner, Err(error));
                }
            }
        }
        turns
    }

    fn new(inner: &'a Inner) -> Self {
        Self {
            inner,
            token: Instance::random(),
            wants: Vec::new(),
            busy: Vec::new(),
        }
    }

    /// For these owners together; `is_exists` when somebody has the turn of one.
    pub(super) fn of(inner: &'a Inner, owners: &[OwnerKey]) -> Result<Self> {
        let mut turns = Self::new(inner);
        for owner in owners {
            let hold = std::iter::once(turns.hold(*owner));
            ops::take_many(inner.ct.session(), hold, inner.options.grace).into_result()?;
            turns.wants.push(Want::any(*owner));
        }
        Ok(turns)
    }

    fn hold(&self, owner: OwnerKey) -> Hold {
        Hold::turn(owner, self.token)
    }

    /// Which of these owners still have their turn; it lasts anew.
    fn keep(&self, owners: &[OwnerKey]) -> Result<Vec<bool>> {
        let holds = owners.iter().map(|owner| self.hold(*owner));
        let batch = ops::renew_many(self.inner.ct.session(), holds, self.inner.options.grace)?;
        if let Some(error) = batch.stopped() {
            return Err(error.clone());
        }
        Ok(batch.results().iter().map(Result::is_ok).collect())
    }

    fn give_back(self) {
        drop(self);
    }
}

/// Also on the way out of an error.
impl Drop for Turns<'_> {
    fn drop(&mut self) {
        let holds = self.wants.iter().map(|want| self.hold(want.owner));
        report_left(&ops::release_many(self.inner.ct.session(), holds));
    }
}

/// What could not be given back ends by itself.
fn report_left(batch: &ops::Batch) {
    let failed = batch.failures().filter(|(_, error)| !error.is_not_found());
    for (_, error) in failed {
        tracing::warn!(%error, "a claim was left to end by itself");
    }
}

struct Search<'a> {
    inner: &'a Arc<Inner>,
    got: &'a mut HashMap<OwnerKey, Result<Got>>,
    /// To be tried once more.
    again: Vec<Want>,
}

/// Claims that are held for a short time, and released unless they are confirmed.
struct Provisional<'a> {
    inner: &'a Inner,
    claims: HashMap<Zone, Hold>,
}

impl Provisional<'_> {
    fn release(&mut self, zones: impl IntoIterator<Item = Zone>) {
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

impl Search<'_> {
    fn all(&mut self, turns: &mut Turns<'_>) {
        let wants = turns.wants.clone();
        if wants.is_empty() {
            return;
        }
        if let Err(error) = self.settle(&wants, turns) {
            for want in wants {
                self.got
                    .entry(want.owner)
                    .or_insert_with(|| Err(error.clone()));
            }
        }
    }

    fn fail(&mut self, want: &Want, error: Error) {
        self.got.insert(want.owner, Err(error));
    }

    fn keep(&mut self, want: &Want, zone: Zone, previous: Option<Instance>, at: Instant) {
        let known = self.inner.memory().lease(zone);
        let held = match known {
            Some(held) if held.owner() == want.owner && !held.is_over() => held,
            _ => Arc::new(Held::new(self.inner, zone, want.owner, at)),
        };
        held.set_renewed(at);
        let mut memory = self.inner.memory();
        memory.keep(&held);
        memory.end_quarantine(zone);
        drop(memory);
        tracing::debug!(zone = zone.get(), owner = %want.owner, "a zone is leased");
        self.got.insert(want.owner, Ok(Got { held, previous }));
    }

    fn settle(&mut self, wants: &[Want], turns: &Turns<'_>) -> Result<()> {
        let claims = self.inner.claims()?;
        let mut of_owner: HashMap<OwnerKey, Vec<Claim>> = HashMap::new();
        let mut of_zone: BTreeMap<Zone, Vec<Claim>> = BTreeMap::new();
        for claim in &claims {
            of_owner.entry(claim.owner()).or_default().push(*claim);
            of_zone.entry(claim.zone()).or_default().push(*claim);
        }
        let (mut mine, mut moves, mut fresh) = (Vec::new(), Vec::new(), Vec::new());
        for want in wants {
            let own = of_owner.get(&want.owner).map_or(&[][..], Vec::as_slice);
            let mut leases = own.iter().filter(|claim| claim.kind() == ClaimKind::Lease);
            let Some(lease) = leases.next() else {
                fresh.push((*want, unfinished(own, &of_zone)));
                continue;
            };
            // Two are left by those who do not take turns. The lowest stays.
            let more: Vec<Hold> = leases.map(Claim::hold).collect();
            if !more.is_empty() {
                tracing::warn!(owner = %want.owner, claims = more.len(), "claims of more zones are ended");
                report_left(&ops::release_many(
                    self.inner.ct.session(),
                    more.into_iter(),
                ));
            }
            if let Some(error) = self.misplaced(want, lease) {
                self.fail(want, error);
            } else if lease.instance() == self.inner.instance {
                mine.push((*want, *lease));
            } else {
                moves.push((*want, *lease));
            }
        }
        self.renew(&mine);
        self.take_over(&moves, turns);
        self.find(fresh, &of_zone, turns)
    }

    /// The owner has a zone, and it is not what is asked for.
    fn misplaced(&self, want: &Want, lease: &Claim) -> Option<Error> {
        let fits = match want.at {
            Some(zone) => zone == lease.zone(),
            None => self.inner.options.range.contains(&lease.zone()),
        };
        (!fits).then(|| {
            let by = ZoneUse {
                claims: vec![*lease],
                ..ZoneUse::unused(lease.zone())
            };
            Error::conflict(Operation::Acquire, by)
        })
    }

    /// This allocator has them already.
    fn renew(&mut self, mine: &[(Want, Claim)]) {
        let at = Instant::now();
        let holds = mine.iter().map(|(_, claim)| claim.hold());
        let ttl = self.inner.options.ttl;
        let batch = ops::renew_many(self.inner.ct.session(), holds, ttl);
        let results = match batch {
            Ok(batch) => batch.into_results(),
            Err(error) => mine.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut results = results.into_iter();
        for (want, claim) in mine {
            match results.next() {
                Some(Ok(())) => self.keep(want, claim.zone(), None, at),
                Some(Err(error)) if !error.is_not_found() => self.fail(want, error),
                _ => self.again.push(*want),
            }
        }
    }

    fn take_over(&mut self, moves: &[(Want, Claim)], turns: &Turns<'_>) {
        let at = Instant::now();
        let orders: Vec<Move> = moves
            .iter()
            .map(|(want, claim)| Move {
                from: *claim,
                to: want.owner,
            })
            .collect();
        let results = take_over(self.inner, &orders, turns);
        for ((want, claim), result) in moves.iter().zip(results) {
            match result {
                Ok(()) => self.keep(want, claim.zone(), Some(claim.instance()), at),
                // It ended or was given up meanwhile: look again.
                // Or the turn ended before it was done, and another instance was faster.
                Err(error) if error.is_not_found() || error.is_exists() => self.again.push(*want),
                Err(error) => self.fail(want, error),
            }
        }
    }

    /// Finds zones for owners that have none.
    fn find(
        &mut self,
        fresh: Vec<(Want, Option<Claim>)>,
        claimed: &BTreeMap<Zone, Vec<Claim>>,
        turns: &Turns<'_>,
    ) -> Result<()> {
        if fresh.is_empty() {
            return Ok(());
        }
        let inner = self.inner;
        let mut provisional = Provisional {
            inner,
            claims: HashMap::new(),
        };
        let mut placed: Vec<(Want, Zone)> = Vec::new();
        let mut markers: Vec<Hold> = Vec::new();
        let mut anywhere = Vec::new();
        let named = inner.named()?;
        for (want, marker) in fresh {
            let place = match (want.at, marker) {
                (Some(zone), Some(marker)) if zone == marker.zone() => Some((zone, Some(marker))),
                (Some(zone), _) => Some((zone, None)),
                // Its zone was being taken over when the process ended that did it: the marker kept
                // others away, and what is in the zone is the owner's own.
                (None, Some(marker)) if inner.options.range.contains(&marker.zone()) => {
                    Some((marker.zone(), Some(marker)))
                }
                (None, _) => None,
            };
            let Some((zone, marker)) = place else {
                anywhere.push(want);
                continue;
            };
            match self.place(&want, zone, marker, &named, &mut provisional) {
                Ok(()) => {
                    placed.push((want, zone));
                    markers.extend(marker.map(|marker| marker.hold()));
                }
                Err(error) if marker.is_some() && error.is_conflict() => self.again.push(want),
                Err(error) => self.fail(&want, error),
            }
        }
        if !anywhere.is_empty() {
            self.anywhere(anywhere, claimed, &named, &mut provisional, &mut placed)?;
        }
        let confirmed = self.confirm(placed, turns, &mut provisional);
        report_left(&ops::release_many(inner.ct.session(), markers.into_iter()));
        confirmed
    }

    /// A zone that is asked for by its number.
    fn place(
        &mut self,
        want: &Want,
        zone: Zone,
        marker: Option<Claim>,
        named: &HashMap<Zone, ZoneUse>,
        provisional: &mut Provisional<'_>,
    ) -> Result<()> {
        let inner = self.inner;
        let own = marker.is_some();
        let accept = want.with_traffic || own;
        let mut known = named
            .get(&zone)
            .cloned()
            .unwrap_or_else(|| ZoneUse::unused(zone));
        known.reserved = inner.options.reserved.contains(&zone);
        known.quarantined = !accept && inner.memory().quarantined().contains(&zone);
        if known.reserved || !accept && !known.is_free() {
            return Err(Error::conflict(Operation::Acquire, known));
        }
        // Whoever tries again and again for a zone that is being taken over would be in the way each
        // time for as long as a walk takes: so the marker is looked for by itself, before and after.
        let marked = |known: &mut ZoneUse| match inner.marker(zone)? {
            Some(found) if !own => {
                known.claims.push(found);
                Ok(true)
            }
            _ => Ok::<bool, Error>(false),
        };
        if marked(&mut known)? {
            return Err(Error::conflict(Operation::Acquire, known));
        }
        let hold = Hold::claim(ClaimKind::Lease, zone, want.owner, inner.instance);
        let taken = ops::take_many(
            inner.ct.session(),
            std::iter::once(hold),
            inner.options.grace,
        );
        match taken.into_result() {
            Ok(_) => {}
            Err(error) if error.is_exists() => {
                known.claims.extend(inner.holder(zone)?);
                return Err(Error::conflict(Operation::Acquire, known));
            }
            Err(error) => return Err(error),
        }
        provisional.claims.insert(zone, hold);
        if marked(&mut known)? {
            provisional.release([zone]);
            return Err(Error::conflict(Operation::Acquire, known));
        }
        let mut found = inner.look(zone)?;
        found.claims.retain(|claim| {
            claim.hold() != hold && marker.is_none_or(|marker| claim.hold() != marker.hold())
        });
        let mut hindered = !found.claims.is_empty() || !accept && found.is_occupied();
        if hindered && found.claims.is_empty() && inner.options.foreign == Foreign::Flush {
            hindered = inner.flush_zone(zone)?.left || inner.look(zone)?.is_occupied();
        }
        if hindered {
            provisional.release([zone]);
            return Err(Error::conflict(Operation::Acquire, found));
        }
        Ok(())
    }

    /// Any free zones. Each zone of the range is tried once at most.
    fn anywhere(
        &mut self,
        wants: Vec<Want>,
        claimed: &BTreeMap<Zone, Vec<Claim>>,
        named: &HashMap<Zone, ZoneUse>,
        provisional: &mut Provisional<'_>,
        placed: &mut Vec<(Want, Zone)>,
    ) -> Result<()> {
        let inner = self.inner;
        let (candidates, quarantined, fresh) = {
            let mut memory = inner.memory();
            let (candidates, fresh) = memory.candidates(&inner.options);
            (candidates, memory.quarantined(), fresh)
        };
        let usable = |zone: &Zone| {
            !inner.options.reserved.contains(zone)
                && !claimed.contains_key(zone)
                && !named.contains_key(zone)
                && !quarantined.contains(zone)
        };
        let mut map: Option<ZoneMap> = None;
        let mut next = 0;
        let mut wants = wants.into_iter().peekable();
        while wants.peek().is_some() {
            let missing = wants.len();
            let mut batch: Vec<(Zone, OwnerKey)> = Vec::with_capacity(missing);
            let owners: Vec<OwnerKey> = wants.clone().map(|want| want.owner).collect();
            while batch.len() < missing && next < candidates.len() {
                // From here on are those that had traffic when they were last looked at.
                if next >= fresh && map.is_none() {
                    if !batch.is_empty() {
                        break;
                    }
                    map = Some(inner.scan()?);
                }
                let zone = candidates[next];
                next += 1;
                let free = map.as_ref().is_none_or(|map| map.is_free(zone));
                if free && usable(&zone) {
                    batch.push((zone, owners[batch.len()]));
                }
            }
            if batch.is_empty() {
                let error = Error::of_exhausted(Operation::Acquire, inner.exhausted()?);
                for want in wants.by_ref() {
                    self.fail(&want, error.clone());
                }
                break;
            }
            let tried = inner.claim(&batch, provisional)?;
            let flush = inner.options.foreign == Foreign::Flush;
            let (clean, dirty) = inner.verify(tried, &mut map, flush)?;
            provisional.release(dirty.iter().map(|(zone, _)| *zone));
            // Zones stay with the owners they were claimed for.
            let mut clean: HashMap<OwnerKey, Zone> = clean
                .into_iter()
                .map(|(zone, owner)| (owner, zone))
                .collect();
            let mut left = Vec::new();
            for want in wants.by_ref() {
                match clean.remove(&want.owner) {
                    Some(zone) => placed.push((want, zone)),
                    None => left.push(want),
                }
            }
            wants = left.into_iter().peekable();
            if !dirty.is_empty() && map.is_none() {
                map = Some(inner.scan()?);
            }
        }
        Ok(())
    }

    /// Turns provisional claims into leases, if the turn was theirs all along.
    fn confirm(
        &mut self,
        placed: Vec<(Want, Zone)>,
        turns: &Turns<'_>,
        provisional: &mut Provisional<'_>,
    ) -> Result<()> {
        let owners: Vec<OwnerKey> = placed.iter().map(|(want, _)| want.owner).collect();
        let kept = turns.keep(&owners)?;
        let mut holds = Vec::new();
        let mut confirmed = Vec::new();
        for ((want, zone), kept) in placed.into_iter().zip(kept) {
            match provisional.claims.get(&zone) {
                Some(hold) if kept => {
                    holds.push(*hold);
                    confirmed.push((want, zone));
                }
                _ => {
                    provisional.release([zone]);
                    self.again.push(want);
                }
            }
        }
        let at = Instant::now();
        let session = self.inner.ct.session();
        let batch = ops::renew_many(session, holds.into_iter(), self.inner.options.ttl)?;
        let stopped = batch.stopped().cloned();
        let mut results = batch.into_results().into_iter();
        for (want, zone) in confirmed {
            match results.next() {
                Some(Ok(())) => {
                    provisional.claims.remove(&zone);
                    self.keep(&want, zone, None, at);
                }
                // It took longer than the grace.
                Some(Err(error)) if error.is_not_found() => self.again.push(want),
                Some(Err(error)) => self.fail(&want, error),
                None => {
                    let error = stopped.clone();
                    let error = error.unwrap_or_else(|| Error::overrun(Operation::Renew));
                    self.fail(&want, error);
                }
            }
        }
        Ok(())
    }
}

/// The marker of a takeover that broke off, where it is all that its zone is claimed by.
fn unfinished(own: &[Claim], of_zone: &BTreeMap<Zone, Vec<Claim>>) -> Option<Claim> {
    own.iter()
        .find(|claim| of_zone.get(&claim.zone()).is_none_or(|all| all.len() == 1))
        .copied()
}

/// Zones with the owners that they were claimed for.
type Tried = Vec<(Zone, OwnerKey)>;

impl Inner {
    /// What names zones without the kernel's table saying so.
    fn named(&self) -> Result<HashMap<Zone, ZoneUse>> {
        let mut named: HashMap<Zone, ZoneUse> = HashMap::new();
        for (zone, source) in self.sources()? {
            let used = named.entry(zone).or_insert_with(|| ZoneUse::unused(zone));
            used.sources.push(source);
        }
        Ok(named)
    }

    /// Claims what is not claimed.
    fn claim(
        &self,
        batch: &[(Zone, OwnerKey)],
        provisional: &mut Provisional<'_>,
    ) -> Result<Tried> {
        let hold = |(zone, owner): &(Zone, OwnerKey)| {
            Hold::claim(ClaimKind::Lease, *zone, *owner, self.instance)
        };
        let taken = ops::take_many(
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
    fn verify(
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
            if occupied && flush && found.claims.is_empty() {
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

    /// Why there is no zone left, by a scan.
    fn exhausted(&self) -> Result<Exhausted> {
        let map = self.scan()?;
        let (first, last) = (*self.options.range.start(), *self.options.range.end());
        let mut exhausted = Exhausted::of(first, last);
        for zone in first.get()..=last.get() {
            exhausted.add(&map.zone(Zone::new(zone)));
        }
        Ok(exhausted)
    }
}
