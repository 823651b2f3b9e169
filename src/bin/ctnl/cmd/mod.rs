//! The commands, one file each.

mod change;
mod delete;
mod events;
mod expect;
mod list;
mod make;
mod program;
mod progress;
mod restore;
mod stats;

use std::io;

use ctnetlink::{Conntrack, Filter, KernelSupport, LabelNames};

use crate::args::{Action, Netns, Refusal, Request};
use crate::exit::Exit;
use crate::help;
use crate::name::Name;
use crate::out::Out;
use crate::output::{Framed, Printer};
use crate::stop::Stop;
pub(crate) use restore::restore;

/// Why a command did not come to its end.
pub(crate) enum Failure {
    Refused(Refusal),
    Library(ctnetlink::Error),
    /// Standard output, or a file.
    Output(io::Error),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<ctnetlink::Error> for Failure {
    fn from(error: ctnetlink::Error) -> Self {
        Self::Library(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

type Done = Result<Exit, Failure>;

/// What every command needs.
pub(crate) struct Context {
    pub(crate) name: Name,
    out: Out,
    stop: Option<Stop>,
    /// The commands are those of a file: conntrack(8) does not count what they do.
    restores: bool,
}

/// A table with fewer entries is listed sooner than the kernel's filters are tried.
const WORTH_A_TRIAL: u32 = 20_000;

impl Context {
    /// # Errors
    /// Without a standard output.
    pub(crate) fn new(name: Name) -> io::Result<Self> {
        Ok(Self {
            name,
            out: Out::new()?,
            stop: None,
            restores: false,
        })
    }

    /// From now on an end that is asked for is an end in order. Commands that ask the kernel once do
    /// without.
    fn ends_in_order(&mut self) -> Result<(), Failure> {
        if self.stop.is_none() {
            self.stop = Some(Stop::new()?);
        }
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(Stop::is_asked)
    }

    /// The table that is meant. No trial of the kernel's filters is made with it.
    fn open(request: &Request) -> Result<Conntrack, ctnetlink::Error> {
        open(request, Some(KernelSupport::unproven()))
    }

    /// The same, for a filter that the kernel may be asked to check where the table is large.
    fn open_for(request: &Request, filter: &Filter) -> Result<Conntrack, ctnetlink::Error> {
        let ct = Self::open(request)?;
        if filter.is_empty() || ct.count()?.entries < WORTH_A_TRIAL {
            return Ok(ct);
        }
        open(request, None)
    }

    /// The names of labels, where any are spoken of.
    fn labels(request: &Request) -> Result<LabelNames, ctnetlink::Error> {
        if request.outputs.labels || request.speaks_of_labels() {
            LabelNames::load(LabelNames::PATH)
        } else {
            Ok(LabelNames::default())
        }
    }

    fn printer(request: &Request, names: LabelNames, framed: Framed) -> Printer {
        // As conntrack(8), which leaves them out of what it deletes.
        let chosen = request.speaks_of_labels() && request.action != Action::Delete;
        let labels = (request.outputs.labels || chosen).then_some(names);
        Printer::new(request.outputs, labels, framed)
    }

    /// The line that counts.
    fn counted(&self, count: u64, what: &str) {
        if self.restores && !self.name.has_additions() {
            return;
        }
        self.name.says(format_args!("{count} {what}."));
    }

    /// Tells what went wrong, and gives the exit status.
    pub(crate) fn end(&mut self, done: Done) -> u8 {
        let flushed = self.out.flush().map_err(Failure::Output);
        match done.and_then(|exit| flushed.map(|()| exit)) {
            Ok(exit) => self.name.status(exit),
            Err(Failure::Refused(refusal)) => self.name.refuses(&refusal),
            // Nobody reads it any more.
            Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Err(Failure::Output(error)) => {
                self.name
                    .says(format_args!("the output cannot be written: {error}"));
                self.name.status(Exit::Kernel)
            }
            Err(Failure::Library(error)) => {
                self.name.says(format_args!("Operation failed: {error}"));
                self.name.status(Exit::from(&error))
            }
        }
    }
}

fn open(request: &Request, support: Option<KernelSupport>) -> Result<Conntrack, ctnetlink::Error> {
    let mut builder = Conntrack::builder();
    match &request.extras.netns {
        Some(Netns::Name(name)) => builder = builder.netns(name),
        Some(Netns::Path(path)) => builder = builder.netns_path(path),
        Some(Netns::Pid(pid)) => builder = builder.netns_pid(*pid),
        None => {}
    }
    if let Some(support) = support {
        builder = builder.kernel_support(support);
    }
    builder.open()
}

/// Does what is asked for.
///
/// # Errors
/// When it is not done, or not to its end.
pub(crate) fn run(context: &mut Context, mut request: Request) -> Done {
    warn(context, &mut request);
    if matches!(
        request.action,
        Action::List
            | Action::ListDying
            | Action::Update
            | Action::Delete
            | Action::Flush
            | Action::Event
            | Action::ExpectEvent
            | Action::ExpectList
            | Action::ExpectCount
    ) {
        context.ends_in_order()?;
    }
    match request.action {
        Action::List | Action::ListDying | Action::ListUnconfirmed => list::list(context, &request),
        Action::Get => list::get(context, &request),
        Action::Create | Action::Add => make::create(context, request),
        Action::Update => change::update(context, &request),
        Action::Delete => delete::delete(context, &request),
        Action::Flush => delete::flush(context, &request),
        Action::Event | Action::ExpectEvent => events::follow(context, &request),
        Action::Count => stats::count(context, &request),
        Action::Stats => stats::stats(context, &request),
        Action::ExpectStats => stats::expect_stats(context, &request),
        Action::ExpectCount => expect::count(context, &request),
        Action::ExpectList => expect::list(context, &request),
        Action::ExpectGet => expect::get(context, &request),
        Action::ExpectCreate => expect::create(&request),
        Action::ExpectDelete => expect::delete(context, &request),
        Action::ExpectFlush => expect::flush(context, &request),
        Action::Version => help::version(context.name, &mut context.out),
        Action::Help | Action::Nothing => help::help(context.name, &request, &mut context.out),
    }
}

fn warn(context: &Context, request: &mut Request) {
    for warning in request.warnings.drain(..) {
        context.name.says(format_args!("warning: {warning}"));
    }
}
