//! Deleting what a filter means.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use super::Session;
use super::batch::{Doomed, delete_doomed};
use super::single::{self, acknowledged, no_id};
use super::table;
use super::trace::converse;
use crate::error::{Error, Operation, Result};
use crate::filter::Filter;
use crate::model::{
    Claim, Completeness, DeleteFailure, DeleteOptions, Deleted, Entry, EntryZone, Key, Zone,
    claim_places,
};
use crate::wire;

/// Deleted while the walk goes on, so that a table of any size takes the same memory. Small in
/// tests, whose tables are.
const PORTION: usize = if cfg!(test) { 16 } else { 4096 };
/// Of a dry run.
const SAMPLE: usize = 10;

pub(crate) fn delete_matching(
    session: &Session,
    filter: &Filter,
    options: &DeleteOptions,
) -> Result<Deleted> {
    run(session, filter, options, Claims::Meant, None)
}

/// Deletes what meets the filter and is meant, and tells each that is gone.
pub(crate) fn delete_each(
    session: &Session,
    filter: &Filter,
    options: &DeleteOptions,
    meant: Option<&dyn Fn(&Entry) -> bool>,
    gone: &mut dyn FnMut(&Entry) -> ControlFlow<()>,
) -> Result<Deleted> {
    refuse_protected(filter, options)?;
    let deletion = Deletion {
        meant,
        gone: Some(gone),
        ..Deletion::new(session, filter, options)
    };
    deletion.go_through(0)
}

/// What becomes of claims of leased zones.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Claims {
    /// They are entries like others.
    Meant,
    /// There was none to be spared by the kernel; one that is met since is.
    Absent,
    /// They stay.
    Spared,
}

