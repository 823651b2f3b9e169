//! The values of options.

use std::net::{IpAddr, Ipv4Addr};

use ctnetlink::{DccpRole, DccpState, Protocol, SctpState, Status, TcpState};

use super::Refusal;
use super::request::{EventMask, NatWish, Outputs, StatusWish, TrackerState};

type Refused<T> = Result<T, Refusal>;

/// As strtoul(3) with base 0 reads it, but for all of the word: decimal, hexadecimal after `0x`, octal
/// after `0`.
pub(super) fn number<N: TryFrom<u64>>(what: &str, text: &str) -> Refused<N> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    whole(digits, radix).ok_or_else(|| no_number(what, text))
}

/// As atoi(3) reads it, but for all of the word.
pub(super) fn decimal<N: TryFrom<u64>>(what: &str, text: &str) -> Refused<N> {
    whole(text, 10).ok_or_else(|| no_number(what, text))
}

fn whole<N: TryFrom<u64>>(digits: &str, radix: u32) -> Option<N> {
    let plain = digits.chars().all(|c| c.is_digit(radix));
    let value = u64::from_str_radix(digits, radix).ok().filter(|_| plain)?;
    N::try_from(value).ok()
}

fn no_number(what: &str, text: &str) -> Refusal {
    Refusal::usage(format!("{what}: {text:?} is not a number in range"))
}

/// An address, as `inet_aton(3)` or `inet_pton(3)` read it.
pub(super) fn address(text: &str) -> Refused<IpAddr> {
    ipv4(text)
        .map(IpAddr::V4)
        .or_else(|| text.parse().ok().map(IpAddr::V6))
        .ok_or_else(|| Refusal::usage(format!("{text:?} is not an address")))
}

/// One to four numbers, of which the last fills the bytes that are left.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u32> = text
        .split('.')
        .map(|part| number("", part).ok())
        .collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    let bits_left = 32 - 8 * u32::try_from(first.len()).ok().filter(|count| *count < 4)?;
    if first.iter().any(|byte| *byte > 255) || u64::from(*last) >> bits_left != 0 {
        return None;
    }
    let high = first.iter().fold(0, |bits, byte| bits << 8 | byte);
    let high = high.checked_shl(bits_left).unwrap_or(0);
    Some(Ipv4Addr::from(high | last))
}

/// An address, and the length of a prefix after a slash.
pub(super) fn prefix(text: &str) -> Refused<(IpAddr, Option<u8>)> {
    let Some((start, length)) = text.split_once('/') else {
        return Ok((address(text)?, None));
    };
    let address = address(start)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    match whole::<u8>(length, 10).filter(|length| *length <= most) {
        Some(length) => Ok((address, Some(length))),
        None => Err(Refusal::usage(format!("{text:?} is not a prefix"))),
    }
}

/// The mask of a prefix of this length.
pub(super) fn mask_of(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(_) => {
            let bits = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4(bits.into())
        }
        IpAddr::V6(_) => {
            let bits = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6(bits.into())
        }
    }
}

/// `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`.
pub(super) fn nat(text: &str) -> Refused<NatWish> {
    let (start, port) = if let Some(inner) = text.strip_prefix('[') {
        let (address, port) = inner
            .split_once("]:")
            .ok_or_else(|| Refusal::usage(format!("{text:?} is not [ADDRESS]:PORT")))?;
        (address, Some(port))
    } else {
        match text.split_once(':') {
            Some((address, port)) if !port.contains(':') => (address, Some(port)),
            _ => (text, None),
        }
    };
    if start.contains('/') {
        return Err(Refusal::usage(format!(
            "{text:?}: translation is to an address, not to a prefix"
        )));
    }
    Ok(NatWish {
        address: address(start)?,
        port: port.map(|port| decimal("port", port)).transpose()?,
    })
}

/// `VALUE` or `VALUE/MASK`.
pub(super) fn mark(text: &str) -> Refused<(u32, u32)> {
    match text.split_once('/') {
        Some((value, mask)) => Ok((number("mark", value)?, number("mask", mask)?)),
        None => Ok((number("mark", text)?, u32::MAX)),
    }
}

