//! What the trackers know.

use serde::de;

use super::form::{Formed, Side, form, need, plain};
use crate::error::Error;
use crate::model::{
    DccpInfo, DccpRole, DccpState, ProtoInfo, SctpInfo, SctpState, TcpFlagChange, TcpFlags,
    TcpInfo, TcpState,
};

form!(TcpInfoForm {
    "state" => state: TcpState,
    "orig_window_scale" => orig_window_scale: u8,
    "reply_window_scale" => reply_window_scale: u8,
    "orig_flags" => orig_flags: TcpFlags,
    "orig_flags_mask" => orig_flags_mask: TcpFlags,
    "reply_flags" => reply_flags: TcpFlags,
    "reply_flags_mask" => reply_flags_mask: TcpFlags,
});

/// What a mask is that is not said: the kernel reports an empty one, while flags that are asked for
/// are to be turned on.
fn unsaid(flags: TcpFlags, side: Side) -> TcpFlags {
    match side {
        Side::Report => TcpFlags::empty(),
        Side::Input => flags,
    }
}

fn split(change: Option<TcpFlagChange>, side: Side) -> (Option<TcpFlags>, Option<TcpFlags>) {
    match change {
        Some(TcpFlagChange { flags, mask }) => {
            let said = mask != unsaid(flags, side);
            (Some(flags), said.then_some(mask))
        }
        None => (None, None),
    }
}

fn join<E: de::Error>(
    flags: Option<TcpFlags>,
    mask: Option<TcpFlags>,
    name: &'static str,
    side: Side,
) -> Result<Option<TcpFlagChange>, E> {
    if (flags, mask) == (None, None) {
        return Ok(None);
    }
    let flags = need(flags, name)?;
    let mask = mask.unwrap_or_else(|| unsaid(flags, side));
    Ok(Some(TcpFlagChange { flags, mask }))
}

impl Formed for TcpInfo {
    type Form = TcpInfoForm;
    const WHAT: &'static str = "what is known of a TCP connection";

    fn form(&self, side: Side) -> TcpInfoForm {
        let (orig_flags, orig_flags_mask) = split(self.orig_flags, side);
        let (reply_flags, reply_flags_mask) = split(self.reply_flags, side);
        TcpInfoForm {
            state: self.state,
            orig_window_scale: self.orig_window_scale,
            reply_window_scale: self.reply_window_scale,
            orig_flags,
            orig_flags_mask,
            reply_flags,
            reply_flags_mask,
        }
    }

    fn of<E: de::Error>(form: TcpInfoForm, side: Side) -> Result<Self, E> {
        let orig = (form.orig_flags, form.orig_flags_mask);
        let reply = (form.reply_flags, form.reply_flags_mask);
        Ok(Self {
            state: form.state,
            orig_window_scale: form.orig_window_scale,
            reply_window_scale: form.reply_window_scale,
            orig_flags: join(orig.0, orig.1, "orig_flags", side)?,
            reply_flags: join(reply.0, reply.1, "reply_flags", side)?,
        })
    }
}

form!(TcpFlagChangeForm {
    "flags" => flags: TcpFlags,
    "mask" => mask: TcpFlags,
});

impl Formed for TcpFlagChange {
    type Form = TcpFlagChangeForm;
    const WHAT: &'static str = "a change of TCP flags";

    fn form(&self, side: Side) -> TcpFlagChangeForm {
        let (flags, mask) = split(Some(*self), side);
        TcpFlagChangeForm { flags, mask }
    }

    fn of<E: de::Error>(form: TcpFlagChangeForm, side: Side) -> Result<Self, E> {
        let flags = need(form.flags, "flags")?;
        let mask = form.mask.unwrap_or_else(|| unsaid(flags, side));
        Ok(Self { flags, mask })
    }
}

plain!(SctpInfo as SctpInfoForm, "what is known of an SCTP association",
    needs {
        "state" => state: SctpState,
    }
    may {
        "orig_vtag" => orig_vtag: u32,
        "reply_vtag" => reply_vtag: u32,
    }
);

plain!(DccpInfo as DccpInfoForm, "what is known of a DCCP connection",
    needs {
        "state" => state: DccpState,
    }
    may {
        "role" => role: DccpRole,
        "handshake_seq" => handshake_seq: u64,
    }
);

form!(
    /// The three fields as entries and updates have them.
    ProtoInfoForm {
        "tcp" => tcp: TcpInfo,
        "sctp" => sctp: SctpInfo,
        "dccp" => dccp: DccpInfo,
    }
);

impl From<Option<ProtoInfo>> for ProtoInfoForm {
    fn from(info: Option<ProtoInfo>) -> Self {
        let mut form = Self::default();
        match info {
            Some(ProtoInfo::Tcp(info)) => form.tcp = Some(info),
            Some(ProtoInfo::Sctp(info)) => form.sctp = Some(info),
            Some(ProtoInfo::Dccp(info)) => form.dccp = Some(info),
            None => {}
        }
        form
    }
}

impl ProtoInfoForm {
    pub(super) fn info<E: de::Error>(self) -> Result<Option<ProtoInfo>, E> {
        match (self.tcp, self.sctp, self.dccp) {
            (None, None, None) => Ok(None),
            (Some(info), None, None) => Ok(Some(ProtoInfo::Tcp(info))),
            (None, Some(info), None) => Ok(Some(ProtoInfo::Sctp(info))),
            (None, None, Some(info)) => Ok(Some(ProtoInfo::Dccp(info))),
            _ => Err(E::custom(Error::invalid(
                "state",
                "",
                "of several protocols",
                "one of tcp, sctp and dccp",
            ))),
        }
    }
}

impl Formed for ProtoInfo {
    type Form = ProtoInfoForm;
    const WHAT: &'static str = "what a tracker knows";

    fn form(&self, _: Side) -> ProtoInfoForm {
        ProtoInfoForm::from(Some(*self))
    }

    fn of<E: de::Error>(form: ProtoInfoForm, _: Side) -> Result<Self, E> {
        need(form.info()?, "tcp, sctp or dccp")
    }
}
