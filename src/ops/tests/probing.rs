//! Trials of flushes on kernels that get filters wrong.

use super::fake::{Fake, Quirk, quirks};
use super::*;
use crate::model::{EntryZone, FilterShape, Verdict, shapes};
use crate::ops::probe::{Flushes, Ground, LEAST, conditions, entries, filters};

fn sorted(entries: &[NewEntry]) -> Vec<String> {
    let mut lines: Vec<_> = entries.iter().map(|new| new.entry().to_string()).collect();
    lines.sort();
    lines
}

/// A ground on a kernel, where nothing is at first.
fn ground(fake: &Fake) -> Flushes {
    let mut table = fake.table();
    let rows = std::mem::take(&mut table.rows);
    table.gone = rows;
    drop(table);
    let session = fake.session().with_deadline(Duration::from_secs(1));
    Flushes::of(session, entries(LEAST)).unwrap()
}

/// What the kernel pays no heed to another condition says as well: an address the family, and one
/// tuple the protocol of the other.
fn said_twice(shape: FilterShape, quirk: Quirk) -> bool {
    let both = FilterShape::ORIG_PROTOCOL | FilterShape::REPLY_PROTOCOL;
    let failed_alone = conditions(shape).any(|one| one.intersects(quirk.of()));
    !failed_alone || shape.contains(both) && both.contains(quirk.of())
}

/// Right is exactly what removes what matches and nothing else, whatever the kernel does instead, and
/// after each trial everything is there for the next one.
#[test]
fn a_flush_is_proven_only_where_the_kernel_does_right() {
    let all = entries(LEAST);
    let mut wrong = 0;
    for quirk in quirks(FilterShape::all()) {
        let fake = Fake::new(quirk, KernelSupport::unproven(), &all);
        let mut ground = ground(&fake);
        for (shape, family) in shapes() {
            for filter in filters(shape, family) {
                let verdict = ground.verdict(&filter).unwrap();
                let right = all
                    .iter()
                    .map(NewEntry::entry)
                    .all(|entry| fake.table().flushes(&filter, entry) == filter.matches(entry));
                assert_eq!(verdict.is_right(), right, "{quirk:?} {filter:?}: {verdict}");
                // Nothing that a kernel of this quirk gets wrong stays hidden, omissions of lists aside.
                let harmless = matches!(quirk, Quirk::Nothing | Quirk::Omits(_));
                assert!(right || !harmless, "{quirk:?} {filter:?}");
                let shows = shape.intersects(quirk.of()) && !said_twice(shape, quirk);
                assert!(!right || harmless || !shows, "{quirk:?} {filter:?}");
                wrong += usize::from(!right);
                assert_eq!(sorted(&fake.left()), sorted(&all));
            }
        }
    }
    assert!(wrong > 100, "{wrong}");
}

/// A filter that nothing was there for is not right for leaving everything alone.
#[test]
fn what_a_kernel_does_not_make_is_not_proven() {
    let everything: fn(&Entry) -> bool = |_| true;
    let zones: fn(&Entry) -> bool = |entry| !entry.zone().zone().is_default();
    let halves: fn(&Entry) -> bool = |entry| !matches!(entry.zone(), EntryZone::Both(_));
    let marks: fn(&Entry) -> bool = |entry| entry.mark() == Some(0x0105);
    let both_zones = FilterShape::ZONE | FilterShape::ZONE_0;
    for (refuses, unproven) in [
        (everything, FilterShape::all()),
        (zones, both_zones),
        // They are asked of no kernel that does not have them.
        (halves, FilterShape::empty()),
        (marks, FilterShape::MARK),
    ] {
        let fake = Fake::new(Quirk::Nothing, KernelSupport::unproven(), &entries(LEAST));
        fake.table().refuses = refuses;
        let mut ground = ground(&fake);
        for (shape, family) in shapes() {
            for filter in filters(shape, family).into_iter().take(1) {
                let verdict = ground.verdict(&filter).unwrap();
                if shape.intersects(unproven) {
                    assert_eq!(verdict, Verdict::Unproven, "{filter:?}");
                } else if unproven.is_empty() {
                    assert_eq!(verdict, Verdict::Right, "{filter:?}");
                }
            }
        }
    }
}
