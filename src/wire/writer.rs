//! Writing messages: one pass, lengths patched when a nest closes.

use netlink_packet_core::{Emitable, NLA_F_NESTED, NLM_F_ACK, NLM_F_REQUEST};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterProtoFamily, NetfilterSubsystem};

use super::message::NETLINK_HEADER;
use super::reader::HEADER;
use crate::error::{Error, Result};

/// One or several messages that travel together, and their sequence numbers.
///
/// The kernel handles the messages of a datagram in turn and answers only those that fail, so the
/// last one asks for an acknowledgement and thereby says that all are done.
pub(crate) struct Datagram {
    bytes: Vec<u8>,
    first: u32,
    count: u32,
    /// Where the last message begins.
    last: usize,
}

impl Datagram {
    pub(crate) fn new(first: u32) -> Self {
        Self {
            bytes: Vec::with_capacity(256),
            first,
            count: 0,
            last: 0,
        }
    }

    /// Into a buffer that is there; what it held is lost.
    pub(crate) fn into(buffer: Vec<u8>, first: u32) -> Self {
        let mut datagram = Self {
            bytes: buffer,
            first,
            count: 0,
            last: 0,
        };
        datagram.restart(first);
        datagram
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Empty again, the buffer kept.
    pub(crate) fn restart(&mut self, first: u32) {
        self.bytes.clear();
        self.first = first;
        self.count = 0;
        self.last = 0;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The first message's sequence number; the others follow.
    pub(crate) fn first(&self) -> u32 {
        self.first
    }

    /// How many messages there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Lets the last message ask for an acknowledgement.
    pub(crate) fn acknowledge_last(&mut self) {
        if let Some(flags) = self.bytes.get_mut(self.last + 6..self.last + 8) {
            let old = u16::from_ne_bytes([flags[0], flags[1]]);
            flags.copy_from_slice(&(old | NLM_F_ACK).to_ne_bytes());
        }
    }

    /// Adds a message of ctnetlink's own subsystem: headers, then what `attributes` writes.
    ///
    /// # Errors
    /// When an attribute or the message grows past what its length field holds; the datagram is
    /// then as it was before.
    pub(crate) fn message(
        &mut self,
        kind: u8,
        flags: u16,
        family: NetfilterProtoFamily,
        attributes: impl FnOnce(&mut Writer<'_>),
    ) -> Result<()> {
        let subsystem = NetfilterSubsystem::Conntrack;
        self.message_to(subsystem, kind, flags, family, attributes)
    }

    /// Says `NFNETLINK_V1` in the last message's header: a flush heeds the family only then
    /// (`ctnetlink_del_conntrack`).
    pub(crate) fn heed_family(&mut self) {
        if let Some(version) = self.bytes.get_mut(self.last + NETLINK_HEADER + 1) {
            *version = 1;
        }
    }

    /// Adds a message of a subsystem.
    pub(crate) fn message_to(
        &mut self,
        subsystem: NetfilterSubsystem,
        kind: u8,
        flags: u16,
        family: NetfilterProtoFamily,
        attributes: impl FnOnce(&mut Writer<'_>),
    ) -> Result<()> {
        let start = self.bytes.len();
        let kind = u16::from_be_bytes([subsystem.into(), kind]);
        let mut header = [0; NETLINK_HEADER + 4];
        let sequence = self.first.wrapping_add(self.count);
        header[4..6].copy_from_slice(&kind.to_ne_bytes());
        header[6..8].copy_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        header[8..12].copy_from_slice(&sequence.to_ne_bytes());
        // Version 0 (NFNETLINK_V0), resource 0.
        NetfilterHeader::new(family, 0, 0).emit(&mut header[NETLINK_HEADER..]);
        self.bytes.extend_from_slice(&header);
        let mut writer = Writer {
            bytes: &mut self.bytes,
            overflow: false,
        };
        attributes(&mut writer);
        let overflow = writer.overflow;
        let length = u32::try_from(self.bytes.len() - start);
        match length {
            Ok(length) if !overflow => {
                self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
                self.last = start;
                self.count += 1;
                Ok(())
            }
            _ => {
                self.bytes.truncate(start);
                Err(too_long())
            }
        }
    }
}

/// Writes attributes into a message.
pub(crate) struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
    overflow: bool,
}

#[cfg(any(test, fuzzing, feature = "interop"))]
impl Writer<'_> {
    /// Attributes without a message around them.
    ///
    /// # Errors
    /// When one grows past what its length field holds.
    pub(super) fn alone(attributes: impl FnOnce(&mut Writer<'_>)) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut writer = Writer {
            bytes: &mut bytes,
            overflow: false,
        };
        attributes(&mut writer);
        if writer.overflow {
            return Err(too_long());
        }
        Ok(bytes)
    }

    /// A nest of attributes that are at hand as bytes.
    pub(super) fn nest_of(&mut self, kind: u16, inside: &[u8]) {
        self.nest(kind, |w| w.bytes.extend_from_slice(inside));
        while self.bytes.len() % 4 != 0 {
            self.bytes.push(0);
        }
    }
}

fn too_long() -> Error {
    Error::invalid("request", "an attribute", "too long", "at most 65535 bytes")
}

impl Writer<'_> {
    /// An attribute of a fixed size. `N` is the size of the value, padding excluded.
    #[inline]
    pub(crate) fn put<const N: usize>(&mut self, kind: u16, value: [u8; N]) {
        const { assert!(N <= 32) };
        // Header, value and padding in one copy: the length is known when this is compiled.
        let mut whole = [0; HEADER + 32];
        #[allow(clippy::cast_possible_truncation, reason = "N is at most 32")]
        let length = (HEADER + N) as u16;
        whole[..2].copy_from_slice(&length.to_ne_bytes());
        whole[2..4].copy_from_slice(&kind.to_ne_bytes());
        whole[HEADER..HEADER + N].copy_from_slice(&value);
        self.bytes
            .extend_from_slice(&whole[..HEADER + ((N + 3) & !3)]);
    }

    /// Whole attributes, padding included, that were put together elsewhere.
    #[inline]
    pub(super) fn raw<const N: usize>(&mut self, attributes: &[u8; N]) {
        const { assert!(N % 4 == 0) };
        self.bytes.extend_from_slice(attributes);
    }

    #[inline]
    pub(crate) fn be16(&mut self, kind: u16, value: u16) {
        self.put(kind, value.to_be_bytes());
    }

    #[inline]
    pub(crate) fn be32(&mut self, kind: u16, value: u32) {
        self.put(kind, value.to_be_bytes());
    }

    /// A text with its closing zero (`NLA_NUL_STRING`).
    pub(crate) fn text(&mut self, kind: u16, text: &str) {
        self.parts(kind, [text.as_bytes(), &[0]]);
    }

    /// Any bytes.
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.parts(kind, [value, &[]]);
    }

