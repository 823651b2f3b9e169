//! What cannot be constructed cannot be read, and the error names the field.

use std::fmt::Debug;

use serde::de::DeserializeOwned;

use super::super::*;

pub(super) fn refused<T: DeserializeOwned + Debug>(text: &str, want: &str) {
    let error = serde_json::from_str::<T>(text).unwrap_err().to_string();
    assert!(error.starts_with(want), "{text}\n  {error}\n  {want}");
    // With a position, as the parser gives it.
    assert!(error.contains(" at line 1 column "), "{error}");
}

#[test]
fn zones_in_the_words_of_their_conversions() {
    let expected = "expected a number from 0 to 65535";
    refused::<Zone>("70000", &format!("zone \"70000\": too large; {expected}"));
    refused::<Zone>("-1", &format!("zone \"-1\": negative; {expected}"));
    refused::<Zone>(
        "\"5\"",
        "invalid type: string \"5\", expected a zone as a number",
    );
    refused::<Zone>("1.5", "invalid type: floating point");
    refused::<EntryZone>(
        "{\"zone\":70000}",
        &format!("zone: zone \"70000\": too large; {expected}"),
    );
    refused::<EntryZone>("{}", "missing field `zone`");
    refused::<EntryZone>(
        "{\"zone\":5,\"zone_direction\":\"both\"}",
        "zone_direction: direction \"both\": not known; expected one of: orig reply",
    );
}

#[test]
fn tuples_by_the_rules_of_their_constructors() {
    let tuple = |fields: &str| format!("{{\"protocol\":\"tcp\",{fields}}}");
    let ends = "\"src\":\"10.0.0.1\",\"dst\":\"10.0.0.2\"";
    for (text, want) in [
        (
            tuple("\"src\":\"10.0.0.1\",\"dst\":\"::1\",\"src_port\":1,\"dst_port\":2"),
            "tuple \"10.0.0.1 to ::1\": the addresses are of two families",
        ),
        (tuple(ends), "missing field `src_port`"),
        (
            tuple(&format!("{ends},\"src_port\":1")),
            "missing field `dst_port`",
        ),
        (
            tuple(&format!("{ends},\"src_port\":1,\"dst_port\":65536")),
            "dst_port: invalid value: integer `65536`, expected a number from 0 to 65535",
        ),
        (
            tuple(&format!(
                "{ends},\"src_port\":1,\"dst_port\":2,\"src_key\":1,\"dst_key\":2"
            )),
            "tuple \"tcp\": has fields of another protocol",
        ),
        (
            tuple(&format!("{ends},\"sport\":1")),
            "unknown field `sport`, expected one of `protocol`",
        ),
        (
            tuple(&format!("{ends},\"src\":\"1.1.1.1\"")),
            "duplicate field `src`",
        ),
        (
            tuple("\"src\":\"10.0.0.256\""),
            "src: address \"10.0.0.256\": not an address",
        ),
        (
            tuple("\"src\":\"fe80::1%eth0\""),
            "src: address \"fe80::1%eth0\": not an address",
        ),
        (
            tuple("\"src\":null"),
            "src: invalid type: null, expected an address as a string",
        ),
        (format!("{{{ends}}}"), "missing field `protocol`"),
        (
            format!("{{\"protocol\":\"ospf\",{ends}}}"),
            "protocol: protocol \"ospf\": neither",
        ),
        (
            format!("{{\"protocol\":256,{ends}}}"),
            "protocol: invalid value: integer `256`, expected a protocol's name, or its number",
        ),
        (
            format!("{{\"protocol\":\"icmp\",{ends},\"type\":3,\"code\":0,\"id\":1}}"),
            "ICMP type \"3\": has no answer",
        ),
        (
            format!("{{\"protocol\":\"icmpv6\",{ends},\"type\":128,\"code\":0,\"id\":1}}"),
            "tuple \"icmpv6 10.0.0.1 to 10.0.0.2\": ICMPv6 between IPv4 addresses",
        ),
        (
            format!("{{\"protocol\":\"icmp\",{ends}}}"),
            "missing field `type`",
        ),
        (
            format!("{{\"protocol\":\"icmp\",{ends},\"type\":8,\"code\":0}}"),
            "missing field `id`",
        ),
    ] {
        refused::<Tuple>(&text, want);
        // Where the same is part of a key, its place is in front.
        let inner = text.replace("\"protocol\":\"tcp\",", "");
        if inner != text && !want.starts_with("missing field `protocol") {
            let key = format!("{{\"protocol\":\"tcp\",\"orig\":{inner}}}");
            refused::<Key>(&key, &format!("orig: {want}"));
        }
    }
}

