//! What to change of an entry.

use std::time::Duration;

use super::{
    DccpInfo, LabelChange, Mark, NewEntry, ProtoInfo, SctpInfo, SeqAdjust, Status, Synproxy,
    TcpInfo, TcpState,
};
use crate::error::{Error, Result};

/// What to change of an entry. What it does not name stays as it is; zero is a value like others.
///
/// ```
/// use ctnetlink::{Mark, Update};
/// use std::time::Duration;
///
/// let update = Update::builder()
///     .mark(Mark::masked(0, 0xff)?) // clears the lowest byte of the mark, keeps the rest
///     .timeout(Duration::from_secs(60))
///     .build()?;
/// assert!(Update::builder().build().is_err()); // nothing to change
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Update {
    pub(crate) timeout: Option<u32>,
    pub(crate) mark: Option<Mark>,
    pub(crate) set: Status,
    pub(crate) proto_info: Option<ProtoInfo>,
    pub(crate) labels: Option<LabelChange>,
    pub(crate) orig_seq_adjust: Option<SeqAdjust>,
    pub(crate) reply_seq_adjust: Option<SeqAdjust>,
    pub(crate) synproxy: Option<Synproxy>,
    pub(crate) remove_helper: bool,
}

impl Update {
    /// Not to be sent: it changes nothing.
    const NOTHING: Self = Self {
        timeout: None,
        mark: None,
        set: Status::empty(),
        proto_info: None,
        labels: None,
        orig_seq_adjust: None,
        reply_seq_adjust: None,
        synproxy: None,
        remove_helper: false,
    };

    /// Nothing is changed until the builder is told to.
    pub fn builder() -> UpdateBuilder {
        UpdateBuilder::default()
    }

    /// What an upsert changes of an entry that is there.
    pub(crate) fn from_new(new: &NewEntry) -> Self {
        let entry = new.entry();
        Self {
            timeout: entry.timeout,
            mark: entry.mark.map(Mark::new),
            // `CONFIRMED` is set in any case; alone it says nothing.
            set: entry.status.unwrap_or_default() - Status::CONFIRMED,
            proto_info: entry.proto_info,
            labels: entry.labels().map(LabelChange::replace),
            ..Self::NOTHING
        }
    }

    /// The status to send for an entry that has `current`, if the update speaks of it.
    ///
    /// The kernel compares all bits and answers `EBUSY` where one that cannot change differs, so
    /// those are repeated as they are.
    pub(crate) fn status_for(&self, current: Option<Status>) -> Option<Status> {
        if self.set.is_empty() {
            return None;
        }
        Some(current.unwrap_or(Status::CONFIRMED) | self.set)
    }
}

/// An update in the making.
#[derive(Debug, Clone, Copy)]
#[must_use = "an update in the making does nothing until it is built and sent"]
pub struct UpdateBuilder {
    update: Update,
    timeout: Option<Duration>,
}

impl Default for UpdateBuilder {
    fn default() -> Self {
        Self {
            update: Update::NOTHING,
            timeout: None,
        }
    }
}

impl UpdateBuilder {
    /// The time-out from now on: whole seconds. Zero ends the entry.
    #[doc(alias = "CTA_TIMEOUT")]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The mark: a `u32` for all of it, a [`Mark`] for some of its bits.
    #[doc(alias = "CTA_MARK")]
    #[doc(alias = "CTA_MARK_MASK")]
    pub fn mark(mut self, mark: impl Into<Mark>) -> Self {
        self.update.mark = Some(mark.into());
        self
    }

    /// Sets `SEEN_REPLY`. The kernel never clears it.
    pub fn seen_reply(mut self) -> Self {
        self.update.set |= Status::SEEN_REPLY;
        self
    }

    /// Sets `ASSURED`, so that early drop spares the entry. The kernel never clears it.
    pub fn assured(mut self) -> Self {
        self.update.set |= Status::ASSURED;
        self
    }

    /// Sets `FIXED_TIMEOUT`: packets no longer refresh the time-out, and a later update of it fails
    /// ([`Error::is_fixed_timeout`](crate::Error::is_fixed_timeout)), though not on Linux 5.10. The
    /// kernel never clears it.
    pub fn fixed_timeout(mut self) -> Self {
        self.update.set |= Status::FIXED_TIMEOUT;
        self
    }

    /// The state of a TCP connection.
    #[doc(alias = "CTA_PROTOINFO_TCP_STATE")]
    pub fn state(mut self, state: TcpState) -> Self {
        self.update.proto_info = Some(ProtoInfo::of_state(self.update.proto_info, state));
        self
    }

