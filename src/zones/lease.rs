//! A zone that is held.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::allocator::Inner;
use super::turns::{Patience, Turns, report_left};
use crate::error::{Error, Operation, Result};
use crate::model::{
    Claim, ClaimKind, Completeness, DeleteOptions, Deleted, Hold, Instance, OwnerKey, Zone,
    claim_places,
};
use crate::ops;

/// So long at most is waited for the turn in which a dropped lease is released.
const DROPPED: Duration = Duration::from_secs(1);

/// A lease, as whoever renews it sees it.
pub(super) struct Held {
    zone: Zone,
    owner: OwnerKey,
    instance: Instance,
    /// When it was last renewed, or a moment before.
    renewed: Mutex<Instant>,
    /// It is not to be renewed any more: lost, released, or left.
    over: AtomicBool,
    /// Whoever ends the claim or puts it back: the keeper must not restore what is being released.
    turn: Mutex<()>,
}

impl Held {
    pub(super) const fn zone(&self) -> Zone {
        self.zone
    }

    pub(super) const fn owner(&self) -> OwnerKey {
        self.owner
    }

    pub(super) fn hold(&self) -> Hold {
        Hold::claim(ClaimKind::Lease, self.zone, self.owner, self.instance)
    }

    pub(super) fn renewed(&self) -> Instant {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_renewed(&self, at: Instant) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Nobody else ends the claim or puts it back meanwhile.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, unless somebody else is at it, which may take long.
    pub(super) fn try_turn(&self) -> Option<MutexGuard<'_, ()>> {
        match self.turn.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(turn)) => Some(turn.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// What the users' handles of one lease share. With the last of them it is dropped, which may flush a
/// zone: nobody else keeps one for longer than it takes to hand it out.
pub(super) struct Handle {
    inner: Arc<Inner>,
    held: Arc<Held>,
    /// Nothing is to be done about it when the last handle goes.
    left: AtomicBool,
}

impl Handle {
    fn new(inner: &Arc<Inner>, zone: Zone, owner: OwnerKey, renewed: Instant) -> Self {
        Self {
            inner: Arc::clone(inner),
            held: Arc::new(Held {
                zone,
                owner,
                instance: inner.instance,
                renewed: Mutex::new(renewed),
                over: AtomicBool::new(false),
                turn: Mutex::new(()),
            }),
            left: AtomicBool::new(false),
        }
    }

    pub(super) const fn held(&self) -> &Arc<Held> {
        &self.held
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inner.memory().forget(&self.held);
        if !self.inner.options.release_on_drop
            || self.held.is_over()
            || self.left.load(Ordering::Acquire)
        {
            return;
        }
        if let Err(error) = self.inner.release_dropped(&self.held) {
            let zone = self.held.zone.get();
            tracing::warn!(zone, %error, "a dropped lease was not released");
        }
    }
}

/// What became of a release.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[must_use = "it says whether the zone is free"]
pub struct Released {
    /// The zone.
    pub zone: Zone,
    /// What was in it.
    pub deleted: Deleted,
    /// Entries came back, or could not be deleted: the zone is marked for the time of the quarantine, so
    /// that nobody is handed it.
    pub quarantined: bool,
}

/// What became of a renewal.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "it says which leases are lost"]
pub struct Renewed {
    /// How many leases were renewed.
    pub renewed: usize,
    /// Those that were not: [`is_lost`](Error::is_lost), or the kernel could not be asked, and they
    /// are tried again with the next renewal.
    pub failed: Vec<(Zone, Error)>,
}

/// A zone that is held by its owner, until it is released or not renewed in time.
///
/// Dropped, it is not renewed any more and ends by itself, as after a crash, and until then the same
/// key gets the same zone again. [`release_on_drop`](super::ZoneAllocatorBuilder::release_on_drop)
/// chooses otherwise.
#[must_use = "a lease that is dropped is not renewed"]
pub struct Lease {
    handle: Arc<Handle>,
    previous: Option<Instance>,
}

impl Lease {
    pub(super) fn new(handle: Arc<Handle>, previous: Option<Instance>) -> Self {
        Self { handle, previous }
    }

    pub(super) fn again(handle: Arc<Handle>) -> Self {
        Self::new(handle, None)
    }

    pub(super) fn held(&self) -> &Arc<Held> {
        &self.handle.held
    }

    fn inner(&self) -> &Inner {
        &self.handle.inner
    }

    /// The zone.
    #[must_use]
    pub fn zone(&self) -> Zone {
        self.held().zone
    }

    /// Who owns it.
    #[must_use]
    pub fn owner(&self) -> OwnerKey {
        self.held().owner
    }

    /// The instance that holds it.
    #[must_use]
    pub fn instance(&self) -> Instance {
        self.held().instance
    }

    /// The instance from which it was taken over when it was acquired: a former run of the owner, or
    /// another process that acquired for the same owner at the same time.
    #[must_use]
    pub fn previous(&self) -> Option<Instance> {
        self.previous
    }

    /// Whether it is known that the zone is not held any more. `false` is no proof: only
    /// [`Lease::renew`] asks the kernel.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.held().is_over()
    }

    /// How long it lasts if it is not renewed again.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        let ttl = self.inner().options.ttl;
        ttl.saturating_sub(self.held().renewed().elapsed())
    }