fn new_entry(rest: &str) -> String {
    format!(
        "{{\"protocol\":\"udp\",\"orig\":{{\"src\":\"10.0.0.1\",\"dst\":\"10.0.0.2\",\
         \"src_port\":1,\"dst_port\":2}}{rest}}}"
    )
}

#[test]
fn new_entries_by_the_rules_of_their_builder() {
    assert!(serde_json::from_str::<NewEntry>(&new_entry(",\"timeout\":60")).is_ok());
    for (rest, want) in [
        ("", "entry \"udp      17 "),
        (",\"timeout\":2147484", "time-out \"2147484s\": too long"),
        (
            ",\"timeout\":-1",
            "timeout: invalid value: integer `-1`, expected a number from 0",
        ),
        (
            ",\"timeout\":60,\"status\":[\"DYING\"]",
            "entry \"DYING\": these status bits cannot be set",
        ),
        (
            ",\"timeout\":60,\"status\":[\"assured\"]",
            "status: status \"assured\": no such bit",
        ),
        (
            ",\"timeout\":60,\"status\":\"ASSURED\"",
            "status: invalid type: string",
        ),
        (
            ",\"timeout\":60,\"tcp\":{\"state\":\"ESTABLISHED\"}",
            "entry \"tcp state for udp\"",
        ),
        (
            ",\"timeout\":60,\"tcp\":{\"sate\":\"ESTABLISHED\"}",
            "tcp: unknown field `sate`",
        ),
        (
            ",\"timeout\":60,\"tcp\":{\"state\":\"OPEN\"}",
            "tcp: state: TCP state \"OPEN\": no such state",
        ),
        (
            ",\"timeout\":60,\"tcp\":{},\"sctp\":{\"state\":1}",
            "state \"\": of several protocols",
        ),
        (
            ",\"timeout\":60,\"tcp\":{\"orig_flags_mask\":[]}",
            "tcp: missing field `orig_flags`",
        ),
        (",\"timeout\":60,\"id\":7", "unknown field `id`"),
        (
            ",\"timeout\":60,\"family\":\"ipv6\"",
            "family \"ipv6\": the addresses are of another",
        ),
        (
            ",\"timeout\":60,\"zone_direction\":\"orig\"",
            "missing field `zone`",
        ),
        (",\"timeout\":60,\"zone\":null", "zone: invalid type: null"),
        (",\"timeout\":60,\"secmark\":1", "unknown field `secmark`"),
        (
            ",\"timeout\":60,\"labels\":[1,128]",
            "labels: label \"128\": too large",
        ),
        (
            ",\"timeout\":60,\"labels\":[999]",
            "labels: label \"999\": too large",
        ),
        (
            ",\"timeout\":60,\"labels\":[-1]",
            "labels: invalid value: integer `-1`",
        ),
        (
            ",\"timeout\":60,\"nat_src\":{\"addresses\":\"::1\"}",
            "NAT range \"::1\": of another family",
        ),
        (
            ",\"timeout\":60,\"nat_src\":{\"addresses\":\"::2-::1\"}",
            "nat_src: NAT range \"::2-::1\"",
        ),
        (
            ",\"timeout\":60,\"nat_src\":{\"addresses\":\"::1\",\"ports\":\"2-1\"}",
            "nat_src: NAT ports \"2-1\": the first port is greater",
        ),
        (
            ",\"timeout\":60,\"nat_src\":{\"addresses\":\"::1\",\"ports\":\"1-+2\"}",
            "nat_src: ports: ports \"1-+2\": not a range of ports",
        ),
        (
            ",\"timeout\":60,\"reply\":{\"protocol\":\"tcp\",\"src\":\"1.1.1.1\",\"dst\":\"1.1.1.2\",\
             \"src_port\":1,\"dst_port\":2}",
            "reply \"tcp\": of another protocol than the entry",
        ),
    ] {
        refused::<NewEntry>(&new_entry(rest), want);
    }
}

