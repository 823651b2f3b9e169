//! What was being done.

use std::fmt;

/// The conversation with the kernel that an [`Error`](crate::Error) belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Opening a handle, or a further socket of it.
    Open,
    /// `create`, `create_many`.
    Create,
    /// `upsert`.
    Upsert,
    /// `update`, `update_many`.
    Update,
    /// `get`.
    Get,
    /// `delete`, `delete_many`; `delete_matching`, `flush_zone` and `flush_family` where they walk
    /// the table.
    Delete,
    /// `list`, `visit`.
    List,
    /// `list_and_zero_counters`.
    ListAndZeroCounters,
    /// `count`.
    Count,
    /// `flush_all`; `delete_matching`, `flush_zone` and `flush_family` where the kernel does it in
    /// one request.
    Flush,
    /// A subscription to events.
    Events,
    /// `cpu_stats`, `expect_cpu_stats`.
    Stats,
    /// Reading and writing settings.
    Settings,
    /// `expectations().create`.
    CreateExpectation,
    /// `expectations().get`.
    GetExpectation,
    /// `expectations().set_timeout`.
    UpdateExpectation,
    /// `expectations().delete` and its siblings.
    DeleteExpectation,
    /// `expectations().list`, `list_of`, `list_by_helper`.
    ListExpectations,
    /// `expectations().flush_all`.
    FlushExpectations,
    /// Trying the kernel's filters out.
    Probe,
    /// Converting what another library received.
    Convert,
    /// Reading time-out policies and defaults.
    Policies,
    /// Creating, changing and deleting time-out policies, and changing defaults.
    ChangePolicies,
    /// Claiming a zone, or the right to look for one.
    Claim,
    /// Renewing leases of zones.
    Renew,
    /// Releasing zones.
    Release,
    /// `acquire`, `acquire_many`, `allocate`, `reserve`, `adopt` of zones.
    Acquire,
    /// `rename` of a lease.
    Rename,
    /// Looking at who uses which zone.
    Scan,
    /// `zone_rules`.
    Rules,
}

impl Operation {
    /// The name that errors and traces use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::Upsert => "upsert",
            Self::Update => "update",
            Self::Get => "get",
            Self::Delete => "delete",
            Self::List => "list",
            Self::ListAndZeroCounters => "list and zero counters",
            Self::Count => "count",
            Self::Flush => "flush",
            Self::Events => "events",
            Self::Stats => "statistics",
            Self::Settings => "settings",
            Self::Probe => "probe",
            Self::Convert => "convert",
            Self::CreateExpectation => "create expectation",
            Self::GetExpectation => "get expectation",
            Self::UpdateExpectation => "update expectation",
            Self::DeleteExpectation => "delete expectation",
            Self::ListExpectations => "list expectations",
            Self::FlushExpectations => "flush expectations",
            Self::Policies => "read time-out policies",
            Self::ChangePolicies => "change time-out policies",
            Self::Claim => "claim zone",
            Self::Renew => "renew lease",
            Self::Release => "release zone",
            Self::Acquire => "acquire zone",
            Self::Rename => "rename lease",
            Self::Scan => "scan zones",
            Self::Rules => "read rules",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
