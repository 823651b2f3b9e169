//! Properties of the codec: what can be built survives the wire, and no bytes do harm.

pub(crate) mod by_hand;
mod expect;
#[cfg(feature = "interop")]
mod interop;
mod walk;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use proptest::prelude::*;

use super::fuzzing::{self, comparable, fields, with_header};
use super::path::Root;
use super::report::{encode_report, with_unknown};
use super::writer::Writer;
use super::{Datagram, EntryRef, NETLINK_HEADER, create};
use crate::model::strategies::{adjust, synproxy, tcp_info, tracked, tuple, tuple_of, zone};
use crate::model::{
    Counters, DccpInfo, DccpRole, DccpState, Entry, EntryZone, Helper, Icmp, Icmpv6, Labels,
    Layer4, NewEntry, Ports, ProtoInfo, Protocol, Rare, SctpInfo, SctpState, SeqAdjust, Status,
    Synproxy, TcpFlagChange, TcpFlags, TcpInfo, TcpState, Timestamps, Tuple, Unknown, Zone,
};

prop_compose! {
    fn new_entry()(
        orig in tuple(),
        ports in any::<(u16, u16)>(),
        zone in zone(),
        status in proptest::option::of(any::<u32>()),
        timeout in 0..=2_147_483_u32,
        mark in proptest::option::of(any::<u32>()),
        tcp in tcp_info(),
        labels in proptest::option::of(any::<u128>()),
        helper in proptest::option::of("[a-z0-9.-]{1,15}"),
        master in any::<bool>(),
        adjust in proptest::option::of(adjust()),
        proxy in proptest::option::of(synproxy()),
    ) -> NewEntry {
        let orig = tracked(orig, ports);
        let seconds = Duration::from_secs(timeout.into());
        let mut builder = Entry::with_tuple(orig).zone(zone).timeout(seconds);
        if let Some(bits) = status {
            let settable = Status::from_bits_retain(bits) & Status::SETTABLE;
            builder = builder.status(settable | Status::CONFIRMED);
        }
        if let Some(mark) = mark {
            builder = builder.mark(mark);
        }
        match orig.protocol() {
            Protocol::TCP => builder = builder.tcp_info(tcp),
            Protocol::SCTP => {
                let state = SctpState::from_raw(timeout.to_ne_bytes()[0] % 10);
                builder = builder.sctp_info(SctpInfo::new(state, timeout, !timeout));
            }
            _ => {}
        }
        if let Some(bits) = labels {
            builder = builder.labels(Labels::from_bits(bits));
        }
        if let Some(helper) = helper {
            builder = builder.helper(helper.parse().unwrap());
        }
        if master {
            builder = builder.master(orig.reply());
        }
        if let Some(adjust) = adjust {
            builder = builder.seq_adjust(adjust, adjust);
        }
        if let Some(proxy) = proxy {
            builder = builder.synproxy(proxy);
        }
        builder.build().unwrap()
    }
}

/// A creation request's payload, which has the same attributes as the kernel's report.
fn payload(new: &NewEntry) -> Vec<u8> {
    let mut datagram = Datagram::new(1);
    create(&mut datagram, new).unwrap();
    datagram.bytes()[NETLINK_HEADER..].to_vec()
}

fn read(bytes: &[u8]) -> Entry {
    EntryRef::parse(bytes).unwrap().to_entry().unwrap()
}

proptest! {
    #[test]
    fn what_can_be_built_survives_the_wire(new in new_entry()) {
        let bytes = payload(&new);
        prop_assert_eq!(&read(&bytes), new.entry());
        fields(&EntryRef::parse(&bytes).unwrap(), new.entry());
    }

    #[test]
    fn what_can_be_built_survives_its_line(new in new_entry()) {
        let line = new.to_string();
        prop_assert_eq!(line.parse::<Entry>().unwrap().to_string(), line);
    }

    /// Flipped bits, cuts and repeats of real messages get further than noise.
    #[test]
    fn no_bytes_do_harm(
        entry in reported(),
        flips in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..8),
        cut in any::<u16>(),
        twice in any::<bool>(),
    ) {
        let report = encode_report(&entry).unwrap();
        let mut bytes = with_header(&report);
        if twice {
            bytes.extend(report);
        }
        for (at, mask) in flips {
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= mask;
        }
        fuzzing::entry(&bytes);
        bytes.truncate(usize::from(cut) % bytes.len());
        fuzzing::entry(&bytes);
    }

    #[test]
    fn noise_does_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for decoder in [
            fuzzing::entry, fuzzing::expectation, fuzzing::stats, fuzzing::event, fuzzing::ack, fuzzing::policy,
        ] {
            decoder(&bytes);
            decoder(&with_header(&bytes));
        }
    }

    #[test]
    fn figures_survive_the_wire(figures in proptest::collection::vec((0..20_u16, any::<u32>()), 0..20)) {
        let bytes = Writer::alone(|w| figures.iter().for_each(|(kind, figure)| w.be32(*kind, *figure)));
        fuzzing::stats(&with_header(&bytes.unwrap()));
    }
}

