//! What else was found of the kernel, against what it is seen to do; and that nothing is trusted
//! where nothing could be tried.

use std::ops::ControlFlow;
use std::process::Command;

use ctnetlink::{Conntrack, Family, Filter, KernelSupport, Zone};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;

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
