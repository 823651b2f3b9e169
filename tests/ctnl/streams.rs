//! Readers that go away, and Ctrl-C.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use ctnetlink::{Entry, NewEntry};

use crate::base::{Base, ip};
use crate::compare::Pair;
use crate::spawn::{self, End, Program};
use crate::twin::Inside;

/// More lines than a pipe holds, and than a command holds back.
const MANY: u16 = 20_000;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn fill(inside: &Inside) {
    let new = |port: u16| -> NewEntry {
        let (src, dst) = ((ip("10.9.0.1"), port).into(), (ip("10.9.0.2"), 53).into());
        let entry = Entry::udp(src, dst).timeout(Duration::from_secs(9000));
        entry.build().unwrap()
    };
    let made = inside.ct.create_many((1..=MANY).map(new));
    assert_eq!(made.into_result().unwrap(), usize::from(MANY));
}

/// `... | head -1`
fn head(program: &Program, line: &str) -> (String, End, String) {
    let mut child = spawn::start(program, &words(line));
    let mut first = String::new();
    let mut reader = BufReader::with_capacity(256, child.stdout.take().unwrap());
    reader.read_line(&mut first).unwrap();
    drop(reader);
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    (first, spawn::end(child.wait().unwrap()), said)
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let pair = Pair::new(Base::All);
    let programs = [pair.programs().ours(), pair.programs().ctnl()];
    pair.twins()[0].run(move |inside| {
        fill(inside);
        for program in &programs {
            for line in [
                "-L",
                "-L -o xml",
                "-L -o save -p udp",
                "-U -p udp -m 1",
                "-D -p udp --dport 99",
            ] {
                if line.starts_with("-D") {
                    // Nothing to read, and nobody who reads.
                    let mut child = spawn::start(program, &words(line));
                    drop(child.stdout.take());
                    assert_eq!(spawn::end(child.wait().unwrap()), End::Exit(1));
                    continue;
                }
                let (first, end, said) = head(program, line);
                assert!(first.ends_with('\n'), "{line}: {first}");
                assert_eq!(end, End::Exit(0), "{line}: {said}");
                assert!(
                    !said.contains("roken pipe") && !said.contains("panic"),
                    "{said}"
                );
            }
        }
        // Whoever looks at the first of the deleted still wants all of them deleted.
        let (_, end, said) = head(&programs[0], "-D -p udp -s 10.9.0.1");
        assert_eq!(end, End::Exit(0), "{said}");
        let left = inside.table().entries;
        assert!(
            left.keys().all(|flow| !flow.contains("10.9.0.1")),
            "{}",
            left.len()
        );
        for program in &programs {
            let (_, end, said) = head(program, "-S");
            assert_eq!(end, End::Exit(0), "{said}");
        }
    });
}

/// A list that nobody reads on is ended by Ctrl-C; what was shown is counted.
#[test]
fn a_long_list_ends_when_it_is_told_to() {
    let pair = Pair::new(Base::All);
    let program = pair.programs().ours();
    pair.twins()[0].run(move |inside| {
        fill(inside);
        let mut child = spawn::start(&program, &words("-L"));
        let mut out = child.stdout.take().unwrap();
        // It has begun, and then the pipe is full.
        out.read_exact(&mut [0]).unwrap();
        while !spawn::sleeps(&child) {
            std::thread::sleep(Duration::from_millis(1));
        }
        spawn::interrupt(&child);
        std::thread::sleep(Duration::from_millis(20));
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        let mut said = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        let end = spawn::end(child.wait().unwrap());
        assert!(matches!(end, End::Exit(_)), "{end:?}: {said}");
        let count = said.rsplit(": ").next().unwrap().split(' ').next().unwrap();
        let count: usize = count
            .parse()
            .unwrap_or_else(|error| panic!("{error}: {said}"));
        assert!(said.contains("flow entries have been shown"), "{said}");
        assert_eq!(
            rest.lines().count(),
            count,
            "whole lines, all of them counted"
        );
        assert!(count < usize::from(MANY), "{count}");
        assert!(rest.ends_with('\n'));
    });
}

/// -E has an end, and a count, without any event.
#[test]
fn listening_ends_when_it_is_told_to() {
    let pair = Pair::new(Base::All);
    let programs = [pair.programs().theirs(), pair.programs().ours()];
    pair.twins()[0].run(move |inside| {
        for line in ["-E", "-E -o xml", "-E -e DESTROY -w 99"] {
            let outcomes = programs
                .each_ref()
                .map(|program| inside.listening(program, &words(line)));
            let [theirs, ours] = outcomes.map(|outcome| {
                let counts = crate::shown::counts(&outcome.stderr);
                (outcome.end, counts, outcome.stdout.lines().count())
            });
            assert_eq!(ours, theirs, "{line}");
        }
    });
}
