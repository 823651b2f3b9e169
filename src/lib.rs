//! Linux connection tracking over NFNETLINK sockets.
//!
//! This crate creates, reads, changes, deletes and flushes conntrack entries by talking to the
//! kernel's ctnetlink directly. It runs no command, parses no other program's output, prints
//! nothing, and holds no `unsafe` code.
//!
//! Everything starts with a [`Conntrack`] handle, which needs `CAP_NET_ADMIN` in its network
//! namespace:
//!
//! ```
//! use std::time::Duration;
//! use ctnetlink::{Conntrack, Entry, Filter, TcpState, Update, Zone};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?; // a table of the example's own
//! let ct = Conntrack::open()?;
//! let zone = Zone::new(4097);
//! let web = Entry::tcp("10.0.0.1:40000".parse()?, "10.0.0.2:443".parse()?)
//!     .zone(zone)
//!     .state(TcpState::Established)
//!     .timeout(Duration::from_secs(600))
//!     .build()?;
//! ct.create(&web)?;
//! for entry in ct.list(&Filter::new().zone(zone))? {
//!     println!("{}", entry?);
//! }
//! ct.update(&web, &Update::builder().mark(7).build()?)?;
//! ct.delete(&web)?;
//! # Ok(())
//! # }
//! ```
//!
//! What is wrong with an input is said before anything is sent ([`Error::is_invalid_input`]); what
//! the kernel refused, with its errno, its own words and a predicate to decide by ([`Error`]).
//! Every conversation is a [`tracing`] span.
//!
//! # Features
//!
//! None is on by default.
//!
//! - `interop`: an [`Entry`] converts from and to netlink-packet-netfilter's `ConntrackMessage`.
//! - `serde`: values, filters and events implement `Serialize` and `Deserialize` in a form with
//!   documented names that stay (`docs/json.md`). What is read is checked as the constructors check.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod conntrack;
mod error;
mod filter;
mod link;
mod model;
mod ops;
mod wire;
mod zones;

pub use conntrack::{Builder, Conntrack};
pub use error::{Errno, Error, Operation, Result};
pub use filter::{Filter, NatKind, PortRange, TimeoutRange};
pub use model::{
    Claim, ClaimKind, Count, Counters, CpuStats, DccpInfo, DccpRole, DccpState, Direction,
    DirectionCounts, Entry, EntryBuilder, EntryDisplay, EntryZone, Event, EventGroups, EventsMode,
    Exhausted, ExpectCpuStats, ExpectFlags, ExpectKey, ExpectMask, ExpectNat, Expectation,
    ExpectationBuilder, Family, Format, GreKeys, Health, Helper, Icmp, Icmpv6, Instance, Key,
    LabelChange, LabelNames, Labels, Layer4, Mark, NatRange, NewEntry, NewExpectation, Overrun,
    OwnerKey, Ports, ProtoInfo, Protocol, RuleFamily, RuledBy, RuledZones, SctpInfo, SctpState,
    SeqAdjust, Status, Synproxy, TcpFlagChange, TcpFlags, TcpInfo, TcpState, Timestamps, Tuple,
    Unknown, Update, UpdateBuilder, Zone, ZoneRule, ZoneUse,
};
pub use model::{
    Completeness, DccpTimeouts, DeleteFailure, DeleteOptions, Deleted, Features, FilterShape,
    GenericTimeouts, GreTimeouts, IcmpTimeouts, Icmpv6Timeouts, KernelSupport, NewTimeoutPolicy,
    SctpTimeouts, TcpTimeouts, TimeoutDefaults, TimeoutPolicy, Timeouts, Trial, UdpLiteTimeouts,
    UdpTimeouts, Verdict,
};
pub use ops::{
    Batch, Entries, Events, EventsBuilder, ExpectationList, Expectations, Policies, PolicyList,
    Settings, Visited,
};
pub use wire::EntryRef;
pub use zones::{
    Foreign, Keeper, Lease, LeaseEvent, Released, Renewed, ZoneAllocator, ZoneAllocatorBuilder,
    ZoneMap, ZoneOrder, ZoneSource, ranges,
};

/// What `tests/fuzz` feeds with bytes.
#[cfg(fuzzing)]
#[doc(hidden)]
pub use wire::fuzzing;

/// The programs in the README and the guide are compiled, and run where they can.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/guide.md")]
    struct Guide;
    #[cfg(feature = "serde")]
    #[doc = include_str!("../docs/json.md")]
    struct Json;
}
