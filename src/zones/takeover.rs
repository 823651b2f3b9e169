//! Replacing a claim without a moment in which the zone is not claimed.
//!
//! A claim's reply tuple cannot be changed, so the old claim is deleted and a new one made. A marker
//! beside it, put there first, keeps others away: whoever claims the zone in between looks at what
//! else is in it, finds the marker, and goes.

use std::sync::Arc;
use std::time::Instant;

use super::allocator::Inner;
use super::lease::{Lease, keep};
use super::turns::{Patience, Turns, complete, report_left};
use crate::error::{Error, Operation, Result};
use crate::model::{Claim, ClaimKind, Hold, Instance, OwnerKey, ZoneUse};
use crate::ops;

/// A claim, and who is to have it.
pub(super) struct Move {
    pub(super) from: Claim,
    pub(super) to: OwnerKey,
}

/// Replaces claims, for owners whose turn it is. `is_not_found` for one that is not there any more.
pub(super) fn take_over(inner: &Inner, moves: &[Move]) -> Vec<Result<()>> {
    let token = Instance::random();
    let marker = |order: &Move| {
        Hold::claim(
            ClaimKind::Marker,
            order.from.zone(),
            order.from.owner(),
            token,
        )
    };
    let mut results: Vec<Result<()>> = moves.iter().map(|_| Ok(())).collect();
    step(moves, &mut results, |orders| {
        let markers = orders.iter().map(|order| marker(order));
        let results = take(inner, markers);
        results
            .into_iter()
            .zip(orders)
            .map(|(result, order)| match result {
                Err(error) if error.is_exists() => replace_marker(inner, order, marker(order)),
                result => result,
            })
            .collect()
    });
    // Setting some may have taken long.
    step(moves, &mut results, |orders| {
        let markers = orders.iter().map(|order| marker(order));
        match ops::renew_many(inner.ct.session(), markers, inner.options.grace) {
            Ok(batch) => complete(batch, orders.len(), Operation::Claim),
            Err(error) => orders.iter().map(|_| Err(error.clone())).collect(),
        }
    });
    step(moves, &mut results, |orders| {
        let claims = orders.iter().map(|order| order.from.hold());
        complete(
            ops::release_many(inner.ct.session(), claims),
            orders.len(),
            Operation::Release,
        )
    });
    // From here on nothing but the marker says whose the zone is.
    let released: Vec<bool> = results
        .iter()
        .map(|result| match result {
            Ok(()) => true,
            Err(error) => error.is_outcome_unknown(),
        })
        .collect();
    step(moves, &mut results, |orders| {
        let claim = |order: &Move| {
            Hold::claim(
                ClaimKind::Lease,
                order.from.zone(),
                order.to,
                inner.instance,
            )
        };
        let batch = ops::take_many(
            inner.ct.session(),
            orders.iter().map(|order| claim(order)),
            inner.options.ttl,
        );
        complete(batch, orders.len(), Operation::Claim)
            .into_iter()
            .zip(orders)
            .map(|(result, order)| match result {
                Err(error) => insist(inner, claim(order), marker(order), error),
                done => done,
            })
            .collect()
    });
    // Where the claim could not be made, the marker keeps the zone for its owner until it ends, who
    // acquires it by that; no other failed move leaves anything behind.
    let done: Vec<usize> = (0..moves.len())
        .filter(|at| results[*at].is_ok() || !released[*at])
        .collect();
    let markers = done.iter().map(|at| marker(&moves[*at]));
    let ended = ops::release_many(inner.ct.session(), markers);
    for (at, result) in done.into_iter().zip(ended.into_results()) {
        match (&results[at], result) {
            // It ended before the claim was made, so another one may have had the zone meanwhile.
            (Ok(()), Err(error)) if error.is_not_found() => {
                let order = &moves[at];
                let zone = order.from.zone();
                let claim = Hold::claim(ClaimKind::Lease, zone, order.to, inner.instance);
                let back = ops::release_many(inner.ct.session(), std::iter::once(claim));
                report_left(&back);
                results[at] = Err(error);
            }
            _ => {}
        }
    }
    results
}

/// One step, for those that came so far.
fn step(
    moves: &[Move],
    results: &mut [Result<()>],
    work: impl FnOnce(&[&Move]) -> Vec<Result<()>>,
) {
    let places: Vec<usize> = (0..moves.len()).filter(|at| results[*at].is_ok()).collect();
    if places.is_empty() {
        return;
    }
    let orders: Vec<&Move> = places.iter().map(|at| &moves[*at]).collect();
    for (at, result) in places.iter().zip(work(&orders)) {
        results[*at] = result;
    }
}

