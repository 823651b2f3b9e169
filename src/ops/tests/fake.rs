//! A kernel with a small table, that answers as a real one does, quirks included.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use super::*;
use crate::link::script::Asked;
use crate::model::{
    Direction, Family, FilterShape, KernelFilter, KernelTuple, Mark, Protocol, Status,
};
use crate::ops::probe::{Value, asked, values};
use crate::wire::EntryRef;
use crate::wire::attr::{
    CTA_FILTER, CTA_IP_V4_DST, CTA_IP_V4_SRC, CTA_IP_V6_DST, CTA_IP_V6_SRC, CTA_PROTO_DST_PORT,
    CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_STATUS_MASK, CTA_TUPLE_IP, CTA_TUPLE_PROTO,
};

/// What a kernel gets wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Quirk {
    Nothing,
    /// Pays no heed to a condition.
    Ignores(FilterShape),
    /// Finds what a condition should leave out.
    Inverts(FilterShape),
    /// Leaves out every other match of a list or a flush that has a condition.
    Omits(FilterShape),
    /// Takes a flush with a filter for one of everything.
    FlushesAll,
    /// What a condition asks of one tuple may also be in the other.
    EitherDirection(FilterShape),
    /// What it asks of the source may also be the destination, or the other way round.
    EitherEnd(FilterShape),
    /// Of an address compares one word, or one byte of an IPv4 address.
    OneWord(FilterShape, usize),
    /// Compares the zone of one direction alone.
    ZoneOf(Direction),
}

impl Quirk {
    /// The condition that it concerns.
    pub(super) fn of(self) -> FilterShape {
        match self {
            Self::Nothing | Self::FlushesAll => FilterShape::empty(),
            Self::Ignores(bit)
            | Self::Inverts(bit)
            | Self::Omits(bit)
            | Self::EitherDirection(bit)
            | Self::EitherEnd(bit)
            | Self::OneWord(bit, _) => bit,
            Self::ZoneOf(_) => FilterShape::ZONE | FilterShape::ZONE_0,
        }
    }
}

/// Everything that may be wrong about a request with these conditions.
pub(super) fn quirks(conditions: FilterShape) -> Vec<Quirk> {
    use FilterShape as S;
    let addresses = S::ORIG_SRC | S::ORIG_DST | S::REPLY_SRC | S::REPLY_DST;
    let fields = S::TUPLES - S::ORIG_PROTOCOL - S::REPLY_PROTOCOL;
    let mut all = vec![Quirk::Nothing, Quirk::FlushesAll];
    for bit in conditions.iter() {
        all.extend([Quirk::Ignores(bit), Quirk::Inverts(bit), Quirk::Omits(bit)]);
        if fields.contains(bit) {
            all.extend([Quirk::EitherDirection(bit), Quirk::EitherEnd(bit)]);
        }
        if addresses.contains(bit) {
            all.extend((0..4).map(|word| Quirk::OneWord(bit, word)));
        }
    }
    if conditions.intersects(S::ZONE | S::ZONE_0) {
        all.extend([Direction::Original, Direction::Reply].map(Quirk::ZoneOf));
    }
    all
}

/// How far it is to the same end of the other tuple, and to the other end of the same one.
const OTHER_DIRECTION: usize = 2;
const OTHER_END: usize = 1;

/// Whether an entry has what a condition asks for in another field.
fn elsewhere(filter: &KernelFilter, bit: FilterShape, entry: &Entry, turn: usize) -> bool {
    asked(filter)
        .any(|(field, one, value)| one == bit && values(entry)[field ^ turn] == Some(value))
}

/// Whether one word of an address is as asked for.
fn same_word(filter: &KernelFilter, bit: FilterShape, entry: &Entry, word: usize) -> bool {
    let of = |value: Value| match value {
        Value::Address(IpAddr::V4(address)) => vec![address.octets()[word]],
        Value::Address(IpAddr::V6(address)) => address.octets()[4 * word..][..4].to_vec(),
        Value::Port(_) => Vec::new(),
    };
    asked(filter)
        .any(|(field, one, value)| one == bit && values(entry)[field].map(of) == Some(of(value)))
}

#[derive(Clone)]
pub(super) struct Row {
    pub(super) new: NewEntry,
    pub(super) id: Option<u32>,
    /// What a delete of it comes to instead.
    pub(super) refused: Option<Nix>,
    /// Ends by itself once its delete was refused.
    pub(super) ends: bool,
}

impl Row {
    fn reported(&self, sequence: u32) -> Vec<u8> {
        let more: Vec<_> = self.id.map(id).into_iter().collect();
        found(sequence, &reported(&self.new, &more))
    }
}

type Hook = Box<dyn FnMut(&mut Vec<Row>) + Send>;

pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    /// What flushes removed: it can be made again.
    pub(super) gone: Vec<Row>,
    pub(super) quirk: Quirk,
    /// Which entries it does not make.
    pub(super) refuses: fn(&Entry) -> bool,
    /// Happens after each list.
    then: Option<Hook>,
    /// Lists give so many entries, the same again, and go on; none twice if it is 0.
    pub(super) again: usize,
    /// Lists after this many are refused.
    pub(super) lists: usize,
    /// After so many entries, lists are at an end that is an error.
    pub(super) breaks_after: Option<usize>,
    /// Lists have this in front, which cannot be decoded.
    pub(super) damaged: Option<Vec<u8>>,
    /// The answers to so many datagrams of deletes are lost.
    pub(super) lost: usize,
    /// So many datagrams of deletes are done; the next are not heard of.
    pub(super) silent_after: usize,
    /// Flushes with filters, as they were asked for.
    pub(super) flushed: Vec<KernelFilter>,
}

/// A handle on such a kernel.
pub(super) struct Fake {
    pub(super) kernel: Kernel,
    table: Arc<Mutex<Table>>,
}

impl Fake {
    pub(super) fn new(quirk: Quirk, support: KernelSupport, entries: &[NewEntry]) -> Self {
        let row = |(id, new): (u32, &NewEntry)| Row {
            new: new.clone(),
            id: Some(id),
            refused: None,
            ends: false,
        };
        let table = Arc::new(Mutex::new(Table {
            rows: (1..).zip(entries).map(row).collect(),
            gone: Vec::new(),
            quirk,
            refuses: |_| false,
            then: None,
            again: 0,
            lists: usize::MAX,
            breaks_after: None,
            damaged: None,
            lost: 0,
            silent_after: usize::MAX,
            flushed: Vec::new(),
        }));
        let mut kernel = Kernel::of((0..3).map(|_| {
            let table = Arc::clone(&table);
            Script::new(move |asked| table.lock().unwrap().answer(asked))
        }));
        kernel.session = kernel.session.with_support(Some(support));
        Self { kernel, table }
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap()
    }

    /// Another socket to it.
    pub(super) fn socket(&self) -> Script {
        let table = Arc::clone(&self.table);
        Script::new(move |asked| table.lock().unwrap().answer(asked)).0
    }

    pub(super) fn then(self, hook: impl FnMut(&mut Vec<Row>) + Send + 'static) -> Self {
        self.table().then = Some(Box::new(hook));
        self
    }

    pub(super) fn session(&self) -> &Session {
        &self.kernel.session
    }

    pub(super) fn left(&self) -> Vec<NewEntry> {
        self.table()
            .rows
            .iter()
            .map(|row| row.new.clone())
            .collect()
    }

    /// No delete was sent but those of one entry by tuple and id, and flushes of these filters.
    #[track_caller]
    pub(super) fn assert_flushed(&self, flushes: &[KernelFilter]) {
        let mut blind = 0;
        for log in &self.kernel.logs {
            for asked in log.lock().unwrap().sent.iter().flatten() {
                let has = |kind| attribute(&asked.payload, kind).is_some();
                let one = has(CTA_TUPLE_ORIG) && has(CTA_ID) && !has(CTA_FILTER);
                blind += usize::from(asked.kind == DELETE && !one);
            }
        }
        assert_eq!(blind, flushes.len(), "deletes that name no entry");
        assert_eq!(self.table().flushed, flushes);
    }
}

/// An attribute within the value of another.
fn within(nest: &[u8], kind: u16) -> Option<Vec<u8>> {
    attribute(&[&[0; 4], nest].concat(), kind)
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}

fn half(bytes: &[u8]) -> u16 {
    u16::from_be_bytes(bytes.try_into().unwrap())
}

