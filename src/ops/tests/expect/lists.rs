//! Lists of expectations, and deletions that begin with one.

use super::*;

#[test]
fn a_master_that_never_had_a_helper_has_none() {
    let kernel = Kernel::new([
        vec![says([found(1, &master())])],
        // No dump is started; the acknowledgement is all there is.
        vec![says([ack(2)])],
    ]);
    let mut list = expectations(&kernel).list_of(&control()).unwrap();
    assert!(list.next().is_none());
    assert!(!list.is_incomplete());
    assert_eq!(
        kernel.sent(0),
        [[(GET, REQUEST, 1)], [(EXP_GET, DUMP_OF, 2)]]
    );
    // Nothing was waited for in vain.
    assert_eq!(kernel.waits(0).len(), 2);
}

#[test]
fn a_list_knows_the_zone_of_its_master_alone() {
    let kernel = Kernel::new([
        vec![says([found(1, &master())])],
        vec![says([found(2, &expectation(1)), done(2)])],
        vec![says([found(3, &expectation(1)), done(3)])],
    ]);
    let view = expectations(&kernel);
    let zones = |list: crate::ops::ExpectationList| -> Vec<_> {
        list.map(|one| one.unwrap().zone()).collect()
    };
    let of = zones(view.list_of(&control()).unwrap());
    assert_eq!(of, [Some(Zone::new(5))]);
    assert_eq!(zones(view.list().unwrap()), [None]);
    assert_eq!(kernel.sent(0)[2], [(EXP_GET, DUMP, 3)]);
}

#[test]
fn a_damaged_expectation_of_a_list_fails_alone() {
    let mut damaged = expectation(2);
    // CTA_EXPECT_TUPLE, CTA_TUPLE_IP, CTA_IP_V4_SRC: four bytes and three headers before its value.
    damaged[4 + 2 * 4] = 7;
    let kernel = Kernel::new([vec![
        says([found(1, &expectation(1)), found(1, &damaged)]),
        says([found(1, &expectation(3)), done(1)]),
    ]]);
    let mut list = expectations(&kernel).list().unwrap();
    let port = |one: Expectation| one.tuple().dst_port();
    assert_eq!(port(list.next().unwrap().unwrap()), Some(1));
    let error = list.next().unwrap().unwrap_err();
    check(&error, LIST, None, &["malformed"]);
    let path = "CTA_EXPECT_TUPLE.CTA_TUPLE_IP.CTA_IP_V4_SRC at offset 32";
    assert!(error.to_string().contains(path), "{error}");
    assert_eq!(port(list.next().unwrap().unwrap()), Some(3));
    assert!(list.next().is_none());
    assert!(!list.is_incomplete());
}

#[test]
fn a_list_that_breaks_off_says_why() {
    let failed = script::done(1, PORT, -(Nix::ENOMEM as i32));
    let kernel = Kernel::new([vec![says([found(1, &expectation(1)), failed])]]);
    let mut list = expectations(&kernel).list().unwrap();
    assert!(list.next().unwrap().is_ok());
    let error = list.next().unwrap().unwrap_err();
    check(&error, LIST, Some(Nix::ENOMEM), &[]);
    assert!(list.next().is_none());

    let kernel = Kernel::new([vec![says([found(1, &expectation(1))])]]);
    let mut list = expectations(&kernel).list().unwrap();
    assert!(list.next().unwrap().is_ok());
    check_deadline(&list.next().unwrap().unwrap_err(), LIST);
    assert!(list.next().is_none());
}

#[test]
fn a_list_says_when_it_may_be_incomplete() {
    for turn in [
        vec![says([interrupted(1, &expectation(1)), done(1)])],
        vec![
            Event::Fail(Nix::ENOBUFS),
            says([found(1, &expectation(1)), done(1)]),
        ],
    ] {
        let kernel = Kernel::new([turn]);
        let mut list = expectations(&kernel).list().unwrap();
        assert_eq!(ports(list.by_ref()), [1]);
        assert!(list.is_incomplete());
    }
}

#[test]
fn those_of_one_master_go_one_by_one() {
    let kernel = Kernel::new([
        vec![says([found(1, &master())])],
        // A list may give one twice.
        vec![
            says([1, 2, 1, 3].map(|port| found(2, &expectation(port)))),
            says([done(2)]),
        ],
        vec![says([ack(3)])],
        // The second is met meanwhile.
        vec![says([refusal(4, Nix::ENOENT)])],
        vec![says([refusal(5, Nix::ENOENT)])],
        vec![says([ack(6)])],
    ]);
    let batch = expectations(&kernel).delete_of(&control()).unwrap();
    assert!(batch.stopped().is_none());
    let done: Vec<_> = batch.results().iter().map(Result::is_ok).collect();
    assert_eq!(done, [true, false, true]);
    assert!(batch.failures().all(|(_, error)| error.is_not_found()));
    assert_eq!(deleted(&kernel), [Some(1), Some(2), Some(3)]);
    assert_eq!(kernel.sent(0)[1], [(EXP_GET, DUMP_OF, 2)]);
}

