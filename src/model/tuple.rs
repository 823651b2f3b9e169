//! Tuples: what identifies the packets of one direction of a flow.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Family, Protocol};
use crate::error::{Error, Result};

/// The packets of one direction: addresses, protocol, and what the protocol adds.
///
/// Both addresses are of one family; ICMP goes with IPv4 and `ICMPv6` with IPv6. Nothing else can be
/// built. What a tuple does not hold is not part of the kernel's look-up either: the scope of a
/// link-local address and the flow label of an IPv6 socket address are left out.
///
/// ```
/// use ctnetlink::{Icmp, Tuple};
///
/// let syn = Tuple::tcp("10.0.0.1:40000".parse().unwrap(), "10.0.0.2:443".parse().unwrap())?;
/// assert_eq!(syn.reply().src_port(), Some(443));
///
/// let ping = Tuple::icmp([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), Icmp::echo_request(7));
/// assert_eq!(ping.reply().icmp_fields(), Some((0, 0, 7))); // an echo reply
///
/// let mixed = Tuple::udp("10.0.0.1:53".parse().unwrap(), "[fe80::1]:53".parse().unwrap());
/// assert!(mixed.unwrap_err().is_invalid_input());
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[doc(alias = "CTA_TUPLE_ORIG")]
#[doc(alias = "CTA_TUPLE_REPLY")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    pub(crate) addresses: Addresses,
    pub(crate) layer4: Layer4,
}

/// Both addresses of a tuple, so that mixed families cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Addresses {
    V4 { src: Ipv4Addr, dst: Ipv4Addr },
    V6 { src: Ipv6Addr, dst: Ipv6Addr },
}

impl Addresses {
    /// `None` for addresses of two families.
    pub(crate) const fn new(src: IpAddr, dst: IpAddr) -> Option<Self> {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Some(Self::V4 { src, dst }),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Some(Self::V6 { src, dst }),
            _ => None,
        }
    }
}

/// The protocol of a tuple, and what it adds to the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layer4 {
    /// TCP
    Tcp(Ports),
    /// UDP
    Udp(Ports),
    /// UDP-Lite (RFC 3828)
    UdpLite(Ports),
    /// SCTP (RFC 9260)
    Sctp(Ports),
    /// DCCP (RFC 4340)
    Dccp(Ports),
    /// ICMP
    Icmp(Icmp),
    /// `ICMPv6`
    Icmpv6(Icmpv6),
    /// GRE (RFC 2637 keys)
    Gre(GreKeys),
    /// Any other protocol: the addresses alone identify the flow. A protocol of those above comes
    /// from a kernel that does not track its ports.
    Other(Protocol),
}

/// Source and destination port.
#[doc(alias = "CTA_PROTO_SRC_PORT")]
#[doc(alias = "CTA_PROTO_DST_PORT")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ports {
    /// Source port.
    pub src: u16,
    /// Destination port.
    pub dst: u16,
}

/// GRE keys: the call IDs of enhanced GRE (PPTP), 16 bits each as the kernel keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GreKeys {
    /// Key of packets from the source.
    pub src: u16,
    /// Key of packets from the destination.
    pub dst: u16,
}

macro_rules! icmp_key {
    ($(#[$doc:meta])* $name:ident, $echo:literal, $what:literal, $expected:literal, [$(($a:literal, $b:literal)),*]) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name {
            pub(crate) kind: u8,
            pub(crate) code: u8,
            pub(crate) id: u16,
        }

        impl $name {
            /// An echo request (code 0) with this identifier.
            #[must_use]
            pub const fn echo_request(id: u16) -> Self {
                Self { kind: $echo, code: 0, id }
            }

            /// Any message that connection tracking pairs with an answer.
            ///
            /// # Errors
            /// For a type that it does not track: the kernel refuses such an entry.
            pub fn new(kind: u8, code: u8, id: u16) -> Result<Self> {
                match Self::paired(kind) {
                    Some(_) => Ok(Self { kind, code, id }),
                    None => Err(Error::invalid($what, kind.to_string(), "has no answer, so it is not tracked", $expected)),
                }
            }

            /// The message type.
            #[must_use]
            pub const fn kind(self) -> u8 {
                self.kind
            }

            /// The message code.
            #[must_use]
            pub const fn code(self) -> u8 {
                self.code
            }

            /// The identifier.
            #[must_use]
            pub const fn id(self) -> u16 {
                self.id
            }

            /// The type that answers, as in the kernel's `invmap`.
            const fn paired(kind: u8) -> Option<u8> {
                match kind {
                    $($a => Some($b), $b => Some($a),)*
                    _ => None,
                }
            }

            /// A type without an answer (it can only come from bytes) is left as it is.
            const fn reply(self) -> Self {
                match Self::paired(self.kind) {
                    Some(kind) => Self { kind, ..self },
                    None => self,
                }
            }
        }
    };
}

