//! FTP through both translations: a helper that reads along, rewrites addresses, shifts sequence
//! numbers, and expects the connections that the two ends agree on.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use ctnetlink::{
    Conntrack, Entry, Event, EventGroups, Events, ExpectMask, Expectation, Family, Helper,
    SeqAdjust, Status, TcpState, Tuple,
};

use super::proc::agreed;
use super::rules::FTP;
use super::world::{Place, SIDES, SOON, Side, World, at, destroy, new, silence, sysctl, update};
use crate::support::run;

const NAT_DONE: Status = Status::SRC_NAT_DONE.union(Status::DST_NAT_DONE);
const OPEN: Status = Status::CONFIRMED
    .union(Status::SEEN_REPLY)
    .union(Status::ASSURED)
    .union(NAT_DONE);

/// The control connection, both ends.
struct Control {
    client: TcpStream,
    server: TcpStream,
    orig: Tuple,
}

/// Sends a line, and gives what arrives at the other end.
fn pass(mut from: &TcpStream, mut to: &TcpStream, line: &str) -> String {
    // In one segment: the helper does not put commands together.
    from.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"\r\n") {
        let mut byte = [0];
        to.read_exact(&mut byte).unwrap();
        got.extend(byte);
    }
    String::from_utf8(got).unwrap().trim_end().to_owned()
}

impl Control {
    fn open(world: &World, side: Side) -> Self {
        let listener = listen(&world.server, side.server, FTP);
        let client = connect(&world.client, at(side.front, FTP));
        let (server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(SOON)).unwrap();
        server.set_nodelay(true).unwrap();
        let orig = Tuple::tcp(client.local_addr().unwrap(), at(side.front, FTP)).unwrap();
        let control = Self {
            client,
            server,
            orig,
        };
        // The helper looks for commands only behind an end of a line that it saw.
        control.answer("220 ready");
        control.ask("USER anonymous");
        control.answer("230 welcome");
        control
    }

    fn ask(&self, line: &str) -> String {
        pass(&self.client, &self.server, line)
    }

    fn answer(&self, line: &str) -> String {
        pass(&self.server, &self.client, line)
    }
}

fn listen(place: &Place, address: IpAddr, port: u16) -> TcpListener {
    place.run(move || TcpListener::bind((address, port)).unwrap())
}

fn connect(place: &Place, to: SocketAddr) -> TcpStream {
    let stream = place.run(move || TcpStream::connect_timeout(&to, SOON));
    let stream = stream.unwrap_or_else(|error| panic!("{to}: {error}"));
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// `h1,h2,h3,h4,p1,p2` (RFC 959), or `|2|address|port|` (RFC 2428).
fn active(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => {
            let [high, low] = v4.port().to_be_bytes();
            let host = v4.ip().to_string().replace('.', ",");
            format!("PORT {host},{high},{low}")
        }
        SocketAddr::V6(v6) => format!("EPRT |2|{}|{}|", v6.ip(), v6.port()),
    }
}

/// The answer to PASV, or to EPSV, which is silent of the address.
fn passive(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(_) => {
            let numbers = active(address).replace("PORT ", "");
            format!("227 Entering Passive Mode ({numbers})")
        }
        SocketAddr::V6(v6) => {
            format!("229 Entering Extended Passive Mode (|||{}|)", v6.port())
        }
    }
}

/// What such a line says, `silent` standing for an address that it does not say.
fn agreed_on(line: &str, silent: IpAddr) -> SocketAddr {
    let parts: Vec<&str> = line.split(['|', '(', ')', ' ']).collect();
    if line.contains('|') {
        let numbers: Vec<&str> = line.split('|').collect();
        let address = match numbers[2] {
            "" => silent,
            said => said.parse().unwrap(),
        };
        return SocketAddr::new(address, numbers[3].parse().unwrap());
    }
    let numbers = parts.into_iter().find(|part| part.contains(',')).unwrap();
    let numbers: Vec<u8> = numbers.split(',').map(|n| n.parse().unwrap()).collect();
    let [a, b, c, d, high, low] = numbers[..] else {
        panic!("{line}");
    };
    at([a, b, c, d].into(), u16::from_be_bytes([high, low]))
}

