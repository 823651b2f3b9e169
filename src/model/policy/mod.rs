//! Time-out policies: named sets of time-outs that rules give to flows; and the defaults of a
//! protocol, which hold for all other flows.

mod timeouts;

use std::fmt;

use super::{Family, Protocol, Unknown};
use crate::error::{Error, Result};

#[cfg(feature = "serde")]
pub(crate) use timeouts::DATA;
pub use timeouts::{
    DccpTimeouts, GenericTimeouts, GreTimeouts, IcmpTimeouts, Icmpv6Timeouts, SctpTimeouts,
    TcpTimeouts, Timeouts, UdpLiteTimeouts, UdpTimeouts,
};

/// A name that the kernel keeps as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PolicyName(String);

impl PolicyName {
    /// `CTNL_TIMEOUT_NAME_MAX`, the closing zero included, is 32.
    const MAX: usize = 31;

    pub(crate) fn new(name: &str) -> Result<Self> {
        let problem = match name.len() {
            0 => "empty",
            length if length > Self::MAX => "too long",
            _ if name.contains('\0') => "the kernel would cut it at the zero",
            _ => return Ok(Self(name.to_owned())),
        };
        Err(Error::invalid(
            "name of a time-out policy",
            name,
            problem,
            "1 to 31 bytes, no zero",
        ))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A policy that can be created.
///
/// ```
/// use ctnetlink::{Family, IcmpTimeouts, NewTimeoutPolicy, UdpTimeouts};
/// use std::time::Duration;
///
/// let dns = UdpTimeouts::new().with_unreplied(Duration::from_secs(5))?;
/// let policy = NewTimeoutPolicy::new("dns", Family::Ipv4, dns)?;
/// assert_eq!(policy.to_string(), "dns ipv4 udp unreplied=5");
/// assert!(NewTimeoutPolicy::new("", Family::Ipv4, dns).is_err());
/// assert!(NewTimeoutPolicy::new("ping", Family::Ipv6, IcmpTimeouts::new()).is_err());
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NewTimeoutPolicy {
    name: PolicyName,
    family: Family,
    timeouts: Timeouts,
}

impl NewTimeoutPolicy {
    /// A policy for flows of a family and a protocol. States that are not named will have what are
    /// the protocol's defaults when it is created; later changes of the defaults do not reach it.
    ///
    /// # Errors
    /// For a name that is not 1 to 31 bytes or has a zero, for ICMP in IPv6 and ICMPv6 in IPv4, and
    /// for time-outs of another kernel that not every kernel would keep.
    pub fn new(name: &str, family: Family, timeouts: impl Into<Timeouts>) -> Result<Self> {
        let (name, timeouts) = (PolicyName::new(name)?, timeouts.into());
        timeouts.check()?;
        // The kernel takes these, but no packet belongs to them.
        match (family, timeouts.protocol) {
            (Family::Ipv6, Protocol::ICMP) | (Family::Ipv4, Protocol::ICMPV6) => {
                Err(Error::invalid(
                    "time-out policy",
                    format!("{family} {}", timeouts.protocol),
                    "the protocol is not the family's",
                    "icmp in ipv4, icmpv6 in ipv6",
                ))
            }
            _ => Ok(Self {
                name,
                family,
                timeouts,
            }),
        }
    }

    /// The name, 1 to 31 bytes.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    pub(crate) fn policy_name(&self) -> &PolicyName {
        &self.name
    }

    /// The family of the flows.
    #[must_use]
    pub const fn family(&self) -> Family {
        self.family
    }

    /// The protocol of the flows.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.timeouts.protocol
    }

    /// The time-outs that it names.
    #[must_use]
    pub const fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }
}

/// `dns ipv4 udp unreplied=5`: seconds. Control characters of the name are escaped.
impl fmt::Display for NewTimeoutPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, family) = (self.name().escape_debug(), self.family);
        write!(f, "{name} {family} {}", self.timeouts)
    }
}

/// A policy as the kernel reports it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TimeoutPolicy {
    pub(crate) name: String,
    /// The kernel takes any number.
    pub(crate) family: u16,
    pub(crate) timeouts: Timeouts,
    pub(crate) use_count: Option<u32>,
    pub(crate) unknown: Vec<Unknown>,
}

impl TimeoutPolicy {
    /// The name. Other programs may have given it an empty one.
    #[doc(alias = "CTA_TIMEOUT_NAME")]
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The family of the flows. `None` if its number is of neither family: the kernel takes any, but
    /// no rule can use such a policy.
    #[doc(alias = "CTA_TIMEOUT_L3PROTO")]
    #[must_use]
    pub const fn family(&self) -> Option<Family> {
        Family::from_number(self.family)
    }

    /// The number of the family (`NFPROTO_*`).
    #[must_use]
    pub const fn family_number(&self) -> u16 {
        self.family
    }

