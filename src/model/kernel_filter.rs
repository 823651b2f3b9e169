//! What a kernel can be asked to check of a filter.

use std::fmt;
use std::net::IpAddr;

use super::{Entry, Family, Mark, Protocol, Status, Tuple, Zone};

bitflags::bitflags! {
    /// Which conditions a request asks the kernel to check: its shape.
    ///
    /// A kernel is right or wrong about a shape as a whole: one that checks a zone alone may forget
    /// it beside an address.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct FilterShape: u32 {
        /// The address family.
        const FAMILY = 1;
        /// A zone other than 0.
        #[doc(alias = "CTA_ZONE")]
        const ZONE = 1 << 1;
        /// Zone 0, which some kernels take for no zone at all.
        const ZONE_0 = 1 << 2;
        /// The whole mark.
        #[doc(alias = "CTA_MARK")]
        const MARK = 1 << 3;
        /// Some bits of the mark.
        #[doc(alias = "CTA_MARK_MASK")]
        const MARK_MASK = 1 << 4;
        /// Some bits of the status.
        #[doc(alias = "CTA_STATUS_MASK")]
        const STATUS = 1 << 5;
        /// Source address of the original tuple.
        #[doc(alias = "CTA_FILTER_ORIG_FLAGS")]
        const ORIG_SRC = 1 << 6;
        /// Destination address of the original tuple.
        const ORIG_DST = 1 << 7;
        /// Protocol of the original tuple.
        const ORIG_PROTOCOL = 1 << 8;
        /// Source port of the original tuple.
        const ORIG_SRC_PORT = 1 << 9;
        /// Destination port of the original tuple.
        const ORIG_DST_PORT = 1 << 10;
        /// Source address of the reply tuple.
        #[doc(alias = "CTA_FILTER_REPLY_FLAGS")]
        const REPLY_SRC = 1 << 11;
        /// Destination address of the reply tuple.
        const REPLY_DST = 1 << 12;
        /// Protocol of the reply tuple.
        const REPLY_PROTOCOL = 1 << 13;
        /// Source port of the reply tuple.
        const REPLY_SRC_PORT = 1 << 14;
        /// Destination port of the reply tuple.
        const REPLY_DST_PORT = 1 << 15;
    }
}

impl FilterShape {
    /// All that is compared with a tuple (`CTA_FILTER`).
    pub(crate) const TUPLES: Self = Self::ORIG_SRC
        .union(Self::ORIG_DST)
        .union(Self::ORIG_PROTOCOL)
        .union(Self::ORIG_SRC_PORT)
        .union(Self::ORIG_DST_PORT)
        .union(Self::REPLY_SRC)
        .union(Self::REPLY_DST)
        .union(Self::REPLY_PROTOCOL)
        .union(Self::REPLY_SRC_PORT)
        .union(Self::REPLY_DST_PORT);
}

/// `family+orig_src`
impl fmt::Display for FilterShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut plus = "";
        for (name, _) in self.iter_names() {
            write!(f, "{plus}{}", name.to_lowercase())?;
            plus = "+";
        }
        Ok(())
    }
}

/// Conditions as a kernel can be asked to check them. Addresses and ports are single ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct KernelFilter {
    pub(crate) family: Option<Family>,
    pub(crate) zone: Option<Zone>,
    pub(crate) mark: Option<Mark>,
    pub(crate) status: Option<(Status, Status)>,
    pub(crate) orig: KernelTuple,
    pub(crate) reply: KernelTuple,
}

/// What it can check of a tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct KernelTuple {
    pub(crate) src: Option<IpAddr>,
    pub(crate) dst: Option<IpAddr>,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) src_port: Option<u16>,
    pub(crate) dst_port: Option<u16>,
}

