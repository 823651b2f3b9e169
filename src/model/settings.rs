//! Settings of connection tracking, as values.

use std::fmt;

use super::{Count, CpuStats};

/// When the kernel keeps what events need (`net.netfilter.nf_conntrack_events`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventsMode {
    /// 0: never.
    Off,
    /// 1: for every new entry.
    On,
    /// 2: for entries that are made while somebody listens. The default since Linux 5.19.
    Auto,
}

/// `off`, `on` or `auto`.
impl fmt::Display for EventsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Auto => "auto",
        })
    }
}

/// What an operator asks first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// How full the table is.
    pub count: Count,
    /// What was counted since the namespace was made, over all CPUs.
    pub stats: CpuStats,
    /// Whether new entries have counters.
    pub accounting: bool,
    /// Whether new entries have time stamps; `None` if the kernel has no such setting, or hides it.
    pub timestamps: Option<bool>,
    /// When the kernel keeps what events need; `None` if it has no events, or hides the setting.
    pub events: Option<EventsMode>,
    /// Whether TCP connections are picked up in full flow, so that deleting an entry does not end
    /// one.
    pub tcp_loose: bool,
}

impl Health {
    /// How full the table is, from 0 to 1. `None` where there is no limit, or the kernel does not
    /// say it.
    #[must_use]
    pub fn fill(&self) -> Option<f64> {
        let max = self.count.max.filter(|max| *max != 0)?;
        Some(f64::from(self.count.entries) / f64::from(max))
    }

    /// Whether packets were dropped or entries had to go since the namespace was made.
    #[must_use]
    pub fn has_losses(&self) -> bool {
        let lost = [
            self.stats.drop,
            self.stats.early_drop,
            self.stats.insert_failed,
        ];
        lost.into_iter().flatten().any(|count| count > 0)
    }
}
