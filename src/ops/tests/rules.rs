//! Reading rules: kernels without them, and changes in the middle.

use super::*;
use crate::model::{RuledZones, ZoneRule};
use crate::ops::zone_rules;

// Message types: `NFNL_SUBSYS_NFTABLES << 8`, and `NFT_MSG_*`.
const GET_RULE: u16 = 0xa07;
const GET_ELEMENTS: u16 = 0xa0d;
const GET_GENERATION: u16 = 0xa10;

const READ: Operation = Operation::Rules;

fn nest(kind: u16, inside: &[Vec<u8>]) -> Vec<u8> {
    attr(kind | 0x8000, &inside.concat())
}

fn be32(kind: u16, value: u32) -> Vec<u8> {
    attr(kind, &value.to_be_bytes())
}

fn expression(name: &str, data: &[Vec<u8>]) -> Vec<u8> {
    nest(1, &[attr(1, format!("{name}\0").as_bytes()), nest(2, data)])
}

/// A rule with this handle that sets a zone which `load` has loaded.
fn rule(handle: u8, load: Vec<u8>) -> Vec<u8> {
    let set = expression("ct", &[be32(2, 17), be32(4, 1)]);
    let all = [
        vec![2, 0, 0, 0],
        attr(1, b"t\0"),
        attr(2, b"c\0"),
        attr(3, &[0, 0, 0, 0, 0, 0, 0, handle]),
        nest(4, &[load, set]),
    ];
    all.concat()
}

/// A rule whose zone is its handle.
fn setting(handle: u8) -> Vec<u8> {
    let value = attr(1, &u16::from(handle).to_ne_bytes());
    rule(
        handle,
        expression("immediate", &[be32(1, 1), nest(2, &[value])]),
    )
}

/// One whose zone is looked up.
fn looking_up(handle: u8) -> Vec<u8> {
    rule(handle, expression("lookup", &[attr(1, b"m\0"), be32(3, 1)]))
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

/// A list with each rule in a piece of its own.
fn pieces(sequence: u32, rules: &[Vec<u8>]) -> Vec<Event> {
    let each = rules.iter().map(|rule| says([found(sequence, rule)]));
    each.chain([says([done(sequence)])]).collect()
}

fn handles(rules: &[ZoneRule]) -> Vec<u64> {
    rules.iter().map(ZoneRule::handle).collect()
}

fn these(zones: &[u16]) -> RuledZones {
    RuledZones::These(zones.iter().copied().map(Zone::new).collect())
}

#[test]
fn one_piece_is_read_once() {
    let kernel = Kernel::new([
        generation(1, 7),
        listed(2, &[setting(5), setting(6)]),
        generation(3, 7),
    ]);
    let rules = zone_rules(&kernel.session).unwrap();
    assert_eq!(handles(&rules), [5, 6]);
    assert_eq!(rules[1].zones(), &these(&[6]));
    assert_eq!(
        kernel.sent(0),
        [
            [(GET_GENERATION, REQUEST, 1)],
            [(GET_RULE, DUMP, 2)],
            [(GET_GENERATION, REQUEST, 3)],
        ]
    );
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
        listed(3, &[setting(5)]),
        generation(4, 7),
    ]);
    assert_eq!(handles(&zone_rules(&kernel.session).unwrap()), [5]);
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
        // Lost.
        generation(6, 8),
        vec![Event::Fail(Nix::ENOBUFS), says([done(7)])],
        generation(8, 9),
        listed(9, &[setting(6)]),
        generation(10, 9),
    ]);
    assert_eq!(handles(&zone_rules(&kernel.session).unwrap()), [6]);
}

#[test]
fn rules_that_change_all_the_time_are_an_error() {
    let turns = (0..5).flat_map(|n| {
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
    assert!(
        error.to_string().contains("changed each of the 5 times"),
        "{error}"
    );
}

/// A list in pieces may pass over rules, and nothing else tells.
#[test]
fn pieces_are_read_until_two_readings_are_the_same() {
    let (all, some) = ([setting(5), setting(6)], [setting(5), setting(7)]);
    let kernel = Kernel::new([
        generation(1, 7),
        pieces(2, &all),
        generation(3, 7),
        generation(4, 7),
        pieces(5, &some),
        generation(6, 7),
        generation(7, 7),
        pieces(8, &some),
        generation(9, 7),
    ]);
    assert_eq!(handles(&zone_rules(&kernel.session).unwrap()), [5, 7]);
    assert_eq!(kernel.sizes(0), [1; 9]);
}

#[test]
fn a_map_is_read_once_however_many_look_into_it() {
    let kernel = Kernel::new([
        generation(1, 7),
        listed(2, &[looking_up(5), setting(6), looking_up(7)]),
        listed(3, &[elements(&[9, 3]), elements(&[3])]),
        generation(4, 7),
    ]);
    let rules = zone_rules(&kernel.session).unwrap();
    let zones: Vec<_> = rules.iter().map(|rule| rule.zones().to_string()).collect();
    assert_eq!(zones, ["3,9", "6", "3,9"]);
    assert_eq!(kernel.sent(0)[2], [(GET_ELEMENTS, DUMP, 3)]);
    assert_eq!(kernel.attribute(0, 2)[2], Some(b"m".to_vec()));
}

#[test]
fn a_map_that_is_gone_was_changed() {
    let kernel = Kernel::new([
        generation(1, 7),
        listed(2, &[looking_up(5)]),
        vec![says([refusal(3, Nix::ENOENT)])],
        generation(4, 8),
        listed(5, &[]),
        generation(6, 8),
    ]);
    assert_eq!(zone_rules(&kernel.session).unwrap(), []);
}

/// It could set any zone.
#[test]
fn a_damaged_rule_fails_them_all() {
    let damaged = rule(5, expression("ct", &[]));
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
        listed(3, &[odd]),
    ]);
    check(
        &zone_rules(&kernel.session).unwrap_err(),
        READ,
        None,
        &["malformed"],
    );
}
