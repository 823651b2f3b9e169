//! Rules that put packets into zones, read from `nf_tables`.
//!
//! The kernel gives a list in pieces, and goes on behind as many rules as it has gone through
//! (`__nf_tables_dump_rules`). Every change that is made counts the generation up, so a list between
//! two equal generations has none in it. But rules of a change that is tried and given up (`nft
//! --check`) are among those that it goes through for a while, and with them gone it passes over as
//! many others without a word, or over all the rest. Within a piece it passes over none. So:
//!
//! - A rule says which one is before it in its chain. Where that is not the one that was read before
//!   it, something is missing, or was given twice.
//! - What is missing where a chain ends, or the list, is missing behind the end of a piece: also behind
//!   the only one that came. So rules are read until several readings are the same whose pieces end
//!   elsewhere: what was passed over in one is in the middle of a piece of another.
//!
//! Elements of maps are counted in the same way (`nf_tables_dump_set`), and are read as often.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use nix::errno::Errno;
use tracing::warn;

use super::Session;
use super::trace::{Conversation, converse};
use crate::error::{Error, Operation, Result};
use crate::link::{Answer, Dump, DumpState, Link, Pooled, RECEIVE_SIZE};
use crate::model::{RuleFamily, RuledZones, Zone, ZoneRule};
use crate::wire::{self, Datagram, Deed, Loaded, NETLINK_HEADER, RuleRef};

const OPERATION: Operation = Operation::Rules;

/// How long the first piece of each good reading of a generation may be, in KiB. As the others are of
/// full length, the ends of all are moved.
const FIRST_PIECES: [usize; 12] = [32, 16, 24, 8, 28, 12, 20, 10, 30, 14, 22, 18];

/// How often the rules are read, good and bad.
const READINGS: usize = 20;

/// So many readings that are the same tell the truth, if at no place all of them could have passed
/// over rules between two chains.
const ALIKE: usize = 3;

/// The same where they could: before rules so long that pieces of any kind end there.
const ALIKE_LONG: usize = 6;

/// A number that changes with every change of the namespace's rules (`NFTA_GEN_ID`). `None` where
/// the kernel has no `nf_tables`, and so no rules. Elements that packets add to a map do not change it;
/// what they may add is among what [`zone_rules`] finds.
fn generation(session: &Session, link: &mut Link) -> Result<Option<u32>> {
    for _ in 0..2 {
        let mut datagram = Datagram::new(link.sequence());
        wire::generation_get(&mut datagram)?;
        let mut result = Err(Error::overrun(OPERATION));
        link.request(OPERATION, &datagram, session.deadline, |_, answer| {
            result = match answer {
                Answer::Payload(payload) => wire::decode_generation(payload)
                    .map(Some)
                    .map_err(|malformed| malformed.error(OPERATION)),
                // `nfnetlink_rcv_msg` says so where nothing has registered for the subsystem, though
                // it asked for the module. Nothing else about this request could be invalid.
                Answer::Outcome(Err(failure)) if failure.errno.is(Errno::EINVAL) => Ok(None),
                Answer::Outcome(Err(failure)) => Err(Error::kernel(OPERATION, failure)),
                Answer::Outcome(Ok(())) => return,
            };
        })?;
        // Two processes that ask for the module at once may be told so for a moment.
        if !matches!(result, Ok(None)) {
            return result;
        }
    }
    Ok(None)
}

/// A link that is about to give a list whose first piece has at most so many bytes, and the
/// generation. That is as long as the longest answer that the socket was ready to take so far
/// (`netlink_dump`), so it gets an answer first.
fn ready(session: &Session, first: usize) -> Result<(Pooled, Option<u32>)> {
    let mut link = if first < RECEIVE_SIZE {
        let mut link = session.pool.fresh()?;
        link.receive_at_most(first);
        link
    } else {
        session.pool.take()?
    };
    let generation = generation(session, &mut link)?;
    if first < RECEIVE_SIZE {
        link.receive_at_most(RECEIVE_SIZE);
    }
    Ok((link, generation))
}

pub(crate) fn zone_rules(session: &Session) -> Result<Vec<ZoneRule>> {
    let mut conversation = Conversation::new(session, OPERATION, None);
    let span = conversation.span.clone();
    let _entered = span.enter();
    let mut best: Option<Best> = None;
    for _ in 0..READINGS {
        let first = best.as_ref().map_or(RECEIVE_SIZE, Best::next_first);
        let (link, generation) = ready(session, first)?;
        let Some(generation) = generation else {
            return Ok(Vec::new());
        };
        let reading = Reading::new(session, link, first, &span)?;
        conversation.bytes += reading.bytes;
        let now = converse(session, OPERATION, None, 0, |link| {
            self::generation(session, link)
        })?;
        let another = best
            .as_ref()
            .is_some_and(|best| best.generation != generation);
        if another || now != Some(generation) {
            warn!("the rules changed while they were read, reading them again");
            best = None;
            continue;
        }
        if !reading.whole {
            continue;
        }
        let best = match &mut best {
            Some(best) => {
                best.compare(reading);
                best
            }
            None => best.insert(Best::new(generation, reading)),
        };
        if best.is_certain() {
            conversation.entries = best.reading.rules.len() as u64;
            return Ok(std::mem::take(&mut best.reading).into_rules());
        }
    }
    Err(Error::unknown(
        OPERATION,
        format!("the rules changed, or changes were tried, while they were read {READINGS} times"),
    ))
}

