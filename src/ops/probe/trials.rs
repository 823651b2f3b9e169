//! Which shapes were tried, and the trials of those that are asked for.

use std::sync::OnceLock;

use tracing::{debug, warn};

use super::{dump, elsewhere, flush, population};
use crate::error::Result;
use crate::model::{Asked, KernelFilter, Trial, Use, Verdict, shapes};

/// Where filters are tried: a namespace with entries in it.
pub(in crate::ops) trait Ground {
    fn verdict(&mut self, filter: &KernelFilter) -> Result<Verdict>;
}

type Work<'a> = dyn FnMut(&mut dyn Ground) + Send + 'a;
/// Makes a ground for the trials of so many shapes, and works on it.
type Elsewhere = dyn Fn(Use, usize, &mut Work<'_>) -> Result<()> + Send + Sync;

/// The verdicts of a kernel, each found once.
pub(super) struct Trials {
    slots: Vec<Slot>,
    ground: Box<Elsewhere>,
    all: OnceLock<Vec<Trial>>,
}

struct Slot {
    asked: Asked,
    list: OnceLock<Verdict>,
    flush: OnceLock<Verdict>,
}

impl Slot {
    fn of(&self, task: Use) -> &OnceLock<Verdict> {
        match task {
            Use::List => &self.list,
            Use::Flush => &self.flush,
        }
    }

    fn get(&self, task: Use) -> Verdict {
        self.of(task).get().copied().unwrap_or(Verdict::Unproven)
    }
}

impl Trials {
    /// Those of the running kernel.
    pub(super) fn of_this_kernel() -> Self {
        Self::new(Box::new(|task, shapes, work| {
            elsewhere(|| {
                match task {
                    Use::List => work(&mut dump::Lists::new(shapes)?),
                    Use::Flush => work(&mut flush::Flushes::new()?),
                }
                Ok(())
            })
        }))
    }

    fn new(ground: Box<Elsewhere>) -> Self {
        let slot = |asked| Slot {
            asked,
            list: OnceLock::new(),
            flush: OnceLock::new(),
        };
        Self {
            slots: shapes().map(slot).collect(),
            ground,
            all: OnceLock::new(),
        }
    }

    /// Makes those trials that were not made yet, until one is as wanted. A shape that could not be
    /// tried is not proven, for good: nothing is tried again and again.
    fn make(&self, task: Use, slots: &[&Slot], enough: fn(Verdict) -> bool) {
        let open = |slot: &&&Slot| slot.of(task).get().is_none();
        let known = slots.iter().take_while(|slot| !open(slot));
        let done = known.clone().any(|slot| enough(slot.get(task)));
        let rest = &slots[known.count()..];
        if done || rest.is_empty() {
            return;
        }
        let mut failed = None;
        let made = (self.ground)(task, rest.len(), &mut |ground| {
            for slot in rest {
                let verdict = slot.of(task).get_or_init(|| {
                    // A trial that broke off may have left the ground in disorder.
                    if failed.is_some() {
                        return Verdict::Unproven;
                    }
                    try_out(task, slot.asked, ground).unwrap_or_else(|error| {
                        failed = Some(error);
                        Verdict::Unproven
                    })
                });
                if enough(*verdict) {
                    break;
                }
            }
        });
        if let Some(error) = made.err().or(failed) {
            warn!(%error, ?task, "filters of the kernel's could not be tried");
            for slot in rest {
                slot.of(task).get_or_init(|| Verdict::Unproven);
            }
        }
    }

    fn slot(&self, asked: Asked) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.asked == asked)
    }
}

/// The first verdict on filters of the shape that is not right, if there is one.
pub(in crate::ops) fn try_out(
    task: Use,
    (shape, family): Asked,
    ground: &mut dyn Ground,
) -> Result<Verdict> {
    let mut verdict = Verdict::Right;
    for filter in population::filters(shape, family) {
        verdict = ground.verdict(&filter)?;
        if !verdict.is_right() {
            break;
        }
    }
    debug!(%shape, ?family, ?task, %verdict, "tried a filter of the kernel's");
    Ok(verdict)
}

impl Trials {
    pub(super) fn first_right(&self, task: Use, shapes: &[Asked]) -> Option<Asked> {
        let slots = shapes.iter().filter_map(|asked| self.slot(*asked));
        let slots: Vec<_> = slots.collect();
        self.make(task, &slots, Verdict::is_right);
        let right = slots.iter().find(|slot| slot.get(task).is_right());
        right.map(|slot| slot.asked)
    }

    pub(super) fn verdict(&self, task: Use, asked: Asked) -> Verdict {
        let Some(slot) = self.slot(asked) else {
            return Verdict::Unproven;
        };
        self.make(task, &[slot], |_| true);
        slot.get(task)
    }

