//! What of a filter the kernel is asked to check, given what was proven of it. User space checks the
//! whole filter again in any case.

use std::cmp::Reverse;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Filter, PortRange, TimeoutRange, TupleFilter};
use crate::model::{Family, FilterShape, KernelFilter, KernelSupport, KernelTuple, Protocol};

/// A prefix of a single address.
fn single(net: Option<IpNet>) -> Option<IpAddr> {
    net.filter(|net| net.prefix_len() == net.max_prefix_len())
        .map(|net| net.addr())
}

fn family_of(net: IpNet) -> Family {
    Family::of(net.addr())
}

impl TupleFilter {
    fn kernel(&self, family: Family, protocol: Option<Protocol>) -> KernelTuple {
        // The kernel refuses an address of another family than the request's, where the answer is
        // that nothing matches.
        let address = |net| single(net).filter(|address| Family::of(*address) == family);
        // Of other protocols the kernel compares no ports (`ctnetlink_filter_match_tuple`).
        let ported = matches!(protocol, Some(Protocol::TCP | Protocol::UDP));
        let port = |range: Option<PortRange>| {
            range
                .filter(|range| ported && range.first() == range.last())
                .map(PortRange::first)
        };
        let (src_port, dst_port) = (port(self.src_port), port(self.dst_port));
        KernelTuple {
            src: address(self.src),
            dst: address(self.dst),
            protocol: protocol.filter(|_| src_port.is_some() || dst_port.is_some()),
            src_port,
            dst_port,
        }
    }

    /// The conditions that the kernel was given, and no others.
    fn only(kernel: &KernelTuple) -> Self {
        Self {
            src: kernel.src.map(IpNet::from),
            dst: kernel.dst.map(IpNet::from),
            src_port: kernel.src_port.map(PortRange::from),
            dst_port: kernel.dst_port.map(PortRange::from),
        }
    }

    fn families(&self) -> impl Iterator<Item = Family> {
        [self.src, self.dst].into_iter().flatten().map(family_of)
    }
}

impl Filter {
    /// All that a kernel can be asked about.
    pub(crate) fn kernel(&self) -> KernelFilter {
        let implied = || self.orig.families().chain(self.reply.families()).next();
        let family = self.family.or_else(implied);
        // Tuples are compared within a family.
        let (orig, reply) = family.map_or_else(Default::default, |family| {
            let orig = KernelTuple {
                protocol: self.protocol,
                ..self.orig.kernel(family, self.protocol)
            };
            (orig, self.reply.kernel(family, self.protocol))
        });
        KernelFilter {
            family,
            zone: self.zone,
            mark: self.mark.filter(|mark| mark.mask() != 0),
            status: self.status.filter(|(_, mask)| !mask.is_empty()),
            orig,
            reply,
        }
    }

    /// Whether every entry that has marks, status and a time-out, so nearly every entry of a
    /// kernel's, is meant: conditions that look at no bit, or at any time, are none.
    pub(crate) fn means_everything(&self) -> bool {
        let conditions = Self {
            mark: self.mark.filter(|mark| mark.mask() != 0),
            status: self.status.filter(|(_, mask)| !mask.is_empty()),
            labels: self.labels.filter(|(_, mask)| !mask.is_empty()),
            timeout: self.timeout.filter(|range| *range != TimeoutRange::ANY),
            ..self.clone()
        };
        conditions.is_empty()
    }

    /// Whether what the kernel can be asked about is the whole filter.
    fn is_all_of(&self, kernel: &KernelFilter) -> bool {
        // A condition that is not named here is not said to the kernel, so it makes a difference.
        let said = Self {
            family: self.family,
            zone: kernel.zone,
            mark: kernel.mark,
            status: kernel.status,
            protocol: kernel.orig.protocol,
            orig: TupleFilter::only(&kernel.orig),
            reply: TupleFilter::only(&kernel.reply),
            ..Self::default()
        };
        let families = self.orig.families().chain(self.reply.families());
        // A prefix of one address is the same however it is written.
        said.canonical() == self.canonical()
            && kernel.family.is_none_or(|family| {
                self.family.is_none_or(|own| own == family) && { families }
                    .all(|implied| implied == family)
            })
    }

    fn canonical(&self) -> Self {
        let trunc = |net: Option<IpNet>| net.map(|net| net.trunc());
        let tuple = |tuple: &TupleFilter| TupleFilter {
            src: trunc(tuple.src),
            dst: trunc(tuple.dst),
            ..tuple.clone()
        };
        Self {
            orig: tuple(&self.orig),
            reply: tuple(&self.reply),
            ..self.clone()
        }
    }

    /// The conditions for a list: of the shapes that the kernel was seen to do right, the one that
    /// leaves out most. Those that leave out less are not tried for it.
    pub(crate) fn for_dump(&self, support: &KernelSupport) -> Option<KernelFilter> {
        let kernel = self.kernel();
        let shape = kernel.shape();
        let mut parts = support.shapes();
        parts.retain(|(part, family)| {
            let named = part.contains(FilterShape::FAMILY);
            shape.contains(*part) && (!named || *family == kernel.family)
        });
        parts.sort_by_key(|(part, _)| Reverse(weight(*part)));
        let (best, _) = support.first_right_list(&parts)?;
        Some(kernel.restricted(best))
    }

    /// Whether some kernel could do all of it.
    pub(crate) fn is_for_kernel(&self) -> bool {
        let kernel = self.kernel();
        !kernel.shape().is_empty() && self.is_all_of(&kernel)
    }

    /// The conditions for a flush: only where the kernel was seen to do right by exactly this shape,
    /// and the shape is the whole filter.
    pub(crate) fn for_flush(&self, support: &KernelSupport) -> Option<KernelFilter> {
        let kernel = self.kernel();
        // What will not be asked for needs no trial.
        let right = || support.flush(kernel.shape(), kernel.family).is_right();
        (self.is_for_kernel() && right()).then_some(kernel)
    }
}

/// How much a condition may be expected to leave out.
fn weight(shape: FilterShape) -> u32 {
    [
        (FilterShape::FAMILY, 1),
        (FilterShape::ORIG_PROTOCOL, 1),
        (FilterShape::REPLY_PROTOCOL, 1),
        (FilterShape::STATUS, 2),
        (FilterShape::MARK_MASK, 3),
        (FilterShape::MARK, 4),
        (FilterShape::ZONE_0, 3),
        (FilterShape::ZONE, 6),
        (FilterShape::ORIG_SRC_PORT, 5),
        (FilterShape::ORIG_DST_PORT, 4),
        (FilterShape::REPLY_SRC_PORT, 4),
        (FilterShape::REPLY_DST_PORT, 5),
        (FilterShape::ORIG_SRC, 8),
        (FilterShape::ORIG_DST, 8),
        (FilterShape::REPLY_SRC, 8),
        (FilterShape::REPLY_DST, 8),
    ]
    .into_iter()
    .filter(|(part, _)| shape.contains(*part))
    .map(|(_, weight)| weight)
    .sum()
}

#[cfg(test)]
mod tests;