    /// What is known of a TCP connection; fields that are `None` stay.
    #[doc(alias = "CTA_PROTOINFO_TCP")]
    pub fn tcp_info(mut self, info: TcpInfo) -> Self {
        self.update.proto_info = Some(ProtoInfo::Tcp(info));
        self
    }

    /// The state and the verification tags of an SCTP association.
    #[doc(alias = "CTA_PROTOINFO_SCTP")]
    pub fn sctp_info(mut self, info: SctpInfo) -> Self {
        self.update.proto_info = Some(ProtoInfo::Sctp(info));
        self
    }

    /// The state and the role of a DCCP connection.
    #[doc(alias = "CTA_PROTOINFO_DCCP")]
    pub fn dccp_info(mut self, info: DccpInfo) -> Self {
        self.update.proto_info = Some(ProtoInfo::Dccp(info));
        self
    }

    /// Labels to set or clear. The namespace must have room for them: see
    /// [`Error::is_no_label_space`](crate::Error::is_no_label_space).
    #[doc(alias = "CTA_LABELS")]
    #[doc(alias = "CTA_LABELS_MASK")]
    pub fn labels(mut self, labels: LabelChange) -> Self {
        self.update.labels = Some(labels);
        self
    }

    /// How sequence numbers of the original direction are adjusted, which turns the adjustment on for
    /// both ([`Status::SEQ_ADJUST`]).
    ///
    /// There is room for it in entries that were created over netlink, and in translated ones with a
    /// helper. Others get the rest of the update, and the error
    /// [`is_unsupported`](crate::Error::is_unsupported): the kernel itself passes over it in silence
    /// (`ctnetlink_change_seq_adj`), so the entry is looked up again.
    #[doc(alias = "CTA_SEQ_ADJ_ORIG")]
    pub fn orig_seq_adjust(mut self, adjust: SeqAdjust) -> Self {
        self.update.orig_seq_adjust = Some(adjust);
        self
    }

    /// How sequence numbers of the reply direction are adjusted, as
    /// [`UpdateBuilder::orig_seq_adjust`] says.
    #[doc(alias = "CTA_SEQ_ADJ_REPLY")]
    pub fn reply_seq_adjust(mut self, adjust: SeqAdjust) -> Self {
        self.update.reply_seq_adjust = Some(adjust);
        self
    }

    /// What the SYN proxy remembers. An entry that has no room for it, which is one without
    /// [`Entry::synproxy`](super::Entry::synproxy), is left unchanged, with
    /// [`Error::is_unsupported`](crate::Error::is_unsupported).
    #[doc(alias = "CTA_SYNPROXY")]
    pub fn synproxy(mut self, synproxy: Synproxy) -> Self {
        self.update.synproxy = Some(synproxy);
        self
    }

    /// Takes the helper off the entry, and with it all that it expects; of an entry without one
    /// nothing changes. The kernel attaches no helper to an entry that is there, and of one that has a
    /// master it refuses any change of it (`EBUSY`). Linux 7.3 takes none off any more
    /// ([`is_unsupported`](crate::Error::is_unsupported)). The information that a helper in user space keeps
    /// is set when the entry is created, and not changed here.
    #[doc(alias = "CTA_HELP")]
    pub fn remove_helper(mut self) -> Self {
        self.update.remove_helper = true;
        self
    }

    /// The update, ready to be sent.
    ///
    /// # Errors
    /// For a time-out that is not whole seconds, states that the kernel does not have, and an
    /// update that changes nothing.
    pub fn build(self) -> Result<Update> {
        let update = Update {
            timeout: self.timeout.map(super::seconds).transpose()?,
            ..self.update
        };
        if let Some(info) = &update.proto_info {
            info.check()?;
        }
        if update == Update::NOTHING {
            return Err(Error::invalid(
                "update",
                "",
                "changes nothing",
                "something to change, such as a time-out or a mark",
            ));
        }
        Ok(update)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_repeats_what_cannot_change() {
        let update = Update::builder().assured().build().unwrap();
        let current = Status::EXPECTED | Status::CONFIRMED | Status::SRC_NAT_DONE;
        assert_eq!(
            update.status_for(Some(current)),
            Some(current | Status::ASSURED)
        );
        let mark = Update::builder().mark(0).build().unwrap();
        assert_eq!(mark.status_for(Some(current)), None);
    }

    #[test]
    fn nothing_to_change_is_refused() {
        assert!(Update::builder().build().unwrap_err().is_invalid_input());
        assert!(Update::builder().mark(0).build().is_ok());
        assert!(Update::builder().timeout(Duration::ZERO).build().is_ok());
    }
}