/// What is expected between the command and the connection: one flow from `src` to `dst`, or none.
///
/// Listed by this library and by conntrack(8).
fn expectations(
    ct: &Conntrack,
    control: &Control,
    expected: Option<(IpAddr, SocketAddr)>,
) -> Option<Expectation> {
    let listed: Vec<_> = ct
        .expectations()
        .list()
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let family = if control.orig.src().is_ipv4() {
        "ipv4"
    } else {
        "ipv6"
    };
    let text = run("conntrack", &["-L", "expect", "-f", family]);
    let lines: Vec<&str> = text.lines().collect();
    let Some((src, dst)) = expected else {
        assert_eq!(lines, [""; 0]);
        assert_eq!(listed, []);
        return None;
    };
    let [expectation] = &listed[..] else {
        panic!("{listed:?}");
    };
    let from = at(src, 0);
    assert_eq!(*expectation.tuple(), Tuple::tcp(from, dst).unwrap());
    assert_eq!(
        expectation.mask(),
        ExpectMask::any_port(Family::of(src)),
        "{expectation}"
    );
    assert_eq!(*expectation.master(), control.orig);
    assert_eq!(expectation.helper(), Some(Helper::FTP));
    assert_eq!(expectation.function(), Some("nat-follow-master"));
    assert_eq!(expectation.class(), Some(0));
    assert_eq!(expectation.unknown(), []);
    assert_eq!(lines.len(), 1, "{text}");
    let words: Vec<&str> = lines[0].split_whitespace().collect();
    for want in [
        "proto=6".to_owned(),
        format!("src={src}"),
        format!("dst={}", dst.ip()),
        format!("dport={}", dst.port()),
        format!("master-src={}", control.orig.src()),
        format!("master-dst={}", control.orig.dst()),
        "helper=ftp".to_owned(),
    ] {
        assert!(words.contains(&want.as_str()), "{want} in {text}");
    }
    Some(expectation.clone())
}

/// What is heard of expectations: one that was made, and has ended again.
fn heard(events: &mut Events, expectation: &Expectation) {
    for ended in [false, true] {
        let event = events.next_within(SOON).unwrap().expect("an event");
        match (ended, &event) {
            (false, Event::ExpectNew(heard)) | (true, Event::ExpectDestroy(heard)) => {
                assert_eq!(
                    (heard.id(), heard.tuple(), heard.master(), heard.nat()),
                    (
                        expectation.id(),
                        expectation.tuple(),
                        expectation.master(),
                        expectation.nat()
                    )
                );
            }
            _ => panic!("{event:?}"),
        }
    }
}

fn found(entries: &[Entry], orig: &Tuple) -> Entry {
    let entry = entries.iter().find(|entry| entry.orig() == orig);
    entry.unwrap_or_else(|| panic!("{orig:?}")).clone()
}

/// The data connection as it is heard and listed, from its first packet to its third.
fn data(
    world: &World,
    events: &mut Events,
    control: &Control,
    orig: &Tuple,
    reply: &Tuple,
) -> Entry {
    let made = new(events, orig);
    let translated = made.status().unwrap();
    assert!(
        translated.contains(Status::EXPECTED | Status::CONFIRMED | NAT_DONE),
        "{translated}"
    );
    assert_eq!(made.reply(), reply);
    assert_eq!(made.master(), Some(&control.orig));
    assert_eq!(made.tcp_state(), Some(TcpState::SynSent));
    update(events, orig);
    let open = update(events, orig);
    assert_eq!(open.tcp_state(), Some(TcpState::Established));
    let entries = agreed(&world.ct);
    let entry = found(&entries, orig);
    assert_eq!(
        entry.status(),
        Some(OPEN | Status::EXPECTED | (translated & (Status::SRC_NAT | Status::DST_NAT)))
    );
    assert_eq!((entry.id(), entry.reply()), (made.id(), reply));
    assert_eq!(entry.master(), Some(&control.orig));
    // The helper is the master's alone.
    assert_eq!(entry.helper(), None);
    entry
}

fn grown(sent: &str, arrived: &str) -> i32 {
    i32::try_from(arrived.len()).unwrap() - i32::try_from(sent.len()).unwrap()
}

fn offsets(adjust: Option<SeqAdjust>) -> Option<(i32, i32)> {
    adjust.map(|adjust| (adjust.offset_before, adjust.offset_after))
}