/// Headers of nests, from the outside in, and what is inside of the last.
fn nested(kinds: &[u16], inside: &[u8]) -> Vec<u8> {
    kinds.iter().rev().fold(inside.to_vec(), |inside, kind| {
        let length = u16::try_from(4 + inside.len()).unwrap();
        let header = [length.to_ne_bytes(), (kind | 0x8000).to_ne_bytes()].concat();
        [header, inside].concat()
    })
}

/// Time stamps that say nothing are none.
#[test]
fn an_empty_nest_of_time_stamps_is_absent() {
    let padding = [4, 0, 3, 0];
    for inside in [&[][..], &padding] {
        let bytes = followed_by(&nested(&[20], inside));
        assert_eq!(read(&bytes).timestamps(), None);
    }
}

fn host(last: u8, six: bool) -> IpAddr {
    if six {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into()
    } else {
        Ipv4Addr::new(10, 0, 0, last).into()
    }
}

/// With every attribute that there is, but for those that depend on the protocol.
fn full(layer4: Layer4, zone: EntryZone, proto_info: Option<ProtoInfo>) -> Entry {
    let six = matches!(layer4, Layer4::Icmpv6(_) | Layer4::Dccp(_));
    let orig = Tuple::new(host(1, six), host(2, six), layer4).unwrap();
    let counters = Counters {
        packets: 1,
        bytes: 2,
    };
    let adjust = SeqAdjust {
        correction_pos: 3,
        offset_before: -4,
        offset_after: 5,
    };
    let rare = Rare {
        labels: Some(Labels::from_bits(6)),
        timestamps: Some(Timestamps {
            start: Some(7),
            stop: Some(8),
            event: Some(9),
        }),
        helper: Some(Helper::FTP),
        helper_info: Some(vec![10]),
        master: Some(orig),
        orig_seq_adjust: Some(adjust),
        reply_seq_adjust: Some(adjust),
        secctx: Some("context".to_owned()),
        secmark: Some(11),
        unknown: Vec::new(),
    };
    Entry {
        orig,
        reply: orig.reply(),
        zone,
        status: Some(Status::CONFIRMED),
        timeout: Some(12),
        mark: Some(13),
        id: Some(14),
        use_count: Some(15),
        proto_info,
        orig_counters: Some(counters),
        reply_counters: Some(counters),
        synproxy: Some(Synproxy {
            isn: 16,
            its: 17,
            tsoff: 18,
        }),
        rare: Some(Box::new(rare)),
    }
}

fn full_tcp() -> Entry {
    let ports = Ports { src: 1, dst: 2 };
    let change = Some(TcpFlagChange::on(TcpFlags::SACK_PERM));
    let info = TcpInfo {
        state: Some(TcpState::Established),
        orig_window_scale: Some(1),
        reply_window_scale: Some(2),
        orig_flags: change,
        reply_flags: change,
    };
    let zone = EntryZone::Both(Zone::new(5));
    full(Layer4::Tcp(ports), zone, Some(ProtoInfo::Tcp(info)))
}

/// One of each layout that tuples and trackers have.
fn full_entries() -> Vec<Entry> {
    let ports = Ports { src: 1, dst: 2 };
    let sctp = SctpInfo::new(SctpState::Established, 1, 2);
    let dccp = DccpInfo {
        state: DccpState::Open,
        role: Some(DccpRole::Server),
        handshake_seq: Some(3),
    };
    let (orig, reply) = (
        EntryZone::Orig(Zone::new(6)),
        EntryZone::Reply(Zone::new(7)),
    );
    vec![
        full_tcp(),
        full(Layer4::Sctp(ports), orig, Some(ProtoInfo::Sctp(sctp))),
        full(Layer4::Dccp(ports), reply, Some(ProtoInfo::Dccp(dccp))),
        full(Layer4::Icmp(Icmp::echo_request(8)), orig, None),
        full(Layer4::Icmpv6(Icmpv6::echo_request(9)), reply, None),
        full(Layer4::Other(Protocol::new(50)), orig, None),
    ]
}

