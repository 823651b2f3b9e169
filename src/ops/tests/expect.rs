//! Expectations: what is sent, and kernels that leave things out, lose them or find others.

mod lists;

use super::*;
use crate::model::{
    Direction, ExpectFlags, ExpectKey, ExpectMask, ExpectNat, Expectation, ExpectationBuilder,
    Family, Helper, NewExpectation, Tuple,
};
use crate::ops::Expectations;
use crate::wire::{decode_expectation, encode_expectation_report};

// Message types: `NFNL_SUBSYS_CTNETLINK_EXP << 8`, and `IPCTNL_MSG_EXP_*`.
const EXP_NEW: u16 = 0x200;
const EXP_GET: u16 = 0x201;
const EXP_DELETE: u16 = 0x202;
/// `NLM_F_DUMP`, and `NLM_F_ACK`: without it there may be no answer.
const DUMP_OF: u16 = DUMP | 0x4;

const CTA_EXPECT_TUPLE: u16 = 2;
const CTA_EXPECT_TIMEOUT: u16 = 4;
const CTA_EXPECT_ID: u16 = 5;
const CTA_EXPECT_ZONE: u16 = 7;
const CTA_EXPECT_CLASS: u16 = 9;
const CTA_EXPECT_NAT: u16 = 10;

const CREATE_EXPECTATION: Operation = Operation::CreateExpectation;
const DELETE_EXPECTATION: Operation = Operation::DeleteExpectation;
const LIST: Operation = Operation::ListExpectations;

/// The look-up of the master, and the creation.
const CREATION: [[Sent; 1]; 2] = [[(GET, REQUEST, 1)], [(EXP_NEW, CREATE_ACKED, 2)]];

fn expectations(kernel: &Kernel) -> Expectations<'_> {
    Expectations::new(&kernel.session)
}

/// The control connection of FTP whose client has this port, in zone 5.
fn control_of(port: u16, helper: Option<Helper>) -> NewEntry {
    let (src, dst) = (([10, 0, 0, 1], port), ([10, 0, 0, 2], 21));
    let mut entry = Entry::tcp(src.into(), dst.into())
        .zone(Zone::new(5))
        .timeout(Duration::from_secs(30));
    if let Some(helper) = helper {
        entry = entry.helper(helper);
    }
    entry.build().unwrap()
}

fn control() -> NewEntry {
    control_of(40_000, Some(Helper::FTP))
}

/// As the kernel reports it.
fn master() -> Vec<u8> {
    reported(&control(), &[id(77)])
}

fn data(port: u16) -> Tuple {
    Tuple::tcp(([10, 0, 0, 2], 0).into(), ([10, 0, 0, 1], port).into()).unwrap()
}

fn expect(port: u16) -> ExpectationBuilder {
    NewExpectation::builder(&control(), data(port))
}

fn data_key(port: u16) -> ExpectKey {
    ExpectKey::new(data(port)).zone(Zone::new(5))
}

/// An expectation as the kernel keeps it, whose id is its port.
fn kept(port: u16) -> Expectation {
    Expectation {
        tuple: data(port),
        mask: ExpectMask::any_port(Family::Ipv4),
        master: *control().entry().orig(),
        zone: None,
        timeout: Some(300),
        id: Some(port.into()),
        helper: Some(Helper::FTP),
        flags: Some(ExpectFlags::empty()),
        class: Some(0),
        nat: None,
        function: None,
        unknown: Vec::new(),
    }
}

fn told(expectation: &Expectation) -> Vec<u8> {
    let attributes = encode_expectation_report(expectation).unwrap();
    [&[0; 4][..], &attributes].concat()
}

fn expectation(port: u16) -> Vec<u8> {
    told(&kept(port))
}

/// A message of a dump that was interrupted.
fn interrupted(sequence: u32, payload: &[u8]) -> Vec<u8> {
    const MULTI_INTR: u16 = 0x2 | 0x10;
    script::message(NEW, MULTI_INTR, sequence, PORT, payload)
}

/// What follows the netlink header of the only message of a datagram.
fn payload(kernel: &Kernel, datagram: usize) -> Vec<u8> {
    kernel.logs[0].lock().unwrap().sent[datagram][0]
        .payload
        .clone()
}

/// The expectation that a request speaks of.
fn asked(kernel: &Kernel, datagram: usize) -> Expectation {
    decode_expectation(&payload(kernel, datagram)).unwrap()
}

