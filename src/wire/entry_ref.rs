//! A borrowed entry, whose fields are decoded when asked for.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::Malformed;
use super::attr::{
    CTA_COUNTERS_ORIG, CTA_COUNTERS_REPLY, CTA_HELP, CTA_ID, CTA_LABELS, CTA_MARK, CTA_PROTOINFO,
    CTA_STATUS, CTA_SYNPROXY, CTA_TIMEOUT, CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_USE, CTA_ZONE,
};
use super::path::Path;
use super::reader::{Attr, Attrs, HEADER, Unknowns, split};
use super::{counters, protoinfo, rare, tuple};
use crate::error::{Error, Operation, Result};
use crate::model::{
    Addresses, Counters, Entry, EntryZone, Helper, Labels, Layer4, ProtoInfo, Protocol, Status,
    TcpState, Tuple, Zone,
};

/// Offset of the attributes in a message: after `struct nlmsghdr` and `struct nfgenmsg`.
pub(super) const BODY: u32 = 20;

/// Stands where a tuple is to come.
const NOTHING: Tuple = Tuple {
    addresses: Addresses::V4 {
        src: Ipv4Addr::UNSPECIFIED,
        dst: Ipv4Addr::UNSPECIFIED,
    },
    layer4: Layer4::Other(Protocol::new(0)),
};

type Decoded<T> = std::result::Result<T, Malformed>;

/// The attributes of a message's payload.
#[inline]
pub(super) fn attributes(payload: &[u8]) -> Decoded<&[u8]> {
    match payload.get(4..) {
        Some(attributes) => Ok(attributes),
        None => Err(Malformed {
            path: Path::default(),
            offset: 16,
            problem: "the nfnetlink header is cut off",
        }),
    }
}

/// Where a value stands in its message.
fn offset(body: &[u8], value: &[u8]) -> u32 {
    // The value is a part of the body, so this counts what comes before it.
    let before = (value.as_ptr() as usize).saturating_sub(body.as_ptr() as usize);
    BODY.saturating_add(u32::try_from(before).unwrap_or(u32::MAX))
}

// Out of line, and by values, so that what calls them stays in registers.

#[cold]
#[inline(never)]
fn wrong(body: &[u8], kind: u16, value: &[u8], problem: &'static str) -> Malformed {
    Malformed {
        path: Path::default().join(kind),
        offset: offset(body, value),
        problem,
    }
}

#[cold]
#[inline(never)]
fn no_tuple(kind: u16) -> Malformed {
    Malformed {
        path: Path::default(),
        offset: BODY,
        problem: if kind == CTA_TUPLE_ORIG {
            "CTA_TUPLE_ORIG is missing"
        } else {
            "CTA_TUPLE_REPLY is missing"
        },
    }
}

/// What is wrong with attributes that cannot be walked to their end.
#[cold]
#[inline(never)]
fn damage(body: &[u8]) -> Malformed {
    let mut attrs = Attrs::new(body, BODY, Path::default());
    while attrs.next().is_some() {}
    match attrs.finish() {
        Err(malformed) => malformed,
        Ok(()) => attrs.lacks("the attributes are damaged"),
    }
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
    /// What follows the original tuple, if that comes first as the kernel has it, else all.
    reply: &'a [u8],
    /// What follows both tuples, if they come first as the kernel has them, else all.
    rest: &'a [u8],
}

/// What a message has of a kind of attribute.
enum Found<'a> {
    Value(&'a [u8]),
    Absent,
    Damage,
}

/// What follows the first attribute, if it is whole and of this kind.
#[inline]
fn after(region: &[u8], kind: u16) -> Option<&[u8]> {
    let (length, found) = split(*region.first_chunk::<HEADER>()?);
    if found == kind && length >= HEADER {
        region.get((length + 3) & !3..)
    } else {
        None
    }
}

