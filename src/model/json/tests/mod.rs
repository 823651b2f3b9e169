//! The documented form: every value survives it, and what is wrong is refused by name.

mod document;
mod refusals;
mod support;
mod values;
mod zones;

use std::fmt::Debug;

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::model::Verdict;
use values::*;

/// A value is itself again after its text, and after any other way to hold the same data.
fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) -> String {
    let text = serde_json::to_string(value).unwrap();
    let again: T = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(&again, value, "{text}");
    let data = serde_json::to_value(value).unwrap();
    assert_eq!(&serde_json::from_value::<T>(data).unwrap(), value, "{text}");
    assert!(
        !text.contains("null"),
        "an absent field was written: {text}"
    );
    text
}

proptest! {
    #[test]
    fn entries_survive(entry in entry()) {
        survives(&entry);
        if let Some(info) = &entry.proto_info {
            survives(info);
        }
        survives(&entry.zone);
    }

    #[test]
    fn new_entries_survive(new in new_entry()) {
        survives(&new);
        survives(new.entry());
        survives(&Key::from(&new));
        survives(&new.entry().orig);
        survives(&new.entry().layer4());
        // What a version has that this one lacks is passed over in a report, never in a request.
        let mut data = serde_json::to_value(new.entry()).unwrap();
        data["orig"]["later"] = true.into();
        data["later"] = 7.into();
        prop_assert_eq!(&serde_json::from_value::<Entry>(data.clone()).unwrap(), new.entry());
        prop_assert!(serde_json::from_value::<NewEntry>(data).is_err());
    }

    #[test]
    fn keys_survive(tuple in tuple(), zone in zone(), id in any::<Option<u32>>(), reply in any::<bool>()) {
        let key = if reply { Key::reply(tuple) } else { Key::orig(tuple) };
        survives(&match id {
            Some(id) => key.zone(zone).with_id(id),
            None => key.zone(zone),
        });
    }

    #[test]
    fn updates_survive(
        timeout in proptest::option::of(0..=2_147_483_u64),
        mark in mark(),
        status in 0..8_u8,
        tracker in (0..4_u8, tcp_info(), sctp_info(), dccp_info()),
        labels in proptest::option::of(label_change()),
        adjusts in (proptest::option::of(adjust()), proptest::option::of(adjust())),
        proxy in proptest::option::of(synproxy()),
    ) {
        let mut update = Update::builder().mark(mark);
        if let Some(timeout) = timeout {
            update = update.timeout(std::time::Duration::from_secs(timeout));
        }
        if status & 1 != 0 {
            update = update.seen_reply();
        }
        if status & 2 != 0 {
            update = update.assured();
        }
        if status & 4 != 0 {
            update = update.fixed_timeout();
        }
        let (which, tcp, mut sctp, mut dccp) = tracker;
        // What the kernel would take.
        sctp.state = SctpState::from_raw(sctp.state.raw() % 10);
        sctp.orig_vtag = sctp.orig_vtag.or(Some(1));
        sctp.reply_vtag = sctp.reply_vtag.or(Some(2));
        dccp.state = DccpState::from_raw(dccp.state.raw() % 8);
        dccp.role = Some(DccpRole::from_raw(status & 1));
        update = match which {
            0 => update.tcp_info(tcp),
            1 => update.sctp_info(sctp),
            2 => update.dccp_info(dccp),
            _ => update,
        };
        if let Some(labels) = labels {
            update = update.labels(labels);
        }
        if let Some(adjust) = adjusts.0 {
            update = update.orig_seq_adjust(adjust);
        }
        if let Some(adjust) = adjusts.1 {
            update = update.reply_seq_adjust(adjust);
        }
        if let Some(proxy) = proxy {
            update = update.synproxy(proxy).remove_helper();
        }
        survives(&update.build().unwrap());
    }

    #[test]
    fn small_values_survive(
        bits in any::<u32>(),
        mark in mark(),
        range in nat_range(),
        labels in any::<u128>(),
        change in label_change(),
        // Of any state, flags and scales, whether the kernel would take them or not.
        tcp in any_tcp_info(),
        sctp in sctp_info(),
        dccp in dccp_info(),
    ) {
        survives(&Status::from_bits_retain(bits));
        survives(&EventGroups::from_bits_retain(bits));
        survives(&mark);
        survives(&range);
        survives(&Labels::from_bits(labels));
        survives(&change);
        survives(&tcp);
        survives(&tcp.orig_flags.unwrap_or(TcpFlagChange::off(TcpFlags::all())));
        survives(&sctp);
        survives(&dccp);
    }

    #[test]
    fn figures_survive(each in proptest::collection::vec(any::<Option<u64>>(), 18), max in any::<Option<u32>>()) {
        let stats = CpuStats {
            cpu: each[0].map(|cpu| cpu.to_le_bytes()[0].into()),
            found: each[1],
            invalid: each[2],
            insert: each[3],
            insert_failed: each[4],
            drop: each[5],
            early_drop: each[6],
            error: each[7],
            search_restart: each[8],
            clash_resolve: each[9],
            chain_toolong: each[10],
            searched: each[13],
            new: each[14],
            ignore: each[15],
            delete: each[16],
            delete_list: each[17],
            unknown: vec![Unknown { path: vec![99], value: vec![1, 2] }],
        };
        survives(&stats);
        survives(&ExpectCpuStats { cpu: stats.cpu, met: each[11], create: each[12], delete: each[1], unknown: Vec::new() });
        let count = Count { entries: max.unwrap_or(7), max, unknown: stats.unknown.clone() };
        survives(&count);
        let flags = each.iter().map(Option::is_some).collect::<Vec<_>>();
        survives(&Health {
            count,
            stats,
            accounting: flags[0],
            timestamps: each[1].map(|n| n % 2 == 0),
            events: match each[2] {
                None => None,
                Some(n) if n % 3 == 0 => Some(EventsMode::Off),
                Some(n) if n % 3 == 1 => Some(EventsMode::On),
                Some(_) => Some(EventsMode::Auto),
            },
            tcp_loose: flags[3],
        });
    }

    #[test]
    fn expectations_survive(expectation in expectation()) {
        survives(&expectation);
        survives(&expectation.mask());
        let nat = expectation.nat();
        prop_assert!(nat.is_none_or(|nat| survives(&nat).contains("direction")));
        survives(&expectation.flags().unwrap_or_default());
        if let Some(helper) = expectation.helper() {
            survives(&helper);
        }
        let mut data = serde_json::to_value(&expectation).unwrap();
        data["later"] = 7.into();
        data["mask"]["later"] = 7.into();
        prop_assert_eq!(serde_json::from_value::<Expectation>(data).unwrap(), expectation);
    }

    #[test]
    fn new_expectations_survive(new in new_expectation()) {
        survives(&new);
        survives(new.master());
        survives(&new.key());
        survives(&new.key().with_id(7));
        let mut data = serde_json::to_value(&new).unwrap();
        data["mask"]["later"] = 7.into();
        prop_assert!(serde_json::from_value::<NewExpectation>(data).is_err());
    }

    #[test]
    fn policies_survive(policy in policy(), new in new_policy()) {
        survives(&policy);
        survives(&TimeoutDefaults { timeouts: policy.timeouts.clone(), unknown: policy.unknown.clone() });
        survives(&new);
        survives(new.timeouts());
        // Of protocols that have time-outs of their own, what is restored is what was reported.
        if let (Ok(new), Ok(_)) = (policy.to_new(), Timeouts::new(policy.protocol())) {
            survives(&new);
        }
        let mut data = serde_json::to_value(&policy).unwrap();
        data["timeouts"]["later"] = 7.into();
        data["timeouts"]["absent"] = serde_json::Value::Null;
        prop_assert_eq!(&serde_json::from_value::<TimeoutPolicy>(data).unwrap(), &policy);
        let mut data = serde_json::to_value(&new).unwrap();
        data["timeouts"]["later"] = 7.into();
        prop_assert!(serde_json::from_value::<NewTimeoutPolicy>(data).is_err());
    }

    #[test]
    fn what_is_known_of_a_kernel_survives(support in kernel_support()) {
        survives(&support);
        survives(&support.features());
        for trial in support.trials() {
            survives(trial);
        }
        // What is left out is not proven; what says more than is understood is not believed.
        let mut data = serde_json::to_value(&support).unwrap();
        for trial in data["trials"].as_array_mut().unwrap() {
            let trial = trial.as_object_mut().unwrap();
            trial.retain(|name, _| !name.starts_with("flush"));
        }
        let lists: KernelSupport = serde_json::from_value(data.clone()).unwrap();
        for (shape, family) in crate::model::shapes() {
            prop_assert_eq!(lists.dump(shape, family), support.dump(shape, family));
            prop_assert_eq!(lists.flush(shape, family), Verdict::Unproven);
        }
        data["later"] = 7.into();
        prop_assert!(serde_json::from_value::<KernelSupport>(data).is_err());
    }

    #[test]
    fn events_survive(entry in entry(), expectation in expectation(), kind in 0..7_u8, times in any::<u64>()) {
        let (event, name) = match kind {
            0 => (Event::New(entry), "new"),
            1 => (Event::Update(entry), "update"),
            2 => (Event::Destroy(entry), "destroy"),
            3 => (Event::ExpectNew(expectation), "expect_new"),
            4 => (Event::ExpectUpdate(expectation), "expect_update"),
            5 => (Event::ExpectDestroy(expectation), "expect_destroy"),
            _ => {
                let overrun = Overrun { times, received: !times, receive_buffer: 1 << 20 };
                survives(&overrun);
                (Event::Overrun(overrun), "overrun")
            }
        };
        let text = survives(&event);
        // In front, where eyes and simple tools find it.
        let front = format!("{{\"event\":\"{name}\",");
        prop_assert!(text.starts_with(&front));
        // The rest is the entry or the expectation as a list has it.
        let rest = match (event.entry(), event.expectation()) {
            (Some(entry), None) => serde_json::to_string(entry).unwrap(),
            (None, Some(expectation)) => serde_json::to_string(expectation).unwrap(),
            _ => return Ok(()),
        };
        prop_assert_eq!(text.strip_prefix(&front), rest.strip_prefix('{'));
    }
}

