//! Flushes with filters, tried: who survives?

use super::trials::Ground;
use super::{population, proof, session};
use crate::error::{Operation, Result};
use crate::model::{Entry, FilterShape, KernelFilter, NewEntry, Verdict};
use crate::ops::single::acknowledged;
use crate::ops::{self, Session};
use crate::wire;

/// A table in which flushes are tried.
pub(in crate::ops) struct Flushes {
    session: Session,
    all: Vec<NewEntry>,
}

impl Flushes {
    pub(super) fn new() -> Result<Self> {
        Self::of(session()?, population::entries(population::LEAST))
    }

    /// With those of these entries that can be made: zones, or those of one direction, may not be
    /// there. What is refused is missing where a filter is put to the test.
    pub(in crate::ops) fn of(session: Session, mut all: Vec<NewEntry>) -> Result<Self> {
        let made = ops::create_many(&session, all.iter());
        if let Some(error) = made.stopped() {
            return Err(error.clone());
        }
        let mut results = made.into_results().into_iter();
        all.retain(|_| results.next().is_some_and(|result| result.is_ok()));
        Ok(Self { session, all })
    }

    /// Right, unless too little is there for a proof.
    fn proven(&self, filter: &KernelFilter) -> Verdict {
        let all = self.all.iter().map(NewEntry::entry);
        if proof::puts_to_test(filter, &all, population::has_halves(all.clone())) {
            Verdict::Right
        } else {
            Verdict::Unproven
        }
    }

    /// Which entries are still there; after that, all are. Who survived is found by making all of
    /// them anew: no two have a tuple in common, so each is refused by itself alone.
    fn alive(&self) -> Result<Vec<bool>> {
        let made = ops::create_many(&self.session, self.all.iter());
        if let Some(error) = made.stopped() {
            return Err(error.clone());
        }
        let results = made.into_results().into_iter();
        results
            .map(|result| match result {
                Ok(()) => Ok(false),
                Err(error) if error.is_exists() => Ok(true),
                Err(error) => Err(error),
            })
            .collect()
    }
}

impl Ground for Flushes {
    fn verdict(&mut self, filter: &KernelFilter) -> Result<Verdict> {
        let mut link = self.session.pool.take()?;
        let asked = acknowledged(&self.session, &mut link, Operation::Probe, |datagram| {
            wire::flush_filtered(datagram, filter)
        });
        drop(link);
        let alive = self.alive()?;
        Ok(match asked {
            Err(error) => match error.errno() {
                // A refusal that removed something all the same is worse than none.
                Some(errno) if alive.iter().all(|alive| *alive) => Verdict::Refused(errno),
                Some(_) => Verdict::Wrong,
                None => return Err(error),
            },
            Ok(()) => match judge(&self.all, &alive, filter) {
                Verdict::Right => self.proven(filter),
                verdict => verdict,
            },
        })
    }
}

fn judge(all: &[NewEntry], alive: &[bool], filter: &KernelFilter) -> Verdict {
    // A kernel may heed the conditions beside the tuples and get those of the tuples wrong.
    let beside = filter.restricted(!FilterShape::TUPLES);
    let removed = |wanted: &dyn Fn(&Entry) -> bool| {
        let wanted = all.iter().map(|new| wanted(new.entry()));
        wanted.zip(alive).all(|(wanted, alive)| wanted != *alive)
    };
    let spared = |entry: &Entry| !filter.matches(entry);
    if removed(&|entry| filter.matches(entry)) {
        Verdict::Right
    } else if removed(&|_| true) || removed(&|entry| beside.matches(entry)) {
        Verdict::Ignored
    } else if removed(&spared) || removed(&|entry| beside.matches(entry) && spared(entry)) {
        Verdict::Inverted
    } else if all
        .iter()
        .zip(alive)
        .all(|(new, alive)| *alive || filter.matches(new.entry()))
    {
        Verdict::Omits
    } else {
        Verdict::Wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Family;

    #[test]
    fn what_a_flush_did_is_told_apart() {
        let all = population::entries(population::LEAST);
        let shape = FilterShape::FAMILY | FilterShape::ZONE | FilterShape::ORIG_SRC;
        for filter in population::filters(shape, Some(Family::Ipv4)) {
            let judged = |removed: &dyn Fn(&Entry) -> bool| {
                let alive: Vec<_> = all.iter().map(|new| !removed(new.entry())).collect();
                judge(&all, &alive, &filter)
            };
            let right = |entry: &Entry| filter.matches(entry);
            let beside = filter.restricted(!FilterShape::TUPLES);
            assert_eq!(judged(&right), Verdict::Right);
            assert_eq!(judged(&|_| true), Verdict::Ignored);
            assert_eq!(judged(&|entry| beside.matches(entry)), Verdict::Ignored);
            assert_eq!(judged(&|entry| !right(entry)), Verdict::Inverted);
            let within = |entry: &Entry| beside.matches(entry) && !right(entry);
            assert_eq!(judged(&within), Verdict::Inverted);
            assert_eq!(judged(&|_| false), Verdict::Omits);
            // One too many or one too few is enough.
            for odd in &all {
                let odd = odd.entry();
                let verdict = if right(odd) {
                    judged(&|entry| right(entry) && entry.orig() != odd.orig())
                } else {
                    judged(&|entry| right(entry) || entry == odd)
                };
                let wrong = [Verdict::Wrong, Verdict::Omits][usize::from(right(odd))];
                assert_eq!(verdict, wrong, "{odd}");
            }
        }
    }
}
