//! The command line.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use clap::builder::RangedI64ValueParser;
use ctnetlink::{Mark, Zone};

const NOTES: &str = "\
By default this happens in a network namespace of its own, where nothing can be broken.
Whatever is created is removed again before the end, also when a step fails.

NETNS is one of
  new   a new network namespace; needs no privileges
  host  the network namespace that this is started in
  NAME  a namespace as `ip netns list` shows it
  PATH  the file of a namespace, with a slash in it
  PID   the namespace of that process
All but `new` need root, or CAP_NET_ADMIN (and CAP_SYS_ADMIN to enter another namespace).

Examples:
  cargo run --release --example quickstart
  cargo run --release --example quickstart -- --client 2001:db8::1 --server 2001:db8::2
  sudo target/release/examples/quickstart --netns qrouter-1 --zones 100-199
  sudo target/release/examples/quickstart --netns host

Exit status: 0 if every step went well, 1 if one failed, 2 for a bad option.";

/// Creates, lists, changes, deletes and flushes conntrack entries in a free zone
#[derive(Debug, clap::Parser)]
#[command(name = "quickstart", after_help = NOTES)]
pub(crate) struct Args {
    /// Whose table, see below
    #[arg(long, default_value = "new")]
    pub(crate) netns: String,
    /// Where to look for a free zone; the lowest is taken, zone 0 never
    #[arg(long, default_value = "4097-65535", value_name = "FIRST-LAST")]
    #[arg(allow_hyphen_values = true)] // so that the zone's own error speaks of a negative one
    pub(crate) zones: ZoneRange,
    /// Zone of one more entry, which has to survive
    #[arg(long, default_value = "0", value_name = "ZONE")]
    #[arg(allow_hyphen_values = true)]
    pub(crate) bystander_zone: Zone,
    /// Address of the client, IPv4 or IPv6
    #[arg(long, default_value = "192.0.2.1", value_name = "ADDRESS")]
    pub(crate) client: IpAddr,
    /// Address of the server, of the same family
    #[arg(long, default_value = "192.0.2.2", value_name = "ADDRESS")]
    pub(crate) server: IpAddr,
    /// Port of the client
    #[arg(long, default_value = "40000", value_name = "PORT")]
    pub(crate) client_port: u16,
    /// Port of the server for TCP
    #[arg(long, default_value = "443", value_name = "PORT")]
    pub(crate) tcp_port: u16,
    /// Port of the server for UDP
    #[arg(long, default_value = "53", value_name = "PORT")]
    pub(crate) udp_port: u16,
    /// Identifier of the ICMP echo, of either family
    #[arg(long, default_value = "7", value_name = "ID")]
    pub(crate) icmp_id: u16,
    /// Time-out of new entries: the kernel itself removes them then
    #[arg(long, default_value = "600", value_name = "SECONDS", value_parser = seconds())]
    pub(crate) timeout: u32,
    /// Mark of new entries
    #[arg(long, default_value = "1", value_name = "NUMBER")]
    pub(crate) mark: u32,
    /// Time-out that the TCP entry is given later
    #[arg(long, default_value = "1200", value_name = "SECONDS", value_parser = seconds())]
    pub(crate) new_timeout: u32,
    /// Mark that the TCP entry is given later: all bits, or those of MASK
    #[arg(long, default_value = "2", value_name = "VALUE[/MASK]")]
    pub(crate) new_mark: Mark,
}

/// The kernel keeps at most `INT_MAX` jiffies, of which a second has up to 1000.
fn seconds() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(i32::MAX / 1000))
}

/// FIRST-LAST, or one zone alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ZoneRange {
    pub(crate) first: Zone,
    pub(crate) last: Zone,
}

impl FromStr for ZoneRange {
    type Err = Box<dyn Error + Send + Sync>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A hyphen in front is a sign, which `Zone` refuses in its own words.
        let hyphen = text.char_indices().skip(1).find(|(_, c)| *c == '-');
        let (first, last) = hyphen.map_or((text, text), |(at, _)| (&text[..at], &text[at + 1..]));
        let (first, last) = (first.parse::<Zone>()?, last.parse::<Zone>()?);
        if first > last {
            return Err(format!("the first zone, {first}, is beyond the last, {last}").into());
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for ZoneRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}
