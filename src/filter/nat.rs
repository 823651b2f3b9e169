//! Whether packets are translated.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::model::Status;

/// Whether, and how, an entry's packets are translated: by its status bits [`Status::SRC_NAT`] and
/// [`Status::DST_NAT`].
///
/// The kernel sets them where a translation changed the tuple (`nf_nat_setup_info`), be it the port
/// alone, and it rewrites packets by them and nothing else (`nf_nat_packet`). Tuples are not compared:
/// an entry that was made with a reply tuple of its own is not translated, though its answers come from
/// elsewhere. conntrack(8) does compare them for its `--src-nat`, `--dst-nat` and `--any-nat`: where
/// translation is in use, it takes a ping that nobody translated for a translated one.
///
/// ```
/// use ctnetlink::{NatKind, Status};
///
/// let status = Status::SEEN_REPLY | Status::SRC_NAT;
/// assert!(NatKind::Source.matches(status) && NatKind::Any.matches(status));
/// assert!(!NatKind::Destination.matches(status) && !NatKind::None.matches(status));
/// assert_eq!("src".parse::<NatKind>()?, NatKind::Source);
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[doc(alias = "IPS_NAT_MASK")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NatKind {
    /// The source, and perhaps the destination too.
    #[doc(alias = "IPS_SRC_NAT")]
    Source,
    /// The destination, and perhaps the source too.
    #[doc(alias = "IPS_DST_NAT")]
    Destination,
    /// The source, the destination, or both.
    Any,
    /// Neither.
    None,
}

impl NatKind {
    /// Whether an entry with this status is of the kind.
    #[must_use]
    pub const fn matches(self, status: Status) -> bool {
        const BOTH: Status = Status::SRC_NAT.union(Status::DST_NAT);
        match self {
            Self::Source => status.contains(Status::SRC_NAT),
            Self::Destination => status.contains(Status::DST_NAT),
            Self::Any => status.intersects(BOTH),
            Self::None => !status.intersects(BOTH),
        }
    }
}

/// `src`, `dst`, `any` or `none`.
impl fmt::Display for NatKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Source => "src",
            Self::Destination => "dst",
            Self::Any => "any",
            Self::None => "none",
        })
    }
}

impl FromStr for NatKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "src" => Ok(Self::Source),
            "dst" => Ok(Self::Destination),
            "any" => Ok(Self::Any),
            "none" => Ok(Self::None),
            _ => Err(Error::invalid(
                "translation",
                text,
                "not known",
                "src, dst, any or none",
            )),
        }
    }
}
