//! Acquiring zones: claim, look, and only then hand out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use super::allocator::Inner;
use super::lease::{Handle, Held, Lease, keep};
use super::map::{Named, ZoneMap};
use super::options::Foreign;
use super::takeover::{Move, take_over};
use super::trial::Provisional;
use super::turns::{Patience, Turns, complete, report_left};
use crate::error::{Error, Operation, Result};
use crate::model::{Claim, ClaimKind, Hold, Instance, OwnerKey, Zone, ZoneUse};
use crate::ops;

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) struct Want {
    owner: OwnerKey,
    at: Option<Zone>,
    /// Traffic and rules are no hindrance.
    with_traffic: bool,
}

impl Want {
    pub(super) fn any(owner: OwnerKey) -> Result<Self> {
        Ok(Self {
            owner: owner.of_somebody()?,
            at: None,
            with_traffic: false,
        })
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
            ..Self::any(owner)?
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
    handle: Arc<Handle>,
    previous: Option<Instance>,
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
    renew_known(inner, &mut pending, &mut got);
    let mut patience = Patience::new(inner.options.patience);
    while !pending.is_empty() {
        let owners = pending.iter().map(|want| want.owner).collect();
        let (turns, results) = Turns::take(inner, owners);
        let (mut now, mut again) = (Vec::new(), Vec::new());
        for (want, result) in pending.into_iter().zip(results) {
            match result {
                Ok(()) => now.push(want),
                Err(error) if error.is_exists() => again.push(want),
                Err(error) => {
                    got.insert(want.owner, Err(error));
                }
            }
        }
        let got = &mut got;
        let mut search = Search { inner, got, again };
        search.all(&now, &turns);
        pending = search.again;
        drop(turns);
        if !pending.is_empty() {
            keep_got(inner, got);
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
            // Got first, and ended before the last one was found.
            Some(Ok(got)) => inner
                .check(got.handle.held(), Operation::Acquire)
                .map(|()| Lease::new(Arc::clone(&got.handle), got.previous)),
            Some(Err(error)) => Err(error.clone()),
            None => unreachable!("each owner is decided on"),
        })
        .collect()
}

/// Those that this allocator holds already: the kernel is only asked whether that is still so.
fn renew_known(
    inner: &Arc<Inner>,
    pending: &mut Vec<Want>,
    got: &mut HashMap<OwnerKey, Result<Got>>,
) {
    let known: Vec<(Option<Zone>, Arc<Handle>)> = {
        let memory = inner.memory();
        let of = |want: &Want| Some((want.at, memory.handle_of(want.owner)?));
        pending.iter().filter_map(of).collect()
    };
    let known: Vec<Arc<Handle>> = known
        .into_iter()
        .filter(|(at, handle)| {
            let held = handle.held();
            !held.is_over() && at.is_none_or(|zone| zone == held.zone())
        })
        .map(|(_, handle)| handle)
        .collect();
    if known.is_empty() {
        return;
    }
    let at = Instant::now();
    let holds = known.iter().map(|handle| handle.held().hold());
    let results = match ops::renew_many(inner.ct.session(), holds, inner.options.ttl) {
        Ok(batch) => complete(batch, known.len(), Operation::Renew),
        Err(error) => known.iter().map(|_| Err(error.clone())).collect(),
    };
    for (handle, result) in known.into_iter().zip(results) {
        let owner = handle.held().owner();
        match result {
            Ok(()) => {
                handle.held().set_renewed(at);
                let previous = None;
                got.insert(owner, Ok(Got { handle, previous }));
            }
            // It was flushed away or is lost: to be found out in the owner's turn.
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                got.insert(owner, Err(error));
            }
        }
    }
    pending.retain(|want| !got.contains_key(&want.owner));
}

/// Has what was got first last while the rest is waited for.
fn keep_got(inner: &Inner, got: &HashMap<OwnerKey, Result<Got>>) {
    let third = inner.options.ttl / 3;
    let held = got.values().flatten().map(|got| got.handle.held());
    let old: Vec<Arc<Held>> = held
        .filter(|held| !held.is_over() && held.renewed().elapsed() >= third)
        .cloned()
        .collect();
    if !old.is_empty() {
        for (zone, error) in inner.renew(&old).failed {
            tracing::warn!(zone = zone.get(), %error, "a lease that was just acquired is not renewed");
        }
    }
}

struct Search<'a> {
    inner: &'a Arc<Inner>,
    got: &'a mut HashMap<OwnerKey, Result<Got>>,
    /// To be tried once more.
    again: Vec<Want>,
}

