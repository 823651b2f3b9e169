//! Whole processes: what they said, and what they cost.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::common::Result;
use crate::common::clock::Time;

/// A command under test, by the name that its users know.
#[derive(Clone)]
pub(crate) struct Program(PathBuf);

impl Program {
    pub(crate) fn theirs() -> Self {
        Self("conntrack".into())
    }

    /// The command that was built, or `CTNETLINK_BENCH_BINARY`.
    pub(crate) fn ours() -> Self {
        let named = std::env::var_os("CTNETLINK_BENCH_BINARY");
        Self(named.map_or_else(|| env!("CARGO_BIN_EXE_ctnl").into(), PathBuf::from))
    }

    fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(&self.0);
        command.args(args).stdin(Stdio::null());
        command
    }

    /// Runs it with its standard output in /dev/null, and gives what it counted: on standard error.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<(usize, Time)> {
        let mut command = self.command(args);
        command.stdout(Stdio::null());
        let (output, time) = measured(|| Ok(command.output()?))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("{}: {said}", self.0.display()).into());
        }
        let count = said.split_whitespace().find_map(|word| word.parse().ok());
        Ok((count.unwrap_or(0), time))
    }

    /// Runs it with its standard output in a file.
    pub(crate) fn write(&self, args: &[&str], to: &Path) -> Result<()> {
        let mut command = self.command(args);
        let status = command
            .stdout(File::create(to)?)
            .stderr(Stdio::null())
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{}: {status}", self.0.display()).into())
        }
    }
}

/// What all children that ended have had of the CPU.
fn of_children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.try_into()?))
}

/// Does it, and says how long it took and what its processes had of the CPU.
fn measured<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Time)> {
    let before = of_children()?;
    let start = Instant::now();
    let value = work()?;
    let wall = start.elapsed();
    let cpu = of_children()?.saturating_sub(before);
    Ok((value, Time { wall, cpu }))
}

/// The argument that makes this program the one that starts a list and tells how large it became.
pub(crate) const CHILD: &str = "--list-and-tell-memory";

/// The largest resident set of any child, which is one: of a process of its own, as the largest of all
/// that ever ended is what the kernel keeps. It is at least that of who starts it.
pub(crate) fn child() -> Result<()> {
    Program::ours().run(&["-L"])?;
    println!("{}", getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss());
    Ok(())
}

/// Peak memory of a list, in MiB.
pub(crate) fn peak_mib() -> Result<f64> {
    let output = Command::new(std::env::current_exe()?).arg(CHILD).output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    let kib: u32 = told
        .trim()
        .parse()
        .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok(f64::from(kib) / 1024.0)
}
