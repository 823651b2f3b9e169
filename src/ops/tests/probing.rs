//! Trials of flushes on kernels that get filters wrong.

use super::fake::{Fake, Quirk, quirks};
use super::*;
use crate::model::{FilterShape, shapes};
use crate::ops::probe::{Flushes, Ground, entries, filters};

fn sorted(entries: &[NewEntry]) -> Vec<String> {
    let mut lines: Vec<_> = entries.iter().map(|new| new.entry().to_string()).collect();
    lines.sort();
    lines
}

/// Right is exactly what removes what matches and nothing else, whatever the kernel does instead, and
/// after each trial everything is there for the next one.
#[test]
fn a_flush_is_proven_only_where_the_kernel_does_right() {
    let all = entries(32);
    let mut wrong = 0;
    for quirk in quirks(FilterShape::all()) {
        let fake = Fake::new(quirk, KernelSupport::unproven(), &all);
        let session = fake.session().with_deadline(Duration::from_secs(1));
        let mut ground = Flushes::of(session, all.clone());
        for (shape, family) in shapes() {
            for filter in filters(shape, family) {
                let verdict = ground.verdict(&filter).unwrap();
                let right = all
                    .iter()
                    .map(NewEntry::entry)
                    .all(|entry| fake.table().flushes(&filter, entry) == filter.matches(entry));
                assert_eq!(verdict.is_right(), right, "{quirk:?} {filter:?}: {verdict}");
                assert!(right || !matches!(quirk, Quirk::Nothing | Quirk::Omits(_)));
                wrong += usize::from(!right);
                assert_eq!(sorted(&fake.left()), sorted(&all));
            }
        }
    }
    assert!(wrong > 100, "{wrong}");
}
