//! What a [`Request`] means in the library's values.

mod select;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ctnetlink::{
    DccpInfo, Entry, EntryZone, GreKeys, Icmp, Icmpv6, Key, LabelNames, Labels, NatRange, NewEntry,
    ProtoInfo, Protocol, SctpInfo, Status, TcpFlagChange, TcpFlags, TcpInfo, Tuple,
};

use crate::args::{Ends, NatWish, Refusal, Request, TrackerState};
pub(crate) use select::Selection;

/// The longest time-out that every kernel keeps as it is (`INT_MAX` jiffies at 1000 Hz).
const LONGEST: u32 = i32::MAX as u32 / 1000;

/// Labels by name or number.
pub(crate) fn labels_of(names: &LabelNames, lists: &[String]) -> Result<Labels, Refusal> {
    let mut labels = Labels::EMPTY;
    for list in lists {
        let more = names
            .parse(list)
            .map_err(|error| Refusal::usage(error.to_string()))?;
        labels = Labels::from_bits(labels.bits() | more.bits());
    }
    Ok(labels)
}

fn invalid(error: &ctnetlink::Error) -> Refusal {
    Refusal::failure(error.to_string())
}

/// A tuple of these addresses and ports.
fn tuple(
    request: &Request,
    protocol: Protocol,
    src: IpAddr,
    dst: IpAddr,
    ends: &Ends,
) -> Result<Tuple, Refusal> {
    let (src_port, dst_port) = (ends.src_port.unwrap_or(0), ends.dst_port.unwrap_or(0));
    let sockets = || {
        (
            SocketAddr::new(src, src_port),
            SocketAddr::new(dst, dst_port),
        )
    };
    let (kind, code, id) = (
        request.icmp_type.unwrap_or(0),
        request.icmp_code.unwrap_or(0),
        request.icmp_id.unwrap_or(0),
    );
    let (from, to) = sockets();
    let made = match protocol {
        Protocol::TCP => Tuple::tcp(from, to),
        Protocol::UDP => Tuple::udp(from, to),
        Protocol::UDPLITE => Tuple::udplite(from, to),
        Protocol::SCTP => Tuple::sctp(from, to),
        Protocol::DCCP => Tuple::dccp(from, to),
        Protocol::GRE => Tuple::gre(
            src,
            dst,
            GreKeys {
                src: src_port,
                dst: dst_port,
            },
        ),
        Protocol::ICMP => Icmp::new(kind, code, id)
            .and_then(|key| Tuple::new(src, dst, ctnetlink::Layer4::Icmp(key))),
        Protocol::ICMPV6 => Icmpv6::new(kind, code, id)
            .and_then(|key| Tuple::new(src, dst, ctnetlink::Layer4::Icmpv6(key))),
        other => Tuple::other(other, src, dst),
    };
    made.map_err(|error| invalid(&error))
}

fn both(src: Option<IpAddr>, dst: Option<IpAddr>) -> Option<(IpAddr, IpAddr)> {
    Some((src?, dst?))
}

fn has_ports(protocol: Protocol) -> bool {
    protocol.name().is_some() && !matches!(protocol, Protocol::ICMP | Protocol::ICMPV6)
}

fn mixed() -> Refusal {
    Refusal::failure("the addresses are of one direction and the ports of the other")
}

/// The key of the entry that `-G` asks for.
pub(crate) fn key(request: &Request) -> Result<Key, Refusal> {
    let protocol = request.protocol.unwrap_or(Protocol::new(0));
    let ported = has_ports(protocol);
    let ports = |ends: &Ends| !ported || ends.src_port.is_some() && ends.dst_port.is_some();
    if let Some((src, dst)) = both(request.orig.src, request.orig.dst) {
        if ports(&request.orig) {
            return Ok(Key::orig(tuple(
                request,
                protocol,
                src,
                dst,
                &request.orig,
            )?));
        }
    }
    match both(request.reply.src, request.reply.dst) {
        Some((src, dst)) if ports(&request.reply) => Ok(Key::reply(tuple(
            request,
            protocol,
            src,
            dst,
            &request.reply,
        )?)),
        _ => Err(mixed()),
    }
}

