//! A thread that keeps the leases of an allocator.

use std::collections::{HashMap, HashSet};
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
use super::restore::{Fate, put_back};
use crate::error::{Error, Operation, Result};
use crate::model::{Claim, ClaimKind, Event, EventGroups, OwnerKey, Zone};
use crate::ops::{self, Events};

/// What failed is tried again after this time.
const SOON: Duration = Duration::from_secs(1);
/// Where somebody was at a zone, it is looked at again after this time, and then after twice as long,
/// up to `SOON`.
const PAUSE: Duration = Duration::from_millis(20);
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
            events,
            stopped,
            tell,
            soon: false,
            heard: HashMap::new(),
            round: 0,
            again: HashSet::new(),
            pause: PAUSE,
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
    events: Events,
    stopped: UnixStream,
    tell: Tell,
    /// Something is to be tried again before the next renewal is due.
    soon: bool,
    /// Zones of which claims have ended, not looked at yet.
    heard: HashMap<Zone, Heard>,
    /// Which look is the next.
    round: u64,
    /// Zones that somebody was at: to be looked at again after a pause.
    again: HashSet<Zone>,
    pause: Duration,
}

/// What was heard of a zone.
struct Heard {
    /// The last lease that ended there, as far as is known.
    last: Option<Claim>,
    /// Before which look.
    round: u64,
}

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
            let now = Instant::now();
            let leases = inner.memory().leases();
            let (look, later): (Vec<_>, Vec<_>) = leases.into_iter().partition(|held| {
                self.heard.contains_key(&held.zone())
                    || self.again.contains(&held.zone())
                    || now >= due
                    || now.duration_since(held.renewed()) >= self.third
            });
            drop(later);
            if now >= due {
                due = now + self.third;
            }
            self.soon = false;
            self.again.clear();
            self.round += 1;
            self.keep(&inner, &look);
            // What was heard since is looked at next time.
            let round = self.round;
            self.heard.retain(|_, heard| heard.round == round);
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
        if !self.again.is_empty() {
            let until = due.min(Instant::now() + self.pause);
            self.pause = SOON.min(self.pause * 2);
            return Ok(!self.is_stopped(until)?);
        }
        self.pause = PAUSE;
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

    /// Reads the events that are there, so many at most and so long. Whether there may be more.
    fn hear(&mut self, until: Instant) -> Result<bool> {
        let round = self.round;
        for _ in 0..EVENTS {
            match self.events.try_next()? {
                Some(Event::Destroy(entry)) => {
                    if let Some(claim) = Claim::of(&entry) {
                        let heard = self.heard.entry(claim.zone());
                        let heard = heard.or_insert(Heard { last: None, round });
                        heard.round = round;
                        if claim.kind() == ClaimKind::Lease {
                            heard.last = Some(claim);
                        }
                    }
                }
                // Any claim may be among the lost events, and be the last.
                Some(Event::Overrun(_)) => {
                    for zone in self.all() {
                        self.heard.insert(zone, Heard { last: None, round });
                    }
                }
                Some(_) => {}
                None => return Ok(false),
            }
            if Instant::now() >= until {
                break;
            }
        }
        Ok(true)
    }

    /// The leases that were heard to end last, when all that has happened is heard.
    fn ended(&mut self) -> HashMap<Zone, Claim> {
        let until = Instant::now() + SOON;
        loop {
            match self.hear(until) {
                Ok(true) if Instant::now() < until => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "events of claims are not heard");
                    break;
                }
            }
        }
        let last = |(zone, heard): (&Zone, &Heard)| Some((*zone, heard.last?));
        self.heard.iter().filter_map(last).collect()
    }

    fn all(&self) -> Vec<Zone> {
        let leases = self.inner.upgrade().map(|inner| inner.memory().leases());
        let zones = |leases: Vec<Arc<Held>>| leases.iter().map(|held| held.zone()).collect();
        leases.map(zones).unwrap_or_default()
    }

    /// Renews leases, and puts back those whose claims are gone.
    fn keep(&mut self, inner: &Inner, leases: &[Arc<Held>]) {
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
                Err(error) if error.is_not_found() => gone.push(Arc::clone(held)),
                Err(error) => self.failed(std::slice::from_ref(held), error),
            }
        }
        if let Some(error) = batch.stopped() {
            self.failed(&leases[batch.results().len()..], error);
        }
        gone.retain(|held| !held.is_over());
        if gone.is_empty() {
            return;
        }
        let fates = put_back(inner, &gone, || self.ended());
        for (held, fate) in gone.iter().zip(fates) {
            self.tell_of(inner, held, fate);
        }
    }

    fn tell_of(&mut self, inner: &Inner, held: &Arc<Held>, fate: Fate) {
        let (zone, owner) = (held.zone(), held.owner());
        let event = match fate {
            Fate::Restored => LeaseEvent::Restored { zone, owner },
            // Released or renamed meanwhile.
            _ if held.is_over() => return,
            Fate::Kept => return,
            Fate::Later => {
                self.again.insert(zone);
                return;
            }
            Fate::Failed(error) => return self.failed(std::slice::from_ref(held), &error),
            Fate::Lost(holder) => {
                inner.end(held);
                LeaseEvent::Lost {
                    zone,
                    owner,
                    holder,
                }
            }
        };
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
