//! Processes that end in time, and what came of them.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What is started, and where.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) directory: PathBuf,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Exit(i32),
    Signal(i32),
    /// It was killed, since it did not end.
    Late,
}

#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) end: End,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Starts a program in this thread's namespaces, with an environment that says nothing of whoever
/// runs the tests. Files are looked for beside the program's own temporary ones.
pub(crate) fn start(program: &Program, args: &[String]) -> Child {
    Command::new(&program.path)
        .args(args)
        .current_dir(&program.directory)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("TZ", "ABC-5:30")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.path.display()))
}

/// Gives it its input, and waits for its end.
pub(crate) fn finish(mut child: Child, input: &str) -> Outcome {
    // Who does not read has not asked for it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    collect(child)
}

/// Reads both streams until they end, then how the process did.
pub(crate) fn collect(mut child: Child) -> Outcome {
    let until = Instant::now() + PATIENCE;
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let mut texts = [Vec::new(), Vec::new()];
    let mut open = [true, true];
    let mut late = false;
    while open != [false, false] {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() && !late {
            late = true;
            child.kill().unwrap();
        }
        let mut waits: Vec<_> = [out.as_fd(), err.as_fd()]
            .into_iter()
            .zip(open)
            .filter(|(_, open)| *open)
            .map(|(fd, _)| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let wait = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let _ = poll(&mut waits, if late { PollTimeout::NONE } else { wait });
        let ready: Vec<bool> = waits.iter().map(|wait| wait.any() == Some(true)).collect();
        let mut ready = ready.into_iter();
        let mut piece = vec![0; 65536];
        for (at, stream) in [&mut out as &mut dyn Read, &mut err]
            .into_iter()
            .enumerate()
        {
            if open[at] && ready.next() == Some(true) {
                let read = stream.read(&mut piece).unwrap();
                open[at] = read > 0;
                texts[at].extend(&piece[..read]);
            }
        }
    }
    let status = child.wait().unwrap();
    let [stdout, stderr] = texts.map(|text| String::from_utf8_lossy(&text).into_owned());
    Outcome {
        end: if late { End::Late } else { end(status) },
        stdout,
        stderr,
    }
}

pub(crate) fn end(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exit(code),
        (None, Some(signal)) => End::Signal(signal),
        (None, None) => End::Late,
    }
}

/// As Ctrl-C does.
pub(crate) fn interrupt(child: &Child) {
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    kill(pid, Signal::SIGINT).unwrap();
}

/// Whether the process sleeps, as one does that waits for what comes next.
pub(crate) fn sleeps(child: &Child) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    let state = stat.rsplit(") ").next();
    state.is_some_and(|rest| rest.starts_with('S'))
}
