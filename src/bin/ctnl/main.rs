//! `ctnl`: conntrack(8)'s command line on top of the library, and what it lacks. Parse, resolve, act.

mod args;
mod clock;
mod cmd;
mod exit;
mod help;
mod name;
mod out;
mod output;
mod plan;
mod stop;
mod tools;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use args::Netns;
use cmd::Context;
use exit::Exit;
use name::Name;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let name = Name::of(args.first().map(OsString::as_os_str));
    let words = args.get(1..).unwrap_or_default();
    if name.has_additions() && tools::is_tool(words) {
        return tools::run(&args);
    }
    ExitCode::from(conntrack(name, words))
}

/// conntrack(8)'s grammar.
fn conntrack(name: Name, words: &[OsString]) -> u8 {
    let mut context = match Context::new(name) {
        Ok(context) => context,
        Err(error) => {
            name.says(error);
            return name.status(Exit::Kernel);
        }
    };
    // What conntrack(8) does not have may stand before its words.
    let (netns, rest) = match words {
        [first, netns, rest @ ..] if first == "--netns" && name.has_additions() => {
            (Some(Netns::of(&netns.to_string_lossy())), rest)
        }
        _ => (None, words),
    };
    let done = match rest {
        [first, file, ..] if first == "-R" || first == "--load-file" => {
            cmd::restore(&mut context, OsStr::new(file), netns)
        }
        _ => {
            let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
            let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
            args::parse(&words, name.has_additions())
                .map_err(Into::into)
                .and_then(|request| cmd::run(&mut context, request))
        }
    };
    context.end(done)
}
