//! The floor of deletes.

use crate::common::Result;
use crate::common::raw::{
    AF_UNSPEC, CTA_TUPLE_ORIG, CTA_ZONE, DELETE, DUMP, Datagrams, GET, NESTED, Raw, put, u16_at,
};

const NLMSG_HEADER: usize = 16;
/// Offset of a message's attributes.
const BODY: usize = 20;

const AF_INET6: u8 = 10;
const CTA_ID: u16 = 12;

/// The key of a listed entry: its original tuple, zone and id, as they came.
fn key(message: &[u8], bytes: &mut Vec<u8>) -> Result<()> {
    let mut at = BODY;
    while at < message.len() {
        let length = usize::from(u16_at(message, at)?);
        let next = at + length.max(4).next_multiple_of(4);
        if let CTA_TUPLE_ORIG | CTA_ZONE | CTA_ID = u16_at(message, at + 2)? & !NESTED {
            bytes.extend(message.get(at..next).ok_or("an attribute is cut off")?);
        }
        at = next;
    }
    Ok(())
}

impl Raw {
    /// Lists, and makes of it the requests that delete what was found, and nothing else.
    pub(crate) fn deletions(&mut self) -> Result<Datagrams> {
        let mut datagrams = Datagrams::default();
        self.dump(|message| {
            let mut failed = Ok(());
            datagrams.message(DELETE, 0, |bytes| failed = key(message, bytes));
            failed
        })?;
        datagrams.finish();
        Ok(datagrams)
    }

    /// Empties a zone, on a kernel that does so.
    pub(crate) fn flush_zone(&mut self, zone: u16) -> Result<()> {
        let mut request = Datagrams::default();
        request.message_of(AF_UNSPEC, DELETE, 0, |bytes| {
            put(bytes, CTA_ZONE, &zone.to_be_bytes());
        });
        request.finish();
        self.exchange(&request)
    }

    /// Lists both families, and makes of what has this source prefix of 8 bytes the requests that
    /// delete it, and nothing else.
    pub(crate) fn deletions_of(&mut self, prefix: [u8; 8]) -> Result<Datagrams> {
        // The source of a tuple over IPv6 as the kernel lays it out.
        const SOURCE: usize = BODY + 12;
        let mut request = Datagrams::default();
        request.message_of(AF_UNSPEC, GET, DUMP, |_| {});
        let mut datagrams = Datagrams::default();
        self.dump_by(&request, |message| {
            let of_family = message.get(NLMSG_HEADER) == Some(&AF_INET6);
            if !of_family || message.get(SOURCE..SOURCE + 8) != Some(&prefix) {
                return Ok(());
            }
            let mut failed = Ok(());
            datagrams.message_of(AF_INET6, DELETE, 0, |bytes| failed = key(message, bytes));
            failed
        })?;
        datagrams.finish();
        Ok(datagrams)
    }
}
