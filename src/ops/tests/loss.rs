//! Answers that are late, lost or too long: `EINTR`, `EAGAIN`, `ENOBUFS`, `MSG_TRUNC`.

use std::ops::ControlFlow;

use super::*;
use crate::filter::Filter;
use crate::ops::{
    count, cpu_stats, create, create_many, delete, expect_cpu_stats, flush_all, get, list,
    list_and_zero_counters, update, visit,
};

fn interrupted() -> Event {
    Event::Fail(Nix::EINTR)
}

fn overrun() -> Event {
    Event::Fail(Nix::ENOBUFS)
}

/// An acknowledgement that does not fit into the receive buffer: it repeats a huge request.
fn bulky_ack(sequence: u32) -> Vec<u8> {
    script::message(2, 0, sequence, PORT, &vec![0; 40_000])
}

#[test]
fn an_interruption_does_not_end_the_wait() {
    let kernel = Kernel::new([
        vec![interrupted(), says([ack(1)])],
        vec![interrupted(), interrupted(), says([found(2, &entry(1))])],
        vec![
            says([found(3, &entry(1))]),
            interrupted(),
            says([found(3, &entry(2)), done(3)]),
        ],
    ]);
    create(&kernel.session, &udp(1)).unwrap();
    get(&kernel.session, &key(1)).unwrap();
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert_eq!(rest(&mut entries), [1, 2]);
    assert!(!entries.is_incomplete());
    assert_eq!(kernel.sizes(0), [1, 1, 1]);
}

#[test]
fn interruptions_without_end_do_not_extend_the_deadline() {
    let storm = || Event::Forever(Box::new(interrupted()));
    let kernel = Kernel::new([vec![storm()]]).deadline(Duration::ZERO);
    let error = create(&kernel.session, &udp(1)).unwrap_err();
    check_deadline(&error, Operation::Create);
    assert_eq!(kernel.waits(0), [Duration::ZERO]);

    let kernel = Kernel::new([vec![storm()]]).deadline(Duration::from_millis(1));
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    check_deadline(&next(&mut entries).unwrap_err(), Operation::List);
    let waits = kernel.waits(0);
    assert!(waits.iter().rev().skip(1).all(|wait| !wait.is_zero()));
    assert!(waits.last().unwrap().is_zero());
}

#[test]
fn no_answer_is_a_deadline_and_the_outcome_unknown() {
    let kernel = Kernel::new([vec![], vec![], vec![], vec![], vec![]]);
    let session = &kernel.session;
    let error = create(session, &udp(1)).unwrap_err();
    check_deadline(&error, Operation::Create);
    assert_eq!(
        error.to_string(),
        "create: the kernel did not answer within 5s; the outcome is unknown"
    );
    check_deadline(&flush_all(session).unwrap_err(), Operation::Flush);
    check_deadline(&count(session).unwrap_err(), Operation::Count);
    check_deadline(
        &delete(session, &key(1).with_id(1)).unwrap_err(),
        Operation::Delete,
    );
    let mut entries = list(session, &Filter::new()).unwrap();
    check_deadline(&next(&mut entries).unwrap_err(), Operation::List);
    assert!(entries.next().is_none());
    drop(entries);
    // The socket of a dump that may still come is not used again.
    assert!(kernel.is_closed(0));
    assert_eq!(
        kernel.sent(0),
        [
            [(NEW, CREATE_ACKED, 1)],
            [(DELETE, ACKED, 2)],
            [(GET_STATS, REQUEST, 3)],
            [(DELETE, ACKED, 4)],
            [(GET, DUMP, 5)]
        ]
    );
    assert!(kernel.waits(0).iter().all(|wait| *wait <= DEADLINE));
}

#[test]
fn an_answer_that_is_there_is_read_after_the_deadline() {
    let kernel = Kernel::new([
        vec![says([ack(1)])],
        vec![says([found(2, &entry(1))]), says([done(2)])],
    ])
    .deadline(Duration::ZERO);
    create(&kernel.session, &udp(1)).unwrap();
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert_eq!(rest(&mut entries), [1]);
}

