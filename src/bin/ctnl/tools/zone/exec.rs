//! Holding a lease for as long as a command runs.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::mpsc::{self, Receiver, Sender};

use anyhow::Context;
use clap::ValueEnum;
use ctnetlink::{Lease, LeaseEvent, ZoneAllocator};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::lease::{lost, not_released};
use crate::exit::Exit;
use crate::name::Name;

/// What becomes of the zone when the command has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum AtEnd {
    /// Delete its entries and give it back
    Release,
    /// Leave the lease to end by itself, with the entries
    Leave,
}

/// What happens when somebody else has the zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OnLost {
    /// End the command, with SIGTERM
    Terminate,
    /// Say so, and let it run
    Warn,
}

/// What there is to act on.
enum Happening {
    Ended,
    Signal(i32),
    Lease(LeaseEvent),
}

/// The conventional status where a command could not be started: it is there or not.
const NOT_STARTED: u8 = 126;
const NOT_FOUND: u8 = 127;

pub(super) fn run(
    zones: &ZoneAllocator,
    acquire: impl FnOnce(&ZoneAllocator) -> ctnetlink::Result<Lease>,
    program: &OsString,
    args: &[OsString],
    at_end: AtEnd,
    on_lost: OnLost,
) -> anyhow::Result<ExitCode> {
    let (sender, happenings) = mpsc::channel();
    // Before the first lease, so that its end is heard.
    let tell = sender.clone();
    let keeper = zones.keep_with(move |event| drop(tell.send(Happening::Lease(event))))?;
    let lease = acquire(zones)?;
    // Ended before this, the lease ends by itself, and nothing is in its zone.
    forward_signals(sender.clone())?;
    let child = Command::new(program)
        .args(args)
        .env("CTNL_ZONE", lease.zone().to_string())
        .env("CTNL_OWNER", lease.owner().to_string())
        .env("CTNL_INSTANCE", lease.instance().to_string())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            Name::Ctnl.says(format_args!("{}: {error}", program.to_string_lossy()));
            // Nothing was done in the zone.
            drop(keeper);
            if let Err(error) = lease.release() {
                not_released(&error);
            }
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            return Ok(ExitCode::from(if missing {
                NOT_FOUND
            } else {
                NOT_STARTED
            }));
        }
    };
    let pid = i32::try_from(child.id()).context("a process number out of range")?;
    let pid = Pid::from_raw(pid);
    std::thread::spawn(move || {
        // It stays a zombie until it is waited for below, so no signal reaches a later process that
        // was given its number.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(pid), flags) == Err(nix::errno::Errno::EINTR) {}
        drop(sender.send(Happening::Ended));
    });
    let held = attend(&happenings, pid, on_lost);
    let status = child.wait().context("cannot wait for the command")?;
    drop(keeper);
    let ended = code(status);
    if !held {
        lease.leave();
        return Ok(if ended == 0 {
            Exit::Refused.into()
        } else {
            ExitCode::from(ended)
        });
    }
    let released = match at_end {
        AtEnd::Release => lease.release().map(|released| {
            if released.quarantined {
                Name::Ctnl.says("entries come back to the zone: it is set aside");
            }
        }),
        AtEnd::Leave => {
            lease.leave();
            Ok(())
        }
    };
    match released {
        Err(error) => {
            let exit = not_released(&error);
            Ok(if ended == 0 {
                exit.into()
            } else {
                ExitCode::from(ended)
            })
        }
        Ok(()) => Ok(ExitCode::from(ended)),
    }
}

/// Until the command has ended. Gives whether the lease was held all along.
fn attend(happenings: &Receiver<Happening>, pid: Pid, on_lost: OnLost) -> bool {
    let mut held = true;
    // It may have ended in this moment.
    let send = |signal: Signal| kill(pid, signal).unwrap_or(());
    for happening in happenings {
        match happening {
            Happening::Ended => break,
            // A terminal sends these two to the command as well.
            Happening::Signal(SIGINT | SIGQUIT) => {}
            Happening::Signal(number) => {
                if let Ok(signal) = Signal::try_from(number) {
                    send(signal);
                }
            }
            Happening::Lease(LeaseEvent::Restored { zone, .. }) => {
                Name::Ctnl.says(format_args!(
                    "somebody flushed the claim of zone {zone}, which was put back"
                ));
            }
            Happening::Lease(LeaseEvent::Lost { zone, holder, .. }) => {
                Name::Ctnl.says(lost(zone, holder.as_ref()));
                held = false;
                if on_lost == OnLost::Terminate {
                    send(Signal::SIGTERM);
                }
            }
            Happening::Lease(LeaseEvent::Failed { zone, error, .. }) => {
                Name::Ctnl.says(format_args!("zone {zone} could not be renewed: {error}"));
            }
            Happening::Lease(_) => {}
        }
    }
    held
}

/// From now on, no signal that asks for an end ends this process before it has cleaned up.
fn forward_signals(sender: Sender<Happening>) -> anyhow::Result<()> {
    let all = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
    let mut signals = Signals::new(all).context("cannot wait for signals")?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if sender.send(Happening::Signal(signal)).is_err() {
                break;
            }
        }
    });
    Ok(())
}

/// As a shell has it.
fn code(status: ExitStatus) -> u8 {
    let signal = || status.signal().map(|signal| 128 + signal);
    let code = status.code().or_else(signal).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_command_as_a_shell_has_it() {
        for (raw, expected) in [(0, 0), (7 << 8, 7), (255 << 8, 255), (9, 137), (15, 143)] {
            assert_eq!(code(ExitStatus::from_raw(raw)), expected, "{raw:#x}");
        }
    }
}
