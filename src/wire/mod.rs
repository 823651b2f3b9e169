//! Bytes to values and back, for ctnetlink's messages and attributes.
//!
//! The contract: any input gives a value or a [`Malformed`], never a
//! panic; nothing is allocated in proportion to a length that the input merely claims; every
//! decoder is linear in its input. An attribute that is not known is kept aside (the table's fill and the
//! defaults of time-outs have no place for one). An attribute of a
//! wrong size fails its message alone, and the error names the attribute's path and offset.
//!
//! Attribute numbers are those of `linux/netfilter/nfnetlink_conntrack.h`. Numbers in attributes
//! are big-endian, headers are in the host's order.

pub(crate) mod attr;
mod counters;
mod entry;
mod entry_ref;
mod event;
mod expect;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(feature = "interop")]
mod interop;
// Headers and labels are in the byte order of the machine that they were captured on.
#[cfg(test)]
#[cfg(target_endian = "little")]
mod fixtures;
mod kernel_filter;
mod malformed;
mod message;
mod path;
mod policy;
mod protoinfo;
mod rare;
mod reader;
#[cfg(any(test, fuzzing, feature = "interop"))]
mod report;
mod request;
mod rules;
mod stats;
#[cfg(test)]
pub(crate) mod tests;
mod tuple;
mod writer;

pub use entry_ref::EntryRef;
pub(crate) use event::decode_event;
pub(crate) use expect::{
    change_expectation, create_expectation, decode_expectation, delete_expectation,
    dump_expectations, dump_expectations_of, flush_expectations, get_expectation,
};
pub(crate) use kernel_filter::{dump_filtered, flush_filtered};
pub(crate) use malformed::Malformed;
pub(crate) use message::{FrameKind, NETLINK_HEADER, frame};
pub(crate) use policy::{
    decode_defaults, decode_policy, defaults_get, defaults_set, policies_dump, policy_create,
    policy_delete, policy_get, policy_replace,
};
#[cfg(test)]
pub(crate) use report::{encode_expectation_report, encode_report};
pub(crate) use request::{
    Request, cpu_stats_dump, create, create_malformed, delete, dump, expect_cpu_stats_dump, flush,
    get, portless_get, stats_request, update,
};
pub(crate) use rules::{
    Deed, Loaded, RuleRef, decode_elements, decode_generation, decode_rule, elements_dump,
    generation_get, rules_dump,
};
pub(crate) use stats::{decode_count, decode_cpu_stats, decode_expect_cpu_stats};
pub(crate) use writer::Datagram;
