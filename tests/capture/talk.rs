//! Raw netlink: what is received stays as it came.

use std::time::{Duration, Instant};

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::bytes::{AF_UNSPEC, DUMP, ENTRIES, PORT, request};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Long for a kernel that is emulated.
const PATIENCE: Duration = Duration::from_secs(20);

/// A socket in the namespace of the thread that opened it.
pub(crate) struct Talk {
    pub(crate) socket: Socket,
}

/// The type of a message.
pub(crate) fn kind(message: &[u8]) -> u16 {
    u16::from_ne_bytes([message[4], message[5]])
}

pub(crate) fn flags(message: &[u8]) -> u16 {
    u16::from_ne_bytes([message[6], message[7]])
}

/// The errno that an `NLMSG_ERROR` says, 0 for success.
pub(crate) fn errno(message: &[u8]) -> i32 {
    assert_eq!(kind(message), NLMSG_ERROR);
    -i32::from_ne_bytes(message[16..20].try_into().unwrap())
}

impl Talk {
    /// For requests.
    pub(crate) fn open() -> Self {
        let mut socket = Socket::new(NETLINK_NETFILTER).unwrap();
        socket.bind(&SocketAddr::new(PORT, 0)).unwrap();
        socket.set_ext_ack(true).unwrap();
        Self { socket }
    }

    /// For events of these groups.
    pub(crate) fn listen(groups: &[u32]) -> Self {
        let mut socket = Socket::new(NETLINK_NETFILTER).unwrap();
        socket.bind_auto().unwrap();
        for group in groups {
            socket.add_membership(*group).unwrap();
        }
        Self { socket }
    }

    pub(crate) fn send(&self, message: &[u8]) {
        let kernel = SocketAddr::new(0, 0);
        self.socket.send_to(message, &kernel, 0).unwrap();
    }

    /// The messages of the next datagram; none if none came in time.
    pub(crate) fn receive(&self, wait: Duration) -> Vec<Vec<u8>> {
        let timeout = PollTimeout::try_from(wait).unwrap();
        let mut set = [PollFd::new(
            std::os::fd::AsFd::as_fd(&self.socket),
            PollFlags::POLLIN,
        )];
        if poll(&mut set, timeout).unwrap() == 0 {
            return Vec::new();
        }
        let (datagram, sender) = self.socket.recv_from_full().unwrap();
        assert_eq!(sender.port_number(), 0, "a stranger wrote");
        let mut rest = &datagram[..];
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
            messages.push(rest[..length].to_vec());
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
        messages
    }

    /// All of an answer: up to the end of a dump, an acknowledgement or, where neither was asked for,
    /// the first message.
    pub(crate) fn ask(&self, message: &[u8]) -> Vec<Vec<u8>> {
        self.send(message);
        let dump = flags(message) & DUMP == DUMP;
        let mut answer: Vec<Vec<u8>> = Vec::new();
        loop {
            let more = self.receive(PATIENCE);
            assert!(!more.is_empty(), "the kernel does not answer: {message:x?}");
            answer.extend(more);
            let last = answer.last().unwrap();
            if !dump || matches!(kind(last), NLMSG_DONE | NLMSG_ERROR) {
                return answer;
            }
        }
    }

    /// Sends a request that asks for an acknowledgement; gives its errno.
    pub(crate) fn acknowledged(&self, message: &[u8]) -> i32 {
        let answer = self.ask(message);
        assert_eq!(answer.len(), 1);
        errno(&answer[0])
    }

    /// What a dump lists, without its end.
    pub(crate) fn dump(&self, message: &[u8]) -> Vec<Vec<u8>> {
        let mut answer = self.ask(message);
        let end = answer.pop().unwrap();
        assert_eq!(kind(&end), NLMSG_DONE, "{end:x?}");
        answer
    }

    /// The table of entries.
    pub(crate) fn table(&self) -> Vec<Vec<u8>> {
        self.dump(&request(ENTRIES, 1, DUMP, AF_UNSPEC, &[]))
    }

    /// The only entry of the table.
    pub(crate) fn only(&self) -> Vec<u8> {
        let mut table = self.table();
        assert_eq!(table.len(), 1, "one entry is expected in the table");
        table.remove(0)
    }

    /// Messages until one is as it should be; that one.
    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let messages = self.receive(left);
            assert!(!messages.is_empty(), "no {what} came");
            if let Some(found) = messages.into_iter().find(|message| wanted(message)) {
                return found;
            }
        }
    }

    /// Forgets what came until now.
    pub(crate) fn drain(&self) {
        while !self.receive(Duration::from_millis(100)).is_empty() {}
    }
}
