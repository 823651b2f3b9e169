//! Zones that somebody uses are never handed out, in whatever way they are used.

use std::time::Duration;

use ctnetlink::{
    Conntrack, Entry, EntryZone, Filter, Foreign, NewExpectation, OwnerKey, Tuple, Zone,
    ZoneAllocator, ZoneSource,
};

use super::{claimed, lowest, zone};
use crate::support::{
    Deaf, LONG, assert_flows, listed, open, run, udp, unproven, v4, v4_peer, v6, v6_peer,
};

fn both_ways(ct: &Conntrack) -> [Conntrack; 2] {
    [ct.clone(), unproven()]
}

/// All zones of the range that can be had.
fn had(zones: &ZoneAllocator) -> Vec<u16> {
    let mut had = Vec::new();
    let mut leases = Vec::new();
    loop {
        match zones.allocate() {
            Ok(lease) => {
                had.push(lease.zone().get());
                leases.push(lease);
            }
            Err(error) => {
                assert!(error.is_exhausted(), "{error}");
                break;
            }
        }
    }
    for lease in leases {
        let released = lease.release().unwrap();
        assert!(!released.quarantined && released.deleted.is_clean());
    }
    had
}

#[test]
fn entries_of_one_family_or_one_direction_keep_their_zone() {
    let ct = open();
    let tcp6 = Entry::udp(v6(1), v6_peer(53)).timeout(LONG);
    let foreign = [
        udp(1).zone(zone(10)),
        tcp6.zone(zone(12)),
        udp(2).zone(EntryZone::Orig(zone(13))),
        udp(3).zone(EntryZone::Reply(zone(15))),
        // Below and above the range.
        udp(4).zone(zone(9)),
        udp(5).zone(zone(19)),
        udp(6),
        udp(7).zone(Zone::MAX),
    ]
    .map(|entry| entry.build().unwrap());
    for entry in &foreign {
        ct.create(entry).unwrap();
    }
    for ct in both_ways(&ct) {
        let zones = lowest(10..=18).open(&ct).unwrap();
        let free = [11, 14, 16, 17, 18];
        let found: Vec<u16> = zones.free_zones(10..=18).unwrap().map(Zone::get).collect();
        assert_eq!(found, free);
        assert_eq!(had(&zones), free);
        // Many at once look at the table in another way.
        let many = zones.acquire_many(["a", "b", "c", "d", "e", "f"]).unwrap();
        let exhausted = many[5].as_ref().unwrap_err().exhausted().copied().unwrap();
        assert_eq!((exhausted.leased, exhausted.occupied), (5, 4));
        assert_eq!(
            (exhausted.reserved, exhausted.ruled, exhausted.free),
            (0, 0, 0)
        );
        for (lease, zone) in many.into_iter().zip(free) {
            let lease = lease.unwrap();
            assert_eq!(lease.zone().get(), zone);
            let _ = lease.release().unwrap();
        }
        let who = |number| zones.who(zone(number)).unwrap();
        assert_eq!(who(10).to_string(), "zone 10: 1 IPv4 entry");
        assert_eq!(who(11).to_string(), "zone 11: free");
        assert_eq!(who(12).to_string(), "zone 12: 1 IPv6 entry");
        assert_eq!(
            who(13).to_string(),
            "zone 13: 1 IPv4 entry of the original direction"
        );
        assert_eq!(
            who(15).to_string(),
            "zone 15: 1 IPv4 entry of the reply direction"
        );
        assert_eq!(
            who(0).to_string(),
            "zone 0: 1 IPv4 entry, the default of everything"
        );
        let map = zones.scan().unwrap();
        let used: Vec<u16> = map.used().map(|used| used.zone.get()).collect();
        assert_eq!(used, [0, 9, 10, 12, 13, 15, 19, 65_535]);
        for used in map.used() {
            assert_eq!(used, zones.who(used.zone).unwrap());
        }
        assert_flows(&listed(&ct, &Filter::new()), &foreign);
    }
}

