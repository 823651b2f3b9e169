//! The one public error.
//!
//! Every failure of this crate is an [`Error`]. It says which [`Operation`] failed and why: the
//! kernel's errno with the kernel's own text and the offset of the attribute that it disliked, a
//! deadline, a damaged answer, or an input that could never have been right. Callers decide by the
//! predicates ([`Error::is_not_found`] and its siblings), not by the text.

mod errno;
mod operation;
mod zones;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

pub use errno::Errno;
pub(crate) use errno::Failure;
pub use operation::Operation;

use crate::model::{Claim, Count, Exhausted, Zone, ZoneUse};

/// The result of every fallible call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and in which operation.
///
/// The value is one pointer wide, so that a batch can report one result for each of a million
/// entries without weight.
///
/// ```
/// let error = "70000".parse::<ctnetlink::Zone>().unwrap_err();
/// assert!(error.is_invalid_input());
/// assert_eq!(
///     error.to_string(),
///     "zone \"70000\": too large; expected a number from 0 to 65535"
/// );
/// ```
#[derive(Clone, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Repr>);

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[derive(Debug, Clone, thiserror::Error)]
enum Repr {
    #[error("{what} {input:?}: {problem}; expected {expected}")]
    Invalid {
        what: Cow<'static, str>,
        input: String,
        problem: Cow<'static, str>,
        expected: Cow<'static, str>,
    },
    #[error("{operation}: {failure}{}", Hint(*hint))]
    Kernel {
        operation: Operation,
        failure: Failure,
        hint: Option<&'static str>,
        table: Option<Count>,
        fixed_timeout: bool,
    },
    #[error("{operation}: {action}: {errno}{}", Hint(*hint))]
    System {
        operation: Operation,
        action: Cow<'static, str>,
        errno: Errno,
        hint: Option<&'static str>,
    },
    #[error("{operation}: receive from the kernel: {errno}; the outcome is unknown")]
    Unheard { operation: Operation, errno: Errno },
    #[error("{operation}: the kernel did not answer within {after:?}; the outcome is unknown")]
    Deadline {
        operation: Operation,
        after: Duration,
    },
    #[error(
        "{operation}: an answer of {needed} bytes did not fit into the receive buffer of {had} bytes"
    )]
    Truncated {
        operation: Operation,
        needed: usize,
        had: usize,
    },
    #[error("{operation}: malformed answer: {detail}")]
    Malformed {
        operation: Operation,
        offset: u32,
        /// The attribute's path, the offset and the problem.
        detail: String,
    },
    #[error(
        "{operation}: the receive buffer overran and the answer was lost (ENOBUFS); the outcome is unknown"
    )]
    Overrun { operation: Operation },
    #[error("{operation}: more entries match than the {most} that may be deleted")]
    TooMany { operation: Operation, most: u64 },
    #[error("{operation}: {reason}")]
    Unknown {
        operation: Operation,
        reason: Cow<'static, str>,
    },
    #[error("{operation}: not sent: {reason}")]
    NotSent {
        operation: Operation,
        reason: Cow<'static, str>,
    },
    #[error("{operation}: {what} on this kernel; {remedy}")]
    Unsupported {
        operation: Operation,
        what: Cow<'static, str>,
        remedy: &'static str,
    },
    #[error("{operation}: somebody else was at it for the same owner, for {after:?}")]
    Waited {
        operation: Operation,
        after: Duration,
    },
    #[error("{operation}: no zone is free: {exhausted}")]
    Exhausted {
        operation: Operation,
        exhausted: Exhausted,
    },
    #[error("{operation}: zone {zone} is lost{}", Holder(holder.as_ref()))]
    Lost {
        operation: Operation,
        zone: Zone,
        holder: Option<Claim>,
    },
    #[error("{operation}: taken: {by}")]
    Conflict { operation: Operation, by: ZoneUse },
    #[error(
        "{operation}: the look at the table may be incomplete: {reason}; no zone counts as free"
    )]
    ScanIncomplete {
        operation: Operation,
        reason: Cow<'static, str>,
    },
    #[error("{operation}: the entry that was found is another one: {detail}")]
    Mismatch {
        operation: Operation,
        detail: &'static str,
        /// The one that is meant may be there behind it.
        hides: bool,
    },
    #[error(
        "{operation}: entries with a zone of one direction have both of its tuples; whether it is there cannot be told"
    )]
    Hidden { operation: Operation },
}

