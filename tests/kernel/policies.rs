//! Time-out policies and defaults: every protocol, every state, and what holds a policy.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use ctnetlink::{
    Conntrack, Family, Filter, GreTimeouts, Icmpv6Timeouts, NewTimeoutPolicy, Policies, Protocol,
    SctpTimeouts, TcpTimeouts, Timeouts, UdpLiteTimeouts, UdpTimeouts,
};

use crate::capabilities::Capability;
use crate::support::{listed, open, own_namespace, run, set, setting, track_loopback, tracks};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The protocols that this kernel tracks, by evidence of its own.
fn tracked() -> impl Iterator<Item = Protocol> {
    Timeouts::protocols().filter(|protocol| tracks(*protocol))
}

/// Every state of a protocol, each with a time-out of its own from `base` on.
fn every_state(protocol: Protocol, base: u64) -> Timeouts {
    let mut timeouts = Timeouts::new(protocol).unwrap();
    for (seconds, state) in (base..).zip(timeouts.states()) {
        timeouts = timeouts.with(state, secs(seconds)).unwrap();
    }
    timeouts
}

fn families(protocol: Protocol) -> &'static [Family] {
    match protocol {
        Protocol::ICMP => &[Family::Ipv4],
        Protocol::ICMPV6 => &[Family::Ipv6],
        _ => &[Family::Ipv4, Family::Ipv6],
    }
}

fn names(policies: Policies<'_>) -> Vec<String> {
    let mut list = policies.list().unwrap();
    let names = list
        .by_ref()
        .map(|policy| policy.unwrap().name().to_owned());
    let names = names.collect();
    assert!(!list.is_incomplete());
    names
}

fn udp(name: &str, timeouts: UdpTimeouts) -> NewTimeoutPolicy {
    NewTimeoutPolicy::new(name, Family::Ipv4, timeouts).unwrap()
}

/// A setting in seconds.
fn seconds(name: &str) -> u64 {
    setting(name).parse().unwrap()
}

#[test]
fn every_state_of_every_protocol_is_kept() {
    let ct = open();
    let policies = ct.timeout_policies();
    let mut made = Vec::new();
    for protocol in tracked() {
        for family in families(protocol) {
            let name = format!("{protocol}-{family}");
            let timeouts = every_state(protocol, 1000 * (made.len() as u64 + 1));
            let new = NewTimeoutPolicy::new(&name, *family, timeouts).unwrap();
            policies.create(&new).unwrap();
            made.push(new);
        }
    }
    for new in &made {
        let policy = policies.get(new.name()).unwrap();
        assert_eq!(policy.to_new().unwrap(), *new);
        assert_eq!(policy.timeouts(), new.timeouts());
        assert_eq!(
            (policy.use_count(), policy.is_in_use()),
            (Some(1), Some(false))
        );
        assert_eq!(policy.to_string(), format!("{new} use=1"));
        assert!(policy.unknown().is_empty());
    }
    let listed: Vec<_> = policies
        .list()
        .unwrap()
        .map(|policy| policy.unwrap().to_new().unwrap())
        .collect();
    assert_eq!(listed, made);
}

#[test]
fn what_a_new_policy_does_not_name_is_the_default_of_then() {
    let ct = open();
    let policies = ct.timeout_policies();
    let default = UdpTimeouts::new().with_replied(secs(777)).unwrap();
    policies.set_defaults(default).unwrap();
    policies.create(&udp("first", UdpTimeouts::new())).unwrap();
    let later = UdpTimeouts::new().with_replied(secs(888)).unwrap();
    policies.set_defaults(later).unwrap();
    let first = policies.get("first").unwrap();
    assert_eq!(first.timeouts().get("replied"), Some(secs(777)));
    let unreplied = secs(seconds("nf_conntrack_udp_timeout"));
    assert_eq!(first.timeouts().get("unreplied"), Some(unreplied));
}

