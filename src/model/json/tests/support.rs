//! What was proven of a kernel, where it is not as this version writes it.

use super::super::*;
use super::refusals::refused;

#[test]
fn trials_that_no_version_would_make() {
    let trial = |fields: &str| format!("{{\"shape\":[\"zone\"],{fields}\"list\":\"right\"}}");
    assert!(serde_json::from_str::<Trial>(&trial("")).is_ok());
    for (fields, want) in [
        (
            "\"flush\":\"good\",",
            "flush \"good\": not known; expected right, ignored, inverted, omits, wrong, refused \
             or unproven",
        ),
        ("\"flush\":\"refused\",", "missing field `flush_errno`"),
        (
            "\"flush\":\"right\",\"flush_errno\":95,",
            "flush_errno \"95\": not refused",
        ),
        (
            "\"family\":\"ipv4\",",
            "shape \"ipv4 zone\": never asked of a kernel; expected a shape that this version",
        ),
        ("\"since\":7,", "unknown field `since`"),
        ("\"flush\":null,", "flush: invalid type: null"),
    ] {
        refused::<Trial>(&trial(fields), want);
        let whole = format!("{{\"trials\":[{}]}}", trial(fields));
        refused::<KernelSupport>(&whole, &format!("trials: {want}"));
    }
    for (shape, want) in [
        (
            "[\"zone\",\"colour\"]",
            "shape: shape \"colour\": no such bit",
        ),
        ("[\"ZONE\"]", "shape: shape \"ZONE\": no such bit"),
        ("[\"zone\",\"0x10000\"]", "shape \"zone"),
        ("[\"family\"]", "shape \"family\": never asked"),
        (
            "[\"orig_dst_port\"]",
            "shape \"orig_dst_port\": never asked",
        ),
        // Nothing that would be a flush of everything.
        ("[]", "shape \"\": never asked"),
    ] {
        refused::<Trial>(&format!("{{\"shape\":{shape},\"list\":\"right\"}}"), want);
    }
    refused::<Trial>("{\"list\":\"right\"}", "missing field `shape`");
    let twice = format!("{{\"trials\":[{},{}]}}", trial(""), trial(""));
    refused::<KernelSupport>(&twice, "trials \"zone\": there twice");
    refused::<KernelSupport>("{}", "missing field `trials`");
    refused::<KernelSupport>("{\"trials\":[],\"boot\":\"x\"}", "missing field `release`");
    refused::<KernelSupport>("{\"trials\":[],\"release\":\"x\"}", "missing field `boot`");
    refused::<KernelSupport>(
        "{\"trials\":[],\"features\":{\"zones\":1}}",
        "features: zones: invalid type: integer `1`",
    );
    let nothing = serde_json::from_str::<KernelSupport>("{\"trials\":[]}").unwrap();
    assert_eq!(nothing, KernelSupport::unproven());
}
