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
use crate::model::{Count, CpuStats, ExpectCpuStats, Unknown};

pub(crate) fn decode_count(payload: &[u8]) -> Result<Count, Malformed> {
    let mut attrs = Attrs::new(attributes(payload)?, BODY, Path::root(Root::Stats));
    let (mut entries, mut max) = (None, None);
    let mut unknowns = Unknowns::default();
    while let Some(attr) = attrs.next() {
        match attr.kind {
            CTA_STATS_GLOBAL_ENTRIES => entries = Some(attrs.be32(attr)?),
            CTA_STATS_GLOBAL_MAX_ENTRIES => max = Some(attrs.be32(attr)?),
            _ => attrs.unknown(attr, &mut unknowns),
        }
    }
    attrs.finish()?;
    match entries {
        Some(entries) => Ok(Count {
            entries,
            max,
            unknown: unknowns.take(),
        }),
        None => Err(attrs.lacks("CTA_STATS_GLOBAL_ENTRIES is missing")),
    }
}

/// The CPU's number, which is the nfnetlink header's resource (`ctnetlink_ct_stat_cpu_fill_info`).
fn cpu(payload: &[u8]) -> Option<u16> {
    let bytes = payload.get(2..4)?.try_into().ok()?;
    Some(u16::from_be_bytes(bytes))
}

/// Reads what a CPU counted into the places that `place` has for the attributes, and gives those
/// back that it has none for.
fn figures<S>(
    payload: &[u8],
    root: Root,
    stats: &mut S,
    place: fn(&mut S, u16) -> Option<&mut Option<u64>>,
) -> Result<Vec<Unknown>, Malformed> {
    let mut attrs = Attrs::new(attributes(payload)?, BODY, Path::root(root));
    let mut unknowns = Unknowns::default();
    while let Some(attr) = attrs.next() {
        match place(stats, attr.kind) {
            Some(figure) => *figure = Some(attrs.be32(attr)?.into()),
            None => attrs.unknown(attr, &mut unknowns),
        }
    }
    attrs.finish()?;
    Ok(unknowns.take())
}

pub(crate) fn decode_cpu_stats(payload: &[u8]) -> Result<CpuStats, Malformed> {
    let mut stats = CpuStats {
        cpu: cpu(payload),
        ..CpuStats::default()
    };
    stats.unknown = figures(payload, Root::CpuStats, &mut stats, |stats, kind| {
        Some(match kind {
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
            _ => return None,
        })
    })?;
    Ok(stats)
}

pub(crate) fn decode_expect_cpu_stats(payload: &[u8]) -> Result<ExpectCpuStats, Malformed> {
    let mut stats = ExpectCpuStats {
        cpu: cpu(payload),
        ..ExpectCpuStats::default()
    };
    stats.unknown = figures(payload, Root::ExpectCpuStats, &mut stats, |stats, kind| {
        Some(match kind {
            CTA_STATS_EXP_NEW => &mut stats.met,
            CTA_STATS_EXP_CREATE => &mut stats.create,
            CTA_STATS_EXP_DELETE => &mut stats.delete,
            _ => return None,
        })
    })?;
    Ok(stats)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::writer::Writer;

    /// A message of the figures of these numbers, and of one that no kernel has yet.
    fn message(cpu: u8, figures: &[(u16, u32)]) -> Vec<u8> {
        let attributes = Writer::alone(|w| {
            for (kind, figure) in figures {
                w.be32(*kind, *figure);
            }
            w.put(99, [7]);
        });
        [&[0, 0, 0, cpu][..], &attributes.unwrap()].concat()
    }

    #[test]
    fn figures_that_are_not_known_are_kept() {
        let kept = vec![Unknown {
            path: vec![99],
            value: vec![7],
        }];
        let bytes = message(
            0,
            &[
                (CTA_STATS_GLOBAL_ENTRIES, 5),
                (CTA_STATS_GLOBAL_MAX_ENTRIES, 9),
            ],
        );
        let count = Count {
            entries: 5,
            max: Some(9),
            unknown: kept.clone(),
        };
        assert_eq!(decode_count(&bytes).unwrap(), count);
        let stats = CpuStats {
            cpu: Some(3),
            drop: Some(5),
            unknown: kept.clone(),
            ..CpuStats::default()
        };
        let bytes = message(3, &[(CTA_STATS_DROP, 5)]);
        assert_eq!(decode_cpu_stats(&bytes).unwrap(), stats);
        let stats = ExpectCpuStats {
            cpu: Some(3),
            met: Some(5),
            unknown: kept,
            ..ExpectCpuStats::default()
        };
        let bytes = message(3, &[(CTA_STATS_EXP_NEW, 5)]);
        assert_eq!(decode_expect_cpu_stats(&bytes).unwrap(), stats);
    }

    #[test]
    fn the_number_of_entries_must_be_there() {
        let bytes = message(0, &[(CTA_STATS_GLOBAL_MAX_ENTRIES, 9)]);
        let malformed = decode_count(&bytes).unwrap_err().to_string();
        assert!(
            malformed.contains("CTA_STATS_GLOBAL_ENTRIES"),
            "{malformed}"
        );
    }
}
