//! Time-out policies: what is sent, and kernels that lack them, change less or tell more.

use super::*;
use crate::model::{Family, NewTimeoutPolicy, Protocol, Timeouts, UdpTimeouts};
use crate::ops::Policies;

// Message types: `NFNL_SUBSYS_CTNETLINK_TIMEOUT << 8`, and `IPCTNL_MSG_TIMEOUT_*`.
const POLICY_NEW: u16 = 0x800;
const POLICY_GET: u16 = 0x801;
const POLICY_DELETE: u16 = 0x802;
const DEFAULT_SET: u16 = 0x803;
const DEFAULT_GET: u16 = 0x804;
/// `NLM_F_REPLACE`
const REPLACE_ACKED: u16 = ACKED | 0x100;

const NAME: u16 = 1;
const DATA: u16 = 4;

const READ: Operation = Operation::Policies;
const CHANGE: Operation = Operation::ChangePolicies;

fn policies(kernel: &Kernel) -> Policies<'_> {
    Policies::new(&kernel.session)
}

fn seconds(number: u16, seconds: u8) -> Vec<u8> {
    attr(number, &[0, 0, 0, seconds])
}

/// A policy of IPv4 and a protocol as the kernel reports it.
fn reported(name: &str, protocol: u8, states: &[Vec<u8>]) -> Vec<u8> {
    let all = [
        vec![0; 4],
        attr(NAME, format!("{name}\0").as_bytes()),
        attr(2, &[0, 2]),
        attr(3, &[protocol]),
        attr(DATA | 0x8000, &states.concat()),
    ];
    all.concat()
}

fn udp_policy(unreplied: u8, replied: u8) -> Vec<u8> {
    reported("web", 17, &[seconds(1, unreplied), seconds(2, replied)])
}

fn five() -> UdpTimeouts {
    let five = Duration::from_secs(5);
    UdpTimeouts::new().with_unreplied(five).unwrap()
}

fn web() -> NewTimeoutPolicy {
    NewTimeoutPolicy::new("web", Family::Ipv4, five()).unwrap()
}

#[test]
fn a_change_sends_all_states_again_and_never_creates() {
    let unknown = seconds(12, 99);
    let before = reported("web", 17, &[seconds(1, 3), seconds(2, 4), unknown.clone()]);
    let after = reported("web", 17, &[seconds(1, 5), seconds(2, 4), unknown.clone()]);
    let kernel = Kernel::new([
        vec![says([found(1, &before)])],
        vec![says([ack(2)])],
        vec![says([found(3, &after)])],
    ]);
    policies(&kernel).change("web", five()).unwrap();
    assert_eq!(
        kernel.sent(0),
        [
            [(POLICY_GET, REQUEST, 1)],
            [(POLICY_NEW, REPLACE_ACKED, 2)],
            [(POLICY_GET, REQUEST, 3)],
        ]
    );
    let sent = kernel.attribute(0, DATA)[1].clone().unwrap();
    assert_eq!(sent, [seconds(1, 5), seconds(2, 4), unknown].concat());
}

#[test]
fn a_change_that_cannot_be_right_sends_no_change() {
    let odd = reported("web", 17, &[seconds(1, 3), attr(12, &[0; 8])]);
    for (answer, why) in [
        (reported("web", 6, &[seconds(1, 3)]), "another protocol's"),
        (odd, "does not know"),
    ] {
        let kernel = Kernel::new([vec![says([found(1, &answer)])]]);
        let error = policies(&kernel).change("web", five()).unwrap_err();
        assert!(error.is_invalid_input(), "{error}");
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(kernel.sent(0), [[(POLICY_GET, REQUEST, 1)]]);
    }
    let kernel = Kernel::new([vec![says([refusal(1, Nix::ENOENT)])]]);
    let error = policies(&kernel).change("web", five()).unwrap_err();
    check(&error, CHANGE, Some(Nix::ENOENT), &["not found"]);
    assert_eq!(kernel.sent(0), [[(POLICY_GET, REQUEST, 1)]]);
}

#[test]
fn what_the_kernel_did_not_keep_is_told() {
    let made = [
        vec![says([ack(1)])],
        vec![says([found(2, &udp_policy(4, 9))])],
    ];
    let kernel = Kernel::new(made.clone());
    let error = policies(&kernel).create(&web()).unwrap_err();
    check(&error, CHANGE, None, &["unsupported"]);
    assert!(
        error.to_string().contains("udp unreplied=5 is not kept"),
        "{error}"
    );
    assert_eq!(
        kernel.sent(0),
        [[(POLICY_NEW, CREATE_ACKED, 1)], [(POLICY_GET, REQUEST, 2)]]
    );
    let kernel = Kernel::new(made);
    let error = policies(&kernel).set_defaults(five()).unwrap_err();
    check(&error, CHANGE, None, &["unsupported"]);
    assert_eq!(
        kernel.sent(0),
        [[(DEFAULT_SET, ACKED, 1)], [(DEFAULT_GET, REQUEST, 2)]]
    );
    // Deleted before it was looked at: it was made as it was asked for, as far as anybody knows.
    let kernel = Kernel::new([vec![says([ack(1)])], vec![says([refusal(2, Nix::ENOENT)])]]);
    policies(&kernel).create(&web()).unwrap();
}

