//! Lists with filters, tried.
//!
//! A walk of the table takes milliseconds where the hash table is large, however few entries there
//! are. So a list without a filter tells the order in which the table is walked, as far as it is
//! needed, and of each filtered list only the first pieces are looked at: it must begin as that
//! order says.

use super::trials::Ground;
use super::{population, proof, session};
use crate::error::{Error, Failure, Operation, Result};
use crate::link::{Buffers, Socket, Transport};
use crate::model::{Entry, FilterShape, KernelFilter, NewEntry, Verdict};
use crate::ops::{self, Session, settings::buckets};
use crate::wire::{self, Datagram, EntryRef, FrameKind, Request, frame};

/// More of them cost more to make and less to walk to.
pub(in crate::ops) const FEW: u16 = 500;
const MANY: u16 = 1250;
/// From so many shapes on there are many.
const MANY_SHAPES: usize = 8;
/// Fewer are no proof, unless the list came to its end.
const ENOUGH: usize = 8;
/// A piece of a list (`NLMSG_GOODSIZE`) fits.
const PIECE: usize = 8192;
/// In one piece nothing shows that the kernel goes on as it began.
const LEAST_PIECES: usize = 2;
/// A list that has put not everything to the test by then is no proof.
const PIECES: usize = 16;
/// How often a list is tried, if the hash table is resized each time.
const TRIES: usize = 4;

/// A socket of its own for each list: on one that has read more at once, pieces are larger.
type Open = dyn Fn() -> Result<Box<dyn Transport>>;

/// A table in which lists are tried.
pub(in crate::ops) struct Lists {
    open: Box<Open>,
    order: Order<Begun>,
    /// The size of the hash table in that order.
    buckets: Option<u32>,
    /// Zones of one direction are there.
    halves: bool,
}

fn walked(open: &Open) -> Result<Order<Begun>> {
    Begun::new(open()?, |datagram| {
        wire::dump(datagram, Request::List, None)
    })
    .map(Order::new)
}

impl Lists {
    /// For the trials of so many shapes.
    pub(super) fn new(shapes: usize) -> Result<Self> {
        let of_each = if shapes < MANY_SHAPES { FEW } else { MANY };
        let open = || {
            let socket = Socket::open(Buffers {
                receive: 1,
                send: 1 << 16,
            })?;
            Ok(Box::new(socket) as Box<dyn Transport>)
        };
        let entries = population::entries(of_each);
        Self::of(&session()?, &entries, Box::new(open))
    }

    /// With those of these entries that can be made.
    pub(in crate::ops) fn of(
        session: &Session,
        entries: &[NewEntry],
        open: Box<Open>,
    ) -> Result<Self> {
        let batch = ops::create_many(session, entries.iter());
        // Zones of one direction may not be there; what was made is what counts.
        if let Some(error) = batch.stopped() {
            return Err(error.clone());
        }
        let made = entries.iter().zip(batch.results());
        let made = made.filter(|(_, result)| result.is_ok());
        let halves = population::has_halves(made.map(|(new, _)| new.entry()));
        Ok(Self {
            buckets: buckets(),
            order: walked(&open)?,
            open,
            halves,
        })
    }
}

impl Ground for Lists {
    fn verdict(&mut self, filter: &KernelFilter) -> Result<Verdict> {
        let of_one_size = (&mut self.buckets, buckets);
        let open = &self.open;
        settled(
            of_one_size,
            &mut self.order,
            || walked(open),
            |order| {
                let request = |datagram: &mut Datagram| wire::dump_filtered(datagram, filter);
                let mut list = Begun::new(open()?, request)?;
                watch(order, filter, self.halves, || {
                    Ok(list.read_on()?.map(|()| list.piece.clone()))
                })
            },
        )
    }
}