/// Deletes what is in a zone, but for claims of it.
pub(crate) fn flush_zone(
    session: &Session,
    zone: Zone,
    options: &DeleteOptions,
) -> Result<Deleted> {
    let [lease, marker] = claim_places(zone);
    let mut claimed = false;
    // A claim that is being replaced is not there for a moment, and the marker is gone right after.
    for place in [lease, marker, lease] {
        match single::get(session, &place) {
            Ok(_) => claimed = true,
            // Behind the one that was found there may be a claim.
            Err(error) if error.hides() => claimed = true,
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    let claims = if claimed {
        Claims::Spared
    } else {
        Claims::Absent
    };
    let filter = Filter::new().zone(zone);
    run(session, &filter, options, claims, None)
}

/// The same of a zone that the caller claims. Each portion is deleted only if it still `may` be:
/// whoever has the zone by then keeps what is in it.
pub(crate) fn flush_held(
    session: &Session,
    zone: Zone,
    options: &DeleteOptions,
    may: &mut dyn FnMut() -> Result<()>,
) -> Result<Deleted> {
    may()?;
    let filter = Filter::new().zone(zone);
    run(session, &filter, options, Claims::Spared, Some(may))
}

fn run<'a>(
    session: &'a Session,
    filter: &'a Filter,
    options: &'a DeleteOptions,
    claims: Claims,
    may: Option<&'a mut dyn FnMut() -> Result<()>>,
) -> Result<Deleted> {
    if filter.means_everything() {
        return Err(Error::invalid(
            "filter",
            filter.to_string(),
            "it has no condition that leaves an entry out",
            "at least one condition; flush_all removes everything",
        ));
    }
    refuse_protected(filter, options)?;
    let mut deletion = Deletion {
        spare_claims: claims != Claims::Meant,
        may,
        ..Deletion::new(session, filter, options)
    };
    let mut passes = 0;
    let by_kernel = claims != Claims::Spared
        && match by_kernel(session, filter, options) {
            // It may be done: not to be said as if nothing were, and another look will tell.
            Err(error) if error.is_outcome_unknown() => {
                tracing::warn!(%error, "a flush was not heard of");
                if options.verify == 0 {
                    deletion.deleted.stopped = Some(error);
                    deletion.deleted.complete = Completeness::Interrupted;
                }
                true
            }
            done => done?,
        };
    if by_kernel {
        deletion.deleted.matched = None;
        deletion.deleted.deleted = None;
        if options.verify == 0 {
            return Ok(deletion.deleted);
        }
        passes = 1;
    }
    deletion.go_through(passes)
}

fn refuse_protected(filter: &Filter, options: &DeleteOptions) -> Result<()> {
    match filter.zones().find(|zone| options.protect.contains(zone)) {
        Some(zone) => Err(Error::invalid(
            "filter",
            zone.to_string(),
            "the zone is protected",
            "a filter for another zone",
        )),
        None => Ok(()),
    }
}

/// In one request, if the kernel was seen to do right by exactly this kind of filter.
fn by_kernel(session: &Session, filter: &Filter, options: &DeleteOptions) -> Result<bool> {
    // What no kernel can do whole is no reason to try this one out.
    if !options.are_for_kernel() || !filter.is_for_kernel() {
        return Ok(false);
    }
    let Some(kernel) = filter.for_flush(session.support()) else {
        return Ok(false);
    };
    let zone = filter.zone_condition();
    converse(session, Operation::Flush, zone, 0, |link| {
        acknowledged(session, link, Operation::Flush, |datagram| {
            wire::flush_filtered(datagram, &kernel)
        })
    })?;
    Ok(true)
}

type Gone<'a> = &'a mut dyn FnMut(&Entry) -> ControlFlow<()>;

struct Deletion<'a> {
    session: &'a Session,
    filter: &'a Filter,
    options: &'a DeleteOptions,
    /// Claims of leased zones stay.
    spare_claims: bool,
    /// Asked before each portion.
    may: Option<&'a mut dyn FnMut() -> Result<()>>,
    deleted: Deleted,
    met: Met,
    /// What is counted as not deleted, or as of unknown outcome, and would be met again.
    undone: HashMap<Key, Undone>,
    /// Of what meets the filter, what is meant; all of it where there is none.
    meant: Option<&'a dyn Fn(&Entry) -> bool>,
    /// Is told what is gone, and may break off.
    gone: Option<Gone<'a>>,
    broken_off: bool,
}

/// Where an entry that was not deleted is counted.
#[derive(Clone, Copy)]
enum Undone {
    Busy,
    /// The place in [`Deleted::failed`].
    Failed(usize),
}

/// Mostly there is none, and a hash for nothing is not free.
fn take(undone: &mut HashMap<Key, Undone>, key: &Key) -> Option<Undone> {
    if undone.is_empty() {
        return None;
    }
    undone.remove(key)
}

/// What was met of late. When an entry is deleted at which the kernel had stopped, it walks the
/// bucket again, and what is in it comes again: it is neither counted nor deleted twice.
#[derive(Default)]
struct Met {
    now: HashSet<Key>,
    before: HashSet<Key>,
}

impl Met {
    /// Whether it is met for the first time.
    fn add(&mut self, key: Key) -> bool {
        !self.before.contains(&key) && self.now.insert(key)
    }

    /// Forgets what is more than a portion ago, so that the memory is bounded.
    fn turn(&mut self) {
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.clear();
    }
}

impl<'a> Deletion<'a> {
    fn new(session: &'a Session, filter: &'a Filter, options: &'a DeleteOptions) -> Self {
        Self {
            session,
            filter,
            options,
            spare_claims: false,
            may: None,
            deleted: Deleted::nothing(),
            met: Met::default(),
            undone: HashMap::new(),
            meant: None,
            gone: None,
            broken_off: false,
        }
    }

