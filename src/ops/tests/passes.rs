//! Deletions of many entries, in portions and several looks, and what may happen between these.

use super::deleting::support;
use super::fake::{Fake, Quirk, Row};
use super::*;
use crate::filter::Filter;
use crate::model::{Completeness, DeleteOptions, Deleted, EntryZone, Verdict};
use crate::ops::{delete_matching, flush_held, list};

/// More than a few portions.
const MANY: u16 = 100;

fn five() -> Filter {
    Filter::new().zone(Zone::new(5))
}

fn table_of(entries: &[NewEntry]) -> Fake {
    Fake::new(Quirk::Nothing, KernelSupport::unproven(), entries)
}

fn many() -> Fake {
    let entries: Vec<_> = (1..=MANY).map(|n| udp_in(n, 5)).collect();
    table_of(&entries)
}

fn marked(port: u16, zone: impl Into<EntryZone>, mark: u32) -> NewEntry {
    let (src, dst) = client(port);
    let entry = Entry::udp(src, dst).timeout(Duration::from_secs(30));
    entry.zone(zone).mark(mark).build().unwrap()
}

/// Matched, deleted, gone, busy, failed.
#[track_caller]
fn check_counts(deleted: &Deleted, counts: [u64; 5]) {
    let failed = deleted.failed.iter().map(|failure| failure.count).sum();
    let (matched, gone) = (deleted.matched.unwrap(), deleted.deleted.unwrap());
    assert_eq!(
        [matched, gone, deleted.already_gone, deleted.busy, failed],
        counts,
        "{deleted:?}"
    );
}

/// After the `nth` list, another row.
fn arrives(nth: usize, row: impl Fn(&[Row]) -> Row + Send + 'static) -> impl FnMut(&mut Vec<Row>) {
    let mut lists = 0;
    move |rows| {
        lists += 1;
        if lists == nth {
            rows.push(row(rows));
        }
    }
}

/// An entry that is made again with the same tuple may get the old one's place in memory, and then
/// it has the old one's id.
#[test]
fn a_newcomer_with_the_old_id_survives_unless_it_matches() {
    let (zone, none) = (Zone::new(5), Zone::DEFAULT);
    let plain = DeleteOptions::new;
    let port = || Filter::new().orig_src_port(1);
    for (filter, options, old, newcomer, looked_up) in [
        // It differs in what is asked for.
        (
            Filter::new().mark(1),
            plain(),
            marked(1, zone, 1),
            marked(1, zone, 2),
            true,
        ),
        // The look-up goes by the zone of the original direction, which is 0 for both.
        (
            five(),
            plain(),
            marked(1, EntryZone::Reply(zone), 1),
            marked(1, none, 1),
            true,
        ),
        (
            Filter::new().zone(none),
            plain(),
            marked(1, none, 1),
            marked(1, EntryZone::Reply(zone), 1),
            true,
        ),
        // It is protected.
        (
            port(),
            plain().protect([zone]),
            marked(1, none, 1),
            marked(1, EntryZone::Reply(zone), 1),
            true,
        ),
        // It is what is asked for, whoever has the tuple in that zone.
        (
            port(),
            plain(),
            marked(1, zone, 1),
            marked(1, zone, 2),
            false,
        ),
        (
            five().orig_src_port(1),
            plain(),
            marked(1, zone, 1),
            marked(1, EntryZone::Orig(zone), 2),
            false,
        ),
    ] {
        let next = newcomer.clone();
        let fake = table_of(&[old]).then(move |rows| rows[0].new = next.clone());
        let deleted = delete_matching(fake.session(), &filter, &options).unwrap();
        if looked_up {
            check_counts(&deleted, [1, 0, 1, 0, 0]);
            assert_eq!(fake.left(), [newcomer], "{filter}");
        } else {
            check_counts(&deleted, [1, 1, 0, 0, 0]);
            assert!(fake.left().is_empty(), "{filter}");
        }
        assert!(deleted.is_clean());
        let sent: Vec<_> = (0..3).flat_map(|socket| fake.kernel.sent(socket)).collect();
        let look_ups = sent
            .iter()
            .flatten()
            .filter(|(kind, flags, _)| *kind == GET && flags & DUMP != DUMP);
        assert_eq!(look_ups.count(), usize::from(looked_up), "{filter}");
    }
}

