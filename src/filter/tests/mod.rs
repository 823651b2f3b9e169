//! What filters select and reject, and their text.

mod text;
pub(super) mod values;

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::model::{Entry, EntryZone};
use crate::wire::{EntryRef, encode_report};

/// What stands in backquotes in the first column of a row of a table.
pub(super) fn row_names(row: &str) -> impl Iterator<Item = &str> {
    let column = row.split('|').nth(1).unwrap();
    column.split('`').skip(1).step_by(2)
}

/// What the kernel sends of an entry, after the netlink header.
fn payload(entry: &Entry) -> Vec<u8> {
    [vec![2, 0, 0, 0], encode_report(entry).unwrap()].concat()
}

/// Whether an entry is meant, which does not depend on how it is held.
#[track_caller]
fn met(filter: &Filter, entry: &Entry) -> bool {
    let bytes = payload(entry);
    let met = filter.matches(entry);
    let borrowed = EntryRef::parse(&bytes).unwrap();
    assert_eq!(
        filter.matches_ref(&borrowed).unwrap(),
        met,
        "{filter}: {entry:?}"
    );
    met
}

const LINE: &str = "tcp 6 600 ESTABLISHED src=10.0.0.1 dst=192.0.2.1 sport=40000 dport=80 \
                    src=10.9.9.9 dst=10.0.0.1 sport=8080 dport=40000 [ASSURED] mark=257 zone=5";
const ECHO: &str = "icmpv6 58 30 src=fe80::1 dst=fe80::2 type=128 code=0 id=9 [UNREPLIED] \
                    src=fe80::2 dst=fe80::1 type=129 code=0 id=9";

fn entry(line: &str) -> Entry {
    line.parse().unwrap()
}

/// With everything that a condition can ask about.
fn web() -> Entry {
    let mut web = entry(LINE);
    web.id = Some(123);
    web.status = web.status.map(|status| status | Status::DST_NAT);
    let rare = web.rare.get_or_insert_default();
    rare.helper = Some(Helper::FTP);
    rare.labels = Some(labels(&[1, 77]));
    web
}

