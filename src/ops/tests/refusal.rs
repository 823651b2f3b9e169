//! What the kernel says instead of yes: errors with and without its words, and odd control messages.

use std::ops::ControlFlow;

use netlink_packet_core::{NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN};

use super::*;
use crate::filter::Filter;
use crate::ops::{count, create, create_many, flush_all, get, list, open_check, upsert, visit};

fn control(kind: u16, sequence: u32) -> Vec<u8> {
    script::message(kind, 0, sequence, PORT, &[])
}

#[test]
fn a_refusal_carries_the_kernels_text_and_offset() {
    let words = |kind| script::extended(kind, 1, PORT, -(Nix::EINVAL as i32), "bad mark", 36);
    let kernel = Kernel::new([vec![says([words(NLMSG_ERROR)])]]);
    let error = create(&kernel.session, &udp(1)).unwrap_err();
    check(&error, Operation::Create, Some(Nix::EINVAL), &[]);
    assert_eq!(error.kernel_message(), Some("bad mark"));
    assert_eq!(error.offset(), Some(36));
    assert_eq!(
        error.to_string(),
        "create: EINVAL (Invalid argument): the kernel says \"bad mark\" (attribute at offset 36 of the request)"
    );

    let kernel = Kernel::new([vec![says([found(1, &entry(1)), words(NLMSG_DONE)])]]);
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert_eq!(next(&mut entries).unwrap(), 1);
    let error = next(&mut entries).unwrap_err();
    check(&error, Operation::List, Some(Nix::EINVAL), &[]);
    assert_eq!(
        (error.kernel_message(), error.offset()),
        (Some("bad mark"), Some(36))
    );
}

#[test]
fn a_refusal_without_extended_ack_has_neither() {
    let kernel = Kernel::new([vec![says([refusal(1, Nix::EINVAL)])]]);
    let error = create(&kernel.session, &udp(1)).unwrap_err();
    check(&error, Operation::Create, Some(Nix::EINVAL), &[]);
    assert_eq!((error.kernel_message(), error.offset()), (None, None));
    assert_eq!(error.to_string(), "create: EINVAL (Invalid argument)");
}

#[test]
fn a_refusal_may_repeat_the_whole_request() {
    // A kernel without NETLINK_CAP_ACK: the request follows the code, then the extended ack.
    let request = script::message(NEW, CREATE_ACKED, 1, 0, &entry(1));
    let text = attr(1, b"no\0");
    let code = (-(Nix::EBUSY as i32)).to_ne_bytes();
    let plain = [&code[..], &request].concat();
    let long = [&code[..], &request, &text].concat();
    for (flags, payload, words) in [(0, plain, None), (0x200, long, Some("no"))] {
        let answer = script::message(NLMSG_ERROR, flags, 1, PORT, &payload);
        let kernel = Kernel::new([vec![says([answer])]]);
        let error = create(&kernel.session, &udp(1)).unwrap_err();
        check(&error, Operation::Create, Some(Nix::EBUSY), &["busy"]);
        assert_eq!((error.kernel_message(), error.offset()), (words, None));
    }
}

#[test]
fn an_acknowledgement_with_a_warning_is_success() {
    let warning = script::extended(NLMSG_ERROR, 1, PORT, 0, "deprecated", 0);
    let kernel = Kernel::new([vec![says([warning])]]);
    create(&kernel.session, &udp(1)).unwrap();
}

#[test]
fn refusals_have_their_predicates() {
    for (errno, predicates) in [
        (Nix::EEXIST, &["exists"][..]),
        (Nix::EPERM, &["permission denied"]),
        (Nix::EOPNOTSUPP, &["unsupported"]),
        (Nix::EBUSY, &["busy"]),
        (Nix::ENOENT, &["not found"]),
        (Nix::ENOSPC, &[]),
    ] {
        let kernel = Kernel::new([vec![says([refusal(1, errno)])]]);
        let error = create(&kernel.session, &udp(1)).unwrap_err();
        check(&error, Operation::Create, Some(errno), predicates);
        assert_eq!(kernel.sent(0), [[(NEW, CREATE_ACKED, 1)]]);
    }
}

