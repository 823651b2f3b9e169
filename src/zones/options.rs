//! How an allocator is to work.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use super::ZoneAllocator;
use crate::conntrack::Conntrack;
use crate::error::{Error, Result};
use crate::model::{Instance, Zone, seconds};

/// Ranges and zones that are in use elsewhere, to choose a range beside them.
pub mod ranges {
    use std::ops::RangeInclusive;

    /// Neutron's firewall drivers: a zone for each port. The default range of an allocator.
    pub const NEUTRON: RangeInclusive<u16> = 4097..=65_535;
    /// What OVN takes where `ct-zone-range` does not say less: all but zone 0.
    pub const OVN: RangeInclusive<u16> = 1..=65_535;
    /// OVN-Kubernetes gateways: fixed zones from 64000 on.
    pub const OVN_KUBERNETES: RangeInclusive<u16> = 64_000..=65_535;
    /// Istio's redirection of DNS: zones 1 and 2.
    pub const ISTIO: RangeInclusive<u16> = 1..=2;
    /// Antrea: 65520 for IPv4, 65510 for IPv6, and others around them.
    pub const ANTREA: RangeInclusive<u16> = 65_510..=65_521;
}

/// Which of the free zones is taken first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ZoneOrder {
    /// The one that has been free longest, as far as this allocator knows: first those that it never
    /// released, the lowest first, then the others in the order of their release. So a zone rests
    /// before it is used again.
    #[default]
    LongestFree,
    /// The lowest.
    Lowest,
    /// Upwards from a place in the range that the seed decides, and around. Allocators with different
    /// seeds seldom try the same zone.
    Seeded(u64),
}

/// What to do with a free zone in which there are entries of somebody unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Foreign {
    /// Leave it to them, and take another zone.
    #[default]
    Skip,
    /// Delete them: for those who know that the range is theirs alone.
    Flush,
}

/// Somebody else who may say that a zone is in use: an orchestrator's own map, say. It is asked
/// before zones are chosen.
pub trait ZoneSource: Send + Sync {
    /// How it is called where it is the reason that a zone is not free.
    fn name(&self) -> &str;

    /// The zones that it names.
    ///
    /// # Errors
    /// Where it cannot say: then no zone counts as free.
    fn zones(&self) -> std::result::Result<Vec<Zone>, Box<dyn std::error::Error + Send + Sync>>;
}

#[derive(Clone)]
pub(super) struct Options {
    pub(super) range: RangeInclusive<Zone>,
    pub(super) reserved: BTreeSet<Zone>,
    pub(super) order: ZoneOrder,
    pub(super) foreign: Foreign,
    pub(super) ttl: Duration,
    pub(super) grace: Duration,
    pub(super) patience: Duration,
    pub(super) quarantine: Duration,
    pub(super) verify: u32,
    pub(super) release_on_drop: bool,
    pub(super) sources: Vec<Arc<dyn ZoneSource>>,
}

/// How to make a [`ZoneAllocator`].
#[must_use = "nothing is made until `open` is called"]
pub struct ZoneAllocatorBuilder {
    range: (Bound<u16>, Bound<u16>),
    options: Options,
    instance: Option<Instance>,
}

impl Default for ZoneAllocatorBuilder {
    fn default() -> Self {
        Self {
            range: (
                Bound::Included(*ranges::NEUTRON.start()),
                Bound::Included(*ranges::NEUTRON.end()),
            ),
            options: Options {
                range: Zone::MAX..=Zone::MAX,
                reserved: BTreeSet::new(),
                order: ZoneOrder::default(),
                foreign: Foreign::default(),
                ttl: Self::TTL,
                grace: Self::GRACE,
                patience: Self::PATIENCE,
                quarantine: Self::QUARANTINE,
                verify: Self::VERIFY,
                release_on_drop: false,
                sources: Vec::new(),
            },
            instance: None,
        }
    }
}

impl ZoneAllocatorBuilder {
    /// The default of [`ZoneAllocatorBuilder::ttl`].
    pub const TTL: Duration = Duration::from_secs(300);
    /// The default of [`ZoneAllocatorBuilder::grace`].
    pub const GRACE: Duration = Duration::from_secs(30);
    /// The default of [`ZoneAllocatorBuilder::patience`].
    pub const PATIENCE: Duration = Duration::from_secs(60);
    /// The default of [`ZoneAllocatorBuilder::quarantine`].
    pub const QUARANTINE: Duration = Duration::from_secs(300);
    /// The default of [`ZoneAllocatorBuilder::verify`].
    pub const VERIFY: u32 = 3;

    /// The zones that may be handed out. The default is [`ranges::NEUTRON`]. Zone 0 is never handed
    /// out.
    pub fn range(mut self, range: impl RangeBounds<u16>) -> Self {
        self.range = (range.start_bound().cloned(), range.end_bound().cloned());
        self
    }

    /// Zones that are not handed out, whatever the kernel says of them.
    pub fn reserve(mut self, zones: impl IntoIterator<Item = Zone>) -> Self {
        self.options.reserved.extend(zones);
        self
    }

    /// Which of the free zones is taken first. The default is [`ZoneOrder::LongestFree`].
    pub fn order(mut self, order: ZoneOrder) -> Self {
        self.options.order = order;
        self
    }

