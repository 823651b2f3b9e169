//! A borrowed entry, whose fields are decoded when asked for.

use std::time::Duration;

use super::Malformed;
use super::attr::{
    CTA_COUNTERS_ORIG, CTA_COUNTERS_REPLY, CTA_END, CTA_ID, CTA_MARK, CTA_PROTOINFO, CTA_STATUS,
    CTA_TIMEOUT, CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_USE, CTA_ZONE, Path,
};
use super::reader::{Attr, Attrs, HEADER};
use super::{counters, protoinfo, tuple};
use crate::error::{Operation, Result};
use crate::model::{Counters, Entry, EntryZone, ProtoInfo, Status, Tuple, Zone};

/// Offset of the attributes in a message: after `struct nlmsghdr` and `struct nfgenmsg`.
pub(super) const BODY: u32 = 20;

type Decoded<T> = std::result::Result<T, Malformed>;

/// The attributes of a message's payload.
pub(super) fn attributes(payload: &[u8]) -> Decoded<&[u8]> {
    payload.get(4..).ok_or(Malformed {
        path: Path::default(),
        offset: 16,
        problem: "the nfnetlink header is cut off",
    })
}

/// An entry that lies in the receive buffer: each field is decoded when it is asked for, and
/// nothing is allocated.
///
/// [`Conntrack::visit`](crate::Conntrack::visit) hands these out. A field that the kernel did not
/// send is `None`. A damaged field is an error of that field
/// ([`Error::is_malformed`](crate::Error::is_malformed)).
#[derive(Clone, Copy)]
pub struct EntryRef<'a> {
    body: &'a [u8],
    /// Where the value of each top-level attribute begins in `body`; 0 where there is none.
    index: [u16; CTA_END],
}

impl<'a> EntryRef<'a> {
    /// From what follows the netlink header.
    #[inline]
    pub(crate) fn decode(payload: &'a [u8]) -> Decoded<Self> {
        let body = attributes(payload)?;
        let mut index = [0_u16; CTA_END];
        let mut attrs = Attrs::new(body, BODY, Path::default());
        while let Some(attr) = attrs.next()? {
            if let Some(slot) = index.get_mut(usize::from(attr.kind)) {
                *slot = u16::try_from(attr.at - BODY)
                    .map_err(|_| attrs.wrong(attr, "the message is longer than 65535 bytes"))?;
            }
        }
        Ok(Self { body, index })
    }

    fn attrs(&self) -> Attrs<'a> {
        Attrs::new(self.body, BODY, Path::default())
    }

    #[inline]
    fn attr(&self, kind: u16) -> Option<Attr<'a>> {
        let at = usize::from(*self.index.get(usize::from(kind))?);
        let header = self.body.get(at.checked_sub(HEADER)?..at)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        Some(Attr {
            kind,
            value: self.body.get(at..at - HEADER + length)?,
            at: BODY + u32::from(self.index[usize::from(kind)]),
        })
    }

    #[inline]
    fn be32(&self, kind: u16) -> Decoded<Option<u32>> {
        self.attr(kind)
            .map(|attr| self.attrs().be32(attr))
            .transpose()
    }

    fn tuple(&self, kind: u16) -> Decoded<(Tuple, Option<Zone>)> {
        match self.attr(kind) {
            Some(attr) => tuple::decode(self.attrs().nested(attr)),
            None => Err(self.attrs().lacks(if kind == CTA_TUPLE_ORIG {
                "CTA_TUPLE_ORIG is missing"
            } else {
                "CTA_TUPLE_REPLY is missing"
            })),
        }
    }

    fn tuple_zone(&self, kind: u16) -> Decoded<Option<Zone>> {
        match self.attr(kind) {
            Some(attr) => tuple::decode_zone(self.attrs().nested(attr)),
            None => Ok(None),
        }
    }

    fn join_zone(&self, orig: Option<Zone>, reply: Option<Zone>) -> Decoded<EntryZone> {
        let both = match self.attr(CTA_ZONE) {
            Some(attr) => Some(Zone::new(self.attrs().be16(attr)?)),
            None => None,
        };
        match (both, orig, reply) {
            (None, None, None) => Ok(EntryZone::default()),
            (Some(zone), None, None) => Ok(EntryZone::Both(zone)),
            (None, Some(zone), None) => Ok(EntryZone::Orig(zone).canonical()),
            (None, None, Some(zone)) => Ok(EntryZone::Reply(zone).canonical()),
            _ => Err(self.attrs().lacks("the zone is given more than once")),
        }
    }

    pub(crate) fn try_orig(&self) -> Decoded<Tuple> {
        Ok(self.tuple(CTA_TUPLE_ORIG)?.0)
    }

    pub(crate) fn try_reply(&self) -> Decoded<Tuple> {
        Ok(self.tuple(CTA_TUPLE_REPLY)?.0)
    }

    pub(crate) fn try_zone(&self) -> Decoded<EntryZone> {
        self.join_zone(
            self.tuple_zone(CTA_TUPLE_ORIG)?,
            self.tuple_zone(CTA_TUPLE_REPLY)?,
        )
    }

    pub(crate) fn try_status(&self) -> Decoded<Option<Status>> {
        Ok(self.be32(CTA_STATUS)?.map(Status::from_bits_retain))
    }

    pub(crate) fn try_mark(&self) -> Decoded<Option<u32>> {
        self.be32(CTA_MARK)
    }

    fn try_proto_info(&self) -> Decoded<Option<ProtoInfo>> {
        match self.attr(CTA_PROTOINFO) {
            Some(attr) => protoinfo::decode(self.attrs().nested(attr)),
            None => Ok(None),
        }
    }

    fn try_counters(&self, kind: u16) -> Decoded<Option<Counters>> {
        self.attr(kind)
            .map(|attr| counters::decode(self.attrs().nested(attr)))
            .transpose()
    }

    pub(crate) fn try_entry(&self) -> Decoded<Entry> {
        let (orig, orig_zone) = self.tuple(CTA_TUPLE_ORIG)?;
        let (reply, reply_zone) = self.tuple(CTA_TUPLE_REPLY)?;
        Ok(Entry {
            zone: self.join_zone(orig_zone, reply_zone)?,
            status: self.try_status()?,
            timeout: self.be32(CTA_TIMEOUT)?,
            mark: self.be32(CTA_MARK)?,
            id: self.be32(CTA_ID)?,
            use_count: self.be32(CTA_USE)?,
            proto_info: self.try_proto_info()?,
            orig_counters: self.try_counters(CTA_COUNTERS_ORIG)?,
            reply_counters: self.try_counters(CTA_COUNTERS_REPLY)?,
            ..Entry::new(orig, reply)
        })
    }
}

