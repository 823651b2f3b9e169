//! Batches: which result belongs to which item, and where a batch stops.

use std::cell::Cell;

use super::*;
use crate::link::{Buffers, Namespace, Target};
use crate::model::Update;
use crate::ops::{Batch, create_many, delete_many, update_many};

/// Which cannot be looked up by the other one.
fn of_one_tuple(key: Key) -> Key {
    Key { other: None, ..key }
}

/// Keys with ids, so that nothing is looked up.
fn known(ports: impl IntoIterator<Item = u16>) -> impl Iterator<Item = Key> {
    let known = |port| of_one_tuple(key(port)).with_id(port.into());
    ports.into_iter().map(known)
}

/// The places that failed, and what holds of each.
fn failed(batch: &Batch) -> Vec<(usize, Vec<&'static str>)> {
    batch
        .failures()
        .map(|(place, error)| (place, holds(error)))
        .collect()
}

fn mark(value: u32) -> Update {
    Update::builder().mark(value).build().unwrap()
}

#[test]
fn an_empty_batch_sends_nothing() {
    let kernel = Kernel::new([]);
    let batch = create_many(&kernel.session, std::iter::empty::<NewEntry>());
    assert!(batch.is_ok() && batch.results().is_empty());
    assert!(delete_many(&kernel.session, std::iter::empty()).is_ok());
    let none = std::iter::empty::<(Key, Update)>();
    assert_eq!(update_many(&kernel.session, none).into_result().unwrap(), 0);
    assert_eq!((kernel.attempts(0), kernel.waits(0)), (0, vec![]));
}

#[test]
fn refusals_belong_to_their_own_items() {
    let kernel = Kernel::new([vec![
        says([refusal(2, Nix::EEXIST)]),
        says([refusal(4, Nix::ENOSPC), refusal(5, Nix::EEXIST)]),
    ]]);
    let entries = [udp(1), udp(2), udp(3), udp(4), udp(5)];
    let batch = create_many(&kernel.session, entries.iter());
    let exists = || vec!["exists"];
    assert_eq!(failed(&batch), [(1, exists()), (3, vec![]), (4, exists())]);
    assert_eq!(batch.succeeded(), 2);
    assert!(!batch.is_ok() && batch.stopped().is_none());
    let sent = [
        (NEW, CREATE, 1),
        (NEW, CREATE, 2),
        (NEW, CREATE, 3),
        (NEW, CREATE, 4),
        (NEW, CREATE_ACKED, 5),
    ];
    assert_eq!(kernel.sent(0), [sent]);
    let first = batch.into_result().unwrap_err();
    check(&first, Operation::Create, Some(Nix::EEXIST), &["exists"]);
}

#[test]
fn refusals_are_matched_across_datagrams() {
    let kernel = Kernel::new([
        vec![says([refusal(1, Nix::ENOENT), refusal(512, Nix::EBUSY)])],
        vec![
            says([refusal(513, Nix::EBUSY), refusal(1023, Nix::ENOENT)]),
            says([ack(1024)]),
        ],
        vec![says([refusal(1100, Nix::ENOENT)])],
    ]);
    let batch = delete_many(&kernel.session, known(1..=1100));
    let gone = || vec!["not found"];
    let busy = || vec!["busy"];
    assert_eq!(
        failed(&batch),
        [
            (0, gone()),
            (511, busy()),
            (512, busy()),
            (1022, gone()),
            (1099, gone())
        ]
    );
    assert_eq!((batch.results().len(), batch.succeeded()), (1100, 1095));
    assert_eq!(kernel.sizes(0), [512, 512, 76]);
    let ids: Vec<_> = kernel.attribute(0, CTA_ID);
    let expected: Vec<_> = (1..=1100_u32)
        .map(|id| Some(id.to_be_bytes().to_vec()))
        .collect();
    assert_eq!(ids, expected);
    // Only the last of each datagram is acknowledged, and the sequence numbers go on.
    for (datagram, last) in kernel.sent(0).iter().zip([512, 1024, 1100]) {
        let (end, others) = datagram.split_last().unwrap();
        assert_eq!(*end, (DELETE, ACKED, last));
        assert!(others.iter().all(|(_, flags, _)| *flags == REQUEST));
        assert!(others.is_sorted_by_key(|(_, _, sequence)| *sequence));
    }
}

