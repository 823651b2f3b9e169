//! What the kernel reports survives the JSON form, and what the JSON form says can be made again.

use std::time::{Duration, Instant};

use ctnetlink::{Entry, Event, Filter, Key, NewEntry, Status, Zone};
use serde_json::{Value, from_value, to_value};

use crate::support::{every_protocol, listed, open};

/// Through the text, as a program beside this one would read it.
fn json(value: &impl serde::Serialize) -> Value {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

#[test]
fn listed_entries_survive_and_are_made_again_from_their_fields() {
    let ct = open();
    let settable = Status::SEEN_REPLY | Status::ASSURED;
    for entry in every_protocol(1) {
        let entry = entry.zone(Zone::new(5)).status(settable).mark(7);
        // As a request that was written down.
        let entry: NewEntry = from_value(json(&entry.build().unwrap())).unwrap();
        ct.create(&entry).unwrap();
    }
    let before = listed(&ct, &Filter::new());
    assert_eq!(before.len(), every_protocol(1).len());
    for entry in &before {
        let data = json(entry);
        assert_eq!(&from_value::<Entry>(data.clone()).unwrap(), entry);
        assert_eq!((&data["zone"], &data["mark"]), (&5.into(), &7.into()));
        assert_eq!(data["orig"]["src"], entry.orig().src().to_string());
        assert_eq!(data["id"], entry.id().unwrap());

        let mut again = json(&entry.to_new().unwrap());
        again["zone"] = 6.into();
        ct.create(&from_value::<NewEntry>(again).unwrap()).unwrap();
    }
    // The originals are as they were, and the others differ in their zone and id alone.
    let bare = |entry: &Entry| {
        let mut data = json(entry);
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
        let data = json(entry);
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