#[test]
fn what_still_matches_at_the_second_look_is_deleted() {
    let entries: Vec<_> = (1..=MANY).map(|n| marked(n, Zone::new(5), 1)).collect();
    let fake = table_of(&entries);
    let filter = Filter::new().mark(1);
    let deleted = delete_matching(fake.session(), &filter, &DeleteOptions::new()).unwrap();
    check_counts(&deleted, [MANY.into(), MANY.into(), 0, 0, 0]);
    assert!(fake.left().is_empty());
}

/// Whoever flushes a zone may lose it on the way: what is left is its successor's.
#[test]
fn a_flush_ends_where_it_may_not_go_on() {
    let zone = Zone::new(5);
    for portions in 0..8_usize {
        let fake = many();
        // Once before the first look, then before each portion.
        let mut asked = 0;
        let mut may = || {
            asked += 1;
            if asked <= portions + 1 {
                Ok(())
            } else {
                Err(Error::lost(Operation::Renew, zone, None))
            }
        };
        let deleted = flush_held(fake.session(), zone, &DeleteOptions::new(), &mut may).unwrap();
        let gone = (portions * 16).min(MANY.into());
        assert_eq!(deleted.deleted, Some(gone as u64));
        assert_eq!(fake.left().len(), usize::from(MANY) - gone);
        let whole = gone == usize::from(MANY);
        assert_eq!(deleted.is_clean(), whole);
        assert_eq!(deleted.stopped.is_none_or(|error| !error.is_lost()), whole);
    }
    // Not by one request, though the kernel can do it: that takes the claim along.
    let proven = support(&[five()], Verdict::Right, Verdict::Right);
    let fake = Fake::new(Quirk::Nothing, proven, &[udp_in(1, 5), udp_in(2, 6)]);
    let options = DeleteOptions::new();
    let deleted = flush_held(fake.session(), zone, &options, &mut || Ok(())).unwrap();
    assert!(deleted.is_clean() && !deleted.by_kernel());
    assert_eq!(fake.left(), [udp_in(2, 6)]);
    let fake = many();
    let mut never = || Err(Error::lost(Operation::Renew, zone, None));
    let error = flush_held(fake.session(), zone, &DeleteOptions::new(), &mut never).unwrap_err();
    assert!(error.is_lost());
    assert_eq!(fake.left().len(), usize::from(MANY));
}

/// An answer that is lost leaves open whether the kernel did what was asked.
#[test]
fn deletes_whose_answer_is_lost_are_counted_and_limited() {
    let entries = [udp_in(1, 5), udp_in(2, 5)];
    let options = DeleteOptions::new().verify(1).max_deletes(2);
    let losing = || {
        let fake = table_of(&entries);
        fake.table().lost = 1;
        fake
    };
    let once = delete_matching(losing().session(), &five(), &DeleteOptions::new()).unwrap();
    check_counts(&once, [2, 0, 0, 0, 2]);
    assert!(once.failed[0].error.is_outcome_unknown() && !once.is_clean());
    // The next look does not find them any more.
    let deleted = delete_matching(losing().session(), &five(), &options).unwrap();
    check_counts(&deleted, [2, 0, 2, 0, 0]);
    assert!(deleted.is_clean() && !deleted.left);
    // They count for the limit all the same.
    let fake = losing().then(arrives(1, |rows| Row {
        new: udp_in(3, 5),
        id: Some(3),
        ..rows[0].clone()
    }));
    let deleted = delete_matching(fake.session(), &five(), &options).unwrap();
    assert!(deleted.stopped.as_ref().unwrap().is_too_many());
    assert_eq!((deleted.matched, deleted.left), (Some(3), true));
    assert!(!deleted.is_clean());
    assert_eq!(fake.left(), [udp_in(3, 5)]);
}

