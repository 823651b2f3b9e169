//! Which entries a command line means.

use std::net::IpAddr;
use std::time::Duration;

use ctnetlink::{
    Direction, Entry, EntryZone, Filter, LabelNames, Mark, ProtoInfo, Protocol, Status,
    TimeoutRange, Zone,
};
use ipnet::IpNet;

use super::labels_of;
use crate::args::{Action, NatWish, Opt, Refusal, Request, TrackerState};

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
        // Of these two tables, conntrack(8) does not choose by bits that say nothing.
        let passed_over = |bits: Status| {
            bits.is_empty() && matches!(request.action, Action::ListDying | Action::ListUnconfirmed)
        };
        let status = request.status;
        if let Some(status) = status.filter(|status| !passed_over(status.on | status.off)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::parse;

    fn selection(line: &str) -> Result<Selection, Refusal> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let names = LabelNames::from_text("1 one\n2 two\n").unwrap();
        Selection::new(&parse(&words, true)?, &names)
    }

    fn means(line: &str, entry: &str) -> bool {
        let (selection, entry) = (selection(line).unwrap(), entry.parse().unwrap());
        selection.filter.matches(&entry) && selection.also(&entry)
    }

    const PLAIN: &str = "udp 17 99 src=10.0.0.9 dst=10.0.0.2 sport=1 dport=2 [UNREPLIED] \
                         src=10.0.0.2 dst=10.0.0.9 sport=2 dport=1 mark=8";

    /// Numbers of zones are compared as they are printed: a zone of one direction is not one of both.
    #[test]
    fn zones_are_those_that_are_printed() {
        let orig = PLAIN.replace(" [UNREPLIED]", " zone-orig=5 [UNREPLIED]");
        let both = format!("{PLAIN} zone=5");
        for (line, of_plain, of_both, of_orig) in [
            ("-L -w 5", false, true, false),
            ("-L -w 0", true, false, true),
            ("-L --orig-zone 5", false, false, true),
            ("-L --orig-zone 0", true, true, false),
            ("-L --reply-zone 0", true, true, true),
            ("-L --reply-zone 5", false, false, false),
        ] {
            let all = [means(line, PLAIN), means(line, &both), means(line, &orig)];
            assert_eq!(all, [of_plain, of_both, of_orig], "{line}");
        }
    }

    #[test]
    fn masks_may_have_any_bits() {
        for (line, want) in [
            ("-L -s 10.0.0.0/29", false),
            ("-L -s 10.0.0.0/28", true),
            ("-L -s 10.0.0.15/28", true),
            ("-L -s 1.1.1.1/0", true),
            ("-L -s ::/0", false),
            ("-L -s 10.0.0.8 --mask-src 255.255.255.8", true),
            ("-L -s 10.0.0.1 --mask-src 255.255.255.8", false),
            ("-L -d 0.0.0.2 --mask-dst 0.0.0.255", true),
        ] {
            assert_eq!(means(line, PLAIN), want, "{line}");
        }
    }

    #[test]
    fn status_and_marks() {
        for (line, want) in [
            ("-L -u !ASSURED", true),
            ("-L -u UNREPLIED", true),
            ("-L -u SEEN_REPLY", false),
            ("-L -u UNREPLIED,SEEN_REPLY", false),
            ("-L -m 8", true),
            ("-L -m 0x8/0xc", true),
            // A bit that the mask takes away.
            ("-L -m 9/8", false),
            ("-D -t 99", true),
            ("-D -t 98", false),
        ] {
            assert_eq!(means(line, PLAIN), want, "{line}");
        }
        assert_eq!(selection("-L -u UNSET").unwrap_err().of_conntrack(), 1);
        assert_eq!(selection("-L -l three").unwrap_err().of_conntrack(), 2);
        assert!(selection("-L -l one,2").unwrap().is_filter());
    }

    /// Translation is told by the status, which no line says; without it, by the tuples.
    #[test]
    fn translation_is_what_differs_between_the_tuples() {
        let translated = PLAIN.replace(
            "dst=10.0.0.9 sport=2 dport=1",
            "dst=1.1.1.1 sport=2 dport=77",
        );
        let line = |line: &str| {
            let mut entry: serde_json::Value =
                serde_json::to_value(translated.parse::<Entry>().unwrap()).unwrap();
            entry["status"] =
                serde_json::json!(["CONFIRMED", "SRC_NAT", "SRC_NAT_DONE", "DST_NAT_DONE"]);
            let entry: Entry = serde_json::from_value(entry).unwrap();
            let selection = selection(line).unwrap();
            selection.filter.matches(&entry) && selection.also(&entry)
        };
        for (text, want) in [
            ("-L -n", true),
            ("-L -g", false),
            ("-L -n -g", false),
            ("-L -j", true),
            ("-L -n 1.1.1.1", true),
            ("-L -n 1.1.1.1:77", true),
            ("-L -n 1.1.1.1:78", false),
            ("-L -n 1.1.1.2", false),
            ("-L -j 1.1.1.1", true),
            ("-L -g 1.1.1.1", false),
        ] {
            assert_eq!(line(text), want, "{text}");
        }
        assert!(!means("-L -n", PLAIN));
    }

    #[test]
    fn further_conditions_come_on_top() {
        assert!(means("-L --filter zone=0", PLAIN));
        assert!(!means("-L -p udp --filter orig-src=10.0.0.1", PLAIN));
        assert!(means("-L -p udp --filter orig-src=10.0.0.9", PLAIN));
        let gre = "gre 47 9 src=10.0.0.1 dst=10.0.0.2 srckey=0x5 dstkey=0x6 src=10.0.0.2 dst=10.0.0.1 srckey=0x6 dstkey=0x5";
        assert!(means("-L -p gre --srckey 5 --reply-key-src 0x6", gre));
        assert!(!means("-L -p gre --srckey 6", gre));
        // What an update sets chooses nobody.
        assert!(means("-U -p udp -m 99 -u SEEN_REPLY -t 1", PLAIN));
    }
}
