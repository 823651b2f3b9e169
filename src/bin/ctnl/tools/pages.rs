//! The manual, the overview and completions: all from the grammars.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Arg, Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::common::{Paint, print};
use super::grammar::described;
use super::{Cli, common};
use crate::exit::Exit;

const EXAMPLES: &str = "\
Examples:
  ctnl -L -o extended                     list all entries, as conntrack(8) does
  ctnl -L -w 5 -o json                    those of a zone, an object a line
  ctnl -D -p tcp --dport 443 --dry-run    what would be deleted
  ctnl doctor                             what is wrong here, and how to mend it
  ctnl stats --by zone,state --top 10     who fills the table
  ctnl zone map                           which zones are in use
  ctnl zone acquire tap7f3a               lease a zone, the same one each time

What conntrack(8) takes, ctnl takes; called by the name conntrack, it is conntrack(8).";

const STATUSES: [(&str, &str); 7] = [
    ("0", "done"),
    (
        "1",
        "nothing matched, nobody uses the zone, or no zone is free",
    ),
    ("2", "the command line is wrong"),
    ("4", "a part was done, or something should be mended"),
    (
        "5",
        "refused: more than was allowed, protected, or somebody else's",
    ),
    ("6", "the right is missing"),
    ("7", "the kernel refused, or could not be asked"),
];

/// Print what a shell needs to complete ctnl's command lines
#[derive(Args)]
#[command(
    before_help = "Examples:\n  ctnl completions bash > /etc/bash_completion.d/ctnl\n  ctnl completions zsh > /usr/share/zsh/site-functions/_ctnl"
)]
pub(super) struct CompletionsArgs {
    shell: Shell,
    /// The name by which it is called; conntrack has no subcommands
    #[arg(long, default_value = "ctnl", value_parser = ["ctnl", "conntrack"])]
    name: String,
}

/// Print the manual
#[derive(Args)]
#[command(
    before_help = "Examples:\n  ctnl man | man -l -\n  ctnl man zone acquire | man -l -\n  ctnl man --dir /usr/local/share/man/man8"
)]
pub(super) struct ManArgs {
    /// The subcommand that the page is about; without one, ctnl itself
    #[arg(value_name = "SUBCOMMAND")]
    page: Vec<String>,
    /// Write all pages into this directory
    #[arg(long, conflicts_with = "page")]
    dir: Option<PathBuf>,
}

/// The whole grammar, to be described.
fn whole() -> Command {
    described(Cli::command(), true)
        .before_help(EXAMPLES)
        .disable_help_subcommand(true)
}

/// What `ctnl --help` says. Gives whether it is read.
pub(super) fn overview() -> anyhow::Result<bool> {
    let statuses: Vec<String> = STATUSES
        .iter()
        .map(|(status, meaning)| format!("  {status}  {meaning}"))
        .collect();
    let help = whole()
        .after_help(format!("Exit status:\n{}", statuses.join("\n")))
        .override_usage(
            "ctnl -L|-G|-D|-I|-A|-U|-E|-F|-C [TABLE] [OPTIONS]\n       ctnl -S | -R FILE\n       \
             ctnl SUBCOMMAND ...",
        )
        .render_help();
    let coloured = Paint::of_stdout().paint(common::Colour::Grey, "x") != "x";
    let text = if coloured {
        help.ansi().to_string()
    } else {
        help.to_string()
    };
    Ok(print(&text)?)
}

pub(super) fn completions(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut command = if args.name == "conntrack" {
        described(Command::new("conntrack"), false)
    } else {
        whole()
    };
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, &args.name, &mut text);
    print(&String::from_utf8(text)?)?;
    Ok(Exit::Done)
}