/// The original tuple of a new entry, or of an expectation's master.
fn orig_tuple(request: &Request, protocol: Protocol) -> Result<Tuple, Refusal> {
    let ported = has_ports(protocol);
    match (
        both(request.orig.src, request.orig.dst),
        both(request.reply.src, request.reply.dst),
    ) {
        (Some((src, dst)), _) => {
            if ported && request.orig.src_port.is_none() {
                return Err(mixed());
            }
            tuple(request, protocol, src, dst, &request.orig)
        }
        (None, Some((src, dst))) => {
            if ported && request.reply.src_port.is_none() {
                return Err(mixed());
            }
            let answered = Ends {
                src_port: request.reply.dst_port,
                dst_port: request.reply.src_port,
                ..Ends::default()
            };
            tuple(request, protocol, dst, src, &answered)
        }
        (None, None) => Err(mixed()),
    }
}

/// The answers' tuple of a new entry, before translation.
fn reply_tuple(request: &Request, orig: &Tuple) -> Result<Option<Tuple>, Refusal> {
    let (given, wished) = (request.reply, request.orig);
    if given.src.is_none() && given.dst.is_none() || wished.src.is_none() {
        return Ok(None);
    }
    // What translation chooses is not said twice.
    let whole = (given.src.is_some() || request.dst_nat.is_some())
        && (given.dst.is_some() || request.src_nat.is_some());
    let protocol = orig.protocol();
    if !whole || has_ports(protocol) && (given.src_port.is_none() || given.dst_port.is_none()) {
        return Err(Refusal::failure("the tuple of the answers is not whole"));
    }
    let src = given.src.unwrap_or(orig.dst());
    let dst = given.dst.unwrap_or(orig.src());
    let answer = orig.reply();
    let made = match protocol {
        Protocol::ICMP | Protocol::ICMPV6 => {
            Tuple::new(src, dst, answer.layer4()).map_err(|error| invalid(&error))
        }
        _ => {
            let ends = Ends {
                src_port: if request.dst_nat.is_some() {
                    answer.src_port().or(given.src_port)
                } else {
                    given.src_port
                },
                dst_port: if request.src_nat.is_some() {
                    answer.dst_port().or(given.dst_port)
                } else {
                    given.dst_port
                },
                ..Ends::default()
            };
            tuple(request, protocol, src, dst, &ends)
        }
    };
    made.map(Some)
}

/// To exactly what is asked for. `saved` is the port that the answers are said to have, where the line
/// says both of them, as `-o save` does.
fn range(
    wish: NatWish,
    saved: Option<u16>,
    orig: &Tuple,
    warnings: &mut Vec<String>,
) -> Result<NatRange, Refusal> {
    let range = NatRange::address(wish.address);
    let numbered = orig.src_port().is_some() || orig.icmp_fields().is_some();
    if wish.port.is_some() && !numbered {
        warnings
            .push("the port is passed over: nothing has ports here to be translated".to_owned());
    }
    match wish.port.or(saved).filter(|_| numbered) {
        Some(port) => range.ports(port, port).map_err(|error| invalid(&error)),
        None => Ok(range),
    }
}

/// The bits of a new entry that the kernel lets be set. What it would refuse or pass over is left out.
pub(crate) fn settable(status: Status, warnings: &mut Vec<String>) -> Status {
    let beyond = status - Status::SETTABLE;
    if !beyond.is_empty() {
        warnings.push(format!(
            "status: {beyond} is passed over, the kernel alone sets it"
        ));
    }
    status & Status::SETTABLE
}

pub(crate) fn seconds(timeout: u32, warnings: &mut Vec<String>) -> Duration {
    if timeout > LONGEST {
        warnings.push(format!("the time-out is cut to {LONGEST} seconds"));
    }
    Duration::from_secs(timeout.min(LONGEST).into())
}

/// What conntrack(8) says of a TCP connection that is made or changed by hand: windows are not looked
/// at, and one that is about to end may be opened anew.
fn tcp_info(state: Option<ctnetlink::TcpState>) -> TcpInfo {
    let mut flags = TcpFlags::BE_LIBERAL | TcpFlags::SACK_PERM;
    if state.is_some_and(|state| state.raw() >= ctnetlink::TcpState::TimeWait.raw()) {
        flags |= TcpFlags::CLOSE_INIT;
    }
    TcpInfo {
        state,
        orig_flags: Some(TcpFlagChange::on(flags)),
        reply_flags: Some(TcpFlagChange::on(flags)),
        ..TcpInfo::default()
    }
}

