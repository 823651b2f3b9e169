//! A link: a transport, its port and sequence numbers, and the receive buffer.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use tracing::warn;

use super::exchange::{Exchange, Step};
use super::socket::Buffers;
use super::transport::Transport;
use crate::error::{Error, Failure, Operation, Result};
use crate::wire::Datagram;

/// A dump fills at most 32 KiB a read, however large the buffer is (`netlink_dump`).
pub(crate) const RECEIVE_SIZE: usize = 32 * 1024;

/// How many strangers' datagrams are passed over after the deadline.
const LATE_MAX: u32 = 1024;

/// When a wait that begins now ends. A deadline beyond all clocks is ten years.
pub(crate) fn end_of_wait(deadline: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
    Instant::now() + deadline.min(NEVER)
}

/// One end of conversations, one at a time.
pub(crate) struct Link {
    transport: Box<dyn Transport>,
    port: u32,
    sequence: u32,
    buffers: Buffers,
    sent: u64,
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
            sent: 0,
            buffer: Vec::with_capacity(RECEIVE_SIZE),
        }
    }

    /// Receives at most so many bytes at once. Pieces of a dump are as long as the longest receive of
    /// the socket so far (`netlink_recvmsg`).
    pub(crate) fn receive_at_most(&mut self, bytes: usize) {
        self.buffer = Vec::with_capacity(bytes);
    }

    pub(crate) fn buffers(&self) -> Buffers {
        self.buffers
    }

    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Bytes that were sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
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
                Ok(()) => {
                    self.sent += datagram.bytes().len() as u64;
                    return Ok(());
                }
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
        // Once the deadline has passed nothing is waited for, but what is there already is read:
        // strangers' datagrams before the answer do not hide it, unless they come without end.
        let mut late = 0;
        loop {
            let wait = until.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                late += 1;
                if late > LATE_MAX {
                    return Ok(Arrival::Nothing);
                }
            }
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
                    warn!("a signal interrupted the wait");
                    // Signals without end do not extend the deadline.
                    if wait.is_zero() {
                        return Ok(Arrival::Nothing);
                    }
                    continue;
                }
                Err(errno) => {
                    return Err(Error::unheard(operation, errno));
                }
            };
            if !exchange.accepts(received.sender) {
                warn!(
                    sender = received.sender,
                    bytes = received.length,
                    "dropped a datagram that is not the kernel's"
                );
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
        let done = self.read_answers(operation, &mut exchange, deadline, &mut answer);
        tell(&exchange);
        done.map(|()| exchange.is_overrun())
    }

    fn read_answers(
        &mut self,
        operation: Operation,
        exchange: &mut Exchange,
        deadline: Duration,
        answer: &mut impl FnMut(u32, Answer<'_>),
    ) -> Result<()> {
        let mut until = end_of_wait(deadline);
        let mut whole = None;
        while !exchange.is_finished() {
            match self.receive(operation, exchange, until)? {
                Arrival::Datagram => {
                    let mut rest = &self.buffer[..];
                    loop {
                        match exchange.step(&mut rest) {
                            Ok(None) => break,
                            Ok(Some(Step::Nothing)) => {}
                            Ok(Some(Step::Data { index, payload })) => {
                                whole = None;
                                answer(index, Answer::Payload(payload));
                            }
                            Ok(Some(Step::Outcome { index, outcome })) => {
                                whole = refused_whole(index, &outcome);
                                answer(index, Answer::Outcome(outcome));
                            }
                            Err(malformed) => return Err(malformed.error(operation)),
                        }
                    }
                    if whole.is_some() {
                        until = Instant::now();
                    }
                }
                // The kernel answers while the request is sent: what is not there by now never
                // comes.
                Arrival::Overrun => until = Instant::now(),
                Arrival::Nothing if exchange.is_overrun() => break,
                Arrival::Nothing if whole.is_some() => {
                    for index in 1..exchange.count() {
                        if let Some(failure) = &whole {
                            answer(index, Answer::Outcome(Err(failure.clone())));
                        }
                    }
                    break;
                }
                Arrival::Nothing => return Err(Error::deadline(operation, deadline)),
                Arrival::Truncated { needed, had } => {
                    return Err(Error::truncated(operation, needed, had));
                }
            }
        }
        Ok(())
    }
}

