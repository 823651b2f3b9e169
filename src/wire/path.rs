//! Where an attribute stands in its message.

use std::fmt;

#[allow(clippy::wildcard_imports, reason = "the numbers and tables of names")]
use super::attr::*;

/// Where an attribute stands: the numbers from the top level down, at most four.
///
/// Kept as numbers in one word, so that walking costs next to nothing; names are found only when an
/// error is printed.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Path(u64);

/// An attribute's number has 14 bits; the rest of the word has the depth and the root.
const NUMBER_BITS: u64 = 14;
const DEPTH_SHIFT: u32 = 56;
const ROOT_SHIFT: u32 = 60;
const DEPTH_MAX: u64 = 4;

const PROTOCOL_SHIFT: u32 = 6;

/// How a path says `CTA_TIMEOUT_DATA` of a protocol: the protocol is above the number.
pub(crate) const fn timeout_data(protocol: u8) -> u16 {
    (protocol as u16) << PROTOCOL_SHIFT | CTA_TIMEOUT_DATA
}

/// The number alone, and the protocol above it.
const fn split_data(number: u16) -> (u16, u8) {
    let protocol = (number >> PROTOCOL_SHIFT).to_le_bytes()[0];
    (number & ((1 << PROTOCOL_SHIFT) - 1), protocol)
}

/// Which message the top-level numbers belong to.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Root {
    #[default]
    Entry,
    Stats,
    CpuStats,
    ExpectCpuStats,
    Expectation,
    TimeoutPolicy,
    Rule,
    /// What is inside of an expression of a rule, `NFTA_EXPR_DATA`.
    RuleImmediate,
    RuleLookup,
    RuleCt,
    RuleDynset,
    RuleTarget,
    RuleElements,
    /// A value, `NFTA_SET_ELEM_DATA`.
    RuleData,
    RuleGeneration,
}

impl Path {
    pub(crate) const fn root(root: Root) -> Self {
        Self((root as u64) << ROOT_SHIFT)
    }

    #[inline]
    pub(crate) const fn join(self, kind: u16) -> Self {
        const NUMBERS: u64 = (1 << (DEPTH_MAX * NUMBER_BITS)) - 1;
        let numbers = ((self.0 << NUMBER_BITS) | kind as u64) & NUMBERS;
        Self(((self.0 & !NUMBERS) + (1 << DEPTH_SHIFT)) | numbers)
    }

    /// The numbers, from the top level down.
    pub(crate) fn parts(self) -> impl Iterator<Item = u16> {
        let depth = (self.0 >> DEPTH_SHIFT & 0xf).min(DEPTH_MAX);
        (0..depth).rev().map(move |level| {
            #[allow(clippy::cast_possible_truncation, reason = "masked to 14 bits")]
            let number = (self.0 >> (level * NUMBER_BITS)) as u16;
            number & ((1 << NUMBER_BITS) - 1)
        })
    }

    fn is_of(self, root: Root) -> bool {
        self.0 >> ROOT_SHIFT == root as u64
    }
}

type Table = &'static [(u16, &'static str)];
/// Names below some attributes.
type TableBelow = fn(&[u16]) -> Table;

impl Path {
    /// The names of the attributes that may stand below these.
    fn table(self, above: &[u16]) -> Table {
        let tables: [(Root, TableBelow); 15] = [
            (Root::Entry, entry_table),
            (Root::Expectation, expectation_table),
            (Root::Stats, |above| flat(STATS, above)),
            (Root::CpuStats, |above| flat(CPU_STATS, above)),
            (Root::ExpectCpuStats, |above| flat(EXPECT_CPU_STATS, above)),
            (Root::TimeoutPolicy, policy_table),
            (Root::Rule, rule_table),
            (Root::RuleImmediate, immediate_table),
            (Root::RuleLookup, |above| flat(LOOKUP, above)),
            (Root::RuleCt, |above| flat(CT, above)),
            (Root::RuleDynset, |above| flat(DYNSET, above)),
            (Root::RuleTarget, |above| flat(TARGET, above)),
            (Root::RuleElements, elements_table),
            (Root::RuleData, |above| flat(DATA, above)),
            (Root::RuleGeneration, |above| flat(GENERATION, above)),
        ];
        let of = tables.into_iter().find(|(root, _)| self.is_of(*root));
        of.map_or(&[], |(_, table)| table(above))
    }
}

fn flat(table: Table, above: &[u16]) -> Table {
    if above.is_empty() { table } else { &[] }
}

fn tuple_table(inside: &[u16]) -> Table {
    match inside {
        [] => TUPLE,
        [CTA_TUPLE_IP] => IP,
        [CTA_TUPLE_PROTO] => PROTO,
        _ => &[],
    }
}