/// The ids of the deletions, in order. Without a tuple a deletion is one of everything.
#[track_caller]
fn deleted(kernel: &Kernel) -> Vec<Option<u32>> {
    let mut ids = Vec::new();
    for (at, datagram) in kernel.sent(0).iter().enumerate() {
        assert_eq!(datagram.len(), 1);
        if datagram[0].0 == EXP_DELETE {
            let payload = payload(kernel, at);
            assert!(attribute(&payload, CTA_EXPECT_TUPLE).is_some());
            assert_eq!(attribute(&payload, CTA_EXPECT_ZONE), Some(vec![0, 5]));
            let id = attribute(&payload, CTA_EXPECT_ID);
            ids.push(id.map(|id| u32::from_be_bytes(id.try_into().unwrap())));
        }
    }
    ids
}

fn ports(list: impl Iterator<Item = Result<Expectation>>) -> Vec<u16> {
    list.map(|one| one.unwrap().tuple().dst_port().unwrap())
        .collect()
}

#[test]
fn a_creation_says_who_expects_what_and_that_nothing_is_translated() {
    let kernel = Kernel::new([
        vec![says([found(1, &master())])],
        vec![says([ack(2)])],
        vec![says([found(3, &expectation(20_000))])],
    ]);
    let new = expect(20_000).build().unwrap();
    expectations(&kernel).create(&new).unwrap();
    let mut sent: Vec<_> = CREATION.concat();
    sent.push((EXP_GET, REQUEST, 3));
    assert_eq!(kernel.sent(0).concat(), sent);
    let nothing = ExpectNat {
        direction: Direction::Original,
        address: [0, 0, 0, 0].into(),
        port: 0,
    };
    let asked = asked(&kernel, 1);
    let want = Expectation {
        zone: Some(Zone::new(5)),
        timeout: None,
        id: None,
        helper: None,
        flags: None,
        class: None,
        nat: Some(nothing),
        ..kept(20_000)
    };
    assert_eq!(asked, want);
    // The family of IPv4, version 0, resource 0.
    assert_eq!(payload(&kernel, 1)[..4], [2, 0, 0, 0]);
}

/// The kernel takes the time-out from the helper, whatever the creation says.
#[test]
fn the_time_out_is_set_by_a_second_request() {
    let seconds = Duration::from_secs(1000);
    let turns = |last: Vec<u8>| {
        [
            vec![says([found(1, &master())])],
            vec![says([ack(2)])],
            vec![says([found(3, &expectation(20_000))])],
            vec![says([last])],
        ]
    };
    let new = expect(20_000).timeout(seconds).build().unwrap();
    let kernel = Kernel::new(turns(ack(4)));
    expectations(&kernel).create(&new).unwrap();
    assert_eq!(kernel.sent(0)[3], [(EXP_NEW, ACKED, 4)]);
    let change = asked(&kernel, 3);
    assert_eq!(change.timeout(), Some(seconds));
    assert_eq!(*change.tuple(), data(20_000));
    assert_eq!(change.master(), control().entry().orig());
    assert_eq!(change.zone(), Some(Zone::new(5)));
    let thousand = Some(1000_u32.to_be_bytes().to_vec());
    assert_eq!(
        kernel.attribute(0, CTA_EXPECT_TIMEOUT)[1..],
        [thousand.clone(), None, thousand]
    );
    // Met or ended by then: it was made all the same.
    for errno in [Nix::ENOENT, Nix::ETIME] {
        let kernel = Kernel::new(turns(refusal(4, errno)));
        expectations(&kernel).create(&new).unwrap();
    }
    let kernel = Kernel::new(turns(refusal(4, Nix::EPERM)));
    let error = expectations(&kernel).create(&new).unwrap_err();
    assert!(error.is_permission_denied(), "{error}");
}

#[test]
fn met_before_it_is_looked_at_it_was_made() {
    let kernel = Kernel::new([
        vec![says([found(1, &master())])],
        vec![says([ack(2)])],
        vec![says([refusal(3, Nix::ENOENT)])],
    ]);
    let new = expect(20_000).class(1).timeout(Duration::from_secs(9));
    expectations(&kernel).create(&new.build().unwrap()).unwrap();
    assert_eq!(kernel.sizes(0), [1; 3]);
}

/// Met, and another master expects the same by now.
#[test]
fn what_another_master_expects_is_left_as_it_is() {
    let other = Expectation {
        master: *control_of(40_001, None).entry().orig(),
        ..kept(20_000)
    };
    let kernel = Kernel::new([
        vec![says([found(1, &master())])],
        vec![says([ack(2)])],
        vec![says([found(3, &told(&other))])],
    ]);
    let new = expect(20_000).class(1).timeout(Duration::from_secs(9));
    expectations(&kernel).create(&new.build().unwrap()).unwrap();
    assert_eq!(kernel.sizes(0), [1; 3]);
}

