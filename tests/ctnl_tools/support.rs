//! A namespace for each test, and ctnl in it.

use std::ffi::OsStr;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use ctnetlink::{Claim, Conntrack, Entry, NewEntry, Zone, ZoneAllocator};
use nix::sched::{CloneFlags, unshare};
use serde::de::DeserializeOwned;

/// An upper bound only, for machines that are slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A handle on a table of this test's own. What the test starts is in the same namespace.
pub(crate) fn open() -> Conntrack {
    unshare(CloneFlags::CLONE_NEWNET)
        .expect("cannot make a network namespace: run the tests as root or under `unshare -Urn`");
    Conntrack::open().unwrap()
}

pub(crate) fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ctnl"));
    command.args(args).env_remove("NO_COLOR");
    command.stdin(Stdio::null());
    command
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().expect("ended by a signal"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Outcome {
    /// The objects that were printed, one a line.
    #[track_caller]
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Vec<T> {
        let lines = self.out.lines();
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        lines.map(parse).collect()
    }
}

/// Runs a line of words.
pub(crate) fn ctnl(line: &str) -> Outcome {
    command(line.split_whitespace()).output().unwrap().into()
}

/// The same, which must succeed.
#[track_caller]
pub(crate) fn done(line: &str) -> Outcome {
    let outcome = ctnl(line);
    assert_eq!(outcome.status, 0, "{line}: {outcome:?}");
    outcome
}

/// The same without the right to administer networks.
pub(crate) fn without_rights(line: &str) -> Outcome {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-net_admin,-sys_admin"]);
    command.arg(env!("CARGO_BIN_EXE_ctnl"));
    command.args(line.split_whitespace());
    command.output().unwrap().into()
}

/// What a shell does with this.
pub(crate) fn shell(script: &str) -> Outcome {
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", script]);
    shell.env("CTNL", env!("CARGO_BIN_EXE_ctnl"));
    shell.output().unwrap().into()
}

/// Runs it with a closed pipe as its standard output.
pub(crate) fn unread(line: &str) -> Outcome {
    // The oldest compiler has no pipe of its own; one that is closed for writing gives the same error.
    let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(reader);
    let mut command = command(line.split_whitespace());
    command.stdout(std::os::fd::OwnedFd::from(writer));
    command.stderr(Stdio::piped());
    command.spawn().unwrap().wait_with_output().unwrap().into()
}

pub(crate) fn udp(port: u16, zone: u16) -> NewEntry {
    let from = SocketAddr::from(([10, 0, 0, 1], port));
    let to = SocketAddr::from(([10, 0, 0, 2], 53));
    let entry = Entry::udp(from, to).zone(Zone::new(zone));
    entry.timeout(Duration::from_secs(10_000)).build().unwrap()
}

pub(crate) fn claims(ct: &Conntrack) -> Vec<Claim> {
    ZoneAllocator::builder().open(ct).unwrap().claims().unwrap()
}

/// Waits until it is so.
#[track_caller]
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A directory of this test's own.
pub(crate) struct Scratch(pub(crate) std::path::PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ctnl-tools-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            let _ = writeln!(std::io::stderr(), "{}: {error}", self.0.display());
        }
    }
}
