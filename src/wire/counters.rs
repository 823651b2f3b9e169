//! `CTA_COUNTERS_ORIG`, `CTA_COUNTERS_REPLY`.

use super::Malformed;
use super::attr::{
    CTA_COUNTERS_BYTES, CTA_COUNTERS_PACKETS, CTA_COUNTERS32_BYTES, CTA_COUNTERS32_PACKETS,
};
use super::reader::Attrs;
use crate::model::Counters;

pub(super) fn decode(mut attrs: Attrs<'_>) -> Result<Counters, Malformed> {
    let (mut packets, mut bytes) = (None, None);
    while let Some(attr) = attrs.next() {
        match attr.kind {
            CTA_COUNTERS_PACKETS => packets = Some(attrs.be64(attr)?),
            CTA_COUNTERS_BYTES => bytes = Some(attrs.be64(attr)?),
            // Before 2.6.36 or so; read, never written.
            CTA_COUNTERS32_PACKETS => packets = Some(attrs.be32(attr)?.into()),
            CTA_COUNTERS32_BYTES => bytes = Some(attrs.be32(attr)?.into()),
            _ => {}
        }
    }
    attrs.finish()?;
    match (packets, bytes) {
        (Some(packets), Some(bytes)) => Ok(Counters { packets, bytes }),
        _ => Err(attrs.lacks("packets or bytes are missing")),
    }
}
