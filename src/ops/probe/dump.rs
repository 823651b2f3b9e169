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

const OF_EACH_FAMILY: u16 = 300;
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
        expected.starts_with(&piece.ids) && (whole || !piece.ended && piece.ids.len() >= ENOUGH)
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
