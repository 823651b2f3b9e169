//! docs/json.md is what is done: its examples are read, and its tables have the names of the forms.

use std::collections::BTreeSet;
use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use nix::errno::Errno;

use super::super::form::{Fields, Formed};
use super::super::*;
use super::survives;
use crate::error::{Error, Operation};
use crate::model::{DeleteFailure, Deleted};

const DOCUMENT: &str = include_str!("../../../../docs/json.md");

/// A report is written as the example has it.
fn report<T: Serialize + DeserializeOwned + PartialEq + Debug>(example: &Value) {
    let value: T = serde_json::from_value(example.clone())
        .unwrap_or_else(|error| panic!("{error}: {example}"));
    assert_eq!(&serde_json::to_value(&value).unwrap(), example);
    survives(&value);
}

/// An input may leave out more than is left out when it is written.
fn input<T: Serialize + DeserializeOwned + PartialEq + Debug>(example: &Value) {
    let value: T = serde_json::from_value(example.clone())
        .unwrap_or_else(|error| panic!("{error}: {example}"));
    survives(&value);
}

#[test]
fn examples_are_what_they_say() {
    let mut seen = BTreeSet::new();
    let mut protocols = BTreeSet::new();
    for block in DOCUMENT.split("```json ").skip(1) {
        let block = block.split("```").next().unwrap();
        let (kind, text) = block.split_once('\n').unwrap();
        let check = match kind {
            "Entry" => report::<Entry>,
            "Expectation" => report::<Expectation>,
            "TimeoutPolicy" => report::<TimeoutPolicy>,
            "TimeoutDefaults" => report::<TimeoutDefaults>,
            "Event" => report::<Event>,
            "Health" => report::<Health>,
            "CpuStats" => report::<CpuStats>,
            "ExpectCpuStats" => report::<ExpectCpuStats>,
            "KernelSupport" => report::<KernelSupport>,
            "ZoneUse" => report::<ZoneUse>,
            "Claim" => report::<Claim>,
            "OwnerKey" => report::<OwnerKey>,
            "ZoneRule" => report::<ZoneRule>,
            "Exhausted" => report::<Exhausted>,
            "EventGroups" => report::<EventGroups>,
            "Mark" => report::<Mark>,
            "NatRange" => report::<NatRange>,
            "LabelChange" => report::<LabelChange>,
            "LabelNames" => report::<LabelNames>,
            "NewEntry" => input::<NewEntry>,
            "NewExpectation" => input::<NewExpectation>,
            "NewTimeoutPolicy" => report::<NewTimeoutPolicy>,
            "Timeouts" => report::<Timeouts>,
            "Key" => input::<Key>,
            "ExpectKey" => input::<ExpectKey>,
            "Update" => input::<Update>,
            "DeleteOptions" => report::<DeleteOptions>,
            // Written only; below.
            "Deleted" => |_: &Value| (),
            // In rooms of their own.
            "Filter" | "Released" | "Renewed" | "LeaseEvent" => |_: &Value| (),
            other => panic!("an example of {other}, which is not looked at"),
        };
        let examples = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let mut count = 0;
        for example in examples {
            let example = example.unwrap_or_else(|error| panic!("{error}: {text}"));
            check(&example);
            if kind == "Entry" {
                protocols.insert(example["protocol"].to_string());
            }
            count += 1;
        }
        assert!(count > 0, "an empty example of {kind}");
        seen.insert(kind);
    }
    assert_eq!(seen.len(), 32);
    assert_eq!(protocols.len(), 9, "{protocols:?}");
}

/// What stands in backticks in a column of the rows below a heading.
fn names(heading: &str, column: usize, row: &str) -> BTreeSet<String> {
    let start = format!("\n{heading}\n");
    let section = DOCUMENT.split_once(&start).unwrap().1;
    let section = section.split("\n#").next().unwrap();
    let rows = section
        .lines()
        .filter(|line| line.starts_with(&format!("| {row}")));
    rows.flat_map(|line| {
        let cell = line.split('|').nth(column).unwrap();
        // Values such as `"off"` are no names.
        cell.split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| !name.contains('"'))
    })
    .map(str::to_owned)
    .collect()
}