struct Holder<'a>(Option<&'a Claim>);

impl fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(claim) => write!(f, " to another: {claim}"),
            None => f.write_str(": nobody claims it now"),
        }
    }
}

struct Hint(Option<&'static str>);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

/// What to do about a refusal that means the same wherever it comes.
fn hint_for(errno: Errno) -> Option<&'static str> {
    errno.is(nix::errno::Errno::ENOSPC).then_some(
        "no rule of the namespace reserves room for labels: add one that sets or matches a label, such as nftables' `ct label set`; entries that are made after it have room",
    )
}

/// Construction: for the rooms of this crate only.
impl Error {
    fn new(repr: Repr) -> Self {
        Self(Box::new(repr))
    }

    pub(crate) fn invalid(
        what: impl Into<Cow<'static, str>>,
        input: impl Into<String>,
        problem: impl Into<Cow<'static, str>>,
        expected: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(Repr::Invalid {
            what: what.into(),
            input: input.into(),
            problem: problem.into(),
            expected: expected.into(),
        })
    }

    /// The same of an input that this one is a part of.
    pub(crate) fn part_of(self, whole: &'static str, word: &str) -> Self {
        match *self.0 {
            Repr::Invalid {
                problem, expected, ..
            } => Self::invalid(whole, word, problem, expected),
            other => Self::new(other),
        }
    }

    pub(crate) fn kernel(operation: Operation, failure: Failure) -> Self {
        Self::new(Repr::Kernel {
            operation,
            hint: hint_for(failure.errno),
            failure,
            table: None,
            fixed_timeout: false,
        })
    }

    pub(crate) fn system(
        operation: Operation,
        action: impl Into<Cow<'static, str>>,
        errno: impl Into<Errno>,
        hint: Option<&'static str>,
    ) -> Self {
        Self::new(Repr::System {
            operation,
            action: action.into(),
            errno: errno.into(),
            hint,
        })
    }

    /// Receiving failed, after the request was sent.
    pub(crate) fn unheard(operation: Operation, errno: impl Into<Errno>) -> Self {
        Self::new(Repr::Unheard {
            operation,
            errno: errno.into(),
        })
    }

    pub(crate) fn deadline(operation: Operation, after: Duration) -> Self {
        Self::new(Repr::Deadline { operation, after })
    }

    pub(crate) fn truncated(operation: Operation, needed: usize, had: usize) -> Self {
        Self::new(Repr::Truncated {
            operation,
            needed,
            had,
        })
    }

    pub(crate) fn malformed(operation: Operation, offset: u32, detail: String) -> Self {
        Self::new(Repr::Malformed {
            operation,
            offset,
            detail,
        })
    }

    pub(crate) fn overrun(operation: Operation) -> Self {
        Self::new(Repr::Overrun { operation })
    }