#[test]
fn a_kernel_without_translation_is_asked_without_it() {
    let turns = |answers: Vec<Vec<u8>>| {
        let mut turns = vec![vec![says([found(1, &master())])]];
        turns.extend(answers.into_iter().map(|answer| vec![says([answer])]));
        turns
    };
    let kernel = Kernel::new(turns(vec![
        refusal(2, Nix::EOPNOTSUPP),
        ack(3),
        found(4, &expectation(20_000)),
    ]));
    let new = expect(20_000).build().unwrap();
    expectations(&kernel).create(&new).unwrap();
    let with: Vec<_> = kernel
        .attribute(0, CTA_EXPECT_NAT)
        .iter()
        .map(Option::is_some)
        .collect();
    assert_eq!(with, [false, true, false, false]);

    // Refused without it too: another reason.
    let twice = vec![refusal(2, Nix::EOPNOTSUPP), refusal(3, Nix::EOPNOTSUPP)];
    let kernel = Kernel::new(turns(twice));
    let error = expectations(&kernel).create(&new).unwrap_err();
    check(
        &error,
        CREATE_EXPECTATION,
        Some(Nix::EOPNOTSUPP),
        &["unsupported"],
    );
    assert!(error.to_string().contains("no such helper"), "{error}");

    // Any other refusal stands.
    for (errno, predicate) in [(Nix::EEXIST, Some("exists")), (Nix::EINVAL, None)] {
        let kernel = Kernel::new(turns(vec![refusal(2, errno)]));
        let error = expectations(&kernel).create(&new).unwrap_err();
        let holds: Vec<_> = predicate.into_iter().collect();
        check(&error, CREATE_EXPECTATION, Some(errno), &holds);
        assert_eq!(kernel.sent(0), CREATION);
    }

    // Asked for, it is not left out.
    let nat = ExpectNat {
        direction: Direction::Reply,
        address: [203, 0, 113, 9].into(),
        port: 7,
    };
    let kernel = Kernel::new(turns(vec![refusal(2, Nix::EOPNOTSUPP)]));
    let translated = expect(20_000).nat(nat).build().unwrap();
    let error = expectations(&kernel).create(&translated).unwrap_err();
    assert!(error.is_unsupported(), "{error}");
    assert_eq!(asked(&kernel, 1).nat(), Some(nat));
    assert_eq!(kernel.sent(0), CREATION);

    // A master without a helper cannot expect anything.
    let helpless = reported(&control_of(40_000, None), &[id(77)]);
    let kernel = Kernel::new([
        vec![says([found(1, &helpless)])],
        vec![says([refusal(2, Nix::EOPNOTSUPP)])],
    ]);
    let error = expectations(&kernel).create(&new).unwrap_err();
    assert!(error.to_string().contains("has no helper"), "{error}");
    assert_eq!(kernel.sent(0), CREATION);
}

#[test]
fn what_was_not_taken_is_said_and_the_expectation_removed() {
    let nat = ExpectNat {
        direction: Direction::Reply,
        address: [203, 0, 113, 9].into(),
        port: 7,
    };
    let cases = [
        (expect(20_000).class(1), "the class"),
        (expect(20_000).flags(ExpectFlags::PERMANENT), "a flag"),
        (expect(20_000).nat(nat), "the translation"),
        (expect(20_000).function("Q.931"), "the function"),
    ];
    for (new, what) in cases {
        let new = new.timeout(Duration::from_secs(9)).build().unwrap();
        let kernel = Kernel::new([
            vec![says([found(1, &master())])],
            vec![says([ack(2)])],
            vec![says([found(3, &expectation(20_000))])],
            vec![says([ack(4)])],
        ]);
        let error = expectations(&kernel).create(&new).unwrap_err();
        check(&error, CREATE_EXPECTATION, None, &["unsupported"]);
        let text = error.to_string();
        assert!(text.contains(&format!("{what} was not taken")), "{text}");
        assert_eq!(kernel.sent(0)[3], [(EXP_DELETE, ACKED, 4)]);
        assert_eq!(deleted(&kernel), [Some(20_000)]);
    }
    // It is gone by itself.
    let kernel = Kernel::new([
        vec![says([found(1, &master())])],
        vec![says([ack(2)])],
        vec![says([found(3, &expectation(20_000))])],
        vec![says([refusal(4, Nix::ENOENT)])],
        vec![says([refusal(5, Nix::ENOENT)])],
    ]);
    let new = expect(20_000).class(1).build().unwrap();
    let error = expectations(&kernel).create(&new).unwrap_err();
    check(&error, CREATE_EXPECTATION, None, &["unsupported"]);
}

