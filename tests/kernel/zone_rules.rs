//! Which rules put packets into zones, against nftables' and iptables' own commands.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ctnetlink::{
    Conntrack, Direction, Filter, RuleFamily, RuledBy, RuledZones, Zone, ZoneAllocator, ZoneOrder,
    ZoneRule,
};

use crate::capabilities::Capability;
use crate::support::{open, run};

fn these(zones: &[u16]) -> RuledZones {
    RuledZones::These(zones.iter().copied().map(Zone::new).collect())
}

fn nft(commands: &str) -> String {
    run("nft", &["--echo", "--handle", commands])
}

/// A table with a chain for zones.
fn table(family: &str, name: &str) {
    nft(&format!(
        "add table {family} {name}; add chain {family} {name} c {{ type filter hook prerouting priority -300; }}"
    ));
}

/// Adds a rule, and gives its handle.
fn rule(place: &str, rule: &str) -> u64 {
    let echo = nft(&format!("add rule {place} {rule}"));
    // Of some kernels nft(8) says that it was inserted.
    let line = echo.lines().find(|line| line.contains(" rule "));
    let handle = line.and_then(|line| line.rsplit(' ').next());
    handle
        .and_then(|handle| handle.parse().ok())
        .unwrap_or_else(|| panic!("{echo}"))
}

/// All that there is to say of them.
fn told(rules: &[ZoneRule]) -> Vec<(String, RuledZones, Option<Direction>)> {
    let tell = |rule: &ZoneRule| (rule.to_string(), rule.zones().clone(), rule.direction());
    rules.iter().map(tell).collect()
}

fn read(ct: &Conntrack) -> Vec<(String, RuledZones, Option<Direction>)> {
    told(&ct.zone_rules().unwrap())
}

/// The zones of the only rule that there is.
#[track_caller]
fn only(ct: &Conntrack) -> RuledZones {
    let rules = ct.zone_rules().unwrap();
    assert_eq!(rules.len(), 1, "{rules:?}");
    rules[0].zones().clone()
}

#[test]
fn without_rules_there_are_none() {
    let ct = open();
    assert_eq!(ct.zone_rules().unwrap(), []);
    table("inet", "empty");
    assert_eq!(ct.zone_rules().unwrap(), []);
}

#[test]
fn every_family_and_direction_of_nftables() {
    let ct = open();
    let mut want = Vec::new();
    for (family, zone) in [("ip", 5), ("ip6", 65_535), ("inet", 256)] {
        let place = format!("{family} zones c");
        table(family, "zones");
        for (statement, direction) in [
            ("ct zone", None),
            ("ct original zone", Some(Direction::Original)),
            ("ct reply zone", Some(Direction::Reply)),
        ] {
            let handle = rule(
                &place,
                &format!("meta mark 9 {statement} set {zone} counter"),
            );
            let line = format!("nftables {family} zones c handle {handle}");
            want.push((line, these(&[zone]), direction));
        }
    }
    assert_eq!(read(&ct), want);
    let rules = ct.zone_rules().unwrap();
    let first = &rules[0];
    assert_eq!(
        (first.family(), first.table(), first.chain(), first.by()),
        (RuleFamily::IP, "zones", "c", RuledBy::Nftables)
    );
    assert!(want[0].0.ends_with(&format!("handle {}", first.handle())));
}

#[test]
fn one_rule_may_set_two() {
    let ct = open();
    table("inet", "t");
    let handle = rule(
        "inet t c",
        "meta mark set 7 ct original zone set 5 ct reply zone set 6",
    );
    let line = format!("nftables inet t c handle {handle}");
    let want = [
        (line.clone(), these(&[5]), Some(Direction::Original)),
        (line, these(&[6]), Some(Direction::Reply)),
    ];
    assert_eq!(read(&ct), want);
}

/// Chains that no hook leads to may be jumped to at any moment, and tables may be asleep.
#[test]
fn rules_that_no_packet_meets_are_rules() {
    let ct = open();
    nft("add table ip t { flags dormant; }; add chain ip t aside");
    rule("ip t aside", "ct zone set 5");
    assert_eq!(only(&ct), these(&[5]));
}

