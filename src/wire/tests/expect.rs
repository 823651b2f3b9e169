//! Properties of expectations: what can be built is what is asked for, what is reported survives the
//! wire, and no bytes do harm.

use proptest::option;

use super::super::fuzzing::comparable_expectation;
use super::super::report::encode_expectation_report;
use super::super::{
    change_expectation, create_expectation, decode_event, decode_expectation, delete_expectation,
    frame, get_expectation,
};
use super::*;
use crate::model::{
    Direction, Event, ExpectFlags, ExpectKey, ExpectMask, ExpectNat, Expectation, Family, Helper,
    Key, NewExpectation,
};

fn address(six: bool) -> impl Strategy<Value = IpAddr> {
    any::<u128>().prop_map(move |bits| {
        if six {
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        } else {
            #[allow(clippy::cast_possible_truncation, reason = "any 32 bits")]
            IpAddr::V4(Ipv4Addr::from_bits(bits as u32))
        }
    })
}

fn direction() -> impl Strategy<Value = Direction> {
    any::<bool>().prop_map(|reply| {
        if reply {
            Direction::Reply
        } else {
            Direction::Original
        }
    })
}

fn nat(six: bool) -> impl Strategy<Value = ExpectNat> {
    (direction(), address(six), any::<u16>()).prop_map(|(direction, address, port)| ExpectNat {
        direction,
        address,
        port,
    })
}

fn helper() -> impl Strategy<Value = Helper> {
    "[A-Za-z0-9.-]{1,15}".prop_map(|name| name.parse().unwrap())
}

/// A tuple of this family that can be asked for.
fn tracked_of(six: bool) -> impl Strategy<Value = Tuple> {
    (tuple_of(six), any::<(u16, u16)>()).prop_map(|(tuple, ports)| tracked(tuple, ports))
}

/// All that can be asked for, with the tuple by which the kernel finds the master.
fn asked_for() -> impl Strategy<Value = (NewExpectation, Tuple)> {
    any::<bool>().prop_flat_map(|six| {
        let tuples = (tracked_of(six), tracked_of(six), direction(), zone());
        let mask = option::of((address(six), any::<u16>()));
        let numbers = (
            option::of(0..=2_147_483_u32),
            0..4_u32,
            option::of(any::<u32>()),
        );
        let rest = (
            option::of(helper()),
            option::of(nat(six)),
            option::of("[^\0]{1,60}"),
        );
        (tuples, mask, numbers, rest).prop_map(
            |((tuple, by, direction, zone), mask, (timeout, flags, class), (helper, nat, name))| {
                let master = match direction {
                    Direction::Original => Key::orig(by),
                    Direction::Reply => Key::reply(by),
                };
                let mut builder = NewExpectation::builder(master.zone(zone), tuple)
                    .flags(ExpectFlags::from_bits_retain(flags));
                if let Some((src, src_port)) = mask {
                    builder = builder.src_mask(src).src_port_mask(src_port);
                }
                if let Some(seconds) = timeout {
                    builder = builder.timeout(Duration::from_secs(seconds.into()));
                }
                if let Some(helper) = helper {
                    builder = builder.helper(helper);
                }
                if let Some(class) = class {
                    builder = builder.class(class);
                }
                if let Some(nat) = nat {
                    builder = builder.nat(nat);
                }
                if let Some(name) = name {
                    builder = builder.function(name);
                }
                (builder.build().unwrap(), by)
            },
        )
    })
}

/// Nests that an expectation has, and the last four where it is translated.
const NESTS: [&[u16]; 14] = [
    &[],
    &[1],
    &[1, 1],
    &[1, 2],
    &[2],
    &[2, 1],
    &[2, 2],
    &[3],
    &[3, 1],
    &[3, 2],
    &[10],
    &[10, 2],
    &[10, 2, 1],
    &[10, 2, 2],
];
const UNTRANSLATED: usize = 10;

prop_compose! {
    fn strangers()(
        all in proptest::collection::vec(
            (1000..0x4000_u16, proptest::collection::vec(any::<u8>(), 0..9), 0..NESTS.len()),
            0..5,
        ),
    ) -> Vec<(usize, Unknown)> {
        all.into_iter()
            .map(|(kind, value, nest)| (nest, Unknown { path: [NESTS[nest], &[kind]].concat(), value }))
            .collect()
    }
}