    pub(super) fn all(&self) -> &[Trial] {
        self.all.get_or_init(|| {
            let slots: Vec<_> = self.slots.iter().collect();
            // Lists last: their many entries are removed with their namespace, and until that is done
            // a flush waits (`nf_conntrack_mutex`).
            for task in [Use::Flush, Use::List] {
                // Those that are known stand anywhere.
                let mut open = slots.clone();
                open.retain(|slot| slot.of(task).get().is_none());
                self.make(task, &open, |_| false);
            }
            let trial = |slot: &Slot| Trial {
                shape: slot.asked.0,
                family: slot.asked.1,
                dump: slot.get(Use::List),
                flush: slot.get(Use::Flush),
            };
            self.slots.iter().map(trial).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::error::{Error, Operation};
    use crate::model::{Family, FilterShape};

    type Judge = dyn Fn(&KernelFilter) -> Result<Verdict> + Send + Sync;

    /// A ground that says what it is told to.
    struct Told<'a>(Use, &'a Judge, &'a Mutex<Vec<(Use, Asked)>>);

    impl Ground for Told<'_> {
        fn verdict(&mut self, filter: &KernelFilter) -> Result<Verdict> {
            let asked = (filter.shape(), filter.family);
            let mut tried = self.2.lock().unwrap();
            if tried.last() != Some(&(self.0, asked)) {
                tried.push((self.0, asked));
            }
            (self.1)(filter)
        }
    }

    type Log = Arc<Mutex<Vec<(Use, Asked)>>>;

    fn trials(
        judge: impl Fn(&KernelFilter) -> Result<Verdict> + Send + Sync + 'static,
    ) -> (Trials, Log) {
        let log = Log::default();
        let tried = Arc::clone(&log);
        let ground = move |task, _, work: &mut Work<'_>| {
            work(&mut Told(task, &judge, &tried));
            Ok(())
        };
        (Trials::new(Box::new(ground)), log)
    }

    const ZONE: Asked = (FilterShape::ZONE, None);
    const MARK: Asked = (FilterShape::MARK, None);
    const STATUS: Asked = (FilterShape::STATUS, None);

    fn odd() -> Error {
        Error::overrun(Operation::Probe)
    }

    #[test]
    fn what_is_not_asked_for_is_not_tried_and_nothing_is_tried_twice() {
        let (trials, log) = trials(|filter| {
            Ok(if filter.mark.is_some() {
                Verdict::Ignored
            } else {
                Verdict::Right
            })
        });
        for _ in 0..2 {
            assert_eq!(trials.verdict(Use::Flush, ZONE), Verdict::Right);
            assert_eq!(*log.lock().unwrap(), [(Use::Flush, ZONE)]);
        }
        // A flush that is right says nothing of lists. Those behind the first right one can wait.
        for _ in 0..2 {
            let first = trials.first_right(Use::List, &[MARK, ZONE, STATUS]);
            assert_eq!(first, Some(ZONE));
            let lists = [(Use::List, MARK), (Use::List, ZONE)];
            assert_eq!(log.lock().unwrap()[1..], lists);
        }
        assert_eq!(trials.first_right(Use::List, &[MARK]), None);
        assert_eq!(trials.first_right(Use::List, &[]), None);
        assert_eq!(log.lock().unwrap().len(), 3);
        let all = trials.all();
        assert_eq!(all.len(), shapes().count());
        assert_eq!(log.lock().unwrap().len(), all.len() * 2);
        for trial in all {
            let marked = (trial.shape).intersects(FilterShape::MARK | FilterShape::MARK_MASK);
            assert_eq!(trial.dump == Verdict::Ignored, marked);
            assert_eq!(trial.flush, trial.dump);
            assert_eq!(trials.verdict(Use::List, trial.asked()), trial.dump);
        }
        // A shape that is never asked of a kernel.
        let none = (FilterShape::ZONE, Some(Family::Ipv4));
        assert_eq!(trials.verdict(Use::List, none), Verdict::Unproven);
        assert_eq!(trials.first_right(Use::List, &[none]), None);
    }

    #[test]
    fn the_worst_verdict_of_a_shape_is_its_verdict() {
        let ports = FilterShape::FAMILY | FilterShape::ORIG_PROTOCOL | FilterShape::ORIG_DST_PORT;
        let asked = (ports, Some(Family::Ipv4));
        let filters = population::filters(ports, Some(Family::Ipv4));
        assert_eq!(filters.len(), 2);
        for bad in filters {
            let (trials, _) = trials(move |filter| {
                Ok(if *filter == bad {
                    Verdict::Ignored
                } else {
                    Verdict::Right
                })
            });
            assert_eq!(trials.verdict(Use::List, asked), Verdict::Ignored);
            assert_eq!(trials.verdict(Use::List, ZONE), Verdict::Right);
        }
    }

    /// What is found on a ground that a trial left in disorder proves nothing, even if it is right.
    #[test]
    fn after_a_trial_that_broke_off_nothing_is_proven() {
        let (trials, log) = trials(|filter| match filter.mark {
            Some(_) => Err(odd()),
            None => Ok(Verdict::Right),
        });
        assert_eq!(trials.first_right(Use::List, &[MARK, ZONE, STATUS]), None);
        for asked in [MARK, ZONE, STATUS] {
            assert_eq!(trials.verdict(Use::List, asked), Verdict::Unproven);
        }
        assert_eq!(*log.lock().unwrap(), [(Use::List, MARK)]);
        // Of flushes nothing is known yet.
        assert_eq!(trials.verdict(Use::Flush, ZONE), Verdict::Right);
    }

    #[test]
    fn without_a_ground_nothing_is_proven() {
        let trials = Trials::new(Box::new(|_, _, _| Err(odd())));
        assert_eq!(trials.first_right(Use::List, &[ZONE]), None);
        assert_eq!(trials.verdict(Use::Flush, ZONE), Verdict::Unproven);
        for trial in trials.all() {
            assert_eq!(
                (trial.dump, trial.flush),
                (Verdict::Unproven, Verdict::Unproven)
            );
        }
    }

    /// Many threads ask at once.
    #[test]
    fn a_shape_is_tried_once() {
        let (trials, log) = trials(|_| {
            std::thread::yield_now();
            Ok(Verdict::Right)
        });
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    assert_eq!(trials.first_right(Use::List, &[STATUS, ZONE]), Some(STATUS));
                    assert_eq!(trials.verdict(Use::List, ZONE), Verdict::Right);
                });
            }
        });
        let log = log.lock().unwrap();
        for asked in [STATUS, ZONE] {
            assert_eq!(log.iter().filter(|tried| tried.1 == asked).count(), 1);
        }
    }
}