icmp_key!(
    /// What identifies an ICMP flow: type, code and identifier.
    #[doc(alias = "CTA_PROTO_ICMP_TYPE")]
    #[doc(alias = "CTA_PROTO_ICMP_CODE")]
    #[doc(alias = "CTA_PROTO_ICMP_ID")]
    Icmp, 8, "ICMP type", "0 or 8 (echo), 13 or 14 (timestamp), 15 or 16 (information), 17 or 18 (address mask)",
    [(8, 0), (13, 14), (15, 16), (17, 18)]
);

icmp_key!(
    /// What identifies an `ICMPv6` flow: type, code and identifier.
    #[doc(alias = "CTA_PROTO_ICMPV6_TYPE")]
    #[doc(alias = "CTA_PROTO_ICMPV6_CODE")]
    #[doc(alias = "CTA_PROTO_ICMPV6_ID")]
    Icmpv6, 128, "ICMPv6 type", "128 or 129 (echo), 139 or 140 (node information)",
    [(128, 129), (139, 140)]
);

impl Layer4 {
    /// `None` for a protocol that has no ports.
    pub(crate) const fn with_ports(protocol: Protocol, ports: Ports) -> Option<Self> {
        Some(match protocol {
            Protocol::TCP => Self::Tcp(ports),
            Protocol::UDP => Self::Udp(ports),
            Protocol::UDPLITE => Self::UdpLite(ports),
            Protocol::SCTP => Self::Sctp(ports),
            Protocol::DCCP => Self::Dccp(ports),
            _ => return None,
        })
    }

    /// The protocol's number.
    #[must_use]
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Tcp(_) => Protocol::TCP,
            Self::Udp(_) => Protocol::UDP,
            Self::UdpLite(_) => Protocol::UDPLITE,
            Self::Sctp(_) => Protocol::SCTP,
            Self::Dccp(_) => Protocol::DCCP,
            Self::Icmp(_) => Protocol::ICMP,
            Self::Icmpv6(_) => Protocol::ICMPV6,
            Self::Gre(_) => Protocol::GRE,
            Self::Other(protocol) => protocol,
        }
    }

    /// The ports, of a protocol that has them.
    #[must_use]
    pub const fn ports(self) -> Option<Ports> {
        match self {
            Self::Tcp(ports)
            | Self::Udp(ports)
            | Self::UdpLite(ports)
            | Self::Sctp(ports)
            | Self::Dccp(ports) => Some(ports),
            _ => None,
        }
    }

    fn reply(self) -> Self {
        const fn swap(ports: Ports) -> Ports {
            Ports {
                src: ports.dst,
                dst: ports.src,
            }
        }
        match self {
            Self::Tcp(ports) => Self::Tcp(swap(ports)),
            Self::Udp(ports) => Self::Udp(swap(ports)),
            Self::UdpLite(ports) => Self::UdpLite(swap(ports)),
            Self::Sctp(ports) => Self::Sctp(swap(ports)),
            Self::Dccp(ports) => Self::Dccp(swap(ports)),
            Self::Icmp(key) => Self::Icmp(key.reply()),
            Self::Icmpv6(key) => Self::Icmpv6(key.reply()),
            Self::Gre(keys) => Self::Gre(GreKeys {
                src: keys.dst,
                dst: keys.src,
            }),
            Self::Other(protocol) => Self::Other(protocol),
        }
    }
}

impl Tuple {
    /// From addresses and layer 4.
    ///
    /// # Errors
    /// For addresses of two families, ICMP between IPv6 addresses or `ICMPv6` between IPv4 ones, and
    /// [`Layer4::Other`] with a protocol that has a variant of its own.
    pub fn new(src: IpAddr, dst: IpAddr, layer4: Layer4) -> Result<Self> {
        let addresses = Addresses::new(src, dst).ok_or_else(|| {
            Error::invalid(
                "tuple",
                format!("{src} to {dst}"),
                "the addresses are of two families",
                "two IPv4 or two IPv6 addresses",
            )
        })?;
        let refuse = |problem: &'static str, expected: &'static str| {
            Err(Error::invalid(
                "tuple",
                format!("{} {src} to {dst}", layer4.protocol()),
                problem,
                expected,
            ))
        };
        match (layer4, addresses) {
            (Layer4::Icmp(_), Addresses::V6 { .. }) => {
                return refuse("ICMP between IPv6 addresses", "Tuple::icmpv6");
            }
            (Layer4::Icmpv6(_), Addresses::V4 { .. }) => {
                return refuse("ICMPv6 between IPv4 addresses", "Tuple::icmp");
            }
            (Layer4::Other(protocol), _) if protocol.name().is_some() => {
                return refuse(
                    "this protocol is identified by more than addresses",
                    "the constructor of that name",
                );
            }
            _ => {}
        }
        Ok(Self { addresses, layer4 })
    }

