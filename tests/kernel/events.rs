//! Events: what happens to entries, as it happens.

use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use ctnetlink::{Conntrack, Entry, Event, EventGroups, Events, Filter, Status, Update, Zone};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::capabilities::Capability;
use crate::support::{every_protocol, flows, listed, open, set, socket, track_loopback, udp};

const SOON: Duration = Duration::from_secs(10);

fn listen(ct: &Conntrack) -> Events {
    ct.events().open().unwrap()
}

#[track_caller]
fn next(events: &mut Events) -> Event {
    events.next_within(SOON).unwrap().expect("an event")
}

#[test]
fn every_kind_for_every_protocol() {
    let ct = open();
    let mut events = listen(&ct);
    for builder in every_protocol(1) {
        let new = builder.zone(Zone::new(5)).build().unwrap();
        ct.create(&new).unwrap();
        let Event::New(made) = next(&mut events) else {
            panic!("{new}");
        };
        assert_eq!(flows([&made]), flows([new.entry()]));
        assert_eq!(made.id(), ct.get(&new).unwrap().id());
        let mark = Update::builder().mark(7).assured().build().unwrap();
        ct.update(&new, &mark).unwrap();
        let Event::Update(changed) = next(&mut events) else {
            panic!("{new}");
        };
        assert_eq!((changed.id(), changed.mark()), (made.id(), Some(7)));
        assert!(changed.status().unwrap().contains(Status::ASSURED));
        ct.delete(&new).unwrap();
        let Event::Destroy(gone) = next(&mut events) else {
            panic!("{new}");
        };
        assert_eq!(gone.id(), made.id());
        assert_eq!(flows([&gone]), flows([new.entry()]));
    }
    assert_eq!(events.try_next().unwrap(), None);
    assert_eq!(events.malformed(), 0);
}

#[test]
fn only_what_was_asked_for_is_heard() {
    let ct = open();
    let mut ends = ct.events().groups(EventGroups::DESTROY).open().unwrap();
    let new = udp(1).build().unwrap();
    ct.create(&new).unwrap();
    ct.update(&new, &Update::builder().mark(1).build().unwrap())
        .unwrap();
    ct.flush_all().unwrap();
    assert!(matches!(next(&mut ends), Event::Destroy(_)));
    assert_eq!(ends.try_next().unwrap(), None);
}

#[test]
fn an_overrun_is_told_and_what_follows_arrives() {
    let ct = open();
    let mut events = ct.events().receive_buffer(1).open().unwrap();
    let many: Vec<_> = (0..2000).map(|n| udp(n).build().unwrap()).collect();
    assert!(ct.create_many(&many).is_ok());
    let heard: Vec<_> = events.within(Duration::ZERO).map(Result::unwrap).collect();
    let losses: Vec<_> = heard
        .iter()
        .filter_map(|event| match event {
            Event::Overrun(overrun) => Some(*overrun),
            _ => None,
        })
        .collect();
    assert_eq!(losses.len(), 1, "{losses:?}");
    assert_eq!(losses[0].times, 1);
    assert_eq!(losses[0].receive_buffer, events.receive_buffer());
    assert!(heard.len() < 2000, "{}", heard.len());
    // It lies behind all that was queued before it.
    assert!(
        matches!(heard.last(), Some(Event::Overrun(_))),
        "{:?}",
        heard.last()
    );
    let late = udp(9999).build().unwrap();
    ct.create(&late).unwrap();
    let Event::New(entry) = next(&mut events) else {
        panic!("what follows an overrun");
    };
    assert_eq!(entry.orig(), late.entry().orig());
}

/// Real packets: made by the first, answered by the second, gone by a flush with its counters.
#[test]
fn real_traffic_is_heard() {
    let ct = open();
    track_loopback();
    set("nf_conntrack_acct", "1");
    set("nf_conntrack_timestamp", "1");
    let mut events = listen(&ct);
    let since = SystemTime::now();
    let (a, b) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    let (from, to) = (a.local_addr().unwrap(), b.local_addr().unwrap());
    a.send_to(&[0; 72], to).unwrap();
    b.recv_from(&mut [0; 100]).unwrap();
    let Event::New(made) = next(&mut events) else {
        panic!("a new flow");
    };
    assert_eq!(*made.orig(), ctnetlink::Tuple::udp(from, to).unwrap());
    b.send_to(&[0; 72], from).unwrap();
    a.recv_from(&mut [0; 100]).unwrap();
    let Event::Update(answered) = next(&mut events) else {
        panic!("an answer");
    };
    assert!(answered.status().unwrap().contains(Status::SEEN_REPLY));
    ct.flush_all().unwrap();
    let Event::Destroy(gone) = next(&mut events) else {
        panic!("an end");
    };
    assert_eq!(gone.id(), made.id());
    assert_eq!(gone.orig_counters().unwrap().packets, 1);
    assert_eq!(gone.reply_counters().unwrap().bytes, 100);
    let stamps = gone.timestamps().unwrap();
    let (start, stop) = (stamps.start().unwrap(), stamps.stop().unwrap());
    assert!(since <= start && start <= stop, "{stamps:?}");
    assert_eq!(
        stamps.event().is_some_and(|event| event >= start),
        Capability::EventTimes.is_there(),
        "{stamps:?}"
    );
    for entry in [&made, &answered, &gone] {
        assert_eq!(entry.unknown(), [], "{entry}");
    }
}

#[test]
fn an_event_loop_can_wait_for_them() {
    let ct = open();
    let mut events = listen(&ct);
    let ready = |events: &Events, timeout: PollTimeout| {
        let mut set = [PollFd::new(events.as_fd(), PollFlags::POLLIN)];
        poll(&mut set, timeout).unwrap()
    };
    assert_eq!(ready(&events, PollTimeout::ZERO), 0);
    let new = udp(1).build().unwrap();
    // A subscription does not stand in the way of requests, nor they in its.
    ct.create(&new).unwrap();
    assert_eq!(listed(&ct, &Filter::new()).len(), 1);
    assert_eq!(ready(&events, PollTimeout::from(10_000_u16)), 1);
    let heard: Vec<Entry> = std::iter::from_fn(|| events.try_next().unwrap())
        .filter_map(|event| event.entry().cloned())
        .collect();
    assert_eq!(flows(&heard), flows([new.entry()]));
}

#[test]
fn a_span_of_time_ends() {
    let ct = open();
    let mut events = listen(&ct);
    assert_eq!(events.within(Duration::from_millis(20)).count(), 0);
    assert_eq!(events.next_within(Duration::from_millis(1)).unwrap(), None);
}

/// What a program did is told from what a packet did.
#[test]
fn the_origin_of_an_event_is_told() {
    let ct = open();
    track_loopback();
    set("nf_conntrack_events", "1");
    let mut events = listen(&ct);
    ct.create(&udp(1).build().unwrap()).unwrap();
    assert!(matches!(next(&mut events), Event::New(_)));
    assert!(events.caused_by().is_some_and(|port| port != 0));
    let (here, there) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    here.send_to(b"x", there.local_addr().unwrap()).unwrap();
    assert!(matches!(next(&mut events), Event::New(_)));
    assert_eq!(events.caused_by(), None);
}
