//! Rules that put packets into zones, read from `nf_tables`.
//!
//! The kernel gives a list in pieces, and goes on behind as many rules as it has gone through
//! (`__nf_tables_dump_rules`). Every change that is made counts the generation up, so a list between
//! two equal generations has none in it. But rules of a change that is tried and given up (`nft
//! --check`) are among those that it goes through for a while, and with them gone it would pass over
//! others without a word. So a list of several pieces is read again until two are the same.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use nix::errno::Errno;
use tracing::warn;

use super::Session;
use super::trace::{Conversation, converse};
use crate::error::{Error, Operation, Result};
use crate::link::{Answer, Dump, DumpState, Link, Pooled};
use crate::model::{RuleFamily, RuledZones, Zone, ZoneRule};
use crate::wire::{self, Datagram, Deed, Loaded, RuleRef};

const OPERATION: Operation = Operation::Rules;

/// How often the rules are read until nothing has changed meanwhile.
const READINGS: u32 = 5;

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

pub(crate) fn zone_rules(session: &Session) -> Result<Vec<ZoneRule>> {
    let mut conversation = Conversation::new(session, OPERATION, None);
    let span = conversation.span.clone();
    let _entered = span.enter();
    let mut before: Option<(u32, Reading)> = None;
    for _ in 0..READINGS {
        // The first piece of a list is as long as the longest answer that the socket was ready to
        // take so far (`netlink_dump`), and a rule that does not fit ends the list. So the socket
        // gets an answer first.
        let mut link = session.pool.take()?;
        let Some(generation) = generation(session, &mut link)? else {
            return Ok(Vec::new());
        };
        let reading = Reading::new(session, link, &span)?;
        conversation.bytes += reading.bytes;
        let now = converse(session, OPERATION, None, 0, |link| {
            self::generation(session, link)
        })?;
        if !reading.whole || now != Some(generation) {
            warn!("the rules changed while they were read, reading them again");
            before = None;
            continue;
        }
        let now = (generation, reading);
        if !now.1.in_pieces || before.is_some_and(|before| before == now) {
            conversation.entries = now.1.rules.len() as u64;
            return Ok(now.1.rules);
        }
        before = Some(now);
    }
    Err(Error::unknown(
        OPERATION,
        format!("the rules changed each of the {READINGS} times that they were read"),
    ))
}

/// All rules, read once.
#[derive(Default)]
struct Reading {
    /// Those that set a zone.
    rules: Vec<ZoneRule>,
    /// What comes of all rules, in their order.
    digest: u64,
    /// More than one piece of a list was needed.
    in_pieces: bool,
    /// Nothing was lost, and nothing changed as far as the kernel said.
    whole: bool,
    bytes: u64,
}

/// The same was found.
impl PartialEq for Reading {
    fn eq(&self, other: &Self) -> bool {
        (self.digest, &self.rules) == (other.digest, &other.rules)
    }
}

/// Family, table and name of a map.
type Map = (u8, Vec<u8>, Vec<u8>);

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
    fn new(session: &Session, link: Pooled, span: &tracing::Span) -> Result<Self> {
        let mut reading = Self {
            whole: true,
            ..Self::default()
        };
        let mut digest = DefaultHasher::new();
        let mut filled: HashMap<Map, Values> = HashMap::new();
        let mut from_maps: Vec<(usize, Map)> = Vec::new();
        let mut dump = Dump::start(link, OPERATION, session.deadline, true, wire::rules_dump)?
            .within(span.clone());
        while let Some(range) = dump.advance()? {
            let rule = wire::decode_rule(dump.payload(range), |rule, deed| match deed {
                Deed::SetsZone {
                    zone,
                    direction,
                    by,
                } => {
                    let zones = match zone {
                        Loaded::Number(zone) => RuledZones::These(vec![Zone::new(zone)]),
                        Loaded::Anything => RuledZones::Any,
                        Loaded::From(map) => {
                            from_maps.push((reading.rules.len(), map_of(rule, map)));
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
        }
        reading.note(dump.state());
        drop(dump);
        reading.digest = digest.finish();
        reading.look_up(session, span, filled, from_maps)?;
        Ok(reading)
    }

    /// Replaces what comes from maps by what is in them.
    fn look_up(
        &mut self,
        session: &Session,
        span: &tracing::Span,
        mut filled: HashMap<Map, Values>,
        from_maps: Vec<(usize, Map)>,
    ) -> Result<()> {
        let mut known: HashMap<Map, RuledZones> = HashMap::new();
        for (place, map) in from_maps {
            if !known.contains_key(&map) {
                let mut values = filled.remove(&map).unwrap_or_default();
                self.elements(session, span, &map, &mut values)?;
                known.insert(map.clone(), values.zones());
            }
            if let (Some(rule), Some(zones)) = (self.rules.get_mut(place), known.get(&map)) {
                rule.zones = zones.clone();
            }
        }
        Ok(())
    }

    fn elements(
        &mut self,
        session: &Session,
        span: &tracing::Span,
        map: &Map,
        values: &mut Values,
    ) -> Result<()> {
        let (family, table, name) = map.clone();
        let request =
            move |datagram: &mut Datagram| wire::elements_dump(datagram, family, &table, &name);
        let link = session.pool.take()?;
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
        self.in_pieces |= state.pieces > 1;
        self.whole &= !state.incomplete;
        self.bytes += state.bytes;
    }
}

fn map_of(rule: RuleRef<'_>, map: &[u8]) -> Map {
    (rule.family, rule.table.to_vec(), map.to_vec())
}
