//! New entries: what the kernel would refuse cannot be built.

use std::fmt;
use std::time::Duration;

use super::nat::Nat;
use super::{
    DccpInfo, Entry, EntryZone, Helper, Labels, NatRange, ProtoInfo, Protocol, Rare, SctpInfo,
    SeqAdjust, Status, Synproxy, TcpInfo, TcpState, Tuple,
};
use crate::error::{Error, Result};

/// An entry in the making. [`EntryBuilder::build`] says what is wrong, if anything is.
///
/// ```
/// use ctnetlink::{Entry, TcpState};
/// use std::time::Duration;
///
/// let (src, dst) = ("10.0.0.1:53".parse().unwrap(), "10.0.0.2:53".parse().unwrap());
/// let dns = Entry::udp(src, dst).timeout(Duration::from_secs(30));
/// assert!(dns.clone().build().is_ok());
/// assert!(dns.state(TcpState::Established).build().is_err()); // UDP has no states
/// assert!(Entry::udp(src, dst).build().is_err()); // the kernel insists on a time-out
/// ```
#[derive(Debug, Clone)]
#[must_use = "an entry in the making does nothing until it is built and created"]
pub struct EntryBuilder {
    orig: Result<Tuple>,
    reply: Option<Tuple>,
    zone: EntryZone,
    status: Option<Status>,
    timeout: Option<Duration>,
    mark: Option<u32>,
    proto_info: Option<ProtoInfo>,
    synproxy: Option<Synproxy>,
    rare: Rare,
    nat: Nat,
}

impl EntryBuilder {
    pub(crate) fn new(orig: Result<Tuple>) -> Self {
        Self {
            orig,
            reply: None,
            zone: EntryZone::default(),
            status: None,
            timeout: None,
            mark: None,
            proto_info: None,
            synproxy: None,
            rare: Rare::default(),
            nat: Nat::default(),
        }
    }

    /// The tuple of the answers. Without it, the answer to an untranslated flow
    /// ([`Tuple::reply`]).
    #[doc(alias = "CTA_TUPLE_REPLY")]
    pub fn reply(mut self, reply: Tuple) -> Self {
        self.reply = Some(reply);
        self
    }

    /// The zone: a [`Zone`](super::Zone) for both directions, or an [`EntryZone`] for one.
    /// Without it, zone 0.
    #[doc(alias = "CTA_ZONE")]
    pub fn zone(mut self, zone: impl Into<EntryZone>) -> Self {
        self.zone = zone.into();
        self
    }

    /// Status bits, of those in [`Status::SETTABLE`].
    #[doc(alias = "CTA_STATUS")]
    pub fn status(mut self, status: Status) -> Self {
        self.status = Some(status);
        self
    }

    /// How long the entry lives without a packet: whole seconds. The kernel insists on it.
    ///
    /// The kernel silently shortens what is over `INT_MAX` jiffies, which is 24.8 days at 1000 Hz;
    /// more than that is refused here.
    #[doc(alias = "CTA_TIMEOUT")]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The mark.
    #[doc(alias = "CTA_MARK")]
    pub fn mark(mut self, mark: u32) -> Self {
        self.mark = Some(mark);
        self
    }

    /// The state of a TCP connection.
    #[doc(alias = "CTA_PROTOINFO_TCP_STATE")]
    pub fn state(mut self, state: TcpState) -> Self {
        self.proto_info = Some(ProtoInfo::of_state(self.proto_info, state));
        self
    }

    /// Everything that can be said of a TCP connection.
    #[doc(alias = "CTA_PROTOINFO_TCP")]
    pub fn tcp_info(mut self, info: TcpInfo) -> Self {
        self.proto_info = Some(ProtoInfo::Tcp(info));
        self
    }

    /// The state and the verification tags of an SCTP association.
    #[doc(alias = "CTA_PROTOINFO_SCTP")]
    pub fn sctp_info(mut self, info: SctpInfo) -> Self {
        self.proto_info = Some(ProtoInfo::Sctp(info));
        self
    }

