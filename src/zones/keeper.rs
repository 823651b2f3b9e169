//! A thread that keeps the leases of an allocator.

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::allocator::Inner;
use super::lease::Held;
use crate::error::{Error, Operation, Result};
use crate::model::{Claim, ClaimKind, Event, EventGroups, OwnerKey, Zone, claim_places};
use crate::ops::{self, Events};

/// What failed is tried again after this time.
const SOON: Duration = Duration::from_secs(1);
/// So many events are read before anything else is looked at.
const EVENTS: u32 = 4096;
/// What happened and was not asked for yet: more is dropped.
const TOLD: usize = 4096;

/// What happened to a lease.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum LeaseEvent {
    /// Its claim was gone, and was put back: somebody flushed the table.
    Restored {
        /// The zone.
        zone: Zone,
        /// Its owner.
        owner: OwnerKey,
    },
    /// It is not held any more, and not kept any more.
    Lost {
        /// The zone.
        zone: Zone,
        /// Who owned it.
        owner: OwnerKey,
        /// Who claims it now, if anybody does.
        holder: Option<Claim>,
    },
    /// It could not be renewed, which is tried again.
    Failed {
        /// The zone.
        zone: Zone,
        /// Its owner.
        owner: OwnerKey,
        /// Why.
        error: Error,
    },
}

/// Keeps the leases of an allocator: renews them at a third of their time to live, and puts claims
/// back that somebody flushed away, which it hears of by events. A claim that somebody else made in
/// between is left alone, and the lease reported as lost.
///
/// The thread ends when this is dropped. Leases that are acquired later are kept as well. Start it
/// before the first lease: with `net.netfilter.nf_conntrack_events = 2`, the default since Linux
/// 5.19, only entries that are made while somebody listens send events; of others, it finds out when
/// it renews them.
///
/// ```
/// use ctnetlink::{Conntrack, LeaseEvent, ZoneAllocator};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?; // a table of the example's own
/// let ct = Conntrack::open()?;
/// let zones = ZoneAllocator::builder().open(&ct)?;
/// let keeper = zones.keep()?;
/// let lease = zones.acquire("tap7f3a")?;
/// ct.flush_all()?;
/// match keeper.events().recv_timeout(Duration::from_secs(5))? {
///     LeaseEvent::Restored { zone, .. } => assert_eq!(zone, lease.zone()),
///     other => panic!("{other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "leases are kept for as long as the keeper lives"]
pub struct Keeper {
    events: Receiver<LeaseEvent>,
    /// Written to, or closed, to end the thread.
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

pub(super) type Tell = Box<dyn FnMut(LeaseEvent) + Send>;

impl Keeper {
    pub(super) fn start(inner: &Arc<Inner>, tell: Option<Tell>) -> Result<Self> {
        let failed = |action: &'static str| {
            move |error: std::io::Error| {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
                Error::system(Operation::Renew, action, errno, None)
            }
        };
        let events = inner.ct.events().groups(EventGroups::DESTROY).open()?;
        let (stop, stopped) = UnixStream::pair().map_err(failed("make a socket pair"))?;
        let (sender, receiver) = mpsc::sync_channel(TOLD);
        let tell = tell.unwrap_or_else(|| {
            Box::new(move |event| {
                if sender.try_send(event).is_err() {
                    tracing::debug!("nobody asks what happened to leases");
                }
            })
        });
        let watch = Watch {
            inner: Arc::downgrade(inner),
            third: inner.options.ttl / 3,
            ttl: inner.options.ttl,
            events,
            stopped,
            tell,
            soon: false,
            heard: Heard::new(),
        };
        let thread = std::thread::Builder::new()
            .name("ctnetlink-keeper".to_owned())
            .spawn(move || watch.run())
            .map_err(failed("start a thread"))?;
        Ok(Self {
            events: receiver,
            stop,
            thread: Some(thread),
        })
    }