fn labels(numbers: &[u8]) -> Labels {
    let all = numbers.iter().copied();
    all.fold(Labels::EMPTY, |labels, number| labels.with(number).unwrap())
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn left(text: &str) -> TimeoutRange {
    text.parse().unwrap()
}

#[test]
fn every_condition_selects_and_rejects() {
    use Direction::{Original, Reply};
    let web = web();
    let echo = entry(ECHO);
    let new = Filter::new;
    let meets = [
        new(),
        new().family(Family::Ipv4),
        new().zone(Zone::new(5)),
        new().zone_in(Original, Zone::new(5)),
        new().zone_in(Reply, Zone::new(5)),
        new().mark(257),
        new().mark(Mark::masked(0x100, 0xff00).unwrap()),
        new().status(Status::ASSURED),
        new()
            .status_masked(Status::ASSURED, Status::ASSURED | Status::DYING)
            .unwrap(),
        new().labels(labels(&[77])),
        new().labels_masked(labels(&[1]), labels(&[1, 2])).unwrap(),
        new().labels_masked(labels(&[1, 77]), Labels::ALL).unwrap(),
        new().protocol(Protocol::TCP),
        new().orig_src(net("10.0.0.0/30")),
        new().orig_dst(net("192.0.2.1/32")),
        new().reply_src(net("10.9.0.0/16")),
        new().reply_dst(net("10.0.0.1/32")),
        new().orig_src_port(40000),
        new().orig_dst_port(PortRange::new(1, 100).unwrap()),
        new().reply_src_port(8080),
        new().reply_dst_port(40000),
        new().tcp_state(TcpState::Established),
        new().helper(Helper::FTP),
        new().nat(NatKind::Destination),
        new().nat(NatKind::Any),
        new().timeout(TimeoutRange::ANY),
        new().timeout(left("600")),
        new().timeout(left("600..601")),
        new().timeout(left("..600")),
        new().id(123),
    ];
    for filter in meets {
        assert!(met(&filter, &web), "{filter}");
    }
    let fails = [
        new().family(Family::Ipv6),
        new().zone(Zone::DEFAULT),
        new().zone(Zone::new(6)),
        new().zone_in(Original, Zone::DEFAULT),
        new().zone_in(Reply, Zone::new(6)),
        new()
            .zone_in(Original, Zone::new(5))
            .zone_in(Reply, Zone::DEFAULT),
        new().mark(1),
        new().mark(Mark::masked(0x200, 0xff00).unwrap()),
        new().status(Status::DYING),
        new()
            .status_masked(Status::empty(), Status::ASSURED)
            .unwrap(),
        new().labels(labels(&[1, 2])),
        new().labels_masked(labels(&[]), labels(&[77])).unwrap(),
        new().labels_masked(labels(&[1]), Labels::ALL).unwrap(),
        new().protocol(Protocol::UDP),
        new().orig_src(net("10.0.0.2/32")),
        new().orig_src(net("0.0.0.0/32")),
        new().orig_src(net("::/0")),
        new().orig_dst(net("10.9.9.9/32")),
        new().reply_src(net("192.0.2.1/32")),
        new().reply_dst(net("10.0.0.2/32")),
        new().orig_src_port(80),
        new().orig_dst_port(8080),
        new().reply_src_port(80),
        new().reply_dst_port(80),
        new().icmp_type(8),
        new().icmp_type(8).protocol(Protocol::TCP),
        new().icmp_code(0),
        new().icmp_id(0),
        new().tcp_state(TcpState::SynSent),
        new().tcp_state(TcpState::None),
        new().helper(Helper::TFTP),
        new().nat(NatKind::Source),
        new().nat(NatKind::None),
        new().timeout(left("601..")),
        new().timeout(left("..599")),
        new().id(0),
    ];
    for filter in fails {
        assert!(!met(&filter, &web), "{filter}");
    }
    for (filter, want) in [
        (new().icmp_type(128), true),
        (new().icmp_type(129), false), // that of the answers
        (new().icmp_type(8), false),
        (new().icmp_type(128).protocol(Protocol::ICMP), false),
        (new().icmp_code(0), true),
        (new().icmp_code(1), false),
        (new().icmp_id(9), true),
        (new().icmp_id(8), false),
        (new().nat(NatKind::None), true),
        (new().nat(NatKind::Any), false),
    ] {
        assert_eq!(met(&filter, &echo), want, "{filter}");
    }
}

#[test]
fn what_an_entry_lacks_it_does_not_meet() {
    let mut echo = entry(ECHO);
    let new = Filter::new;
    assert!(met(&new().zone(Zone::DEFAULT), &echo));
    assert!(!met(&new().orig_dst_port(PortRange::ANY), &echo));
    assert!(!met(&new().mark(0), &echo)); // the line says nothing of a mark
    assert!(!met(&new().mark(Mark::masked(0, 0).unwrap()), &echo));
    assert!(!met(&new().tcp_state(TcpState::None), &echo));
    assert!(!met(&new().helper(Helper::FTP), &echo));
    assert!(!met(&new().id(0), &echo));
    let off = new().status_masked(Status::empty(), Status::SEEN_REPLY);
    assert!(met(off.as_ref().unwrap(), &echo));
    echo.status = None;
    assert!(!met(&off.unwrap(), &echo));
    assert!(!met(&new().status(Status::empty()), &echo));
    assert!(!met(&new().nat(NatKind::None), &echo));
    assert!(met(&new().timeout(TimeoutRange::ANY), &echo));
    echo.timeout = None;
    assert!(!met(&new().timeout(TimeoutRange::ANY), &echo));
}

/// The kernel does not send labels when none is set.
#[test]
fn without_labels_none_is_set() {
    let mut echo = entry(ECHO);
    for none in [None, Some(Labels::EMPTY)] {
        echo.rare.get_or_insert_default().labels = none;
        let new = Filter::new;
        let off = |mask| new().labels_masked(Labels::EMPTY, mask).unwrap();
        assert!(met(&off(Labels::ALL), &echo));
        assert!(met(&off(labels(&[3])), &echo));
        assert!(!met(&new().labels(labels(&[3])), &echo));
    }
    assert!(
        Filter::new()
            .labels_masked(labels(&[1, 2]), labels(&[1]))
            .unwrap_err()
            .to_string()
            .contains("2 is outside of the mask")
    );
}

#[test]
fn a_zone_of_one_direction() {
    use Direction::{Original, Reply};
    let (five, none) = (Zone::new(5), Zone::DEFAULT);
    let new = Filter::new;
    let filters = [
        new().zone(five),
        new().zone(none),
        new().zone_in(Original, five),
        new().zone_in(Original, none),
        new().zone_in(Reply, five),
        new().zone_in(Reply, none),
        new().zone_in(Original, five).zone_in(Reply, five),
        new().zone_in(Original, five).zone_in(Reply, none),
    ];
    let mut one = entry(LINE);
    for (zone, want) in [
        (EntryZone::Both(five), "x-x-x-x-"),
        (EntryZone::Orig(five), "x-x--x-x"),
        (EntryZone::Reply(five), "x--xx---"),
        (EntryZone::default(), "-x-x-x--"),
    ] {
        one.zone = zone;
        for (filter, want) in filters.iter().zip(want.chars()) {
            assert_eq!(met(filter, &one), want == 'x', "{filter}: {zone:?}");
        }
    }
}

/// The kernel translates by the status, so that is what counts.
#[test]
fn translation_goes_by_the_status() {
    let kinds = [
        NatKind::Source,
        NatKind::Destination,
        NatKind::Any,
        NatKind::None,
    ];
    // Made with this reply tuple, and translated by nobody.
    let mut one = entry(LINE);
    assert_ne!(one.reply, one.orig.reply());
    for (bits, want) in [
        (Status::SRC_NAT_DONE | Status::DST_NAT_DONE, "---x"),
        (Status::SRC_NAT, "x-x-"),
        (Status::DST_NAT | Status::ASSURED, "-xx-"),
        (Status::SRC_NAT | Status::DST_NAT, "xxx-"),
    ] {
        one.status = Some(bits);
        for (kind, want) in kinds.into_iter().zip(want.chars()) {
            assert_eq!(met(&Filter::new().nat(kind), &one), want == 'x', "{kind}");
        }
    }
}

#[test]
fn setting_again_replaces() {
    let filter = Filter::new()
        .zone(Zone::new(1))
        .zone(Zone::new(2))
        .zone_in(Direction::Original, Zone::new(3))
        .zone_in(Direction::Original, Zone::new(4))
        .labels(labels(&[1]))
        .labels(labels(&[2]))
        .timeout(TimeoutRange::ANY)
        .timeout(left("5"));
    let same = "zone=2 orig-zone=4 labels=2 timeout=5";
    assert_eq!(filter.to_string(), same);
}

#[test]
fn empty_is_known() {
    assert!(Filter::new().is_empty());
    assert!(
        Filter::new()
            .status_masked(Status::ASSURED, Status::DYING)
            .is_err()
    );
    for word in [
        "family=ipv4",
        "zone=0",
        "orig-zone=0",
        "reply-zone=0",
        "mark=0",
        "status=any",
        "labels=any",
        "protocol=0",
        "orig-src=::/0",
        "orig-dst=::/0",
        "orig-src-port=0-65535",
        "orig-dst-port=0-65535",
        "reply-src=::/0",
        "reply-dst=::/0",
        "reply-src-port=0-65535",
        "reply-dst-port=0-65535",
        "icmp-type=0",
        "icmp-code=0",
        "icmp-id=0",
        "state=NONE",
        "helper=ftp",
        "nat=none",
        "timeout=0..",
        "id=0",
    ] {
        assert!(!word.parse::<Filter>().unwrap().is_empty(), "{word}");
    }
}

/// Damage counts where a condition looks, and nowhere else.
#[test]
fn only_what_is_asked_about_is_decoded() {
    let mut bytes = payload(&web());
    let at = bytes.windows(4).position(|four| four == b"ftp\0").unwrap();
    bytes[at] = 0xff;
    let damaged = EntryRef::parse(&bytes).unwrap();
    let all_but = "zone=5 labels=1 state=ESTABLISHED nat=any timeout=600 id=123 protocol=tcp";
    let filter: Filter = all_but.parse().unwrap();
    assert!(filter.matches_ref(&damaged).unwrap());
    let error = filter.clone().helper(Helper::FTP).matches_ref(&damaged);
    assert!(error.unwrap_err().is_malformed());
    // Cheap conditions come first.
    let other = filter.helper(Helper::FTP).zone(Zone::new(6));
    assert!(!other.matches_ref(&damaged).unwrap());
}

proptest! {
    /// A filter is the conjunction of its words, and means the same entries, however they are held.
    #[test]
    fn all_conditions_are_met(filter in values::likely(), entry in values::entry()) {
        let text = filter.to_string();
        let each = text.split(' ').map(|word| met(&word.parse().unwrap(), &entry));
        let all = each.fold(true, |all, one| all & one);
        prop_assert_eq!(met(&filter, &entry), all);
    }
}