    /// The state and the role of a DCCP connection.
    #[doc(alias = "CTA_PROTOINFO_DCCP")]
    pub fn dccp_info(mut self, info: DccpInfo) -> Self {
        self.proto_info = Some(ProtoInfo::Dccp(info));
        self
    }

    /// Labels. The namespace must have room for them: see
    /// [`Error::is_no_label_space`](crate::Error::is_no_label_space).
    #[doc(alias = "CTA_LABELS")]
    pub fn labels(mut self, labels: Labels) -> Self {
        self.rare.labels = Some(labels);
        self
    }

    /// The helper that follows the flow. It can be set at creation only.
    #[doc(alias = "CTA_HELP_NAME")]
    pub fn helper(mut self, helper: Helper) -> Self {
        self.rare.helper = Some(helper);
        self
    }

    /// What the helper keeps of the flow, in a form of its own, at most 32 bytes. Helpers in user
    /// space take it, the kernel's own do not.
    #[doc(alias = "CTA_HELP_INFO")]
    pub fn helper_info(mut self, info: impl Into<Vec<u8>>) -> Self {
        self.rare.helper_info = Some(info.into());
        self
    }

    /// The original tuple of the entry, in the same zone, that expected this one. It can be set at
    /// creation only, and the master must be there: otherwise creation fails with
    /// [`Error::is_not_found`](crate::Error::is_not_found).
    #[doc(alias = "CTA_TUPLE_MASTER")]
    pub fn master(mut self, master: Tuple) -> Self {
        self.rare.master = Some(master);
        self
    }

    /// Translates the source: the kernel chooses from the range and puts it into the reply tuple. It
    /// can be set at creation only.
    #[doc(alias = "CTA_NAT_SRC")]
    pub fn nat_src(mut self, range: NatRange) -> Self {
        self.nat.src = Some(range);
        self
    }

    /// Translates the destination: the kernel chooses from the range and puts it into the reply
    /// tuple. It can be set at creation only.
    #[doc(alias = "CTA_NAT_DST")]
    pub fn nat_dst(mut self, range: NatRange) -> Self {
        self.nat.dst = Some(range);
        self
    }

    /// How sequence numbers of the original and of the reply direction are adjusted.
    #[doc(alias = "CTA_SEQ_ADJ_ORIG")]
    #[doc(alias = "CTA_SEQ_ADJ_REPLY")]
    pub fn seq_adjust(mut self, orig: SeqAdjust, reply: SeqAdjust) -> Self {
        self.rare.orig_seq_adjust = Some(orig);
        self.rare.reply_seq_adjust = Some(reply);
        self
    }

    /// What the SYN proxy remembers.
    #[doc(alias = "CTA_SYNPROXY")]
    pub fn synproxy(mut self, synproxy: Synproxy) -> Self {
        self.synproxy = Some(synproxy);
        self
    }

    /// The entry, ready to be created.
    ///
    /// # Errors
    /// Says what cannot be sent: addresses of two families, a reply of another family or protocol,
    /// no time-out or one that is not whole seconds, status bits that cannot be set, tracker state that
    /// does not belong to the protocol, ports to translate of a protocol without, or more of a helper's
    /// information than the kernel keeps.
    pub fn build(self) -> Result<NewEntry> {
        let orig = self.orig?;
        let entry = Entry {
            zone: self.zone.canonical(),
            status: self.status,
            timeout: self.timeout.map(super::seconds).transpose()?,
            mark: self.mark,
            proto_info: self.proto_info,
            synproxy: self.synproxy,
            rare: (self.rare != Rare::default()).then(|| Box::new(self.rare)),
            ..Entry::new(orig, self.reply.unwrap_or_else(|| orig.reply()))
        };
        NewEntry::check(entry, self.nat)
    }
}