#[test]
fn a_forged_datagram_does_not_hide_an_answer_that_is_there() {
    let forged = || forges([ack(1)]);
    let kernel = Kernel::new([vec![forged(), says([ack(1)])]]).deadline(Duration::ZERO);
    create(&kernel.session, &udp(1)).unwrap();

    let kernel = Kernel::new([vec![
        overrun(),
        forged(),
        says([refusal(1, Nix::EEXIST), ack(2)]),
    ]]);
    let batch = create_many(&kernel.session, [udp(1), udp(2)].iter());
    let holding: Vec<_> = batch.failures().map(|(_, error)| holds(error)).collect();
    assert_eq!(holding, [["exists"], ["outcome unknown"]]);
}

#[test]
fn a_deadline_without_end_is_possible() {
    let kernel = Kernel::new([
        vec![says([ack(1)])],
        vec![says([found(2, &entry(1)), done(2)])],
    ])
    .deadline(Duration::MAX);
    create(&kernel.session, &udp(1)).unwrap();
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert_eq!(rest(&mut entries), [1]);
}

#[test]
fn an_overrun_in_a_dump_is_no_end_and_makes_it_incomplete() {
    let turn = |sequence| {
        vec![
            says([found(sequence, &entry(1))]),
            overrun(),
            says([found(sequence, &entry(2))]),
            says([done(sequence)]),
        ]
    };
    let kernel = Kernel::new([turn(1), turn(2)]);
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert_eq!(next(&mut entries).unwrap(), 1);
    assert!(!entries.is_incomplete());
    assert_eq!(rest(&mut entries), [2]);
    assert!(entries.is_incomplete());
    drop(entries);

    let visited = visit(&kernel.session, &Filter::new(), |_| {
        ControlFlow::<()>::Continue(())
    })
    .unwrap();
    assert!(visited.incomplete);
    assert_eq!(
        (visited.seen, visited.matched, visited.malformed),
        (2, 2, 0)
    );
    // Going on means waiting as long as ever.
    assert!(!kernel.waits(0)[2].is_zero());
    assert_eq!(kernel.opened(), 1);
}

/// A CPU whose figures are missing would make their sum wrong.
#[test]
fn an_overrun_of_statistics_is_an_error() {
    let answers = || [vec![overrun(), says([done(1)])]];
    let kernel = Kernel::new(answers());
    let error = cpu_stats(&kernel.session).unwrap_err();
    assert!(error.is_overrun(), "{error}");
    let kernel = Kernel::new(answers());
    let error = expect_cpu_stats(&kernel.session).unwrap_err();
    assert!(error.is_overrun(), "{error}");
}

#[test]
fn an_overrun_of_a_single_creation_leaves_its_outcome_unknown() {
    let kernel = Kernel::new([vec![overrun()], vec![overrun(), says([ack(2)])]]);
    let error = create(&kernel.session, &udp(1)).unwrap_err();
    check(
        &error,
        Operation::Create,
        Some(Nix::ENOBUFS),
        &["overrun", "outcome unknown"],
    );
    // What is not there by then never comes, so nothing is waited for; nor is it sent again.
    assert!(!kernel.waits(0)[0].is_zero() && kernel.waits(0)[1].is_zero());
    assert_eq!(kernel.sent(0), [[(NEW, CREATE_ACKED, 1)]]);
    // Somebody else's answer was lost; ours is there.
    create(&kernel.session, &udp(2)).unwrap();
}

#[test]
fn an_overrun_of_a_look_up_is_an_error_of_its_own() {
    let kernel = Kernel::new([vec![overrun()], vec![overrun()]]);
    let error = get(&kernel.session, &key(1)).unwrap_err();
    let lost = ["overrun", "outcome unknown"];
    check(&error, Operation::Get, Some(Nix::ENOBUFS), &lost);
    // No entry was found, so none is deleted.
    let error = delete(&kernel.session, &key(1)).unwrap_err();
    check(&error, Operation::Delete, Some(Nix::ENOBUFS), &lost);
    assert_eq!(kernel.sent(0), [[(GET, REQUEST, 1)], [(GET, REQUEST, 2)]]);
}

