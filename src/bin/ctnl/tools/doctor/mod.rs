//! `ctnl doctor`: what this kernel and this user can do, what is wrong, and how to mend it.

mod facts;
mod findings;

use std::fmt::Write;

use clap::Args;
use serde_json::json;

use super::common::{At, Colour, Paint, Style, json_line, print};
use crate::exit::Exit;
use facts::Facts;
use findings::{Finding, Level, examine};

/// Say what this kernel and this user can do, what is wrong, and how to mend it
///
/// It changes nothing. What the kernel's filters are worth is tried out in a network namespace that
/// is thrown away. The exit status is 0 if all is well, 4 if something should be mended, 6 if the
/// right is missing, and 7 if connection tracking cannot be used.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct DoctorArgs {
    #[arg(short, long, value_enum, default_value_t = Style::Table)]
    output: Style,
    /// Try nothing out: leave out what takes a namespace of its own, or may load kernel modules
    #[arg(long)]
    no_probe: bool,
}

const EXAMPLES: &str = "\
Examples:
  ctnl doctor                      of this network namespace
  ctnl doctor --netns qrouter-1    of another one
  ctnl doctor -o json | jq '.findings[] | select(.level != \"fine\")'";

pub(super) fn run(args: &DoctorArgs, at: &At) -> anyhow::Result<Exit> {
    let facts = Facts::gather(at, !args.no_probe);
    let findings = examine(&facts);
    let text = match args.output {
        Style::Json => {
            let worst = worst(&findings);
            json_line(&json!({"level": worst, "findings": findings, "facts": facts}))?
        }
        Style::Table => describe(&findings, &facts, at.name(), Paint::of_stdout()),
    };
    print(&text)?;
    Ok(exit(&findings))
}

fn worst(findings: &[Finding]) -> Level {
    let levels = findings.iter().map(|finding| finding.level);
    levels.max().unwrap_or(Level::Fine)
}

fn exit(findings: &[Finding]) -> Exit {
    match worst(findings) {
        Level::Fine | Level::Note => Exit::Done,
        Level::Warning => Exit::Partial,
        Level::Rights => Exit::Permission,
        Level::Broken => Exit::Kernel,
    }
}

fn describe(findings: &[Finding], facts: &Facts, place: &str, paint: Paint) -> String {
    let release = facts.release.as_deref().unwrap_or("unknown");
    let mut text = format!("Linux {release}, {place}\n");
    for finding in findings {
        let (colour, word) = match finding.level {
            Level::Fine => (Colour::Green, "fine"),
            Level::Note => (Colour::Cyan, "note"),
            Level::Warning => (Colour::Yellow, "warning"),
            Level::Rights => (Colour::Red, "rights"),
            Level::Broken => (Colour::Red, "broken"),
        };
        let blanks = " ".repeat(8 - word.len());
        let word = paint.paint(colour, word);
        let _ = writeln!(text, "{word}{blanks} {:<9} {}", finding.about, finding.says);
        if let Some(mend) = &finding.mend {
            let _ = writeln!(text, "{:<19}to mend it: {mend}", "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides() {
        let finding = |level| Finding::new(level, "table", "full");
        assert_eq!(exit(&[]), Exit::Done);
        for (levels, expected) in [
            (&[Level::Fine, Level::Note][..], Exit::Done),
            (&[Level::Warning, Level::Fine], Exit::Partial),
            (&[Level::Warning, Level::Rights], Exit::Permission),
            (&[Level::Broken, Level::Rights], Exit::Kernel),
        ] {
            let findings: Vec<Finding> = levels.iter().copied().map(finding).collect();
            assert_eq!(exit(&findings), expected, "{levels:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_how_to_mend_it() {
        let findings = [
            Finding::new(Level::Fine, "rights", "all are there"),
            Finding::new(Level::Warning, "table", "91 % full").mend("make it larger"),
        ];
        let facts = Facts::default();
        let text = describe(&findings, &facts, "this network namespace", Paint::OFF);
        assert_eq!(
            text,
            "Linux unknown, this network namespace\n\
             fine     rights    all are there\n\
             warning  table     91 % full\n                   to mend it: make it larger\n"
        );
    }
}
