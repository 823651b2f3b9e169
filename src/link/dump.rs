//! A dump in progress: pulled message by message, in constant memory.

use std::ops::Range;
use std::time::{Duration, Instant};

use tracing::warn;

use super::conversation::{Arrival, end_of_wait, tell};
use super::exchange::{Exchange, Step};
use super::pool::Pooled;
use crate::error::{Error, Operation, Result};
use crate::wire::Datagram;

/// A dump, and the socket that it occupies while it lives.
///
/// Dropped early, the socket is closed: that ends the dump in the kernel at once, where reading on
/// to its end would cost as much as the rest of the table.
pub(crate) struct Dump {
    link: Pooled,
    exchange: Exchange,
    operation: Operation,
    deadline: Duration,
    until: Instant,
    /// Asked again, once, if the first answer does not fit the buffer.
    request: Option<Request>,
    at: usize,
    over: bool,
    state: DumpState,
    /// `state.messages` when the buffer was last filled.
    before_refill: u64,
    /// What happens while the caller iterates belongs to the conversation that began it.
    span: tracing::Span,
}

/// Writes the one message that asks for the dump.
type Request = Box<dyn Fn(&mut Datagram) -> Result<()> + Send>;

/// How a dump went, so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct DumpState {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Datagrams that had messages of it.
    pub(crate) pieces: u64,
    /// Messages may be missing, and the kernel or the socket said so.
    pub(crate) incomplete: bool,
    /// The end was seen.
    pub(crate) ended: bool,
}

impl Dump {
    /// Starts a dump on a link of its own. `repeatable`: whether asking twice is as good as once.
    pub(crate) fn start(
        mut link: Pooled,
        operation: Operation,
        deadline: Duration,
        repeatable: bool,
        request: impl Fn(&mut Datagram) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let exchange = ask(&mut link, operation, &request)?;
        Ok(Self {
            link,
            exchange,
            operation,
            deadline,
            until: end_of_wait(deadline),
            request: repeatable.then(|| Box::new(request) as Request),
            at: 0,
            over: false,
            state: DumpState::default(),
            before_refill: 0,
            span: tracing::Span::none(),
        })
    }

    /// The span of the conversation that the dump belongs to.
    pub(crate) fn within(mut self, span: tracing::Span) -> Self {
        self.span = span;
        self
    }

    pub(crate) fn state(&self) -> DumpState {
        DumpState {
            incomplete: self.exchange.is_incomplete(),
            ..self.state
        }
    }

    /// What follows the netlink header of the message that [`Dump::advance`] found.
    #[inline]
    pub(crate) fn payload(&self, range: Range<usize>) -> &[u8] {
        self.link.buffer.get(range).unwrap_or_default()
    }

    /// Goes to the next message. `None` at the end, and after an error that ended the dump. After
    /// damage it goes on with the next datagram.
    #[inline]
    pub(crate) fn advance(&mut self) -> Result<Option<Range<usize>>> {
        loop {
            if self.over {
                return Ok(None);
            }
            let before = self.at;
            let mut rest = self.link.buffer.get(before..).unwrap_or_default();
            let step = self.exchange.step(&mut rest);
            self.at = self.link.buffer.len() - rest.len();
            match step {
                Ok(Some(Step::Data { payload, .. })) => {
                    self.state.messages += 1;
                    let start = before + crate::wire::NETLINK_HEADER;
                    return Ok(Some(start..start + payload.len()));
                }
                Ok(Some(Step::Nothing)) => {}
                Ok(Some(Step::Outcome { outcome, .. })) => {
                    // Refused or ended: either way the kernel is done with this socket.
                    self.link.occupied(false);
                    self.finish();
                    return match outcome {
                        Ok(()) => {
                            self.state.ended = true;
                            Ok(None)
                        }
                        Err(failure) => Err(Error::kernel(self.operation, failure)),
                    };
                }
                // What is left of the datagram is unusable; the dump goes on, marked incomplete.
                Err(malformed) => {
                    self.span
                        .in_scope(|| warn!(%malformed, "a datagram of the dump is damaged"));
                    if self.exchange.is_finished() {
                        self.finish();
                    }
                    return Err(malformed.error(self.operation));
                }
                Ok(None) => self.refill()?,
            }
        }
    }

    fn finish(&mut self) {
        if self.state.messages != self.before_refill {
            self.state.pieces += 1;
        }
        self.over = true;
        self.span.in_scope(|| tell(&self.exchange));
    }

    /// Receives the next datagram into the buffer, or ends the dump with an error.
    fn refill(&mut self) -> Result<()> {
        let span = self.span.clone();
        let _entered = span.enter();
        // Only messages of this dump give it more time: strangers' do not.
        if self.state.messages != self.before_refill {
            self.state.pieces += 1;
            self.before_refill = self.state.messages;
            self.until = end_of_wait(self.deadline);
            self.request = None;
        }
        self.at = 0;
        let arrival = self
            .link
            .receive(self.operation, &mut self.exchange, self.until);
        let ended = match arrival {
            Ok(Arrival::Datagram) => {
                self.state.bytes += self.link.buffer.len() as u64;
                return Ok(());
            }
            Ok(Arrival::Overrun) => {
                self.link.buffer.clear();
                return Ok(());
            }
            Ok(Arrival::Truncated { needed, had }) => match self.request.take() {
                Some(request) => match self.again(&request, needed) {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                },
                None => Error::truncated(self.operation, needed, had),
            },
            Ok(Arrival::Nothing) => Error::deadline(self.operation, self.deadline),
            Err(error) => error,
        };
        self.finish();
        Err(ended)
    }

    /// Asks again on another socket (this one is still occupied), with a larger buffer.
    fn again(&mut self, request: &Request, needed: usize) -> Result<()> {
        warn!("the dump is asked for again with a larger buffer");
        let mut link = self.link.another()?;
        link.buffer.reserve(needed);
        self.exchange = ask(&mut link, self.operation, request)?;
        self.link = link;
        self.until = end_of_wait(self.deadline);
        Ok(())
    }
}

/// Asks for a dump. From then on the socket is occupied until the dump's end was seen.
fn ask(
    link: &mut Pooled,
    operation: Operation,
    request: impl Fn(&mut Datagram) -> Result<()>,
) -> Result<Exchange> {
    let mut datagram = Datagram::new(link.sequence());
    request(&mut datagram)?;
    link.send(operation, &datagram)?;
    link.occupied(true);
    link.buffer.clear();
    Ok(Exchange::dump(link.port(), &datagram))
}
