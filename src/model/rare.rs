//! What few entries have: kept apart, so that the many stay small.

use std::time::{Duration, SystemTime};

use super::{Helper, Labels, Tuple};

/// When a flow began and ended, as the kernel's clock had it.
///
/// An entry has them only if `net.netfilter.nf_conntrack_timestamp` was on when it was made.
#[doc(alias = "CTA_TIMESTAMP")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Timestamps {
    pub(crate) start: Option<u64>,
    pub(crate) stop: Option<u64>,
    pub(crate) event: Option<u64>,
}

fn time(nanoseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds)
}

impl Timestamps {
    /// When the flow began.
    #[doc(alias = "CTA_TIMESTAMP_START")]
    #[must_use]
    pub fn start(&self) -> Option<SystemTime> {
        self.start.map(time)
    }

    /// When the flow ended. A flow in the table has not.
    #[doc(alias = "CTA_TIMESTAMP_STOP")]
    #[must_use]
    pub fn stop(&self) -> Option<SystemTime> {
        self.stop.map(time)
    }

    /// When the event happened that reported the entry. Linux 6.14 and later say it.
    #[doc(alias = "CTA_TIMESTAMP_EVENT")]
    #[must_use]
    pub fn event(&self) -> Option<SystemTime> {
        self.event.map(time)
    }

    /// The start in nanoseconds since 1970, as the kernel sent it.
    #[must_use]
    pub const fn start_nanos(&self) -> Option<u64> {
        self.start
    }

    /// The stop in nanoseconds since 1970, as the kernel sent it.
    #[must_use]
    pub const fn stop_nanos(&self) -> Option<u64> {
        self.stop
    }
}

impl Timestamps {
    /// The event in nanoseconds since 1970, as the kernel sent it.
    #[must_use]
    pub const fn event_nanos(&self) -> Option<u64> {
        self.event
    }
}

/// How TCP sequence numbers of a direction are adjusted, because a helper changed the length of
/// what was said.
#[doc(alias = "CTA_SEQ_ADJ_ORIG")]
#[doc(alias = "CTA_SEQ_ADJ_REPLY")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeqAdjust {
    /// Sequence number of the last change.
    #[doc(alias = "CTA_SEQADJ_CORRECTION_POS")]
    pub correction_pos: u32,
    /// Bytes to add before it.
    #[doc(alias = "CTA_SEQADJ_OFFSET_BEFORE")]
    pub offset_before: i32,
    /// Bytes to add after it.
    #[doc(alias = "CTA_SEQADJ_OFFSET_AFTER")]
    pub offset_after: i32,
}

/// What the SYN proxy remembers of a connection. The kernel sends zeros for any TCP entry in a
/// namespace where a SYN proxy could be.
#[doc(alias = "CTA_SYNPROXY")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Synproxy {
    /// Initial sequence number.
    #[doc(alias = "CTA_SYNPROXY_ISN")]
    pub isn: u32,
    /// Initial timestamp.
    #[doc(alias = "CTA_SYNPROXY_ITS")]
    pub its: u32,
    /// Offset of timestamps.
    #[doc(alias = "CTA_SYNPROXY_TSOFF")]
    pub tsoff: u32,
}

/// An attribute that this version of the library does not know, at whatever depth it stood.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Unknown {
    /// The numbers of the attributes that hold it, from the top level of the message down, and at
    /// the end its own; all without flags.
    pub path: Vec<u16>,
    /// Its bytes.
    pub value: Vec<u8>,
}

impl Unknown {
    /// Whether an attribute can stand there: attributes are nested four deep at most, and a number
    /// has 14 bits.
    pub(crate) fn is_possible(&self) -> bool {
        (1..=4).contains(&self.path.len()) && self.path.iter().all(|number| *number < 1 << 14)
    }
}

/// An attribute that is not known, at the top level or within another, as it is kept.
pub(crate) fn unknown(within: Option<u16>, kind: u16, value: &[u8]) -> Unknown {
    Unknown {
        path: within.into_iter().chain([kind]).collect(),
        value: value.to_vec(),
    }
}

/// The number of an attribute that is not known, in its own nest.
pub(crate) fn unknown_number(unknown: &Unknown) -> u16 {
    unknown.path.last().copied().unwrap_or_default()
}

/// What few entries have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Rare {
    pub(crate) labels: Option<Labels>,
    pub(crate) timestamps: Option<Timestamps>,
    pub(crate) helper: Option<Helper>,
    pub(crate) helper_info: Option<Vec<u8>>,
    pub(crate) master: Option<Tuple>,
    pub(crate) orig_seq_adjust: Option<SeqAdjust>,
    pub(crate) reply_seq_adjust: Option<SeqAdjust>,
    pub(crate) secctx: Option<String>,
    pub(crate) secmark: Option<u32>,
    pub(crate) unknown: Vec<Unknown>,
}
