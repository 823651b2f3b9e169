//! Holds that the kernel arbitrates: taken, renewed and released, each compared and done in one step.

use std::time::Duration;

use super::Session;
use super::batch::{Batch, Job, run};
use crate::error::{Operation, Result};
use crate::model::{Hold, Status, Update};
use crate::wire::{self, Datagram};

/// Takes what is free: `is_exists` where somebody has it, which is decided by the kernel, since it
/// handles one creation after the other.
pub(crate) fn take_many(
    session: &Session,
    holds: impl Iterator<Item = Hold>,
    lasts: Duration,
) -> Batch {
    let trial = false;
    run(session, Operation::Claim, holds, Take { trial, lasts })
}

/// The same of claims that are looked at before they count.
pub(crate) fn try_many(
    session: &Session,
    holds: impl Iterator<Item = Hold>,
    lasts: Duration,
) -> Batch {
    let trial = true;
    run(session, Operation::Claim, holds, Take { trial, lasts })
}

/// Has holds last so long from now on: `is_not_found` where another one has it.
///
/// The entry is looked up by its reply tuple, which is that of its holder, and nothing is created
/// (`ctnetlink_new_conntrack` without `NLM_F_CREATE`).
pub(crate) fn renew_many(
    session: &Session,
    holds: impl Iterator<Item = Hold>,
    lasts: Duration,
) -> Result<Batch> {
    let lasts = Update::builder().timeout(lasts).build()?;
    let status = None;
    Ok(run(
        session,
        Operation::Renew,
        holds,
        Renew { lasts, status },
    ))
}

/// The same of claims that were on trial, and count from now on.
pub(crate) fn confirm_many(
    session: &Session,
    holds: impl Iterator<Item = Hold>,
    lasts: Duration,
) -> Result<Batch> {
    let lasts = Update::builder().timeout(lasts).build()?;
    let status = Some(Hold::STATUS);
    Ok(run(
        session,
        Operation::Claim,
        holds,
        Renew { lasts, status },
    ))
}

/// Ends holds: `is_not_found` where another one has it.
pub(crate) fn release_many(session: &Session, holds: impl Iterator<Item = Hold>) -> Batch {
    run(session, Operation::Release, holds, Release)
}

struct Take {
    trial: bool,
    lasts: Duration,
}
struct Renew {
    lasts: Update,
    status: Option<Status>,
}
struct Release;

impl Job for Take {
    type Item = Hold;

    fn write(&self, datagram: &mut Datagram, hold: &Hold) -> Result<()> {
        wire::create(datagram, &hold.entry(self.trial, self.lasts)?)
    }
}

impl Job for Renew {
    type Item = Hold;

    fn write(&self, datagram: &mut Datagram, hold: &Hold) -> Result<()> {
        wire::update(datagram, &hold.own(), &self.lasts, self.status)
    }
}

impl Job for Release {
    type Item = Hold;

    fn write(&self, datagram: &mut Datagram, hold: &Hold) -> Result<()> {
        wire::delete(datagram, &hold.own())
    }
}