impl KernelTuple {
    fn matches(&self, tuple: &Tuple) -> bool {
        fn same<T: PartialEq + Copy>(wanted: Option<T>, has: Option<T>) -> bool {
            wanted.is_none() || wanted == has
        }
        same(self.src, Some(tuple.src()))
            && same(self.dst, Some(tuple.dst()))
            && same(self.protocol, Some(tuple.protocol()))
            && same(self.src_port, tuple.src_port())
            && same(self.dst_port, tuple.dst_port())
    }

    /// Of the original tuple.
    fn shape(&self) -> FilterShape {
        let mut shape = FilterShape::empty();
        shape.set(FilterShape::ORIG_SRC, self.src.is_some());
        shape.set(FilterShape::ORIG_DST, self.dst.is_some());
        shape.set(FilterShape::ORIG_PROTOCOL, self.protocol.is_some());
        shape.set(FilterShape::ORIG_SRC_PORT, self.src_port.is_some());
        shape.set(FilterShape::ORIG_DST_PORT, self.dst_port.is_some());
        shape
    }

    fn restricted(&self, shape: FilterShape) -> Self {
        fn keep<T>(value: Option<T>, keep: bool) -> Option<T> {
            value.filter(|_| keep)
        }
        Self {
            src: keep(self.src, shape.contains(FilterShape::ORIG_SRC)),
            dst: keep(self.dst, shape.contains(FilterShape::ORIG_DST)),
            protocol: keep(self.protocol, shape.contains(FilterShape::ORIG_PROTOCOL)),
            src_port: keep(self.src_port, shape.contains(FilterShape::ORIG_SRC_PORT)),
            dst_port: keep(self.dst_port, shape.contains(FilterShape::ORIG_DST_PORT)),
        }
    }
}

/// How far the bits of the reply tuple are from those of the original.
const REPLY_SHIFT: u32 = 5;

fn as_reply(shape: FilterShape) -> FilterShape {
    FilterShape::from_bits_truncate(shape.bits() << REPLY_SHIFT)
}

fn from_reply(shape: FilterShape) -> FilterShape {
    FilterShape::from_bits_truncate(shape.bits() >> REPLY_SHIFT)
}

impl KernelFilter {
    /// Which conditions there are.
    pub(crate) fn shape(&self) -> FilterShape {
        let mut shape = self.orig.shape() | as_reply(self.reply.shape());
        shape.set(FilterShape::FAMILY, self.family.is_some());
        if let Some(zone) = self.zone {
            shape |= if zone.is_default() {
                FilterShape::ZONE_0
            } else {
                FilterShape::ZONE
            };
        }
        if let Some(mark) = self.mark {
            shape |= if mark.mask() == u32::MAX {
                FilterShape::MARK
            } else {
                FilterShape::MARK_MASK
            };
        }
        shape.set(FilterShape::STATUS, self.status.is_some());
        shape
    }

    /// The conditions of a shape alone.
    pub(crate) fn restricted(&self, shape: FilterShape) -> Self {
        let has = |any: FilterShape| shape.intersects(any);
        Self {
            family: self.family.filter(|_| has(FilterShape::FAMILY)),
            zone: self
                .zone
                .filter(|_| has(FilterShape::ZONE | FilterShape::ZONE_0)),
            mark: self
                .mark
                .filter(|_| has(FilterShape::MARK | FilterShape::MARK_MASK)),
            status: self.status.filter(|_| has(FilterShape::STATUS)),
            orig: self.orig.restricted(shape),
            reply: self.reply.restricted(from_reply(shape)),
        }
    }

    /// What a kernel should find: the measure of its trials.
    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        self.family.is_none_or(|family| entry.family() == family)
            && self.zone.is_none_or(|zone| entry.zone().zone() == zone)
            && self
                .mark
                .is_none_or(|mark| entry.mark().is_some_and(|value| mark.matches(value)))
            && self.status.is_none_or(|(status, mask)| {
                entry
                    .status()
                    .is_some_and(|value| value.intersection(mask) == status)
            })
            && self.orig.matches(entry.orig())
            && self.reply.matches(entry.reply())
    }
}
