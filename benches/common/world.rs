//! Where the bench runs: its settings, its namespace, and the one thing of the host that it may
//! change if it is told so.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

use super::Result;

const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
/// A million, and what the host may need beside.
const RAISED_MAX: u32 = 1_100_000;

/// A number from the environment.
pub(crate) fn setting(name: &str, default: usize) -> Result<usize> {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .map_err(|error| format!("{name}={text}: {error}").into()),
        Err(_) => Ok(default),
    }
}

/// Holds the host's `nf_conntrack_max` raised; puts it back when dropped.
pub(crate) struct RaisedMax {
    /// Opened in the initial namespace, which is the only one that may write it.
    file: File,
    old: String,
}

impl Drop for RaisedMax {
    fn drop(&mut self) {
        if let Err(error) = self.file.write_at(self.old.as_bytes(), 0) {
            println!("cannot put {MAX} back to {}: {error}", self.old);
        }
    }
}

/// Raises the limit if the environment allows it. Before [`enter`].
pub(crate) fn raise_max() -> Result<Option<RaisedMax>> {
    if setting("CTNETLINK_BENCH_RAISE_MAX", 0)? != 1 {
        return Ok(None);
    }
    let old = fs::read_to_string(MAX)?.trim().to_owned();
    let limit: u32 = old.parse()?;
    if limit == 0 || limit >= RAISED_MAX {
        return Ok(None);
    }
    let file = File::options().write(true).open(MAX)?;
    let raised = RaisedMax { file, old };
    raised.file.write_at(RAISED_MAX.to_string().as_bytes(), 0)?;
    Ok(Some(raised))
}

/// Moves this process, which has one thread, into a network namespace of its own; as its root in a
/// user namespace of its own, where it may not do so else.
pub(crate) fn enter() -> Result<()> {
    match unshare(CloneFlags::CLONE_NEWNET) {
        Err(Errno::EPERM) => {}
        done => return Ok(done?),
    }
    let me = fs::metadata("/proc/self")?;
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    // The visiting process keeps its capabilities over exec only as root.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {} 1", me.uid()))?;
    fs::write("/proc/self/gid_map", format!("0 {} 1", me.gid()))?;
    Ok(())
}

/// How many entries fit into the namespace.
pub(crate) fn max_entries() -> Result<usize> {
    let text = fs::read_to_string(MAX).map_err(|error| format!("{MAX}: {error}"))?;
    match text.trim().parse()? {
        0 => Ok(usize::MAX),
        max => Ok(max),
    }
}