/// A name that may be cut short, in any case.
fn begins(word: &str, name: &str) -> bool {
    name.get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// Words of a list that conntrack(8) passes over.
fn passed_over(word: &str, warnings: &mut Vec<String>) -> bool {
    for (name, instead) in [("SRC_NAT", "--src-nat"), ("DST_NAT", "--dst-nat")] {
        if begins(word, name) {
            warnings.push(format!(
                "{word} is passed over; {instead} is meant for that"
            ));
            return true;
        }
    }
    false
}

fn words<'a>(what: &'a str, text: &'a str) -> impl Iterator<Item = Refused<&'a str>> {
    text.split(',').map(move |word| {
        if word.is_empty() {
            Err(Refusal::usage(format!(
                "{what}: a word is missing in {text:?}"
            )))
        } else {
            Ok(word)
        }
    })
}

fn unknown(what: &str, word: &str, known: &str) -> Refusal {
    Refusal::usage(format!("{what}: {word:?} is none of {known}"))
}

/// Status bits that are to be on, and with `!` before them those that are to be off.
pub(super) fn status(text: &str, warnings: &mut Vec<String>) -> Refused<StatusWish> {
    const NAMES: [(&str, Status); 7] = [
        ("ASSURED", Status::ASSURED),
        ("SEEN_REPLY", Status::SEEN_REPLY),
        ("UNSET", Status::empty()),
        ("FIXED_TIMEOUT", Status::FIXED_TIMEOUT),
        ("EXPECTED", Status::EXPECTED),
        ("OFFLOAD", Status::OFFLOAD),
        ("HW_OFFLOAD", Status::HW_OFFLOAD),
    ];
    let mut wish = StatusWish::default();
    for word in words("status", text) {
        let word = word?;
        if word == "UNREPLIED" {
            wish.off |= Status::SEEN_REPLY;
            continue;
        }
        let (word, bits) = match word.strip_prefix('!') {
            Some(word) => (word, &mut wish.off),
            None => (word, &mut wish.on),
        };
        if word.is_empty() {
            return Err(Refusal::usage("status: a word is missing after `!`"));
        }
        if passed_over(word, warnings) {
            continue;
        }
        let Some((_, status)) = NAMES.iter().find(|(name, _)| begins(word, name)) else {
            let known = "ASSURED, SEEN_REPLY, UNREPLIED, FIXED_TIMEOUT, EXPECTED, OFFLOAD, HW_OFFLOAD, UNSET";
            return Err(unknown("status", word, known));
        };
        *bits |= *status;
    }
    Ok(wish)
}

/// Kinds of events.
pub(super) fn events(text: &str, warnings: &mut Vec<String>) -> Refused<EventMask> {
    let mut mask = EventMask::default();
    for word in words("events", text) {
        let word = word?;
        let all = begins(word, "ALL");
        if passed_over(word, warnings) {
            continue;
        }
        let (new, update, destroy) = (
            begins(word, "NEW"),
            begins(word, "UPDATES"),
            begins(word, "DESTROY"),
        );
        if !(all || new || update || destroy) {
            return Err(unknown("events", word, "ALL, NEW, UPDATES, DESTROY"));
        }
        mask.new |= all || new;
        mask.update |= all || update;
        mask.destroy |= all || destroy;
    }
    Ok(mask)
}

/// What is printed, and how. What is not conntrack(8)'s is known only where `added` says so.
pub(super) fn outputs(
    outputs: &mut Outputs,
    text: &str,
    added: bool,
    warnings: &mut Vec<String>,
) -> Refused<()> {
    for word in words("output", text) {
        let word = word?;
        if added && word == "json" {
            outputs.json = true;
            continue;
        }
        if added && word == "table" {
            outputs.table = true;
            continue;
        }
        if passed_over(word, warnings) {
            continue;
        }
        // In this order, which says what a word that is cut short means.
        let known: [(&str, &mut bool); 8] = [
            ("xml", &mut outputs.xml),
            ("extended", &mut outputs.extended),
            ("timestamp", &mut outputs.timestamp),
            ("id", &mut outputs.id),
            ("ktimestamp", &mut outputs.ktimestamp),
            ("labels", &mut outputs.labels),
            ("userspace", &mut outputs.userspace),
            ("save", &mut outputs.save),
        ];
        let Some((_, flag)) = known.into_iter().find(|(name, _)| begins(word, name)) else {
            let own = "xml, extended, timestamp, id, ktimestamp, labels, userspace, save";
            let more = if added { ", json, table" } else { "" };
            return Err(unknown("output", word, &format!("{own}{more}")));
        };
        *flag = true;
    }
    let further = outputs.extended
        || outputs.timestamp
        || outputs.id
        || outputs.ktimestamp
        || outputs.labels
        || outputs.xml;
    if outputs.save && further {
        return Err(Refusal::failure("-o save goes with no other word of -o"));
    }
    if outputs.json && (outputs.table || outputs.save || further)
        || outputs.table && (outputs.save || outputs.xml || outputs.extended)
    {
        return Err(Refusal::usage(
            "-o json and -o table are formats of their own",
        ));
    }
    Ok(())
}

/// A protocol by name or number.
pub(super) fn protocol(text: &str) -> Refused<Protocol> {
    const NAMED: [Protocol; 8] = [
        Protocol::TCP,
        Protocol::UDP,
        Protocol::UDPLITE,
        Protocol::SCTP,
        Protocol::DCCP,
        Protocol::ICMP,
        Protocol::ICMPV6,
        Protocol::GRE,
    ];
    let own = |protocol: &Protocol| {
        let name = protocol.name();
        name.is_some_and(|name| name.eq_ignore_ascii_case(text))
    };
    if let Some(protocol) = NAMED.into_iter().find(own) {
        return Ok(protocol);
    }
    if let Ok(number) = number("protocol", text) {
        return Ok(Protocol::new(number));
    }
    let file = std::fs::read_to_string("/etc/protocols").unwrap_or_default();
    named_in(&file, text)
        .map(Protocol::new)
        .ok_or_else(|| Refusal::usage(format!("{text:?} is not a protocol")))
}

/// As getprotobyname(3): lines of a name, a number and further names.
fn named_in(file: &str, wanted: &str) -> Option<u8> {
    file.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let name = words.next()?;
        let number = words.next()?.parse().ok()?;
        (name == wanted || words.any(|alias| alias == wanted)).then_some(number)
    })
}

