//! Deleting what a filter means.

use std::collections::HashSet;

use super::Session;
use super::batch::delete_many;
use super::single::{acknowledged, no_id};
use super::table;
use super::trace::converse;
use crate::error::{Error, Operation, Result};
use crate::filter::Filter;
use crate::model::{
    Completeness, DeleteFailure, DeleteOptions, Deleted, Entry, EntryZone, Key, Tuple, Zone,
};
use crate::wire;

/// Deleted while the walk goes on, so that a table of any size takes the same memory.
const PORTION: usize = 4096;
/// Of a dry run.
const SAMPLE: usize = 10;

pub(crate) fn delete_matching(
    session: &Session,
    filter: &Filter,
    options: &DeleteOptions,
) -> Result<Deleted> {
    if filter.means_everything() {
        return Err(Error::invalid(
            "filter",
            "",
            "it has no condition that leaves an entry out",
            "at least one condition; flush_all removes everything",
        ));
    }
    match filter.zone_condition() {
        Some(zone) if options.protect.contains(&zone) => {
            return Err(Error::invalid(
                "filter",
                zone.to_string(),
                "the zone is protected",
                "a filter for another zone",
            ));
        }
        _ => {}
    }
    if *options == DeleteOptions::new() {
        if let Some(deleted) = by_kernel(session, filter)? {
            return Ok(deleted);
        }
    }
    let mut deletion = Deletion {
        session,
        filter,
        options,
        deleted: Deleted::nothing(),
        met: Met::default(),
    };
    let mut passes = 0;
    loop {
        let matched = deletion.pass()?;
        if options.dry_run || deletion.deleted.stopped.is_some() {
            break;
        }
        if matched == 0 {
            deletion.deleted.left = false;
            break;
        }
        if passes == options.verify {
            // With a look to come it would be known; without, nobody asked.
            deletion.deleted.left = passes > 0;
            break;
        }
        passes += 1;
    }
    Ok(deletion.deleted)
}

/// In one request, if the kernel was seen to do right by exactly this kind of filter.
fn by_kernel(session: &Session, filter: &Filter) -> Result<Option<Deleted>> {
    // What no kernel can do whole is no reason to try this one out.
    if !filter.is_for_kernel() {
        return Ok(None);
    }
    let Some(kernel) = filter.for_flush(session.support()) else {
        return Ok(None);
    };
    let zone = filter.zone_condition();
    converse(session, Operation::Flush, zone, 0, |link| {
        acknowledged(session, link, Operation::Flush, |datagram| {
            wire::flush_filtered(datagram, &kernel)
        })
    })?;
    Ok(Some(Deleted {
        matched: None,
        deleted: None,
        ..Deleted::nothing()
    }))
}

struct Deletion<'a> {
    session: &'a Session,
    filter: &'a Filter,
    options: &'a DeleteOptions,
    deleted: Deleted,
    met: Met,
}

/// What was met of late. When an entry is deleted at which the kernel had stopped, it walks the
/// bucket again, and what is in it comes again: it is neither counted nor deleted twice.
#[derive(Default)]
struct Met {
    now: HashSet<(Option<u32>, Tuple, EntryZone)>,
    before: HashSet<(Option<u32>, Tuple, EntryZone)>,
}

impl Met {
    /// Whether it is met for the first time.
    fn add(&mut self, entry: &Entry) -> bool {
        let this = (entry.id(), *entry.orig(), entry.zone());
        !self.before.contains(&this) && self.now.insert(this)
    }

    /// Forgets what is more than a portion ago, so that the memory is bounded.
    fn turn(&mut self) {
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.clear();
    }
}

impl Deletion<'_> {
    fn spares(&self, entry: &Entry) -> bool {
        let protect = &self.options.protect;
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

    /// What could not be deleted in the last pass will be met again: it counts once.
    fn forget_failures(&mut self) {
        let failed = self.deleted.failed.iter().map(|failure| failure.count);
        let again = self.deleted.busy + failed.sum::<u64>();
        self.deleted.matched = self.deleted.matched.map(|all| all.saturating_sub(again));
        self.deleted.busy = 0;
        self.deleted.failed.clear();
    }

    /// One walk of the table. Gives how many matched.
    fn pass(&mut self) -> Result<u64> {
        let mut entries = match table::list(self.session, self.filter) {
            Ok(entries) => entries,
            Err(error) => return self.broke_off(error, 0).map(|()| 0),
        };
        self.forget_failures();
        self.met = Met::default();
        let mut matched = 0;
        let mut damaged = false;
        let mut portion: Vec<Entry> = Vec::new();
        for entry in entries.by_ref() {
            let entry = match entry {
                Ok(entry) => entry,
                // Passed over, and the walk is no longer whole.
                Err(error) if error.is_malformed() => {
                    damaged = true;
                    continue;
                }
                Err(error) => {
                    self.broke_off(error, matched)?;
                    break;
                }
            };
            if self.spares(&entry) || !self.met.add(&entry) {
                continue;
            }
            matched += 1;
            if self.options.dry_run {
                if self.deleted.sample.len() < SAMPLE {
                    self.deleted.sample.push(entry);
                }
            } else {
                // Where too many are to be refused, none may be deleted before all are counted.
                let before = self.deleted.matched.unwrap_or(0);
                if let Some(most) = self.options.max_deletes {
                    if before + matched > most {
                        self.too_many(most)?;
                        break;
                    }
                }
                portion.push(entry);
            }
            let hold = self.options.max_deletes.is_some();
            if self.met.now.len() >= PORTION && !hold {
                self.met.turn();
                self.delete(&mut portion);
                if self.deleted.stopped.is_some() {
                    break;
                }
            }
        }
        self.deleted.complete = match entries.completeness() {
            _ if damaged => Completeness::Interrupted,
            completeness => completeness,
        };
        drop(entries);
        self.deleted.matched = self.deleted.matched.map(|before| before + matched);
        if self.deleted.stopped.is_none() {
            self.delete(&mut portion);
        }
        Ok(matched)
    }

    /// More than are allowed match: refused, or, where a later look found them, stopped.
    fn too_many(&mut self, most: u64) -> Result<()> {
        let error = Error::too_many(Operation::Delete, most);
        if self.deleted.deleted == Some(0) {
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
        let batch = delete_many(self.session, portion.iter().map(Key::from));
        if let Some(error) = batch.stopped() {
            self.deleted.stopped = Some(error.clone());
        }
        let mut deleted = 0;
        for (entry, result) in portion.iter().zip(batch.results()) {
            match result {
                Ok(()) => deleted += 1,
                Err(error) if error.is_not_found() => self.deleted.already_gone += 1,
                Err(error) if error.is_busy() => self.deleted.busy += 1,
                Err(error) => self.failed(entry, error),
            }
        }
        self.deleted.deleted = self.deleted.deleted.map(|before| before + deleted);
        portion.clear();
    }

    fn failed(&mut self, entry: &Entry, error: &Error) {
        let same = |failure: &&mut DeleteFailure| {
            failure.error.errno() == error.errno() && failure.error.reason() == error.reason()
        };
        match self.deleted.failed.iter_mut().find(same) {
            Some(failure) => failure.count += 1,
            None => self.deleted.failed.push(DeleteFailure {
                count: 1,
                error: error.clone(),
                sample: entry.clone(),
            }),
        }
    }
}
