//! Properties of the codec: what can be built survives the wire, and no bytes do harm.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use proptest::prelude::*;

use super::{Datagram, EntryRef, NETLINK_HEADER, create};
use crate::model::{
    Entry, EntryZone, GreKeys, Icmp, Icmpv6, Labels, Layer4, NewEntry, Ports, Protocol, SctpInfo,
    SctpState, SeqAdjust, Status, Synproxy, TcpFlagChange, TcpFlags, TcpInfo, TcpState, Tuple,
    Zone,
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
