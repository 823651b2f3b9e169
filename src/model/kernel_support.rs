//! What was proven of the running kernel.

use std::fmt;
use std::hash::{Hash, Hasher};

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

impl Trial {
    pub(crate) fn asked(&self) -> Asked {
        (self.shape, self.family)
    }
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

/// A shape, and the family that a request of it names, if it does.
pub(crate) type Asked = (FilterShape, Option<Family>);

/// Every shape that is ever asked of a kernel.
pub(crate) fn shapes() -> impl Iterator<Item = Asked> {
    use FilterShape as S;
    let plain = [
        S::ZONE,
        S::ZONE_0,
        S::MARK,
        S::MARK_MASK,
        S::STATUS,
        S::ZONE | S::MARK,
        S::ZONE | S::STATUS,
    ];
    let of_family = [
        S::FAMILY,
        S::FAMILY | S::ZONE,
        S::FAMILY | S::ORIG_SRC,
        S::FAMILY | S::ORIG_DST,
        S::FAMILY | S::REPLY_SRC,
        S::FAMILY | S::REPLY_DST,
        S::FAMILY | S::ORIG_PROTOCOL,
        S::FAMILY | S::ORIG_PROTOCOL | S::ORIG_SRC_PORT,
        S::FAMILY | S::ORIG_PROTOCOL | S::ORIG_DST_PORT,
        S::FAMILY | S::ORIG_PROTOCOL | S::REPLY_PROTOCOL | S::REPLY_SRC_PORT,
        S::FAMILY | S::ORIG_PROTOCOL | S::REPLY_PROTOCOL | S::REPLY_DST_PORT,
        S::FAMILY | S::ZONE | S::ORIG_SRC,
        S::FAMILY | S::ORIG_SRC | S::ORIG_PROTOCOL | S::ORIG_DST_PORT,
    ];
    let families = [Family::Ipv4, Family::Ipv6].into_iter();
    let of_families = families.flat_map(move |family| of_family.map(|shape| (shape, Some(family))));
    plain
        .map(|shape| (shape, None))
        .into_iter()
        .chain(of_families)
}

/// What a filter is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    List,
    Flush,
}

/// Makes the trials of the running kernel when they are first asked for, each once.
pub(crate) trait Tester: fmt::Debug + Sync {
    /// The first of these that the kernel does right. Those behind it need no trial.
    fn first_right(&self, task: Use, shapes: &[Asked]) -> Option<Asked>;
    fn verdict(&self, task: Use, asked: Asked) -> Verdict;
    /// Of every shape.
    fn all(&self) -> &[Trial];
    /// What else the kernel can do.
    fn features(&self) -> Features;
}

/// Of the trials: what they try and how they judge. Higher whenever a verdict may come out otherwise,
/// so that what an earlier version of the library stored is not believed.
pub(crate) const EDITION: u32 = 1;

/// A boot of a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Boot {
    /// `kernel.osrelease`
    pub(crate) release: String,
    /// `kernel.random.boot_id`
    pub(crate) id: String,
}

/// What is proven of the running kernel, by trying it out where a wrong answer costs nothing.
///
/// Kernels get some of their own filters wrong, differently by version, and no version number tells:
/// a filtered flush may remove everything, or just what it should spare. So nothing is asked of a
/// kernel that was not seen to do it right. [`KernelSupport::probe`] tries; what was not tried
/// counts as broken, and is done in user space.
///
/// What a probe gives makes the trial of a shape when the shape is first asked for, once in the life
/// of the process: a walk of the kernel's hash table for each of them takes longer, all in all, than
/// most programs will want to wait. [`KernelSupport::trials`], and writing it as text or as JSON,
/// makes those that are missing. What else the kernel can do is found out when
/// [`KernelSupport::features`] is asked for, or when it is written.
///
/// Trials load no modules of the kernel but those that any use of this library loads
/// (`nf_conntrack_netlink` and what it needs); features may load others.
///
/// ```
/// use ctnetlink::{FilterShape, KernelSupport};
///
/// let nothing = KernelSupport::unproven();
/// assert!(!nothing.flush(FilterShape::ZONE, None).is_right());
/// ```
#[derive(Debug, Clone, Default)]
pub struct KernelSupport {
    /// None where there is a tester.
    pub(crate) trials: Vec<Trial>,
    pub(crate) tester: Option<&'static dyn Tester>,
    /// Known where there is no tester.
    pub(crate) features: Features,
    /// Of the trials that it comes from.
    pub(crate) edition: Option<u32>,
    pub(crate) boot: Option<Boot>,
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