/// All that a kernel may report, and more.
fn told() -> impl Strategy<Value = Expectation> {
    let tuples = (tuple(), tuple());
    let mask = (
        option::of(any::<bool>().prop_flat_map(address)),
        option::of(any::<u16>()),
    );
    let numbers = (
        proptest::array::uniform4(option::of(any::<u32>())),
        option::of(any::<u16>()),
    );
    let rest = (
        option::of(helper()),
        option::of(any::<bool>().prop_flat_map(nat)),
        option::of("[^\0]{0,60}"),
        strangers(),
    );
    (tuples, mask, numbers, rest).prop_map(
        |(
            (tuple, master),
            (src, src_port),
            (numbers, zone),
            (helper, nat, function, strangers),
        )| {
            let [timeout, id, flags, class] = numbers;
            let there = |nest: usize| nest < UNTRANSLATED || nat.is_some();
            Expectation {
                tuple,
                mask: ExpectMask { src, src_port },
                master,
                zone: zone.map(Zone::new),
                timeout,
                id,
                helper,
                flags: flags.map(ExpectFlags::from_bits_retain),
                class,
                nat,
                function,
                unknown: strangers
                    .into_iter()
                    .filter_map(|(nest, unknown)| there(nest).then_some(unknown))
                    .collect(),
            }
        },
    )
}

fn bytes_of(expectation: &Expectation) -> Vec<u8> {
    with_header(&encode_expectation_report(expectation).unwrap())
}

/// What follows the netlink header of the only message.
fn body(datagram: &Datagram) -> &[u8] {
    assert_eq!(datagram.count(), 1);
    &datagram.bytes()[NETLINK_HEADER..]
}

/// The port or identifier of a mask, where the protocol has one.
fn masked(tuple: &Tuple, bits: Option<u16>) -> Option<u16> {
    match tuple.layer4() {
        Layer4::Other(_) => None,
        _ => bits,
    }
}

/// A mask has the type and the code of ICMP, of which only the identifier is masked.
fn without_icmp(mut expectation: Expectation) -> Expectation {
    expectation
        .unknown
        .retain(|one| !matches!(one.path[..], [3, 2, 5 | 6 | 8 | 9]));
    expectation
}

proptest! {
    #[test]
    fn what_can_be_built_is_what_is_asked_for((new, by) in asked_for(), with_nat in any::<bool>()) {
        let mut datagram = Datagram::new(1);
        create_expectation(&mut datagram, &new, &by, with_nat).unwrap();
        let asked = decode_expectation(body(&datagram)).unwrap();
        let zone = new.master().entry_zone().zone();
        let nothing = ExpectNat {
            direction: Direction::Original,
            address: match new.tuple.family() {
                Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
                Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
            },
            port: 0,
        };
        let want = Expectation {
            tuple: *new.tuple(),
            mask: ExpectMask { src_port: masked(&new.tuple, new.mask.src_port), ..new.mask },
            master: by,
            zone: Some(zone).filter(|zone| !zone.is_default()),
            timeout: new.timeout,
            id: None,
            helper: new.helper,
            flags: Some(new.flags).filter(|flags| !flags.is_empty()),
            class: new.class,
            nat: with_nat.then(|| new.nat.unwrap_or(nothing)),
            function: new.function.clone(),
            unknown: Vec::new(),
        };
        prop_assert_eq!(without_icmp(asked), want);
        prop_assert_eq!(u16::from(body(&datagram)[0]), new.tuple.family().number());
        prop_assert_eq!(new.key(), ExpectKey::new(new.tuple).zone(zone));
    }

    /// Nothing but what names it, and the time-out.
    #[test]
    fn keys_and_changes_say_no_more_than_they_mean(
        expectation in told(),
        zone in any::<u16>().prop_map(Zone::new),
        id in option::of(any::<u32>()),
        timeout in any::<u32>(),
    ) {
        let key = ExpectKey { tuple: expectation.tuple, zone, id };
        let mut datagram = Datagram::new(1);
        change_expectation(&mut datagram, &expectation, &key, timeout).unwrap();
        let asked = decode_expectation(body(&datagram)).unwrap();
        let on = Some(zone).filter(|zone| !zone.is_default());
        prop_assert_eq!((asked.tuple, asked.master), (key.tuple, expectation.master));
        prop_assert_eq!((asked.zone, asked.timeout), (on, Some(timeout)));
        prop_assert_eq!((asked.id, asked.helper, asked.flags), (None, None, None));
        prop_assert_eq!((asked.class, asked.nat, asked.function), (None, None, None));

        let mut requests = [Datagram::new(1), Datagram::new(1)];
        get_expectation(&mut requests[0], &key).unwrap();
        delete_expectation(&mut requests[1], &key).unwrap();
        for request in &requests {
            let mut bytes = body(request).to_vec();
            prop_assert_eq!(u16::from(bytes[0]), key.tuple.family().number());
            // With mask and master it would be an expectation.
            let rest = encode_expectation_report(&Expectation {
                zone: None, timeout: None, id: None, helper: None, flags: None,
                class: None, nat: None, function: None, unknown: Vec::new(),
                ..expectation.clone()
            }).unwrap();
            bytes.extend(rest);
            let asked = decode_expectation(&bytes).unwrap();
            prop_assert_eq!((asked.tuple, asked.zone, asked.id), (key.tuple, on, id));
            prop_assert_eq!(asked.unknown, []);
        }
    }

    #[test]
    fn what_is_reported_of_an_expectation_survives_the_wire(expectation in told()) {
        let found = decode_expectation(&bytes_of(&expectation)).unwrap();
        prop_assert_eq!(comparable_expectation(found), comparable_expectation(expectation));
    }

    #[test]
    fn events_of_expectations_are_told_apart(expectation in told(), new in any::<bool>()) {
        let payload = bytes_of(&expectation);
        let expectation = decode_expectation(&payload).unwrap();
        let flags = if new { 0x600 } else { 0 };
        for kind in 0..5_u16 {
            let length = u32::try_from(NETLINK_HEADER + payload.len()).unwrap();
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend((0x200 | kind).to_ne_bytes());
            bytes.extend(u16::to_ne_bytes(flags));
            // Sequence number and port.
            bytes.extend([0; 8]);
            bytes.extend(&payload);
            let message = frame(&mut &bytes[..]).unwrap().unwrap();
            let want = match kind {
                0 if new => Some(Event::ExpectNew(expectation.clone())),
                0 => Some(Event::ExpectUpdate(expectation.clone())),
                2 => Some(Event::ExpectDestroy(expectation.clone())),
                _ => None,
            };
            prop_assert_eq!(decode_event(&message).unwrap(), want);
        }
    }

    /// Flipped bits, cuts and repeats of real messages get further than noise.
    #[test]
    fn no_bytes_of_expectations_do_harm(
        expectation in told(),
        flips in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..8),
        cut in any::<u16>(),
        twice in any::<bool>(),
    ) {
        let mut bytes = bytes_of(&expectation);
        if twice {
            bytes.extend(encode_expectation_report(&expectation).unwrap());
        }
        for (at, mask) in flips {
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= mask;
        }
        fuzzing::expectation(&bytes);
        bytes.truncate(usize::from(cut) % bytes.len());
        fuzzing::expectation(&bytes);
    }
}

