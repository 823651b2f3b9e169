//! A link: a transport, its port and sequence numbers, and the receive buffer.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use tracing::{debug, warn};

use super::exchange::{Exchange, Step};
use super::socket::Buffers;
use super::transport::Transport;
use crate::error::{Error, Failure, Operation, Result};
use crate::wire::Datagram;

/// A dump fills at most 32 KiB a read, however large the buffer is (`netlink_dump`).
const RECEIVE_SIZE: usize = 32 * 1024;

/// One end of conversations, one at a time.
pub(crate) struct Link {
    transport: Box<dyn Transport>,
    port: u32,
    sequence: u32,
    buffers: Buffers,
    pub(super) buffer: Vec<u8>,
}

/// What the kernel answered to one request.
pub(crate) enum Answer<'a> {
    /// An object: what follows the netlink header.
    Payload(&'a [u8]),
    /// Done, or refused.
    Outcome(std::result::Result<(), Failure>),
}

/// What came of waiting for a datagram.
pub(super) enum Arrival {
    /// It is in the buffer.
    Datagram,
    /// Some were lost; others may be waiting.
    Overrun,
    /// It was longer than the buffer, which has grown since.
    Truncated { needed: usize, had: usize },
    /// The deadline passed.
    Nothing,
}

impl Link {
    pub(crate) fn new(
        transport: impl Transport + 'static,
        port: u32,
        buffers: Buffers,
        sequence: u32,
    ) -> Self {
        Self {
            transport: Box::new(transport),
            port,
            sequence,
            buffers,
            buffer: Vec::with_capacity(RECEIVE_SIZE),
        }
    }

    pub(crate) fn buffers(&self) -> Buffers {
        self.buffers
    }

    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// The sequence number that the next datagram starts with.
    pub(crate) fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Sends a datagram. If that fails, nothing of it was done.
    pub(crate) fn send(&mut self, operation: Operation, datagram: &Datagram) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(datagram.count());
        let mut tries = 0;
        loop {
            match self.transport.send(datagram.bytes()) {
                Ok(()) => return Ok(()),
                // Interrupted before anything was sent, or short of memory for a moment.
                Err(Errno::EINTR | Errno::EAGAIN) if tries < 10 => {
                    tries += 1;
                    warn!(tries, "sending was interrupted, trying again");
                }
                Err(errno) => {
                    let hint = match errno {
                        Errno::EMSGSIZE => {
                            Some("the datagram is larger than the socket's send buffer: enlarge it")
                        }
                        Errno::ECONNREFUSED => Some(
                            "the namespace has no netfilter netlink: load the module nfnetlink",
                        ),
                        _ => None,
                    };
                    return Err(Error::system(operation, "send to the kernel", errno, hint));
                }
            }
        }
    }

    /// Waits for a datagram of the kernel's until `until`. Forged ones and signals are passed over.
    pub(super) fn receive(
        &mut self,
        operation: Operation,
        exchange: &mut Exchange,
        until: Instant,
    ) -> Result<Arrival> {
        loop {
            let wait = until.saturating_duration_since(Instant::now());
            let received = match self.transport.receive(&mut self.buffer, wait) {
                Ok(received) => received,
                Err(Errno::EAGAIN) => return Ok(Arrival::Nothing),
                Err(Errno::ENOBUFS) => {
                    warn!("the receive buffer overran: answers were lost");
                    exchange.lost();
                    return Ok(Arrival::Overrun);
                }
                Err(Errno::EINTR) => {
                    exchange.odd.interrupted += 1;
                    debug!("a signal interrupted the wait");
                    // Signals without end do not extend the deadline.
                    if wait.is_zero() {
                        return Ok(Arrival::Nothing);
                    }
                    continue;
                }
                Err(errno) => {
                    return Err(Error::system(
                        operation,
                        "receive from the kernel",
                        errno,
                        None,
                    ));
                }
            };
            if !exchange.accepts(received.sender) {
                warn!(
                    sender = received.sender,
                    bytes = received.length,
                    "dropped a datagram that is not the kernel's"
                );
                if wait.is_zero() {
                    return Ok(Arrival::Nothing);
                }
                continue;
            }
            let had = self.buffer.len();
            if received.length > had {
                warn!(
                    bytes = received.length,
                    buffer = self.buffer.capacity(),
                    "an answer was cut off; the buffer grows"
                );
                self.buffer.clear();
                self.buffer
                    .reserve_exact(received.length.next_multiple_of(4096));
                return Ok(Arrival::Truncated {
                    needed: received.length,
                    had,
                });
            }
            return Ok(Arrival::Datagram);
        }
    }

    /// Sends the requests of a datagram and hands over each answer with the index of its request.
    ///
    /// The last request must be one that is answered in any case. Returns whether answers were
    /// lost: then a request that was not refused may have failed all the same.
    ///
    /// # Errors
    /// When sending fails (nothing was done), when an answer is damaged or does not fit, or when
    /// the deadline passes (the outcome is then unknown).
    pub(crate) fn request(
        &mut self,
        operation: Operation,
        datagram: &Datagram,
        deadline: Duration,
        answer: impl FnMut(u32, Answer<'_>),
    ) -> Result<bool> {
        self.send(operation, datagram)?;
        self.collect(operation, datagram, deadline, answer)
    }

    /// The second half of [`Link::request`]: reads the answers to a datagram that was just sent.
    pub(crate) fn collect(
        &mut self,
        operation: Operation,
        datagram: &Datagram,
        deadline: Duration,
        mut answer: impl FnMut(u32, Answer<'_>),
    ) -> Result<bool> {
        let mut exchange = Exchange::requests(self.port, datagram);
        let mut until = Instant::now() + deadline;
        while !exchange.is_finished() {
            match self.receive(operation, &mut exchange, until)? {
                Arrival::Datagram => {
                    let mut rest = &self.buffer[..];
                    loop {
                        match exchange.step(&mut rest) {
                            Ok(None) => break,
                            Ok(Some(Step::Nothing)) => {}
                            Ok(Some(Step::Data { index, payload })) => {
                                answer(index, Answer::Payload(payload));
                            }
                            Ok(Some(Step::Outcome { index, outcome })) => {
                                answer(index, Answer::Outcome(outcome));
                            }
                            Err(malformed) => return Err(Error::malformed(operation, malformed)),
                        }
                    }
                }
                // The kernel answers while the request is sent: what is not there by now never
                // comes.
                Arrival::Overrun => until = Instant::now(),
                Arrival::Nothing if exchange.is_overrun() => break,
                Arrival::Nothing => return Err(Error::deadline(operation, deadline)),
                Arrival::Truncated { needed, had } => {
                    return Err(Error::truncated(operation, needed, had));
                }
            }
        }
        tell(&exchange);
        Ok(exchange.is_overrun())
    }
}

/// Warns of what was odd in a conversation.
pub(super) fn tell(exchange: &Exchange) {
    let odd = exchange.odd;
    if odd.stale > 0 || odd.malformed > 0 {
        warn!(
            stale = odd.stale,
            malformed = odd.malformed,
            "passed over messages that answer nothing that was asked"
        );
    }
}
