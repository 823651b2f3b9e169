//! What became of a deletion, and how it is asked for.

use std::collections::BTreeSet;
use std::fmt;

use super::{Entry, Zone};
use crate::error::Error;

/// Whether a walk of the table saw all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Completeness {
    /// The kernel went through the table in one go, and the hash table had the same size before and
    /// after. So it is where little is found.
    Complete,
    /// The kernel paused, or may have, because there was more to say than goes into one piece; or
    /// the size of the hash table cannot be seen (`net.netfilter.nf_conntrack_buckets`). Nobody
    /// noticed a loss, but where the hash table is resized meanwhile, to and fro, the kernel goes on
    /// at another place and does not say so.
    Unknown,
    /// The kernel or the socket told of a loss, something could not be decoded, the hash table was
    /// resized meanwhile, or the walk broke off.
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

    /// Delete nothing; count what matches, and give some of it as a sample. Nothing is too many
    /// then: [`DeleteOptions::max_deletes`] and [`DeleteOptions::verify`] are not heeded.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// If more than this match, delete nothing and say so. In a later look
    /// ([`DeleteOptions::verify`]), delete nothing more once so many were met.
    ///
    /// Nothing is deleted before all are counted, so up to this many entries are held in memory.
    pub fn max_deletes(mut self, most: u64) -> Self {
        self.max_deletes = Some(most);
        self
    }

    /// Leave entries alone that are in one of these zones in either direction, whatever else they
    /// match. A filter for one of them, in either direction, is refused.
    pub fn protect(mut self, zones: impl IntoIterator<Item = Zone>) -> Self {
        self.protect.extend(zones);
        self
    }

    /// Look again until none is left that matches, and delete what has come back: at most this many
    /// times. What could not be deleted is held in memory from one look to the next.
    pub fn verify(mut self, passes: u32) -> Self {
        self.verify = passes;
        self
    }

    /// Whether a flush by the kernel does what is asked for; what is to be verified is walked after.
    pub(crate) fn are_for_kernel(&self) -> bool {
        !self.dry_run && self.max_deletes.is_none() && self.protect.is_empty()
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
/// often it is tried, and as already gone when a later look does not find it any more.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[must_use = "it says what was not deleted"]
pub struct Deleted {
    /// How many entries matched, all looks together. `None` where the kernel did it in one request,
    /// which counts nothing.
    pub matched: Option<u64>,
    /// How many were deleted here. `None` as above.
    pub deleted: Option<u64>,
    /// How many had ended by themselves, or by somebody else's doing, before they could be deleted;
    /// also those that did not match any more, and those whose tuple another entry had taken, which
    /// was left alone. And those of which it was not heard whether they were deleted, if a later
    /// look did not find them.
    ///
    /// While the hash table is resized the kernel may not find an entry that is there: only another
    /// look ([`DeleteOptions::verify`]) confirms it.
    pub already_gone: u64,
    /// How many the kernel would not delete: offloaded flows, on kernels before 5.10. Where such a one
    /// did it in one request, it passed over them in silence; a later look finds them.
    pub busy: u64,
    /// The rest, by reason; also those of which it is not known whether they were deleted
    /// ([`is_outcome_unknown`](Error::is_outcome_unknown)).
    pub failed: Vec<DeleteFailure>,
    /// Whether the table was seen as a whole, in the last look at it. A flush by one request is
    /// complete: the kernel keeps the hash table from being resized meanwhile, or begins again
    /// (`nf_ct_iterate_cleanup`).
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

    /// Whether the kernel did it in one request, because it was proven to do right by a filter of
    /// that shape. What a later look found was deleted entry by entry.
    #[must_use]
    pub const fn by_kernel(&self) -> bool {
        self.matched.is_none()
    }

    /// Whether all that matched is gone, as far as can be known. A dry run that found something is
    /// not clean.
    ///
    /// Of offloaded flows that a kernel before 5.10 passed over in a flush of a mark or a family by one
    /// request it knows nothing: [`DeleteOptions::verify`] looks for them.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let all = self.deleted.map(|deleted| deleted + self.already_gone);
        self.matched == all
            && self.busy == 0
            && self.failed.is_empty()
            && !self.left
            && self.stopped.is_none()
            && self.complete != Completeness::Interrupted
    }
}
