//! Taking turns, and what is printed of it.

use crate::Result;
use crate::clock::Time;

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

fn best(times: &Times, of: fn(&Time) -> f64) -> f64 {
    times.iter().map(of).fold(f64::INFINITY, f64::min)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What was measured, in the order of the table.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<String>,
    ratios: Vec<String>,
}

impl Report {
    fn line(&mut self, name: &str, times: &Times, rest: &str) {
        let middle = median(times.iter().map(Time::wall).collect());
        self.lines.push(format!(
            "{name:<38} {:>9.1} {:>9.1}{rest}",
            best(times, Time::wall) * 1e3,
            middle * 1e3
        ));
    }

    fn ratio(&mut self, name: &str, target: Option<f64>, times: &Times, floor: &Times) {
        let ratio = best(times, Time::wall) / best(floor, Time::wall);
        let pairs = times.iter().zip(floor);
        let each = median(
            pairs
                .map(|(time, floor)| time.wall() / floor.wall())
                .collect(),
        );
        let cpu = best(times, Time::cpu) / best(floor, Time::cpu);
        let cpu_each = median(
            times
                .iter()
                .zip(floor)
                .map(|(a, b)| a.cpu() / b.cpu())
                .collect(),
        );
        let verdict = match target {
            Some(target) if ratio <= target => format!("   <= {target:.2}  met"),
            Some(target) => format!("   <= {target:.2}  MISSED"),
            None => String::new(),
        };
        self.line(
            name,
            times,
            &format!(" {ratio:>7.3} {each:>7.3} {cpu:>7.3} {cpu_each:>7.3}{verdict}"),
        );
        self.ratios.push(format!("ratio {name} {ratio:.3}"));
    }

    /// What the following are compared with.
    pub(crate) fn floor(&mut self, name: &str, times: &Times) {
        self.line(name, times, "   1.000");
    }

    /// What must not be slower than this many times the floor.
    pub(crate) fn ours(&mut self, name: &str, target: f64, times: &Times, floor: &Times) {
        self.ratio(name, Some(target), times, floor);
    }

    /// What there is besides.
    pub(crate) fn peer(&mut self, name: &str, times: &Times, floor: &Times) {
        self.ratio(name, None, times, floor);
    }

    /// What could not be measured.
    pub(crate) fn absent(&mut self, name: &str, why: &str) {
        self.lines.push(format!("{name:<38} {why}"));
    }

    pub(crate) fn print(&self) {
        println!(
            "{:<38} {:>9} {:>9} {:>7} {:>7} {:>7} {:>7}  target",
            "", "best ms", "median ms", "ratio", "median", "cpu", "cpumed"
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
