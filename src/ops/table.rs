//! Walking the table: `list` and `visit`.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::Session;
use super::trace::Conversation;
use crate::error::{Operation, Result};
use crate::filter::Filter;
use crate::link::Dump;
use crate::model::{Completeness, Entry, EntryZone, Family, Tuple};
use crate::wire::{self, EntryRef, Request};

/// Starts a walk of the table for the entries of a filter.
///
/// The one place where a part of the filter is given to the kernel: what was seen to be right in a
/// trial. User space checks the whole filter in any case.
fn start(
    session: &Session,
    operation: Operation,
    request: Request,
    filter: &Filter,
) -> Result<Dump> {
    let kernel = if request == Request::List && !filter.kernel().shape().is_empty() {
        filter.for_dump(session.support())
    } else {
        None
    };
    // Of what is changed by being listed no other family is to be.
    let family = filter
        .family_condition()
        .filter(|_| request == Request::ListAndZeroCounters);
    Dump::start(
        session.pool.take()?,
        operation,
        session.deadline,
        // Counters that were zeroed on the way to an answer that did not fit are gone.
        request != Request::ListAndZeroCounters,
        move |datagram| match &kernel {
            Some(kernel) => wire::dump_filtered(datagram, kernel),
            None => wire::dump(datagram, request, family),
        },
    )
}

/// The entries of a [`Conntrack::list`](crate::Conntrack::list), one after the other, in constant
/// memory.
///
/// Holds a socket of its own, so other calls on the handle go on while it lives. Dropped early, the
/// socket is closed, which ends the dump in the kernel.
///
/// An entry that cannot be decoded is an error item, and the next ones follow. After any other
/// error there are no more items.
#[must_use = "a list that is not iterated was asked for in vain"]
pub struct Entries {
    conversation: Conversation,
    operation: Operation,
    dump: Dump,
    filter: Filter,
    /// The filter has no condition.
    everything: bool,
    /// What was given out, where nothing may be given out twice.
    seen: Option<HashSet<(Tuple, EntryZone, Option<u32>)>>,
    around: Around,
    /// An entry was passed over because it could not be decoded.
    damaged: bool,
}

impl Entries {
    /// Whether entries may be missing, as far as was noticed up to now: the dump was interrupted
    /// (`NLM_F_DUMP_INTR`), answers were lost, something was damaged, or the hash table had another
    /// size at the end, which ctnetlink itself does not notice.
    ///
    /// An entry may also come twice when others around it are removed.
    #[doc(alias = "NLM_F_DUMP_INTR")]
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.dump.state().incomplete || self.damaged || self.around.size() == Size::Changed
    }

    /// Gives no entry twice. When an entry is removed at which the kernel had stopped, it walks the
    /// bucket again, and entries around it come again.
    ///
    /// It takes some 100 bytes of memory for each entry that is given out.
    pub fn exact(mut self) -> Self {
        self.seen = Some(HashSet::new());
        self
    }

    /// Whether the walk saw all of the table, as far as is known now.
    #[must_use]
    pub fn completeness(&self) -> Completeness {
        completeness(&self.dump, self.damaged, self.around.size())
    }
}

/// What became of the hash table's size during a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Same,
    Changed,
    /// `/proc` is not mounted, or the namespace does not show it.
    Unseen,
}

/// The size of the hash table before a walk and after it. A walk does not hold the table but bucket
/// by bucket, also within a piece, and the kernel does not say when it is resized between two of them
/// (`ctnetlink_dump_table`).
struct Around {
    buckets: fn() -> Option<u32>,
    before: Option<u32>,
    at_end: Option<Size>,
}

impl Around {
    fn begin(session: &Session) -> Self {
        let buckets = session.buckets;
        Self {
            buckets,
            before: buckets(),
            at_end: None,
        }
    }

    fn end(&mut self) {
        self.at_end = Some(self.look());
    }

    fn look(&self) -> Size {
        match (self.before, (self.buckets)()) {
            (Some(before), Some(now)) if before == now => Size::Same,
            (Some(_), Some(_)) => Size::Changed,
            _ => Size::Unseen,
        }
    }

    /// Looked at now where the end was not reached.
    fn size(&self) -> Size {
        self.at_end.unwrap_or_else(|| self.look())
    }
}

/// A piece of a dump has room for some 3700 bytes at least (`NLMSG_GOODSIZE`), and no entry takes
/// more than half of that: after a shorter piece the kernel had come to the end of the table.
const SHORT: u64 = 1800;

fn completeness(dump: &Dump, damaged: bool, size: Size) -> Completeness {
    let state = dump.state();
    if state.incomplete || !state.ended || damaged || size == Size::Changed {
        Completeness::Interrupted
    } else if state.pieces > 1 || state.pieces == 1 && state.bytes > SHORT || size == Size::Unseen {
        Completeness::Unknown
    } else {
        Completeness::Complete
    }
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let range = match self.dump.advance() {
                Ok(Some(range)) => range,
                Ok(None) => {
                    if self.around.at_end.is_none() {
                        self.around.end();
                    }
                    return None;
                }
                Err(error) => return Some(Err(error)),
            };
            let decoded = EntryRef::decode(self.dump.payload(range)).and_then(|entry| {
                if self.everything || self.filter.try_matches_ref(&entry)? {
                    entry.try_entry().map(Some)
                } else {
                    Ok(None)
                }
            });
            match decoded {
                Ok(Some(entry)) => {
                    if let Some(seen) = &mut self.seen {
                        if !seen.insert((*entry.orig(), entry.zone(), entry.id())) {
                            continue;
                        }
                    }
                    self.conversation.entries += 1;
                    return Some(Ok(entry));
                }
                Ok(None) => {}
                Err(malformed) => {
                    self.damaged = true;
                    self.conversation
                        .span
                        .in_scope(|| tracing::warn!(%malformed, "an entry is damaged"));
                    return Some(Err(malformed.error(self.operation)));
                }
            }
        }
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        self.conversation.bytes = self.dump.state().bytes;
    }
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries")
            .field("filter", &self.filter)
            .field("so_far", &self.dump.state())
            .finish_non_exhaustive()
    }
}

