//! `-R`: commands out of a file, of which those that make entries go several to a datagram.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use ctnetlink::{Conntrack, LabelNames, NewEntry};

use super::progress::Progress;
use super::{Context, Done, Failure, run};
use crate::args::{self, Action, Netns, Refusal, Request};
use crate::exit::Exit;
use crate::plan;

/// How many failures are told one by one.
const TOLD: u64 = 10;

/// An entry that is to be made, and, with `-I`, not there before.
struct Make {
    line: u64,
    new: NewEntry,
    add: bool,
}

/// A line that was read.
#[allow(clippy::large_enum_variant, reason = "nearly all are entries")]
enum Job {
    Make(Make),
    Other(Box<Request>),
}

/// Reads all of it, then does it: nothing is done of a file that is not right to its end.
///
/// # Errors
/// When it cannot be read, or a line is wrong.
pub(crate) fn restore(context: &mut Context, file: &OsStr, netns: Option<Netns>) -> Done {
    let reader: Box<dyn Read> = if file == "-" {
        Box::new(io::stdin())
    } else {
        let opened = File::open(file);
        Box::new(opened.map_err(|error| {
            let file = Path::new(file).display();
            Refusal::usage(format!("{file} cannot be read: {error}"))
        })?)
    };
    context.ends_in_order()?;
    context.restores = true;
    let jobs = read(context, BufReader::with_capacity(1 << 16, reader))?;
    carry_out(context, jobs, netns)
}

fn read(context: &Context, mut reader: impl BufRead) -> Result<Vec<Job>, Failure> {
    let mut names: Option<LabelNames> = None;
    let mut jobs = Vec::new();
    let (mut line, mut number) = (Vec::new(), 0);
    let mut warned = 0_u64;
    loop {
        line.clear();
        number += 1;
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(jobs);
        }
        let text = String::from_utf8_lossy(&line);
        let words = args::split(&text);
        if words.is_empty() {
            continue;
        }
        let at = |refusal: Refusal| refusal.at_line(number);
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        let mut request = args::parse(&words, context.name.has_additions()).map_err(at)?;
        let job = match request.action {
            Action::Create | Action::Add => {
                if !request.labels_on.is_empty() && names.is_none() {
                    names = Some(LabelNames::load(LabelNames::PATH)?);
                }
                let known = names.get_or_insert_default();
                let new = plan::new_entry(&mut request, known).map_err(at)?;
                warned += request.warnings.len() as u64;
                if warned <= TOLD {
                    for warning in request.warnings.drain(..) {
                        context
                            .name
                            .says(format_args!("line {number}: warning: {warning}"));
                    }
                }
                Job::Make(Make {
                    line: number,
                    new,
                    add: request.action == Action::Add,
                })
            }
            Action::Update | Action::Delete | Action::Flush => Job::Other(Box::new(request)),
            _ => {
                let text = "only -A, -I, -U, -D and -F can stand in a file";
                return Err(Refusal::usage(text).at_line(number).into());
            }
        };
        jobs.push(job);
    }
}

/// What was done so far.
struct Restoring {
    progress: Progress,
    seen: u64,
    made: u64,
    there: u64,
    failed: u64,
}

fn carry_out(context: &mut Context, jobs: Vec<Job>, netns: Option<Netns>) -> Done {
    let all = jobs.len() as u64;
    let mut restoring = Restoring {
        progress: Progress::new("restored", Some(all), false),
        seen: 0,
        made: 0,
        there: 0,
        failed: 0,
    };
    let mut making = Vec::new();
    let mut whole = Request::default();
    whole.extras.netns = netns;
    let ct = Context::open(&whole)?;
    let mut others = Exit::Done;
    for job in jobs {
        match job {
            Job::Make(make) => making.push(make),
            Job::Other(mut request) => {
                restoring.make(context, &ct, &mut making)?;
                let own = &mut request.extras.netns;
                *own = own.take().or_else(|| whole.extras.netns.clone());
                match run(context, *request) {
                    // As conntrack(8), which tells nobody by its exit status that nothing matched.
                    Ok(Exit::Done | Exit::Nothing) => {}
                    Ok(exit) => others = exit,
                    Err(failure) => return Err(failure),
                }
            }
        }
        if context.is_stopped() {
            break;
        }
    }
    restoring.make(context, &ct, &mut making)?;
    restoring.progress.end();
    if context.name.has_additions() {
        let there = match restoring.there {
            0 => String::new(),
            there => format!(", {there} were there"),
        };
        context.name.says(format_args!(
            "{} flow entries have been restored{there}.",
            restoring.made
        ));
    }
    if restoring.failed > TOLD {
        context
            .name
            .says(format_args!("{} lines failed", restoring.failed));
    }
    Ok(if restoring.failed > 0 || context.is_stopped() {
        Exit::Partial
    } else {
        others
    })
}

/// So many are given to a batch at once, so that the end can be asked for in between.
const PORTION: usize = 8192;

impl Restoring {
    fn make(
        &mut self,
        context: &Context,
        ct: &Conntrack,
        making: &mut Vec<Make>,
    ) -> Result<(), Failure> {
        if making.is_empty() {
            return Ok(());
        }
        for portion in making.chunks(PORTION) {
            if context.is_stopped() {
                break;
            }
            let batch = ct.create_many(portion.iter().map(|make| &make.new));
            for (make, result) in portion.iter().zip(batch.results()) {
                self.seen += 1;
                self.progress.at(self.seen);
                match result {
                    Ok(()) => self.made += 1,
                    Err(error) if make.add && error.is_exists() => self.there += 1,
                    Err(error) => {
                        self.failed += 1;
                        if self.failed <= TOLD {
                            context.name.says(format_args!(
                                "line {}: Operation failed: {error}",
                                make.line
                            ));
                        }
                    }
                }
            }
            if let Some(error) = batch.stopped() {
                return Err(error.clone().into());
            }
        }
        making.clear();
        Ok(())
    }
}