fn fields<T: Formed>() -> BTreeSet<String> {
    T::Form::NAMES
        .iter()
        .map(|name| (*name).to_owned())
        .collect()
}

#[test]
fn tables_have_the_names_of_the_fields() {
    assert_eq!(names("## Entry", 1, "`"), fields::<Entry>());
    assert_eq!(names("## Tuple", 1, "`"), fields::<Tuple>());
    assert_eq!(names("### tcp", 1, "`"), fields::<TcpInfo>());
    assert_eq!(names("### sctp", 1, "`"), fields::<SctpInfo>());
    assert_eq!(names("### dccp", 1, "`"), fields::<DccpInfo>());
    assert_eq!(names("## New entry", 1, "`"), fields::<NewEntry>());
    assert_eq!(names("## Key", 1, "`"), fields::<Key>());
    assert_eq!(names("## Update", 1, "`"), fields::<Update>());
    assert_eq!(names("## Expectation", 1, "`"), fields::<Expectation>());
    assert_eq!(
        names("## New expectation", 1, "`"),
        fields::<NewExpectation>()
    );
    assert_eq!(
        names("### Key of an expectation", 1, "`"),
        fields::<ExpectKey>()
    );
    assert_eq!(
        names("## Time-out policy", 1, "`"),
        fields::<TimeoutPolicy>()
    );
    assert_eq!(
        names("## New time-out policy", 1, "`"),
        fields::<NewTimeoutPolicy>()
    );
    assert_eq!(names("### Time-outs", 1, "`"), fields::<Timeouts>());
    assert_eq!(
        names("### Options of a deletion", 1, "`"),
        fields::<DeleteOptions>()
    );
    let small = |row| names("## Small objects", 2, row);
    assert_eq!(small("`Layer4`"), fields::<Layer4>());
    assert_eq!(small("`Ports`"), fields::<Ports>());
    assert_eq!(small("`GreKeys`"), fields::<GreKeys>());
    assert_eq!(small("`Icmp`"), fields::<Icmp>());
    assert_eq!(small("`Icmpv6`"), fields::<Icmpv6>());
    assert_eq!(small("`EntryZone`"), fields::<EntryZone>());
    assert_eq!(small("`ProtoInfo`"), fields::<ProtoInfo>());
    assert_eq!(small("`TcpFlagChange`"), fields::<TcpFlagChange>());
    let part = |row| names("### Parts of an expectation", 2, row);
    assert_eq!(part("mask "), fields::<ExpectMask>());
    assert_eq!(part("translation "), fields::<ExpectNat>());
    assert_eq!(names("## Event", 2, "`overrun`"), fields::<Overrun>());
    let part = |row| names("## Parts of an entry", 2, row);
    assert_eq!(part("counters "), fields::<Counters>());
    assert_eq!(part("time stamps "), fields::<Timestamps>());
    assert_eq!(part("sequence adjustment "), fields::<SeqAdjust>());
    assert_eq!(part("SYN proxy "), fields::<Synproxy>());
    assert_eq!(part("unknown attribute "), fields::<Unknown>());
    let figures = |row| names("## Figures", 2, row);
    assert_eq!(figures("count "), fields::<Count>());
    assert_eq!(figures("statistics |"), fields::<CpuStats>());
    assert_eq!(figures("statistics of "), fields::<ExpectCpuStats>());
    assert_eq!(figures("health "), fields::<Health>());
    let kernel = |row| names("## Kernel support", 2, row);
    assert_eq!(kernel("all "), fields::<KernelSupport>());
    assert_eq!(kernel("trial "), fields::<Trial>());
    assert_eq!(kernel("features "), fields::<Features>());
    assert_eq!(names("## Zones", 1, "`"), fields::<ZoneUse>());
    assert_eq!(names("### Claim", 1, "`"), fields::<Claim>());
    let part = |row| names("### Parts of a zone", 2, row);
    assert_eq!(part("entries "), fields::<DirectionCounts>());
    assert_eq!(part("rule "), fields::<ZoneRule>());
    assert_eq!(part("why "), fields::<Exhausted>());
}