fn entry_table(above: &[u16]) -> Table {
    match above {
        [] => CTA,
        [
            CTA_TUPLE_ORIG | CTA_TUPLE_REPLY | CTA_TUPLE_MASTER,
            inside @ ..,
        ] => tuple_table(inside),
        [CTA_PROTOINFO] => PROTOINFO,
        [CTA_PROTOINFO, CTA_PROTOINFO_TCP] => TCP,
        [CTA_PROTOINFO, CTA_PROTOINFO_DCCP] => DCCP,
        [CTA_PROTOINFO, CTA_PROTOINFO_SCTP] => SCTP,
        [CTA_HELP] => HELP,
        [CTA_NAT_SRC | CTA_NAT_DST] => NAT,
        [CTA_NAT_SRC | CTA_NAT_DST, CTA_NAT_PROTO] => PROTONAT,
        [CTA_SEQ_ADJ_ORIG | CTA_SEQ_ADJ_REPLY] => SEQADJ,
        [CTA_FILTER] => FILTER,
        [CTA_SECCTX] => SECCTX,
        [CTA_TIMESTAMP] => TIMESTAMP,
        [CTA_SYNPROXY] => SYNPROXY,
        [CTA_COUNTERS_ORIG | CTA_COUNTERS_REPLY] => COUNTERS,
        _ => &[],
    }
}

fn expectation_table(above: &[u16]) -> Table {
    match above {
        [] => EXPECT,
        [
            CTA_EXPECT_MASTER | CTA_EXPECT_TUPLE | CTA_EXPECT_MASK,
            inside @ ..,
        ]
        | [CTA_EXPECT_NAT, CTA_EXPECT_NAT_TUPLE, inside @ ..] => tuple_table(inside),
        [CTA_EXPECT_NAT] => EXPECT_NAT,
        _ => &[],
    }
}

fn policy_table(above: &[u16]) -> Table {
    match above {
        [] => POLICY,
        [data] => match split_data(*data) {
            (CTA_TIMEOUT_DATA, protocol) => timeouts_of(protocol),
            _ => &[],
        },
        _ => &[],
    }
}

fn rule_table(above: &[u16]) -> Table {
    match above {
        [] => RULE,
        [NFTA_RULE_EXPRESSIONS] => LIST,
        [NFTA_RULE_EXPRESSIONS, NFTA_LIST_ELEM] => EXPRESSION,
        _ => &[],
    }
}

fn immediate_table(above: &[u16]) -> Table {
    match above {
        [] => IMMEDIATE,
        [NFTA_IMMEDIATE_DATA] => DATA,
        _ => &[],
    }
}

fn elements_table(above: &[u16]) -> Table {
    match above {
        [] => ELEMENTS,
        [NFTA_SET_ELEM_LIST_ELEMENTS] => LIST,
        [NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_LIST_ELEM] => ELEMENT,
        _ => &[],
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `CTA_TUPLE_ORIG.CTA_TUPLE_IP.CTA_IP_V4_SRC`
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = self.table(&[]);
        let mut above: Vec<u16> = Vec::new();
        for number in self.parts() {
            let dot = if above.is_empty() { "" } else { "." };
            // A protocol that stands above the number is not part of it.
            let plain = match above[..] {
                [] if self.is_of(Root::TimeoutPolicy) => split_data(number).0,
                _ => number,
            };
            match table.iter().find(|(n, _)| *n == plain) {
                Some((_, name)) => write!(f, "{dot}{name}")?,
                None => write!(f, "{dot}{plain}")?,
            }
            above.push(number);
            table = self.table(&above);
        }
        if above.is_empty() {
            f.write_str("message")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_names() {
        let path = Path::default()
            .join(CTA_TUPLE_ORIG)
            .join(CTA_TUPLE_IP)
            .join(CTA_IP_V4_SRC);
        assert_eq!(
            path.to_string(),
            "CTA_TUPLE_ORIG.CTA_TUPLE_IP.CTA_IP_V4_SRC"
        );
        assert_eq!(Path::default().join(99).join(1).to_string(), "99.1");
        assert_eq!(Path::default().to_string(), "message");
        let tcp = Path::default().join(CTA_PROTOINFO).join(CTA_PROTOINFO_TCP);
        assert_eq!(
            tcp.join(CTA_PROTOINFO_TCP_STATE).to_string(),
            "CTA_PROTOINFO.CTA_PROTOINFO_TCP.CTA_PROTOINFO_TCP_STATE"
        );
        assert_eq!(
            Path::root(Root::Stats).join(1).to_string(),
            "CTA_STATS_GLOBAL_ENTRIES"
        );
        let nat = Path::root(Root::Expectation)
            .join(CTA_EXPECT_NAT)
            .join(CTA_EXPECT_NAT_TUPLE)
            .join(CTA_TUPLE_IP)
            .join(CTA_IP_V6_SRC);
        assert_eq!(
            nat.to_string(),
            "CTA_EXPECT_NAT.CTA_EXPECT_NAT_TUPLE.CTA_TUPLE_IP.CTA_IP_V6_SRC"
        );
        let drop = Path::root(Root::CpuStats).join(CTA_STATS_DROP);
        assert_eq!(drop.to_string(), "CTA_STATS_DROP");
        let create = Path::root(Root::ExpectCpuStats).join(CTA_STATS_EXP_CREATE);
        assert_eq!(create.to_string(), "CTA_STATS_EXP_CREATE");
    }
}
