//! UDP, one way and both, translated and not, with marks and zones.

use std::time::{Duration, Instant};

use ctnetlink::{Entry, EntryZone, Status, Tuple, Zone};

use super::proc::agreed;
use super::rules::{DNS, MARKED, ORIG_ZONED, REPLY_ZONED, ZONED};
use super::world::{SIDES, SOON, Side, V4, World, at, counters, destroy, new, silence, update};
use crate::support::run;

const NAT_DONE: Status = Status::SRC_NAT_DONE.union(Status::DST_NAT_DONE);

fn only<'a>(entries: &'a [Entry], orig: &Tuple) -> &'a Entry {
    let mut found = entries.iter().filter(|entry| entry.orig() == orig);
    let entry = found.next().expect("the flow");
    assert_eq!(found.next(), None);
    entry
}

#[test]
fn a_translated_flow_lives_and_ends() {
    let world = World::new();
    let bystander = world.bystander();
    let mut events = world.events();
    for side in SIDES {
        let asking = world.client.udp(side.client, 0);
        let answering = world.server.udp(side.server, DNS.1);
        let from = asking.local_addr().unwrap();
        let orig = Tuple::udp(from, at(side.front, DNS.0)).unwrap();
        let overhead = side.header + 8;

        // One way.
        asking.send_to(&[1; 100], (side.front, DNS.0)).unwrap();
        let (length, seen) = answering.recv_from(&mut [0; 200]).unwrap();
        assert_eq!((length, seen.ip()), (100, side.back));
        let reply = Tuple::udp(at(side.server, DNS.1), seen).unwrap();
        let made = new(&mut events, &orig);
        assert_eq!(*made.reply(), reply);
        let translated = Status::SRC_NAT | Status::DST_NAT | NAT_DONE | Status::CONFIRMED;
        assert_eq!(made.status(), Some(translated));
        let entries = agreed(&world.ct);
        assert_eq!(entries.len(), 2);
        let entry = only(&entries, &orig);
        assert_eq!(entry.id(), made.id());
        assert_eq!(*entry.reply(), reply);
        assert_eq!(entry.status(), Some(translated));
        assert_eq!(counters(entry), [Some((1, 100 + overhead)), Some((0, 0))]);
        assert_eq!(entry.proto_info(), None);
        assert_eq!((entry.mark(), entry.use_count()), (Some(0), Some(1)));

        // Answered.
        answering.send_to(&[2; 7], seen).unwrap();
        let (length, seen) = asking.recv_from(&mut [0; 200]).unwrap();
        assert_eq!((length, seen), (7, at(side.front, DNS.0)));
        let answered = update(&mut events, &orig);
        assert_eq!(answered.id(), made.id());
        assert_eq!(answered.status(), Some(translated | Status::SEEN_REPLY));
        let entries = agreed(&world.ct);
        let entry = only(&entries, &orig);
        assert_eq!(entry.status(), Some(translated | Status::SEEN_REPLY));
        let both = [Some((1, 100 + overhead)), Some((1, 7 + overhead))];
        assert_eq!(counters(entry), both);

        // More of the same is no event.
        asking.send_to(&[], (side.front, DNS.0)).unwrap();
        answering.recv_from(&mut [0; 1]).unwrap();
        silence(&mut events);

        world.ct.delete(entry).unwrap();
        let gone = destroy(&mut events, &orig);
        assert_eq!(gone.id(), made.id());
        let all = [Some((2, 100 + 2 * overhead)), Some((1, 7 + overhead))];
        assert_eq!(counters(&gone), all);
        let stamps = gone.timestamps().unwrap();
        assert_eq!(stamps.start(), entry.timestamps().unwrap().start());
        assert!(stamps.start() <= stamps.stop(), "{stamps:?}");
        silence(&mut events);
        world.assert_spared(&bystander);
    }
}

