//! Entries for trials: of every condition some that meet it and some that do not, in all mixtures.
//! What a filter asks of one field others have in another field, so that a kernel that looks at the
//! wrong one is seen to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::proof::{ENDS, astray};
use crate::error::Result;
use crate::model::{
    Entry, EntryZone, Family, FilterShape, Icmp, Icmpv6, KernelFilter, KernelTuple, Layer4, Mark,
    NewEntry, Ports, Protocol, Status, Tuple, Zone,
};

const ZONE: Zone = Zone::new(7);
const TIMEOUT: Duration = Duration::from_secs(3600);
/// For experiments (RFC 3692): the addresses alone identify a flow.
const PORTLESS: Protocol = Protocol::new(253);

/// What filters ask of the ports.
const PORTS: [u16; ENDS] = [1111, 443, 8443, 2222];
/// What filters ask of the address of a field: in the discard-only prefix of RFC 6666, and the first
/// of the documentation prefixes of RFC 5737.
fn place(family: Family, field: usize) -> IpAddr {
    let last = [1, 3, 5, 7][field % ENDS];
    match family {
        Family::Ipv4 => Ipv4Addr::new(192, 0, 2, last).into(),
        Family::Ipv6 => Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, last.into()).into(),
    }
}

/// One for each entry, of those for benchmarks (RFC 2544) and in the prefix of the others.
fn own_place(family: Family, n: u16) -> IpAddr {
    let [high, low] = n.to_be_bytes();
    match family {
        Family::Ipv4 => Ipv4Addr::new(198, 18, high, low).into(),
        Family::Ipv6 => Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 1, n).into(),
    }
}

/// The filters of a shape: of the same conditions, other values that kernels may treat in another
/// way. The verdict is the worst of theirs.
pub(in crate::ops) fn filters(shape: FilterShape, family: Option<Family>) -> Vec<KernelFilter> {
    let mut all = vec![filter(shape, family)];
    let other = other(all[0]);
    if other != all[0] {
        all.push(other);
    }
    // Of all protocols a filter by protocol alone is asked.
    if shape == FilterShape::FAMILY | FilterShape::ORIG_PROTOCOL {
        let mut portless = all[0];
        portless.orig.protocol = Some(PORTLESS);
        all.push(portless);
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
            dst: Some(place(of, 1)),
            protocol: Some(Protocol::TCP),
            src_port: Some(PORTS[0]),
            dst_port: Some(PORTS[1]),
        },
        reply: KernelTuple {
            src: Some(place(of, 2)),
            dst: Some(place(of, 3)),
            protocol: Some(Protocol::TCP),
            src_port: Some(PORTS[2]),
            dst_port: Some(PORTS[3]),
        },
    };
    everything.restricted(shape)
}

/// Of those that were looked at, one that leaves no condition without its share of a small
/// population.
const SEED: u64 = 8;

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

/// The first so many of each family meet all conditions, or all of the other values.
const FIRST: u16 = 4;
/// So many entries of each protocol come round again and again.
const ROUND: u16 = 24;
/// Fewer of each family put not everything to the test.
pub(in crate::ops) const LEAST: u16 = FIRST + 2 * ROUND;

/// This many of each family.
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

/// Whether there are entries with a zone of one direction.
pub(super) fn has_halves<'a>(mut all: impl Iterator<Item = &'a Entry>) -> bool {
    all.any(|entry| !matches!(entry.zone(), EntryZone::Both(_)))
}

/// What fields an entry has from a filter.
struct Plan {
    /// The addresses and the ports that are asked for are so far from where they belong.
    turns: [usize; 2],
    /// Which end of each tuple has the port that is asked for. The other one is the entry's own, so
    /// that no two have a tuple in common.
    ends: [usize; 2],
    /// All addresses differ in this word.
    astray: Option<usize>,
    zones: Zones,
}

/// In which zones an entry may be.
#[derive(Clone, Copy)]
enum Zones {
    Asked,
    /// Those of one direction may not be there, and then the proof must not want for anything else.
    Whole,
    Any,
}