/// The state of a protocol's tracker.
pub(super) fn state(protocol: Protocol, text: &str) -> Refused<TrackerState> {
    let found = match protocol {
        // The kernel's name of it before 2.6.31.
        Protocol::TCP if text == "LISTEN" => Some(TrackerState::Tcp(TcpState::SynSent2)),
        Protocol::TCP => text.parse().ok().map(TrackerState::Tcp),
        Protocol::SCTP => text.parse::<SctpState>().ok().map(TrackerState::Sctp),
        Protocol::DCCP => text.parse::<DccpState>().ok().map(TrackerState::Dccp),
        _ => None,
    };
    found.ok_or_else(|| Refusal::usage(format!("{text:?} is not a state of {protocol}")))
}

pub(super) fn role(text: &str) -> Refused<DccpRole> {
    if !text.is_empty() && begins(text, "client") {
        Ok(DccpRole::Client)
    } else if !text.is_empty() && begins(text, "server") {
        Ok(DccpRole::Server)
    } else {
        Err(unknown("role", text, "client, server"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_words() {
        assert_eq!(number::<u16>("zone", "0x10").unwrap(), 16);
        assert_eq!(number::<u16>("zone", "010").unwrap(), 8);
        assert_eq!(number::<u16>("zone", "0").unwrap(), 0);
        assert_eq!(decimal::<u16>("port", "010").unwrap(), 10);
        for wrong in ["", "x", "-1", "+1", "5x", "0x", "08", "65536", " 5"] {
            assert!(number::<u16>("zone", wrong).is_err(), "{wrong:?}");
        }
        assert!(decimal::<u16>("port", "0x10").is_err());
    }

    #[test]
    fn addresses_are_those_of_inet_aton_and_inet_pton() {
        for (text, want) in [
            ("10.0.0.1", "10.0.0.1"),
            ("10.1", "10.0.0.1"),
            ("10.1.2", "10.1.0.2"),
            ("0x0a000006", "10.0.0.6"),
            ("167772166", "10.0.0.6"),
            ("012.0.0.1", "10.0.0.1"),
            ("0", "0.0.0.0"),
            ("255.255.255.255", "255.255.255.255"),
            ("::1", "::1"),
            ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), want, "{text}");
        }
        for wrong in [
            "",
            "1.2.3.4.5",
            "256.1.1.1",
            "1.2.3.256",
            "1..1",
            "a.b",
            "fe80::1%eth0",
            "[::1]",
        ] {
            assert!(address(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(prefix("10.0.0.0/8").unwrap().1, Some(8));
        assert_eq!(prefix("::/0").unwrap().1, Some(0));
        for wrong in [
            "10.0.0.0/33",
            "10.0.0.0/",
            "::/129",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
        ] {
            assert!(prefix(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(
            mask_of("10.0.0.0".parse().unwrap(), 0).to_string(),
            "0.0.0.0"
        );
        assert_eq!(
            mask_of("::".parse().unwrap(), 64).to_string(),
            "ffff:ffff:ffff:ffff::"
        );
    }

    #[test]
    fn translation_has_an_address_and_perhaps_a_port() {
        let plain = |text| nat(text).map(|wish| (wish.address.to_string(), wish.port));
        assert_eq!(plain("1.2.3.4").unwrap(), ("1.2.3.4".into(), None));
        assert_eq!(plain("1.2.3.4:80").unwrap(), ("1.2.3.4".into(), Some(80)));
        assert_eq!(plain("::1").unwrap(), ("::1".into(), None));
        assert_eq!(plain("[::1]:80").unwrap(), ("::1".into(), Some(80)));
        for wrong in [
            "1.2.3.4:",
            "1.2.3.4:x",
            "1.2.3.4:65536",
            "[::1]",
            "[]:80",
            "[::1:80",
            ":80",
            "1.2.3.4/24",
        ] {
            assert!(nat(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn words_of_lists_may_be_cut_short() {
        let mut warnings = Vec::new();
        let wish = status("a,!SEEN,UNREPLIED", &mut warnings).unwrap();
        assert_eq!((wish.on, wish.off), (Status::ASSURED, Status::SEEN_REPLY));
        assert!(warnings.is_empty());
        let wish = status("SRC_NAT,d", &mut warnings).unwrap();
        assert_eq!((wish, warnings.len()), (StatusWish::default(), 2));
        for wrong in ["", ",", "ASSURED,", "!", "FOO", "ASSUREDX"] {
            assert!(status(wrong, &mut warnings).is_err(), "{wrong:?}");
        }
        let mask = events("new,DES", &mut warnings).unwrap();
        assert_eq!((mask.new, mask.update, mask.destroy), (true, false, true));
        assert!(events("NEWS", &mut warnings).is_err());
    }

    #[test]
    fn formats_of_their_own_stand_alone() {
        let mut warnings = Vec::new();
        let mut read = |text: &str, added| {
            let mut out = Outputs::default();
            outputs(&mut out, text, added, &mut warnings).map(|()| out)
        };
        assert!(read("e,ID,k", false).unwrap().extended);
        assert!(read("json", true).unwrap().json && read("table,labels", true).unwrap().table);
        for wrong in ["json", "table", "foo", "", "x,"] {
            assert!(read(wrong, false).is_err(), "{wrong:?}");
        }
        assert_eq!(read("save,id", false).unwrap_err().of_conntrack(), 1);
        assert!(read("json,id", true).is_err() && read("table,xml", true).is_err());
    }

    #[test]
    fn protocols_have_names_and_numbers() {
        assert_eq!(protocol("TCP").unwrap(), Protocol::TCP);
        assert_eq!(protocol("0x11").unwrap(), Protocol::UDP);
        assert_eq!(protocol("255").unwrap().number(), 255);
        for wrong in ["256", "", "-1", "nothing"] {
            assert!(protocol(wrong).is_err(), "{wrong:?}");
        }
        let file = "# comment\nospf 89 OSPFIGP # routing\nbad\n";
        assert_eq!(named_in(file, "OSPFIGP"), Some(89));
        assert_eq!(named_in(file, "routing"), None);
        assert!(state(Protocol::TCP, "established").is_err());
        assert!(state(Protocol::UDP, "ESTABLISHED").is_err());
        assert_eq!(role("CL").unwrap(), DccpRole::Client);
        assert!(role("").is_err() && role("clients").is_err());
    }
}