#[test]
fn after_an_overrun_in_a_batch_only_refusals_are_known() {
    let kernel = Kernel::new([
        vec![
            says([refusal(1, Nix::EEXIST)]),
            overrun(),
            says([refusal(3, Nix::ENOSPC), ack(4)]),
        ],
        vec![says([refusal(5, Nix::EEXIST)]), overrun()],
    ]);
    let entries = [udp(1), udp(2), udp(3), udp(4)];
    let batch = create_many(&kernel.session, entries.iter());
    let results = batch.results();
    let exists = &["exists"][..];
    let unknown = &["outcome unknown"][..];
    let error = |place: usize| results[place].as_ref().unwrap_err();
    check(error(0), Operation::Create, Some(Nix::EEXIST), exists);
    check(error(1), Operation::Create, None, unknown);
    check(error(2), Operation::Create, Some(Nix::ENOSPC), &[]);
    check(error(3), Operation::Create, None, unknown);
    assert!(error(1).to_string().contains("ENOBUFS"), "{}", error(1));
    assert_eq!((batch.succeeded(), batch.is_ok()), (0, false));
    assert!(batch.stopped().is_none());

    // The acknowledgement itself is lost.
    let batch = create_many(&kernel.session, entries.iter());
    let holding: Vec<_> = batch.failures().map(|(_, error)| holds(error)).collect();
    assert_eq!(holding, [exists, unknown, unknown, unknown]);
    assert!(batch.stopped().is_none());
    assert!(kernel.waits(0).last().unwrap().is_zero());
}

#[test]
fn a_look_up_that_does_not_fit_is_asked_once_more() {
    let kernel = Kernel::new([
        vec![says([found(1, &bulky(1, 40_000))])],
        vec![says([found(2, &bulky(1, 40_000))])],
    ]);
    let got = get(&kernel.session, &key(1)).unwrap();
    assert_eq!(got.id(), Some(1));
    assert_eq!(kernel.sent(0), [[(GET, REQUEST, 1)], [(GET, REQUEST, 2)]]);

    let kernel = Kernel::new([
        vec![says([found(1, &bulky(1, 40_000))])],
        vec![says([found(2, &bulky(1, 60_000))])],
    ]);
    let error = get(&kernel.session, &key(1)).unwrap_err();
    let unread = ["truncated", "outcome unknown"];
    check(&error, Operation::Get, None, &unread);
    assert_eq!(kernel.sizes(0), [1, 1]);

    // The look-up of an update too; the change itself is sent once.
    let kernel = Kernel::new([
        vec![says([found(1, &bulky(1, 40_000))])],
        vec![says([found(2, &bulky(1, 40_000))])],
        vec![says([ack(3)])],
    ]);
    let change = crate::model::Update::builder().mark(1).build().unwrap();
    update(&kernel.session, &key(1), &change).unwrap();
    let kinds: Vec<_> = kernel.sent(0).concat();
    assert_eq!(
        kinds,
        [(GET, REQUEST, 1), (GET, REQUEST, 2), (NEW, ACKED, 3)]
    );
}

#[test]
fn figures_that_do_not_fit_are_asked_for_once_more() {
    let bulky = |sequence| {
        let filler = attr(CTA_UNKNOWN, &vec![0; 40_000]);
        let figures = [vec![0; 4], attr(1, &3_u32.to_be_bytes()), filler].concat();
        vec![says([script::message(
            GET_STATS, 0, sequence, PORT, &figures,
        )])]
    };
    let kernel = Kernel::new([bulky(1), bulky(2)]);
    assert_eq!(count(&kernel.session).unwrap().entries, 3);
    assert_eq!(kernel.sizes(0), [1, 1]);
}