#[test]
fn helpers_by_the_rules_of_their_names() {
    for (rest, want) in [
        (
            ",\"timeout\":60,\"helper\":\"\"",
            "helper: helper \"\": not a helper's name; expected 1 to 15 bytes, no zero",
        ),
        (
            ",\"timeout\":60,\"helper\":\"sixteen-bytes-xy\"",
            "helper: helper \"sixteen-bytes-xy\": not a helper's name",
        ),
        (
            ",\"timeout\":60,\"helper\":5",
            "helper: invalid type: integer `5`, expected a helper's name as a string",
        ),
        (
            ",\"timeout\":60,\"helper\":\"ftp\",\"helper_info\":\"0\"",
            "helper_info: bytes \"0\": not hexadecimal",
        ),
        (
            ",\"timeout\":60,\"helper_info\":\"00\"",
            "entry \"udp      17 60 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 \
             dst=10.0.0.1 sport=2 dport=1\": a helper's information without a helper",
        ),
    ] {
        refused::<NewEntry>(&new_entry(rest), want);
    }
}

#[test]
fn other_inputs() {
    refused::<Update>("{}", "update \"\": changes nothing");
    refused::<Update>("{\"mark\":null}", "mark: invalid type: null");
    refused::<Update>(
        "{\"mark\":\"0x1ff/0xff\"}",
        "mark: mark \"0x1ff/0xff\": the bits 0x100",
    );
    refused::<Update>(
        "{\"mark\":4294967296}",
        "mark: invalid value: integer `4294967296`",
    );
    refused::<Update>(
        "{\"status\":[\"CONFIRMED\"]}",
        "status \"CONFIRMED\": these status bits",
    );
    refused::<Update>(
        "{\"labels\":{\"mask\":\"all\"}}",
        "labels: missing field `labels`",
    );
    refused::<Update>(
        "{\"labels\":{\"labels\":[],\"mask\":\"none\"}}",
        "labels: mask: invalid value",
    );
    refused::<Update>(
        "{\"time_out\":5}",
        "unknown field `time_out`, expected one of `timeout`",
    );
    refused::<Update>(
        "[5]",
        "invalid type: sequence, expected an update as an object",
    );
    let end = "{\"src\":\"10.0.0.1\",\"dst\":\"10.0.0.2\",\"src_port\":1,\"dst_port\":2}";
    let both = format!("{{\"protocol\":\"udp\",\"orig\":{end},\"reply\":{end}}}");
    refused::<Key>(&both, "key \"orig and reply\": two tuples");
    refused::<Key>("{\"protocol\":\"udp\"}", "missing field `orig`");
    refused::<LabelNames>(
        "{\"128\":\"a\"}",
        "label names \"128 a\": not a label's number",
    );
    refused::<LabelNames>(
        "{\"1\":\"a\\n2 b\"}",
        "label names \"1 a\\n2 b\": not a name",
    );
    refused::<LabelNames>(
        "{\"1\":\"a\",\"2\":\"a\"}",
        "label names \"2 a\": given twice",
    );
    refused::<EventGroups>("[\"NEW\"]", "event groups \"NEW\": no such bit");
    refused::<EventsMode>(
        "\"maybe\"",
        "events mode \"maybe\": not known; expected one of: off on auto",
    );
}