    pub(crate) fn unknown(operation: Operation, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Repr::Unknown {
            operation,
            reason: reason.into(),
        })
    }

    pub(crate) fn not_sent(operation: Operation, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Repr::NotSent {
            operation,
            reason: reason.into(),
        })
    }

    pub(crate) fn unsupported(
        operation: Operation,
        what: impl Into<Cow<'static, str>>,
        remedy: &'static str,
    ) -> Self {
        Self::new(Repr::Unsupported {
            operation,
            what: what.into(),
            remedy,
        })
    }

    pub(crate) fn too_many(operation: Operation, most: u64) -> Self {
        Self::new(Repr::TooMany { operation, most })
    }

    pub(crate) fn mismatch(operation: Operation, detail: &'static str) -> Self {
        Self::new(Repr::Mismatch {
            operation,
            detail,
            hides: false,
        })
    }

    /// Another entry was found, behind which the one that is meant may be.
    pub(crate) fn may_be_hidden(operation: Operation, detail: &'static str) -> Self {
        Self::new(Repr::Mismatch {
            operation,
            detail,
            hides: true,
        })
    }

    /// Others were found by both of its tuples.
    pub(crate) fn hidden(operation: Operation) -> Self {
        Self::new(Repr::Hidden { operation })
    }

    /// The same refusal by the kernel, explained with the table's fill if the table is the reason.
    pub(crate) fn with_table(mut self, count: Count) -> Self {
        if let Repr::Kernel { table, hint, .. } = &mut *self.0 {
            if count.is_full() {
                *hint = Some(
                    "the conntrack table is full: raise net.netfilter.nf_conntrack_max or remove entries",
                );
            }
            *table = Some(count);
        }
        self
    }

    /// The refused change of a time-out of an entry that has `FIXED_TIMEOUT`: `EPERM` is then not
    /// about capabilities (`__nf_ct_change_timeout`).
    pub(crate) fn of_fixed_timeout(mut self) -> Self {
        if let Repr::Kernel {
            failure,
            fixed_timeout,
            hint,
            ..
        } = &mut *self.0
        {
            if failure.errno.is(nix::errno::Errno::EPERM) {
                *fixed_timeout = true;
                *hint = Some(
                    "the entry has FIXED_TIMEOUT: only a new entry in its place can have another time-out",
                );
            }
        }
        self
    }

    /// The text without the operation in front, to be told as the reason of another error.
    pub(crate) fn reason(&self) -> String {
        let text = self.to_string();
        match self.operation() {
            Some(operation) => text
                .strip_prefix(&format!("{operation}: "))
                .unwrap_or(&text)
                .to_owned(),
            None => text,
        }
    }

    pub(crate) fn with_hint(mut self, text: &'static str) -> Self {
        if let Repr::Kernel { hint, .. } | Repr::System { hint, .. } = &mut *self.0 {
            *hint = Some(text);
        }
        self
    }
}

