//! Expectations: create, get, list, change, delete, flush.

use std::collections::HashSet;
use std::ops::ControlFlow;

use nix::errno::Errno;
use tracing::warn;

use super::Session;
use super::batch::Batch;
use super::single::{acknowledged, locate, looked_up};
use super::trace::{Conversation, converse};
use crate::error::{Error, Operation, Result};
use crate::filter::Filter;
use crate::link::{Dump, Link};
use crate::model::{
    Entry, EntryZone, ExpectFlags, ExpectKey, ExpectNat, Expectation, Helper, Key, NewExpectation,
    Tuple, Zone, seconds,
};
use crate::wire;

/// The expectations of a namespace: [`Conntrack::expectations`](crate::Conntrack::expectations).
///
/// An expectation belongs to an entry, its master, which must have a helper, and is in its zone.
///
/// What FTP's helper does by reading the control connection, done by hand: the server will connect
/// to the client's port 20000, and that connection is to be `RELATED`.
///
/// ```
/// use std::time::Duration;
/// use ctnetlink::{Conntrack, Entry, Helper, Key, NewExpectation, TcpState, Tuple};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?; // a table of the example's own
/// let ct = Conntrack::open()?;
/// let control = Entry::tcp("10.0.0.1:40000".parse()?, "10.0.0.2:21".parse()?)
///     .state(TcpState::Established)
///     .helper(Helper::FTP)
///     .timeout(Duration::from_secs(600))
///     .build()?;
/// ct.create(&control)?;
///
/// // From any port of the server; the mask leaves the source port out unless told otherwise.
/// let data = Tuple::tcp("10.0.0.2:0".parse()?, "10.0.0.1:20000".parse()?)?;
/// let expected = NewExpectation::builder(&control, data)
///     .timeout(Duration::from_secs(30))
///     .build()?;
/// ct.expectations().create(&expected)?;
/// for expectation in ct.expectations().list_of(&control)? {
///     println!("{}", expectation?);
/// }
///
/// // The server did not come.
/// ct.expectations().delete(expected.key())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct Expectations<'a>(&'a Session);

impl<'a> Expectations<'a> {
    pub(crate) const fn new(session: &'a Session) -> Self {
        Self(session)
    }

    /// Creates an expectation that is not there yet (`NLM_F_CREATE | NLM_F_EXCL`).
    ///
    /// Kernels take the time-out from the helper and may leave out a class; so the time-out is set
    /// by a second request, and what came of the rest is looked at. What was not taken is said, and
    /// the expectation is removed again.
    ///
    /// A helper limits how many of a class a master may expect, FTP's to one: beyond that the kernel
    /// removes the oldest to make room (`evict_oldest_expect`).
    ///
    /// # Errors
    /// - [`is_not_found`](Error::is_not_found): there is no such master.
    /// - [`is_exists`](Error::is_exists): an expectation covers the tuple already.
    /// - [`is_busy`](Error::is_busy): one that is there clashes with it.
    /// - [`is_unsupported`](Error::is_unsupported): the master has no helper, the kernel has no such
    ///   helper, or it did not take all that was asked for.
    /// - [`is_invalid_input`](Error::is_invalid_input): a class that is not one of the master's
    ///   helper.
    #[doc(alias = "IPCTNL_MSG_EXP_NEW")]
    pub fn create(&self, new: &NewExpectation) -> Result<()> {
        let operation = Operation::CreateExpectation;
        converse(self.0, operation, Some(new.key().zone), 1, |link| {
            create(self.0, link, new)
        })
    }

    /// The expectation of this key.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found), also when only another expectation, whose mask is
    /// wider, covers the tuple.
    #[doc(alias = "IPCTNL_MSG_EXP_GET")]
    pub fn get(&self, key: impl Into<ExpectKey>) -> Result<Expectation> {
        let (operation, key) = (Operation::GetExpectation, key.into());
        converse(self.0, operation, Some(key.zone), 1, |link| {
            find(self.0, link, operation, &key)
        })
    }