#[test]
fn a_datagram_holds_64_kilobytes() {
    // Each request takes 132 bytes: headers of 20, two tuples of 52, a time-out of 8. The 497th is
    // the one that reaches the limit.
    let kernel = Kernel::new([
        vec![says([ack(497)])],
        vec![says([refusal(498, Nix::EEXIST), ack(512)])],
        vec![says([refusal(600, Nix::EEXIST)])],
    ]);
    let batch = create_many(&kernel.session, (1..=600).map(udp));
    assert_eq!(kernel.sizes(0), [497, 15, 88]);
    let exists = || vec!["exists"];
    assert_eq!(failed(&batch), [(497, exists()), (599, exists())]);
}

#[test]
fn a_send_that_fails_stops_the_batch() {
    for errno in [Nix::EMSGSIZE, Nix::ENOBUFS] {
        let (script, log) = answering([
            vec![says([refusal(3, Nix::ENOENT), ack(512)])],
            vec![says([ack(1025)])],
        ]);
        let kernel = Kernel::of([(script.sends([Ok(()), Err(errno)]), log)]);
        let taken = Cell::new(0);
        let keys = known(1..=2000).inspect(|_| taken.set(taken.get() + 1));
        let batch = delete_many(&kernel.session, keys);
        assert_eq!(taken.get(), 1024);
        assert_eq!(batch.results().len(), 1024);
        assert_eq!(batch.succeeded(), 511);
        for (place, result) in batch.results().iter().enumerate() {
            match result {
                Ok(()) => assert!(place < 512),
                Err(error) if place == 2 => {
                    check(error, Operation::Delete, Some(Nix::ENOENT), &["not found"]);
                }
                Err(error) => {
                    assert!(place >= 512);
                    check(error, Operation::Delete, None, &["not sent"]);
                    let reason = format!("{errno:?}");
                    assert!(error.to_string().contains(&reason), "{error}");
                }
            }
        }
        check(
            batch.stopped().unwrap(),
            Operation::Delete,
            Some(errno),
            &[],
        );
        assert!(!batch.is_ok());
        assert_eq!((kernel.attempts(0), kernel.sizes(0)), (2, vec![512]));
        assert!(batch.into_result().unwrap_err().errno() == Some(errno.into()));
        // Sequence numbers of what was not sent are not used again: an answer cannot be mistaken.
        assert!(delete_many(&kernel.session, known([1])).is_ok());
        assert_eq!(kernel.sent(0)[1], [(DELETE, ACKED, 1025)]);
    }
}

#[test]
fn a_deadline_stops_the_batch() {
    let kernel = Kernel::new([
        vec![says([ack(512)])],
        vec![says([refusal(600, Nix::ENOENT)])],
    ]);
    let taken = Cell::new(0);
    let keys = known(1..=2000).inspect(|_| taken.set(taken.get() + 1));
    let batch = delete_many(&kernel.session, keys);
    assert_eq!((taken.get(), batch.results().len()), (1024, 1024));
    assert_eq!(batch.succeeded(), 512);
    for (place, error) in batch.failures() {
        assert!(place >= 512);
        if place == 599 {
            check(error, Operation::Delete, Some(Nix::ENOENT), &["not found"]);
        } else {
            check(error, Operation::Delete, None, &["outcome unknown"]);
        }
    }
    check_deadline(batch.stopped().unwrap(), Operation::Delete);
    assert_eq!(kernel.sizes(0), [512, 512]);
}

#[test]
fn what_follows_in_the_same_portion_is_not_sent_after_a_deadline() {
    // 512 items are taken, in two datagrams of 497 and 15.
    let kernel = Kernel::new([vec![says([refusal(1, Nix::EEXIST)])]]);
    let batch = create_many(&kernel.session, (1..=600).map(udp));
    assert_eq!(batch.results().len(), 512);
    for (place, error) in batch.failures() {
        let holding = match place {
            0 => "exists",
            1..497 => "outcome unknown",
            _ => "not sent",
        };
        assert_eq!(holds(error), [holding], "{place}");
    }
    assert_eq!((batch.succeeded(), kernel.sizes(0)), (0, vec![497]));
}

#[test]
fn a_damaged_answer_stops_the_batch_with_unknown_outcomes() {
    let kernel = Kernel::new([vec![says([refusal(1, Nix::EEXIST), damaged_ack(3)])]]);
    let batch = create_many(&kernel.session, [udp(1), udp(2), udp(3)].iter());
    let unknown = || vec!["outcome unknown"];
    assert_eq!(
        failed(&batch),
        [(0, vec!["exists"]), (1, unknown()), (2, unknown())]
    );
    assert!(batch.stopped().unwrap().is_malformed());
}

