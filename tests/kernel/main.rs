//! Tests against the running kernel, each in a network namespace of its own.
//!
//! They need root, or a user namespace of one's own (`unshare -Urn`); without the right to make a
//! network namespace they fail and say so. They never touch the table of the namespace that they
//! are started in. `tests/run.sh` runs them both ways.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod batch;
mod capabilities;
mod churn;
mod deleting;
mod deleting_each;
mod errors;
mod events;
mod expect;
mod filters;
mod handle;
mod interop;
#[cfg(feature = "serde")]
mod json;
mod leases;
mod line;
mod netns;
mod output;
mod policies;
mod probe;
mod probe_features;
mod protocols;
mod review;
mod rivals;
mod settings;
mod stats;
mod support;
mod table;
mod traffic;
mod transport;
mod vocabulary;
mod zone_rules;
mod zones;
