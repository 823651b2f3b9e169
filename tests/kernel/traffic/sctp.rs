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

/// A packet, and what the tracker makes of it.
struct Step {
    from_client: bool,
    tag: u32,
    chunk: Vec<u8>,
    state: SctpState,
    /// What it adds to the status.
    gains: Status,
    /// Whether it is an event.
    told: bool,
}

/// From the first packet to the last.
fn steps() -> Vec<Step> {
    let cookie = vec![0, 7, 0, 8, 1, 2, 3, 4];
    let from_client = |chunk, state| Step {
        from_client: true,
        tag: SERVERS_TAG,
        chunk,
        state,
        gains: Status::empty(),
        told: true,
    };
    let from_server = |chunk, state| Step {
        from_client: false,
        tag: CLIENTS_TAG,
        ..from_client(chunk, state)
    };
    vec![
        Step {
            tag: 0,
            ..from_client(chunk(INIT, &opening(CLIENTS_TAG)), SctpState::Closed)
        },
        Step {
            gains: Status::SEEN_REPLY,
            ..from_server(
                chunk(INIT_ACK, &[opening(SERVERS_TAG), cookie].concat()),
                SctpState::CookieWait,
            )
        },
        from_client(chunk(COOKIE_ECHO, &[1, 2, 3, 4]), SctpState::CookieEchoed),
        Step {
            gains: Status::ASSURED,
            ..from_server(chunk(COOKIE_ACK, &[]), SctpState::Established)
        },
        Step {
            told: false,
            ..from_client(
                chunk(DATA, b"\0\0\0\x01\0\0\0\0\0\0\0\0hello"),
                SctpState::Established,
            )
        },
        from_client(chunk(SHUTDOWN, &[0; 4]), SctpState::ShutdownSent),
        from_server(chunk(SHUTDOWN_ACK, &[]), SctpState::ShutdownAckSent),
        from_client(chunk(SHUTDOWN_COMPLETE, &[]), SctpState::Closed),
    ]
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
        let mut status =
            Status::SRC_NAT | Status::SRC_NAT_DONE | Status::DST_NAT_DONE | Status::CONFIRMED;
        let mut id = None;
        let mut last = None;
        for (n, mut step) in steps().into_iter().enumerate() {
            ends.pass(step.from_client, step.tag, &step.chunk);
            let way = &mut sent[usize::from(!step.from_client)];
            way.0 += 1;
            way.1 += side.header + 12 + step.chunk.len() as u64;
            status |= step.gains;
            let entries = agreed(&world.ct);
            assert_eq!(entries.len(), 2);
            let entry = entries.iter().find(|entry| *entry.orig() == orig).unwrap();
            // Older kernels have the first packet wait for the cookie at once.
            if n == 0 && info(entry).state == SctpState::CookieWait {
                step.state = SctpState::CookieWait;
            }
            // The tag of a direction is the one that its packets carry: the other end's choice.
            let orig_tag = if n == 0 { 0 } else { SERVERS_TAG };
            let known = SctpInfo::new(step.state, orig_tag, CLIENTS_TAG);
            assert_eq!(
                (entry.reply(), entry.status()),
                (&reply, Some(status)),
                "{n}"
            );
            assert_eq!(counters(entry), sent.map(Some), "{n}");
            assert_eq!(info(entry), known, "{n}");
            if step.told {
                let event = if n == 0 {
                    new(&mut events, &orig)
                } else {
                    update(&mut events, &orig)
                };
                assert_eq!(
                    (event.reply(), event.status()),
                    (&reply, Some(status)),
                    "{n}"
                );
                // Said only when the state is another than before.
                let said = last.replace(step.state) != Some(step.state);
                let told = said.then_some(ProtoInfo::Sctp(known));
                assert_eq!(event.proto_info(), told.as_ref(), "{n}");
                assert_eq!(*id.get_or_insert(event.id()), event.id());
            }
            silence(&mut events);
        }
        let entry = world.flow(&orig);
        world.ct.delete(&entry).unwrap();
        let gone = destroy(&mut events, &orig);
        assert_eq!((Some(gone.id()), counters(&gone)), (id, sent.map(Some)));
        assert_eq!(gone.reply(), &reply);
        silence(&mut events);
        world.assert_spared(&bystander);
    }
}