#[test]
fn a_socket_that_cannot_be_opened_stops_the_batch_before_its_first_item() {
    // A namespace of another type: no socket can be opened in it.
    let target = Target::Path("/proc/self/ns/uts".into());
    let buffers = Buffers {
        receive: 1,
        send: 1,
    };
    let pool = Pool::new(Namespace::open(target).unwrap(), buffers);
    let session = Session::new(pool, DEADLINE);
    let taken = Cell::new(0);
    let keys = known(1..=3).inspect(|_| taken.set(taken.get() + 1));
    let batch = delete_many(&session, keys);
    assert_eq!((taken.get(), batch.results().len()), (0, 0));
    assert!(!batch.is_ok());
    check(
        batch.stopped().unwrap(),
        Operation::Open,
        Some(Nix::EINVAL),
        &[],
    );
}

#[test]
fn the_tables_fill_is_asked_once_a_datagram() {
    let kernel = Kernel::new([
        vec![says([
            refusal(1, Nix::ENOMEM),
            refusal(2, Nix::EEXIST),
            refusal(3, Nix::ENOMEM),
            ack(497),
        ])],
        vec![says([stats(498, 10, 10)])],
        vec![says([ack(513)])],
        vec![says([refusal(515, Nix::ENOMEM)])],
        vec![says([stats(516, 9, 10)])],
    ]);
    let batch = create_many(&kernel.session, (1..=514).map(udp));
    let full = || vec!["table full"];
    assert_eq!(
        failed(&batch),
        [(0, full()), (1, vec!["exists"]), (2, full()), (513, vec![])]
    );
    let figures = batch
        .failures()
        .map(|(_, error)| error.table_count().map(|count| count.entries));
    assert_eq!(
        figures.collect::<Vec<_>>(),
        [Some(10), None, Some(10), Some(9)]
    );
    assert_eq!(kernel.sizes(0), [497, 1, 15, 2, 1]);
    assert_eq!(kernel.sent(0)[1], [(GET_STATS, REQUEST, 498)]);
}

#[test]
fn a_batch_goes_on_where_the_tables_fill_cannot_be_learnt() {
    let kernel = Kernel::new([
        vec![says([refusal(1, Nix::ENOMEM), ack(497)])],
        vec![says([refusal(498, Nix::EINVAL)])],
        vec![says([ack(513)])],
        vec![says([ack(601)])],
    ]);
    let batch = create_many(&kernel.session, (1..=600).map(udp));
    assert_eq!(failed(&batch), [(0, vec![])]);
    assert!(batch.stopped().is_none());
    assert_eq!(kernel.sizes(0), [497, 1, 15, 88]);
}

#[test]
fn deletions_are_by_id_and_the_missing_ids_are_looked_up() {
    let kernel = Kernel::new([
        vec![
            says([found(1, &entry(1))]),
            says([refusal(2, Nix::ENOENT)]),
            says([found(3, &reported(&udp_in(4, 6), &[id(4)]))]),
        ],
        vec![says([refusal(5, Nix::ENOENT)])],
    ]);
    let keys = [key(1), key(2), of_one_tuple(key(3)).with_id(33), key(4)];
    let batch = delete_many(&kernel.session, keys.into_iter());
    let gone = || vec!["not found"];
    assert_eq!(failed(&batch), [(1, gone()), (2, gone()), (3, gone())]);
    assert_eq!(
        kernel.sent(0),
        [
            vec![(GET, REQUEST, 1), (GET, REQUEST, 2), (GET, REQUEST, 3)],
            vec![(DELETE, REQUEST, 4), (DELETE, ACKED, 5)]
        ]
    );
    assert_eq!(
        kernel.attribute(0, CTA_ID)[3..],
        [Some(vec![0, 0, 0, 1]), Some(vec![0, 0, 0, 33])]
    );
}

#[test]
fn look_ups_are_128_a_datagram() {
    let first: Vec<_> = (1..=128)
        .map(|n| says([found(n.into(), &entry(n))]))
        .collect();
    let second = vec![
        says([found(129, &entry(129))]),
        says([refusal(130, Nix::ENOENT)]),
    ];
    let kernel = Kernel::new([first, second, vec![says([ack(259)])]]);
    let batch = delete_many(&kernel.session, (1..=130).map(key));
    assert_eq!(failed(&batch), [(129, vec!["not found"])]);
    assert_eq!(kernel.sizes(0), [128, 2, 129]);
}

