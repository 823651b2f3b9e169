//! New expectations: what the kernel would refuse or lose cannot be built.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::expect::{mask_layer4, ones};
use super::{
    Addresses, Direction, ExpectFlags, ExpectKey, ExpectMask, ExpectNat, Family, Helper, Icmp,
    Icmpv6, Key, Layer4, Tuple,
};
use crate::error::{Error, Result};

/// An expectation in the making. [`ExpectationBuilder::build`] says what is wrong, if anything is.
#[derive(Debug, Clone)]
#[must_use = "an expectation in the making does nothing until it is built and created"]
pub struct ExpectationBuilder {
    new: NewExpectation,
    timeout: Option<Duration>,
}

/// An expectation that can be created.
///
/// ```
/// use ctnetlink::{ExpectFlags, Key, NewExpectation, Tuple};
/// use std::time::Duration;
///
/// let control = Tuple::tcp("10.0.0.1:40000".parse().unwrap(), "10.0.0.2:21".parse().unwrap())?;
/// // The server will connect from any port to the one that the client told it.
/// let data = Tuple::tcp("10.0.0.2:0".parse().unwrap(), "10.0.0.1:20000".parse().unwrap())?;
/// let expected = NewExpectation::builder(Key::orig(control), data)
///     .timeout(Duration::from_secs(30))
///     .build()?;
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NewExpectation {
    pub(crate) master: Key,
    pub(crate) tuple: Tuple,
    pub(crate) mask: ExpectMask,
    pub(crate) timeout: Option<u32>,
    pub(crate) helper: Option<Helper>,
    pub(crate) flags: ExpectFlags,
    pub(crate) class: Option<u32>,
    pub(crate) nat: Option<ExpectNat>,
    pub(crate) function: Option<String>,
}

impl NewExpectation {
    /// What `tuple` tells is expected by the master, from any source port unless a mask says
    /// otherwise.
    pub fn builder(master: impl Into<Key>, tuple: Tuple) -> ExpectationBuilder {
        ExpectationBuilder {
            new: Self {
                master: master.into(),
                tuple,
                mask: ExpectMask::any_port(tuple.family()),
                timeout: None,
                helper: None,
                flags: ExpectFlags::empty(),
                class: None,
                nat: None,
                function: None,
            },
            timeout: None,
        }
    }

    /// The entry that expects it.
    #[must_use]
    pub const fn master(&self) -> &Key {
        &self.master
    }

    /// The packet that is expected.
    #[must_use]
    pub const fn tuple(&self) -> &Tuple {
        &self.tuple
    }

    /// Which bits of the source count.
    #[must_use]
    pub const fn mask(&self) -> ExpectMask {
        self.mask
    }

    /// How long it is waited for, if not as the helper has it.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.map(|secs| Duration::from_secs(secs.into()))
    }

    /// The helper that the expected flow is given.
    #[must_use]
    pub const fn helper(&self) -> Option<Helper> {
        self.helper
    }

    /// How it behaves.
    #[must_use]
    pub const fn flags(&self) -> ExpectFlags {
        self.flags
    }

    /// The class.
    #[must_use]
    pub const fn class(&self) -> Option<u32> {
        self.class
    }

    /// How the flow is translated back.
    #[must_use]
    pub const fn nat(&self) -> Option<ExpectNat> {
        self.nat
    }

    /// The function that is called for the entry that is made.
    #[must_use]
    pub fn function(&self) -> Option<&str> {
        self.function.as_deref()
    }

    /// The key that it will have.
    #[must_use]
    pub fn key(&self) -> ExpectKey {
        ExpectKey::new(self.tuple).zone(self.master.zone.zone())
    }

    /// The mask as the kernel reads it: a tuple, whose destination counts in full.
    pub(crate) fn mask_tuple(&self) -> Tuple {
        let port = self.mask.src_port.unwrap_or(u16::MAX);
        Tuple {
            addresses: match (self.mask.src, ones(self.tuple.family())) {
                (Some(IpAddr::V4(src)), IpAddr::V4(dst)) => Addresses::V4 { src, dst },
                (Some(IpAddr::V6(src)), IpAddr::V6(dst)) => Addresses::V6 { src, dst },
                (_, IpAddr::V4(all)) => Addresses::V4 { src: all, dst: all },
                (_, IpAddr::V6(all)) => Addresses::V6 { src: all, dst: all },
            },
            layer4: match self.tuple.layer4 {
                // The kernel takes a type of ICMP only if there is an answer to it.
                Layer4::Icmp(key) => Layer4::Icmp(Icmp { id: port, ..key }),
                Layer4::Icmpv6(key) => Layer4::Icmpv6(Icmpv6 { id: port, ..key }),
                layer4 => mask_layer4(layer4, port),
            },
        }
    }

    /// What is said of translation: in any case something, since kernels without a fix of 2026 would
    /// otherwise keep what an earlier expectation left in the same memory (`ctnetlink_alloc_expect`).
    pub(crate) fn asked_nat(&self) -> ExpectNat {
        self.nat.unwrap_or(ExpectNat {
            direction: Direction::Original,
            address: match self.tuple.family() {
                Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
                Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
            },
            port: 0,
        })
    }
}