/// The first attribute of a kind.
#[inline]
fn find(region: &[u8], kind: u16) -> Found<'_> {
    let mut rest = region;
    while let Some(header) = rest.first_chunk::<HEADER>() {
        let (length, found) = split(*header);
        let padded = (length + 3) & !3;
        if padded > rest.len() || length < HEADER {
            // Damage, unless it is the last attribute, which may lack its padding.
            return match rest.get(HEADER..length) {
                Some(value) if found == kind => Found::Value(value),
                Some(_) => Found::Absent,
                None => Found::Damage,
            };
        }
        if found == kind {
            return Found::Value(&rest[HEADER..length]);
        }
        rest = &rest[padded..];
    }
    if rest.is_empty() {
        Found::Absent
    } else {
        Found::Damage
    }
}

impl<'a> EntryRef<'a> {
    /// From what follows the netlink header.
    #[inline]
    pub(crate) fn decode(payload: &'a [u8]) -> Decoded<Self> {
        let body = attributes(payload)?;
        let reply = after(body, CTA_TUPLE_ORIG).unwrap_or(body);
        let rest = after(reply, CTA_TUPLE_REPLY).unwrap_or(body);
        Ok(Self { body, reply, rest })
    }

    #[inline]
    fn attrs(&self) -> Attrs<'a> {
        Attrs::new(self.body, BODY, Path::default())
    }

    /// The value of the first attribute of a kind. `None` only when the whole message was looked at.
    ///
    /// There is no index of the attributes: the kernel puts what is asked for most (tuples, zone,
    /// status, mark) first, so a walk to it is shorter than one to the message's end.
    #[inline]
    fn value(self, kind: u16) -> Decoded<Option<&'a [u8]>> {
        match find(self.region(kind), kind) {
            Found::Value(value) => Ok(Some(value)),
            Found::Absent => Ok(None),
            Found::Damage => Err(damage(self.body)),
        }
    }

    /// Where the first attribute of a kind is looked for.
    #[inline]
    fn region(self, kind: u16) -> &'a [u8] {
        match kind {
            CTA_TUPLE_ORIG => self.body,
            CTA_TUPLE_REPLY => self.reply,
            _ => self.rest,
        }
    }

    /// With where it stands, for decoders that walk on.
    fn attr(self, kind: u16) -> Decoded<Option<Attr<'a>>> {
        Ok(self.value(kind)?.map(|value| Attr {
            kind,
            at: offset(self.body, value),
            value,
        }))
    }

    #[inline]
    fn be32(self, kind: u16) -> Decoded<Option<u32>> {
        match self.value(kind)? {
            None => Ok(None),
            Some(value) => match value.try_into() {
                Ok(bytes) => Ok(Some(u32::from_be_bytes(bytes))),
                Err(_) => Err(wrong(self.body, kind, value, "not 4 bytes long")),
            },
        }
    }

    /// Inlined, so that a tuple in the usual layout is written where it is wanted.
    #[inline]
    fn tuple<E>(self, kind: u16, wrong: fn(Malformed) -> E) -> std::result::Result<Tuple, E> {
        let mut tuple = NOTHING;
        if self.usual_tuple(kind, &mut tuple) {
            Ok(tuple)
        } else {
            self.any_tuple(kind).map_err(wrong)
        }
    }

    #[inline(never)]
    fn usual_tuple(self, kind: u16, tuple: &mut Tuple) -> bool {
        match find(self.region(kind), kind) {
            Found::Value(value) => tuple::usual(value, tuple),
            _ => false,
        }
    }

    /// A tuple that is not of the usual layout.
    #[inline(never)]
    fn any_tuple(self, kind: u16) -> Decoded<Tuple> {
        let Some(attr) = self.attr(kind)? else {
            return Err(no_tuple(kind));
        };
        let attrs = self.attrs().nested(attr);
        tuple::decode(attrs, None, &mut Unknowns::ignored())
    }

    fn tuple_zone(&self, kind: u16) -> Decoded<Option<Zone>> {
        match self.attr(kind)? {
            Some(attr) => tuple::decode_zone(self.attrs().nested(attr)),
            None => Ok(None),
        }
    }

    #[inline]
    pub(crate) fn try_orig(&self) -> Decoded<Tuple> {
        self.tuple(CTA_TUPLE_ORIG, |malformed| malformed)
    }

    #[inline]
    pub(crate) fn try_reply(&self) -> Decoded<Tuple> {
        self.tuple(CTA_TUPLE_REPLY, |malformed| malformed)
    }

    #[inline]
    pub(crate) fn try_zone(&self) -> Decoded<EntryZone> {
        // The kernel gives a zone once (`ctnetlink_dump_zone_id`); whether somebody else gave it
        // twice is looked at when the whole entry is decoded.
        match self.value(CTA_ZONE)? {
            None => self.direction_zone(),
            Some(value) => Ok(EntryZone::Both(Zone::new(self.be16(CTA_ZONE, value)?))),
        }
    }

    fn direction_zone(&self) -> Decoded<EntryZone> {
        let orig = self.tuple_zone(CTA_TUPLE_ORIG)?;
        let reply = self.tuple_zone(CTA_TUPLE_REPLY)?;
        self.join_zone(None, orig, reply)
    }

    fn join_zone(
        &self,
        both: Option<Zone>,
        orig: Option<Zone>,
        reply: Option<Zone>,
    ) -> Decoded<EntryZone> {
        match (both, orig, reply) {
            (None, None, None) => Ok(EntryZone::default()),
            (Some(zone), None, None) => Ok(EntryZone::Both(zone)),
            (None, Some(zone), None) => Ok(EntryZone::Orig(zone).canonical()),
            (None, None, Some(zone)) => Ok(EntryZone::Reply(zone).canonical()),
            _ => Err(self.attrs().lacks("the zone is given more than once")),
        }
    }

    #[inline]
    pub(crate) fn try_status(&self) -> Decoded<Option<Status>> {
        Ok(self.be32(CTA_STATUS)?.map(Status::from_bits_retain))
    }

    #[inline]
    pub(crate) fn try_mark(&self) -> Decoded<Option<u32>> {
        self.be32(CTA_MARK)
    }

    #[inline]
    pub(crate) fn try_timeout(&self) -> Decoded<Option<u32>> {
        self.be32(CTA_TIMEOUT)
    }

    #[inline]
    pub(crate) fn try_id(&self) -> Decoded<Option<u32>> {
        self.be32(CTA_ID)
    }

    fn try_proto_info(&self) -> Decoded<Option<ProtoInfo>> {
        match self.attr(CTA_PROTOINFO)? {
            Some(attr) => protoinfo::decode(self.attrs().nested(attr), &mut Unknowns::ignored()),
            None => Ok(None),
        }
    }

    pub(crate) fn try_tcp_state(&self) -> Decoded<Option<TcpState>> {
        let usual = self.value(CTA_PROTOINFO)?.and_then(protoinfo::usual);
        let info = match usual {
            None => self.try_proto_info()?,
            usual => usual,
        };
        Ok(match info {
            Some(ProtoInfo::Tcp(info)) => info.state,
            _ => None,
        })
    }

    pub(crate) fn try_labels(&self) -> Decoded<Option<Labels>> {
        match self.attr(CTA_LABELS)? {
            Some(attr) => rare::labels(&self.attrs(), attr).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn try_helper(&self) -> Decoded<Option<Helper>> {
        match self.attr(CTA_HELP)? {
            Some(attr) => rare::help_name(self.attrs().nested(attr)).map(Some),
            None => Ok(None),
        }
    }

    fn try_counters(&self, kind: u16) -> Decoded<Option<Counters>> {
        match self.attr(kind)? {
            Some(attr) => {
                counters::decode(self.attrs().nested(attr), &mut Unknowns::ignored()).map(Some)
            }
            None => Ok(None),
        }
    }

    /// All fields in one walk. Of an attribute that is given twice, which no kernel does, the first
    /// counts.
    ///
    /// What nearly every entry has comes in one layout: it is compared with that and read in place.
    /// Anything else goes to [`Self::unusual`], whose decoders give the same for the same bytes.
    #[inline]
    pub(crate) fn try_entry(&self) -> Decoded<Entry> {
        let mut entry = Entry::new(NOTHING, NOTHING);
        let mut walk = Walk::default();
        // Ends the turn where the attribute is taken, or given again.
        macro_rules! usual {
            ($field:ident, $value:expr) => {{
                if entry.$field.is_some() {
                    continue;
                }
                if let Some(value) = $value {
                    entry.$field = Some(value);
                    continue;
                }
            }};
        }
        macro_rules! usual_tuple {
            ($field:ident, $value:expr) => {{
                if walk.$field || tuple::usual($value, &mut entry.$field) {
                    walk.$field = true;
                    continue;
                }
            }};
        }
        let mut rest = self.body;
        while let Some(header) = rest.first_chunk::<HEADER>() {
            let (length, kind) = split(*header);
            let Some(value) = rest.get(HEADER..length) else {
                return Err(damage(self.body));
            };
            // The last attribute may lack its padding.
            rest = rest.get((length + 3) & !3..).unwrap_or_default();
            match kind {
                CTA_TUPLE_ORIG => usual_tuple!(orig, value),
                CTA_TUPLE_REPLY => usual_tuple!(reply, value),
                CTA_ZONE => {
                    if walk.zone.is_none() {
                        walk.zone = Some(Zone::new(self.be16(kind, value)?));
                    }
                    continue;
                }
                CTA_STATUS => usual!(status, be32(value).map(Status::from_bits_retain)),
                CTA_TIMEOUT => usual!(timeout, be32(value)),
                CTA_MARK => usual!(mark, be32(value)),
                CTA_ID => usual!(id, be32(value)),
                CTA_USE => usual!(use_count, be32(value)),
                CTA_PROTOINFO => {
                    if walk.proto_info {
                        continue;
                    }
                    walk.proto_info = true;
                    if let Some(info) = protoinfo::usual(value) {
                        entry.proto_info = Some(info);
                        continue;
                    }
                }
                CTA_COUNTERS_ORIG => usual!(orig_counters, counters::usual(value)),
                CTA_COUNTERS_REPLY => usual!(reply_counters, counters::usual(value)),
                CTA_SYNPROXY => usual!(synproxy, rare::usual_synproxy(value)),
                _ => {}
            }
            self.unusual(&mut entry, &mut walk, kind, value)?;
        }
        if !rest.is_empty() {
            return Err(damage(self.body));
        }
        if !walk.orig {
            return Err(no_tuple(CTA_TUPLE_ORIG));
        }
        if !walk.reply {
            return Err(no_tuple(CTA_TUPLE_REPLY));
        }
        entry.zone = self.join_zone(walk.zone, walk.orig_zone, walk.reply_zone)?;
        if !walk.unknowns.is_empty() {
            entry.rare.get_or_insert_default().unknown = walk.unknowns.take();
        }
        Ok(entry)
    }

    /// Takes an attribute that is not laid out as usual, or that few entries have.
    #[inline(never)]
    fn unusual(&self, entry: &mut Entry, walk: &mut Walk, kind: u16, value: &[u8]) -> Decoded<()> {
        let attrs = self.attrs();
        let at = offset(self.body, value);
        let attr = Attr { kind, at, value };
        let unknowns = &mut walk.unknowns;
        match kind {
            CTA_TUPLE_ORIG => {
                let zone = Some(&mut walk.orig_zone);
                entry.orig = tuple::decode(attrs.nested(attr), zone, unknowns)?;
                walk.orig = true;
            }
            CTA_TUPLE_REPLY => {
                let zone = Some(&mut walk.reply_zone);
                entry.reply = tuple::decode(attrs.nested(attr), zone, unknowns)?;
                walk.reply = true;
            }
            CTA_PROTOINFO => entry.proto_info = protoinfo::decode(attrs.nested(attr), unknowns)?,
            CTA_COUNTERS_ORIG => {
                entry.orig_counters = Some(counters::decode(attrs.nested(attr), unknowns)?);
            }
            CTA_COUNTERS_REPLY => {
                entry.reply_counters = Some(counters::decode(attrs.nested(attr), unknowns)?);
            }
            CTA_SYNPROXY => entry.synproxy = Some(rare::synproxy(attrs.nested(attr), unknowns)?),
            CTA_STATUS | CTA_TIMEOUT | CTA_MARK | CTA_ID | CTA_USE => {
                return Err(wrong(self.body, kind, value, "not 4 bytes long"));
            }
            _ => {
                let rare = entry.rare.get_or_insert_default();
                rare::decode(rare, &attrs, attr, unknowns)?;
            }
        }
        Ok(())
    }

    #[inline]
    fn be16(&self, kind: u16, value: &[u8]) -> Decoded<u16> {
        match value.try_into() {
            Ok(bytes) => Ok(u16::from_be_bytes(bytes)),
            Err(_) => Err(wrong(self.body, kind, value, "not 2 bytes long")),
        }
    }
}

/// What a walk knows beside the entry's fields.
#[derive(Default)]
struct Walk {
    orig: bool,
    reply: bool,
    /// Its attribute may be there and say nothing that is known.
    proto_info: bool,
    zone: Option<Zone>,
    orig_zone: Option<Zone>,
    reply_zone: Option<Zone>,
    unknowns: Unknowns,
}

#[inline]
fn be32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

fn public_error(malformed: Malformed) -> Error {
    malformed.error(Operation::List)
}

#[inline]
fn public<T>(decoded: Decoded<T>) -> Result<T> {
    decoded.map_err(public_error)
}

impl<'a> EntryRef<'a> {
    /// From a message of ctnetlink (`IPCTNL_MSG_CT_NEW`) that was received by other means: what
    /// follows the netlink header, which is `struct nfgenmsg` and the attributes.
    ///
    /// # Errors
    /// When it is shorter than `struct nfgenmsg`. Fields are decoded when they are asked for.
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Result<Self> {
        public(Self::decode(payload))
    }
}

impl EntryRef<'_> {
    /// The tuple of the packets that began the flow.
    #[doc(alias = "CTA_TUPLE_ORIG")]
    #[inline]
    pub fn orig(&self) -> Result<Tuple> {
        self.tuple(CTA_TUPLE_ORIG, public_error)
    }

    /// The tuple of the packets that answer.
    #[doc(alias = "CTA_TUPLE_REPLY")]
    #[inline]
    pub fn reply(&self) -> Result<Tuple> {
        self.tuple(CTA_TUPLE_REPLY, public_error)
    }

    /// The zone, and the directions in which it holds.
    #[doc(alias = "CTA_ZONE")]
    #[inline]
    pub fn zone(&self) -> Result<EntryZone> {
        public(self.try_zone())
    }

    /// Status bits.
    #[doc(alias = "CTA_STATUS")]
    #[inline]
    pub fn status(&self) -> Result<Option<Status>> {
        public(self.try_status())
    }

    /// What is left of the time-out.
    #[doc(alias = "CTA_TIMEOUT")]
    #[inline]
    pub fn timeout(&self) -> Result<Option<Duration>> {
        let seconds = public(self.try_timeout())?;
        Ok(seconds.map(|secs| Duration::from_secs(secs.into())))
    }

    /// The mark.
    #[doc(alias = "CTA_MARK")]
    #[inline]
    pub fn mark(&self) -> Result<Option<u32>> {
        public(self.try_mark())
    }

    /// The kernel's id of this very entry.
    #[doc(alias = "CTA_ID")]
    #[inline]
    pub fn id(&self) -> Result<Option<u32>> {
        public(self.try_id())
    }

    /// The kernel's reference count.
    #[doc(alias = "CTA_USE")]
    #[inline]
    pub fn use_count(&self) -> Result<Option<u32>> {
        public(self.be32(CTA_USE))
    }

    /// What the protocol's tracker knows.
    #[doc(alias = "CTA_PROTOINFO")]
    pub fn proto_info(&self) -> Result<Option<ProtoInfo>> {
        public(self.try_proto_info())
    }

    /// The TCP state.
    #[doc(alias = "CTA_PROTOINFO_TCP_STATE")]
    pub fn tcp_state(&self) -> Result<Option<TcpState>> {
        public(self.try_tcp_state())
    }

    /// Labels. `None` if none is set: the kernel sends them only when one is.
    #[doc(alias = "CTA_LABELS")]
    pub fn labels(&self) -> Result<Option<Labels>> {
        public(self.try_labels())
    }

    /// The helper that follows the flow.
    #[doc(alias = "CTA_HELP")]
    pub fn helper(&self) -> Result<Option<Helper>> {
        public(self.try_helper())
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
        self.try_entry().map_err(public_error)
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
