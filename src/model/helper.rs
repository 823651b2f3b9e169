//! Names of helpers.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// `NF_CT_HELPER_NAME_LEN`, the closing zero aside.
const MAX: usize = 15;

/// What the kernel keeps of a helper's information (`struct nf_conn_help`); the rest it would drop
/// without a word (`nfnl_cthelper_from_nlattr`).
const MAX_INFO: usize = 32;

pub(super) fn check_info(info: &[u8]) -> Result<()> {
    if info.len() > MAX_INFO {
        return Err(Error::invalid(
            "a helper's information",
            format!("{} bytes", info.len()),
            "too long",
            "at most 32 bytes, which is what the kernel keeps",
        ));
    }
    Ok(())
}

/// A connection tracking helper by its name: 1 to 15 bytes. Those that the kernel brings have
/// constants; any other name is one of a module or of a program in user space.
///
/// ```
/// use ctnetlink::Helper;
///
/// assert_eq!(Helper::FTP.as_str(), "ftp");
/// assert_eq!("Q.931".parse::<Helper>()?, Helper::Q931);
/// assert!("a-name-of-16-byt".parse::<Helper>().is_err());
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[doc(alias = "CTA_HELP_NAME")]
#[doc(alias = "CTA_EXPECT_HELP_NAME")]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Helper {
    /// Zeros behind the name.
    bytes: [u8; MAX],
}

macro_rules! helpers {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        impl Helper {
            $($(#[$doc])* pub const $name: Self = Self::known($text);)*
        }
    };
}

helpers! {
    /// FTP, TCP port 21.
    FTP = "ftp";
    /// TFTP, UDP port 69.
    TFTP = "tftp";
    /// SIP, UDP and TCP port 5060.
    SIP = "sip";
    /// H.323 registration (RAS), UDP port 1719.
    RAS = "RAS";
    /// H.323 call signalling (Q.931), TCP port 1720.
    Q931 = "Q.931";
    /// H.323 control (H.245). The kernel attaches it to what Q.931 expects.
    H245 = "H.245";
    /// Amanda, UDP port 10080.
    AMANDA = "amanda";
    /// IRC (DCC), TCP port 6667.
    IRC = "irc";
    /// PPTP, TCP port 1723.
    PPTP = "pptp";
    /// SNMP broadcasts, UDP port 161.
    SNMP = "snmp";
    /// SANE, TCP port 6566.
    SANE = "sane";
    /// `NetBIOS` name service broadcasts, UDP port 137.
    NETBIOS_NS = "netbios-ns";
}

impl Helper {
    /// A name that is known when this is compiled.
    const fn known(name: &str) -> Self {
        let name = name.as_bytes();
        assert!(!name.is_empty() && name.len() <= MAX);
        let mut bytes = [0; MAX];
        let mut at = 0;
        while at < name.len() {
            bytes[at] = name[at];
            at += 1;
        }
        Self { bytes }
    }

    /// By its name.
    ///
    /// # Errors
    /// For a name that is empty, longer than 15 bytes, or has a zero byte.
    pub fn new(name: &str) -> Result<Self> {
        if name.is_empty() || name.len() > MAX || name.contains('\0') {
            return Err(Error::invalid(
                "helper",
                name,
                "not a helper's name",
                "1 to 15 bytes, no zero",
            ));
        }
        Ok(Self::known(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = self.bytes.iter().position(|byte| *byte == 0);
        let name = &self.bytes[..length.unwrap_or(MAX)];
        // Made of a `str` without zeros.
        std::str::from_utf8(name).unwrap_or_default()
    }
}

impl FromStr for Helper {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl TryFrom<&str> for Helper {
    type Error = Error;

    fn try_from(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl fmt::Display for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_1_to_15_bytes() {
        for name in ["x", "fifteen-bytes-x", "é", "Q.931"] {
            assert_eq!(Helper::new(name).unwrap().as_str(), name);
        }
        for name in ["", "sixteen-bytes-xy", "a\0b", "ééééééé1é"] {
            assert!(Helper::new(name).unwrap_err().is_invalid_input(), "{name}");
        }
    }
}
