//! Lists with filters, tried.
//!
//! A walk of the table takes milliseconds where the table is large, however few entries there are.
//! So one list without a filter tells the order in which the table is walked, and of each filtered
//! list only the first piece is looked at: it must begin as that order says.

use super::population;
use super::session;
use crate::error::{Error, Failure, Operation, Result};
use crate::link::{Buffers, Socket, Transport};
use crate::model::{Entry, Family, FilterShape, KernelFilter, Verdict};
use crate::ops;
use crate::wire::{self, Datagram, EntryRef, FrameKind, frame};

const OF_EACH_FAMILY: u16 = 1500;
/// Fewer are no proof, unless the list came to its end.
const ENOUGH: usize = 8;

/// One verdict a shape.
pub(super) fn trials(shapes: &[(FilterShape, Option<Family>)]) -> Result<Vec<Verdict>> {
    let session = session()?;
    let batch = ops::create_many(&session, population::entries(OF_EACH_FAMILY).iter());
    // Zones of one direction may not be there; what was made is what counts.
    if let Some(error) = batch.stopped() {
        return Err(error.clone());
    }
    let all = ops::list_everything(&session)?.collect::<Result<Vec<Entry>>>()?;
    shapes
        .iter()
        .map(|(shape, family)| {
            super::worst(population::filters(*shape, *family), |filter| {
                Ok(match first_piece(filter)? {
                    Err(failure) => Verdict::Refused(failure.errno),
                    Ok(piece) => judge(&all, &piece, filter),
                })
            })
        })
        .collect()
}

/// The beginning of a list, and whether it is all of it.
#[derive(Debug, Default)]
struct Piece {
    ids: Vec<u32>,
    ended: bool,
}

/// What a kernel says first. It is looked at and left in the queue: taking it would have the kernel
/// go on to the next piece.
fn first_piece(filter: &KernelFilter) -> Result<std::result::Result<Piece, Failure>> {
    let mut socket = Socket::open(Buffers {
        receive: 1,
        send: 1 << 16,
    })?;
    let mut datagram = Datagram::new(1);
    wire::dump_filtered(&mut datagram, filter)?;
    let mut buffer = Vec::with_capacity(1 << 16);
    let failed = |action, errno| Error::system(Operation::Probe, action, errno, None);
    socket
        .send(datagram.bytes())
        .map_err(|errno| failed("send to the kernel", errno))?;
    let mut piece = Piece::default();
    // A refusal, or a list that has no entries, is all there is.
    socket
        .peek(&mut buffer, super::DEADLINE)
        .map_err(|errno| failed("receive from the kernel", errno))?;
    let mut rest = &buffer[..];
    let malformed = |malformed: wire::Malformed| malformed.error(Operation::Probe);
    while let Some(message) = frame(&mut rest).map_err(malformed)? {
        match message.kind {
            FrameKind::Data(_) => {
                let entry = EntryRef::decode(message.payload).map_err(malformed)?;
                piece.ids.extend(entry.id()?);
            }
            FrameKind::Error | FrameKind::Done => match message.outcome().map_err(malformed)? {
                Ok(()) => piece.ended = true,
                Err(failure) => return Ok(Err(failure)),
            },
            FrameKind::Noop | FrameKind::Overrun => {}
        }
    }
    Ok(Ok(piece))
}

