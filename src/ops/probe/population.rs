//! Entries for trials: of every condition some that meet it and some that do not, in all mixtures.

use std::net::IpAddr;
use std::time::Duration;

use crate::error::Result;
use crate::model::{
    Entry, EntryZone, Family, FilterShape, KernelFilter, KernelTuple, Layer4, Mark, NewEntry,
    Ports, Protocol, Status, Tuple, Zone,
};

const ZONE: Zone = Zone::new(7);
const TIMEOUT: Duration = Duration::from_secs(3600);
/// In the discard-only prefix of RFC 6666, and the first of the documentation prefixes of RFC 5737.
const PLACES: [(&str, &str); 8] = [
    ("192.0.2.1", "100::1"),
    ("192.0.2.2", "100::2"),
    ("192.0.2.3", "100::3"),
    ("192.0.2.4", "100::4"),
    ("192.0.2.5", "100::5"),
    ("192.0.2.6", "100::6"),
    ("192.0.2.7", "100::7"),
    ("192.0.2.8", "100::8"),
];

fn place(family: Family, number: usize) -> IpAddr {
    let (v4, v6) = PLACES[number % PLACES.len()];
    let text = match family {
        Family::Ipv4 => v4,
        Family::Ipv6 => v6,
    };
    // They are addresses.
    text.parse()
        .unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}

/// The filters of a shape: of the same conditions, other values that kernels may treat in another
/// way. The verdict is the worst of theirs.
pub(in crate::ops) fn filters(shape: FilterShape, family: Option<Family>) -> Vec<KernelFilter> {
    let mut all = vec![filter(shape, family)];
    let other = other(all[0]);
    if other != all[0] {
        all.push(other);
    }
    all
}

/// The same with UDP, and with zero where a kernel may take zero for no condition.
fn other(mut filter: KernelFilter) -> KernelFilter {
    for protocol in [&mut filter.orig.protocol, &mut filter.reply.protocol] {
        *protocol = protocol.map(|_| Protocol::UDP);
    }
    filter.mark = filter
        .mark
        .map(|mark| Mark::masked(0, mark.mask()).unwrap_or(mark));
    filter.status = filter.status.map(|_| (Status::empty(), Status::ASSURED));
    filter
}

/// What a good part of the population meets in each condition.
fn filter(shape: FilterShape, family: Option<Family>) -> KernelFilter {
    let of = family.unwrap_or(Family::Ipv4);
    let everything = KernelFilter {
        family,
        zone: Some(if shape.contains(FilterShape::ZONE_0) {
            Zone::DEFAULT
        } else {
            ZONE
        }),
        mark: Some(if shape.contains(FilterShape::MARK_MASK) {
            Mark::masked(0x05, 0xff).unwrap_or(Mark::new(0x05))
        } else {
            Mark::new(0x0105)
        }),
        status: Some((Status::ASSURED, Status::ASSURED | Status::FIXED_TIMEOUT)),
        orig: KernelTuple {
            src: Some(place(of, 0)),
            dst: Some(place(of, 2)),
            protocol: Some(Protocol::TCP),
            src_port: Some(1111),
            dst_port: Some(443),
        },
        reply: KernelTuple {
            src: Some(place(of, 4)),
            dst: Some(place(of, 6)),
            protocol: Some(Protocol::TCP),
            src_port: Some(8443),
            dst_port: Some(2222),
        },
    };
    everything.restricted(shape)
}

/// The conditions of a shape that an entry can fail alone: an address says the family, and both
/// tuples have the same protocol.
pub(super) fn conditions(shape: FilterShape) -> impl Iterator<Item = FilterShape> {
    use FilterShape as S;
    let addresses = S::ORIG_SRC | S::ORIG_DST | S::REPLY_SRC | S::REPLY_DST;
    let one = [
        S::ZONE | S::ZONE_0,
        S::MARK | S::MARK_MASK,
        S::ORIG_PROTOCOL | S::REPLY_PROTOCOL,
    ];
    shape
        .iter()
        .filter(move |part| !S::FAMILY.contains(*part) || !shape.intersects(addresses))
        .map(move |part| {
            one.into_iter()
                .find(|one| one.contains(part))
                .unwrap_or(part)
        })
}

/// Of those that were looked at, the one that leaves no condition without its share of a small
/// population.
const SEED: u64 = 1141;

/// Numbers that are the same every time (Knuth's linear congruential generator).
struct Numbers(u64);

impl Numbers {
    fn bits(&mut self, count: u32) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        #[allow(clippy::cast_possible_truncation, reason = "a few bits")]
        let bits = (self.0 >> 40) as usize;
        bits & ((1 << count) - 1)
    }

    fn coin(&mut self) -> bool {
        self.bits(1) == 1
    }

    fn mostly(&mut self) -> bool {
        self.bits(2) > 0
    }
}

/// This many of each family. The first two of each meet all conditions, the next two all of the
/// other values.
pub(in crate::ops) fn entries(of_each: u16) -> Vec<NewEntry> {
    let mut numbers = Numbers(SEED);
    let mut all = Vec::new();
    for family in [Family::Ipv4, Family::Ipv6] {
        for n in 0..of_each {
            // What cannot be built would only be one fewer.
            all.extend(entry(family, n, &mut numbers).ok());
        }
    }
    all
}