    /// Has the lease last for its time to live from now on. The kernel compares the owner and the
    /// instance, and renews, in one step.
    ///
    /// # Errors
    /// [`is_lost`](Error::is_lost), with who holds the zone now.
    pub fn renew(&self) -> Result<()> {
        self.inner().check(self.held(), Operation::Renew)?;
        let renewed = self.inner().renew(std::slice::from_ref(self.held()));
        match renewed.failed.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// Deletes all entries of the zone but the claim. Before each portion of some thousand the kernel is
    /// asked whether the lease is still held: lost on the way, what is left stays, and
    /// [`Deleted::stopped`] says so.
    ///
    /// # Errors
    /// [`is_lost`](Error::is_lost): nothing was deleted. Else as
    /// [`Conntrack::flush_zone`](crate::Conntrack::flush_zone).
    pub fn flush(&self) -> Result<Deleted> {
        self.inner().flush(self.held())
    }

    /// Gives the zone back: deletes its entries, sees that none comes back, and ends the claim.
    ///
    /// # Errors
    /// [`is_lost`](Error::is_lost): nothing was deleted then, unless the lease was lost while it was
    /// done. After another error the claim ends by itself; until then the same key acquires the zone
    /// again.
    pub fn release(self) -> Result<Released> {
        let released = self.inner().release(self.held());
        self.handle.left.store(true, Ordering::Release);
        released
    }

    /// Drops the handle and leaves the claim to end by itself, whatever was chosen for dropped
    /// leases.
    pub fn leave(self) {
        self.handle.left.store(true, Ordering::Release);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("zone", &self.held().zone)
            .field("owner", &self.held().owner)
            .field("instance", &self.held().instance)
            .finish_non_exhaustive()
    }
}

/// The lease that this instance has by another allocator.
pub(super) fn resume(inner: &Arc<Inner>, owner: OwnerKey, zone: Zone) -> Result<Lease> {
    let known = inner.memory().handle(zone);
    let same = |held: &Held| held.owner == owner && !held.is_over();
    if let Some(handle) = known.filter(|handle| same(&handle.held)) {
        let lease = Lease::again(handle);
        return lease.renew().map(|()| lease);
    }
    let hold = Hold::claim(ClaimKind::Lease, zone, owner, inner.instance);
    let lost = || {
        let holder = inner.holder(zone).unwrap_or(None);
        Error::lost(Operation::Renew, zone, holder)
    };
    // A trial has the same tuples, and is no lease yet.
    let claim = inner.holder(zone)?;
    let leased = |claim: &Claim| claim.kind() == ClaimKind::Lease && claim.hold() == hold;
    if !claim.as_ref().is_some_and(leased) {
        return Err(lost());
    }
    let at = Instant::now();
    let session = inner.ct.session();
    let renewed = ops::renew_many(session, std::iter::once(hold), inner.options.ttl)?;
    match renewed.into_result() {
        Ok(_) => {}
        Err(error) if error.is_not_found() => return Err(lost()),
        Err(error) => return Err(error),
    }
    Ok(Lease::again(keep(inner, zone, owner, at)))
}

/// Remembers a lease that is claimed since then: the same as before, where this allocator has it.
/// Whatever else it had of this zone, or for this owner, is over.
pub(super) fn keep(inner: &Arc<Inner>, zone: Zone, owner: OwnerKey, at: Instant) -> Arc<Handle> {
    let known = inner.memory().handle(zone);
    let same = |held: &Held| held.owner == owner && !held.is_over();
    let handle = match known {
        Some(handle) if same(&handle.held) => handle,
        _ => Arc::new(Handle::new(inner, zone, owner, at)),
    };
    handle.held.set_renewed(at);
    let before = inner.memory().keep(&handle);
    for before in before {
        inner.end(&before);
    }
    handle
}

impl Inner {
    /// A lease that is over stays so, though the same owner may have the zone again by another one.
    pub(super) fn check(&self, held: &Held, operation: Operation) -> Result<()> {
        if !held.is_over() {
            return Ok(());
        }
        let holder = self.holder(held.zone).unwrap_or(None);
        Err(Error::lost(operation, held.zone, holder))
    }