pub(super) fn man(args: &ManArgs) -> anyhow::Result<Exit> {
    let pages = pages()?;
    if let Some(directory) = &args.dir {
        for (name, text) in &pages {
            let path = directory.join(format!("{name}.8"));
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        return Ok(Exit::Done);
    }
    let name = std::iter::once("ctnl").chain(args.page.iter().map(String::as_str));
    let name = name.collect::<Vec<_>>().join("-");
    let Some(page) = pages.get(&name) else {
        bail!("there is no page {name}; there are: {}", {
            let names: Vec<&str> = pages.keys().map(String::as_str).collect();
            names.join(" ")
        });
    };
    print(page)?;
    Ok(Exit::Done)
}

/// All pages of the manual, by their names.
fn pages() -> anyhow::Result<BTreeMap<String, String>> {
    let mut command = whole().mut_args(with_other_names);
    command.build();
    let mut pages = BTreeMap::new();
    add(&mut pages, &command, "ctnl")?;
    Ok(pages)
}

/// The manual tells no other names of options by itself.
fn with_other_names(arg: Arg) -> Arg {
    let names = arg.get_visible_aliases().unwrap_or_default();
    let help = arg.get_help().map(ToString::to_string);
    match help {
        Some(help) if !names.is_empty() => {
            let names: Vec<String> = names.iter().map(|name| format!("--{name}")).collect();
            arg.help(format!("{help}. The same: {}", names.join(", ")))
        }
        _ => arg,
    }
}

fn add(pages: &mut BTreeMap<String, String>, command: &Command, name: &str) -> anyhow::Result<()> {
    pages.insert(name.to_owned(), page(command, name)?);
    for sub in command.get_subcommands() {
        add(pages, sub, &format!("{name}-{}", sub.get_name()))?;
    }
    Ok(())
}

fn page(command: &Command, name: &str) -> anyhow::Result<String> {
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .section("8")
        .date("")
        .source(format!("ctnl {}", env!("CARGO_PKG_VERSION")))
        .manual("System Administration");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    if name == "ctnl" {
        synopsis(&mut text)?;
    } else {
        man.render_synopsis_section(&mut text)?;
    }
    man.render_description_section(&mut text)?;
    if let Some(examples) = command.get_before_help() {
        section(&mut text, "EXAMPLES", examples.to_string().lines().skip(1))?;
    }
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut text)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    statuses(&mut text)?;
    let mut end = Roff::new();
    end.control("SH", ["SEE ALSO"]);
    end.text([
        bold("conntrack"),
        roman("(8), "),
        bold("nft"),
        roman("(8), "),
        bold("ip-netns"),
        roman("(8)"),
    ]);
    end.to_writer(&mut text)?;
    let text = String::from_utf8(text)?;
    // Who renders it wraps it: blanks at the ends of lines only make differences.
    let mut clean = String::new();
    for (number, line) in text.lines().enumerate() {
        // Each section brings the definition of the apostrophe; one is enough.
        let defined = [".ie \\n(.g .ds Aq", ".el .ds Aq"];
        if number < 2 || !defined.iter().any(|begin| line.starts_with(begin)) {
            clean.push_str(line.trim_end());
            clean.push('\n');
        }
    }
    Ok(clean)
}

fn synopsis(to: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    for (command, rest) in [
        ("-L|-G|-D|-I|-A|-U|-E|-F|-C", " [TABLE] [OPTIONS]"),
        ("-S", ""),
        ("-R", " FILE"),
        ("zone|doctor|stats|completions|man", " ..."),
    ] {
        roff.text([bold("ctnl"), roman(" "), bold(command), roman(rest)]);
        roff.control("br", []);
    }
    roff.to_writer(to)
}

/// Lines as they are.
fn section<'a>(
    to: &mut Vec<u8>,
    heading: &str,
    lines: impl Iterator<Item = &'a str>,
) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [heading]);
    roff.control("nf", []);
    for line in lines {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.to_writer(to)
}

fn statuses(to: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in STATUSES {
        roff.control("TP", []);
        roff.text([bold(status)]);
        roff.text([roman(meaning)]);
    }
    roff.to_writer(to)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// `cargo run -F cli -- man --dir docs/man` brings them up to date.
    #[test]
    fn the_manual_of_the_tree_is_what_the_grammar_says() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/man");
        let pages = pages().unwrap();
        for (name, text) in &pages {
            let there = fs::read_to_string(directory.join(format!("{name}.8"))).unwrap();
            assert!(there == *text, "docs/man/{name}.8 is not up to date");
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), pages.len());
    }

    #[test]
    fn the_manual_has_all_options_and_subcommands() {
        let pages = pages().unwrap();
        let root = &pages["ctnl"];
        let plain = root.replace('\\', "");
        for option in [
            "--dump",
            "--orig-port-src",
            "--label-del",
            "--dry-run",
            "--netns",
            "-w",
        ] {
            assert!(plain.contains(option), "{option}: {root}");
        }
        for heading in ["NAME", "SYNOPSIS", "EXAMPLES", "EXIT STATUS", "SEE ALSO"] {
            assert!(root.contains(heading), "{heading}");
        }
        assert!(pages.contains_key("ctnl-zone-acquire"));
        assert!(
            !pages.keys().any(|name| name.contains("help")),
            "{:?}",
            pages.keys()
        );
    }

    #[test]
    fn completions_know_both_grammars() {
        let of = |shell, name: &str, mut command: Command| {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut command, name, &mut text);
            String::from_utf8(text).unwrap()
        };
        for shell in [
            Shell::Bash,
            Shell::Zsh,
            Shell::Fish,
            Shell::Elvish,
            Shell::PowerShell,
        ] {
            let text = of(shell, "ctnl", whole());
            for word in ["orig-port-src", "acquire", "doctor", "max-deletes"] {
                assert!(text.contains(word), "{shell}: {word}");
            }
            // The other two know no values.
            let values = matches!(shell, Shell::Bash | Shell::Zsh | Shell::Fish);
            assert_eq!(text.contains("unconfirmed"), values, "{shell}");
            let conntrack = of(
                shell,
                "conntrack",
                described(Command::new("conntrack"), false),
            );
            assert!(conntrack.contains("load-file") && !conntrack.contains("max-deletes"));
        }
    }
}
