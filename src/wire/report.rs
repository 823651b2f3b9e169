//! Entries and expectations as the kernel reports them: what [`try_entry`](super::EntryRef) and
//! `decode_expectation` read, written again.
//!
//! Requests say less (`encode_new`), so this serves conversions to other libraries and the tests that
//! hold decoders and encoders together. The order of attributes is the kernel's
//! (`ctnetlink_fill_info`).

use super::attr::{
    CTA_COUNTERS_BYTES, CTA_COUNTERS_ORIG, CTA_COUNTERS_PACKETS, CTA_COUNTERS_REPLY, CTA_HELP,
    CTA_HELP_INFO, CTA_HELP_NAME, CTA_ID, CTA_LABELS, CTA_MARK, CTA_SECCTX, CTA_SECCTX_NAME,
    CTA_SECMARK, CTA_STATUS, CTA_SYNPROXY, CTA_TIMEOUT, CTA_TIMESTAMP, CTA_TIMESTAMP_EVENT,
    CTA_TIMESTAMP_START, CTA_TIMESTAMP_STOP, CTA_TUPLE_MASTER, CTA_TUPLE_ORIG, CTA_TUPLE_REPLY,
    CTA_USE,
};
use super::entry::{encode_zone, orig_only, reply_only};
use super::reader::{HEADER, split};
use super::writer::Writer;
use super::{protoinfo, rare, tuple};
use crate::error::{Error, Result};
use crate::model::{Counters, Entry, Rare, Unknown};

/// The attributes of the kernel's report of an entry.
///
/// # Errors
/// When an attribute is longer than netlink can say.
pub(crate) fn encode_report(entry: &Entry) -> Result<Vec<u8>> {
    let known = Writer::alone(|w| encode(w, entry))?;
    with_unknown(known, entry.unknown())
}

/// With the attributes that nobody knows back in their places: each behind what its nest has.
pub(super) fn with_unknown(known: Vec<u8>, unknown: &[Unknown]) -> Result<Vec<u8>> {
    unknown.iter().try_fold(known, |bytes, unknown| {
        insert(&bytes, &unknown.path, &unknown.value)
    })
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
        w.nest(CTA_SECCTX, |w| w.text(CTA_SECCTX_NAME, context));
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
    encode_counters(w, CTA_COUNTERS_ORIG, entry.orig_counters);
    encode_counters(w, CTA_COUNTERS_REPLY, entry.reply_counters);
    if let Some(stamps) = rare.timestamps {
        if stamps.start.is_some() || stamps.stop.is_some() {
            w.nest(CTA_TIMESTAMP, |w| {
                for (kind, nanos) in [
                    (CTA_TIMESTAMP_START, stamps.start),
                    (CTA_TIMESTAMP_STOP, stamps.stop),
                ] {
                    if let Some(nanos) = nanos {
                        w.put(kind, nanos.to_be_bytes());
                    }
                }
            });
        }
    }
    if let Some(helper) = rare.helper {
        w.nest(CTA_HELP, |w| {
            w.text(CTA_HELP_NAME, helper.as_str());
            if let Some(info) = &rare.helper_info {
                w.bytes(CTA_HELP_INFO, info);
            }
        });
    }
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

fn encode_counters(w: &mut Writer<'_>, kind: u16, counters: Option<Counters>) {
    if let Some(Counters { packets, bytes }) = counters {
        w.nest(kind, |w| {
            w.put(CTA_COUNTERS_PACKETS, packets.to_be_bytes());
            w.put(CTA_COUNTERS_BYTES, bytes.to_be_bytes());
        });
    }
}

/// The region with one attribute more, at the end of the nest that the path names. A nest that is
/// not there is made.
fn insert(region: &[u8], path: &[u16], value: &[u8]) -> Result<Vec<u8>> {
    let Some((kind, inside)) = path.split_first() else {
        return Err(Error::invalid(
            "unknown attribute",
            "",
            "no path",
            "the numbers that lead to it, and its own",
        ));
    };
    let mut bytes = Vec::with_capacity(region.len() + HEADER + value.len());
    if inside.is_empty() {
        bytes.extend_from_slice(region);
        let attribute = Writer::alone(|w| w.bytes(*kind, value))?;
        bytes.extend_from_slice(&attribute);
        return Ok(bytes);
    }
    let nest = |inner: &[u8]| Writer::alone(|w| w.nest_of(*kind, inner));
    let mut rest = region;
    let mut found = false;
    while let Some(header) = rest.first_chunk::<HEADER>() {
        let (length, number) = split(*header);
        let (Some(content), Some(whole)) = (
            rest.get(HEADER..length),
            rest.get(..((length + 3) & !3).min(rest.len())),
        ) else {
            break;
        };
        if number == *kind && !found {
            found = true;
            bytes.extend_from_slice(&nest(&insert(content, inside, value)?)?);
        } else {
            bytes.extend_from_slice(whole);
        }
        rest = &rest[whole.len()..];
    }
    if !found {
        bytes.extend_from_slice(&nest(&insert(&[], inside, value)?)?);
    }
    Ok(bytes)
}