/// The end of an entry that a listener asked for and cannot be told of keeps it.
#[test]
fn a_dying_entry_keeps_its_zone() {
    let ct = open();
    let (deaf, _) = Deaf::keep(&ct, |port| udp(port).zone(zone(10)).build().unwrap());
    assert_eq!(listed(&ct, &Filter::new()).len(), 0);
    let zones = lowest(10..=11).open(&ct).unwrap();
    let who = zones.who(zone(10)).unwrap();
    assert!(who.dying > 0 && who.is_occupied(), "{who}");
    assert_eq!(zones.scan().unwrap().zone(zone(10)).dying, who.dying);
    let lease = zones.acquire("a").unwrap();
    assert_eq!(lease.zone(), zone(11));
    assert!(zones.acquire("b").unwrap_err().is_exhausted());
    deaf.leave(&ct);
    // Seen with traffic before, it is looked at again.
    assert_eq!(zones.acquire("b").unwrap().zone(), zone(10));
}

#[test]
fn expectations_keep_the_zone_of_their_master() {
    let ct = open();
    let master = Entry::tcp(v4(2000), v4_peer(21))
        .zone(zone(10))
        .helper(ctnetlink::Helper::FTP)
        .state(ctnetlink::TcpState::Established)
        .timeout(LONG)
        .build()
        .unwrap();
    ct.create(&master).unwrap();
    let data = Tuple::tcp(v4_peer(0), v4(3000)).unwrap();
    let expected = NewExpectation::builder(&master, data)
        .timeout(LONG)
        .build()
        .unwrap();
    ct.expectations().create(&expected).unwrap();
    let zones = lowest(10..=11).open(&ct).unwrap();
    let who = zones.who(zone(10)).unwrap();
    assert_eq!(who.to_string(), "zone 10: 1 IPv4 entry, 1 expected");
    assert_eq!(zones.scan().unwrap().zone(zone(10)), who);
    assert_eq!(had(&zones), [11]);
    assert_eq!(ct.expectations().list().unwrap().count(), 1);
}

#[test]
fn claims_reserves_and_sources_keep_their_zones() {
    struct Map(Vec<u16>);
    impl ZoneSource for Map {
        fn name(&self) -> &'static str {
            "the map"
        }
        fn zones(&self) -> Result<Vec<Zone>, Box<dyn std::error::Error + Send + Sync>> {
            if self.0.is_empty() {
                return Err("it is not to be read".into());
            }
            Ok(self.0.iter().copied().map(Zone::new).collect())
        }
    }
    let ct = open();
    let other = lowest(1..=65_535).open(&ct).unwrap();
    let theirs = other.reserve("theirs", zone(10)).unwrap();
    let zones = lowest(10..=14)
        .reserve([zone(12)])
        .source(Map(vec![13, 4000]))
        .open(&ct)
        .unwrap();
    assert_eq!(had(&zones), [11, 14]);
    let error = zones.allocate().and_then(|_first| {
        let _second = zones.allocate()?;
        zones.allocate()
    });
    let error = error.unwrap_err();
    let counts = error.exhausted().unwrap();
    assert_eq!((counts.leased, counts.reserved, counts.ruled), (3, 1, 1));
    assert_eq!(
        error.to_string(),
        "acquire zone: no zone is free: of the zones 10 to 14, 3 are leased, 0 occupied, 1 reserved, \
         0 quarantined, 1 named by rules"
    );
    assert_eq!(
        zones.who(zone(13)).unwrap().to_string(),
        "zone 13: named by the map"
    );
    assert_eq!(
        zones.who(zone(12)).unwrap().to_string(),
        "zone 12: reserved"
    );
    let conflict = |zone: Zone| {
        let error = zones.reserve("mine", zone).unwrap_err();
        assert!(error.is_conflict(), "{error}");
        error.taken_by().unwrap().clone()
    };
    assert!(conflict(zone(12)).reserved);
    assert_eq!(conflict(zone(13)).sources, ["the map"]);
    let by = conflict(zone(10));
    assert_eq!(by.lease().unwrap().owner(), theirs.owner());
    assert_eq!(by.lease().unwrap().instance(), other.instance());

    // A source that cannot say is no reason to take any zone for free.
    let blind = lowest(10..=14).source(Map(Vec::new())).open(&ct).unwrap();
    let error = blind.acquire("a").unwrap_err();
    assert!(error.is_scan_incomplete(), "{error}");
    assert!(error.to_string().contains("the map: it is not to be read"));
    assert!(blind.scan().unwrap_err().is_scan_incomplete());
}