#[test]
fn a_change_leaves_the_other_states_and_the_other_policies() {
    let ct = open();
    let policies = ct.timeout_policies();
    for protocol in tracked() {
        let family = families(protocol)[0];
        let before = every_state(protocol, 100);
        for name in ["target", "bystander"] {
            let new = NewTimeoutPolicy::new(name, family, before.clone()).unwrap();
            policies.create(&new).unwrap();
        }
        for state in before.states() {
            let change = Timeouts::new(protocol).unwrap();
            let change = change.with(state, secs(5)).unwrap();
            let want = policies.get("target").unwrap().timeouts().clone();
            let want = want.with(state, secs(5)).unwrap();
            policies.change("target", change).unwrap();
            assert_eq!(*policies.get("target").unwrap().timeouts(), want);
            assert_eq!(*policies.get("bystander").unwrap().timeouts(), before);
        }
        policies.delete("target").unwrap();
        assert!(policies.get("target").unwrap_err().is_not_found());
        assert_eq!(names(policies), ["bystander"]);
        policies.delete("bystander").unwrap();
    }
}

#[test]
fn a_change_makes_nothing_and_crosses_no_protocol() {
    let ct = open();
    let policies = ct.timeout_policies();
    let five = UdpTimeouts::new().with_unreplied(secs(5)).unwrap();
    assert!(policies.change("ghost", five).unwrap_err().is_not_found());
    assert_eq!(names(policies), [""; 0]);

    let tcp = every_state(Protocol::TCP, 50);
    let new = NewTimeoutPolicy::new("web", Family::Ipv6, tcp.clone()).unwrap();
    policies.create(&new).unwrap();
    for error in [
        policies.change("web", five).unwrap_err(),
        policies.change("web", TcpTimeouts::new()).unwrap_err(),
        policies.change("", five).unwrap_err(),
    ] {
        assert!(error.is_invalid_input(), "{error}");
    }
    let error = policies.create(&udp("web", five)).unwrap_err();
    assert!(error.is_exists(), "{error}");
    assert!(policies.delete("we").unwrap_err().is_not_found());
    assert_eq!(*policies.get("web").unwrap().timeouts(), tcp);
}

#[test]
fn the_longest_name_and_the_longest_time_are_kept() {
    let ct = open();
    let policies = ct.timeout_policies();
    let longest = secs(2_147_483);
    let timeouts = UdpTimeouts::new().with_replied(longest).unwrap();
    let timeouts = timeouts.with_unreplied(Duration::ZERO).unwrap();
    for name in ["x".repeat(31), "y z\u{e9}".to_owned()] {
        policies.create(&udp(&name, timeouts)).unwrap();
        let policy = policies.get(&name).unwrap();
        assert_eq!(
            (policy.name(), policy.timeouts().udp()),
            (&*name, Some(timeouts))
        );
    }
    policies.set_defaults(timeouts).unwrap();
    assert_eq!(
        policies.defaults(Protocol::UDP).unwrap().timeouts().udp(),
        Some(timeouts)
    );
    assert_eq!(
        seconds("nf_conntrack_udp_timeout_stream"),
        longest.as_secs()
    );
}

#[test]
fn more_policies_than_fit_a_datagram_are_listed() {
    let ct = open();
    let policies = ct.timeout_policies();
    let mut made: Vec<_> = (0..500).map(|n| format!("policy {n}")).collect();
    for name in &made {
        let new = NewTimeoutPolicy::new(name, Family::Ipv4, TcpTimeouts::new()).unwrap();
        policies.create(&new).unwrap();
    }
    let mut found = names(policies);
    assert_eq!(policies.list().unwrap().len(), 500);
    made.sort();
    found.sort();
    assert_eq!(found, made);
}

