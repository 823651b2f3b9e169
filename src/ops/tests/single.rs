//! Single entries: the right one or none, and exactly what is sent.

use super::*;
use crate::model::{EntryZone, Mark, Status, TcpState, Update};
use crate::ops::{create, delete, flush_all, get, update};

fn mark(mark: impl Into<Mark>) -> Update {
    Update::builder().mark(mark).build().unwrap()
}

fn status_bits(bits: u32) -> Vec<u8> {
    attr(CTA_STATUS, &bits.to_be_bytes())
}

#[test]
fn another_entry_is_not_the_one_that_is_meant() {
    let turned = {
        let (src, dst) = client(1);
        let timeout = Duration::from_secs(30);
        Entry::udp(dst, src).timeout(timeout).build().unwrap()
    };
    let one_way = |zone| {
        let (src, dst) = client(1);
        let timeout = Duration::from_secs(30);
        let entry = Entry::udp(src, dst).timeout(timeout).zone(zone);
        entry.build().unwrap()
    };
    let here = |new: &NewEntry| reported(new, &[id(1)]);
    let reply = Key::reply(*udp(1).entry().reply());
    let orig_5 = EntryZone::Orig(Zone::new(5));
    let reply_5 = EntryZone::Reply(Zone::new(5));
    for (wanted, answer, why) in [
        // The key's tuple is the reply tuple of what was found, and the other way round.
        (key(1), here(&turned), "other direction"),
        (reply, here(&turned), "other direction"),
        // Another zone, or the same in one direction only.
        (key(1), here(&udp_in(1, 5)), "zone"),
        (key(1).zone(Zone::new(5)), here(&udp(1)), "zone"),
        (key(1).zone(Zone::new(5)), here(&udp_in(1, 6)), "zone"),
        (key(1).zone(Zone::new(5)), here(&one_way(orig_5)), "zone"),
        (key(1).zone(orig_5), here(&udp_in(1, 5)), "zone"),
        (key(1).zone(orig_5), here(&one_way(reply_5)), "zone"),
        (key(1), here(&one_way(reply_5)), "zone"),
        // Another id, or none.
        (key(1).with_id(2), here(&udp(1)), "newer entry"),
        (key(1).with_id(2), reported(&udp(1), &[]), "newer entry"),
        // Another tuple altogether, which no kernel answers.
        (key(1), entry(2), "other direction"),
    ] {
        let turns = (1..=3).map(|sequence| vec![says([found(sequence, &answer)])]);
        let kernel = Kernel::new(turns);
        let not_found = |error: Error, operation| {
            check(&error, operation, None, &["not found"]);
            assert!(error.to_string().contains(why), "{error}");
        };
        let session = &kernel.session;
        not_found(get(session, &wanted).unwrap_err(), Operation::Get);
        not_found(
            update(session, &wanted, &mark(1)).unwrap_err(),
            Operation::Update,
        );
        let mut gets = vec![[(GET, REQUEST, 1)], [(GET, REQUEST, 2)]];
        if wanted.id().is_none() {
            not_found(delete(session, &wanted).unwrap_err(), Operation::Delete);
            gets.push([(GET, REQUEST, 3)]);
        }
        assert_eq!(kernel.sent(0), gets);
    }
}

#[test]
fn the_entry_that_is_meant_is_found_by_either_direction() {
    let in_zone = udp_in(1, 5);
    for wanted in [
        Key::from(&in_zone),
        Key::from(&in_zone).with_id(7),
        Key::reply(*in_zone.entry().reply()).zone(Zone::new(5)),
    ] {
        let kernel = Kernel::new([vec![says([found(1, &reported(&in_zone, &[id(7)]))])]]);
        let got = get(&kernel.session, &wanted).unwrap();
        assert_eq!(got.id(), Some(7));
        assert_eq!(got.key(), Key::from(&in_zone).with_id(7));
        assert_eq!(got.key().id(), Some(7));
        // Absent is None.
        assert_eq!(
            (got.status(), got.mark(), got.use_count()),
            (None, None, None)
        );
        assert_eq!(kernel.attribute(0, CTA_ZONE), [Some(vec![0, 5])]);
        let orig = kernel.attribute(0, CTA_TUPLE_ORIG)[0].is_some();
        let reply = kernel.attribute(0, CTA_TUPLE_REPLY)[0].is_some();
        let original = wanted.direction() == crate::model::Direction::Original;
        assert_eq!((orig, reply), (original, !original));
    }
}

