//! `IPCTNL_MSG_CT_GET_STATS`, and the same a CPU at a time.

use super::Malformed;
use super::attr::{
    CTA_STATS_CHAIN_TOOLONG, CTA_STATS_CLASH_RESOLVE, CTA_STATS_DELETE, CTA_STATS_DELETE_LIST,
    CTA_STATS_DROP, CTA_STATS_EARLY_DROP, CTA_STATS_ERROR, CTA_STATS_EXP_CREATE,
    CTA_STATS_EXP_DELETE, CTA_STATS_EXP_NEW, CTA_STATS_FOUND, CTA_STATS_GLOBAL_ENTRIES,
    CTA_STATS_GLOBAL_MAX_ENTRIES, CTA_STATS_IGNORE, CTA_STATS_INSERT, CTA_STATS_INSERT_FAILED,
    CTA_STATS_INVALID, CTA_STATS_NEW, CTA_STATS_SEARCH_RESTART, CTA_STATS_SEARCHED,
};
use super::entry_ref::{BODY, attributes};
use super::path::{Path, Root};
use super::reader::{Attrs, Unknowns};
use crate::model::{Count, CpuStats, ExpectCpuStats};

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

/// The CPU's number, which is the nfnetlink header's resource (`ctnetlink_ct_stat_cpu_fill_info`).
fn cpu(payload: &[u8]) -> Option<u16> {
    let bytes = payload.get(2..4)?.try_into().ok()?;
    Some(u16::from_be_bytes(bytes))
}

pub(crate) fn decode_cpu_stats(payload: &[u8]) -> Result<CpuStats, Malformed> {
    let mut attrs = Attrs::new(attributes(payload)?, BODY, Path::root(Root::CpuStats));
    let mut stats = CpuStats {
        cpu: cpu(payload),
        ..CpuStats::default()
    };
    let mut unknowns = Unknowns::default();
    while let Some(attr) = attrs.next() {
        let field = match attr.kind {
            CTA_STATS_SEARCHED => &mut stats.searched,
            CTA_STATS_NEW => &mut stats.new,
            CTA_STATS_IGNORE => &mut stats.ignore,
            CTA_STATS_DELETE => &mut stats.delete,
            CTA_STATS_DELETE_LIST => &mut stats.delete_list,
            CTA_STATS_FOUND => &mut stats.found,
            CTA_STATS_INVALID => &mut stats.invalid,
            CTA_STATS_INSERT => &mut stats.insert,
            CTA_STATS_INSERT_FAILED => &mut stats.insert_failed,
            CTA_STATS_DROP => &mut stats.drop,
            CTA_STATS_EARLY_DROP => &mut stats.early_drop,
            CTA_STATS_ERROR => &mut stats.error,
            CTA_STATS_SEARCH_RESTART => &mut stats.search_restart,
            CTA_STATS_CLASH_RESOLVE => &mut stats.clash_resolve,
            CTA_STATS_CHAIN_TOOLONG => &mut stats.chain_toolong,
            _ => {
                attrs.unknown(attr, &mut unknowns);
                continue;
            }
        };
        *field = Some(attrs.be32(attr)?.into());
    }
    attrs.finish()?;
    stats.unknown = unknowns.take();
    Ok(stats)
}

pub(crate) fn decode_expect_cpu_stats(payload: &[u8]) -> Result<ExpectCpuStats, Malformed> {
    let path = Path::root(Root::ExpectCpuStats);
    let mut attrs = Attrs::new(attributes(payload)?, BODY, path);
    let mut stats = ExpectCpuStats {
        cpu: cpu(payload),
        ..ExpectCpuStats::default()
    };
    let mut unknowns = Unknowns::default();
    while let Some(attr) = attrs.next() {
        let field = match attr.kind {
            CTA_STATS_EXP_NEW => &mut stats.met,
            CTA_STATS_EXP_CREATE => &mut stats.create,
            CTA_STATS_EXP_DELETE => &mut stats.delete,
            _ => {
                attrs.unknown(attr, &mut unknowns);
                continue;
            }
        };
        *field = Some(attrs.be32(attr)?.into());
    }
    attrs.finish()?;
    stats.unknown = unknowns.take();
    Ok(stats)
}