#[test]
fn a_zone_is_reserved_adopted_or_flushed_as_it_is_asked_for() {
    let ct = open();
    let guest = udp(1).zone(zone(10)).build().unwrap();
    let neighbour = udp(1).zone(zone(11)).build().unwrap();
    ct.create(&guest).unwrap();
    ct.create(&neighbour).unwrap();
    let zones = lowest(10..=12).open(&ct).unwrap();

    let error = zones.reserve("a", zone(10)).unwrap_err();
    assert_eq!(error.taken_by().unwrap().ipv4.both, 1);
    assert_eq!(claimed(&ct), (vec![], 0));
    let adopted = zones.adopt("a", zone(10)).unwrap();
    assert_eq!(adopted.zone(), zone(10));
    assert_flows(&listed(&ct, &Filter::new().zone(zone(11))), [&neighbour]);
    assert!(ct.get(&guest).is_ok());
    // The owner has a zone, so it is not given another.
    let error = zones.reserve("a", zone(12)).unwrap_err();
    assert_eq!(error.holder().unwrap().owner(), adopted.owner());
    assert_eq!(error.holder().unwrap().zone(), zone(10));
    assert_eq!(zones.acquire("a").unwrap().zone(), zone(10));

    // Its entries go when it is released, and no others.
    let released = adopted.release().unwrap();
    assert_eq!(released.deleted.deleted, Some(1));
    assert_flows(&listed(&ct, &Filter::new()), [&neighbour]);

    // Zone 0 is nobody's.
    assert!(
        zones
            .adopt("b", Zone::DEFAULT)
            .unwrap_err()
            .is_invalid_input()
    );
    assert!(
        zones
            .reserve("b", Zone::DEFAULT)
            .unwrap_err()
            .is_invalid_input()
    );

    // Where the range is the caller's own, what is found in it goes.
    let own = lowest(11..=11).foreign(Foreign::Flush).open(&ct).unwrap();
    let lease = own.acquire(OwnerKey::random()).unwrap();
    assert_eq!(lease.zone(), zone(11));
    assert!(ct.get(&neighbour).unwrap_err().is_not_found());
    assert_eq!(claimed(&ct), (vec![11], 1));
}

/// The first of many zones that have to be flushed must not have been let go by the time the last one is.
#[test]
fn many_zones_are_flushed_for_longer_than_a_claim_on_trial_lasts() {
    let ct = open();
    let last = 60;
    let guests = (1..=last).map(|number| udp(1).zone(zone(number)).build().unwrap());
    ct.create_many(guests).into_result().unwrap();
    let stranger = zone(400);
    let bystander = udp(1).zone(stranger).build().unwrap();
    ct.create(&bystander).unwrap();
    let own = lowest(1..=last)
        .foreign(Foreign::Flush)
        .grace(Duration::from_secs(4));
    let zones = own.open(&ct).unwrap();
    let keys: Vec<String> = (1..=last).map(|n| format!("key {n}")).collect();
    let leases = zones.acquire_many(&keys).unwrap();
    for lease in &leases {
        assert!(lease.is_ok(), "{lease:?}");
    }
    assert_eq!(claimed(&ct), ((1..=last).collect(), usize::from(last)));
    assert!(ct.get(&bystander).is_ok());
}