/// The readings of a generation so far.
struct Best {
    generation: u32,
    /// The longest: rules may be missing from a good reading, but none is there twice.
    reading: Reading,
    /// So many were the same.
    alike: usize,
    /// How many there were, good ones alone.
    readings: usize,
}

impl Best {
    fn new(generation: u32, reading: Reading) -> Self {
        Self {
            generation,
            reading,
            alike: 1,
            readings: 1,
        }
    }

    /// How long the first piece of the next reading may be. A list ends before a rule that does not
    /// fit a piece, so it has room for the first one.
    fn next_first(&self) -> usize {
        let first = FIRST_PIECES[self.readings % FIRST_PIECES.len()] * 1024;
        first.max(self.reading.first_rule).min(RECEIVE_SIZE)
    }

    fn compare(&mut self, reading: Reading) {
        self.readings += 1;
        if self.reading == reading {
            self.alike += 1;
            self.reading.doubts.retain(|at| reading.doubts.contains(at));
        } else if reading.count >= self.reading.count {
            warn!("rules were passed over, reading them again");
            self.reading = reading;
            self.alike = 1;
        }
    }

    fn is_certain(&self) -> bool {
        // A first piece of full length that is empty has gone through the list to its end.
        if self.reading.count == 0 && self.readings == 1 {
            return true;
        }
        self.alike >= ALIKE && (self.reading.doubts.is_empty() || self.alike >= ALIKE_LONG)
    }
}

/// All rules, read once.
#[derive(Default)]
struct Reading {
    /// Those that set a zone.
    rules: Vec<ZoneRule>,
    /// Which of them take it from which map.
    from_maps: Vec<(usize, usize)>,
    /// What is in the maps, in the order in which they were first met: thousands of rules may look into
    /// one, so it is compared once.
    maps: Vec<RuledZones>,
    /// How many there are, whatever they do.
    count: u64,
    /// What comes of all rules, in their order.
    digest: u64,
    /// How many rules were read when a piece began with the first rule of a chain: of chains before it
    /// the end may be missing, and whole ones.
    doubts: BTreeSet<u64>,
    /// Bytes of the first rule.
    first_rule: usize,
    /// Nothing was lost, nothing changed as far as the kernel said, and no rule shows that another one
    /// is missing before it.
    whole: bool,
    bytes: u64,
}

/// The same was found.
impl PartialEq for Reading {
    fn eq(&self, other: &Self) -> bool {
        let found = |reading: &Self| (reading.count, reading.digest);
        found(self) == found(other)
            && self.rules == other.rules
            && self.from_maps == other.from_maps
            && self.maps == other.maps
    }
}

/// Whether rules follow one upon the other.
#[derive(Default)]
struct Sequence {
    /// All so far.
    chains: HashSet<Place>,
    /// That of the last rule, and its handle.
    last: Option<(Place, u64)>,
}

impl Sequence {
    /// `None` if something is missing before this rule, or if it was there already. Otherwise whether
    /// it is the first of its chain.
    fn next(&mut self, rule: RuleRef<'_>) -> Option<bool> {
        if let Some(((family, table, chain), handle)) = &mut self.last {
            if (*family, &table[..], &chain[..]) == (rule.family, rule.table, rule.chain) {
                let follows = rule.behind == Some(*handle);
                *handle = rule.handle;
                return follows.then_some(false);
            }
        }
        let chain = (rule.family, rule.table.to_vec(), rule.chain.to_vec());
        let new = rule.behind.is_none() && self.chains.insert(chain.clone());
        self.last = Some((chain, rule.handle));
        new.then_some(true)
    }
}

/// Family, table and name.
type Place = (u8, Vec<u8>, Vec<u8>);

/// What may be looked up.
#[derive(Clone, Default)]
struct Values {
    numbers: BTreeSet<u16>,
    others: bool,
}

impl Values {
    fn zones(&self) -> RuledZones {
        if self.others {
            return RuledZones::Any;
        }
        RuledZones::These(self.numbers.iter().copied().map(Zone::new).collect())
    }
}

