//! Questions of ICMP and ICMPv6 that the server's kernel answers.

use std::net::IpAddr;

use ctnetlink::{Icmp, Icmpv6, Status, Tuple};

use super::packet::{Packet, Wire};
use super::proc::agreed;
use super::world::{SIDES, World, counters, destroy, new, silence, update};

fn tuple(src: IpAddr, dst: IpAddr, kind: u8, id: u16) -> Tuple {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            Tuple::icmp(src, dst, Icmp::new(kind, 0, id).unwrap())
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            Tuple::icmpv6(src, dst, Icmpv6::new(kind, 0, id).unwrap())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn questions_are_tracked_with_their_answers() {
    const ID: u16 = 0x1234;
    let world = World::new();
    let bystander = world.bystander();
    let wire = Wire::new(&world.client);
    let mut events = world.events();
    let [v4, v6] = SIDES;
    // Echo, and a timestamp, which has a fixed length.
    for (side, protocol, question, answer, length) in [
        (v4, 1, 8, 0, 64),
        (v4, 1, 13, 14, 20),
        (v6, 58, 128, 129, 64),
    ] {
        let ask = |sequence: u8| {
            let mut payload = vec![question, 0, 0, 0];
            payload.extend(ID.to_be_bytes());
            payload.extend([0, sequence]);
            payload.resize(length, 0);
            let packet = Packet {
                src: side.client,
                dst: side.server,
                protocol,
                payload,
            };
            wire.send(&packet.checksummed(2, length));
            let heard = wire.hear(side.client, protocol, |payload| payload[0] == answer);
            assert_eq!(heard.src, side.server);
            assert_eq!(heard.payload.len(), length);
            assert_eq!(heard.payload[4..8], [0x12, 0x34, 0, sequence]);
        };
        ask(1);
        let orig = tuple(side.client, side.server, question, ID);
        let reply = tuple(side.server, side.back, answer, ID);
        let made = new(&mut events, &orig);
        assert_eq!(*made.reply(), reply);
        let translated =
            Status::SRC_NAT | Status::SRC_NAT_DONE | Status::DST_NAT_DONE | Status::CONFIRMED;
        assert_eq!(made.status(), Some(translated));
        let answered = update(&mut events, &orig);
        assert_eq!(answered.status(), Some(translated | Status::SEEN_REPLY));
        // A sequence number is none of a tuple's business.
        ask(2);
        silence(&mut events);
        let entries = agreed(&world.ct);
        assert_eq!(entries.len(), 2);
        let entry = entries.iter().find(|entry| *entry.orig() == orig).unwrap();
        assert_eq!((entry.id(), *entry.reply()), (made.id(), reply));
        assert_eq!(entry.status(), Some(translated | Status::SEEN_REPLY));
        let sent = Some((2, 2 * (side.header + length as u64)));
        assert_eq!(counters(entry), [sent, sent]);
        world.ct.delete(entry).unwrap();
        let gone = destroy(&mut events, &orig);
        assert_eq!((gone.id(), counters(&gone)), (made.id(), [sent, sent]));
        silence(&mut events);
        world.assert_spared(&bystander);
    }
}
