//! What a [`Request`] means in the library's values.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ctnetlink::{
    DccpInfo, Direction, Entry, EntryZone, Filter, GreKeys, Icmp, Icmpv6, Key, LabelNames, Labels,
    Mark, NatRange, NewEntry, ProtoInfo, Protocol, SctpInfo, Status, TcpFlagChange, TcpFlags,
    TcpInfo, TimeoutRange, Tuple, Zone,
};
use ipnet::IpNet;

use crate::args::{Action, Ends, NatWish, Opt, Refusal, Request, TrackerState};

/// The longest time-out that every kernel keeps as it is (`INT_MAX` jiffies at 1000 Hz).
const LONGEST: u32 = i32::MAX as u32 / 1000;

/// Which entries are meant: those that meet the filter, and what no filter says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    pub(crate) filter: Filter,
    also: Vec<Also>,
}

/// What conntrack(8) compares and [`Filter`] does not.
#[derive(Debug, Clone)]
enum Also {
    /// `--mask-src`, `--mask-dst`, where the bits of the mask are not the first ones.
    Masked {
        src: bool,
        address: IpAddr,
        mask: IpAddr,
    },
    /// An entry is in a zone in both directions, or in one of them; here these are three numbers, of
    /// which those that are not set are 0.
    Zones(Option<Zone>, Option<Zone>, Option<Zone>),
    Secmark(u32),
    Keys(Direction, Option<u16>, Option<u16>),
    State(TrackerState),
    Nat(Nat),
    Filter(Box<Filter>),
    Nothing,
}

/// What is asked of the translation of one end.
#[derive(Debug, Clone, Copy)]
enum Translated {
    Whatever,
    Somehow,
    To(NatWish),
}

impl Translated {
    fn of(given: bool, wish: Option<NatWish>) -> Self {
        match (given, wish) {
            (false, _) => Self::Whatever,
            (true, None) => Self::Somehow,
            (true, Some(wish)) => Self::To(wish),
        }
    }

    /// Whether it was met, if something is asked: `address` and `port` are what became of the end, where
    /// they differ from what they were.
    fn meets(self, address: Option<IpAddr>, port: Option<u16>) -> Option<bool> {
        match self {
            Self::Whatever => None,
            Self::Somehow => Some(address.is_some() || port.is_some()),
            Self::To(wish) => {
                let to = address == Some(wish.address);
                Some(to && wish.port.is_none_or(|wished| port == Some(wished)))
            }
        }
    }
}

/// What is asked of translation: of the source, of the destination, of either.
#[derive(Debug, Clone, Copy)]
struct Nat {
    src: Translated,
    dst: Translated,
    either: bool,
}

impl Selection {
    /// # Errors
    /// For labels that nobody knows.
    pub(crate) fn new(request: &Request, names: &LabelNames) -> Result<Self, Refusal> {
        let updates = request.action == Action::Update;
        let mut plan = Self::default();
        if let Some(family) = request.family {
            plan.narrow(|filter| filter.family(family));
        }
        plan.ends(request);
        if let Some(id) = request.id {
            plan.narrow(|filter| filter.id(id));
        }
        let labels = labels_of(names, &request.labels)?;
        if !labels.is_empty() {
            plan.narrow(|filter| filter.labels(labels));
        }
        if let Some(secmark) = request.secmark {
            plan.also.push(Also::Secmark(secmark));
        }
        if !updates {
            plan.values(request)?;
        }
        plan.zones(request);
        plan.nat(request);
        if let Some(filter) = &request.extras.filter {
            if plan.filter.is_empty() {
                plan.filter = filter.clone();
            } else {
                plan.also.push(Also::Filter(Box::new(filter.clone())));
            }
        }
        Ok(plan)
    }

    /// Whether the filter says it all.
    pub(crate) fn is_filter(&self) -> bool {
        self.also.is_empty()
    }

    /// Whether an entry that meets the filter is meant.
    pub(crate) fn also(&self, entry: &Entry) -> bool {
        self.also.iter().all(|also| also.matches(entry))
    }

    fn narrow(&mut self, with: impl FnOnce(Filter) -> Filter) {
        self.filter = with(std::mem::take(&mut self.filter));
    }