/// An entry that can be created: it has everything that the kernel asks for, and nothing that it
/// refuses.
///
/// From an [`EntryBuilder`], or from a reported entry with [`Entry::to_new`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NewEntry {
    entry: Entry,
    pub(crate) nat: Nat,
}

impl NewEntry {
    /// The entry as it will look, before translation.
    #[must_use]
    pub const fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The translation of the source that is asked for.
    #[must_use]
    pub const fn nat_src(&self) -> Option<NatRange> {
        self.nat.src
    }

    /// The translation of the destination that is asked for.
    #[must_use]
    pub const fn nat_dst(&self) -> Option<NatRange> {
        self.nat.dst
    }

    pub(super) fn check(entry: Entry, nat: Nat) -> Result<Self> {
        let refuse =
            |input: String, problem: &'static str, expected: &'static str| -> Result<Self> {
                Err(Error::invalid("entry", input, problem, expected))
            };
        entry.orig.check()?;
        entry.reply.check()?;
        if let Some(timeout) = entry.timeout {
            super::seconds(Duration::from_secs(timeout.into()))?;
        } else {
            return refuse(
                entry.to_string(),
                "no time-out",
                "a time-out: the kernel creates no entry without one",
            );
        }
        if entry.orig.family() != entry.reply.family() {
            return refuse(
                entry.to_string(),
                "the tuples are of two families",
                "a reply of the original's family",
            );
        }
        if entry.orig.protocol() != entry.reply.protocol() {
            return refuse(
                entry.to_string(),
                "the tuples are of two protocols",
                "a reply of the original's protocol",
            );
        }
        if let Some(status) = entry.status {
            let beyond = status.difference(Status::SETTABLE);
            if !beyond.is_empty() {
                return refuse(
                    beyond.to_string(),
                    "these status bits cannot be set",
                    "SEEN_REPLY, ASSURED, FIXED_TIMEOUT, CONFIRMED",
                );
            }
        }
        if let Some(info) = entry.proto_info {
            if info.protocol() != entry.protocol() {
                return refuse(
                    format!("{} state for {}", info.protocol(), entry.protocol()),
                    "the state belongs to another protocol",
                    "the state of the entry's own protocol",
                );
            }
            info.check()?;
            if let ProtoInfo::Tcp(tcp) = info {
                tcp.check_window_scales(None)?;
            }
        }
        for range in [nat.src, nat.dst].into_iter().flatten() {
            range.check(&entry.orig)?;
        }
        if let Some(rare) = &entry.rare {
            if rare.helper_info.is_some() && rare.helper.is_none() {
                return refuse(
                    entry.to_string(),
                    "a helper's information without a helper",
                    "the helper whose information it is",
                );
            }
            if let Some(info) = &rare.helper_info {
                super::helper::check_info(info)?;
            }
            if let Some(master) = &rare.master {
                master.check()?;
                if master.family() != entry.orig.family() {
                    return refuse(
                        entry.to_string(),
                        "the master is of another family",
                        "a master of the entry's own family",
                    );
                }
            }
        }
        Ok(Self { entry, nat })
    }
}

impl TryFrom<&Entry> for NewEntry {
    type Error = Error;