#[test]
fn defaults_are_those_of_the_settings() {
    let ct = open();
    let policies = ct.timeout_policies();
    set("nf_conntrack_tcp_timeout_close_wait", "61");
    let tcp = policies.defaults(Protocol::TCP).unwrap();
    assert_eq!(tcp.timeouts().tcp().unwrap().close_wait(), Some(secs(61)));
    for (protocol, state, file) in [
        (
            Protocol::TCP,
            "established",
            "nf_conntrack_tcp_timeout_established",
        ),
        (
            Protocol::TCP,
            "retrans",
            "nf_conntrack_tcp_timeout_max_retrans",
        ),
        (
            Protocol::TCP,
            "unacknowledged",
            "nf_conntrack_tcp_timeout_unacknowledged",
        ),
        (Protocol::UDP, "unreplied", "nf_conntrack_udp_timeout"),
        (Protocol::ICMP, "timeout", "nf_conntrack_icmp_timeout"),
        (Protocol::ICMPV6, "timeout", "nf_conntrack_icmpv6_timeout"),
        (
            Protocol::SCTP,
            "cookie_wait",
            "nf_conntrack_sctp_timeout_cookie_wait",
        ),
        (Protocol::GRE, "replied", "nf_conntrack_gre_timeout_stream"),
        (Timeouts::GENERIC, "timeout", "nf_conntrack_generic_timeout"),
    ] {
        let before = policies.defaults(protocol).unwrap();
        assert_eq!(
            before.timeouts().get(state),
            Some(secs(seconds(file))),
            "{protocol} {state}"
        );
        let change = Timeouts::new(protocol).unwrap();
        policies
            .set_defaults(change.with(state, secs(4321)).unwrap())
            .unwrap();
        assert_eq!(seconds(file), 4321);
        // What was not named stays.
        let want = Timeouts::from(before).with(state, secs(4321)).unwrap();
        assert_eq!(policies.defaults(protocol).unwrap().timeouts(), &want);
    }
}

#[test]
fn every_default_can_be_set_and_is_the_namespaces_own() {
    let ct = open();
    let policies = ct.timeout_policies();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            own_namespace();
            let there = Conntrack::open().unwrap();
            for protocol in tracked().filter(|protocol| *protocol != Protocol::UDPLITE) {
                let untouched = there.timeout_policies().defaults(protocol).unwrap();
                let want = every_state(protocol, 4000);
                policies.set_defaults(want.clone()).unwrap();
                assert_eq!(policies.defaults(protocol).unwrap().timeouts(), &want);
                assert_eq!(
                    there.timeout_policies().defaults(protocol).unwrap(),
                    untouched
                );
            }
            let new = udp("here", UdpTimeouts::new());
            policies.create(&new).unwrap();
            let error = there.timeout_policies().get("here").unwrap_err();
            assert!(error.is_not_found(), "{error}");
        });
    });
    assert_eq!(names(policies), ["here"]);
}

/// The kernel has one set for both.
#[test]
fn udplite_does_not_change_the_defaults_of_udp() {
    let ct = open();
    let policies = ct.timeout_policies();
    let before = policies.defaults(Protocol::UDP).unwrap();
    let udplite = UdpLiteTimeouts::new().with_replied(secs(9)).unwrap();
    let error = policies.set_defaults(udplite).unwrap_err();
    assert!(
        error.is_invalid_input() && error.to_string().contains("udp"),
        "{error}"
    );
    assert_eq!(policies.defaults(Protocol::UDP).unwrap(), before);
    if !tracks(Protocol::UDPLITE) {
        // See `a_protocol_without_a_tracker_is_unsupported`.
        return;
    }
    let shared = policies.defaults(Protocol::UDPLITE).unwrap();
    assert_eq!(
        shared.timeouts().udplite().unwrap().replied(),
        before.timeouts().get("replied")
    );
}

#[test]
fn a_protocol_without_a_tracker_is_unsupported() {
    let ct = open();
    let policies = ct.timeout_policies();
    let esp = policies.defaults(Protocol::new(50)).unwrap_err();
    assert!(esp.is_invalid_input(), "{esp}");
    for protocol in Timeouts::protocols().filter(|protocol| !tracks(*protocol)) {
        let timeouts = every_state(protocol, 1);
        let new = NewTimeoutPolicy::new("none", Family::Ipv4, timeouts.clone()).unwrap();
        let mut refused = vec![
            policies.create(&new).unwrap_err(),
            policies.defaults(protocol).unwrap_err(),
        ];
        // Those of UDP-Lite are UDP's, and never set.
        if protocol != Protocol::UDPLITE {
            refused.push(policies.set_defaults(timeouts).unwrap_err());
        }
        for error in refused {
            assert!(error.is_unsupported(), "{error}");
            assert!(error.to_string().contains("generic"), "{error}");
        }
    }
    assert_eq!(names(policies), [""; 0]);
}

