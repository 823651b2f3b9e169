//! Conversations with ctnetlink, one file each.

mod batch;
mod count;
mod events;
mod expect;
mod policy;
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

pub use batch::Batch;
pub(crate) use batch::{create_many, delete_many, update_many};
pub(crate) use count::{count, open_check};
pub use events::{Events, EventsBuilder};
pub use expect::{ExpectationList, Expectations};
pub use policy::{Policies, PolicyList};
pub use settings::Settings;
pub(crate) use settings::health;
pub(crate) use single::{create, delete, flush_all, get, update, upsert};
pub(crate) use stats::{cpu_stats, expect_cpu_stats};
use support::Tracked;
pub use table::{Entries, Visited};
pub(crate) use table::{list, list_and_zero_counters, list_dying, visit};

/// What every conversation of a handle needs.
pub(crate) struct Session {
    pub(crate) pool: Arc<Pool>,
    /// Longest wait for an answer.
    pub(crate) deadline: Duration,
    tracked: Arc<Tracked>,
}

impl Session {
    pub(crate) fn new(pool: Arc<Pool>, deadline: Duration) -> Self {
        Self {
            pool,
            deadline,
            tracked: Arc::default(),
        }
    }

    /// The same sockets with another deadline.
    pub(crate) fn with_deadline(&self, deadline: Duration) -> Self {
        Self {
            pool: Arc::clone(&self.pool),
            deadline,
            tracked: Arc::clone(&self.tracked),
        }
    }
}
