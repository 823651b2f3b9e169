//! Rules byte by byte, each form as `nf_tables_fill_rule_info` writes it.

use super::*;
use crate::wire::tests::by_hand::{attr, be32, expression, nest};
use proptest::prelude::*;

const INET: u8 = 1;

fn immediate(register: u32, value: &[u8]) -> Vec<u8> {
    let data = nest(NFTA_IMMEDIATE_DATA, &[attr(NFTA_DATA_VALUE, value)]);
    expression("immediate", &[be32(NFTA_IMMEDIATE_DREG, register), data])
}

fn lookup(register: u32, map: &[u8]) -> Vec<u8> {
    let data = [
        attr(NFTA_LOOKUP_SET, map),
        be32(2, 1),
        be32(NFTA_LOOKUP_DREG, register),
    ];
    expression("lookup", &data)
}

fn set_zone(register: u32, direction: &[u8]) -> Vec<u8> {
    let mut data = vec![be32(NFTA_CT_KEY, ZONE), be32(NFTA_CT_SREG, register)];
    if !direction.is_empty() {
        data.push(attr(NFTA_CT_DIRECTION, direction));
    }
    expression("ct", &data)
}

fn target_of(name: &str, revision: u32, info: &[u8]) -> Vec<u8> {
    let name = attr(NFTA_TARGET_NAME, format!("{name}\0").as_bytes());
    let info = attr(NFTA_TARGET_INFO, info);
    expression("target", &[name, be32(NFTA_TARGET_REV, revision), info])
}

fn info(flags: u16, zone: u16) -> Vec<u8> {
    [&flags.to_ne_bytes()[..], &zone.to_ne_bytes(), &[0; 60]].concat()
}

fn message(expressions: &[Vec<u8>]) -> Vec<u8> {
    let attributes = [
        attr(NFTA_RULE_TABLE, b"filter\0"),
        attr(NFTA_RULE_CHAIN, b"prerouting\0"),
        attr(NFTA_RULE_HANDLE, &5_u64.to_be_bytes()),
        attr(NFTA_RULE_POSITION, &4_u64.to_be_bytes()),
        nest(NFTA_RULE_EXPRESSIONS, expressions),
        attr(7, b"user data"),
    ];
    [vec![INET, 0, 0, 0], attributes.concat()].concat()
}

fn deeds_of(payload: &[u8]) -> Result<Vec<Deed<'_>>, Malformed> {
    let mut deeds = Vec::new();
    decode_rule(payload, |_, deed| deeds.push(deed)).map(|_| deeds)
}