impl Reading {
    fn new(session: &Session, link: Pooled, first: usize, span: &tracing::Span) -> Result<Self> {
        let mut reading = Self {
            whole: true,
            ..Self::default()
        };
        let mut digest = DefaultHasher::new();
        let mut sequence = Sequence::default();
        let mut pieces = 0;
        let mut filled: HashMap<Place, Values> = HashMap::new();
        let mut maps: HashMap<Place, usize> = HashMap::new();
        let mut dump = Dump::start(link, OPERATION, session.deadline, true, wire::rules_dump)?
            .within(span.clone());
        while let Some(range) = dump.advance()? {
            let length = range.len() + NETLINK_HEADER;
            let rule = wire::decode_rule(dump.payload(range), |rule, deed| match deed {
                Deed::SetsZone {
                    zone,
                    direction,
                    by,
                } => {
                    let zones = match zone {
                        Loaded::Number(zone) => RuledZones::These([Zone::new(zone)].into()),
                        Loaded::Anything => RuledZones::Any,
                        Loaded::From(map) => {
                            let next = maps.len();
                            let map = *maps.entry(map_of(rule, map)).or_insert(next);
                            reading.from_maps.push((reading.rules.len(), map));
                            RuledZones::Any
                        }
                    };
                    reading.rules.push(ZoneRule {
                        family: RuleFamily::new(rule.family),
                        table: String::from_utf8_lossy(rule.table).into_owned(),
                        chain: String::from_utf8_lossy(rule.chain).into_owned(),
                        handle: rule.handle,
                        zones,
                        direction,
                        by,
                    });
                }
                Deed::Fills { map, value } => {
                    let values = filled.entry(map_of(rule, map)).or_default();
                    match value {
                        Loaded::Number(number) => drop(values.numbers.insert(number)),
                        Loaded::From(_) | Loaded::Anything => values.others = true,
                    }
                }
            });
            // A rule that cannot be read may set any zone.
            let rule = rule.map_err(|malformed| malformed.error(OPERATION))?;
            rule.hash(&mut digest);
            let begins_piece = dump.state().pieces > pieces;
            pieces = dump.state().pieces;
            match sequence.next(rule) {
                Some(true) if begins_piece => drop(reading.doubts.insert(reading.count)),
                Some(_) => {}
                None => reading.whole = false,
            }
            if reading.count == 0 {
                reading.first_rule = length;
            }
            reading.count += 1;
        }
        reading.note(dump.state());
        drop(dump);
        reading.digest = digest.finish();
        if !reading.whole {
            span.in_scope(|| warn!("rules were lost or passed over"));
            return Ok(reading);
        }
        reading.look_up(session, first, span, filled, maps)?;
        Ok(reading)
    }

    /// Reads what is in the maps.
    fn look_up(
        &mut self,
        session: &Session,
        first: usize,
        span: &tracing::Span,
        mut filled: HashMap<Place, Values>,
        maps: HashMap<Place, usize>,
    ) -> Result<()> {
        let mut maps: Vec<(Place, usize)> = maps.into_iter().collect();
        maps.sort_unstable_by_key(|(_, met)| *met);
        for (map, _) in maps {
            let mut values = filled.remove(&map).unwrap_or_default();
            self.elements(session, first, span, &map, &mut values)?;
            self.maps.push(values.zones());
        }
        Ok(())
    }

    /// The rules, with what is in the maps for what comes from them.
    fn into_rules(mut self) -> Vec<ZoneRule> {
        for (rule, map) in self.from_maps {
            if let (Some(rule), Some(zones)) = (self.rules.get_mut(rule), self.maps.get(map)) {
                rule.zones = zones.clone();
            }
        }
        self.rules
    }

    fn elements(
        &mut self,
        session: &Session,
        first: usize,
        span: &tracing::Span,
        map: &Place,
        values: &mut Values,
    ) -> Result<()> {
        let (family, table, name) = map.clone();
        let request =
            move |datagram: &mut Datagram| wire::elements_dump(datagram, family, &table, &name);
        let (link, _) = ready(session, first)?;
        let mut dump =
            Dump::start(link, OPERATION, session.deadline, true, request)?.within(span.clone());
        loop {
            let range = match dump.advance() {
                Ok(Some(range)) => range,
                Ok(None) => break,
                // It is gone, and the rule with it.
                Err(error) if error.is_not_found() => {
                    self.whole = false;
                    break;
                }
                Err(error) => return Err(error),
            };
            wire::decode_elements(dump.payload(range), |value| {
                values.numbers.insert(value);
            })
            .map_err(|malformed| malformed.error(OPERATION))?;
        }
        self.note(dump.state());
        Ok(())
    }

    fn note(&mut self, state: DumpState) {
        self.whole &= !state.incomplete;
        self.bytes += state.bytes;
    }
}

fn map_of(rule: RuleRef<'_>, map: &[u8]) -> Place {
    (rule.family, rule.table.to_vec(), map.to_vec())
}
