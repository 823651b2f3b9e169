//! What a walk may claim to have seen, and what is concluded of it.

use std::ops::ControlFlow;

use super::deleting::support;
use super::fake::{Fake, Quirk};
use super::*;
use crate::filter::Filter;
use crate::model::{Completeness, DeleteOptions, FilterShape, Verdict};
use crate::ops::{Visited, delete_matching, list, visit};

fn table(of: u16) -> Fake {
    let entries: Vec<_> = (1..=of).map(|n| udp_in(n, 5)).collect();
    Fake::new(Quirk::Nothing, KernelSupport::unproven(), &entries)
}

fn five() -> Filter {
    Filter::new().zone(Zone::new(5))
}

fn visit_all(fake: &Fake) -> Visited<()> {
    visit(fake.session(), &five(), |_| ControlFlow::Continue(())).unwrap()
}

/// In the list, the visit and the walk of a deletion that find so many entries.
#[track_caller]
fn check_walks(of: u16, before: Option<u32>, after: Option<u32>, want: Completeness) {
    let begin = || {
        BUCKETS.set(before);
        table(of).then(move |_| BUCKETS.set(after))
    };
    let fake = begin();
    let mut entries = list(fake.session(), &five()).unwrap();
    assert_eq!(entries.by_ref().count(), usize::from(of));
    assert_eq!(entries.completeness(), want);
    // The end of the list is what counts.
    BUCKETS.set(Some(1));
    assert_eq!(entries.completeness(), want);
    let interrupted = want == Completeness::Interrupted;
    assert_eq!(entries.is_incomplete(), interrupted);

    let visited = visit_all(&begin());
    assert_eq!(visited.completeness, want);
    assert_eq!(visited.incomplete, interrupted);
    assert_eq!(visited.same_size, before.is_some() && before == after);

    let fake = begin();
    let deleted = delete_matching(fake.session(), &five(), &DeleteOptions::new()).unwrap();
    assert_eq!(deleted.complete, want);
    assert_eq!(deleted.is_clean(), !interrupted);
}

#[test]
fn a_walk_during_which_the_hash_table_was_resized_is_not_whole() {
    for (of, undisturbed) in [(5, Completeness::Complete), (60, Completeness::Unknown)] {
        check_walks(of, Some(8192), Some(8192), undisturbed);
        check_walks(of, Some(8192), Some(16_384), Completeness::Interrupted);
        check_walks(of, Some(8192), None, Completeness::Unknown);
        check_walks(of, None, Some(8192), Completeness::Unknown);
        check_walks(of, None, None, Completeness::Unknown);
    }
}

#[test]
fn a_walk_that_passed_over_a_damaged_entry_is_not_whole() {
    let fake = table(3);
    fake.table().damaged = Some(attr(99, &[0; 4]));
    let mut entries = list(fake.session(), &five()).unwrap();
    assert!(!entries.is_incomplete());
    assert!(entries.next().unwrap().unwrap_err().is_malformed());
    assert!(entries.is_incomplete());
    assert_eq!(rest(&mut entries), [1, 2, 3]);
    assert_eq!(entries.completeness(), Completeness::Interrupted);
    drop(entries);
    let visited = visit_all(&fake);
    assert_eq!((visited.matched, visited.malformed), (3, 1));
    assert!(visited.incomplete);
    assert_eq!(visited.completeness, Completeness::Interrupted);
}

/// A look in several pieces may miss an entry that is there.
#[test]
fn what_could_not_be_deleted_is_not_gone_because_a_look_missed_it() {
    for (ends, [gone, busy]) in [(false, [0, 1]), (true, [1, 0])] {
        let entries: Vec<_> = (0..120).map(|n| udp_in(n, 5)).collect();
        let right = support(&[five()], Verdict::Right, Verdict::Unproven);
        // Each list leaves out every other one: what is in the fourth place is in the first list and
        // not in the second.
        let fake = Fake::new(Quirk::Omits(FilterShape::ZONE), right, &entries);
        fake.table().rows[3].refused = Some(Nix::EBUSY);
        fake.table().rows[3].ends = ends;
        let options = DeleteOptions::new().verify(1);
        let deleted = delete_matching(fake.session(), &five(), &options).unwrap();
        assert_eq!(deleted.complete, Completeness::Unknown);
        assert_eq!([deleted.already_gone, deleted.busy], [gone, busy]);
        assert!(deleted.left && !deleted.is_clean());
    }
}

#[test]
fn zones_of_one_direction_are_protected_as_well() {
    let fake = table(3);
    let options = DeleteOptions::new().protect([Zone::new(5)]);
    for text in [
        "zone=5",
        "orig-zone=5",
        "reply-zone=5 orig-zone=0",
        "reply-zone=5 mark=1",
    ] {
        let filter: Filter = text.parse().unwrap();
        let error = delete_matching(fake.session(), &filter, &options).unwrap_err();
        assert!(error.is_invalid_input(), "{text}: {error}");
    }
    assert_eq!(fake.kernel.opened(), 0);
}

#[test]
fn a_verdict_is_written_as_a_line() {
    let filter: Filter = "family=ipv6 orig-src=2001:db8::1".parse().unwrap();
    let support = support(&[filter], Verdict::Inverted, Verdict::Right);
    let text = support.to_string();
    let line =
        "ipv6 family+orig_src: list inverted on this kernel, done in user space; flush right";
    assert_eq!(text.lines().next(), Some(line), "{text}");
}
