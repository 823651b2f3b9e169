//! Address families and layer 4 protocols, as open numbers with names.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::error::{Error, Result};

/// An address family that connection tracking knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4 (`NFPROTO_IPV4`, 2).
    Ipv4,
    /// IPv6 (`NFPROTO_IPV6`, 10).
    Ipv6,
}

impl Family {
    /// The family of an address. An IPv4-mapped IPv6 address is IPv6: the kernel tracks packets,
    /// and no packet on the wire carries one.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    /// `NFPROTO_*`
    pub(crate) const fn number(self) -> u16 {
        match self {
            Self::Ipv4 => 2,
            Self::Ipv6 => 10,
        }
    }

    pub(crate) const fn from_number(number: u16) -> Option<Self> {
        match number {
            2 => Some(Self::Ipv4),
            10 => Some(Self::Ipv6),
            _ => None,
        }
    }
}

/// `ipv4` or `ipv6`, as conntrack(8) has them.
impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        })
    }
}

impl FromStr for Family {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "ipv4" | "inet" => Ok(Self::Ipv4),
            "ipv6" | "inet6" => Ok(Self::Ipv6),
            _ => Err(Error::invalid(
                "address family",
                text,
                "not a family that connection tracking knows",
                "\"ipv4\" or \"ipv6\"",
            )),
        }
    }
}

/// A layer 4 protocol by its IP protocol number. Any number is one; those with a name here are
/// those that connection tracking has something to say about.
///
/// ```
/// use ctnetlink::Protocol;
///
/// assert_eq!("tcp".parse::<Protocol>()?, Protocol::TCP);
/// assert_eq!("50".parse::<Protocol>()?, Protocol::new(50));
/// assert_eq!(Protocol::UDPLITE.to_string(), "udplite");
/// assert_eq!(Protocol::new(50).to_string(), "50");
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[doc(alias = "CTA_PROTO_NUM")]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(u8);

impl Protocol {
    /// 1
    pub const ICMP: Self = Self(1);
    /// 6
    pub const TCP: Self = Self(6);
    /// 17
    pub const UDP: Self = Self(17);
    /// 33. Kernels from 6.17 on do not track it any more: entries have no ports there.
    pub const DCCP: Self = Self(33);
    /// 47
    pub const GRE: Self = Self(47);
    /// 58
    pub const ICMPV6: Self = Self(58);
    /// 132
    pub const SCTP: Self = Self(132);
    /// 136
    pub const UDPLITE: Self = Self(136);

    /// By its number.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The name that conntrack(8) prints, or `None` where it prints `unknown`.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::ICMP => "icmp",
            Self::TCP => "tcp",
            Self::UDP => "udp",
            Self::DCCP => "dccp",
            Self::GRE => "gre",
            Self::ICMPV6 => "icmpv6",
            Self::SCTP => "sctp",
            Self::UDPLITE => "udplite",
            _ => return None,
        })
    }
}

impl From<u8> for Protocol {
    fn from(number: u8) -> Self {
        Self(number)
    }
}

impl From<Protocol> for u8 {
    fn from(protocol: Protocol) -> Self {
        protocol.0
    }
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Protocol({self})")
    }
}

/// The name, or the number where there is none.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        const NAMED: [Protocol; 8] = [
            Protocol::ICMP,
            Protocol::TCP,
            Protocol::UDP,
            Protocol::DCCP,
            Protocol::GRE,
            Protocol::ICMPV6,
            Protocol::SCTP,
            Protocol::UDPLITE,
        ];
        if let Some(named) = NAMED.into_iter().find(|p| p.name() == Some(text)) {
            return Ok(named);
        }
        super::digits(text, 10).map(Self).ok_or_else(|| {
            Error::invalid(
                "protocol",
                text,
                "neither a known name nor a protocol number",
                "tcp, udp, udplite, icmp, icmpv6, sctp, dccp, gre, or a number from 0 to 255",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_survives_its_text() {
        for number in 0..=u8::MAX {
            let protocol = Protocol::new(number);
            assert_eq!(protocol.to_string().parse::<Protocol>().unwrap(), protocol);
        }
        assert!("256".parse::<Protocol>().is_err());
        assert!("ospf".parse::<Protocol>().is_err());
        assert!("".parse::<Protocol>().is_err());
    }

    #[test]
    fn families_have_two_spellings() {
        assert_eq!("inet6".parse::<Family>().unwrap(), Family::Ipv6);
        assert_eq!(
            Family::Ipv4.to_string().parse::<Family>().unwrap(),
            Family::Ipv4
        );
        assert!("arp".parse::<Family>().is_err());
    }
}
