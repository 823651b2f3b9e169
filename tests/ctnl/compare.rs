//! One command line on both twins: what each said and did, and what of it differs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Instant;

use crate::base::Base;
use crate::differences;
use crate::grammar::Case;
use crate::shown::{self, Line};
use crate::spawn::{End, Outcome};
use crate::twin::{Flow, Inside, Programs, Table, Twin, both};

/// Seconds by which time-outs of twins may differ.
const DRIFT: u64 = 3;

/// What may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Aspect {
    /// The class of the exit status.
    Exit,
    Stdout,
    /// What the counting line says.
    Count,
    /// The table after it.
    Table,
}

/// What one of them said and did.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) outcome: Outcome,
    pub(crate) lines: Vec<Line>,
    pub(crate) counts: Vec<String>,
    /// The table, if anything happened to it.
    pub(crate) table: Option<Table>,
}

impl Seen {
    /// 0, 1 or 2; what crashes or hangs is of a class of its own.
    pub(crate) fn class(&self) -> i32 {
        match self.outcome.end {
            End::Exit(code @ (0 | 2)) => code,
            End::Exit(_) => 1,
            End::Signal(_) => -1,
            End::Late => -2,
        }
    }
}

/// Both of them.
#[derive(Debug, Clone)]
pub(crate) struct Meeting {
    pub(crate) theirs: Seen,
    pub(crate) ours: Seen,
    pub(crate) by_own_name: bool,
    pub(crate) differs: Vec<Aspect>,
}

impl Meeting {
    /// Whether ours refuses, for this reason, what theirs does not refuse.
    pub(crate) fn refused_with(&self, why: &str) -> bool {
        let said = self.ours.outcome.stderr.contains(why);
        said && self.ours.class() > 0 && self.theirs.class() < 2
    }

    /// For people: what both said, and how the tables differ from each other.
    pub(crate) fn describe(&self) -> String {
        let mut text = format!("  differs: {:?}\n", self.differs);
        for (who, seen) in [("conntrack", &self.theirs), ("ctnl", &self.ours)] {
            writeln!(text, "  {who}: {:?}", seen.outcome.end).unwrap();
            for line in seen.outcome.stderr.lines().take(4) {
                writeln!(text, "    stderr: {line}").unwrap();
            }
        }
        let only = |a: &[Line], b: &[Line]| -> Vec<String> {
            let missing = a.iter().filter(|line| !b.contains(line));
            missing
                .take(2)
                .map(|line| short(&format!("{line:?}")))
                .collect()
        };
        if self.differs.contains(&Aspect::Stdout) {
            for (who, lines) in [
                ("conntrack", only(&self.theirs.lines, &self.ours.lines)),
                ("ctnl", only(&self.ours.lines, &self.theirs.lines)),
            ] {
                for line in lines {
                    writeln!(text, "    only {who} prints: {line}").unwrap();
                }
            }
        }
        if let (Some(theirs), Some(ours)) = (&self.theirs.table, &self.ours.table) {
            let keys: BTreeSet<_> = theirs.entries.keys().chain(ours.entries.keys()).collect();
            let differing = keys
                .into_iter()
                .filter(|key| !same_entry(theirs.entries.get(*key), ours.entries.get(*key)));
            for key in differing.take(2) {
                let of = |table: &Table| short(&format!("{:?}", table.entries.get(key)));
                writeln!(text, "    conntrack left: {}", of(theirs)).unwrap();
                writeln!(text, "    ctnl left:      {}", of(ours)).unwrap();
            }
            if theirs.expectations != ours.expectations {
                writeln!(text, "    conntrack left: {:?}", theirs.expectations).unwrap();
                writeln!(text, "    ctnl left:      {:?}", ours.expectations).unwrap();
            }
        }
        text
    }
}

/// So that a report of many can be read.
fn short(text: &str) -> String {
    text.chars().take(700).collect()
}

type Told<'a> = Option<&'a (String, Option<u64>)>;

fn same_entry(theirs: Told<'_>, ours: Told<'_>) -> bool {
    match (theirs, ours) {
        (Some((theirs, their_timeout)), Some((ours, our_timeout))) => {
            theirs == ours && near(*their_timeout, *our_timeout)
        }
        (theirs, ours) => theirs == ours,
    }
}

fn near(a: Option<u64>, b: Option<u64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.abs_diff(b) <= DRIFT,
        (a, b) => a == b,
    }
}

fn same_table(theirs: &Table, ours: &Table) -> bool {
    theirs.expectations == ours.expectations
        && theirs.entries.len() == ours.entries.len()
        && theirs
            .entries
            .iter()
            .all(|(flow, told)| same_entry(Some(told), ours.entries.get(flow)))
}

/// Twins, and the table that each has before each command line.
pub(crate) struct Pair {
    twins: [Twin; 2],
    programs: Programs,
    base: Table,
    /// When each flow of the base was made last.
    born: BTreeMap<Flow, Instant>,
}

impl Pair {
    pub(crate) fn new(base: Base) -> Self {
        let twins = [Twin::new(), Twin::new()];
        let [base, other] = both(&twins, move |inside, _| inside.fill(base));
        assert!(same_table(&base, &other), "{base:?}\n{other:?}");
        assert!(base.entries.len() > 20, "{}", base.entries.len());
        let now = Instant::now();
        let born = base
            .entries
            .keys()
            .map(|flow| (flow.clone(), now))
            .collect();
        let programs = Programs::find();
        programs.write("EMPTY", "");
        programs.write("BAD", "-A -x\n");
        Self {
            twins,
            programs,
            base,
            born,
        }
    }