/// A list of a table that was resized since does not begin as the order says, which is not the
/// filter's fault: it is tried again with the order of now.
fn settled<O>(
    (size, now): (&mut Option<u32>, impl Fn() -> Option<u32>),
    order: &mut O,
    again: impl Fn() -> Result<O>,
    mut verdict: impl FnMut(&mut O) -> Result<Verdict>,
) -> Result<Verdict> {
    let mut last = verdict(order)?;
    for _ in 1..TRIES {
        let size_now = now();
        if last.is_right() || size_now == *size {
            return Ok(last);
        }
        (*size, *order) = (size_now, again()?);
        last = verdict(order)?;
    }
    // What is seen while it is resized all the time is not held against the kernel.
    Ok(if last.is_right() || now() == *size {
        last
    } else {
        Verdict::Unproven
    })
}

/// Looks at a list, piece by piece, until it has proven something. `read_on` gives the list as far as
/// it is known, a piece more each time.
fn watch(
    order: &mut Order<impl Iterator<Item = Result<Entry>>>,
    filter: &KernelFilter,
    halves: bool,
    mut read_on: impl FnMut() -> Result<std::result::Result<Piece, Failure>>,
) -> Result<Verdict> {
    for pieces in 1..=PIECES {
        let piece = match read_on()? {
            Ok(piece) => piece,
            Err(failure) => return Ok(Verdict::Refused(failure.errno)),
        };
        let verdict = judge(order, &piece, filter)?;
        if !verdict.is_right() {
            return Ok(verdict);
        }
        let enough = piece.ended || pieces >= LEAST_PIECES;
        if enough && order.puts_to_test(&piece, filter, halves) {
            return Ok(verdict);
        }
        if piece.ended {
            break;
        }
    }
    Ok(Verdict::Unproven)
}

/// The order in which the table is walked, known as far as it was asked for.
struct Order<I> {
    walk: I,
    known: Vec<Entry>,
}

impl<I: Iterator<Item = Result<Entry>>> Order<I> {
    fn new(walk: I) -> Self {
        Self {
            walk,
            known: Vec::new(),
        }
    }

    /// The first entries that meet a condition: this many, if there are.
    fn first(&mut self, count: usize, meets: &dyn Fn(&Entry) -> bool) -> Result<Vec<u32>> {
        let known = self.known.iter().filter(|entry| meets(entry));
        let mut found: Vec<u32> = known.filter_map(Entry::id).take(count).collect();
        while found.len() < count {
            let Some(entry) = self.walk.next().transpose()? else {
                break;
            };
            found.extend(entry.id().filter(|_| meets(&entry)));
            self.known.push(entry);
        }
        Ok(found)
    }

    /// Whether what was walked, up to the end of the piece, put the filter to the test.
    fn puts_to_test(&self, piece: &Piece, filter: &KernelFilter, halves: bool) -> bool {
        let last = piece.entries.last().and_then(Entry::id);
        let at = self.known.iter().position(|entry| entry.id() == last);
        let walked = match at {
            Some(at) if !piece.ended => &self.known[..=at],
            _ => &self.known[..],
        };
        proof::puts_to_test(filter, &walked.iter(), halves)
    }
}

/// The beginning of a list, and whether it is all of it.
#[derive(Debug, Default, Clone)]
struct Piece {
    entries: Vec<Entry>,
    ended: bool,
}

/// A list that is read no further than needed.
struct Begun {
    socket: Box<dyn Transport>,
    buffer: Vec<u8>,
    piece: Piece,
    /// How many entries were given out.
    given: usize,
}

fn failed(action: &'static str) -> impl Fn(nix::errno::Errno) -> Error {
    move |errno| Error::system(Operation::Probe, action, errno, None)
}

