//! TCP from its first packet to its last, and cut off.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use ctnetlink::{Event, Status, TcpFlags, TcpState, Tuple};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use super::proc::agreed;
use super::rules::{WEB, tcp_counted};
use super::world::{SIDES, SOON, Side, World, at, counters, destroy, new, silence, sysctl, update};
use crate::capabilities::Capability;

const TRANSLATED: Status = Status::SRC_NAT
    .union(Status::DST_NAT)
    .union(Status::SRC_NAT_DONE)
    .union(Status::DST_NAT_DONE)
    .union(Status::CONFIRMED);

/// A connection through both translations: the client's end, the server's, and its tuples.
pub(super) struct Connection {
    pub(super) client: TcpStream,
    pub(super) server: TcpStream,
    pub(super) orig: Tuple,
    reply: Tuple,
}

pub(super) fn connect(world: &World, side: Side) -> Connection {
    let (front, www) = WEB;
    let listener = world
        .server
        .run(move || TcpListener::bind((side.server, www)).unwrap());
    let client = world
        .client
        .run(move || TcpStream::connect_timeout(&at(side.front, front), SOON).unwrap());
    let (server, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip(), side.back);
    for end in [&client, &server] {
        end.set_read_timeout(Some(SOON)).unwrap();
    }
    Connection {
        orig: Tuple::tcp(client.local_addr().unwrap(), at(side.front, front)).unwrap(),
        reply: Tuple::tcp(at(side.server, www), peer).unwrap(),
        client,
        server,
    }
}

/// What the last event says of the state.
fn last_state(state: TcpState) -> Option<TcpState> {
    Capability::LastState.is_there().then_some(state)
}

/// Packets and bytes of TCP each way that nftables counted since then.
fn counted_since(before: [(u64, u64); 2]) -> [Option<(u64, u64)>; 2] {
    let now = tcp_counted();
    [0, 1].map(|way| Some((now[way].0 - before[way].0, now[way].1 - before[way].1)))
}

#[test]
fn a_connection_passes_through_its_states() {
    let world = World::new();
    let bystander = world.bystander();
    let mut events = world.events();
    for side in SIDES {
        let before = tcp_counted();
        let Connection {
            mut client,
            mut server,
            orig,
            reply,
        } = connect(&world, side);
        let made = new(&mut events, &orig);
        assert_eq!(*made.reply(), reply);
        assert_eq!(made.status(), Some(TRANSLATED));
        assert_eq!(made.tcp_state(), Some(TcpState::SynSent));
        let answered = update(&mut events, &orig);
        assert_eq!(answered.status(), Some(TRANSLATED | Status::SEEN_REPLY));
        assert_eq!(answered.tcp_state(), Some(TcpState::SynRecv));
        let settled = TRANSLATED | Status::SEEN_REPLY | Status::ASSURED;
        let open = update(&mut events, &orig);
        assert_eq!(open.status(), Some(settled));
        assert_eq!(open.tcp_state(), Some(TcpState::Established));

        // What is said is no event, but it is counted.
        client.write_all(&[1; 1000]).unwrap();
        server.read_exact(&mut [0; 1000]).unwrap();
        let writing = std::thread::spawn(move || {
            server.write_all(&vec![2; 100_000]).unwrap();
            server
        });
        client.read_exact(&mut vec![0; 100_000]).unwrap();
        let mut server = writing.join().unwrap();
        silence(&mut events);
        let entries = agreed(&world.ct);
        assert_eq!(entries.len(), 2);
        let entry = entries.iter().find(|entry| *entry.orig() == orig).unwrap();
        assert_eq!(entry.id(), made.id());
        assert_eq!(*entry.reply(), reply);
        assert_eq!(entry.status(), Some(settled));
        let info = entry.tcp_info().unwrap();
        assert_eq!(info.state, Some(TcpState::Established));
        assert!(info.orig_window_scale.is_some() && info.reply_window_scale.is_some());
        for change in [info.orig_flags, info.reply_flags] {
            let usual = TcpFlags::WINDOW_SCALE | TcpFlags::SACK_PERM;
            assert_eq!(change.unwrap().flags & usual, usual);
        }

        // The end, step by step. Each is waited for, so that none is passed over.
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut states = vec![update(&mut events, &orig).tcp_state().unwrap()];
        assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
        states.push(update(&mut events, &orig).tcp_state().unwrap());
        drop(server);
        states.push(update(&mut events, &orig).tcp_state().unwrap());
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        states.push(update(&mut events, &orig).tcp_state().unwrap());
        let want = [
            TcpState::FinWait,
            TcpState::CloseWait,
            TcpState::LastAck,
            TcpState::TimeWait,
        ];
        assert_eq!(states, want);

        // After the last packet: what nftables counted beside conntrack.
        // They are two reads, and an end that waited for long may say something again.
        let (entries, counted) = std::iter::repeat_with(|| {
            let counted = counted_since(before);
            (agreed(&world.ct), counted)
        })
        .take(100)
        .find(|(_, counted)| *counted == counted_since(before))
        .expect("packets without end");
        let entry = entries.iter().find(|entry| *entry.orig() == orig).unwrap();
        assert_eq!(counters(entry), counted);
        for (way, payload) in [(0, 1000), (1, 100_000)] {
            let (packets, bytes) = counted[way].unwrap();
            assert!(bytes >= payload + packets * (side.header + 20));
        }

        world.ct.delete(entry).unwrap();
        let gone = destroy(&mut events, &orig);
        assert_eq!((gone.id(), counters(&gone)), (made.id(), counted));
        assert_eq!(gone.tcp_state(), last_state(TcpState::TimeWait));
        silence(&mut events);
        world.assert_spared(&bystander);
    }
}