#[test]
fn a_damaged_look_up_fails_and_nothing_is_changed() {
    let mut cut = entry(1);
    cut.truncate(cut.len() - 2);
    let kernel = Kernel::new((1..=3).map(|sequence| vec![says([found(sequence, &cut)])]));
    let session = &kernel.session;
    for error in [
        get(session, &key(1)).unwrap_err(),
        update(session, &key(1), &mark(1)).unwrap_err(),
        delete(session, &key(1)).unwrap_err(),
    ] {
        assert!(error.is_malformed() && error.offset().is_some(), "{error}");
    }
    let gets = [1, 2, 3].map(|sequence| [(GET, REQUEST, sequence)]);
    assert_eq!(kernel.sent(0), gets);
}

#[test]
fn a_deletion_carries_the_id_that_was_looked_up() {
    let kernel = Kernel::new([
        vec![says([found(1, &reported(&udp_in(1, 5), &[id(77)]))])],
        vec![says([ack(2)])],
    ]);
    delete(&kernel.session, &Key::from(&udp_in(1, 5))).unwrap();
    assert_eq!(kernel.sent(0), [[(GET, REQUEST, 1)], [(DELETE, ACKED, 2)]]);
    assert_eq!(kernel.attribute(0, CTA_ID), [None, Some(vec![0, 0, 0, 77])]);
    let zone = Some(vec![0, 5]);
    assert_eq!(kernel.attribute(0, CTA_ZONE), [zone.clone(), zone]);

    // It was replaced between the look-up and the deletion: the newcomer stays.
    let kernel = Kernel::new([
        vec![says([found(1, &entry(1))])],
        vec![says([refusal(2, Nix::ENOENT)])],
    ]);
    let error = delete(&kernel.session, &key(1)).unwrap_err();
    check(&error, Operation::Delete, Some(Nix::ENOENT), &["not found"]);
}

#[test]
fn a_deletion_by_id_needs_no_look_up() {
    let kernel = Kernel::new([vec![says([ack(1)])]]);
    delete(&kernel.session, &key(1).with_id(9)).unwrap();
    assert_eq!(kernel.sent(0), [[(DELETE, ACKED, 1)]]);
    assert_eq!(kernel.attribute(0, CTA_ID), [Some(vec![0, 0, 0, 9])]);
}

#[test]
fn an_entry_without_an_id_is_not_deleted_unseen() {
    // No kernel leaves the id out of a look-up's answer. If one did, what is deleted could be
    // another entry.
    let kernel = Kernel::new([
        vec![says([found(1, &reported(&udp(1), &[]))])],
        vec![says([ack(2)])],
    ]);
    assert!(delete(&kernel.session, &key(1)).is_err());
    assert_eq!(kernel.sent(0), [[(GET, REQUEST, 1)]]);
}

#[test]
fn a_change_of_status_repeats_the_bits_that_cannot_change() {
    // CONFIRMED, SRC_NAT, SRC_NAT_DONE, DST_NAT_DONE, and a bit that has no name here.
    let before = 0x0080_0198;
    for (change, after) in [
        (Update::builder().assured(), before | 0x4),
        (Update::builder().assured().seen_reply(), before | 0x6),
        (Update::builder().fixed_timeout(), before | 0x400),
    ] {
        let change = change.build().unwrap();
        let kernel = Kernel::new([
            vec![says([found(1, &reported(&udp(1), &[status_bits(before)]))])],
            vec![says([ack(2)])],
        ]);
        update(&kernel.session, &key(1), &change).unwrap();
        let sent = kernel.attribute(0, CTA_STATUS);
        assert_eq!(sent, [None, Some(after.to_be_bytes().to_vec())]);
        assert_eq!(kernel.sent(0), [[(GET, REQUEST, 1)], [(NEW, ACKED, 2)]]);
    }
}

