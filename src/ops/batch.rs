//! Many entries at a time: several messages a datagram, one result an entry.

use std::borrow::Borrow;

use nix::errno::Errno;

use super::trace::Conversation;
use super::{Session, count, single};
use crate::error::{Error, Operation, Result};
use crate::link::{Answer, Buffers, Link};
use crate::model::{Entry, Key, NewEntry, Status, Update};
use crate::wire::{self, Datagram};

/// What became of each entry of a batch.
///
/// There is one result for each item that was taken, in order. A refusal concerns its own entry
/// alone and the batch goes on. When the conversation itself breaks (a send that fails, a deadline),
/// the batch stops: [`Batch::stopped`] says why, the entries of that datagram say whether they were
/// sent, and the items after them were not taken.
#[derive(Debug)]
#[must_use = "each entry has a result of its own"]
pub struct Batch {
    results: Vec<Result<()>>,
    stopped: Option<Error>,
}

impl Batch {
    pub(super) fn of(results: Vec<Result<()>>, stopped: Option<Error>) -> Self {
        Self { results, stopped }
    }

    /// One result for each item that was taken.
    pub fn results(&self) -> &[Result<()>] {
        &self.results
    }

    /// One result for each item that was taken.
    #[must_use = "each entry has a result of its own"]
    pub fn into_results(self) -> Vec<Result<()>> {
        self.results
    }

    /// How many succeeded.
    #[must_use]
    pub fn succeeded(&self) -> usize {
        self.results.iter().filter(|result| result.is_ok()).count()
    }

    /// What failed, with its place in the batch.
    pub fn failures(&self) -> impl Iterator<Item = (usize, &Error)> {
        self.results
            .iter()
            .enumerate()
            .filter_map(|(index, result)| Some((index, result.as_ref().err()?)))
    }

    /// Why the batch stopped before its end, if it did.
    #[must_use]
    pub fn stopped(&self) -> Option<&Error> {
        self.stopped.as_ref()
    }

    /// Whether every entry succeeded and the batch came to its end.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.stopped.is_none() && self.results.iter().all(Result::is_ok)
    }

    /// The number of entries if all succeeded, else what stopped the batch, or its first failure.
    pub fn into_result(self) -> Result<usize> {
        if let Some(stopped) = self.stopped {
            return Err(stopped);
        }
        let count = self.results.len();
        self.results
            .into_iter()
            .collect::<Result<()>>()
            .map(|()| count)
    }
}

/// A refusal lies in the receive buffer with the kernel's bookkeeping (`skb->truesize`), which is
/// most of it. More refusals than fit would be lost.
const REFUSAL_COST: usize = 2048;
/// The answer to a look-up takes a page and its bookkeeping.
const FOUND_COST: usize = 8192;
/// More in a datagram gains nothing.
const MESSAGES_MAX: usize = 512;
const BYTES_MAX: usize = 64 * 1024;
/// No single request is longer.
const MESSAGE_SIZE: usize = 1024;

/// What a datagram may hold, so that neither buffer of the socket can overflow.
struct Limits {
    bytes: usize,
    messages: usize,
    lookups: usize,
}

impl Limits {
    fn of(buffers: Buffers) -> Self {
        Self {
            // netlink_sendmsg refuses what is longer than sk_sndbuf - 32.
            bytes: buffers
                .send
                .saturating_sub(32 + MESSAGE_SIZE)
                .min(BYTES_MAX),
            messages: (buffers.receive / REFUSAL_COST).clamp(1, MESSAGES_MAX),
            lookups: (buffers.receive / FOUND_COST).clamp(1, MESSAGES_MAX),
        }
    }
}

/// An item on its way, and the place of its result.
pub(super) struct Slot<T> {
    place: usize,
    item: T,
}

/// The parts that differ between batches.
pub(super) trait Job {
    type Item;

    /// Looks at the items before they are sent; those that must not be are given their error and
    /// taken out.
    fn prepare(&mut self, _run: &mut Run<'_>, _chunk: &mut Vec<Slot<Self::Item>>) -> Result<()> {
        Ok(())
    }