#[test]
fn a_look_up_that_breaks_means_that_nothing_is_sent() {
    for answers in [
        vec![],
        vec![says([found(1, &entry(1))])],
        vec![Event::Fail(Nix::EIO)],
    ] {
        let kernel = Kernel::new([answers]);
        let batch = delete_many(&kernel.session, (1..=3).map(key));
        let unsent = |place| (place, vec!["not sent"]);
        assert_eq!(failed(&batch), [unsent(0), unsent(1), unsent(2)]);
        assert!(batch.stopped().is_some());
        assert_eq!(kernel.sizes(0), [3]);
    }
}

#[test]
fn a_look_up_that_is_lost_costs_its_own_item() {
    let kernel = Kernel::new([
        vec![says([found(1, &entry(1))]), Event::Fail(Nix::ENOBUFS)],
        vec![says([ack(4)])],
    ]);
    let batch = delete_many(&kernel.session, (1..=3).map(key));
    let places: Vec<_> = batch.failures().map(|(place, _)| place).collect();
    assert_eq!(places, [1, 2]);
    assert!(batch.failures().all(|(_, error)| error.is_overrun()));
    assert_eq!(kernel.attribute(0, CTA_ID)[3], Some(vec![0, 0, 0, 1]));
}

#[test]
fn a_look_up_that_does_not_fit_means_that_nothing_is_sent() {
    let kernel = Kernel::new([
        vec![says([found(1, &bulky(1, 40_000))])],
        vec![says([found(3, &bulky(1, 40_000)), found(4, &entry(2))])],
        vec![says([ack(6)])],
    ]);
    let keys = || [key(1), key(2)].into_iter();
    let batch = delete_many(&kernel.session, keys());
    let unsent = [(0, vec!["not sent"]), (1, vec!["not sent"])];
    assert_eq!(failed(&batch), unsent);
    assert!(batch.stopped().unwrap().is_truncated());
    assert_eq!(kernel.sizes(0), [2]);
    // The buffer has grown since.
    assert!(delete_many(&kernel.session, keys()).is_ok());
    assert_eq!(kernel.sizes(0), [2, 2, 2]);
}

#[test]
fn changes_are_looked_up_first_and_each_gets_its_status() {
    let bits = |bits: u32| attr(CTA_STATUS, &bits.to_be_bytes());
    let kernel = Kernel::new([
        vec![
            says([found(1, &reported(&udp(1), &[id(1), bits(0x18a)]))]),
            says([refusal(2, Nix::ENOENT)]),
            says([found(3, &reported(&udp(3), &[id(3), bits(0x8)]))]),
        ],
        vec![says([refusal(4, Nix::EBUSY), ack(5)])],
    ]);
    let assured = Update::builder().assured().build().unwrap();
    let changes = [key(1), key(2), key(3)].map(|key| (key, assured));
    let batch = update_many(&kernel.session, changes.into_iter());
    assert_eq!(failed(&batch), [(0, vec!["busy"]), (1, vec!["not found"])]);
    assert_eq!(kernel.sizes(0), [3, 2]);
    assert_eq!(
        kernel.attribute(0, CTA_STATUS)[3..],
        [Some(vec![0, 0, 1, 0x8e]), Some(vec![0, 0, 0, 0xc])]
    );
    assert_eq!(kernel.sent(0)[1], [(NEW, REQUEST, 4), (NEW, ACKED, 5)]);
}

#[test]
fn a_refused_change_after_its_look_up_is_the_fixed_timeouts() {
    let kernel = Kernel::new([
        vec![says([
            found(1, &fixed(1)),
            found(2, &fixed(2)),
            found(3, &entry(3)),
        ])],
        vec![says([
            refusal(4, Nix::EEXIST),
            refusal(5, Nix::EPERM),
            refusal(6, Nix::EPERM),
        ])],
    ]);
    // Only a change of the time-out of an entry whose time-out is fixed is refused for that.
    let timeout = Update::builder().timeout(Duration::ZERO).build().unwrap();
    let changes = [(key(1), mark(1)), (key(2), timeout), (key(3), timeout)];
    let batch = update_many(&kernel.session, changes.into_iter());
    assert_eq!(
        failed(&batch),
        [
            (0, vec!["exists"]),
            (1, vec!["fixed timeout"]),
            (2, vec!["permission denied"])
        ]
    );
}