#[test]
fn what_a_change_does_not_name_is_not_sent() {
    let masked = Mark::masked(0x100, 0xff00).unwrap();
    let timeout = Update::builder().timeout(Duration::from_secs(9));
    for (change, value, mask, seconds) in [
        (mark(7), Some([0, 0, 0, 7]), None, None),
        (mark(0), Some([0; 4]), None, None),
        (
            mark(masked),
            Some([0, 0, 1, 0]),
            Some([0, 0, 0xff, 0]),
            None,
        ),
        (timeout.build().unwrap(), None, None, Some([0, 0, 0, 9])),
    ] {
        let more = [id(1), status_bits(0xe), attr(CTA_MARK, &[1; 4])];
        let kernel = Kernel::new([
            vec![says([found(1, &reported(&udp(1), &more))])],
            vec![says([ack(2)])],
        ]);
        update(&kernel.session, &key(1), &change).unwrap();
        let second = |kind| kernel.attribute(0, kind)[1].clone();
        assert_eq!(second(CTA_MARK), value.map(Vec::from));
        assert_eq!(second(CTA_MARK_MASK), mask.map(Vec::from));
        assert_eq!(second(CTA_TIMEOUT), seconds.map(Vec::from));
        assert_eq!(second(CTA_STATUS), None);
        assert_eq!(second(CTA_TUPLE_REPLY), None);
        assert!(second(CTA_TUPLE_ORIG).is_some());
    }
}

#[test]
fn state_of_another_protocol_is_refused_after_the_look_up() {
    let kernel = Kernel::new([vec![says([found(1, &entry(1))])]]);
    let change = Update::builder().state(TcpState::Close).build().unwrap();
    let error = update(&kernel.session, &key(1), &change).unwrap_err();
    assert_eq!(
        (holds(&error), error.operation()),
        (vec!["invalid input"], None)
    );
    assert_eq!(kernel.sent(0), [[(GET, REQUEST, 1)]]);
}

#[test]
fn a_refused_timeout_is_told_from_a_missing_capability() {
    let kernel = Kernel::new([
        vec![says([refusal(1, Nix::EPERM)])],
        vec![says([found(2, &fixed(1))])],
        vec![says([refusal(3, Nix::EPERM)])],
    ]);
    let change = Update::builder().timeout(Duration::ZERO).build().unwrap();
    let error = update(&kernel.session, &key(1), &change).unwrap_err();
    let denied = ["permission denied"];
    check(&error, Operation::Update, Some(Nix::EPERM), &denied);
    let error = update(&kernel.session, &key(1), &change).unwrap_err();
    let fixed = ["fixed timeout"];
    check(&error, Operation::Update, Some(Nix::EPERM), &fixed);
    assert!(error.to_string().contains("FIXED_TIMEOUT"), "{error}");
}

#[test]
fn a_creation_sends_what_the_entry_says_and_no_more() {
    let (src, dst) = client(1);
    let full = Entry::tcp(src, dst)
        .timeout(Duration::from_secs(600))
        .zone(Zone::new(5))
        .status(Status::SEEN_REPLY | Status::ASSURED)
        .mark(7)
        .state(TcpState::Established)
        .build()
        .unwrap();
    let kernel = Kernel::new([vec![says([ack(1)])], vec![says([ack(2)])]]);
    create(&kernel.session, &full).unwrap();
    create(&kernel.session, &udp(1)).unwrap();
    for (kind, value) in [
        (CTA_TIMEOUT, Some(600_u32)),
        // CONFIRMED is added: the kernel compares with it set.
        (CTA_STATUS, Some(0xe)),
        (CTA_MARK, Some(7)),
        (CTA_MARK_MASK, None),
        (CTA_ID, None),
    ] {
        let sent = kernel.attribute(0, kind);
        assert_eq!(sent[0], value.map(|value| value.to_be_bytes().to_vec()));
        if kind == CTA_TIMEOUT {
            assert_eq!(sent[1], Some(vec![0, 0, 0, 30]));
        } else {
            assert_eq!(sent[1], None);
        }
    }
    assert_eq!(kernel.attribute(0, CTA_ZONE), [Some(vec![0, 5]), None]);
}

#[test]
fn a_flush_is_a_deletion_of_nothing_in_particular() {
    let kernel = Kernel::new([vec![says([ack(1)])], vec![says([refusal(2, Nix::EPERM)])]]);
    flush_all(&kernel.session).unwrap();
    let error = flush_all(&kernel.session).unwrap_err();
    let denied = ["permission denied"];
    check(&error, Operation::Flush, Some(Nix::EPERM), &denied);
    assert_eq!(kernel.sent(0), [[(DELETE, ACKED, 1)], [(DELETE, ACKED, 2)]]);
    // AF_UNSPEC, version 0, no attribute.
    let seen = kernel.logs[0].lock().unwrap();
    assert_eq!(seen.sent[0][0].payload, [0; 4]);
}
