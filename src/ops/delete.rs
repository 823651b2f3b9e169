//! Deleting what a filter means.

use super::Session;
use super::batch::delete_many;
use super::single::acknowledged;
use super::table;
use super::trace::converse;
use crate::error::{Error, Operation, Result};
use crate::filter::Filter;
use crate::model::{DeleteFailure, DeleteOptions, Deleted, Entry, Key, Zone};
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
    if filter.is_empty() {
        return Err(Error::invalid(
            "filter",
            "",
            "it has no condition, so it means every entry",
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
}

impl Deletion<'_> {
    fn spares(&self, entry: &Entry) -> bool {
        let protect = &self.options.protect;
        if protect.is_empty() {
            return false;
        }
        let zone = entry.zone();
        // A zone of one direction leaves the other direction in zone 0.
        let both = matches!(zone, crate::model::EntryZone::Both(_));
        protect.contains(&zone.zone()) || !both && protect.contains(&Zone::DEFAULT)
    }

    /// One walk of the table. Gives how many matched.
    fn pass(&mut self) -> Result<u64> {
        let mut entries = table::list(self.session, self.filter)?;
        let mut matched = 0;
        let mut portion: Vec<Entry> = Vec::new();
        // Where too many are to be refused, none may be deleted before all are counted.
        let most = self.options.max_deletes;
        let hold = usize::try_from(most.unwrap_or(0)).unwrap_or(usize::MAX);
        for entry in entries.by_ref() {
            let entry = match entry {
                Ok(entry) => entry,
                // Passed over, and the walk is no longer whole.
                Err(error) if error.is_malformed() => {
                    self.deleted.complete = crate::model::Completeness::Interrupted;
                    continue;
                }
                Err(error) => {
                    if self.deleted.matched == Some(0) && matched == 0 {
                        return Err(error);
                    }
                    self.deleted.stopped = Some(error);
                    break;
                }
            };
            if self.spares(&entry) {
                continue;
            }
            matched += 1;
            if self.options.dry_run {
                if self.deleted.sample.len() < SAMPLE {
                    self.deleted.sample.push(entry);
                }
                continue;
            }
            if let Some(most) = most {
                let before = self.deleted.matched.unwrap_or(0);
                if before + matched > most {
                    return self.too_many(most);
                }
            }
            portion.push(entry);
            if portion.len() >= PORTION.max(hold) && most.is_none() {
                self.delete(&mut portion);
                if self.deleted.stopped.is_some() {
                    break;
                }
            }
        }
        let complete = self.deleted.complete.and(entries.completeness());
        self.deleted.complete = complete;
        drop(entries);
        self.deleted.matched = self.deleted.matched.map(|before| before + matched);
        if self.deleted.stopped.is_none() {
            self.delete(&mut portion);
        }
        Ok(matched)
    }

    /// More than are allowed match: refused, or, where a later look found them, stopped.
    fn too_many(&mut self, most: u64) -> Result<u64> {
        let error = Error::too_many(Operation::Delete, most);
        if self.deleted.deleted == Some(0) {
            return Err(error);
        }
        self.deleted.stopped = Some(error);
        Ok(1)
    }

    fn delete(&mut self, portion: &mut Vec<Entry>) {
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