    fn parts(&mut self, kind: u16, parts: [&[u8]; 2]) {
        let length = HEADER + parts[0].len() + parts[1].len();
        let Ok(length) = u16::try_from(length) else {
            self.overflow = true;
            return;
        };
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        // Messages begin at multiples of four, so the buffer's length tells the padding.
        while self.bytes.len() % 4 != 0 {
            self.bytes.push(0);
        }
    }

    /// An attribute that holds others; its length is filled in when `inside` is done.
    #[inline]
    pub(crate) fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        let kind = (kind | NLA_F_NESTED).to_ne_bytes();
        self.bytes.extend_from_slice(&[0, 0, kind[0], kind[1]]);
        inside(self);
        match u16::try_from(self.bytes.len() - start) {
            Ok(length) => self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => self.overflow = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::NetlinkBuffer;

    #[test]
    fn headers_count_up_and_the_last_is_acknowledged() {
        let mut datagram = Datagram::new(u32::MAX);
        for _ in 0..2 {
            datagram
                .message(1, 0, NetfilterProtoFamily::IPv6, |w| {
                    w.nest(1, |w| w.put(2, [7]));
                })
                .unwrap();
        }
        datagram.acknowledge_last();
        let first = NetlinkBuffer::new_checked(datagram.bytes()).unwrap();
        assert_eq!(
            (
                first.length(),
                first.message_type(),
                first.sequence_number()
            ),
            (32, 0x101, u32::MAX)
        );
        assert_eq!(first.flags(), NLM_F_REQUEST);
        assert_eq!(
            first.payload()[..],
            [10, 0, 0, 0, 12, 0, 1, 0x80, 5, 0, 2, 0, 7, 0, 0, 0]
        );
        let second = NetlinkBuffer::new_checked(&datagram.bytes()[32..]).unwrap();
        assert_eq!(second.sequence_number(), 0);
        assert_eq!(second.flags(), NLM_F_REQUEST | NLM_F_ACK);
    }

    #[test]
    fn an_attribute_past_65535_bytes_is_an_error_and_leaves_nothing() {
        let mut datagram = Datagram::new(1);
        let error = datagram
            .message(1, 0, NetfilterProtoFamily::Unspec, |w| {
                w.nest(1, |w| (0..5000).for_each(|_| w.put(1, [0; 16])));
            })
            .unwrap_err();
        assert!(error.is_invalid_input());
        assert_eq!((datagram.bytes().len(), datagram.count()), (0, 0));
    }
}
