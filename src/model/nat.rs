//! Address translation that a new entry asks for.

use std::net::IpAddr;

use super::{Family, Tuple};
use crate::error::{Error, Result};

/// The addresses, and the ports if any, that a translation may choose from.
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

    /// With ports from `first` to `last`, both included.
    ///
    /// # Errors
    /// When `first` is greater than `last`.
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

    /// Refused for a flow of another family.
    pub(crate) fn check(&self, orig: &Tuple) -> Result<()> {
        if Family::of(self.first) != orig.family() {
            return Err(Error::invalid(
                "NAT range",
                self.first.to_string(),
                "of another family than the flow",
                "addresses of the flow's family",
            ));
        }
        Ok(())
    }
}