fn public<T>(decoded: Decoded<T>) -> Result<T> {
    decoded.map_err(|malformed| malformed.error(Operation::List))
}

impl EntryRef<'_> {
    /// The tuple of the packets that began the flow.
    #[doc(alias = "CTA_TUPLE_ORIG")]
    pub fn orig(&self) -> Result<Tuple> {
        public(self.try_orig())
    }

    /// The tuple of the packets that answer.
    #[doc(alias = "CTA_TUPLE_REPLY")]
    pub fn reply(&self) -> Result<Tuple> {
        public(self.try_reply())
    }

    /// The zone, and the directions in which it holds.
    #[doc(alias = "CTA_ZONE")]
    pub fn zone(&self) -> Result<EntryZone> {
        public(self.try_zone())
    }

    /// Status bits.
    #[doc(alias = "CTA_STATUS")]
    pub fn status(&self) -> Result<Option<Status>> {
        public(self.try_status())
    }

    /// What is left of the time-out.
    #[doc(alias = "CTA_TIMEOUT")]
    pub fn timeout(&self) -> Result<Option<Duration>> {
        let seconds = public(self.be32(CTA_TIMEOUT))?;
        Ok(seconds.map(|secs| Duration::from_secs(secs.into())))
    }

    /// The mark.
    #[doc(alias = "CTA_MARK")]
    pub fn mark(&self) -> Result<Option<u32>> {
        public(self.try_mark())
    }

    /// The kernel's id of this very entry.
    #[doc(alias = "CTA_ID")]
    pub fn id(&self) -> Result<Option<u32>> {
        public(self.be32(CTA_ID))
    }

    /// The kernel's reference count.
    #[doc(alias = "CTA_USE")]
    pub fn use_count(&self) -> Result<Option<u32>> {
        public(self.be32(CTA_USE))
    }

    /// What the protocol's tracker knows.
    #[doc(alias = "CTA_PROTOINFO")]
    pub fn proto_info(&self) -> Result<Option<ProtoInfo>> {
        public(self.try_proto_info())
    }

    /// Packets and bytes of the original direction.
    #[doc(alias = "CTA_COUNTERS_ORIG")]
    pub fn orig_counters(&self) -> Result<Option<Counters>> {
        public(self.try_counters(CTA_COUNTERS_ORIG))
    }

    /// Packets and bytes of the reply direction.
    #[doc(alias = "CTA_COUNTERS_REPLY")]
    pub fn reply_counters(&self) -> Result<Option<Counters>> {
        public(self.try_counters(CTA_COUNTERS_REPLY))
    }

    /// All of it, as an owned entry.
    pub fn to_entry(&self) -> Result<Entry> {
        public(self.try_entry())
    }
}

/// The entry's line, or what is damaged of it.
impl std::fmt::Debug for EntryRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.try_entry() {
            Ok(entry) => write!(f, "EntryRef({entry})"),
            Err(malformed) => write!(f, "EntryRef(malformed: {malformed})"),
        }
    }
}
