//! A conversation with the kernel as a state machine: fed with datagrams, no I/O.
//!
//! It knows which sequence numbers it asked with and what ends it: for requests, an answer to the
//! last one; for a dump, `NLMSG_DONE` or a refusal. Everything that is not an answer to it (an old
//! conversation's, another port's) is passed over and counted.

use netlink_packet_core::NLM_F_DUMP_INTR;

use crate::error::Failure;
use crate::wire::Malformed;
use crate::wire::{Datagram, FrameKind, frame};

/// What one message meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// An object: which request it answers, and what follows the netlink header.
    Data { index: u32, payload: &'a [u8] },
    /// A request is done, or was refused.
    Outcome {
        index: u32,
        outcome: Result<(), Failure>,
    },
    /// Nothing of this conversation.
    Nothing,
}

/// What was odd, to be told once at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Oddities {
    /// Datagrams that did not come from the kernel.
    pub(crate) forged: u32,
    /// Messages of other conversations.
    pub(crate) stale: u32,
    /// Messages that could not be told apart.
    pub(crate) malformed: u32,
    /// Waits that a signal cut short.
    pub(crate) interrupted: u32,
}

/// One conversation.
#[derive(Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "four facts that do not exclude each other"
)]
pub(crate) struct Exchange {
    port: u32,
    first: u32,
    count: u32,
    dump: bool,
    finished: bool,
    incomplete: bool,
    overrun: bool,
    pub(crate) odd: Oddities,
}

impl Exchange {
    fn new(port: u32, datagram: &Datagram, dump: bool) -> Self {
        Self {
            port,
            first: datagram.first(),
            count: datagram.count(),
            dump,
            finished: datagram.count() == 0,
            incomplete: false,
            overrun: false,
            odd: Oddities::default(),
        }
    }

    /// For requests of which the last one is answered in any case.
    pub(crate) fn requests(port: u32, datagram: &Datagram) -> Self {
        Self::new(port, datagram, false)
    }

    /// For a dump.
    pub(crate) fn dump(port: u32, datagram: &Datagram) -> Self {
        Self::new(port, datagram, true)
    }

