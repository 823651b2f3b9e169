//! One entry at a time: create, upsert, get, update, delete; and flush.

use nix::errno::Errno;

use super::trace::converse;
use super::{Session, count};
use crate::error::{Error, Failure, Operation, Result};
use crate::link::{Answer, Link};
use crate::model::{Entry, Key, Mismatch, NewEntry, ProtoInfo, Protocol, Status, Update};
use crate::wire::{self, Datagram, EntryRef};

/// Sends one request that ends with an acknowledgement.
pub(super) fn acknowledged(
    session: &Session,
    link: &mut Link,
    operation: Operation,
    request: impl FnOnce(&mut Datagram) -> Result<()>,
) -> Result<()> {
    let mut datagram = Datagram::new(link.sequence());
    request(&mut datagram)?;
    datagram.acknowledge_last();
    let mut result = Err(Error::overrun(operation));
    link.request(operation, &datagram, session.deadline, |_, answer| {
        if let Answer::Outcome(outcome) = answer {
            result = outcome.map_err(|failure| Error::kernel(operation, failure));
        }
    })?;
    result
}

/// Sends one look-up and decodes its answer. It is answered by that or by a refusal; where there is
/// an acknowledgement as well, it says nothing.
pub(super) fn looked_up<T>(
    session: &Session,
    link: &mut Link,
    operation: Operation,
    request: impl Fn(&mut Datagram) -> Result<()>,
    decode: impl Fn(&[u8]) -> Result<T>,
) -> Result<T> {
    // Asking changes nothing, so an answer that did not fit is asked for once more: the buffer has
    // grown.
    for last in [false, true] {
        let mut datagram = Datagram::new(link.sequence());
        request(&mut datagram)?;
        let mut result = Err(Error::overrun(operation));
        let asked = link.request(operation, &datagram, session.deadline, |_, answer| {
            result = match answer {
                Answer::Payload(payload) => decode(payload),
                Answer::Outcome(Err(failure)) => Err(Error::kernel(operation, failure)),
                Answer::Outcome(Ok(())) => return,
            };
        });
        match asked {
            Err(error) if error.is_truncated() && !last => {
                tracing::warn!("the look-up is repeated with a larger buffer");
            }
            Err(error) => return Err(error),
            Ok(_) => return result,
        }
    }
    unreachable!("the second turn returns")
}

/// `ENOMEM` of a creation: says how full the table is, if that can be learnt.
pub(super) fn explain_full(
    session: &Session,
    link: &mut Link,
    operation: Operation,
    error: Error,
) -> Error {
    if error.errno().is_none_or(|errno| !errno.is(Errno::ENOMEM)) {
        return error;
    }
    match count::ask(session, link, operation) {
        Ok(count) => error.with_table(count),
        Err(_) => error,
    }
}

pub(crate) fn create(session: &Session, new: &NewEntry) -> Result<()> {
    let zone = Some(new.entry().zone().zone());
    converse(session, Operation::Create, zone, 1, |link| {
        make(session, link, Operation::Create, new)
    })
}

fn make(session: &Session, link: &mut Link, operation: Operation, new: &NewEntry) -> Result<()> {
    session.check_tracked(link, operation, new)?;
    acknowledged(session, link, operation, |datagram| {
        wire::create(datagram, new)
    })
    .map_err(|error| explain_full(session, link, operation, error))?;
    check_labels(session, link, operation, new)
}

/// Whether a new entry was given its labels. Without room for them the kernel creates it all the
/// same and says nothing (`ctnetlink_new_conntrack`).
///
/// The entry is left as it is: by the time it is looked at, the one that has the tuple may be
/// somebody else's, and nothing of theirs is to be removed.
pub(super) fn check_labels(
    session: &Session,
    link: &mut Link,
    operation: Operation,
    new: &NewEntry,
) -> Result<()> {
    if new
        .entry()
        .labels()
        .is_none_or(crate::model::Labels::is_empty)
    {
        return Ok(());
    }
    match find(session, link, operation, &Key::from(new)) {
        Ok(made) if made.labels().is_none() => {}
        Ok(_) => return Ok(()),
        // It was made, and has ended since.
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    }
    let failure = Failure {
        errno: Errno::ENOSPC.into(),
        message: None,
        offset: None,
    };
    Err(Error::kernel(operation, failure).with_hint(
        "the entry was made without its labels: no rule of the namespace reserves room for them, such as nftables' `ct label set`",
    ))
}