#[test]
fn a_helper_rewrites_shifts_and_expects() {
    for side in SIDES {
        let world = World::new();
        let bystander = world.bystander();
        // Acknowledgements that come late must not make an entry of a connection that was deleted.
        sysctl("netfilter/nf_conntrack_tcp_loose", "0");
        let control = Control::open(&world, side);
        let mut events = world.events();
        let foresight = EventGroups::EXPECT_NEW | EventGroups::EXPECT_DESTROY;
        let mut foresight = world.ct.events().groups(foresight).open().unwrap();
        let translated = Status::SRC_NAT | Status::DST_NAT;
        let entry = found(&agreed(&world.ct), &control.orig);
        assert_eq!(entry.helper(), Some(Helper::FTP));
        assert_eq!(entry.status(), Some(OPEN | translated | Status::HELPER));
        assert_eq!(entry.orig_seq_adjust(), None);
        assert_eq!(entry.master(), None);
        expectations(&world.ct, &control, None);

        // The client names itself; the server is told of the gateway.
        let listener = listen(&world.client, side.client, 0);
        let client = listener.local_addr().unwrap();
        let said = active(client);
        let arrived = control.ask(&said);
        let back = agreed_on(&arrived, side.back);
        assert_eq!(back, at(side.back, client.port()), "{arrived}");
        let first = grown(&said, &arrived);
        assert_ne!(first, 0);
        let foreseen = expectations(&world.ct, &control, Some((side.server, back))).unwrap();
        // The address is the master's, so the helper saves the port alone.
        let nat = foreseen.nat().unwrap();
        assert!(nat.address.is_unspecified(), "{nat:?}");
        assert_eq!(nat.port, client.port());
        control.answer("200 fine");
        // The kernel shifts without saying so: only who looks finds out.
        silence(&mut events);
        let entry = found(&agreed(&world.ct), &control.orig);
        let adjusted = OPEN | translated | Status::HELPER | Status::SEQ_ADJUST;
        assert_eq!(entry.status(), Some(adjusted));
        assert_eq!(offsets(entry.orig_seq_adjust()), Some((0, first)));
        assert_eq!(offsets(entry.reply_seq_adjust()), Some((0, 0)));

        // The connection that was expected: from the server, to the client in the end.
        let stream = connect(&world.server, back);
        let (far, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), side.front);
        let source = stream.local_addr().unwrap();
        let orig = Tuple::tcp(source, back).unwrap();
        let reply = Tuple::tcp(client, peer).unwrap();
        let one = data(&world, &mut events, &control, &orig, &reply);
        heard(&mut foresight, &foreseen);
        expectations(&world.ct, &control, None);

        // The server names itself; the client is told of the gateway, or of a port alone.
        control.ask(if side.client.is_ipv4() {
            "PASV"
        } else {
            "EPSV"
        });
        let second_listener = listen(&world.server, side.server, 0);
        let server = second_listener.local_addr().unwrap();
        let said = passive(server);
        let arrived = control.answer(&said);
        let front = agreed_on(&arrived, side.front);
        assert_eq!(front, at(side.front, server.port()), "{arrived}");
        let second = grown(&said, &arrived);
        assert_eq!(second == 0, side.client.is_ipv6());
        let foreseen = expectations(&world.ct, &control, Some((side.client, front))).unwrap();
        assert_eq!(foreseen.nat().unwrap().port, server.port());
        silence(&mut events);
        let second_stream = connect(&world.client, front);
        let (second_far, peer) = second_listener.accept().unwrap();
        assert_eq!(peer.ip(), side.back);
        let orig = Tuple::tcp(second_stream.local_addr().unwrap(), front).unwrap();
        let reply = Tuple::tcp(server, peer).unwrap();
        let two = data(&world, &mut events, &control, &orig, &reply);
        heard(&mut foresight, &foreseen);
        expectations(&world.ct, &control, None);

        // The second shift of a direction begins where the first left off.
        let third_listener = listen(&world.client, side.client, 0);
        let said = active(third_listener.local_addr().unwrap());
        let arrived = control.ask(&said);
        let third = grown(&said, &arrived);
        let entry = found(&agreed(&world.ct), &control.orig);
        assert_eq!(
            offsets(entry.orig_seq_adjust()),
            Some((first, first + third))
        );
        assert_eq!(offsets(entry.reply_seq_adjust()), Some((0, second)));
        silence(&mut events);

        // Without its master a connection stays what it is; only what was expected is gone.
        world.ct.delete(&entry).unwrap();
        destroy(&mut events, &control.orig);
        expectations(&world.ct, &control, None);
        let entries = agreed(&world.ct);
        assert_eq!(entries.len(), 3);
        for data in [&one, &two] {
            let now = found(&entries, data.orig());
            assert_eq!((now.id(), now.status()), (data.id(), data.status()));
            assert_eq!(now.master(), Some(&control.orig));
        }
        world.assert_spared(&bystander);
        drop((stream, far, second_stream, second_far));
    }
}