#[test]
fn a_refused_look_up_is_not_the_fixed_timeouts() {
    let kernel = Kernel::new([vec![says([refusal(1, Nix::EPERM), refusal(2, Nix::EPERM)])]]);
    let changes = [(key(1), mark(1)), (key(2), mark(2))];
    let batch = update_many(&kernel.session, changes.into_iter());
    let denied = || vec!["permission denied"];
    assert_eq!(failed(&batch), [(0, denied()), (1, denied())]);
    assert_eq!(kernel.sizes(0), [2]);
}

#[test]
fn a_datagram_that_is_refused_as_a_whole_is_refused_at_once() {
    // nfnetlink_rcv checks CAP_NET_ADMIN once a datagram: it answers the first message with EPERM
    // and looks at none. So it is for a process that drops the capability after opening.
    let kernel = Kernel::new([
        vec![says([refusal(1, Nix::EPERM)])],
        vec![says([refusal(4, Nix::EPERM)])],
    ]);
    let denied = |place| (place, vec!["permission denied"]);
    let all = [denied(0), denied(1), denied(2)];
    let batch = create_many(&kernel.session, [udp(1), udp(2), udp(3)].iter());
    assert_eq!(failed(&batch), all);
    // The kernel has answered by the time the datagram is sent: there is nothing to wait for.
    assert!(kernel.waits(0)[1..].iter().all(Duration::is_zero));
    let batch = delete_many(&kernel.session, known(1..=3));
    assert_eq!(failed(&batch), all);

    // Look-ups too, and then there is nothing to send.
    let kernel = Kernel::new([vec![says([refusal(1, Nix::EPERM)])]]);
    let batch = delete_many(&kernel.session, (1..=3).map(key));
    assert_eq!(failed(&batch), all);
    assert_eq!(kernel.sizes(0), [3]);
}

#[test]
fn a_refused_first_message_is_not_the_whole_datagram() {
    let first = refusal(1, Nix::EPERM);
    let turns = [
        vec![says([first.clone(), ack(3)])],
        vec![says([first.clone()]), says([ack(3)])],
        vec![says([first.clone()]), says([refusal(3, Nix::EPERM)])],
    ];
    let denied = |place| (place, vec!["permission denied"]);
    let expected = [vec![denied(0)], vec![denied(0)], vec![denied(0), denied(2)]];
    for (turn, expected) in turns.into_iter().zip(expected) {
        let kernel = Kernel::new([turn]);
        let batch = create_many(&kernel.session, [udp(1), udp(2), udp(3)].iter());
        assert_eq!(failed(&batch), expected);
        assert!(batch.stopped().is_none());
    }
    // Nor is it where something else was answered too, nor another refusal, nor one of another
    // message.
    let exists = || refusal(2, Nix::EEXIST);
    for (turn, unknown) in [
        (vec![says([first.clone(), exists()])], 1),
        (vec![says([first.clone()]), says([exists()])], 1),
        (vec![says([refusal(1, Nix::EACCES)])], 2),
        (vec![says([refusal(2, Nix::EPERM)])], 2),
    ] {
        let kernel = Kernel::new([turn]);
        let batch = create_many(&kernel.session, [udp(1), udp(2), udp(3)].iter());
        let left = batch.failures().filter(|(_, e)| e.is_outcome_unknown());
        assert_eq!((left.count(), batch.succeeded()), (unknown, 0));
        check_deadline(batch.stopped().unwrap(), Operation::Create);
    }
}

#[test]
fn a_batch_of_no_known_length_is_taken_as_it_comes() {
    // An iterator's lower bound is a hint; of an endless one it is `usize::MAX`.
    let (script, log) = answering([]);
    let kernel = Kernel::of([(script.sends([Err(Nix::EMSGSIZE)]), log)]);
    let batch = create_many(&kernel.session, std::iter::repeat_with(|| udp(1)));
    assert_eq!(batch.results().len(), 512);
    assert_eq!(batch.succeeded(), 0);
}

#[test]
fn a_change_for_another_protocol_is_refused_without_being_sent() {
    let kernel = Kernel::new([
        vec![says([found(1, &entry(1)), found(2, &entry(2))])],
        vec![says([ack(3)])],
    ]);
    let tcp = Update::builder()
        .state(crate::model::TcpState::Established)
        .build()
        .unwrap();
    let changes = [(key(1), tcp), (key(2), mark(2))];
    let batch = update_many(&kernel.session, changes.into_iter());
    assert_eq!(failed(&batch), [(0, vec!["invalid input"])]);
    assert_eq!(
        kernel.attribute(0, CTA_MARK),
        [None, None, Some(vec![0, 0, 0, 2])]
    );
}
