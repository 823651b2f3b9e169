//! The same lists, with what else there is.

use std::hint::black_box;
use std::process::{Command, Stdio};

use conntrack::model::Flow;
use netlink_packet_core::NetlinkMessage;
use netlink_packet_netfilter::NetfilterMessage;

use crate::Result;
use crate::raw::Raw;

/// The crate `conntrack`: its one operation.
pub(crate) fn conntrack_crate() -> Result<Vec<Flow>> {
    Ok(conntrack::Conntrack::connect()?.dump()?)
}

/// The crate `netlink-packet-netfilter`, over the floor's socket: it has none.
pub(crate) fn netlink_packet_netfilter(raw: &mut Raw) -> Result<usize> {
    let mut count = 0;
    raw.dump(|message| {
        black_box(NetlinkMessage::<NetfilterMessage>::deserialize(message)?);
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

/// Whether conntrack(8) is there.
pub(crate) fn conntrack_is_installed() -> bool {
    Command::new("conntrack")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// `conntrack -L > /dev/null`. It says on its standard error how many entries it has shown.
pub(crate) fn conntrack_command() -> Result<usize> {
    let output = Command::new("conntrack")
        .arg("-L")
        .stdout(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    said.split_whitespace()
        .find_map(|word| word.parse().ok())
        .ok_or_else(|| format!("conntrack -L: {said}").into())
}