#[test]
fn flows_have_the_time_outs_of_their_policy_and_a_used_one_stays() {
    let ct = open();
    let policies = ct.timeout_policies();
    let long = UdpTimeouts::new().with_unreplied(secs(90_000)).unwrap();
    for name in ["dns", "bystander"] {
        policies.create(&udp(name, long)).unwrap();
    }
    // Tracking goes on when the policy's own rule is gone.
    track_loopback();
    let rule = [
        "-t",
        "raw",
        "-A",
        "OUTPUT",
        "-p",
        "udp",
        "-j",
        "CT",
        "--timeout",
        "dns",
    ];
    run("iptables-nft", &rule);
    let held = Capability::PoliciesHeldByRules.is_there();
    let uses = || policies.get("dns").unwrap().use_count();
    // The rule counts, and where it does not hold the policy, its template does as well.
    assert_eq!(uses(), Some(if held { 2 } else { 3 }));
    assert_eq!(policies.get("dns").unwrap().is_in_use(), Some(true));

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let left_after_a_packet = |socket: &UdpSocket| {
        socket.send_to(&[0; 8], "127.0.0.1:9").unwrap();
        let port = socket.local_addr().unwrap().port();
        let flows = listed(&ct, &Filter::new().orig_src_port(port));
        flows[0].timeout().unwrap().as_secs()
    };
    assert!((89_900..=90_000).contains(&left_after_a_packet(&socket)));
    // A policy in use can be changed, and that reaches flows that have it.
    let longer = UdpTimeouts::new().with_unreplied(secs(190_000)).unwrap();
    policies.change("dns", longer).unwrap();
    assert!((189_900..=190_000).contains(&left_after_a_packet(&socket)));
    assert!((189_900..=190_000).contains(&left_after_a_packet(&other)));

    if held {
        assert_eq!(uses(), Some(2));
        let error = policies.delete("dns").unwrap_err();
        assert!(error.is_busy(), "{error}");
        assert!(
            error.to_string().contains("remove the rule first"),
            "{error}"
        );
        assert_eq!(names(policies), ["dns", "bystander"]);
        run("iptables-nft", &["-t", "raw", "-F", "OUTPUT"]);
        assert!((189_900..=190_000).contains(&left_after_a_packet(&socket)));
        // nftables lets go of what a rule had when no packet can be at it any more.
        let until = Instant::now() + Duration::from_secs(20);
        while uses() != Some(1) {
            assert!(Instant::now() < until, "{:?}", policies.get("dns"));
            std::thread::yield_now();
        }
    } else {
        // Each flow counts, and nothing stands in the way.
        assert_eq!(uses(), Some(5));
    }
    // Without its policy, a flow has the default.
    policies.delete("dns").unwrap();
    let default = seconds("nf_conntrack_udp_timeout");
    assert!(left_after_a_packet(&socket) <= default);
    assert_eq!(names(policies), ["bystander"]);
    assert_eq!(
        policies
            .get("bystander")
            .unwrap()
            .timeouts()
            .get("unreplied"),
        Some(secs(90_000))
    );
}

/// Where nothing else is said, a typed set names nothing.
#[test]
fn typed_sets_are_what_the_kernel_has() {
    let ct = open();
    let policies = ct.timeout_policies();
    let sctp = SctpTimeouts::new()
        .with_shutdown_ack_sent(secs(11))
        .unwrap();
    policies.set_defaults(sctp).unwrap();
    let now = policies
        .defaults(Protocol::SCTP)
        .unwrap()
        .timeouts()
        .sctp()
        .unwrap();
    assert_eq!(now.shutdown_ack_sent(), Some(secs(11)));
    assert!(now.cookie_echoed().is_some());
    let gre = GreTimeouts::new().with_unreplied(secs(12)).unwrap();
    policies.set_defaults(gre).unwrap();
    assert_eq!(seconds("nf_conntrack_gre_timeout"), 12);
    let icmpv6 = Icmpv6Timeouts::new().with_timeout(secs(13)).unwrap();
    policies.set_defaults(icmpv6).unwrap();
    assert_eq!(seconds("nf_conntrack_icmpv6_timeout"), 13);
    assert_ne!(seconds("nf_conntrack_icmp_timeout"), 13);
}