#[test]
fn a_policy_in_use_is_not_deleted() {
    let kernel = Kernel::new([vec![says([refusal(1, Nix::EBUSY)])]]);
    let error = policies(&kernel).delete("web").unwrap_err();
    check(&error, CHANGE, Some(Nix::EBUSY), &["busy"]);
    assert!(
        error.to_string().contains("remove the rule first"),
        "{error}"
    );
    assert_eq!(kernel.sent(0), [[(POLICY_DELETE, ACKED, 1)]]);
    // The name is there: without one, all would go.
    assert_eq!(kernel.attribute(0, NAME), [Some(b"web\0".to_vec())]);
}

#[test]
fn a_kernel_without_policies_is_told_by_its_module() {
    let refused = |sequence| vec![says([refusal(sequence, Nix::EINVAL)])];
    let kernel = Kernel::new((1..=8).map(refused));
    let view = policies(&kernel);
    for (error, operation) in [
        (view.get("web").unwrap_err(), READ),
        (view.create(&web()).unwrap_err(), CHANGE),
        (view.delete("web").unwrap_err(), CHANGE),
        (view.defaults(Protocol::UDP).unwrap_err(), READ),
    ] {
        check(&error, operation, None, &["unsupported"]);
        assert!(error.to_string().contains("nfnetlink_cttimeout"), "{error}");
    }
    assert_eq!(kernel.sizes(0), [1; 8]);
    let kernel = Kernel::new((1..=2).map(refused));
    let error = policies(&kernel).list().unwrap_err();
    check(&error, READ, None, &["unsupported"]);
}

#[test]
fn a_module_that_was_just_loaded_is_asked_again() {
    let kernel = Kernel::new([
        vec![says([refusal(1, Nix::EINVAL)])],
        vec![says([refusal(2, Nix::ENOENT)])],
        vec![says([ack(3)])],
        vec![says([found(4, &udp_policy(5, 9))])],
    ]);
    policies(&kernel).create(&web()).unwrap();
    let kernel = Kernel::new([
        vec![says([refusal(1, Nix::EINVAL)])],
        vec![says([refusal(2, Nix::ENOENT)])],
        vec![says([found(3, &udp_policy(5, 9)), done(3)])],
    ]);
    assert_eq!(policies(&kernel).list().unwrap().len(), 1);
    // A request that is invalid in itself stays so, and is not repeated for ever.
    let kernel = Kernel::new([
        vec![says([refusal(1, Nix::EINVAL)])],
        vec![says([refusal(2, Nix::ENOENT)])],
        vec![says([refusal(3, Nix::EINVAL)])],
    ]);
    let error = policies(&kernel).delete("web").unwrap_err();
    check(&error, CHANGE, Some(Nix::EINVAL), &[]);
}

#[test]
fn a_damaged_policy_of_a_list_fails_alone() {
    let damaged = reported("bad", 17, &[attr(1, &[0; 3])]);
    let kernel = Kernel::new([vec![says([
        found(1, &udp_policy(1, 2)),
        found(1, &damaged),
        found(1, &reported("esp", 50, &[seconds(1, 8)])),
        done(1),
    ])]]);
    let mut list = policies(&kernel).list().unwrap();
    assert_eq!((list.len(), list.is_incomplete()), (3, false));
    assert_eq!(list.next().unwrap().unwrap().name(), "web");
    let error = list.next().unwrap().unwrap_err();
    check(&error, READ, None, &["malformed"]);
    assert!(
        error.to_string().contains("CTA_TIMEOUT_UDP_UNREPLIED"),
        "{error}"
    );
    // A protocol that is not known has states that are not known.
    let esp = list.next().unwrap().unwrap();
    assert_eq!(
        (esp.protocol(), esp.timeouts().states().len()),
        (Protocol::new(50), 0)
    );
    assert_eq!(esp.timeouts().unknown().len(), 1);
    assert!(list.next().is_none());
}

#[test]
fn a_list_says_when_it_may_be_incomplete() {
    let kernel = Kernel::new([vec![
        Event::Fail(Nix::ENOBUFS),
        says([found(1, &udp_policy(1, 2)), done(1)]),
    ]]);
    let list = policies(&kernel).list().unwrap();
    assert!(list.is_incomplete());
    assert_eq!(list.count(), 1);
    let kernel = Kernel::new([vec![says([found(1, &udp_policy(1, 2))])]]);
    check_deadline(&policies(&kernel).list().unwrap_err(), READ);
}

#[test]
fn a_lost_answer_is_not_taken_for_an_outcome() {
    let kernel = Kernel::new([vec![Event::Fail(Nix::ENOBUFS)], vec![]]);
    let error = policies(&kernel).create(&web()).unwrap_err();
    let unknown = &["overrun", "outcome unknown"];
    check(&error, CHANGE, Some(Nix::ENOBUFS), unknown);
    check_deadline(&policies(&kernel).delete("web").unwrap_err(), CHANGE);
}

#[test]
fn what_names_nothing_is_not_sent() {
    let kernel = Kernel::new([]);
    let view = policies(&kernel);
    for error in [
        view.change("web", UdpTimeouts::new()).unwrap_err(),
        view.set_defaults(UdpTimeouts::new()).unwrap_err(),
        view.defaults(Protocol::new(50)).unwrap_err(),
        view.delete("").unwrap_err(),
        view.get("a\0").unwrap_err(),
        view.set_defaults(
            Timeouts::new(Protocol::UDPLITE)
                .unwrap()
                .with("replied", Duration::from_secs(1))
                .unwrap(),
        )
        .unwrap_err(),
    ] {
        assert!(error.is_invalid_input(), "{error}");
    }
    assert_eq!(kernel.opened(), 0);
}