#[test]
fn what_sets_no_zone_is_no_zone_rule() {
    let ct = open();
    nft("add table ip t; add ct helper ip t ftp { type \"ftp\" protocol tcp; }");
    table("ip", "t");
    for words in [
        "ct zone 5 accept",
        "ct original zone 5 accept",
        "ct zone { 5, 6 } counter",
        "ct zone vmap { 5 : accept, 6 : drop }",
        "meta mark set ct zone map { 5 : 6 }",
        "notrack",
        "ct mark set 5",
        "ct event set new",
        "tcp dport 21 ct helper set \"ftp\"",
    ] {
        rule("ip t c", words);
    }
    assert_eq!(read(&ct), []);
}

#[test]
fn maps_without_a_name() {
    let ct = open();
    for (words, zones) in [
        (
            "iifname map { \"a\" : 5, \"b\" : 6, \"c\" : 5 }",
            &[5, 6][..],
        ),
        // The ends of intervals have no zone.
        ("ip saddr map { 10.0.0.0/8 : 7, 12.0.0.0/8 : 8 }", &[7, 8]),
        (
            "ip saddr . udp dport map { 10.0.0.1-10.0.0.9 . 53 : 9 }",
            &[9],
        ),
        (
            "jhash ip saddr mod 2 map { 0 : 1, 1 : 65535 }",
            &[1, 65_535],
        ),
    ] {
        table("ip", "t");
        rule("ip t c", &format!("ct zone set {words}"));
        assert_eq!(only(&ct), these(zones), "{words}");
        nft("delete table ip t");
    }
}

/// A map in another table or family that has the same name is another one.
#[test]
fn named_maps_as_they_are_now() {
    let ct = open();
    for family in ["ip", "inet"] {
        table(family, "t");
        nft(&format!(
            "add map {family} t m {{ typeof ip saddr : ct zone; }}"
        ));
    }
    let handle = rule("ip t c", "ct zone set ip saddr map @m");
    let line = format!("nftables ip t c handle {handle}");
    nft("add element inet t m { 10.0.0.1 : 99 }");
    assert_eq!(read(&ct), [(line.clone(), these(&[]), None)]);
    nft("add element ip t m { 10.0.0.1 : 5, 10.0.0.2 : 6 }");
    assert_eq!(read(&ct), [(line.clone(), these(&[5, 6]), None)]);
    nft("delete element ip t m { 10.0.0.1 : 5 }");
    let more = rule("ip t c", "udp dport 53 ct reply zone set ip saddr map @m");
    let want = [
        (line, these(&[6]), None),
        (
            format!("nftables ip t c handle {more}"),
            these(&[6]),
            Some(Direction::Reply),
        ),
    ];
    assert_eq!(read(&ct), want);
    if Capability::DefaultElements.is_there() {
        nft("add element ip t m { * : 7 }");
        assert_eq!(ct.zone_rules().unwrap()[0].zones(), &these(&[6, 7]));
    }
}

/// What packets will add to a map is known before they come.
#[test]
fn maps_that_packets_add_to() {
    let ct = open();
    table("ip", "t");
    nft("add map ip t m { typeof ip saddr : ct zone; flags dynamic; size 100; timeout 1h; }");
    nft("add element ip t m { 10.0.0.1 : 5 }");
    rule("ip t c", "ct zone set ip saddr map @m");
    assert_eq!(only(&ct), these(&[5]));
    rule("ip t c", "update @m { ip saddr : 6 }");
    rule("ip t c", "add @m { ip daddr timeout 1m : 4 }");
    assert_eq!(only(&ct), these(&[4, 5, 6]));
    rule("ip t c", "add @m { ip saddr : ip length }");
    assert_eq!(only(&ct), RuledZones::Any);
}

