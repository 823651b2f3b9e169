//! Reading rules: kernels without them, and changes in the middle.

use std::sync::Arc;

use super::*;
use crate::model::{RuledZones, ZoneRule};
use crate::ops::zone_rules;
use crate::wire::tests::by_hand::{be32, expression, nest};

// Message types: `NFNL_SUBSYS_NFTABLES << 8`, and `NFT_MSG_*`.
const GET_RULE: u16 = 0xa07;
const GET_ELEMENTS: u16 = 0xa0d;
const GET_GENERATION: u16 = 0xa10;

const READ: Operation = Operation::Rules;

/// A rule of this chain that sets a zone which `load` has loaded, and the handle of the one before it.
fn rule(chain: u8, handle: u8, behind: Option<u8>, load: Vec<u8>) -> Vec<u8> {
    let set = expression("ct", &[be32(2, 17), be32(4, 1)]);
    let be64 = |kind, value| attr(kind, &u64::from(value).to_be_bytes());
    let all = [
        vec![2, 0, 0, 0],
        attr(1, b"t\0"),
        attr(2, &[b'a' + chain, 0]),
        be64(3, handle),
        behind.map(|behind| be64(6, behind)).unwrap_or_default(),
        nest(4, &[load, set]),
    ];
    all.concat()
}

fn number(zone: u8) -> Vec<u8> {
    let value = attr(1, &u16::from(zone).to_ne_bytes());
    expression("immediate", &[be32(1, 1), nest(2, &[value])])
}

/// A rule whose zone is its handle, in a chain of its own.
fn setting(handle: u8) -> Vec<u8> {
    rule(handle, handle, None, number(handle))
}

/// The rules of a chain with these handles, of which each is behind the one before it.
fn chain(chain: u8, handles: &[u8]) -> Vec<Vec<u8>> {
    let behind = [None].into_iter().chain(handles.iter().copied().map(Some));
    { handles.iter().zip(behind) }
        .map(|(handle, behind)| rule(chain, *handle, behind, number(*handle)))
        .collect()
}

/// One whose zone is looked up.
fn looking_up(handle: u8) -> Vec<u8> {
    let load = expression("lookup", &[attr(1, b"m\0"), be32(3, 1)]);
    rule(handle, handle, None, load)
}

fn elements(zones: &[u16]) -> Vec<u8> {
    let each = |zone: &u16| nest(1, &[nest(2, &[attr(1, &zone.to_ne_bytes())])]);
    let list: Vec<_> = zones.iter().map(each).collect();
    [vec![2, 0, 0, 0], nest(3, &list)].concat()
}

fn generation(sequence: u32, number: u32) -> Vec<Event> {
    vec![says([found(
        sequence,
        &[vec![0; 4], be32(1, number)].concat(),
    )])]
}

/// A list in one piece.
fn listed(sequence: u32, rules: &[Vec<u8>]) -> Vec<Event> {
    let mut messages: Vec<_> = rules.iter().map(|rule| found(sequence, rule)).collect();
    messages.push(done(sequence));
    vec![says(messages)]
}

/// A list in pieces.
fn pieces(sequence: u32, pieces: &[&[Vec<u8>]]) -> Vec<Event> {
    let piece = |rules: &&[Vec<u8>]| {
        let found = rules.iter().map(|rule| found(sequence, rule));
        says(found.collect::<Vec<_>>())
    };
    let each = pieces.iter().map(piece);
    each.chain([says([done(sequence)])]).collect()
}

/// What is said to readings one after the other of one generation, given what is said of each list.
fn readings(lists: impl IntoIterator<Item = Box<dyn Fn(u32) -> Vec<Event>>>) -> Kernel {
    let turns = (0..).zip(lists).flat_map(|(n, list)| {
        let first = 3 * n + 1;
        [
            generation(first, 7),
            list(first + 1),
            generation(first + 2, 7),
        ]
    });
    Kernel::new(turns)
}

fn whole(rules: Vec<Vec<u8>>) -> Box<dyn Fn(u32) -> Vec<Event>> {
    Box::new(move |sequence| listed(sequence, &rules))
}

/// Pieces that end before these places.
fn cut(rules: Vec<Vec<u8>>, ends: &'static [usize]) -> Box<dyn Fn(u32) -> Vec<Event>> {
    Box::new(move |sequence| {
        let mut from = 0;
        let mut each = Vec::new();
        for end in ends.iter().copied().chain([rules.len()]) {
            each.push(&rules[from..end]);
            from = end;
        }
        pieces(sequence, &each)
    })
}

fn handles(rules: &[ZoneRule]) -> Vec<u64> {
    rules.iter().map(ZoneRule::handle).collect()
}