/// conntrack(8) takes a tag for a number of the host, the kernel for one of the wire.
fn tag(number: u32) -> u32 {
    u32::from_be_bytes(number.to_ne_bytes())
}

/// What is to be told of a protocol's tracker.
pub(crate) fn tracker(request: &Request) -> Option<ProtoInfo> {
    match (request.protocol, request.state) {
        (Some(Protocol::TCP), state) => Some(ProtoInfo::Tcp(tcp_info(match state {
            Some(TrackerState::Tcp(state)) => Some(state),
            _ => None,
        }))),
        (Some(Protocol::SCTP), Some(TrackerState::Sctp(state))) => {
            Some(ProtoInfo::Sctp(SctpInfo {
                state,
                orig_vtag: request.orig_vtag.map(tag),
                reply_vtag: request.reply_vtag.map(tag),
            }))
        }
        (Some(Protocol::DCCP), Some(TrackerState::Dccp(state))) => {
            Some(ProtoInfo::Dccp(DccpInfo {
                state,
                role: request.role,
                handshake_seq: None,
            }))
        }
        _ => None,
    }
}

/// The entry that `-I` or `-A` makes.
pub(crate) fn new_entry(request: &mut Request, names: &LabelNames) -> Result<NewEntry, Refusal> {
    let protocol = request.protocol.unwrap_or(Protocol::new(0));
    let orig = orig_tuple(request, protocol)?;
    let mut builder = Entry::with_tuple(orig);
    if let Some(reply) = reply_tuple(request, &orig)? {
        builder = builder.reply(reply);
    }
    let mut warnings = std::mem::take(&mut request.warnings);
    builder = builder.timeout(seconds(request.timeout.unwrap_or(0), &mut warnings));
    if let Some(status) = request.status {
        builder = builder.status(settable(status.on, &mut warnings));
    }
    request.warnings = warnings;
    if let Some((value, _)) = request.mark {
        builder = builder.mark(value);
    }
    let labels = labels_of(names, &request.labels_on)?;
    if !labels.is_empty() {
        builder = builder.labels(labels);
    }
    let zones = [
        request.zone.map(EntryZone::Both),
        request.orig_zone.map(EntryZone::Orig),
        request.reply_zone.map(EntryZone::Reply),
    ];
    let mut zones = zones.into_iter().flatten();
    if let Some(zone) = zones.next() {
        builder = builder.zone(zone);
    }
    if zones.next().is_some() {
        return Err(Refusal::failure(
            "an entry has a zone of its own in one direction, or one for both",
        ));
    }
    let said = request.reply.src_port.zip(request.reply.dst_port);
    let saved = |port: Option<u16>, plain: Option<u16>| {
        port.filter(|port| Some(*port) != plain && plain.is_some())
    };
    let mut warnings = std::mem::take(&mut request.warnings);
    if let Some(wish) = request.src_nat {
        let port = saved(said.map(|(_, dst)| dst), orig.src_port());
        builder = builder.nat_src(range(wish, port, &orig, &mut warnings)?);
    }
    if let Some(wish) = request.dst_nat {
        let port = saved(said.map(|(src, _)| src), orig.dst_port());
        builder = builder.nat_dst(range(wish, port, &orig, &mut warnings)?);
    }
    request.warnings = warnings;
    builder = match tracker(request) {
        Some(ProtoInfo::Tcp(info)) => builder.tcp_info(info),
        Some(ProtoInfo::Sctp(info)) => builder.sctp_info(info),
        Some(ProtoInfo::Dccp(info)) => builder.dccp_info(info),
        _ => builder,
    };
    builder.build().map_err(|error| invalid(&error))
}

