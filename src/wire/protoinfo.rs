//! `CTA_PROTOINFO`.

use netlink_packet_core::NLA_F_NESTED;

use super::Malformed;
use super::attr::{
    CTA_PROTOINFO, CTA_PROTOINFO_DCCP, CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ, CTA_PROTOINFO_DCCP_PAD,
    CTA_PROTOINFO_DCCP_ROLE, CTA_PROTOINFO_DCCP_STATE, CTA_PROTOINFO_SCTP,
    CTA_PROTOINFO_SCTP_STATE, CTA_PROTOINFO_SCTP_VTAG_ORIGINAL, CTA_PROTOINFO_SCTP_VTAG_REPLY,
    CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, CTA_PROTOINFO_TCP_FLAGS_REPLY,
    CTA_PROTOINFO_TCP_STATE, CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, CTA_PROTOINFO_TCP_WSCALE_REPLY,
};
use super::reader::{Attr, Attrs, Unknowns, header, word};
use super::writer::Writer;
use crate::model::{
    DccpInfo, DccpRole, DccpState, ProtoInfo, SctpInfo, SctpState, TcpFlagChange, TcpFlags,
    TcpInfo, TcpState,
};

/// Length of what the kernel says of a TCP connection (`tcp_to_nlattr`).
const USUAL: usize = 44;

/// What the kernel says of a TCP connection, in its own layout. Every header is compared, so what
/// differs in anything is left to [`decode`], and both give the same for the same bytes.
#[inline]
pub(super) fn usual(value: &[u8]) -> Option<ProtoInfo> {
    let bytes: &[u8; USUAL] = value.try_into().ok()?;
    if word(bytes, 0) != header(44, CTA_PROTOINFO_TCP | NLA_F_NESTED)
        || word(bytes, 4) != header(5, CTA_PROTOINFO_TCP_STATE)
        || word(bytes, 12) != header(5, CTA_PROTOINFO_TCP_WSCALE_ORIGINAL)
        || word(bytes, 20) != header(5, CTA_PROTOINFO_TCP_WSCALE_REPLY)
        || word(bytes, 28) != header(6, CTA_PROTOINFO_TCP_FLAGS_ORIGINAL)
        || word(bytes, 36) != header(6, CTA_PROTOINFO_TCP_FLAGS_REPLY)
    {
        return None;
    }
    let flags = |at: usize| TcpFlagChange {
        flags: TcpFlags::from_bits_retain(bytes[at]),
        mask: TcpFlags::from_bits_retain(bytes[at + 1]),
    };
    Some(ProtoInfo::Tcp(TcpInfo {
        state: Some(TcpState::from_raw(bytes[8])),
        orig_window_scale: Some(bytes[16]),
        reply_window_scale: Some(bytes[24]),
        orig_flags: Some(flags(32)),
        reply_flags: Some(flags(40)),
    }))
}

/// `None` for a protocol that is not known here.
pub(super) fn decode(
    mut attrs: Attrs<'_>,
    unknowns: &mut Unknowns,
) -> Result<Option<ProtoInfo>, Malformed> {
    let mut info = None;
    while let Some(attr) = attrs.next() {
        let inside = attrs.nested(attr);
        let one = match attr.kind {
            CTA_PROTOINFO_TCP => ProtoInfo::Tcp(decode_tcp(inside, unknowns)?),
            CTA_PROTOINFO_DCCP => ProtoInfo::Dccp(decode_dccp(inside, unknowns)?),
            CTA_PROTOINFO_SCTP => ProtoInfo::Sctp(decode_sctp(inside, unknowns)?),
            _ => {
                attrs.unknown(attr, unknowns);
                continue;
            }
        };
        // A flow has one protocol, so neither could be said to be the right one.
        if info.replace(one).is_some() {
            return Err(attrs.wrong(attr, "the state of a second tracker"));
        }
    }
    attrs.finish()?;
    Ok(info)
}

/// `struct nf_ct_tcp_flags`
fn decode_flags(attrs: &Attrs<'_>, attr: Attr<'_>) -> Result<TcpFlagChange, Malformed> {
    let [flags, mask] = attrs.bytes(attr, "not 2 bytes long")?;
    Ok(TcpFlagChange {
        flags: TcpFlags::from_bits_retain(flags),
        mask: TcpFlags::from_bits_retain(mask),
    })
}