fn these(zones: &[u16]) -> RuledZones {
    RuledZones::These(zones.iter().copied().map(Zone::new).collect())
}

/// Behind the only piece that came there may be another, which was passed over.
#[test]
fn a_list_is_read_three_times() {
    let kernel = readings([(); 3].map(|()| whole(vec![setting(5), setting(6)])));
    let rules = zone_rules(&kernel.session).unwrap();
    assert_eq!(handles(&rules), [5, 6]);
    assert_eq!(rules[1].zones(), &these(&[6]));
    assert_eq!(
        kernel.sent(0)[..3],
        [
            [(GET_GENERATION, REQUEST, 1)],
            [(GET_RULE, DUMP, 2)],
            [(GET_GENERATION, REQUEST, 3)],
        ]
    );
    assert_eq!(kernel.sizes(0), [1; 9]);
}

/// The first piece was gone through to the end of the list.
#[test]
fn no_rules_are_read_once() {
    let kernel = readings([whole(vec![])]);
    assert_eq!(zone_rules(&kernel.session).unwrap(), []);
}

/// Only where the kernel says twice that nobody has the subsystem.
#[test]
fn a_kernel_without_nf_tables_has_no_rules() {
    let kernel = Kernel::new([
        vec![says([refusal(1, Nix::EINVAL)])],
        vec![says([refusal(2, Nix::EINVAL)])],
    ]);
    assert_eq!(zone_rules(&kernel.session).unwrap(), []);
    assert_eq!(kernel.sizes(0), [1, 1]);
    let kernel = Kernel::new([
        vec![says([refusal(1, Nix::EINVAL)])],
        generation(2, 7),
        listed(3, &[]),
        generation(4, 7),
    ]);
    assert_eq!(zone_rules(&kernel.session).unwrap(), []);
    for errno in [Nix::EPERM, Nix::EOPNOTSUPP, Nix::ENOMEM] {
        let kernel = Kernel::new([vec![says([refusal(1, errno)])]]);
        let error = zone_rules(&kernel.session).unwrap_err();
        assert_eq!(error.errno(), Some(errno.into()), "{error}");
        assert_eq!(error.is_permission_denied(), errno == Nix::EPERM);
    }
    // Nor is silence an answer, nor `EINVAL` to another question.
    let kernel = Kernel::new([vec![]]);
    check_deadline(&zone_rules(&kernel.session).unwrap_err(), READ);
    let kernel = Kernel::new([vec![Event::Fail(Nix::ENOBUFS)]]);
    assert!(zone_rules(&kernel.session).unwrap_err().is_overrun());
    let kernel = Kernel::new([generation(1, 7), vec![says([refusal(2, Nix::EINVAL)])]]);
    check(
        &zone_rules(&kernel.session).unwrap_err(),
        READ,
        Some(Nix::EINVAL),
        &[],
    );
}

#[test]
fn rules_that_changed_are_read_again() {
    let mut interrupted = found(5, &setting(8));
    interrupted[6] |= 0x10;
    let kernel = Kernel::new([
        // Another generation behind it.
        generation(1, 7),
        listed(2, &[setting(5)]),
        generation(3, 8),
        // `NLM_F_DUMP_INTR`
        generation(4, 8),
        vec![says([interrupted, done(5)])],
        generation(6, 8),
        // Lost.
        generation(7, 8),
        vec![Event::Fail(Nix::ENOBUFS), says([done(8)])],
        generation(9, 8),
        // And so much for one that was good.
        generation(10, 8),
        listed(11, &[setting(6)]),
        generation(12, 8),
        generation(13, 9),
        listed(14, &[]),
        generation(15, 9),
        generation(16, 9),
        listed(17, &[]),
        generation(18, 9),
    ]);
    assert_eq!(zone_rules(&kernel.session).unwrap(), []);
}

#[test]
fn rules_that_change_all_the_time_are_an_error() {
    let turns = (0..20).flat_map(|n| {
        let first = 3 * n + 1;
        [
            generation(first, 2 * n),
            listed(first + 1, &[setting(5)]),
            generation(first + 2, 2 * n + 1),
        ]
    });
    let kernel = Kernel::new(turns);
    let error = zone_rules(&kernel.session).unwrap_err();
    check(&error, READ, None, &["outcome unknown"]);
    assert!(error.to_string().contains("changed"), "{error}");
}