#[test]
fn nothing_goes_when_those_of_a_master_are_not_known() {
    let kernel = Kernel::new([vec![says([refusal(1, Nix::ENOENT)])]]);
    let error = expectations(&kernel).delete_of(&control()).unwrap_err();
    check(&error, LIST, Some(Nix::ENOENT), &["not found"]);
    assert_eq!(kernel.sizes(0), [1]);

    let failed = script::done(2, PORT, -(Nix::ENOMEM as i32));
    let kernel = Kernel::new([
        vec![says([found(1, &master())])],
        vec![says([found(2, &expectation(1)), failed])],
    ]);
    let error = expectations(&kernel).delete_of(&control()).unwrap_err();
    check(&error, LIST, Some(Nix::ENOMEM), &[]);
    assert_eq!(deleted(&kernel), []);
}

#[test]
fn an_incomplete_list_of_a_master_stops_the_batch() {
    let kernel = Kernel::new([
        vec![says([found(1, &master())])],
        vec![says([interrupted(2, &expectation(1)), done(2)])],
        vec![says([ack(3)])],
    ]);
    let batch = expectations(&kernel).delete_of(&control()).unwrap();
    assert_eq!((batch.succeeded(), batch.is_ok()), (1, false));
    let error = batch.stopped().unwrap();
    check(error, DELETE_EXPECTATION, None, &["outcome unknown"]);
    assert_eq!(deleted(&kernel), [Some(1)]);
}

#[test]
fn a_deletion_of_unknown_outcome_ends_the_batch() {
    let kernel = Kernel::new([
        vec![says([found(1, &master())])],
        vec![says([
            found(2, &expectation(1)),
            found(2, &expectation(2)),
            done(2),
        ])],
        vec![],
    ]);
    let batch = expectations(&kernel).delete_of(&control()).unwrap();
    assert_eq!(batch.results().len(), 1);
    check_deadline(batch.stopped().unwrap(), DELETE_EXPECTATION);
    assert_eq!(deleted(&kernel), [Some(1)]);
}

/// A walk of the table, then each master of the helper.
fn by_helper(walk: Vec<Event>, more: impl IntoIterator<Item = Vec<u8>>) -> Kernel {
    let mut turns = vec![walk];
    turns.extend(more.into_iter().map(|answer| vec![says([answer])]));
    Kernel::new(turns)
}

#[test]
fn an_incomplete_walk_for_masters_is_said() {
    let damaged = reported(&udp(1), &[attr(5 | 0x8000, &attr(1, b"\0"))]);
    let walks = [
        vec![says([interrupted(1, &master()), done(1)])],
        vec![
            Event::Fail(Nix::ENOBUFS),
            says([found(1, &master()), done(1)]),
        ],
    ];
    for walk in walks {
        let list = [
            found(2, &master()),
            [found(3, &expectation(1)), done(3)].concat(),
        ];
        let kernel = by_helper(walk.clone(), list.clone().into_iter().chain([ack(4)]));
        let batch = expectations(&kernel).delete_by_helper(Helper::FTP).unwrap();
        assert_eq!((batch.succeeded(), batch.is_ok()), (1, false));
        let error = batch.stopped().unwrap();
        check(error, DELETE_EXPECTATION, None, &["outcome unknown"]);
        assert_eq!(deleted(&kernel), [Some(1)]);

        let kernel = by_helper(walk, list);
        let error = expectations(&kernel)
            .list_by_helper(Helper::FTP)
            .unwrap_err();
        check(&error, LIST, None, &["outcome unknown"]);
    }
    // Whose helper cannot be read might be one.
    let kernel = by_helper(vec![says([found(1, &damaged), done(1)])], []);
    let batch = expectations(&kernel).delete_by_helper(Helper::FTP).unwrap();
    assert!(batch.results().is_empty() && batch.stopped().is_some());
    assert_eq!(deleted(&kernel), []);
}

#[test]
fn masters_that_end_meanwhile_and_those_that_come_twice_are_no_failure() {
    let other = |port| reported(&control_of(port, Some(Helper::FTP)), &[id(port.into())]);
    let tftp = reported(&control_of(40_009, Some(Helper::TFTP)), &[id(9)]);
    let walk = [
        found(1, &other(40_001)),
        found(1, &tftp),
        found(1, &other(40_002)),
        found(1, &entry(1)),
        found(1, &other(40_001)),
        found(1, &other(40_003)),
        done(1),
    ];
    let kernel = by_helper(
        vec![says(walk)],
        [
            found(2, &other(40_001)),
            [found(3, &expectation(1)), done(3)].concat(),
            // The second has gone, the third goes after it was looked up.
            refusal(4, Nix::ENOENT),
            found(5, &other(40_003)),
            refusal(6, Nix::ENOENT),
        ],
    );
    let found = expectations(&kernel).list_by_helper(Helper::FTP).unwrap();
    let found: Vec<_> = found.iter().map(|one| (one.id(), one.zone())).collect();
    assert_eq!(found, [(Some(1), Some(Zone::new(5)))]);
}