impl Begun {
    fn new(
        mut socket: Box<dyn Transport>,
        request: impl FnOnce(&mut Datagram) -> Result<()>,
    ) -> Result<Self> {
        let mut datagram = Datagram::new(1);
        request(&mut datagram)?;
        socket
            .send(datagram.bytes())
            .map_err(failed("send to the kernel"))?;
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(PIECE),
            piece: Piece::default(),
            given: 0,
        })
    }

    /// Adds what the kernel says next. It is looked at and left in the queue: only when it is taken
    /// the kernel walks on to the next piece.
    fn read_on(&mut self) -> Result<std::result::Result<(), Failure>> {
        let receiving = failed("receive from the kernel");
        if !self.buffer.is_empty() {
            let taken = self.socket.receive(&mut self.buffer, super::DEADLINE);
            taken.map_err(&receiving)?;
        }
        // A refusal, or a list that has no entries, is all there is.
        let received = self.socket.peek(&mut self.buffer, super::DEADLINE);
        let received = received.map_err(&receiving)?;
        if received.length > self.buffer.len() {
            let had = self.buffer.len();
            return Err(Error::truncated(Operation::Probe, received.length, had));
        }
        let mut rest = &self.buffer[..];
        let malformed = |malformed: wire::Malformed| malformed.error(Operation::Probe);
        while let Some(message) = frame(&mut rest).map_err(malformed)? {
            match message.kind {
                FrameKind::Data(_) => {
                    let entry = EntryRef::decode(message.payload).map_err(malformed)?;
                    let entry = entry.try_entry().map_err(malformed)?;
                    self.piece.entries.push(entry);
                }
                FrameKind::Error | FrameKind::Done => {
                    match message.outcome().map_err(malformed)? {
                        Ok(()) => self.piece.ended = true,
                        Err(failure) => return Ok(Err(failure)),
                    }
                }
                FrameKind::Noop | FrameKind::Overrun => {}
            }
        }
        Ok(Ok(()))
    }
}

impl Iterator for Begun {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        while self.given == self.piece.entries.len() {
            if self.piece.ended {
                return None;
            }
            match self.read_on() {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => return Some(Err(Error::kernel(Operation::Probe, failure))),
                Err(error) => return Some(Err(error)),
            }
        }
        self.given += 1;
        self.piece.entries.get(self.given - 1).cloned().map(Ok)
    }
}