#[test]
fn new_expectations_by_the_rules_of_their_builder() {
    let end = "\"src\":\"10.0.0.2\",\"dst\":\"10.0.0.1\"";
    let expect = |rest: &str| {
        format!(
            "{{\"master\":{{\"protocol\":\"tcp\",\"orig\":{{{end},\"src_port\":1,\"dst_port\":21}}}},\
             \"protocol\":\"tcp\",\"tuple\":{{{end},\"src_port\":0,\"dst_port\":2}}{rest}}}"
        )
    };
    assert!(serde_json::from_str::<NewExpectation>(&expect("")).is_ok());
    for (rest, want) in [
        (
            ",\"zone\":5",
            "unknown field `zone`, expected one of `master`",
        ),
        (",\"id\":7", "unknown field `id`"),
        (
            ",\"mask\":{\"src\":\"::\"}",
            "expectation \"::\": of another family than what is expected; \
             expected an address of the expectation's own family",
        ),
        (
            ",\"mask\":{\"dst\":\"0.0.0.0\"}",
            "mask: unknown field `dst`, expected `src` or `src_port`",
        ),
        (
            ",\"mask\":{\"src_port\":65536}",
            "mask: src_port: invalid value: integer `65536`, expected a number from 0 to 65535",
        ),
        (",\"mask\":null", "mask: invalid type: null"),
        (
            ",\"nat\":{\"direction\":\"orig\",\"address\":\"::1\",\"port\":1}",
            "expectation \"::1\": of another family than what is expected",
        ),
        (
            ",\"nat\":{\"direction\":\"orig\",\"address\":\"10.0.0.9\"}",
            "nat: missing field `port`",
        ),
        (
            ",\"nat\":{\"direction\":\"there\"}",
            "nat: direction: direction \"there\": not known; expected one of: orig reply",
        ),
        (
            ",\"flags\":[\"PERMANENT\",\"USERSPACE\"]",
            "expectation \"USERSPACE\": these flags cannot be set; expected PERMANENT, INACTIVE",
        ),
        (
            ",\"flags\":[\"0x8\"]",
            "expectation \"0x8\": these flags cannot be set",
        ),
        (
            ",\"flags\":[\"permanent\"]",
            "flags: flags of an expectation \"permanent\": no such bit",
        ),
        (
            ",\"function\":\"\"",
            "expectation \"\": not a function's name; expected 1 to 255 bytes, no zero",
        ),
        (
            ",\"helper\":\"\"",
            "helper: helper \"\": not a helper's name",
        ),
        (",\"timeout\":2147484", "time-out \"2147484s\": too long"),
        (",\"class\":-1", "class: invalid value: integer `-1`"),
        (
            ",\"family\":\"ipv6\"",
            "family \"ipv6\": the addresses are of another",
        ),
    ] {
        refused::<NewExpectation>(&expect(rest), want);
    }
    let master = expect("").replacen(
        "\"10.0.0.2\",\"dst\":\"10.0.0.1\"",
        "\"::2\",\"dst\":\"::1\"",
        1,
    );
    refused::<NewExpectation>(
        &master,
        "expectation \"10.0.0.2 by ::2\": the master is of another family",
    );
    refused::<NewExpectation>(
        &expect("").replacen(":1,", ":null,", 1),
        "master: orig: src_port: invalid type: null",
    );
    let tuple = format!("\"protocol\":\"tcp\",\"tuple\":{{{end},\"src_port\":0,\"dst_port\":2}}");
    refused::<NewExpectation>(&format!("{{{tuple}}}"), "missing field `master`");
    // The zone of what is expected is not known of what is listed, so it must be said.
    refused::<ExpectKey>(&format!("{{{tuple}}}"), "missing field `zone`");
    refused::<ExpectKey>(
        &format!("{{{tuple},\"zone\":null}}"),
        "zone: invalid type: null",
    );
    refused::<ExpectKey>(
        &format!("{{{tuple},\"zone\":5,\"zone_direction\":\"orig\"}}"),
        "unknown field `zone_direction`",
    );
    let ported = tuple.replace(",\"src_port\":0,\"dst_port\":2", "");
    refused::<ExpectKey>(
        &format!("{{{ported},\"zone\":5}}"),
        "tuple: missing field `src_port`",
    );
}