    fn try_from(entry: &Entry) -> Result<Self> {
        // In what the kernel reports the flags' mask is empty; to set them again, all are meant.
        // It also reports scales of 0 where the ends do not scale, which could not be set.
        let proto_info = entry.proto_info.map(|info| match info {
            ProtoInfo::Tcp(mut info) => {
                for change in [&mut info.orig_flags, &mut info.reply_flags]
                    .into_iter()
                    .flatten()
                {
                    if change.mask.is_empty() {
                        change.mask = super::TcpFlags::all();
                    }
                }
                if info.check_window_scales(None).is_err() {
                    info.orig_window_scale = None;
                    info.reply_window_scale = None;
                }
                ProtoInfo::Tcp(info)
            }
            other => other,
        });
        let rare = entry.rare.as_deref().map(|rare| Rare {
            labels: rare.labels,
            helper: rare.helper,
            helper_info: rare.helper_info.clone(),
            orig_seq_adjust: rare.orig_seq_adjust,
            reply_seq_adjust: rare.reply_seq_adjust,
            ..Rare::default()
        });
        let (reply, nat) = Nat::again(entry);
        let again = Entry {
            zone: entry.zone,
            status: entry
                .status
                .map(|status| status.intersection(Status::SETTABLE)),
            timeout: entry.timeout,
            mark: entry.mark,
            proto_info,
            synproxy: entry
                .synproxy
                .filter(|proxy| (proxy.isn, proxy.its, proxy.tsoff) != (0, 0, 0)),
            rare: rare.filter(|rare| *rare != Rare::default()).map(Box::new),
            ..Entry::new(entry.orig, reply)
        };
        Self::check(again, nat)
    }
}

impl From<NewEntry> for Entry {
    fn from(new: NewEntry) -> Self {
        new.entry
    }
}

impl AsRef<Entry> for NewEntry {
    fn as_ref(&self) -> &Entry {
        &self.entry
    }
}

/// As the entry.
impl fmt::Display for NewEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.entry, f)
    }
}

impl NewEntry {
    /// The protocol, for the question whether the kernel tracks it.
    pub(crate) const fn protocol(&self) -> Protocol {
        self.entry.protocol()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DccpRole, DccpState, SctpState};

