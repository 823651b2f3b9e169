//! A day in the life of a networking agent: devices come and go, each has a conntrack zone; the
//! agent is killed and started again, and finds the same zones; a second agent works in the same
//! namespace, and the two never collide.
//!
//! ```text
//! cargo run --release --example agent      # needs no privileges
//! ```
//!
//! It works in a network namespace of its own. `agent serve` is the agent itself: it reads `add
//! DEVICE` and `remove DEVICE` from its standard input, and answers with a line for each.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

use ctnetlink::{Conntrack, Entry, Filter, Lease, LeaseEvent, Zone, ZoneAllocator};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let serve = std::env::args().nth(1).is_some_and(|word| word == "serve");
    match if serve { agent() } else { session() } {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The agent: all that it has to remember is in the kernel's table.
fn agent() -> Outcome<()> {
    let ct = Conntrack::open()?;
    let zones = ZoneAllocator::builder().range(4097..=65_535).open(&ct)?;
    let _keeper = zones.keep_with(|event| {
        if let LeaseEvent::Lost { zone, holder, .. } = event {
            let _ = writeln!(std::io::stderr(), "zone {zone} is lost, to {holder:?}");
        }
    })?;
    let mut devices: BTreeMap<String, Lease> = BTreeMap::new();
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("add", device)) => {
                let lease = zones.acquire(device)?;
                let how = match lease.previous() {
                    Some(_) => "found",
                    None => "new",
                };
                writeln!(out, "{} {how}", lease.zone())?;
                devices.insert(device.to_owned(), lease);
            }
            Some(("remove", device)) => match devices.remove(device) {
                Some(lease) => {
                    let released = lease.release()?;
                    let entries = released.deleted.deleted.unwrap_or(0);
                    writeln!(out, "{} released, {entries} entries deleted", released.zone)?;
                }
                None => writeln!(out, "no such device")?,
            },
            _ => writeln!(out, "add DEVICE or remove DEVICE")?,
        }
        out.flush()?;
    }
    Ok(())
}

/// An agent in a process of its own.
struct Agent {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Agent {
    fn start() -> Outcome<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = process.stdin.take().ok_or("no standard input")?;
        let from = process.stdout.take().ok_or("no standard output")?;
        Ok(Self {
            process,
            to,
            from: BufReader::new(from),
        })
    }

    /// What it answers, and the zone in front of it.
    fn tell(&mut self, line: &str) -> Outcome<(u16, String)> {
        writeln!(self.to, "{line}")?;
        self.to.flush()?;
        let mut answer = String::new();
        self.from.read_line(&mut answer)?;
        let answer = answer.trim();
        let (zone, how) = answer
            .split_once(' ')
            .ok_or_else(|| format!("{line}: {answer:?}"))?;
        Ok((zone.parse()?, how.to_owned()))
    }

    fn add(&mut self, name: &str, device: &str) -> Outcome<u16> {
        let (zone, how) = self.tell(&format!("add {device}"))?;
        say(&format!("{name}: {device} has zone {zone}, {how}"))?;
        Ok(zone)
    }

    /// As by `kill -9`: nothing is cleaned up.
    fn kill(mut self) -> Outcome<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

fn say(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}

fn session() -> Outcome<()> {
    own_namespace()?;
    let ct = Conntrack::open()?;
    let mut first = Agent::start()?;
    let mut zones = BTreeMap::new();
    for device in ["tap1", "tap2", "tap3"] {
        zones.insert(device, first.add("first agent", device)?);
    }
    let flow = Entry::udp(address(1)?, address(2)?)
        .zone(Zone::new(zones["tap1"]))
        .timeout(Duration::from_secs(300))
        .build()?;
    ct.create(&flow)?;

    say("the first agent is killed and started again")?;
    first.kill()?;
    let mut first = Agent::start()?;
    for device in ["tap3", "tap1", "tap2"] {
        let zone = first.add("first agent", device)?;
        if zone != zones[device] {
            return Err(format!("{device} had zone {} before", zones[device]).into());
        }
    }
    ct.get(&flow)?;

    let mut second = Agent::start()?;
    for device in ["veth1", "veth2"] {
        let zone = second.add("second agent", device)?;
        if zones.insert(device, zone).is_some()
            || zones.values().filter(|z| **z == zone).count() > 1
        {
            return Err(format!("zone {zone} is held twice").into());
        }
    }
    let (zone, how) = first.tell("remove tap1")?;
    say(&format!("first agent: tap1 is gone, zone {zone} {how}"))?;
    if let Some(left) = ct.list(&Filter::new().zone(zone.into()))?.next() {
        return Err(format!("left in zone {zone}: {}", left?).into());
    }
    let again = second.add("second agent", "veth3")?;
    if zones
        .iter()
        .any(|(device, zone)| *device != "tap1" && *zone == again)
    {
        return Err(format!("zone {again} is held twice").into());
    }
    for claim in ZoneAllocator::builder().open(&ct)?.claims()? {
        say(&format!("zone {}: {claim}", claim.zone()))?;
    }
    first.kill()?;
    second.kill()?;
    Ok(())
}

fn address(host: u8) -> Outcome<SocketAddr> {
    Ok(format!("10.0.0.{host}:53").parse()?)
}

/// As root, or as anybody where user namespaces are allowed.
fn own_namespace() -> Outcome<()> {
    match unshare(CloneFlags::CLONE_NEWNET) {
        Err(Errno::EPERM) => {
            let user = std::fs::metadata("/proc/self")?.uid();
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
            std::fs::write("/proc/self/setgroups", "deny")?;
            std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
            Ok(())
        }
        done => Ok(done?),
    }
}