impl Plan {
    fn new(round: u16, numbers: &mut Numbers) -> Self {
        let coin = usize::from(numbers.coin());
        let round = usize::from(round);
        let (turns, ends) = match round {
            0..=2 => ([round + 1; 2], [1, 0]),
            3..=5 => ([round - 2, 0], [1, coin]),
            6..=8 => ([0, round - 5], [1, 1]),
            9..=11 => ([0, round - 8], [0, 0]),
            12..=15 => ([0, 0], [1, coin]),
            _ => ([0, 0], [round % 2, round / 2 % 2]),
        };
        Self {
            turns,
            ends,
            astray: (12..=15).contains(&round).then(|| round - 12),
            zones: match round {
                6..=11 => Zones::Whole,
                16.. => Zones::Any,
                _ => Zones::Asked,
            },
        }
    }
}

fn entry(family: Family, n: u16, numbers: &mut Numbers) -> Result<NewEntry> {
    let (meets_all, meets_other) = (n < 2, n == 2 || n == 3);
    let first = meets_all || meets_other;
    let round = n.saturating_sub(FIRST) / 2 % ROUND;
    let plan = Plan::new(round, numbers);
    let mut from = [0, 1, 2, 3].map(|field| place(family, field ^ plan.turns[0]));
    let mut ports = [10_000, 20_000, 30_000, 40_000].map(|own| own + n);
    if first {
        from = [0, 1, 2, 3].map(|field| place(family, field));
        // The second meets all but one condition, so that it is not the first again.
        let sources = if n % 2 == 0 { [0, 2] } else { [1, 3] };
        for field in [1, 3].into_iter().chain(sources) {
            ports[field] = PORTS[field];
        }
    } else {
        for (tuple, end) in plan.ends.into_iter().enumerate() {
            let field = 2 * tuple + end;
            ports[field ^ plan.turns[1]] = PORTS[field];
        }
        // Plain ones keep the source, beside which a port is asked for.
        for (field, address) in from.iter_mut().enumerate() {
            let other = (round > 15 && field > 0 && !numbers.mostly()).then(|| numbers.bits(2));
            if let Some(word) = plan.astray.or(other) {
                *address = astray(*address, word);
            }
        }
    }
    let ((orig, reply), own) = if first || round < ROUND - 2 {
        let both = |layer4: fn(Ports) -> Layer4| {
            let of = |at: usize| {
                layer4(Ports {
                    src: ports[at],
                    dst: ports[at + 1],
                })
            };
            (of(0), of(2))
        };
        let tcp = if first { meets_all } else { n % 2 == 0 };
        (
            if tcp {
                both(Layer4::Tcp)
            } else {
                both(Layer4::Udp)
            },
            None,
        )
    } else if round == ROUND - 2 {
        (echo(family, n), None)
    } else {
        let portless = Layer4::Other(PORTLESS);
        ((portless, portless), Some(own_place(family, n)))
    };
    let orig = Tuple::new(from[0], own.unwrap_or(from[1]), orig)?;
    let reply = Tuple::new(own.unwrap_or(from[2]), from[3], reply)?;
    // Of many, some fail more than one condition.
    let zones = if n < LEAST { plan.zones } else { Zones::Any };
    let zone = match (numbers.bits(4), zones) {
        _ if first => EntryZone::Both(ZONE),
        (_, Zones::Asked) | (0..=3, _) | (4..=7, Zones::Whole) => EntryZone::Both(ZONE),
        (4..=6, Zones::Any) => EntryZone::Orig(ZONE),
        (7..=9, Zones::Any) => EntryZone::Reply(ZONE),
        (8..=12, _) => EntryZone::Both(Zone::DEFAULT),
        (14, Zones::Any) => EntryZone::Orig(Zone::new(9)),
        (15, Zones::Any) => EntryZone::Reply(Zone::new(9)),
        _ => EntryZone::Both(Zone::MAX),
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

/// An echo request and its answer.
fn echo(family: Family, id: u16) -> (Layer4, Layer4) {
    let request = match family {
        Family::Ipv4 => Tuple::icmp(
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::UNSPECIFIED,
            Icmp::echo_request(id),
        ),
        Family::Ipv6 => Tuple::icmpv6(
            Ipv6Addr::UNSPECIFIED,
            Ipv6Addr::UNSPECIFIED,
            Icmpv6::echo_request(id),
        ),
    };
    (request.layer4, request.reply().layer4)
}

#[cfg(test)]
mod tests {
    use super::super::proof::{conditions, puts_to_test};
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
        for (of_each, few) in [(LEAST, 2), (500, 15), (1250, 40)] {
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
                    let seen = all.iter().map(NewEntry::entry);
                    assert!(puts_to_test(&filter, &seen, true), "{filter:?}: {of_each}");
                }
            }
        }
    }
}
