//! `ctnl`: conntrack(8)'s command line on top of the library, and what it lacks. Parse, resolve, act.

mod exit;
mod out;
mod tools;

use std::ffi::OsString;
use std::process::ExitCode;

use exit::Exit;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    run(&args)
}

fn run(args: &[OsString]) -> ExitCode {
    if args.get(1..).is_some_and(tools::is_tool) {
        return tools::run(args);
    }
    // Without a word, as conntrack(8): nothing was asked for.
    out::complain("no command was given: try `ctnl --help`");
    Exit::Usage.into()
}