    fn write(&self, datagram: &mut Datagram, item: &Self::Item) -> Result<()>;

    /// What is to be done about an item that was not refused.
    fn follow(&self, _run: &mut Run<'_>, _item: &Self::Item) -> Result<()> {
        Ok(())
    }

    /// Goes after what was refused.
    fn again(&self, _run: &mut Run<'_>, _chunk: &[Slot<Self::Item>]) -> Result<()> {
        Ok(())
    }

    /// Says more of a refusal, where the item tells more.
    fn explain(&self, _item: &Self::Item, error: Error) -> Error {
        error
    }
}

/// A batch under way.
pub(super) struct Run<'a> {
    session: &'a Session,
    operation: Operation,
    link: &'a mut Link,
    limits: Limits,
    results: Vec<Result<()>>,
}

pub(super) fn run<J: Job>(
    session: &Session,
    operation: Operation,
    items: impl Iterator<Item = J::Item>,
    mut job: J,
) -> Batch {
    let mut conversation = Conversation::new(session, operation, None);
    let span = conversation.span.clone();
    let _entered = span.enter();
    let mut link = match session.pool.take() {
        Ok(link) => link,
        Err(error) => {
            return Batch {
                results: Vec::new(),
                stopped: Some(error),
            };
        }
    };
    let mut run = Run {
        session,
        operation,
        limits: Limits::of(link.buffers()),
        link: &mut link,
        // A hint, which an endless iterator overdoes.
        results: Vec::with_capacity(items.size_hint().0.min(1 << 20)),
    };
    let before = run.link.sent();
    let stopped = run.all(items, &mut job).err();
    if let Some(error) = &stopped {
        tracing::warn!(%error, done = run.results.len(), "a batch stopped before its end");
    }
    conversation.entries = run.results.len() as u64;
    conversation.bytes = run.link.sent() - before;
    Batch {
        results: run.results,
        stopped,
    }
}

