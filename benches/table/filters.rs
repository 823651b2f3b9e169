//! Lists, flushes and deletes by filter, in a table that is full of something else.

use std::net::{Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;
use std::time::Duration;

use ctnetlink::{Conntrack, Entry, Filter, KernelSupport, NewEntry, Zone};

use crate::common::clock::timed;
use crate::common::flows::TIMEOUT;
use crate::common::raw::Raw;
use crate::common::report::{By, Report, Work, interleave};
use crate::common::{Result, same};

/// Nobody is in this one.
const EMPTY: u16 = 9;
/// Filled before each flush.
const FLUSHED: u16 = 10;
/// How many are in it.
const IN_ZONE: u16 = 1000;
/// `2001:db8:0:1::/64`
const PREFIX: [u8; 8] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1];
/// `2001:db8:0:2::/64`: bystanders.
const BESIDE: [u8; 8] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 2];

fn in_zone() -> Result<Vec<NewEntry>> {
    (0..IN_ZONE)
        .map(|port| {
            let (src, dst) = (([192, 0, 2, 1], port), ([192, 0, 2, 2], 53));
            let entry = Entry::udp(src.into(), dst.into()).zone(Zone::new(FLUSHED));
            Ok(entry.timeout(Duration::from_secs(TIMEOUT.into())).build()?)
        })
        .collect()
}

/// Entries over IPv6 with a prefix.
fn of_prefix(prefix: [u8; 8], count: usize) -> Result<Vec<NewEntry>> {
    (0..u32::try_from(count)?)
        .map(|n| {
            let mut octets = [0; 16];
            octets[..8].copy_from_slice(&prefix);
            octets[12..].copy_from_slice(&n.to_be_bytes());
            let src = SocketAddr::new(Ipv6Addr::from(octets).into(), 4000);
            let dst = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 53);
            let entry = Entry::udp(src, dst).timeout(Duration::from_secs(TIMEOUT.into()));
            Ok(entry.build()?)
        })
        .collect()
}

/// The table is full of other zones' IPv4 entries.
pub(crate) fn filters(others: usize, rounds: usize, report: &mut Report) -> Result<()> {
    let mut raw = Raw::open()?;
    let ct = Conntrack::open()?;
    // Tried before the clock starts, as an agent would at its start.
    let support = ct.kernel_support().to_string();
    if !support.contains("zone: list right; flush right") {
        println!("this kernel's zone filters are not used:\n{support}");
    }
    let empty = Filter::new().zone(Zone::new(EMPTY));
    let mut floor = || {
        let (count, time) = timed(|| raw.list_zone(EMPTY))?;
        same("raw zone list", count, 0)?;
        Ok([time])
    };
    let mut probe = || {
        let (visited, time) = timed(|| Ok(ct.visit(&empty, |_| ControlFlow::<()>::Continue(()))?))?;
        same("visit of a zone", usize::try_from(visited.matched)?, 0)?;
        Ok([time])
    };
    let mut works: [Work<'_, 1>; 2] = [&mut floor, &mut probe];
    let [[floor], [probe]] = interleave(rounds, &mut works)?;
    report.floor("zone.probe: raw, CTA_ZONE", &floor);
    report.ratio("zone.probe", Some(1.05), By::Cpu, &probe, &floor);
    let mut whole = || {
        let (count, time) = timed(|| raw.list())?;
        same("raw list", count, others)?;
        Ok([time])
    };
    let mut works: [Work<'_, 1>; 1] = [&mut whole];
    let [[whole]] = interleave(rounds, &mut works)?;
    report.ratio("zone.probe.of-list", Some(0.15), By::Cpu, &probe, &whole);

    let entries = in_zone()?;
    let fill = || ct.create_many(&entries).into_result();
    let mut floor = || {
        fill()?;
        let ((), time) = timed(|| raw.flush_zone(FLUSHED))?;
        Ok([time])
    };
    let mut flush = || {
        fill()?;
        let (done, time) = timed(|| Ok(ct.flush_zone(Zone::new(FLUSHED))?))?;
        if !done.is_clean() {
            return Err(format!("flush_zone: {done:?}").into());
        }
        Ok([time])
    };
    let mut works: [Work<'_, 1>; 2] = [&mut floor, &mut flush];
    let [[floor], [flush]] = interleave(rounds, &mut works)?;
    report.floor("flush.zone: raw, CTA_ZONE", &floor);
    report.ratio("flush.zone", Some(1.05), By::Cpu, &flush, &floor);
    same("after the flushes", ct.count()?.entries as usize, others)
}

/// A tenth of the table is deleted by a prefix, beside as many of another one.
pub(crate) fn delete_by_prefix(tenth: usize, rounds: usize, report: &mut Report) -> Result<()> {
    let mut raw = Raw::open()?;
    let ct = Conntrack::open()?;
    let beside = of_prefix(BESIDE, tenth)?;
    let made = ct.create_many(&beside).into_result()?;
    same("create_many", made, tenth)?;
    let others = ct.count()?.entries as usize;
    let entries = of_prefix(PREFIX, tenth)?;
    let fill = || {
        same(
            "create_many",
            ct.create_many(&entries).into_result()?,
            tenth,
        )
    };
    let prefix: ipnet::IpNet = "2001:db8:0:1::/64".parse()?;
    let filter = Filter::new().orig_src(prefix);
    let mut floor = || {
        fill()?;
        let (count, time) = timed(|| {
            let deletions = raw.deletions_of(PREFIX)?;
            raw.exchange(&deletions)?;
            Ok(deletions.messages())
        })?;
        same("raw delete by prefix", count, tenth)?;
        Ok([time])
    };
    let delete = |ct: &Conntrack| {
        fill()?;
        let (done, time) = timed(|| Ok(ct.delete_matching(&filter)?))?;
        same(
            "delete_matching",
            usize::try_from(done.deleted.unwrap_or(0))?,
            tenth,
        )?;
        Ok([time])
    };
    // As on a kernel of which nothing is proven: user space reads and checks all of the table.
    let nothing = KernelSupport::unproven();
    let unproven = Conntrack::builder().kernel_support(nothing).open()?;
    let mut alone = || delete(&unproven);
    let mut proven = || delete(&ct);
    let mut works: [Work<'_, 1>; 3] = [&mut floor, &mut alone, &mut proven];
    let [[floor], [alone], [proven]] = interleave(rounds, &mut works)?;
    report.floor("delete.filter: raw, a list and deletes", &floor);
    report.ratio("delete.filter", Some(1.15), By::Cpu, &alone, &floor);
    report.ratio("delete.filter.proven", None, By::Cpu, &proven, &floor);
    same("after the deletes", ct.count()?.entries as usize, others)
}
