//! An SCTP association, packet by packet.

use ctnetlink::{Entry, ProtoInfo, SctpInfo, SctpState, Status, Tuple};

use super::packet::{Packet, Wire, crc32c};
use super::proc::agreed;
use super::world::{SIDES, Side, World, at, counters, destroy, new, silence, update};

const PROTOCOL: u8 = 132;
const PORTS: (u16, u16) = (40_132, 9_132);
/// Each end chooses a tag, and the other puts it into its packets. Every byte differs, so that no
/// order of bytes can pass for another.
const CLIENTS_TAG: u32 = 0x0102_0304;
const SERVERS_TAG: u32 = 0xa1b2_c3d4;

/// RFC 9260, section 3.2
const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

fn chunk(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + body.len()).unwrap();
    let flags = if kind == DATA { 3 } else { 0 };
    let mut chunk = vec![kind, flags];
    chunk.extend(length.to_be_bytes());
    chunk.extend(body);
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

/// Tag, window, streams each way, first transmission number.
fn opening(tag: u32) -> Vec<u8> {
    let mut body = tag.to_be_bytes().to_vec();
    body.extend(0x0001_0000_u32.to_be_bytes());
    body.extend([0, 1, 0, 1, 0, 0, 0, 1]);
    body
}

struct Ends<'a> {
    side: Side,
    client: &'a Wire,
    server: &'a Wire,
}

impl Ends<'_> {
    /// Sends a chunk and waits for it at the other end, translated, its checksum good.
    fn pass(&self, from_client: bool, tag: u32, chunk: &[u8]) {
        let Side {
            client,
            server,
            back,
            ..
        } = self.side;
        let (near, far, src, dst, seen_src, seen_dst, ports) = if from_client {
            (
                self.client,
                self.server,
                client,
                server,
                back,
                server,
                PORTS,
            )
        } else {
            let ports = (PORTS.1, PORTS.0);
            (
                self.server,
                self.client,
                server,
                back,
                server,
                client,
                ports,
            )
        };
        let mut payload = ports.0.to_be_bytes().to_vec();
        payload.extend(ports.1.to_be_bytes());
        payload.extend(tag.to_be_bytes());
        payload.extend([0; 4]);
        payload.extend(chunk);
        let sum = crc32c(&payload);
        payload[8..12].copy_from_slice(&sum.to_le_bytes());
        let packet = Packet {
            src,
            dst,
            protocol: PROTOCOL,
            payload,
        };
        near.send(&packet);
        let heard = far.hear(seen_dst, PROTOCOL, |_| true);
        assert_eq!((heard.src, heard.dst), (seen_src, seen_dst));
        assert_eq!(heard.payload, packet.payload);
    }
}

fn info(entry: &Entry) -> SctpInfo {
    match entry.proto_info() {
        Some(ProtoInfo::Sctp(info)) => *info,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_association_passes_through_its_states() {
    let world = World::new();
    let bystander = world.bystander();
    let (client, server) = (Wire::new(&world.client), Wire::new(&world.server));
    let mut events = world.events();
    for side in SIDES {
        let ends = Ends {
            side,
            client: &client,
            server: &server,
        };
        let orig = Tuple::sctp(at(side.client, PORTS.0), at(side.server, PORTS.1)).unwrap();
        let reply = Tuple::sctp(at(side.server, PORTS.1), at(side.back, PORTS.0)).unwrap();
        let mut sent = [(0, 0); 2];
        let mut id = None;
        let (mut status, mut assured) = (
            Status::SRC_NAT | Status::SRC_NAT_DONE | Status::DST_NAT_DONE | Status::CONFIRMED,
            false,
        );
        let steps = [
            (
                true,
                0,
                chunk(INIT, &opening(CLIENTS_TAG)),
                SctpState::Closed,
            ),
            (
                false,
                CLIENTS_TAG,
                chunk(
                    INIT_ACK,
                    &[opening(SERVERS_TAG), vec![0, 7, 0, 8, 1, 2, 3, 4]].concat(),
                ),
                SctpState::CookieWait,
            ),
            (
                true,
                SERVERS_TAG,
                chunk(COOKIE_ECHO, &[1, 2, 3, 4]),
                SctpState::CookieEchoed,
            ),
            (
                false,
                CLIENTS_TAG,
                chunk(COOKIE_ACK, &[]),
                SctpState::Established,
            ),
            (
                true,
                SERVERS_TAG,
                chunk(DATA, b"\0\0\0\x01\0\0\0\0\0\0\0\0hello"),
                SctpState::Established,
            ),
            (
                true,
                SERVERS_TAG,
                chunk(SHUTDOWN, &[0, 0, 0, 0]),
                SctpState::ShutdownSent,
            ),
            (
                false,
                CLIENTS_TAG,
                chunk(SHUTDOWN_ACK, &[]),
                SctpState::ShutdownAckSent,
            ),
            (
                true,
                SERVERS_TAG,
                chunk(SHUTDOWN_COMPLETE, &[]),
                SctpState::Closed,
            ),
        ];
        for (step, (from_client, tag, chunk, state)) in steps.into_iter().enumerate() {
            ends.pass(from_client, tag, &chunk);
            let way = &mut sent[usize::from(!from_client)];
            way.0 += 1;
            way.1 += side.header + 12 + chunk.len() as u64;
            // Data changes nothing, and is no event.
            if step != 4 {
                let event = if step == 0 {
                    new(&mut events, &orig)
                } else {
                    update(&mut events, &orig)
                };
                if step == 1 {
                    status |= Status::SEEN_REPLY;
                }
                if state == SctpState::Established {
                    assured = true;
                }
                if assured {
                    status |= Status::ASSURED;
                }
                assert_eq!(event.status(), Some(status), "{step}");
                assert_eq!(*id.get_or_insert(event.id()), event.id());
            }
            silence(&mut events);
            let entries = agreed(&world.ct);
            assert_eq!(entries.len(), 2);
            let entry = entries.iter().find(|entry| *entry.orig() == orig).unwrap();
            assert_eq!(*entry.reply(), reply);
            assert_eq!(entry.status(), Some(status), "{step}");
            assert_eq!(counters(entry), sent.map(Some), "{step}");
            // The tag of a direction is the one that its packets carry: the other end's choice.
            let orig_tag = if step == 0 { 0 } else { SERVERS_TAG };
            assert_eq!(
                info(entry),
                SctpInfo::new(state, orig_tag, CLIENTS_TAG),
                "{step}"
            );
        }
        let entry = world.flow(&orig);
        world.ct.delete(&entry).unwrap();
        let gone = destroy(&mut events, &orig);
        assert_eq!((Some(gone.id()), counters(&gone)), (id, sent.map(Some)));
        silence(&mut events);
        world.assert_spared(&bystander);
    }
}