/// What is written only is compared with its example, and with its table.
#[test]
fn what_became_of_a_deletion_is_written_as_the_example_has_it() {
    let (_, example) = DOCUMENT.split_once("```json Deleted\n").unwrap();
    let example: Value = serde_json::from_str(example.split("```").next().unwrap()).unwrap();
    let sample: Entry = serde_json::from_value(example["failed"][0]["sample"].clone()).unwrap();
    let failure = DeleteFailure {
        count: 1,
        error: Error::system(Operation::Delete, "send", Errno::EPERM, None),
        sample: sample.clone(),
    };
    let mut deleted = Deleted {
        matched: Some(3),
        deleted: Some(1),
        already_gone: 1,
        failed: vec![failure],
        left: true,
        ..Deleted::nothing()
    };
    assert_eq!(serde_json::to_value(&deleted).unwrap(), example);
    deleted.sample = vec![sample];
    deleted.stopped = Some(Error::system(Operation::Delete, "send", Errno::EPERM, None));
    let all = serde_json::to_value(&deleted).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect();
    assert_eq!(names("## Deletion", 1, "`"), keys(&all));
    let failure = names("## Small objects", 2, "`DeleteFailure`");
    assert_eq!(failure, keys(&all["failed"][0]));
    let by_kernel = Deleted {
        matched: None,
        deleted: None,
        ..Deleted::nothing()
    };
    assert_eq!(
        serde_json::to_string(&by_kernel).unwrap(),
        "{\"already_gone\":0,\"busy\":0,\"complete\":\"complete\",\"left\":false}"
    );
}

/// Names of bits and states, in the tables that list them.
#[test]
fn tables_have_the_names_of_bits_and_states() {
    fn named<T>(
        all: impl IntoIterator<Item = T>,
        name: impl Fn(T) -> Option<&'static str>,
    ) -> BTreeSet<String> {
        all.into_iter()
            .filter_map(name)
            .map(str::to_owned)
            .collect()
    }
    let states = |heading| names(heading, 3, "`state`");
    assert_eq!(
        states("### tcp"),
        named(0..=u8::MAX, |n| TcpState::from_raw(n).name())
    );
    assert_eq!(
        states("### sctp"),
        named(0..=u8::MAX, |n| SctpState::from_raw(n).name())
    );
    assert_eq!(
        states("### dccp"),
        named(0..=u8::MAX, |n| DccpState::from_raw(n).name())
    );
    let status = Status::all().iter_names().map(|(name, _)| name);
    assert_eq!(names("## Entry", 3, "`status`"), named(status, Some));
    let flags = ExpectFlags::all().iter_names().map(|(name, _)| name);
    assert_eq!(names("## Expectation", 3, "`flags`"), named(flags, Some));
    let flags = ExpectFlags::SETTABLE.iter_names().map(|(name, _)| name);
    assert_eq!(
        names("## New expectation", 3, "`flags`"),
        named(flags, Some)
    );
    let mut parts = BTreeSet::new();
    for (shape, _) in crate::model::shapes() {
        parts.extend(shape.iter_names().map(|(name, _)| name.to_lowercase()));
    }
    assert_eq!(names("### Shapes", 1, "`"), parts);
    let flags = TcpFlags::all().iter_names().map(|(name, _)| name);
    assert_eq!(names("### tcp", 3, "`orig_flags`"), named(flags, Some));
}

/// The kinds of events are the groups, and the overrun.
#[test]
fn tables_have_the_kinds_of_events() {
    let mut kinds = names("## Event", 1, "`");
    assert!(kinds.remove("overrun"));
    let groups = serde_json::to_value(EventGroups::all()).unwrap();
    let groups: BTreeSet<String> = serde_json::from_value(groups).unwrap();
    assert_eq!(kinds, groups);
}

#[test]
fn tables_have_the_states_of_policies() {
    for protocol in Timeouts::protocols() {
        let timeouts = Timeouts::new(protocol).unwrap();
        let states = timeouts.states().iter().map(|name| (*name).to_owned());
        assert_eq!(
            names("### States", 2, &format!("{protocol} |")),
            states.collect::<BTreeSet<_>>(),
            "{protocol}"
        );
    }
}