#[test]
fn an_upsert_creates_or_changes_what_it_has_looked_at() {
    let exists = |sequence| vec![says([refusal(sequence, Nix::EEXIST)])];
    let look = |sequence| vec![says([found(sequence, &entry(1))])];
    // There: it is looked at and changed, with no flag that would create.
    let kernel = Kernel::new([exists(1), look(2), vec![says([ack(3)])]]);
    upsert(&kernel.session, &udp(1)).unwrap();
    let (creation, question) = ((NEW, CREATE_ACKED, 1), (GET, REQUEST, 2));
    assert_eq!(
        kernel.sent(0),
        [creation, question, (NEW, ACKED, 3)].map(|one| vec![one])
    );
    // Gone between the two: created after all.
    let gone = |sequence| vec![says([refusal(sequence, Nix::ENOENT)])];
    let kernel = Kernel::new([exists(1), gone(2), vec![says([ack(3)])]]);
    upsert(&kernel.session, &udp(1)).unwrap();
    // The reply tuple is what is taken: two turns and no more.
    let kernel = Kernel::new([exists(1), gone(2), exists(3), gone(4)]);
    let error = upsert(&kernel.session, &udp(1)).unwrap_err();
    check(&error, Operation::Upsert, Some(Nix::EEXIST), &["exists"]);
    // Another flow has the tuple.
    let other = vec![says([found(2, &entry(9))])];
    let kernel = Kernel::new([exists(1), other]);
    let error = upsert(&kernel.session, &udp(1)).unwrap_err();
    check(&error, Operation::Upsert, Some(Nix::EEXIST), &["exists"]);
    assert_eq!(kernel.sent(0), [creation, question].map(|one| vec![one]));
    // The look-up is refused.
    let denied = vec![says([refusal(2, Nix::EPERM)])];
    let kernel = Kernel::new([exists(1), denied]);
    let error = upsert(&kernel.session, &udp(1)).unwrap_err();
    check(
        &error,
        Operation::Upsert,
        Some(Nix::EPERM),
        &["permission denied"],
    );
}

#[test]
fn a_full_table_is_told_from_a_lack_of_memory() {
    for (entries, predicates) in [(100, &["table full"][..]), (99, &[])] {
        let kernel = Kernel::new([
            vec![says([refusal(1, Nix::ENOMEM)])],
            vec![says([stats(2, entries, 100)])],
        ]);
        let error = create(&kernel.session, &udp(1)).unwrap_err();
        check(&error, Operation::Create, Some(Nix::ENOMEM), predicates);
        let figures = error.table_count().unwrap();
        assert_eq!((figures.entries, figures.max), (entries, Some(100)));
        let sent = [[(NEW, CREATE_ACKED, 1)], [(GET_STATS, REQUEST, 2)]];
        assert_eq!(kernel.sent(0), sent);
    }
    // Where the figures cannot be had, the refusal remains.
    for answers in [vec![], vec![says([refusal(2, Nix::EINVAL)])]] {
        let kernel = Kernel::new([vec![says([refusal(1, Nix::ENOMEM)])], answers]);
        let error = create(&kernel.session, &udp(1)).unwrap_err();
        check(&error, Operation::Create, Some(Nix::ENOMEM), &[]);
        assert_eq!(error.table_count(), None);
    }
}

#[test]
fn a_dump_may_end_with_an_error() {
    let ends = script::done(1, PORT, -(Nix::EINTR as i32));
    let kernel = Kernel::new([
        vec![says([found(1, &entry(1))]), says([ends.clone()])],
        vec![says([ack(2)])],
    ]);
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert_eq!(next(&mut entries).unwrap(), 1);
    let error = next(&mut entries).unwrap_err();
    check(&error, Operation::List, Some(Nix::EINTR), &[]);
    assert!(entries.next().is_none() && entries.next().is_none());
    drop(entries);
    // The dump is over, so the socket is free.
    flush_all(&kernel.session).unwrap();
    assert_eq!(kernel.sent(0), [[(GET, DUMP, 1)], [(DELETE, ACKED, 2)]]);

    let kernel = Kernel::new([vec![says([found(1, &entry(1)), ends])]]);
    let error = visit(&kernel.session, &Filter::new(), |_| {
        ControlFlow::<()>::Continue(())
    })
    .unwrap_err();
    check(&error, Operation::List, Some(Nix::EINTR), &[]);
}

#[test]
fn a_dump_may_be_refused() {
    for (errno, predicates) in [
        (Nix::EPERM, &["permission denied"][..]),
        (Nix::EBUSY, &["busy"]),
    ] {
        let kernel = Kernel::new([
            vec![says([refusal(1, errno)])],
            vec![says([refusal(2, errno)])],
            vec![says([stats(3, 1, 2)])],
        ]);
        let mut entries = list(&kernel.session, &Filter::new()).unwrap();
        check(
            &next(&mut entries).unwrap_err(),
            Operation::List,
            Some(errno),
            predicates,
        );
        assert!(entries.next().is_none());
        drop(entries);
        let error = visit(&kernel.session, &Filter::new(), |_| {
            ControlFlow::<()>::Continue(())
        })
        .unwrap_err();
        check(&error, Operation::List, Some(errno), predicates);
        count(&kernel.session).unwrap();
        assert_eq!(kernel.opened(), 1);
    }
}