    /// Looks at the table until nothing is met any more, or as often as is asked for; `passes` were
    /// made before.
    fn go_through(mut self, mut passes: u32) -> Result<Deleted> {
        loop {
            let met = self.pass()?;
            if self.options.dry_run || self.stops() {
                break;
            }
            if met == 0 {
                self.deleted.left = false;
                break;
            }
            if passes == self.options.verify {
                // With a look to come it would be known; without, nobody asked.
                self.deleted.left = passes > 0;
                break;
            }
            passes += 1;
        }
        self.deleted.failed.retain(|failure| failure.count > 0);
        Ok(self.deleted)
    }

    fn stops(&self) -> bool {
        self.broken_off || self.deleted.stopped.is_some()
    }

    fn tell(&mut self, entry: &Entry) {
        // What went in one portion is told to the end.
        if let Some(gone) = self.gone.as_mut() {
            self.broken_off |= gone(entry).is_break();
        }
    }

    fn spares(&self, entry: &Entry) -> bool {
        if self.meant.is_some_and(|meant| !meant(entry)) {
            return true;
        }
        let protect = &self.options.protect;
        if self.spare_claims && Claim::of(entry).is_some() {
            return true;
        }
        if protect.is_empty() {
            return false;
        }
        let zone = entry.zone();
        // A zone of one direction leaves the other direction in zone 0.
        let both = matches!(zone, EntryZone::Both(_));
        protect.contains(&zone.zone()) || !both && protect.contains(&Zone::DEFAULT)
    }

    /// Passes an error on where nothing was done; else it is what the deletion stopped with.
    fn broke_off(&mut self, error: Error, matched: u64) -> Result<()> {
        if self.deleted.matched == Some(0) && matched == 0 {
            return Err(error);
        }
        self.deleted.stopped = Some(error);
        self.deleted.complete = Completeness::Interrupted;
        Ok(())
    }

    /// What could not be deleted before and is met again: it counts once.
    fn take_back(&mut self, undone: Undone) {
        match undone {
            Undone::Busy => self.deleted.busy -= 1,
            Undone::Failed(place) => self.deleted.failed[place].count -= 1,
        }
    }

    /// One walk of the table. Gives how many were met that match.
    fn pass(&mut self) -> Result<u64> {
        let mut entries = match table::list_for(self.session, Operation::Delete, self.filter) {
            Ok(entries) => entries,
            Err(error) => return self.broke_off(error, 0).map(|()| 0),
        };
        self.met = Met::default();
        let mut before = std::mem::take(&mut self.undone);
        let most = self.options.max_deletes.filter(|_| !self.options.dry_run);
        let (mut met, mut matched) = (0, 0);
        let mut portion: Vec<Entry> = Vec::new();
        for entry in entries.by_ref() {
            let entry = match entry {
                Ok(entry) => entry,
                // Passed over, and the walk is no longer whole.
                Err(error) if error.is_malformed() => continue,
                Err(error) => {
                    self.broke_off(error, matched)?;
                    break;
                }
            };
            let key = Key::from(&entry);
            if self.spares(&entry) || !self.met.add(key) {
                continue;
            }
            met += 1;
            let undone = take(&mut before, &key).or_else(|| take(&mut self.undone, &key));
            match undone {
                Some(undone) => self.take_back(undone),
                None => matched += 1,
            }
            if self.options.dry_run {
                self.tell(&entry);
                if self.deleted.sample.len() < SAMPLE {
                    self.deleted.sample.push(entry);
                }
                if self.broken_off {
                    break;
                }
            } else {
                // Where too many are to be refused, none may be deleted before all are counted.
                if most.is_some_and(|most| self.deleted.matched.unwrap_or(0) + matched > most) {
                    self.too_many()?;
                    break;
                }
                portion.push(entry);
            }
            if self.met.now.len() >= PORTION && most.is_none() {
                self.met.turn();
                self.delete(&mut portion);
                if self.stops() {
                    break;
                }
            }
        }
        self.deleted.complete = entries.completeness();
        drop(entries);
        self.deleted.matched = self.deleted.matched.map(|before| before + matched);
        if !self.stops() {
            self.delete(&mut portion);
        }
        Ok(met + self.miss(before))
    }

