//! The floor: the least that a program has to do, with nothing of this crate.
//!
//! It knows how large its answers are, trusts whatever comes, decodes nothing, and sends requests
//! that were encoded before the clock started. Its socket is sized as this crate sizes its own.

use std::hint::black_box;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};

use super::Result;
use super::flows::{Flow, TIMEOUT};

/// What a dump fills at most in one read.
const RECEIVE: usize = 32 * 1024;
/// As `ctnetlink::Builder::BUFFER`.
const SOCKET_BUFFER: usize = 1 << 20;
/// Messages a datagram.
const BATCH: usize = 128;

/// `NFNL_SUBSYS_CTNETLINK` with `IPCTNL_MSG_CT_NEW`, `_GET` and `_DELETE`.
pub(crate) const NEW: u16 = 0x100;
pub(crate) const GET: u16 = 0x101;
pub(crate) const DELETE: u16 = 0x102;

const REQUEST: u16 = 1;
const ACK: u16 = 4;
pub(crate) const DUMP: u16 = 0x300;
const CREATE_EXCLUSIVE: u16 = 0x600;
pub(crate) const NESTED: u16 = 0x8000;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

pub(crate) const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;

pub(crate) const CTA_TUPLE_ORIG: u16 = 1;
pub(crate) const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
pub(crate) const CTA_TIMEOUT: u16 = 7;
const CTA_MARK: u16 = 8;
pub(crate) const CTA_ZONE: u16 = 18;

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    let bytes = bytes.get(at..at + 2).ok_or("a message is cut off")?;
    Ok(u16::from_ne_bytes(bytes.try_into()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    let bytes = bytes.get(at..at + 4).ok_or("a message is cut off")?;
    Ok(u32::from_ne_bytes(bytes.try_into()?))
}

fn i32_at(bytes: &[u8], at: usize) -> Result<i32> {
    Ok(i32::from_ne_bytes(u32_at(bytes, at)?.to_ne_bytes()))
}

/// Requests, several a datagram, of which the last one asks for an acknowledgement.
#[derive(Default)]
pub(crate) struct Datagrams {
    all: Vec<Vec<u8>>,
    messages: usize,
    /// Where the last message of the last datagram begins.
    last: usize,
}

impl Datagrams {
    /// Creates these flows.
    pub(crate) fn creations(flows: impl Iterator<Item = Flow>) -> Self {
        let mut datagrams = Self::default();
        for flow in flows {
            datagrams.message(NEW, CREATE_EXCLUSIVE, |bytes| creation(bytes, flow));
        }
        datagrams.finish();
        datagrams
    }

    pub(crate) fn messages(&self) -> usize {
        self.messages
    }

    pub(crate) fn message(&mut self, kind: u16, flags: u16, body: impl FnOnce(&mut Vec<u8>)) {
        self.message_of(AF_INET, kind, flags, body);
    }

    pub(crate) fn message_of(
        &mut self,
        family: u8,
        kind: u16,
        flags: u16,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        if self.messages % BATCH == 0 {
            self.finish();
            self.all.push(Vec::with_capacity(BATCH * 192));
        }
        let Some(datagram) = self.all.last_mut() else {
            return;
        };
        self.last = datagram.len();
        datagram.extend([0; 4]);
        datagram.extend(kind.to_ne_bytes());
        datagram.extend((flags | REQUEST).to_ne_bytes());
        datagram.extend([0; 8]);
        datagram.extend([family, 0, 0, 0]); // NFNETLINK_V0
        body(datagram);
        let length = u32::try_from(datagram.len() - self.last).unwrap_or(0);
        datagram[self.last..self.last + 4].copy_from_slice(&length.to_ne_bytes());
        self.messages += 1;
    }

    /// Lets the last message be acknowledged.
    pub(crate) fn finish(&mut self) {
        if let Some(datagram) = self.all.last_mut() {
            // Little-endian or not, the flag is in the byte that a request's own flag is in.
            let flags = self.last + 6;
            for (byte, ack) in datagram[flags..flags + 2].iter_mut().zip(ACK.to_ne_bytes()) {
                *byte |= ack;
            }
        }
    }
}

/// An attribute, padded.
pub(crate) fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(0);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

pub(crate) fn nest(bytes: &mut Vec<u8>, kind: u16, inside: impl FnOnce(&mut Vec<u8>)) {
    let mut value = Vec::new();
    inside(&mut value);
    put(bytes, kind | NESTED, &value);
}

fn creation(bytes: &mut Vec<u8>, flow: Flow) {
    let tuple = |bytes: &mut Vec<u8>, kind, src: ([u8; 4], u16), dst: ([u8; 4], u16)| {
        nest(bytes, kind, |bytes| {
            nest(bytes, 1, |bytes| {
                put(bytes, 1, &src.0);
                put(bytes, 2, &dst.0);
            });
            nest(bytes, 2, |bytes| {
                put(bytes, 1, &[if flow.tcp { 6 } else { 17 }]);
                put(bytes, 2, &src.1.to_be_bytes());
                put(bytes, 3, &dst.1.to_be_bytes());
            });
        });
    };
    tuple(bytes, CTA_TUPLE_ORIG, flow.src, flow.dst);
    tuple(bytes, CTA_TUPLE_REPLY, flow.dst, flow.src);
    put(bytes, CTA_ZONE, &flow.zone.to_be_bytes());
    // IPS_SEEN_REPLY, IPS_ASSURED, IPS_CONFIRMED
    put(bytes, CTA_STATUS, &0xe_u32.to_be_bytes());
    put(bytes, CTA_TIMEOUT, &TIMEOUT.to_be_bytes());
    put(bytes, CTA_MARK, &flow.mark.to_be_bytes());
    if flow.tcp {
        // TCP_CONNTRACK_ESTABLISHED
        nest(bytes, CTA_PROTOINFO, |bytes| {
            nest(bytes, 1, |bytes| put(bytes, 1, &[3]));
        });
    }
}

/// A netlink socket of its own, and its receive buffer.
pub(crate) struct Raw {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Raw {
    pub(crate) fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_cap_ack(true)?;
        socket.set_ext_ack(true)?;
        setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER)
            .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BUFFER))?;
        setsockopt(&socket, sockopt::SndBufForce, &SOCKET_BUFFER)
            .or_else(|_| setsockopt(&socket, sockopt::SndBuf, &SOCKET_BUFFER))?;
        Ok(Self {
            socket,
            buffer: vec![0; RECEIVE],
        })
    }

    fn receive(&mut self) -> Result<usize> {
        Ok(self.socket.recv(&mut &mut self.buffer[..], 0)?)
    }

    /// Hands over each message of a dump, its header included.
    #[inline]
    pub(crate) fn dump(&mut self, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut request = Datagrams::default();
        request.message(GET, DUMP, |_| {});
        self.dump_by(&request, each)
    }

    #[inline]
    pub(crate) fn dump_by(
        &mut self,
        request: &Datagrams,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        for datagram in &request.all {
            self.socket.send(datagram, 0)?;
        }
        loop {
            let received = self.receive()?;
            let mut rest = self.buffer.get(..received).ok_or("cut off")?;
            while !rest.is_empty() {
                let length = u32_at(rest, 0)? as usize;
                let message = rest.get(..length).ok_or("a message is cut off")?;
                match u16_at(message, 4)? {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return Err("the dump was refused".into()),
                    _ => each(message)?,
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }

    /// Lists: the headers are walked and nothing else.
    pub(crate) fn list(&mut self) -> Result<usize> {
        let mut count = 0;
        self.dump(|message| {
            black_box(message);
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }

    /// Sends every datagram and waits for its acknowledgement.
    pub(crate) fn exchange(&mut self, datagrams: &Datagrams) -> Result<()> {
        for datagram in &datagrams.all {
            self.socket.send(datagram, 0)?;
            let received = self.receive()?;
            let answer = self.buffer.get(..received).ok_or("cut off")?;
            let (kind, code) = (u16_at(answer, 4)?, i32_at(answer, 16)?);
            if (kind, code) != (NLMSG_ERROR, 0) {
                return Err(std::io::Error::from_raw_os_error(-code).into());
            }
        }
        Ok(())
    }

    /// How many the kernel finds in a zone.
    pub(crate) fn list_zone(&mut self, zone: u16) -> Result<usize> {
        let mut request = Datagrams::default();
        request.message_of(AF_UNSPEC, GET, DUMP, |bytes| {
            put(bytes, CTA_ZONE, &zone.to_be_bytes());
        });
        let mut count = 0;
        self.dump_by(&request, |_| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }

    /// Empties the table.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let mut request = Datagrams::default();
        request.message(DELETE, 0, |_| {});
        request.finish();
        self.exchange(&request)
    }
}