#[test]
fn every_number_of_an_open_enumeration_survives() {
    for number in 0..=u8::MAX {
        survives(&Protocol::new(number));
        survives(&TcpState::from_raw(number));
        survives(&SctpState::from_raw(number));
        survives(&DccpState::from_raw(number));
        survives(&DccpRole::from_raw(number));
        survives(&TcpFlags::from_bits_retain(number));
    }
    for zone in 0..=u16::MAX {
        assert_eq!(survives(&Zone::new(zone)), zone.to_string());
    }
    for direction in [Direction::Original, Direction::Reply] {
        survives(&direction);
    }
    survives(&Family::Ipv4);
    survives(&Family::Ipv6);
    survives(&Ports { src: 1, dst: 2 });
    survives(&GreKeys { src: 1, dst: 2 });
    survives(&Icmp::new(8, 3, 65535).unwrap());
    survives(&Icmpv6::new(128, 3, 65535).unwrap());
    survives(&EntryZone::Orig(Zone::DEFAULT));
    survives(&LabelNames::from_text("0 eth0-in\n127 two words\n").unwrap());
    survives(&LabelNames::default());
    for complete in [
        Completeness::Complete,
        Completeness::Unknown,
        Completeness::Interrupted,
    ] {
        assert_eq!(survives(&complete), format!("\"{complete}\""));
    }
    assert_eq!(survives(&DeleteOptions::new()), "{}");
    let all = DeleteOptions::new().dry_run().max_deletes(0).verify(7);
    survives(&all.protect([Zone::DEFAULT, Zone::MAX]));
}

