//! Leases of zones: what is never handed out, what is found again, and what is kept.

mod keeper;
mod limits;
mod occupants;
mod owners;

use std::time::Duration;

use ctnetlink::{Conntrack, Zone, ZoneAllocator, ZoneAllocatorBuilder, ZoneOrder};

/// Predictable: the lowest free zone of a small range.
pub(crate) fn lowest(range: std::ops::RangeInclusive<u16>) -> ZoneAllocatorBuilder {
    ZoneAllocator::builder()
        .range(range)
        .order(ZoneOrder::Lowest)
        .patience(Duration::from_secs(60))
}

pub(crate) fn zone(number: u16) -> Zone {
    Zone::new(number)
}

/// The zones that are claimed, and by how many claims in all.
pub(crate) fn claimed(ct: &Conntrack) -> (Vec<u16>, usize) {
    let zones = lowest(1..=1).open(ct).unwrap();
    let claims = zones.claims().unwrap();
    let mut numbers: Vec<u16> = claims.iter().map(|claim| claim.zone().get()).collect();
    numbers.dedup();
    (numbers, claims.len())
}