impl ExpectationBuilder {
    /// Which bits of the source count. The default is [`ExpectMask::any_port`].
    #[doc(alias = "CTA_EXPECT_MASK")]
    pub fn mask(mut self, mask: ExpectMask) -> Self {
        self.new.mask = mask;
        self
    }

    /// The bits of the source address that count, such as `255.255.255.0`.
    pub fn src_mask(mut self, bits: IpAddr) -> Self {
        self.new.mask.src = Some(bits);
        self
    }

    /// The bits of the source port that count: 0 for any port, 65535 for the very one.
    pub fn src_port_mask(mut self, bits: u16) -> Self {
        self.new.mask.src_port = Some(bits);
        self
    }

    /// How long it is waited for: whole seconds. Without it, what the helper has for the class.
    #[doc(alias = "CTA_EXPECT_TIMEOUT")]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The helper that the expected flow is given. Kernels with a fix of 2026 ("ignore explicit
    /// helper on new expectations") do not look at it.
    #[doc(alias = "CTA_EXPECT_HELP_NAME")]
    pub fn helper(mut self, helper: Helper) -> Self {
        self.new.helper = Some(helper);
        self
    }

    /// How it behaves: of [`ExpectFlags::SETTABLE`].
    #[doc(alias = "CTA_EXPECT_FLAGS")]
    pub fn flags(mut self, flags: ExpectFlags) -> Self {
        self.new.flags = flags;
        self
    }

    /// The class, of those that the master's helper has. The default is 0.
    #[doc(alias = "CTA_EXPECT_CLASS")]
    pub fn class(mut self, class: u32) -> Self {
        self.new.class = Some(class);
        self
    }

    /// How the flow is translated back. It takes a function that does so, such as
    /// `nat-follow-master`.
    #[doc(alias = "CTA_EXPECT_NAT")]
    pub fn nat(mut self, nat: ExpectNat) -> Self {
        self.new.nat = Some(nat);
        self
    }

    /// The function that is called for the entry that is made: `nat-follow-master`, or one of a
    /// helper's own, such as `Q.931`. Where translation is a module, its functions are there once a
    /// rule has loaded it.
    #[doc(alias = "CTA_EXPECT_FN")]
    pub fn function(mut self, name: impl Into<String>) -> Self {
        self.new.function = Some(name.into());
        self
    }

    /// The expectation, ready to be created.
    ///
    /// # Errors
    /// For a mask or a translation of another family, flags that cannot be set, a name that cannot
    /// be one, and a time-out that is not whole seconds.
    pub fn build(self) -> Result<NewExpectation> {
        let mut new = self.new;
        let refuse = |input: String, problem: &'static str, expected: &'static str| {
            Err(Error::invalid("expectation", input, problem, expected))
        };
        new.tuple.check()?;
        new.timeout = self.timeout.map(super::seconds).transpose()?;
        let family = new.tuple.family();
        if new.master.tuple.family() != family {
            return refuse(
                format!("{} by {}", new.tuple.src(), new.master.tuple.src()),
                "the master is of another family",
                "a master of the expectation's own family",
            );
        }
        let addresses = [new.mask.src, new.nat.map(|nat| nat.address)];
        for address in addresses.into_iter().flatten() {
            if Family::of(address) != family {
                return refuse(
                    address.to_string(),
                    "of another family than what is expected",
                    "an address of the expectation's own family",
                );
            }
        }
        let beyond = new.flags.difference(ExpectFlags::SETTABLE);
        if !beyond.is_empty() {
            return refuse(
                beyond.to_string(),
                "these flags cannot be set",
                "PERMANENT, INACTIVE",
            );
        }
        match &new.function {
            Some(name) if name.is_empty() || name.len() > 255 || name.contains('\0') => refuse(
                name.clone(),
                "not a function's name",
                "1 to 255 bytes, no zero",
            ),
            _ => Ok(new),
        }
    }
}
