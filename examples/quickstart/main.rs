//! The main job of the library, from end to end, on the running kernel: find a free conntrack
//! zone, create entries in it, list them, delete one, change one, flush the zone, and see that
//! the entries of other zones are still there.
//!
//! ```text
//! cargo run --release --example quickstart             # needs no privileges
//! cargo run --release --example quickstart -- --help
//! ```
//!
//! It works in a network namespace of its own unless told otherwise. In any namespace it removes
//! what it created, also when a step fails.

mod args;
mod report;

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ctnetlink::{
    Batch, Conntrack, Entry, EntryBuilder, Filter, Icmp, Icmpv6, Key, NewEntry, Protocol, Status,
    TcpState, Update, Zone,
};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

use args::{Args, ZoneRange};
use report::{Report, entries};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output, `head` for example, has seen enough.
        Err(error) if report::is_closed_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Outcome<()> {
    let mut report = Report::to_stdout();
    let ct = open(&args.netns, &mut report)?;
    let mut made = Made::default();
    all_steps(&ct, args, &mut made, &mut report).map_err(|error| match made.remove(&ct) {
        Ok(()) => error,
        Err(left) => format!("{error}\nerror: {left}").into(),
    })
}

/// Opens the table of the namespace that `--netns` names.
fn open(netns: &str, report: &mut Report) -> Outcome<Conntrack> {
    let builder = Conntrack::builder();
    let (builder, text) = match (netns, netns.parse()) {
        ("new", _) => (builder, enter_new_namespace()?.to_owned()),
        ("host", _) => (builder, "the one this was started in".to_owned()),
        // A name of digits is a name if there is such a namespace.
        (_, Ok(pid)) if !Path::new("/run/netns").join(netns).exists() => {
            (builder.netns_pid(pid), format!("that of process {pid}"))
        }
        _ if netns.contains('/') => (builder.netns_path(netns), netns.to_owned()),
        _ => (builder.netns(netns), format!("{netns} of `ip netns`")),
    };
    let ct = builder.open()?;
    report.step("namespace", text)?;
    Ok(ct)
}

/// Moves this process, which must have one thread only, into a network namespace of its own.
fn enter_new_namespace() -> Outcome<&'static str> {
    match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => return Ok("a new one"),
        Err(Errno::EPERM) => {} // not root; but anyone may be root of a new user namespace
        Err(errno) => return Err(format!("cannot make a network namespace: {errno}").into()),
    }
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(|errno| {
        format!(
            "cannot make a network namespace: {errno}; run this as root, or allow unprivileged \
             user namespaces (see sysctl user.max_user_namespaces)"
        )
    })?;
    Ok("a new one, inside a new user namespace")
}

fn all_steps(ct: &Conntrack, args: &Args, made: &mut Made, report: &mut Report) -> Outcome<()> {
    // It has the very tuple of the TCP entry below: zones keep the two apart.
    let elsewhere = args.bystander_zone;
    let bystander = made.create(ct, &tcp(args, elsewhere)?)?;
    let before = ct.count()?;
    report.step("bystander", format!("a TCP entry in zone {elsewhere}"))?;
    report.entries([&bystander])?;
    report.step("table", entries(before.entries))?;

    let zone = free_zone(ct, args.zones, report)?;
    let tcp = made.create(ct, &tcp(args, zone)?)?;
    let udp = made.create(ct, &udp(args, zone)?)?;
    let ping = made.create(ct, &ping(args, zone)?)?;
    report.step("create", format!("three entries in zone {zone}"))?;
    let listed = list_exactly(ct, zone, &[tcp.key(), udp.key(), ping.key()])?;
    report.step("list", format!("zone {zone} has exactly these"))?;
    report.entries(&listed)?;

    ct.delete(&udp)?;
    let listed = list_exactly(ct, zone, &[tcp.key(), ping.key()])?;
    report.step("delete", "the UDP entry; the others remain")?;
    report.entries(&listed)?;

    update(ct, &tcp, args, report)?;
    flush(ct, zone, &[tcp.key(), ping.key()], report)?;

    let survivor = ct.get(&bystander)?;
    report.step("bystander", format!("still in zone {elsewhere}"))?;
    report.entries([&survivor])?;
    let (before, after) = (entries(before.entries), ct.count()?.entries);
    report.step("table", format!("{before} before, {after} now"))?;

    ct.delete(&bystander)?;
    report.step("clean up", "the bystander is deleted too")?;
    Ok(())
}

fn tcp(args: &Args, zone: Zone) -> ctnetlink::Result<NewEntry> {
    let client = SocketAddr::new(args.client, args.client_port);
    let entry = Entry::tcp(client, SocketAddr::new(args.server, args.tcp_port))
        .state(TcpState::Established)
        .status(Status::SEEN_REPLY | Status::ASSURED);
    finish(entry, args, zone)
}

fn udp(args: &Args, zone: Zone) -> ctnetlink::Result<NewEntry> {
    let client = SocketAddr::new(args.client, args.client_port);
    let entry = Entry::udp(client, SocketAddr::new(args.server, args.udp_port));
    finish(entry, args, zone)
}

fn ping(args: &Args, zone: Zone) -> ctnetlink::Result<NewEntry> {
    let id = args.icmp_id;
    let entry = match (args.client, args.server) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Entry::icmp(src, dst, Icmp::echo_request(id)),
        (IpAddr::V6(src), IpAddr::V6(dst)) => Entry::icmpv6(src, dst, Icmpv6::echo_request(id)),
        // Of two families, which is refused when it is built.
        (src, dst) => Entry::other(Protocol::ICMP, src, dst),
    };
    finish(entry, args, zone)
}

