//! Flushes with filters, tried: who survives?

use nix::errno::Errno;

use super::{features, population, session};
use crate::error::{Error, Operation, Result};
use crate::link::{Answer, Link};
use crate::model::{Entry, Family, Features, FilterShape, KernelFilter, Key, NewEntry, Verdict};
use crate::ops::single::{acknowledged, decode_found};
use crate::ops::{self, Session};
use crate::wire::{self, Datagram};

const OF_EACH_FAMILY: u16 = 24;
/// Look-ups in a datagram: their answers must fit a buffer that could not be enlarged.
const AT_ONCE: usize = 24;

/// One verdict a shape, and what else the kernel can do.
pub(super) fn trials(shapes: &[(FilterShape, Option<Family>)]) -> Result<(Vec<Verdict>, Features)> {
    let session = session()?;
    let mut all = population::entries(OF_EACH_FAMILY);
    let made = ops::create_many(&session, all.iter());
    if let Some(error) = made.stopped() {
        return Err(error.clone());
    }
    // Zones of one direction may not be there.
    let mut results = made.into_results().into_iter();
    all.retain(|_| results.next().is_some_and(|result| result.is_ok()));
    let verdicts = shapes
        .iter()
        .map(|(shape, family)| {
            super::worst(population::filters(*shape, *family), |filter| {
                trial(&session, &all, filter)
            })
        })
        .collect::<Result<_>>()?;
    Ok((verdicts, features::find(&session)))
}

fn trial(session: &Session, all: &[NewEntry], filter: &KernelFilter) -> Result<Verdict> {
    let mut link = session.pool.take()?;
    let asked = acknowledged(session, &mut link, Operation::Probe, |datagram| {
        wire::flush_filtered(datagram, filter)
    });
    let alive = alive(session, &mut link, all)?;
    let gone: Vec<&NewEntry> = all
        .iter()
        .zip(&alive)
        .filter_map(|(new, alive)| (!alive).then_some(new))
        .collect();
    let verdict = match asked {
        Err(error) => match error.errno() {
            // A refusal that removed something all the same is worse than none.
            Some(errno) if gone.is_empty() => Verdict::Refused(errno),
            Some(_) => Verdict::Wrong,
            None => return Err(error),
        },
        Ok(()) => judge(all, &alive, filter),
    };
    drop(link);
    ops::create_many(session, gone.into_iter()).into_result()?;
    Ok(verdict)
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

/// Which entries are still there.
fn alive(session: &Session, link: &mut Link, all: &[NewEntry]) -> Result<Vec<bool>> {
    let mut alive = Vec::with_capacity(all.len());
    for some in all.chunks(AT_ONCE) {
        let keys: Vec<Key> = some.iter().map(Key::from).collect();
        let mut datagram = Datagram::new(link.sequence());
        for key in &keys {
            wire::get(&mut datagram, key)?;
        }
        let mut found: Vec<Option<Result<bool>>> = keys.iter().map(|_| None).collect();
        link.request(
            Operation::Probe,
            &datagram,
            session.deadline,
            |index, answer| {
                let place = index as usize;
                let (Some(key), Some(slot)) = (keys.get(place), found.get_mut(place)) else {
                    return;
                };
                *slot = Some(match answer {
                    Answer::Payload(payload) => {
                        match decode_found(Operation::Probe, key, payload) {
                            Ok(_) => Ok(true),
                            Err(error) if error.is_not_found() => Ok(false),
                            Err(error) => Err(error),
                        }
                    }
                    Answer::Outcome(Err(failure)) if failure.errno.is(Errno::ENOENT) => Ok(false),
                    Answer::Outcome(Err(failure)) => Err(Error::kernel(Operation::Probe, failure)),
                    Answer::Outcome(Ok(())) => return,
                });
            },
        )?;
        for slot in found {
            alive.push(slot.unwrap_or_else(|| Err(Error::overrun(Operation::Probe)))?);
        }
    }
    Ok(alive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_flush_did_is_told_apart() {
        let all = population::entries(OF_EACH_FAMILY);
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
