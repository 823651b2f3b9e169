//! Expectations, policies and statistics as the kernel reports them. Nothing but tests asks for these.

use std::net::IpAddr;

use super::with_unknown;
use crate::error::Result;
use crate::model::{Count, CpuStats, ExpectCpuStats, Expectation, Timeouts, Unknown};
#[allow(clippy::wildcard_imports, reason = "attribute numbers")]
use crate::wire::attr::*;
use crate::wire::expect::encode_nat;
use crate::wire::policy::{encode_kind, encode_known};
use crate::wire::tuple;
use crate::wire::writer::Writer;

/// The attributes of the kernel's report of an expectation (`ctnetlink_exp_dump_expect`).
///
/// # Errors
/// As [`encode_report`](super::encode_report).
pub(crate) fn encode_expectation_report(expectation: &Expectation) -> Result<Vec<u8>> {
    let known = Writer::alone(|w| {
        tuple::encode(w, CTA_EXPECT_TUPLE, &expectation.tuple, None);
        encode_mask(w, expectation);
        tuple::encode(w, CTA_EXPECT_MASTER, &expectation.master, None);
        if let Some(nat) = expectation.nat {
            // The kernel says it with the protocol of the master.
            encode_nat(w, nat, expectation.master.protocol());
        }
        for (kind, number) in [
            (CTA_EXPECT_TIMEOUT, expectation.timeout),
            (CTA_EXPECT_ID, expectation.id),
            (
                CTA_EXPECT_FLAGS,
                expectation.flags.map(|flags| flags.bits()),
            ),
            (CTA_EXPECT_CLASS, expectation.class),
        ] {
            if let Some(number) = number {
                w.be32(kind, number);
            }
        }
        if let Some(helper) = expectation.helper {
            w.text(CTA_EXPECT_HELP_NAME, helper.as_str());
        }
        if let Some(function) = &expectation.function {
            w.text(CTA_EXPECT_FN, function);
        }
        if let Some(zone) = expectation.zone {
            w.be16(CTA_EXPECT_ZONE, zone.get());
        }
    })?;
    with_unknown(known, &expectation.unknown)
}

/// Of the destination every bit is set.
fn encode_mask(w: &mut Writer<'_>, expectation: &Expectation) {
    let mask = expectation.mask;
    w.nest(CTA_EXPECT_MASK, |w| {
        w.nest(CTA_TUPLE_IP, |w| match mask.src {
            Some(IpAddr::V4(src)) => {
                w.put(CTA_IP_V4_SRC, src.octets());
                w.put(CTA_IP_V4_DST, [0xff; 4]);
            }
            Some(IpAddr::V6(src)) => {
                w.put(CTA_IP_V6_SRC, src.octets());
                w.put(CTA_IP_V6_DST, [0xff; 16]);
            }
            None => {}
        });
        w.nest(CTA_TUPLE_PROTO, |w| {
            w.put(CTA_PROTO_NUM, [expectation.tuple.protocol().number()]);
            if let Some(port) = mask.src_port {
                w.be16(CTA_PROTO_SRC_PORT, port);
                w.be16(CTA_PROTO_DST_PORT, u16::MAX);
            }
        });
    });
}

/// The attributes of the kernel's report of a time-out policy (`ctnl_timeout_fill_info`), or, without
/// a name, of the defaults of a protocol (`cttimeout_default_fill_info`).
///
/// # Errors
/// As [`encode_report`](super::encode_report).
pub(crate) fn encode_policy_report(
    name: Option<&str>,
    family: u16,
    timeouts: &Timeouts,
    use_count: Option<u32>,
    unknown: &[Unknown],
) -> Result<Vec<u8>> {
    let known = Writer::alone(|w| {
        if let Some(name) = name {
            w.text(CTA_TIMEOUT_NAME, name);
        }
        encode_kind(w, family, timeouts.protocol());
        if let Some(uses) = use_count {
            w.be32(CTA_TIMEOUT_USE, uses);
        }
        w.nest(CTA_TIMEOUT_DATA, |w| encode_known(w, timeouts));
    })?;
    with_unknown(with_unknown(known, unknown)?, &timeouts.unknown)
}

/// The attributes of the kernel's report of the table's fill (`ctnetlink_stat_ct_fill_info`).
///
/// # Errors
/// As [`encode_report`](super::encode_report).
pub(crate) fn encode_count_report(count: &Count) -> Result<Vec<u8>> {
    let known = figures(&[
        (CTA_STATS_GLOBAL_ENTRIES, Some(count.entries.into())),
        (CTA_STATS_GLOBAL_MAX_ENTRIES, count.max.map(Into::into)),
    ])?;
    with_unknown(known, &count.unknown)
}

/// The attributes of the kernel's report of what a CPU counted (`ctnetlink_ct_stat_cpu_fill_info`), all
/// that it ever had among them.
///
/// # Errors
/// As [`encode_report`](super::encode_report).
pub(crate) fn encode_cpu_stats_report(stats: &CpuStats) -> Result<Vec<u8>> {
    let known = figures(&[
        (CTA_STATS_SEARCHED, stats.searched),
        (CTA_STATS_FOUND, stats.found),
        (CTA_STATS_NEW, stats.new),
        (CTA_STATS_INVALID, stats.invalid),
        (CTA_STATS_IGNORE, stats.ignore),
        (CTA_STATS_DELETE, stats.delete),
        (CTA_STATS_DELETE_LIST, stats.delete_list),
        (CTA_STATS_INSERT, stats.insert),
        (CTA_STATS_INSERT_FAILED, stats.insert_failed),
        (CTA_STATS_DROP, stats.drop),
        (CTA_STATS_EARLY_DROP, stats.early_drop),
        (CTA_STATS_ERROR, stats.error),
        (CTA_STATS_SEARCH_RESTART, stats.search_restart),
        (CTA_STATS_CLASH_RESOLVE, stats.clash_resolve),
        (CTA_STATS_CHAIN_TOOLONG, stats.chain_toolong),
    ])?;
    with_unknown(known, &stats.unknown)
}

/// The attributes of the kernel's report of what a CPU counted of expectations
/// (`ctnetlink_exp_stat_fill_info`).
///
/// # Errors
/// As [`encode_report`](super::encode_report).
pub(crate) fn encode_expect_cpu_stats_report(stats: &ExpectCpuStats) -> Result<Vec<u8>> {
    let known = figures(&[
        (CTA_STATS_EXP_NEW, stats.met),
        (CTA_STATS_EXP_CREATE, stats.create),
        (CTA_STATS_EXP_DELETE, stats.delete),
    ])?;
    with_unknown(known, &stats.unknown)
}

/// Figures of 32 bits, which is what kernels send.
fn figures(figures: &[(u16, Option<u64>)]) -> Result<Vec<u8>> {
    Writer::alone(|w| {
        for (kind, figure) in figures {
            if let Some(Ok(figure)) = figure.map(u32::try_from) {
                w.be32(*kind, figure);
            }
        }
    })
}