    /// All expectations of the namespace, of both families and all zones. The kernel does not say
    /// which zone they are in; [`Expectations::list_of`] knows it.
    ///
    /// # Errors
    /// When the list cannot be started. What happens later is an item of the list.
    #[doc(alias = "NLM_F_DUMP")]
    pub fn list(&self) -> Result<ExpectationList> {
        start(self.0, None)
    }

    /// The expectations of one master.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when there is no such master, and when the list cannot
    /// be started. What happens later is an item of the list.
    #[doc(alias = "CTA_EXPECT_MASTER")]
    pub fn list_of(&self, master: impl Into<Key>) -> Result<ExpectationList> {
        let (operation, master) = (Operation::ListExpectations, master.into());
        let zone = master.entry_zone().zone();
        let (_, tuple) = converse(self.0, operation, Some(zone), 1, |link| {
            find_master(self.0, link, operation, &master)
        })?;
        start(self.0, Some((tuple, zone)))
    }

    /// Sets what is left of an expectation's time-out: whole seconds. Nothing else of it can be
    /// changed.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found), and a time-out that is not whole seconds.
    #[doc(alias = "CTA_EXPECT_TIMEOUT")]
    pub fn set_timeout(
        &self,
        key: impl Into<ExpectKey>,
        timeout: std::time::Duration,
    ) -> Result<()> {
        let (operation, key) = (Operation::UpdateExpectation, key.into());
        let timeout = seconds(timeout)?;
        converse(self.0, operation, Some(key.zone), 1, |link| {
            let found = find(self.0, link, operation, &key)?;
            change(self.0, link, operation, &found, &key, timeout)
        })
    }

    /// Deletes the expectation of this key. The kernel compares the id, which is looked up first
    /// where the key has none.
    ///
    /// Kernels from 5.1 on without a fix of 2024 find no expectation by its id. There it is looked
    /// at once more and deleted without, which leaves a moment in which another that takes its tuple
    /// would go in its place.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found): it is gone already, or only another expectation covers
    /// the tuple.
    #[doc(alias = "IPCTNL_MSG_EXP_DELETE")]
    pub fn delete(&self, key: impl Into<ExpectKey>) -> Result<()> {
        let (operation, key) = (Operation::DeleteExpectation, key.into());
        converse(self.0, operation, Some(key.zone), 1, |link| {
            delete(self.0, link, &key)
        })
    }

    /// Deletes the expectations of one master, each by its tuple, zone and id: a request that names
    /// the master alone would remove those of all masters (`ctnetlink_del_expect`).
    ///
    /// # Errors
    /// When there is no such master or they cannot be listed. What came of each is in the batch;
    /// [`Batch::stopped`] also says when some may have been missed.
    pub fn delete_of(&self, master: impl Into<Key>) -> Result<Batch> {
        let master = master.into();
        let zone = master.entry_zone().zone();
        let mut list = self.list_of(master)?;
        let all = list.by_ref().collect::<Result<Vec<_>>>()?;
        let incomplete = list.is_incomplete();
        // Its socket serves the deletions.
        drop(list);
        let stopped = incomplete.then(|| {
            Error::unknown(
                Operation::DeleteExpectation,
                "the list was incomplete: expectations that it missed are left",
            )
        });
        Ok(self.delete_each(all.iter().map(|one| one.key(zone)), stopped))
    }

    /// The expectations of all masters that have this helper, in every zone, which is known of each.
    /// The table is walked once for the masters.
    ///
    /// # Errors
    /// When the masters or their expectations cannot be listed, and when the walk may have missed
    /// masters.
    #[doc(alias = "CTA_EXPECT_HELP_NAME")]
    pub fn list_by_helper(&self, helper: Helper) -> Result<Vec<Expectation>> {
        let (found, missed) = self.by_helper(helper)?;
        if missed {
            return Err(incomplete(Operation::ListExpectations));
        }
        Ok(found)
    }

    /// Deletes the expectations of all masters that have this helper, in every zone, each by its
    /// tuple, zone and id. The table is walked once for the masters.
    ///
    /// # Errors
    /// When the masters or their expectations cannot be listed. What came of each is in the batch;
    /// [`Batch::stopped`] also says when masters may have been missed.
    pub fn delete_by_helper(&self, helper: Helper) -> Result<Batch> {
        let (found, missed) = self.by_helper(helper)?;
        let stopped = missed.then(|| incomplete(Operation::DeleteExpectation));
        let keys = found
            .iter()
            .filter_map(|one| one.zone.map(|zone| one.key(zone)));
        Ok(self.delete_each(keys, stopped))
    }