/// With every attribute that there is.
fn full() -> Expectation {
    let at = |host, port| (IpAddr::from([10, 0, 0, host]), port).into();
    Expectation {
        tuple: Tuple::tcp(at(2, 1), at(1, 2)).unwrap(),
        mask: ExpectMask::exact(Family::Ipv4),
        master: Tuple::udp(at(1, 3), at(2, 4)).unwrap(),
        zone: Some(Zone::new(5)),
        timeout: Some(6),
        id: Some(7),
        helper: Some(Helper::FTP),
        flags: Some(ExpectFlags::PERMANENT),
        class: Some(8),
        nat: Some(ExpectNat {
            direction: Direction::Reply,
            address: [10, 0, 0, 3].into(),
            port: 9,
        }),
        function: Some("f".to_owned()),
        unknown: Vec::new(),
    }
}

#[test]
fn damage_of_each_attribute_names_its_path_and_offset() {
    let leaves = walk::check_damage(&bytes_of(&full()), Root::Expectation, decode_expectation);
    let tuple = |above: &[u16]| {
        [[1, 1], [1, 2], [2, 1], [2, 2], [2, 3]].map(|below| [above, &below].concat())
    };
    let flat = [4, 5, 8, 9, 6, 11, 7].map(|kind| vec![kind]);
    let want = [
        &tuple(&[2])[..],
        &tuple(&[3]),
        &tuple(&[1]),
        &[vec![10, 1]],
        &tuple(&[10, 2]),
        &flat,
    ];
    assert_eq!(leaves, want.concat());
    // Of IPv6, and what a mask says of ICMP.
    let mask = |kinds: &[(u16, usize)], above: u16| {
        let leaves = Writer::alone(|w| {
            for (kind, length) in kinds {
                w.bytes(*kind, &vec![0xff; *length]);
            }
        });
        let mask = nested(&[3, above], &leaves.unwrap());
        [without(&bytes_of(&full()), 3), mask].concat()
    };
    let icmp = [(4, 2), (5, 1), (6, 1), (7, 2), (8, 1), (9, 1)];
    for bytes in [mask(&[(3, 16), (4, 16)], 1), mask(&icmp, 2)] {
        assert_eq!(decode_expectation(&bytes).unwrap().unknown(), []);
        walk::check_damage(&bytes, Root::Expectation, decode_expectation);
    }
}