    /// The rules of the constructors, for a tuple that came from the wire or from a line.
    pub(crate) fn check(&self) -> Result<()> {
        Self::new(self.src(), self.dst(), self.layer4)?;
        match self.layer4 {
            Layer4::Icmp(key) => Icmp::new(key.kind, key.code, key.id).map(drop),
            Layer4::Icmpv6(key) => Icmpv6::new(key.kind, key.code, key.id).map(drop),
            _ => Ok(()),
        }
    }

    fn with_ports(src: SocketAddr, dst: SocketAddr, layer4: fn(Ports) -> Layer4) -> Result<Self> {
        let ports = Ports {
            src: src.port(),
            dst: dst.port(),
        };
        Self::new(src.ip(), dst.ip(), layer4(ports))
    }

    /// TCP.
    ///
    /// # Errors
    /// For addresses of two families.
    pub fn tcp(src: SocketAddr, dst: SocketAddr) -> Result<Self> {
        Self::with_ports(src, dst, Layer4::Tcp)
    }

    /// UDP.
    ///
    /// # Errors
    /// For addresses of two families.
    pub fn udp(src: SocketAddr, dst: SocketAddr) -> Result<Self> {
        Self::with_ports(src, dst, Layer4::Udp)
    }

    /// UDP-Lite.
    ///
    /// # Errors
    /// For addresses of two families.
    pub fn udplite(src: SocketAddr, dst: SocketAddr) -> Result<Self> {
        Self::with_ports(src, dst, Layer4::UdpLite)
    }

    /// SCTP.
    ///
    /// # Errors
    /// For addresses of two families.
    pub fn sctp(src: SocketAddr, dst: SocketAddr) -> Result<Self> {
        Self::with_ports(src, dst, Layer4::Sctp)
    }

    /// DCCP.
    ///
    /// # Errors
    /// For addresses of two families.
    pub fn dccp(src: SocketAddr, dst: SocketAddr) -> Result<Self> {
        Self::with_ports(src, dst, Layer4::Dccp)
    }

    /// ICMP, which is IPv4's alone.
    #[must_use]
    pub const fn icmp(src: Ipv4Addr, dst: Ipv4Addr, key: Icmp) -> Self {
        Self {
            addresses: Addresses::V4 { src, dst },
            layer4: Layer4::Icmp(key),
        }
    }

    /// `ICMPv6`, which is IPv6's alone.
    #[must_use]
    pub const fn icmpv6(src: Ipv6Addr, dst: Ipv6Addr, key: Icmpv6) -> Self {
        Self {
            addresses: Addresses::V6 { src, dst },
            layer4: Layer4::Icmpv6(key),
        }
    }

    /// GRE.
    ///
    /// # Errors
    /// For addresses of two families.
    pub fn gre(src: IpAddr, dst: IpAddr, keys: GreKeys) -> Result<Self> {
        Self::new(src, dst, Layer4::Gre(keys))
    }

    /// Any protocol that the addresses alone identify.
    ///
    /// # Errors
    /// For addresses of two families, and for a protocol that has a constructor of its own.
    pub fn other(protocol: Protocol, src: IpAddr, dst: IpAddr) -> Result<Self> {
        Self::new(src, dst, Layer4::Other(protocol))
    }

    /// The tuple that answers this one when nothing is translated: source and destination change
    /// places, and an ICMP request becomes its answer.
    #[must_use]
    pub fn reply(&self) -> Self {
        let addresses = match self.addresses {
            Addresses::V4 { src, dst } => Addresses::V4 { src: dst, dst: src },
            Addresses::V6 { src, dst } => Addresses::V6 { src: dst, dst: src },
        };
        Self {
            addresses,
            layer4: self.layer4.reply(),
        }
    }