#[test]
fn a_creation_whose_answer_does_not_fit_is_never_repeated() {
    let kernel = Kernel::new([vec![says([bulky_ack(1)])], vec![says([bulky_ack(2)])]]);
    let error = create(&kernel.session, &udp(1)).unwrap_err();
    check(
        &error,
        Operation::Create,
        None,
        &["truncated", "outcome unknown"],
    );
    assert_eq!(
        error.to_string(),
        "create: an answer of 40016 bytes did not fit into the receive buffer of 32768 bytes"
    );
    assert_eq!(kernel.sent(0), [[(NEW, CREATE_ACKED, 1)]]);
    // The buffer has grown, so the next one fits.
    create(&kernel.session, &udp(2)).unwrap();
}

#[test]
fn a_batch_whose_answers_do_not_fit_is_never_repeated() {
    let kernel = Kernel::new([vec![says([refusal(1, Nix::EEXIST)]), says([bulky_ack(3)])]]);
    let batch = create_many(&kernel.session, [udp(1), udp(2), udp(3)].iter());
    let holding: Vec<_> = batch.failures().map(|(_, error)| holds(error)).collect();
    assert_eq!(
        holding,
        [["exists"], ["outcome unknown"], ["outcome unknown"]]
    );
    let stopped = batch.stopped().unwrap();
    check(
        stopped,
        Operation::Create,
        None,
        &["truncated", "outcome unknown"],
    );
    assert_eq!(kernel.sizes(0), [3]);
}

#[test]
fn a_dump_that_does_not_fit_is_asked_for_again_on_another_socket() {
    let kernel = Kernel::of([
        answering([vec![
            says([found(1, &bulky(1, 40_000))]),
            says([found(1, &entry(9)), done(1)]),
        ]]),
        answering([vec![
            says([found(1, &bulky(1, 40_000))]),
            says([found(1, &entry(2)), done(1)]),
        ]]),
    ]);
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert_eq!(rest(&mut entries), [1, 2]);
    assert!(!entries.is_incomplete());
    assert!(kernel.is_closed(0) && !kernel.is_closed(1));
    for socket in 0..2 {
        assert_eq!(kernel.sent(socket), [[(GET, DUMP, 1)]]);
    }
}

#[test]
fn a_dump_that_is_asked_for_again_starts_afresh() {
    let too_long = || says([found(1, &bulky(1, 40_000))]);
    // What was lost of the first answer comes with the second.
    let kernel = Kernel::of([
        answering([vec![overrun(), too_long()]]),
        answering([vec![says([found(1, &entry(1)), done(1)])]]),
    ]);
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert_eq!(rest(&mut entries), [1]);
    assert!(!entries.is_incomplete());

    // It may be refused, and it may not even be possible to ask.
    let again = answering([vec![says([refusal(1, Nix::EBUSY)])]]);
    let kernel = Kernel::of([answering([vec![too_long()]]), again]);
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert!(next(&mut entries).unwrap_err().is_busy());
    assert!(entries.next().is_none());
    let (script, log) = answering([]);
    let again = (script.sends([Err(Nix::ENOBUFS)]), log);
    let kernel = Kernel::of([answering([vec![too_long()]]), again]);
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    let error = next(&mut entries).unwrap_err();
    check(&error, Operation::List, Some(Nix::ENOBUFS), &[]);
    assert!(entries.next().is_none());
}

#[test]
fn a_dump_is_asked_for_again_only_once() {
    let thrice = [1, 2, 3].map(|port| found(1, &bulky(port, 40_000)));
    let kernel = Kernel::of([
        answering([vec![says([found(1, &bulky(1, 40_000))])]]),
        answering([vec![says(thrice)]]),
    ]);
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    let error = next(&mut entries).unwrap_err();
    let unread = ["truncated", "outcome unknown"];
    check(&error, Operation::List, None, &unread);
    assert!(entries.next().is_none());
    drop(entries);
    assert!(kernel.is_closed(0) && kernel.is_closed(1));
}

