//! Many leases at a time.

use std::collections::HashMap;
use std::time::Duration;

use ctnetlink::{Claim, Family, Filter, Lease, OwnerKey, Protocol, Zone, ZoneAllocator};

use crate::World;
use crate::common::clock::timed;
use crate::common::raw::{Datagrams, Raw};
use crate::common::report::{By, Report, Work, interleave};
use crate::common::{Result, same};
use crate::raw::RENEWED_FOR;

/// How many are acquired at once.
const KEYS: usize = 1000;
/// How many are renewed at once.
pub(crate) const LEASES: usize = 10_000;

fn keys(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("port {number}"))
}

/// As many leases as keys, each of a zone of its own that its key claims in the table.
fn check(zones: &ZoneAllocator, keys: usize, leases: &[Lease]) -> Result<()> {
    let claims: HashMap<Zone, Claim> = (zones.claims()?.into_iter())
        .map(|claim| (claim.zone(), claim))
        .collect();
    same("leases", leases.len(), keys)?;
    same("claimed zones", claims.len(), keys)?;
    for (key, lease) in self::keys(keys).zip(leases) {
        let owner: OwnerKey = key.parse()?;
        let claimed = claims.get(&lease.zone()).map(Claim::owner);
        if claimed != Some(owner) || !zones.range().contains(&lease.zone()) {
            return Err(format!("zone {} is not that of {key}", lease.zone()).into());
        }
    }
    Ok(())
}

/// Deletes all claims and nothing else.
fn clear(world: &World) -> Result<()> {
    let claims = Filter::new()
        .family(Family::Ipv6)
        .protocol(Protocol::new(253));
    let deleted = world.ct.delete_matching(&claims)?;
    if !deleted.is_clean() {
        return Err(format!("claims are left: {deleted:?}").into());
    }
    same("entries", world.ct.count()?.entries as usize, world.entries)
}

pub(crate) fn acquire_many(world: &World, report: &mut Report) -> Result<()> {
    let mut raw = Raw::open()?;
    let zones = world.allocator()?;
    let mut floor = || {
        let (count, time) = timed(|| raw.list())?;
        same("raw list", count, world.entries)?;
        Ok([time])
    };
    let mut many = || {
        let keys: Vec<String> = keys(KEYS).collect();
        let (leases, time) = timed(|| {
            let leases: ctnetlink::Result<Vec<Lease>> =
                zones.acquire_many(&keys)?.into_iter().collect();
            Ok(leases?)
        })?;
        check(&zones, KEYS, &leases)?;
        drop(leases);
        clear(world)?;
        Ok([time])
    };
    let mut works: [Work<'_, 1>; 2] = [&mut floor, &mut many];
    let [[floor], [many]] = interleave(world.rounds, &mut works)?;
    report.floor("zones.acquire_many: raw, headers walked", &floor);
    report.ratio("zones.acquire_many", Some(1.25), By::Cpu, &many, &floor);
    Ok(())
}

pub(crate) fn renew(world: &World, report: &mut Report) -> Result<()> {
    let mut raw = Raw::open()?;
    let zones = world.allocator()?;
    let leases = (zones.acquire_many(keys(LEASES))?.into_iter())
        .collect::<ctnetlink::Result<Vec<Lease>>>()?;
    check(&zones, LEASES, &leases)?;
    let renewals = Datagrams::renewals(&leases);
    same("raw renewals", renewals.messages(), LEASES)?;
    // Which of the two was there last is seen by how long claims last.
    let last = |least: Duration, most: Duration| {
        let claims = zones.claims()?;
        let within = |claim: &&Claim| {
            claim
                .ends_in()
                .is_some_and(|ends| ends > least && ends <= most)
        };
        same(
            "renewed claims",
            claims.iter().filter(within).count(),
            LEASES,
        )
    };
    let ttl = ctnetlink::ZoneAllocatorBuilder::TTL;
    let mut floor = || {
        let ((), time) = timed(|| raw.exchange(&renewals))?;
        last(ttl, RENEWED_FOR)?;
        Ok([time])
    };
    let mut renew = || {
        let (renewed, time) = timed(|| Ok(zones.renew()))?;
        if let Some((zone, error)) = renewed.failed.into_iter().next() {
            return Err(format!("renewal of zone {zone}: {error}").into());
        }
        same("renewed leases", renewed.renewed, LEASES)?;
        last(ttl / 2, ttl)?;
        Ok([time])
    };
    let mut works: [Work<'_, 1>; 2] = [&mut floor, &mut renew];
    let [[floor], [renew]] = interleave(world.rounds, &mut works)?;
    report.floor("zones.renew: raw, 128 messages a datagram", &floor);
    report.ratio("zones.renew", Some(1.15), By::Cpu, &renew, &floor);
    drop(leases);
    clear(world)
}
