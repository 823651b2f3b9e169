//! Expectations: flows that a helper foresees, as the kernel reports them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::text::{Address, Layer4Text, Word};
use super::{
    Addresses, Direction, Family, GreKeys, Helper, Icmp, Icmpv6, Layer4, Ports, Protocol, Tuple,
    Unknown, Zone,
};

bitflags::bitflags! {
    /// How an expectation behaves (`NF_CT_EXPECT_*`).
    #[doc(alias = "CTA_EXPECT_FLAGS")]
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct ExpectFlags: u32 {
        /// It stays when a flow has met it; without this, it is used up.
        #[doc(alias = "NF_CT_EXPECT_PERMANENT")]
        const PERMANENT = 1;
        /// It is not met until a helper activates it.
        #[doc(alias = "NF_CT_EXPECT_INACTIVE")]
        const INACTIVE = 1 << 1;
        /// A helper in user space made it. The kernel does not take this bit from here.
        #[doc(alias = "NF_CT_EXPECT_USERSPACE")]
        const USERSPACE = 1 << 2;
    }
}

impl ExpectFlags {
    /// Those that creation takes.
    pub const SETTABLE: Self = Self::PERMANENT.union(Self::INACTIVE);
}

/// `PERMANENT,INACTIVE`, as conntrack(8) has them; bits without a name as a number.
impl fmt::Display for ExpectFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (name, _) in self.iter_names() {
            write!(f, "{comma}{name}")?;
            comma = ",";
        }
        let rest = self.bits() & !Self::all().bits();
        if rest != 0 {
            write!(f, "{comma}{rest:#x}")?;
        }
        Ok(())
    }
}

/// Which bits of the source a packet must have in common with what is expected. The destination
/// must be the same in any case: the kernel does not mask it.
#[doc(alias = "CTA_EXPECT_MASK")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ExpectMask {
    /// The source address's bits that count. Kernels from 4.19 on do not report it, until a fix in
    /// 5.12 and the stable kernels of its time. In a new expectation `None` has all of them count.
    pub src: Option<IpAddr>,
    /// The bits of the source port, or of an ICMP identifier, that count. In a new expectation
    /// `None` has all of them count.
    pub src_port: Option<u16>,
}

impl ExpectMask {
    /// The source address must be the same, the port may be any: what helpers ask for most.
    #[must_use]
    pub const fn any_port(family: Family) -> Self {
        Self {
            src: Some(ones(family)),
            src_port: Some(0),
        }
    }

    /// Source address and port must be the same.
    #[must_use]
    pub const fn exact(family: Family) -> Self {
        Self {
            src: Some(ones(family)),
            src_port: Some(u16::MAX),
        }
    }

    /// Any source, any port.
    #[must_use]
    pub const fn any(family: Family) -> Self {
        Self {
            src: Some(match family {
                Family::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                Family::Ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            }),
            src_port: Some(0),
        }
    }
}

pub(super) const fn ones(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::BROADCAST),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)),
    }
}

/// How the flow that is expected is translated back, where its master is translated.
#[doc(alias = "CTA_EXPECT_NAT")]
#[doc(alias = "CTA_EXPECT_NAT_TUPLE")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExpectNat {
    /// The direction of the master that what is expected goes in.
    #[doc(alias = "CTA_EXPECT_NAT_DIR")]
    pub direction: Direction,
    /// The address before translation. Unspecified where it is the master's: FTP's helper keeps the
    /// port alone.
    pub address: IpAddr,
    /// The port before translation. 0 where the protocol has none.
    pub port: u16,
}

impl ExpectNat {
    /// Address and port as the kernel takes and says them: the source of a tuple of this protocol,
    /// or of TCP if it has no ports.
    pub(crate) fn tuple(self, protocol: Protocol) -> Tuple {
        let ports = Ports {
            src: self.port,
            dst: 0,
        };
        Tuple {
            addresses: match self.address {
                IpAddr::V4(src) => Addresses::V4 {
                    src,
                    dst: Ipv4Addr::UNSPECIFIED,
                },
                IpAddr::V6(src) => Addresses::V6 {
                    src,
                    dst: Ipv6Addr::UNSPECIFIED,
                },
            },
            layer4: Layer4::with_ports(protocol, ports).unwrap_or(Layer4::Tcp(ports)),
        }
    }
}

