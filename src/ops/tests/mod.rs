//! Conversations with a scripted kernel: what a real one does not do on demand.
//!
//! Each test says what the kernel answers to each datagram, and then looks at the result, at what
//! was sent and at which socket. Nothing waits: where the script is at its end, a deadline passes.

mod batch;
mod deleting;
mod dump;
mod expect;
mod fake;
mod loss;
mod passes;
mod policy;
mod probing;
mod refusal;
mod rules;
mod single;
mod strangers;
mod support;
mod trace;
mod whole;

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno as Nix;

use super::{Entries, Session};
use crate::error::{Error, Operation, Result};
use crate::link::Pool;
use crate::link::script::{self, Event, Log, Script};
use crate::model::{Entry, KernelSupport, Key, NewEntry, Zone};
use crate::wire::tests::by_hand::attr;
use crate::wire::{self, Datagram};

const DEADLINE: Duration = Duration::from_secs(5);
const PORT: u32 = Script::PORT;
/// A port that is not the kernel's.
const STRANGER: u32 = 4242;

// Message types: `NFNL_SUBSYS_CTNETLINK << 8`, and `IPCTNL_MSG_CT_*`.
const NEW: u16 = 0x100;
const GET: u16 = 0x101;
const DELETE: u16 = 0x102;
const GET_CTRZERO: u16 = 0x103;
const GET_STATS: u16 = 0x105;

// Flags: `NLM_F_REQUEST` and its company.
const REQUEST: u16 = 0x1;
const ACKED: u16 = REQUEST | 0x4;
const DUMP: u16 = REQUEST | 0x300;
/// `NLM_F_CREATE | NLM_F_EXCL`, not acknowledged.
const CREATE: u16 = REQUEST | 0x600;
const CREATE_ACKED: u16 = ACKED | 0x600;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_TIMEOUT: u16 = 7;
const CTA_MARK: u16 = 8;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_MARK_MASK: u16 = 21;
/// Not known to this library.
const CTA_UNKNOWN: u16 = 99;

thread_local! {
    /// The size of the fake kernel's hash table.
    static BUCKETS: Cell<Option<u32>> = const { Cell::new(Some(8192)) };
}

/// The fake kernel with a session to it.
struct Kernel {
    session: Session,
    logs: Vec<Log>,
}

/// Type, flags, sequence number.
type Sent = (u16, u16, u32);

impl Kernel {
    /// One socket.
    fn new(turns: impl IntoIterator<Item = Vec<Event>>) -> Self {
        Self::of([answering(turns)])
    }

    /// The sockets that may be opened, in that order; one more is a panic.
    fn of(scripts: impl IntoIterator<Item = (Script, Log)>) -> Self {
        let (scripts, logs) = scripts.into_iter().unzip();
        // A scripted kernel is not the one that a probe would try.
        let mut session = Session::new(Pool::scripted(scripts), DEADLINE)
            .with_support(Some(KernelSupport::unproven()));
        session.buckets = || BUCKETS.get();
        Self { session, logs }
    }

    fn deadline(mut self, deadline: Duration) -> Self {
        self.session = self.session.with_deadline(deadline);
        self
    }

    /// The datagrams that were sent on a socket.
    fn sent(&self, socket: usize) -> Vec<Vec<Sent>> {
        let seen = self.logs[socket].lock().unwrap();
        let sent = |asked: &script::Asked| (asked.kind, asked.flags, asked.sequence);
        seen.sent
            .iter()
            .map(|datagram| datagram.iter().map(sent).collect())
            .collect()
    }

    /// How many messages each datagram of a socket had.
    fn sizes(&self, socket: usize) -> Vec<usize> {
        self.sent(socket).iter().map(Vec::len).collect()
    }

    /// One attribute of each message that was sent on a socket.
    fn attribute(&self, socket: usize, kind: u16) -> Vec<Option<Vec<u8>>> {
        let seen = self.logs[socket].lock().unwrap();
        seen.sent
            .iter()
            .flatten()
            .map(|asked| attribute(&asked.payload, kind))
            .collect()
    }

    /// How long each receive on a socket was ready to wait.
    fn waits(&self, socket: usize) -> Vec<Duration> {
        self.logs[socket].lock().unwrap().waits.clone()
    }

    fn attempts(&self, socket: usize) -> usize {
        self.logs[socket].lock().unwrap().attempts
    }

    fn is_closed(&self, socket: usize) -> bool {
        self.logs[socket].lock().unwrap().closed
    }

    /// How many sockets something was sent on.
    fn opened(&self) -> usize {
        let used = |log: &&Log| log.lock().unwrap().attempts > 0;
        self.logs.iter().filter(used).count()
    }
}

/// A socket that answers each datagram with the next turn.
fn answering(turns: impl IntoIterator<Item = Vec<Event>>) -> (Script, Log) {
    let mut turns = turns.into_iter().collect::<Vec<_>>().into_iter();
    Script::new(move |_| {
        turns
            .next()
            .expect("the test sends more often than it has turns for")
    })
}

/// A datagram from the kernel.
fn says(messages: impl AsRef<[Vec<u8>]>) -> Event {
    Event::Datagram(messages.as_ref().concat())
}

/// The same from somebody else.
fn forges(messages: impl AsRef<[Vec<u8>]>) -> Event {
    Event::From(STRANGER, messages.as_ref().concat())
}