#[test]
fn a_computed_zone_is_any() {
    let ct = open();
    for words in [
        "numgen inc mod 4 offset 10",
        "meta cpu",
        "ip length",
        "vlan id",
    ] {
        table("ip", "t");
        rule("ip t c", &format!("ct original zone set {words}"));
        let rules = ct.zone_rules().unwrap();
        assert_eq!(rules.len(), 1, "{words}");
        assert_eq!(rules[0].zones(), &RuledZones::Any, "{words}");
        assert_eq!(rules[0].direction(), Some(Direction::Original));
        nft("delete table ip t");
    }
}

#[test]
fn every_form_of_iptables() {
    let ct = open();
    for (family, command) in [("ip", "iptables-nft"), ("ip6", "ip6tables-nft")] {
        let mut want = Vec::new();
        for (words, zones) in [
            ("--zone 5", Some((these(&[5]), None))),
            (
                "--zone-orig 6",
                Some((these(&[6]), Some(Direction::Original))),
            ),
            (
                "--zone-reply 65535",
                Some((these(&[65_535]), Some(Direction::Reply))),
            ),
            ("--zone mark", Some((RuledZones::Any, None))),
            (
                "--zone-orig mark",
                Some((RuledZones::Any, Some(Direction::Original))),
            ),
            (
                "--zone-reply mark",
                Some((RuledZones::Any, Some(Direction::Reply))),
            ),
            ("--zone 7 --helper ftp", Some((these(&[7]), None))),
            ("--zone 0", None),
            ("--notrack", None),
            ("--helper ftp", None),
            ("--ctevents new", None),
        ] {
            let rule = format!("-t raw -A PREROUTING -p tcp -j CT {words}");
            run(command, &rule.split(' ').collect::<Vec<_>>());
            want.push(zones);
        }
        let listed = run(
            "nft",
            &["--handle", "list", "chain", family, "raw", "PREROUTING"],
        );
        let handles = listed.lines().filter(|line| line.contains("counter"));
        let handles: Vec<_> = handles
            .map(|line| line.rsplit(' ').next().unwrap())
            .collect();
        assert_eq!(handles.len(), want.len(), "{listed}");
        let want: Vec<_> = { handles.iter().zip(want) }
            .filter_map(|(handle, zones)| {
                let line = format!("iptables {family} raw PREROUTING handle {handle}");
                zones.map(|(zones, direction)| (line, zones, direction))
            })
            .collect();
        assert_eq!(read(&ct), want);
        run(command, &["-t", "raw", "-F", "PREROUTING"]);
    }
    assert_eq!(read(&ct), []);
}

/// So many lines as commands, in one transaction.
fn many(lines: impl Iterator<Item = String>) -> String {
    lines.fold(String::new(), |mut all, line| {
        writeln!(all, "{line}").unwrap();
        all
    })
}

#[test]
fn hundreds_of_rules_and_elements_come_in_pieces() {
    let ct = open();
    table("inet", "t");
    let rules = (1..=600).map(|zone| match zone % 3 {
        0 => format!("add rule inet t c meta mark {zone} ct zone set {zone}"),
        _ => format!("add rule inet t c meta mark {zone} ct zone {zone} counter"),
    });
    nft(&many(rules));
    let zones = |rules: &[ZoneRule]| {
        let each = rules.iter().map(|rule| rule.zones().to_string());
        each.collect::<Vec<_>>()
    };
    let want: Vec<_> = (1..=200).map(|n| (3 * n).to_string()).collect();
    assert_eq!(zones(&ct.zone_rules().unwrap()), want);

    nft("flush ruleset");
    table("ip", "t");
    let element = |n: u32| format!("10.0.{}.{} : {n}", n / 256, n % 256);
    let elements: Vec<_> = (1..=1500).map(element).collect();
    let elements = elements.join(", ");
    nft(&format!(
        "add map ip t m {{ typeof ip saddr : ct zone; elements = {{ {elements} }}; }}"
    ));
    rule("ip t c", "ct zone set ip saddr map @m");
    let all: Vec<u16> = (1..=1500).collect();
    assert_eq!(only(&ct), these(&all));
}

