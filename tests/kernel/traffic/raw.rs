//! Protocols that only raw packets speak here: UDP-Lite, GRE, DCCP, and one without a name.

use ctnetlink::{DccpRole, DccpState, Entry, GreKeys, ProtoInfo, Protocol, Status, Tuple};

use super::packet::{Packet, Wire};
use super::proc::agreed;
use super::world::{SIDES, Side, World, at, counters, destroy, new, silence, sysctl, update};
use crate::support::{tracks, tracks_dccp, tuple_of};

const TRANSLATED: Status = Status::SRC_NAT
    .union(Status::SRC_NAT_DONE)
    .union(Status::DST_NAT_DONE)
    .union(Status::CONFIRMED);

/// A packet of the client's and its answer, both as the ends see them.
struct Talk {
    question: Packet,
    /// From the server to the gateway.
    answer: Packet,
    orig: Tuple,
    reply: Tuple,
    /// Whether the tracker takes a third packet for a sign that the flow matters.
    assured: bool,
}

/// Both ways through the translation of sources, and then away.
fn converse(world: &World, bystander: &Entry, talk: &Talk, side: Side) {
    let (client, server) = (Wire::new(&world.client), Wire::new(&world.server));
    let mut events = world.events();
    let Talk {
        question,
        answer,
        orig,
        reply,
        assured,
    } = talk;
    let protocol = question.protocol;

    client.send(question);
    let heard = server.hear(side.server, protocol, |_| true);
    assert_eq!(heard.src, side.back);
    let made = new(&mut events, orig);
    assert_eq!((made.reply(), made.status()), (reply, Some(TRANSLATED)));
    let once = (1, side.header + question.payload.len() as u64);
    let entries = agreed(&world.ct);
    assert_eq!(entries.len(), 2);
    let entry = entries.iter().find(|entry| entry.orig() == orig).unwrap();
    assert_eq!((entry.reply(), entry.status()), (reply, Some(TRANSLATED)));
    assert_eq!(counters(entry), [Some(once), Some((0, 0))]);

    server.send(answer);
    let heard = client.hear(side.client, protocol, |_| true);
    assert_eq!(heard.src, side.server);
    let answered = update(&mut events, orig);
    let seen = TRANSLATED | Status::SEEN_REPLY;
    assert_eq!((answered.id(), answered.status()), (made.id(), Some(seen)));
    let back = (1, side.header + answer.payload.len() as u64);
    let entries = agreed(&world.ct);
    let entry = entries.iter().find(|entry| entry.orig() == orig).unwrap();
    assert_eq!(entry.status(), Some(seen));
    assert_eq!(counters(entry), [Some(once), Some(back)]);

    client.send(question);
    server.hear(side.server, protocol, |_| true);
    let seen = if *assured {
        let event = update(&mut events, orig);
        assert_eq!(event.status(), Some(seen | Status::ASSURED));
        seen | Status::ASSURED
    } else {
        silence(&mut events);
        seen
    };
    let entries = agreed(&world.ct);
    let entry = entries.iter().find(|entry| entry.orig() == orig).unwrap();
    assert_eq!(entry.status(), Some(seen));
    let all = [Some((2, 2 * once.1)), Some(back)];
    assert_eq!(counters(entry), all);

    world.ct.delete(entry).unwrap();
    let gone = destroy(&mut events, orig);
    assert_eq!(gone.id(), made.id());
    assert_eq!(counters(&gone), all);
    silence(&mut events);
    world.assert_spared(bystander);
}

fn packet(side: Side, protocol: u8, payload: Vec<u8>) -> [Packet; 2] {
    let question = Packet {
        src: side.client,
        dst: side.server,
        protocol,
        payload,
    };
    let answer = Packet {
        src: side.server,
        dst: side.back,
        ..question.clone()
    };
    [question, answer]
}

/// Where it is not tracked, it has its number alone.
#[test]
fn udplite_has_ports_and_its_own_number() {
    let world = World::new();
    let bystander = world.bystander();
    for side in SIDES {
        // The kernel checks it with the number of UDP in the pseudo header (`udplite_error`), and so
        // takes every right packet for a damaged one.
        sysctl("netfilter/nf_conntrack_checksum", "0");
        let ports = (40_136_u16, 9_136_u16);
        // The checksum covers the header alone, which is what the protocol is for.
        let datagram = |(src, dst): (u16, u16)| {
            let mut payload = src.to_be_bytes().to_vec();
            payload.extend(dst.to_be_bytes());
            payload.extend([0, 8, 0, 0]);
            payload.extend(b"not covered");
            payload
        };
        let [mut question, mut answer] = packet(side, 136, datagram(ports));
        answer.payload = datagram((ports.1, ports.0));
        question = question.checksummed(6, 8);
        answer = answer.checksummed(6, 8);
        let tuple = |src, dst| tuple_of(Protocol::UDPLITE, src, dst);
        let talk = Talk {
            question,
            answer,
            orig: tuple(at(side.client, ports.0), at(side.server, ports.1)),
            reply: tuple(at(side.server, ports.1), at(side.back, ports.0)),
            assured: tracks(Protocol::UDPLITE),
        };
        converse(&world, &bystander, &talk, side);
    }
}

