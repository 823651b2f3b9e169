//! Plain values: what an entry is, without a word of netlink.
//!
//! A value that exists is valid. What the kernel did not say is `None`, never zero.

mod builder;
mod claim;
mod counters;
mod deleted;
mod digits;
mod entry;
mod event;
mod expect;
mod helper;
#[cfg(feature = "serde")]
pub(crate) mod json;
mod kernel_filter;
mod kernel_support;
mod key;
mod labels;
mod mark;
mod nat;
mod new_expect;
mod policy;
mod protocol;
mod protoinfo;
mod rare;
mod settings;
mod stats;
mod status;
#[cfg(test)]
pub(crate) mod strategies;
mod tcp;
mod text;
mod timeout;
mod tuple;
mod update;
mod zone;
mod zone_rule;
mod zone_use;

pub use builder::{EntryBuilder, NewEntry};
pub(crate) use claim::{CLAIM_PROTOCOL, Hold, claim_places};
pub use claim::{Claim, ClaimKind, Instance, OwnerKey};
pub use counters::{Count, Counters};
pub use deleted::{Completeness, DeleteFailure, DeleteOptions, Deleted};
pub(crate) use digits::digits;
pub use entry::Entry;
pub use event::{Event, EventGroups, Overrun};
pub use expect::{ExpectFlags, ExpectKey, ExpectMask, ExpectNat, Expectation};
pub use helper::Helper;
pub use kernel_filter::FilterShape;
pub(crate) use kernel_filter::{KernelFilter, KernelTuple};
pub(crate) use kernel_support::{Asked, Boot, EDITION, Tester, Use, shapes};
pub use kernel_support::{Features, KernelSupport, Trial, Verdict};
pub(crate) use key::Mismatch;
pub use key::{Direction, Key};
pub use labels::{LabelChange, LabelNames, Labels};
pub use mark::Mark;
pub use nat::NatRange;
pub use new_expect::{ExpectationBuilder, NewExpectation};
pub(crate) use policy::PolicyName;
pub use policy::{
    DccpTimeouts, GenericTimeouts, GreTimeouts, IcmpTimeouts, Icmpv6Timeouts, NewTimeoutPolicy,
    SctpTimeouts, TcpTimeouts, TimeoutDefaults, TimeoutPolicy, Timeouts, UdpLiteTimeouts,
    UdpTimeouts,
};
pub use protocol::{Family, Protocol};
pub use protoinfo::{DccpInfo, DccpRole, DccpState, ProtoInfo, SctpInfo, SctpState};
pub(crate) use rare::{Rare, unknown, unknown_number};
pub use rare::{SeqAdjust, Synproxy, Timestamps, Unknown};
pub use settings::{EventsMode, Health};
pub use stats::{CpuStats, ExpectCpuStats};
pub use status::Status;
pub use tcp::{TcpFlagChange, TcpFlags, TcpInfo, TcpState};
pub use text::{EntryDisplay, Format};
pub(crate) use text::{Word as EscapedWord, unescape};
pub(crate) use timeout::seconds;
pub(crate) use tuple::Addresses;
pub use tuple::{GreKeys, Icmp, Icmpv6, Layer4, Ports, Tuple};
pub use update::{Update, UpdateBuilder};
pub use zone::{EntryZone, Zone};
pub use zone_rule::{RuleFamily, RuledBy, RuledZones, ZoneRule};
pub use zone_use::{DirectionCounts, Exhausted, ZoneUse};
