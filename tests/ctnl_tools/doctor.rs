//! What is wrong, and how to mend it.

use std::fs;

use serde_json::Value;

use crate::support::{ctnl, done, open, without_rights};

fn findings(report: &Value, about: &str) -> Vec<Value> {
    let all = report["findings"].as_array().unwrap().iter();
    all.filter(|finding| finding["about"] == about)
        .cloned()
        .collect()
}

#[test]
fn a_namespace_without_faults() {
    let _ct = open();
    // Rights and buffers are as whoever runs the tests has them.
    let outcome = ctnl("doctor -o json");
    assert!(matches!(outcome.status, 0 | 4), "{outcome:?}");
    let report: Value = outcome.json().remove(0);
    assert!(report["level"] == "note" || report["level"] == "warning");
    for about in ["rights", "table", "losses", "filters"] {
        assert!(!findings(&report, about).is_empty(), "{about}: {report}");
    }
    let facts = &report["facts"];
    assert_eq!(facts["count"]["entries"], 0);
    assert!(facts["support"]["trials"].as_array().unwrap().len() > 10);
    let text = ctnl("doctor");
    assert_eq!(text.status, outcome.status);
    assert!(text.out.starts_with("Linux "), "{}", text.out);
    assert!(text.out.lines().count() > 5 && !text.out.contains('\x1b'));
}

#[test]
fn events_that_are_off() {
    let _ct = open();
    let file = "/proc/sys/net/netfilter/nf_conntrack_events";
    // Some kernels hide it in a namespace of a user's own.
    if fs::write(file, "0").is_err() {
        return;
    }
    let outcome = ctnl("doctor --no-probe -o json");
    assert_eq!(outcome.status, 4, "{outcome:?}");
    let report: Value = outcome.json().remove(0);
    let events = findings(&report, "events");
    assert_eq!(events[0]["level"], "warning");
    assert!(
        events[0]["mend"]
            .as_str()
            .unwrap()
            .contains("nf_conntrack_events=1")
    );
    assert_eq!(report["facts"].get("support"), None);
    let text = ctnl("doctor --no-probe");
    assert!(
        text.out.contains("to mend it: sysctl -w net.netfilter"),
        "{text:?}"
    );
    fs::write(file, "1").unwrap();
    let report: Value = ctnl("doctor --no-probe -o json").json().remove(0);
    assert_eq!(findings(&report, "events")[0]["level"], "fine");
}

#[test]
fn without_rights_and_without_a_namespace() {
    let _ct = open();
    let refused = without_rights("doctor");
    assert_eq!(refused.status, 6, "{refused:?}");
    assert!(refused.out.contains("CAP_NET_ADMIN"), "{refused:?}");
    let refused = ctnl("doctor -o json --netns ctnl-test-no-such-namespace");
    assert_eq!(refused.status, 7, "{refused:?}");
    let report: Value = refused.json().remove(0);
    assert_eq!(report["level"], "broken");
}

#[test]
fn it_changes_nothing() {
    let ct = open();
    done("zone acquire a");
    let before = ct.count().unwrap().entries;
    ctnl("doctor");
    assert_eq!(ct.count().unwrap().entries, before);
}