fn policy(protocol: &str, timeouts: &str, rest: &str) -> String {
    format!(
        "{{\"name\":\"x\",\"family\":\"ipv4\",\"protocol\":{protocol},\"timeouts\":{timeouts}{rest}}}"
    )
}

fn tcp_policy(timeouts: &str, rest: &str) -> String {
    policy("\"tcp\"", timeouts, rest)
}

#[test]
fn policies_by_the_rules_of_their_constructors() {
    let tcp = tcp_policy;
    assert!(serde_json::from_str::<NewTimeoutPolicy>(&tcp("{}", "")).is_ok());
    let state = |path: &str, value: &str| {
        format!(",\"unknown\":[{{\"path\":{path},\"value\":\"{value}\"}}]")
    };
    for (text, want) in [
        (
            tcp("{\"etsablished\":5}", ""),
            "timeouts: etsablished: state \"etsablished\": not a state of tcp; \
             expected syn_sent, syn_recv, established, ",
        ),
        (
            tcp("{\"ESTABLISHED\":5}", ""),
            "timeouts: ESTABLISHED: state \"ESTABLISHED\": not a state of tcp",
        ),
        (
            tcp("{\"established\":2147484}", ""),
            "timeouts: established: time-out \"2147484s\": too long",
        ),
        (
            tcp("{\"established\":-1}", ""),
            "timeouts: established: invalid value: integer `-1`, expected a number from 0",
        ),
        (
            tcp("{\"established\":1.5}", ""),
            "timeouts: established: invalid type: floating point `1.5`",
        ),
        (
            tcp("{\"established\":null}", ""),
            "timeouts: established: invalid type: null",
        ),
        (
            tcp("{\"close\":5,\"close\":5}", ""),
            "timeouts: duplicate field `close`",
        ),
        (
            tcp("[5]", ""),
            "timeouts: invalid type: sequence, expected an object of states and their seconds",
        ),
        (
            policy("50", "{}", ""),
            "time-outs \"50\": the protocol has none of its own; \
             expected tcp, udp, udplite, icmp, icmpv6, sctp, dccp, gre, or 255 for all others",
        ),
        (
            policy("\"icmpv6\"", "{\"timeout\":5}", ""),
            "time-out policy \"ipv4 icmpv6\": the protocol is not the family's",
        ),
        (tcp("{}", ",\"use\":1"), "unknown field `use`"),
        (
            tcp("{\"established\":5}", &state("[4,3]", "00000005")),
            "unknown \"[4, 3]\": given twice; expected established once",
        ),
        (
            tcp("{}", &state("[4,3]", "7fffffff")),
            "time-out \"2147483647s\": too long",
        ),
        (
            tcp("{}", &state("[4,16384]", "00000005")),
            "unknown: path \"[4, 16384]\": not the place of an attribute; expected 1 to 4 numbers up to 16383",
        ),
        (
            tcp("{}", &state("[12]", "00000005")),
            "unknown \"[12]\": not a state",
        ),
        (
            tcp("{}", &state("[4,12]", "05")),
            "unknown \"[4, 12]\": not a state",
        ),
        // The kernel would multiply it beyond its range.
        (
            tcp("{}", &state("[4,12]", "ffffffff")),
            "time-out \"4294967295s\": too long",
        ),
        (
            tcp("{}", &state("[4,0]", "00000005")),
            "time-outs \"Unknown { path: [4, 0]",
        ),
        (
            tcp(
                "{}",
                &state(
                    "[4,12]",
                    "00000005\"},{\"path\":[4,12],\"value\":\"00000005",
                ),
            ),
            "time-outs \"Unknown { path: [4, 12]",
        ),
    ] {
        refused::<NewTimeoutPolicy>(&text, want);
        // The time-outs alone by the same rules.
        if !want.starts_with("time-out policy") {
            let timeouts = text.replacen("\"name\":\"x\",\"family\":\"ipv4\",", "", 1);
            refused::<Timeouts>(&timeouts, want);
        }
    }
}

