//! `ctnl` beside Debian's conntrack 1.4.7, on twin network namespaces with the same table.
//!
//! It needs to be root, or in a user namespace of its own (`unshare -Urn`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod base;
mod compare;
mod counters;
mod differences;
mod events;
mod generated;
mod grammar;
mod json;
mod literal;
mod random;
mod restore;
mod shown;
mod spawn;
mod streams;
mod twin;
mod xml;