    /// How many requests were sent.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Whether the last answer is in.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether something may be missing from a dump: `NLM_F_DUMP_INTR`, an overrun, or a message
    /// that could not be told apart.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.incomplete || self.overrun
    }

    /// Whether answers were lost.
    pub(crate) fn is_overrun(&self) -> bool {
        self.overrun
    }

    /// Whether a datagram of this sender may be looked at. Only port 0 is the kernel.
    pub(crate) fn accepts(&mut self, sender: u32) -> bool {
        if sender != 0 {
            self.odd.forged += 1;
        }
        sender == 0
    }

    /// Notes that answers were lost (`ENOBUFS`).
    pub(crate) fn lost(&mut self) {
        self.overrun = true;
    }

    /// Takes the next message off `rest`; `None` when it is used up.
    #[inline]
    pub(crate) fn step<'a>(&mut self, rest: &mut &'a [u8]) -> Result<Option<Step<'a>>, Malformed> {
        let message = match frame(rest) {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(None),
            Err(malformed) => {
                self.odd.malformed += 1;
                self.incomplete = true;
                return Err(malformed);
            }
        };
        let index = message.sequence.wrapping_sub(self.first);
        if message.port != self.port || index >= self.count || self.finished {
            self.odd.stale += 1;
            return Ok(Some(Step::Nothing));
        }
        if message.flags & NLM_F_DUMP_INTR != 0 && self.dump {
            self.incomplete = true;
        }
        let last = index == self.count - 1;
        Ok(Some(match message.kind {
            FrameKind::Data(_) => {
                self.finished = last && !self.dump;
                Step::Data {
                    index,
                    payload: message.payload,
                }
            }
            FrameKind::Error | FrameKind::Done => {
                self.finished = last;
                let outcome = message.outcome().inspect_err(|_| {
                    self.odd.malformed += 1;
                    self.incomplete = true;
                })?;
                Step::Outcome { index, outcome }
            }
            FrameKind::Overrun => {
                self.overrun = true;
                Step::Nothing
            }
            FrameKind::Noop => Step::Nothing,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::script::{ack, data, done, refusal};
    use netlink_packet_netfilter::NetfilterProtoFamily;
    use nix::errno::Errno as Nix;

    const PORT: u32 = 9;

    fn asked(first: u32, count: u32) -> Datagram {
        let mut datagram = Datagram::new(first);
        for _ in 0..count {
            datagram
                .message(1, 0, NetfilterProtoFamily::Unspec, |_| {})
                .unwrap();
        }
        datagram
    }

    fn steps(exchange: &mut Exchange, bytes: &[u8]) -> Vec<String> {
        let mut rest = bytes;
        let mut seen = Vec::new();
        loop {
            match exchange.step(&mut rest) {
                Ok(None) => return seen,
                Ok(Some(Step::Nothing)) => seen.push("nothing".to_owned()),
                Ok(Some(Step::Data { index, .. })) => seen.push(format!("data {index}")),
                Ok(Some(Step::Outcome { index, outcome })) => seen.push(match outcome {
                    Ok(()) => format!("ok {index}"),
                    Err(failure) => format!("{:?} {index}", failure.errno),
                }),
                Err(malformed) => seen.push(malformed.problem.to_owned()),
            }
        }
    }

    #[test]
    fn requests_end_with_the_answer_to_the_last() {
        let mut exchange = Exchange::requests(PORT, &asked(u32::MAX, 3));
        let bytes = [refusal(0, PORT, Nix::ENOENT), ack(1, PORT)].concat();
        assert_eq!(steps(&mut exchange, &bytes), ["ENOENT 1", "ok 2"]);
        assert!(exchange.is_finished());
        assert!(Exchange::requests(PORT, &asked(1, 0)).is_finished());
    }

    #[test]
    fn other_conversations_are_passed_over() {
        let mut exchange = Exchange::requests(PORT, &asked(10, 1));
        let bytes = [
            ack(9, PORT),
            ack(11, PORT),
            ack(10, PORT + 1),
            data(10, PORT, &[0; 4]),
            ack(10, PORT),
        ]
        .concat();
        assert_eq!(
            steps(&mut exchange, &bytes),
            ["nothing", "nothing", "nothing", "data 0", "nothing"]
        );
        assert_eq!(exchange.odd.stale, 4);
    }

    #[test]
    fn a_dump_ends_with_done_and_remembers_interruption() {
        let mut exchange = Exchange::dump(PORT, &asked(5, 1));
        let mut interrupted = data(5, PORT, &[0; 4]);
        interrupted[6] |= u8::try_from(NLM_F_DUMP_INTR).unwrap();
        assert_eq!(steps(&mut exchange, &data(5, PORT, &[0; 4])), ["data 0"]);
        assert!(!exchange.is_incomplete());
        assert_eq!(steps(&mut exchange, &interrupted), ["data 0"]);
        assert!(exchange.is_incomplete() && !exchange.is_finished());
        assert_eq!(steps(&mut exchange, &done(5, PORT, 0)), ["ok 0"]);
        assert!(exchange.is_finished());
    }

    #[test]
    fn a_dump_that_ends_in_an_error_says_so() {
        let mut exchange = Exchange::dump(PORT, &asked(5, 1));
        assert_eq!(steps(&mut exchange, &done(5, PORT, -4)), ["EINTR 0"]);
        assert!(exchange.is_finished());
        let mut exchange = Exchange::dump(PORT, &asked(5, 1));
        assert_eq!(
            steps(&mut exchange, &refusal(5, PORT, Nix::EPERM)),
            ["EPERM 0"]
        );
        assert!(exchange.is_finished());
    }

    #[test]
    fn only_port_zero_is_the_kernel() {
        let mut exchange = Exchange::requests(PORT, &asked(1, 1));
        assert!(exchange.accepts(0));
        assert!(!exchange.accepts(4242));
        assert_eq!(exchange.odd.forged, 1);
    }

    #[test]
    fn damage_makes_a_dump_incomplete() {
        let mut exchange = Exchange::dump(PORT, &asked(1, 1));
        let bytes = [data(1, PORT, &[0; 4]), vec![3, 0, 0, 0]].concat();
        assert_eq!(
            steps(&mut exchange, &bytes),
            ["data 0", "a netlink header is cut off"]
        );
        assert!(exchange.is_incomplete());
    }
}