/// What it was.
impl Error {
    /// The conversation that failed, or `None` for an input that was refused before any.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        match &*self.0 {
            Repr::Invalid { .. } => None,
            Repr::Kernel { operation, .. }
            | Repr::System { operation, .. }
            | Repr::Unheard { operation, .. }
            | Repr::Deadline { operation, .. }
            | Repr::Truncated { operation, .. }
            | Repr::Malformed { operation, .. }
            | Repr::Overrun { operation }
            | Repr::Unknown { operation, .. }
            | Repr::TooMany { operation, .. }
            | Repr::NotSent { operation, .. }
            | Repr::Unsupported { operation, .. }
            | Repr::Waited { operation, .. }
            | Repr::Exhausted { operation, .. }
            | Repr::Lost { operation, .. }
            | Repr::Conflict { operation, .. }
            | Repr::ScanIncomplete { operation, .. }
            | Repr::Hidden { operation }
            | Repr::Mismatch { operation, .. } => Some(*operation),
        }
    }

    /// The error number, if the kernel gave one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match &*self.0 {
            Repr::Kernel { failure, .. } => Some(failure.errno),
            Repr::System { errno, .. } | Repr::Unheard { errno, .. } => Some(*errno),
            Repr::Overrun { .. } => Some(nix::errno::Errno::ENOBUFS.into()),
            _ => None,
        }
    }

    /// The kernel's own words (extended ack), if it had any.
    #[doc(alias = "NLMSGERR_ATTR_MSG")]
    #[must_use]
    pub fn kernel_message(&self) -> Option<&str> {
        match &*self.0 {
            Repr::Kernel { failure, .. } => failure.message.as_deref(),
            _ => None,
        }
    }

    /// The offset in bytes, from the start of the message, of the attribute that the kernel
    /// rejected, or of the damage in a malformed answer.
    #[doc(alias = "NLMSGERR_ATTR_OFFS")]
    #[must_use]
    pub fn offset(&self) -> Option<u32> {
        match &*self.0 {
            Repr::Kernel { failure, .. } => failure.offset,
            Repr::Malformed { offset, .. } => Some(*offset),
            _ => None,
        }
    }

    /// How full the table was when the kernel refused a new entry with `ENOMEM`.
    #[must_use]
    pub fn table_count(&self) -> Option<&Count> {
        match &*self.0 {
            Repr::Kernel { table, .. } => table.as_ref(),
            _ => None,
        }
    }

    fn has(&self, errnos: &[nix::errno::Errno]) -> bool {
        self.errno()
            .is_some_and(|errno| errnos.iter().any(|wanted| errno.is(*wanted)))
    }

    /// No such entry or policy (`ENOENT`), or another entry has taken its place.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(&*self.0, Repr::Mismatch { .. })
            || matches!(&*self.0, Repr::Kernel { .. }) && self.has(&[nix::errno::Errno::ENOENT])
    }

    /// It was looked up by one tuple, and the other may find it.
    pub(crate) fn hides(&self) -> bool {
        matches!(&*self.0, Repr::Mismatch { hides: true, .. })
    }

    /// Neither tuple tells whether it is there.
    pub(crate) fn is_hidden(&self) -> bool {
        matches!(&*self.0, Repr::Hidden { .. })
    }

    /// An entry with one of the two tuples exists in that zone already, or a time-out policy of that
    /// name (`EEXIST`).
    #[must_use]
    pub fn is_exists(&self) -> bool {
        self.has(&[nix::errno::Errno::EEXIST])
    }

    /// The table holds as many entries as it may: [`Error::table_count`] has the figures.
    ///
    /// `ENOMEM` alone is not enough: the kernel says the same when memory is short.
    #[must_use]
    pub fn is_table_full(&self) -> bool {
        self.table_count().is_some_and(Count::is_full)
    }

    /// `CAP_NET_ADMIN` is missing in the namespace (`EPERM`, `EACCES`).
    #[must_use]
    pub fn is_permission_denied(&self) -> bool {
        !self.is_fixed_timeout() && self.has(&[nix::errno::Errno::EPERM, nix::errno::Errno::EACCES])
    }

    /// The time-out of the entry is fixed (status `FIXED_TIMEOUT`), so it cannot be changed.
    ///
    /// The kernel says `EPERM` for that as well; the entry's status tells the two apart. Linux 5.10
    /// does not refuse it: there such a time-out is fixed for packets alone.
    #[must_use]
    pub fn is_fixed_timeout(&self) -> bool {
        matches!(
            &*self.0,
            Repr::Kernel {
                fixed_timeout: true,
                ..
            }
        )
    }

    /// The kernel lacks what was asked for (`EOPNOTSUPP`, `EPROTONOSUPPORT`, or found by asking). Also
    /// that it finds entries with a zone of one direction by both tuples of the one that is meant,
    /// which then cannot be reached.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(&*self.0, Repr::Unsupported { .. } | Repr::Hidden { .. })
            || self.has(&[
                nix::errno::Errno::EOPNOTSUPP,
                nix::errno::Errno::EPROTONOSUPPORT,
                nix::errno::Errno::EAFNOSUPPORT,
            ])
    }

    /// The kernel refuses the change in the entry's present state (`EBUSY`): an offloaded flow, or
    /// an attempt to clear `ASSURED` or `SEEN_REPLY`. Or a rule uses the time-out policy.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.has(&[nix::errno::Errno::EBUSY])
    }

    /// The entry has no room for labels (`ENOSPC`). A rule that speaks of labels reserves it for
    /// entries that are made after it, such as `nft add rule inet t c ct label set 1`.
    ///
    /// Of a creation: the entry was made, without its labels. The kernel keeps silent about that, so
    /// it is looked up and said here.
    #[must_use]
    pub fn is_no_label_space(&self) -> bool {
        self.has(&[nix::errno::Errno::ENOSPC])
    }

    /// The caller's deadline passed before the kernel answered, and the outcome is unknown; or the wait
    /// for another process that was at work on the same zone or owner took too long, and nothing was done.
    #[must_use]
    pub fn is_deadline(&self) -> bool {
        matches!(&*self.0, Repr::Deadline { .. } | Repr::Waited { .. })
    }

    /// An answer was longer than the receive buffer, twice.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        matches!(&*self.0, Repr::Truncated { .. })
    }

    /// An answer could not be decoded. Of a list, only that entry is concerned.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        matches!(&*self.0, Repr::Malformed { .. })
    }

    /// The socket's receive buffer overran and an answer was lost. The outcome is unknown.
    #[must_use]
    pub fn is_overrun(&self) -> bool {
        matches!(&*self.0, Repr::Overrun { .. })
    }

    /// Whether the kernel may or may not have done what was asked: the request was sent, and its
    /// answer was lost, late or unreadable.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        match &*self.0 {
            Repr::Unknown { .. }
            | Repr::Unheard { .. }
            | Repr::Deadline { .. }
            | Repr::Overrun { .. }
            | Repr::Truncated { .. } => true,
            // What only reads has no outcome beside its answer.
            Repr::Malformed { operation, .. } => !matches!(
                operation,
                Operation::Open
                    | Operation::Get
                    | Operation::List
                    | Operation::ListAndZeroCounters
                    | Operation::Count
                    | Operation::Events
                    | Operation::Stats
                    | Operation::Convert
                    | Operation::GetExpectation
                    | Operation::ListExpectations
                    | Operation::Policies
                    | Operation::Rules
            ),
            _ => false,
        }
    }

    /// The request of a batch was never sent, because an earlier datagram failed as a whole.
    #[must_use]
    pub fn is_not_sent(&self) -> bool {
        matches!(&*self.0, Repr::NotSent { .. })
    }

    /// More entries match than may be deleted
    /// ([`DeleteOptions::max_deletes`](crate::DeleteOptions::max_deletes)).
    #[must_use]
    pub fn is_too_many(&self) -> bool {
        matches!(&*self.0, Repr::TooMany { .. })
    }

    /// The input could never have been right; nothing was sent.
    #[must_use]
    pub fn is_invalid_input(&self) -> bool {
        matches!(&*self.0, Repr::Invalid { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno as Nix;

    fn refusal(operation: Operation, errno: Nix) -> Error {
        Error::kernel(
            operation,
            Failure {
                errno: errno.into(),
                message: Some("bad mark".into()),
                offset: Some(36),
            },
        )
    }

    #[test]
    fn says_operation_errno_text_and_offset() {
        let error = refusal(Operation::Create, Nix::EINVAL);
        assert_eq!(
            error.to_string(),
            "create: EINVAL (Invalid argument): the kernel says \"bad mark\" (attribute at offset 36 of the request)"
        );
        assert_eq!(error.operation(), Some(Operation::Create));
        assert_eq!(error.errno(), Some(Errno::from_raw(22)));
        assert_eq!(error.kernel_message(), Some("bad mark"));
        assert_eq!(error.offset(), Some(36));
    }

    #[test]
    fn predicates_tell_errnos_apart() {
        assert!(refusal(Operation::Get, Nix::ENOENT).is_not_found());
        assert!(refusal(Operation::Create, Nix::EEXIST).is_exists());
        assert!(refusal(Operation::Create, Nix::EPERM).is_permission_denied());
        assert!(!refusal(Operation::Create, Nix::EPERM).is_fixed_timeout());
        assert!(refusal(Operation::Update, Nix::EPERM).is_permission_denied());
        let fixed = refusal(Operation::Update, Nix::EPERM).of_fixed_timeout();
        assert!(fixed.is_fixed_timeout() && !fixed.is_permission_denied());
        assert!(refusal(Operation::Create, Nix::EOPNOTSUPP).is_unsupported());
        assert!(refusal(Operation::Upsert, Nix::EBUSY).is_busy());
        // A name-space file that is missing is not a missing entry.
        assert!(
            !Error::system(Operation::Open, "open /run/netns/x", Nix::ENOENT, None).is_not_found()
        );
    }

    #[test]
    fn no_memory_is_a_full_table_only_when_it_is_full() {
        let count = |entries| Count {
            entries,
            max: Some(100),
            unknown: Vec::new(),
        };
        let (roomy, full) = (count(1), count(100));
        assert!(
            !refusal(Operation::Create, Nix::ENOMEM)
                .with_table(roomy)
                .is_table_full()
        );
        let error = refusal(Operation::Create, Nix::ENOMEM).with_table(full.clone());
        assert!(error.is_table_full());
        assert_eq!(error.table_count(), Some(&full));
        assert!(error.to_string().contains("nf_conntrack_max"), "{error}");
    }

    #[test]
    fn one_pointer_wide() {
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }
}