#[test]
fn noop_is_passed_over() {
    let kernel = Kernel::new([
        vec![says([control(NLMSG_NOOP, 1)]), says([ack(1)])],
        vec![says([
            found(2, &entry(1)),
            control(NLMSG_NOOP, 2),
            found(2, &entry(2)),
            control(NLMSG_NOOP, 2),
            done(2),
        ])],
    ]);
    create(&kernel.session, &udp(1)).unwrap();
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert_eq!(rest(&mut entries), [1, 2]);
    assert!(!entries.is_incomplete());
}

#[test]
fn the_overrun_message_is_a_loss() {
    let kernel = Kernel::new([vec![
        says([found(1, &entry(1)), control(NLMSG_OVERRUN, 1)]),
        says([found(1, &entry(2)), done(1)]),
    ]]);
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert_eq!(rest(&mut entries), [1, 2]);
    assert!(entries.is_incomplete());

    let kernel = Kernel::new([vec![says([control(NLMSG_OVERRUN, 1)])]]);
    let error = create(&kernel.session, &udp(1)).unwrap_err();
    check(
        &error,
        Operation::Create,
        Some(Nix::ENOBUFS),
        &["overrun", "outcome unknown"],
    );

    let kernel = Kernel::new([vec![says([
        refusal(1, Nix::EEXIST),
        control(NLMSG_OVERRUN, 2),
        ack(3),
    ])]]);
    let batch = create_many(&kernel.session, [udp(1), udp(2), udp(3)].iter());
    let holding: Vec<_> = batch.failures().map(|(_, error)| holds(error)).collect();
    assert_eq!(
        holding,
        [["exists"], ["outcome unknown"], ["outcome unknown"]]
    );
    assert!(batch.stopped().is_none());
}

#[test]
fn an_answer_of_the_wrong_kind_is_no_success() {
    // An entry where an acknowledgement is due, and the other way round.
    let kernel = Kernel::new([vec![says([found(1, &entry(1))])]]);
    let error = create(&kernel.session, &udp(1)).unwrap_err();
    assert!(error.is_outcome_unknown(), "{error}");
    let kernel = Kernel::new([vec![says([ack(1)])]]);
    assert!(get(&kernel.session, &key(1)).is_err());
    let kernel = Kernel::new([vec![says([ack(1)])]]);
    assert!(count(&kernel.session).is_err());
}

#[test]
fn opening_asks_once_more_when_the_module_is_being_loaded() {
    let kernel = Kernel::new([
        vec![says([refusal(1, Nix::EINVAL)])],
        vec![says([stats(2, 0, 100)])],
    ]);
    open_check(&kernel.session).unwrap();
    let sent = [[(GET_STATS, REQUEST, 1)], [(GET_STATS, REQUEST, 2)]];
    assert_eq!(
        (kernel.sent(0), kernel.opened()),
        (sent.map(Vec::from).into(), 1)
    );

    let kernel = Kernel::new([
        vec![says([refusal(1, Nix::EINVAL)])],
        vec![says([refusal(2, Nix::EINVAL)])],
    ]);
    let error = open_check(&kernel.session).unwrap_err();
    check(&error, Operation::Open, Some(Nix::EINVAL), &[]);
    assert!(
        error.to_string().contains("nf_conntrack_netlink"),
        "{error}"
    );
    assert_eq!(kernel.sizes(0), [1, 1]);
}

#[test]
fn opening_says_what_is_missing() {
    let kernel = Kernel::new([vec![says([refusal(1, Nix::EPERM)])]]);
    let error = open_check(&kernel.session).unwrap_err();
    check(
        &error,
        Operation::Open,
        Some(Nix::EPERM),
        &["permission denied"],
    );
    assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    assert_eq!(kernel.sizes(0), [1]);

    // Lost in the moment of the second try.
    let kernel = Kernel::new([
        vec![says([refusal(1, Nix::EINVAL)])],
        vec![says([refusal(2, Nix::EPERM)])],
    ]);
    let error = open_check(&kernel.session).unwrap_err();
    assert!(error.is_permission_denied());

    let kernel = Kernel::new([vec![says([refusal(1, Nix::EOPNOTSUPP)])]]);
    let error = open_check(&kernel.session).unwrap_err();
    check(
        &error,
        Operation::Open,
        Some(Nix::EOPNOTSUPP),
        &["unsupported"],
    );
    assert!(
        error.to_string().contains("CONFIG_NF_CT_NETLINK"),
        "{error}"
    );

    let kernel = Kernel::new([vec![]]);
    check_deadline(&open_check(&kernel.session).unwrap_err(), Operation::Open);

    let (script, log) = answering([]);
    let refused = script.sends([Err(Nix::ECONNREFUSED)]);
    let kernel = Kernel::of([(refused, log)]);
    let error = open_check(&kernel.session).unwrap_err();
    check(&error, Operation::Open, Some(Nix::ECONNREFUSED), &[]);
    assert!(error.to_string().contains("nfnetlink"), "{error}");
}
