//! Expectations: made, found, changed, deleted, and heard of.

mod helpers;
mod races;

use std::time::Duration;

use ctnetlink::{
    Conntrack, Direction, Entry, EntryZone, Event, EventGroups, ExpectFlags, ExpectKey, ExpectMask,
    ExpectNat, Expectation, ExpectationBuilder, Family, Filter, GreKeys, Helper, Icmp, Icmpv6, Key,
    NatRange, NewEntry, NewExpectation, Protocol, TcpState, Tuple, Zone,
};

use crate::capabilities::Capability;
use crate::support::{LONG, assert_flows, listed, open, run, udp, v4, v4_peer, v6, v6_peer};

const SOON: Duration = Duration::from_secs(10);

fn control(zone: impl Into<EntryZone>) -> NewEntry {
    Entry::tcp(v4(40_000), v4_peer(21))
        .zone(zone)
        .state(TcpState::Established)
        .helper(Helper::FTP)
        .timeout(LONG)
        .build()
        .unwrap()
}

fn data(port: u16) -> Tuple {
    Tuple::tcp(v4_peer(0), v4(port)).unwrap()
}

fn expect(master: &NewEntry, port: u16) -> ExpectationBuilder {
    NewExpectation::builder(master, data(port))
}

pub(crate) fn all(ct: &Conntrack) -> Vec<Expectation> {
    let mut list = ct.expectations().list().unwrap();
    let mut all: Vec<_> = list.by_ref().map(Result::unwrap).collect();
    assert!(!list.is_incomplete());
    all.sort_by_key(|one| one.tuple().dst_port());
    all
}

/// Where translation is a module, its functions are there once a rule has loaded it.
fn load_translation() {
    let rules = "table ip t { chain c { type nat hook prerouting priority 0; }; }";
    run("nft", &[rules]);
}

fn ports(ct: &Conntrack) -> Vec<u16> {
    all(ct)
        .iter()
        .map(|one| one.tuple().dst_port().unwrap())
        .collect()
}

#[test]
fn one_is_made_found_changed_and_deleted() {
    let ct = open();
    let zone = Zone::new(5);
    let master = control(zone);
    ct.create(&master).unwrap();
    // FTP's helper allows one at a time for each master.
    let second = Entry::tcp(v4(40_001), v4_peer(21)).helper(Helper::FTP);
    let second = second.zone(zone).timeout(LONG).build().unwrap();
    ct.create(&second).unwrap();
    let (one, other) = (
        expect(&master, 20_000).timeout(Duration::from_secs(1000)),
        expect(&second, 20_001).timeout(LONG),
    );
    let (one, other) = (one.build().unwrap(), other.build().unwrap());
    ct.expectations().create(&one).unwrap();
    ct.expectations().create(&other).unwrap();
    assert!(ct.expectations().create(&one).unwrap_err().is_exists());

    let found = ct.expectations().get(one.key()).unwrap();
    assert_eq!(*found.tuple(), data(20_000));
    assert_eq!(found.mask(), ExpectMask::any_port(Family::Ipv4));
    assert_eq!(found.master(), master.entry().orig());
    assert_eq!(found.zone(), Some(zone));
    assert_eq!(found.helper(), Some(Helper::FTP));
    assert_eq!(found.flags(), Some(ExpectFlags::empty()));
    assert_eq!(
        (found.class(), found.nat(), found.function()),
        (Some(0), None, None)
    );
    assert_eq!(found.unknown(), []);
    let left = found.timeout().unwrap().as_secs();
    assert!((990..=1000).contains(&left), "{left}");

    let minute = Duration::from_secs(60);
    ct.expectations().set_timeout(one.key(), minute).unwrap();
    let changed = ct.expectations().get(found.key(zone)).unwrap();
    assert_eq!(changed.id(), found.id());
    let left = changed.timeout().unwrap().as_secs();
    assert!((50..=60).contains(&left), "{left}");
    let untouched = ct.expectations().get(other.key()).unwrap();
    assert!(untouched.timeout().unwrap() > Duration::from_secs(90_000));

    ct.expectations().delete(found.key(zone)).unwrap();
    let gone = ct.expectations().delete(found.key(zone)).unwrap_err();
    assert!(gone.is_not_found(), "{gone}");
    assert!(
        ct.expectations()
            .set_timeout(one.key(), minute)
            .unwrap_err()
            .is_not_found()
    );
    assert_eq!(ports(&ct), [20_001]);
    // Masters are not touched.
    assert_flows(&listed(&ct, &Filter::new()), [&master, &second]);
}

