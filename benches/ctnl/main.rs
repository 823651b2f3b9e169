//! Speed of the command, as ratios to Debian's conntrack: whole processes.
//!
//! `cargo bench --bench ctnl -F cli` measures in rounds, in turn, as `cargo bench --bench table` does,
//! which says why. A ratio is one of CPU time of whole processes, in the kernel and out of it, from the
//! start to the end (`RUSAGE_CHILDREN`); the ratio of the time on the wall stands beside it. It prints
//! `ratio NAME VALUE` and `rss_mib NAME VALUE`, and asserts no time, only that both counted the same.
//! The name of a part (`list`, `zone`, `restore`, `start`) after `--` measures that one alone.
//!
//! # What is compared
//! - `ctnl.list`: `-L > /dev/null` at 200,000 entries; `rss_mib` is the peak of the process.
//! - `ctnl.zone`: `-L -w N` of a zone without entries, in the same table.
//! - `ctnl.restore`: `-R FILE` of 100,000 lines of `-L -o save`, into an empty table.
//! - `ctnl.start`: `-C`, of which each round has many.
//!
//! # Environment
//! `CTNETLINK_BENCH_ENTRIES` (200000), `CTNETLINK_BENCH_ROUNDS` (21), and `CTNETLINK_BENCH_BINARY`, another
//! command than the one that was built.

#![allow(clippy::print_stdout, reason = "the output is the point")]

#[allow(dead_code, reason = "of what the benches share this one needs a part")]
#[path = "../common/mod.rs"]
mod common;
mod processes;

use std::time::Duration;

use common::clock::Time;
use common::flows::flows;
use common::raw::{Datagrams, Raw};
use common::report::{By, Report, Work, interleave};
use common::{Result, command, same, world};
use processes::Program;

/// A zone that no flow is in.
const EMPTY_ZONE: &str = "9";
/// Lines of the file that is restored.
const RESTORED: usize = 100_000;
/// Processes that are started in a round: one is over too soon to be measured.
const STARTS: usize = 20;

struct World {
    entries: usize,
    rounds: usize,
    theirs: Program,
    ours: Program,
}

type Part = fn(&World, &mut Report) -> Result<()>;
const PARTS: [(&str, Part); 4] = [
    ("list", list),
    ("zone", zone),
    ("restore", restore),
    ("start", start),
];

fn main() -> Result<()> {
    if std::env::args().any(|arg| arg == processes::CHILD) {
        return processes::child();
    }
    let named: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if let Some(name) = named
        .iter()
        .find(|name| !PARTS.iter().any(|(part, _)| part == name))
    {
        return Err(format!("no part is called {name}").into());
    }
    if !command::is_installed() {
        return Err("conntrack is not installed, and everything here is compared with it".into());
    }
    world::enter()?;
    let room = world::max_entries()?;
    let world = World {
        entries: world::setting("CTNETLINK_BENCH_ENTRIES", 200_000)?.min(room),
        rounds: world::setting("CTNETLINK_BENCH_ROUNDS", 21)?,
        theirs: Program::theirs(),
        ours: Program::ours(),
    };
    println!(
        "{} entries, {} rounds; ratio: the median of each round's ratio to conntrack, of CPU time of\n\
         whole processes; rounds: their quartiles\n",
        world.entries, world.rounds
    );
    let mut report = Report::default();
    let mut memory = None;
    for (name, part) in PARTS {
        if named.is_empty() || named.iter().any(|given| given == name) {
            fill(world.entries)?;
            part(&world, &mut report)?;
            if name == "list" {
                memory = Some(processes::peak_mib()?);
            }
        }
    }
    Raw::open()?.flush()?;
    report.print();
    if let Some(memory) = memory {
        println!("rss_mib ctnl.list {memory:.1}");
    }
    Ok(())
}

/// Empties the table and creates this many entries, through the raw socket.
fn fill(entries: usize) -> Result<()> {
    let mut raw = Raw::open()?;
    raw.flush()?;
    raw.exchange(&Datagrams::creations(flows(entries)))
}

/// Both, in turns; each must count as many.
fn compare(
    report: &mut Report,
    name: &str,
    target: f64,
    rounds: usize,
    mut work: impl FnMut(&Program) -> Result<Time>,
    programs: [&Program; 2],
) -> Result<()> {
    let work = std::cell::RefCell::new(&mut work);
    let mut theirs = || Ok([(work.borrow_mut())(programs[0])?]);
    let mut ours = || Ok([(work.borrow_mut())(programs[1])?]);
    let mut works: [Work<'_, 1>; 2] = [&mut theirs, &mut ours];
    let [[theirs], [ours]] = interleave(rounds, &mut works)?;
    report.floor(&format!("{name}: conntrack"), &theirs);
    report.ratio(name, Some(target), By::Cpu, &ours, &theirs);
    Ok(())
}

fn list(world: &World, report: &mut Report) -> Result<()> {
    let work = |program: &Program| {
        let (count, time) = program.run(&["-L"])?;
        same("-L", count, world.entries)?;
        Ok(time)
    };
    let programs = [&world.theirs, &world.ours];
    compare(report, "ctnl.list", 0.60, world.rounds, work, programs)
}

fn zone(world: &World, report: &mut Report) -> Result<()> {
    let work = |program: &Program| {
        let (count, time) = program.run(&["-L", "-w", EMPTY_ZONE])?;
        same("-L -w", count, 0)?;
        Ok(time)
    };
    let programs = [&world.theirs, &world.ours];
    compare(report, "ctnl.zone", 0.15, world.rounds, work, programs)
}

fn restore(world: &World, report: &mut Report) -> Result<()> {
    let lines = RESTORED.min(world.entries);
    fill(lines)?;
    let file = std::env::temp_dir().join(format!("ctnl-bench-{}", std::process::id()));
    world.theirs.write(&["-L", "-o", "save"], &file)?;
    let work = |program: &Program| {
        let mut raw = Raw::open()?;
        raw.flush()?;
        let (_, time) = program.run(&["-R".as_ref(), file.as_os_str()])?;
        same("-R", raw.list()?, lines)?;
        Ok(time)
    };
    let programs = [&world.theirs, &world.ours];
    let rounds = world.rounds.div_ceil(2);
    let done = compare(report, "ctnl.restore", 0.5, rounds, work, programs);
    std::fs::remove_file(&file)?;
    done
}

fn start(world: &World, report: &mut Report) -> Result<()> {
    let work = |program: &Program| {
        let (mut wall, mut cpu) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..STARTS {
            let (_, time) = program.run(&["-C"])?;
            wall += time.wall;
            cpu += time.cpu;
        }
        Ok(Time { wall, cpu })
    };
    let programs = [&world.theirs, &world.ours];
    compare(report, "ctnl.start", 1.2, world.rounds, work, programs)
}