    /// Also whether masters may have been missed.
    fn by_helper(self, helper: Helper) -> Result<(Vec<Expectation>, bool)> {
        // A walk may give an entry twice.
        let (mut masters, mut seen): (Vec<Key>, HashSet<Key>) = Default::default();
        let mut damaged = false;
        let visited = super::visit(self.0, &Filter::new(), |entry| {
            match entry.helper() {
                Ok(Some(name)) if name == helper => match entry.to_entry() {
                    Ok(entry) => {
                        if seen.insert(entry.key()) {
                            masters.push(entry.key());
                        }
                    }
                    Err(error) => return ControlFlow::Break(error),
                },
                Ok(_) => {}
                // Whose master it is cannot be told.
                Err(_) => damaged = true,
            }
            ControlFlow::Continue(())
        })?;
        if let Some(error) = visited.stopped {
            return Err(error);
        }
        let mut found = Vec::new();
        let mut missed = damaged || visited.incomplete || visited.malformed > 0;
        for master in masters {
            let listed = self.list_of(master).and_then(|mut list| {
                let all = list.by_ref().collect::<Result<Vec<_>>>()?;
                Ok((all, list.is_incomplete()))
            });
            match listed {
                Ok((all, incomplete)) => {
                    found.extend(all);
                    missed |= incomplete;
                }
                // It has ended, and its expectations with it.
                Err(error) if error.is_not_found() => {}
                Err(error) if error.is_hidden() => missed = true,
                Err(error) => return Err(error),
            }
        }
        Ok((found, missed))
    }

    fn delete_each(
        self,
        keys: impl Iterator<Item = ExpectKey>,
        mut stopped: Option<Error>,
    ) -> Batch {
        let mut results = Vec::new();
        let mut seen = HashSet::new();
        // A list may give an expectation twice.
        for key in keys.filter(|key| seen.insert(*key)) {
            match self.delete(key) {
                Err(error) if error.is_outcome_unknown() || error.is_not_sent() => {
                    results.push(Err(error.clone()));
                    stopped = Some(error);
                    break;
                }
                result => results.push(result),
            }
        }
        Batch::of(results, stopped)
    }

    /// Removes every expectation of every master, zone and family of the namespace. The masters
    /// stay.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn flush_all(&self) -> Result<()> {
        let operation = Operation::FlushExpectations;
        converse(self.0, operation, None, 0, |link| {
            acknowledged(self.0, link, operation, wire::flush_expectations)
        })
    }
}

fn incomplete(operation: Operation) -> Error {
    Error::unknown(
        operation,
        "the walk of the table was incomplete, or a master cannot be reached: the expectations of masters that were missed are left out",
    )
}

/// A master, and the tuple by which the kernel finds it in its zone: of a zone that holds in one
/// direction, that direction's.
fn find_master(
    session: &Session,
    link: &mut Link,
    operation: Operation,
    key: &Key,
) -> Result<(Entry, Tuple)> {
    let (by, master) = locate(session, link, operation, key)?;
    let tuple = match master.zone() {
        EntryZone::Both(_) => return Ok((master, by.tuple)),
        EntryZone::Orig(_) => *master.orig(),
        EntryZone::Reply(_) => *master.reply(),
    };
    // Requests that name a master have no zone of one direction, by which it was found.
    let plain = Key::orig(tuple).zone(master.zone().zone());
    let request = |datagram: &mut wire::Datagram| wire::get(datagram, &plain);
    let id = looked_up(session, link, operation, request, |payload| {
        let found = wire::EntryRef::decode(payload).and_then(|entry| entry.try_entry());
        let found = found.map_err(|malformed| malformed.error(operation))?;
        Ok(found.id())
    })?;
    if id == master.id() {
        Ok((master, tuple))
    } else {
        Err(Error::hidden(operation))
    }
}

