//! When a trial is a proof: a kernel that gets the filter wrong would have been seen to.

use std::net::IpAddr;

use crate::model::{Entry, EntryZone, FilterShape, KernelFilter, Zone};

/// The ends of an entry: source and destination of the original tuple, then of the reply. By the bits
/// of its number an end is the other one of the same tuple, or the same one of the other tuple.
pub(super) const ENDS: usize = 4;
/// The address of each end, then the port of each.
pub(in crate::ops) const FIELDS: usize = 2 * ENDS;
/// Words of an IPv6 address, bytes of an IPv4 address.
const WORDS: usize = 4;

/// What is in a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Value {
    Address(IpAddr),
    Port(u16),
}

/// What an entry has in each field.
pub(in crate::ops) fn values(entry: &Entry) -> [Option<Value>; FIELDS] {
    let (orig, reply) = (entry.orig(), entry.reply());
    [
        Some(Value::Address(orig.src())),
        Some(Value::Address(orig.dst())),
        Some(Value::Address(reply.src())),
        Some(Value::Address(reply.dst())),
        orig.src_port().map(Value::Port),
        orig.dst_port().map(Value::Port),
        reply.src_port().map(Value::Port),
        reply.dst_port().map(Value::Port),
    ]
}

/// What a filter asks of a field: the field, the condition that it is, and the value.
pub(in crate::ops) fn asked(
    filter: &KernelFilter,
) -> impl Iterator<Item = (usize, FilterShape, Value)> {
    use FilterShape as S;
    let (orig, reply) = (filter.orig, filter.reply);
    let all: [(FilterShape, Option<Value>); FIELDS] = [
        (S::ORIG_SRC, orig.src.map(Value::Address)),
        (S::ORIG_DST, orig.dst.map(Value::Address)),
        (S::REPLY_SRC, reply.src.map(Value::Address)),
        (S::REPLY_DST, reply.dst.map(Value::Address)),
        (S::ORIG_SRC_PORT, orig.src_port.map(Value::Port)),
        (S::ORIG_DST_PORT, orig.dst_port.map(Value::Port)),
        (S::REPLY_SRC_PORT, reply.src_port.map(Value::Port)),
        (S::REPLY_DST_PORT, reply.dst_port.map(Value::Port)),
    ];
    let all = all.into_iter().enumerate();
    all.filter_map(|(field, (condition, value))| Some((field, condition, value?)))
}

/// The other fields of the same kind.
pub(in crate::ops) fn others(field: usize) -> impl Iterator<Item = usize> {
    (1..ENDS).map(move |turn| field ^ turn)
}

/// The same address but for one word.
pub(super) fn astray(address: IpAddr, word: usize) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = address.octets();
            bytes[word % WORDS] ^= 0x80;
            bytes.into()
        }
        IpAddr::V6(address) => {
            let mut halves = address.segments();
            halves[word % WORDS * 2 + 1] ^= 0x80;
            halves.into()
        }
    }
}

/// The conditions of a shape that an entry can fail alone: an address says the family, and both
/// tuples have the same protocol.
pub(in crate::ops) fn conditions(shape: FilterShape) -> impl Iterator<Item = FilterShape> {
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

/// Whether a kernel that gets the filter wrong would have been seen to, where these entries were put
/// before it: some meet it; each condition alone keeps some out; of these some have what is asked for
/// in another field of its kind, and an address that differs in one word.
///
/// `halves`: there are entries with a zone of one direction.
pub(super) fn puts_to_test<'a>(
    filter: &KernelFilter,
    seen: &(impl Iterator<Item = &'a Entry> + Clone),
    halves: bool,
) -> bool {
    let alone = |condition: FilterShape, is: &dyn Fn(&Entry) -> bool| {
        let others = filter.restricted(!condition);
        let fails = |entry: &Entry| others.matches(entry) && !filter.matches(entry);
        seen.clone().any(|entry| is(entry) && fails(entry))
    };
    let confuses = |field: usize, condition, value| {
        let elsewhere =
            |at: usize| alone(condition, &|entry: &Entry| values(entry)[at] == Some(value));
        let but_for = |address, word| {
            let near = Some(Value::Address(astray(address, word)));
            alone(condition, &|entry: &Entry| values(entry)[field] == near)
        };
        others(field).all(elsewhere)
            && match value {
                Value::Address(address) => (0..WORDS).all(|word| but_for(address, word)),
                Value::Port(_) => true,
            }
    };
    seen.clone().any(|entry| filter.matches(entry))
        && conditions(filter.shape()).all(|condition| alone(condition, &|_| true))
        && asked(filter).all(|(field, condition, value)| confuses(field, condition, value))
        && (!halves || has_half_zones(filter, seen))
}

/// Whether some are in the zone in one direction, in either: they are in it (`nf_ct_zone_equal_any`),
/// and not in zone 0.
fn has_half_zones<'a>(
    filter: &KernelFilter,
    seen: &(impl Iterator<Item = &'a Entry> + Clone),
) -> bool {
    let Some(zone) = filter.zone else {
        return true;
    };
    let others = filter.restricted(!(FilterShape::ZONE | FilterShape::ZONE_0));
    let has = |half: fn(Zone) -> EntryZone| {
        seen.clone().any(|entry| {
            let own = entry.zone().zone();
            let meant = zone.is_default() || own == zone;
            meant && !own.is_default() && entry.zone() == half(own) && others.matches(entry)
        })
    };
    has(EntryZone::Orig) && has(EntryZone::Reply)
}

#[cfg(test)]
mod tests {
    use super::super::population::{LEAST, entries, filters, has_halves};
    use super::*;
    use crate::model::{NewEntry, shapes};

    /// Whatever kind of entries is not there, something is not put to the test.
    #[test]
    fn every_kind_of_entries_is_missed() {
        let all = entries(LEAST);
        let missed = |filter: &KernelFilter, what: &str, kind: &dyn Fn(&Entry) -> bool| {
            let seen = all.iter().map(NewEntry::entry);
            let left = seen.filter(|entry| !kind(entry));
            assert!(!puts_to_test(filter, &left, true), "{filter:?}: {what}");
        };
        for (shape, family) in shapes() {
            for filter in filters(shape, family) {
                let right = |entry: &Entry| filter.matches(entry);
                missed(&filter, "any that meets it", &right);
                for one in conditions(shape) {
                    let others = filter.restricted(!one);
                    missed(&filter, &format!("failing {one}"), &|entry| {
                        others.matches(entry) && !right(entry)
                    });
                }
                for (field, one, value) in asked(&filter) {
                    for at in others(field) {
                        missed(&filter, &format!("{one} at {at}"), &|entry| {
                            !right(entry) && values(entry)[at] == Some(value)
                        });
                    }
                    for word in 0..WORDS {
                        if let Value::Address(address) = value {
                            let near = Some(Value::Address(astray(address, word)));
                            missed(&filter, &format!("{one} but for {word}"), &|entry| {
                                values(entry)[field] == near
                            });
                        }
                    }
                }
                if filter.zone.is_some() {
                    missed(&filter, "original zones", &|entry| {
                        matches!(entry.zone(), EntryZone::Orig(_))
                    });
                    missed(&filter, "reply zones", &|entry| {
                        matches!(entry.zone(), EntryZone::Reply(_))
                    });
                    // A kernel without them is not asked about them.
                    let seen = all.iter().map(NewEntry::entry);
                    let whole = seen.filter(|entry| matches!(entry.zone(), EntryZone::Both(_)));
                    let none = !has_halves(whole.clone());
                    assert!(none && puts_to_test(&filter, &whole, false));
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
