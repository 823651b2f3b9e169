//! `IPCTNL_MSG_CT_GET_STATS`.

use super::Malformed;
use super::attr::{CTA_STATS_GLOBAL_ENTRIES, CTA_STATS_GLOBAL_MAX_ENTRIES, Path, Root};
use super::entry_ref::{BODY, attributes};
use super::reader::Attrs;
use crate::model::Count;

pub(crate) fn decode_count(payload: &[u8]) -> Result<Count, Malformed> {
    let mut attrs = Attrs::new(attributes(payload)?, BODY, Path::root(Root::Stats));
    let (mut entries, mut max) = (None, None);
    while let Some(attr) = attrs.next() {
        match attr.kind {
            CTA_STATS_GLOBAL_ENTRIES => entries = Some(attrs.be32(attr)?),
            CTA_STATS_GLOBAL_MAX_ENTRIES => max = Some(attrs.be32(attr)?),
            _ => {}
        }
    }
    attrs.finish()?;
    match entries {
        Some(entries) => Ok(Count { entries, max }),
        None => Err(attrs.lacks("CTA_STATS_GLOBAL_ENTRIES is missing")),
    }
}
