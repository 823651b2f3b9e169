//! The clocks.

use std::time::{Duration, Instant};

use crate::Result;

/// How long something took.
#[derive(Clone, Copy)]
pub(crate) struct Time {
    wall: Duration,
    cpu: Duration,
}

impl Time {
    /// In seconds, by the clock on the wall.
    pub(crate) fn wall(&self) -> f64 {
        self.wall.as_secs_f64()
    }

    /// In seconds that this thread was on a CPU.
    pub(crate) fn cpu(&self) -> f64 {
        self.cpu.as_secs_f64()
    }
}

/// How long this thread has been on a CPU.
fn cpu() -> Result<Duration> {
    // The kernel brings the figure up to date when it schedules.
    nix::sched::sched_yield()?;
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split_whitespace().next().ok_or("no schedstat")?;
    Ok(Duration::from_nanos(first.parse()?))
}

/// How long this took.
pub(crate) fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Time)> {
    let before = cpu()?;
    let start = Instant::now();
    let value = work()?;
    let wall = start.elapsed();
    let cpu = cpu()?.saturating_sub(before);
    Ok((value, Time { wall, cpu }))
}