fn bytes_of(entry: &Entry) -> Vec<u8> {
    with_header(&encode_report(entry).unwrap())
}

#[test]
fn damage_of_each_attribute_names_its_path_and_offset() {
    let decode = |bytes: &[u8]| EntryRef::decode(bytes)?.try_entry();
    let mut seen = std::collections::BTreeSet::new();
    for entry in full_entries() {
        let bytes = bytes_of(&entry);
        assert_eq!(read(&bytes), entry);
        let leaves = walk::check_damage(&bytes, Root::Entry, decode);
        seen.extend(leaves.into_iter().map(|numbers| numbers[0]));
    }
    // All but those that only requests have.
    let requests = [6, 13, 21, 23, 25, 26];
    let want: Vec<_> = (1..=27).filter(|kind| !requests.contains(kind)).collect();
    assert!(seen.into_iter().eq(want));
    let mut bytes = bytes_of(&full_tcp());
    bytes[12] = 7;
    let error = EntryRef::parse(&bytes).unwrap().to_entry().unwrap_err();
    assert_eq!((error.is_malformed(), error.offset()), (true, Some(32)));
    let text = error.to_string();
    let path = "CTA_TUPLE_ORIG.CTA_TUPLE_IP.CTA_IP_V4_SRC at offset 32: not 4 bytes long";
    assert!(text.contains(path), "{text}");
}

fn with_stranger(entry: &Entry, path: &[u16], value: &[u8]) -> Entry {
    let mut entry = entry.clone();
    let (path, value) = (path.to_vec(), value.to_vec());
    let rare = entry.rare.get_or_insert_default();
    rare.unknown.push(Unknown { path, value });
    entry
}

/// In every nest of an entry, an attribute of a later kernel is kept with its path and changes nothing.
#[test]
fn unknown_attributes_are_kept_at_any_depth() {
    for entry in full_entries() {
        for nest in walk::nests(&bytes_of(&entry), Root::Entry) {
            let strange = with_stranger(&entry, &[&nest[..], &[77]].concat(), &[1, 2, 3]);
            let bytes = bytes_of(&strange);
            assert_eq!(read(&bytes), strange);
            fuzzing::entry(&bytes);
        }
    }
}

/// Attributes that are known, but not there, are not lost.
#[test]
fn attributes_out_of_place_are_kept() {
    let [tcp, sctp, dccp, icmp, icmpv6, esp] = &full_entries()[..] else {
        panic!("one is missing");
    };
    let again: &[u8] = &[5, 0, 1, 0, 17, 0, 0, 0];
    for (entry, path, value) in [
        // A zone of what has no direction, ports without a protocol that has any, and so on.
        (tcp, &[14, 3][..], &[0, 5][..]),
        (esp, &[1, 2, 2], &[0, 1]),
        (esp, &[2, 2, 3], &[0, 1]),
        (tcp, &[1, 2, 4], &[0, 1]),
        (sctp, &[1, 2, 8], &[8]),
        (dccp, &[2, 2, 6], &[0]),
        (icmp, &[1, 2, 2], &[0, 1]),
        (icmp, &[1, 2, 7], &[0, 1]),
        (icmpv6, &[14, 2, 4], &[0, 1]),
        (tcp, &[1, 2], again),
    ] {
        let strange = with_stranger(entry, path, value);
        let bytes = bytes_of(&strange);
        assert_eq!(read(&bytes), strange, "{path:?}");
        fuzzing::entry(&bytes);
    }
}

/// What an entry of UDP is made of, and more behind it.
fn followed_by(more: &[u8]) -> Vec<u8> {
    let new = Entry::udp("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
    let new = new.timeout(Duration::from_secs(9)).build().unwrap();
    [&payload(&new), more].concat()
}

#[test]
fn a_flow_has_one_tracker() {
    let tcp = nested(&[1], &[5, 0, 9, 0, b'x', 0, 0, 0]);
    let sctp = nested(&[3], &[5, 0, 1, 0, 3, 0, 0, 0]);
    for [first, second] in [[&tcp, &sctp], [&sctp, &tcp], [&tcp, &tcp]] {
        let bytes = followed_by(&nested(&[4], &[&first[..], second].concat()));
        let error = EntryRef::parse(&bytes).unwrap().to_entry().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("the state of a second tracker"), "{text}");
        fuzzing::entry(&bytes);
    }
}

