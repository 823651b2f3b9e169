//! What else a kernel can do, tried.

use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;

use super::DEADLINE;
use crate::error::{Error, Operation, Result};
use crate::link::{Answer, Socket};
use crate::model::{
    Entry, EntryBuilder, EntryZone, EventGroups, Features, Helper, Key, LabelChange, Labels,
    NatRange, Update, Zone,
};
use crate::ops::{self, EventsBuilder, Session, Settings};
use crate::wire::{self, Datagram};

/// Not among the population.
fn flow(port: u16) -> EntryBuilder {
    let (src, dst) = (
        SocketAddr::from(([192, 0, 2, 9], port)),
        SocketAddr::from(([192, 0, 2, 10], 21)),
    );
    Entry::tcp(src, dst).timeout(Duration::from_secs(3600))
}

/// Yes, no, or an error that says neither.
fn whether(made: Result<()>) -> Option<bool> {
    match made {
        Ok(()) => Some(true),
        Err(error) if error.is_unsupported() => Some(false),
        Err(_) => None,
    }
}

pub(super) fn find(session: &Session) -> Features {
    let make = |builder: EntryBuilder| ops::create(session, &builder.build()?);
    Features {
        zones: whether(make(flow(1).zone(Zone::new(7)))),
        // A kernel that does not know the attribute refuses it, or keeps the entry in zone 0.
        direction_zones: match make(flow(2).zone(EntryZone::Orig(Zone::new(8)))) {
            Ok(()) => flow(2)
                .zone(EntryZone::Orig(Zone::new(8)))
                .build()
                .ok()
                .map(|new| ops::get(session, &Key::from(&new)).is_ok()),
            other => whether(other),
        },
        labels: labels(session),
        nat: make(flow(3).nat_src(NatRange::address([192, 0, 2, 77].into())))
            .map_or_else(|error| whether(Err(error)), |()| translated(session)),
        helpers: whether(make(flow(4).helper(Helper::FTP))),
        event_timestamps: event_timestamps(session).ok(),
        extended_ack: extended_ack(session).ok(),
        strict_checking: Socket::open(session.pool.buffers())
            .ok()
            .map(|socket| socket.checks_strictly()),
    }
}

/// Without a rule that reserves room for them, a kernel that has labels says that there is none.
fn labels(session: &Session) -> Option<bool> {
    let new = flow(5).build().ok()?;
    ops::create(session, &new).ok()?;
    let one = Labels::EMPTY.with(1).ok()?;
    let update = Update::builder()
        .labels(LabelChange::add(one))
        .build()
        .ok()?;
    match ops::update(session, &Key::from(&new), &update) {
        Err(error) if error.is_no_label_space() => Some(true),
        other => whether(other),
    }
}

fn translated(session: &Session) -> Option<bool> {
    let new = flow(3).build().ok()?;
    let found = ops::get(session, &Key::from(&new)).ok()?;
    Some(found.reply().dst() == std::net::IpAddr::from([192, 0, 2, 77]))
}

fn event_timestamps(session: &Session) -> Result<bool> {
    Settings::new(session).set_timestamps(true)?;
    let mut events = EventsBuilder::new(session)
        .groups(EventGroups::NEW)
        .receive_buffer(1 << 16)
        .open()?;
    ops::create(session, &flow(6).build()?)?;
    let event = events.next_within(DEADLINE)?;
    let entry = event.as_ref().and_then(|event| event.entry());
    let stamps = entry.and_then(Entry::timestamps);
    match entry {
        Some(_) => Ok(stamps.is_some_and(|stamps| stamps.event().is_some())),
        None => Err(Error::unknown(Operation::Probe, "no event came")),
    }
}

/// A time-out of one byte is refused, and a kernel that can says where.
fn extended_ack(session: &Session) -> Result<bool> {
    let mut link = session.pool.take()?;
    let mut datagram = Datagram::new(link.sequence());
    wire::create_malformed(&mut datagram)?;
    let mut located = None;
    link.request(Operation::Probe, &datagram, DEADLINE, |_, answer| {
        if let Answer::Outcome(Err(failure)) = answer {
            if failure.errno.is(Errno::ERANGE) || failure.errno.is(Errno::EINVAL) {
                located = Some(failure.offset.is_some());
            }
        }
    })?;
    located.ok_or_else(|| Error::unknown(Operation::Probe, "no refusal came"))
}
