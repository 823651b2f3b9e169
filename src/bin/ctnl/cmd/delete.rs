//! `-D` and `-F`.

use std::io;
use std::ops::ControlFlow;

use ctnetlink::{DeleteOptions, Deleted, Entry, Filter};

use super::progress::Progress;
use super::{Context, Done, Failure};
use crate::args::{Extras, Request};
use crate::exit::Exit;
use crate::output::Framed;
use crate::plan::Selection;
use crate::stop::Stop;

pub(super) fn delete(context: &mut Context, request: &Request) -> Done {
    let names = Context::labels(request)?;
    let selection = Selection::new(request, &names)?;
    let mut printer = Context::printer(request, names, Framed::No);
    let zones = [request.zone, request.orig_zone, request.reply_zone];
    if let Some(zone) = zones
        .into_iter()
        .flatten()
        .find(|zone| request.extras.protect.contains(zone))
    {
        context.name.says(format_args!(
            "zone {zone} is protected: nothing was deleted"
        ));
        return Ok(Exit::Refused);
    }
    let ct = Context::open_for(request, &selection.filter)?;
    let options = options(&request.extras);
    let also = |entry: &Entry| selection.also(entry);
    let meant: Option<&dyn Fn(&Entry) -> bool> = if selection.is_filter() {
        None
    } else {
        Some(&also)
    };
    let (out, stop) = (&mut context.out, context.stop.as_ref());
    let mut told = Told::default();
    let mut progress = Progress::new("deleted", None, true);
    let deleted = ct.delete_each(&selection.filter, &options, meant, |entry| {
        told.count += 1;
        progress.at(told.count);
        told.printed(
            printer.deleted(out, entry),
            stop.is_some_and(Stop::is_asked),
        )
    });
    progress.end();
    let deleted = deleted?;
    if let Some(error) = told.error {
        return Err(error.into());
    }
    printer.end(&mut context.out, false)?;
    outcome(context, &deleted, &told, counted(&request.extras))
}

fn counted(extras: &Extras) -> &'static str {
    if extras.dry_run {
        "flow entries would have been deleted"
    } else {
        "flow entries have been deleted"
    }
}

/// What was told of entries that are gone.
#[derive(Default)]
struct Told {
    count: u64,
    error: Option<io::Error>,
    /// The end was asked for.
    stopped: bool,
}

impl Told {
    fn printed(&mut self, printed: io::Result<()>, stop: bool) -> ControlFlow<()> {
        match printed {
            Ok(()) => {}
            // What is to be deleted is deleted, whoever reads of it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => {
                self.error = Some(error);
                return ControlFlow::Break(());
            }
        }
        self.stopped = stop;
        if stop {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

fn options(extras: &Extras) -> DeleteOptions {
    let mut options = DeleteOptions::new().protect(extras.protect.iter().copied());
    if extras.dry_run {
        options = options.dry_run();
    }
    if let Some(most) = extras.max_deletes {
        options = options.max_deletes(most);
    }
    if let Some(looks) = extras.verify {
        options = options.verify(looks);
    }
    options
}

/// Says what was not deleted, and counts.
fn outcome(context: &Context, deleted: &Deleted, told: &Told, what: &str) -> Done {
    let name = context.name;
    if deleted.already_gone > 0 {
        name.says(format_args!(
            "{} more ended meanwhile, or were replaced",
            deleted.already_gone
        ));
    }
    if deleted.busy > 0 {
        name.says(format_args!(
            "{} are offloaded and were not deleted",
            deleted.busy
        ));
    }
    for failure in &deleted.failed {
        name.says(format_args!(
            "{} were not deleted: {}",
            failure.count, failure.error
        ));
    }
    if deleted.left {
        name.says("some still match: they come back, or could not be deleted");
    }
    let undone = deleted.busy > 0 || !deleted.failed.is_empty() || deleted.left;
    context.counted(told.count, what);
    if let Some(error) = &deleted.stopped {
        return Err(Failure::Library(error.clone()));
    }
    Ok(if undone || told.stopped {
        Exit::Partial
    } else if told.count == 0 && deleted.already_gone == 0 {
        Exit::Nothing
    } else {
        Exit::Done
    })
}

pub(super) fn flush(context: &mut Context, request: &Request) -> Done {
    let extras = &request.extras;
    let careful = extras.dry_run
        || extras.max_deletes.is_some()
        || extras.verify.is_some()
        || !extras.protect.is_empty();
    let filter = request
        .family
        .map_or_else(Filter::new, |family| Filter::new().family(family));
    let ct = Context::open_for(request, &filter)?;
    if careful {
        let mut told = Told::default();
        let stop = context.stop.as_ref();
        let mut progress = Progress::new("deleted", None, false);
        let deleted = ct.delete_each(&filter, &options(extras), None, |_| {
            told.count += 1;
            progress.at(told.count);
            told.printed(Ok(()), stop.is_some_and(Stop::is_asked))
        });
        progress.end();
        let deleted = deleted?;
        // Nothing to be flushed is no failure.
        return match outcome(context, &deleted, &told, counted(extras))? {
            Exit::Nothing => Ok(Exit::Done),
            exit => Ok(exit),
        };
    }
    match request.family {
        None => ct.flush_all()?,
        Some(family) => {
            let deleted = ct.flush_family(family)?;
            let told = Told {
                count: deleted.deleted.unwrap_or_default(),
                ..Told::default()
            };
            if !deleted.is_clean() {
                return outcome(context, &deleted, &told, counted(extras));
            }
        }
    }
    context
        .name
        .says("connection tracking table has been emptied.");
    Ok(Exit::Done)
}
