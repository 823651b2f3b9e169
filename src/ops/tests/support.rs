//! Whether the kernel tracks a protocol's ports: asked before the first creation.

use super::*;
use crate::ops::{create, create_many, get, upsert};

fn dccp(port: u16) -> NewEntry {
    let (src, dst) = client(port);
    let timeout = Duration::from_secs(30);
    Entry::dccp(src, dst).timeout(timeout).build().unwrap()
}

fn sctp(port: u16) -> NewEntry {
    let (src, dst) = client(port);
    let timeout = Duration::from_secs(30);
    Entry::sctp(src, dst).timeout(timeout).build().unwrap()
}

const UNSUPPORTED: &[&str] = &["unsupported"];

#[test]
fn a_tracked_protocol_is_asked_about_once() {
    let kernel = Kernel::new([
        vec![says([refusal(1, Nix::EINVAL)])],
        vec![says([ack(2)])],
        vec![says([ack(3)])],
        vec![says([ack(4)])],
        vec![says([ack(6)])],
        vec![says([refusal(7, Nix::EINVAL)])],
        vec![says([ack(8)])],
        vec![says([ack(9)])],
    ]);
    create(&kernel.session, &dccp(1)).unwrap();
    create(&kernel.session, &dccp(2)).unwrap();
    upsert(&kernel.session, &dccp(2)).unwrap();
    let batch = create_many(&kernel.session, [dccp(3), dccp(4)].iter());
    assert!(batch.is_ok());
    // Each protocol has an answer of its own, and all sessions of a handle share them.
    create(&kernel.session, &sctp(1)).unwrap();
    let other = kernel.session.with_deadline(Duration::from_secs(1));
    create(&other, &sctp(2)).unwrap();
    assert_eq!(
        kernel.sent(0),
        [
            vec![(GET, REQUEST, 1)],
            vec![(NEW, CREATE_ACKED, 2)],
            vec![(NEW, CREATE_ACKED, 3)],
            vec![(NEW, CREATE_ACKED, 4)],
            vec![(NEW, CREATE, 5), (NEW, CREATE_ACKED, 6)],
            vec![(GET, REQUEST, 7)],
            vec![(NEW, CREATE_ACKED, 8)],
            vec![(NEW, CREATE_ACKED, 9)],
        ]
    );
}

#[test]
fn the_question_is_a_look_up_without_ports() {
    for (new, protocol) in [(dccp(1), 33), (sctp(1), 132)] {
        let kernel = Kernel::new([vec![says([refusal(1, Nix::EINVAL)])], vec![says([ack(2)])]]);
        create(&kernel.session, &new).unwrap();
        let tuple = kernel.attribute(0, CTA_TUPLE_ORIG).remove(0).unwrap();
        let unspecified = [attr(0x8001, &[attr(1, &[0; 4]), attr(2, &[0; 4])].concat())];
        let number = attr(0x8002, &attr(1, &[protocol]));
        assert_eq!(tuple, [&unspecified[0][..], &number].concat());
    }
}

#[test]
fn an_untracked_protocol_is_refused_and_nothing_created() {
    // ENOENT: the look-up went through without ports. An entry says the same.
    for answer in [refusal(1, Nix::ENOENT), found(1, &entry(1))] {
        let kernel = Kernel::new([vec![says([answer])]]);
        for port in 1..=3 {
            let error = create(&kernel.session, &dccp(port)).unwrap_err();
            check(&error, Operation::Create, None, UNSUPPORTED);
            assert!(error.to_string().contains("dccp"), "{error}");
        }
        let error = upsert(&kernel.session, &dccp(1)).unwrap_err();
        check(&error, Operation::Upsert, None, UNSUPPORTED);
        let batch = create_many(&kernel.session, [dccp(1), dccp(2)].iter());
        assert!(batch.failures().all(|(_, error)| error.is_unsupported()));
        assert_eq!((batch.results().len(), batch.succeeded()), (2, 0));
        assert!(batch.stopped().is_none());
        assert_eq!(kernel.sent(0), [[(GET, REQUEST, 1)]]);
    }
}

#[test]
fn an_untracked_protocol_costs_its_own_items_of_a_batch() {
    let kernel = Kernel::new([
        vec![says([refusal(1, Nix::ENOENT)])],
        vec![says([refusal(3, Nix::EEXIST)])],
    ]);
    let entries = [dccp(1), udp(2), dccp(3), udp(4)];
    let batch = create_many(&kernel.session, entries.iter());
    let holding: Vec<_> = batch.failures().map(|(_, error)| holds(error)).collect();
    assert_eq!(holding, [["unsupported"], ["unsupported"], ["exists"]]);
    assert!(batch.results()[1].is_ok());
    assert_eq!(kernel.sizes(0), [1, 2]);
}

#[test]
fn another_refusal_of_the_question_is_passed_on_and_not_remembered() {
    let kernel = Kernel::new([
        vec![says([refusal(1, Nix::EPERM)])],
        vec![says([refusal(2, Nix::EPERM)])],
        vec![],
        vec![says([refusal(4, Nix::EINVAL)])],
        vec![says([ack(5)])],
    ]);
    let error = create(&kernel.session, &dccp(1)).unwrap_err();
    check(
        &error,
        Operation::Create,
        Some(Nix::EPERM),
        &["permission denied"],
    );
    let batch = create_many(&kernel.session, [udp(1), dccp(2)].iter());
    assert!(batch.failures().all(|(_, error)| error.is_not_sent()));
    assert_eq!(batch.results().len(), 2);
    assert!(batch.stopped().unwrap().is_permission_denied());
    // Neither is silence an answer.
    let error = create(&kernel.session, &dccp(1)).unwrap_err();
    check_deadline(&error, Operation::Create);
    create(&kernel.session, &dccp(1)).unwrap();
    assert_eq!(kernel.sizes(0), [1, 1, 1, 1, 1]);
}

#[test]
fn an_answer_that_is_lost_is_not_taken_for_a_no() {
    let kernel = Kernel::new([
        vec![Event::Fail(Nix::ENOBUFS)],
        vec![says([refusal(2, Nix::EINVAL)])],
        vec![says([ack(3)])],
    ]);
    let error = create(&kernel.session, &dccp(1)).unwrap_err();
    check(
        &error,
        Operation::Create,
        Some(Nix::ENOBUFS),
        &["overrun", "outcome unknown"],
    );
    create(&kernel.session, &dccp(1)).unwrap();
}

#[test]
fn what_every_kernel_tracks_is_not_asked_about() {
    let kernel = Kernel::new([
        vec![says([ack(1)])],
        vec![says([ack(2)])],
        vec![says([refusal(3, Nix::ENOENT)])],
    ]);
    create(&kernel.session, &udp(1)).unwrap();
    let (src, dst) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let ping = crate::model::Icmp::echo_request(1);
    let ping = Entry::icmp(src, dst, ping).timeout(Duration::from_secs(1));
    create(&kernel.session, &ping.build().unwrap()).unwrap();
    // Nor is anything asked for a look-up.
    assert!(get(&kernel.session, &Key::from(&dccp(1))).is_err());
    let kinds: Vec<_> = kernel.sent(0).concat();
    assert_eq!(
        kinds,
        [
            (NEW, CREATE_ACKED, 1),
            (NEW, CREATE_ACKED, 2),
            (GET, REQUEST, 3)
        ]
    );
}
