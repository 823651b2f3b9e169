//! `-L` and `-G`.

use std::ops::ControlFlow;

use ctnetlink::Entries;

use super::{Context, Done, Failure};
use crate::args::{Action, Opt, Request};
use crate::exit::Exit;
use crate::output::{Framed, Printer};
use crate::plan::{self, Selection};
use crate::stop::Stop;

const SHOWN: &str = "flow entries have been shown";

/// What is shown, and how far it got.
struct Shown {
    count: u64,
    incomplete: bool,
    stopped: bool,
}

pub(super) fn list(context: &mut Context, request: &Request) -> Done {
    let names = Context::labels(request)?;
    let selection = Selection::new(request, &names)?;
    let mut printer = Context::printer(request, names, Framed::Yes);
    let shown = match request.action {
        Action::ListDying => {
            let entries = Context::open(request)?.list_dying()?;
            print(context, entries, &selection, &mut printer)
        }
        Action::ListUnconfirmed => {
            let entries = Context::open(request)?.list_unconfirmed()?;
            print(context, entries, &selection, &mut printer)
        }
        _ if request.given.has(Opt::Zero) => {
            let ct = Context::open(request)?;
            let entries = match request.family {
                Some(family) => ct.list_family_and_zero_counters(family)?,
                None => ct.list_and_zero_counters()?,
            };
            print(context, entries, &selection, &mut printer)
        }
        _ => walk(context, request, &selection, &mut printer),
    };
    let shown = shown?;
    printer.end(&mut context.out, false)?;
    if shown.incomplete {
        context
            .name
            .says("the table changed while it was read: entries may be missing");
    }
    context.counted(shown.count, SHOWN);
    Ok(if shown.stopped {
        Exit::Partial
    } else {
        Exit::Done
    })
}

/// Entry by entry out of the receive buffer.
fn walk(
    context: &mut Context,
    request: &Request,
    selection: &Selection,
    printer: &mut Printer,
) -> Result<Shown, Failure> {
    let ct = Context::open_for(request, &selection.filter)?;
    let (out, stop) = (&mut context.out, context.stop.as_ref());
    let all = selection.is_filter();
    let mut count = 0;
    let visited = ct.visit(&selection.filter, |entry| {
        // One that is damaged is no reason to tell less of the others.
        let Ok(entry) = entry.to_entry() else {
            return ControlFlow::Continue(());
        };
        if all || selection.also(&entry) {
            if let Err(error) = printer.entry(out, &entry) {
                return ControlFlow::Break(Some(error));
            }
            count += 1;
        }
        if stop.is_some_and(Stop::is_asked) {
            return ControlFlow::Break(None);
        }
        ControlFlow::Continue(())
    })?;
    let incomplete = visited.incomplete;
    let stopped = visited.stopped.is_some();
    if let Some(Some(error)) = visited.stopped {
        return Err(error.into());
    }
    Ok(Shown {
        count,
        incomplete,
        stopped,
    })
}

/// Lists that the kernel does not filter.
fn print(
    context: &mut Context,
    mut entries: Entries,
    selection: &Selection,
    printer: &mut Printer,
) -> Result<Shown, Failure> {
    let mut shown = Shown {
        count: 0,
        incomplete: false,
        stopped: false,
    };
    for entry in entries.by_ref() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.is_malformed() => continue,
            Err(error) => return Err(error.into()),
        };
        if selection.filter.matches(&entry) && selection.also(&entry) {
            printer.entry(&mut context.out, &entry)?;
            shown.count += 1;
        }
        if context.is_stopped() {
            shown.stopped = true;
            break;
        }
    }
    shown.incomplete = entries.is_incomplete();
    Ok(shown)
}

pub(super) fn get(context: &mut Context, request: &Request) -> Done {
    let names = Context::labels(request)?;
    let selection = Selection::new(request, &names)?;
    let key = plan::key(request)?;
    let mut printer = Context::printer(request, names, Framed::Yes);
    let entry = Context::open(request)?.get(key)?;
    let meant = selection.filter.matches(&entry) && selection.also(&entry);
    if meant {
        printer.entry(&mut context.out, &entry)?;
    }
    printer.end(&mut context.out, false)?;
    context.counted(meant.into(), SHOWN);
    Ok(if meant { Exit::Done } else { Exit::Nothing })
}
