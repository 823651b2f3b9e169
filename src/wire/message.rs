//! Netlink's own framing: headers, errors, the end of a dump.

use netlink_packet_core::{
    NLM_F_ACK_TLVS, NLM_F_CAPPED, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, NlasIterator,
};

use super::Malformed;
use super::path::Path;
use crate::error::{Errno, Failure};

/// `struct nlmsghdr`
pub(crate) const NETLINK_HEADER: usize = 16;
/// `NLMSGERR_ATTR_MSG`
const ATTR_MSG: u16 = 1;
/// `NLMSGERR_ATTR_OFFS`
const ATTR_OFFS: u16 = 2;

/// One message of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: FrameKind,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) port: u32,
    /// What follows the header.
    pub(crate) payload: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// A message of a subsystem: its type.
    Data(u16),
    Noop,
    /// An acknowledgement or a refusal.
    Error,
    Done,
    Overrun,
}

/// Splits the first message off `rest`. `None` at the end.
///
/// # Errors
/// For a header that is cut off or lies; what is left of the datagram is then unusable, and `rest`
/// is empty.
#[inline]
pub(crate) fn frame<'a>(rest: &mut &'a [u8]) -> Result<Option<Frame<'a>>, Malformed> {
    let bytes = *rest;
    let Some((header, _)) = bytes.split_first_chunk::<NETLINK_HEADER>() else {
        *rest = &[];
        return if bytes.is_empty() {
            Ok(None)
        } else {
            Err(damaged("a netlink header is cut off"))
        };
    };
    let word = |at: usize| {
        u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let length = word(0) as usize;
    let Some(payload) = bytes.get(NETLINK_HEADER..length) else {
        *rest = &[];
        return Err(damaged(if length < NETLINK_HEADER {
            "a message is shorter than its header"
        } else {
            "a message is longer than its datagram"
        }));
    };
    // The last message of a datagram may lack its padding.
    *rest = length
        .checked_add(3)
        .and_then(|padded| bytes.get(padded & !3..))
        .unwrap_or_default();
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    Ok(Some(Frame {
        kind: match kind {
            NLMSG_NOOP => FrameKind::Noop,
            NLMSG_ERROR => FrameKind::Error,
            NLMSG_DONE => FrameKind::Done,
            NLMSG_OVERRUN => FrameKind::Overrun,
            data => FrameKind::Data(data),
        },
        flags: u16::from_ne_bytes([header[6], header[7]]),
        sequence: word(8),
        port: word(12),
        payload,
    }))
}

#[cold]
fn damaged(problem: &'static str) -> Malformed {
    Malformed {
        path: Path::default(),
        offset: 0,
        problem,
    }
}

impl Frame<'_> {
    /// What an `NLMSG_ERROR` or `NLMSG_DONE` says: `Ok` for success, else the refusal with its
    /// extended ack.
    ///
    /// A `DONE` of old kernels may be empty, which is success.
    pub(crate) fn outcome(&self) -> Result<Result<(), Failure>, Malformed> {
        let Some((code, after)) = self.payload.split_first_chunk::<4>() else {
            return if self.kind == FrameKind::Done {
                Ok(Ok(()))
            } else {
                Err(damaged("an acknowledgement is cut off"))
            };
        };
        let code = i32::from_ne_bytes(*code);
        if code == 0 || (code > 0 && self.kind == FrameKind::Done) {
            return Ok(Ok(()));
        }
        let attributes = if self.flags & NLM_F_ACK_TLVS == 0 {
            &[]
        } else if self.kind == FrameKind::Done {
            after
        } else {
            // The refused request follows, or (NETLINK_CAP_ACK) its header alone.
            let request = if self.flags & NLM_F_CAPPED == 0 {
                let length = after
                    .first_chunk::<4>()
                    .map_or(0, |bytes| u32::from_ne_bytes(*bytes) as usize);
                length.saturating_add(3) & !3
            } else {
                NETLINK_HEADER
            };
            after.get(request..).unwrap_or_default()
        };
        let mut failure = Failure {
            errno: Errno::from_raw(code.saturating_neg()),
            message: None,
            offset: None,
        };
        // A damaged extended ack does not hide the refusal.
        for attribute in NlasIterator::new(attributes).map_while(Result::ok) {
            match attribute.kind() {
                ATTR_MSG => {
                    let text = String::from_utf8_lossy(attribute.value());
                    failure.message = Some(text.trim_end_matches('\0').to_owned());
                }
                ATTR_OFFS => {
                    failure.offset = attribute.value().try_into().ok().map(u32::from_ne_bytes);
                }
                _ => {}
            }
        }
        Ok(Err(failure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno as Nix;

    pub(crate) fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(16 + payload.len())
            .unwrap()
            .to_ne_bytes()
            .to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(7_u32.to_ne_bytes());
        bytes.extend(9_u32.to_ne_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn frames_follow_each_other() {
        let mut bytes = message(0x100, 2, &[1, 2, 3]);
        bytes.push(0);
        bytes.extend(message(NLMSG_DONE, 2, &[]));
        let mut rest = &bytes[..];
        let first = frame(&mut rest).unwrap().unwrap();
        assert_eq!(first.kind, FrameKind::Data(0x100));
        assert_eq!(
            (first.sequence, first.port, first.payload),
            (7, 9, &[1, 2, 3][..])
        );
        let second = frame(&mut rest).unwrap().unwrap();
        assert_eq!(second.kind, FrameKind::Done);
        assert_eq!(second.outcome(), Ok(Ok(())));
        assert_eq!(frame(&mut rest), Ok(None));
    }

    #[test]
    fn a_lying_header_ends_the_datagram() {
        for length in [0_u32, 15, 21, u32::MAX] {
            let mut bytes = message(0x100, 0, &[0; 4]);
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            let mut rest = &bytes[..];
            assert!(frame(&mut rest).is_err(), "{length}");
            assert!(rest.is_empty());
        }
        let mut rest = &[0_u8; 7][..];
        assert!(frame(&mut rest).is_err());
    }

    #[test]
    fn refusals_carry_text_and_offset() {
        let mut extended = 8_u16.to_ne_bytes().to_vec();
        extended.extend(ATTR_OFFS.to_ne_bytes());
        extended.extend(36_u32.to_ne_bytes());
        extended.extend([8, 0, 1, 0]);
        extended.extend(b"bad\0");
        let want = Failure {
            errno: Nix::EINVAL.into(),
            message: Some("bad".into()),
            offset: Some(36),
        };
        let code = (-22_i32).to_ne_bytes();

        let capped = [&code[..], &[0; 16], &extended].concat();
        let bytes = message(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, &capped);
        let mut rest = &bytes[..];
        let got = frame(&mut rest).unwrap().unwrap().outcome().unwrap();
        assert_eq!(got, Err(want.clone()));

        let request = message(0x100, 0, &[0; 8]);
        let whole = [&code[..], &request, &extended].concat();
        let bytes = message(NLMSG_ERROR, NLM_F_ACK_TLVS, &whole);
        let mut rest = &bytes[..];
        let got = frame(&mut rest).unwrap().unwrap().outcome().unwrap();
        assert_eq!(got, Err(want.clone()));

        let bytes = message(NLMSG_DONE, NLM_F_ACK_TLVS, &[&code[..], &extended].concat());
        let mut rest = &bytes[..];
        let got = frame(&mut rest).unwrap().unwrap().outcome().unwrap();
        assert_eq!(got, Err(want));
    }
}
