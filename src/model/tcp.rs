//! What the kernel knows of a TCP connection.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// An open enumeration: a newtype of the wire's integer with named constants, so that a value of a
/// newer kernel survives.
macro_rules! open_states {
    ($(#[$doc:meta])* $name:ident, $what:literal, $($(#[$vdoc:meta])* $variant:ident = $value:literal, $text:literal;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u8);

        #[allow(non_upper_case_globals, reason = "read as an enumeration: TcpState::Established")]
        impl $name {
            $($(#[$vdoc])* pub const $variant: Self = Self($value);)*

            /// By the kernel's number.
            #[must_use]
            pub const fn from_raw(raw: u8) -> Self {
                Self(raw)
            }

            /// The kernel's number.
            #[must_use]
            pub const fn raw(self) -> u8 {
                self.0
            }

            /// The name that conntrack(8) prints, if this is a known state.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        /// The name, or `STATE_n` where there is none.
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => f.pad(name),
                    None => write!(f, "STATE_{}", self.0),
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::error::Error;

            fn from_str(text: &str) -> crate::error::Result<Self> {
                match text {
                    $($text => Ok(Self($value)),)*
                    _ => text.strip_prefix("STATE_").and_then(|n| crate::model::digits(n, 10)).map(Self).ok_or_else(|| {
                        crate::error::Error::invalid($what, text, "no such state", concat!($($text, " "),*, "or STATE_number"))
                    }),
                }
            }
        }
    };
}
pub(crate) use open_states;

open_states! {
    /// The state that the kernel's TCP tracker is in.
    #[doc(alias = "CTA_PROTOINFO_TCP_STATE")]
    TcpState, "TCP state",
    /// Nothing seen yet.
    None = 0, "NONE";
    /// A SYN went out.
    SynSent = 1, "SYN_SENT";
    /// A SYN and ACK came back.
    SynRecv = 2, "SYN_RECV";
    /// The handshake is done.
    Established = 3, "ESTABLISHED";
    /// A FIN went out.
    FinWait = 4, "FIN_WAIT";
    /// A FIN came in.
    CloseWait = 5, "CLOSE_WAIT";
    /// Both FINs were seen.
    LastAck = 6, "LAST_ACK";
    /// The last ACK was seen.
    TimeWait = 7, "TIME_WAIT";
    /// A RST was seen.
    Close = 8, "CLOSE";
    /// Both ends sent a SYN.
    SynSent2 = 9, "SYN_SENT2";
}

bitflags::bitflags! {
    /// Flags of one direction of a TCP connection (`IP_CT_TCP_FLAG_*`).
    #[doc(alias = "CTA_PROTOINFO_TCP_FLAGS_ORIGINAL")]
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct TcpFlags: u8 {
        /// The end offered window scaling.
        const WINDOW_SCALE = 0x01;
        /// The end offered selective acknowledgement.
        const SACK_PERM = 0x02;
        /// The end sent a FIN first.
        const CLOSE_INIT = 0x04;
        /// Segments outside of the window are let through.
        const BE_LIBERAL = 0x08;
        /// Data is not acknowledged.
        const DATA_UNACKNOWLEDGED = 0x10;
        /// The highest acknowledgement is known.
        const MAXACK_SET = 0x20;
        /// A challenge ACK may have been sent.
        const EXP_CHALLENGE_ACK = 0x40;
        /// Both ends opened at once.
        const SIMULTANEOUS_OPEN = 0x80;
    }
}

/// Names joined by commas, `NONE` when empty.
impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("NONE");
        }
        let mut comma = "";
        for (name, _) in self.iter_names() {
            write!(f, "{comma}{name}")?;
            comma = ",";
        }
        Ok(())
    }
}

impl FromStr for TcpFlags {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "NONE" {
            return Ok(Self::empty());
        }
        text.split(',').try_fold(Self::empty(), |flags, word| {
            Self::from_name(word)
                .map(|flag| flags | flag)
                .ok_or_else(|| {
                    Error::invalid(
                        "TCP flags",
                        text,
                        format!("{word:?} is not a flag"),
                        "names such as SACK_PERM,BE_LIBERAL, or NONE",
                    )
                })
        })
    }
}

/// Flags to set, and which of them are meant: `new = (old & ~mask) | (flags & mask)`.
///
/// When the kernel reports an entry, it sends the flags with an empty mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TcpFlagChange {
    /// The flags.
    pub flags: TcpFlags,
    /// Those that change. Empty in what the kernel reports.
    pub mask: TcpFlags,
}

impl TcpFlagChange {
    /// Turns these flags on and leaves the others.
    #[must_use]
    pub const fn on(flags: TcpFlags) -> Self {
        Self { flags, mask: flags }
    }

    /// Turns these flags off and leaves the others.
    #[must_use]
    pub const fn off(mask: TcpFlags) -> Self {
        Self {
            flags: TcpFlags::empty(),
            mask,
        }
    }
}

/// What the kernel knows of a TCP connection, beside the tuples.
///
/// An entry made by hand knows nothing of the windows. To take over a connection in full flow,
/// set [`TcpFlags::BE_LIBERAL`] in both directions, or the kernel's window check calls its
/// segments invalid.
#[doc(alias = "CTA_PROTOINFO_TCP")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TcpInfo {
    /// State.
    pub state: Option<TcpState>,
    /// Window scale of the original direction, 0 to 14 (RFC 7323).
    ///
    /// The kernel takes window scales only for both directions at once, and only where both have
    /// [`TcpFlags::WINDOW_SCALE`] set; otherwise it ignores them silently, so that is refused here.
    #[doc(alias = "CTA_PROTOINFO_TCP_WSCALE_ORIGINAL")]
    pub orig_window_scale: Option<u8>,
    /// Window scale of the reply direction, 0 to 14 (RFC 7323).
    #[doc(alias = "CTA_PROTOINFO_TCP_WSCALE_REPLY")]
    pub reply_window_scale: Option<u8>,
    /// Flags of the original direction.
    #[doc(alias = "CTA_PROTOINFO_TCP_FLAGS_ORIGINAL")]
    pub orig_flags: Option<TcpFlagChange>,
    /// Flags of the reply direction.
    #[doc(alias = "CTA_PROTOINFO_TCP_FLAGS_REPLY")]
    pub reply_flags: Option<TcpFlagChange>,
}

