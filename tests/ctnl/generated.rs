//! Thousands of command lines.
//!
//! `CTNETLINK_TWINS_SEED` and `CTNETLINK_TWINS_COUNT` choose which and how many;
//! `CTNETLINK_TWINS_BINARY` names the command under test, if it is another than the one that was built.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::base::Base;
use crate::compare::{Meeting, Pair};
use crate::differences;
use crate::grammar::{Case, Generator};

/// Command lines a run, of which a tenth listens to events.
const COUNT: u64 = 2000;
/// So many mismatches are shrunk and shown.
const SHOWN: usize = 25;

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name);
    text.map_or(default, |text| text.parse().unwrap())
}

/// What differs and is not meant to.
fn mismatch(pair: &mut Pair, case: &Case, by_own_name: bool) -> Option<Meeting> {
    let mut meeting = pair.meet(case, by_own_name);
    meeting.differs = differences::not_meant(case, &meeting);
    (!meeting.differs.is_empty()).then_some(meeting)
}

/// Leaves out what can be left out.
fn shrink(pair: &mut Pair, case: Case, by_own_name: bool, found: Meeting) -> (Case, Meeting) {
    let (mut best, mut meeting) = (case, found);
    let mut at = 0;
    let mut tries = 0;
    'again: loop {
        for width in [2, 1] {
            while at + width <= best.args.len() && tries < 80 {
                let mut shorter = best.clone();
                shorter.args.drain(at..at + width);
                tries += 1;
                match mismatch(pair, &shorter, by_own_name) {
                    Some(found) if found.differs == meeting.differs => {
                        (best, meeting) = (shorter, found);
                        at = 0;
                        continue 'again;
                    }
                    _ => at += 1,
                }
            }
            at = 0;
        }
        for line in 0..best.input.lines().count() {
            let mut shorter = best.clone();
            let lines = best.input.lines().enumerate();
            let kept = lines.filter(|(number, _)| *number != line);
            shorter.input = kept.map(|(_, text)| text.to_owned() + "\n").collect();
            tries += 1;
            match mismatch(pair, &shorter, by_own_name) {
                Some(found) if found.differs == meeting.differs && tries < 80 => {
                    (best, meeting) = (shorter, found);
                    continue 'again;
                }
                _ => {}
            }
        }
        return (best, meeting);
    }
}

#[test]
fn generated_command_lines_do_the_same() {
    let seed = setting("CTNETLINK_TWINS_SEED", 1);
    let count = setting("CTNETLINK_TWINS_COUNT", COUNT);
    let mut generator = Generator::new(seed);
    let mut pairs = [Base::All, Base::Plain].map(Pair::new);
    let mut told = BTreeSet::new();
    let mut report = String::new();
    let (mut mismatches, mut meant, mut done) = (0, 0, [0_u64; 3]);
    for number in 0..count {
        let case = match number % 10 {
            9 => generator.listener(),
            _ => generator.case(),
        };
        let by_own_name = number % 2 == 1;
        let pair = &mut pairs[usize::from(case.may_update())];
        let mut meeting = pair.meet(&case, by_own_name);
        if let Ok(class) = usize::try_from(meeting.theirs.class()) {
            done[class] += 1;
        }
        let left = differences::not_meant(&case, &meeting);
        if left.is_empty() {
            meant += u64::from(!meeting.differs.is_empty());
            continue;
        }
        meeting.differs = left;
        mismatches += 1;
        if told.len() >= SHOWN {
            continue;
        }
        let (case, meeting) = shrink(pair, case, by_own_name, meeting);
        if told.insert(case.shell()) {
            let name = if by_own_name { "ctnl" } else { "conntrack" };
            writeln!(report, "{} (as {name})", case.shell()).unwrap();
            if !case.input.is_empty() {
                writeln!(report, "  which reads {:?}", case.input).unwrap();
            }
            report += &meeting.describe();
        }
    }
    for pair in &pairs {
        pair.assert_restored();
    }
    assert!(
        mismatches == 0,
        "{mismatches} of {count} command lines differ, seed {seed}:\n{report}"
    );
    // What differs on purpose is the exception.
    assert!(meant * 100 < count * 15, "{meant} of {count}");
    // What the lines must have been for this to mean something.
    let share = |class: usize| done[class] * 100 / count.max(1);
    assert!(share(0) > 30 && share(1) > 3 && share(2) > 10, "{done:?}");
}