    fn ends(&mut self, request: &Request) {
        let (orig, reply) = (request.orig, request.reply);
        for (src, address, mask) in [
            (true, orig.src, request.mask.src),
            (false, orig.dst, request.mask.dst),
        ] {
            let Some(address) = address else { continue };
            let net = match mask {
                None => Some(IpNet::from(address)),
                Some(mask) => net_of(address, mask),
            };
            match (net, mask) {
                (Some(net), _) if src => self.narrow(|filter| filter.orig_src(net)),
                (Some(net), _) => self.narrow(|filter| filter.orig_dst(net)),
                (None, Some(mask)) => self.also.push(Also::Masked { src, address, mask }),
                (None, None) => {}
            }
        }
        if let Some(address) = reply.src {
            self.narrow(|filter| filter.reply_src(IpNet::from(address)));
        }
        if let Some(address) = reply.dst {
            self.narrow(|filter| filter.reply_dst(IpNet::from(address)));
        }
        if let Some(protocol) = request.protocol {
            self.narrow(|filter| filter.protocol(protocol));
        }
        if request.protocol == Some(Protocol::GRE) {
            for (direction, ends) in [(Direction::Original, orig), (Direction::Reply, reply)] {
                if ends.src_port.is_some() || ends.dst_port.is_some() {
                    self.also
                        .push(Also::Keys(direction, ends.src_port, ends.dst_port));
                }
            }
            return;
        }
        if let Some(port) = orig.src_port {
            self.narrow(|filter| filter.orig_src_port(port));
        }
        if let Some(port) = orig.dst_port {
            self.narrow(|filter| filter.orig_dst_port(port));
        }
        if let Some(port) = reply.src_port {
            self.narrow(|filter| filter.reply_src_port(port));
        }
        if let Some(port) = reply.dst_port {
            self.narrow(|filter| filter.reply_dst_port(port));
        }
        if let Some(kind) = request.icmp_type {
            self.narrow(|filter| filter.icmp_type(kind));
        }
        if let Some(code) = request.icmp_code {
            self.narrow(|filter| filter.icmp_code(code));
        }
        if let Some(id) = request.icmp_id {
            self.narrow(|filter| filter.icmp_id(id));
        }
    }

    /// What an update sets, and everything else compares.
    fn values(&mut self, request: &Request) -> Result<(), Refusal> {
        match request.state {
            Some(TrackerState::Tcp(state)) => self.narrow(|filter| filter.tcp_state(state)),
            Some(state) => self.also.push(Also::State(state)),
            None => {}
        }
        if let Some((value, mask)) = request.mark {
            match Mark::masked(value, mask) {
                Ok(mark) => self.narrow(|filter| filter.mark(mark)),
                // A bit that is masked away and asked for.
                Err(_) => self.also.push(Also::Nothing),
            }
        }
        if let Some(status) = request.status {
            let bits = status.on | status.off;
            if bits.is_empty() {
                return Err(Refusal::failure(
                    "-u says nothing that entries could be chosen by",
                ));
            }
            match std::mem::take(&mut self.filter).status_masked(status.on - status.off, bits) {
                Ok(filter) if !status.on.intersects(status.off) => self.filter = filter,
                _ => self.also.push(Also::Nothing),
            }
        }
        if let Some(seconds) = request.timeout {
            let timeout = Duration::from_secs(seconds.into());
            match TimeoutRange::new(timeout, timeout) {
                Ok(range) => self.narrow(|filter| filter.timeout(range)),
                Err(_) => self.also.push(Also::Nothing),
            }
        }
        Ok(())
    }

    fn zones(&mut self, request: &Request) {
        let (both, orig, reply) = (request.zone, request.orig_zone, request.reply_zone);
        if both.is_none() && orig.is_none() && reply.is_none() {
            return;
        }
        self.also.push(Also::Zones(both, orig, reply));
        // Of the zones that are asked for at most one can be another than 0, and that one the kernel
        // can look for.
        let mut zones = [both, orig, reply].into_iter().flatten();
        if let Some(zone) = zones.find(|zone| !zone.is_default()) {
            self.narrow(|filter| filter.zone(zone));
        }
    }

    fn nat(&mut self, request: &Request) {
        let given = &request.given;
        let either = given.has(Opt::AnyNat);
        if either {
            let any = Translated::of(true, request.any_nat);
            self.also.push(Also::Nat(Nat {
                src: any,
                dst: any,
                either,
            }));
        } else if given.any(&[Opt::SrcNat, Opt::DstNat]) {
            let src = Translated::of(given.has(Opt::SrcNat), request.src_nat);
            let dst = Translated::of(given.has(Opt::DstNat), request.dst_nat);
            self.also.push(Also::Nat(Nat { src, dst, either }));
        }
    }
}

