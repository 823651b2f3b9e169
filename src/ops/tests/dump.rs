//! Lists and visits: damage, interruption, early ends, and which socket they hold.

use std::ops::ControlFlow;

use super::*;
use crate::filter::Filter;
use crate::model::Completeness;
use crate::ops::{Visited, count, delete, list, list_and_zero_counters, visit};

/// The netlink header's length field and the family header come before the attributes.
const BODY: usize = 20;

fn damaged(payload: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut payload = payload.to_vec();
    change(&mut payload);
    payload
}

/// Without the reply tuple.
fn one_sided(port: u16) -> Vec<u8> {
    // Each tuple takes 52 bytes after the family header: see `a_tuple_takes_52_bytes`.
    damaged(&entry(port), |payload| drop(payload.drain(4 + 52..4 + 104)))
}

#[test]
fn a_tuple_takes_52_bytes() {
    for kind in [CTA_TUPLE_ORIG, CTA_TUPLE_REPLY] {
        assert_eq!(attribute(&entry(1), kind).unwrap().len(), 48);
    }
    assert_eq!(attribute(&one_sided(1), CTA_TUPLE_REPLY), None);
    assert_eq!(attribute(&one_sided(1), CTA_ID).unwrap(), [0, 0, 0, 1]);
}

/// A mark of two bytes, and where it is.
fn short_mark(port: u16) -> (Vec<u8>, usize) {
    let payload = entry(port);
    let at = 16 + payload.len() + 4;
    (
        damaged(&payload, |payload| payload.extend(attr(CTA_MARK, &[1, 2]))),
        at,
    )
}

/// The last attribute claims more than there is, and where it begins.
fn cut_off(port: u16) -> (Vec<u8>, usize) {
    let payload = entry(port);
    let at = 16 + payload.len() - 8;
    (
        damaged(&payload, |payload| {
            let length = payload.len() - 8;
            payload[length..length + 2].copy_from_slice(&9_u16.to_ne_bytes());
        }),
        at,
    )
}

/// Adds `NLM_F_DUMP_INTR`.
fn interrupt(message: &mut [u8]) {
    let flags = u16::from_ne_bytes([message[6], message[7]]);
    message[6..8].copy_from_slice(&(flags | 0x10).to_ne_bytes());
}

fn visit_all(kernel: &Kernel, filter: &Filter) -> Visited<()> {
    visit(&kernel.session, filter, |_| ControlFlow::Continue(())).unwrap()
}

#[test]
fn a_damaged_entry_is_an_item_and_the_next_ones_follow() {
    let (mark, mark_at) = short_mark(3);
    let (cut, cut_at) = cut_off(4);
    let damages = [
        (one_sided(2), BODY, "CTA_TUPLE_REPLY is missing"),
        (mark, mark_at, "CTA_MARK"),
        (cut, cut_at, "longer than what holds it"),
        (vec![2, 0], 16, "nfnetlink header is cut off"),
    ];
    for (payload, at, text) in damages {
        let kernel = Kernel::new([vec![
            says([
                found(1, &entry(1)),
                found(1, &payload),
                found(1, &entry(5)),
                found(1, &entry(6)),
            ]),
            says([found(1, &entry(7)), done(1)]),
        ]]);
        let mut entries = list(&kernel.session, &Filter::new()).unwrap();
        assert_eq!(next(&mut entries).unwrap(), 1);
        let error = next(&mut entries).unwrap_err();
        check(&error, Operation::List, None, &["malformed"]);
        assert_eq!(error.offset(), Some(u32::try_from(at).unwrap()), "{error}");
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(rest(&mut entries), [5, 6, 7]);
        assert!(entries.is_incomplete());
    }
}

#[test]
fn a_damaged_entry_of_a_zeroing_list_belongs_to_that_list() {
    let kernel = Kernel::new([vec![says([found(1, &one_sided(1)), done(1)])]]);
    let mut entries = list_and_zero_counters(&kernel.session, None).unwrap();
    let error = next(&mut entries).unwrap_err();
    check(&error, Operation::ListAndZeroCounters, None, &["malformed"]);
}

#[test]
fn a_visit_counts_damaged_entries() {
    let turn = |sequence| {
        vec![
            says([
                found(sequence, &entry(1)),
                found(sequence, &cut_off(2).0),
                found(sequence, &one_sided(3)),
                found(sequence, &short_mark(4).0),
            ]),
            says([found(sequence, &entry(5)), done(sequence)]),
        ]
    };
    let kernel = Kernel::new([turn(1), turn(2), turn(3)]);
    // Without a condition nothing is decoded: fields, and what is damaged of them, are the visitor's.
    let mut fields = Vec::new();
    let visited = visit(&kernel.session, &Filter::new(), |entry| {
        fields.push((entry.reply().is_ok(), entry.mark().is_ok()));
        ControlFlow::<()>::Continue(())
    })
    .unwrap();
    let expected = Visited {
        matched: 5,
        seen: 5,
        malformed: 0,
        incomplete: false,
        completeness: Completeness::Unknown,
        same_size: true,
        stopped: None,
    };
    assert_eq!(visited, expected);
    let (whole, no_reply, no_mark) = ((true, true), (false, true), (true, false));
    // Of a message that is cut off nothing is said to be absent: the search for it is an error.
    let cut_off = (true, false);
    assert_eq!(fields, [whole, cut_off, no_reply, no_mark, whole]);
    // Damage in what a condition asks about is counted, too.
    let any = Filter::new().reply_src_port(53);
    let expected = Visited {
        matched: 4,
        malformed: 1,
        incomplete: true,
        completeness: Completeness::Interrupted,
        ..expected
    };
    assert_eq!(visit_all(&kernel, &any), expected);
    let none = Filter::new().mark(1);
    let expected = Visited {
        matched: 0,
        malformed: 2,
        ..expected
    };
    assert_eq!(visit_all(&kernel, &none), expected);
}