/// What is made again of a listed entry is translated as before, by the entry alone: the rules are gone.
#[test]
fn a_restored_flow_is_translated_as_before() {
    let world = World::new();
    let bystander = world.bystander();
    let mut saved = Vec::new();
    for side in SIDES {
        let asking = world.client.udp(side.client, 0);
        let answering = world.server.udp(side.server, DNS.1);
        let front = at(side.front, DNS.0);
        asking.send_to(b"?", front).unwrap();
        let (_, seen) = answering.recv_from(&mut [0; 8]).unwrap();
        let orig = Tuple::udp(asking.local_addr().unwrap(), front).unwrap();
        let entry = world.flow(&orig);
        world.ct.delete(&entry).unwrap();
        saved.push((asking, answering, front, seen, entry));
    }
    // Chains that translate, without a rule that says to what.
    run("nft", &["flush chain inet gateway pre"]);
    run("nft", &["flush chain inet gateway post"]);
    for (asking, answering, front, seen, old) in saved {
        world.ct.create(&old.to_new().unwrap()).unwrap();
        let restored = world.flow(old.orig());
        assert_eq!(restored.reply(), old.reply());
        assert_eq!(restored.status(), old.status());
        asking.send_to(b"?", front).unwrap();
        let (_, from) = answering.recv_from(&mut [0; 8]).unwrap();
        assert_eq!(from, seen);
        answering.send_to(b"!", from).unwrap();
        assert_eq!(asking.recv_from(&mut [0; 8]).unwrap().1, front);
        assert_eq!(world.flow(old.orig()).id(), restored.id());
    }
    world.assert_spared(&bystander);
}

/// A question and its answer, without translation.
fn exchange(world: &World, side: Side, port: u16) -> Tuple {
    let asking = world.client.udp(side.client, 0);
    let answering = world.server.udp(side.plain, port);
    asking.send_to(b"?", (side.plain, port)).unwrap();
    let (_, from) = answering.recv_from(&mut [0; 8]).unwrap();
    assert_eq!(from, asking.local_addr().unwrap());
    answering.send_to(b"!!", from).unwrap();
    asking.recv_from(&mut [0; 8]).unwrap();
    Tuple::udp(from, at(side.plain, port)).unwrap()
}

#[test]
fn marks_and_zones_are_those_of_the_rules() {
    let world = World::new();
    let bystander = world.bystander();
    let mut made = Vec::new();
    for side in SIDES {
        for (port, mark, zone) in [
            (MARKED.0, MARKED.1, EntryZone::default()),
            (ZONED.0, 0, EntryZone::Both(Zone::new(ZONED.1))),
            (ORIG_ZONED.0, 0, EntryZone::Orig(Zone::new(ORIG_ZONED.1))),
            (REPLY_ZONED.0, 0, EntryZone::Reply(Zone::new(REPLY_ZONED.1))),
        ] {
            made.push((exchange(&world, side, port), side, mark, zone));
        }
    }
    let entries = agreed(&world.ct);
    assert_eq!(entries.len(), made.len() + 1);
    for (orig, side, mark, zone) in &made {
        let entry = only(&entries, orig);
        assert_eq!(*entry.reply(), orig.reply());
        assert_eq!((entry.mark(), entry.zone()), (Some(*mark), *zone));
        // That nothing is to be translated was decided, too.
        let seen = Status::CONFIRMED | Status::SEEN_REPLY | NAT_DONE;
        assert_eq!(entry.status(), Some(seen));
        let overhead = side.header + 8;
        let both = [Some((1, 1 + overhead)), Some((1, 2 + overhead))];
        assert_eq!(counters(entry), both);
    }
    // Each is deleted alone, from whatever zone.
    while let Some((orig, ..)) = made.pop() {
        world.ct.delete(only(&entries, &orig)).unwrap();
        let left = agreed(&world.ct);
        assert_eq!(left.len(), made.len() + 1);
        for (orig, ..) in &made {
            assert_eq!(only(&left, orig).id(), only(&entries, orig).id());
        }
        world.assert_spared(&bystander);
    }
}

