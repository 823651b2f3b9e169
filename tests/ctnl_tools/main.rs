//! The subcommands of ctnl as processes, each test in a network namespace of its own.
//!
//! They need root, or a user namespace of one's own (`unshare -Urn`), as `tests/kernel` does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod doctor;
mod exec;
mod leases;
mod pages;
mod stats;
mod support;
mod zones;
