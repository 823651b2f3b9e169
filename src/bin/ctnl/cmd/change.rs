//! `-U`.

use std::time::Duration;

use ctnetlink::{Conntrack, Entry, Key, LabelChange, Labels, ProtoInfo, SctpInfo, Status, Update};

use super::{Context, Done, Failure};
use crate::args::{LabelsOff, Request};
use crate::exit::Exit;
use crate::output::{Framed, Printer};
use crate::plan::{self, Selection};

/// Changed while the walk goes on, so that a table of any size takes the same memory.
const PORTION: usize = 512;

/// What is to be changed of every entry that is meant.
struct Change {
    timeout: Option<Duration>,
    /// Value and mask.
    mark: Option<(u32, u32)>,
    status: Status,
    tracker: Option<ProtoInfo>,
    labels: Option<LabelChange>,
}

impl Change {
    /// What it makes of an entry, if that differs from what it is.
    fn of(&self, entry: &Entry) -> Result<Option<Update>, ctnetlink::Error> {
        let mut update = Update::builder();
        let mut differs = false;
        if let Some(timeout) = self.timeout {
            update = update.timeout(timeout);
            differs = true;
        }
        if let (Some((value, mask)), Some(old)) = (self.mark, entry.mark()) {
            let new = (old & !mask) ^ value;
            update = update.mark(new);
            differs |= new != old;
        }
        let missing = self.status - entry.status().unwrap_or_default();
        if self.status.contains(Status::ASSURED) {
            update = update.assured();
        }
        if self.status.contains(Status::SEEN_REPLY) {
            update = update.seen_reply();
        }
        if self.status.contains(Status::FIXED_TIMEOUT) {
            update = update.fixed_timeout();
        }
        differs |= !missing.is_empty();
        match (self.tracker, entry.proto_info()) {
            (Some(ProtoInfo::Tcp(info)), Some(ProtoInfo::Tcp(old))) => {
                update = update.tcp_info(info);
                differs |= info.state.is_some() && info.state != old.state;
            }
            (Some(ProtoInfo::Sctp(info)), Some(ProtoInfo::Sctp(old))) => {
                // The kernel takes a state only with both tags.
                let info = SctpInfo {
                    orig_vtag: info.orig_vtag.or(old.orig_vtag),
                    reply_vtag: info.reply_vtag.or(old.reply_vtag),
                    ..info
                };
                update = update.sctp_info(info);
                differs |= info != *old;
            }
            (Some(ProtoInfo::Dccp(info)), Some(ProtoInfo::Dccp(old))) => {
                update = update.dccp_info(info);
                differs |= info.state != old.state;
            }
            _ => {}
        }
        if let Some(change) = self.labels {
            let old = entry.labels().unwrap_or(Labels::EMPTY).bits();
            update = update.labels(change);
            // As conntrack(8) counts: whatever they were before, and where there are any to take off.
            differs |= !change.labels.is_empty() || old != 0;
        }
        differs.then(|| update.build()).transpose()
    }
}

fn change(
    request: &Request,
    names: &ctnetlink::LabelNames,
    warnings: &mut Vec<String>,
) -> Result<Change, Failure> {
    let labels = match &request.labels_off {
        Some(LabelsOff::All) => Some(LabelChange::replace(Labels::EMPTY)),
        Some(LabelsOff::These(lists)) => Some(LabelChange::remove(plan::labels_of(names, lists)?)),
        None if request.labels_on.is_empty() => None,
        None => Some(LabelChange::add(plan::labels_of(
            names,
            &request.labels_on,
        )?)),
    };
    Ok(Change {
        timeout: request
            .timeout
            .map(|timeout| plan::seconds(timeout, warnings)),
        mark: request.mark,
        status: request.status.map_or(Status::empty(), |status| {
            plan::settable(status.on, warnings)
        }),
        tracker: plan::tracker(request),
        labels,
    })
}

pub(super) fn update(context: &mut Context, request: &Request) -> Done {
    let names = Context::labels(request)?;
    let selection = Selection::new(request, &names)?;
    let mut warnings = Vec::new();
    let change = change(request, &names, &mut warnings)?;
    for warning in warnings {
        context.name.says(format_args!("warning: {warning}"));
    }
    let mut printer = Context::printer(request, names, Framed::No);
    let ct = Context::open_for(request, &selection.filter)?;
    let mut updating = Updating {
        ct: &ct,
        context,
        printer: &mut printer,
        portion: Vec::new(),
        count: 0,
        failed: 0,
    };
    let mut stopped = false;
    for entry in ct.list(&selection.filter)? {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.is_malformed() => continue,
            Err(error) => return Err(error.into()),
        };
        if !selection.also(&entry) {
            continue;
        }
        if let Some(update) = change.of(&entry)? {
            updating.portion.push((entry.key(), update));
        }
        if updating.portion.len() >= PORTION {
            updating.send()?;
        }
        if updating.context.is_stopped() {
            stopped = true;
            break;
        }
    }
    updating.send()?;
    let (count, failed) = (updating.count, updating.failed);
    context.out.flush()?;
    context.counted(count, "flow entries have been updated");
    Ok(if stopped || failed > 0 {
        Exit::Partial
    } else if count == 0 {
        Exit::Nothing
    } else {
        Exit::Done
    })
}

struct Updating<'a> {
    ct: &'a Conntrack,
    context: &'a mut Context,
    printer: &'a mut Printer,
    portion: Vec<(Key, Update)>,
    count: u64,
    failed: u64,
}

impl Updating<'_> {
    /// Changes what was gathered, and prints what came of it.
    fn send(&mut self) -> Result<(), Failure> {
        let batch = self
            .ct
            .update_many(self.portion.iter().map(|(key, update)| (*key, update)));
        if let Some(error) = batch.stopped() {
            return Err(error.clone().into());
        }
        for ((key, _), result) in self.portion.iter().zip(batch.results()) {
            match result {
                Ok(()) => {}
                // It ended meanwhile.
                Err(error) if error.is_not_found() => continue,
                Err(error) => {
                    self.failed += 1;
                    self.context
                        .name
                        .says(format_args!("Operation failed: {error}"));
                    continue;
                }
            }
            match self.ct.get(*key) {
                Ok(entry) => {
                    self.printer.entry(&mut self.context.out, &entry)?;
                    self.count += 1;
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.portion.clear();
        Ok(())
    }
}
