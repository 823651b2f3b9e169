//! A fake kernel for tests: answers from a script, so that faults happen on demand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use netlink_packet_core::{NLM_F_MULTIPART, NLMSG_DONE, NLMSG_ERROR};
use nix::errno::Errno;

use super::transport::{Received, Transport};

fn message(kind: u16, flags: u16, sequence: u32, port: u32, payload: &[u8]) -> Vec<u8> {
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
    message(NLMSG_ERROR, 0x100, sequence, port, &[0; 20])
}

/// A refusal.
pub(crate) fn refusal(sequence: u32, port: u32, errno: Errno) -> Vec<u8> {
    let mut payload = (-(errno as i32)).to_ne_bytes().to_vec();
    payload.extend([0; 16]);
    message(NLMSG_ERROR, 0x100, sequence, port, &payload)
}

/// What the fake kernel does when it is asked to receive.
pub(crate) enum Event {
    /// A datagram from the kernel.
    Datagram(Vec<u8>),
    /// A datagram from another port.
    From(u32, Vec<u8>),
    /// `recvmsg` fails.
    Fail(Errno),
}

/// The messages of a request as the script sees them: type, sequence number, whole message.
pub(crate) struct Asked {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
}

fn parse(datagram: &[u8]) -> Vec<Asked> {
    let mut rest = datagram;
    let mut asked = Vec::new();
    while rest.len() >= 16 {
        let word = |at: usize| u32::from_ne_bytes(rest[at..at + 4].try_into().unwrap());
        let half = |at: usize| u16::from_ne_bytes(rest[at..at + 2].try_into().unwrap());
        asked.push(Asked {
            kind: half(4),
            flags: half(6),
            sequence: word(8),
        });
        rest = &rest[(word(0) as usize).next_multiple_of(4)..];
    }
    asked
}

type Answers = Box<dyn FnMut(&[Asked]) -> Vec<Event> + Send>;

/// A transport whose answers a closure makes up from each datagram that is sent.
pub(crate) struct Script {
    answers: Answers,
    queue: VecDeque<Event>,
    log: Log,
}

/// What was sent, for tests to look at.
pub(crate) type Log = Arc<Mutex<Vec<Vec<u8>>>>;

impl Script {
    pub(crate) const PORT: u32 = 7;

    pub(crate) fn new(answers: impl FnMut(&[Asked]) -> Vec<Event> + Send + 'static) -> (Self, Log) {
        let log = Log::default();
        let script = Self {
            answers: Box::new(answers),
            queue: VecDeque::new(),
            log: Arc::clone(&log),
        };
        (script, log)
    }
}

impl Transport for Script {
    fn send(&mut self, datagram: &[u8]) -> Result<(), Errno> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(datagram.to_vec());
        self.queue.extend((self.answers)(&parse(datagram)));
        Ok(())
    }

    fn receive(&mut self, buffer: &mut Vec<u8>, _wait: Duration) -> Result<Received, Errno> {
        buffer.clear();
        let (sender, bytes) = match self.queue.pop_front() {
            Some(Event::Datagram(bytes)) => (0, bytes),
            Some(Event::From(sender, bytes)) => (sender, bytes),
            Some(Event::Fail(errno)) => return Err(errno),
            None => return Err(Errno::EAGAIN),
        };
        let fits = bytes.len().min(buffer.capacity());
        buffer.extend_from_slice(&bytes[..fits]);
        Ok(Received {
            length: bytes.len(),
            sender,
        })
    }
}
