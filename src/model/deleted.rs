//! What became of a deletion, and how it is asked for.

use std::collections::BTreeSet;
use std::fmt;

use super::{Entry, Zone};
use crate::error::Error;

/// Whether a walk of the table saw all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Completeness {
    /// The kernel went through the table in one go, in which it cannot lose its place unless
    /// somebody resizes the hash table in that very moment. So it is where little is found.
    Complete,
    /// The kernel paused, or may have, because there was more to say than goes into one piece.
    /// Nobody told of a loss, but the kernel does not notice all of them: when the hash table is
    /// resized in a pause, it goes on at another place.
    Unknown,
    /// The kernel or the socket told of a loss, or the walk broke off.
    Interrupted,
}

/// `complete`, `unknown`, `interrupted`
impl fmt::Display for Completeness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Complete => "complete",
            Self::Unknown => "unknown",
            Self::Interrupted => "interrupted",
        })
    }
}

/// How to delete: see [`Conntrack::delete_matching_with`](crate::Conntrack::delete_matching_with).
///
/// ```
/// use ctnetlink::{DeleteOptions, Zone};
///
/// let careful = DeleteOptions::new()
///     .max_deletes(1000)
///     .protect([Zone::DEFAULT])
///     .verify(3);
/// let look = DeleteOptions::new().dry_run();
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct DeleteOptions {
    pub(crate) dry_run: bool,
    pub(crate) max_deletes: Option<u64>,
    pub(crate) protect: BTreeSet<Zone>,
    pub(crate) verify: u32,
}

impl DeleteOptions {
    /// Delete what matches, once.
    pub fn new() -> Self {
        Self::default()
    }

    /// Delete nothing; count what matches, and give some of it as a sample.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// If more than this match, delete nothing and say so.
    pub fn max_deletes(mut self, most: u64) -> Self {
        self.max_deletes = Some(most);
        self
    }

    /// Leave entries alone that are in one of these zones in either direction, whatever else they
    /// match. A filter for one of them is refused.
    pub fn protect(mut self, zones: impl IntoIterator<Item = Zone>) -> Self {
        self.protect.extend(zones);
        self
    }

    /// Look again until none is left that matches, and delete what has come back: at most this many
    /// times.
    pub fn verify(mut self, passes: u32) -> Self {
        self.verify = passes;
        self
    }
}

/// Deletes that failed for one reason.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeleteFailure {
    /// How many.
    pub count: u64,
    /// Why the first of them did.
    pub error: Error,
    /// The first of them.
    pub sample: Entry,
}

/// What became of a deletion. An entry that matched is in one of: deleted, already gone, busy,
/// failed; in none where it was only looked for, or where the deletion stopped before it. One that
/// comes back and is deleted again counts again; one that cannot be deleted counts once, however
/// often it is tried.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[must_use = "it says what was not deleted"]
pub struct Deleted {
    /// How many entries matched, all passes together. `None` where the kernel did it all in one
    /// request, which counts nothing.
    pub matched: Option<u64>,
    /// How many were deleted here. `None` as above.
    pub deleted: Option<u64>,
    /// How many had ended by themselves, or by somebody else's doing, before they could be deleted;
    /// also those whose tuple another entry had taken, which was left alone.
    pub already_gone: u64,
    /// How many the kernel would not delete: offloaded flows, on kernels that refuse it. Those pass
    /// over them in silence where the kernel did it all in one request.
    pub busy: u64,
    /// The rest, by reason.
    pub failed: Vec<DeleteFailure>,
    /// Whether the table was seen as a whole, in the last look at it.
    pub complete: Completeness,
    /// Whether some still matched in the last look that was allowed: entries come back, or could not
    /// be deleted. Always `false` where nobody looked again.
    pub left: bool,
    /// Some of those that match, of a dry run.
    pub sample: Vec<Entry>,
    /// Why it stopped before its end, if it did; what is said above was done nevertheless.
    pub stopped: Option<Error>,
}

impl Deleted {
    pub(crate) const fn nothing() -> Self {
        Self {
            matched: Some(0),
            deleted: Some(0),
            already_gone: 0,
            busy: 0,
            failed: Vec::new(),
            complete: Completeness::Complete,
            left: false,
            sample: Vec::new(),
            stopped: None,
        }
    }

    /// Whether the kernel did it all in one request, because it was proven to do right by a filter
    /// of that shape.
    #[must_use]
    pub const fn by_kernel(&self) -> bool {
        self.matched.is_none()
    }

    /// Whether all that matched is gone, as far as can be known.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.busy == 0
            && self.failed.is_empty()
            && !self.left
            && self.stopped.is_none()
            && self.complete != Completeness::Interrupted
    }
}