/// What they take is the sum of both, not the product.
#[test]
fn hundreds_of_rules_share_the_zones_of_their_map() {
    const RULES: usize = 300;
    const ZONES: u16 = 4000;
    let ct = open();
    table("inet", "t");
    nft("add map inet t m { typeof meta mark : ct zone; }");
    for first in (1..=ZONES).step_by(1000) {
        let elements = (first..first + 1000).map(|zone| format!("{zone} : {zone}"));
        let elements = elements.collect::<Vec<_>>().join(", ");
        nft(&format!("add element inet t m {{ {elements} }}"));
    }
    let words = (0..RULES).map(|mark| match mark % 3 {
        0 => format!("add rule inet t c meta mark {mark} ct zone set 5"),
        _ => format!("add rule inet t c meta mark {mark} ct zone set meta mark map @m"),
    });
    nft(&many(words));

    let rules = ct.zone_rules().unwrap();
    assert_eq!(rules.len(), RULES);
    let all: Vec<u16> = (1..=ZONES).collect();
    let all = these(&all);
    assert_eq!((rules[0].zones(), rules[1].zones()), (&these(&[5]), &all));
    for (place, rule) in rules.iter().enumerate() {
        match (place % 3, rule.zones(), rules[1].zones()) {
            (0, zones, _) => assert_eq!(zones, &these(&[5])),
            (_, RuledZones::These(zones), RuledZones::These(map)) => {
                assert!(Arc::ptr_eq(zones, map), "rule {place}");
            }
            (_, zones, _) => panic!("{zones}"),
        }
    }

    let builder = ZoneAllocator::builder().order(ZoneOrder::Lowest);
    let zones = builder.range(ZONES - 1..=ZONES + 1).open(&ct).unwrap();
    let map = zones.scan().unwrap();
    let of_zone = |zone: u16| -> Vec<ZoneRule> {
        let used = map.zone(Zone::new(zone));
        used.rules.iter().map(|rule| (**rule).clone()).collect()
    };
    assert_eq!(of_zone(5), rules);
    let of_map = rules.iter().filter(|rule| *rule.zones() == all).cloned();
    let of_map: Vec<_> = of_map.collect();
    assert_eq!(of_map.len(), RULES - RULES / 3);
    assert_eq!((of_zone(1), of_zone(ZONES)), (of_map.clone(), of_map));
    assert_eq!(of_zone(ZONES + 1), []);
    assert!(map.used().map(|used| used.zone.get()).eq(1..=ZONES));
    assert!(
        { map.free(..).unwrap() }.eq((ZONES + 1..=u16::MAX).map(Zone::new)),
        "the others are free"
    );
    let lease = zones.acquire("a").unwrap();
    assert_eq!(lease.zone().get(), ZONES + 1);
    let error = zones.acquire("b").unwrap_err();
    let counts = error.exhausted().unwrap();
    assert_eq!((counts.ruled, counts.leased, counts.free), (2, 1, 0));
}

/// The first piece of a list on a new socket has room for less than a page, and the kernel ends a list
/// before a rule that does not fit.
#[test]
fn a_long_rule_hides_none() {
    let ct = open();
    table("ip", "t");
    let words = (1..60).fold(String::new(), |words, n| {
        words + &format!("ip saddr != 10.0.0.{n} ")
    });
    rule("ip t c", &format!("{words} accept"));
    rule("ip t c", "ct zone set 5");
    assert_eq!(only(&ct), these(&[5]));
    // They occupy the sockets that are there.
    let lists = [(); 3].map(|()| ct.list(&Filter::new()).unwrap());
    assert_eq!(only(&ct), these(&[5]));
    drop(lists);
}

/// Ends the commands beside also where the work fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs commands again and again beside the work, in the same namespace, for some seconds.
fn beside(commands: &[String], mut work: impl FnMut()) {
    let over = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        for command in commands {
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let status = Command::new("sh").args(["-c", command]).status().unwrap();
                    assert!(status.success(), "{command}");
                }
            });
        }
        let _over = Over(over);
        let until = Instant::now() + Duration::from_secs(4);
        while Instant::now() < until {
            work();
        }
    });
}

