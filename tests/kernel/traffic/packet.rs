//! Packets made by hand, for protocols that have no socket here, and ears for what arrives.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Instant;

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::world::{Place, SOON};

/// Sends whole packets from a place, and hears all that passes there.
pub(super) struct Wire {
    v4: UdpSocket,
    v6: UdpSocket,
    tap: UdpSocket,
}

impl Wire {
    /// Raw sockets take no more than rights over the namespace, so a user namespace's owner has them.
    pub(super) fn new(place: &Place) -> Self {
        let [v4, v6, tap] = place.run(|| {
            [
                (AddressFamily::Inet, SockType::Raw, SockProtocol::Raw),
                (AddressFamily::Inet6, SockType::Raw, SockProtocol::Raw),
                (
                    AddressFamily::Packet,
                    SockType::Datagram,
                    SockProtocol::EthAll,
                ),
            ]
            .map(|(family, kind, protocol)| {
                let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol).unwrap();
                // Of that type only its descriptor is used.
                UdpSocket::from(fd)
            })
        });
        Self { v4, v6, tap }
    }

    pub(super) fn send(&self, packet: &Packet) {
        let socket = match packet.dst {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        };
        let to = SocketAddr::new(packet.dst, 0);
        let bytes = packet.bytes();
        assert_eq!(socket.send_to(&bytes, to).unwrap(), bytes.len());
    }

    /// The next packet to `dst` of that protocol whose payload is meant. Others are passed over.
    pub(super) fn hear(&self, dst: IpAddr, protocol: u8, meant: impl Fn(&[u8]) -> bool) -> Packet {
        let until = Instant::now() + SOON;
        let mut buffer = [0; 2048];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nothing arrived at {dst}");
            self.tap.set_read_timeout(Some(left)).unwrap();
            let Ok(length) = self.tap.recv(&mut buffer) else {
                continue;
            };
            match Packet::parse(&buffer[..length]) {
                Some(packet)
                    if packet.dst == dst
                        && packet.protocol == protocol
                        && meant(&packet.payload) =>
                {
                    return packet;
                }
                _ => {}
            }
        }
    }
}

/// A packet without options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) protocol: u8,
    pub(super) payload: Vec<u8>,
}

impl Packet {
    fn bytes(&self) -> Vec<u8> {
        let length = u16::try_from(self.payload.len()).unwrap();
        let mut bytes = Vec::new();
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                bytes.extend([0x45, 0]);
                bytes.extend((20 + length).to_be_bytes());
                // Identification and checksum are the kernel's to fill in.
                bytes.extend([0, 0, 0, 0, 64, self.protocol, 0, 0]);
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                bytes.extend([0x60, 0, 0, 0]);
                bytes.extend(length.to_be_bytes());
                bytes.extend([self.protocol, 64]);
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
            }
            other => panic!("{other:?}"),
        }
        bytes.extend(&self.payload);
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => {
                let octets = |at: usize| -> Option<[u8; 4]> { bytes[at..].first_chunk().copied() };
                let length = usize::from(u16::from_be_bytes(*bytes[2..].first_chunk()?));
                Some(Self {
                    src: octets(12)?.into(),
                    dst: octets(16)?.into(),
                    protocol: *bytes.get(9)?,
                    payload: bytes.get(20..length)?.to_vec(),
                })
            }
            6 if bytes.len() >= 40 => {
                let octets = |at: usize| -> Option<[u8; 16]> { bytes[at..].first_chunk().copied() };
                let length = usize::from(u16::from_be_bytes(*bytes[4..].first_chunk()?));
                Some(Self {
                    src: octets(8)?.into(),
                    dst: octets(24)?.into(),
                    protocol: bytes[6],
                    payload: bytes.get(40..40 + length)?.to_vec(),
                })
            }
            _ => None,
        }
    }

    /// The same with the Internet checksum put at `at` in the payload, over the first `covered`
    /// bytes of it, behind the pseudo header if the protocol has one there (all but ICMP).
    pub(super) fn checksummed(mut self, at: usize, covered: usize) -> Self {
        self.payload[at..at + 2].fill(0);
        let mut data = Vec::new();
        if self.protocol != 1 {
            match (self.src, self.dst) {
                (IpAddr::V4(src), IpAddr::V4(dst)) => {
                    data.extend(src.octets());
                    data.extend(dst.octets());
                }
                (IpAddr::V6(src), IpAddr::V6(dst)) => {
                    data.extend(src.octets());
                    data.extend(dst.octets());
                }
                other => panic!("{other:?}"),
            }
            data.extend([0, self.protocol]);
            data.extend(u16::try_from(self.payload.len()).unwrap().to_be_bytes());
        }
        data.extend(&self.payload[..covered]);
        self.payload[at..at + 2].copy_from_slice(&internet(&data).to_be_bytes());
        self
    }
}

/// RFC 1071
fn internet(data: &[u8]) -> u16 {
    let mut sum: u64 = data
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).unwrap()
}

/// The cyclic redundancy check of SCTP (RFC 9260, appendix A).
pub(super) fn crc32c(data: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}

#[test]
fn checksums_are_those_of_the_standards() {
    // RFC 3720, B.4, and the example of RFC 1071.
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(internet(&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
}
