//! The line of conntrack(8), read.
//!
//! Moments in time and names of labels, which depend on when and where a line was printed, are read
//! over.

use std::net::IpAddr;
use std::str::FromStr;

use super::unescape;
use crate::error::{Error, Result};
use crate::model::{
    Addresses, Counters, DccpInfo, DccpState, Entry, EntryZone, Family, GreKeys, Icmp, Icmpv6,
    Layer4, Ports, ProtoInfo, Protocol, Rare, SctpInfo, SctpState, Status, TcpInfo, TcpState,
    Tuple, Zone, digits,
};

/// What was read of one direction so far.
#[derive(Default)]
struct Half {
    src: Option<IpAddr>,
    dst: Option<IpAddr>,
    ports: (Option<u16>, Option<u16>),
    keys: (Option<u16>, Option<u16>),
    icmp: (Option<u8>, Option<u8>, Option<u16>),
    packets: Option<u64>,
    bytes: Option<u64>,
}

impl Half {
    fn tuple(&self, protocol: Protocol, which: &str, refuse: &Refuse<'_>) -> Result<Tuple> {
        let (Some(src), Some(dst)) = (self.src, self.dst) else {
            return Err(refuse.at(
                which,
                "the addresses are missing",
                "src=ADDRESS dst=ADDRESS for both directions",
            ));
        };
        let layer4 = match protocol {
            Protocol::ICMP | Protocol::ICMPV6 => match self.icmp {
                (Some(kind), Some(code), Some(id)) if protocol == Protocol::ICMP => {
                    Layer4::Icmp(Icmp { kind, code, id })
                }
                (Some(kind), Some(code), Some(id)) => Layer4::Icmpv6(Icmpv6 { kind, code, id }),
                _ => {
                    return Err(refuse.at(
                        which,
                        "the ICMP fields are missing",
                        "type=N code=N id=N after the addresses",
                    ));
                }
            },
            Protocol::GRE => match self.keys {
                (Some(src), Some(dst)) => Layer4::Gre(GreKeys { src, dst }),
                (None, None) => Layer4::Other(protocol),
                _ => return Err(refuse.at(which, "one GRE key is missing", "srckey=N dstkey=N")),
            },
            _ => match self.ports {
                (Some(src), Some(dst)) => Layer4::with_ports(protocol, Ports { src, dst })
                    .ok_or_else(|| {
                        refuse.at(which, "this protocol has no ports", "addresses alone")
                    })?,
                (None, None) => Layer4::Other(protocol),
                _ => return Err(refuse.at(which, "one port is missing", "sport=N dport=N")),
            },
        };
        let given = [
            self.ports != (None, None),
            self.keys != (None, None),
            self.icmp != (None, None, None),
        ];
        let meant = [
            layer4.ports().is_some(),
            matches!(layer4, Layer4::Gre(_)),
            matches!(layer4, Layer4::Icmp(_) | Layer4::Icmpv6(_)),
        ];
        if given != meant {
            return Err(refuse.at(which, "fields of another protocol", "the protocol's own"));
        }
        let addresses = Addresses::new(src, dst).ok_or_else(|| {
            refuse.at(
                which,
                "the addresses are of two families",
                "two IPv4 or two IPv6 addresses",
            )
        })?;
        Ok(Tuple { addresses, layer4 })
    }

    fn counters(&self, which: &str, refuse: &Refuse<'_>) -> Result<Option<Counters>> {
        match (self.packets, self.bytes) {
            (Some(packets), Some(bytes)) => Ok(Some(Counters { packets, bytes })),
            (None, None) => Ok(None),
            _ => Err(refuse.at(which, "one counter is missing", "packets=N bytes=N")),
        }
    }
}

/// Errors that name the word of the line.
struct Refuse<'a> {
    line: &'a str,
}

impl Refuse<'_> {
    fn at(&self, word: &str, problem: &str, expected: &'static str) -> Error {
        Error::invalid(
            "entry line",
            self.line,
            format!("at {word:?}: {problem}"),
            expected,
        )
    }

    fn number<T: TryFrom<u64>>(&self, word: &str, text: &str) -> Result<T> {
        digits(text, 10).ok_or_else(|| self.at(word, "not a number in range", "a decimal number"))
    }

    fn key(&self, word: &str, text: &str) -> Result<u16> {
        match text.strip_prefix("0x") {
            Some(hex) => digits(hex, 16)
                .ok_or_else(|| self.at(word, "not a 16 bit key", "a number such as 0x2a")),
            None => self.number(word, text),
        }
    }
}