/// A flow that a helper, or somebody through [`Expectations`](crate::Expectations), foresees: the
/// first packet that fits makes an entry whose master is the entry that it was expected by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Expectation {
    pub(crate) tuple: Tuple,
    pub(crate) mask: ExpectMask,
    pub(crate) master: Tuple,
    pub(crate) zone: Option<Zone>,
    pub(crate) timeout: Option<u32>,
    pub(crate) id: Option<u32>,
    pub(crate) helper: Option<Helper>,
    pub(crate) flags: Option<ExpectFlags>,
    pub(crate) class: Option<u32>,
    pub(crate) nat: Option<ExpectNat>,
    pub(crate) function: Option<String>,
    pub(crate) unknown: Vec<Unknown>,
}

impl Expectation {
    /// The packet that is expected; of its source only the bits of the mask count.
    #[doc(alias = "CTA_EXPECT_TUPLE")]
    #[must_use]
    pub const fn tuple(&self) -> &Tuple {
        &self.tuple
    }

    /// Which bits of the source count.
    #[doc(alias = "CTA_EXPECT_MASK")]
    #[must_use]
    pub const fn mask(&self) -> ExpectMask {
        self.mask
    }

    /// The original tuple of the entry that expects it.
    #[doc(alias = "CTA_EXPECT_MASTER")]
    #[must_use]
    pub const fn master(&self) -> &Tuple {
        &self.master
    }

    /// The zone, which is its master's. Kernels do not report it; it is known of those that were
    /// asked for with their zone.
    #[doc(alias = "CTA_EXPECT_ZONE")]
    #[must_use]
    pub const fn zone(&self) -> Option<Zone> {
        self.zone
    }

    /// What is left of the time-out, in whole seconds.
    #[doc(alias = "CTA_EXPECT_TIMEOUT")]
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.map(|secs| Duration::from_secs(secs.into()))
    }

    /// The kernel's id of this very expectation.
    #[doc(alias = "CTA_EXPECT_ID")]
    #[must_use]
    pub const fn id(&self) -> Option<u32> {
        self.id
    }

    /// The helper of its master.
    #[doc(alias = "CTA_EXPECT_HELP_NAME")]
    #[must_use]
    pub const fn helper(&self) -> Option<Helper> {
        self.helper
    }

    /// How it behaves.
    #[doc(alias = "CTA_EXPECT_FLAGS")]
    #[must_use]
    pub const fn flags(&self) -> Option<ExpectFlags> {
        self.flags
    }

    /// The class, which the helper gives a meaning: the SIP helper, for example, has one each for
    /// signalling, audio, video and images.
    #[doc(alias = "CTA_EXPECT_CLASS")]
    #[must_use]
    pub const fn class(&self) -> Option<u32> {
        self.class
    }

    /// How the flow is translated back.
    ///
    /// Of an expectation that somebody else made without any, kernels without a fix of 2026 may report
    /// what an earlier one in the same memory had.
    #[doc(alias = "CTA_EXPECT_NAT")]
    #[must_use]
    pub const fn nat(&self) -> Option<ExpectNat> {
        self.nat
    }

    /// The function that is called for the entry that is made, such as `nat-follow-master`.
    #[doc(alias = "CTA_EXPECT_FN")]
    #[must_use]
    pub fn function(&self) -> Option<&str> {
        self.function.as_deref()
    }

    /// Attributes that this version of the library does not know, at whatever depth they stood, and
    /// those that it knows in other places alone.
    #[must_use]
    pub fn unknown(&self) -> &[Unknown] {
        &self.unknown
    }

    /// The key of this very expectation, which is in the zone of its master.
    #[must_use]
    pub fn key(&self, zone: Zone) -> ExpectKey {
        ExpectKey {
            tuple: self.tuple,
            zone,
            id: self.id,
        }
    }
}