/// Creates, or changes what is there.
///
/// The kernel can do both in one request (`NLM_F_CREATE` without `NLM_F_EXCL`), but it would also
/// change the flow of the other direction, and it would change the time-out before it refuses the
/// status. So the entry that is there is looked at first.
pub(crate) fn upsert(session: &Session, new: &NewEntry) -> Result<()> {
    let zone = Some(new.entry().zone().zone());
    converse(session, Operation::Upsert, zone, 1, |link| {
        let key = Key::from(new);
        // An entry that is there for the creation and gone for the look-up has just ended; the
        // second turn creates, unless the reply tuple is what is taken.
        let mut last = false;
        loop {
            let exists = match make(session, link, Operation::Upsert, new) {
                Err(error) if error.is_exists() => error,
                done => return done,
            };
            match locate(session, link, Operation::Upsert, &key) {
                Ok((key, found)) => {
                    let update = Update::from_new(new);
                    check_clears_nothing(&found, new)?;
                    match change(session, link, Operation::Upsert, &key, &found, &update) {
                        // It has ended since; the second turn creates.
                        Err(error) if error.is_not_found() && !last => last = true,
                        done => return done,
                    }
                }
                Err(error) if error.is_not_found() && error.errno().is_some() && !last => {
                    last = true;
                }
                Err(error) if error.is_not_found() => return Err(exists),
                Err(error) => return Err(error),
            }
        }
    })
}

/// The kernel refuses to clear these bits, after it has changed the time-out.
fn check_clears_nothing(found: &Entry, new: &NewEntry) -> Result<()> {
    let (Some(old), Some(wanted)) = (found.status(), new.entry().status()) else {
        return Ok(());
    };
    let lost = old.intersection(Status::SEEN_REPLY | Status::ASSURED) - wanted;
    if lost.is_empty() {
        return Ok(());
    }
    let failure = Failure {
        errno: Errno::EBUSY.into(),
        message: None,
        offset: None,
    };
    let error = Error::kernel(Operation::Upsert, failure);
    Err(error.with_hint(
        "the entry has SEEN_REPLY or ASSURED, which cannot be cleared; nothing was changed",
    ))
}

/// Changes an entry that was just looked up.
fn change(
    session: &Session,
    link: &mut Link,
    operation: Operation,
    key: &Key,
    found: &Entry,
    update: &Update,
) -> Result<()> {
    check_effective(found, update)?;
    acknowledged(session, link, operation, |datagram| {
        wire::update(datagram, key, update, update.status_for(found.status()))
    })
    .map_err(|error| {
        if is_fixed(found, update) {
            error.of_fixed_timeout()
        } else {
            error
        }
    })?;
    check_adjusted(session, link, operation, key, update)
}

/// Where there is no room for a sequence adjustment the kernel changes everything else and says
/// nothing (`ctnetlink_change_seq_adj`); where there is, it sets a bit of the status.
pub(super) fn check_adjusted(
    session: &Session,
    link: &mut Link,
    operation: Operation,
    key: &Key,
    update: &Update,
) -> Result<()> {
    if update.orig_seq_adjust.is_none() && update.reply_seq_adjust.is_none() {
        return Ok(());
    }
    let found = match find(session, link, operation, key) {
        Ok(found) => found,
        // It was changed, and has ended since.
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    };
    if found
        .status()
        .unwrap_or_default()
        .contains(Status::SEQ_ADJUST)
    {
        return Ok(());
    }
    Err(Error::unsupported(
        operation,
        "the entry has no room for a sequence adjustment",
        "the rest is changed; entries have it that are translated and have a helper, or that were created over netlink",
    ))
}

/// Whether the kernel will refuse a change of the time-out (`__nf_ct_change_timeout`).
pub(super) fn is_fixed(found: &Entry, update: &Update) -> bool {
    let status = found.status().unwrap_or_default();
    update.timeout.is_some() && status.contains(Status::FIXED_TIMEOUT)
}

/// What a look-up's answer means for the key: the entry, only if it is the one that is meant.
pub(super) fn decode_found(operation: Operation, key: &Key, payload: &[u8]) -> Result<Entry> {
    let entry = EntryRef::decode(payload)
        .and_then(|entry| entry.try_entry())
        .map_err(|malformed| malformed.error(operation))?;
    match key.mismatch(&entry) {
        None => Ok(entry),
        Some(why @ Mismatch::Hides) => Err(Error::may_be_hidden(operation, why.detail())),
        Some(why) => Err(Error::mismatch(operation, why.detail())),
    }
}