    /// What to do with a free zone that has entries. The default is [`Foreign::Skip`].
    pub fn foreign(mut self, foreign: Foreign) -> Self {
        self.options.foreign = foreign;
        self
    }

    /// How long a lease lasts if it is not renewed: whole seconds, 2 to 2147483. The default is
    /// [`ZoneAllocatorBuilder::TTL`].
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.options.ttl = ttl;
        self
    }

    /// How long the claims last that are needed only while a zone is being acquired or taken over:
    /// whole seconds, 2 to 2147483. A process that is killed in that moment blocks its key, and
    /// perhaps a zone, for so long. It must be longer than a walk of the whole table takes. The
    /// default is [`ZoneAllocatorBuilder::GRACE`].
    pub fn grace(mut self, grace: Duration) -> Self {
        self.options.grace = grace;
        self
    }

    /// The longest wait for another process that is acquiring a zone for the same key. The default is
    /// [`ZoneAllocatorBuilder::PATIENCE`].
    pub fn patience(mut self, patience: Duration) -> Self {
        self.options.patience = patience;
        self
    }

    /// How long a zone is set aside in which entries come back after its release: whole seconds. The
    /// default is [`ZoneAllocatorBuilder::QUARANTINE`].
    pub fn quarantine(mut self, quarantine: Duration) -> Self {
        self.options.quarantine = quarantine;
        self
    }

    /// How often a zone is looked at again when it is flushed, until nothing is left in it. The
    /// default is [`ZoneAllocatorBuilder::VERIFY`].
    pub fn verify(mut self, passes: u32) -> Self {
        self.options.verify = passes;
        self
    }

    /// Whether a lease that is dropped releases its zone, which flushes it. By default it is left to
    /// end by itself, as after a crash, and the same key gets it again until then.
    pub fn release_on_drop(mut self, release: bool) -> Self {
        self.options.release_on_drop = release;
        self
    }

    /// Somebody else to ask which zones are in use. Can be called again for more.
    pub fn source(mut self, source: impl ZoneSource + 'static) -> Self {
        self.options.sources.push(Arc::new(source));
        self
    }

    /// The instance that claims are made for. By default a random one, so that each allocator fences
    /// off its predecessors.
    pub fn instance(mut self, instance: Instance) -> Self {
        self.instance = Some(instance);
        self
    }

    /// The allocator, for the namespace of this handle.
    ///
    /// # Errors
    /// For a range without a zone in it, and times that cannot be.
    pub fn open(self, ct: &Conntrack) -> Result<ZoneAllocator> {
        let mut options = self.options;
        options.range = zones(self.range)?;
        for (what, time) in [
            ("time to live of a lease", options.ttl),
            ("grace", options.grace),
            ("quarantine", options.quarantine),
        ] {
            if seconds(time)? < 2 {
                return Err(Error::invalid(
                    what,
                    format!("{time:?}"),
                    "too short",
                    "whole seconds from 2 to 2147483",
                ));
            }
        }
        let instance = self.instance.unwrap_or_else(Instance::random);
        Ok(ZoneAllocator::new(ct.clone(), options, instance))
    }
}

impl fmt::Debug for ZoneAllocatorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZoneAllocatorBuilder")
            .field("range", &self.range)
            .field("ttl", &self.options.ttl)
            .finish_non_exhaustive()
    }
}

/// The zones of a range: never zone 0, and at least one.
pub(super) fn zones(range: (Bound<u16>, Bound<u16>)) -> Result<RangeInclusive<Zone>> {
    let first = match range.0 {
        Bound::Included(first) => Some(first),
        Bound::Excluded(before) => before.checked_add(1),
        Bound::Unbounded => Some(1),
    };
    let last = match range.1 {
        Bound::Included(last) => Some(last),
        Bound::Excluded(after) => after.checked_sub(1),
        Bound::Unbounded => Some(u16::MAX),
    };
    match (first.map(|first| first.max(1)), last) {
        (Some(first), Some(last)) if first <= last => Ok(Zone::new(first)..=Zone::new(last)),
        _ => Err(Error::invalid(
            "range of zones",
            format!("{range:?}"),
            "there is no zone in it",
            "a range of the zones 1 to 65535; zone 0 is never handed out",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: impl RangeBounds<u16>) -> Result<(u16, u16)> {
        let zones = zones((range.start_bound().cloned(), range.end_bound().cloned()))?;
        Ok((zones.start().get(), zones.end().get()))
    }

    #[test]
    fn a_range_has_a_zone_and_never_zone_0() {
        assert_eq!(of(4097..=65_535).unwrap(), (4097, 65_535));
        assert_eq!(of(..).unwrap(), (1, 65_535));
        assert_eq!(of(0..10).unwrap(), (1, 9));
        assert_eq!(of(7..=7).unwrap(), (7, 7));
        assert_eq!(
            of((Bound::Excluded(7), Bound::Unbounded)).unwrap(),
            (8, 65_535)
        );
        let backwards = (Bound::Included(8), Bound::Included(7));
        for empty in [of(7..7), of(0..1), of(0..=0), of(..0), of(backwards)] {
            assert!(empty.unwrap_err().is_invalid_input());
        }
        assert!(of((Bound::Excluded(u16::MAX), Bound::Unbounded)).is_err());
    }
}