    /// What happened to leases: up to 4096 of it are kept until they are asked for. Empty where [`keep_with`](super::ZoneAllocator::keep_with) tells.
    #[must_use]
    pub fn events(&self) -> &Receiver<LeaseEvent> {
        &self.events
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.stop.write_all(&[0]);
        if let Some(thread) = self.thread.take() {
            // Dropped by its own callback, it ends by itself.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

/// The thread's own.
struct Watch {
    inner: Weak<Inner>,
    third: Duration,
    ttl: Duration,
    events: Events,
    stopped: UnixStream,
    tell: Tell,
    /// Something is to be tried again before the next renewal is due.
    soon: bool,
    /// Zones of which claims have ended, not looked at yet.
    heard: Heard,
}

/// With the last lease that was heard to end there.
type Heard = HashMap<Zone, Option<Claim>>;

impl Watch {
    fn run(mut self) {
        let mut due = Instant::now() + self.third;
        loop {
            let waited = self.wait(due).or_else(|error| {
                // Without events there are still the renewals.
                tracing::warn!(%error, "events of claims are not heard");
                self.rest(due)
            });
            let Ok(true) = waited else {
                return;
            };
            let Some(inner) = self.inner.upgrade() else {
                return;
            };
            let heard = std::mem::take(&mut self.heard);
            let now = Instant::now();
            let leases = inner.memory().leases();
            let (look, later): (Vec<_>, Vec<_>) = leases.into_iter().partition(|held| {
                heard.contains_key(&held.zone())
                    || now >= due
                    || now.duration_since(held.renewed()) >= self.third
            });
            drop(later);
            if now >= due {
                due = now + self.third;
            }
            self.soon = false;
            self.keep(&inner, &look, &heard);
            if self.soon {
                due = due.min(Instant::now() + SOON);
            }
        }
    }

    /// Waits for the end alone, or until a renewal is due. `false` at the end.
    fn rest(&self, due: Instant) -> Result<bool> {
        while Instant::now() < due {
            if self.is_stopped(due)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_stopped(&self, until: Instant) -> Result<bool> {
        let left = until.saturating_duration_since(Instant::now());
        let mut ready = [PollFd::new(self.stopped.as_fd(), PollFlags::POLLIN)];
        wait_for(&mut ready, left)?;
        Ok(ready[0].any().unwrap_or(true))
    }

    /// Waits until a renewal is due, or claims have ended. `false` at the end.
    fn wait(&mut self, due: Instant) -> Result<bool> {
        loop {
            // What is there is read in one go, within bounds; a flush ends many claims.
            self.hear(due)?;
            let left = due.saturating_duration_since(Instant::now());
            if !self.heard.is_empty() || left.is_zero() {
                return Ok(!self.is_stopped(Instant::now())?);
            }
            let mut ready = [
                PollFd::new(self.events.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.stopped.as_fd(), PollFlags::POLLIN),
            ];
            wait_for(&mut ready, left)?;
            if ready[1].any().unwrap_or(true) {
                return Ok(false);
            }
        }
    }

    /// Reads the events that are there, so many at most and so long.
    fn hear(&mut self, until: Instant) -> Result<()> {
        for _ in 0..EVENTS {
            match self.events.try_next()? {
                Some(Event::Destroy(entry)) => {
                    if let Some(claim) = Claim::of(&entry) {
                        let last = self.heard.entry(claim.zone()).or_default();
                        if claim.kind() == ClaimKind::Lease {
                            *last = Some(claim);
                        }
                    }
                }
                // Any claim may be among the lost events.
                Some(Event::Overrun(_)) => {
                    for zone in self.all() {
                        self.heard.entry(zone).or_default();
                    }
                }
                Some(_) => {}
                None => break,
            }
            if Instant::now() >= until {
                break;
            }
        }
        Ok(())
    }

    fn all(&self) -> Vec<Zone> {
        let leases = self.inner.upgrade().map(|inner| inner.memory().leases());
        let zones = |leases: Vec<Arc<Held>>| leases.iter().map(|held| held.zone()).collect();
        leases.map(zones).unwrap_or_default()
    }

    /// Renews leases, and puts back those whose claims are gone.
    fn keep(&mut self, inner: &Inner, leases: &[Arc<Held>], heard: &Heard) {
        if leases.is_empty() {
            return;
        }
        let at = Instant::now();
        let holds = leases.iter().map(|held| held.hold());
        let batch = match ops::renew_many(inner.ct.session(), holds, inner.options.ttl) {
            Ok(batch) => batch,
            Err(error) => return self.failed(leases, &error),
        };
        let mut gone = Vec::new();
        for (held, result) in leases.iter().zip(batch.results()) {
            match result {
                Ok(()) => held.set_renewed(at),
                Err(error) if error.is_not_found() => gone.push(held),
                Err(error) => self.failed(std::slice::from_ref(held), error),
            }
        }
        if let Some(error) = batch.stopped() {
            self.failed(&leases[batch.results().len()..], error);
        }
        if gone.is_empty() {
            return;
        }
        // Of a claim that is gone the event is there by now. Without it, the one before it counts.
        if let Err(error) = self.hear(Instant::now() + SOON) {
            tracing::warn!(%error, "events of claims are not heard");
        }
        for held in gone {
            let last = [&self.heard, heard]
                .iter()
                .find_map(|heard| heard.get(&held.zone()).copied().flatten());
            self.put_back(inner, held, last);
        }
    }

    /// `last` is the lease of the zone that ended last.
    fn put_back(&mut self, inner: &Inner, held: &Arc<Held>, last: Option<Claim>) {
        let turn = held.turn();
        if held.is_over() {
            return;
        }
        let (zone, owner) = (held.zone(), held.owner());
        // A claim that may have ended by itself may have been somebody's since, who is gone again; and
        // where somebody else's ended last, this one had ended before.
        let anothers = last.is_some_and(|claim| claim.hold() != held.hold());
        let event = if anothers || held.renewed().elapsed() >= self.ttl {
            held.end();
            LeaseEvent::Lost {
                zone,
                owner,
                holder: inner.holder(zone).unwrap_or(None),
            }
        } else {
            match restore(inner, held) {
                Ok(None) => LeaseEvent::Restored { zone, owner },
                // It looks at the zone, and goes if it finds anything there.
                Ok(Some(holder)) if holder.kind() == ClaimKind::Trial => {
                    self.soon = true;
                    return;
                }
                Ok(Some(holder)) => {
                    held.end();
                    LeaseEvent::Lost {
                        zone,
                        owner,
                        holder: Some(holder),
                    }
                }
                Err(error) => {
                    self.soon = true;
                    LeaseEvent::Failed { zone, owner, error }
                }
            }
        };
        // The caller's code may do anything with the lease.
        drop(turn);
        tracing::warn!(?event, "the claim of a lease was gone");
        (self.tell)(event);
    }

    fn failed(&mut self, leases: &[Arc<Held>], error: &Error) {
        self.soon = true;
        for held in leases {
            (self.tell)(LeaseEvent::Failed {
                zone: held.zone(),
                owner: held.owner(),
                error: error.clone(),
            });
        }
    }
}

fn wait_for(ready: &mut [PollFd<'_>], left: Duration) -> Result<()> {
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    match poll(ready, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => {
            let action = "wait for events";
            Err(Error::system(Operation::Renew, action, errno, None))
        }
    }
}

/// Claims a zone again, unless somebody has: gives who.
pub(super) fn restore(inner: &Inner, held: &Held) -> Result<Option<Claim>> {
    let at = Instant::now();
    let own = held.hold();
    let batch = ops::take_many(inner.ct.session(), std::iter::once(own), inner.options.ttl);
    match batch.into_result() {
        Ok(_) => {}
        Err(error) if error.is_exists() => {
            let holder = inner.holder(held.zone())?;
            return match holder {
                Some(claim) if claim.hold() == own => Ok(None),
                Some(claim) => Ok(Some(claim)),
                None => Err(error),
            };
        }
        Err(error) => return Err(error),
    }
    // A marker says that a later instance of the owner is taking the zone over, and is between its
    // steps: the claim would be in its way.
    let [_, marker] = claim_places(held.zone());
    match inner.ct.get(marker) {
        Ok(entry) => {
            let gone = ops::release_many(inner.ct.session(), std::iter::once(own));
            drop(gone);
            Ok(Claim::of(&entry))
        }
        Err(error) if error.is_not_found() => {
            held.set_renewed(at);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