fn create(session: &Session, link: &mut Link, new: &NewExpectation) -> Result<()> {
    let operation = Operation::CreateExpectation;
    let (master, tuple) = find_master(session, link, operation, &new.master)?;
    check_class(new, master.helper())?;
    let mut made = Err(Error::overrun(operation));
    // A kernel without translation refuses the attribute.
    for with_nat in [true, false] {
        made = acknowledged(session, link, operation, |datagram| {
            wire::create_expectation(datagram, new, &tuple, with_nat)
        });
        let again = match &made {
            Err(error) => error.is_unsupported() && new.nat.is_none() && master.helper().is_some(),
            Ok(()) => false,
        };
        if !again {
            break;
        }
    }
    made.map_err(|error| explain(error, &master))?;
    let key = new.key();
    let found = match find(session, link, operation, &key) {
        Ok(found) => found,
        // It was made, and has been met since.
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    };
    if found.master != *master.orig() {
        // The same, and the tuple is somebody else's by now: nothing of theirs is touched.
        return Ok(());
    }
    if let Some(lost) = lost(new, &found) {
        let mine = found.key(key.zone);
        if let Err(error) = delete(session, link, &mine) {
            if !error.is_not_found() {
                return Err(error);
            }
        }
        return Err(Error::unsupported(
            operation,
            format!("{lost} was not taken"),
            "the expectation was removed again",
        ));
    }
    match new.timeout {
        None => Ok(()),
        Some(timeout) => match change(session, link, operation, &found, &key, timeout) {
            Err(error) if error.is_not_found() => Ok(()),
            done => done,
        },
    }
}

/// Kernels without a fix of 2026 compare the class with the classes of the helper that is named, and
/// use it with the master's own: beyond those they read what is not theirs.
fn check_class(new: &NewExpectation, masters: Option<Helper>) -> Result<()> {
    let class = new.class.unwrap_or(0);
    match new.helper {
        Some(named) if class > 0 && Some(named) != masters => Err(Error::invalid(
            "expectation class",
            format!("{class} of {named}"),
            "the class belongs to another helper than the master's",
            "a class of the master's helper",
        )),
        _ => Ok(()),
    }
}

fn explain(error: Error, master: &Entry) -> Error {
    let Some(errno) = error.errno() else {
        return error;
    };
    if errno.is(Errno::EOPNOTSUPP) {
        return error.with_hint(if master.helper().is_none() {
            "the master has no helper: expectations belong to entries that have one"
        } else {
            "the kernel has no such helper for the master's protocol, or no address translation"
        });
    }
    if errno.is(Errno::EMFILE) {
        return error.with_hint(
            "too many expectations: see net.netfilter.nf_conntrack_expect_max and the helper's own limit",
        );
    }
    if errno.is(Errno::EINVAL) {
        return error.with_hint(
            "the helper has no such class, or the kernel no such function: those of translation come with its module, which a NAT rule loads",
        );
    }
    if errno.is(Errno::EBUSY) || errno.is(Errno::EALREADY) {
        return error.with_hint("an expectation that is there clashes with it");
    }
    error
}

/// What of a new expectation the kernel left out.
fn lost(new: &NewExpectation, found: &Expectation) -> Option<&'static str> {
    // Of flags that cannot be asked for, the kernel may set its own.
    let flags = found.flags.unwrap_or_default() & ExpectFlags::SETTABLE;
    if new.class.unwrap_or(0) != found.class.unwrap_or(0) {
        Some("the class")
    } else if new.flags != flags {
        Some("a flag")
    } else if new
        .nat
        .is_some_and(|nat| is_reported(nat) && found.nat != Some(nat))
    {
        Some("the translation")
    } else if new.function.is_some() && new.function != found.function {
        Some("the function")
    } else {
        None
    }
}

/// Of a translation that keeps neither address nor port the kernel says nothing, not even its
/// direction (`ctnetlink_exp_dump_expect`).
fn is_reported(nat: ExpectNat) -> bool {
    !nat.address.is_unspecified() || nat.port != 0
}

fn find(
    session: &Session,
    link: &mut Link,
    operation: Operation,
    key: &ExpectKey,
) -> Result<Expectation> {
    let request = |datagram: &mut wire::Datagram| wire::get_expectation(datagram, key);
    looked_up(session, link, operation, request, |payload| {
        let found =
            wire::decode_expectation(payload).map_err(|malformed| malformed.error(operation))?;
        match key.mismatch(&found) {
            None => Ok(Expectation {
                zone: Some(key.zone),
                ..found
            }),
            Some(detail) => Err(Error::mismatch(operation, detail)),
        }
    })
}

