//! What happened to an entry.

use super::{Entry, Expectation};

bitflags::bitflags! {
    /// Kinds of events to hear of (`NFNLGRP_CONNTRACK_*`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct EventGroups: u32 {
        /// Entries that are made.
        #[doc(alias = "NFNLGRP_CONNTRACK_NEW")]
        const NEW = 1;
        /// Entries that change.
        #[doc(alias = "NFNLGRP_CONNTRACK_UPDATE")]
        const UPDATE = 1 << 1;
        /// Entries that end.
        #[doc(alias = "NFNLGRP_CONNTRACK_DESTROY")]
        const DESTROY = 1 << 2;
        /// Expectations that are made.
        #[doc(alias = "NFNLGRP_CONNTRACK_EXP_NEW")]
        const EXPECT_NEW = 1 << 3;
        /// Expectations that change. No kernel tells of it yet.
        #[doc(alias = "NFNLGRP_CONNTRACK_EXP_UPDATE")]
        const EXPECT_UPDATE = 1 << 4;
        /// Expectations that end: met, timed out or deleted.
        #[doc(alias = "NFNLGRP_CONNTRACK_EXP_DESTROY")]
        const EXPECT_DESTROY = 1 << 5;
    }
}

/// What happened.
///
/// The kernel sends what has changed rather than all of an entry: an event has the tuples, the id
/// and the zone, and of the rest what the kind of event gives. The time of the event, where the
/// kernel gives it, is in [`Entry::timestamps`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An entry was made.
    New(Entry),
    /// An entry changed.
    Update(Entry),
    /// An entry ended. With accounting it has its final counters, and the last state of its
    /// protocol, though not on Linux 5.10.
    Destroy(Entry),
    /// An expectation was made.
    ExpectNew(Expectation),
    /// An expectation changed.
    ExpectUpdate(Expectation),
    /// An expectation ended: it was met, timed out, or was deleted.
    ExpectDestroy(Expectation),
    /// The receive buffer overran and events were lost, nobody knows which: they lie between the
    /// events before this one and those after it. What is known of the table is best read anew now.
    Overrun(Overrun),
}

/// Events were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overrun {
    /// How often that has happened to this subscription, this time included.
    pub times: u64,
    /// Events that arrived before.
    pub received: u64,
    /// The receive buffer that was not enough, in bytes.
    pub receive_buffer: usize,
}

impl Event {
    /// The entry that it is about.
    #[must_use]
    pub const fn entry(&self) -> Option<&Entry> {
        match self {
            Self::New(entry) | Self::Update(entry) | Self::Destroy(entry) => Some(entry),
            _ => None,
        }
    }

    /// The expectation that it is about.
    #[must_use]
    pub const fn expectation(&self) -> Option<&Expectation> {
        match self {
            Self::ExpectNew(expectation)
            | Self::ExpectUpdate(expectation)
            | Self::ExpectDestroy(expectation) => Some(expectation),
            _ => None,
        }
    }
}
