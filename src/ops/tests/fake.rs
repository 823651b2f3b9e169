//! A kernel with a small table, that answers as a real one does, quirks included.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use super::*;
use crate::link::script::Asked;
use crate::model::{Family, FilterShape, KernelFilter, KernelTuple, Mark, Protocol, Status};
use crate::wire::EntryRef;
use crate::wire::attr::{
    CTA_FILTER, CTA_IP_V4_DST, CTA_IP_V4_SRC, CTA_IP_V6_DST, CTA_IP_V6_SRC, CTA_PROTO_DST_PORT,
    CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_STATUS_MASK, CTA_TUPLE_IP, CTA_TUPLE_PROTO,
};

/// What a kernel gets wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quirk {
    Nothing,
    IgnoresZone,
    IgnoresMark,
    IgnoresStatus,
    IgnoresTuples,
    IgnoresFamily,
    /// Finds what its tuple filter should leave out.
    Inverts,
    /// Leaves out every other match of a list.
    Omits,
    /// Takes a flush with a filter for one of everything.
    FlushesAll,
}

pub(super) const QUIRKS: [Quirk; 9] = [
    Quirk::Nothing,
    Quirk::IgnoresZone,
    Quirk::IgnoresMark,
    Quirk::IgnoresStatus,
    Quirk::IgnoresTuples,
    Quirk::IgnoresFamily,
    Quirk::Inverts,
    Quirk::Omits,
    Quirk::FlushesAll,
];

#[derive(Clone)]
pub(super) struct Row {
    pub(super) new: NewEntry,
    pub(super) id: Option<u32>,
    /// What a delete of it comes to instead.
    pub(super) refused: Option<Nix>,
}

type Hook = Box<dyn FnMut(&mut Vec<Row>) + Send>;

pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    /// What flushes removed: it can be made again.
    gone: Vec<Row>,
    quirk: Quirk,
    /// Happens after each list.
    then: Option<Hook>,
    /// Lists give every entry twice.
    pub(super) twice: bool,
    /// Lists after this many are refused.
    pub(super) lists: usize,
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
        };
        let table = Arc::new(Mutex::new(Table {
            rows: (1..).zip(entries).map(row).collect(),
            gone: Vec::new(),
            quirk,
            then: None,
            twice: false,
            lists: usize::MAX,
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
    /// Whether a flush would remove it.
    pub(super) fn flushes(&self, filter: &KernelFilter, entry: &Entry) -> bool {
        self.quirk == Quirk::FlushesAll || self.finds(filter, entry)
    }

    fn finds(&self, filter: &KernelFilter, entry: &Entry) -> bool {
        let without = |shape: FilterShape| filter.restricted(!shape).matches(entry);
        match self.quirk {
            Quirk::IgnoresZone => without(FilterShape::ZONE | FilterShape::ZONE_0),
            Quirk::IgnoresMark => without(FilterShape::MARK | FilterShape::MARK_MASK),
            Quirk::IgnoresStatus => without(FilterShape::STATUS),
            Quirk::IgnoresTuples => without(FilterShape::TUPLES),
            Quirk::IgnoresFamily => without(FilterShape::FAMILY),
            Quirk::Inverts if filter.shape().intersects(FilterShape::TUPLES) => {
                without(FilterShape::TUPLES) && !filter.matches(entry)
            }
            _ => filter.matches(entry),
        }
    }

    fn answer(&mut self, asked: &[Asked]) -> Vec<Event> {
        let mut answers = Vec::new();
        for message in asked {
            let sequence = message.sequence;
            if message.kind == GET && message.flags & DUMP == DUMP {
                return vec![self.list(message)];
            }
            let done = match message.kind {
                DELETE => self.delete(message),
                NEW if message.flags & CREATE == CREATE => self.create(message),
                other => panic!("{other:#x} is not played"),
            };
            match done {
                Err(errno) => answers.push(refusal(sequence, errno)),
                Ok(()) if message.flags & 4 != 0 => answers.push(ack(sequence)),
                Ok(()) => {}
            }
        }
        vec![says(answers)]
    }

    fn list(&mut self, message: &Asked) -> Event {
        if self.lists == 0 {
            return says([refusal(message.sequence, Nix::EPERM)]);
        }
        self.lists -= 1;
        let filter = filter_of(&message.payload);
        let mut answers = Vec::new();
        let mut omit = false;
        for row in &self.rows {
            if !self.finds(&filter, row.new.entry()) {
                continue;
            }
            omit = !omit;
            if self.quirk == Quirk::Omits && omit && !filter.shape().is_empty() {
                continue;
            }
            let more: Vec<_> = row.id.map(id).into_iter().collect();
            let said = found(message.sequence, &reported(&row.new, &more));
            if self.twice {
                answers.push(said.clone());
            }
            answers.push(said);
        }
        answers.push(done(message.sequence));
        if let Some(hook) = &mut self.then {
            hook(&mut self.rows);
        }
        says(answers)
    }

    /// Of what was there before.
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
        self.rows.push(self.gone.remove(place));
        Ok(())
    }

    fn delete(&mut self, message: &Asked) -> Result<(), Nix> {
        let has = |kind| attribute(&message.payload, kind).is_some();
        if has(CTA_FILTER) || !has(CTA_TUPLE_ORIG) {
            let filter = filter_of(&message.payload);
            self.flushed.push(filter);
            let rows = std::mem::take(&mut self.rows).into_iter();
            let (gone, stay) = rows.partition(|row| self.flushes(&filter, row.new.entry()));
            self.rows = stay;
            self.gone = gone;
            return Ok(());
        }
        let key = EntryRef::decode(&message.payload).unwrap();
        let (tuple, zone) = (key.orig().unwrap(), key.zone().unwrap());
        // A look-up goes by tuple and zone; the id is compared with what it found.
        let found = self
            .rows
            .iter()
            .position(|row| (row.new.entry().orig(), row.new.entry().zone()) == (&tuple, zone));
        let place = found.ok_or(Nix::ENOENT)?;
        let row = &self.rows[place];
        if attribute(&message.payload, CTA_ID).is_some_and(|id| row.id != Some(word(&id))) {
            return Err(Nix::ENOENT);
        }
        if let Some(errno) = row.refused {
            return Err(errno);
        }
        self.rows.remove(place);
        Ok(())
    }
}
