//! The same lists, with what else there is.

use std::hint::black_box;

use conntrack::model::Flow;
use netlink_packet_core::NetlinkMessage;
use netlink_packet_netfilter::NetfilterMessage;

use crate::common::Result;
use crate::common::raw::Raw;

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
