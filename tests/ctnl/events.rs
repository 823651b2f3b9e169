//! `-E` on both while the same things happen, in every format and of every kind.

use crate::base::Base;
use crate::compare::Pair;
use crate::differences;
use crate::grammar::Case;

const LINES: &[(&str, &str)] = &[
    ("-E", "12 flow events have been shown."),
    ("-E -o extended", "12 flow events have been shown."),
    ("-E -o timestamp,id", "12 flow events have been shown."),
    ("-E -o ktimestamp,labels", "12 flow events have been shown."),
    ("-E -o save", "12 flow events have been shown."),
    ("-E -o userspace", "12 flow events have been shown."),
    ("-E -e NEW", "4 flow events have been shown."),
    (
        "-E -e NEW,DESTROY -f ipv6",
        "2 flow events have been shown.",
    ),
    ("-E -e UPDATES -p tcp", "2 flow events have been shown."),
    ("-E -e DESTROY -w 5", "1 flow events have been shown."),
    (
        "-E -s 10.0.0.0/8 -p udp --dport 53",
        "3 flow events have been shown.",
    ),
    ("-E -m 77 -b 1000000", "8 flow events have been shown."),
    ("-E -l one", ""),
    ("-E expect", ""),
];

#[test]
fn events_are_shown_as_by_conntrack() {
    let mut pair = Pair::new(Base::All);
    let mut wrong = Vec::new();
    for (line, counts) in LINES {
        let args: Vec<_> = line.split(' ').collect();
        let case = Case::new(&args);
        let mut meeting = pair.meet(&case, false);
        meeting.differs = differences::not_meant(&case, &meeting);
        if !meeting.differs.is_empty() {
            wrong.push(format!("{}\n{}", case.shell(), meeting.describe()));
        }
        let told = meeting.theirs.counts.concat();
        if !counts.is_empty() && told != *counts {
            wrong.push(format!("{line}: {told}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
    pair.assert_restored();
}

/// The order of events is the order in which things happened: nothing was sorted on the way.
#[test]
fn events_come_in_order() {
    let mut pair = Pair::new(Base::All);
    let meeting = pair.meet(&Case::new(&["-E"]), false);
    let kinds = |text: &str| -> Vec<String> {
        let words = text
            .lines()
            .map(|line| line.split(']').next().unwrap().trim());
        words.map(str::to_owned).collect()
    };
    let ours = kinds(&meeting.ours.outcome.stdout);
    assert_eq!(ours, kinds(&meeting.theirs.outcome.stdout));
    assert_eq!(ours.concat(), "[NEW[UPDATE[DESTROY".repeat(4));
}