/// That a helper in user space has it, or what a later kernel adds, is nothing that was left out.
#[test]
fn flags_of_the_kernels_own_are_no_loss() {
    let more = Expectation {
        flags: Some(ExpectFlags::PERMANENT | ExpectFlags::from_bits_retain(0xf4)),
        ..kept(20_000)
    };
    let kernel = Kernel::new([
        vec![says([found(1, &master())])],
        vec![says([ack(2)])],
        vec![says([found(3, &told(&more))])],
    ]);
    let new = expect(20_000).flags(ExpectFlags::PERMANENT);
    expectations(&kernel).create(&new.build().unwrap()).unwrap();
    assert_eq!(kernel.sizes(0), [1; 3]);
}

/// Of a translation without address and port the kernel says nothing, whatever its direction.
#[test]
fn a_direction_alone_is_not_looked_for() {
    let kernel = Kernel::new([
        vec![says([found(1, &master())])],
        vec![says([ack(2)])],
        vec![says([found(3, &expectation(20_000))])],
    ]);
    let nat = ExpectNat {
        direction: Direction::Reply,
        address: [0, 0, 0, 0].into(),
        port: 0,
    };
    let new = expect(20_000).nat(nat).build().unwrap();
    expectations(&kernel).create(&new).unwrap();
    assert_eq!(asked(&kernel, 1).nat(), Some(nat));
}

#[test]
fn a_class_of_another_helper_is_not_sent() {
    for named in [Helper::SIP, Helper::H245] {
        let kernel = Kernel::new([vec![says([found(1, &master())])]]);
        let new = expect(20_000).helper(named).class(1).build().unwrap();
        let error = expectations(&kernel).create(&new).unwrap_err();
        assert!(error.is_invalid_input(), "{error}");
        assert_eq!(kernel.sent(0), CREATION[..1]);
    }
    // The class that all helpers have may be of any.
    let kernel = Kernel::new([
        vec![says([found(1, &master())])],
        vec![says([ack(2)])],
        vec![says([found(3, &expectation(20_000))])],
    ]);
    let new = expect(20_000).helper(Helper::SIP).class(0).build().unwrap();
    expectations(&kernel).create(&new).unwrap();
    assert_eq!(
        kernel.attribute(0, CTA_EXPECT_CLASS)[1],
        Some(vec![0, 0, 0, 0])
    );
}

#[test]
fn a_master_that_is_not_there_is_not_asked_for_anything() {
    let kernel = Kernel::new([vec![says([refusal(1, Nix::ENOENT)])]]);
    let new = expect(20_000).build().unwrap();
    let error = expectations(&kernel).create(&new).unwrap_err();
    check(
        &error,
        CREATE_EXPECTATION,
        Some(Nix::ENOENT),
        &["not found"],
    );
    assert_eq!(kernel.sent(0), CREATION[..1]);
}

/// The kernel finds, changes and deletes whatever covers the tuple.
#[test]
fn what_covers_the_tuple_is_not_the_expectation_of_the_key() {
    let wide = Expectation {
        tuple: Tuple::tcp(([0; 4], 0).into(), ([10, 0, 0, 1], 20_000).into()).unwrap(),
        mask: ExpectMask::any(Family::Ipv4),
        ..kept(20_000)
    };
    let key = data_key(20_000);
    let newer = key.with_id(1);
    for (key, answer) in [
        (key, told(&wide)),
        (newer, told(&wide)),
        (newer, expectation(20_000)),
    ] {
        let turn = || Kernel::new([vec![says([found(1, &answer)])]]);
        let kernels = [turn(), turn()];
        let seconds = Duration::from_secs(9);
        for error in [
            expectations(&kernels[0]).get(key).unwrap_err(),
            expectations(&kernels[1])
                .set_timeout(key, seconds)
                .unwrap_err(),
        ] {
            assert!(error.is_not_found(), "{error}");
        }
        for kernel in &kernels {
            assert_eq!(kernel.sent(0), [[(EXP_GET, REQUEST, 1)]]);
        }
    }
    let kernel = Kernel::new([vec![says([found(1, &told(&wide))])]]);
    let error = expectations(&kernel).delete(key).unwrap_err();
    check(&error, DELETE_EXPECTATION, None, &["not found"]);
    assert_eq!(kernel.sent(0), [[(EXP_GET, REQUEST, 1)]]);
}

