//! A subscription to what happens to entries.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tracing::{debug, warn};

use super::Session;
use crate::error::{Error, Operation, Result};
use crate::link::{Socket, Transport};
use crate::model::{Event, EventGroups, Overrun};
use crate::wire;

/// Events are read in portions of this size; the kernel sends each in a datagram of its own.
const RECEIVE_SIZE: usize = 32 * 1024;
/// How many datagrams without an event are passed over when the time is up.
const PASSED_OVER_MAX: u32 = 1024;

/// Makes a subscription: see [`Conntrack::events`](crate::Conntrack::events).
#[must_use = "nothing is subscribed to until `open` is called"]
pub struct EventsBuilder<'a> {
    session: &'a Session,
    groups: EventGroups,
    receive_buffer: usize,
}

impl<'a> EventsBuilder<'a> {
    /// The default of [`EventsBuilder::receive_buffer`].
    pub const RECEIVE_BUFFER: usize = 8 << 20;

    pub(crate) fn new(session: &'a Session) -> Self {
        Self {
            session,
            groups: EventGroups::all(),
            receive_buffer: Self::RECEIVE_BUFFER,
        }
    }

    /// Which kinds of events. The default is all.
    pub fn groups(mut self, groups: EventGroups) -> Self {
        self.groups = groups;
        self
    }

    /// The receive buffer in bytes, at most 1 GiB, forced past `net.core.rmem_max` where that is allowed. What was
    /// got can be read from [`Events::receive_buffer`].
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = bytes;
        self
    }

    /// Subscribes. From now on, what happens is heard.
    ///
    /// # Errors
    /// When the socket cannot be opened or the groups cannot be joined.
    pub fn open(self) -> Result<Events> {
        if self.groups.is_empty() || !EventGroups::all().contains(self.groups) {
            return Err(Error::invalid(
                "event groups",
                format!("{:?}", self.groups),
                "not a choice of groups",
                "some of the groups of EventGroups",
            ));
        }
        let socket = self
            .session
            .pool
            .subscribe(self.groups.bits(), self.receive_buffer)?;
        let receive_buffer = socket.buffers().receive;
        Ok(Events {
            socket,
            reader: EventReader {
                receive_buffer,
                ..EventReader::default()
            },
            buffer: Vec::with_capacity(RECEIVE_SIZE),
        })
    }
}

/// A subscription, with a socket of its own.
///
/// With `net.netfilter.nf_conntrack_events = 2` (the default since Linux 5.19) the kernel keeps what
/// events need only for entries that are made while somebody listens: entries from before send no
/// events, and neither do their expectations.
///
/// ```
/// # use ctnetlink::{Conntrack, Entry, Event}; use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?; // a table of the example's own
/// let ct = Conntrack::open()?;
/// let mut events = ct.events().open()?;
/// let ping = Entry::echo("10.0.0.1".parse()?, "10.0.0.2".parse()?, 7)
///     .timeout(Duration::from_secs(30))
///     .build()?;
/// ct.create(&ping)?;
/// match events.next_within(Duration::from_secs(5))? {
///     Some(Event::New(entry)) => assert_eq!(entry.orig(), ping.entry().orig()),
///     other => panic!("{other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
pub struct Events {
    socket: Socket,
    reader: EventReader,
    buffer: Vec<u8>,
}

impl Events {
    /// The receive buffer that the kernel granted, in bytes.
    #[must_use]
    pub fn receive_buffer(&self) -> usize {
        self.reader.receive_buffer
    }

    /// Messages that were passed over because they could not be decoded.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.reader.malformed
    }

    /// The netlink port of the program that caused the event that was given last, by a request of its
    /// own; many take the number of their process. `None` where a packet or the passing of time did.
    #[doc(alias = "nlmsg_pid")]
    #[must_use]
    pub fn caused_by(&self) -> Option<u32> {
        self.reader.caused_by
    }

    /// The next event, if one has arrived. For those with an event loop of their own: read until
    /// there is none, then wait until the descriptor ([`AsFd`]) is readable.
    ///
    /// # Errors
    /// When receiving fails; an overrun is an event.
    pub fn try_next(&mut self) -> Result<Option<Event>> {
        self.next_within(Duration::ZERO)
    }

    /// The next event; `None` when none arrives in this time.
    ///
    /// # Errors
    /// When receiving fails; an overrun is an event.
    pub fn next_within(&mut self, deadline: Duration) -> Result<Option<Event>> {
        let until = crate::link::end_of_wait(deadline);
        // What is there is read even when there is no time; strangers' messages without end are not.
        let mut passed_over = 0;
        loop {
            if let Some((event, port)) = self.reader.queue.pop_front() {
                self.reader.caused_by = port;
                return Ok(Some(event));
            }
            let mut wait = until.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                passed_over += 1;
                if passed_over > PASSED_OVER_MAX {
                    return Ok(None);
                }
            }
            if self.reader.draining.is_some() {
                wait = Duration::ZERO;
            }
            match self.socket.receive(&mut self.buffer, wait) {
                Ok(received) if received.sender != 0 => {
                    warn!(
                        sender = received.sender,
                        "dropped a datagram that is not the kernel's"
                    );
                }
                Ok(received) if received.length > self.buffer.len() => {
                    warn!(bytes = received.length, "an event was cut off");
                    self.reader.malformed += 1;
                }
                Ok(received) => {
                    self.reader.feed(&self.buffer);
                    self.reader.drained(received.length);
                }
                Err(Errno::ENOBUFS) => self.reader.overrun(),
                Err(Errno::EAGAIN) if self.reader.draining.is_some() => self.reader.lost(),
                Err(Errno::EINTR) if !wait.is_zero() => debug!("a signal interrupted the wait"),
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
                Err(errno) => {
                    let action = "receive from the kernel";
                    return Err(Error::system(Operation::Events, action, errno, None));
                }
            }
        }
    }

    /// The events of a span of time, which ends when `deadline` has passed.
    pub fn within(&mut self, deadline: Duration) -> impl Iterator<Item = Result<Event>> + use<'_> {
        let until = crate::link::end_of_wait(deadline);
        std::iter::from_fn(move || {
            let left = until.saturating_duration_since(Instant::now());
            self.next_within(left).transpose()
        })
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("received", &self.reader.received)
            .field("overruns", &self.reader.overruns)
            .field("malformed", &self.reader.malformed)
            .finish_non_exhaustive()
    }
}

