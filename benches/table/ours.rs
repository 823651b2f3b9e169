//! What this crate does, as its users would write it.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;
use std::time::Duration;

use ctnetlink::{Conntrack, Entry, Error, Filter, NewEntry, Status, TcpState, Zone};

use crate::common::Result;
use crate::common::flows::{TIMEOUT, flows};

/// The flows as entries that can be created.
pub(crate) fn prepare(count: usize) -> Result<Vec<NewEntry>> {
    let address =
        |(address, port): ([u8; 4], u16)| SocketAddr::new(Ipv4Addr::from(address).into(), port);
    let mut prepared = Vec::with_capacity(count);
    for flow in flows(count) {
        let (src, dst) = (address(flow.src), address(flow.dst));
        let entry = if flow.tcp {
            Entry::tcp(src, dst).state(TcpState::Established)
        } else {
            Entry::udp(src, dst)
        };
        prepared.push(
            entry
                .zone(Zone::new(flow.zone))
                .status(Status::SEEN_REPLY | Status::ASSURED)
                .timeout(Duration::from_secs(TIMEOUT.into()))
                .mark(flow.mark)
                .build()?,
        );
    }
    Ok(prepared)
}

/// Visits the table and reads what a scan of it would look at.
pub(crate) fn visit(ct: &Conntrack) -> Result<usize> {
    let visited = ct.visit(&Filter::new(), |entry| {
        let read = || {
            black_box(entry.orig()?);
            black_box(entry.reply()?);
            black_box(entry.zone()?);
            black_box(entry.status()?);
            black_box(entry.mark()?);
            black_box(entry.timeout()?);
            Ok::<(), Error>(())
        };
        match read() {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    })?;
    if let Some(error) = visited.stopped {
        return Err(error.into());
    }
    if visited.incomplete {
        return Err("the visit was incomplete".into());
    }
    Ok(usize::try_from(visited.matched)?)
}

/// Lists the table into owned entries.
pub(crate) fn entries(ct: &Conntrack) -> Result<Vec<Entry>> {
    let listed: ctnetlink::Result<Vec<Entry>> = ct.list(&Filter::new())?.collect();
    Ok(listed?)
}