/// The same of a flush by one request.
#[test]
fn a_flush_whose_answer_is_lost_is_not_said_to_be_nothing() {
    let proven = support(&[five()], Verdict::Right, Verdict::Right);
    let losing = || {
        let fake = Fake::new(
            Quirk::Nothing,
            proven.clone(),
            &[udp_in(1, 5), udp_in(2, 6)],
        );
        fake.table().lost = 1;
        fake
    };
    let fake = losing();
    let deleted = delete_matching(fake.session(), &five(), &DeleteOptions::new()).unwrap();
    assert!(deleted.by_kernel() && !deleted.is_clean());
    assert!(deleted.stopped.unwrap().is_outcome_unknown());
    assert_eq!(deleted.complete, Completeness::Interrupted);
    assert_eq!(fake.left(), [udp_in(2, 6)]);
    // Another look settles it.
    let fake = losing();
    let deleted =
        delete_matching(fake.session(), &five(), &DeleteOptions::new().verify(1)).unwrap();
    assert!(deleted.by_kernel() && deleted.is_clean() && !deleted.left);
    assert_eq!(fake.left(), [udp_in(2, 6)]);
}

#[test]
fn more_than_are_allowed_in_a_later_look_stop_it() {
    let fake = table_of(&[udp_in(1, 5), udp_in(2, 5)]).then(arrives(1, |rows| Row {
        new: udp_in(3, 5),
        id: Some(3),
        ..rows[0].clone()
    }));
    let options = DeleteOptions::new().verify(1).max_deletes(2);
    let deleted = delete_matching(fake.session(), &five(), &options).unwrap();
    check_counts(&deleted, [3, 2, 0, 0, 0]);
    let stopped = deleted.stopped.as_ref().unwrap();
    assert!(stopped.is_too_many() && deleted.left, "{stopped}");
    assert_eq!(fake.left(), [udp_in(3, 5)]);
}

#[test]
fn a_busy_entry_that_ends_between_two_looks_is_gone() {
    let fake = table_of(&[udp_in(1, 5), udp_in(2, 5)]);
    fake.table().rows[0].refused = Some(Nix::EBUSY);
    fake.table().rows[0].ends = true;
    let options = DeleteOptions::new().verify(1);
    let deleted = delete_matching(fake.session(), &five(), &options).unwrap();
    check_counts(&deleted, [2, 1, 1, 0, 0]);
    assert!(deleted.is_clean());
}

#[test]
fn a_damaged_entry_is_passed_over_and_the_deletion_is_not_whole() {
    let fake = many();
    let mut damaged = entry(1);
    damaged.truncate(30);
    fake.table().damaged = Some(damaged);
    let deleted = delete_matching(fake.session(), &five(), &DeleteOptions::new()).unwrap();
    check_counts(&deleted, [MANY.into(), MANY.into(), 0, 0, 0]);
    assert_eq!(deleted.complete, Completeness::Interrupted);
    assert!(deleted.stopped.is_none() && !deleted.is_clean());
}

#[test]
fn a_walk_that_breaks_leaves_what_was_not_deleted_yet() {
    // In the first portion, and in a later one.
    for (met, deletes) in [(10_u16, 0), (20, 16)] {
        let fake = many();
        fake.table().breaks_after = Some(met.into());
        let deleted = delete_matching(fake.session(), &five(), &DeleteOptions::new()).unwrap();
        check_counts(&deleted, [met.into(), deletes, 0, 0, 0]);
        assert_eq!(deleted.complete, Completeness::Interrupted);
        let stopped = deleted.stopped.as_ref().unwrap();
        check(stopped, Operation::Delete, Some(Nix::ENOMEM), &[]);
        assert!(!deleted.is_clean());
        assert_eq!(fake.left().len() as u64, u64::from(MANY) - deletes);
    }
}

#[test]
fn a_batch_that_stops_ends_the_deletion() {
    let fake = many();
    fake.table().silent_after = 2;
    let deleted = delete_matching(fake.session(), &five(), &DeleteOptions::new()).unwrap();
    check_counts(&deleted, [48, 32, 0, 0, 16]);
    check_deadline(deleted.stopped.as_ref().unwrap(), Operation::Delete);
    assert!(deleted.failed[0].error.is_outcome_unknown() && !deleted.is_clean());
    assert_eq!(fake.left().len(), usize::from(MANY) - 32);
}

