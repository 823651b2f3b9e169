//! Messages and attributes, written by hand: dumps as they come, expectations, policies, and requests that
//! are wrong. Entries are made and changed by the library; what is captured is what the kernel says of them.

use std::net::IpAddr;

pub(crate) const AF_UNSPEC: u8 = 0;
pub(crate) const AF_INET: u8 = 2;
pub(crate) const AF_INET6: u8 = 10;

pub(crate) const REQUEST: u16 = 1;
pub(crate) const ACK: u16 = 4;
pub(crate) const DUMP: u16 = 0x300;
/// `NLM_F_CREATE | NLM_F_EXCL`
pub(crate) const CREATE: u16 = 0x600;

/// `NFNL_SUBSYS_CTNETLINK`, `.._EXP`, `.._TIMEOUT`
pub(crate) const ENTRIES: u8 = 1;
pub(crate) const EXPECTATIONS: u8 = 2;
pub(crate) const POLICIES: u8 = 8;

/// Every request's, and by normalisation every fixture's.
pub(crate) const SEQUENCE: u32 = 1;
pub(crate) const PORT: u32 = 0x1234;

pub(crate) fn attr(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

pub(crate) fn be16(kind: u16, value: u16) -> Vec<u8> {
    attr(kind, &value.to_be_bytes())
}

pub(crate) fn be32(kind: u16, value: u32) -> Vec<u8> {
    attr(kind, &value.to_be_bytes())
}

/// With its terminating zero.
pub(crate) fn text(kind: u16, value: &str) -> Vec<u8> {
    attr(kind, &[value.as_bytes(), b"\0"].concat())
}

pub(crate) fn nest(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    const NLA_F_NESTED: u16 = 1 << 15;
    attr(kind | NLA_F_NESTED, &parts.concat())
}

/// A tuple of TCP or UDP, as attribute `kind`.
pub(crate) fn tuple(kind: u16, protocol: u8, src: (IpAddr, u16), dst: (IpAddr, u16)) -> Vec<u8> {
    let address = |at: u16, address: IpAddr| match address {
        IpAddr::V4(address) => attr(at, &address.octets()),
        IpAddr::V6(address) => attr(at + 2, &address.octets()),
    };
    nest(
        kind,
        &[
            nest(1, &[address(1, src.0), address(2, dst.0)]),
            nest(2, &[attr(1, &[protocol]), be16(2, src.1), be16(3, dst.1)]),
        ],
    )
}

/// A request with `struct nfgenmsg`.
pub(crate) fn request(
    subsystem: u8,
    kind: u8,
    flags: u16,
    family: u8,
    attributes: &[Vec<u8>],
) -> Vec<u8> {
    let body = attributes.concat();
    let mut bytes = u32::try_from(20 + body.len())
        .unwrap()
        .to_ne_bytes()
        .to_vec();
    bytes.extend(u16::from_be_bytes([subsystem, kind]).to_ne_bytes());
    bytes.extend((flags | REQUEST).to_ne_bytes());
    bytes.extend(SEQUENCE.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([family, 0, 0, 0]);
    bytes.extend(body);
    bytes
}
