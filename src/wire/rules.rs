//! Rules: the messages of `NFNL_SUBSYS_NFTABLES` that tell which zones packets are put into.
//!
//! A rule is a list of expressions that work on registers. A zone is set from a register
//! (`nft_ct_set_zone_eval`), so what the expressions before it loaded there is followed: a number, or
//! what a map gives. Whatever else may have written to a register makes its value unknown. Names are
//! bytes here: the kernel takes any.

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_netfilter::{NetfilterProtoFamily, NetfilterSubsystem};

use super::Malformed;
#[allow(clippy::wildcard_imports, reason = "numbers of attributes")]
use super::attr::*;
use super::entry_ref::{BODY, attributes};
use super::path::{Path, Root};
use super::reader::{Attr, Attrs};
use super::writer::Datagram;
use crate::error::Result;
use crate::model::{Direction, RuledBy};

/// `NFNL_SUBSYS_NFTABLES`
const NFTABLES: NetfilterSubsystem = NetfilterSubsystem::NfTables;

// `NFT_MSG_*`
const GET_RULE: u8 = 7;
const GET_ELEMENTS: u8 = 13;
const GET_GENERATION: u8 = 16;

/// `NFT_CT_ZONE`
const ZONE: u32 = 17;
/// `NFT_SET_ELEM_INTERVAL_END`
const INTERVAL_END: u32 = 1;

// `enum` of `linux/netfilter/xt_CT.h`
const XT_CT_NOTRACK: u16 = 1;
const XT_CT_ZONE_DIR_ORIG: u16 = 4;
const XT_CT_ZONE_DIR_REPL: u16 = 8;
const XT_CT_ZONE_MARK: u16 = 16;
/// Revisions of the target whose layout is known.
const XT_CT_REVISIONS: u32 = 2;

/// Expressions that write to no register, or only where that is read from their attributes.
const READERS: [&[u8]; 23] = [
    b"cmp",
    b"range",
    b"counter",
    b"log",
    b"limit",
    b"reject",
    b"masq",
    b"nat",
    b"redir",
    b"tproxy",
    b"synproxy",
    b"notrack",
    b"queue",
    b"quota",
    b"connlimit",
    b"last",
    b"dup",
    b"fwd",
    b"objref",
    b"dynset",
    b"flow_offload",
    b"match",
    b"target",
];

pub(crate) fn generation_get(datagram: &mut Datagram) -> Result<()> {
    let family = NetfilterProtoFamily::Unspec;
    datagram.message_to(NFTABLES, GET_GENERATION, 0, family, |_| {})
}

/// The rules of all tables of all families.
pub(crate) fn rules_dump(datagram: &mut Datagram) -> Result<()> {
    let family = NetfilterProtoFamily::Unspec;
    datagram.message_to(NFTABLES, GET_RULE, NLM_F_DUMP, family, |_| {})
}

/// The elements of a set or map.
pub(crate) fn elements_dump(
    datagram: &mut Datagram,
    family: u8,
    table: &[u8],
    set: &[u8],
) -> Result<()> {
    let family = NetfilterProtoFamily::from(family);
    datagram.message_to(NFTABLES, GET_ELEMENTS, NLM_F_DUMP, family, |w| {
        w.bytes(NFTA_SET_ELEM_LIST_TABLE, table);
        w.bytes(NFTA_SET_ELEM_LIST_SET, set);
    })
}

pub(crate) fn decode_generation(payload: &[u8]) -> Result<u32, Malformed> {
    let mut attrs = Attrs::new(attributes(payload)?, BODY, Path::root(Root::RuleGeneration));
    let mut generation = None;
    while let Some(attr) = attrs.next() {
        if attr.kind == NFTA_GEN_ID {
            generation = Some(attrs.be32(attr)?);
        }
    }
    attrs.finish()?;
    generation.ok_or_else(|| attrs.lacks("NFTA_GEN_ID is missing"))
}

/// Which rule it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RuleRef<'a> {
    pub(crate) family: u8,
    pub(crate) table: &'a [u8],
    pub(crate) chain: &'a [u8],
    pub(crate) handle: u64,
    /// The handle of the rule before it in its chain. In a list that is the one that is in force, also
    /// where the list passed over it (`__nf_tables_dump_rules`).
    pub(crate) behind: Option<u64>,
}