/// The tuple of what `-I expect` expects.
pub(crate) fn expected(request: &Request) -> Result<Tuple, Refusal> {
    let protocol = request.protocol.unwrap_or(Protocol::new(0));
    let (src, dst) = both(request.tuple.src, request.tuple.dst).ok_or_else(mixed)?;
    tuple(request, protocol, src, dst, &request.tuple)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::parse;

    fn new(line: &str) -> Result<(NewEntry, usize), Refusal> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut request = parse(&words, false)?;
        let new = new_entry(&mut request, &LabelNames::default())?;
        Ok((new, request.warnings.len()))
    }

    /// The line of the entry that comes of `-I` and what follows.
    fn made(line: &str) -> String {
        let (new, _) =
            new(&format!("-I -t 5 {line}")).unwrap_or_else(|refusal| panic!("{line}: {refusal}"));
        new.entry().to_string()
    }

    #[test]
    fn one_direction_gives_the_other() {
        let want = made("-s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1 --dport 2");
        let answers = made("-r 10.0.0.2 -q 10.0.0.1 -p udp --reply-port-src 2 --reply-port-dst 1");
        assert_eq!(answers, want);
        let both = "-s 10.0.0.1 -d 10.0.0.2 -r 10.0.0.2 -q 10.0.0.1 -p udp --sport 1 --dport 2 --reply-port-src 2 --reply-port-dst 1";
        assert_eq!(made(both), want);
        assert!(
            made("-s 10.0.0.1 -d 10.0.0.2 -p icmp --icmp-type 8 --icmp-code 0").contains("type=0")
        );
    }

    #[test]
    fn what_the_kernel_would_refuse_is_a_failure() {
        for line in [
            "-s 10.0.0.1 -d 10.0.0.2 -r 10.0.0.2 -p udp --sport 1 --dport 2",
            "-s 10.0.0.1 -d 10.0.0.2 -r 10.0.0.2 -q 10.0.0.1 -p udp --sport 1 --dport 2",
            "-s 10.0.0.1 -d 10.0.0.2 -p udp --reply-port-src 1 --reply-port-dst 2",
            "-s 10.0.0.1 -d 10.0.0.2 -p icmp --icmp-type 3 --icmp-code 0",
            "-s ::1 -d ::2 -p icmp --icmp-type 8 --icmp-code 0",
            "-s 10.0.0.1 -d 10.0.0.2 -p 50 -w 5 --orig-zone 6",
        ] {
            assert_eq!(
                new(&format!("-I -t 5 {line}")).unwrap_err().of_conntrack(),
                1,
                "{line}"
            );
        }
    }

    #[test]
    fn what_the_kernel_alone_decides_is_passed_over_with_a_warning() {
        let ends = "-s 10.0.0.1 -d 10.0.0.2 -p 50";
        let (entry, warnings) = new(&format!("-A {ends} -t 5 -u EXPECTED,ASSURED")).unwrap();
        assert_eq!(
            (entry.entry().status(), warnings),
            (Some(Status::ASSURED), 1)
        );
        let (entry, warnings) = new(&format!("-A {ends} -t 5 -n 1.1.1.1:77")).unwrap();
        assert_eq!((entry.nat_src().unwrap().port_range(), warnings), (None, 1));
        let (entry, warnings) = new(&format!("-A {ends} -t 4294967295")).unwrap();
        assert_eq!(warnings, 1);
        assert_eq!(
            entry.entry().timeout(),
            Some(Duration::from_secs(LONGEST.into()))
        );
    }

    /// A line of `-o save` says the ports that translation chose beside the address.
    #[test]
    fn a_saved_translation_keeps_its_port() {
        let saved = "-s 10.0.0.1 -d 10.0.0.2 -r 10.0.0.2 -n 9.9.9.9 -p udp --sport 1 --dport 2 --reply-port-src 2 --reply-port-dst 77";
        let (entry, _) = new(&format!("-A -t 5 -u SEEN_REPLY {saved}")).unwrap();
        assert_eq!(entry.nat_src().unwrap().port_range(), Some((77, 77)));
        let half =
            "-s 10.0.0.1 -d 10.0.0.2 -g 9.9.9.9 -p udp --sport 1 --dport 2 --reply-port-src 77";
        let (entry, _) = new(&format!("-A -t 5 {half}")).unwrap();
        assert_eq!(entry.nat_dst().unwrap().port_range(), None);
        let same = saved.replace("--reply-port-dst 77", "--reply-port-dst 1");
        let (entry, _) = new(&format!("-A -t 5 {same}")).unwrap();
        assert_eq!(entry.nat_src().unwrap().port_range(), None);
    }
}
