//! Who uses zones.

use std::sync::Arc;
use std::time::Duration;

use proptest::option::of;
use proptest::prelude::*;

use super::super::*;
use super::refusals::refused;
use super::{survives, zone};

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Original), Just(Direction::Reply)]
}

fn owner() -> impl Strategy<Value = OwnerKey> {
    let bytes = any::<[u8; 16]>().prop_filter("nobody's key", |bytes| *bytes != [0; 16]);
    bytes.prop_map(|bytes| OwnerKey::from_bytes(bytes).unwrap())
}

fn claim(zone: Zone) -> impl Strategy<Value = Claim> {
    let kind = prop_oneof![
        Just(ClaimKind::Lease),
        Just(ClaimKind::Trial),
        Just(ClaimKind::Marker)
    ];
    let ends_in =
        of(any::<u32>()).prop_map(|left| left.map(|left| Duration::from_secs(left.into())));
    (kind, owner(), any::<u64>(), ends_in).prop_map(move |(kind, owner, instance, ends_in)| Claim {
        zone,
        kind,
        owner,
        instance: Instance::new(instance),
        ends_in,
    })
}

fn rule(zone: Zone) -> impl Strategy<Value = ZoneRule> {
    let by = prop_oneof![Just(RuledBy::Nftables), Just(RuledBy::Iptables)];
    let others = proptest::collection::btree_set(any::<u16>().prop_map(Zone::new), 0..4);
    let zones = prop_oneof![
        Just(RuledZones::Any),
        others.prop_map(move |mut zones| {
            zones.insert(zone);
            RuledZones::These(zones.into_iter().collect())
        })
    ];
    let family = any::<u8>().prop_map(RuleFamily::new);
    let place = (family, ".{0,9}", ".{0,9}", any::<u64>());
    (by, place, zones, of(direction())).prop_map(
        |(by, (family, table, chain, handle), zones, direction)| ZoneRule {
            family,
            table,
            chain,
            handle,
            zones,
            direction,
            by,
        },
    )
}

fn counts() -> impl Strategy<Value = DirectionCounts> {
    let number = || prop_oneof![Just(0), any::<u32>()];
    (number(), number(), number()).prop_map(|(both, orig, reply)| DirectionCounts {
        both,
        orig,
        reply,
    })
}

prop_compose! {
    fn zone_use()(zone in (1..=u16::MAX).prop_map(Zone::new))(
        zone in Just(zone),
        counts in (counts(), counts(), any::<u32>(), any::<u32>()),
        claims in proptest::collection::vec(claim(zone), 0..3),
        rules in proptest::collection::vec(rule(zone).prop_map(Arc::new), 0..3),
        sources in proptest::collection::vec(".{0,9}", 0..3),
        marks in any::<(bool, bool)>(),
    ) -> ZoneUse {
        let (ipv4, ipv6, dying, expectations) = counts;
        let (reserved, quarantined) = marks;
        ZoneUse { zone, ipv4, ipv6, dying, expectations, claims, rules, sources, reserved, quarantined }
    }
}

proptest! {
    #[test]
    fn uses_of_zones_survive(used in zone_use()) {
        survives(&used);
        survives(&used.ipv4);
        for claim in &used.claims {
            survives(claim);
            survives(&claim.kind);
            survives(&claim.owner);
            survives(&claim.instance);
        }
        for rule in &used.rules {
            survives(&**rule);
            survives(&rule.family);
            survives(&rule.by);
            survives(&rule.zones);
        }
    }

    #[test]
    fn counts_of_exhaustion_survive(
        ends in (1..=u16::MAX, 1..=u16::MAX),
        numbers in any::<[u32; 6]>(),
    ) {
        let (first, last) = (ends.0.min(ends.1), ends.0.max(ends.1));
        let [reserved, ruled, leased, quarantined, occupied, free] = numbers;
        survives(&Exhausted {
            first: Zone::new(first),
            last: Zone::new(last),
            reserved,
            ruled,
            leased,
            quarantined,
            occupied,
            free,
        });
    }

    /// A zone that was seen as an entry's is one of a use.
    #[test]
    fn unused_zones_survive(zone in zone()) {
        let unused = ZoneUse::unused(zone.zone());
        let text = survives(&unused);
        for list in ["claims", "rules", "sources"] {
            prop_assert!(!text.contains(list), "{}", text);
        }
    }
}

#[test]
fn families_have_the_names_of_nft() {
    for number in 0..=u8::MAX {
        survives(&RuleFamily::new(number));
    }
    assert_eq!(survives(&RuleFamily::INET), "\"inet\"");
    assert_eq!(survives(&RuleFamily::new(9)), "9");
    let rule = |family: &str| format!("{{\"by\":\"nftables\",\"family\":{family}}}");
    refused::<ZoneRule>(
        &rule("\"unix\""),
        "family: family of rules \"unix\": not known",
    );
    refused::<ZoneRule>(&rule("256"), "family: invalid value: integer `256`");
    refused::<ZoneRule>(&rule("1"), "missing field `table`");
}