/// Plain GRE has no key that is tracked: all of it between two hosts is one flow.
#[test]
fn gre_is_a_flow_with_keys_of_zero() {
    let world = World::new();
    let bystander = world.bystander();
    for side in SIDES {
        let [question, answer] = packet(side, 47, vec![0, 0, 8, 0, 1, 2, 3, 4]);
        let keys = GreKeys { src: 0, dst: 0 };
        let talk = Talk {
            question,
            answer,
            orig: Tuple::gre(side.client, side.server, keys).unwrap(),
            reply: Tuple::gre(side.server, side.back, keys).unwrap(),
            assured: true,
        };
        converse(&world, &bystander, &talk, side);
    }
}

#[test]
fn a_protocol_without_a_name_is_its_number_and_addresses() {
    let world = World::new();
    let bystander = world.bystander();
    for side in SIDES {
        let [question, answer] = packet(side, 50, (0..32).collect());
        let esp = Protocol::new(50);
        let talk = Talk {
            question,
            answer,
            orig: Tuple::other(esp, side.client, side.server).unwrap(),
            reply: Tuple::other(esp, side.server, side.back).unwrap(),
            assured: false,
        };
        converse(&world, &bystander, &talk, side);
    }
}

/// A packet of the client's to where nothing is translated.
fn first(side: Side, protocol: u8, payload: Vec<u8>) -> Packet {
    let packet = Packet {
        src: side.client,
        dst: side.plain,
        protocol,
        payload,
    };
    // Of these two the checksum is DCCP's; enhanced GRE has none.
    let covered = packet.payload.len();
    if protocol == 33 {
        packet.checksummed(6, covered)
    } else {
        packet
    }
}

/// The enhanced GRE of PPTP names its call, which is the key of the direction.
#[test]
fn the_gre_of_pptp_has_its_call_for_a_key() {
    const CALL: u16 = 0x1234;
    let world = World::new();
    let bystander = world.bystander();
    let (client, server) = (Wire::new(&world.client), Wire::new(&world.server));
    let mut events = world.events();
    for side in SIDES {
        // RFC 2637: a key and a sequence number, version 1, PPP, length, call, number.
        let mut payload = vec![0x30, 0x01, 0x88, 0x0b, 0, 0];
        payload.extend(CALL.to_be_bytes());
        payload.extend([0, 0, 0, 1]);
        client.send(&first(side, 47, payload));
        server.hear(side.plain, 47, |_| true);
        let keys = GreKeys { src: 0, dst: CALL };
        let orig = Tuple::gre(side.client, side.plain, keys).unwrap();
        let entries = agreed(&world.ct);
        assert_eq!(entries.len(), 2);
        let entry = entries.iter().find(|entry| *entry.orig() == orig).unwrap();
        assert_eq!(*entry.reply(), orig.reply());
        assert_eq!(counters(entry), [Some((1, side.header + 12)), Some((0, 0))]);
        assert_eq!(new(&mut events, &orig).id(), entry.id());
        world.ct.delete(entry).unwrap();
        assert_eq!(destroy(&mut events, &orig).id(), entry.id());
        silence(&mut events);
        world.assert_spared(&bystander);
    }
}

/// A kernel that tracks DCCP knows its ports and its state; any other takes it for a protocol
/// without a name.
#[test]
fn dccp_is_tracked_or_has_no_ports() {
    let world = World::new();
    let bystander = world.bystander();
    let (client, server) = (Wire::new(&world.client), Wire::new(&world.server));
    let mut events = world.events();
    for side in SIDES {
        // RFC 4340: a request, long sequence numbers, a service code.
        let mut payload = 40_033_u16.to_be_bytes().to_vec();
        payload.extend(9_033_u16.to_be_bytes());
        payload.extend([5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 42]);
        client.send(&first(side, 33, payload));
        server.hear(side.plain, 33, |_| true);
        let entries = agreed(&world.ct);
        assert_eq!(entries.len(), 2);
        let entry: &Entry = entries
            .iter()
            .find(|entry| entry.protocol() == Protocol::DCCP)
            .unwrap();
        assert_eq!(counters(entry), [Some((1, side.header + 20)), Some((0, 0))]);
        let ports = (entry.orig().src_port(), entry.orig().dst_port());
        if tracks_dccp() {
            assert_eq!(ports, (Some(40_033), Some(9_033)));
            let Some(ProtoInfo::Dccp(info)) = entry.proto_info() else {
                panic!("{entry}");
            };
            let known = (info.state, info.role);
            assert_eq!(known, (DccpState::Request, Some(DccpRole::Client)));
        } else {
            assert_eq!(ports, (None, None));
            assert_eq!(entry.proto_info(), None);
        }
        assert_eq!(new(&mut events, entry.orig()).id(), entry.id());
        world.ct.delete(entry).unwrap();
        assert_eq!(destroy(&mut events, entry.orig()).id(), entry.id());
        silence(&mut events);
        world.assert_spared(&bystander);
    }
}