/// `all` in the order in which the table is walked.
fn judge(all: &[Entry], piece: &Piece, filter: &KernelFilter) -> Verdict {
    let wanted = |meets: &dyn Fn(&Entry) -> bool| -> Vec<u32> {
        let ids = all.iter().filter(|entry| meets(entry));
        ids.filter_map(Entry::id).collect()
    };
    let fits = |expected: &[u32]| {
        let whole = piece.ids.len() == expected.len();
        !expected.is_empty()
            && expected.starts_with(&piece.ids)
            && (whole || !piece.ended && piece.ids.len() >= ENOUGH)
    };
    let matching = wanted(&|entry| filter.matches(entry));
    // A kernel may heed the conditions beside the tuples and get those of the tuples wrong.
    let beside = filter.restricted(!FilterShape::TUPLES);
    if fits(&matching) {
        Verdict::Right
    } else if fits(&wanted(&|_| true)) || fits(&wanted(&|entry| beside.matches(entry))) {
        Verdict::Ignored
    } else if fits(&wanted(&|entry| !filter.matches(entry)))
        || fits(&wanted(&|entry| {
            beside.matches(entry) && !filter.matches(entry)
        }))
    {
        Verdict::Inverted
    } else if piece.ids.iter().all(|id| matching.contains(id)) {
        Verdict::Omits
    } else {
        Verdict::Wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Operation;

    /// A table with ids, in the order in which it would be walked.
    fn table() -> Vec<Entry> {
        let new = population::entries(40);
        let entries = (1..).zip(&new).map(|(id, new)| {
            let mut entry = new.entry().clone();
            entry.id = Some(id * 7919 % 100_003);
            entry
        });
        let mut entries: Vec<_> = entries.collect();
        entries.sort_by_key(Entry::id);
        entries
    }

    fn piece(all: &[Entry], most: usize, meets: impl Fn(&Entry) -> bool) -> Piece {
        let ids: Vec<_> = all.iter().filter(|entry| meets(entry)).collect();
        Piece {
            ended: most > ids.len(),
            ids: ids
                .iter()
                .take(most)
                .filter_map(|entry| entry.id())
                .collect(),
        }
    }

    #[test]
    fn what_a_kernel_did_is_told_apart() {
        let all = table();
        let five = FilterShape::FAMILY | FilterShape::ZONE | FilterShape::ORIG_SRC;
        for filter in population::filters(five, Some(Family::Ipv6)) {
            let beside = filter.restricted(FilterShape::FAMILY | FilterShape::ZONE);
            for most in [12, usize::MAX] {
                let judged = |meets: &dyn Fn(&Entry) -> bool| {
                    judge(&all, &piece(&all, most, meets), &filter)
                };
                let right = |entry: &Entry| filter.matches(entry);
                assert_eq!(judged(&right), Verdict::Right);
                assert_eq!(judged(&|_| true), Verdict::Ignored);
                assert_eq!(judged(&|entry| beside.matches(entry)), Verdict::Ignored);
                assert_eq!(judged(&|entry| !right(entry)), Verdict::Inverted);
                let within = |entry: &Entry| beside.matches(entry) && !right(entry);
                assert_eq!(judged(&within), Verdict::Inverted);
                let third = |entry: &Entry| entry.id().is_some_and(|id| id % 3 == 0);
                assert_eq!(
                    judged(&|entry| right(entry) && !third(entry)),
                    Verdict::Omits
                );
                assert_eq!(judged(&|_| false), Verdict::Omits);
                assert_eq!(
                    judged(&|entry| right(entry) || third(entry)),
                    Verdict::Wrong
                );
            }
        }
    }

    #[test]
    fn a_piece_that_is_too_short_is_no_proof() {
        let all = table();
        let filter = population::filters(FilterShape::STATUS, None).remove(0);
        let right = |entry: &Entry| filter.matches(entry);
        let judged = |most| judge(&all, &piece(&all, most, right), &filter);
        assert_eq!(judged(ENOUGH), Verdict::Right);
        assert_eq!(judged(ENOUGH - 1), Verdict::Omits);
        assert_eq!(judged(0), Verdict::Omits);
        // A list that ended early left something out, however it began.
        let mut early = piece(&all, ENOUGH, right);
        early.ended = true;
        assert_eq!(judge(&all, &early, &filter), Verdict::Omits);
        // Entries in another order are not what the walk gives.
        let mut mixed = piece(&all, ENOUGH, right);
        mixed.ids.swap(0, 1);
        assert_eq!(judge(&all, &mixed, &filter), Verdict::Omits);
    }

    #[test]
    fn the_worst_verdict_of_a_shape_is_its_verdict() {
        let shape = FilterShape::FAMILY | FilterShape::ORIG_PROTOCOL | FilterShape::ORIG_DST_PORT;
        let filters = population::filters(shape, Some(Family::Ipv4));
        assert_eq!(filters.len(), 2);
        for bad in &filters {
            let verdict = super::super::worst(filters.clone(), |filter| {
                Ok(if filter == bad {
                    Verdict::Ignored
                } else {
                    Verdict::Right
                })
            });
            assert_eq!(verdict.unwrap(), Verdict::Ignored);
        }
        let error = super::super::worst(filters, |_| Err(Error::overrun(Operation::Probe)));
        assert!(error.unwrap_err().is_overrun());
    }
}
