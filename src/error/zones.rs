//! What can go wrong with zones.

use std::borrow::Cow;
use std::time::Duration;

use super::{Error, Operation, Repr};
use crate::model::{Claim, Exhausted, Zone, ZoneUse};

impl Error {
    pub(crate) fn waited(operation: Operation, after: Duration) -> Self {
        Self::new(Repr::Waited { operation, after })
    }

    pub(crate) fn of_exhausted(operation: Operation, exhausted: Exhausted) -> Self {
        Self::new(Repr::Exhausted {
            operation,
            exhausted,
        })
    }

    pub(crate) fn lost(operation: Operation, zone: Zone, holder: Option<Claim>) -> Self {
        Self::new(Repr::Lost {
            operation,
            zone,
            holder,
        })
    }

    pub(crate) fn conflict(operation: Operation, by: ZoneUse) -> Self {
        Self::new(Repr::Conflict { operation, by })
    }

    pub(crate) fn scan_incomplete(
        operation: Operation,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(Repr::ScanIncomplete {
            operation,
            reason: reason.into(),
        })
    }

    /// No zone of the range is free: [`Error::exhausted`] counts why.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.exhausted().is_some()
    }

    /// Why no zone of the range was free.
    #[must_use]
    pub fn exhausted(&self) -> Option<&Exhausted> {
        match &*self.0 {
            Repr::Exhausted { exhausted, .. } => Some(exhausted),
            _ => None,
        }
    }

    /// A lease is no longer held: it was not renewed in time, somebody removed its claim, or a later
    /// instance of its owner took it over. [`Error::holder`] says who holds the zone now.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(&*self.0, Repr::Lost { .. })
    }

    /// A zone is in use by somebody else: [`Error::taken_by`] says how and by whom.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.taken_by().is_some()
    }

    /// Who uses the zone that was asked for.
    #[must_use]
    pub fn taken_by(&self) -> Option<&ZoneUse> {
        match &*self.0 {
            Repr::Conflict { by, .. } => Some(by),
            _ => None,
        }
    }

    /// Who holds the zone that is in the way: of a lease that is lost, or of a zone that is taken.
    #[must_use]
    pub fn holder(&self) -> Option<&Claim> {
        match &*self.0 {
            Repr::Lost { holder, .. } => holder.as_ref(),
            Repr::Conflict { by, .. } => by.claims.first(),
            _ => None,
        }
    }

    /// The table could not be seen as a whole, so no zone is known to be free. To be tried again
    /// later.
    #[must_use]
    pub fn is_scan_incomplete(&self) -> bool {
        matches!(&*self.0, Repr::ScanIncomplete { .. })
    }
}

/// Of what converts without failing, such as a key that is one already.
impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