#[test]
fn a_lying_header_costs_the_rest_of_its_datagram() {
    for length in [0_u32, 15, 4096, u32::MAX] {
        let turn = |sequence| {
            let mut lying = found(sequence, &entry(2));
            lying[..4].copy_from_slice(&length.to_ne_bytes());
            vec![
                says([
                    found(sequence, &entry(1)),
                    lying,
                    found(sequence, &entry(3)),
                ]),
                says([found(sequence, &entry(4)), done(sequence)]),
            ]
        };
        let kernel = Kernel::new([turn(1), turn(2)]);
        let mut entries = list(&kernel.session, &Filter::new()).unwrap();
        assert_eq!(next(&mut entries).unwrap(), 1);
        assert!(!entries.is_incomplete());
        let error = next(&mut entries).unwrap_err();
        check(&error, Operation::List, None, &["malformed"]);
        assert!(entries.is_incomplete());
        assert_eq!(rest(&mut entries), [4]);
        assert!(entries.is_incomplete());
        drop(entries);

        let expected = Visited {
            matched: 2,
            seen: 2,
            malformed: 1,
            incomplete: true,
            completeness: Completeness::Interrupted,
            same_size: true,
            stopped: None,
        };
        assert_eq!(visit_all(&kernel, &Filter::new()), expected);
        assert_eq!(kernel.opened(), 1);
    }
}

#[test]
fn a_dump_whose_end_is_damaged_does_not_wait_for_another_end() {
    let kernel = Kernel::new([vec![says([found(1, &entry(1))]), says([damaged_ack(1)])]]);
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert_eq!(next(&mut entries).unwrap(), 1);
    let error = next(&mut entries).unwrap_err();
    check(&error, Operation::List, None, &["malformed"]);
    assert!(entries.is_incomplete());
    assert!(entries.next().is_none());
}

#[test]
fn interruption_is_remembered_wherever_it_is_said() {
    let messages = |sequence| {
        [
            found(sequence, &entry(1)),
            found(sequence, &entry(2)),
            found(sequence, &entry(3)),
            done(sequence),
        ]
    };
    for at in [None, Some(0), Some(1), Some(2), Some(3)] {
        for together in [true, false] {
            let turn = |sequence| {
                let mut messages = messages(sequence);
                if let Some(at) = at {
                    interrupt(&mut messages[at]);
                }
                if together {
                    vec![says(messages)]
                } else {
                    messages.map(|message| says([message])).into()
                }
            };
            let kernel = Kernel::new([turn(1), turn(2)]);
            let mut entries = list(&kernel.session, &Filter::new()).unwrap();
            for (place, port) in [1, 2, 3].into_iter().enumerate() {
                assert_eq!(next(&mut entries).unwrap(), port);
                let said = at.is_some_and(|at| at <= place);
                assert_eq!(entries.is_incomplete(), said, "{at:?} {place}");
            }
            assert!(entries.next().is_none());
            assert_eq!(entries.is_incomplete(), at.is_some(), "{at:?}");
            drop(entries);
            let visited = visit_all(&kernel, &Filter::new());
            assert_eq!(visited.incomplete, at.is_some(), "{at:?}");
            let interrupted = visited.completeness == Completeness::Interrupted;
            assert_eq!(interrupted, at.is_some(), "{at:?}");
            assert_eq!(visited.matched, 3);
        }
    }
}

#[test]
fn interruption_of_a_strangers_dump_does_not_count() {
    let mut strange = script::data(1, PORT + 1, &entry(9));
    interrupt(&mut strange);
    let kernel = Kernel::new([vec![says([found(1, &entry(1)), strange, done(1)])]]);
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert_eq!(rest(&mut entries), [1]);
    assert!(!entries.is_incomplete());
}

#[test]
fn an_empty_table_is_an_empty_list() {
    let kernel = Kernel::new([vec![says([done(1)])], vec![says([done(2)])]]);
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert!(entries.next().is_none() && !entries.is_incomplete());
    drop(entries);
    assert_eq!(visit_all(&kernel, &Filter::new()).seen, 0);
}

