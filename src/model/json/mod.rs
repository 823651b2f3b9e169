//! The documented form of the values: serde's traits, behind the feature `serde`.
//!
//! docs/json.md is the contract, and [`form`] says how it is kept: every object is declared once,
//! as a list of names and fields, from which both directions are made. The values themselves know
//! nothing of it. Written by hand rather than derived, so that errors begin with the field's name,
//! and so that reports and inputs can have rules of their own ([`form::Side`]).
//!
//! Reading makes values by the rules of their constructors. Formats must say what they hold, as JSON
//! does: absent fields are left out, and some fields are a number or a string.

mod change;
mod deleted;
mod entry;
mod expect;
pub(crate) mod form;
mod policy;
mod protoinfo;
mod report;
pub(crate) mod scalar;
mod support;
#[cfg(test)]
mod tests;
mod tuple;
mod zones;

use super::{
    Claim, ClaimKind, Completeness, Count, Counters, CpuStats, DccpInfo, DccpRole, DccpState,
    DeleteOptions, Direction, DirectionCounts, Entry, EntryZone, Event, EventGroups, EventsMode,
    Exhausted, ExpectCpuStats, ExpectFlags, ExpectKey, ExpectMask, ExpectNat, Expectation, Family,
    Features, GreKeys, Health, Helper, Icmp, Icmpv6, Instance, KernelSupport, Key, LabelChange,
    LabelNames, Labels, Layer4, Mark, NatRange, NewEntry, NewExpectation, NewTimeoutPolicy,
    Overrun, OwnerKey, Ports, ProtoInfo, Protocol, RuleFamily, RuledBy, RuledZones, SctpInfo,
    SctpState, SeqAdjust, Status, Synproxy, TcpFlagChange, TcpFlags, TcpInfo, TcpState,
    TimeoutDefaults, TimeoutPolicy, Timeouts, Timestamps, Trial, Tuple, Unknown, Update, Zone,
    ZoneRule, ZoneUse,
};

/// Gives values serde's traits, by the rules of a side.
macro_rules! serde_traits {
    ($side:ident: $($type:ident),* $(,)?) => {$(
        #[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                use $crate::model::json::form::{Part, Side};
                self.write(Side::$side, to)
            }
        }

        #[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                use $crate::model::json::form::{Part, Side};
                Self::read(Side::$side, from)
            }
        }
    )*};
}
pub(crate) use serde_traits;

serde_traits!(Report: Entry, Expectation, Event, Overrun, Count, Counters, CpuStats,
    ExpectCpuStats, Health, TimeoutDefaults, TimeoutPolicy, Timestamps, Unknown, Claim,
    DirectionCounts, Exhausted, ZoneRule, ZoneUse);

serde_traits!(Input: NewEntry, Key, Update, Tuple, Layer4, Ports, GreKeys, Icmp, Icmpv6, Zone,
    EntryZone, Direction, Family, Protocol, Status, Mark, Labels, LabelChange, LabelNames, NatRange,
    ProtoInfo, TcpInfo, TcpState, TcpFlags, TcpFlagChange, SctpInfo, SctpState, DccpInfo, DccpState,
    DccpRole, SeqAdjust, Synproxy, Helper, EventsMode, EventGroups, NewExpectation, ExpectKey,
    ExpectMask, ExpectNat, ExpectFlags, NewTimeoutPolicy, Timeouts, Completeness, DeleteOptions,
    KernelSupport, Trial, Features, ClaimKind, Instance, OwnerKey, RuleFamily, RuledBy, RuledZones);
