//! `-o json`: the serde form of the library, one object a line.

use ctnetlink::{Entry, Event, Expectation};
use serde::de::DeserializeOwned;

use crate::base::Base;
use crate::compare::Pair;
use crate::grammar::Case;
use crate::spawn::{End, Outcome};
use crate::twin::{Inside, list};

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn parsed<T: DeserializeOwned>(outcome: &Outcome) -> Vec<T> {
    assert_eq!(outcome.end, End::Exit(0), "{}", outcome.stderr);
    let lines = outcome.stdout.lines();
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    lines.map(parse).collect()
}

/// Without what runs on.
fn still(entries: &[Entry]) -> Vec<String> {
    let mut told: Vec<_> = entries
        .iter()
        .map(|entry| {
            let mut value = serde_json::to_value(entry).unwrap();
            value.as_object_mut().unwrap().remove("timeout");
            value.to_string()
        })
        .collect();
    told.sort();
    told
}

#[test]
fn lines_are_the_serde_form() {
    let pair = Pair::new(Base::All);
    let ctnl = pair.programs().ctnl();
    pair.twins()[0].run(move |inside| {
        let all = list(&inside.ct);
        let outcome = Inside::outcome(&ctnl, &words("-L -o json"), "");
        let shown: Vec<Entry> = parsed(&outcome);
        assert_eq!(still(&shown), still(&all));
        assert!(outcome.stderr.contains("flow entries have been shown"));
        // As it is written, too: to read a line and to write it gives that line.
        for (line, entry) in outcome.stdout.lines().zip(&shown) {
            assert_eq!(serde_json::to_string(entry).unwrap(), line);
        }

        let outcome = Inside::outcome(&ctnl, &words("-L expect -o json"), "");
        let shown: Vec<Expectation> = parsed(&outcome);
        assert_eq!(shown.len(), 1);

        let one = words(
            "-G -p icmp -s 10.0.0.1 -d 10.0.0.2 --icmp-type 8 --icmp-code 0 --icmp-id 7 -o json",
        );
        let shown: Vec<Entry> = parsed(&Inside::outcome(&ctnl, &one, ""));
        assert_eq!(shown.len(), 1);

        let outcome = Inside::outcome(&ctnl, &words("-D -w 5 -o json"), "");
        let shown: Vec<Entry> = parsed(&outcome);
        let gone = all.len() - list(&inside.ct).len();
        assert_eq!((shown.len(), gone), (5, 5));
    });
}

#[test]
fn events_are_the_serde_form() {
    let pair = Pair::new(Base::All);
    let ctnl = pair.programs().ctnl();
    let outcome = pair.twins()[0].run(move |inside| inside.listening(&ctnl, &words("-E -o json")));
    let events: Vec<Event> = parsed(&outcome);
    let kinds = events.iter().map(|event| match event {
        Event::New(_) => "new",
        Event::Update(_) => "update",
        Event::Destroy(_) => "destroy",
        _ => "other",
    });
    assert_eq!(
        kinds.collect::<Vec<_>>().join(" "),
        ["new update destroy"; 4].join(" ")
    );
}

/// It is no word of conntrack(8)'s: by that name there is no such format.
#[test]
fn conntrack_does_not_know_it() {
    let mut pair = Pair::new(Base::All);
    let meeting = pair.meet(&Case::new(&["-L", "-o", "json"]), false);
    assert_eq!((meeting.theirs.class(), meeting.ours.class()), (2, 2));
}