/// Cut off with a reset; then its time runs out, and the kernel ends it.
#[test]
fn a_reset_connection_ends_by_itself() {
    let world = World::new();
    let bystander = world.bystander();
    sysctl("netfilter/nf_conntrack_tcp_timeout_close", "1");
    let mut events = world.events();
    for side in SIDES {
        let Connection {
            client,
            server,
            orig,
            ..
        } = connect(&world, side);
        let made = new(&mut events, &orig);
        update(&mut events, &orig);
        update(&mut events, &orig);
        let at_once = linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(&client, sockopt::Linger, &at_once).unwrap();
        drop(client);
        let closed = update(&mut events, &orig);
        drop(server);
        assert_eq!(closed.tcp_state(), Some(TcpState::Close));
        assert!(closed.timeout().unwrap() <= Duration::from_secs(1));
        // The kernel removes what has expired when it comes by; a walk of the table lets it.
        let until = Instant::now() + SOON;
        let gone = loop {
            match events.next_within(Duration::from_millis(50)).unwrap() {
                Some(Event::Destroy(gone)) => break gone,
                None => drop(agreed(&world.ct)),
                other => panic!("{other:?}"),
            }
            assert!(Instant::now() < until, "it never ended");
        };
        assert_eq!((gone.id(), gone.orig()), (made.id(), &orig));
        assert_eq!(gone.tcp_state(), last_state(TcpState::Close));
        let stamps = gone.timestamps().unwrap();
        let lived = stamps
            .stop()
            .unwrap()
            .duration_since(stamps.start().unwrap());
        // The time-out is kept in ticks of the kernel, the stamps in nanoseconds.
        assert!(lived.unwrap() > Duration::from_millis(900), "{stamps:?}");
        silence(&mut events);
        assert_eq!(agreed(&world.ct).len(), 1);
        world.assert_spared(&bystander);
    }
}

/// A refusal leaves nothing behind: the kernel does not wait for what cannot come.
#[test]
fn a_refused_connection_is_gone_at_once() {
    let world = World::new();
    let bystander = world.bystander();
    let mut events = world.events();
    for side in SIDES {
        let before = tcp_counted();
        let to = at(side.plain, 81);
        let refused = world
            .client
            .run(move || TcpStream::connect_timeout(&to, SOON).unwrap_err());
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        let Some(Event::New(made)) = events.next_within(SOON).unwrap() else {
            panic!("a new flow");
        };
        let orig = *made.orig();
        assert_eq!((orig.src(), orig.dst()), (side.client, side.plain));
        assert_eq!(orig.dst_port(), Some(81));
        let gone = destroy(&mut events, &orig);
        assert_eq!(gone.id(), made.id());
        // The reset passes with its entry, which is in no table any more.
        let counted = counted_since(before);
        assert_eq!(counters(&gone), counted);
        assert_eq!(counted[1], Some((1, side.header + 20)));
        silence(&mut events);
        assert_eq!(agreed(&world.ct).len(), 1);
        world.assert_spared(&bystander);
    }
}