/// A helper limits how many a master may expect; beyond that the oldest goes, which is the kernel's
/// own doing (`evict_oldest_expect`).
#[test]
fn the_oldest_makes_room() {
    let ct = open();
    let master = control(Zone::DEFAULT);
    ct.create(&master).unwrap();
    for port in [20_000, 20_001] {
        let new = expect(&master, port).build().unwrap();
        ct.expectations().create(&new).unwrap();
        assert_eq!(ports(&ct), [port]);
    }
}

#[test]
fn the_zone_is_the_masters() {
    let ct = open();
    let zones = [
        EntryZone::default(),
        EntryZone::Both(Zone::new(5)),
        EntryZone::Orig(Zone::new(6)),
        EntryZone::Reply(Zone::MAX),
    ];
    let masters: Vec<_> = zones
        .iter()
        .enumerate()
        .map(|(n, zone)| {
            let (src, dst) = (v4(40_000 + u16::try_from(n).unwrap()), v4_peer(21));
            Entry::tcp(src, dst)
                .zone(*zone)
                .helper(Helper::FTP)
                .timeout(LONG)
                .build()
                .unwrap()
        })
        .collect();
    for master in &masters {
        ct.create(master).unwrap();
        // The same tuple in each zone.
        ct.expectations()
            .create(&expect(master, 20_000).build().unwrap())
            .unwrap();
    }
    assert_eq!(all(&ct).len(), masters.len());
    for (master, zone) in masters.iter().zip(zones) {
        let of: Vec<_> = ct
            .expectations()
            .list_of(master)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(of.len(), 1, "{zone:?}");
        assert_eq!(of[0].master(), master.entry().orig());
        assert_eq!(of[0].zone(), Some(zone.zone()));
        let key = ExpectKey::new(data(20_000)).zone(zone.zone());
        assert_eq!(ct.expectations().get(key).unwrap().id(), of[0].id());
    }
    // Deleting the one of zone 5 leaves the others.
    let key = ExpectKey::new(data(20_000)).zone(Zone::new(5));
    ct.expectations().delete(key).unwrap();
    assert_eq!(all(&ct).len(), masters.len() - 1);
    assert!(
        ct.expectations()
            .list_of(&masters[1])
            .unwrap()
            .next()
            .is_none()
    );
}

/// The kernel would find, change and delete whatever expectation covers the tuple.
#[test]
fn a_tuple_that_a_wider_one_covers_is_not_that_one() {
    let ct = open();
    let master = control(Zone::DEFAULT);
    ct.create(&master).unwrap();
    let wide = expect(&master, 20_000)
        .mask(ExpectMask::any(Family::Ipv4))
        .build()
        .unwrap();
    ct.expectations().create(&wide).unwrap();
    let narrow = Tuple::tcp("192.0.2.1:7".parse().unwrap(), v4(20_000)).unwrap();
    let key = ExpectKey::new(narrow);
    let expectations = ct.expectations();
    assert!(expectations.get(key).unwrap_err().is_not_found());
    assert!(expectations.delete(key).unwrap_err().is_not_found());
    let error = expectations.set_timeout(key, LONG).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    let stale = ExpectKey::new(data(20_000)).with_id(0xdead_beef);
    assert!(expectations.delete(stale).unwrap_err().is_not_found());
    assert_eq!(ports(&ct), [20_000]);
    assert_eq!(all(&ct)[0].mask(), ExpectMask::any(Family::Ipv4));
}

