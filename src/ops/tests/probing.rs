//! Trials of lists and of flushes on kernels that get filters wrong.

use std::collections::HashMap;
use std::sync::Arc;

use super::fake::{Fake, Quirk, quirks};
use super::*;
use crate::filter::Filter;
use crate::link::Transport;
use crate::model::{Asked, EntryZone, FilterShape, KernelFilter, Trial, Use, Verdict, shapes};
use crate::ops::probe::{
    FEW, Flushes, Ground, LEAST, Lists, conditions, entries, filters, try_out,
};

/// Where filters are tried on a fake kernel.
struct Tried {
    task: Use,
    fake: Arc<Fake>,
    ground: Box<dyn Ground>,
}

impl Tried {
    /// On a kernel that does not make some entries.
    fn new(task: Use, refuses: fn(&Entry) -> bool) -> Self {
        let entries = entries(match task {
            Use::List => FEW,
            Use::Flush => LEAST,
        });
        let fake = Fake::new(Quirk::Nothing, KernelSupport::unproven(), &entries);
        // At first nothing is there; what is made stands in no order of its own, as in a hash table.
        let mut table = fake.table();
        let mut rows = std::mem::take(&mut table.rows);
        for row in &mut rows {
            row.id = row.id.map(|id| id * 7919 % 100_003);
        }
        table.gone = rows;
        table.refuses = refuses;
        drop(table);
        let fake = Arc::new(fake);
        let session = fake.session().with_deadline(Duration::from_secs(60));
        let kernel = Arc::clone(&fake);
        let ground: Box<dyn Ground> = match task {
            Use::List => {
                let open = move || Ok(Box::new(kernel.socket()) as Box<dyn Transport>);
                Box::new(Lists::of(&session, &entries, Box::new(open)).unwrap())
            }
            Use::Flush => Box::new(Flushes::of(session, entries).unwrap()),
        };
        Self { task, fake, ground }
    }

    /// From now on, the kernel is wrong about this.
    fn wrong_about(&mut self, quirk: Quirk) {
        self.fake.table().quirk = quirk;
    }

    /// Whether the kernel finds all that matches and nothing else.
    fn does_right(&self, filter: &KernelFilter) -> bool {
        let table = self.fake.table();
        let found = match self.task {
            Use::List => table.listed(filter),
            Use::Flush => table.flushes(filter),
        };
        let rows = table.rows.iter().map(|row| row.new.entry());
        rows.map(|entry| filter.matches(entry)).eq(found)
    }
}

/// Tries filters on kernels that get them wrong, each once.
pub(super) struct Prober {
    grounds: [Tried; 2],
    known: HashMap<(Quirk, Asked), Trial>,
}

impl Prober {
    pub(super) fn new() -> Self {
        Self {
            grounds: [Use::List, Use::Flush].map(|task| Tried::new(task, |_| false)),
            known: HashMap::new(),
        }
    }

    /// What is found of a kernel, as far as it matters to a filter.
    pub(super) fn support(&mut self, quirk: Quirk, filter: &Filter) -> KernelSupport {
        let kernel = filter.kernel();
        let part = |asked: &Asked| kernel.shape().contains(asked.0) && asked.1 == kernel.family;
        let whole = |asked: &Asked| kernel.shape().contains(asked.0) && asked.1.is_none();
        let asked = shapes().filter(|asked| part(asked) || whole(asked));
        KernelSupport {
            trials: asked.map(|asked| self.trial(quirk, asked)).collect(),
            ..KernelSupport::default()
        }
    }

    fn trial(&mut self, quirk: Quirk, asked: Asked) -> Trial {
        *self.known.entry((quirk, asked)).or_insert_with(|| {
            let [dump, flush] = self.grounds.each_mut().map(|tried| {
                tried.wrong_about(quirk);
                try_out(tried.task, asked, &mut *tried.ground).unwrap()
            });
            let (shape, family) = asked;
            Trial {
                shape,
                family,
                dump,
                flush,
            }
        })
    }
}

/// What the kernel pays no heed to another condition says as well: an address the family, and one
/// tuple the protocol of the other.
fn said_twice(shape: FilterShape, quirk: Quirk) -> bool {
    let both = FilterShape::ORIG_PROTOCOL | FilterShape::REPLY_PROTOCOL;
    let failed_alone = conditions(shape).any(|one| one.intersects(quirk.of()));
    !failed_alone || shape.contains(both) && both.contains(quirk.of())
}

/// Right is exactly what finds what matches, all of it and nothing else, whatever the kernel does
/// instead, and after each trial everything is there for the next one.
#[test]
fn a_filter_is_proven_only_where_the_kernel_does_right() {
    let mut wrong = 0;
    for task in [Use::List, Use::Flush] {
        let mut tried = Tried::new(task, |_| false);
        for (shape, family) in shapes() {
            for (filter, quirk) in filters(shape, family)
                .into_iter()
                .flat_map(|filter| quirks(shape).into_iter().map(move |quirk| (filter, quirk)))
            {
                tried.wrong_about(quirk);
                let verdict = tried.ground.verdict(&filter).unwrap();
                let right = tried.does_right(&filter);
                let what = format!("{task:?} {quirk:?} {filter:?}: {verdict}");
                assert_eq!(verdict.is_right(), right, "{what}");
                // Nothing that the kernel gets wrong stays hidden.
                let harmless = match quirk {
                    Quirk::Nothing => true,
                    Quirk::FlushesAll => task == Use::List,
                    Quirk::Ignores(_) => said_twice(shape, quirk),
                    _ => false,
                };
                assert_eq!(right, harmless, "{what}");
                let named = match quirk {
                    Quirk::Omits(_) => verdict == Verdict::Omits,
                    _ => true,
                };
                assert!(named, "{what}");
                wrong += usize::from(!right);
                assert!(tried.fake.table().gone.is_empty());
            }
        }
    }
    assert!(wrong > 500, "{wrong}");
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
        for task in [Use::List, Use::Flush] {
            let mut tried = Tried::new(task, refuses);
            for (shape, family) in shapes() {
                let filter = filters(shape, family).remove(0);
                let verdict = tried.ground.verdict(&filter).unwrap();
                if shape.intersects(unproven) {
                    // A list that gives nothing at all may as well leave everything out.
                    let proves_nothing = [Verdict::Unproven, Verdict::Omits];
                    assert!(proves_nothing.contains(&verdict), "{task:?} {filter:?}");
                } else if unproven.is_empty() {
                    assert_eq!(verdict, Verdict::Right, "{task:?} {filter:?}");
                }
            }
        }
    }
}
