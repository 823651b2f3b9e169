//! `CTA_COUNTERS_ORIG`, `CTA_COUNTERS_REPLY`.

use super::Malformed;
use super::attr::{
    CTA_COUNTERS_BYTES, CTA_COUNTERS_PACKETS, CTA_COUNTERS_PAD, CTA_COUNTERS32_BYTES,
    CTA_COUNTERS32_PACKETS,
};
use super::reader::{Attrs, Unknowns, header, word};
#[cfg(any(test, fuzzing, feature = "interop"))]
use super::writer::Writer;
use crate::model::Counters;

/// Length of counters as the kernel lays them out (`dump_counters`): two of 64 bits.
const USUAL: usize = 24;

/// Counters in the kernel's own layout. Both headers are compared, so what differs in anything is
/// left to [`decode`], and both give the same for the same bytes.
#[inline]
pub(super) fn usual(value: &[u8]) -> Option<Counters> {
    let bytes: &[u8; USUAL] = value.try_into().ok()?;
    if word(bytes, 0) != header(12, CTA_COUNTERS_PACKETS)
        || word(bytes, 12) != header(12, CTA_COUNTERS_BYTES)
    {
        return None;
    }
    Some(Counters {
        packets: u64::from_be_bytes(*bytes[4..].first_chunk()?),
        bytes: u64::from_be_bytes(*bytes[16..].first_chunk()?),
    })
}

pub(super) fn decode(mut attrs: Attrs<'_>, unknowns: &mut Unknowns) -> Result<Counters, Malformed> {
    let (mut packets, mut bytes) = (None, None);
    while let Some(attr) = attrs.next() {
        match attr.kind {
            CTA_COUNTERS_PACKETS => packets = Some(attrs.be64(attr)?),
            CTA_COUNTERS_BYTES => bytes = Some(attrs.be64(attr)?),
            // Before 2.6.27; read, never written.
            CTA_COUNTERS32_PACKETS => packets = Some(attrs.be32(attr)?.into()),
            CTA_COUNTERS32_BYTES => bytes = Some(attrs.be32(attr)?.into()),
            // `nla_put_be64` aligns with it where the machine needs that.
            CTA_COUNTERS_PAD => {}
            _ => attrs.unknown(attr, unknowns),
        }
    }
    attrs.finish()?;
    match (packets, bytes) {
        (Some(packets), Some(bytes)) => Ok(Counters { packets, bytes }),
        _ => Err(attrs.lacks("packets or bytes are missing")),
    }
}

#[cfg(any(test, fuzzing, feature = "interop"))]
pub(super) fn encode(w: &mut Writer<'_>, kind: u16, counters: Counters) {
    w.nest(kind, |w| {
        w.put(CTA_COUNTERS_PACKETS, counters.packets.to_be_bytes());
        w.put(CTA_COUNTERS_BYTES, counters.bytes.to_be_bytes());
    });
}