#[test]
fn masters_and_helpers_are_told_apart() {
    let ct = open();
    let ftp = control(Zone::new(5));
    let second = Entry::tcp(v4(40_001), v4_peer(21))
        .helper(Helper::FTP)
        .timeout(LONG)
        .build()
        .unwrap();
    let six = Entry::tcp(v6(40_000), v6_peer(21))
        .helper(Helper::FTP)
        .timeout(LONG)
        .build()
        .unwrap();
    let tftp = Entry::udp(v4(5000), v4_peer(69))
        .helper(Helper::TFTP)
        .timeout(LONG)
        .build()
        .unwrap();
    let plain = udp(1).build().unwrap();
    for entry in [&ftp, &second, &six, &tftp, &plain] {
        ct.create(entry).unwrap();
    }
    let expectations = ct.expectations();
    let make = |new: ExpectationBuilder| expectations.create(&new.build().unwrap()).unwrap();
    make(expect(&ftp, 20_000));
    make(expect(&second, 20_001));
    make(NewExpectation::builder(
        &six,
        Tuple::tcp(v6_peer(0), v6(20_002)).unwrap(),
    ));
    make(NewExpectation::builder(
        &tftp,
        Tuple::udp(v4_peer(0), v4(20_003)).unwrap(),
    ));
    assert_eq!(ports(&ct), [20_000, 20_001, 20_002, 20_003]);

    // Of one master: a request that names it alone would remove all.
    assert_eq!(
        expectations.delete_of(&ftp).unwrap().into_result().unwrap(),
        1
    );
    assert_eq!(ports(&ct), [20_001, 20_002, 20_003]);
    let missing = control(Zone::new(6));
    assert!(expectations.delete_of(&missing).unwrap_err().is_not_found());
    // An entry that never had a helper has none; the kernel starts no list for it.
    assert_eq!(expectations.list_of(&plain).unwrap().count(), 0);

    make(expect(&ftp, 20_000));
    let mut listed_by_helper: Vec<_> = expectations
        .list_by_helper(Helper::FTP)
        .unwrap()
        .iter()
        .map(|one| (one.tuple().dst_port().unwrap(), one.zone().unwrap().get()))
        .collect();
    listed_by_helper.sort_unstable();
    assert_eq!(listed_by_helper, [(20_000, 5), (20_001, 0), (20_002, 0)]);
    let by_helper = expectations.delete_by_helper(Helper::FTP).unwrap();
    assert_eq!(by_helper.into_result().unwrap(), 3);
    assert_eq!(ports(&ct), [20_003]);
    expectations.flush_all().unwrap();
    assert_eq!(all(&ct), []);
    assert_flows(
        &listed(&ct, &Filter::new()),
        [&ftp, &second, &six, &tftp, &plain],
    );
}

#[test]
fn flags_class_translation_and_function_are_kept_or_refused() {
    let ct = open();
    load_translation();
    let sip = Entry::udp(v4(5060), v4_peer(5060))
        .helper(Helper::SIP)
        .timeout(LONG)
        .build()
        .unwrap();
    ct.create(&sip).unwrap();
    // The function is of the module of translation, which is loaded for who translates.
    let to = NatRange::address("203.0.113.9".parse().unwrap());
    let translated = udp(7).nat_src(to).build().unwrap();
    ct.create(&translated).unwrap();
    let media = |port| {
        let tuple = Tuple::udp(v4_peer(0), v4(port)).unwrap();
        NewExpectation::builder(&sip, tuple).helper(Helper::SIP)
    };
    let flags = ExpectFlags::PERMANENT | ExpectFlags::INACTIVE;
    let nat = ExpectNat {
        direction: Direction::Reply,
        address: "203.0.113.9".parse().unwrap(),
        port: 7,
    };
    let full = media(30_000)
        .flags(flags)
        .class(2)
        .nat(nat)
        .function("nat-follow-master")
        .build()
        .unwrap();
    ct.expectations().create(&full).unwrap();
    let found = ct.expectations().get(full.key()).unwrap();
    assert_eq!(found.flags(), Some(flags));
    assert_eq!(found.class(), Some(2));
    assert_eq!(found.nat(), Some(nat));
    assert_eq!(found.function(), Some("nat-follow-master"));
    assert_eq!(found.helper(), Some(Helper::SIP));

    // What an expectation had is not found in the next one that lies in its place.
    ct.expectations().delete(full.key()).unwrap();
    for port in 30_000..30_003 {
        let plain = media(port).build().unwrap();
        ct.expectations().create(&plain).unwrap();
        let found = ct.expectations().get(plain.key()).unwrap();
        assert_eq!(
            (found.nat(), found.class(), found.flags()),
            (None, Some(0), Some(ExpectFlags::empty()))
        );
        ct.expectations().delete(plain.key()).unwrap();
    }

    let refused =
        |new: ExpectationBuilder| ct.expectations().create(&new.build().unwrap()).unwrap_err();
    // A class beyond the helper's, and one of another helper.
    assert!(refused(media(1).class(99)).to_string().contains("class"));
    let foreign = refused(media(1).helper(Helper::FTP).class(1));
    assert!(foreign.is_invalid_input(), "{foreign}");
    assert!(
        refused(media(1).function("no-such-function"))
            .to_string()
            .contains("function")
    );
    let orphan = NewExpectation::builder(Key::orig(data(1)), data(2));
    assert!(refused(orphan).is_not_found());
    let plain = udp(1).build().unwrap();
    ct.create(&plain).unwrap();
    let helpless = NewExpectation::builder(&plain, data(2));
    if Capability::ExpectationsWithoutHelper.is_there() {
        let helpless = helpless.build().unwrap();
        ct.expectations().create(&helpless).unwrap();
        let found = ct.expectations().get(helpless.key()).unwrap();
        assert_eq!((found.helper(), found.class()), (None, Some(0)));
        ct.expectations().delete(helpless.key()).unwrap();
    } else {
        let helpless = refused(helpless);
        assert!(helpless.is_unsupported(), "{helpless}");
        assert!(helpless.to_string().contains("no helper"), "{helpless}");
    }
    assert_eq!(all(&ct), []);
}

