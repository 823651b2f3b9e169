//! A netlink socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket as RawSocket, SocketAddr};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, setsockopt, sockopt};
use tracing::debug;

use super::transport::{Received, Transport};
use crate::error::{Error, Operation, Result};

/// Sizes of the socket buffers, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Buffers {
    pub(crate) receive: usize,
    pub(crate) send: usize,
}

/// `NETLINK_NETFILTER`, bound, close-on-exec.
pub(crate) struct Socket {
    raw: RawSocket,
    port: u32,
    kernel: SocketAddr,
    buffers: Buffers,
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

impl Socket {
    /// In the namespace of the calling thread.
    pub(crate) fn open(want: Buffers) -> Result<Self> {
        let failed = |action: &'static str, hint: Option<&'static str>| {
            move |error: io::Error| Error::system(Operation::Open, action, &error, hint)
        };
        let mut raw = RawSocket::new(NETLINK_NETFILTER).map_err(|error| {
            let hint = match errno(&error) {
                Errno::EPROTONOSUPPORT => Some(
                    "the kernel has no NETLINK_NETFILTER: load the module nfnetlink, or build the kernel with CONFIG_NETFILTER_NETLINK",
                ),
                Errno::EMFILE | Errno::ENFILE => Some("raise the limit of open files"),
                _ => None,
            };
            Error::system(Operation::Open, "netlink socket", &error, hint)
        })?;
        let port = raw
            .bind_auto()
            .map_err(failed("bind the netlink socket", None))?
            .port_number();
        // Both shorten or enrich refusals and nothing depends on them (Linux 4.2 and 4.12).
        for (name, set) in [
            ("NETLINK_CAP_ACK", raw.set_cap_ack(true)),
            ("NETLINK_EXT_ACK", raw.set_ext_ack(true)),
        ] {
            if let Err(error) = set {
                debug!(option = name, %error, "the kernel lacks a socket option");
            }
        }
        size_buffers(&raw, want);
        let read = |result: nix::Result<usize>, action| {
            result.map_err(|errno| Error::system(Operation::Open, action, errno, None))
        };
        let buffers = Buffers {
            receive: read(
                nix::sys::socket::getsockopt(&raw, sockopt::RcvBuf),
                "read SO_RCVBUF",
            )?,
            send: read(
                nix::sys::socket::getsockopt(&raw, sockopt::SndBuf),
                "read SO_SNDBUF",
            )?,
        };
        Ok(Self {
            raw,
            port,
            kernel: SocketAddr::new(0, 0),
            buffers,
        })
    }

    /// Joins multicast groups: bit 0 of `groups` is group 1.
    pub(crate) fn join(&self, groups: u32) -> Result<()> {
        for group in (0..32).filter(|bit| groups >> bit & 1 == 1) {
            self.raw.add_membership(group + 1).map_err(|error| {
                let action = format!("join the netlink group {}", group + 1);
                Error::system(Operation::Events, action, &error, None)
            })?;
        }
        Ok(())
    }

    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// What the kernel granted: it doubles what is asked for, to make room for its own bookkeeping.
    pub(crate) fn buffers(&self) -> Buffers {
        self.buffers
    }
}

/// The kernel takes an `int` and doubles it; in older ones that overflows, to the smallest buffer.
const BUFFER_MAX: usize = (i32::MAX / 2) as usize;

/// `SO_*BUFFORCE` ignores the limits of net.core but needs `CAP_NET_ADMIN` in the initial user
/// namespace; the plain options are clamped by them. Short buffers are reported, never an error.
fn size_buffers(raw: &RawSocket, want: Buffers) {
    let (receive, send) = (want.receive.min(BUFFER_MAX), want.send.min(BUFFER_MAX));
    let receive = setsockopt(raw, sockopt::RcvBufForce, &receive)
        .or_else(|_| setsockopt(raw, sockopt::RcvBuf, &receive));
    let send = setsockopt(raw, sockopt::SndBufForce, &send)
        .or_else(|_| setsockopt(raw, sockopt::SndBuf, &send));
    for (name, result) in [("SO_RCVBUF", receive), ("SO_SNDBUF", send)] {
        if let Err(errno) = result {
            tracing::warn!(option = name, %errno, "cannot size a socket buffer");
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.raw.as_fd()
    }
}

impl Transport for Socket {
    fn send(&mut self, datagram: &[u8]) -> Result<(), Errno> {
        // A datagram is sent whole or not at all.
        self.raw
            .send_to(datagram, &self.kernel, 0)
            .map(drop)
            .map_err(|error| errno(&error))
    }

    fn receive(&mut self, buffer: &mut Vec<u8>, wait: Duration) -> Result<Received, Errno> {
        self.read(buffer, wait, MsgFlags::empty())
    }

    fn peek(&mut self, buffer: &mut Vec<u8>, wait: Duration) -> Result<Received, Errno> {
        self.read(buffer, wait, MsgFlags::MSG_PEEK)
    }
}

impl Socket {
    /// Whether the kernel has the option for strict checking (Linux 4.20).
    pub(crate) fn checks_strictly(&self) -> bool {
        self.raw.set_netlink_get_strict_chk(true).is_ok()
    }

    fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        wait: Duration,
        also: MsgFlags,
    ) -> Result<Received, Errno> {
        let flags = (MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC | also).bits();
        let mut try_once = || {
            buffer.clear();
            // `BufMut` grows a full vector; one without capacity would be given some.
            self.raw
                .recv_from(buffer, flags)
                .map(|(length, sender)| Received {
                    length,
                    sender: sender.port_number(),
                })
                .map_err(|error| errno(&error))
        };
        // The kernel answers while the request is sent, so an answer is nearly always there.
        match try_once() {
            Err(Errno::EAGAIN) => {}
            done => return done,
        }
        // poll(2) counts milliseconds: rounded up, so that no wait ends early.
        let wait = wait.saturating_add(Duration::from_nanos(999_999));
        let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
        let mut set = [PollFd::new(self.raw.as_fd(), PollFlags::POLLIN)];
        match poll(&mut set, timeout)? {
            0 => Err(Errno::EAGAIN),
            _ => try_once(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel takes an `int`: more than it holds would be the smallest buffer.
    #[test]
    fn an_enormous_buffer_is_the_largest() {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
            .expect("cannot make a network namespace: run as root or under `unshare -Urn`");
        let granted = |size| {
            let (receive, send) = (size, size);
            Socket::open(Buffers { receive, send }).unwrap().buffers()
        };
        let most = granted(1 << 29);
        for enormous in [1 << 30, 1 << 31, 1 << 32, usize::MAX] {
            let granted = granted(enormous);
            assert!(granted.receive >= most.receive, "{enormous}: {granted:?}");
            assert!(granted.send >= most.send, "{enormous}: {granted:?}");
        }
    }
}