impl Search<'_> {
    fn all(&mut self, wants: &[Want], turns: &Turns<'_>) {
        if wants.is_empty() {
            return;
        }
        if let Err(error) = self.settle(wants, turns) {
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
        let handle = keep(self.inner, zone, want.owner, at);
        self.inner.memory().end_quarantine(zone);
        tracing::debug!(zone = zone.get(), owner = %want.owner, "a zone is leased");
        self.got.insert(want.owner, Ok(Got { handle, previous }));
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
        let mut ended: Vec<Hold> = Vec::new();
        for want in wants {
            let own = of_owner.get(&want.owner).map_or(&[][..], Vec::as_slice);
            let of_kind = |kind| own.iter().filter(move |claim| claim.kind() == kind);
            // Left by one whose turn is over: nobody has looked at the zone to the end.
            ended.extend(of_kind(ClaimKind::Trial).map(Claim::hold));
            let mut leases = of_kind(ClaimKind::Lease);
            let Some(lease) = leases.next() else {
                fresh.push((*want, unfinished(own, &of_zone)));
                continue;
            };
            // Two are left by those who do not take turns. The lowest stays.
            ended.extend(leases.map(Claim::hold));
            if let Some(error) = Self::misplaced(want, lease) {
                self.fail(want, error);
            } else if lease.instance() == self.inner.instance {
                mine.push((*want, *lease));
            } else {
                moves.push((*want, *lease));
            }
        }
        if !ended.is_empty() {
            tracing::warn!(
                claims = ended.len(),
                "claims that their owners left are ended"
            );
            let session = self.inner.ct.session();
            report_left(&ops::release_many(session, ended.into_iter()));
        }
        self.renew(&mine);
        self.take_over(moves, turns)?;
        self.find(fresh, &of_zone, turns)
    }

    /// The owner has a zone, and it is not what is asked for.
    fn misplaced(want: &Want, lease: &Claim) -> Option<Error> {
        let misplaced = want.at.is_some_and(|zone| zone != lease.zone());
        misplaced.then(|| {
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
            Ok(batch) => complete(batch, mine.len(), Operation::Renew),
            Err(error) => mine.iter().map(|_| Err(error.clone())).collect(),
        };
        for ((want, claim), result) in mine.iter().zip(results) {
            match result {
                Ok(()) => self.keep(want, claim.zone(), None, at),
                Err(error) if error.is_not_found() => self.again.push(*want),
                Err(error) => self.fail(want, error),
            }
        }
    }

    fn take_over(&mut self, moves: Vec<(Want, Claim)>, turns: &Turns<'_>) -> Result<()> {
        let at = Instant::now();
        let owners: Vec<OwnerKey> = moves.iter().map(|(want, _)| want.owner).collect();
        let kept = turns.keep(&owners)?;
        let (moves, late): (Vec<_>, Vec<_>) =
            moves.into_iter().zip(kept).partition(|(_, kept)| *kept);
        self.again
            .extend(late.into_iter().map(|((want, _), _)| want));
        let moves: Vec<(Want, Claim)> = moves.into_iter().map(|(order, _)| order).collect();
        let orders: Vec<Move> = moves
            .iter()
            .map(|(want, claim)| Move {
                from: *claim,
                to: want.owner,
            })
            .collect();
        let results = take_over(self.inner, &orders);
        for ((want, claim), result) in moves.iter().zip(results) {
            match result {
                Ok(()) => self.keep(want, claim.zone(), Some(claim.instance()), at),
                // It ended or was given up meanwhile: look again.
                // Or the turn ended before it was done, and another instance was faster.
                Err(error) if error.is_not_found() || error.is_exists() => self.again.push(*want),
                Err(error) => self.fail(want, error),
            }
        }
        Ok(())
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
        let mut provisional = Provisional::new(inner, turns);
        let mut placed: Vec<(Want, Zone)> = Vec::new();
        let mut markers: Vec<(OwnerKey, Hold)> = Vec::new();
        let mut anywhere = Vec::new();
        let named = inner.named()?;
        for (want, marker) in fresh {
            let own = inner.own_lease(want.owner);
            let place = match (want.at, marker) {
                (Some(zone), Some(marker)) if zone == marker.zone() => Some((zone, Some(marker))),
                (Some(zone), _) => Some((zone, None)),
                // Its zone was being taken over when the process ended that did it: the marker kept
                // others away, and what is in the zone is the owner's own.
                (None, Some(marker)) => Some((marker.zone(), Some(marker))),
                // It had one here, whose claim was flushed away.
                (None, None) => own.as_ref().map(|held| (held.zone(), None)),
            };
            let Some((zone, marker)) = place else {
                anywhere.push(want);
                continue;
            };
            match self.place(&want, zone, marker, &named, &mut provisional) {
                Ok(()) => {
                    placed.push((want, zone));
                    markers.extend(marker.map(|marker| (want.owner, marker.hold())));
                }
                Err(error) if marker.is_some() && error.is_conflict() => self.again.push(want),
                Err(error) if want.at.is_none() && error.is_conflict() => {
                    // A trial may come to nothing, and whose it was is gone by now if nobody claims it.
                    let by = error.taken_by().map_or(&[][..], |by| &by.claims);
                    if let Some(held) = own {
                        let anothers = |claim: &Claim| {
                            claim.kind() != ClaimKind::Trial && claim.hold() != held.hold()
                        };
                        if by.iter().any(anothers) {
                            inner.end(&held);
                        }
                    }
                    self.again.push(want);
                }
                Err(error) => self.fail(&want, error),
            }
        }
        let mut found = Ok(());
        if !anywhere.is_empty() {
            found = self.anywhere(anywhere, claimed, &named, &mut provisional, &mut placed);
        }
        // What was found before something failed is had nevertheless.
        let confirmed = self.confirm(placed, turns, &mut provisional);
        // The marker of an owner who did not get the zone keeps it for the next try.
        let got = |(owner, marker): (OwnerKey, Hold)| {
            matches!(self.got.get(&owner), Some(Ok(_))).then_some(marker)
        };
        let markers: Vec<Hold> = markers.into_iter().filter_map(got).collect();
        report_left(&ops::release_many(inner.ct.session(), markers.into_iter()));
        confirmed.and(found)
    }

    /// A zone that is asked for by its number.
    fn place(
        &mut self,
        want: &Want,
        zone: Zone,
        marker: Option<Claim>,
        named: &Named,
        provisional: &mut Provisional<'_>,
    ) -> Result<()> {
        let inner = self.inner;
        let own = marker.is_some();
        let here = inner.own_lease(want.owner).map(|held| held.zone());
        let had = here == Some(zone);
        let accept = want.with_traffic || own || had;
        let mut known = named.zone(zone);
        known.reserved = inner.options.reserved.contains(&zone);
        known.quarantined = !accept && inner.memory().quarantined().contains(&zone);
        // This allocator has it for another owner, or another one for this owner, though the claim may
        // have been flushed away.
        if !had && (here.is_some() || inner.own_zones().contains(&zone)) {
            known.claims.extend(inner.holder(zone)?);
            return Err(Error::conflict(Operation::Acquire, known));
        }
        if known.reserved && !had || !accept && !known.is_free() {
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
        let taken = ops::try_many(
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
            hindered = !provisional.flush(zone)?;
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
        named: &Named,
        provisional: &mut Provisional<'_>,
        placed: &mut Vec<(Want, Zone)>,
    ) -> Result<()> {
        let inner = self.inner;
        let (candidates, quarantined, fresh) = {
            let mut memory = inner.memory();
            let (candidates, fresh) = memory.candidates(&inner.options);
            (candidates, memory.quarantined(), fresh)
        };
        // Those of this allocator, whose claims somebody may have flushed away: the keeper restores them.
        let own = inner.own_zones();
        let usable = |zone: &Zone| {
            !own.contains(zone)
                && !inner.options.reserved.contains(zone)
                && !claimed.contains_key(zone)
                && !named.contains(*zone)
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
            provisional.keep()?;
            let tried = inner.claim(&batch, provisional)?;
            let (clean, dirty) = inner.verify(tried, &mut map, provisional)?;
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
        let batch = ops::confirm_many(session, holds.into_iter(), self.inner.options.ttl)?;
        let results = complete(batch, confirmed.len(), Operation::Claim);
        for ((want, zone), result) in confirmed.into_iter().zip(results) {
            match result {
                Ok(()) => {
                    provisional.claims.remove(&zone);
                    self.keep(&want, zone, None, at);
                }
                // It took longer than the grace.
                Err(error) if error.is_not_found() => self.again.push(want),
                Err(error) => self.fail(&want, error),
            }
        }
        Ok(())
    }
}

/// The marker of a takeover that broke off, where nobody else claims its zone.
fn unfinished(own: &[Claim], of_zone: &BTreeMap<Zone, Vec<Claim>>) -> Option<Claim> {
    let alone = |marker: &Claim| {
        let owner = marker.owner();
        let all = of_zone.get(&marker.zone()).map_or(&[][..], Vec::as_slice);
        all.iter().all(|claim| claim.owner() == owner)
    };
    own.iter()
        .find(|claim| claim.kind() == ClaimKind::Marker && alone(claim))
        .copied()
}
