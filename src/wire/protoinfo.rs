//! `CTA_PROTOINFO`.

use super::Malformed;
use super::attr::{
    CTA_PROTOINFO, CTA_PROTOINFO_DCCP, CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ, CTA_PROTOINFO_DCCP_ROLE,
    CTA_PROTOINFO_DCCP_STATE, CTA_PROTOINFO_SCTP, CTA_PROTOINFO_SCTP_STATE,
    CTA_PROTOINFO_SCTP_VTAG_ORIGINAL, CTA_PROTOINFO_SCTP_VTAG_REPLY, CTA_PROTOINFO_TCP,
    CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, CTA_PROTOINFO_TCP_FLAGS_REPLY, CTA_PROTOINFO_TCP_STATE,
    CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, CTA_PROTOINFO_TCP_WSCALE_REPLY,
};
use super::reader::{Attr, Attrs};
use super::writer::Writer;
use crate::model::{
    DccpInfo, DccpRole, DccpState, ProtoInfo, SctpInfo, SctpState, TcpFlagChange, TcpFlags,
    TcpInfo, TcpState,
};

/// `None` for a protocol that is not known here.
pub(super) fn decode(mut attrs: Attrs<'_>) -> Result<Option<ProtoInfo>, Malformed> {
    let mut info = None;
    while let Some(attr) = attrs.next() {
        match attr.kind {
            CTA_PROTOINFO_TCP => info = Some(ProtoInfo::Tcp(decode_tcp(attrs.nested(attr))?)),
            CTA_PROTOINFO_DCCP => info = Some(ProtoInfo::Dccp(decode_dccp(attrs.nested(attr))?)),
            CTA_PROTOINFO_SCTP => info = Some(ProtoInfo::Sctp(decode_sctp(attrs.nested(attr))?)),
            _ => {}
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

fn decode_tcp(mut attrs: Attrs<'_>) -> Result<TcpInfo, Malformed> {
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
            _ => {}
        }
    }
    attrs.finish()?;
    Ok(info)
}

fn decode_dccp(mut attrs: Attrs<'_>) -> Result<DccpInfo, Malformed> {
    let (mut state, mut role, mut handshake_seq) = (None, None, None);
    while let Some(attr) = attrs.next() {
        match attr.kind {
            CTA_PROTOINFO_DCCP_STATE => state = Some(DccpState::from_raw(attrs.u8(attr)?)),
            CTA_PROTOINFO_DCCP_ROLE => role = Some(DccpRole::from_raw(attrs.u8(attr)?)),
            CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ => handshake_seq = Some(attrs.be64(attr)?),
            _ => {}
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

fn decode_sctp(mut attrs: Attrs<'_>) -> Result<SctpInfo, Malformed> {
    let (mut state, mut orig_vtag, mut reply_vtag) = (None, None, None);
    while let Some(attr) = attrs.next() {
        match attr.kind {
            CTA_PROTOINFO_SCTP_STATE => state = Some(SctpState::from_raw(attrs.u8(attr)?)),
            CTA_PROTOINFO_SCTP_VTAG_ORIGINAL => orig_vtag = Some(attrs.be32(attr)?),
            CTA_PROTOINFO_SCTP_VTAG_REPLY => reply_vtag = Some(attrs.be32(attr)?),
            _ => {}
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
