//! What ctnl has beside conntrack(8): subcommands. Each works on values and prints what it found.

#![allow(
    clippy::doc_markdown,
    reason = "comments of arguments are the help, which is no markdown"
)]

mod common;
mod doctor;
mod grammar;
mod pages;
mod stats;
mod table;
mod zone;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use super::exit::Exit;
use super::name::Name;

/// Where the grammar of conntrack(8) ends and this one begins.
const WORDS: [&str; 6] = ["zone", "doctor", "stats", "completions", "man", "help"];

/// Conntrack entries and zones, by talking to the kernel directly
#[derive(Parser)]
#[command(name = "ctnl", version, disable_help_flag = true)]
struct Cli {
    /// Work in another network namespace: its name (ip-netns(8)), a path, or a process that is in it
    #[arg(long, global = true, value_name = "NAME|PATH|PID")]
    netns: Option<String>,
    /// Print help: -h in short, --help in full
    #[arg(short, long, global = true, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Subcommand)]
enum Tool {
    #[command(subcommand)]
    Zone(zone::ZoneCommand),
    Doctor(doctor::DoctorArgs),
    Stats(stats::StatsArgs),
    Completions(pages::CompletionsArgs),
    Man(pages::ManArgs),
}

/// Whether the command line, without the program's name, is one of a subcommand.
pub(crate) fn is_tool(args: &[OsString]) -> bool {
    let mut args = args.iter().map(|arg| arg.to_str());
    loop {
        match args.next() {
            Some(Some("--netns")) => drop(args.next()),
            Some(Some(arg)) if arg.starts_with("--netns=") => {}
            // With more behind it, it is conntrack(8)'s own.
            Some(Some("--help")) => return args.next().is_none(),
            Some(Some(arg)) => return WORDS.contains(&arg),
            _ => return false,
        }
    }
}

/// Runs a subcommand, and gives its exit status. The first argument is the program's name.
pub(crate) fn run(args: &[OsString]) -> ExitCode {
    let overview = |arg: &OsString| arg == "--help" || arg == "help";
    if args.len() == 2 && overview(&args[1]) {
        return report(pages::overview().map(Exit::from_reader));
    }
    let parsed = Cli::command()
        .try_get_matches_from(args)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output, and who does not read it misses nothing.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Done.into()
            };
        }
    };
    let at = common::At(cli.netns);
    match cli.tool {
        Tool::Zone(command) => match zone::run(command, &at) {
            Ok(code) => code,
            Err(error) => report(Err(error)),
        },
        Tool::Doctor(args) => report(doctor::run(&args, &at)),
        Tool::Stats(args) => report(stats::run(&args, &at)),
        Tool::Completions(args) => report(pages::completions(&args)),
        Tool::Man(args) => report(pages::man(&args)),
    }
}

fn report(done: anyhow::Result<Exit>) -> ExitCode {
    match done {
        Ok(exit) => exit.into(),
        Err(error) => {
            Name::Ctnl.says(format_args!("{error:#}"));
            exit_of(&error).into()
        }
    }
}

/// The status for an error, by what it comes from.
fn exit_of(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<ctnetlink::Error>() {
            return Exit::from(error);
        }
        if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            return match error.kind() {
                std::io::ErrorKind::PermissionDenied => Exit::Permission,
                _ => Exit::Kernel,
            };
        }
    }
    Exit::Usage
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_first_word_tells_a_subcommand() {
        for line in [
            "zone scan",
            "doctor",
            "--netns r zone scan",
            "--netns=r stats",
            "help zone",
            "--help",
        ] {
            assert!(is_tool(&words(line)), "{line}");
        }
        for line in [
            "",
            "-L",
            "-L zone",
            "--netns zone -L",
            "--netns",
            "-h",
            "zones",
        ] {
            assert!(!is_tool(&words(line)), "{line}");
        }
    }

    #[test]
    fn everything_that_is_known_is_a_subcommand() {
        for sub in Cli::command().get_subcommands() {
            assert!(WORDS.contains(&sub.get_name()), "{}", sub.get_name());
        }
    }
}