/// As a kernel without the protocol's tracker reports it, or as damaged bytes had it.
#[test]
fn what_no_constructor_makes_survives_in_a_report() {
    for line in [
        "icmp 1 60 src=::1 dst=::2 type=8 code=0 id=1 src=::2 dst=::1 type=0 code=0 id=1",
        "icmp 1 60 src=1.1.1.1 dst=1.1.1.2 type=3 code=0 id=1 src=1.1.1.2 dst=1.1.1.1 type=3 code=0 id=1",
        "tcp 6 60 src=1.1.1.1 dst=1.1.1.2 src=1.1.1.2 dst=1.1.1.1",
        "dccp 33 60 src=1.1.1.1 dst=1.1.1.2 src=1.1.1.2 dst=1.1.1.1",
    ] {
        let mut entry: Entry = line.parse().unwrap();
        let text = survives(&entry);
        assert!(serde_json::from_str::<NewEntry>(&text).is_err(), "{text}");
        entry.reply = "udp 17 src=::1 dst=::2 sport=1 dport=2 src=::2 dst=::1 sport=2 dport=1"
            .parse::<Entry>()
            .unwrap()
            .reply;
        survives(&entry);
        // It can be deleted, if there are kernels that have such entries.
        let key = serde_json::to_string(&entry.key()).unwrap();
        let again = serde_json::from_str::<Key>(&key).ok();
        assert_eq!(again.is_some(), line.starts_with("dccp"), "{key}");
    }
}

/// A number of 64 bits is written as it is.
#[test]
fn large_numbers_are_exact() {
    let counters = Counters {
        packets: u64::MAX,
        bytes: (1 << 53) + 1,
    };
    let text = "{\"packets\":18446744073709551615,\"bytes\":9007199254740993}";
    assert_eq!(survives(&counters), text);
}
