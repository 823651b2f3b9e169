//! Entries as the kernel reports them: what [`try_entry`](super::EntryRef) reads, written again.
//!
//! Requests say less (`encode_new`), so this serves conversions to other libraries and the tests that
//! hold decoders and encoders together. The order of attributes is the kernel's
//! (`ctnetlink_fill_info`).

#[cfg(any(test, fuzzing))]
mod others;

use netlink_packet_core::NLA_F_NESTED;

use super::attr::{
    CTA_COUNTERS_ORIG, CTA_COUNTERS_REPLY, CTA_ID, CTA_LABELS, CTA_MARK, CTA_SECMARK, CTA_STATUS,
    CTA_SYNPROXY, CTA_TIMEOUT, CTA_TIMESTAMP_EVENT, CTA_TUPLE_MASTER, CTA_TUPLE_ORIG,
    CTA_TUPLE_REPLY, CTA_USE,
};
use super::entry::{encode_zone, orig_only, reply_only};
use super::reader::{HEADER, split};
use super::writer::Writer;
use super::{counters, protoinfo, rare, tuple};
use crate::error::{Error, Result};
use crate::model::{Entry, Rare, Unknown};
#[cfg(any(test, fuzzing))]
pub(crate) use others::{
    encode_count_report, encode_cpu_stats_report, encode_expect_cpu_stats_report,
    encode_expectation_report, encode_policy_report,
};

/// The attributes of the kernel's report of an entry.
///
/// # Errors
/// When an attribute is longer than netlink can say.
pub(crate) fn encode_report(entry: &Entry) -> Result<Vec<u8>> {
    let known = Writer::alone(|w| encode(w, entry))?;
    with_unknown(known, entry.unknown())
}

/// With the attributes that nobody knows back in their places: each behind what its nest has.
///
/// # Errors
/// For a place that no attribute can have, and one that has become too long.
pub(super) fn with_unknown(known: Vec<u8>, unknown: &[Unknown]) -> Result<Vec<u8>> {
    if unknown.is_empty() {
        return Ok(known);
    }
    let mut all: Vec<&Unknown> = unknown.iter().collect();
    for one in &all {
        if !one.is_possible() {
            return Err(no_place(one));
        }
    }
    // Stable, so that what stands in one nest keeps its order.
    all.sort_by(|a, b| a.path.cmp(&b.path));
    insert(&known, 0, &all)
}

fn no_place(unknown: &Unknown) -> Error {
    Error::invalid(
        "unknown attribute",
        format!("{:?}", unknown.path),
        "not a place of an attribute",
        "1 to 4 numbers up to 16383: those of the nests that lead to it, and its own",
    )
}

fn encode(w: &mut Writer<'_>, entry: &Entry) {
    let nothing = Rare::default();
    let rare = entry.rare.as_deref().unwrap_or(&nothing);
    tuple::encode(w, CTA_TUPLE_ORIG, &entry.orig, orig_only(entry.zone));
    tuple::encode(w, CTA_TUPLE_REPLY, &entry.reply, reply_only(entry.zone));
    encode_zone(w, entry.zone);
    if let Some(status) = entry.status {
        w.be32(CTA_STATUS, status.bits());
    }
    if let Some(mark) = entry.mark {
        w.be32(CTA_MARK, mark);
    }
    if let Some(mark) = rare.secmark {
        w.be32(CTA_SECMARK, mark);
    }
    if let Some(context) = &rare.secctx {
        rare::encode_context(w, context);
    }
    if let Some(id) = entry.id {
        w.be32(CTA_ID, id);
    }
    if let Some(uses) = entry.use_count {
        w.be32(CTA_USE, uses);
    }
    if let Some(master) = &rare.master {
        tuple::encode(w, CTA_TUPLE_MASTER, master, None);
    }
    if let Some(timeout) = entry.timeout {
        w.be32(CTA_TIMEOUT, timeout);
    }
    if let Some(info) = &entry.proto_info {
        protoinfo::encode(w, info);
    }
    if let Some(counted) = entry.orig_counters {
        counters::encode(w, CTA_COUNTERS_ORIG, counted);
    }
    if let Some(counted) = entry.reply_counters {
        counters::encode(w, CTA_COUNTERS_REPLY, counted);
    }
    if let Some(stamps) = rare.timestamps {
        rare::encode_timestamps(w, stamps);
    }
    rare::encode_help(w, rare);
    if let Some(labels) = rare.labels {
        rare::encode_labels(w, CTA_LABELS, labels);
    }
    rare::encode_seq_adjust(w, rare);
    if let Some(proxy) = entry.synproxy {
        rare::encode_synproxy(w, CTA_SYNPROXY, proxy);
    }
    if let Some(nanos) = rare.timestamps.and_then(|stamps| stamps.event) {
        w.put(CTA_TIMESTAMP_EVENT, nanos.to_be_bytes());
    }
}

/// The region with more attributes at its end, and in its nests; a nest that is not there is made.
/// `unknown` is sorted by path and of this region: what their paths have before `depth` led here.
///
/// # Errors
/// For a path through an attribute that holds no others.
fn insert(region: &[u8], depth: usize, unknown: &[&Unknown]) -> Result<Vec<u8>> {
    let number = |one: &&Unknown| one.path.get(depth).copied().unwrap_or_default();
    let is_own = |one: &&&Unknown| one.path.len() == depth + 1;
    // The nests below, each with what goes into it.
    let mut nests: Vec<(u16, Vec<&Unknown>)> = Vec::new();
    for one in unknown.iter().filter(|one| !is_own(one)) {
        match nests.last_mut() {
            Some((kind, inside)) if *kind == number(one) => inside.push(one),
            _ => nests.push((number(one), vec![one])),
        }
    }
    let mut bytes = Vec::with_capacity(region.len());
    let put = |bytes: &mut Vec<u8>, kind: u16, inner: &[u8]| -> Result<()> {
        bytes.extend(Writer::alone(|w| w.nest_of(kind, inner))?);
        Ok(())
    };
    let mut rest = region;
    while let Some(header) = rest.first_chunk::<HEADER>() {
        let (length, kind) = split(*header);
        let (Some(content), Some(whole)) = (
            rest.get(HEADER..length),
            rest.get(..((length + 3) & !3).min(rest.len())),
        ) else {
            break; // Never: the writer's own bytes are whole.
        };
        match nests.iter().position(|(nest, _)| *nest == kind) {
            Some(place) => {
                let (_, inside) = nests.remove(place);
                if u16::from_ne_bytes([header[2], header[3]]) & NLA_F_NESTED == 0 {
                    return Err(no_place(inside[0]));
                }
                put(&mut bytes, kind, &insert(content, depth + 1, &inside)?)?;
            }
            None => bytes.extend_from_slice(whole),
        }
        rest = &rest[whole.len()..];
    }
    for (kind, inside) in nests {
        put(&mut bytes, kind, &insert(&[], depth + 1, &inside)?)?;
    }
    for one in unknown.iter().filter(is_own) {
        bytes.extend(Writer::alone(|w| w.bytes(number(one), &one.value))?);
    }
    Ok(bytes)
}
