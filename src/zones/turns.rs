//! Taking turns: one process at a time looks for the zone of an owner.

use std::time::{Duration, Instant};

use super::allocator::Inner;
use crate::error::{Error, Operation, Result};
use crate::model::{Hold, Instance, OwnerKey};
use crate::ops;

/// Between looks whether another process is done: doubled each time, up to a bound.
const PAUSE: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// A wait that grows, up to a bound.
pub(super) struct Patience {
    since: Instant,
    whole: Duration,
    pause: Duration,
}

impl Patience {
    pub(super) fn new(whole: Duration) -> Self {
        Self {
            since: Instant::now(),
            whole,
            pause: PAUSE,
        }
    }

    /// Waits a little. Not when the time is over.
    pub(super) fn wait(&mut self) -> Result<()> {
        if self.since.elapsed() >= self.whole {
            return Err(Error::waited(Operation::Acquire, self.whole));
        }
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}

/// The right to look for zones for some owners, which nobody else has meanwhile: else two processes
/// could find a zone each for the same owner.
pub(super) struct Turns<'a> {
    inner: &'a Inner,
    token: Instance,
    owners: Vec<OwnerKey>,
    since: Instant,
}

impl<'a> Turns<'a> {
    /// One result for each owner: `is_exists` where it is somebody else's turn.
    pub(super) fn take(inner: &'a Inner, owners: Vec<OwnerKey>) -> (Self, Vec<Result<()>>) {
        let turns = Self {
            inner,
            token: Instance::random(),
            owners,
            since: Instant::now(),
        };
        let holds = turns.owners.iter().map(|owner| turns.hold(*owner));
        let batch = ops::take_many(inner.ct.session(), holds, inner.options.grace);
        let results = complete(batch, turns.owners.len(), Operation::Claim);
        (turns, results)
    }

    fn hold(&self, owner: OwnerKey) -> Hold {
        Hold::turn(owner, self.token)
    }

    /// When they were taken, or a moment before.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Those that are still had last anew.
    pub(super) fn keep_all(&self) -> Result<()> {
        self.keep(&self.owners).map(drop)
    }

    /// Which of these owners still have their turn; it lasts anew.
    pub(super) fn keep(&self, owners: &[OwnerKey]) -> Result<Vec<bool>> {
        let holds = owners.iter().map(|owner| self.hold(*owner));
        let batch = ops::renew_many(self.inner.ct.session(), holds, self.inner.options.grace)?;
        if let Some(error) = batch.stopped() {
            return Err(error.clone());
        }
        Ok(batch.results().iter().map(Result::is_ok).collect())
    }
}

/// Also on the way out of an error. What was not got is not given back: the token is compared.
impl Drop for Turns<'_> {
    fn drop(&mut self) {
        let holds = self.owners.iter().map(|owner| self.hold(*owner));
        report_left(&ops::release_many(self.inner.ct.session(), holds));
    }
}

/// What could not be given back ends by itself.
pub(super) fn report_left(batch: &ops::Batch) {
    let failed = batch.failures().filter(|(_, error)| !error.is_not_found());
    for (_, error) in failed {
        tracing::warn!(%error, "a claim was left to end by itself");
    }
}

/// With a result for those that a batch did not come to.
pub(super) fn complete(batch: ops::Batch, count: usize, operation: Operation) -> Vec<Result<()>> {
    let rest = batch.stopped().cloned();
    let rest = rest.unwrap_or_else(|| Error::overrun(operation));
    let mut results = batch.into_results();
    results.resize_with(count, || Err(rest.clone()));
    results
}
