//! Address translation that a new entry asks for.

use std::net::IpAddr;

use super::{Entry, Family, Layer4, Status, Tuple};
use crate::error::{Error, Result};

/// Translation that is asked for. The kernel reports what came of it in the reply tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Nat {
    pub(crate) src: Option<NatRange>,
    pub(crate) dst: Option<NatRange>,
}

impl Nat {
    /// What makes the reply tuple of a reported entry again, and the tuple of answers that it starts
    /// from.
    ///
    /// The kernel takes a flow for translated where translation changes the tuples that it was given
    /// (`nf_nat_setup_info`), so those say nothing of it. A range of one address and one port is taken
    /// as it is, whether it is free or not; a taken tuple then fails the creation. Both ends are
    /// said, as the kernel chooses freely for one that is not. Keys of GRE are never changed by a
    /// range, so they are there from the start.
    pub(super) fn again(entry: &Entry) -> (Tuple, Self) {
        let status = entry.status.unwrap_or_default();
        if !status.intersects(Status::SRC_NAT | Status::DST_NAT)
            // What is damaged is refused as it is.
            || entry.reply.protocol() != entry.orig.protocol()
        {
            return (entry.reply, Self::default());
        }
        let mut start = entry.orig.reply();
        if let Layer4::Gre(_) = entry.reply.layer4 {
            start.layer4 = entry.reply.layer4;
        }
        // The destination comes first, and an identifier is that of both.
        let both = |id| (status.contains(Status::DST_NAT).then_some(id), Some(id));
        let (src, dst) = match entry.reply.layer4 {
            Layer4::Icmp(key) => both(key.id),
            Layer4::Icmpv6(key) => both(key.id),
            layer4 => {
                let ports = layer4.ports();
                (ports.map(|ports| ports.src), ports.map(|ports| ports.dst))
            }
        };
        let exactly = |address, port: Option<u16>| NatRange {
            ports: port.map(|port| (port, port)),
            ..NatRange::address(address)
        };
        let nat = Self {
            src: Some(exactly(entry.reply.dst(), dst)),
            dst: Some(exactly(entry.reply.src(), src)),
        };
        (start, nat)
    }
}

/// The addresses, and the ports if any, that a translation may choose from.
///
/// Of several the kernel chooses one that is free, as far as it looks for one. Of one address and
/// one port there is nothing to choose: where that makes a tuple that is taken, creation fails with
/// [`Error::is_exists`](crate::Error::is_exists). Without ports the kernel keeps the port if it is
/// free; else it chooses another source port, while a destination port stays in any case.
///
/// ```
/// use ctnetlink::NatRange;
///
/// let one = NatRange::address("203.0.113.9".parse().unwrap());
/// let some = NatRange::addresses("203.0.113.1".parse().unwrap(), "203.0.113.9".parse().unwrap())?
///     .ports(1024, 65535)?;
/// assert!(NatRange::addresses("203.0.113.9".parse().unwrap(), "::1".parse().unwrap()).is_err());
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[doc(alias = "CTA_NAT_SRC")]
#[doc(alias = "CTA_NAT_DST")]
#[doc(alias = "CTA_NAT_V4_MINIP")]
#[doc(alias = "CTA_NAT_V4_MAXIP")]
#[doc(alias = "CTA_NAT_V6_MINIP")]
#[doc(alias = "CTA_NAT_V6_MAXIP")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NatRange {
    pub(crate) first: IpAddr,
    pub(crate) last: IpAddr,
    pub(crate) ports: Option<(u16, u16)>,
}

impl NatRange {
    /// One address.
    #[must_use]
    pub const fn address(address: IpAddr) -> Self {
        Self {
            first: address,
            last: address,
            ports: None,
        }
    }

    /// From `first` to `last`, both included.
    ///
    /// # Errors
    /// For addresses of two families, and when `first` is greater than `last`.
    pub fn addresses(first: IpAddr, last: IpAddr) -> Result<Self> {
        if Family::of(first) != Family::of(last) || first > last {
            return Err(Error::invalid(
                "NAT range",
                format!("{first}-{last}"),
                "not a range of addresses",
                "FIRST to LAST of one family, both included",
            ));
        }
        Ok(Self {
            first,
            last,
            ports: None,
        })
    }

    /// With ports from `first` to `last`, both included; of ICMP with identifiers.
    ///
    /// Of other protocols than ICMP and those with ports the kernel changes nothing but addresses, so
    /// [`EntryBuilder::build`](super::EntryBuilder::build) refuses them there.
    ///
    /// # Errors
    /// When `first` is greater than `last`.
    #[doc(alias = "CTA_NAT_PROTO")]
    #[doc(alias = "CTA_PROTONAT_PORT_MIN")]
    #[doc(alias = "CTA_PROTONAT_PORT_MAX")]
    pub fn ports(mut self, first: u16, last: u16) -> Result<Self> {
        if first > last {
            return Err(Error::invalid(
                "NAT ports",
                format!("{first}-{last}"),
                "the first port is greater than the last",
                "FIRST to LAST, both included",
            ));
        }
        self.ports = Some((first, last));
        Ok(self)
    }

    /// The first address.
    #[must_use]
    pub const fn first(&self) -> IpAddr {
        self.first
    }

    /// The last address.
    #[must_use]
    pub const fn last(&self) -> IpAddr {
        self.last
    }

    /// The first and the last port, if ports are part of it.
    #[must_use]
    pub const fn port_range(&self) -> Option<(u16, u16)> {
        self.ports
    }

    /// Refused for a flow of another family, and ports where the kernel would pass over them
    /// (`nf_nat_l4proto_unique_tuple`: GRE's keys are those of a flow with a master, which a new entry
    /// has only after its translation).
    pub(crate) fn check(&self, orig: &Tuple) -> Result<()> {
        if Family::of(self.first) != orig.family() {
            return Err(Error::invalid(
                "NAT range",
                self.first.to_string(),
                "of another family than the flow",
                "addresses of the flow's family",
            ));
        }
        if let (Some((first, last)), Layer4::Gre(_) | Layer4::Other(_)) = (self.ports, orig.layer4)
        {
            return Err(Error::invalid(
                "NAT ports",
                format!("{first}-{last} of {}", orig.protocol()),
                "the kernel translates none of this protocol",
                "addresses alone",
            ));
        }
        Ok(())
    }
}