fn judge(
    order: &mut Order<impl Iterator<Item = Result<Entry>>>,
    piece: &Piece,
    filter: &KernelFilter,
) -> Result<Verdict> {
    let ids: Vec<u32> = piece.entries.iter().filter_map(Entry::id).collect();
    if ids.len() < piece.entries.len() {
        return Ok(Verdict::Unproven);
    }
    let mut fits = |meets: &dyn Fn(&Entry) -> bool| -> Result<bool> {
        // One more, to see whether there is one.
        let expected = order.first(ids.len() + 1, meets)?;
        let whole = ids.len() == expected.len();
        Ok(!expected.is_empty()
            && expected.starts_with(&ids)
            && (whole || !piece.ended && ids.len() >= ENOUGH))
    };
    // A kernel may heed the conditions beside the tuples and get those of the tuples wrong.
    let beside = filter.restricted(!FilterShape::TUPLES);
    Ok(if fits(&|entry| filter.matches(entry))? {
        Verdict::Right
    } else if fits(&|_| true)? || fits(&|entry| beside.matches(entry))? {
        Verdict::Ignored
    } else if fits(&|entry| !filter.matches(entry))?
        || fits(&|entry| beside.matches(entry) && !filter.matches(entry))?
    {
        Verdict::Inverted
    } else if piece.entries.iter().all(|entry| filter.matches(entry)) {
        Verdict::Omits
    } else {
        Verdict::Wrong
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::model::{Family, shapes};

    /// A table with ids, in the order in which it would be walked.
    fn table(of_each: u16) -> Vec<Entry> {
        let new = population::entries(of_each);
        let entries = (1..).zip(&new).map(|(id, new)| {
            let mut entry = new.entry().clone();
            entry.id = Some(id * 7919 % 100_003);
            entry
        });
        let mut entries: Vec<_> = entries.collect();
        entries.sort_by_key(Entry::id);
        entries
    }

    fn order(all: &[Entry]) -> Order<impl Iterator<Item = Result<Entry>>> {
        Order::new(all.iter().cloned().map(Ok))
    }

    fn piece(all: &[Entry], most: usize, meets: impl Fn(&Entry) -> bool) -> Piece {
        let entries = all.iter().filter(|entry| meets(entry));
        let entries: Vec<_> = entries.take(most).cloned().collect();
        Piece {
            ended: most > entries.len(),
            entries,
        }
    }

    #[test]
    fn what_a_kernel_did_is_told_apart() {
        let all = table(40);
        let five = FilterShape::FAMILY | FilterShape::ZONE | FilterShape::ORIG_SRC;
        for filter in population::filters(five, Some(Family::Ipv6)) {
            let beside = filter.restricted(FilterShape::FAMILY | FilterShape::ZONE);
            for most in [12, usize::MAX] {
                let mut order = order(&all);
                let mut judged = |meets: &dyn Fn(&Entry) -> bool| {
                    judge(&mut order, &piece(&all, most, meets), &filter).unwrap()
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
        let all = table(40);
        let filter = population::filters(FilterShape::STATUS, None).remove(0);
        let right = |entry: &Entry| filter.matches(entry);
        let judged = |piece: &Piece| judge(&mut order(&all), piece, &filter).unwrap();
        let long = |most| judged(&piece(&all, most, right));
        assert_eq!(long(ENOUGH), Verdict::Right);
        assert_eq!(long(ENOUGH - 1), Verdict::Omits);
        assert_eq!(long(0), Verdict::Omits);
        // A list that ended early left something out, however it began.
        let mut early = piece(&all, ENOUGH, right);
        early.ended = true;
        assert_eq!(judged(&early), Verdict::Omits);
        // Or late.
        let most = all.iter().filter(|entry| right(entry)).count();
        let mut whole = piece(&all, most, right);
        whole.ended = true;
        assert_eq!(judged(&whole), Verdict::Right);
        whole.entries.pop();
        assert_eq!(judged(&whole), Verdict::Omits);
        // Entries in another order are not what the walk gives.
        let mut mixed = piece(&all, ENOUGH, right);
        mixed.entries.swap(0, 1);
        assert_eq!(judged(&mixed), Verdict::Omits);
        // Nor is one that comes twice, or one without an id.
        let mut twice = piece(&all, ENOUGH, right);
        twice.entries.insert(1, twice.entries[0].clone());
        assert_eq!(judged(&twice), Verdict::Omits);
        let mut nameless = piece(&all, ENOUGH, right);
        nameless.entries[0].id = None;
        assert_eq!(judged(&nameless), Verdict::Unproven);
    }

    /// No more of the order is looked at than it takes, and all of it comes to the same.
    #[test]
    fn the_order_is_read_as_far_as_needed() {
        let all = table(40);
        let mut order = order(&all);
        let right = |entry: &Entry| entry.zone().zone().is_default();
        let ids: Vec<_> = all.iter().filter(|entry| right(entry)).collect();
        let ids: Vec<_> = ids.into_iter().filter_map(Entry::id).collect();
        assert_eq!(order.first(3, &right).unwrap(), ids[..3]);
        assert_eq!(order.known.last().unwrap().id(), Some(ids[2]));
        assert_eq!(order.first(2, &right).unwrap(), ids[..2]);
        assert_eq!(order.first(usize::MAX, &right).unwrap(), ids);
        assert_eq!(order.known, all);
        assert_eq!(order.first(usize::MAX, &right).unwrap(), ids);
        let failed = || Err(Error::overrun(Operation::Probe));
        let mut broken = Order::new(all[..5].iter().cloned().map(Ok).chain([failed()]));
        assert_eq!(broken.first(5, &|_| true).unwrap().len(), 5);
        assert!(broken.first(6, &|_| true).unwrap_err().is_overrun());
    }

    /// What a list that has these entries gives, so many in a piece.
    fn watched(all: &[Entry], filter: &KernelFilter, given: &[Entry], size: usize) -> Verdict {
        let mut length = 0;
        let halves = population::has_halves(all.iter());
        let next = || {
            length += size;
            Ok(Ok(piece(given, length, |_| true)))
        };
        watch(&mut order(all), filter, halves, next).unwrap()
    }

    /// Resized before the first `times` verdicts, on a kernel that is right.
    #[test]
    fn a_resize_is_not_held_against_the_kernel() {
        for (times, walks, expected) in [
            (0, 0, Verdict::Right),
            (1, 1, Verdict::Right),
            (3, 3, Verdict::Right),
            (9, 3, Verdict::Unproven),
        ] {
            let (now, walked) = (Cell::new(0), Cell::new(0));
            let (mut size, mut order) = (Some(0), 0);
            let again = || {
                walked.set(walked.get() + 1);
                Ok(now.get())
            };
            let mut verdicts = 0;
            let verdict = settled(
                (&mut size, || Some(now.get())),
                &mut order,
                again,
                |order| {
                    now.set(now.get() + u32::from(verdicts < times));
                    verdicts += 1;
                    let same = *order == now.get();
                    Ok(if same { Verdict::Right } else { Verdict::Wrong })
                },
            );
            assert_eq!(verdict.unwrap(), expected, "{times}");
            assert_eq!(walked.get(), walks, "{times}");
        }
        // Where nothing was resized, the kernel is wrong, and asked once.
        let mut asked = 0;
        let verdict = settled(
            (&mut Some(1), || Some(1)),
            &mut (),
            || Ok(()),
            |()| {
                asked += 1;
                Ok(Verdict::Wrong)
            },
        );
        assert_eq!((verdict.unwrap(), asked), (Verdict::Wrong, 1));
    }

    /// A kernel that pays no heed to one of the conditions may begin its list as it should by
    /// chance: not where something was put to the test.
    #[test]
    fn a_condition_that_nothing_failed_is_not_tested() {
        for (of_each, size) in [(FEW, 15), (MANY, 13)] {
            let all = table(of_each);
            for (shape, family) in shapes() {
                for filter in population::filters(shape, family) {
                    let given = |meets: &dyn Fn(&Entry) -> bool| -> Vec<Entry> {
                        let given = all.iter().filter(|entry| meets(entry));
                        given.cloned().collect()
                    };
                    let right = |entry: &Entry| filter.matches(entry);
                    let good = given(&right);
                    let verdict = watched(&all, &filter, &good, size);
                    assert_eq!(verdict, Verdict::Right, "{filter:?}");
                    // It takes its time, and is the same with more of them.
                    let one_by_one = proof::conditions(shape).filter(|_| of_each == FEW);
                    for one in one_by_one {
                        let blind = filter.restricted(!one);
                        let begun = given(&|entry| blind.matches(entry));
                        let verdict = watched(&all, &filter, &begun, size);
                        assert!(!verdict.is_right(), "{filter:?} without {one}");
                        // Where only the others had something to do, nothing is said of this one.
                        let rest = given(&|entry| !blind.matches(entry) || right(entry));
                        let verdict = watched(&rest, &filter, &good, size);
                        assert_eq!(verdict, Verdict::Unproven, "{filter:?} without {one}");
                    }
                }
            }
        }
    }

    /// The kernel goes on with a list by other means than it begins it.
    #[test]
    fn a_list_that_goes_wrong_later_is_not_right() {
        let all = table(FEW);
        for (shape, family) in shapes() {
            for filter in population::filters(shape, family) {
                let right = |entry: &Entry| filter.matches(entry);
                let good: Vec<_> = all.iter().filter(|entry| right(entry)).cloned().collect();
                let begun = good.len().min(16);
                let last = good[begun - 1].id();
                let at = all.iter().position(|entry| entry.id() == last).unwrap();
                // It goes on with everything, with nothing, or with what it should leave out.
                let goes_on: [&dyn Fn(&Entry) -> bool; 3] =
                    [&|_| true, &|_| false, &|entry| !right(entry)];
                for meets in goes_on {
                    let rest = all[at + 1..].iter().filter(|entry| meets(entry));
                    let given: Vec<_> = good[..begun].iter().chain(rest).cloned().collect();
                    if given.len() != good.len() {
                        let verdict = watched(&all, &filter, &given, 16);
                        assert!(!verdict.is_right(), "{filter:?}");
                    }
                }
            }
        }
    }
}
