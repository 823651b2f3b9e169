//! A fake kernel for tests: answers from a script, so that faults happen on demand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use netlink_packet_core::{NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_MULTIPART, NLMSG_DONE, NLMSG_ERROR};
use nix::errno::Errno;

use super::transport::{Received, Transport};

/// Any message.
pub(crate) fn message(kind: u16, flags: u16, sequence: u32, port: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + payload.len()).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(port.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An object of ctnetlink (`IPCTNL_MSG_CT_NEW`), as a dump or a look-up gives it.
pub(crate) fn data(sequence: u32, port: u32, payload: &[u8]) -> Vec<u8> {
    message(0x100, NLM_F_MULTIPART, sequence, port, payload)
}

/// The end of a dump.
pub(crate) fn done(sequence: u32, port: u32, code: i32) -> Vec<u8> {
    message(
        NLMSG_DONE,
        NLM_F_MULTIPART,
        sequence,
        port,
        &code.to_ne_bytes(),
    )
}

/// An acknowledgement.
pub(crate) fn ack(sequence: u32, port: u32) -> Vec<u8> {
    message(NLMSG_ERROR, NLM_F_CAPPED, sequence, port, &[0; 20])
}

/// A refusal.
pub(crate) fn refusal(sequence: u32, port: u32, errno: Errno) -> Vec<u8> {
    let mut payload = (-(errno as i32)).to_ne_bytes().to_vec();
    payload.extend([0; 16]);
    message(NLMSG_ERROR, NLM_F_CAPPED, sequence, port, &payload)
}

/// A refusal, or with code 0 an acknowledgement, with an extended ack.
pub(crate) fn extended(
    kind: u16,
    sequence: u32,
    port: u32,
    code: i32,
    text: &str,
    offset: u32,
) -> Vec<u8> {
    let mut payload = code.to_ne_bytes().to_vec();
    if kind == NLMSG_ERROR {
        payload.extend([0; 16]);
    }
    let length = u16::try_from(5 + text.len()).unwrap();
    payload.extend(length.to_ne_bytes());
    payload.extend([1, 0]);
    payload.extend(text.as_bytes());
    payload.push(0);
    payload.resize(payload.len().next_multiple_of(4), 0);
    payload.extend([8, 0, 2, 0]);
    payload.extend(offset.to_ne_bytes());
    let flags = NLM_F_CAPPED | NLM_F_ACK_TLVS;
    message(kind, flags, sequence, port, &payload)
}

/// What the fake kernel does when it is asked to receive.
#[derive(Clone)]
pub(crate) enum Event {
    /// A datagram from the kernel.
    Datagram(Vec<u8>),
    /// A datagram from another port.
    From(u32, Vec<u8>),
    /// `recvmsg` fails.
    Fail(Errno),
    /// The same again and again; what follows is never reached.
    Forever(Box<Event>),
}

/// A message of a request as the script sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// What follows the netlink header.
    pub(crate) payload: Vec<u8>,
}

fn parse(datagram: &[u8]) -> Vec<Asked> {
    let mut rest = datagram;
    let mut asked = Vec::new();
    while rest.len() >= 16 {
        let word = |at: usize| u32::from_ne_bytes(rest[at..at + 4].try_into().unwrap());
        let half = |at: usize| u16::from_ne_bytes(rest[at..at + 2].try_into().unwrap());
        let length = word(0) as usize;
        asked.push(Asked {
            kind: half(4),
            flags: half(6),
            sequence: word(8),
            payload: rest[16..length].to_vec(),
        });
        rest = &rest[length.next_multiple_of(4)..];
    }
    assert!(rest.is_empty(), "a request ends with {rest:?}");
    asked
}

type Answers = Box<dyn FnMut(&[Asked]) -> Vec<Event> + Send>;

/// A transport whose answers a closure makes up from each datagram that is sent.
pub(crate) struct Script {
    answers: Answers,
    /// What the next sends come to; those after them succeed.
    sends: VecDeque<Result<(), Errno>>,
    queue: VecDeque<Event>,
    log: Log,
}

/// What a script saw, for tests to look at.
#[derive(Default)]
pub(crate) struct Seen {
    /// The messages of each datagram that was sent.
    pub(crate) sent: Vec<Vec<Asked>>,
    /// How often a datagram was tried to be sent.
    pub(crate) attempts: usize,
    /// How long each receive would have waited.
    pub(crate) waits: Vec<Duration>,
    /// Whether the socket is closed.
    pub(crate) closed: bool,
}

pub(crate) type Log = Arc<Mutex<Seen>>;

impl Script {
    pub(crate) const PORT: u32 = 7;

    pub(crate) fn new(answers: impl FnMut(&[Asked]) -> Vec<Event> + Send + 'static) -> (Self, Log) {
        let log = Log::default();
        let script = Self {
            answers: Box::new(answers),
            sends: VecDeque::new(),
            queue: VecDeque::new(),
            log: Arc::clone(&log),
        };
        (script, log)
    }

    /// Lets the first sends come to these results; those after them succeed.
    pub(crate) fn sends(mut self, results: impl IntoIterator<Item = Result<(), Errno>>) -> Self {
        self.sends.extend(results);
        self
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.seen().closed = true;
    }
}

impl Transport for Script {
    fn send(&mut self, datagram: &[u8]) -> Result<(), Errno> {
        let result = self.sends.pop_front().unwrap_or(Ok(()));
        self.seen().attempts += 1;
        result?;
        let asked = parse(datagram);
        self.queue.extend((self.answers)(&asked));
        self.seen().sent.push(asked);
        Ok(())
    }

    fn receive(&mut self, buffer: &mut Vec<u8>, wait: Duration) -> Result<Received, Errno> {
        self.seen().waits.push(wait);
        buffer.clear();
        let event = match self.queue.front() {
            Some(Event::Forever(event)) => Some((**event).clone()),
            _ => self.queue.pop_front(),
        };
        let (sender, bytes) = match event {
            Some(Event::Datagram(bytes)) => (0, bytes),
            Some(Event::From(sender, bytes)) => (sender, bytes),
            Some(Event::Fail(errno)) => return Err(errno),
            Some(Event::Forever(_)) => panic!("an endless event within an endless event"),
            None => return Err(Errno::EAGAIN),
        };
        let fits = bytes.len().min(buffer.capacity());
        buffer.extend_from_slice(&bytes[..fits]);
        Ok(Received {
            length: bytes.len(),
            sender,
        })
    }

    fn peek(&mut self, buffer: &mut Vec<u8>, wait: Duration) -> Result<Received, Errno> {
        let front = self.queue.front().cloned();
        let received = self.receive(buffer, wait);
        // One without end was not taken.
        let taken = front.filter(|event| !matches!(event, Event::Forever(_)));
        if let Some(event) = taken {
            self.queue.push_front(event);
        }
        received
    }
}
