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
    CTA_SEQ_ADJ_REPLY = 16, CTA_ZONE = 18, CTA_SECCTX = 19, CTA_TIMESTAMP = 20, CTA_MARK_MASK = 21,
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
);
numbers!(SCTP:
    CTA_PROTOINFO_SCTP_STATE = 1, CTA_PROTOINFO_SCTP_VTAG_ORIGINAL = 2,
    CTA_PROTOINFO_SCTP_VTAG_REPLY = 3,
);
numbers!(COUNTERS:
    CTA_COUNTERS_PACKETS = 1, CTA_COUNTERS_BYTES = 2, CTA_COUNTERS32_PACKETS = 3,
    CTA_COUNTERS32_BYTES = 4,
);
numbers!(HELP: CTA_HELP_NAME = 1);
numbers!(NAT:
    CTA_NAT_V4_MINIP = 1, CTA_NAT_V4_MAXIP = 2, CTA_NAT_PROTO = 3, CTA_NAT_V6_MINIP = 4,
    CTA_NAT_V6_MAXIP = 5,
);
numbers!(PROTONAT: CTA_PROTONAT_PORT_MIN = 1, CTA_PROTONAT_PORT_MAX = 2);
numbers!(SEQADJ:
    CTA_SEQADJ_CORRECTION_POS = 1, CTA_SEQADJ_OFFSET_BEFORE = 2, CTA_SEQADJ_OFFSET_AFTER = 3,
);
numbers!(SECCTX: CTA_SECCTX_NAME = 1);
numbers!(TIMESTAMP: CTA_TIMESTAMP_START = 1, CTA_TIMESTAMP_STOP = 2);
numbers!(SYNPROXY: CTA_SYNPROXY_ISN = 1, CTA_SYNPROXY_ITS = 2, CTA_SYNPROXY_TSOFF = 3);
numbers!(CPU_STATS:
    CTA_STATS_FOUND = 2, CTA_STATS_INVALID = 4, CTA_STATS_INSERT = 8, CTA_STATS_INSERT_FAILED = 9,
    CTA_STATS_DROP = 10, CTA_STATS_EARLY_DROP = 11, CTA_STATS_ERROR = 12,
    CTA_STATS_SEARCH_RESTART = 13, CTA_STATS_CLASH_RESOLVE = 14, CTA_STATS_CHAIN_TOOLONG = 15,
);
numbers!(EXPECT_CPU_STATS:
    CTA_STATS_EXP_NEW = 1, CTA_STATS_EXP_CREATE = 2, CTA_STATS_EXP_DELETE = 3,
);
numbers!(STATS: CTA_STATS_GLOBAL_ENTRIES = 1, CTA_STATS_GLOBAL_MAX_ENTRIES = 2);

numbers!(POLICY:
    CTA_TIMEOUT_NAME = 1, CTA_TIMEOUT_L3PROTO = 2, CTA_TIMEOUT_L4PROTO = 3, CTA_TIMEOUT_DATA = 4,
    CTA_TIMEOUT_USE = 5,
);

/// The names alone, where the code goes by the numbers' order.
macro_rules! names {
    ($($protocol:literal: $($name:ident = $value:literal),*;)*) => {
        /// What the numbers inside of `CTA_TIMEOUT_DATA` mean for a protocol.
        const fn timeouts_of(protocol: u8) -> &'static [(u16, &'static str)] {
            match protocol {
                $($protocol => &[$(($value, stringify!($name))),*],)*
                _ => &[],
            }
        }
    };
}