impl TcpInfo {
    /// The largest shift that RFC 7323 allows.
    pub const MAX_WINDOW_SCALE: u8 = 14;

    /// With a state and nothing else.
    #[must_use]
    pub const fn new(state: TcpState) -> Self {
        Self {
            state: Some(state),
            orig_window_scale: None,
            reply_window_scale: None,
            orig_flags: None,
            reply_flags: None,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        // nlattr_to_tcp: a state of TCP_CONNTRACK_MAX (10) and more is EINVAL.
        if let Some(state) = self.state.filter(|state| state.name().is_none()) {
            return Err(Error::invalid(
                "TCP state",
                state.to_string(),
                "the kernel has no such state",
                "NONE to SYN_SENT2",
            ));
        }
        for scale in [self.orig_window_scale, self.reply_window_scale]
            .into_iter()
            .flatten()
        {
            if scale > Self::MAX_WINDOW_SCALE {
                return Err(Error::invalid(
                    "TCP window scale",
                    scale.to_string(),
                    "too large",
                    "0 to 14 (RFC 7323)",
                ));
            }
        }
        if self.orig_window_scale.is_some() != self.reply_window_scale.is_some() {
            return Err(Error::invalid(
                "TCP window scale",
                format!(
                    "{:?}, {:?}",
                    self.orig_window_scale, self.reply_window_scale
                ),
                "one direction's is missing",
                "both, as the kernel ignores one alone",
            ));
        }
        Ok(())
    }

    /// `nlattr_to_tcp`: window scales are ignored unless both directions have `WINDOW_SCALE`, which
    /// they have by these changes or `before` them.
    pub(crate) fn check_window_scales(&self, before: Option<&Self>) -> Result<()> {
        if self.orig_window_scale.is_none() {
            return Ok(());
        }
        let scaled = |change: Option<TcpFlagChange>, old: Option<TcpFlagChange>| {
            let old = old.map_or(TcpFlags::empty(), |old| old.flags);
            let new = change.map_or(old, |new| {
                old.difference(new.mask) | new.flags.intersection(new.mask)
            });
            new.contains(TcpFlags::WINDOW_SCALE)
        };
        if scaled(self.orig_flags, before.and_then(|info| info.orig_flags))
            && scaled(self.reply_flags, before.and_then(|info| info.reply_flags))
        {
            return Ok(());
        }
        Err(Error::invalid(
            "TCP window scale",
            format!(
                "{:?}, {:?}",
                self.orig_window_scale, self.reply_window_scale
            ),
            "a direction lacks the flag WINDOW_SCALE",
            "TcpFlags::WINDOW_SCALE in both directions, as the kernel ignores the scales without",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_survive_their_text() {
        for raw in 0..=u8::MAX {
            let state = TcpState::from_raw(raw);
            assert_eq!(state.to_string().parse::<TcpState>().unwrap(), state);
        }
        assert!("established".parse::<TcpState>().is_err());
    }

    #[test]
    fn flags_survive_their_text() {
        for bits in 0..=u8::MAX {
            let flags = TcpFlags::from_bits_retain(bits);
            assert_eq!(flags.to_string().parse::<TcpFlags>().unwrap(), flags);
        }
    }

    #[test]
    fn what_the_kernel_refuses_is_refused() {
        assert!(TcpInfo::new(TcpState::from_raw(10)).check().is_err());
        let wide = TcpInfo {
            orig_window_scale: Some(1),
            reply_window_scale: Some(15),
            ..TcpInfo::default()
        };
        assert!(wide.check().is_err());
        let lone = TcpInfo {
            reply_window_scale: Some(14),
            ..TcpInfo::default()
        };
        assert!(lone.check().is_err());
        let widest = TcpInfo {
            orig_window_scale: Some(14),
            reply_window_scale: Some(14),
            ..TcpInfo::default()
        };
        assert!(widest.check().is_ok());
    }

    #[test]
    fn window_scales_need_their_flag_in_both_directions() {
        let on = Some(TcpFlagChange::on(TcpFlags::WINDOW_SCALE));
        let bare = TcpInfo {
            orig_window_scale: Some(7),
            reply_window_scale: Some(7),
            ..TcpInfo::default()
        };
        assert!(bare.check_window_scales(None).is_err());
        let half = TcpInfo {
            orig_flags: on,
            ..bare
        };
        assert!(half.check_window_scales(None).is_err());
        let whole = TcpInfo {
            reply_flags: on,
            ..half
        };
        assert!(whole.check_window_scales(None).is_ok());
        // What the entry has already counts, unless it is taken away.
        assert!(bare.check_window_scales(Some(&whole)).is_ok());
        let off = TcpInfo {
            orig_flags: Some(TcpFlagChange::off(TcpFlags::WINDOW_SCALE)),
            ..bare
        };
        assert!(off.check_window_scales(Some(&whole)).is_err());
        assert!(TcpInfo::default().check_window_scales(None).is_ok());
    }
}