#[test]
fn a_deletion_carries_the_id() {
    let kernel = Kernel::new([
        vec![says([ack(1)])],
        vec![says([found(2, &expectation(20_000))])],
        vec![says([ack(3)])],
    ]);
    let key = data_key(20_000);
    expectations(&kernel).delete(key.with_id(9)).unwrap();
    expectations(&kernel).delete(key).unwrap();
    assert_eq!(
        kernel.sent(0),
        [
            [(EXP_DELETE, ACKED, 1)],
            [(EXP_GET, REQUEST, 2)],
            [(EXP_DELETE, ACKED, 3)]
        ]
    );
    assert_eq!(deleted(&kernel), [Some(9), Some(20_000)]);

    let nameless = Expectation {
        id: None,
        ..kept(20_000)
    };
    let kernel = Kernel::new([vec![says([found(1, &told(&nameless))])]]);
    let error = expectations(&kernel).delete(key).unwrap_err();
    check(&error, DELETE_EXPECTATION, None, &["unsupported"]);
    assert_eq!(kernel.sent(0), [[(EXP_GET, REQUEST, 1)]]);
}

/// Kernels from 5.1 on, without a fix of 2024, compare the id with an address.
#[test]
fn a_kernel_that_knows_no_ids_deletes_by_the_tuple() {
    let key = data_key(20_000).with_id(20_000);
    let kernel = Kernel::new([
        vec![says([refusal(1, Nix::ENOENT)])],
        vec![says([found(2, &expectation(20_000))])],
        vec![says([ack(3)])],
    ]);
    expectations(&kernel).delete(key).unwrap();
    assert_eq!(
        kernel.sent(0),
        [
            [(EXP_DELETE, ACKED, 1)],
            [(EXP_GET, REQUEST, 2)],
            [(EXP_DELETE, ACKED, 3)]
        ]
    );
    assert_eq!(deleted(&kernel), [Some(20_000), None]);

    // Gone, or its place taken by another.
    let newer = Expectation {
        id: Some(1),
        ..kept(20_000)
    };
    for answer in [refusal(2, Nix::ENOENT), found(2, &told(&newer))] {
        let kernel = Kernel::new([
            vec![says([refusal(1, Nix::ENOENT)])],
            vec![says([answer.clone()])],
        ]);
        let error = expectations(&kernel).delete(key).unwrap_err();
        check(
            &error,
            DELETE_EXPECTATION,
            Some(Nix::ENOENT),
            &["not found"],
        );
        assert_eq!(deleted(&kernel), [Some(20_000)]);
    }
}

#[test]
fn a_change_of_what_is_ending_finds_nothing() {
    for errno in [Nix::ETIME, Nix::ENOENT] {
        let kernel = Kernel::new([
            vec![says([found(1, &expectation(20_000))])],
            vec![says([refusal(2, errno)])],
        ]);
        let minute = Duration::from_secs(60);
        let key = data_key(20_000);
        let error = expectations(&kernel).set_timeout(key, minute).unwrap_err();
        assert!(error.is_not_found(), "{error}");
        assert_eq!(error.operation(), Some(Operation::UpdateExpectation));
    }
    let kernel = Kernel::new([]);
    let error = expectations(&kernel)
        .set_timeout(data_key(1), Duration::from_millis(1))
        .unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
    assert_eq!(kernel.opened(), 0);
}

/// The one call whose deletion has no tuple.
#[test]
fn flushing_all_names_nothing() {
    let kernel = Kernel::new([vec![says([ack(1)])]]);
    expectations(&kernel).flush_all().unwrap();
    assert_eq!(kernel.sent(0), [[(EXP_DELETE, ACKED, 1)]]);
    assert_eq!(payload(&kernel, 0), [0; 4]);
}

#[test]
fn a_lost_answer_is_not_taken_for_an_outcome() {
    let new = expect(20_000).build().unwrap();
    let kernel = Kernel::new([
        vec![says([found(1, &master())])],
        vec![Event::Fail(Nix::ENOBUFS)],
    ]);
    let error = expectations(&kernel).create(&new).unwrap_err();
    let unknown = &["overrun", "outcome unknown"];
    check(&error, CREATE_EXPECTATION, Some(Nix::ENOBUFS), unknown);
    let kernel = Kernel::new([vec![says([found(1, &master())])], vec![]]);
    let error = expectations(&kernel).create(&new).unwrap_err();
    check_deadline(&error, CREATE_EXPECTATION);
    // An acknowledgement from somebody else is none.
    let kernel = Kernel::new([vec![forges([ack(1)])]]);
    let error = expectations(&kernel)
        .delete(data_key(1).with_id(1))
        .unwrap_err();
    check_deadline(&error, DELETE_EXPECTATION);
}