    /// Every trial. Those that were not made yet are made now.
    #[must_use]
    pub fn trials(&self) -> &[Trial] {
        self.tester.map_or(&self.trials, Tester::all)
    }

    /// What else the kernel can do. If it is not known yet, it is tried, in a namespace of its own:
    /// with entries that have a translation and the helper `ftp`, so that a kernel that has these as
    /// modules loads them, for the whole host. Nothing else here does that, but writing it as text or
    /// as JSON.
    #[must_use]
    pub fn features(&self) -> Features {
        self.tester.map_or(self.features, Tester::features)
    }

    /// The release of the kernel that was tried (`uname -r`), if it is known.
    #[must_use]
    pub fn release(&self) -> Option<&str> {
        self.boot.as_ref().map(|boot| &*boot.release)
    }

    /// Why nothing could be tried, if so: no right to make a network namespace, for example.
    #[must_use]
    pub fn why_not(&self) -> Option<&str> {
        self.why_not.as_deref()
    }

    /// All that needs no trial.
    fn stands_for(&self) -> (&Option<Boot>, Option<u32>, &Option<String>) {
        (&self.boot, self.edition, &self.why_not)
    }

    /// Of which shapes there are trials, or can be.
    pub(crate) fn shapes(&self) -> Vec<Asked> {
        match self.tester {
            Some(_) => shapes().collect(),
            None => self.trials.iter().map(Trial::asked).collect(),
        }
    }

    /// The first of these shapes that lists are right with.
    pub(crate) fn first_right_list(&self, shapes: &[Asked]) -> Option<Asked> {
        match self.tester {
            Some(tester) => tester.first_right(Use::List, shapes),
            None => shapes
                .iter()
                .copied()
                .find(|(shape, family)| self.dump(*shape, *family).is_right()),
        }
    }

    fn verdict(&self, task: Use, asked: Asked) -> Verdict {
        if let Some(tester) = self.tester {
            return tester.verdict(task, asked);
        }
        let trial = self.trials.iter().find(|trial| trial.asked() == asked);
        trial.map_or(Verdict::Unproven, |trial| match task {
            Use::List => trial.dump,
            Use::Flush => trial.flush,
        })
    }

    /// Whether lists with a filter of this very shape are right. `family`: the one that the request
    /// names, if it does. If it is not known yet, it is tried.
    #[must_use]
    pub fn dump(&self, shape: FilterShape, family: Option<Family>) -> Verdict {
        self.verdict(Use::List, (shape, family))
    }

    /// Whether flushes with a filter of this very shape are right. If it is not known yet, it is
    /// tried.
    #[must_use]
    pub fn flush(&self, shape: FilterShape, family: Option<Family>) -> Verdict {
        self.verdict(Use::Flush, (shape, family))
    }
}

/// Equal are those that prove the same. Of two different ones all that is missing is tried.
impl PartialEq for KernelSupport {
    fn eq(&self, other: &Self) -> bool {
        let same = self.stands_for() == other.stands_for();
        // There is one tester in a process.
        let tested = self.tester.is_some() && other.tester.is_some();
        let found = |support: &Self| (support.features(), support.trials().to_vec());
        same && (tested || found(self) == found(other))
    }
}

impl Eq for KernelSupport {}

impl Hash for KernelSupport {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Without what may have to be tried.
        self.stands_for().hash(state);
    }
}

/// One line for each trial and each feature, for people, after all trials were made:
/// `ipv6 family+orig_src: list inverted on this kernel, done in user space; flush right`.
impl fmt::Display for KernelSupport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.why_not {
            writeln!(
                f,
                "nothing was tried, so all filters are checked in user space: {why}"
            )?;
        }
        for trial in self.trials() {
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
        } = self.features();
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
