//! What was proven of the running kernel.

use std::fmt;

use super::{Family, FilterShape};
use crate::error::Errno;

/// How a kernel did in the trial of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// It found what matches, all of it and nothing else.
    Right,
    /// It paid no heed to the filter: everything was found.
    Ignored,
    /// It found what does not match.
    Inverted,
    /// It left out some that match.
    Omits,
    /// It found some that do not match.
    Wrong,
    /// It refused the request.
    Refused(Errno),
    /// It was not tried, so it counts as broken.
    Unproven,
}

impl Verdict {
    /// Whether the kernel may be asked.
    #[must_use]
    pub const fn is_right(self) -> bool {
        matches!(self, Self::Right)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Right => "right",
            Self::Ignored => "ignored",
            Self::Inverted => "inverted",
            Self::Omits => "leaves out matches",
            Self::Wrong => "finds what does not match",
            Self::Refused(errno) => return write!(f, "refused with {errno:?}"),
            Self::Unproven => "not proven",
        })
    }
}

/// The trial of one shape of filters, in lists and in flushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Trial {
    /// Which conditions the request had.
    pub shape: FilterShape,
    /// The family that it named, if it did.
    pub family: Option<Family>,
    /// Of a list (`IPCTNL_MSG_CT_GET` with `NLM_F_DUMP`).
    pub dump: Verdict,
    /// Of a flush (`IPCTNL_MSG_CT_DELETE` without a tuple).
    pub flush: Verdict,
}

/// What else a kernel can do. `None`: it could not be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Features {
    /// Zones (`CONFIG_NF_CONNTRACK_ZONES`).
    pub zones: Option<bool>,
    /// Zones of one direction. Linux 4.3.
    pub direction_zones: Option<bool>,
    /// Labels (`CONFIG_NF_CONNTRACK_LABELS`).
    pub labels: Option<bool>,
    /// Address translation of entries that are made by request.
    pub nat: Option<bool>,
    /// Helpers for entries that are made by request.
    pub helpers: Option<bool>,
    /// Events say when they happened (`CTA_TIMESTAMP_EVENT`).
    pub event_timestamps: Option<bool>,
    /// Refusals come with a text and an offset (`NETLINK_EXT_ACK`).
    pub extended_ack: Option<bool>,
    /// The socket option for strict checking (`NETLINK_GET_STRICT_CHK`).
    pub strict_checking: Option<bool>,
}

/// What was proven of the running kernel, by trying it out where a wrong answer costs nothing.
///
/// Kernels get some of their own filters wrong, differently by version, and no version number tells:
/// a filtered flush may remove everything, or just what it should spare. So nothing is asked of a
/// kernel that was not seen to do it right. [`KernelSupport::probe`] tries; what was not tried
/// counts as broken, and is done in user space.
///
/// ```
/// use ctnetlink::{FilterShape, KernelSupport};
///
/// let nothing = KernelSupport::unproven();
/// assert!(!nothing.flush(FilterShape::ZONE, None).is_right());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct KernelSupport {
    pub(crate) trials: Vec<Trial>,
    pub(crate) features: Features,
    pub(crate) why_not: Option<String>,
}

impl KernelSupport {
    /// Nothing proven: everything is done in user space.
    #[must_use]
    pub fn unproven() -> Self {
        Self::default()
    }

    pub(crate) fn failed(why: String) -> Self {
        Self {
            why_not: Some(why),
            ..Self::default()
        }
    }

    /// Every trial that was made.
    #[must_use]
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// What else the kernel can do.
    #[must_use]
    pub const fn features(&self) -> Features {
        self.features
    }

    /// Why nothing could be tried, if so: no right to make a network namespace, for example.
    #[must_use]
    pub fn why_not(&self) -> Option<&str> {
        self.why_not.as_deref()
    }

    fn trial(&self, shape: FilterShape, family: Option<Family>) -> Option<&Trial> {
        self.trials
            .iter()
            .find(|trial| (trial.shape, trial.family) == (shape, family))
    }

    /// Whether lists with a filter of this very shape are right. `family`: the one that the request
    /// names, if it does.
    #[must_use]
    pub fn dump(&self, shape: FilterShape, family: Option<Family>) -> Verdict {
        self.trial(shape, family)
            .map_or(Verdict::Unproven, |trial| trial.dump)
    }

    /// Whether flushes with a filter of this very shape are right.
    #[must_use]
    pub fn flush(&self, shape: FilterShape, family: Option<Family>) -> Verdict {
        self.trial(shape, family)
            .map_or(Verdict::Unproven, |trial| trial.flush)
    }
}

/// One line for each trial and each feature, for people:
/// `ipv6 family+orig_src: list inverted, done in user space; flush right`.
impl fmt::Display for KernelSupport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.why_not {
            writeln!(
                f,
                "nothing was tried, so all filters are checked in user space: {why}"
            )?;
        }
        for trial in &self.trials {
            if let Some(family) = trial.family {
                write!(f, "{family} ")?;
            }
            write!(f, "{}:", trial.shape)?;
            for (what, verdict) in [(" list", trial.dump), ("; flush", trial.flush)] {
                write!(f, "{what} {verdict}")?;
                if !verdict.is_right() {
                    f.write_str(" on this kernel, done in user space")?;
                }
            }
            writeln!(f)?;
        }
        let Features {
            zones,
            direction_zones,
            labels,
            nat,
            helpers,
            event_timestamps,
            extended_ack,
            strict_checking,
        } = self.features;
        for (what, known) in [
            ("zones", zones),
            ("zones of one direction", direction_zones),
            ("labels", labels),
            ("translation", nat),
            ("helpers", helpers),
            ("time stamps of events", event_timestamps),
            ("extended acknowledgements", extended_ack),
            ("strict checking", strict_checking),
        ] {
            let known = known.map_or("not known", |yes| if yes { "yes" } else { "no" });
            writeln!(f, "{what}: {known}")?;
        }
        Ok(())
    }
}
