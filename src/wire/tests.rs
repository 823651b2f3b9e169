//! Properties of the codec: what can be built survives the wire, and no bytes do harm.

mod expect;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use proptest::prelude::*;

use super::report::encode_report;
use super::{Datagram, EntryRef, NETLINK_HEADER, create};
use crate::model::{
    Counters, Entry, EntryZone, GreKeys, Icmp, Icmpv6, Labels, Layer4, NewEntry, Ports, Protocol,
    SctpInfo, SctpState, SeqAdjust, Status, Synproxy, TcpFlagChange, TcpFlags, TcpInfo, TcpState,
    Timestamps, Tuple, Unknown, Zone,
};

fn layer4(six: bool) -> impl Strategy<Value = Layer4> {
    let numbers = (any::<u16>(), any::<u16>(), any::<u8>(), 0..8_u8);
    numbers.prop_map(move |(src, dst, byte, which)| {
        let ports = Ports { src, dst };
        match which {
            0 => Layer4::Tcp(ports),
            1 => Layer4::Udp(ports),
            2 => Layer4::UdpLite(ports),
            3 => Layer4::Sctp(ports),
            4 => Layer4::Dccp(ports),
            5 => Layer4::Gre(GreKeys { src, dst }),
            6 if six => Layer4::Icmpv6(Icmpv6::new(128 | (byte & 1), byte, src).unwrap()),
            6 => Layer4::Icmp(Icmp::new(13 + byte % 6, byte, src).unwrap()),
            _ => Layer4::Other(Protocol::new(0xc8 | byte)),
        }
    })
}

fn tuple() -> impl Strategy<Value = Tuple> {
    let v4 = (any::<u32>(), any::<u32>(), layer4(false)).prop_map(|(src, dst, layer4)| {
        let address = |bits| IpAddr::V4(Ipv4Addr::from_bits(bits));
        Tuple::new(address(src), address(dst), layer4).unwrap()
    });
    let v6 = (any::<u128>(), any::<u128>(), layer4(true)).prop_map(|(src, dst, layer4)| {
        let address = |bits| IpAddr::V6(Ipv6Addr::from_bits(bits));
        Tuple::new(address(src), address(dst), layer4).unwrap()
    });
    prop_oneof![v4, v6]
}

fn zone() -> impl Strategy<Value = EntryZone> {
    (any::<u16>(), 0..4_u8).prop_map(|(zone, which)| match which {
        0 => EntryZone::default(),
        1 => EntryZone::Both(Zone::new(zone)),
        2 => EntryZone::Orig(Zone::new(zone)),
        _ => EntryZone::Reply(Zone::new(zone)),
    })
}

fn tcp_info() -> impl Strategy<Value = TcpInfo> {
    let on = TcpFlags::WINDOW_SCALE;
    let flags = (any::<u8>(), any::<u8>()).prop_map(move |(flags, mask)| TcpFlagChange {
        flags: TcpFlags::from_bits_retain(flags) | on,
        mask: TcpFlags::from_bits_retain(mask) | on,
    });
    let scales = proptest::option::of((0..=14_u8, 0..=14_u8));
    (0..10_u8, scales, flags.clone(), flags).prop_map(|(state, scales, orig, reply)| TcpInfo {
        state: Some(TcpState::from_raw(state)),
        orig_window_scale: scales.map(|scales| scales.0),
        reply_window_scale: scales.map(|scales| scales.1),
        orig_flags: Some(orig),
        reply_flags: Some(reply),
    })
}