fn with_stranger(path: &[u16], value: &[u8]) -> Expectation {
    let unknown = Unknown {
        path: path.to_vec(),
        value: value.to_vec(),
    };
    Expectation {
        unknown: vec![unknown],
        ..full()
    }
}

/// Attributes that are known, but not there, are not lost; nor is a mask of the destination.
#[test]
fn attributes_out_of_place_are_kept() {
    for (path, value) in [
        (&[1, 3][..], &[0, 5][..]),
        (&[2, 3], &[0, 5]),
        (&[10, 2, 3], &[0, 5]),
        (&[3, 3], &[0, 5]),
        (&[2, 2, 4], &[0, 5]),
        (&[3, 1, 2], &[255, 255, 255, 0]),
        (&[3, 1, 4], &[0; 16]),
        (&[3, 2, 3], &[0, 255]),
        (&[3, 2, 5], &[8]),
    ] {
        let strange = with_stranger(path, value);
        let bytes = bytes_of(&strange);
        assert_eq!(decode_expectation(&bytes).unwrap(), strange);
        fuzzing::expectation(&bytes);
    }
}

/// A translation's tuple of another protocol than its master's, and a field that it does not have.
#[test]
fn a_translation_may_be_of_any_protocol() {
    let addresses = nested(&[1], &[8, 0, 1, 0, 10, 0, 0, 3, 8, 0, 2, 0, 0, 0, 0, 0]);
    let protocol = nested(&[2], &[5, 0, 1, 0, 50, 0, 0, 0, 7, 0, 2, 0, 1, 2, 3, 0]);
    let tuple = nested(&[2], &[addresses, protocol].concat());
    let direction = [8, 0, 1, 0, 0, 0, 0, 1];
    let nat = nested(&[10], &[&direction[..], &tuple].concat());
    let bytes = [without(&bytes_of(&full()), 10), nat].concat();
    let found = decode_expectation(&bytes).unwrap();
    assert_eq!(found.nat().unwrap().address, IpAddr::from([10, 0, 0, 3]));
    assert_eq!(found.unknown()[0].path, [10, 2, 2, 2]);
    fuzzing::expectation(&bytes);
}

/// The message without its attributes of this number.
fn without(whole: &[u8], kind: u16) -> Vec<u8> {
    let mut bytes = whole[..4].to_vec();
    let mut at = 4;
    while at < whole.len() {
        let half = |at: usize| u16::from_ne_bytes([whole[at], whole[at + 1]]);
        let next = at + usize::from(half(at)).next_multiple_of(4);
        if half(at + 2) & 0x3fff != kind {
            bytes.extend(&whole[at..next]);
        }
        at = next;
    }
    bytes
}

#[test]
fn an_expectation_that_lacks_a_part_is_damaged() {
    let whole = bytes_of(&full());
    for kind in 1..=11 {
        let found = decode_expectation(&without(&whole, kind));
        match kind {
            1..=3 => {
                let text = found.unwrap_err().to_string();
                assert!(text.starts_with("message at offset"), "{text}");
                assert!(text.ends_with("the master is missing"), "{text}");
            }
            _ => assert_ne!(found.unwrap(), full(), "{kind}"),
        }
    }
    let attribute = |kind: u16, value: u32| {
        let header = [8_u16.to_ne_bytes(), kind.to_ne_bytes()].concat();
        [header, value.to_be_bytes().to_vec()].concat()
    };
    for (inside, problem) in [
        (attribute(1, 2), "neither 0 nor 1"),
        (attribute(1, 0), "a part of the translation is missing"),
        (Vec::new(), "a part of the translation is missing"),
    ] {
        let bytes = [without(&whole, 10), nested(&[10], &inside)].concat();
        let text = decode_expectation(&bytes).unwrap_err().to_string();
        assert!(text.starts_with("CTA_EXPECT_NAT"), "{text}");
        assert!(text.ends_with(problem), "{text}");
    }
}

#[test]
fn unknown_attributes_of_expectations_are_kept_at_any_depth() {
    let nests = walk::nests(&bytes_of(&full()), Root::Expectation);
    let (mut found, mut want) = (nests.clone(), NESTS.map(<[u16]>::to_vec));
    found.sort();
    want.sort();
    assert_eq!(found, want);
    for nest in nests {
        let strange = with_stranger(&[&nest[..], &[77]].concat(), &[1, 2, 3]);
        let bytes = bytes_of(&strange);
        assert_eq!(decode_expectation(&bytes).unwrap(), strange);
        fuzzing::expectation(&bytes);
    }
}
