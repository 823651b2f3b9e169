//! What differs from conntrack(8) and is meant to: the same list as in docs/ctnl.md.

mod list;

use self::list::DIFFERENCES;
use crate::base::Base;
use crate::compare::{Aspect, Meeting, Pair};
use crate::grammar::Case;

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
    let mut pairs = [Base::All, Base::Plain].map(Pair::new);
    for one in DIFFERENCES {
        let case = Case::new(one.example);
        let pair = &mut pairs[usize::from(one.base == Base::Plain)];
        let meeting = pair.meet(&case, one.heading == "By its own name");
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
        if [
            "No ports that the kernel did not tell",
            "Ports that the kernel does not track are refused",
        ]
        .contains(&one.heading)
            && !pair.has_untracked_ports()
        {
            // This kernel knows the ports of all protocols.
            assert!(left.is_empty(), "{}", meeting.describe());
            continue;
        }
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
    let text = include_str!("../../../docs/ctnl.md");
    let (_, section) = text
        .split_once("\n## Differences from conntrack(8)\n")
        .unwrap();
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