names! {
    6: CTA_TIMEOUT_TCP_SYN_SENT = 1, CTA_TIMEOUT_TCP_SYN_RECV = 2, CTA_TIMEOUT_TCP_ESTABLISHED = 3,
        CTA_TIMEOUT_TCP_FIN_WAIT = 4, CTA_TIMEOUT_TCP_CLOSE_WAIT = 5, CTA_TIMEOUT_TCP_LAST_ACK = 6,
        CTA_TIMEOUT_TCP_TIME_WAIT = 7, CTA_TIMEOUT_TCP_CLOSE = 8, CTA_TIMEOUT_TCP_SYN_SENT2 = 9,
        CTA_TIMEOUT_TCP_RETRANS = 10, CTA_TIMEOUT_TCP_UNACK = 11;
    17: CTA_TIMEOUT_UDP_UNREPLIED = 1, CTA_TIMEOUT_UDP_REPLIED = 2;
    136: CTA_TIMEOUT_UDPLITE_UNREPLIED = 1, CTA_TIMEOUT_UDPLITE_REPLIED = 2;
    1: CTA_TIMEOUT_ICMP_TIMEOUT = 1;
    58: CTA_TIMEOUT_ICMPV6_TIMEOUT = 1;
    132: CTA_TIMEOUT_SCTP_CLOSED = 1, CTA_TIMEOUT_SCTP_COOKIE_WAIT = 2,
        CTA_TIMEOUT_SCTP_COOKIE_ECHOED = 3, CTA_TIMEOUT_SCTP_ESTABLISHED = 4,
        CTA_TIMEOUT_SCTP_SHUTDOWN_SENT = 5, CTA_TIMEOUT_SCTP_SHUTDOWN_RECD = 6,
        CTA_TIMEOUT_SCTP_SHUTDOWN_ACK_SENT = 7, CTA_TIMEOUT_SCTP_HEARTBEAT_SENT = 8,
        CTA_TIMEOUT_SCTP_HEARTBEAT_ACKED = 9;
    33: CTA_TIMEOUT_DCCP_REQUEST = 1, CTA_TIMEOUT_DCCP_RESPOND = 2, CTA_TIMEOUT_DCCP_PARTOPEN = 3,
        CTA_TIMEOUT_DCCP_OPEN = 4, CTA_TIMEOUT_DCCP_CLOSEREQ = 5, CTA_TIMEOUT_DCCP_CLOSING = 6,
        CTA_TIMEOUT_DCCP_TIMEWAIT = 7;
    47: CTA_TIMEOUT_GRE_UNREPLIED = 1, CTA_TIMEOUT_GRE_REPLIED = 2;
    255: CTA_TIMEOUT_GENERIC_TIMEOUT = 1;
}

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

/// Where an attribute stands: the numbers from the top level down, at most three.
///
/// Kept as numbers in one word, so that walking costs next to nothing; names are found only when an
/// error is printed.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Path(u64);

/// An attribute's number has 14 bits; the rest of the word has the depth and the root.
const NUMBER_BITS: u64 = 14;
const DEPTH_SHIFT: u32 = 56;
const ROOT_SHIFT: u32 = 60;
const DEPTH_MAX: u64 = 3;

/// Which message the top-level numbers belong to.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Root {
    #[default]
    Entry,
    Stats,
    CpuStats,
    ExpectCpuStats,
    TimeoutPolicy,
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
    fn parts(self) -> impl Iterator<Item = u16> {
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

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `CTA_TUPLE_ORIG.CTA_TUPLE_IP.CTA_IP_V4_SRC`
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables = [
            (Root::Entry, CTA),
            (Root::Stats, STATS),
            (Root::CpuStats, CPU_STATS),
            (Root::ExpectCpuStats, EXPECT_CPU_STATS),
            (Root::TimeoutPolicy, POLICY),
        ];
        let mut table = tables
            .into_iter()
            .find(|(root, _)| self.is_of(*root))
            .map_or(&[][..], |(_, table)| table);
        let mut above: Vec<u16> = Vec::new();
        for number in self.parts() {
            let dot = if above.is_empty() { "" } else { "." };
            let (number, protocol) = match above[..] {
                [] if self.is_of(Root::TimeoutPolicy) => split_data(number),
                _ => (number, 0),
            };
            match table.iter().find(|(n, _)| *n == number) {
                Some((_, name)) => write!(f, "{dot}{name}")?,
                None => write!(f, "{dot}{number}")?,
            }
            above.push(number);
            table = match above[..] {
                [CTA_TIMEOUT_DATA] if self.is_of(Root::TimeoutPolicy) => timeouts_of(protocol),
                _ if !self.is_of(Root::Entry) => &[],
                [CTA_TUPLE_ORIG | CTA_TUPLE_REPLY | CTA_TUPLE_MASTER] => TUPLE,
                [
                    CTA_TUPLE_ORIG | CTA_TUPLE_REPLY | CTA_TUPLE_MASTER,
                    CTA_TUPLE_IP,
                ] => IP,
                [
                    CTA_TUPLE_ORIG | CTA_TUPLE_REPLY | CTA_TUPLE_MASTER,
                    CTA_TUPLE_PROTO,
                ] => PROTO,
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
            };
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
        let drop = Path::root(Root::CpuStats).join(CTA_STATS_DROP);
        assert_eq!(drop.to_string(), "CTA_STATS_DROP");
        let create = Path::root(Root::ExpectCpuStats).join(CTA_STATS_EXP_CREATE);
        assert_eq!(create.to_string(), "CTA_STATS_EXP_CREATE");
    }
}
