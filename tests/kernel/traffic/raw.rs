//! Protocols that only raw packets speak here: UDP-Lite, GRE, DCCP, and one without a name.

use ctnetlink::{DccpRole, DccpState, Entry, GreKeys, Key, ProtoInfo, Protocol, Status, Tuple};

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

/// A packet between the client and where nothing is translated.
fn plain(side: Side, from_client: bool, protocol: u8, payload: Vec<u8>) -> Packet {
    let (src, dst) = if from_client {
        (side.client, side.plain)
    } else {
        (side.plain, side.client)
    };
    Packet {
        src,
        dst,
        protocol,
        payload,
    }
}

/// The enhanced GRE of PPTP names its call, which is the key of the direction. What the other end
/// names its own only PPTP's helper knows: without it, each direction is a flow.
#[test]
fn the_gre_of_pptp_has_its_call_for_a_key() {
    const CALLS: [u16; 2] = [0x1234, 0x5678];
    let world = World::new();
    let bystander = world.bystander();
    let (client, server) = (Wire::new(&world.client), Wire::new(&world.server));
    let mut events = world.events();
    for side in SIDES {
        let mut ids = Vec::new();
        for (from_client, call) in [true, false].into_iter().zip(CALLS) {
            // RFC 2637: a key and a sequence number, version 1, PPP, length, call, number.
            let mut payload = vec![0x30, 0x01, 0x88, 0x0b, 0, 0];
            payload.extend(call.to_be_bytes());
            payload.extend([0, 0, 0, 1]);
            let packet = plain(side, from_client, 47, payload);
            let (near, far) = if from_client {
                (&client, &server)
            } else {
                (&server, &client)
            };
            near.send(&packet);
            far.hear(packet.dst, 47, |_| true);
            let keys = GreKeys { src: 0, dst: call };
            let orig = Tuple::gre(packet.src, packet.dst, keys).unwrap();
            let entries = agreed(&world.ct);
            assert_eq!(entries.len(), 2 + ids.len());
            let entry = entries.iter().find(|entry| *entry.orig() == orig).unwrap();
            assert_eq!(*entry.reply(), orig.reply());
            assert_eq!(counters(entry), [Some((1, side.header + 12)), Some((0, 0))]);
            assert_eq!(new(&mut events, &orig).id(), entry.id());
            ids.push((orig, entry.id()));
        }
        for (orig, id) in ids {
            world.ct.delete(Key::orig(orig)).unwrap();
            assert_eq!(destroy(&mut events, &orig).id(), id);
        }
        silence(&mut events);
        world.assert_spared(&bystander);
    }
}

const DCCP: u8 = 33;
/// RFC 4340, section 5.1
const REQUEST: u8 = 0;
const RESPONSE: u8 = 1;
const ACK: u8 = 3;
/// Of the response. Every byte differs, so that no order of bytes can pass for another.
const HANDSHAKE: u64 = 0x0102_0304_0506;

/// A packet of DCCP with long sequence numbers, which acknowledges `ack`.
fn dccp(side: Side, kind: u8, number: u64, ack: u64) -> Packet {
    let mut ports = [40_033_u16, 9_033];
    if kind == RESPONSE {
        ports.reverse();
    }
    let mut payload: Vec<u8> = ports.iter().flat_map(|port| port.to_be_bytes()).collect();
    payload.extend([0, 0, 0, 0, kind << 1 | 1, 0]);
    payload.extend(&number.to_be_bytes()[2..]);
    if kind != REQUEST {
        payload.extend(ack.to_be_bytes());
    }
    if kind != ACK {
        // A service code.
        payload.extend([0, 0, 0, 42]);
    }
    let length = payload.len();
    payload[4] = u8::try_from(length / 4).unwrap();
    plain(side, kind != RESPONSE, DCCP, payload).checksummed(6, length)
}

/// A kernel that tracks DCCP knows its ports and its state; any other takes it for a protocol
/// without a name.
#[test]
fn dccp_is_tracked_or_has_no_ports() {
    let world = World::new();
    let bystander = world.bystander();
    let (client, server) = (Wire::new(&world.client), Wire::new(&world.server));
    let mut events = world.events();
    let tracked = tracks_dccp();
    for side in SIDES {
        let orig = tuple_of(
            Protocol::DCCP,
            at(side.client, 40_033),
            at(side.plain, 9_033),
        );
        let mut sent = [(0, 0); 2];
        let mut id = None;
        for (packet, state, gains) in [
            (
                dccp(side, REQUEST, 7, 0),
                DccpState::Request,
                Status::empty(),
            ),
            (
                dccp(side, RESPONSE, HANDSHAKE, 7),
                DccpState::Respond,
                Status::SEEN_REPLY,
            ),
            (
                dccp(side, ACK, 8, HANDSHAKE),
                DccpState::PartOpen,
                Status::SEEN_REPLY | Status::ASSURED,
            ),
        ] {
            let answers = packet.src == side.plain;
            let (near, far) = if answers {
                (&server, &client)
            } else {
                (&client, &server)
            };
            near.send(&packet);
            far.hear(packet.dst, DCCP, |_| true);
            let way = &mut sent[usize::from(answers)];
            way.0 += 1;
            way.1 += side.header + packet.payload.len() as u64;
            let entries = agreed(&world.ct);
            assert_eq!(entries.len(), 2);
            let entry = entries.iter().find(|entry| *entry.orig() == orig).unwrap();
            assert_eq!(counters(entry), sent.map(Some));
            let known = match entry.proto_info() {
                Some(ProtoInfo::Dccp(info)) => Some((info.state, info.role, info.handshake_seq)),
                Some(_) => panic!("{entry}"),
                None => None,
            };
            let shaken = if state == DccpState::Request {
                0
            } else {
                HANDSHAKE
            };
            let want = (state, Some(DccpRole::Client), Some(shaken));
            assert_eq!(known, tracked.then_some(want), "{entry}");
            // Of what it does not track a kernel knows whether it is answered, and no more.
            let settles = gains.contains(Status::ASSURED);
            let gains = if tracked {
                gains
            } else {
                gains - Status::ASSURED
            };
            let all = Status::SEEN_REPLY | Status::ASSURED;
            assert_eq!(entry.status().unwrap() & all, gains, "{entry}");
            let event = match id {
                None => new(&mut events, &orig),
                Some(_) if settles && !tracked => continue,
                Some(_) => update(&mut events, &orig),
            };
            assert_eq!(event.status().unwrap() & all, gains);
            assert_eq!(*id.get_or_insert(event.id()), event.id());
        }
        silence(&mut events);
        let entry = world.flow(&orig);
        world.ct.delete(&entry).unwrap();
        assert_eq!(Some(destroy(&mut events, &orig).id()), id);
        silence(&mut events);
        world.assert_spared(&bystander);
    }
}