fn finish(entry: EntryBuilder, args: &Args, zone: Zone) -> ctnetlink::Result<NewEntry> {
    let timeout = Duration::from_secs(args.timeout.into());
    entry.zone(zone).timeout(timeout).mark(args.mark).build()
}

/// The lowest zone of the range in which no entry is. Zone 0 is everybody's and never free.
///
/// A zone that was not seen is free only if everything was seen, so any doubt is an error.
fn free_zone(ct: &Conntrack, range: ZoneRange, report: &mut Report) -> Outcome<Zone> {
    let mut used = BTreeSet::from([Zone::DEFAULT]);
    let visited = ct.visit(&Filter::new(), |entry| match entry.zone() {
        Ok(zone) => {
            used.insert(zone.zone()); // in whichever direction it holds
            ControlFlow::Continue(())
        }
        Err(error) => ControlFlow::Break(error),
    })?;
    if let Some(error) = visited.stopped {
        return Err(format!("no zone is surely free, as one cannot be read: {error}").into());
    }
    if visited.incomplete || visited.malformed > 0 {
        return Err("no zone is surely free, as entries may have been missed; try again".into());
    }
    let ZoneRange { first, last } = range;
    let free = (first.get()..=last.get())
        .map(Zone::new)
        .find(|zone| !used.contains(zone));
    let Some(zone) = free else {
        let why = if first.is_default() {
            "zone 0 is never taken, and each other has entries"
        } else {
            "each has entries"
        };
        return Err(format!("no zone of {range} is free: {why}; see --zones").into());
    };
    let text = format!("the lowest zone of {range} without entries is {zone}");
    report.step("scan", text)?;
    Ok(zone)
}

/// Lists a zone, in which there have to be these very entries (by id) and no others.
fn list_exactly(ct: &Conntrack, zone: Zone, wanted: &[Key]) -> Outcome<Vec<Entry>> {
    let mut list = ct.list(&Filter::new().zone(zone))?;
    let mut found = list.by_ref().collect::<Result<Vec<_>, _>>()?;
    if list.is_incomplete() {
        return Err(format!("the list of zone {zone} may lack entries; try again").into());
    }
    found.sort_by_key(|entry| (entry.protocol().number(), entry.id()));
    found.dedup_by_key(|entry| entry.key()); // in a busy table an entry may come twice
    if let Some(other) = found.iter().find(|entry| !wanted.contains(&entry.key())) {
        return Err(format!("somebody else uses zone {zone} too: {other}").into());
    }
    match wanted.len() - found.len() {
        0 => Ok(found),
        missing => Err(format!("{} missing in zone {zone}", entries(missing)).into()),
    }
}

fn update(ct: &Conntrack, entry: &Entry, args: &Args, report: &mut Report) -> Outcome<()> {
    let (mark, timeout) = (args.new_mark, Duration::from_secs(args.new_timeout.into()));
    let change = Update::builder().mark(mark).timeout(timeout).build()?;
    ct.update(entry, &change)?;

    let updated = ct.get(entry)?;
    let has_mark = updated.mark().is_some_and(|now| mark.matches(now));
    // The time-out has begun to run down.
    let range = timeout.saturating_sub(Duration::from_secs(10))..=timeout;
    if !has_mark || !updated.timeout().is_some_and(|left| range.contains(&left)) {
        return Err(format!("the update did not take: {updated}").into());
    }
    let text = format!("the TCP entry: mark {mark}, time-out {timeout:?}");
    report.step("update", text)?;
    report.entries([&updated])?;
    Ok(())
}

/// Deletes the entries of a zone, which have to be these. Keys of listed entries have zone and id,
/// so that nothing else can go with them.
fn flush(ct: &Conntrack, zone: Zone, wanted: &[Key], report: &mut Report) -> Outcome<()> {
    let batch = ct.delete_many(&list_exactly(ct, zone, wanted)?);
    check_deleted(&batch)?;
    list_exactly(ct, zone, &[])?;
    let deleted = entries(batch.succeeded());
    report.step("flush", format!("{deleted} deleted, zone {zone} is empty"))?;
    Ok(())
}

/// To find an entry gone already is no failure to delete it.
fn check_deleted(batch: &Batch) -> Result<(), String> {
    let failed = batch.failures().find(|(_, error)| !error.is_not_found());
    match batch.stopped().or(failed.map(|(_, error)| error)) {
        Some(error) => Err(error.to_string()),
        None => Ok(()),
    }
}

/// What was created and has to go if a step fails.
#[derive(Default)]
struct Made(Vec<Key>);

impl Made {
    /// Creates an entry that is not there yet, and gives it as the kernel reports it.
    fn create(&mut self, ct: &Conntrack, new: &NewEntry) -> Outcome<Entry> {
        if let Err(error) = ct.create(new) {
            if error.is_outcome_unknown() {
                self.0.push(new.into());
            }
            return Err(format!("{error}: {new}").into());
        }
        let found = ct.get(new);
        // The key of a reported entry has its id.
        self.0.push(found.as_ref().map_or(new.into(), Entry::key));
        Ok(found?)
    }

    fn remove(&self, ct: &Conntrack) -> Result<(), String> {
        check_deleted(&ct.delete_many(&self.0))
            .map_err(|error| format!("entries of this program may be left behind: {error}"))
    }
}
