//! Every decoder as a function of bytes, for coverage-guided fuzzing (`tests/fuzz`) and for the
//! properties in `wire::tests`.
//!
//! Where there is something to encode, more is asserted than that nothing panics: what was decoded is
//! encoded as the kernel would, and decoded to the same value again.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "called by fuzz targets and tests alone; a panic is a finding"
)]

use super::message::{FrameKind, frame};
use super::report::{
    encode_count_report, encode_cpu_stats_report, encode_expect_cpu_stats_report,
    encode_expectation_report, encode_policy_report, encode_report,
};
use super::{
    EntryRef, Malformed, decode_count, decode_cpu_stats, decode_defaults, decode_event,
    decode_expect_cpu_stats, decode_expectation, decode_policy,
};
use crate::model::{Entry, Expectation, Format, Rare, Unknown, Zone};

/// Behind `struct nfgenmsg`.
pub(super) fn with_header(attributes: &[u8]) -> Vec<u8> {
    [&[0; 4], attributes].concat()
}

/// Unknown attributes are kept in the order in which they stand, and encoded nest by nest.
fn sorted(unknown: &mut [Unknown]) {
    unknown.sort_by(|a, b| (&a.path, &a.value).cmp(&(&b.path, &b.value)));
}

pub(super) fn comparable(mut entry: Entry) -> Entry {
    if let Some(rare) = &mut entry.rare {
        sorted(&mut rare.unknown);
        if **rare == Rare::default() {
            entry.rare = None;
        }
    }
    entry
}

pub(super) fn comparable_expectation(mut expectation: Expectation) -> Expectation {
    sorted(&mut expectation.unknown);
    expectation
}

/// An entry: field by field, as a whole, as a line, and as a new one.
pub fn entry(bytes: &[u8]) {
    let Ok(view) = EntryRef::decode(bytes) else {
        return;
    };
    let _ = format!("{view:?}");
    match view.try_entry() {
        Ok(entry) => {
            fields(&view, &entry);
            survives(entry);
        }
        Err(malformed) => {
            let _ = malformed.to_string();
            let _ = (view.orig(), view.reply(), view.zone(), view.status());
            let _ = (view.mark(), view.timeout(), view.id(), view.use_count());
            let _ = (view.proto_info(), view.tcp_state(), view.labels());
            let _ = (view.helper(), view.orig_counters(), view.reply_counters());
        }
    }
}

/// A field that is asked for alone is what the whole entry has.
pub(super) fn fields(view: &EntryRef<'_>, whole: &Entry) {
    assert_eq!(view.orig().unwrap(), *whole.orig());
    assert_eq!(view.reply().unwrap(), *whole.reply());
    assert_eq!(view.zone().unwrap(), whole.zone());
    assert_eq!(view.status().unwrap(), whole.status());
    assert_eq!(view.timeout().unwrap(), whole.timeout());
    assert_eq!(view.mark().unwrap(), whole.mark());
    assert_eq!(view.id().unwrap(), whole.id());
    assert_eq!(view.use_count().unwrap(), whole.use_count());
    assert_eq!(view.proto_info().unwrap().as_ref(), whole.proto_info());
    assert_eq!(view.tcp_state().unwrap(), whole.tcp_state());
    assert_eq!(view.labels().unwrap(), whole.labels());
    assert_eq!(view.helper().unwrap(), whole.helper());
    assert_eq!(view.orig_counters().unwrap(), whole.orig_counters());
    assert_eq!(view.reply_counters().unwrap(), whole.reply_counters());
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

fn expectation_survives(mut expectation: Expectation) {
    let _ = (expectation.to_string(), format!("{expectation:?}"));
    let _ = expectation.key(Zone::DEFAULT).mismatch(&expectation);
    // Of a translation's tuple address and port are known. It is written with the master's protocol, as
    // the kernel writes it: a port may be lost, and fields that had no meaning would get one.
    let has_meaning = |one: &Unknown| !matches!(one.path[..], [10, 2, 2, 2..=9]);
    expectation.unknown.retain(has_meaning);
    let bytes = with_header(&encode_expectation_report(&expectation).unwrap());
    let mut again = decode_expectation(&bytes).unwrap();
    if let (Some(nat), Some(before)) = (&mut again.nat, &expectation.nat) {
        nat.port = before.port;
    }
    assert_eq!(
        comparable_expectation(again),
        comparable_expectation(expectation)
    );
}

/// An expectation.
pub fn expectation(bytes: &[u8]) {
    match decode_expectation(bytes) {
        Ok(expectation) => expectation_survives(expectation),
        Err(malformed) => drop(malformed.to_string()),
    }
}

/// The same value again, when `sort` has brought what is not known into an order.
fn read_again<T: PartialEq + std::fmt::Debug>(
    mut value: T,
    report: crate::error::Result<Vec<u8>>,
    decode: impl Fn(&[u8]) -> Result<T, Malformed>,
    sort: impl Fn(&mut T),
) {
    let mut again = decode(&with_header(&report.unwrap())).unwrap();
    sort(&mut again);
    sort(&mut value);
    assert_eq!(again, value);
}

/// All three kinds of statistics.
pub fn stats(bytes: &[u8]) {
    if let Ok(count) = decode_count(bytes) {
        let report = encode_count_report(&count);
        read_again(count, report, decode_count, |count| {
            sorted(&mut count.unknown);
        });
    }
    // Which CPU it is stands in the header.
    if let Ok(mut stats) = decode_cpu_stats(bytes) {
        stats.cpu = Some(0);
        let report = encode_cpu_stats_report(&stats);
        read_again(stats, report, decode_cpu_stats, |stats| {
            sorted(&mut stats.unknown);
        });
    }
    if let Ok(mut stats) = decode_expect_cpu_stats(bytes) {
        stats.cpu = Some(0);
        let report = encode_expect_cpu_stats_report(&stats);
        read_again(stats, report, decode_expect_cpu_stats, |stats| {
            sorted(&mut stats.unknown);
        });
    }
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
    assert!(rest.is_empty());
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
    assert!(rest.is_empty());
}

/// A time-out policy, or the defaults of a protocol.
pub fn policy(bytes: &[u8]) {
    match decode_policy(bytes) {
        Ok(policy) => {
            let _ = (policy.to_string(), policy.to_new());
            let report = encode_policy_report(
                Some(&policy.name),
                policy.family,
                &policy.timeouts,
                policy.use_count,
                &policy.unknown,
            );
            read_again(policy, report, decode_policy, |policy| {
                sorted(&mut policy.unknown);
                sorted(&mut policy.timeouts.unknown);
            });
        }
        Err(malformed) => drop(malformed.to_string()),
    }
    if let Ok(defaults) = decode_defaults(bytes) {
        let _ = defaults.timeouts.to_string();
        let report = encode_policy_report(None, 2, &defaults.timeouts, None, &defaults.unknown);
        read_again(defaults, report, decode_defaults, |defaults| {
            sorted(&mut defaults.unknown);
            sorted(&mut defaults.timeouts.unknown);
        });
    }
}