#[test]
fn what_cannot_be_expected_cannot_be_built() {
    let master = control(Zone::DEFAULT);
    let wrong = [
        expect(&master, 1).src_mask("::".parse().unwrap()),
        expect(&master, 1).nat(ExpectNat {
            direction: Direction::Original,
            address: "::1".parse().unwrap(),
            port: 1,
        }),
        expect(&master, 1).flags(ExpectFlags::USERSPACE),
        expect(&master, 1).function(""),
        expect(&master, 1).function("a\0b"),
        expect(&master, 1).timeout(Duration::from_millis(1)),
        NewExpectation::builder(&master, Tuple::tcp(v6(1), v6_peer(2)).unwrap()),
    ];
    for builder in wrong {
        let error = builder.clone().build().unwrap_err();
        assert!(error.is_invalid_input(), "{builder:?}: {error}");
    }
}

/// Any protocol can be expected, with the bits of its source that are asked for.
#[test]
fn masks_and_protocols_come_back() {
    let ct = open();
    let master = control(Zone::DEFAULT);
    ct.create(&master).unwrap();
    let (from, to) = (v4_peer(7), v4(8));
    let tuples = [
        Tuple::tcp(from, to).unwrap(),
        Tuple::udp(from, to).unwrap(),
        Tuple::sctp(from, to).unwrap(),
        Tuple::other(Protocol::new(50), from.ip(), to.ip()).unwrap(),
    ];
    for tuple in tuples {
        let new = NewExpectation::builder(&master, tuple)
            .src_mask("255.255.255.0".parse().unwrap())
            .src_port_mask(0xfff0)
            .build()
            .unwrap();
        ct.expectations().create(&new).unwrap();
        let found = ct.expectations().get(new.key()).unwrap();
        assert_eq!(*found.tuple(), tuple);
        let mask = found.mask();
        assert_eq!(mask.src, Some("255.255.255.0".parse().unwrap()));
        let port = tuple.src_port().map(|_| 0xfff0);
        assert_eq!(mask.src_port, port, "{tuple:?}");
        ct.expectations().delete(found.key(Zone::DEFAULT)).unwrap();
    }
}