#[test]
fn the_filter_is_checked_here_and_nothing_of_it_is_sent() {
    let kernel = Kernel::new([vec![says([
        found(1, &entry(1)),
        found(1, &reported(&udp_in(2, 5), &[id(2)])),
        found(1, &entry(3)),
        done(1),
    ])]]);
    let filter = Filter::new().zone(Zone::new(5));
    let mut entries = list(&kernel.session, &filter).unwrap();
    assert_eq!(rest(&mut entries), [2]);
    let seen = kernel.logs[0].lock().unwrap();
    assert_eq!(seen.sent[0][0].payload, [0; 4]);
}

#[test]
fn a_list_that_is_dropped_early_closes_its_socket() {
    let full = || vec![says([found(1, &entry(1)), found(1, &entry(2)), done(1)])];
    let kernel = Kernel::of([
        answering([full()]),
        answering([full()]),
        answering([full()]),
        answering([vec![says([stats(1, 0, 1)])]]),
    ]);
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert_eq!(next(&mut entries).unwrap(), 1);
    assert!(!kernel.is_closed(0));
    drop(entries);
    assert!(kernel.is_closed(0));

    // Even if nothing but the end was left to read.
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert_eq!(next(&mut entries).unwrap(), 1);
    assert_eq!(next(&mut entries).unwrap(), 2);
    drop(entries);
    assert!(kernel.is_closed(1));

    drop(list(&kernel.session, &Filter::new()).unwrap());
    assert!(kernel.is_closed(2));
    count(&kernel.session).unwrap();
    assert!(!kernel.is_closed(3));
    assert_eq!(kernel.opened(), 4);
}

#[test]
fn a_visit_that_breaks_off_closes_its_socket() {
    let kernel = Kernel::of([
        answering([vec![
            says([found(1, &entry(1)), found(1, &entry(2))]),
            says([found(1, &entry(3)), done(1)]),
        ]]),
        answering([vec![says([stats(1, 0, 1)])]]),
    ]);
    let visited = visit(&kernel.session, &Filter::new(), |entry| {
        match entry.id().unwrap() {
            Some(2) => ControlFlow::Break("two"),
            _ => ControlFlow::Continue(()),
        }
    })
    .unwrap();
    assert_eq!((visited.seen, visited.matched), (2, 2));
    assert_eq!(visited.stopped, Some("two"));
    assert_eq!(visited.completeness, Completeness::Interrupted);
    assert!(kernel.is_closed(0));
    count(&kernel.session).unwrap();
    assert_eq!(kernel.opened(), 2);
}

#[test]
fn a_list_that_came_to_its_end_gives_its_socket_back() {
    let kernel = Kernel::new([
        vec![says([found(1, &entry(1))]), says([done(1)])],
        vec![says([found(2, &entry(1)), done(2)])],
        vec![says([stats(3, 0, 1)])],
    ]);
    let mut entries = list(&kernel.session, &Filter::new()).unwrap();
    assert_eq!(rest(&mut entries), [1]);
    drop(entries);
    assert!(!kernel.is_closed(0));
    assert_eq!(visit_all(&kernel, &Filter::new()).matched, 1);
    count(&kernel.session).unwrap();
    assert_eq!((kernel.opened(), kernel.is_closed(0)), (1, false));
}

#[test]
fn requests_beside_a_list_use_another_socket() {
    let kernel = Kernel::of([
        answering([vec![
            says([found(1, &entry(1)), found(1, &entry(2))]),
            says([done(1)]),
        ]]),
        answering([
            vec![says([ack(1)])],
            vec![says([ack(2)])],
            vec![says([stats(3, 0, 1)])],
        ]),
    ]);
    let entries = list(&kernel.session, &Filter::new()).unwrap();
    for entry in entries {
        delete(&kernel.session, &entry.unwrap().key()).unwrap();
    }
    assert_eq!(kernel.sent(0), [[(GET, DUMP, 1)]]);
    assert_eq!(kernel.sent(1), [[(DELETE, ACKED, 1)], [(DELETE, ACKED, 2)]]);
    assert_eq!(
        kernel.attribute(1, CTA_ID),
        [Some(vec![0, 0, 0, 1]), Some(vec![0, 0, 0, 2])]
    );
    // Both sockets are there for what comes next; which one is taken does not matter.
    assert!(!kernel.is_closed(0) && !kernel.is_closed(1));
}

#[test]
fn a_visitor_may_use_the_handle() {
    let kernel = Kernel::of([
        answering([vec![says([found(1, &entry(1)), done(1)])]]),
        answering([vec![says([stats(1, 8, 9)])]]),
    ]);
    let visited = visit(&kernel.session, &Filter::new(), |_| {
        ControlFlow::Break(count(&kernel.session).unwrap().entries)
    });
    assert_eq!(visited.unwrap().stopped, Some(8));
}

#[test]
fn at_most_four_idle_sockets_are_kept() {
    let kernel = Kernel::of((0..6).map(|_| answering([vec![says([done(1)])]])));
    let mut lists: Vec<_> = (0..6)
        .map(|_| list(&kernel.session, &Filter::new()).unwrap())
        .collect();
    assert!(lists.iter_mut().all(|entries| entries.next().is_none()));
    drop(lists);
    let closed = (0..6).filter(|socket| kernel.is_closed(*socket)).count();
    assert_eq!((kernel.opened(), closed), (6, 2));
}