    /// The family of both addresses.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self.addresses {
            Addresses::V4 { .. } => Family::Ipv4,
            Addresses::V6 { .. } => Family::Ipv6,
        }
    }

    /// Source address.
    #[doc(alias = "CTA_IP_V4_SRC")]
    #[doc(alias = "CTA_IP_V6_SRC")]
    #[must_use]
    pub const fn src(&self) -> IpAddr {
        match self.addresses {
            Addresses::V4 { src, .. } => IpAddr::V4(src),
            Addresses::V6 { src, .. } => IpAddr::V6(src),
        }
    }

    /// Destination address.
    #[doc(alias = "CTA_IP_V4_DST")]
    #[doc(alias = "CTA_IP_V6_DST")]
    #[must_use]
    pub const fn dst(&self) -> IpAddr {
        match self.addresses {
            Addresses::V4 { dst, .. } => IpAddr::V4(dst),
            Addresses::V6 { dst, .. } => IpAddr::V6(dst),
        }
    }

    /// The protocol.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.layer4.protocol()
    }

    /// The protocol with its ports, keys or ICMP fields.
    #[must_use]
    pub const fn layer4(&self) -> Layer4 {
        self.layer4
    }

    /// Source port, of a protocol that has ports.
    #[must_use]
    pub const fn src_port(&self) -> Option<u16> {
        match self.layer4.ports() {
            Some(ports) => Some(ports.src),
            None => None,
        }
    }

    /// Destination port, of a protocol that has ports.
    #[must_use]
    pub const fn dst_port(&self) -> Option<u16> {
        match self.layer4.ports() {
            Some(ports) => Some(ports.dst),
            None => None,
        }
    }

    /// Type, code and identifier of ICMP or `ICMPv6`.
    #[must_use]
    pub const fn icmp_fields(&self) -> Option<(u8, u8, u16)> {
        match self.layer4 {
            Layer4::Icmp(key) => Some((key.kind, key.code, key.id)),
            Layer4::Icmpv6(key) => Some((key.kind, key.code, key.id)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4() -> (IpAddr, IpAddr) {
        ([10, 0, 0, 1].into(), [10, 0, 0, 2].into())
    }

    #[test]
    fn what_cannot_be_sent_cannot_be_built() {
        let (a, b) = v4();
        let six: IpAddr = Ipv6Addr::LOCALHOST.into();
        let udp = Layer4::Udp(Ports { src: 1, dst: 2 });
        assert!(Tuple::new(a, six, udp).is_err());
        assert!(Tuple::new(six, a, udp).is_err());
        assert!(Tuple::new(six, six, Layer4::Icmp(Icmp::echo_request(1))).is_err());
        assert!(Tuple::new(a, b, Layer4::Icmpv6(Icmpv6::echo_request(1))).is_err());
        for protocol in [Protocol::TCP, Protocol::ICMP, Protocol::GRE, Protocol::SCTP] {
            assert!(Tuple::other(protocol, a, b).is_err(), "{protocol}");
        }
        assert!(Tuple::other(Protocol::new(50), a, b).is_ok());
        assert!(Icmp::new(3, 0, 1).is_err());
        assert!(Icmpv6::new(1, 0, 1).is_err());
    }

    #[test]
    fn every_tuple_answers_its_answer() {
        let (a, b) = v4();
        let ports = Ports { src: 1, dst: 2 };
        let mut all = vec![
            Layer4::Tcp(ports),
            Layer4::Udp(ports),
            Layer4::UdpLite(ports),
            Layer4::Sctp(ports),
            Layer4::Dccp(ports),
            Layer4::Gre(GreKeys { src: 1, dst: 2 }),
            Layer4::Other(Protocol::new(50)),
        ];
        for kind in [0, 8, 13, 14, 15, 16, 17, 18] {
            all.push(Layer4::Icmp(Icmp::new(kind, 0, 5).unwrap()));
        }
        for layer4 in all {
            let tuple = Tuple::new(a, b, layer4).unwrap();
            assert_eq!((tuple.reply().src(), tuple.reply().dst()), (b, a));
            assert_eq!(tuple.reply().reply(), tuple);
        }
        for kind in [128, 129, 139, 140] {
            let key = Icmpv6::new(kind, 0, 5).unwrap();
            let tuple = Tuple::icmpv6(Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED, key);
            assert_ne!(tuple.reply(), tuple);
            assert_eq!(tuple.reply().reply(), tuple);
        }
    }

    #[test]
    fn a_tuple_is_small() {
        assert!(size_of::<Tuple>() <= 40, "{}", size_of::<Tuple>());
    }
}