/// The first counts, also where it says nothing that is known.
#[test]
fn a_second_tracker_state_is_passed_over() {
    let stranger = nested(&[4], &[5, 0, 9, 0, b'x', 0, 0, 0]);
    let state = nested(&[4, 1], &[5, 0, 1, 0, 3, 0, 0, 0]);
    let bytes = followed_by(&[&stranger[..], &state].concat());
    assert_eq!(read(&bytes).proto_info(), None);
    fuzzing::entry(&bytes);
    let bytes = followed_by(&[&state[..], &stranger].concat());
    assert_eq!(read(&bytes).tcp_state(), Some(TcpState::Established));
    assert_eq!(read(&bytes).unknown(), []);
    fuzzing::entry(&bytes);
}

prop_compose! {
    /// An entry with all that a kernel may report.
    fn reported()(
        new in new_entry(),
        numbers in proptest::array::uniform5(proptest::option::of(any::<u64>())),
        ids in proptest::array::uniform3(proptest::option::of(any::<u32>())),
        context in proptest::option::of("[a-z_:]{0,20}"),
        info in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)),
        tuples in proptest::option::of((tuple(), tuple())),
        unknown in proptest::collection::vec(
            (1000..1100_u16, proptest::collection::vec(any::<u8>(), 0..9), 0..6_usize),
            0..4,
        ),
    ) -> Entry {
        // Nests that an entry may have or lack, and one that nobody knows.
        const NESTS: [&[u16]; 6] = [&[], &[1, 2], &[4], &[4, 1], &[9], &[999, 998, 997]];
        let mut entry = Entry::from(new);
        // Also those that no request can make.
        if let (Some((orig, reply)), None) = (tuples, &entry.proto_info) {
            (entry.orig, entry.reply) = (orig, reply);
        }
        let [packets, bytes, start, stop, event] = numbers;
        let [id, uses, mark] = ids;
        if let (Some(packets), Some(bytes)) = (packets, bytes) {
            let counters = Counters { packets, bytes };
            (entry.orig_counters, entry.reply_counters) = (Some(counters), Some(counters));
        }
        (entry.id, entry.use_count) = (id, uses);
        let rare = entry.rare.get_or_insert_default();
        if start.or(stop).or(event).is_some() {
            rare.timestamps = Some(Timestamps { start, stop, event });
        }
        rare.secctx = context;
        rare.secmark = mark;
        rare.helper_info = info.filter(|_| rare.helper.is_some());
        for (kind, value, nest) in unknown {
            // In a nest that the entry lacks an unknown attribute would be damage: a tracker
            // without a state, counters without packets.
            let there = match nest {
                2 | 3 => entry.proto_info.is_some() && entry.orig.protocol() == Protocol::TCP,
                4 => entry.orig_counters.is_some(),
                _ => true,
            };
            if there {
                let path = [NESTS[nest], &[kind]].concat();
                rare.unknown.push(Unknown { path, value });
            }
        }
        if **rare == Rare::default() {
            entry.rare = None;
        }
        entry
    }
}

proptest! {
    #[test]
    fn what_is_reported_survives_the_wire(entry in reported()) {
        let bytes = bytes_of(&entry);
        // A nest of unknown attributes is unknown as a whole.
        let flat = |mut entry: Entry| {
            if let Some(rare) = &mut entry.rare {
                rare.unknown.retain(|unknown| unknown.path[0] != 999);
            }
            comparable(entry)
        };
        prop_assert_eq!(flat(read(&bytes)), flat(entry));
        fuzzing::entry(&bytes);
    }
}

#[test]
fn an_attribute_without_a_path_has_no_place() {
    let unknown = |path: Vec<u16>, length| Unknown {
        path,
        value: vec![0; length],
    };
    let put = |unknown| with_unknown(Vec::new(), &[unknown]);
    assert!(put(unknown(Vec::new(), 1)).unwrap_err().is_invalid_input());
    assert!(
        put(unknown(vec![1, 2], 70_000))
            .unwrap_err()
            .is_invalid_input()
    );
    let nested = put(unknown(vec![1, 2], 3)).unwrap();
    assert_eq!(nested, [12, 0, 1, 0x80, 7, 0, 2, 0, 0, 0, 0, 0]);
    // Below an attribute that holds no others: its value would be lost.
    for path in [[3, 1], [12, 1]] {
        let strange = with_stranger(&full_tcp(), &path, &[1]);
        assert!(encode_report(&strange).unwrap_err().is_invalid_input());
    }
}