    fn udp() -> EntryBuilder {
        Entry::udp("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap())
    }

    fn tcp() -> EntryBuilder {
        Entry::tcp("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap())
    }

    const MINUTE: Duration = Duration::from_secs(60);

    fn why(builder: EntryBuilder) -> String {
        builder.build().unwrap_err().to_string()
    }

    #[test]
    fn refusals_say_what_is_wrong_and_what_is_right() {
        assert!(why(udp()).contains("no time-out"));
        assert!(why(udp().timeout(Duration::from_millis(1))).contains("not whole seconds"));
        let mixed = Entry::udp("10.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap());
        assert!(why(mixed.timeout(MINUTE)).contains("two families"));
        let six = Tuple::udp("[::1]:1".parse().unwrap(), "[::2]:1".parse().unwrap()).unwrap();
        assert!(why(udp().timeout(MINUTE).reply(six)).contains("two families"));
        let other = tcp().timeout(MINUTE).build().unwrap().entry().reply;
        assert!(why(udp().timeout(MINUTE).reply(other)).contains("two protocols"));
        assert!(
            why(udp()
                .timeout(MINUTE)
                .status(Status::DYING | Status::ASSURED))
            .contains("DYING")
        );
        assert!(
            why(udp().timeout(MINUTE).state(TcpState::Established)).contains("tcp state for udp")
        );
        assert!(why(tcp().timeout(MINUTE).state(TcpState::from_raw(10))).contains("no such state"));
        let sctp = SctpInfo {
            state: SctpState::Established,
            orig_vtag: Some(1),
            reply_vtag: None,
        };
        let association = Entry::sctp("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
        assert!(why(association.timeout(MINUTE).sctp_info(sctp)).contains("missing"));
        let dccp = DccpInfo::new(DccpState::Open, DccpRole::Other(3));
        let call = Entry::dccp("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
        assert!(why(call.timeout(MINUTE).dccp_info(dccp)).contains("role"));
        // The kernel would pass over these in silence.
        let kept = |bytes| {
            tcp()
                .helper(Helper::FTP)
                .helper_info(vec![1; bytes])
                .timeout(MINUTE)
        };
        assert!(kept(32).build().is_ok());
        assert!(why(kept(33)).contains("33 bytes"));
        let (src, dst) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let keys = crate::model::GreKeys { src: 1, dst: 2 };
        let address = NatRange::address(src);
        for portless in [
            Entry::gre(src, dst, keys).timeout(MINUTE),
            Entry::other(Protocol::new(50), src, dst).timeout(MINUTE),
        ] {
            assert!(portless.clone().nat_src(address).build().is_ok());
            let one = address.ports(1, 1).unwrap();
            assert!(why(portless.clone().nat_src(one)).contains("translates none"));
            assert!(why(portless.nat_dst(one)).contains("translates none"));
        }
    }

    #[test]
    fn zone_zero_of_one_direction_is_zone_zero() {
        let zero = EntryZone::Orig(super::super::Zone::DEFAULT);
        let entry = udp().timeout(MINUTE).zone(zero).build().unwrap();
        assert_eq!(entry.entry().zone, EntryZone::default());
    }

    /// A line, or a kernel that does not track a protocol, may say what no constructor would.
    #[test]
    fn what_was_read_is_checked_before_it_is_made() {
        for line in [
            "icmp 1 60 src=::1 dst=::2 type=8 code=0 id=1 src=::2 dst=::1 type=0 code=0 id=1",
            "icmp 1 60 src=1.1.1.1 dst=1.1.1.2 type=3 code=0 id=1 src=1.1.1.2 dst=1.1.1.1 type=3 code=0 id=1",
            "dccp 33 60 src=1.1.1.1 dst=1.1.1.2 src=1.1.1.2 dst=1.1.1.1",
            "tcp 6 60 src=1.1.1.1 dst=1.1.1.2 src=1.1.1.2 dst=1.1.1.1",
            "udp 17 4294967295 src=1.1.1.1 dst=1.1.1.2 sport=1 dport=2 src=1.1.1.2 dst=1.1.1.1 sport=2 dport=1",
            "udp 17 src=1.1.1.1 dst=1.1.1.2 sport=1 dport=2 src=1.1.1.2 dst=1.1.1.1 sport=2 dport=1",
        ] {
            let entry: Entry = line.parse().unwrap();
            assert!(entry.to_new().unwrap_err().is_invalid_input(), "{line}");
        }
    }

    #[test]
    fn a_reported_entry_can_be_made_again() {
        let mut entry: Entry = tcp()
            .timeout(MINUTE)
            .state(TcpState::Established)
            .build()
            .unwrap()
            .into();
        entry.id = Some(7);
        entry.use_count = Some(2);
        entry.status = Some(Status::CONFIRMED | Status::ASSURED | Status::SRC_NAT_DONE);
        let again = entry.to_new().unwrap();
        assert_eq!(again.entry().id, None);
        assert_eq!(again.entry().use_count, None);
        assert_eq!(
            again.entry().status,
            Some(Status::CONFIRMED | Status::ASSURED)
        );
        entry.timeout = None;
        assert!(entry.to_new().unwrap_err().is_invalid_input());
    }

    /// The kernel takes a flow for translated where it changed the tuples itself.
    #[test]
    fn a_translated_entry_asks_for_its_translation_again() {
        let line = "udp 17 60 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 \
                    src=10.0.0.3 dst=10.0.0.4 sport=3 dport=4";
        let mut entry: Entry = line.parse().unwrap();
        let again = entry.to_new().unwrap();
        assert_eq!(again.entry().reply, entry.reply);
        assert_eq!((again.nat_src(), again.nat_dst()), (None, None));
        let exactly =
            |address: [u8; 4], port| NatRange::address(address.into()).ports(port, port).ok();
        for status in [Status::SRC_NAT, Status::DST_NAT] {
            entry.status = Some(status | Status::CONFIRMED);
            let again = entry.to_new().unwrap();
            assert_eq!(again.entry().reply, entry.orig.reply());
            assert_eq!(again.nat_src(), exactly([10, 0, 0, 4], 4));
            assert_eq!(again.nat_dst(), exactly([10, 0, 0, 3], 3));
        }
    }
}
