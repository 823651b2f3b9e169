//! Conversations with ctnetlink, one file each.

mod batch;
mod count;
mod delete;
mod events;
mod expect;
mod holds;
mod labels;
mod policy;
mod probe;
mod rules;
mod settings;
mod single;
mod stats;
mod support;
mod table;
#[cfg(test)]
mod tests;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use crate::link::Pool;
use crate::model::KernelSupport;

pub use batch::Batch;
pub(crate) use batch::{create_many, delete_many, update_many};
pub(crate) use count::{count, open_check};
pub(crate) use delete::{delete_each, delete_matching, flush_held, flush_zone};
pub use events::{Events, EventsBuilder};
pub use expect::{ExpectationList, Expectations};
pub(crate) use holds::{confirm_many, release_many, renew_many, take_many, try_many};
pub use policy::{Policies, PolicyList};
pub(crate) use rules::zone_rules;
pub use settings::Settings;
pub(crate) use settings::health;
pub(crate) use single::{create, delete, flush_all, get, update, upsert};
pub(crate) use stats::{cpu_stats, expect_cpu_stats};
use support::Tracked;
pub use table::{Entries, Visited};
pub(crate) use table::{list, list_and_zero_counters, list_dying, list_unconfirmed, visit};

/// What every conversation of a handle needs.
pub(crate) struct Session {
    pub(crate) pool: Arc<Pool>,
    /// Longest wait for an answer.
    pub(crate) deadline: Duration,
    tracked: Arc<Tracked>,
    /// The size of the hash table, where it can be seen. A kernel of tests has its own.
    pub(crate) buckets: fn() -> Option<u32>,
    /// What was given from outside; else what this process has proven.
    support: Option<Arc<KernelSupport>>,
}

impl Session {
    pub(crate) fn new(pool: Arc<Pool>, deadline: Duration) -> Self {
        Self {
            pool,
            deadline,
            tracked: Arc::default(),
            buckets: settings::buckets,
            support: None,
        }
    }

    /// With what is known of the kernel from elsewhere.
    pub(crate) fn with_support(mut self, support: Option<KernelSupport>) -> Self {
        self.support = support.map(Arc::new);
        self
    }

    /// What is proven of the kernel: tried when it is first asked for.
    pub(crate) fn support(&self) -> &KernelSupport {
        match &self.support {
            Some(support) => support,
            None => KernelSupport::probed(),
        }
    }

    /// The same sockets with another deadline.
    pub(crate) fn with_deadline(&self, deadline: Duration) -> Self {
        Self {
            pool: Arc::clone(&self.pool),
            deadline,
            tracked: Arc::clone(&self.tracked),
            buckets: self.buckets,
            support: self.support.clone(),
        }
    }
}