fn change(
    session: &Session,
    link: &mut Link,
    operation: Operation,
    found: &Expectation,
    key: &ExpectKey,
    timeout: u32,
) -> Result<()> {
    acknowledged(session, link, operation, |datagram| {
        wire::change_expectation(datagram, found, key, timeout)
    })
    // It is being removed (`ctnetlink_change_expect`).
    .map_err(|error| match error.errno() {
        Some(errno) if errno.is(Errno::ETIME) => Error::mismatch(operation, "it has just ended"),
        _ => error,
    })
}

fn delete(session: &Session, link: &mut Link, key: &ExpectKey) -> Result<()> {
    let operation = Operation::DeleteExpectation;
    let mut key = *key;
    if key.id.is_none() {
        // The kernel would delete whatever expectation covers the tuple.
        key.id = find(session, link, operation, &key)?.id();
        if key.id.is_none() {
            return Err(super::single::no_id(operation));
        }
    }
    let mut deleted = acknowledged(session, link, operation, |datagram| {
        wire::delete_expectation(datagram, &key)
    });
    if matches!(&deleted, Err(error) if error.is_not_found()) {
        // It has gone, or the kernel compares the id with an address (`ctnetlink_del_expect`).
        match find(session, link, operation, &key) {
            Ok(_) => {
                let key = ExpectKey { id: None, ..key };
                deleted = acknowledged(session, link, operation, |datagram| {
                    wire::delete_expectation(datagram, &key)
                });
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    deleted
}

/// `of`: the master's tuple, and its zone.
fn start(session: &Session, of: Option<(Tuple, Zone)>) -> Result<ExpectationList> {
    let zone = of.map(|(_, zone)| zone);
    let conversation = Conversation::new(session, Operation::ListExpectations, zone);
    let span = conversation.span.clone();
    let dump = span
        .in_scope(|| {
            Dump::start(
                session.pool.take()?,
                Operation::ListExpectations,
                session.deadline,
                true,
                move |datagram| match &of {
                    None => wire::dump_expectations(datagram),
                    Some((master, zone)) => wire::dump_expectations_of(datagram, master, *zone),
                },
            )
        })?
        .within(span);
    Ok(ExpectationList {
        conversation,
        dump,
        zone,
    })
}

/// Expectations, one after the other.
///
/// Holds a socket of its own. One that cannot be decoded is an error item, and the next ones follow.
/// After any other error there are no more items.
#[must_use = "a list that is not iterated was asked for in vain"]
pub struct ExpectationList {
    conversation: Conversation,
    dump: Dump,
    zone: Option<Zone>,
}

impl ExpectationList {
    /// Whether expectations may be missing, as far as the kernel or the socket said so up to now.
    #[doc(alias = "NLM_F_DUMP_INTR")]
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.dump.state().incomplete
    }
}

impl Iterator for ExpectationList {
    type Item = Result<Expectation>;

    fn next(&mut self) -> Option<Self::Item> {
        let range = match self.dump.advance() {
            Ok(Some(range)) => range,
            Ok(None) => return None,
            Err(error) => return Some(Err(error)),
        };
        Some(match wire::decode_expectation(self.dump.payload(range)) {
            Ok(found) => {
                self.conversation.entries += 1;
                Ok(Expectation {
                    zone: found.zone.or(self.zone),
                    ..found
                })
            }
            Err(malformed) => {
                let span = &self.conversation.span;
                span.in_scope(|| warn!(%malformed, "an expectation is damaged"));
                Err(malformed.error(Operation::ListExpectations))
            }
        })
    }
}

impl Drop for ExpectationList {
    fn drop(&mut self) {
        self.conversation.bytes = self.dump.state().bytes;
    }
}

impl std::fmt::Debug for ExpectationList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExpectationList")
            .field("zone", &self.zone)
            .field("so_far", &self.dump.state())
            .finish_non_exhaustive()
    }
}