impl Run<'_> {
    fn all<J: Job>(&mut self, items: impl Iterator<Item = J::Item>, job: &mut J) -> Result<()> {
        let mut items = items.fuse();
        let mut chunk = Vec::with_capacity(self.limits.messages);
        let mut datagram = Datagram::new(0);
        loop {
            while chunk.len() < self.limits.messages {
                let Some(item) = items.next() else { break };
                chunk.push(Slot {
                    place: self.results.len(),
                    item,
                });
                self.results.push(Ok(()));
            }
            if chunk.is_empty() {
                return Ok(());
            }
            let done = job
                .prepare(self, &mut chunk)
                .inspect_err(|error| self.unsent(chunk.iter().map(|slot| slot.place), error))
                .and_then(|()| self.send_all(job, &mut datagram, &chunk))
                .and_then(|()| job.again(self, &chunk));
            // Also when the batch breaks: what was done before counts as done only after this.
            for slot in &chunk {
                if self.results[slot.place].is_ok() {
                    self.results[slot.place] = job.follow(self, &slot.item);
                }
            }
            done?;
            chunk.clear();
        }
    }

    fn unsent(&mut self, places: impl Iterator<Item = usize>, reason: &Error) {
        for place in places {
            self.results[place] = Err(Error::not_sent(self.operation, reason.reason()));
        }
    }

    /// Sends a chunk in as many datagrams as its bytes need.
    fn send_all<J: Job>(
        &mut self,
        job: &J,
        datagram: &mut Datagram,
        chunk: &[Slot<J::Item>],
    ) -> Result<()> {
        let mut rest = chunk;
        while !rest.is_empty() {
            datagram.restart(self.link.sequence());
            let mut taken = 0;
            for slot in rest {
                if taken > 0 && datagram.bytes().len() >= self.limits.bytes {
                    break;
                }
                if let Err(error) = job.write(datagram, &slot.item) {
                    self.unsent(rest.iter().map(|slot| slot.place), &error);
                    return Err(error);
                }
                taken += 1;
            }
            let (now, later) = rest.split_at(taken);
            rest = later;
            datagram.acknowledge_last();
            if let Err(error) = self.link.send(self.operation, datagram) {
                let places = now.iter().chain(rest).map(|slot| slot.place);
                self.unsent(places, &error);
                return Err(error);
            }
            if let Err(error) = self.collect(job, datagram, now) {
                self.unsent(rest.iter().map(|slot| slot.place), &error);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Reads the answers to a datagram that was sent.
    fn collect<J: Job>(
        &mut self,
        job: &J,
        datagram: &Datagram,
        slots: &[Slot<J::Item>],
    ) -> Result<()> {
        let (operation, results) = (self.operation, &mut self.results);
        let mut full = Vec::new();
        let done = self.link.collect(
            operation,
            datagram,
            self.session.deadline,
            |index, answer| {
                let Some(slot) = slots.get(index as usize) else {
                    return;
                };
                if let Answer::Outcome(Err(failure)) = answer {
                    if failure.errno.is(Errno::ENOMEM) {
                        full.push(slot.place);
                    }
                    let error = Error::kernel(operation, failure);
                    results[slot.place] = Err(job.explain(&slot.item, error));
                }
            },
        );
        let lost = match &done {
            Ok(overrun) => overrun.then(|| Error::overrun(operation).reason()),
            Err(error) => Some(error.reason()),
        };
        if let Some(reason) = lost {
            // Success is silent, so what was not refused may have failed unheard.
            for slot in slots {
                if self.results[slot.place].is_ok() {
                    self.results[slot.place] = Err(Error::unknown(operation, reason.clone()));
                }
            }
        }
        if !full.is_empty() {
            if let Ok(count) = count::ask(self.session, self.link, operation) {
                for place in full {
                    if let Err(error) = std::mem::replace(&mut self.results[place], Ok(())) {
                        self.results[place] = Err(error.with_table(count.clone()));
                    }
                }
            }
        }
        done.map(drop)
    }

    /// Looks up the keys that `wanted` names, several a datagram, and hands over each result with the
    /// key by which it was found.
    fn look_up<T>(
        &mut self,
        chunk: &[Slot<T>],
        key: impl Fn(&T) -> Option<Key>,
        mut found: impl FnMut(usize, Result<(Key, Entry)>),
    ) -> Result<()> {
        let wanted: Vec<(usize, Key)> = chunk
            .iter()
            .enumerate()
            .filter_map(|(at, slot)| Some((at, key(&slot.item)?)))
            .collect();
        let mut datagram = Datagram::new(0);
        for group in wanted.chunks(self.limits.lookups) {
            datagram.restart(self.link.sequence());
            for (_, key) in group {
                wire::get(&mut datagram, key)?;
            }
            // Every look-up is answered, by the entry or by a refusal.
            let mut answers: Vec<Option<Result<Entry>>> = group.iter().map(|_| None).collect();
            let operation = self.operation;
            self.link.request(
                operation,
                &datagram,
                self.session.deadline,
                |index, answer| {
                    let index = index as usize;
                    let (Some((_, key)), Some(slot)) = (group.get(index), answers.get_mut(index))
                    else {
                        return;
                    };
                    *slot = Some(match answer {
                        Answer::Payload(payload) => single::decode_found(operation, key, payload),
                        Answer::Outcome(Err(failure)) => Err(Error::kernel(operation, failure)),
                        Answer::Outcome(Ok(())) => return,
                    });
                },
            )?;
            for ((at, key), answer) in group.iter().zip(answers) {
                let answer = answer.unwrap_or_else(|| Err(Error::overrun(operation)));
                let (session, link) = (self.session, &mut *self.link);
                found(
                    *at,
                    single::locate_after(session, link, operation, key, answer),
                );
            }
        }
        Ok(())
    }

    /// Deletes what the kernel did not find because it found another one by the tuple, whose id
    /// differs. Of what is gone nothing is found here either.
    fn delete_hidden<T>(
        &mut self,
        chunk: &[Slot<T>],
        key: impl Fn(&T) -> Key,
        still: impl Fn(&Entry) -> bool,
    ) -> Result<()> {
        let mut missed = Vec::new();
        for slot in chunk {
            let (place, item) = (slot.place, key(&slot.item));
            let gone = matches!(&self.results[place], Err(error) if error.is_not_found());
            if gone && item.other.is_some() {
                missed.push(Slot { place, item });
            }
        }
        let mut found = Vec::new();
        self.look_up(
            &missed,
            |key| Some(*key),
            |at, result| match result {
                Err(error) if error.is_not_found() => {}
                result => found.push((missed[at].place, result)),
            },
        )?;
        for (place, result) in found {
            let deleted = match result {
                Ok((key, entry)) if still(&entry) => {
                    single::delete_one(self.session, self.link, &key)
                }
                Ok(_) => continue,
                Err(error) => Err(error),
            };
            let broken = deleted.clone().err().filter(Error::is_outcome_unknown);
            self.results[place] = deleted;
            if let Some(error) = broken {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes out of the chunk what has its error already.
    fn keep_unfailed<T>(&self, chunk: &mut Vec<Slot<T>>) {
        chunk.retain(|slot| self.results[slot.place].is_ok());
    }
}

struct Create<E>(std::marker::PhantomData<E>);

impl<E: Borrow<NewEntry>> Job for Create<E> {
    type Item = E;

    fn prepare(&mut self, run: &mut Run<'_>, chunk: &mut Vec<Slot<E>>) -> Result<()> {
        let mut refused = false;
        for slot in &*chunk {
            let checked = run
                .session
                .check_tracked(run.link, run.operation, slot.item.borrow());
            match checked {
                Err(error) if !error.is_unsupported() => return Err(error),
                Err(error) => {
                    refused = true;
                    run.results[slot.place] = Err(error);
                }
                Ok(()) => {}
            }
        }
        if refused {
            run.keep_unfailed(chunk);
        }
        Ok(())
    }

    fn write(&self, datagram: &mut Datagram, item: &E) -> Result<()> {
        wire::create(datagram, item.borrow())
    }

    fn follow(&self, run: &mut Run<'_>, item: &E) -> Result<()> {
        single::check_labels(run.session, run.link, run.operation, item.borrow())
    }
}

pub(crate) fn create_many<E: Borrow<NewEntry>>(
    session: &Session,
    entries: impl Iterator<Item = E>,
) -> Batch {
    run(
        session,
        Operation::Create,
        entries,
        Create(std::marker::PhantomData),
    )
}

struct Delete;

impl Job for Delete {
    type Item = Key;

    fn prepare(&mut self, run: &mut Run<'_>, chunk: &mut Vec<Slot<Key>>) -> Result<()> {
        if chunk.iter().all(|slot| slot.item.id.is_some()) {
            return Ok(());
        }
        let mut found = Vec::new();
        run.look_up(
            chunk,
            |key| key.id.is_none().then_some(*key),
            |at, result| found.push((at, result)),
        )?;
        for (at, result) in found {
            match result {
                Ok((key, entry)) if entry.id().is_some() => {
                    chunk[at].item = Key {
                        id: entry.id(),
                        ..key
                    };
                }
                Ok(_) => run.results[chunk[at].place] = Err(single::no_id(run.operation)),
                Err(error) => run.results[chunk[at].place] = Err(error),
            }
        }
        run.keep_unfailed(chunk);
        Ok(())
    }

    fn write(&self, datagram: &mut Datagram, key: &Key) -> Result<()> {
        wire::delete(datagram, key)
    }

    fn again(&self, run: &mut Run<'_>, chunk: &[Slot<Key>]) -> Result<()> {
        run.delete_hidden(chunk, |key| *key, |_| true)
    }
}

pub(crate) fn delete_many(session: &Session, keys: impl Iterator<Item = Key>) -> Batch {
    run(session, Operation::Delete, keys, Delete)
}

/// An entry that was met and is to be deleted.
pub(super) struct Doomed {
    pub(super) key: Key,
    /// Look at it again first: an entry that was made since with the same tuple may have its id.
    pub(super) look: bool,
}

/// Deletes what is still as it should be; the rest counts as not found.
struct DeleteDoomed<F>(F);

impl<F: Fn(&Entry) -> bool> Job for DeleteDoomed<F> {
    type Item = Doomed;

    fn prepare(&mut self, run: &mut Run<'_>, chunk: &mut Vec<Slot<Doomed>>) -> Result<()> {
        let operation = run.operation;
        let (mut spared, mut keys) = (Vec::new(), Vec::new());
        run.look_up(
            chunk,
            |doomed| doomed.look.then_some(doomed.key),
            |at, result| match result {
                Ok((key, entry)) if (self.0)(&entry) => keys.push((at, key)),
                Ok(_) => {
                    let detail = "it is not what it was when it was listed";
                    spared.push((at, Error::mismatch(operation, detail)));
                }
                Err(error) => spared.push((at, error)),
            },
        )?;
        for (at, key) in keys {
            chunk[at].item.key = key;
        }
        for (at, error) in spared {
            run.results[chunk[at].place] = Err(error);
        }
        run.keep_unfailed(chunk);
        Ok(())
    }

    fn write(&self, datagram: &mut Datagram, doomed: &Doomed) -> Result<()> {
        wire::delete(datagram, &doomed.key)
    }

    fn again(&self, run: &mut Run<'_>, chunk: &[Slot<Doomed>]) -> Result<()> {
        run.delete_hidden(chunk, |doomed| doomed.key, &self.0)
    }
}

/// Deletes entries, of those that are to be looked at again only where `still` holds.
pub(super) fn delete_doomed(
    session: &Session,
    entries: impl Iterator<Item = Doomed>,
    still: impl Fn(&Entry) -> bool,
) -> Batch {
    run(session, Operation::Delete, entries, DeleteDoomed(still))
}

struct Change<U>(std::marker::PhantomData<U>);

/// A key, its update, and the status to send with it.
struct Changing<U> {
    key: Key,
    update: U,
    status: Option<Status>,
    /// Whether the entry's time-out is fixed and the update would change it.
    fixed: bool,
}

impl<U: Borrow<Update>> Job for Change<U> {
    type Item = Changing<U>;

    fn prepare(&mut self, run: &mut Run<'_>, chunk: &mut Vec<Slot<Changing<U>>>) -> Result<()> {
        let mut found = Vec::new();
        run.look_up(
            chunk,
            |changing| Some(changing.key),
            |at, result| found.push((at, result)),
        )?;
        for (at, result) in found {
            let slot = &mut chunk[at];
            let update = slot.item.update.borrow();
            let effective =
                |(key, entry)| single::check_effective(&entry, update).map(|()| (key, entry));
            match result.and_then(effective) {
                Ok((key, entry)) => {
                    slot.item.key = key;
                    let fixed = single::is_fixed(&entry, update);
                    slot.item.status = update.status_for(entry.status());
                    slot.item.fixed = fixed;
                }
                Err(error) => run.results[slot.place] = Err(error),
            }
        }
        run.keep_unfailed(chunk);
        Ok(())
    }

    fn write(&self, datagram: &mut Datagram, item: &Changing<U>) -> Result<()> {
        wire::update(datagram, &item.key, item.update.borrow(), item.status)
    }

    fn follow(&self, run: &mut Run<'_>, item: &Changing<U>) -> Result<()> {
        let update = item.update.borrow();
        single::check_adjusted(run.session, run.link, run.operation, &item.key, update)
    }

    fn explain(&self, item: &Changing<U>, error: Error) -> Error {
        if item.fixed {
            error.of_fixed_timeout()
        } else {
            error
        }
    }
}

pub(crate) fn update_many<U: Borrow<Update>>(
    session: &Session,
    changes: impl Iterator<Item = (Key, U)>,
) -> Batch {
    let changes = changes.map(|(key, update)| Changing {
        key,
        update,
        status: None,
        fixed: false,
    });
    run(
        session,
        Operation::Update,
        changes,
        Change(std::marker::PhantomData),
    )
}