fn take(inner: &Inner, holds: impl ExactSizeIterator<Item = Hold>) -> Vec<Result<()>> {
    let count = holds.len();
    let batch = ops::take_many(inner.ct.session(), holds, inner.options.grace);
    complete(batch, count, Operation::Claim)
}

/// A marker is there already: one that a former self left, which goes, since the turn is ours; or one
/// of a rename, which is waited for.
fn replace_marker(inner: &Inner, order: &Move, marker: Hold) -> Result<()> {
    let mut patience = Patience::new(inner.options.patience);
    loop {
        match inner.ct.get(marker.place()) {
            Ok(entry) => match Claim::of(&entry) {
                Some(old) if old.owner() == order.from.owner() => {
                    let gone = ops::release_many(inner.ct.session(), std::iter::once(old.hold()));
                    drop(gone);
                }
                _ => patience.wait()?,
            },
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        match take(inner, std::iter::once(marker)).remove(0) {
            Err(error) if error.is_exists() => patience.wait()?,
            done => return done,
        }
    }
}

/// A rival claimed the zone in the moment in which no claim was there. It finds the marker and goes;
/// or the table was full in that moment, and the marker keeps the zone until there is room.
fn insist(inner: &Inner, claim: Hold, marker: Hold, mut error: Error) -> Result<()> {
    let session = inner.ct.session();
    let grace = inner.options.grace;
    // A rival that was killed in that moment leaves a trial, which ends within the grace.
    let mut patience = Patience::new(grace * 2);
    while error.is_exists() || error.is_table_full() {
        if patience.wait().is_err() {
            break;
        }
        let kept = ops::renew_many(session, std::iter::once(marker), grace)?;
        if kept.succeeded() == 0 {
            break;
        }
        let batch = ops::take_many(session, std::iter::once(claim), inner.options.ttl);
        match batch.into_result() {
            Ok(_) => return Ok(()),
            Err(again) => error = again,
        }
    }
    Err(error)
}

pub(super) fn rename(inner: &Arc<Inner>, lease: Lease, owner: OwnerKey) -> Result<Lease> {
    match give(inner, &lease, owner) {
        Ok(None) => Ok(lease),
        Ok(Some(renamed)) => Ok(renamed),
        Err(error) => {
            // Its owner keeps the zone, whatever was chosen for dropped leases.
            lease.leave();
            Err(error)
        }
    }
}

fn give(inner: &Arc<Inner>, lease: &Lease, owner: OwnerKey) -> Result<Option<Lease>> {
    let old = Arc::clone(lease.held());
    inner.check(&old, Operation::Rename)?;
    if old.owner() == owner {
        return Ok(None);
    }
    let both = [old.owner(), owner];
    let mut patience = Patience::new(inner.options.patience);
    let turns = loop {
        let (turns, results) = Turns::take(inner, both.to_vec());
        match results.into_iter().collect::<Result<()>>() {
            Ok(()) => break turns,
            Err(error) if error.is_exists() => {
                drop(turns);
                patience.wait()?;
            }
            Err(error) => return Err(error),
        }
    };
    let claims = inner.claims()?;
    let mine = |claim: &&Claim| claim.hold() == old.hold();
    let Some(from) = claims.iter().find(mine) else {
        inner.end(&old);
        let holder = inner.holder(old.zone())?;
        return Err(Error::lost(Operation::Rename, old.zone(), holder));
    };
    let other = claims.iter().find(|claim| claim.owner() == owner);
    let own = || inner.own_lease(owner).map(|held| held.zone());
    let zone = other.map(Claim::zone).or_else(own);
    if let Some(zone) = zone {
        let by = ZoneUse {
            claims: other.copied().into_iter().collect(),
            ..ZoneUse::unused(zone)
        };
        return Err(Error::conflict(Operation::Rename, by));
    }
    let order = Move {
        from: *from,
        to: owner,
    };
    if turns.keep(&both)?.contains(&false) {
        return Err(Error::waited(Operation::Rename, inner.options.grace));
    }
    // From here on the keeper has no claim to put back.
    let turn = old.turn();
    inner.end(&old);
    let at = Instant::now();
    take_over(inner, &[order]).remove(0).map_err(|error| {
        if error.is_not_found() {
            Error::lost(Operation::Rename, old.zone(), None)
        } else {
            error
        }
    })?;
    drop(turn);
    let handle = keep(inner, old.zone(), owner, at);
    Ok(Some(Lease::new(handle, lease.previous())))
}