fn entry(family: Family, n: u16, numbers: &mut Numbers) -> Result<NewEntry> {
    let (meets_all, meets_other) = (n < 2, n == 2 || n == 3);
    let mut half = |first: usize, protocol: Protocol, common: [u16; 2], own: [u16; 2]| {
        let mut other = || usize::from(!(meets_all || meets_other || numbers.mostly()));
        let (src, dst) = (first + other(), first + 2 + other());
        // No two have the same tuple: one port at least is the entry's own, but for the first.
        let common_src = numbers.coin();
        let mut ports = Ports {
            src: if common_src { common[0] } else { own[0] + n },
            dst: if common_src { own[1] + n } else { common[1] },
        };
        if meets_all || meets_other {
            // The second meets all but one condition, so that it is not the first again.
            let src = if n % 2 == 0 { common[0] } else { own[0] + n };
            ports = Ports {
                src,
                dst: common[1],
            };
        }
        let layer4 = match protocol {
            Protocol::TCP => Layer4::Tcp(ports),
            _ => Layer4::Udp(ports),
        };
        Tuple::new(place(family, src), place(family, dst), layer4)
    };
    let protocol = if meets_all || !meets_other && n % 2 == 0 {
        Protocol::TCP
    } else {
        Protocol::UDP
    };
    let orig = half(0, protocol, [1111, 443], [10_000, 20_000])?;
    let reply = half(4, protocol, [8443, 2222], [30_000, 40_000])?;
    let zone = match numbers.bits(3) {
        _ if meets_all || meets_other => EntryZone::Both(ZONE),
        0..=3 => EntryZone::Both(ZONE),
        4 | 5 => EntryZone::Both(Zone::DEFAULT),
        6 => EntryZone::Both(Zone::MAX),
        _ => EntryZone::Orig(Zone::new(9)),
    };
    let mark = match numbers.bits(3) {
        _ if meets_all => 0x0105,
        _ if meets_other => 0,
        0..=2 => 0x0105,
        3 => 0x0205,
        4 => 0x0106,
        5 => 0x0100,
        _ => 0,
    };
    let status = match numbers.bits(2) {
        _ if meets_all => Status::ASSURED | Status::SEEN_REPLY,
        _ if meets_other => Status::SEEN_REPLY,
        0 | 1 => Status::ASSURED | Status::SEEN_REPLY,
        2 => Status::SEEN_REPLY,
        _ => Status::ASSURED | Status::FIXED_TIMEOUT,
    };
    Entry::with_tuple(orig)
        .reply(reply)
        .zone(zone)
        .mark(mark)
        .status(status)
        .timeout(TIMEOUT)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::shapes;

    /// What the kernel would refuse is not there.
    #[test]
    fn no_two_have_a_tuple_in_common() {
        let all = entries(1250);
        let tuples = all
            .iter()
            .flat_map(|new| [new.entry().orig(), new.entry().reply()]);
        let distinct: std::collections::HashSet<_> = tuples.collect();
        assert_eq!(distinct.len(), all.len() * 2);
    }

    /// Of each shape some meet it, and of each of its conditions some fail it alone.
    #[test]
    fn every_condition_divides_the_population() {
        for (of_each, few) in [(32, 3), (500, 15), (1250, 40)] {
            let all = entries(of_each);
            assert_eq!(all.len(), usize::from(of_each) * 2);
            for (shape, family) in shapes() {
                for filter in filters(shape, family) {
                    assert_eq!(filter.shape(), shape);
                    let meeting = |filter: &KernelFilter| {
                        all.iter().filter(|new| filter.matches(new.entry())).count()
                    };
                    let meets = meeting(&filter);
                    assert!(meets >= few, "{filter:?}: {meets} of {of_each}");
                    for one in conditions(shape) {
                        let fail = meeting(&filter.restricted(!one)) - meets;
                        assert!(fail >= few, "{filter:?} but for {one}: {fail} of {of_each}");
                    }
                }
            }
        }
    }

    #[test]
    fn conditions_are_those_that_can_be_failed_alone() {
        use FilterShape as S;
        let named = |shape| {
            let all: Vec<_> = conditions(shape).map(|one| one.to_string()).collect();
            all.join(" ")
        };
        assert_eq!(named(S::FAMILY | S::ZONE), "family zone+zone_0");
        assert_eq!(
            named(S::FAMILY | S::ORIG_DST | S::STATUS),
            "status orig_dst"
        );
        let port = S::FAMILY | S::ORIG_PROTOCOL | S::REPLY_PROTOCOL | S::REPLY_SRC_PORT;
        let both = "orig_protocol+reply_protocol";
        assert_eq!(named(port), format!("family {both} {both} reply_src_port"));
        let all = conditions(S::all()).fold(S::empty(), |all, one| all | one);
        assert_eq!(all, S::all() - S::FAMILY);
        // Without the condition a filter is one of the others alone.
        for (shape, family) in shapes() {
            for filter in filters(shape, family) {
                for one in conditions(shape) {
                    assert_eq!(filter.restricted(!one).shape(), shape - one);
                }
            }
        }
    }
}