/// What a request asks the kernel to check, read back from its bytes.
fn filter_of(payload: &[u8]) -> KernelFilter {
    let get = |kind| attribute(payload, kind);
    let tuple = |kind| {
        let mut tuple = KernelTuple::default();
        let Some(nest) = get(kind) else { return tuple };
        if let Some(ip) = within(&nest, CTA_TUPLE_IP) {
            let address = |four, six| {
                let four = within(&ip, four)
                    .map(|bytes| IpAddr::from(<[u8; 4]>::try_from(bytes).unwrap()));
                let six = within(&ip, six)
                    .map(|bytes| IpAddr::from(<[u8; 16]>::try_from(bytes).unwrap()));
                four.or(six)
            };
            tuple.src = address(CTA_IP_V4_SRC, CTA_IP_V6_SRC);
            tuple.dst = address(CTA_IP_V4_DST, CTA_IP_V6_DST);
        }
        if let Some(proto) = within(&nest, CTA_TUPLE_PROTO) {
            tuple.protocol = within(&proto, CTA_PROTO_NUM).map(|number| Protocol::new(number[0]));
            tuple.src_port = within(&proto, CTA_PROTO_SRC_PORT).map(|port| half(&port));
            tuple.dst_port = within(&proto, CTA_PROTO_DST_PORT).map(|port| half(&port));
        }
        tuple
    };
    let filter = KernelFilter {
        family: match payload[0] {
            2 => Some(Family::Ipv4),
            10 => Some(Family::Ipv6),
            _ => None,
        },
        zone: get(CTA_ZONE).map(|zone| Zone::new(half(&zone))),
        mark: get(CTA_MARK).map(|value| {
            let mask = get(CTA_MARK_MASK).expect("a mark without its mask");
            Mark::masked(word(&value), word(&mask)).unwrap()
        }),
        status: get(CTA_STATUS).map(|value| {
            let mask = get(CTA_STATUS_MASK).expect("a status without its mask");
            let status = |bytes: &[u8]| Status::from_bits_retain(word(bytes));
            (status(&value), status(&mask))
        }),
        orig: tuple(CTA_TUPLE_ORIG),
        reply: tuple(CTA_TUPLE_REPLY),
    };
    // The flags say what of the tuples is to be compared.
    let tuples = filter.shape() & FilterShape::TUPLES;
    assert_eq!(get(CTA_FILTER).is_some(), !tuples.is_empty());
    if let Some(nest) = get(CTA_FILTER) {
        let flags = |kind| u32::from_ne_bytes(within(&nest, kind).unwrap().try_into().unwrap());
        // CTA_FILTER_F_CTA_IP_SRC, _IP_DST, _PROTO_NUM, _PROTO_SRC_PORT, _PROTO_DST_PORT
        let shape = |flags: u32| [0, 1, 3, 4, 5].map(|bit| flags >> bit & 1);
        let said = |tuple: &KernelTuple| {
            [
                tuple.src.is_some(),
                tuple.dst.is_some(),
                tuple.protocol.is_some(),
                tuple.src_port.is_some(),
                tuple.dst_port.is_some(),
            ]
            .map(u32::from)
        };
        assert_eq!(shape(flags(1)), said(&filter.orig));
        assert_eq!(shape(flags(2)), said(&filter.reply));
    }
    filter
}

impl Table {
    /// Which of the rows a list gives.
    pub(super) fn listed(&self, filter: &KernelFilter) -> Vec<bool> {
        let omits = matches!(self.quirk, Quirk::Omits(bit) if filter.shape().contains(bit));
        let mut omit = false;
        let given = |row: &Row| {
            let found = self.finds(filter, row.new.entry());
            omit ^= found;
            found && !(omits && omit)
        };
        self.rows.iter().map(given).collect()
    }

    /// Which of them a flush removes.
    pub(super) fn flushes(&self, filter: &KernelFilter) -> Vec<bool> {
        match self.quirk {
            Quirk::FlushesAll => vec![true; self.rows.len()],
            _ => self.listed(filter),
        }
    }

    fn finds(&self, filter: &KernelFilter, entry: &Entry) -> bool {
        let shape = filter.shape();
        let without = |bit| filter.restricted(shape - bit).matches(entry);
        match self.quirk {
            Quirk::Ignores(bit) => without(bit),
            Quirk::Inverts(bit) if shape.contains(bit) => without(bit) && !filter.matches(entry),
            Quirk::EitherDirection(bit) => {
                let there = elsewhere(filter, bit, entry, OTHER_DIRECTION);
                filter.matches(entry) || there && without(bit)
            }
            Quirk::EitherEnd(bit) => {
                let there = elsewhere(filter, bit, entry, OTHER_END);
                filter.matches(entry) || there && without(bit)
            }
            Quirk::OneWord(bit, word) if shape.contains(bit) => {
                without(bit) && same_word(filter, bit, entry, word)
            }
            Quirk::ZoneOf(direction) => {
                let has = match direction {
                    Direction::Original => entry.zone().orig(),
                    Direction::Reply => entry.zone().reply(),
                };
                without(FilterShape::ZONE | FilterShape::ZONE_0)
                    && filter.zone.is_none_or(|zone| zone == has)
            }
            _ => filter.matches(entry),
        }
    }

    /// A look-up goes by a tuple of either direction, in that direction's zone.
    fn place(&self, payload: &[u8]) -> Option<usize> {
        let key = EntryRef::decode(payload).unwrap();
        let (tuple, zone) = (key.orig().unwrap(), key.zone().unwrap());
        self.rows.iter().position(|row| {
            let entry = row.new.entry();
            let is = entry.zone();
            (*entry.orig(), is.orig()) == (tuple, zone.orig())
                || (*entry.reply(), is.reply()) == (tuple, zone.reply())
        })
    }