fn look_up(session: &Session, link: &mut Link, operation: Operation, key: &Key) -> Result<Entry> {
    let request = |datagram: &mut Datagram| wire::get(datagram, key);
    let decode = |payload: &[u8]| decode_found(operation, key, payload);
    looked_up(session, link, operation, request, decode)
}

/// Looks the key up. `operation` is what the look-up is for. Gives also the key by which the kernel
/// finds the entry, which may be that of its other tuple.
pub(super) fn locate(
    session: &Session,
    link: &mut Link,
    operation: Operation,
    key: &Key,
) -> Result<(Key, Entry)> {
    let found = look_up(session, link, operation, key);
    locate_after(session, link, operation, key, found)
}

/// The same, where the first look-up is done.
pub(super) fn locate_after(
    session: &Session,
    link: &mut Link,
    operation: Operation,
    key: &Key,
    found: Result<Entry>,
) -> Result<(Key, Entry)> {
    match (found, key.turned()) {
        (Err(error), Some(turned)) if error.hides() => {
            match look_up(session, link, operation, &turned) {
                Ok(entry) => Ok((turned, entry)),
                Err(error) if error.hides() => Err(Error::hidden(operation)),
                Err(error) => Err(error),
            }
        }
        (found, _) => found.map(|entry| (*key, entry)),
    }
}

pub(super) fn find(
    session: &Session,
    link: &mut Link,
    operation: Operation,
    key: &Key,
) -> Result<Entry> {
    locate(session, link, operation, key).map(|(_, entry)| entry)
}

pub(crate) fn get(session: &Session, key: &Key) -> Result<Entry> {
    let zone = Some(key.entry_zone().zone());
    converse(session, Operation::Get, zone, 1, |link| {
        find(session, link, Operation::Get, key)
    })
}

pub(crate) fn update(session: &Session, key: &Key, update: &Update) -> Result<()> {
    let zone = Some(key.entry_zone().zone());
    converse(session, Operation::Update, zone, 1, |link| {
        let (key, found) = locate(session, link, Operation::Update, key)?;
        change(session, link, Operation::Update, &key, &found, update)
    })
}

/// The kernel ignores tracker state of another protocol, and window scales without their flags;
/// those would be changes lost silently. So would what the SYN proxy remembers be, in an entry without
/// room for it (`ctnetlink_change_synproxy`); the kernel reports it of any that has some.
pub(super) fn check_effective(found: &Entry, update: &Update) -> Result<()> {
    if update.synproxy.is_some() && found.synproxy().is_none() {
        return Err(Error::unsupported(
            Operation::Update,
            "the entry has no room for what the SYN proxy remembers",
            "entries have it that a SYN proxy saw and, on newer kernels than 5.10, those created over netlink",
        ));
    }
    match &update.proto_info {
        Some(ProtoInfo::Tcp(info)) if found.protocol() == Protocol::TCP => {
            info.check_window_scales(found.tcp_info())
        }
        Some(info) if info.protocol() != found.protocol() => Err(Error::invalid(
            "update",
            format!("{} state for {}", info.protocol(), found.protocol()),
            "the state belongs to another protocol",
            "the state of the entry's own protocol",
        )),
        _ => Ok(()),
    }
}

pub(crate) fn delete(session: &Session, key: &Key) -> Result<()> {
    let zone = Some(key.entry_zone().zone());
    converse(session, Operation::Delete, zone, 1, |link| {
        if key.id.is_some() {
            match delete_one(session, link, key) {
                // It is gone, or the kernel found another one by its tuple.
                Err(error) if error.is_not_found() && key.other.is_some() => {}
                done => return done,
            }
        }
        // The kernel finds a tuple in either direction. The id of the right entry makes sure that
        // none else goes.
        let (key, found) = locate(session, link, Operation::Delete, key)?;
        if found.id().is_none() {
            return Err(no_id(Operation::Delete));
        }
        let id = found.id();
        delete_one(session, link, &Key { id, ..key })
    })
}

/// By a key that has its id.
pub(super) fn delete_one(session: &Session, link: &mut Link, key: &Key) -> Result<()> {
    acknowledged(session, link, Operation::Delete, |datagram| {
        wire::delete(datagram, key)
    })
}

/// Without an id, another entry could be deleted in the place of the one that was found.
pub(super) fn no_id(operation: Operation) -> Error {
    Error::unsupported(
        operation,
        "an entry was reported without its id (CTA_ID)",
        "it cannot be told from others, so it is left alone",
    )
}

pub(crate) fn flush_all(session: &Session) -> Result<()> {
    converse(session, Operation::Flush, None, 0, |link| {
        acknowledged(session, link, Operation::Flush, wire::flush)
    })
}