#[test]
fn what_comes_twice_counts_once() {
    // At once, and so late that a portion was deleted in between.
    for (again, dry) in [(1, false), (10, false), (1, true), (10, true)] {
        for most in [None, Some(MANY.into())] {
            let fake = many();
            fake.table().again = again;
            let options = DeleteOptions {
                max_deletes: most,
                dry_run: dry,
                ..DeleteOptions::new()
            };
            let deleted = delete_matching(fake.session(), &five(), &options).unwrap();
            assert_eq!(deleted.matched, Some(MANY.into()), "{again} {options:?}");
            assert_eq!(deleted.already_gone, 0);
            let exact = list(fake.session(), &Filter::new()).unwrap().exact();
            assert_eq!(exact.count(), fake.left().len());
        }
    }
}

#[test]
fn what_cannot_be_deleted_counts_once_however_often_it_is_tried() {
    let entries = [udp_in(1, 5), udp_in(2, 5), udp_in(3, 5), udp(4)];
    let fake = table_of(&entries);
    fake.table().rows[0].refused = Some(Nix::EBUSY);
    fake.table().rows[1].refused = Some(Nix::EPERM);
    let options = DeleteOptions::new().verify(4).max_deletes(3);
    let deleted = delete_matching(fake.session(), &five(), &options).unwrap();
    assert_eq!((deleted.matched, deleted.deleted), (Some(3), Some(1)));
    assert_eq!((deleted.busy, deleted.failed.len()), (1, 1));
    assert_eq!(deleted.failed[0].count, 1);
    assert!(deleted.failed[0].error.is_permission_denied());
    assert!(deleted.stopped.is_none(), "{:?}", deleted.stopped);
    assert!(deleted.left && !deleted.is_clean());
    assert_eq!(fake.left().len(), 3);
}

/// Another writer makes the entry again as often as it is deleted.
fn haunted() -> Fake {
    let mut next = 100;
    let entries = [udp_in(1, 5), udp_in(2, 6)];
    table_of(&entries).then(move |rows| {
        rows.retain(|row| row.new.entry().zone() != EntryZone::Both(Zone::new(5)));
        let mut again = rows[0].clone();
        again.new = udp_in(1, 5);
        again.id = Some(next);
        next += 1;
        rows.push(again);
    })
}

#[test]
fn entries_that_come_back_are_left() {
    let fake = haunted();
    let deleted =
        delete_matching(fake.session(), &five(), &DeleteOptions::new().verify(3)).unwrap();
    assert!(deleted.left && !deleted.is_clean());
    assert_eq!((deleted.matched, deleted.already_gone), (Some(4), 4));
    let zones: Vec<_> = fake.left().iter().map(|new| new.entry().zone()).collect();
    assert!(zones.contains(&EntryZone::Both(Zone::new(6))));
    // Nobody looked again.
    let deleted = delete_matching(haunted().session(), &five(), &DeleteOptions::new()).unwrap();
    assert!(!deleted.left);
}

#[test]
fn a_later_look_that_fails_leaves_what_was_done() {
    let entries = [udp_in(1, 5), udp(2)];
    let options = DeleteOptions::new().verify(1);
    let fake = table_of(&entries);
    fake.table().lists = 1;
    let deleted = delete_matching(fake.session(), &five(), &options).unwrap();
    assert_eq!((deleted.matched, deleted.deleted), (Some(1), Some(1)));
    assert!(deleted.stopped.as_ref().unwrap().is_permission_denied());
    assert_eq!(deleted.complete, Completeness::Interrupted);
    assert!(!deleted.is_clean());
    // The first look that fails is the error.
    let fake = table_of(&entries);
    fake.table().lists = 0;
    let error = delete_matching(fake.session(), &five(), &options).unwrap_err();
    check(
        &error,
        Operation::Delete,
        Some(Nix::EPERM),
        &["permission denied"],
    );
    assert_eq!(fake.left().len(), 2);
}

#[test]
fn a_list_is_complete_only_if_its_piece_left_room() {
    for (many, complete) in [
        (0_u16, Completeness::Complete),
        (5, Completeness::Complete),
        (60, Completeness::Unknown),
        (100, Completeness::Unknown),
    ] {
        let entries: Vec<_> = (0..many).map(|n| udp_in(n + 1, 5)).collect();
        let fake = table_of(&entries);
        let mut entries = list(fake.session(), &Filter::new()).unwrap();
        assert_eq!(entries.completeness(), Completeness::Interrupted);
        assert_eq!(entries.by_ref().count(), usize::from(many));
        assert_eq!(entries.completeness(), complete);
    }
}
