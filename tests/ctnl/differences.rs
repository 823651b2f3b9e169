//! What differs from conntrack(8) and is meant to: the same list as in docs/ctnl.md.

use crate::base::Base;
use crate::compare::{Aspect, Meeting, Pair};
use crate::grammar::Case;
use crate::shown::Line;

/// One difference.
struct Difference {
    /// Its heading in docs/ctnl.md, where the reason is.
    heading: &'static str,
    /// A command line in which it occurs, and on which table.
    example: &'static [&'static str],
    base: Base,
    kind: Kind,
}

enum Kind {
    /// What conntrack prints, as we print it.
    Text(fn(&Case, &str) -> String),
    /// What of a meeting it explains.
    Explains(fn(&Case, &Meeting) -> Vec<Aspect>),
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        heading: "Help is its own",
        example: &["-h"],
        base: Base::All,
        kind: Kind::Explains(|_, meeting| {
            let usage = "Command line interface for the connection tracking system.";
            let theirs = meeting.theirs.outcome.stdout.starts_with(usage);
            let ours = meeting.ours.outcome.stdout.contains("conntrack");
            only(theirs && ours, &[Aspect::Stdout])
        }),
    },
    Difference {
        heading: "An update prints all that it updated",
        example: &["-U", "-s", "10.0.0.1", "-m", "9"],
        base: Base::NoZones,
        kind: Kind::Explains(|case, meeting| {
            let (theirs, ours) = (&meeting.theirs, &meeting.ours);
            let counted = counted(&theirs.counts);
            let flows = |lines: &[Line]| lines.iter().filter(|line| line.text.len() > 40).count();
            let more = counted > 1
                && flows(&theirs.lines) == 1
                && flows(&ours.lines) == counted
                && theirs
                    .lines
                    .iter()
                    .all(|line| ours.lines.iter().any(|other| other.text == line.text));
            only(case.may_update() && more, &[Aspect::Stdout])
        }),
    },
    Difference {
        heading: "An update finds entries in their zone",
        example: &["-U", "-p", "gre", "--srckey", "3", "-m", "9"],
        base: Base::All,
        kind: Kind::Explains(|case, _| {
            let example = case.args == ["-U", "-p", "gre", "--srckey", "3", "-m", "9"];
            let all = [Aspect::Exit, Aspect::Stdout, Aspect::Count, Aspect::Table];
            only(example, &all)
        }),
    },
    Difference {
        heading: "States of SCTP in XML have their own names",
        example: &["-L", "-o", "xml", "-p", "sctp"],
        base: Base::All,
        kind: Kind::Text(|_, text| {
            // What it prints for these states, and their names.
            const NAMES: [(&str, &str); 3] = [
                ("SYN_SENT", "CLOSED"),
                ("SYN_RECV", "COOKIE_WAIT"),
                ("FIN_WAIT", "ESTABLISHED"),
            ];
            let line = |line: &str| {
                if !line.contains("protoname=\"sctp\"") {
                    return line.to_owned();
                }
                let place = NAMES
                    .iter()
                    .find(|(wrong, _)| line.contains(&format!("<state>{wrong}<")));
                place.map_or(line.to_owned(), |(wrong, right)| {
                    let (wrong, right) = (format!("<state>{wrong}<"), format!("<state>{right}<"));
                    line.replace(&wrong, &right)
                })
            };
            each_line(text, line)
        }),
    },
    Difference {
        heading: "XML is escaped",
        example: &["-L", "-o", "xml,labels", "-p", "udp"],
        base: Base::All,
        kind: Kind::Text(|_, text| text.replace("<label>a&b</label>", "<label>a&amp;b</label>")),
    },
    Difference {
        heading: "Labels without a name leave nothing behind",
        example: &["-L", "-o", "labels"],
        base: Base::All,
        kind: Kind::Text(|_, text| {
            each_line(text, |line| {
                line.strip_suffix(" labels").unwrap_or(line).to_owned()
            })
        }),
    },
];

fn only(holds: bool, aspects: &[Aspect]) -> Vec<Aspect> {
    if holds { aspects.to_vec() } else { Vec::new() }
}

fn each_line(text: &str, turn: impl Fn(&str) -> String) -> String {
    text.split_inclusive('\n')
        .map(|line| match line.strip_suffix('\n') {
            Some(line) => turn(line) + "\n",
            None => turn(line),
        })
        .collect()
}

/// How many a counting line tells of.
fn counted(counts: &[String]) -> usize {
    let first = counts.iter().find_map(|line| line.split(' ').next());
    first.and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// What conntrack printed, as we print it.
pub(crate) fn as_ours(case: &Case, stdout: &str) -> String {
    DIFFERENCES
        .iter()
        .fold(stdout.to_owned(), |text, one| match one.kind {
            Kind::Text(turn) => turn(case, &text),
            Kind::Explains(_) => text,
        })
}

/// What differs in a meeting, without what is meant to.
pub(crate) fn not_meant(case: &Case, meeting: &Meeting) -> Vec<Aspect> {
    let mut left = meeting.differs.clone();
    for one in DIFFERENCES {
        if left.is_empty() {
            break;
        }
        if let Kind::Explains(explains) = one.kind {
            let explained = explains(case, meeting);
            left.retain(|aspect| !explained.contains(aspect));
        }
    }
    left
}

/// The list does not outlive what it lists.
#[test]
fn every_difference_occurs() {
    let mut pairs = [Base::All, Base::NoZones].map(Pair::new);
    for one in DIFFERENCES {
        let case = Case::new(one.example);
        let pair = &mut pairs[usize::from(one.base == Base::NoZones)];
        let meeting = pair.meet(&case, false);
        let theirs = &meeting.theirs.outcome.stdout;
        let occurs = match one.kind {
            Kind::Text(turn) => turn(&case, theirs) != *theirs,
            Kind::Explains(explains) => {
                !meeting.differs.is_empty()
                    && meeting
                        .differs
                        .iter()
                        .all(|aspect| explains(&case, &meeting).contains(aspect))
            }
        };
        let left = not_meant(&case, &meeting);
        assert!(
            occurs && left.is_empty(),
            "{}: {}\n{}",
            one.heading,
            case.shell(),
            meeting.describe()
        );
    }
}

/// docs/ctnl.md has the same list.
#[test]
fn every_difference_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ctnl.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once("\n## Differences from conntrack(8)\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut documented: Vec<_> = section
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    let mut listed: Vec<_> = DIFFERENCES.iter().map(|one| one.heading).collect();
    documented.sort_unstable();
    listed.sort_unstable();
    assert_eq!(documented, listed);
}