#[test]
fn expectations_are_heard_of() {
    let ct = open();
    let master = control(Zone::new(5));
    let mut ends = ct
        .events()
        .groups(EventGroups::EXPECT_DESTROY)
        .open()
        .unwrap();
    // What events need is kept of entries that are made while somebody listens, and what a master
    // expects is told only where it is kept of the master.
    ct.create(&master).unwrap();
    let mut events = ct.events().open().unwrap();
    let new = expect(&master, 20_000).build().unwrap();
    ct.expectations().create(&new).unwrap();
    let made = match events.next_within(SOON).unwrap() {
        Some(Event::ExpectNew(made)) => made,
        other => panic!("{other:?}"),
    };
    assert_eq!(*made.tuple(), data(20_000));
    assert_eq!(made.master(), master.entry().orig());
    ct.expectations().delete(new.key()).unwrap();
    for events in [&mut events, &mut ends] {
        match events.next_within(SOON).unwrap() {
            Some(Event::ExpectDestroy(gone)) => assert_eq!(gone.id(), made.id()),
            other => panic!("{other:?}"),
        }
        assert_eq!(events.try_next().unwrap(), None);
        assert_eq!(events.malformed(), 0);
    }
    // With its master goes what it expects.
    ct.expectations().create(&new).unwrap();
    ct.delete(&master).unwrap();
    match ends.next_within(SOON).unwrap() {
        Some(Event::ExpectDestroy(gone)) => assert_eq!(*gone.tuple(), data(20_000)),
        other => panic!("{other:?}"),
    }
}

/// The line is that of conntrack(8), which knows no zone.
#[test]
fn conntrack_prints_the_same_line() {
    let ct = open();
    let master = control(Zone::DEFAULT);
    let six = Entry::tcp(v6(40_000), v6_peer(21))
        .helper(Helper::FTP)
        .timeout(LONG)
        .build()
        .unwrap();
    ct.create(&master).unwrap();
    let ping6 = Entry::tcp(v6(40_001), v6_peer(21)).helper(Helper::FTP);
    let ping6 = ping6.timeout(LONG).build().unwrap();
    ct.create(&six).unwrap();
    ct.create(&ping6).unwrap();
    let (server, client) = (v4_peer(0).ip(), v4(0).ip());
    let keys = GreKeys { src: 5, dst: 6 };
    let (server6, client6) = (
        "2001:db8::2".parse().unwrap(),
        "2001:db8::1".parse().unwrap(),
    );
    let echo6 = Icmpv6::echo_request(9);
    let masters: Vec<_> = (1..=5)
        .map(|n| {
            let master = Entry::tcp(v4(n), v4_peer(21)).helper(Helper::FTP);
            master.timeout(LONG).build().unwrap()
        })
        .collect();
    assert!(ct.create_many(&masters).is_ok());
    let expectations = [
        expect(&master, 20_000),
        expect(&masters[0], 20_001).flags(ExpectFlags::PERMANENT | ExpectFlags::INACTIVE),
        NewExpectation::builder(&six, Tuple::tcp(v6_peer(0), v6(20_002)).unwrap()),
        NewExpectation::builder(&masters[1], Tuple::udp(v4_peer(5), v4(20_003)).unwrap())
            .mask(ExpectMask::exact(Family::Ipv4)),
        // What has no ports.
        NewExpectation::builder(&masters[2], Tuple::gre(server, client, keys).unwrap())
            .mask(ExpectMask::exact(Family::Ipv4)),
        NewExpectation::builder(
            &masters[3],
            Tuple::other(Protocol::new(50), server, client).unwrap(),
        ),
        NewExpectation::builder(
            &masters[4],
            Tuple::icmp(
                [10, 0, 0, 2].into(),
                [10, 0, 0, 1].into(),
                Icmp::echo_request(7),
            ),
        ),
        NewExpectation::builder(&ping6, Tuple::icmpv6(server6, client6, echo6))
            .mask(ExpectMask::exact(Family::Ipv6)),
    ];
    for new in expectations {
        ct.expectations()
            .create(&new.timeout(LONG).build().unwrap())
            .unwrap();
    }
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text
            .lines()
            .map(|line| {
                let mut words: Vec<_> = line.split_whitespace().collect();
                let left: u64 = words.remove(0).parse().unwrap();
                assert!(left <= LONG.as_secs() && left > LONG.as_secs() - 60);
                words.join(" ")
            })
            .collect();
        lines.sort();
        lines
    };
    let ours: Vec<String> = all(&ct).iter().map(ToString::to_string).collect();
    let mut theirs = run("conntrack", &["-L", "expect"]);
    theirs.push_str(&run("conntrack", &["-L", "expect", "-f", "ipv6"]));
    assert_eq!(ours.len(), 8);
    assert_eq!(sorted(&ours.join("\n")), sorted(&theirs));
}