    /// What was not deleted in the looks before and was not met in this one: it is gone, if the look
    /// was whole. Else each is asked for. Gives how many are still there.
    fn miss(&mut self, before: HashMap<Key, Undone>) -> u64 {
        let whole = self.deleted.complete == Completeness::Complete;
        let mut answers = true;
        let mut left = 0;
        for (key, undone) in before {
            let gone = whole
                || answers
                    && match single::get(self.session, &key) {
                        Ok(entry) => !self.filter.matches(&entry) || self.spares(&entry),
                        Err(error) if error.is_not_found() => true,
                        Err(error) => {
                            answers = error.is_hidden();
                            false
                        }
                    };
            if gone {
                self.deleted.already_gone += 1;
                self.take_back(undone);
            } else {
                left += 1;
                self.undone.insert(key, undone);
            }
        }
        left
    }

    /// More than are allowed match: refused, or, where a later look found them, stopped.
    fn too_many(&mut self) -> Result<()> {
        let most = self.options.max_deletes.unwrap_or(0);
        let error = Error::too_many(Operation::Delete, most);
        if self.deleted.matched == Some(0) {
            return Err(error);
        }
        self.deleted.stopped = Some(error);
        self.deleted.left = true;
        Ok(())
    }

    fn delete(&mut self, portion: &mut Vec<Entry>) {
        portion.retain(|entry| {
            // A look-up for the id would find whoever has the tuple by now.
            if entry.id().is_none() {
                self.failed(entry, &no_id(Operation::Delete));
            }
            entry.id().is_some()
        });
        if portion.is_empty() {
            return;
        }
        if let Some(Err(error)) = self.may.as_mut().map(|may| may()) {
            self.deleted.stopped = Some(error);
            self.deleted.complete = Completeness::Interrupted;
            portion.clear();
            return;
        }
        // An entry that takes the tuple meanwhile may have the same id, and is deleted only if it is
        // meant as well.
        let unprotected =
            self.options.protect.is_empty() && !self.spare_claims && self.meant.is_none();
        let follows = self.filter.means_whoever_follows();
        let keys = portion.iter().map(|entry| Doomed {
            key: Key::from(entry),
            look: !(unprotected && follows(entry)),
        });
        let batch = delete_doomed(self.session, keys, |entry| {
            self.filter.matches(entry) && !self.spares(entry)
        });
        if let Some(error) = batch.stopped() {
            self.deleted.stopped = Some(error.clone());
        }
        let mut deleted = 0;
        for (entry, result) in portion.iter().zip(batch.results()) {
            match result {
                Ok(()) => {
                    deleted += 1;
                    self.tell(entry);
                }
                Err(error) if error.is_not_found() => self.deleted.already_gone += 1,
                Err(error) if error.is_busy() => {
                    self.deleted.busy += 1;
                    self.undone(entry, Undone::Busy);
                }
                Err(error) => self.failed(entry, error),
            }
        }
        self.deleted.deleted = self.deleted.deleted.map(|before| before + deleted);
        portion.clear();
    }

    fn failed(&mut self, entry: &Entry, error: &Error) {
        let same = |failure: &DeleteFailure| {
            failure.error.errno() == error.errno() && failure.error.reason() == error.reason()
        };
        let failed = &mut self.deleted.failed;
        let place = failed.iter().position(same).unwrap_or_else(|| {
            failed.push(DeleteFailure {
                count: 0,
                error: error.clone(),
                sample: entry.clone(),
            });
            failed.len() - 1
        });
        failed[place].count += 1;
        self.undone(entry, Undone::Failed(place));
    }

    fn undone(&mut self, entry: &Entry, undone: Undone) {
        // Only another look can meet it again.
        if self.options.verify > 0 {
            self.undone.insert(Key::from(entry), undone);
        }
    }
}