prop_compose! {
    fn new_entry()(
        orig in tuple(),
        zone in zone(),
        status in proptest::option::of(any::<u32>()),
        timeout in 0..=2_147_483_u32,
        mark in proptest::option::of(any::<u32>()),
        tcp in tcp_info(),
        labels in proptest::option::of(any::<u128>()),
        helper in proptest::option::of("[a-z0-9.-]{1,15}"),
        master in any::<bool>(),
        adjust in proptest::option::of((any::<u32>(), any::<i32>(), any::<i32>())),
        proxy in proptest::option::of((any::<u32>(), any::<u32>(), any::<u32>())),
    ) -> NewEntry {
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
        if let Some((correction_pos, offset_before, offset_after)) = adjust {
            let adjust = SeqAdjust { correction_pos, offset_before, offset_after };
            builder = builder.seq_adjust(adjust, adjust);
        }
        if let Some((isn, its, tsoff)) = proxy {
            builder = builder.synproxy(Synproxy { isn, its, tsoff });
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

/// Field by field, as `visit` reads.
fn fields(entry: &EntryRef<'_>) -> Entry {
    let mut owned = Entry::new(entry.orig().unwrap(), entry.reply().unwrap());
    owned.zone = entry.zone().unwrap();
    owned.status = entry.status().unwrap();
    owned.mark = entry.mark().unwrap();
    owned.id = entry.id().unwrap();
    owned.use_count = entry.use_count().unwrap();
    owned.proto_info = entry.proto_info().unwrap();
    owned.orig_counters = entry.orig_counters().unwrap();
    owned.reply_counters = entry.reply_counters().unwrap();
    let timeout = entry.timeout().unwrap().map(|timeout| timeout.as_secs());
    owned.timeout = timeout.map(|timeout| u32::try_from(timeout).unwrap());
    owned
}

proptest! {
    #[test]
    fn what_can_be_built_survives_the_wire(new in new_entry()) {
        let bytes = payload(&new);
        let entry = EntryRef::parse(&bytes).unwrap();
        let mut owned = entry.to_entry().unwrap();
        prop_assert_eq!(&owned, new.entry());
        prop_assert_eq!(entry.tcp_state().unwrap(), owned.tcp_state());
        prop_assert_eq!(entry.labels().unwrap(), owned.labels());
        prop_assert_eq!(entry.helper().unwrap(), owned.helper());
        owned.rare = None;
        owned.synproxy = None;
        prop_assert_eq!(fields(&entry), owned);
    }

    #[test]
    fn what_can_be_built_survives_its_line(new in new_entry()) {
        let line = new.to_string();
        prop_assert_eq!(line.parse::<Entry>().unwrap().to_string(), line);
    }

    /// Flipped bits, cuts and repeats of real messages get further than noise.
    #[test]
    fn no_bytes_do_harm(
        new in new_entry(),
        flips in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..8),
        cut in any::<u16>(),
    ) {
        let mut bytes = payload(&new);
        for (at, mask) in flips {
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= mask;
        }
        bytes.truncate(bytes.len() - usize::from(cut) % 8);
        if let Ok(entry) = EntryRef::parse(&bytes) {
            let whole = entry.to_entry();
            let _ = (entry.orig(), entry.reply(), entry.zone(), entry.status(), entry.mark());
            let _ = (entry.tcp_state(), entry.labels(), entry.helper());
            let _ = (entry.proto_info(), entry.orig_counters(), format!("{entry:?}"));
            if let Ok(entry) = whole {
                let _ = (entry.to_string().parse::<Entry>(), entry.to_new());
            }
        }
    }

    #[test]
    fn noise_does_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(entry) = EntryRef::parse(&bytes) {
            let _ = (entry.to_entry(), entry.zone(), entry.mark());
        }
        let mut rest = &bytes[..];
        while let Ok(Some(frame)) = super::frame(&mut rest) {
            let _ = frame.outcome();
        }
        let _ = super::decode_count(&bytes);
    }
}

#[test]
fn damage_names_path_and_offset() {
    let new = Entry::icmp(
        [10, 0, 0, 1].into(),
        [10, 0, 0, 2].into(),
        Icmp::echo_request(7),
    );
    let mut bytes = payload(&new.timeout(Duration::from_secs(9)).build().unwrap());
    // CTA_TUPLE_ORIG, CTA_TUPLE_IP, CTA_IP_V4_SRC: nfgenmsg and three headers before its value.
    let at = 4 + 3 * 4;
    bytes[at - 4] = 7;
    let error = EntryRef::parse(&bytes).unwrap().to_entry().unwrap_err();
    assert!(error.is_malformed());
    assert_eq!(
        error.offset(),
        Some(u32::try_from(NETLINK_HEADER + at).unwrap())
    );
    assert!(
        error
            .to_string()
            .contains("CTA_TUPLE_ORIG.CTA_TUPLE_IP.CTA_IP_V4_SRC at offset 32: not 4 bytes long"),
        "{error}"
    );
}

#[test]
fn unknown_attributes_are_kept_and_harmless() {
    let new = Entry::udp("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
    let new = new.timeout(Duration::from_secs(9)).build().unwrap();
    let mut bytes = payload(&new);
    bytes.extend(7_u16.to_ne_bytes());
    bytes.extend(0x3fff_u16.to_ne_bytes());
    bytes.extend([1, 2, 3, 0]);
    let entry = EntryRef::parse(&bytes).unwrap().to_entry().unwrap();
    let [unknown] = entry.unknown() else {
        panic!("{:?}", entry.unknown());
    };
    assert_eq!(
        (&unknown.path[..], &unknown.value[..]),
        (&[0x3fff][..], &[1, 2, 3][..])
    );
    assert_eq!(entry.orig(), new.entry().orig());
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
    let new = Entry::udp("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
    let new = new.timeout(Duration::from_secs(9)).build().unwrap();
    let padding = [4, 0, 3, 0];
    for inside in [&[][..], &padding] {
        let bytes = [payload(&new), nested(&[20], inside)].concat();
        let entry = EntryRef::parse(&bytes).unwrap().to_entry().unwrap();
        assert_eq!(entry.timestamps(), None);
    }
}

/// In every nest of an entry, an attribute of a later kernel is kept with its path and fails nothing.
#[test]
fn unknown_attributes_are_kept_at_any_depth() {
    let new = Entry::udp("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
    let new = new.timeout(Duration::from_secs(9)).build().unwrap();
    let stranger: &[u8] = &[8, 0, 77, 0, 1, 2, 3, 4];
    let zeros = |kinds: std::ops::RangeInclusive<u16>| -> Vec<u8> {
        kinds
            .flat_map(|kind| [&[8, 0][..], &kind.to_ne_bytes(), &[0; 4]].concat())
            .collect()
    };
    let long = |kind: u16| [&[12, 0][..], &kind.to_ne_bytes(), &[0; 8]].concat();
    let name: &[u8] = &[8, 0, 1, 0, b'f', b't', b'p', 0];
    let state: &[u8] = &[5, 0, 1, 0, 3, 0, 0, 0];
    let cases: [(&[u16], Vec<u8>); 12] = [
        (&[4], Vec::new()),
        (&[4, 1], state.to_vec()),
        (&[4, 2], state.to_vec()),
        (&[4, 3], state.to_vec()),
        (&[5], name.to_vec()),
        (&[9], [long(1), long(2)].concat()),
        (&[10], [long(1), long(2)].concat()),
        (&[15], zeros(1..=3)),
        (&[16], zeros(1..=3)),
        (&[19], name.to_vec()),
        (&[20], long(1)),
        (&[24], zeros(1..=3)),
    ];
    for (path, known) in cases {
        let plain = [payload(&new), nested(path, &known)].concat();
        let mut strange = payload(&new);
        strange.extend(nested(path, &[&known[..], stranger].concat()));
        let read = |bytes: &[u8]| EntryRef::parse(bytes).unwrap().to_entry().unwrap();
        let mut entry = read(&strange);
        let [unknown] = entry.unknown() else {
            panic!("{path:?}: {:?}", entry.unknown());
        };
        assert_eq!(unknown.path, [path, &[77]].concat());
        assert_eq!(unknown.value, [1, 2, 3, 4]);
        // And nothing else is different.
        entry.rare.as_mut().unwrap().unknown.clear();
        let mut without = read(&plain);
        without.rare.get_or_insert_default();
        assert_eq!(entry, without, "{path:?}");
    }
    // Inside of tuples too, three levels deep.
    for (start, path) in [(4, [1, 1]), (4 + 4 + 20, [1, 2]), (4 + 52, [2, 1])] {
        let mut bytes = payload(&new);
        let at = start + if path[0] == 2 { 4 } else { 0 };
        let at = if path == [1, 1] { 8 } else { at };
        let inner = usize::from(u16::from_ne_bytes([bytes[at], bytes[at + 1]]));
        bytes.splice(at + inner..at + inner, stranger.iter().copied());
        let outer = if path[0] == 2 { 4 + 52 } else { 4 };
        for header in [at, outer] {
            let length = u16::from_ne_bytes([bytes[header], bytes[header + 1]]) + 8;
            bytes[header..header + 2].copy_from_slice(&length.to_ne_bytes());
        }
        let entry = EntryRef::parse(&bytes).unwrap().to_entry().unwrap();
        assert_eq!(entry.unknown().len(), 1);
        assert_eq!(entry.unknown()[0].path, [path[0], path[1], 77]);
        assert_eq!(
            (entry.orig(), entry.reply()),
            (new.entry().orig(), new.entry().reply())
        );
        let view = EntryRef::parse(&bytes).unwrap();
        assert_eq!(view.orig().unwrap(), *new.entry().orig());
        assert_eq!(view.reply().unwrap(), *new.entry().reply());
    }
}

prop_compose! {
    /// An entry with all that a kernel may report.
    fn reported()(
        new in new_entry(),
        numbers in proptest::array::uniform5(proptest::option::of(any::<u64>())),
        ids in proptest::array::uniform3(proptest::option::of(any::<u32>())),
        context in proptest::option::of("[a-z_:]{0,20}"),
        info in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)),
        unknown in proptest::collection::vec(
            (1000..1100_u16, proptest::collection::vec(any::<u8>(), 0..9), 0..6_usize),
            0..4,
        ),
    ) -> Entry {
        // Nests that an entry may have or lack, and one that nobody knows.
        const NESTS: [&[u16]; 6] = [&[], &[1, 2], &[4], &[4, 1], &[9], &[999, 998, 997]];
        let mut entry = Entry::from(new);
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
        if **rare == crate::model::Rare::default() {
            entry.rare = None;
        }
        entry
    }
}

/// Unknown attributes are kept in the order in which they stand.
fn by_place(mut entry: Entry) -> Entry {
    if let Some(rare) = &mut entry.rare {
        rare.unknown
            .sort_by(|a, b| (&a.path, &a.value).cmp(&(&b.path, &b.value)));
    }
    entry
}

/// Behind `struct nfgenmsg`.
fn with_header(attributes: &[u8]) -> Vec<u8> {
    [&[0; 4], attributes].concat()
}

proptest! {
    #[test]
    fn what_is_reported_survives_the_wire(entry in reported()) {
        let bytes = with_header(&encode_report(&entry).unwrap());
        let again = EntryRef::parse(&bytes).unwrap().to_entry().unwrap();
        // A nest of unknown attributes is unknown as a whole.
        let flat = |entry: Entry| {
            let mut entry = by_place(entry);
            if let Some(rare) = &mut entry.rare {
                rare.unknown.retain(|unknown| unknown.path[0] != 999);
            }
            if entry.rare.as_deref() == Some(&crate::model::Rare::default()) {
                entry.rare = None;
            }
            entry
        };
        prop_assert_eq!(flat(again.clone()), flat(entry));
        let bytes = encode_report(&again).unwrap();
        let twice = EntryRef::parse(&with_header(&bytes)).unwrap().to_entry().unwrap();
        prop_assert_eq!(by_place(twice), by_place(again));
    }

    #[cfg(feature = "interop")]
    #[test]
    fn other_libraries_messages_lose_nothing(entry in reported()) {
        use netlink_packet_netfilter::conntrack::ConntrackMessage;
        let message = ConntrackMessage::try_from(&entry).unwrap();
        let ConntrackMessage::New(attributes) = &message else {
            panic!("{message:?}");
        };
        prop_assert!(attributes.len() >= 2);
        let direct = with_header(&encode_report(&entry).unwrap());
        let direct = EntryRef::parse(&direct).unwrap().to_entry().unwrap();
        prop_assert_eq!(Entry::try_from(&message).unwrap(), direct);
    }
}

#[test]
fn an_attribute_without_a_path_has_no_place() {
    let unknown = |path: Vec<u16>, length| Unknown {
        path,
        value: vec![0; length],
    };
    let put = |unknown| super::report::with_unknown(Vec::new(), &[unknown]);
    assert!(put(unknown(Vec::new(), 1)).unwrap_err().is_invalid_input());
    assert!(
        put(unknown(vec![1, 2], 70_000))
            .unwrap_err()
            .is_invalid_input()
    );
    let nested = put(unknown(vec![1, 2], 3)).unwrap();
    assert_eq!(nested, [12, 0, 1, 0x80, 7, 0, 2, 0, 0, 0, 0, 0]);
}
