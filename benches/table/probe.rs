//! How long it takes to find out what the kernel's filters are worth: in processes of their own,
//! since each finds it out once.

use std::process::Command;
use std::time::Instant;

use ctnetlink::{FilterShape, KernelSupport};

use crate::common::Result;

/// The argument that makes this program the process that finds out.
pub(crate) const CHILD: &str = "--probe-and-tell-times";
const TIMES: usize = 11;

/// What is told of, and the aim in milliseconds, if there is one.
const PARTS: [(&str, Option<f64>); 4] = [
    ("probe", Some(20.0)),
    ("probe.list", None),
    ("probe.flush", None),
    ("probe.all", None),
];

/// The process that finds out.
pub(crate) fn child() -> Result<()> {
    let told = |start: Instant| print!("{} ", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    let support = KernelSupport::probe();
    told(start);
    if let Some(why) = support.why_not() {
        return Err(why.into());
    }
    // Which verdict does not matter here: the trial takes its time.
    let start = Instant::now();
    let _ = support.dump(FilterShape::ZONE, None);
    told(start);
    let start = Instant::now();
    let _ = support.flush(FilterShape::ZONE, None);
    told(start);
    let start = Instant::now();
    let _ = support.trials();
    told(start);
    println!();
    Ok(())
}

fn once() -> Result<Vec<f64>> {
    let output = Command::new(std::env::current_exe()?).arg(CHILD).output()?;
    let told = String::from_utf8(output.stdout)?;
    let times: std::result::Result<Vec<f64>, _> = told.split_whitespace().map(str::parse).collect();
    let times = times?;
    if times.len() == PARTS.len() {
        return Ok(times);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(format!("the probing process failed: {complaint}").into())
}

/// Prints the median and the best of each part, as `ms NAME MEDIAN`.
pub(crate) fn print() -> Result<()> {
    let rounds = (0..TIMES).map(|_| once()).collect::<Result<Vec<_>>>()?;
    for (part, (name, aim)) in PARTS.iter().enumerate() {
        let mut times: Vec<f64> = rounds.iter().map(|round| round[part]).collect();
        times.sort_by(f64::total_cmp);
        let aim = aim.map_or(String::new(), |aim| format!(" (aim {aim:.0})"));
        println!(
            "ms {name} {:.1}{aim}; best {:.1}",
            times[TIMES / 2],
            times[0]
        );
    }
    println!(
        "    probe: whether there can be trials; list, flush: the first trial of a filter by zone;\n    \
         all: the trials of all other filters, of which most programs need few"
    );
    Ok(())
}