    fn answer(&mut self, asked: &[Asked]) -> Vec<Event> {
        let mut answers = Vec::new();
        let deletes = asked.iter().all(|message| message.kind == DELETE);
        if deletes && self.silent_after == 0 {
            return Vec::new();
        }
        self.silent_after -= usize::from(deletes);
        for message in asked {
            let sequence = message.sequence;
            if message.kind == GET && message.flags & DUMP == DUMP {
                return self.list(message);
            }
            let done = match message.kind {
                DELETE => self.delete(message),
                NEW if message.flags & CREATE == CREATE => self.create(message),
                GET => {
                    answers.push(self.get(message));
                    continue;
                }
                other => panic!("{other:#x} is not played"),
            };
            match done {
                Err(errno) => answers.push(refusal(sequence, errno)),
                Ok(()) if message.flags & 4 != 0 => answers.push(ack(sequence)),
                Ok(()) => {}
            }
        }
        if deletes && self.lost > 0 {
            self.lost -= 1;
            return vec![Event::Fail(Nix::ENOBUFS)];
        }
        vec![says(answers)]
    }

    fn get(&self, message: &Asked) -> Vec<u8> {
        match self.place(&message.payload) {
            Some(place) => self.rows[place].reported(message.sequence),
            None => refusal(message.sequence, Nix::ENOENT),
        }
    }

    fn list(&mut self, message: &Asked) -> Vec<Event> {
        if self.lists == 0 {
            return vec![says([refusal(message.sequence, Nix::EPERM)])];
        }
        self.lists -= 1;
        let filter = filter_of(&message.payload);
        let listed = self.rows.iter().zip(self.listed(&filter));
        let mut rows: Vec<_> = listed
            .filter(|(_, listed)| *listed)
            .map(|(row, _)| row.reported(message.sequence))
            .collect();
        rows.truncate(self.breaks_after.unwrap_or(usize::MAX));
        let damaged = { self.damaged.iter() }.map(|payload| found(message.sequence, payload));
        let mut answers: Vec<_> = damaged.collect();
        for piece in rows.chunks(self.again.max(1)) {
            let times = if self.again > 0 { 2 } else { 1 };
            answers.extend((0..times).flat_map(|_| piece.iter().cloned()));
        }
        let code = self.breaks_after.map_or(0, |_| -(Nix::ENOMEM as i32));
        answers.push(script::done(message.sequence, PORT, code));
        if let Some(hook) = &mut self.then {
            hook(&mut self.rows);
        }
        // As many as a kernel gives in one piece to one who reads little at once.
        answers.chunks(16).map(says).collect()
    }

    /// Of what was there before, and to where it was: the table is walked by id.
    fn create(&mut self, message: &Asked) -> Result<(), Nix> {
        let key = EntryRef::decode(&message.payload).unwrap();
        let (tuple, zone) = (key.orig().unwrap(), key.zone().unwrap());
        let same = |row: &Row| (row.new.entry().orig(), row.new.entry().zone()) == (&tuple, zone);
        if self.rows.iter().any(same) {
            return Err(Nix::EEXIST);
        }
        let place = self
            .gone
            .iter()
            .position(same)
            .expect("it was there before");
        if (self.refuses)(self.gone[place].new.entry()) {
            return Err(Nix::EOPNOTSUPP);
        }
        let row = self.gone.remove(place);
        let at = self.rows.partition_point(|other| other.id < row.id);
        self.rows.insert(at, row);
        Ok(())
    }

    fn delete(&mut self, message: &Asked) -> Result<(), Nix> {
        let has = |kind| attribute(&message.payload, kind).is_some();
        if has(CTA_FILTER) || !has(CTA_TUPLE_ORIG) {
            let filter = filter_of(&message.payload);
            self.flushed.push(filter);
            let flushes = self.flushes(&filter);
            for (row, goes) in std::mem::take(&mut self.rows).into_iter().zip(flushes) {
                let to = if goes { &mut self.gone } else { &mut self.rows };
                to.push(row);
            }
            return Ok(());
        }
        let place = self.place(&message.payload).ok_or(Nix::ENOENT)?;
        // The id is compared with what was found.
        let row = &self.rows[place];
        if attribute(&message.payload, CTA_ID).is_some_and(|id| row.id != Some(word(&id))) {
            return Err(Nix::ENOENT);
        }
        if let Some(errno) = row.refused {
            if row.ends {
                self.rows.remove(place);
            }
            return Err(errno);
        }
        self.rows.remove(place);
        Ok(())
    }
}
