//! The two clocks.

use std::time::{Duration, Instant};

use super::Result;

/// How long something took.
#[derive(Clone, Copy)]
pub(crate) struct Time {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

impl Time {
    /// Seconds by the clock on the wall.
    pub(crate) fn wall(&self) -> f64 {
        self.wall.as_secs_f64()
    }

    /// Seconds that this thread was on a CPU, be it in the kernel or not.
    pub(crate) fn cpu(&self) -> f64 {
        self.cpu.as_secs_f64()
    }
}

/// How long this thread has been on a CPU: `CLOCK_THREAD_CPUTIME_ID`, as a file.
fn on_cpu() -> Result<Duration> {
    // The file says what was known when the thread was scheduled last.
    nix::sched::sched_yield()?;
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split_whitespace().next().ok_or("schedstat is empty")?;
    Ok(Duration::from_nanos(first.parse()?))
}

/// Does it, and says how long it took.
pub(crate) fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Time)> {
    let before = on_cpu()?;
    let start = Instant::now();
    let value = work()?;
    let wall = start.elapsed();
    let cpu = on_cpu()?.saturating_sub(before);
    Ok((value, Time { wall, cpu }))
}