/// What is between datagrams and events, without I/O.
#[derive(Default)]
struct EventReader {
    queue: VecDeque<(Event, Option<u32>)>,
    /// Of the event that was given last.
    caused_by: Option<u32>,
    received: u64,
    overruns: u64,
    malformed: u64,
    receive_buffer: usize,
    /// Events were lost, and this many bytes were read since the kernel said so.
    draining: Option<usize>,
}

impl EventReader {
    /// The kernel says that events are lost (`netlink_overrun`).
    ///
    /// It says so ahead of what is still queued, and goes on dropping until the queue is empty. So
    /// the loss lies behind what is queued now: it is told when that has been read.
    fn overrun(&mut self) {
        if self.draining.is_some() {
            self.lost();
        }
        self.draining = Some(0);
    }

    /// Counts what was read. More than the buffer holds was not all queued when the loss was told.
    fn drained(&mut self, bytes: usize) {
        if let Some(read) = &mut self.draining {
            *read += bytes;
            if *read >= self.receive_buffer {
                self.lost();
            }
        }
    }

    /// Takes in a datagram of the kernel's. A message that is damaged is passed over and counted.
    fn feed(&mut self, datagram: &[u8]) {
        let mut rest = datagram;
        loop {
            let event = match wire::frame(&mut rest) {
                Ok(None) => return,
                Ok(Some(frame)) => wire::decode_event(&frame).map(|event| {
                    let port = Some(frame.port).filter(|port| *port != 0);
                    event.map(|event| (event, port))
                }),
                Err(malformed) => Err(malformed),
            };
            match event {
                Ok(Some(event)) => {
                    self.received += 1;
                    self.queue.push_back(event);
                }
                Ok(None) => {}
                Err(malformed) => {
                    self.malformed += 1;
                    warn!(%malformed, "an event is damaged");
                }
            }
        }
    }

    fn lost(&mut self) {
        self.draining = None;
        self.overruns += 1;
        warn!(
            times = self.overruns,
            "the receive buffer overran: events were lost"
        );
        let overrun = Overrun {
            times: self.overruns,
            received: self.received,
            receive_buffer: self.receive_buffer,
        };
        self.queue.push_back((Event::Overrun(overrun), None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::script::data;
    use crate::model::{Entry, NewEntry};
    use crate::wire::{Datagram, NETLINK_HEADER, create};

    fn payload(port: u16) -> Vec<u8> {
        let entry = Entry::udp(([10, 0, 0, 1], port).into(), ([10, 0, 0, 2], 53).into());
        let entry: NewEntry = entry.timeout(Duration::from_secs(1)).build().unwrap();
        let mut datagram = Datagram::new(0);
        create(&mut datagram, &entry).unwrap();
        datagram.bytes()[NETLINK_HEADER..].to_vec()
    }

    fn port(event: &Event) -> Option<u16> {
        event.entry()?.orig().src_port()
    }

    #[test]
    fn a_damaged_message_is_counted_and_the_next_arrives() {
        let mut reader = EventReader::default();
        let mut damaged = payload(2);
        damaged.truncate(30);
        let datagram = [
            data(0, 9, &payload(1)),
            data(0, 9, &damaged),
            data(0, 9, &payload(3)),
            vec![1, 2, 3],
        ]
        .concat();
        reader.feed(&datagram);
        assert_eq!(reader.malformed, 2);
        let ports: Vec<_> = reader.queue.iter().map(|(event, _)| port(event)).collect();
        assert_eq!(ports, [Some(1), Some(3)]);
        assert_eq!(reader.queue[0].1, Some(9));
    }

    /// The kernel tells of a loss ahead of what was queued before it.
    #[test]
    fn an_overrun_stands_between_what_came_before_and_after() {
        let mut reader = EventReader {
            receive_buffer: 1000,
            ..EventReader::default()
        };
        reader.overrun();
        reader.feed(&data(0, 9, &payload(1)));
        reader.drained(999);
        assert_eq!(reader.queue.len(), 1);
        reader.drained(1);
        reader.drained(5000);
        reader.feed(&data(0, 9, &payload(2)));
        let ports: Vec<_> = reader.queue.iter().map(|(event, _)| port(event)).collect();
        assert_eq!(ports, [Some(1), None, Some(2)]);
        let overrun = Overrun {
            times: 1,
            received: 1,
            receive_buffer: 1000,
        };
        assert_eq!(reader.queue[1], (Event::Overrun(overrun), None));
    }

    #[test]
    fn messages_of_others_are_no_events() {
        let mut reader = EventReader::default();
        // Statistics (message 5), and another subsystem (NFLOG, 4).
        for kind in [0x105_u16, 0x400] {
            let mut message = data(0, 9, &payload(1));
            message[4..6].copy_from_slice(&kind.to_ne_bytes());
            reader.feed(&message);
        }
        assert!(reader.queue.is_empty() && reader.malformed == 0);
    }
}
