//! How much memory a visit takes: in a process of its own, which has done nothing else.

use std::process::Command;

use ctnetlink::Conntrack;

use crate::common::Result;
use crate::ours;

/// The argument that makes this program the visiting process. It inherits the namespace.
pub(crate) const CHILD: &str = "--visit-and-tell-memory";

/// What the visiting process told.
pub(crate) struct Memory {
    pub(crate) entries: usize,
    before_kib: u32,
    peak_kib: u32,
}

impl Memory {
    /// The largest resident set that the process ever had.
    pub(crate) fn peak_mib(&self) -> f64 {
        f64::from(self.peak_kib) / 1024.0
    }

    /// The same, just before the visit: the program itself.
    pub(crate) fn before_mib(&self) -> f64 {
        f64::from(self.before_kib) / 1024.0
    }
}

/// `VmHWM`, in KiB.
fn peak() -> Result<u32> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("no VmHWM")?.parse()?)
}

/// The visiting process.
pub(crate) fn child() -> Result<()> {
    let ct = Conntrack::open()?;
    let before = peak()?;
    let entries = ours::visit(&ct)?;
    println!("{entries} {before} {}", peak()?);
    Ok(())
}

/// Starts the visiting process and listens to it.
pub(crate) fn measure() -> Result<Memory> {
    let output = Command::new(std::env::current_exe()?).arg(CHILD).output()?;
    let told = String::from_utf8(output.stdout)?;
    let mut words = told.split_whitespace();
    let mut next = || {
        words.next().ok_or_else(|| {
            let complaint = String::from_utf8_lossy(&output.stderr);
            format!("the visiting process failed: {complaint}")
        })
    };
    Ok(Memory {
        entries: next()?.parse()?,
        before_kib: next()?.parse()?,
        peak_kib: next()?.parse()?,
    })
}
