//! The seam between conversations and sockets.

use std::time::Duration;

use nix::errno::Errno;

/// What sends and receives datagrams: a netlink socket, or a script in tests.
pub(crate) trait Transport: Send {
    /// Sends one datagram to the kernel.
    fn send(&mut self, datagram: &[u8]) -> Result<(), Errno>;

    /// Receives one datagram into `buffer`, which is emptied first and never grows past its
    /// capacity. Waits at most `wait`, then `EAGAIN`. May fail with `EINTR`, `ENOBUFS`.
    fn receive(&mut self, buffer: &mut Vec<u8>, wait: Duration) -> Result<Received, Errno>;

    /// The same, but leaves the datagram in the queue. While the queue holds as much as the buffer
    /// allows, the kernel does not go on with a dump (`netlink_recvmsg`).
    fn peek(&mut self, buffer: &mut Vec<u8>, wait: Duration) -> Result<Received, Errno>;
}

/// A datagram that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    /// Its true length, which is more than the buffer holds if it was cut off (`MSG_TRUNC`).
    pub(crate) length: usize,
    /// The sender's port. The kernel's is 0.
    pub(crate) sender: u32,
}