#[test]
fn names_and_families_of_policies() {
    let tcp = tcp_policy;
    let name = |name: &str| tcp("{}", "").replace("\"x\"", &format!("\"{name}\""));
    let long = "x".repeat(32);
    for (text, problem) in [("", "empty"), (long.as_str(), "too long")] {
        refused::<NewTimeoutPolicy>(
            &name(text),
            &format!(
                "name of a time-out policy \"{text}\": {problem}; expected 1 to 31 bytes, no zero"
            ),
        );
    }
    for field in ["name", "family", "protocol", "timeouts"] {
        let text = tcp("{}", "");
        let mut data: serde_json::Value = serde_json::from_str(&text).unwrap();
        data.as_object_mut().unwrap().remove(field);
        refused::<NewTimeoutPolicy>(&data.to_string(), &format!("missing field `{field}`"));
        refused::<TimeoutPolicy>(&data.to_string(), &format!("missing field `{field}`"));
    }
    refused::<NewTimeoutPolicy>(
        &tcp("{}", "").replace("ipv4", "inet"),
        "family: address family \"inet\": not known; expected one of: ipv4 ipv6",
    );
    refused::<TimeoutPolicy>(
        &tcp("{}", "").replace("ipv4", "inet"),
        "family: address family \"inet\": not known; expected ipv4, ipv6, or a number",
    );
}

/// A later version has a name for what had none when it was written.
#[test]
fn a_state_that_has_a_name_by_now_is_that_state() {
    let unknown = "{\"path\":[4,3],\"value\":\"00000e10\"}";
    let text = tcp_policy("{\"close\":5}", &format!(",\"unknown\":[{unknown}]"));
    let named = tcp_policy("{\"close\":5,\"established\":3600}", "");
    let policy = |text: &str| serde_json::from_str::<NewTimeoutPolicy>(text).unwrap();
    assert_eq!(policy(&text), policy(&named));
    let reported = |text: &str| serde_json::from_str::<TimeoutPolicy>(text).unwrap();
    assert_eq!(reported(&text), reported(&named));
}

#[test]
fn reports() {
    let entry = "\"protocol\":\"udp\",\"orig\":{\"src\":\"10.0.0.1\",\"dst\":\"10.0.0.2\"},\
                 \"reply\":{\"src\":\"10.0.0.2\",\"dst\":\"10.0.0.1\"}";
    let plain: Entry = serde_json::from_str(&format!("{{{entry}}}")).unwrap();
    let nulls = format!("{{\"event\":null,\"mark\":null,\"tcp\":null,\"new\":[{{}}],{entry}}}");
    assert_eq!(serde_json::from_str::<Entry>(&nulls).unwrap(), plain);
    refused::<Entry>("{\"protocol\":\"udp\"}", "missing field `orig`");
    refused::<Event>(&format!("{{{entry}}}"), "missing field `event`");
    refused::<Event>(
        &format!("{{\"event\":\"renew\",{entry}}}"),
        "event \"renew\": not known; expected new, update, destroy, expect_new, expect_update, \
         expect_destroy or overrun",
    );
    refused::<Event>(
        &format!("{{\"event\":\"expect_new\",{entry}}}"),
        "missing field `tuple`",
    );
    refused::<Event>("{\"event\":\"overrun\"}", "missing field `times`");
    refused::<Counters>("{\"packets\":1}", "missing field `bytes`");
    refused::<Counters>("{\"packets\":1,\"packets\":1}", "duplicate field `packets`");
    refused::<Unknown>(
        "{\"path\":[],\"value\":\"\"}",
        "path \"[]\": not the place of an attribute; expected 1 to 4 numbers up to 16383",
    );
    refused::<Unknown>("{\"path\":[1]}", "missing field `value`");
    refused::<Unknown>(
        "{\"path\":[1,65536],\"value\":\"\"}",
        "path: invalid value: integer `65536`",
    );
    refused::<Unknown>(
        "{\"path\":[1],\"value\":\"0\"}",
        "value: bytes \"0\": not hexadecimal",
    );
    refused::<Unknown>(
        "{\"path\":[1],\"value\":\"0g\"}",
        "value: bytes \"0g\": not hexadecimal",
    );
}
