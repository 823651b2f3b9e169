//! Scans, and one zone for one key.

use ctnetlink::{Claim, Family, Filter, Zone};

use crate::common::clock::timed;
use crate::common::raw::Raw;
use crate::common::report::{By, Report, Work, interleave};
use crate::common::{Result, command, same};
use crate::{USED, World, zone_of};

/// How many rounds the command takes part in: it is there for orientation.
const COMMAND_ROUNDS: usize = 3;

pub(crate) fn scan(world: &World, report: &mut Report) -> Result<()> {
    let mut raw = Raw::open()?;
    let zones = world.allocator()?;
    let mut expected = vec![0_u64; usize::from(USED) + 1];
    for number in 0..u32::try_from(world.entries)? {
        expected[usize::from(zone_of(number))] += 1;
    }
    let mut floor = || {
        let (count, time) = timed(|| raw.list())?;
        same("raw list", count, world.entries)?;
        Ok([time])
    };
    let mut scan = || {
        let (map, time) = timed(|| Ok(zones.scan()?))?;
        for (zone, expected) in (0..).map(Zone::new).zip(&expected) {
            let found = map.zone(zone).entries(Family::Ipv4).total();
            if found != *expected {
                return Err(format!("scan: {found} entries in zone {zone}").into());
            }
        }
        let used = expected.iter().filter(|count| **count > 0).count();
        same("zones that are used", map.used().count(), used)?;
        Ok([time])
    };
    let mut works: [Work<'_, 1>; 2] = [&mut floor, &mut scan];
    let [[floor], [scan]] = interleave(world.rounds, &mut works)?;
    report.floor("zones.scan: raw, headers walked", &floor);
    report.ratio("zones.scan", Some(1.08), By::Cpu, &scan, &floor);
    Ok(())
}

pub(crate) fn acquire(world: &World, report: &mut Report) -> Result<()> {
    let mut raw = Raw::open()?;
    let zones = world.allocator()?;
    let mut candidate = crate::LAST;
    let mut floor = || {
        let (count, time) = timed(|| raw.list_zone(candidate))?;
        same("raw zone list", count, 0)?;
        candidate -= 1;
        Ok([time])
    };
    let mut round = 0;
    let mut acquire = || {
        round += 1;
        let key = format!("port {round}");
        let (lease, time) = timed(|| Ok(zones.acquire(&key)?))?;
        let zone = lease.zone();
        let inside = world.ct.list(&Filter::new().zone(zone))?;
        let inside = inside.collect::<ctnetlink::Result<Vec<_>>>()?;
        same("entries in a leased zone", inside.len(), 1)?;
        let claim = Claim::of(&inside[0]).ok_or("what is in a leased zone is no claim")?;
        if claim.owner() != key.parse()? || !zones.range().contains(&zone) {
            return Err(format!("acquire: {claim} in zone {zone}").into());
        }
        let released = lease.release()?;
        if released.quarantined {
            return Err(format!("release: {released:?}").into());
        }
        Ok([time])
    };
    let mut works: [Work<'_, 1>; 2] = [&mut floor, &mut acquire];
    let [[floor], [acquire]] = interleave(world.rounds, &mut works)?;
    report.floor("zones.acquire: raw, CTA_ZONE", &floor);
    report.ratio("zones.acquire", Some(2.3), By::Cpu, &acquire, &floor);

    if !command::is_installed() {
        report.absent("zones.conntrack-command", "not installed");
        return Ok(());
    }
    let mut floor = || Ok([timed(|| raw.list_zone(crate::FIRST))?.1]);
    let mut command = || {
        let zone = crate::FIRST.to_string();
        let (count, time) = timed(|| command::list(&["-w", &zone]))?;
        same("conntrack -L -w", count, 0)?;
        Ok([time])
    };
    let mut works: [Work<'_, 1>; 2] = [&mut floor, &mut command];
    let [[floor], [command]] = interleave(COMMAND_ROUNDS, &mut works)?;
    report.ratio("zones.conntrack-command", None, By::Wall, &command, &floor);
    Ok(())
}
