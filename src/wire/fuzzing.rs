//! Every decoder as a function of bytes, for coverage-guided fuzzing (`tests/fuzz`).
//!
//! Each asserts more than that nothing panics: what was decoded is encoded as the kernel would, and
//! decoded to the same value again.

#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "called by fuzz targets alone; a panic is a finding"
)]

use super::message::{FrameKind, frame};
use super::policy::{decode_defaults, decode_policy};
use super::report::{encode_expectation_report, encode_policy_report, encode_report};
use super::{
    EntryRef, decode_count, decode_cpu_stats, decode_event, decode_expect_cpu_stats,
    decode_expectation,
};
use crate::model::{Entry, Expectation, Format, Rare, Unknown};

fn with_header(attributes: &[u8]) -> Vec<u8> {
    [&[0; 4], attributes].concat()
}

fn sorted(unknown: &mut [Unknown]) {
    unknown.sort_by(|a, b| (&a.path, &a.value).cmp(&(&b.path, &b.value)));
}

fn comparable(mut entry: Entry) -> Entry {
    if let Some(rare) = &mut entry.rare {
        sorted(&mut rare.unknown);
        if **rare == Rare::default() {
            entry.rare = None;
        }
    }
    entry
}

/// An entry: field by field, as a whole, as a line, and as a new one.
pub fn entry(bytes: &[u8]) {
    let Ok(view) = EntryRef::decode(bytes) else {
        return;
    };
    let _ = (view.orig(), view.reply(), view.zone(), view.status());
    let _ = (view.mark(), view.timeout(), view.id(), view.use_count());
    let _ = (view.proto_info(), view.helper());
    let _ = (view.orig_counters(), view.reply_counters());
    let _ = format!("{view:?}");
    let Ok(entry) = view.try_entry() else {
        return;
    };
    assert_eq!(view.orig().unwrap(), *entry.orig());
    assert_eq!(view.reply().unwrap(), *entry.reply());
    survives(entry);
}

fn survives(entry: Entry) {
    // A line says the protocol once, so it cannot tell of two.
    let (orig, reply) = (entry.orig(), entry.reply());
    let info = entry.proto_info().map(crate::model::ProtoInfo::protocol);
    if (orig.protocol(), orig.family()) == (reply.protocol(), reply.family())
        && info.is_none_or(|protocol| protocol == orig.protocol())
    {
        let line = entry.to_string();
        if let Ok(read) = line.parse::<Entry>() {
            assert_eq!(read.to_string(), line);
        }
    }
    // One format a time: they take longer than all the rest.
    let format = match entry.id.unwrap_or(0) % 4 {
        0 => Format::Plain,
        1 => Format::Extended,
        2 => Format::Save,
        _ => Format::Xml,
    };
    let _ = entry.display(format).id(true).timestamps(true).to_string();
    let _ = entry.to_new();
    let again = with_header(&encode_report(&entry).unwrap());
    let again = EntryRef::decode(&again).unwrap().try_entry().unwrap();
    assert_eq!(comparable(again), comparable(entry));
}

fn expectation_survives(expectation: Expectation) {
    let _ = expectation.to_string();
    let bytes = with_header(&encode_expectation_report(&expectation).unwrap());
    let mut again = decode_expectation(&bytes).unwrap();
    let mut expectation = expectation;
    sorted(&mut again.unknown);
    sorted(&mut expectation.unknown);
    // Of a master without ports the kernel writes the saved port as its protocol has it.
    if let (Some(nat), Some(before)) = (&mut again.nat, &expectation.nat) {
        nat.port = before.port;
    }
    assert_eq!(again, expectation);
}

/// An expectation.
pub fn expectation(bytes: &[u8]) {
    if let Ok(expectation) = decode_expectation(bytes) {
        expectation_survives(expectation);
    }
}

/// All three kinds of statistics.
pub fn stats(bytes: &[u8]) {
    let _ = decode_count(bytes);
    let _ = decode_cpu_stats(bytes);
    let _ = decode_expect_cpu_stats(bytes);
}

/// A datagram of events.
pub fn event(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some(message)) = frame(&mut rest) {
        if let Ok(Some(event)) = decode_event(&message) {
            match (event.entry(), event.expectation()) {
                (Some(entry), None) => survives(entry.clone()),
                (None, Some(expectation)) => expectation_survives(expectation.clone()),
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(rest.len() < bytes.len() || bytes.is_empty());
}

/// A datagram of acknowledgements.
pub fn ack(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some(message)) = frame(&mut rest) {
        if matches!(message.kind, FrameKind::Error | FrameKind::Done) {
            if let Ok(Err(failure)) = message.outcome() {
                let _ = failure.to_string();
            }
        }
    }
}

/// A time-out policy, or the defaults of a protocol.
pub fn policy(bytes: &[u8]) {
    let reads = |attributes: Vec<u8>| with_header(&attributes);
    if let Ok(mut policy) = decode_policy(bytes) {
        let _ = (policy.to_string(), policy.to_new());
        let report = encode_policy_report(
            Some(&policy.name),
            policy.family,
            &policy.timeouts,
            policy.use_count,
            &policy.unknown,
        );
        let mut again = decode_policy(&reads(report.unwrap())).unwrap();
        for policy in [&mut again, &mut policy] {
            sorted(&mut policy.unknown);
            sorted(&mut policy.timeouts.unknown);
        }
        assert_eq!(again, policy);
    }
    if let Ok(mut defaults) = decode_defaults(bytes) {
        let _ = defaults.to_string();
        let report = encode_policy_report(None, 2, &defaults, None, &[]);
        let mut again = decode_defaults(&reads(report.unwrap())).unwrap();
        sorted(&mut again.unknown);
        sorted(&mut defaults.unknown);
        assert_eq!(again, defaults);
    }
}