fn decode_tcp(mut attrs: Attrs<'_>, unknowns: &mut Unknowns) -> Result<TcpInfo, Malformed> {
    let mut info = TcpInfo::default();
    while let Some(attr) = attrs.next() {
        match attr.kind {
            CTA_PROTOINFO_TCP_STATE => info.state = Some(TcpState::from_raw(attrs.u8(attr)?)),
            CTA_PROTOINFO_TCP_WSCALE_ORIGINAL => info.orig_window_scale = Some(attrs.u8(attr)?),
            CTA_PROTOINFO_TCP_WSCALE_REPLY => info.reply_window_scale = Some(attrs.u8(attr)?),
            CTA_PROTOINFO_TCP_FLAGS_ORIGINAL => {
                info.orig_flags = Some(decode_flags(&attrs, attr)?);
            }
            CTA_PROTOINFO_TCP_FLAGS_REPLY => info.reply_flags = Some(decode_flags(&attrs, attr)?),
            _ => attrs.unknown(attr, unknowns),
        }
    }
    attrs.finish()?;
    Ok(info)
}

fn decode_dccp(mut attrs: Attrs<'_>, unknowns: &mut Unknowns) -> Result<DccpInfo, Malformed> {
    let (mut state, mut role, mut handshake_seq) = (None, None, None);
    while let Some(attr) = attrs.next() {
        match attr.kind {
            CTA_PROTOINFO_DCCP_STATE => state = Some(DccpState::from_raw(attrs.u8(attr)?)),
            CTA_PROTOINFO_DCCP_ROLE => role = Some(DccpRole::from_raw(attrs.u8(attr)?)),
            CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ => handshake_seq = Some(attrs.be64(attr)?),
            CTA_PROTOINFO_DCCP_PAD => {}
            _ => attrs.unknown(attr, unknowns),
        }
    }
    attrs.finish()?;
    let Some(state) = state else {
        return Err(attrs.lacks("CTA_PROTOINFO_DCCP_STATE is missing"));
    };
    Ok(DccpInfo {
        state,
        role,
        handshake_seq,
    })
}

fn decode_sctp(mut attrs: Attrs<'_>, unknowns: &mut Unknowns) -> Result<SctpInfo, Malformed> {
    let (mut state, mut orig_vtag, mut reply_vtag) = (None, None, None);
    while let Some(attr) = attrs.next() {
        match attr.kind {
            CTA_PROTOINFO_SCTP_STATE => state = Some(SctpState::from_raw(attrs.u8(attr)?)),
            CTA_PROTOINFO_SCTP_VTAG_ORIGINAL => orig_vtag = Some(attrs.be32(attr)?),
            CTA_PROTOINFO_SCTP_VTAG_REPLY => reply_vtag = Some(attrs.be32(attr)?),
            _ => attrs.unknown(attr, unknowns),
        }
    }
    attrs.finish()?;
    let Some(state) = state else {
        return Err(attrs.lacks("CTA_PROTOINFO_SCTP_STATE is missing"));
    };
    Ok(SctpInfo {
        state,
        orig_vtag,
        reply_vtag,
    })
}

pub(super) fn encode(w: &mut Writer<'_>, info: &ProtoInfo) {
    w.nest(CTA_PROTOINFO, |w| match info {
        ProtoInfo::Tcp(info) => w.nest(CTA_PROTOINFO_TCP, |w| {
            if let Some(state) = info.state {
                w.put(CTA_PROTOINFO_TCP_STATE, [state.raw()]);
            }
            if let Some(scale) = info.orig_window_scale {
                w.put(CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, [scale]);
            }
            if let Some(scale) = info.reply_window_scale {
                w.put(CTA_PROTOINFO_TCP_WSCALE_REPLY, [scale]);
            }
            if let Some(TcpFlagChange { flags, mask }) = info.orig_flags {
                w.put(
                    CTA_PROTOINFO_TCP_FLAGS_ORIGINAL,
                    [flags.bits(), mask.bits()],
                );
            }
            if let Some(TcpFlagChange { flags, mask }) = info.reply_flags {
                w.put(CTA_PROTOINFO_TCP_FLAGS_REPLY, [flags.bits(), mask.bits()]);
            }
        }),
        ProtoInfo::Sctp(info) => w.nest(CTA_PROTOINFO_SCTP, |w| {
            w.put(CTA_PROTOINFO_SCTP_STATE, [info.state.raw()]);
            if let Some(vtag) = info.orig_vtag {
                w.be32(CTA_PROTOINFO_SCTP_VTAG_ORIGINAL, vtag);
            }
            if let Some(vtag) = info.reply_vtag {
                w.be32(CTA_PROTOINFO_SCTP_VTAG_REPLY, vtag);
            }
        }),
        ProtoInfo::Dccp(info) => w.nest(CTA_PROTOINFO_DCCP, |w| {
            w.put(CTA_PROTOINFO_DCCP_STATE, [info.state.raw()]);
            if let Some(role) = info.role {
                w.put(CTA_PROTOINFO_DCCP_ROLE, [role.raw()]);
            }
            if let Some(seq) = info.handshake_seq {
                w.put(CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ, seq.to_be_bytes());
            }
        }),
    });
}
