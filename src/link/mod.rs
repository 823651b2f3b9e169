//! Talking netlink: sockets, conversations, namespaces. Knows nothing of conntrack.

mod conversation;
mod dump;
mod exchange;
mod netns;
mod pool;
#[cfg(test)]
pub(crate) mod script;
mod socket;
mod transport;

pub(crate) use conversation::{Answer, Link, RECEIVE_SIZE, end_of_wait};
pub(crate) use dump::{Dump, DumpState};
pub(crate) use netns::{Namespace, Target};
pub(crate) use pool::{Pool, Pooled};
pub(crate) use socket::{Buffers, Socket};
pub(crate) use transport::Transport;
