//! Whether the kernel tracks a protocol's ports.
//!
//! A kernel that does not (DCCP is gone from recent ones, SCTP or UDP-Lite may be left out of a
//! build) takes a new entry with ports all the same and drops them silently: the entry then stands
//! for every flow of that protocol between the two hosts. So it is asked before the first creation
//! for such a protocol, by a look-up that changes nothing.

use std::sync::atomic::{AtomicU8, Ordering};

use nix::errno::Errno;

use super::Session;
use crate::error::{Error, Operation, Result};
use crate::link::{Answer, Link};
use crate::model::{Layer4, NewEntry, Protocol};
use crate::wire::{self, Datagram};

const UNKNOWN: u8 = 0;
const TRACKED: u8 = 1;
const UNTRACKED: u8 = 2;

/// What was learnt of each protocol that a kernel may lack, once a handle.
#[derive(Debug, Default)]
pub(super) struct Tracked([AtomicU8; 4]);

impl Tracked {
    fn slot(&self, protocol: Protocol) -> Option<&AtomicU8> {
        let index = match protocol {
            Protocol::UDPLITE => 0,
            Protocol::SCTP => 1,
            Protocol::DCCP => 2,
            Protocol::GRE => 3,
            _ => return None,
        };
        self.0.get(index)
    }
}

impl Session {
    /// Refuses an entry whose ports or keys the kernel would drop.
    pub(super) fn check_tracked(
        &self,
        link: &mut Link,
        operation: Operation,
        new: &NewEntry,
    ) -> Result<()> {
        let protocol = new.protocol();
        let Some(slot) = self.tracked.slot(protocol) else {
            return Ok(());
        };
        if matches!(new.entry().layer4(), Layer4::Other(_)) {
            return Ok(());
        }
        let mut known = slot.load(Ordering::Relaxed);
        if known == UNKNOWN {
            known = self.ask_tracked(link, operation, protocol)?;
            slot.store(known, Ordering::Relaxed);
        }
        if known == UNTRACKED {
            return Err(Error::unsupported(
                operation,
                format!("{protocol} is not tracked by its ports"),
                "without them the entry would stand for every such flow between the two hosts",
            ));
        }
        Ok(())
    }

    fn ask_tracked(&self, link: &mut Link, operation: Operation, protocol: Protocol) -> Result<u8> {
        let mut datagram = Datagram::new(link.sequence());
        wire::portless_get(&mut datagram, protocol)?;
        let mut known = UNTRACKED;
        let mut other = None;
        let lost = link.request(operation, &datagram, self.deadline, |_, answer| {
            if let Answer::Outcome(Err(failure)) = answer {
                if failure.errno.is(Errno::EINVAL) {
                    known = TRACKED;
                } else if !failure.errno.is(Errno::ENOENT) {
                    other = Some(failure);
                }
            }
        })?;
        match other {
            Some(failure) => Err(Error::kernel(operation, failure)),
            // A lost answer is not a no.
            None if lost => Err(Error::overrun(operation)),
            None => Ok(known),
        }
    }
}
