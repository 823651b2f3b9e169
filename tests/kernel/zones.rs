//! The same tuple in several zones, and zones of one direction.

use ctnetlink::{Conntrack, EntryZone, Filter, Key, NewEntry, Update, Zone};

use crate::support::{assert_flows, every_protocol, listed, open, udp};

fn in_zone(zone: impl Into<EntryZone>) -> NewEntry {
    udp(1).zone(zone).build().unwrap()
}

#[test]
fn one_tuple_in_many_zones_is_many_entries() {
    let ct = open();
    let zones = [0, 1, 5, 255, 256, 4097, 65_534, 65_535].map(Zone::new);
    for protocol in every_protocol(1) {
        let entries: Vec<_> = zones
            .iter()
            .map(|zone| {
                let mark = u32::from(zone.get());
                protocol.clone().zone(*zone).mark(mark).build().unwrap()
            })
            .collect();
        for entry in &entries {
            ct.create(entry).unwrap();
            assert!(ct.create(entry).unwrap_err().is_exists());
        }
        for (zone, entry) in zones.iter().zip(&entries) {
            let found = ct.get(entry).unwrap();
            assert_eq!(found.mark(), Some(zone.get().into()), "{found}");
            assert_eq!(found.zone(), EntryZone::Both(*zone));
            assert_flows(&listed(&ct, &Filter::new().zone(*zone)), [entry]);
        }
        // Deleting in one zone spares all the others, zone 0 and 65535 included.
        for gone in 0..entries.len() {
            ct.delete(&entries[gone]).unwrap();
            assert_flows(&listed(&ct, &Filter::new()), &entries[gone + 1..]);
        }
    }
}

#[test]
fn one_direction_zones_are_found_changed_and_deleted() {
    let ct = open();
    let nine = Zone::new(9);
    for zone in [EntryZone::Orig(nine), EntryZone::Reply(nine)] {
        for protocol in every_protocol(1) {
            let one = protocol.clone().zone(zone).build().unwrap();
            let bystander = every_protocol(2)
                .into_iter()
                .next()
                .unwrap()
                .zone(nine)
                .build()
                .unwrap();
            ct.create(&one).unwrap();
            ct.create(&bystander).unwrap();
            let by_orig = Key::orig(*one.entry().orig()).zone(zone);
            let by_reply = Key::reply(*one.entry().reply()).zone(zone);
            let found = ct.get(by_orig).unwrap();
            assert_eq!(found.zone(), zone, "{found}");
            assert_eq!(ct.get(by_reply).unwrap().id(), found.id(), "{found}");
            // The same tuple in the whole zone, or in zone 0, is not this entry.
            for other in [EntryZone::Both(nine), EntryZone::default()] {
                let key = Key::orig(*one.entry().orig()).zone(other);
                assert!(ct.get(key).unwrap_err().is_not_found(), "{found} {other:?}");
                assert!(
                    ct.delete(key).unwrap_err().is_not_found(),
                    "{found} {other:?}"
                );
            }
            ct.update(by_reply, &Update::builder().mark(6).build().unwrap())
                .unwrap();
            assert_eq!(ct.get(by_orig).unwrap().mark(), Some(6), "{found}");
            ct.delete(by_reply).unwrap();
            assert!(ct.get(by_orig).unwrap_err().is_not_found(), "{found}");
            ct.create(&one).unwrap();
            ct.delete(by_orig).unwrap();
            assert_flows(&listed(&ct, &Filter::new()), [&bystander]);
            ct.delete(&bystander).unwrap();
        }
    }
}

#[test]
fn one_tuple_in_whole_and_one_direction_zones() {
    let ct = open();
    let five = Zone::new(5);
    // In the direction in which a zone does not hold, the tuple lives in zone 0: so these clash
    // with each other's reply or original side there.
    let both = in_zone(five);
    let plain = in_zone(Zone::DEFAULT);
    ct.create(&both).unwrap();
    ct.create(&plain).unwrap();
    assert!(
        ct.create(&in_zone(EntryZone::Orig(five)))
            .unwrap_err()
            .is_exists()
    );
    assert!(
        ct.create(&in_zone(EntryZone::Reply(five)))
            .unwrap_err()
            .is_exists()
    );
    let orig = in_zone(EntryZone::Orig(Zone::new(6)));
    assert!(ct.create(&orig).unwrap_err().is_exists());
    ct.delete(&plain).unwrap();
    ct.create(&orig).unwrap();
    let zone_filter = |zone: u16| Filter::new().zone(Zone::new(zone));
    assert_flows(&listed(&ct, &zone_filter(6)), [&orig]);
    assert_flows(&listed(&ct, &zone_filter(5)), [&both]);
    assert_flows(&listed(&ct, &zone_filter(0)), []);
}

fn delete_zone(ct: &Conntrack, zone: Zone) {
    let keys: Vec<Key> = ct
        .list(&Filter::new().zone(zone))
        .unwrap()
        .map(|entry| entry.unwrap().key())
        .collect();
    assert!(ct.delete_many(keys).is_ok());
}

#[test]
fn emptying_zone_zero_leaves_the_others() {
    let ct = open();
    let kept: Vec<_> = [1, 65_535].map(|zone| in_zone(Zone::new(zone))).into();
    let one_direction = udp(2).zone(EntryZone::Orig(Zone::new(7))).build().unwrap();
    ct.create_many(&kept).into_result().unwrap();
    ct.create(&one_direction).unwrap();
    ct.create(&in_zone(Zone::DEFAULT)).unwrap();
    delete_zone(&ct, Zone::DEFAULT);
    assert_flows(
        &listed(&ct, &Filter::new()),
        kept.iter().chain([&one_direction]),
    );
}
