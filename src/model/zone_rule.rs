//! Rules that put packets into zones.

use std::fmt;
use std::sync::Arc;

use super::{Direction, EscapedWord, Zone};

/// A rule of the namespace that puts packets into a zone:
/// [`Conntrack::zone_rules`](crate::Conntrack::zone_rules).
///
/// A rule that sets the zone twice (`ct original zone set 5 ct reply zone set 6`) is two of these.
#[doc(alias = "NFT_CT_ZONE")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ZoneRule {
    pub(crate) family: RuleFamily,
    pub(crate) table: String,
    pub(crate) chain: String,
    pub(crate) handle: u64,
    pub(crate) zones: RuledZones,
    pub(crate) direction: Option<Direction>,
    pub(crate) by: RuledBy,
}

impl ZoneRule {
    /// The family of the rule's table.
    #[must_use]
    pub fn family(&self) -> RuleFamily {
        self.family
    }

    /// The name of the rule's table (`NFTA_RULE_TABLE`). Bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The name of the rule's chain (`NFTA_RULE_CHAIN`). Bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// The number by which the rule is deleted (`NFTA_RULE_HANDLE`): `nft --handle list ruleset`
    /// shows it.
    #[must_use]
    pub fn handle(&self) -> u64 {
        self.handle
    }

    /// The zones that the rule puts packets into.
    #[must_use]
    pub fn zones(&self) -> &RuledZones {
        &self.zones
    }

    /// The direction in which the zone is to hold (`NFTA_CT_DIRECTION`, `XT_CT_ZONE_DIR_ORIG`,
    /// `XT_CT_ZONE_DIR_REPL`), `None` for both.
    #[must_use]
    pub fn direction(&self) -> Option<Direction> {
        self.direction
    }

    /// Whose statement it is.
    #[must_use]
    pub fn by(&self) -> RuledBy {
        self.by
    }
}

/// Where it is: `nftables inet filter prerouting handle 5`.
impl fmt::Display for ZoneRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {} handle {}",
            self.by,
            self.family,
            EscapedWord(&self.table),
            EscapedWord(&self.chain),
            self.handle
        )
    }
}

/// The zones that a [`ZoneRule`] puts packets into.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RuledZones {
    /// These and no others, ascending, each once. None where the map that they are looked up in is
    /// empty. Rules that look them up in the same map share them.
    These(Arc<[Zone]>),
    /// It is computed from the packet, such as from its mark: any zone may be meant.
    Any,
}

impl RuledZones {
    /// Whether packets may be put into this zone.
    #[must_use]
    pub fn may_be(&self, zone: Zone) -> bool {
        match self {
            Self::These(zones) => zones.binary_search(&zone).is_ok(),
            Self::Any => true,
        }
    }
}

/// `5`, `5,6`, `none` or `any`.
impl fmt::Display for RuledZones {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::These(zones) if zones.is_empty() => f.write_str("none"),
            Self::These(zones) => {
                for (place, zone) in zones.iter().enumerate() {
                    let comma = if place == 0 { "" } else { "," };
                    write!(f, "{comma}{zone}")?;
                }
                Ok(())
            }
        }
    }
}

/// Whose statement puts packets into a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RuledBy {
    /// `ct zone set` (the expression `ct` of `nf_tables`).
    Nftables,
    /// `-j CT --zone` of iptables-nft and ip6tables-nft (the target `CT` of `xt_CT`).
    Iptables,
}

impl fmt::Display for RuledBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        })
    }
}

/// The family of a table of rules (`NFPROTO_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleFamily(u8);

impl RuleFamily {
    /// IPv4 and IPv6 (`NFPROTO_INET`).
    pub const INET: Self = Self(1);
    /// IPv4 (`NFPROTO_IPV4`).
    pub const IP: Self = Self(2);
    /// ARP (`NFPROTO_ARP`).
    pub const ARP: Self = Self(3);
    /// A device's own packets (`NFPROTO_NETDEV`).
    pub const NETDEV: Self = Self(5);
    /// Frames of a bridge (`NFPROTO_BRIDGE`).
    pub const BRIDGE: Self = Self(7);
    /// IPv6 (`NFPROTO_IPV6`).
    pub const IP6: Self = Self(10);

    /// From the kernel's number.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// The kernel's number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// `inet`, as nft(8) has it; the number where there is no name.
impl fmt::Display for RuleFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match *self {
            Self::INET => "inet",
            Self::IP => "ip",
            Self::ARP => "arp",
            Self::NETDEV => "netdev",
            Self::BRIDGE => "bridge",
            Self::IP6 => "ip6",
            Self(number) => return write!(f, "{number}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_where_it_is() {
        let rule = |table: &str, by, family| ZoneRule {
            family,
            table: table.to_owned(),
            chain: "prerouting".to_owned(),
            handle: 5,
            zones: RuledZones::Any,
            direction: None,
            by,
        };
        let inet = rule("filter", RuledBy::Nftables, RuleFamily::INET);
        assert_eq!(inet.to_string(), "nftables inet filter prerouting handle 5");
        // A name is a word, whatever is in it.
        let odd = rule("a b\n", RuledBy::Iptables, RuleFamily::new(99));
        assert_eq!(
            odd.to_string(),
            "iptables 99 a\\u{20}b\\u{a} prerouting handle 5"
        );
    }

    #[test]
    fn zones_are_listed() {
        let these =
            |zones: &[u16]| RuledZones::These(zones.iter().copied().map(Zone::new).collect());
        for (zones, text) in [
            (these(&[]), "none"),
            (these(&[5]), "5"),
            (these(&[5, 65_535]), "5,65535"),
            (RuledZones::Any, "any"),
        ] {
            assert_eq!(zones.to_string(), text);
        }
        assert!(these(&[5, 9]).may_be(Zone::new(9)) && !these(&[5, 9]).may_be(Zone::new(6)));
        assert!(RuledZones::Any.may_be(Zone::DEFAULT));
    }
}