/// A name is somebody's key in a configuration; in a report it is a damaged UUID.
#[test]
fn a_name_is_a_key_and_never_reported() {
    let named = serde_json::from_str::<OwnerKey>("\"tap7f3a\"").unwrap();
    assert_eq!(named, OwnerKey::named("tap7f3a").unwrap());
    refused::<OwnerKey>("\"\"", "owner key \"\": empty");
    refused::<OwnerKey>("7", "invalid type: integer `7`, expected an owner's UUID");
    let claim = |fields: &str| format!("{{\"kind\":\"lease\",{fields}}}");
    let who = "\"owner\":\"6f2a9c1e-58f0-4c0e-9df4-0a4f6b1f7d11\"";
    let token = "\"instance\":\"00000000000000ab\"";
    let nil = "\"owner\":\"00000000-0000-0000-0000-000000000000\"";
    assert!(serde_json::from_str::<Claim>(&claim(&format!("\"zone\":5,{who},{token}"))).is_ok());
    for (fields, want) in [
        (
            format!("\"zone\":0,{who},{token}"),
            "zone \"0\": the default of everything",
        ),
        (format!("{who},{token}"), "missing field `zone`"),
        (format!("\"zone\":5,{token}"), "missing field `owner`"),
        (format!("\"zone\":5,{who}"), "missing field `instance`"),
        (
            format!("\"zone\":5,\"owner\":\"tap7f3a\",{token}"),
            "owner: owner key \"tap7f3a\": not a UUID",
        ),
        (
            format!("\"zone\":5,{nil},{token}"),
            "owner: owner key \"00000000-0000-0000-0000-000000000000\": the nil UUID",
        ),
        (
            format!("\"zone\":5,{who},\"instance\":\"ab\""),
            "instance: instance \"ab\": not the form of one",
        ),
        (
            format!("\"zone\":5,{who},\"instance\":171"),
            "instance: invalid type: integer `171`",
        ),
    ] {
        refused::<Claim>(&claim(&fields), want);
    }
    let kind = format!("{{\"kind\":\"loan\",\"zone\":5,{who},{token}}}");
    refused::<Claim>(&kind, "kind: kind of claim \"loan\": not known");
}

#[test]
fn what_is_of_another_zone_is_refused() {
    let none = "{\"both\":0,\"orig\":0,\"reply\":0}";
    let used = |fields: &str| {
        format!(
            "{{\"zone\":5,\"ipv4\":{none},\"ipv6\":{none},\"dying\":0,\"expectations\":0,{fields}\
             \"reserved\":false,\"quarantined\":false}}"
        )
    };
    assert!(serde_json::from_str::<ZoneUse>(&used("\"later\":7,\"claims\":null,")).is_ok());
    let claim = "\"claims\":[{\"zone\":6,\"kind\":\"lease\",\"instance\":\"00000000000000ab\",\
                 \"owner\":\"6f2a9c1e-58f0-4c0e-9df4-0a4f6b1f7d11\"}],";
    refused::<ZoneUse>(
        &used(claim),
        "claims \"6\": another zone's; expected zone 5, as the rest",
    );
    let rule = |zones: &str| {
        format!(
            "\"rules\":[{{\"by\":\"nftables\",\"family\":\"ip\",\"table\":\"t\",\"chain\":\"c\",\
             \"handle\":1,\"zones\":{zones}}}],"
        )
    };
    assert!(serde_json::from_str::<ZoneUse>(&used(&rule("[4,5]"))).is_ok());
    for (zones, want) in [
        ("[6,7]", "rules \"6,7\": another zone's"),
        (
            "[5,5]",
            "rules: zones: zones of a rule \"5, 5\": not in order",
        ),
        (
            "[6,5]",
            "rules: zones: zones of a rule \"6, 5\": not in order",
        ),
        ("\"all\"", "rules: zones: invalid value: string \"all\""),
        ("5", "rules: zones: invalid type: integer `5`"),
    ] {
        refused::<ZoneUse>(&used(&rule(zones)), want);
    }
    refused::<ZoneUse>("{\"zone\":5}", "missing field `ipv4`");
}

#[test]
fn a_range_that_cannot_be_exhausted() {
    let range = |first: u16, last: u16| {
        format!(
            "{{\"first\":{first},\"last\":{last},\"reserved\":0,\"ruled\":0,\"quarantined\":0,\
             \"leased\":0,\"occupied\":0,\"free\":0}}"
        )
    };
    assert!(serde_json::from_str::<Exhausted>(&range(7, 7)).is_ok());
    refused::<Exhausted>(&range(0, 7), "zone \"0\": the default of everything");
    refused::<Exhausted>(&range(8, 7), "range of zones \"8 to 7\": there is no zone");
}
