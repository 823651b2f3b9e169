//! Taking turns, and what is printed of it.

use super::Result;
use super::clock::Time;

/// Something to measure: one run of it gives the times of its `N` parts.
pub(crate) type Work<'a, const N: usize> = &'a mut dyn FnMut() -> Result<[Time; N]>;

/// The times of one part, one a round.
pub(crate) type Times = Vec<Time>;

/// Runs all works in each round: forwards, then backwards.
pub(crate) fn interleave<const N: usize, const W: usize>(
    rounds: usize,
    works: &mut [Work<'_, N>; W],
) -> Result<[[Times; N]; W]> {
    let mut times: [[Times; N]; W] = std::array::from_fn(|_| std::array::from_fn(|_| Times::new()));
    for round in 0..rounds.max(1) {
        for turn in 0..W {
            let which = if round % 2 == 0 { turn } else { W - 1 - turn };
            for (part, time) in times[which].iter_mut().zip(works[which]()?) {
                part.push(time);
            }
        }
    }
    Ok(times)
}

/// By which clock a work is compared with the floor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The measuring thread's time on a CPU.
    Cpu,
    /// The clock on the wall: what works in other threads or processes too.
    Wall,
}

/// The best time.
fn best(times: &Times) -> f64 {
    times.iter().map(Time::wall).fold(f64::INFINITY, f64::min)
}

/// Each round's ratio to the floor of the same round, sorted.
fn ratios(times: &Times, floor: &Times, clock: fn(&Time) -> f64) -> Vec<f64> {
    let pairs = times.iter().zip(floor);
    let mut ratios: Vec<f64> = pairs.map(|(a, b)| clock(a) / clock(b)).collect();
    ratios.sort_by(f64::total_cmp);
    ratios
}

/// The value with so many quarters of the others below it.
fn quartile(sorted: &[f64], quarters: usize) -> f64 {
    let position = sorted.len().saturating_sub(1) * quarters;
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    let (low, high) = (at(position / 4), at(position.div_ceil(4)));
    low + (high - low) * [0.0, 0.25, 0.5, 0.75][position % 4]
}

/// What was measured, in the order of the table.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<String>,
    ratios: Vec<String>,
}

impl Report {
    /// What the following are compared with.
    pub(crate) fn floor(&mut self, name: &str, times: &Times) {
        let best = best(times) * 1e3;
        self.lines.push(format!("{name:<37} {best:>8.1}   1.000"));
    }

    /// What must not take more than `target` times the floor, if there is a target.
    pub(crate) fn ratio(
        &mut self,
        name: &str,
        target: Option<f64>,
        by: By,
        times: &Times,
        floor: &Times,
    ) {
        let wall = ratios(times, floor, Time::wall);
        let (rounds, cpu) = match by {
            By::Cpu => {
                let rounds = ratios(times, floor, Time::cpu);
                let cpu = format!("{:.3}", quartile(&rounds, 2));
                (rounds, cpu)
            }
            By::Wall => (wall.clone(), "-".to_owned()),
        };
        let [low, main, high] = [1, 2, 3].map(|quarters| quartile(&rounds, quarters));
        let verdict = match target {
            Some(target) if main <= target => format!("  <= {target:.2}  met"),
            Some(target) => format!("  <= {target:.2}  MISSED"),
            None => String::new(),
        };
        let best = best(times) * 1e3;
        self.lines.push(format!(
            "{name:<37} {best:>8.1} {cpu:>7} {:>7.3}  {low:.2}-{high:.2}{verdict}",
            quartile(&wall, 2)
        ));
        self.ratios.push(format!("ratio {name} {main:.3}"));
    }

    /// What could not be measured.
    pub(crate) fn absent(&mut self, name: &str, why: &str) {
        self.lines.push(format!("{name:<37} {why}"));
    }

    pub(crate) fn print(&self) {
        println!(
            "{:<37} {:>8} {:>7} {:>7}  {:<9}  target",
            "", "best ms", "cpu", "wall", "rounds"
        );
        for line in &self.lines {
            println!("{line}");
        }
        println!();
        for ratio in &self.ratios {
            println!("{ratio}");
        }
    }
}