fn state(protocol: Protocol, word: &str) -> Option<ProtoInfo> {
    match protocol {
        Protocol::TCP => word
            .parse::<TcpState>()
            .ok()
            .map(|state| ProtoInfo::Tcp(TcpInfo::new(state))),
        Protocol::SCTP => word.parse::<SctpState>().ok().map(|state| {
            ProtoInfo::Sctp(SctpInfo {
                state,
                orig_vtag: None,
                reply_vtag: None,
            })
        }),
        Protocol::DCCP => word.parse::<DccpState>().ok().map(|state| {
            ProtoInfo::Dccp(DccpInfo {
                state,
                role: None,
                handshake_seq: None,
            })
        }),
        _ => None,
    }
}

/// Reads what [`Display`](std::fmt::Display) and conntrack(8) write, plain and extended. A line tells of
/// the status only whether an answer was seen and whether the entry is assured or offloaded. Read
/// over: `delta-time=`, `[start=..]`, `[stop=..]`, `labels=`.
impl FromStr for Entry {
    type Err = Error;

    #[allow(clippy::too_many_lines, reason = "one arm for each word of the line")]
    fn from_str(line: &str) -> Result<Self> {
        let refuse = Refuse { line };
        let mut words = line.split_whitespace().peekable();
        let family = words.next_if(|word| matches!(*word, "ipv4" | "ipv6"));
        let family: Option<Family> = family.map(str::parse).transpose()?;
        if let Some(family) = family {
            let number = words.next().unwrap_or_default();
            if digits(number, 10) != Some(family.number()) {
                return Err(refuse.at(number, "not the family's number", "ipv4 2 or ipv6 10"));
            }
        }
        let name = words.next().unwrap_or_default();
        let number = words.next().unwrap_or_default();
        let protocol = Protocol::new(digits(number, 10).ok_or_else(|| {
            refuse.at(
                number,
                "not a protocol number",
                "the protocol's name and number first",
            )
        })?);
        if name != protocol.name().unwrap_or("unknown") && name != number {
            return Err(refuse.at(name, "the name is not that of the number", "as in `tcp 6`"));
        }
        let timeout = words
            .next_if(|word| word.bytes().all(|b| b.is_ascii_digit()))
            .map(|word| refuse.number(word, word))
            .transpose()?;
        let proto_info = words
            .next_if(|word| !word.contains('=') && !word.starts_with('['))
            .map(|word| {
                state(protocol, word).ok_or_else(|| {
                    refuse.at(
                        word,
                        "not a state of this protocol",
                        "a state such as ESTABLISHED, or src=",
                    )
                })
            })
            .transpose()?;

        let mut halves = [Half::default(), Half::default()];
        let mut current: Option<usize> = None;
        let mut status = Status::SEEN_REPLY;
        let mut zone = None;
        let (mut mark, mut use_count, mut id) = (None, None, None);
        let mut rare = Rare::default();
        while let Some(word) = words.next() {
            // A moment in words, such as `[start=Sun Nov 22 22:53:43 2026]`.
            if word.starts_with("[start=") || word.starts_with("[stop=") {
                if !word.ends_with(']') && !words.by_ref().any(|word| word.ends_with(']')) {
                    return Err(refuse.at(word, "not closed", "a closing bracket"));
                }
                continue;
            }
            // Names of labels mean what the printing host's connlabel.conf says, and may have spaces in
            // them. They come last; where none has a name there is the word alone.
            if word == "labels" || word.starts_with("labels=") {
                break;
            }
            let twice = || refuse.at(word, "given twice", "each field once");
            let set_zone = |zone: &mut Option<EntryZone>, new: EntryZone| {
                if zone.replace(new).is_some() {
                    Err(twice())
                } else {
                    Ok(())
                }
            };
            match word {
                "[UNREPLIED]" => status.remove(Status::SEEN_REPLY),
                "[ASSURED]" => status |= Status::ASSURED,
                "[OFFLOAD]" => status |= Status::OFFLOAD,
                "[HW_OFFLOAD]" => status |= Status::HW_OFFLOAD,
                _ => {
                    let (field, value) = word.split_once('=').ok_or_else(|| {
                        refuse.at(word, "not a field", "FIELD=VALUE, [UNREPLIED] or [ASSURED]")
                    })?;
                    if field == "src" {
                        let next = current.map_or(0, |half| half + 1);
                        if next == halves.len() {
                            return Err(refuse.at(word, "a third tuple", "two tuples"));
                        }
                        current = Some(next);
                    }
                    let half = current.map(|index| &mut halves[index]).ok_or_else(|| {
                        refuse.at(word, "a field before the first tuple", "src= first")
                    })?;
                    let address = || {
                        value.parse().map_err(|_| {
                            refuse.at(word, "not an address", "an IPv4 or IPv6 address")
                        })
                    };
                    let seen = match field {
                        "src" => half.src.replace(address()?).is_some(),
                        "dst" => half.dst.replace(address()?).is_some(),
                        "sport" => half.ports.0.replace(refuse.number(word, value)?).is_some(),
                        "dport" => half.ports.1.replace(refuse.number(word, value)?).is_some(),
                        "srckey" => half.keys.0.replace(refuse.key(word, value)?).is_some(),
                        "dstkey" => half.keys.1.replace(refuse.key(word, value)?).is_some(),
                        "type" => half.icmp.0.replace(refuse.number(word, value)?).is_some(),
                        "code" => half.icmp.1.replace(refuse.number(word, value)?).is_some(),
                        // The identifier of an echo, or, at the end of the line, the entry's own.
                        "id" if half.icmp.1.is_some() && half.icmp.2.is_none() => {
                            half.icmp.2.replace(refuse.number(word, value)?).is_some()
                        }
                        "id" => id.replace(refuse.number(word, value)?).is_some(),
                        "packets" => half.packets.replace(refuse.number(word, value)?).is_some(),
                        "bytes" => half.bytes.replace(refuse.number(word, value)?).is_some(),
                        "mark" => mark.replace(refuse.number(word, value)?).is_some(),
                        "helper" => rare.helper.replace(unescape(value).parse()?).is_some(),
                        "secmark" => rare.secmark.replace(refuse.number(word, value)?).is_some(),
                        "secctx" => rare.secctx.replace(unescape(value)).is_some(),
                        // How long ago the flow began: no moment in time can be told from it.
                        "delta-time" => false,
                        "use" => use_count.replace(refuse.number(word, value)?).is_some(),
                        "zone" | "zone-orig" | "zone-reply" => {
                            let number = Zone::new(refuse.number(word, value)?);
                            set_zone(
                                &mut zone,
                                match field {
                                    "zone" => EntryZone::Both(number),
                                    "zone-orig" => EntryZone::Orig(number),
                                    _ => EntryZone::Reply(number),
                                },
                            )?;
                            false
                        }
                        _ => {
                            return Err(refuse.at(
                                word,
                                "not a known field",
                                "a field that conntrack(8) prints",
                            ));
                        }
                    };
                    if seen {
                        return Err(twice());
                    }
                }
            }
        }
        let orig = halves[0].tuple(protocol, "the original tuple", &refuse)?;
        let reply = halves[1].tuple(protocol, "the reply tuple", &refuse)?;
        if let Some(family) = family.filter(|family| *family != orig.family()) {
            return Err(refuse.at(
                &family.to_string(),
                "the addresses are of another family",
                "the family of the addresses",
            ));
        }
        if orig.family() != reply.family() {
            return Err(refuse.at(
                "the reply tuple",
                "the tuples are of two families",
                "one family",
            ));
        }
        Ok(Self {
            zone: zone.unwrap_or_default().canonical(),
            status: Some(status),
            timeout,
            mark,
            id,
            use_count,
            proto_info,
            orig_counters: halves[0].counters("the original tuple", &refuse)?,
            reply_counters: halves[1].counters("the reply tuple", &refuse)?,
            rare: (rare != Rare::default()).then(|| Box::new(rare)),
            ..Self::new(orig, reply)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Helper;

    /// Printed by conntrack 1.4.7 (Linux 6.18, 2026-11-22) after `conntrack -I`.
    const LINES: [&str; 9] = [
        "icmpv6   58 599 src=fe80::1 dst=fe80::2 type=128 code=0 id=99 [UNREPLIED] src=fe80::2 dst=fe80::1 type=129 code=0 id=99 mark=0 use=1",
        "udp      17 599 src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=53 src=10.0.0.2 dst=10.0.0.1 sport=53 dport=40000 mark=0 use=1",
        "unknown  253 599 src=10.0.0.1 dst=10.0.0.2 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 mark=0 use=1",
        "gre      47 599 src=10.0.0.1 dst=10.0.0.2 srckey=0x5 dstkey=0x6 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 srckey=0x6 dstkey=0x5 mark=0 use=1",
        "udp      17 599 src=10.0.0.1 dst=10.0.0.2 sport=4 dport=53 packets=0 bytes=0 src=10.0.0.2 dst=10.0.0.1 sport=53 dport=4 packets=0 bytes=0 [ASSURED] mark=0 use=1",
        "unknown  50 599 src=10.0.0.1 dst=10.0.0.2 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 mark=0 use=1",
        "tcp      6 599 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=443 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=443 dport=40000 mark=7 zone=5 use=1",
        "udplite  136 599 src=fe80::1 dst=fe80::2 sport=40000 dport=53 zone-orig=9 [UNREPLIED] src=fe80::2 dst=fe80::1 sport=53 dport=40000 mark=0 use=1",
        "icmp     1 599 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=99 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=99 mark=0 use=1",
    ];

    #[test]
    fn lines_of_conntrack_are_read_and_written_back() {
        for line in LINES {
            let entry: Entry = line.parse().unwrap();
            assert_eq!(entry.to_string(), line);
            assert_eq!(entry.to_string().parse::<Entry>().unwrap(), entry);
        }
    }

    #[test]
    fn helpers_and_contexts_are_read_and_written_back() {
        let line = format!(
            "{} helper=ftp use=1",
            LINES[6].replace(" use=1", " secctx=system_u:x")
        );
        let line = line
            .replace(" zone=5", "")
            .replace("secctx=system_u:x", "secctx=system_u:x zone=5");
        let entry: Entry = line.parse().unwrap();
        assert_eq!(entry.helper(), Some(Helper::FTP));
        assert_eq!(entry.security_context(), Some("system_u:x"));
        assert_eq!(entry.to_string(), line);
        let timed = line.replace(
            "helper=ftp",
            "delta-time=9 [start=Sun Nov 22 22:53:43 2026] helper=ftp",
        );
        for labels in ["labels=a,b", "labels", "labels=zero,hex one,x mark=5"] {
            assert_eq!(format!("{timed} {labels}").parse::<Entry>().unwrap(), entry);
        }
        assert!(format!("{line} [start=Sun").parse::<Entry>().is_err());
        assert!(format!("ipv6 10 {line}").parse::<Entry>().is_err());
        assert!(format!("ipv4 10 {line}").parse::<Entry>().is_err());
    }

    #[test]
    fn extended_lines_are_read_and_written_back() {
        for line in [
            "ipv4     2 icmp     1 599 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=99 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=99 mark=0 use=1 id=837647621",
            "ipv6     10 udplite  136 599 src=fe80::1 dst=fe80::2 sport=40000 dport=53 zone-orig=9 [UNREPLIED] src=fe80::2 dst=fe80::1 sport=53 dport=40000 mark=0 use=1 id=4106051968",
        ] {
            let entry: Entry = line.parse().unwrap();
            assert_eq!(format!("{entry:#}"), line);
        }
    }

    #[test]
    fn bad_lines_say_where() {
        let good = LINES[6];
        let cases = [
            ("", "not a protocol number"),
            ("tcp", "not a protocol number"),
            ("udp 6 src=1.1.1.1", "name is not that of the number"),
            (
                &good.replace("ESTABLISHED", "OPEN"),
                "\"OPEN\": not a state",
            ),
            (
                &good.replace("sport=40000", "sport=70000"),
                "\"sport=70000\": not a number in range",
            ),
            (
                &good.replace("sport=40000", "sport=+4"),
                "\"sport=+4\": not a number in range",
            ),
            (
                &good.replace("dst=10.0.0.2", "dst=10.0.0"),
                "\"dst=10.0.0\": not an address",
            ),
            (&good.replace("src=10.0.0.2", "src=::1"), "two families"),
            (
                &good.replace("mark=7", "mark=7 mark=8"),
                "\"mark=8\": given twice",
            ),
            (&good.replace("zone=5", "zone=5 zone-orig=5"), "given twice"),
            (
                &good.replace("zone=5", "zone=65536"),
                "not a number in range",
            ),
            (
                &good.replace("mark=7", "colour=red"),
                "\"colour=red\": not a known field",
            ),
            (&good.replace("dport=443 ", ""), "one port is missing"),
            (&good.replace("[UNREPLIED]", "src=1.1.1.1"), "a third tuple"),
            ("tcp 6 600 dst=1.1.1.1", "before the first tuple"),
            (
                "tcp 6 600 src=1.1.1.1 dst=1.1.1.2 sport=1 dport=2",
                "the reply tuple",
            ),
            (
                "icmp 1 600 src=1.1.1.1 dst=1.1.1.2 src=1.1.1.2 dst=1.1.1.1",
                "ICMP fields",
            ),
            ("tcp +6 600", "not a protocol number"),
            (
                &good.replace("dport=443 ", "dport=443 type=8 "),
                "fields of another protocol",
            ),
            (
                &good.replace("dport=443 ", "dport=443 srckey=0x1 "),
                "fields of another protocol",
            ),
            (
                "gre 47 600 src=1.1.1.1 dst=1.1.1.2 srckey=0x1 dstkey=0x+2",
                "not a 16 bit key",
            ),
            (
                &good.replace("dport=443 ", "dport=443 packets=7 "),
                "one counter is missing",
            ),
            (
                &good.replace("dport=40000", "dport=40000 bytes=7 "),
                "one counter is missing",
            ),
            (
                "unknown 50 600 src=1.1.1.1 dst=1.1.1.2 sport=1 dport=2 src=1.1.1.2 dst=1.1.1.1 sport=2 dport=1",
                "no ports",
            ),
        ];
        for (line, want) in cases {
            let error = line.parse::<Entry>().unwrap_err();
            assert!(error.is_invalid_input());
            assert!(error.to_string().contains(want), "{line}: {error}");
        }
    }
}
