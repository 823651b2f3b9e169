//! Datagrams and messages that are not the answer: forged, of another port, of an earlier request.

use super::*;
use crate::filter::Filter;
use crate::ops::{count, create, create_many, delete_many, get, list, update};

#[test]
fn a_forged_answer_is_dropped_and_the_real_one_taken() {
    let kernel = Kernel::new([vec![forges([ack(1)]), says([refusal(1, Nix::EEXIST)])]]);
    let error = create(&kernel.session, &udp(1)).unwrap_err();
    check(&error, Operation::Create, Some(Nix::EEXIST), &["exists"]);
    assert_eq!(kernel.sent(0), [[(NEW, CREATE_ACKED, 1)]]);

    let kernel = Kernel::new([vec![
        forges([found(1, &entry(9))]),
        says([found(1, &entry(1))]),
    ]]);
    let got = get(&kernel.session, &key(1)).unwrap();
    assert_eq!((port_of(&got), got.id()), (1, Some(1)));
    assert_eq!(kernel.waits(0).len(), 2);
}

#[test]
fn forged_answers_alone_end_with_the_deadline() {
    let kernel = Kernel::new([vec![forges([ack(1)]), forges([ack(1)])]]);
    let error = create(&kernel.session, &udp(1)).unwrap_err();
    check_deadline(&error, Operation::Create);
    let kernel = Kernel::new([vec![forges([found(1, &entry(1))])]]);
    let error = get(&kernel.session, &key(1)).unwrap_err();
    check_deadline(&error, Operation::Get);
}

#[test]
fn a_flood_of_forged_datagrams_does_not_extend_the_deadline() {
    let flood = || Event::Forever(Box::new(forges([ack(1), found(1, &entry(1))])));
    let kernel = Kernel::new([vec![flood()]]).deadline(Duration::from_millis(1));
    let error = create(&kernel.session, &udp(1)).unwrap_err();
    check_deadline(&error, Operation::Create);
    assert!(kernel.waits(0).last().unwrap().is_zero());

    let kernel = Kernel::new([vec![flood()]]).deadline(Duration::from_millis(1));
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    check_deadline(&next(&mut entries).unwrap_err(), Operation::List);
    assert!(entries.next().is_none());
}

#[test]
fn a_forged_datagram_in_the_middle_of_a_dump_is_dropped() {
    let kernel = Kernel::new([vec![
        says([found(1, &entry(1))]),
        forges([found(1, &entry(66)), done(1)]),
        says([found(1, &entry(2)), done(1)]),
    ]]);
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert_eq!(rest(&mut entries), [1, 2]);
    assert!(!entries.is_incomplete());
}

#[test]
fn forged_refusals_do_not_reach_a_batch() {
    let kernel = Kernel::new([vec![
        forges([refusal(1, Nix::EEXIST), ack(3)]),
        says([refusal(2, Nix::EEXIST), ack(3)]),
    ]]);
    let batch = create_many(&kernel.session, [udp(1), udp(2), udp(3)].iter());
    assert!(batch.stopped().is_none());
    let failed: Vec<_> = batch.failures().map(|(place, _)| place).collect();
    assert_eq!((failed, batch.succeeded()), (vec![1], 2));
}

#[test]
fn other_sequence_numbers_and_ports_are_passed_over() {
    let others = || {
        [
            script::refusal(0, PORT, Nix::EPERM),
            script::refusal(2, PORT, Nix::EPERM),
            script::refusal(u32::MAX, PORT, Nix::EPERM),
            script::refusal(1, PORT + 1, Nix::EPERM),
            script::refusal(1, 0, Nix::EPERM),
        ]
    };
    let kernel = Kernel::new([vec![says(others()), says([ack(1)])]]);
    create(&kernel.session, &udp(1)).unwrap();
    // In one datagram with the answer, too.
    let together = [&others()[..], &[ack(1)]].concat();
    let kernel = Kernel::new([vec![says(together)]]);
    create(&kernel.session, &udp(1)).unwrap();
    // And when nothing else comes.
    let kernel = Kernel::new([vec![says(others())]]);
    let error = create(&kernel.session, &udp(1)).unwrap_err();
    check_deadline(&error, Operation::Create);
}

#[test]
fn in_a_dump_other_sequence_numbers_and_ports_are_passed_over() {
    let kernel = Kernel::new([vec![
        says([
            script::data(0, PORT, &entry(90)),
            found(1, &entry(1)),
            script::data(2, PORT, &entry(91)),
        ]),
        says([
            script::data(1, PORT + 1, &entry(92)),
            script::done(1, PORT + 1, 0),
            script::done(2, PORT, 0),
            script::refusal(0, PORT, Nix::EPERM),
        ]),
        says([found(1, &entry(2)), done(1)]),
    ]]);
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert_eq!(rest(&mut entries), [1, 2]);
    assert!(!entries.is_incomplete());
}