    /// The protocol of the flows.
    #[doc(alias = "CTA_TIMEOUT_L4PROTO")]
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.timeouts.protocol
    }

    /// The time-outs. Kernels report every state that they know.
    #[doc(alias = "CTA_TIMEOUT_DATA")]
    #[must_use]
    pub const fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// The kernel's reference count: 1, and 1 more for each rule that uses the policy. Kernels of the
    /// second half of 2026 (Debian's 6.1.192, 6.12.117 and 7.3.4) add 2 for a rule, and 1 for each flow.
    #[doc(alias = "CTA_TIMEOUT_USE")]
    #[must_use]
    pub const fn use_count(&self) -> Option<u32> {
        self.use_count
    }

    /// Whether a rule uses the policy, so that it cannot be deleted. On the newer kernels that
    /// [`use_count`](Self::use_count) speaks of, whether a rule or a flow uses it, and it can be.
    #[must_use]
    pub fn is_in_use(&self) -> Option<bool> {
        self.use_count.map(|count| count > 1)
    }

    /// Attributes at the top level that this version of the library does not know. States that it
    /// does not know are in [`Timeouts::unknown`].
    #[must_use]
    pub fn unknown(&self) -> &[Unknown] {
        &self.unknown
    }

    /// This policy as one that can be created, for example to restore it.
    ///
    /// # Errors
    /// For a policy that this library does not create: an empty name, neither IPv4 nor IPv6, ICMP in
    /// the wrong family, time-outs over 2147483 seconds.
    pub fn to_new(&self) -> Result<NewTimeoutPolicy> {
        let Some(family) = self.family() else {
            return Err(Error::invalid(
                "time-out policy",
                self.to_string(),
                "neither of IPv4 nor of IPv6",
                "family 2 or 10",
            ));
        };
        NewTimeoutPolicy::new(&self.name, family, self.timeouts.clone())
    }
}

/// `dns ipv4 udp unreplied=5 replied=120 use=1`: seconds. Control characters of the name are escaped.
impl fmt::Display for TimeoutPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.name.escape_debug())?;
        match self.family() {
            Some(family) => write!(f, "{family} ")?,
            None => write!(f, "family={} ", self.family)?,
        }
        fmt::Display::fmt(&self.timeouts, f)?;
        self.use_count
            .map_or(Ok(()), |use_count| write!(f, " use={use_count}"))
    }
}

/// The defaults of a protocol, as the kernel reports them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TimeoutDefaults {
    pub(crate) timeouts: Timeouts,
    pub(crate) unknown: Vec<Unknown>,
}

impl TimeoutDefaults {
    /// The protocol.
    #[doc(alias = "CTA_TIMEOUT_L4PROTO")]
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.timeouts.protocol
    }

    /// The time-outs. Kernels report every state that they know.
    #[doc(alias = "CTA_TIMEOUT_DATA")]
    #[must_use]
    pub const fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Attributes at the top level that this version of the library does not know. States that it
    /// does not know are in [`Timeouts::unknown`].
    #[must_use]
    pub fn unknown(&self) -> &[Unknown] {
        &self.unknown
    }
}

/// The time-outs alone, for example to set them again.
impl From<TimeoutDefaults> for Timeouts {
    fn from(defaults: TimeoutDefaults) -> Self {
        defaults.timeouts
    }
}

/// `udp unreplied=30 replied=120`: seconds.
impl fmt::Display for TimeoutDefaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.timeouts, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(seconds: u32) -> TimeoutPolicy {
        let mut timeouts = Timeouts::new(Protocol::UDP).unwrap();
        timeouts.states = vec![Some(seconds), Some(2)];
        TimeoutPolicy {
            name: "a\nb".to_owned(),
            family: 10,
            timeouts,
            use_count: Some(2),
            unknown: Vec::new(),
        }
    }

    fn why<T: fmt::Debug>(result: Result<T>) -> String {
        let error = result.unwrap_err();
        assert!(error.is_invalid_input());
        error.to_string()
    }

    #[test]
    fn what_no_rule_could_use_is_refused() {
        let udp = UdpTimeouts::new();
        for name in ["", "a\0b", &"x".repeat(32)] {
            let text = why(NewTimeoutPolicy::new(name, Family::Ipv4, udp));
            assert!(text.contains("1 to 31 bytes, no zero"), "{text}");
        }
        assert!(NewTimeoutPolicy::new(&"x".repeat(31), Family::Ipv4, udp).is_ok());
        let icmp = why(NewTimeoutPolicy::new(
            "a",
            Family::Ipv6,
            IcmpTimeouts::new(),
        ));
        assert!(icmp.contains("ipv6 icmp"), "{icmp}");
        assert!(NewTimeoutPolicy::new("a", Family::Ipv4, Icmpv6Timeouts::new()).is_err());
    }

    #[test]
    fn what_was_reported_can_be_restored() {
        let policy = reported(7);
        assert_eq!(
            policy.to_string(),
            "a\\nb ipv6 udp unreplied=7 replied=2 use=2"
        );
        assert_eq!(policy.is_in_use(), Some(true));
        let new = policy.to_new().unwrap();
        assert_eq!(new.timeouts(), policy.timeouts());
        assert_eq!((new.name(), new.family()), ("a\nb", Family::Ipv6));
        assert!(why(reported(2_147_484).to_new()).contains("too long"));
        let other = TimeoutPolicy {
            family: 1,
            ..reported(7)
        };
        assert!(why(other.to_new()).contains("family=1"));
    }
}
