//! What else was found of the kernel, against what it is seen to do; and that nothing is trusted
//! where nothing could be tried.

use std::ops::ControlFlow;
use std::process::Command;

use ctnetlink::{Conntrack, Family, Filter, FilterShape, KernelSupport, Verdict, Zone};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use crate::capabilities::Capability;
use crate::support::{assert_flows, listed, open, udp};

#[test]
fn features_are_what_the_kernel_is_seen_to_do() {
    let features = KernelSupport::probe().features();
    // Other tests use these on every kernel.
    for (found, name) in [
        (features.zones, "zones"),
        (features.direction_zones, "zones of one direction"),
        (features.labels, "labels"),
        (features.nat, "translation"),
        (features.helpers, "helpers"),
        (features.extended_ack, "refusals that say why"),
    ] {
        assert_eq!(found, Some(true), "{name}");
    }
    let stamps = Capability::EventTimes.is_there();
    assert_eq!(features.event_timestamps, Some(stamps));
    let socket = Socket::new(NETLINK_NETFILTER).unwrap();
    let strict = socket.set_netlink_get_strict_chk(true).is_ok();
    assert_eq!(features.strict_checking, Some(strict));
}

/// Sends a request of ctnetlink's that names zone 5 and nothing else, byte by byte, and gives the
/// types of what comes back.
fn ask_of_zone_five(kind: u16, flags: u16) -> Vec<u16> {
    const NLM_F_REQUEST: u16 = 1;
    const ERROR: u16 = 2;
    const DONE: u16 = 3;
    let mut bytes = 28_u32.to_ne_bytes().to_vec();
    // NFNL_SUBSYS_CTNETLINK
    bytes.extend((1 << 8 | kind).to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    // Number and port; then the family, which is none.
    bytes.extend([0; 12]);
    // CTA_ZONE
    bytes.extend(6_u16.to_ne_bytes());
    bytes.extend(18_u16.to_ne_bytes());
    bytes.extend([0, 5, 0, 0]);
    let mut socket = Socket::new(NETLINK_NETFILTER).unwrap();
    socket.bind_auto().unwrap();
    // The kernel answers while it is asked: what is not there then never comes.
    socket.set_non_blocking(true).unwrap();
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).unwrap();
    let mut kinds = Vec::new();
    while !matches!(kinds.last(), Some(&(ERROR | DONE))) {
        let (datagram, _) = socket.recv_from_full().unwrap();
        let mut rest = &datagram[..];
        while let Some(header) = rest.first_chunk::<6>() {
            let [a, b, c, d, kind @ ..] = *header;
            kinds.push(u16::from_ne_bytes(kind));
            let length = u32::from_ne_bytes([a, b, c, d]) as usize;
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
    }
    kinds
}

/// The verdicts on zones are what a request sees that this library has no part in.
#[test]
fn verdicts_on_zones_are_those_of_a_request_by_hand() {
    // IPCTNL_MSG_CT_*, NLM_F_*
    const NEW: u16 = 1 << 8;
    const GET: u16 = 1;
    const DELETE: u16 = 2;
    const ACK: u16 = 4;
    const DUMP: u16 = 0x300;
    let ct = open();
    let all = [0, 5, 6, u16::MAX].map(|zone| udp(1).zone(Zone::new(zone)).build().unwrap());
    ct.create_many(&all).into_result().unwrap();
    let support = KernelSupport::probe();
    let listed_by_kernel = ask_of_zone_five(GET, DUMP);
    let entries = listed_by_kernel.iter().filter(|kind| **kind == NEW);
    let found = match entries.count() {
        1 => Verdict::Right,
        4 => Verdict::Ignored,
        other => panic!("{other} entries of the zone"),
    };
    assert_eq!(support.dump(FilterShape::ZONE, None), found);
    ask_of_zone_five(DELETE, ACK);
    let left = match listed(&ct, &Filter::new()) {
        left if left.is_empty() => Verdict::Ignored,
        left => {
            assert_flows(&left, [&all[0], &all[2], &all[3]]);
            Verdict::Right
        }
    };
    assert_eq!(support.flush(FilterShape::ZONE, None), left);
}

/// Run again without the right to make namespaces, this test is the program that can try nothing.
#[test]
fn where_nothing_can_be_tried_nothing_is_asked_of_the_kernel() {
    const CHILD: &str = "CTNETLINK_TEST_MAKES_NO_NAMESPACE";
    const NAME: &str = "probe_features::where_nothing_can_be_tried_nothing_is_asked_of_the_kernel";
    if std::env::var_os(CHILD).is_some() {
        return trusts_nothing();
    }
    let ct = open();
    let [five, six] = [5, 6].map(|zone| udp(1).zone(Zone::new(zone)).build().unwrap());
    ct.create_many([&five, &six]).into_result().unwrap();
    let output = Command::new("setpriv")
        .args(["--inh-caps=-sys_admin", "--bounding-set=-sys_admin", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("setpriv (util-linux)");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    assert_flows(&listed(&ct, &Filter::new()), [&six]);
}

fn trusts_nothing() {
    let ct = Conntrack::open().unwrap();
    let support = ct.kernel_support();
    assert!(support.why_not().is_some(), "{support}");
    assert_eq!(support.trials(), []);
    let five = Filter::new().zone(Zone::new(5));
    let seen = ct
        .visit(&five, |_| ControlFlow::<()>::Continue(()))
        .unwrap();
    assert_eq!((seen.seen, seen.matched), (2, 1));
    for deleted in [
        ct.flush_zone(Zone::new(5)),
        ct.flush_family(Family::Ipv6),
        ct.delete_matching(&five),
    ] {
        let deleted = deleted.unwrap();
        assert!(deleted.is_clean() && !deleted.by_kernel(), "{deleted:?}");
    }
}