impl Also {
    fn matches(&self, entry: &Entry) -> bool {
        match self {
            Self::Masked { src, address, mask } => {
                let orig = entry.orig();
                let own = if *src { orig.src() } else { orig.dst() };
                masked(own, *mask).is_some_and(|own| Some(own) == masked(*address, *mask))
            }
            Self::Zones(both, orig, reply) => {
                let zero = Zone::DEFAULT;
                let own = match entry.zone() {
                    EntryZone::Both(zone) => [zone, zero, zero],
                    EntryZone::Orig(zone) => [zero, zone, zero],
                    EntryZone::Reply(zone) => [zero, zero, zone],
                };
                [*both, *orig, *reply]
                    .into_iter()
                    .zip(own)
                    .all(|(wanted, own)| wanted.is_none_or(|wanted| wanted == own))
            }
            Self::Secmark(mark) => entry.security_mark() == Some(*mark),
            Self::Keys(direction, src, dst) => {
                let tuple = match direction {
                    Direction::Original => entry.orig(),
                    Direction::Reply => entry.reply(),
                };
                let ctnetlink::Layer4::Gre(keys) = tuple.layer4() else {
                    return false;
                };
                src.is_none_or(|src| src == keys.src) && dst.is_none_or(|dst| dst == keys.dst)
            }
            Self::State(state) => match (entry.proto_info(), state) {
                (Some(ProtoInfo::Tcp(info)), TrackerState::Tcp(state)) => {
                    info.state == Some(*state)
                }
                (Some(ProtoInfo::Sctp(info)), TrackerState::Sctp(state)) => info.state == *state,
                (Some(ProtoInfo::Dccp(info)), TrackerState::Dccp(state)) => info.state == *state,
                _ => false,
            },
            Self::Nat(nat) => nat.matches(entry),
            Self::Filter(filter) => filter.matches(entry),
            Self::Nothing => false,
        }
    }
}

impl Nat {
    /// As conntrack(8) finds it: by what differs between the tuples, where translation was decided on.
    fn matches(self, entry: &Entry) -> bool {
        let (orig, reply) = (entry.orig(), entry.reply());
        let has = |bit| entry.status().is_none_or(|status| status.contains(bit));
        // Of ICMP there are no ports to compare.
        let src = self.src.meets(
            Some(reply.dst()).filter(|to| has(Status::SRC_NAT_DONE) && *to != orig.src()),
            reply
                .dst_port()
                .filter(|to| has(Status::SRC_NAT_DONE) && Some(*to) != orig.src_port()),
        );
        let dst = self.dst.meets(
            Some(reply.src()).filter(|to| has(Status::DST_NAT_DONE) && *to != orig.dst()),
            reply
                .src_port()
                .filter(|to| has(Status::DST_NAT_DONE) && Some(*to) != orig.dst_port()),
        );
        if self.either {
            src == Some(true) || dst == Some(true)
        } else {
            src != Some(false) && dst != Some(false)
        }
    }
}

/// The prefix that a mask means, where its bits are the first ones.
fn net_of(address: IpAddr, mask: IpAddr) -> Option<IpNet> {
    IpNet::with_netmask(address, mask).ok()
}

fn masked(address: IpAddr, mask: IpAddr) -> Option<IpAddr> {
    match (address, mask) {
        (IpAddr::V4(address), IpAddr::V4(mask)) => Some((address & mask).into()),
        (IpAddr::V6(address), IpAddr::V6(mask)) => Some((address & mask).into()),
        _ => None,
    }
}

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

/// To exactly what is asked for; a port that the answers are said to have is kept.
fn range(wish: NatWish, answer: Option<u16>, plain: Option<u16>) -> Result<NatRange, Refusal> {
    let range = NatRange::address(wish.address);
    let port = wish
        .port
        .or(answer.filter(|port| Some(*port) != plain && plain.is_some()));
    match port {
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
    if let Some(wish) = request.src_nat {
        let (answer, plain) = (request.reply.dst_port, orig.src_port());
        builder = builder.nat_src(range(wish, answer, plain)?);
    }
    if let Some(wish) = request.dst_nat {
        let (answer, plain) = (request.reply.src_port, orig.dst_port());
        builder = builder.nat_dst(range(wish, answer, plain)?);
    }
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
