//! `ctnl`: conntrack(8)'s command line on top of the library, and what it lacks. Parse, resolve, act.

mod exit;
mod out;

use std::ffi::OsString;
use std::process::ExitCode;

use exit::Exit;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    run(&args).into()
}

fn run(args: &[OsString]) -> Exit {
    // Without a word, as conntrack(8): nothing was asked for.
    let _ = args;
    out::complain("no command was given: try `ctnl --help`");
    Exit::Usage
}