    /// It is no longer kept.
    pub(super) fn end(&self, held: &Held) {
        held.over.store(true, Ordering::Release);
        self.memory().forget(held);
    }

    /// Renews leases in as few datagrams as it takes.
    pub(super) fn renew(&self, leases: &[Arc<Held>]) -> Renewed {
        let at = Instant::now();
        let mut outcome = Renewed {
            renewed: 0,
            failed: Vec::new(),
        };
        let holds = leases.iter().map(|held| held.hold());
        let batch = match ops::renew_many(self.ct.session(), holds, self.options.ttl) {
            Ok(batch) => batch,
            Err(error) => {
                outcome.failed = leases
                    .iter()
                    .map(|held| (held.zone, error.clone()))
                    .collect();
                return outcome;
            }
        };
        for (held, result) in leases.iter().zip(batch.results()) {
            match result {
                Ok(()) => {
                    held.set_renewed(at);
                    outcome.renewed += 1;
                }
                Err(error) if error.is_not_found() => {
                    let holder = self.holder(held.zone).unwrap_or(None);
                    self.end(held);
                    let error = Error::lost(Operation::Renew, held.zone, holder);
                    outcome.failed.push((held.zone, error));
                }
                Err(error) => outcome.failed.push((held.zone, error.clone())),
            }
        }
        if let Some(error) = batch.stopped() {
            let rest = leases.iter().skip(batch.results().len());
            outcome
                .failed
                .extend(rest.map(|held| (held.zone, error.clone())));
        }
        outcome
    }

    /// The zones that are leased here, as far as is known.
    pub(super) fn own_zones(&self) -> HashSet<Zone> {
        let leases = self.memory().leases();
        let live = |held: &&Arc<Held>| self.may_last(held);
        leases.iter().filter(live).map(|held| held.zone).collect()
    }

    /// The lease of this owner here, as far as is known.
    pub(super) fn own_lease(&self, owner: OwnerKey) -> Option<Arc<Held>> {
        let held = self.memory().lease_of(owner)?;
        self.may_last(&held).then_some(held)
    }

    /// It cannot have ended by itself.
    pub(super) fn may_last(&self, held: &Held) -> bool {
        !held.is_over() && held.renewed().elapsed() < self.options.ttl
    }