pub(crate) fn list(session: &Session, filter: &Filter) -> Result<Entries> {
    list_for(session, Operation::List, filter)
}

/// The same, as a part of another operation, which its errors name.
pub(super) fn list_for(
    session: &Session,
    operation: Operation,
    filter: &Filter,
) -> Result<Entries> {
    entries(session, operation, Request::List, filter)
}

pub(crate) fn list_and_zero_counters(session: &Session, family: Option<Family>) -> Result<Entries> {
    let operation = Operation::ListAndZeroCounters;
    let filter = family.map_or_else(Filter::new, |family| Filter::new().family(family));
    entries(session, operation, Request::ListAndZeroCounters, &filter)
}

pub(crate) fn list_dying(session: &Session) -> Result<Entries> {
    entries(session, Operation::List, Request::ListDying, &Filter::new())
}

pub(crate) fn list_unconfirmed(session: &Session) -> Result<Entries> {
    let filter = Filter::new();
    entries(session, Operation::List, Request::ListUnconfirmed, &filter)
}

fn entries(
    session: &Session,
    operation: Operation,
    request: Request,
    filter: &Filter,
) -> Result<Entries> {
    let conversation = Conversation::new(session, operation, filter.zone_condition());
    let span = conversation.span.clone();
    let around = Around::begin(session);
    let dump = span
        .in_scope(|| start(session, operation, request, filter))?
        .within(span);
    Ok(Entries {
        conversation,
        operation,
        dump,
        filter: filter.clone(),
        everything: filter.is_empty(),
        seen: None,
        around,
        damaged: false,
    })
}

/// How a [`Conntrack::visit`](crate::Conntrack::visit) went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "it says whether entries may be missing"]
pub struct Visited<B> {
    /// Entries that met the filter and were handed over.
    pub matched: u64,
    /// Entries that the kernel sent.
    pub seen: u64,
    /// Entries that were passed over because they could not be decoded.
    pub malformed: u64,
    /// Entries may be missing: see [`Entries::is_incomplete`].
    pub incomplete: bool,
    /// Whether the walk saw all of the table. Not when the visitor broke off.
    pub completeness: Completeness,
    /// The hash table had the same size before the walk and after it, so that
    /// [`Completeness::Unknown`] says no more than that there were several pieces.
    pub(crate) same_size: bool,
    /// What the visitor broke off with, if it did.
    pub stopped: Option<B>,
}

pub(crate) fn visit<B>(
    session: &Session,
    filter: &Filter,
    mut visitor: impl FnMut(EntryRef<'_>) -> ControlFlow<B>,
) -> Result<Visited<B>> {
    let mut conversation = Conversation::new(session, Operation::List, filter.zone_condition());
    let span = conversation.span.clone();
    let _entered = span.enter();
    let mut around = Around::begin(session);
    let mut dump = start(session, Operation::List, Request::List, filter)?;
    let mut visited = Visited {
        matched: 0,
        seen: 0,
        malformed: 0,
        incomplete: false,
        completeness: Completeness::Interrupted,
        same_size: false,
        stopped: None,
    };
    let done = walk(&mut dump, filter, &mut visitor, &mut visited);
    around.end();
    let (state, size, damaged) = (dump.state(), around.size(), visited.malformed > 0);
    visited.incomplete = state.incomplete || damaged || size == Size::Changed;
    visited.completeness = completeness(&dump, damaged, size);
    visited.same_size = size == Size::Same;
    conversation.entries = visited.matched;
    conversation.bytes = state.bytes;
    done.map(|()| visited)
}

fn walk<B>(
    dump: &mut Dump,
    filter: &Filter,
    visitor: &mut impl FnMut(EntryRef<'_>) -> ControlFlow<B>,
    visited: &mut Visited<B>,
) -> Result<()> {
    let everything = filter.is_empty();
    loop {
        let range = match dump.advance() {
            Ok(Some(range)) => range,
            Ok(None) => return Ok(()),
            // Damage of a datagram's frame; the dump says that it is incomplete.
            Err(error) if error.is_malformed() => {
                visited.malformed += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        visited.seen += 1;
        let checked = EntryRef::decode(dump.payload(range))
            .and_then(|entry| Ok((everything || filter.try_matches_ref(&entry)?).then_some(entry)));
        match checked {
            Ok(Some(entry)) => {
                visited.matched += 1;
                if let ControlFlow::Break(value) = visitor(entry) {
                    visited.stopped = Some(value);
                    return Ok(());
                }
            }
            Ok(None) => {}
            Err(malformed) => {
                visited.malformed += 1;
                tracing::warn!(%malformed, "an entry is damaged");
            }
        }
    }
}