#[test]
fn a_dump_that_has_given_entries_is_not_asked_for_again() {
    let turn = || {
        vec![
            says([found(1, &entry(1))]),
            says([found(1, &bulky(2, 40_000))]),
            says([found(1, &entry(3)), done(1)]),
        ]
    };
    let kernel = Kernel::of([answering([turn()]), answering([turn()])]);
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert_eq!(next(&mut entries).unwrap(), 1);
    let error = next(&mut entries).unwrap_err();
    let unread = ["truncated", "outcome unknown"];
    check(&error, Operation::List, None, &unread);
    assert!(entries.next().is_none());
    assert_eq!(kernel.opened(), 1);
    drop(entries);
    assert!(kernel.is_closed(0));

    let mut seen = 0;
    let error = visit(&kernel.session, &Filter::new(), |_| {
        seen += 1;
        ControlFlow::<()>::Continue(())
    })
    .unwrap_err();
    check(&error, Operation::List, None, &unread);
    assert_eq!((seen, kernel.is_closed(1)), (1, true));
}

#[test]
fn a_dump_that_zeroes_counters_is_never_asked_for_again() {
    // The counters of what did not fit are zero by now: asked again, the kernel would say so.
    let kernel = Kernel::of([
        answering([vec![says([found(1, &bulky(1, 40_000))])]]),
        answering([vec![says([found(1, &entry(1)), done(1)])]]),
    ]);
    let mut entries = list_and_zero_counters(&kernel.session, None).unwrap();
    let error = next(&mut entries).unwrap_err();
    check(
        &error,
        Operation::ListAndZeroCounters,
        None,
        &["truncated", "outcome unknown"],
    );
    assert_eq!(kernel.sent(0), [[(GET_CTRZERO, DUMP, 1)]]);
    assert_eq!(kernel.opened(), 1);
}

#[test]
fn whatever_keeps_the_answer_from_being_read_the_outcome_is_unknown() {
    let broken = [
        Event::Fail(Nix::EIO),
        says([damaged_ack(1)]),
        Event::Datagram(vec![7; 9]),
    ];
    for event in broken {
        let kernel = Kernel::new([vec![event]]);
        let error = create(&kernel.session, &udp(1)).unwrap_err();
        assert!(error.is_outcome_unknown(), "{error}");
        assert_eq!(kernel.sent(0), [[(NEW, CREATE_ACKED, 1)]]);
    }
}

#[test]
fn a_send_that_is_interrupted_is_tried_again_ten_times_at_most() {
    let (script, log) = answering([vec![says([ack(1)])]]);
    let script = script.sends([Err(Nix::EINTR), Err(Nix::EAGAIN)]);
    let kernel = Kernel::of([(script, log)]);
    create(&kernel.session, &udp(1)).unwrap();
    assert_eq!((kernel.attempts(0), kernel.sizes(0)), (3, vec![1]));

    for errno in [Nix::EINTR, Nix::EAGAIN] {
        let (script, log) = answering([]);
        let script = script.sends([Err(errno); 100]);
        let kernel = Kernel::of([(script, log)]);
        let error = create(&kernel.session, &udp(1)).unwrap_err();
        check(&error, Operation::Create, Some(errno), &[]);
        assert_eq!(kernel.attempts(0), 11);
    }
}

#[test]
fn a_send_that_fails_has_a_known_outcome() {
    for (errno, hint) in [
        (Nix::EMSGSIZE, "send buffer"),
        (Nix::ENOBUFS, "send to the kernel"),
        (Nix::ECONNREFUSED, "nfnetlink"),
    ] {
        let (script, log) = answering([vec![says([ack(2)])]]);
        let kernel = Kernel::of([(script.sends([Err(errno)]), log)]);
        let error = create(&kernel.session, &udp(1)).unwrap_err();
        check(&error, Operation::Create, Some(errno), &[]);
        assert!(error.to_string().contains(hint), "{error}");
        assert_eq!((kernel.attempts(0), kernel.waits(0)), (1, vec![]));
        // The socket is as good as before.
        create(&kernel.session, &udp(1)).unwrap();
    }
    let (script, log) = answering([vec![says([ack(2)])]]);
    let kernel = Kernel::of([(script.sends([Err(Nix::ENOBUFS)]), log)]);
    let error = list(&kernel.session, &Filter::new()).unwrap_err();
    check(&error, Operation::List, Some(Nix::ENOBUFS), &[]);
    create(&kernel.session, &udp(1)).unwrap();
}