    /// Who claims a zone now: by a lease, else by a marker.
    pub(super) fn holder(&self, zone: Zone) -> Result<Option<Claim>> {
        for place in claim_places(zone) {
            match self.ct.get(place) {
                Ok(entry) => return Ok(Claim::of(&entry)),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Who is replacing a claim of a zone.
    pub(super) fn marker(&self, zone: Zone) -> Result<Option<Claim>> {
        let [_, marker] = claim_places(zone);
        match self.ct.get(marker) {
            Ok(entry) => Ok(Claim::of(&entry)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes sure that a lease is held, for long enough to walk its zone once.
    fn assert_held(&self, held: &Held) -> Result<()> {
        let lasts = self.options.ttl.max(self.options.grace);
        let hold = std::iter::once(held.hold());
        let at = Instant::now();
        let renewed = ops::renew_many(self.ct.session(), hold, lasts)?.into_result();
        match renewed {
            Ok(_) => {
                held.set_renewed(at);
                Ok(())
            }
            Err(error) if error.is_not_found() => {
                self.end(held);
                let holder = self.holder(held.zone).unwrap_or(None);
                Err(Error::lost(Operation::Renew, held.zone, holder))
            }
            Err(error) => Err(error),
        }
    }

    fn flush(&self, held: &Held) -> Result<Deleted> {
        self.flush_and_look(held, self.options.verify)
    }

    fn flush_and_look(&self, held: &Held, looks: u32) -> Result<Deleted> {
        self.check(held, Operation::Release)?;
        let deleted = self.flush_held(held.zone, looks, &mut || self.assert_held(held))?;
        match &deleted.stopped {
            Some(error) if error.is_lost() && deleted.deleted == Some(0) => Err(error.clone()),
            _ => Ok(deleted),
        }
    }

    /// Deletes what is in a zone for as long as it `may`.
    pub(super) fn flush_held(
        &self,
        zone: Zone,
        looks: u32,
        may: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Deleted> {
        let options = DeleteOptions::new().verify(looks);
        ops::flush_held(self.ct.session(), zone, &options, may)
    }

    /// The last handle is gone. Who acquires for the same owner meanwhile has the zone.
    fn release_dropped(&self, held: &Held) -> Result<()> {
        // Not for long: it may be dropped in a turn of its owner's.
        let mut patience = Patience::new(DROPPED.min(self.options.patience));
        let Some(turns) = self.turn_of(held.owner, &mut patience)? else {
            return Ok(());
        };
        let again = self.memory().has(held.zone);
        if !again {
            let _ = self.release_now(held)?;
        }
        drop(turns);
        Ok(())
    }

    fn release(&self, held: &Held) -> Result<Released> {
        self.check(held, Operation::Release)?;
        let mut patience = Patience::new(self.options.patience);
        // Nobody is given the zone for the same owner while it is being flushed.
        let Some(turns) = self.turn_of(held.owner, &mut patience)? else {
            return Err(Error::waited(Operation::Release, self.options.patience));
        };
        let released = self.release_now(held);
        drop(turns);
        released
    }

    /// The turn of an owner, `None` if it was somebody else's all the time.
    fn turn_of(&self, owner: OwnerKey, patience: &mut Patience) -> Result<Option<Turns<'_>>> {
        loop {
            let (turns, results) = Turns::take(self, vec![owner]);
            match results.into_iter().collect::<Result<()>>() {
                Err(error) if error.is_exists() => {
                    if patience.wait().is_err() {
                        return Ok(None);
                    }
                }
                // Nobody else gets a turn either.
                Err(error) if !error.is_table_full() => return Err(error),
                _ => return Ok(Some(turns)),
            }
        }
    }

    fn release_now(&self, held: &Held) -> Result<Released> {
        // What was not looked at again is not known to be empty.
        let deleted = self.flush_and_look(held, self.options.verify.max(1))?;
        let quarantined = deleted.left
            || deleted.stopped.is_some()
            || deleted.complete == Completeness::Interrupted;
        let hold = std::iter::once(held.hold());
        let session = self.ct.session();
        let turn = held.turn();
        self.check(held, Operation::Release)?;
        self.end(held);
        // So that nobody is handed the zone, its former owner included.
        let rest = Hold::claim(
            ClaimKind::Marker,
            held.zone,
            OwnerKey::QUARANTINE,
            Instance::random(),
        );
        let rest = std::iter::once(rest);
        if quarantined {
            tracing::warn!(
                zone = held.zone.get(),
                "entries come back to a released zone: it is set aside"
            );
            ops::take_many(session, rest.clone(), self.options.quarantine).into_result()?;
        }
        let done = ops::release_many(session, hold).into_result();
        drop(turn);
        match done {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {
                // The zone is another one's, and so is what to do about it.
                if quarantined {
                    report_left(&ops::release_many(session, rest));
                }
                let holder = self.holder(held.zone).unwrap_or(None);
                return Err(Error::lost(Operation::Release, held.zone, holder));
            }
            Err(error) => return Err(error),
        }
        let mut memory = self.memory();
        if quarantined {
            memory.quarantine(held.zone, self.options.quarantine);
        } else {
            memory.release(held.zone);
        }
        Ok(Released {
            zone: held.zone,
            deleted,
            quarantined,
        })
    }
}
