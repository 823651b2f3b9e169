//! Speed of the table operations, as ratios to a raw floor.
//!
//! `cargo bench --bench table` fills the conntrack table of a throw-away network namespace and
//! measures listing, creating and deleting: with this crate, with other libraries, and with the
//! least that any program has to do for the same result ([`common::raw`]): one netlink socket, requests
//! that were encoded beforehand, answers whose headers are walked and not decoded. It prints lines
//! for machines (`ratio NAME VALUE`, `rss_mib NAME VALUE`, `ms NAME VALUE`) and a table for people. It asserts no
//! time, only that everybody saw, created and deleted the same number of entries.
//!
//! # Why ratios, and which
//! Nearly all of the time is the kernel's, and it differs between machines, kernels and hours. The
//! floor's share of it does not: a ratio to a floor of the same run carries over. Floor and
//! candidates take turns in rounds, forwards in one round and backwards in the next, so that a
//! machine that becomes slower or faster meanwhile, and what one leaves behind for the next in the
//! caches, concern all of them alike. What is printed is the median of the ratios of each round.
//!
//! The ratio is one of CPU time, in the kernel and out of it, where all of the work is done by the
//! thread that measures: netlink answers while it is asked, so nothing waits, and other processes
//! that want the CPU lengthen only the time on the wall. On two CPUs with a load of six, medians of
//! eleven rounds of `list.visit` had a standard deviation of 0.016 in CPU time and 0.05 on the
//! wall; the ratio of the best times had 0.03 and 0.06. The ratio of the time on the wall stands
//! beside it: on an idle machine the two are the same, or something waits after all. Peers that work
//! in threads or processes of their own are compared by the wall.
//!
//! The quartiles of the rounds' ratios say how far to trust the median: where they are far apart the
//! machine was busy, and one run says little.
//!
//! # The table
//! Half of the entries are UDP, half established TCP; all are IPv4, assured, in one zone, with a
//! mark and a time-out that outlasts the run. Creating starts from an empty table each time.
//! Deleting starts from the same entries each time, listed beforehand, since the kernel gives new
//! ids to entries that are made anew. Floor and candidate delete in the order of their list.
//!
//! # Environment
//! - `CTNETLINK_BENCH_ENTRIES`: how many entries (200000), at most `nf_conntrack_max`.
//! - `CTNETLINK_BENCH_ROUNDS`: how many rounds of lists (11), half as many of creating and deleting.
//! - `CTNETLINK_BENCH_RAISE_MAX=1`: allows to raise `net.netfilter.nf_conntrack_max` of the host for
//!   as long as a million entries need it. It is put back at the end, also after a failure, but not
//!   when the bench is killed.
//!
//! It needs to be root, or a kernel that lets anyone make a user namespace.

#![allow(clippy::print_stdout, reason = "the output is the point")]

#[path = "../common/mod.rs"]
mod common;
mod deletes;
mod filters;
mod ours;
mod peers;
mod probe;
mod rss;

use common::clock::timed;
use common::flows::flows;
use common::raw::{Datagrams, Raw};
use common::report::{By, Report, Work, interleave};
use common::{Result, command, same, world};
use ctnetlink::{Conntrack, Entry, NewEntry};

/// How many rounds the peers take part in: they are there for orientation.
const PEER_ROUNDS: usize = 2;

fn main() -> Result<()> {
    // `cargo bench` passes `--bench`; `cargo bench --bench table probe` measures nothing else.
    if std::env::args().any(|arg| arg == rss::CHILD) {
        return rss::child();
    }
    if std::env::args().any(|arg| arg == probe::CHILD) {
        return probe::child();
    }
    if std::env::args().any(|arg| arg == "probe") {
        return probe::print();
    }
    let raised = world::raise_max()?;
    world::enter()?;
    let room = world::max_entries()?;
    let entries = world::setting("CTNETLINK_BENCH_ENTRIES", 200_000)?.min(room);
    let rounds = world::setting("CTNETLINK_BENCH_ROUNDS", 11)?;
    println!(
        "{entries} entries, {rounds} rounds; ratio: the median of each round's ratio to the floor, of CPU\n\
         time, or of time on the wall where no CPU time is given; rounds: their quartiles\n"
    );

    // While the table is empty.
    probe::print()?;
    let mut report = Report::default();
    creations(entries, rounds.div_ceil(2), &mut report)?;
    fill(entries)?;
    lists(entries, rounds, &mut report)?;
    list_peers(entries, &mut report)?;
    let million = 1_000_000.min(room);
    fill(million)?;
    let memory = rss::measure()?;
    let tenth = million / 10;
    fill(million - tenth)?;
    filters::filters(million - tenth, rounds, &mut report)?;
    fill(million - 2 * tenth)?;
    filters::delete_by_prefix(tenth, rounds.div_ceil(2), &mut report)?;
    Raw::open()?.flush()?;

    report.print();
    println!("rss_mib visit {:.1}", memory.peak_mib());
    println!(
        "    peak of a process that visits {} entries; {:.1} MiB before the visit{}",
        memory.entries,
        memory.before_mib(),
        if memory.entries < 1_000_000 {
            ";\n    nf_conntrack_max allows no more (CTNETLINK_BENCH_RAISE_MAX=1 raises it)"
        } else {
            ""
        }
    );
    drop(raised);
    Ok(())
}