/// `nfnetlink_rcv` checks the capability once a datagram: it answers the first message with `EPERM`
/// and looks at none. So when nothing else is there after such an answer, it is that of all.
fn refused_whole(index: u32, outcome: &std::result::Result<(), Failure>) -> Option<Failure> {
    match outcome {
        Err(failure) if index == 0 && failure.errno.is(Errno::EPERM) => Some(failure.clone()),
        _ => None,
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

/// A real socket on a real kernel, where what is tested needs one but cannot be asked for from
/// outside of this room.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::socket::Socket;
    use netlink_packet_netfilter::NetfilterProtoFamily;
    use nix::sched::{CloneFlags, unshare};

    const GET_STATS: u8 = 5;
    const DELETE: u8 = 2;

    fn link() -> Link {
        unshare(CloneFlags::CLONE_NEWNET)
            .expect("cannot make a network namespace: run as root or under `unshare -Urn`");
        let size = 1 << 20;
        let socket = Socket::open(Buffers {
            receive: size,
            send: size,
        })
        .unwrap();
        let (port, buffers) = (socket.port(), socket.buffers());
        Link::new(socket, port, buffers, 1)
    }

    fn ask(link: &Link, kind: u8) -> Datagram {
        let mut datagram = Datagram::new(link.sequence());
        datagram
            .message(kind, 0, NetfilterProtoFamily::Unspec, |_| {})
            .unwrap();
        datagram
    }

    fn outcomes(link: &mut Link, datagram: &Datagram, deadline: Duration) -> Result<Vec<String>> {
        let mut seen = Vec::new();
        link.request(Operation::Count, datagram, deadline, |index, answer| {
            seen.push(match answer {
                Answer::Payload(_) => format!("payload {index}"),
                Answer::Outcome(Ok(())) => format!("done {index}"),
                Answer::Outcome(Err(failure)) => format!("{failure} {index}"),
            });
        })
        .map(|_| seen)
    }

    /// A flush that does not ask for an acknowledgement is never answered.
    #[test]
    fn a_deadline_expires_and_the_link_goes_on() {
        let mut link = link();
        let silent = ask(&link, DELETE);
        let wait = Duration::from_millis(30);
        let started = Instant::now();
        let error = outcomes(&mut link, &silent, wait).unwrap_err();
        assert!(error.is_deadline() && error.is_outcome_unknown(), "{error}");
        assert!(started.elapsed() >= wait);
        let stats = ask(&link, GET_STATS);
        let seen = outcomes(&mut link, &stats, wait).unwrap();
        assert_eq!(seen, ["payload 0"]);
    }

    /// An answer that nobody read stays in the queue and is not taken for the next one's.
    #[test]
    fn an_answer_that_comes_late_is_passed_over() {
        let mut link = link();
        for _ in 0..3 {
            let abandoned = ask(&link, GET_STATS);
            link.send(Operation::Count, &abandoned).unwrap();
        }
        let mut flush = ask(&link, DELETE);
        flush.acknowledge_last();
        let seen = outcomes(&mut link, &flush, Duration::from_secs(5)).unwrap();
        assert_eq!(seen, ["done 0"]);
    }

    /// The offset of a bad attribute comes from the kernel's extended ack.
    #[test]
    fn what_the_kernel_dislikes_is_located() {
        const CTA_TUPLE_ORIG: u16 = 1;
        const CTA_TIMEOUT: u16 = 7;
        let mut link = link();
        let mut datagram = Datagram::new(link.sequence());
        datagram
            .message(0, 0, NetfilterProtoFamily::IPv4, |w| {
                w.nest(CTA_TUPLE_ORIG, |_| {});
                w.put(CTA_TIMEOUT, [1]);
            })
            .unwrap();
        datagram.acknowledge_last();
        let mut failures = Vec::new();
        link.request(
            Operation::Create,
            &datagram,
            Duration::from_secs(5),
            |_, answer| {
                if let Answer::Outcome(Err(failure)) = answer {
                    failures.push(failure);
                }
            },
        )
        .unwrap();
        let [failure] = &failures[..] else {
            panic!("{failures:?}");
        };
        // Headers take 20 bytes, the empty nest 4.
        assert_eq!(failure.offset, Some(24), "{failure}");
        let text = failure.message.as_deref().unwrap();
        assert!(text.contains("policy validation"), "{failure}");
    }
}
