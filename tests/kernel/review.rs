//! The three scenarios of the review that this library answers: TCP, UDP and ICMP entries in a free
//! zone are listed exactly, each is deleted alone, and all are deleted at once.

use std::collections::HashSet;
use std::ops::ControlFlow;

use ctnetlink::{Conntrack, Entry, Filter, Icmp, NewEntry, TcpState, Zone};

use crate::support::{LONG, assert_flows, every_protocol, listed, open, v4, v4_peer};

/// The lowest zone of the range in which nothing is, by a scan of the kernel's own table.
fn free_zone(ct: &Conntrack, range: std::ops::RangeInclusive<u16>) -> Zone {
    let mut used = HashSet::new();
    let visited = ct
        .visit(&Filter::new(), |entry| match entry.zone() {
            Ok(zone) => {
                used.insert(zone.zone());
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        })
        .unwrap();
    assert!(visited.stopped.is_none() && visited.malformed == 0 && !visited.incomplete);
    range
        .map(Zone::new)
        .find(|zone| !used.contains(zone))
        .unwrap()
}

struct Scene {
    ct: Conntrack,
    zone: Zone,
    three: [NewEntry; 3],
    others: Vec<NewEntry>,
}

fn scene() -> Scene {
    let ct = open();
    let others: Vec<_> = every_protocol(1)
        .into_iter()
        .zip([0, 1, 4097, 4098, 65_535].into_iter().cycle())
        .map(|(entry, zone)| entry.zone(Zone::new(zone)).build().unwrap())
        .collect();
    assert!(ct.create_many(&others).is_ok());
    let zone = free_zone(&ct, 4097..=65_535);
    assert_eq!(zone, Zone::new(4099));
    let three = [
        Entry::tcp(v4(40_000), v4_peer(443)).state(TcpState::Established),
        Entry::udp(v4(40_000), v4_peer(53)),
        Entry::icmp(
            [10, 0, 0, 1].into(),
            [10, 0, 0, 2].into(),
            Icmp::echo_request(7),
        ),
    ]
    .map(|entry| entry.zone(zone).timeout(LONG).build().unwrap());
    for entry in &three {
        ct.create(entry).unwrap();
    }
    Scene {
        ct,
        zone,
        three,
        others,
    }
}

impl Scene {
    #[track_caller]
    fn assert_left(&self, left: &[&NewEntry]) {
        let zone = Filter::new().zone(self.zone);
        assert_flows(&listed(&self.ct, &zone), left.iter().copied());
        let all = left.iter().copied().chain(&self.others);
        assert_flows(&listed(&self.ct, &Filter::new()), all);
    }
}

#[test]
fn entries_in_a_free_zone_are_listed_exactly() {
    let scene = scene();
    scene.assert_left(&scene.three.each_ref());
}

#[test]
fn each_can_be_deleted_alone() {
    for gone in 0..3 {
        // A thread each: the namespace goes with it.
        std::thread::spawn(move || {
            let scene = scene();
            scene.ct.delete(&scene.three[gone]).unwrap();
            let left: Vec<_> = (0..3)
                .filter(|n| *n != gone)
                .map(|n| &scene.three[n])
                .collect();
            scene.assert_left(&left);
        })
        .join()
        .unwrap();
    }
}

#[test]
fn all_can_be_deleted_at_once() {
    let scene = scene();
    let entries = listed(&scene.ct, &Filter::new().zone(scene.zone));
    let batch = scene.ct.delete_many(&entries);
    assert_eq!(batch.into_result().unwrap(), 3);
    scene.assert_left(&[]);
    scene.ct.flush_all().unwrap();
    assert_eq!(listed(&scene.ct, &Filter::new()), []);
}