/// `flush_zone` of the handle, of the lease, and the claim that stays.
#[test]
fn a_flush_of_a_leased_zone_spares_the_claim_and_the_neighbours() {
    let ct = open();
    let zones = lowest(10..=11).open(&ct).unwrap();
    let lease = zones.acquire("a").unwrap();
    let neighbour = zones.acquire("b").unwrap();
    let guests = [1, 2, 3].map(|port| udp(port).zone(zone(10)).build().unwrap());
    let bystanders = [udp(1), udp(1).zone(zone(11)), udp(1).zone(zone(12))];
    let bystanders = bystanders.map(|entry| entry.build().unwrap());
    for ct in both_ways(&ct) {
        for flush in [true, false] {
            for entry in guests.iter().chain(&bystanders) {
                let _ = ct.create(entry);
            }
            let deleted = if flush {
                lease.flush().unwrap()
            } else {
                ct.flush_zone(zone(10)).unwrap()
            };
            assert!(deleted.is_clean());
            assert_eq!(deleted.deleted, Some(3));
            let left: Vec<Entry> = listed(&ct, &Filter::new())
                .into_iter()
                .filter(|entry| ctnetlink::Claim::of(entry).is_none())
                .collect();
            assert_flows(&left, &bystanders);
            lease.renew().unwrap();
            neighbour.renew().unwrap();
        }
    }
    assert_eq!(claimed(&ct), (vec![10, 11], 2));
}

/// What is first in the order counts, whether or not its claim is there.
#[test]
fn a_leased_zone_that_a_rule_names_counts_as_ruled() {
    let ct = open();
    let words =
        "table inet t { chain c { type filter hook prerouting priority raw; ct zone set 10; }; }";
    run("nft", &[words]);
    let zones = lowest(10..=11).open(&ct).unwrap();
    let ruled = zones.adopt("ruled", zone(10)).unwrap();
    let other = zones.acquire("other").unwrap();
    let check = || {
        let error = zones.acquire("x").unwrap_err();
        let counts = error.exhausted().unwrap();
        assert_eq!((counts.ruled, counts.leased, counts.free), (1, 1, 0));
    };
    check();
    ct.flush_all().unwrap();
    check();
    assert_eq!([ruled.zone(), other.zone()], [10, 11].map(zone));
}

/// Nothing has been in these zones yet: the rules alone keep them.
#[test]
fn rules_keep_the_zones_that_they_name() {
    let ct = open();
    run(
        "nft",
        &[
            "table inet t { chain c { type filter hook prerouting priority raw; \
           iifname \"a\" ct zone set 10; iifname \"b\" ct original zone set 11; \
           ct zone set iifname map { \"c\" : 12, \"d\" : 13 }; }; }",
        ],
    );
    let rule = |program, words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        run(program, &words);
    };
    rule("iptables-nft", "-t raw -A PREROUTING -i e -j CT --zone 15");
    rule(
        "iptables-nft",
        "-t raw -A PREROUTING -i f -j CT --zone-orig 16",
    );
    rule(
        "iptables-nft",
        "-t raw -A OUTPUT -o g -j CT --zone-reply 17",
    );
    let zones = lowest(10..=19).open(&ct).unwrap();
    assert_eq!(had(&zones), [14, 18, 19]);
    let many = zones.acquire_many(["a", "b", "c", "d", "e", "f"]).unwrap();
    let counts = many[5].as_ref().unwrap_err().exhausted().copied().unwrap();
    assert_eq!((counts.ruled, counts.leased, counts.occupied), (7, 3, 0));
    let who = zones.who(zone(12)).unwrap();
    assert_eq!(who.rules.len(), 1);
    assert_eq!(
        who.to_string(),
        format!(
            "zone 12: set by nftables inet t c handle {}",
            who.rules[0].handle()
        )
    );
    assert_eq!(zones.scan().unwrap().zone(zone(17)).rules.len(), 1);
    let error = zones.reserve("x", zone(16)).unwrap_err();
    assert_eq!(error.taken_by().unwrap().rules.len(), 1);
    // Its owner put the rule there.
    assert_eq!(zones.adopt("x", zone(16)).unwrap().zone(), zone(16));

    // What only packets decide is said, and keeps no zone.
    rule(
        "nft",
        "add rule inet t c ct zone set numgen inc mod 4 offset 10",
    );
    let map = zones.scan().unwrap();
    assert_eq!(map.unbounded_rules().len(), 1);
    assert!(map.is_free(zone(20)));
}