/// The mask of what a protocol adds: of all but the source's number every bit is set.
pub(super) fn mask_layer4(layer4: Layer4, port: u16) -> Layer4 {
    let (src, dst) = (port, u16::MAX);
    let (kind, code, id) = (u8::MAX, u8::MAX, port);
    match layer4 {
        Layer4::Gre(_) => Layer4::Gre(GreKeys { src, dst }),
        Layer4::Icmp(_) => Layer4::Icmp(Icmp { kind, code, id }),
        Layer4::Icmpv6(_) => Layer4::Icmpv6(Icmpv6 { kind, code, id }),
        Layer4::Other(_) => layer4,
        with_ports => {
            Layer4::with_ports(with_ports.protocol(), Ports { src, dst }).unwrap_or(with_ports)
        }
    }
}

/// The line of `conntrack -L expect`.
impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(timeout) = self.timeout {
            write!(f, "{timeout} ")?;
        }
        let layer4 = self.tuple.layer4();
        write!(
            f,
            "proto={} src={} dst={}{}",
            layer4.protocol().number(),
            Address(self.tuple.src()),
            Address(self.tuple.dst()),
            Layer4Text(layer4)
        )?;
        let every = ones(self.tuple.family());
        if let Some(src) = self.mask.src {
            write!(f, " mask-src={} mask-dst={every}", Address(src))?;
        }
        if let Some(port) = self.mask.src_port {
            write!(f, "{}", Layer4Text(mask_layer4(layer4, port)))?;
        }
        let (src, dst) = (Address(self.master.src()), Address(self.master.dst()));
        let ports = Layer4Text(self.master.layer4());
        write!(f, " master-src={src} master-dst={dst}{ports}")?;
        if let Some(zone) = self.zone.filter(|zone| !zone.is_default()) {
            write!(f, " zone={zone}")?;
        }
        if let Some(flags) = self.flags.filter(|flags| !flags.is_empty()) {
            write!(f, " {flags}")?;
        }
        if let Some(class) = self.class {
            write!(f, " class={class}")?;
        }
        if let Some(helper) = self.helper {
            write!(f, " helper={}", Word(helper.as_str()))?;
        }
        Ok(())
    }
}

/// Which expectation is meant: its tuple, its zone, and its id where known.
///
/// The kernel finds an expectation by any packet that would meet it. This library does not pass that
/// on: what it gets, changes or deletes has the key's very tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExpectKey {
    pub(crate) tuple: Tuple,
    pub(crate) zone: Zone,
    pub(crate) id: Option<u32>,
}

impl ExpectKey {
    /// The expectation of this tuple, in zone 0 until [`ExpectKey::zone`] says otherwise.
    #[must_use]
    pub const fn new(tuple: Tuple) -> Self {
        Self {
            tuple,
            zone: Zone::DEFAULT,
            id: None,
        }
    }

    /// In this zone, which is that of the expectation's master.
    #[doc(alias = "CTA_EXPECT_ZONE")]
    #[must_use]
    pub const fn zone(mut self, zone: Zone) -> Self {
        self.zone = zone;
        self
    }

    /// This very expectation.
    #[doc(alias = "CTA_EXPECT_ID")]
    #[must_use]
    pub const fn with_id(mut self, id: u32) -> Self {
        self.id = Some(id);
        self
    }

    /// The tuple.
    #[must_use]
    pub const fn tuple(&self) -> &Tuple {
        &self.tuple
    }

    /// The zone, which is that of the expectation's master.
    #[must_use]
    pub const fn master_zone(&self) -> Zone {
        self.zone
    }

    /// The id, if that very expectation is meant.
    #[must_use]
    pub const fn id(&self) -> Option<u32> {
        self.id
    }

    /// Why a found expectation is not the one that is meant.
    pub(crate) fn mismatch(&self, found: &Expectation) -> Option<&'static str> {
        if found.tuple != self.tuple {
            Some("its mask covers the tuple")
        } else if self.id.is_some() && found.id != self.id {
            Some("a newer expectation has taken its place")
        } else {
            None
        }
    }
}

impl From<&ExpectKey> for ExpectKey {
    fn from(key: &ExpectKey) -> Self {
        *key
    }
}
