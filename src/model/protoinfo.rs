//! What a protocol's tracker knows beside the tuples.

use std::borrow::Cow;
use std::fmt;

use super::tcp::open_states;
use super::{TcpInfo, TcpState};
use crate::error::{Error, Result};

/// The tracker's state, of a protocol that has one.
#[doc(alias = "CTA_PROTOINFO")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtoInfo {
    /// TCP
    Tcp(TcpInfo),
    /// SCTP
    Sctp(SctpInfo),
    /// DCCP
    Dccp(DccpInfo),
}

open_states! {
    /// The state that the kernel's SCTP tracker is in.
    #[doc(alias = "CTA_PROTOINFO_SCTP_STATE")]
    SctpState, "SCTP state",
    /// Nothing seen yet.
    None = 0, "NONE";
    /// The association is closed.
    Closed = 1, "CLOSED";
    /// An INIT was seen.
    CookieWait = 2, "COOKIE_WAIT";
    /// A COOKIE ECHO was seen.
    CookieEchoed = 3, "COOKIE_ECHOED";
    /// The association is up.
    Established = 4, "ESTABLISHED";
    /// A SHUTDOWN went out.
    ShutdownSent = 5, "SHUTDOWN_SENT";
    /// A SHUTDOWN came in.
    ShutdownRecd = 6, "SHUTDOWN_RECD";
    /// A SHUTDOWN was acknowledged.
    ShutdownAckSent = 7, "SHUTDOWN_ACK_SENT";
    /// Known by a heartbeat alone.
    HeartbeatSent = 8, "HEARTBEAT_SENT";
    /// A heartbeat was answered. Kernels since 6.2 count that as established.
    HeartbeatAcked = 9, "HEARTBEAT_ACKED";
}

/// What the kernel knows of an SCTP association. Creation needs all three.
#[doc(alias = "CTA_PROTOINFO_SCTP")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SctpInfo {
    /// State.
    pub state: SctpState,
    /// Verification tag of the original direction.
    #[doc(alias = "CTA_PROTOINFO_SCTP_VTAG_ORIGINAL")]
    pub orig_vtag: Option<u32>,
    /// Verification tag of the reply direction.
    #[doc(alias = "CTA_PROTOINFO_SCTP_VTAG_REPLY")]
    pub reply_vtag: Option<u32>,
}

impl SctpInfo {
    /// With both verification tags, as creation needs it.
    #[must_use]
    pub const fn new(state: SctpState, orig_vtag: u32, reply_vtag: u32) -> Self {
        Self {
            state,
            orig_vtag: Some(orig_vtag),
            reply_vtag: Some(reply_vtag),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.state.name().is_none() {
            return Err(Error::invalid(
                "SCTP state",
                self.state.to_string(),
                "the kernel has no such state",
                "NONE to HEARTBEAT_ACKED",
            ));
        }
        // nlattr_to_sctp: EINVAL unless state and both tags are there.
        if self.orig_vtag.is_none() || self.reply_vtag.is_none() {
            return Err(Error::invalid(
                "SCTP verification tags",
                format!("{:?}, {:?}", self.orig_vtag, self.reply_vtag),
                "one is missing",
                "both, as the kernel takes the state only with both",
            ));
        }
        Ok(())
    }
}

open_states! {
    /// The state that the kernel's DCCP tracker is in.
    #[doc(alias = "CTA_PROTOINFO_DCCP_STATE")]
    DccpState, "DCCP state",
    /// Nothing seen yet.
    None = 0, "NONE";
    /// A Request was seen.
    Request = 1, "REQUEST";
    /// A Response was seen.
    Respond = 2, "RESPOND";
    /// The first acknowledgement was seen.
    PartOpen = 3, "PARTOPEN";
    /// The connection is up.
    Open = 4, "OPEN";
    /// The server asked to close.
    CloseReq = 5, "CLOSEREQ";
    /// A Close was seen.
    Closing = 6, "CLOSING";
    /// The connection is over.
    TimeWait = 7, "TIMEWAIT";
}

/// Which end of the original direction is the client.
#[doc(alias = "CTA_PROTOINFO_DCCP_ROLE")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DccpRole {
    /// The source of the original direction.
    Client,
    /// The destination of the original direction.
    Server,
    /// A number that is neither.
    Other(u8),
}

impl DccpRole {
    pub(crate) const fn from_raw(raw: u8) -> Self {
        match raw {
            0 => Self::Client,
            1 => Self::Server,
            other => Self::Other(other),
        }
    }

    pub(crate) const fn raw(self) -> u8 {
        match self {
            Self::Client => 0,
            Self::Server => 1,
            Self::Other(other) => other,
        }
    }
}

/// What the kernel knows of a DCCP connection, on kernels that track DCCP.
#[doc(alias = "CTA_PROTOINFO_DCCP")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DccpInfo {
    /// State.
    pub state: DccpState,
    /// Role of the original direction's source.
    pub role: Option<DccpRole>,
    /// Sequence number of the handshake.
    #[doc(alias = "CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ")]
    pub handshake_seq: Option<u64>,
}

impl DccpInfo {
    /// With a role, as creation needs it.
    #[must_use]
    pub const fn new(state: DccpState, role: DccpRole) -> Self {
        Self {
            state,
            role: Some(role),
            handshake_seq: None,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        // nlattr_to_dccp: EINVAL for a state of CT_DCCP_IGNORE (8) and more, or without a role.
        if self.state.name().is_none() {
            return Err(Error::invalid(
                "DCCP state",
                self.state.to_string(),
                "the kernel has no such state",
                "NONE to TIMEWAIT",
            ));
        }
        if !matches!(self.role, Some(DccpRole::Client | DccpRole::Server)) {
            return Err(Error::invalid(
                "DCCP role",
                format!("{:?}", self.role),
                "not a role",
                "client or server",
            ));
        }
        Ok(())
    }
}

impl ProtoInfo {
    /// A connection of TCP in this state, and what was said of it before.
    pub(super) fn of_state(before: Option<Self>, state: TcpState) -> Self {
        let info = match before {
            Some(Self::Tcp(info)) => info,
            _ => TcpInfo::default(),
        };
        Self::Tcp(TcpInfo {
            state: Some(state),
            ..info
        })
    }

    pub(crate) const fn protocol(&self) -> super::Protocol {
        match self {
            Self::Tcp(_) => super::Protocol::TCP,
            Self::Sctp(_) => super::Protocol::SCTP,
            Self::Dccp(_) => super::Protocol::DCCP,
        }
    }

    /// Whether the kernel would take it.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::Tcp(info) => info.check(),
            Self::Sctp(info) => info.check(),
            Self::Dccp(info) => info.check(),
        }
    }

    /// The state's name, if there is a state.
    pub(crate) fn state_name(&self) -> Option<Cow<'static, str>> {
        let (name, unnamed): (_, &dyn fmt::Display) = match self {
            Self::Tcp(info) => match &info.state {
                Some(state) => (state.name(), state),
                None => return None,
            },
            Self::Sctp(info) => (info.state.name(), &info.state),
            Self::Dccp(info) => (info.state.name(), &info.state),
        };
        Some(name.map_or_else(|| unnamed.to_string().into(), Cow::Borrowed))
    }
}