/// The kernel takes a flow of more than two seconds for a stream, which matters and is kept longer.
#[test]
fn a_stream_is_assured() {
    let world = World::new();
    let bystander = world.bystander();
    let mut events = world.events();
    let asking = world.client.udp(V4.client, 0);
    let answering = world.server.udp(V4.plain, 4447);
    let to = at(V4.plain, 4447);
    let orig = Tuple::udp(asking.local_addr().unwrap(), to).unwrap();
    let until = Instant::now() + SOON;
    let mut told = Vec::new();
    let mut rounds = 0;
    while told.len() < 3 {
        assert!(Instant::now() < until, "{told:?} after {rounds} rounds");
        asking.send_to(b"?", to).unwrap();
        let (_, from) = answering.recv_from(&mut [0; 8]).unwrap();
        answering.send_to(b"!", from).unwrap();
        asking.recv_from(&mut [0; 8]).unwrap();
        rounds += 1;
        let event = events.next_within(Duration::from_millis(100)).unwrap();
        told.extend(event.into_iter().map(|event| {
            let entry = event.entry().unwrap();
            assert_eq!(*entry.orig(), orig);
            entry.status().unwrap()
        }));
    }
    let made = Status::CONFIRMED | NAT_DONE;
    let seen = made | Status::SEEN_REPLY;
    assert_eq!(told, [made, seen, seen | Status::ASSURED]);
    let entries = agreed(&world.ct);
    assert_eq!(entries.len(), 2);
    let entry = only(&entries, &orig);
    assert_eq!(entry.status(), Some(seen | Status::ASSURED));
    let all = Some((rounds, rounds * 29));
    assert_eq!(counters(entry), [all, all]);
    silence(&mut events);
    world.assert_spared(&bystander);
}

/// Conntrack sees packets put together again, and counts them as one.
#[test]
fn fragments_are_one_packet() {
    let world = World::new();
    let bystander = world.bystander();
    for side in SIDES {
        let asking = world.client.udp(side.client, 0);
        let answering = world.server.udp(side.server, DNS.1);
        asking.send_to(&[3; 4000], (side.front, DNS.0)).unwrap();
        let (length, seen) = answering.recv_from(&mut [0; 5000]).unwrap();
        assert_eq!((length, seen.ip()), (4000, side.back));
        answering.send_to(&[4; 3000], seen).unwrap();
        assert_eq!(asking.recv(&mut [0; 5000]).unwrap(), 3000);
        let entries = agreed(&world.ct);
        assert_eq!(entries.len(), 2);
        let orig = Tuple::udp(asking.local_addr().unwrap(), at(side.front, DNS.0)).unwrap();
        let entry = only(&entries, &orig);
        let overhead = side.header + 8;
        let whole = [Some((1, 4000 + overhead)), Some((1, 3000 + overhead))];
        assert_eq!(counters(entry), whole);
        world.ct.delete(entry).unwrap();
        world.assert_spared(&bystander);
    }
}

#[test]
fn a_refused_packet_is_answered_within_its_flow() {
    let world = World::new();
    let bystander = world.bystander();
    for side in SIDES {
        let asking = world.client.udp(side.client, 0);
        // Nobody listens there.
        asking.connect((side.plain, 4445)).unwrap();
        asking.send(&[0; 10]).unwrap();
        let error = asking.recv(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        let from = asking.local_addr().unwrap();
        let entries = agreed(&world.ct);
        // The ICMP error is neither an entry of its own nor an answer, and is not counted.
        assert_eq!(entries.len(), 2);
        let entry = only(&entries, &Tuple::udp(from, at(side.plain, 4445)).unwrap());
        assert_eq!(entry.status(), Some(Status::CONFIRMED | NAT_DONE));
        let sent = 10 + 8 + side.header;
        assert_eq!(counters(entry), [Some((1, sent)), Some((0, 0))]);
        world.ct.delete(entry).unwrap();
        world.assert_spared(&bystander);
    }
}