/// What a rule does that has to do with zones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed<'a> {
    /// Puts packets into a zone.
    SetsZone {
        zone: Loaded<'a>,
        direction: Option<Direction>,
        by: RuledBy,
    },
    /// Packets that meet it add an element with this value to a map.
    Fills { map: &'a [u8], value: Loaded<'a> },
}

/// What a register holds, as far as its first two bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loaded<'a> {
    Number(u16),
    /// What the map of this name has for the packet.
    From(&'a [u8]),
    Anything,
}

/// Hands over what a rule does, in its order.
pub(crate) fn decode_rule<'a>(
    payload: &'a [u8],
    mut deed: impl FnMut(RuleRef<'a>, Deed<'a>),
) -> Result<RuleRef<'a>, Malformed> {
    let body = attributes(payload)?;
    let mut attrs = Attrs::new(body, BODY, Path::root(Root::Rule));
    let (mut table, mut chain, mut handle, mut expressions) = (None, None, None, None);
    let mut behind = None;
    while let Some(attr) = attrs.next() {
        match attr.kind {
            NFTA_RULE_TABLE => table = Some(name(attr)),
            NFTA_RULE_CHAIN => chain = Some(name(attr)),
            NFTA_RULE_HANDLE => handle = Some(attrs.be64(attr)?),
            NFTA_RULE_POSITION => behind = Some(attrs.be64(attr)?),
            NFTA_RULE_EXPRESSIONS => expressions = Some(attr),
            _ => {}
        }
    }
    attrs.finish()?;
    let (Some(table), Some(chain), Some(handle)) = (table, chain, handle) else {
        return Err(attrs.lacks("table, chain or handle is missing"));
    };
    let rule = RuleRef {
        // `nfgen_family`
        family: payload.first().copied().unwrap_or_default(),
        table,
        chain,
        handle,
        behind,
    };
    // A rule without expressions has none at all.
    if let Some(expressions) = expressions {
        let mut list = attrs.nested(expressions);
        let mut registers = Registers::new();
        while let Some(attr) = list.next() {
            if let Some(done) = registers.expression(list.nested(attr))? {
                deed(rule, done);
            }
        }
        list.finish()?;
    }
    Ok(rule)
}

/// A text's bytes, without the zero that closes it.
fn name(attr: Attr<'_>) -> &[u8] {
    let end = attr.value.iter().position(|byte| *byte == 0);
    attr.value
        .get(..end.unwrap_or(attr.value.len()))
        .unwrap_or_default()
}

/// A register is 4 bytes here.
const REGISTERS: usize = 16;

/// `nft_parse_register`: registers have an old numbering of 16 bytes each and a new one of 4.
/// `None` for that of the verdict.
fn place(register: u32) -> Option<usize> {
    let place = match register {
        1..=4 => (register - 1) * 4,
        8..=23 => register - 8,
        _ => return None,
    };
    usize::try_from(place).ok()
}

/// What the registers hold while the expressions of a rule are gone through.
struct Registers<'a>([Loaded<'a>; REGISTERS]);

impl<'a> Registers<'a> {
    /// Rules of a chain share the registers, so nothing is known of them in the beginning.
    fn new() -> Self {
        Self([Loaded::Anything; REGISTERS])
    }

    /// `value` begins at this register, and goes on into those behind it, nobody knows how far.
    fn load(&mut self, register: u32, value: Loaded<'a>) {
        let Some(place) = place(register) else {
            return;
        };
        for (at, held) in self.0.iter_mut().enumerate().skip(place) {
            *held = if at == place { value } else { Loaded::Anything };
        }
    }