/// A rule says which one is before it, so that one that was passed over is missed at once.
#[test]
fn a_gap_in_a_chain_is_seen() {
    let all = chain(0, &[5, 6, 7]);
    let gap = vec![all[0].clone(), all[2].clone()];
    let headless = all[1..].to_vec();
    let twice = [&all[..], &all[..]].concat();
    let again = [&all[..], &chain(1, &[8]), &all[..]].concat();
    let bad = [gap, headless, twice, again];
    let bad = bad.map(|rules| cut(rules, &[1]));
    let good = [(); 3].map(|()| cut(chain(0, &[5, 6, 7]), &[1, 2]));
    let kernel = readings(bad.into_iter().chain(good));
    assert_eq!(handles(&zone_rules(&kernel.session).unwrap()), [5, 6, 7]);
    assert_eq!(kernel.sizes(0), [1; 21]);
}

/// At the end of a chain or of the list nothing shows that something is missing. The longest reading is
/// that which it was missing from least.
#[test]
fn what_is_missing_at_an_end_is_found_by_other_readings() {
    let all = || [chain(0, &[5, 6]), chain(1, &[7])].concat();
    let kernel = readings([
        whole(chain(0, &[5])),
        whole(chain(0, &[5])),
        cut([chain(0, &[5]), chain(1, &[7])].concat(), &[1]),
        cut(all(), &[1]),
        whole(chain(0, &[5])),
        cut(all(), &[2]),
        whole(all()),
    ]);
    assert_eq!(handles(&zone_rules(&kernel.session).unwrap()), [5, 6, 7]);
    assert_eq!(kernel.sizes(0), [1; 21]);
}

/// Where pieces of all readings end at the same chain, rules before it may be missing from all. If it
/// begins with a very long rule, they cannot end anywhere else.
#[test]
fn pieces_that_end_at_the_same_chain_are_read_more_often() {
    let all = || [chain(0, &[5, 6]), chain(1, &[7])].concat();
    let kernel = readings([&[2][..], &[2], &[2], &[1]].map(|ends| cut(all(), ends)));
    assert_eq!(handles(&zone_rules(&kernel.session).unwrap()), [5, 6, 7]);
    assert_eq!(kernel.sizes(0), [1; 12]);
    let kernel = readings([(); 6].map(|()| cut(all(), &[2])));
    assert_eq!(handles(&zone_rules(&kernel.session).unwrap()), [5, 6, 7]);
    assert_eq!(kernel.sizes(0), [1; 18]);
}

#[test]
fn a_map_is_read_once_however_many_look_into_it() {
    let turns = (0..3).flat_map(|n| {
        let first = 5 * n + 1;
        [
            generation(first, 7),
            listed(first + 1, &[looking_up(5), setting(6), looking_up(7)]),
            generation(first + 2, 7),
            listed(first + 3, &[elements(&[9, 3]), elements(&[3])]),
            generation(first + 4, 7),
        ]
    });
    let kernel = Kernel::new(turns);
    let rules = zone_rules(&kernel.session).unwrap();
    let zones: Vec<_> = rules.iter().map(|rule| rule.zones().to_string()).collect();
    assert_eq!(zones, ["3,9", "6", "3,9"]);
    match [&rules[0], &rules[2]].map(ZoneRule::zones) {
        [RuledZones::These(one), RuledZones::These(other)] => assert!(Arc::ptr_eq(one, other)),
        zones => panic!("{zones:?}"),
    }
    assert_eq!(kernel.sent(0)[3], [(GET_ELEMENTS, DUMP, 4)]);
    assert_eq!(kernel.attribute(0, 2)[3], Some(b"m".to_vec()));
}

#[test]
fn a_map_that_is_gone_was_changed() {
    let kernel = Kernel::new([
        generation(1, 7),
        listed(2, &[looking_up(5)]),
        generation(3, 7),
        vec![says([refusal(4, Nix::ENOENT)])],
        generation(5, 8),
        generation(6, 8),
        listed(7, &[]),
        generation(8, 8),
    ]);
    assert_eq!(zone_rules(&kernel.session).unwrap(), []);
}

/// It could set any zone.
#[test]
fn a_damaged_rule_fails_them_all() {
    let damaged = rule(5, 5, None, expression("ct", &[]));
    let kernel = Kernel::new([generation(1, 7), listed(2, &[setting(4), damaged])]);
    check(
        &zone_rules(&kernel.session).unwrap_err(),
        READ,
        None,
        &["malformed"],
    );
    let odd = [vec![2, 0, 0, 0], nest(3, &[nest(1, &[])])].concat();
    let kernel = Kernel::new([
        generation(1, 7),
        listed(2, &[looking_up(5)]),
        generation(3, 7),
        listed(4, &[odd]),
    ]);
    check(
        &zone_rules(&kernel.session).unwrap_err(),
        READ,
        None,
        &["malformed"],
    );
}
