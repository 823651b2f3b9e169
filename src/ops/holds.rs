//! Holds that the kernel arbitrates: taken, renewed and released, each compared and done in one step.

use std::time::Duration;

use super::Session;
use super::batch::{Batch, Job, run};
use crate::error::{Operation, Result};
use crate::model::{Hold, Update};
use crate::wire::{self, Datagram};

/// Takes what is free: `is_exists` where somebody has it, which is decided by the kernel, since it
/// handles one creation after the other.
pub(crate) fn take_many(
    session: &Session,
    holds: impl Iterator<Item = Hold>,
    lasts: Duration,
) -> Batch {
    run(session, Operation::Claim, holds, Take(lasts))
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
    Ok(run(session, Operation::Renew, holds, Renew(lasts)))
}

/// Ends holds: `is_not_found` where another one has it.
pub(crate) fn release_many(session: &Session, holds: impl Iterator<Item = Hold>) -> Batch {
    run(session, Operation::Release, holds, Release)
}

struct Take(Duration);
struct Renew(Update);
struct Release;

impl Job for Take {
    type Item = Hold;

    fn write(&self, datagram: &mut Datagram, hold: &Hold) -> Result<()> {
        wire::create(datagram, &hold.entry(self.0)?)
    }
}

impl Job for Renew {
    type Item = Hold;

    fn write(&self, datagram: &mut Datagram, hold: &Hold) -> Result<()> {
        wire::update(datagram, &hold.own(), &self.0, None)
    }
}

impl Job for Release {
    type Item = Hold;

    fn write(&self, datagram: &mut Datagram, hold: &Hold) -> Result<()> {
        wire::delete(datagram, &hold.own())
    }
}