    fn held(&self, register: u32) -> Loaded<'a> {
        let held = place(register).and_then(|place| self.0.get(place));
        held.copied().unwrap_or(Loaded::Anything)
    }

    /// One expression, `NFTA_LIST_ELEM`.
    fn expression(&mut self, mut attrs: Attrs<'a>) -> Result<Option<Deed<'a>>, Malformed> {
        let (mut called, mut data) = (&[][..], None);
        while let Some(attr) = attrs.next() {
            match attr.kind {
                NFTA_EXPR_NAME => called = name(attr),
                NFTA_EXPR_DATA => data = Some(attr),
                _ => {}
            }
        }
        attrs.finish()?;
        // Paths are at most four deep: that of what is inside begins anew.
        let inside = |root| {
            let (value, at) = data.map_or((&[][..], BODY), |attr| (attr.value, attr.at));
            Attrs::new(value, at, Path::root(root))
        };
        match called {
            b"immediate" => self.immediate(inside(Root::RuleImmediate)).map(|()| None),
            b"lookup" => self.lookup(inside(Root::RuleLookup)).map(|()| None),
            b"ct" => self.ct(inside(Root::RuleCt)),
            b"dynset" => self.dynset(inside(Root::RuleDynset)),
            b"target" => target(inside(Root::RuleTarget)),
            other => {
                if !READERS.contains(&other) {
                    *self = Self::new();
                }
                Ok(None)
            }
        }
    }

    fn immediate(&mut self, mut attrs: Attrs<'a>) -> Result<(), Malformed> {
        let (mut register, mut value) = (None, Loaded::Anything);
        while let Some(attr) = attrs.next() {
            match attr.kind {
                NFTA_IMMEDIATE_DREG => register = Some(attrs.be32(attr)?),
                NFTA_IMMEDIATE_DATA => {
                    if let Some(number) = first_half(attrs.nested(attr))? {
                        value = Loaded::Number(number);
                    }
                }
                _ => {}
            }
        }
        attrs.finish()?;
        let Some(register) = register else {
            return Err(attrs.lacks("NFTA_IMMEDIATE_DREG is missing"));
        };
        self.load(register, value);
        Ok(())
    }

    fn lookup(&mut self, mut attrs: Attrs<'a>) -> Result<(), Malformed> {
        let (mut register, mut set) = (None, None);
        while let Some(attr) = attrs.next() {
            match attr.kind {
                NFTA_LOOKUP_SET => set = Some(name(attr)),
                NFTA_LOOKUP_DREG => register = Some(attrs.be32(attr)?),
                _ => {}
            }
        }
        attrs.finish()?;
        let Some(set) = set else {
            return Err(attrs.lacks("NFTA_LOOKUP_SET is missing"));
        };
        // Without one it only asks whether something is in a set.
        if let Some(register) = register {
            self.load(register, Loaded::From(set));
        }
        Ok(())
    }

    fn ct(&mut self, mut attrs: Attrs<'a>) -> Result<Option<Deed<'a>>, Malformed> {
        let (mut key, mut from, mut to, mut direction) = (None, None, None, None);
        while let Some(attr) = attrs.next() {
            match attr.kind {
                NFTA_CT_KEY => key = Some(attrs.be32(attr)?),
                NFTA_CT_SREG => from = Some(attrs.be32(attr)?),
                NFTA_CT_DREG => to = Some(attrs.be32(attr)?),
                // `IP_CT_DIR_*`
                NFTA_CT_DIRECTION => {
                    direction = match attrs.u8(attr)? {
                        0 => Some(Direction::Original),
                        1 => Some(Direction::Reply),
                        _ => None,
                    }
                }
                _ => {}
            }
        }
        attrs.finish()?;
        let Some(key) = key else {
            return Err(attrs.lacks("NFTA_CT_KEY is missing"));
        };
        if let Some(to) = to {
            self.load(to, Loaded::Anything);
        }
        Ok(match from {
            Some(from) if key == ZONE => Some(Deed::SetsZone {
                zone: self.held(from),
                direction,
                by: RuledBy::Nftables,
            }),
            _ => None,
        })
    }

    fn dynset(&self, mut attrs: Attrs<'a>) -> Result<Option<Deed<'a>>, Malformed> {
        let (mut map, mut from) = (None, None);
        while let Some(attr) = attrs.next() {
            match attr.kind {
                NFTA_DYNSET_SET_NAME => map = Some(name(attr)),
                NFTA_DYNSET_SREG_DATA => from = Some(attrs.be32(attr)?),
                _ => {}
            }
        }
        attrs.finish()?;
        let Some(map) = map else {
            return Err(attrs.lacks("NFTA_DYNSET_SET_NAME is missing"));
        };
        // Without a value it is a set that is filled.
        Ok(from.map(|from| Deed::Fills {
            map,
            value: self.held(from),
        }))
    }
}

/// `xt_CT`, of which all revisions begin with the flags and the zone.
fn target(mut attrs: Attrs<'_>) -> Result<Option<Deed<'_>>, Malformed> {
    let (mut called, mut revision, mut info) = (&[][..], 0, None);
    while let Some(attr) = attrs.next() {
        match attr.kind {
            NFTA_TARGET_NAME => called = name(attr),
            NFTA_TARGET_REV => revision = attrs.be32(attr)?,
            NFTA_TARGET_INFO => info = Some(attr),
            _ => {}
        }
    }
    attrs.finish()?;
    if called != b"CT" {
        return Ok(None);
    }
    let Some(info) = info else {
        return Err(attrs.lacks("NFTA_TARGET_INFO is missing"));
    };
    let Some([a, b, c, d]) = info.value.first_chunk::<4>() else {
        return Err(attrs.wrong(info, "shorter than flags and zone"));
    };
    let (flags, zone) = (u16::from_ne_bytes([*a, *b]), u16::from_ne_bytes([*c, *d]));
    // `xt_ct_flags_to_dir`: both at once mean both directions.
    let directions = flags & (XT_CT_ZONE_DIR_ORIG | XT_CT_ZONE_DIR_REPL);
    let zone = if revision > XT_CT_REVISIONS {
        Loaded::Anything
    } else if flags & XT_CT_NOTRACK != 0 {
        return Ok(None);
    } else if flags & XT_CT_ZONE_MARK != 0 {
        Loaded::Anything
    } else if zone == 0 && directions == 0 {
        // Only a helper, a time-out or events.
        return Ok(None);
    } else {
        Loaded::Number(zone)
    };
    Ok(Some(Deed::SetsZone {
        zone,
        direction: match directions {
            XT_CT_ZONE_DIR_ORIG => Some(Direction::Original),
            XT_CT_ZONE_DIR_REPL => Some(Direction::Reply),
            _ => None,
        },
        by: RuledBy::Iptables,
    }))
}

/// The first two bytes of a value, in the order of the host, as `nft_reg_load16` has them. `None`
/// for a verdict.
fn first_half(mut attrs: Attrs<'_>) -> Result<Option<u16>, Malformed> {
    let mut half = None;
    while let Some(attr) = attrs.next() {
        if attr.kind == NFTA_DATA_VALUE {
            half = match *attr.value {
                [first, second, ..] => Some(u16::from_ne_bytes([first, second])),
                // `nft_data_copy` fills up with zeros.
                [first] => Some(u16::from_ne_bytes([first, 0])),
                [] => return Err(attrs.wrong(attr, "empty")),
            };
        }
    }
    attrs.finish()?;
    Ok(half)
}

/// Hands over the value of each element of a map, as far as its first two bytes go.
pub(crate) fn decode_elements(payload: &[u8], mut value: impl FnMut(u16)) -> Result<(), Malformed> {
    let mut attrs = Attrs::new(attributes(payload)?, BODY, Path::root(Root::RuleElements));
    while let Some(attr) = attrs.next() {
        if attr.kind == NFTA_SET_ELEM_LIST_ELEMENTS {
            let mut list = attrs.nested(attr);
            while let Some(attr) = list.next() {
                if let Some(number) = element(list.nested(attr))? {
                    value(number);
                }
            }
            list.finish()?;
        }
    }
    attrs.finish()
}

/// Elements that only end an interval have no value.
fn element(mut attrs: Attrs<'_>) -> Result<Option<u16>, Malformed> {
    let (mut flags, mut value) = (0, None);
    while let Some(attr) = attrs.next() {
        match attr.kind {
            NFTA_SET_ELEM_FLAGS => flags = attrs.be32(attr)?,
            NFTA_SET_ELEM_DATA => {
                // Paths are at most four deep.
                let data = Attrs::new(attr.value, attr.at, Path::root(Root::RuleData));
                value = first_half(data)?;
            }
            _ => {}
        }
    }
    attrs.finish()?;
    if value.is_none() && flags & INTERVAL_END == 0 {
        return Err(attrs.lacks("NFTA_SET_ELEM_DATA is missing"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