    pub(crate) fn programs(&self) -> &Programs {
        &self.programs
    }

    /// How many entries each has before a command line.
    pub(crate) fn entries(&self) -> usize {
        self.base.entries.len()
    }

    /// Whether the table has an entry of a protocol with ports that this kernel does not track.
    pub(crate) fn has_untracked_ports(&self) -> bool {
        let mut entries = self.base.entries.values();
        entries.any(|(text, _)| text.contains("\"dccp\"") && !text.contains("_port"))
    }

    /// Runs it on both, compares, and puts the table back.
    pub(crate) fn meet(&mut self, case: &Case, by_own_name: bool) -> Meeting {
        self.programs.write("FILE", &case.input);
        let ours = if by_own_name {
            self.programs.ctnl()
        } else {
            self.programs.ours()
        };
        let programs = [self.programs.theirs(), ours];
        let listens = case.may_listen();
        // Counters are zeroed without an event.
        let zeroes = case.args.iter().any(|arg| arg.contains('z'));
        let job = {
            let case = case.clone();
            move |inside: &mut Inside, which: usize| {
                let program = &programs[which];
                let outcome = if listens {
                    inside.listening(program, &case.args)
                } else {
                    Inside::outcome(program, &case.args, &case.input)
                };
                (outcome, inside.has_changed() || zeroes)
            }
        };
        let [theirs, ours] = both(&self.twins, job);
        let changed = theirs.1 || ours.1;
        let tables = changed.then(|| both(&self.twins, |inside, _| inside.table()));
        if let Some(tables) = &tables {
            // Where one of them listens and the other one refuses, expectations are new in one.
            self.restore(tables, listens);
        }
        let [their_table, our_table] = tables.map_or([None, None], |tables| tables.map(Some));
        let see = |stdout: String, outcome: Outcome, table| Seen {
            lines: if case.may_update() {
                shown::lines(&shown::without_uses(&stdout))
            } else {
                shown::lines(&stdout)
            },
            counts: shown::counts(&outcome.stderr),
            outcome,
            table,
        };
        let (theirs, ours) = (theirs.0, ours.0);
        let as_ours = differences::as_ours(case, &theirs.stdout);
        let theirs = see(as_ours, theirs, their_table);
        let ours = see(ours.stdout.clone(), ours, our_table);
        let same_tables = match (&theirs.table, &ours.table) {
            (Some(theirs), Some(ours)) => same_table(theirs, ours),
            _ => true,
        };
        let aspects = [
            (Aspect::Exit, theirs.class() == ours.class()),
            (Aspect::Stdout, shown::same(&ours.lines, &theirs.lines)),
            (Aspect::Count, theirs.counts == ours.counts),
            (Aspect::Table, same_tables),
        ];
        let differs = aspects
            .into_iter()
            .filter_map(|(aspect, same)| (!same).then_some(aspect))
            .collect();
        Meeting {
            theirs,
            ours,
            by_own_name,
            differs,
        }
    }

    /// What either has changed is made anew in both, so that time-outs stay the same.
    fn restore(&mut self, tables: &[Table; 2], expect: bool) {
        let now = Instant::now();
        let is_as_before = |table: &Table, flow: &Flow, (text, timeout): &(String, Option<u64>)| {
            let age = now.duration_since(self.born[flow]).as_secs();
            let expected = timeout.map(|timeout| timeout.saturating_sub(age));
            let found = table.entries.get(flow);
            found.is_some_and(|(now, left)| now == text && near(*left, expected))
        };
        let base = self.base.entries.iter();
        let changed: Vec<Flow> = base
            .filter(|(flow, told)| !tables.iter().all(|table| is_as_before(table, flow, told)))
            .map(|(flow, _)| flow.clone())
            .collect();
        let expectations = expect
            || tables
            .iter()
            .any(|table| table.expectations != self.base.expectations)
            // They go with the entry that expects.
            || changed.iter().any(|flow| self.base.entries[flow].0.contains("\"helper\""));
        let strangers = tables
            .iter()
            .any(|table| table.entries.len() > self.base.entries.len() || !changed.is_empty());
        if changed.is_empty() && !expectations && !strangers {
            return;
        }
        for flow in &changed {
            self.born.insert(flow.clone(), Instant::now());
        }
        both(&self.twins, move |inside, _| {
            inside.restore(&changed, expectations);
        });
    }

    /// The namespaces, for what is no single command line; [`Pair::put_back`] ends it.
    pub(crate) fn twins(&self) -> &[Twin; 2] {
        &self.twins
    }

    /// Makes both tables what they were.
    pub(crate) fn put_back(&mut self) {
        let tables = both(&self.twins, |inside, _| inside.table());
        self.restore(&tables, true);
    }

    /// That both tables are what they were in the beginning.
    #[track_caller]
    pub(crate) fn assert_restored(&self) {
        for table in both(&self.twins, |inside, _| inside.table()) {
            let now: Vec<_> = table.entries.values().map(|(text, _)| text).collect();
            let base: Vec<_> = self.base.entries.values().map(|(text, _)| text).collect();
            assert_eq!(now, base);
            assert_eq!(table.expectations, self.base.expectations);
        }
    }
}
