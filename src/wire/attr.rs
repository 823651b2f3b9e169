//! Attribute numbers and names.

use std::fmt;

macro_rules! numbers {
    ($names:ident: $($name:ident = $value:literal),* $(,)?) => {
        $(pub(crate) const $name: u16 = $value;)*
        const $names: &[(u16, &str)] = &[$(($value, stringify!($name))),*];
    };
}

numbers!(CTA:
    CTA_TUPLE_ORIG = 1, CTA_TUPLE_REPLY = 2, CTA_STATUS = 3, CTA_PROTOINFO = 4, CTA_HELP = 5,
    CTA_NAT_SRC = 6, CTA_TIMEOUT = 7, CTA_MARK = 8, CTA_COUNTERS_ORIG = 9, CTA_COUNTERS_REPLY = 10,
    CTA_USE = 11, CTA_ID = 12, CTA_NAT_DST = 13, CTA_TUPLE_MASTER = 14, CTA_SEQ_ADJ_ORIG = 15,
    CTA_SEQ_ADJ_REPLY = 16, CTA_SECMARK = 17, CTA_ZONE = 18, CTA_SECCTX = 19, CTA_TIMESTAMP = 20, CTA_MARK_MASK = 21,
    CTA_LABELS = 22, CTA_LABELS_MASK = 23, CTA_SYNPROXY = 24, CTA_TIMESTAMP_EVENT = 27,
);
numbers!(TUPLE: CTA_TUPLE_IP = 1, CTA_TUPLE_PROTO = 2, CTA_TUPLE_ZONE = 3);
numbers!(IP: CTA_IP_V4_SRC = 1, CTA_IP_V4_DST = 2, CTA_IP_V6_SRC = 3, CTA_IP_V6_DST = 4);
numbers!(PROTO:
    CTA_PROTO_NUM = 1, CTA_PROTO_SRC_PORT = 2, CTA_PROTO_DST_PORT = 3, CTA_PROTO_ICMP_ID = 4,
    CTA_PROTO_ICMP_TYPE = 5, CTA_PROTO_ICMP_CODE = 6, CTA_PROTO_ICMPV6_ID = 7,
    CTA_PROTO_ICMPV6_TYPE = 8, CTA_PROTO_ICMPV6_CODE = 9,
);
numbers!(PROTOINFO: CTA_PROTOINFO_TCP = 1, CTA_PROTOINFO_DCCP = 2, CTA_PROTOINFO_SCTP = 3);
numbers!(TCP:
    CTA_PROTOINFO_TCP_STATE = 1, CTA_PROTOINFO_TCP_WSCALE_ORIGINAL = 2,
    CTA_PROTOINFO_TCP_WSCALE_REPLY = 3, CTA_PROTOINFO_TCP_FLAGS_ORIGINAL = 4,
    CTA_PROTOINFO_TCP_FLAGS_REPLY = 5,
);
numbers!(DCCP:
    CTA_PROTOINFO_DCCP_STATE = 1, CTA_PROTOINFO_DCCP_ROLE = 2, CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ = 3,
    CTA_PROTOINFO_DCCP_PAD = 4,
);
numbers!(SCTP:
    CTA_PROTOINFO_SCTP_STATE = 1, CTA_PROTOINFO_SCTP_VTAG_ORIGINAL = 2,
    CTA_PROTOINFO_SCTP_VTAG_REPLY = 3,
);
numbers!(COUNTERS:
    CTA_COUNTERS_PACKETS = 1, CTA_COUNTERS_BYTES = 2, CTA_COUNTERS32_PACKETS = 3,
    CTA_COUNTERS32_BYTES = 4, CTA_COUNTERS_PAD = 5,
);
numbers!(HELP: CTA_HELP_NAME = 1, CTA_HELP_INFO = 2);
numbers!(NAT:
    CTA_NAT_V4_MINIP = 1, CTA_NAT_V4_MAXIP = 2, CTA_NAT_PROTO = 3, CTA_NAT_V6_MINIP = 4,
    CTA_NAT_V6_MAXIP = 5,
);
numbers!(PROTONAT: CTA_PROTONAT_PORT_MIN = 1, CTA_PROTONAT_PORT_MAX = 2);
numbers!(SEQADJ:
    CTA_SEQADJ_CORRECTION_POS = 1, CTA_SEQADJ_OFFSET_BEFORE = 2, CTA_SEQADJ_OFFSET_AFTER = 3,
);
numbers!(SECCTX: CTA_SECCTX_NAME = 1);
numbers!(TIMESTAMP: CTA_TIMESTAMP_START = 1, CTA_TIMESTAMP_STOP = 2, CTA_TIMESTAMP_PAD = 3);
numbers!(SYNPROXY: CTA_SYNPROXY_ISN = 1, CTA_SYNPROXY_ITS = 2, CTA_SYNPROXY_TSOFF = 3);
numbers!(EXPECT:
    CTA_EXPECT_MASTER = 1, CTA_EXPECT_TUPLE = 2, CTA_EXPECT_MASK = 3, CTA_EXPECT_TIMEOUT = 4,
    CTA_EXPECT_ID = 5, CTA_EXPECT_HELP_NAME = 6, CTA_EXPECT_ZONE = 7, CTA_EXPECT_FLAGS = 8,
    CTA_EXPECT_CLASS = 9, CTA_EXPECT_NAT = 10, CTA_EXPECT_FN = 11,
);
numbers!(EXPECT_NAT: CTA_EXPECT_NAT_DIR = 1, CTA_EXPECT_NAT_TUPLE = 2);
numbers!(CPU_STATS:
    CTA_STATS_FOUND = 2, CTA_STATS_INVALID = 4, CTA_STATS_INSERT = 8, CTA_STATS_INSERT_FAILED = 9,
    CTA_STATS_DROP = 10, CTA_STATS_EARLY_DROP = 11, CTA_STATS_ERROR = 12,
    CTA_STATS_SEARCH_RESTART = 13, CTA_STATS_CLASH_RESOLVE = 14, CTA_STATS_CHAIN_TOOLONG = 15,
);
numbers!(EXPECT_CPU_STATS:
    CTA_STATS_EXP_NEW = 1, CTA_STATS_EXP_CREATE = 2, CTA_STATS_EXP_DELETE = 3,
);
numbers!(STATS: CTA_STATS_GLOBAL_ENTRIES = 1, CTA_STATS_GLOBAL_MAX_ENTRIES = 2);

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

/// Which message the top-level numbers belong to.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Root {
    #[default]
    Entry,
    Stats,
    CpuStats,
    ExpectCpuStats,
    Expectation,
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

impl Path {
    /// The names of the attributes that may stand below these.
    fn table(self, above: &[u16]) -> Table {
        let tables: [(Root, fn(&[u16]) -> Table); 5] = [
            (Root::Entry, entry_table),
            (Root::Expectation, expectation_table),
            (Root::Stats, |above| flat(STATS, above)),
            (Root::CpuStats, |above| flat(CPU_STATS, above)),
            (Root::ExpectCpuStats, |above| flat(EXPECT_CPU_STATS, above)),
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
            match table.iter().find(|(n, _)| *n == number) {
                Some((_, name)) => write!(f, "{dot}{name}")?,
                None => write!(f, "{dot}{number}")?,
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
