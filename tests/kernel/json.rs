//! What the kernel reports survives the JSON form, and what the JSON form says can be made again.

use std::time::{Duration, Instant};

use ctnetlink::{
    Claim, Conntrack, Entry, Event, EventGroups, Exhausted, ExpectKey, Expectation, Filter, Helper,
    Instance, Key, NewEntry, NewExpectation, NewTimeoutPolicy, OwnerKey, Status, TimeoutPolicy,
    Timeouts, Zone, ZoneAllocator, ZoneUse,
};
use serde_json::{Value, from_value, json, to_value};

use crate::expect::all as expectations;
use crate::support::{LONG, every_protocol, listed, open, run, udp, v4, v4_peer};

/// Through the text, as a program beside this one would read it.
fn text(value: &impl serde::Serialize) -> Value {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

#[test]
fn listed_entries_survive_and_are_made_again_from_their_fields() {
    let ct = open();
    let settable = Status::SEEN_REPLY | Status::ASSURED;
    for entry in every_protocol(1) {
        let entry = entry.zone(Zone::new(5)).status(settable).mark(7);
        // As a request that was written down.
        let entry: NewEntry = from_value(text(&entry.build().unwrap())).unwrap();
        ct.create(&entry).unwrap();
    }
    let before = listed(&ct, &Filter::new());
    assert_eq!(before.len(), every_protocol(1).len());
    for entry in &before {
        let data = text(entry);
        assert_eq!(&from_value::<Entry>(data.clone()).unwrap(), entry);
        assert_eq!((&data["zone"], &data["mark"]), (&5.into(), &7.into()));
        assert_eq!(data["orig"]["src"], entry.orig().src().to_string());
        assert_eq!(data["id"], entry.id().unwrap());

        let mut again = text(&entry.to_new().unwrap());
        again["zone"] = 6.into();
        ct.create(&from_value::<NewEntry>(again).unwrap()).unwrap();
    }
    // The originals are as they were, and the others differ in their zone and id alone.
    let bare = |entry: &Entry| {
        let mut data = text(entry);
        for field in ["zone", "id", "timeout"] {
            data[field].take();
        }
        data.to_string()
    };
    let all = |zone| {
        let zone = Filter::new().zone(Zone::new(zone));
        let mut all: Vec<_> = listed(&ct, &zone).iter().map(bare).collect();
        all.sort();
        all
    };
    assert_eq!(all(5), all(6));
    assert_eq!(all(5).len(), before.len());
}

#[test]
fn a_key_of_an_entrys_fields_deletes_that_entry_alone() {
    let ct = open();
    for zone in [0, 5] {
        for entry in every_protocol(1) {
            ct.create(&entry.zone(Zone::new(zone)).build().unwrap())
                .unwrap();
        }
    }
    let doomed = listed(&ct, &Filter::new().zone(Zone::new(5)));
    for entry in &doomed {
        let data = text(entry);
        let key: Value = ["protocol", "orig", "zone", "id"]
            .map(|field| (field.to_owned(), data[field].clone()))
            .into_iter()
            .collect();
        ct.delete(from_value::<Key>(key).unwrap()).unwrap();
    }
    assert_eq!(listed(&ct, &Filter::new().zone(Zone::new(5))), []);
    let left = listed(&ct, &Filter::new());
    assert_eq!(left.len(), every_protocol(1).len());
    assert!(left.iter().all(|entry| entry.zone().zone().is_default()));
}

#[test]
fn events_survive() {
    let ct = open();
    let mut events = ct.events().open().unwrap();
    let entry = every_protocol(1).remove(0).build().unwrap();
    ct.create(&entry).unwrap();
    ct.delete(&entry).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut kinds = Vec::new();
    while kinds.last() != Some(&Value::from("destroy")) {
        let left = deadline.saturating_duration_since(Instant::now());
        let event = events.next_within(left).unwrap().expect("an event");
        let data = to_value(&event).unwrap();
        assert_eq!(from_value::<Event>(data.clone()).unwrap(), event);
        assert_eq!(data["orig"]["src"], "10.0.0.1");
        kinds.push(data["event"].clone());
    }
    assert_eq!(kinds, ["new", "destroy"]);
}

/// An FTP control connection in zone 5, whose helper expects one flow at a time.
fn control(ct: &Conntrack, port: u16) -> NewEntry {
    let control = Entry::tcp(v4(port), v4_peer(21)).zone(Zone::new(5));
    let control = control.helper(Helper::FTP).timeout(LONG).build().unwrap();
    ct.create(&control).unwrap();
    control
}

/// What is expected, as a request that was written down.
fn expected(master: &NewEntry, port: u16) -> Value {
    json!({
        "master": text(&Key::from(master)),
        "protocol": "tcp",
        "tuple": {"src": "10.0.0.2", "dst": "10.0.0.1", "src_port": 0, "dst_port": port},
        "mask": {"src": "255.255.255.0", "src_port": 0},
        "timeout": 100_000,
        "flags": ["PERMANENT"],
        "class": 0,
        "nat": {"direction": "reply", "address": "10.0.0.9", "port": 7},
        "function": "nat-follow-master",
    })
}

#[test]
fn expectations_are_made_of_their_json_and_again_of_what_is_listed() {
    let ct = open();
    let (master, other) = (control(&ct, 40_000), control(&ct, 40_001));
    let request = expected(&master, 20_000);
    let new: NewExpectation = from_value(request.clone()).unwrap();
    ct.expectations().create(&new).unwrap();
    let bystander: NewExpectation = from_value(expected(&other, 20_001)).unwrap();
    ct.expectations().create(&bystander).unwrap();

    let before = expectations(&ct);
    assert_eq!(before.len(), 2);
    let data = text(&before[0]);
    assert_eq!(from_value::<Expectation>(data.clone()).unwrap(), before[0]);
    for field in ["protocol", "tuple", "mask", "flags", "class", "function"] {
        assert_eq!(data[field], request[field], "{field}");
    }
    assert_eq!(data["nat"], request["nat"]);
    assert_eq!(data["helper"], "ftp");
    assert_eq!(data["master"]["src_port"], 40_000);
    // The kernel does not say it, and without it no key is made.
    assert_eq!(data.get("zone"), None);
    let mut key: Value = ["protocol", "tuple", "id"]
        .map(|field| (field.to_owned(), data[field].clone()))
        .into_iter()
        .collect();
    assert!(from_value::<ExpectKey>(key.clone()).is_err());
    key["zone"] = 5.into();
    ct.expectations()
        .delete(from_value::<ExpectKey>(key).unwrap())
        .unwrap();
    let left: Vec<_> = expectations(&ct).iter().map(Expectation::id).collect();
    assert_eq!(left, [before[1].id()]);

    // As docs/json.md makes it again.
    let mut again: Value = [
        "protocol", "tuple", "mask", "timeout", "flags", "class", "nat", "function",
    ]
    .map(|field| (field.to_owned(), data[field].clone()))
    .into_iter()
    .collect();
    again["master"] = json!({
        "protocol": data["master"]["protocol"], "orig": data["master"], "zone": 5,
    });
    let again: NewExpectation = from_value(again).unwrap();
    ct.expectations().create(&again).unwrap();
    let after = expectations(&ct);
    assert_eq!(after[1].id(), before[1].id());
    let bare = |expectation: &Expectation| {
        let mut data = text(expectation);
        for field in ["id", "timeout"] {
            data[field].take();
        }
        data
    };
    assert_eq!(bare(&after[0]), bare(&before[0]));
    // Of those of a master the zone is known.
    let of: Vec<_> = ct.expectations().list_of(&master).unwrap().collect();
    assert_eq!(of.len(), 1);
    assert_eq!(text(of[0].as_ref().unwrap())["zone"], 5);
}

#[test]
fn events_of_expectations_survive() {
    let ct = open();
    let groups = json!(["expect_new", "expect_destroy"]);
    let groups: EventGroups = from_value(groups).unwrap();
    let mut events = ct.events().groups(groups).open().unwrap();
    // A master that was made while nobody listened has no events, nor has what it expects.
    let master = control(&ct, 40_000);
    let new: NewExpectation = from_value(expected(&master, 20_000)).unwrap();
    ct.expectations().create(&new).unwrap();
    let listed = text(&expectations(&ct)[0]);
    ct.expectations().delete(new.key()).unwrap();
    for kind in ["expect_new", "expect_destroy"] {
        let event = events.next_within(Duration::from_secs(10)).unwrap();
        let event = event.expect("an event");
        let data = to_value(&event).unwrap();
        assert_eq!(from_value::<Event>(data.clone()).unwrap(), event);
        assert_eq!(data["event"], kind);
        // What selects in a list selects here.
        for field in ["protocol", "tuple", "mask", "master", "id", "helper"] {
            assert_eq!(data[field], listed[field], "{kind}: {field}");
        }
    }
    assert_eq!(events.try_next().unwrap(), None);
}

fn policies(ct: &Conntrack) -> Vec<TimeoutPolicy> {
    let list = ct.timeout_policies().list().unwrap();
    list.map(Result::unwrap).collect()
}

#[test]
fn policies_are_made_of_their_json_and_again_of_what_is_listed() {
    let ct = open();
    for text in [
        json!({"name": "x", "family": "ipv4", "protocol": "tcp", "timeouts": {"established": 600}}),
        json!({"name": "y", "family": "ipv6", "protocol": 255, "timeouts": {"timeout": 7}}),
        json!({"name": "z", "family": "ipv6", "protocol": "icmpv6", "timeouts": {}}),
    ] {
        let new: NewTimeoutPolicy = from_value(text).unwrap();
        ct.timeout_policies().create(&new).unwrap();
    }
    let before = policies(&ct);
    let data: Vec<_> = before.iter().map(text).collect();
    assert_eq!(
        from_value::<Vec<TimeoutPolicy>>(json!(data)).unwrap(),
        before
    );
    assert_eq!(data[0]["timeouts"]["established"], 600);
    // The kernel has a default for each state that was not named.
    assert_eq!(data[0]["timeouts"].as_object().unwrap().len(), 11);
    let other = json!({"name": "y", "family": "ipv6", "protocol": 255, "timeouts": {"timeout": 7}, "use": 1});
    assert_eq!(data[1], other);

    let change = json!({"protocol": "tcp", "timeouts": {"close": 5}});
    let change: Timeouts = from_value(change).unwrap();
    ct.timeout_policies().change("x", change).unwrap();
    let mut changed = data.clone();
    changed[0]["timeouts"]["close"] = 5.into();
    assert_eq!(json!(policies(&ct)), json!(changed));

    for policy in &changed {
        let name = policy["name"].as_str().unwrap();
        ct.timeout_policies().delete(name).unwrap();
    }
    assert_eq!(policies(&ct), []);
    for policy in &changed {
        let mut policy = policy.clone();
        policy.as_object_mut().unwrap().remove("use");
        let again: NewTimeoutPolicy = from_value(policy).unwrap();
        ct.timeout_policies().create(&again).unwrap();
    }
    assert_eq!(json!(policies(&ct)), json!(changed));
}

#[test]
fn who_uses_zones_survives_and_what_became_of_leases_is_written() {
    let ct = open();
    let rule = "table inet t { chain c { ct original zone set 7; ct zone set 8; }; }";
    run("nft", &[rule]);
    ct.create(&udp(1).zone(Zone::new(6)).timeout(LONG).build().unwrap())
        .unwrap();
    let zones = ZoneAllocator::builder()
        .range(5..=9)
        .reserve([Zone::new(9)]);
    let zones = zones.instance(Instance::new(0xab)).open(&ct).unwrap();
    let owner: OwnerKey = from_value(json!("tap7f3a")).unwrap();
    let lease = zones.acquire(owner).unwrap();
    let claims = zones.claims().unwrap();
    let data = text(&claims);
    assert_eq!(from_value::<Vec<Claim>>(data.clone()).unwrap(), claims);
    assert_eq!(data[0]["kind"], "lease");
    assert_eq!(data[0]["owner"], owner.to_string());
    assert_eq!(data[0]["instance"], "00000000000000ab");

    let used: Vec<ZoneUse> = zones.scan().unwrap().used().collect();
    let data = text(&used);
    assert_eq!(from_value::<Vec<ZoneUse>>(data.clone()).unwrap(), used);
    let numbers: Vec<_> = used.iter().map(|used| used.zone.get()).collect();
    assert_eq!(numbers, [5, 6, 7, 8, 9]);
    assert_eq!(data[0]["claims"][0]["zone"], 5);
    assert_eq!(data[1]["ipv4"]["both"], 1);
    assert_eq!(data[2]["rules"][0]["direction"], "orig");
    assert_eq!(data[2]["rules"][0]["zones"], json!([7]));
    assert_eq!(data[3]["rules"][0].get("direction"), None);
    assert_eq!(data[4]["reserved"], true);

    let error = zones.allocate().unwrap_err();
    let why = *error.exhausted().unwrap();
    let data = text(&why);
    assert_eq!(from_value::<Exhausted>(data.clone()).unwrap(), why);
    let counts = json!({"first": 5, "last": 9, "reserved": 1, "ruled": 2, "quarantined": 0,
        "leased": 1, "occupied": 1, "free": 0});
    assert_eq!(data, counts);

    assert_eq!(text(&zones.renew()), json!({"renewed": 1}));
    let data = text(&lease.release().unwrap());
    assert_eq!(
        (&data["zone"], &data["quarantined"]),
        (&5.into(), &false.into())
    );
    assert_eq!(data["deleted"]["complete"], "complete");
}