/// Empties the table and creates this many entries, through the raw socket.
fn fill(entries: usize) -> Result<()> {
    let mut raw = Raw::open()?;
    raw.flush()?;
    raw.exchange(&Datagrams::creations(flows(entries)))
}

/// Creates all and deletes all, in turns.
fn creations(entries: usize, rounds: usize, report: &mut Report) -> Result<()> {
    let datagrams = Datagrams::creations(flows(entries));
    let prepared: Vec<NewEntry> = ours::prepare(entries)?;
    let mut raw = Raw::open()?;
    let ct = Conntrack::open()?;
    let mut floor = || {
        raw.flush()?;
        let ((), created) = timed(|| raw.exchange(&datagrams))?;
        let deletions = raw.deletions()?;
        same("raw create", deletions.messages(), entries)?;
        let ((), deleted) = timed(|| raw.exchange(&deletions))?;
        Ok([created, deleted])
    };
    let mut candidate = || {
        ct.flush_all()?;
        let (done, created) = timed(|| Ok(ct.create_many(&prepared)))?;
        same("create_many", done.into_result()?, entries)?;
        let listed: Vec<Entry> = ours::entries(&ct)?;
        let (done, deleted) = timed(|| Ok(ct.delete_many(&listed)))?;
        same("delete_many", done.into_result()?, entries)?;
        Ok([created, deleted])
    };
    let mut works: [Work<'_, 2>; 2] = [&mut floor, &mut candidate];
    let [floor, candidate] = interleave(rounds, &mut works)?;
    let ([create_floor, delete_floor], [create, delete]) = (floor, candidate);
    report.floor("create: raw, 128 messages a datagram", &create_floor);
    report.ratio("create.batch", Some(1.08), By::Cpu, &create, &create_floor);
    report.floor("delete: raw, 128 messages a datagram", &delete_floor);
    report.ratio("delete.batch", Some(1.10), By::Cpu, &delete, &delete_floor);
    Ok(())
}

/// Lists, ours.
fn lists(entries: usize, rounds: usize, report: &mut Report) -> Result<()> {
    let mut raw = Raw::open()?;
    let ct = Conntrack::open()?;
    let mut floor = || {
        let (count, time) = timed(|| raw.list())?;
        same("raw list", count, entries)?;
        Ok([time])
    };
    let mut visit = || {
        let (count, time) = timed(|| ours::visit(&ct))?;
        same("visit", count, entries)?;
        Ok([time])
    };
    let mut list = || {
        let (listed, time) = timed(|| ours::entries(&ct))?;
        same("list", listed.len(), entries)?;
        Ok([time])
    };
    let mut works: [Work<'_, 1>; 3] = [&mut floor, &mut visit, &mut list];
    let [[floor], [visit], [list]] = interleave(rounds, &mut works)?;
    report.floor("list: raw, headers walked", &floor);
    report.ratio("list.visit", Some(1.05), By::Cpu, &visit, &floor);
    report.ratio("list.entries", Some(1.15), By::Cpu, &list, &floor);
    Ok(())
}

/// Lists, with others' tools.
fn list_peers(entries: usize, report: &mut Report) -> Result<()> {
    let (mut raw, mut packets) = (Raw::open()?, Raw::open()?);
    let mut floor = || {
        let (count, time) = timed(|| raw.list())?;
        same("raw list", count, entries)?;
        Ok([time])
    };
    let mut conntrack_crate = || {
        let (flows, time) = timed(peers::conntrack_crate)?;
        same("crate conntrack", flows.len(), entries)?;
        Ok([time])
    };
    let mut packet_netfilter = || {
        let (count, time) = timed(|| peers::netlink_packet_netfilter(&mut packets))?;
        same("netlink-packet-netfilter", count, entries)?;
        Ok([time])
    };
    let mut works: [Work<'_, 1>; 3] = [&mut floor, &mut conntrack_crate, &mut packet_netfilter];
    let [[floor], [conntrack_crate], [packet_netfilter]] = interleave(PEER_ROUNDS, &mut works)?;
    report.floor("list: raw, beside the peers", &floor);
    report.ratio(
        "list.conntrack-crate",
        None,
        By::Wall,
        &conntrack_crate,
        &floor,
    );
    report.ratio(
        "list.netlink-packet-netfilter",
        None,
        By::Cpu,
        &packet_netfilter,
        &floor,
    );

    if !command::is_installed() {
        report.absent("list.conntrack-command", "not installed");
        return Ok(());
    }
    let mut floor = || Ok([timed(|| raw.list())?.1]);
    let mut command = || {
        let (count, time) = timed(|| command::list(&[]))?;
        same("conntrack -L", count, entries)?;
        Ok([time])
    };
    let mut works: [Work<'_, 1>; 2] = [&mut floor, &mut command];
    let [[floor], [command]] = interleave(PEER_ROUNDS, &mut works)?;
    report.ratio("list.conntrack-command", None, By::Wall, &command, &floor);
    Ok(())
}
