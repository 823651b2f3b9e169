//! How full the table is, and whether the kernel answers at all.

use nix::errno::Errno;

use super::Session;
use super::single::looked_up;
use super::trace::converse;
use crate::error::{Operation, Result};
use crate::link::Link;
use crate::model::Count;
use crate::wire;

pub(crate) fn count(session: &Session) -> Result<Count> {
    converse(session, Operation::Count, None, 0, |link| {
        ask(session, link, Operation::Count)
    })
}

/// The table's fill, on a link that is at hand.
pub(super) fn ask(session: &Session, link: &mut Link, operation: Operation) -> Result<Count> {
    let decode = |payload: &[u8]| {
        wire::decode_count(payload).map_err(|malformed| malformed.error(operation))
    };
    looked_up(session, link, operation, wire::stats_request, decode)
}

/// Asks for the figures, to see whether ctnetlink is there and may be used.
pub(crate) fn open_check(session: &Session) -> Result<()> {
    converse(session, Operation::Open, None, 0, |link| {
        check(session, link)
    })
}

fn check(session: &Session, link: &mut Link) -> Result<()> {
    let mut tries = 0;
    loop {
        let Err(error) = ask(session, link, Operation::Open) else {
            return Ok(());
        };
        let Some(errno) = error.errno() else {
            return Err(error);
        };
        // nfnetlink loads the subsystem's module when it is first asked; two processes that ask at
        // once may see EINVAL for a moment.
        if errno.is(Errno::EINVAL) && tries == 0 {
            tries += 1;
            tracing::warn!("the kernel does not know ctnetlink yet, asking once more");
            continue;
        }
        return Err(if errno.is(Errno::EPERM) {
            error.with_hint(
                "CAP_NET_ADMIN is missing: run as root, grant it with `setcap cap_net_admin+ep`, or use a network namespace inside a user namespace of your own",
            )
        } else if errno.is(Errno::EINVAL) || errno.is(Errno::EOPNOTSUPP) {
            error.with_hint(
                "the kernel lacks ctnetlink: load the module nf_conntrack_netlink, or build the kernel with CONFIG_NF_CT_NETLINK",
            )
        } else {
            error
        });
    }
}