/// A change is seen as a whole or not at all, or it is said that there were too many.
#[test]
fn rules_that_change_meanwhile_are_never_half() {
    const RULES: u16 = 400;
    let ct = open();
    table("inet", "t");
    let directory = std::env::temp_dir().join(format!("zone-rules-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let file = |name: &str, zone: u16| {
        let path = directory.join(name);
        let rules =
            (0..RULES).map(|mark| format!("add rule inet t c meta mark {mark} ct zone set {zone}"));
        std::fs::write(&path, format!("flush chain inet t c\n{}", many(rules))).unwrap();
        path.display().to_string()
    };
    let (one, other) = (file("one", 1), file("other", 2));
    run("nft", &["-f", &one]);
    let mut seen = BTreeSet::new();
    let mut refused = 0;
    beside(&[format!("nft -f {one}; nft -f {other}")], || {
        match ct.zone_rules() {
            Ok(rules) => {
                assert_eq!(rules.len(), usize::from(RULES));
                let zones: BTreeSet<_> =
                    rules.iter().map(|rule| rule.zones().to_string()).collect();
                assert_eq!(zones.len(), 1, "{zones:?}");
                seen.extend(zones);
            }
            Err(error) => {
                assert!(error.to_string().contains("changed"), "{error}");
                refused += 1;
            }
        }
    });
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(!seen.is_empty(), "refused {refused} times");
}

/// Keeps a processor busy, for changes to end at other moments.
const LOAD: &str = "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done";

/// Rules of a change that is tried and given up are gone through by the kernel's lists: reads `rules`
/// beside `checkers` that try to insert others before them.
fn beside_tries(rules: &[String], chain: &str, checkers: usize, load: usize) {
    let ct = open();
    nft(&many(rules.iter().cloned()));
    let before = ct.zone_rules().unwrap();
    assert!(!before.is_empty());
    let name = format!(
        "zone-rules-{}-{chain}-{checkers}-{load}",
        std::process::id()
    );
    let path = std::env::temp_dir().join(name);
    let tried = (0..200).map(|mark| format!("insert rule inet t {chain} meta mark {mark} accept"));
    std::fs::write(&path, many(tried)).unwrap();
    let mut commands = vec![format!("nft --check -f {}", path.display()); checkers];
    commands.resize(checkers + load, LOAD.to_owned());
    let (mut seen, mut refused) = (0, 0);
    beside(&commands, || match ct.zone_rules() {
        Ok(rules) => {
            assert_eq!(rules.len(), before.len());
            assert_eq!(told(&rules), told(&before));
            seen += 1;
        }
        Err(error) => {
            assert!(error.to_string().contains("changed"), "{error}");
            refused += 1;
        }
    });
    std::fs::remove_file(&path).unwrap();
    assert!(seen > 0, "refused {refused} times");
}

/// Rules in one chain.
fn one_chain() -> Vec<String> {
    let rules = (1..=400).map(|zone| format!("add rule inet t c ct zone set {zone}"));
    {
        ["add table inet t", "add chain inet t c"]
            .map(str::to_owned)
            .into_iter()
    }
    .chain(rules)
    .collect()
}

#[test]
fn a_change_that_is_only_tried_hides_no_rule() {
    beside_tries(&one_chain(), "c", 1, 0);
}

#[test]
fn changes_that_are_tried_at_once_hide_no_rule() {
    beside_tries(&one_chain(), "c", 3, 0);
}

#[test]
fn a_change_that_is_tried_on_a_busy_machine_hides_no_rule() {
    beside_tries(&one_chain(), "c", 1, 2);
}

/// With a rule or two in each, whole chains may be missing, and the rest does not show it.
#[test]
fn a_change_that_is_only_tried_hides_no_chain() {
    let chains = (1..=300).flat_map(|zone| {
        [
            format!("add chain inet t c{zone}"),
            format!("add rule inet t c{zone} ct zone set {zone}"),
        ]
    });
    let rules: Vec<_> = ["add table inet t".to_owned()]
        .into_iter()
        .chain(chains)
        .collect();
    beside_tries(&rules, "c1", 1, 0);
}