#[test]
fn a_late_acknowledgement_is_not_the_next_requests() {
    let kernel = Kernel::new([
        vec![],
        vec![says([ack(1)]), says([refusal(2, Nix::EEXIST)])],
        vec![],
        vec![
            says([refusal(3, Nix::EEXIST)]),
            says([found(4, &entry(2))]),
            says([ack(5)]),
        ],
    ]);
    check_deadline(
        &create(&kernel.session, &udp(1)).unwrap_err(),
        Operation::Create,
    );
    // The acknowledgement of the first comes while the second waits for its own.
    let error = create(&kernel.session, &udp(2)).unwrap_err();
    check(&error, Operation::Create, Some(Nix::EEXIST), &["exists"]);
    check_deadline(
        &create(&kernel.session, &udp(3)).unwrap_err(),
        Operation::Create,
    );
    let got = get(&kernel.session, &key(2)).unwrap();
    assert_eq!(got.id(), Some(2));
    let all = [
        [(NEW, CREATE_ACKED, 1)],
        [(NEW, CREATE_ACKED, 2)],
        [(NEW, CREATE_ACKED, 3)],
        [(GET, REQUEST, 4)],
    ];
    assert_eq!(
        (kernel.sent(0), kernel.opened()),
        (all.map(Vec::from).into(), 1)
    );
}

#[test]
fn a_late_entry_is_not_the_next_requests() {
    let kernel = Kernel::new([
        vec![],
        vec![says([found(1, &entry(1)), found(2, &entry(2))])],
    ]);
    check_deadline(&get(&kernel.session, &key(1)).unwrap_err(), Operation::Get);
    assert_eq!(port_of(&get(&kernel.session, &key(2)).unwrap()), 2);
    assert!(!kernel.is_closed(0));

    // Not even if it is the entry that the next one asks for.
    let kernel = Kernel::new([
        vec![],
        vec![says([found(1, &entry(1))]), says([refusal(2, Nix::ENOENT)])],
    ]);
    check_deadline(&get(&kernel.session, &key(1)).unwrap_err(), Operation::Get);
    let error = get(&kernel.session, &key(1)).unwrap_err();
    check(&error, Operation::Get, Some(Nix::ENOENT), &["not found"]);
}

#[test]
fn a_late_look_up_is_not_taken_for_the_change_that_follows_it() {
    // The look-up of the first update comes when the second has sent its own.
    let change = crate::model::Update::builder().mark(7).build().unwrap();
    let kernel = Kernel::new([
        vec![],
        vec![says([found(1, &entry(1))]), says([refusal(2, Nix::ENOENT)])],
    ]);
    check_deadline(
        &update(&kernel.session, &key(1), &change).unwrap_err(),
        Operation::Update,
    );
    let error = update(&kernel.session, &key(1), &change).unwrap_err();
    check(&error, Operation::Update, Some(Nix::ENOENT), &["not found"]);
    assert_eq!(kernel.sent(0), [[(GET, REQUEST, 1)], [(GET, REQUEST, 2)]]);
}

#[test]
fn late_answers_do_not_reach_a_batch() {
    let kernel = Kernel::new([
        vec![],
        vec![
            says([refusal(1, Nix::EEXIST), refusal(2, Nix::EEXIST), ack(3)]),
            says([refusal(5, Nix::ENOSPC), ack(6)]),
        ],
    ]);
    let entries = [udp(1), udp(2), udp(3)];
    let late = create_many(&kernel.session, entries.iter());
    check_deadline(late.stopped().unwrap(), Operation::Create);
    let batch = create_many(&kernel.session, entries.iter());
    assert!(batch.stopped().is_none());
    assert_eq!(batch.succeeded(), 2);
    check(
        batch.results()[1].as_ref().unwrap_err(),
        Operation::Create,
        Some(Nix::ENOSPC),
        &[],
    );
    let sequences = |first: u32| {
        vec![
            (NEW, CREATE, first),
            (NEW, CREATE, first + 1),
            (NEW, CREATE_ACKED, first + 2),
        ]
    };
    assert_eq!(kernel.sent(0), [sequences(1), sequences(4)]);
    assert_eq!(kernel.opened(), 1);
}

#[test]
fn late_answers_of_a_batch_do_not_reach_a_single_request() {
    let kernel = Kernel::new([
        vec![],
        vec![
            says([refusal(1, Nix::ENOENT), refusal(2, Nix::ENOENT)]),
            says([stats(3, 5, 100)]),
        ],
    ]);
    let keys = [key(1).with_id(1), key(2).with_id(2)];
    let late = delete_many(&kernel.session, keys.into_iter());
    check_deadline(late.stopped().unwrap(), Operation::Delete);
    let figures = count(&kernel.session).unwrap();
    assert_eq!((figures.entries, figures.max), (5, Some(100)));
}

#[test]
fn late_answers_do_not_reach_a_dump() {
    let kernel = Kernel::new([
        vec![],
        vec![
            says([found(1, &entry(1))]),
            says([refusal(1, Nix::EPERM), found(2, &entry(2)), done(2)]),
        ],
    ]);
    check_deadline(&get(&kernel.session, &key(1)).unwrap_err(), Operation::Get);
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert_eq!(rest(&mut entries), [2]);
    assert!(!entries.is_incomplete());
    assert_eq!(kernel.sent(0), [[(GET, REQUEST, 1)], [(GET, DUMP, 2)]]);
    assert_eq!(kernel.opened(), 1);
}

#[test]
fn sequence_numbers_go_on_from_conversation_to_conversation() {
    let kernel = Kernel::new([
        vec![says([ack(3)])],
        vec![says([found(4, &entry(1)), done(4)])],
        vec![says([found(5, &entry(1))])],
    ]);
    let batch = create_many(&kernel.session, [udp(1), udp(2), udp(3)].iter());
    assert!(batch.is_ok());
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert_eq!(rest(&mut entries), [1]);
    drop(entries);
    get(&kernel.session, &key(1)).unwrap();
    assert_eq!(kernel.sizes(0), [3, 1, 1]);
}
