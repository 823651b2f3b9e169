//! The sockets of a handle: opened in its namespace when needed, kept for the next conversation.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use super::conversation::Link;
use super::netns::Namespace;
use super::socket::{Buffers, Socket};
use crate::error::{Error, Operation, Result};

/// More idle sockets than this are closed: a burst of lists does not hold on to its buffers.
const IDLE_MAX: usize = 4;

/// Makes links.
type Opener = Box<dyn Fn() -> Result<Link> + Send + Sync>;

/// The sockets of a handle.
pub(crate) struct Pool {
    open: Opener,
    /// Where subscriptions are opened; a scripted pool has none.
    namespace: Option<(Arc<Namespace>, Buffers)>,
    label: String,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    links: Vec<Link>,
    /// The process that opened them. A child of `fork` shares the sockets with its parent, so that
    /// each would read answers of the other; it opens its own.
    process: u32,
}

impl Pool {
    pub(crate) fn new(namespace: Namespace, want: Buffers) -> Arc<Self> {
        let label = namespace.label().to_owned();
        let namespace = Arc::new(namespace);
        let opener = Arc::clone(&namespace);
        Self::with_opener(
            label,
            Box::new(move || {
                let socket = opener.run(|| Socket::open(want))?;
                let (port, buffers) = (socket.port(), socket.buffers());
                Ok(Link::new(socket, port, buffers, 1))
            }),
            Some((namespace, want)),
        )
    }

    fn with_opener(
        label: String,
        open: Opener,
        namespace: Option<(Arc<Namespace>, Buffers)>,
    ) -> Arc<Self> {
        Arc::new(Self {
            open,
            namespace,
            label,
            idle: Mutex::new(Idle {
                links: Vec::new(),
                process: std::process::id(),
            }),
        })
    }

    /// What is asked for of each socket.
    pub(crate) fn buffers(&self) -> Buffers {
        self.namespace.as_ref().map_or(
            Buffers {
                receive: 0,
                send: 0,
            },
            |(_, want)| *want,
        )
    }

    /// The namespace's name, for traces.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Runs `work` in the namespace.
    pub(crate) fn within<T: Send>(
        &self,
        operation: Operation,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        match &self.namespace {
            Some((namespace, _)) => namespace.run(work),
            None => Err(Error::unsupported(
                operation,
                "this handle has no namespace",
                "it is a script",
            )),
        }
    }

    /// A socket of its own that has joined multicast groups.
    pub(crate) fn subscribe(&self, groups: u32, receive_buffer: usize) -> Result<Socket> {
        self.within(Operation::Events, || {
            let send = self
                .namespace
                .as_ref()
                .map_or(receive_buffer, |(_, want)| want.send);
            let socket = Socket::open(Buffers {
                receive: receive_buffer,
                send,
            })?;
            socket.join(groups)?;
            Ok(socket)
        })
    }

    /// An idle link, or a new one.
    pub(crate) fn take(self: &Arc<Self>) -> Result<Pooled> {
        let idle = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let process = std::process::id();
            if idle.process != process {
                idle.links.clear();
                idle.process = process;
            }
            idle.links.pop()
        };
        let link = match idle {
            Some(link) => link,
            None => (self.open)()?,
        };
        Ok(self.pooled(link))
    }

    /// A link whose socket has received nothing yet.
    pub(crate) fn fresh(self: &Arc<Self>) -> Result<Pooled> {
        // A script does not know what it has received.
        if self.namespace.is_none() {
            return self.take();
        }
        Ok(self.pooled((self.open)()?))
    }

    fn pooled(self: &Arc<Self>, link: Link) -> Pooled {
        Pooled {
            link: Some(link),
            pool: Arc::clone(self),
            occupied: false,
            process: std::process::id(),
        }
    }

    fn give_back(&self, link: Link, process: u32) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.process == process && idle.links.len() < IDLE_MAX {
            idle.links.push(link);
        }
    }
}

/// A link that is in use; when dropped it goes back to its pool, or is closed if a dump occupies it.
pub(crate) struct Pooled {
    /// Always there until dropped.
    link: Option<Link>,
    pool: Arc<Pool>,
    occupied: bool,
    process: u32,
}

impl Pooled {
    /// Whether the kernel still has a dump to say on this socket.
    pub(super) fn occupied(&mut self, occupied: bool) {
        self.occupied = occupied;
    }

    /// Another link of the same pool.
    pub(super) fn another(&self) -> Result<Self> {
        self.pool.take()
    }
}

impl Deref for Pooled {
    type Target = Link;

    fn deref(&self) -> &Link {
        match &self.link {
            Some(link) => link,
            None => unreachable!("a pooled link is there until it is dropped"),
        }
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut Link {
        match &mut self.link {
            Some(link) => link,
            None => unreachable!("a pooled link is there until it is dropped"),
        }
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        match self.link.take() {
            Some(link) if !self.occupied => self.pool.give_back(link, self.process),
            _ => {}
        }
    }
}

#[cfg(test)]
impl Pool {
    /// A pool whose links are the given scripts, one after the other.
    pub(crate) fn scripted(scripts: Vec<super::script::Script>) -> Arc<Self> {
        let scripts = Mutex::new(std::collections::VecDeque::from(scripts));
        Self::with_opener(
            "script".into(),
            Box::new(move || {
                let script = scripts.lock().unwrap().pop_front();
                let buffers = Buffers {
                    receive: 1 << 20,
                    send: 1 << 20,
                };
                Ok(Link::new(
                    script.expect("the test opens more sockets than it has scripts for"),
                    super::script::Script::PORT,
                    buffers,
                    1,
                ))
            }),
            None,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::script::Script;

    /// Stands for `fork`: to the pool, a child is a process with another id.
    #[test]
    fn a_child_process_opens_sockets_of_its_own() {
        let script = || Script::new(|_| Vec::new()).0;
        let pool = Pool::scripted(vec![script(), script(), script()]);
        let (first, second) = (pool.take().unwrap(), pool.take().unwrap());
        drop(first);
        assert_eq!(pool.idle.lock().unwrap().links.len(), 1);
        pool.idle.lock().unwrap().process ^= 1;
        // The parent's idle socket is not used, and one in use does not come back.
        let mut own = pool.take().unwrap();
        pool.idle.lock().unwrap().process ^= 1;
        drop(second);
        assert_eq!(pool.idle.lock().unwrap().links.len(), 0);
        pool.idle.lock().unwrap().process ^= 1;
        own.occupied(true);
        drop(own);
        assert_eq!(pool.idle.lock().unwrap().links.len(), 0);
    }
}