/// Zone and direction of what the rule sets.
#[track_caller]
fn set(expressions: &[Vec<u8>], want: &[(Loaded<'_>, Option<Direction>)]) {
    let bytes = message(expressions);
    let deeds = deeds_of(&bytes).unwrap().into_iter();
    let got: Vec<_> = deeds
        .map(|deed| match deed {
            Deed::SetsZone {
                zone, direction, ..
            } => (zone, direction),
            other @ Deed::Fills { .. } => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(got, want);
}

fn five() -> [u8; 2] {
    5_u16.to_ne_bytes()
}

const FIVE: Loaded<'_> = Loaded::Number(5);

#[test]
fn a_rule_says_where_it_is() {
    let bytes = message(&[immediate(1, &five()), set_zone(1, &[])]);
    let mut seen = Vec::new();
    let rule = decode_rule(&bytes, |rule, deed| seen.push((rule, deed))).unwrap();
    let want = RuleRef {
        family: INET,
        table: b"filter",
        chain: b"prerouting",
        handle: 5,
        behind: Some(4),
    };
    assert_eq!(rule, want);
    let deed = Deed::SetsZone {
        zone: FIVE,
        direction: None,
        by: RuledBy::Nftables,
    };
    assert_eq!(seen, [(rule, deed)]);
}

#[test]
fn directions() {
    for (bytes, direction) in [
        (&[][..], None),
        (&[0], Some(Direction::Original)),
        (&[1], Some(Direction::Reply)),
        (&[2], None),
    ] {
        set(
            &[immediate(1, &five()), set_zone(1, bytes)],
            &[(FIVE, direction)],
        );
    }
}

/// `NFT_REG_2` and `NFT_REG32_04` are one place.
#[test]
fn registers_have_two_numberings() {
    for (to, from) in [(1, 8), (8, 1), (2, 12), (12, 2), (4, 20), (23, 23)] {
        set(
            &[immediate(to, &five()), set_zone(from, &[])],
            &[(FIVE, None)],
        );
    }
    for (to, from) in [
        (1, 9),
        (1, 2),
        (2, 1),
        (9, 1),
        (1, 0),
        (1, 5),
        (1, 24),
        (0, 0),
        (1, u32::MAX),
    ] {
        let want = [(Loaded::Anything, None)];
        set(&[immediate(to, &five()), set_zone(from, &[])], &want);
    }
}

#[test]
fn only_the_last_load_counts() {
    let six = || immediate(1, &6_u16.to_ne_bytes());
    set(
        &[six(), immediate(1, &five()), set_zone(1, &[])],
        &[(FIVE, None)],
    );
    set(
        &[
            immediate(1, &five()),
            set_zone(1, &[0]),
            six(),
            set_zone(1, &[1]),
        ],
        &[
            (FIVE, Some(Direction::Original)),
            (Loaded::Number(6), Some(Direction::Reply)),
        ],
    );
    // A longer value reaches into the registers behind its own.
    let long = immediate(1, &[0; 16]);
    set(
        &[immediate(10, &five()), long, set_zone(10, &[])],
        &[(Loaded::Anything, None)],
    );
    // Of a number of four bytes the first two are read.
    let wide = [&five()[..], &[9, 9]].concat();
    set(&[immediate(1, &wide), set_zone(1, &[])], &[(FIVE, None)]);
    // A verdict is loaded elsewhere.
    let verdict = expression(
        "immediate",
        &[
            be32(NFTA_IMMEDIATE_DREG, 0),
            nest(NFTA_IMMEDIATE_DATA, &[nest(2, &[])]),
        ],
    );
    set(
        &[immediate(1, &five()), verdict, set_zone(1, &[])],
        &[(FIVE, None)],
    );
}

#[test]
fn what_writes_to_a_register_makes_it_unknown() {
    for writer in [
        "meta",
        "payload",
        "bitwise",
        "byteorder",
        "numgen",
        "hash",
        "brand-new",
    ] {
        let writer = expression(writer, &[be32(1, 1)]);
        set(
            &[immediate(1, &five()), writer, set_zone(1, &[])],
            &[(Loaded::Anything, None)],
        );
    }
    for reader in READERS {
        if ["dynset", "target"].map(str::as_bytes).contains(&reader) {
            continue;
        }
        let reader = expression(std::str::from_utf8(reader).unwrap(), &[]);
        set(
            &[immediate(1, &five()), reader, set_zone(1, &[])],
            &[(FIVE, None)],
        );
    }
    // Nothing was loaded in this rule: it may have been in another.
    set(&[set_zone(1, &[])], &[(Loaded::Anything, None)]);
    // Reading a zone writes it to a register.
    let read = expression("ct", &[be32(NFTA_CT_DREG, 1), be32(NFTA_CT_KEY, ZONE)]);
    set(
        &[immediate(1, &five()), read, set_zone(1, &[])],
        &[(Loaded::Anything, None)],
    );
}

#[test]
fn maps_are_named() {
    let want = [(Loaded::From(b"zones"), None)];
    set(&[lookup(1, b"zones\0"), set_zone(8, &[])], &want);
    // Names need be no text.
    set(
        &[lookup(1, b"\xff\0"), set_zone(1, &[])],
        &[(Loaded::From(b"\xff"), None)],
    );
    // A set that is only asked, and a map of verdicts, load nothing.
    let asked = expression("lookup", &[attr(NFTA_LOOKUP_SET, b"s\0"), be32(2, 1)]);
    set(
        &[
            immediate(1, &five()),
            asked,
            lookup(0, b"v\0"),
            set_zone(1, &[]),
        ],
        &[(FIVE, None)],
    );
}

#[test]
fn what_sets_no_zone() {
    let matched = expression("ct", &[be32(NFTA_CT_DREG, 1), be32(NFTA_CT_KEY, ZONE)]);
    let mark = expression("ct", &[be32(NFTA_CT_KEY, 3), be32(NFTA_CT_SREG, 1)]);
    set(&[immediate(1, &five()), matched, mark], &[]);
    set(&[], &[]);
    let mut bare = message(&[]);
    bare.truncate(4 + 12 + 16 + 12);
    assert_eq!(deeds_of(&bare).unwrap(), []);
}

#[test]
fn elements_that_packets_add() {
    let dynset = |more: &[Vec<u8>]| {
        let name = attr(NFTA_DYNSET_SET_NAME, b"zones\0");
        expression("dynset", &[&[name], more].concat())
    };
    let bytes = message(&[
        immediate(2, &five()),
        dynset(&[be32(NFTA_DYNSET_SREG_DATA, 12)]),
        dynset(&[]),
    ]);
    let map = &b"zones"[..];
    assert_eq!(
        deeds_of(&bytes).unwrap(),
        [Deed::Fills { map, value: FIVE }]
    );
}

#[test]
fn targets_of_iptables() {
    let both = XT_CT_ZONE_DIR_ORIG | XT_CT_ZONE_DIR_REPL;
    let (orig, reply) = (Some(Direction::Original), Some(Direction::Reply));
    for (flags, zone, want) in [
        (0, 5, Some((FIVE, None))),
        (0, 0, None),
        (XT_CT_NOTRACK, 5, None),
        (XT_CT_NOTRACK | XT_CT_ZONE_MARK, 5, None),
        (2, 5, Some((FIVE, None))),
        (XT_CT_ZONE_DIR_ORIG, 5, Some((FIVE, orig))),
        (XT_CT_ZONE_DIR_REPL, 5, Some((FIVE, reply))),
        (XT_CT_ZONE_DIR_ORIG, 0, Some((Loaded::Number(0), orig))),
        (both, 5, Some((FIVE, None))),
        (XT_CT_ZONE_MARK, 0, Some((Loaded::Anything, None))),
        (
            XT_CT_ZONE_MARK | XT_CT_ZONE_DIR_REPL,
            0,
            Some((Loaded::Anything, reply)),
        ),
    ] {
        for revision in 0..=2 {
            let target = target_of("CT", revision, &info(flags, zone));
            set(&[target], want.as_slice());
        }
    }
    set(
        &[target_of("CT", 3, &info(0, 0))],
        &[(Loaded::Anything, None)],
    );
    set(&[target_of("MARK", 2, &info(0, 5))], &[]);
    let bytes = message(&[target_of("CT", 2, &info(0, 5))]);
    let [Deed::SetsZone { by, .. }] = deeds_of(&bytes).unwrap()[..] else {
        panic!()
    };
    assert_eq!(by, RuledBy::Iptables);
}

#[test]
fn damage_is_named() {
    let name = |name: &str| attr(NFTA_EXPR_NAME, name.as_bytes());
    let within = |kind: &str, data: &[Vec<u8>]| message(&[expression(kind, data)]);
    for (bytes, want) in [
        (vec![0; 3], "the nfnetlink header is cut off"),
        (vec![0; 4], "table, chain or handle is missing"),
        (within("ct", &[]), "NFTA_CT_KEY is missing"),
        (
            within("ct", &[attr(NFTA_CT_KEY, &[0; 2])]),
            "NFTA_CT_KEY at offset",
        ),
        (within("immediate", &[]), "NFTA_IMMEDIATE_DREG is missing"),
        (
            message(&[immediate(1, &[])]),
            "NFTA_IMMEDIATE_DATA.NFTA_DATA_VALUE at offset",
        ),
        (within("lookup", &[]), "NFTA_LOOKUP_SET is missing"),
        (within("dynset", &[]), "NFTA_DYNSET_SET_NAME is missing"),
        (
            within("target", &[attr(NFTA_TARGET_NAME, b"CT\0")]),
            "NFTA_TARGET_INFO is missing",
        ),
        (
            message(&[target_of("CT", 2, &[0; 3])]),
            "NFTA_TARGET_INFO at offset",
        ),
        (
            message(&[nest(NFTA_LIST_ELEM, &[name("ct"), vec![3, 0, 2, 0]])]),
            "NFTA_RULE_EXPRESSIONS.NFTA_LIST_ELEM at offset",
        ),
    ] {
        let text = deeds_of(&bytes).unwrap_err().to_string();
        assert!(text.contains(want), "{text}");
    }
}

fn elements(each: &[Vec<u8>]) -> Vec<u8> {
    let list: Vec<_> = each
        .iter()
        .map(|one| nest(NFTA_LIST_ELEM, std::slice::from_ref(one)))
        .collect();
    let attributes = [
        attr(NFTA_SET_ELEM_LIST_TABLE, b"filter\0"),
        attr(NFTA_SET_ELEM_LIST_SET, b"zones\0"),
        nest(NFTA_SET_ELEM_LIST_ELEMENTS, &list),
    ];
    [vec![INET, 0, 0, 0], attributes.concat()].concat()
}

fn element_of(zone: u16) -> Vec<u8> {
    let data = nest(
        NFTA_SET_ELEM_DATA,
        &[attr(NFTA_DATA_VALUE, &zone.to_ne_bytes())],
    );
    [nest(1, &[attr(NFTA_DATA_VALUE, &[9; 4])]), data].concat()
}

#[test]
fn elements_have_values() {
    let values = |bytes: &[u8]| {
        let mut values = Vec::new();
        decode_elements(bytes, |value| values.push(value)).map(|()| values)
    };
    let key = || nest(1, &[attr(NFTA_DATA_VALUE, &[9; 4])]);
    let end = [key(), be32(NFTA_SET_ELEM_FLAGS, INTERVAL_END)].concat();
    let bytes = elements(&[element_of(5), end, element_of(65_535)]);
    assert_eq!(values(&bytes).unwrap(), [5, 65_535]);
    assert!(values(&elements(&[])).unwrap().is_empty());
    for (bytes, want) in [
        (elements(&[key()]), "NFTA_SET_ELEM_DATA is missing"),
        (
            elements(&[nest(NFTA_SET_ELEM_DATA, &[attr(NFTA_DATA_VALUE, &[])])]),
            "NFTA_DATA_VALUE at offset",
        ),
        (
            elements(&[vec![3, 0, 2, 0]]),
            "NFTA_SET_ELEM_LIST_ELEMENTS.NFTA_LIST_ELEM at offset",
        ),
    ] {
        let text = values(&bytes).unwrap_err().to_string();
        assert!(text.contains(want), "{text}");
    }
}

#[test]
fn generations() {
    let bytes = [vec![0; 4], be32(NFTA_GEN_ID, 7), be32(2, 1)].concat();
    assert_eq!(decode_generation(&bytes).unwrap(), 7);
    let text = decode_generation(&[0; 4]).unwrap_err().to_string();
    assert!(text.contains("NFTA_GEN_ID is missing"), "{text}");
}

#[test]
fn requests_are_those_of_nf_tables() {
    let mut datagram = Datagram::new(1);
    rules_dump(&mut datagram).unwrap();
    elements_dump(&mut datagram, INET, b"t", b"\xff").unwrap();
    generation_get(&mut datagram).unwrap();
    let bytes = datagram.bytes();
    let kind = |at: usize| u16::from_ne_bytes([bytes[at + 4], bytes[at + 5]]);
    assert_eq!((kind(0), kind(20), kind(56)), (0xa07, 0xa0d, 0xa10));
    assert_eq!((bytes[16], bytes[36], bytes[72]), (0, INET, 0));
    let names = [attr(1, b"t"), attr(2, b"\xff")].concat();
    assert_eq!(bytes[40..56], names);
}

proptest! {
    /// Flipped bits and cuts of real messages get further than noise.
    #[test]
    fn no_bytes_do_harm(
        flips in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..8),
        cut in any::<u8>(),
        noise in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let all = [
            immediate(1, &five()), set_zone(1, &[0]), lookup(2, b"m\0"), set_zone(12, &[]),
            expression("dynset", &[attr(NFTA_DYNSET_SET_NAME, b"m\0"), be32(NFTA_DYNSET_SREG_DATA, 2)]),
            target_of("CT", 2, &info(0, 5)),
        ];
        for mut bytes in [message(&all), elements(&[element_of(1), element_of(2)]), noise] {
            for (at, mask) in &flips {
                if let Some(at) = usize::from(*at).checked_rem(bytes.len()) {
                    bytes[at] ^= mask;
                }
            }
            for bytes in [&bytes[..], &bytes[..bytes.len().saturating_sub(usize::from(cut))]] {
                let _ = deeds_of(bytes).map_err(|malformed| malformed.to_string());
                let _ = decode_elements(bytes, |_| {}).map_err(|malformed| malformed.to_string());
                let _ = decode_generation(bytes).map_err(|malformed| malformed.to_string());
            }
        }
    }
}
