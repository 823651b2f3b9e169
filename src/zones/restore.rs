//! Putting claims back that somebody flushed away.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::allocator::Inner;
use super::lease::Held;
use super::turns::Turns;
use crate::error::{Error, Result};
use crate::model::{Claim, ClaimKind, Hold, OwnerKey, Zone, claim_places};
use crate::ops;

/// So many are put back in one turn, which has to be over within the grace.
const CHUNK: usize = 2048;
/// A rival's trial may end between the attempt and the look at whose it was.
const ATTEMPTS: u32 = 3;

/// What became of a lease whose claim was gone.
pub(super) enum Fate {
    /// It is claimed again.
    Restored,
    /// It is claimed, by somebody else's doing.
    Kept,
    /// Somebody else holds the zone, or held it meanwhile, or may have.
    Lost(Option<Claim>),
    /// To be tried again soon: somebody is at it.
    Later,
    /// To be tried again.
    Failed(Error),
}

/// Puts claims back, in the turns of their owners: else an owner who finds its claim gone would get
/// another zone meanwhile, and have two. `ended` gives the lease of each zone that was heard to end
/// last, and is asked once a part, when all ends have been told.
pub(super) fn put_back(
    inner: &Inner,
    gone: &[Arc<Held>],
    mut ended: impl FnMut() -> HashMap<Zone, Claim>,
) -> Vec<Fate> {
    let mut fates = Vec::with_capacity(gone.len());
    for part in gone.chunks(CHUNK) {
        let owners: Vec<OwnerKey> = part.iter().map(|held| held.owner()).collect();
        let (turns, results) = Turns::take(inner, owners);
        match Look::new(inner, part, &mut ended) {
            Ok(look) => fates.extend(part.iter().zip(results).map(|(held, turn)| match turn {
                Ok(()) if turns.since().elapsed() < inner.options.grace / 2 => {
                    look.put_back(held).unwrap_or_else(Fate::Failed)
                }
                Ok(()) => Fate::Later,
                Err(error) if error.is_exists() => Fate::Later,
                Err(error) => Fate::Failed(error),
            })),
            Err(error) => fates.extend(part.iter().map(|_| Fate::Failed(error.clone()))),
        }
        drop(turns);
    }
    fates
}

/// What was seen in the turns.
struct Look<'a> {
    inner: &'a Inner,
    /// By owner.
    leases: HashMap<OwnerKey, Vec<Claim>>,
    ended: HashMap<Zone, Claim>,
}

impl<'a> Look<'a> {
    fn new(
        inner: &'a Inner,
        gone: &[Arc<Held>],
        ended: &mut impl FnMut() -> HashMap<Zone, Claim>,
    ) -> Result<Self> {
        let mut leases: HashMap<OwnerKey, Vec<Claim>> = HashMap::new();
        for claim in inner.claims()? {
            if claim.kind() == ClaimKind::Lease {
                leases.entry(claim.owner()).or_default().push(claim);
            }
        }
        // A claim that has run out says so only when somebody comes past it (`nf_ct_gc_expired`).
        for held in gone {
            inner.holder(held.zone())?;
        }
        Ok(Self {
            inner,
            leases,
            ended: ended(),
        })
    }

    fn put_back(&self, held: &Held) -> Result<Fate> {
        let inner = self.inner;
        // Whoever has it may wait for long, and the other leases have to be kept meanwhile.
        let Some(turn) = held.try_turn() else {
            return Ok(Fate::Later);
        };
        let own = held.hold();
        let of_owner = self
            .leases
            .get(&held.owner())
            .map_or(&[][..], Vec::as_slice);
        if of_owner.iter().any(|claim| claim.hold() == own) {
            return Ok(Fate::Kept);
        }
        if let Some(other) = of_owner.first() {
            return Ok(Fate::Lost(Some(*other)));
        }
        let anothers = self.ended.get(&held.zone());
        // A claim that may have ended by itself may have been somebody's since, who is gone again; and
        // where somebody else's ended last, this one had ended before.
        if anothers.is_some_and(|claim| claim.hold() != own) || !inner.may_last(held) {
            return Ok(Fate::Lost(inner.holder(held.zone()).unwrap_or(None)));
        }
        let mut fate = Fate::Later;
        for _ in 0..ATTEMPTS {
            fate = claim_again(inner, held, own)?;
            if !matches!(fate, Fate::Later) {
                break;
            }
        }
        drop(turn);
        Ok(fate)
    }
}

/// Claims a zone again, unless somebody has.
fn claim_again(inner: &Inner, held: &Held, own: Hold) -> Result<Fate> {
    let at = Instant::now();
    let session = inner.ct.session();
    let batch = ops::take_many(session, std::iter::once(own), inner.options.ttl);
    match batch.into_result() {
        Ok(_) => {}
        Err(error) if error.is_exists() => {
            return Ok(match inner.holder(held.zone())? {
                Some(claim) if claim.hold() == own => Fate::Kept,
                // It looks at the zone, and goes if it finds anything there.
                Some(claim) if claim.kind() == ClaimKind::Trial => Fate::Later,
                Some(claim) => Fate::Lost(Some(claim)),
                None => Fate::Later,
            });
        }
        Err(error) => return Err(error),
    }
    // A marker says that a later instance of the owner was taking the zone over, and is between its
    // steps: the claim would be in its way.
    let [_, marker] = claim_places(held.zone());
    match inner.ct.get(marker) {
        Ok(entry) => {
            let gone = ops::release_many(session, std::iter::once(own));
            drop(gone);
            Ok(Fate::Lost(Claim::of(&entry)))
        }
        Err(error) if error.is_not_found() => {
            held.set_renewed(at);
            Ok(Fate::Restored)
        }
        Err(error) => Err(error),
    }
}