fn ack(sequence: u32) -> Vec<u8> {
    script::ack(sequence, PORT)
}

fn refusal(sequence: u32, errno: Nix) -> Vec<u8> {
    script::refusal(sequence, PORT, errno)
}

fn found(sequence: u32, payload: &[u8]) -> Vec<u8> {
    script::data(sequence, PORT, payload)
}

fn done(sequence: u32) -> Vec<u8> {
    script::done(sequence, PORT, 0)
}

/// An acknowledgement that is cut off before its code.
fn damaged_ack(sequence: u32) -> Vec<u8> {
    script::message(2, 0, sequence, PORT, &[0; 2])
}

fn stats(sequence: u32, entries: u32, max: u32) -> Vec<u8> {
    let figures = [
        vec![0; 4],
        attr(1, &entries.to_be_bytes()),
        attr(2, &max.to_be_bytes()),
    ];
    script::message(GET_STATS, 0, sequence, PORT, &figures.concat())
}

/// A top-level attribute of what follows a netlink header.
fn attribute(payload: &[u8], wanted: u16) -> Option<Vec<u8>> {
    let mut rest = &payload[4..];
    while let [a, b, c, d, ..] = *rest {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        if u16::from_ne_bytes([c, d]) & 0x3fff == wanted {
            return Some(rest[4..length].to_vec());
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

fn client(port: u16) -> (SocketAddr, SocketAddr) {
    (([10, 0, 0, 1], port).into(), "10.0.0.2:53".parse().unwrap())
}

/// A new entry, told from others by its client's port.
fn udp(port: u16) -> NewEntry {
    let (src, dst) = client(port);
    let timeout = Duration::from_secs(30);
    Entry::udp(src, dst).timeout(timeout).build().unwrap()
}

fn udp_in(port: u16, zone: u16) -> NewEntry {
    let (src, dst) = client(port);
    let timeout = Duration::from_secs(30);
    let entry = Entry::udp(src, dst).timeout(timeout).zone(Zone::new(zone));
    entry.build().unwrap()
}

fn key(port: u16) -> Key {
    Key::from(&udp(port))
}

/// An entry as the kernel reports it: what follows the netlink header.
fn reported(new: &NewEntry, more: &[Vec<u8>]) -> Vec<u8> {
    let mut datagram = Datagram::new(0);
    wire::create(&mut datagram, new).unwrap();
    let mut payload = datagram.bytes()[16..].to_vec();
    payload.extend(more.concat());
    payload
}

fn id(id: u32) -> Vec<u8> {
    attr(CTA_ID, &id.to_be_bytes())
}

/// The same with a time-out that is fixed.
fn fixed(port: u16) -> Vec<u8> {
    let status = crate::model::Status::CONFIRMED | crate::model::Status::FIXED_TIMEOUT;
    let status = attr(crate::wire::attr::CTA_STATUS, &status.bits().to_be_bytes());
    reported(&udp(port), &[id(port.into()), status])
}

/// An entry whose id is its client's port.
fn entry(port: u16) -> Vec<u8> {
    reported(&udp(port), &[id(port.into())])
}

/// An entry that does not fit into the receive buffer of 32 KiB.
fn bulky(port: u16, padding: usize) -> Vec<u8> {
    let filler = attr(CTA_UNKNOWN, &vec![0; padding]);
    reported(&udp(port), &[id(port.into()), filler])
}

/// The client's port, which tells the entries apart.
fn port_of(entry: &Entry) -> u16 {
    entry.orig().src_port().unwrap()
}

/// The next entry of a list.
#[track_caller]
fn next(entries: &mut Entries) -> Result<u16> {
    let item = entries.next().expect("the list is at its end");
    item.map(|entry| port_of(&entry))
}

/// What is left of a list, which must be entries.
#[track_caller]
fn rest(entries: &mut Entries) -> Vec<u16> {
    let ports = entries.map(|item| item.map(|entry| port_of(&entry)));
    ports.collect::<Result<_>>().unwrap()
}

/// The names of the predicates that hold.
fn holds(error: &Error) -> Vec<&'static str> {
    let all = [
        ("not found", error.is_not_found()),
        ("exists", error.is_exists()),
        ("table full", error.is_table_full()),
        ("permission denied", error.is_permission_denied()),
        ("fixed timeout", error.is_fixed_timeout()),
        ("unsupported", error.is_unsupported()),
        ("busy", error.is_busy()),
        ("deadline", error.is_deadline()),
        ("truncated", error.is_truncated()),
        ("malformed", error.is_malformed()),
        ("overrun", error.is_overrun()),
        ("outcome unknown", error.is_outcome_unknown()),
        ("not sent", error.is_not_sent()),
        ("invalid input", error.is_invalid_input()),
    ];
    all.into_iter()
        .filter_map(|(name, holds)| holds.then_some(name))
        .collect()
}

/// The error's operation, its errno, and exactly the predicates that hold.
#[track_caller]
fn check(error: &Error, operation: Operation, errno: Option<Nix>, predicates: &[&str]) {
    assert_eq!(error.operation(), Some(operation), "{error}");
    assert_eq!(error.errno(), errno.map(Into::into), "{error}");
    assert_eq!(holds(error), predicates, "{error}");
}

/// A deadline that passed, after the request was sent.
#[track_caller]
fn check_deadline(error: &Error, operation: Operation) {
    check(error, operation, None, &["deadline", "outcome unknown"]);
}
