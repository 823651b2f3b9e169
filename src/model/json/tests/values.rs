//! Any value of each kind, and not only those that the kernel would take.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::option::of;
use proptest::prelude::*;

use crate::error::Errno;
pub(super) use crate::model::strategies::{
    adjust, any_tcp_info, layer4, synproxy, tcp_info, tracked, tuple, zone,
};
use crate::model::{
    Boot, Counters, DccpInfo, DccpRole, DccpState, Direction, Entry, ExpectFlags, ExpectMask,
    ExpectNat, Expectation, Family, Features, Helper, KernelSupport, Key, LabelChange, Labels,
    Layer4, Mark, NatRange, NewEntry, NewExpectation, NewTimeoutPolicy, ProtoInfo, Protocol, Rare,
    SctpInfo, SctpState, Status, TimeoutPolicy, Timeouts, Timestamps, Trial, Tuple, Unknown,
    Verdict, Zone, shapes,
};

prop_compose! {
    pub(super) fn sctp_info()(state in any::<u8>(), orig_vtag in any::<Option<u32>>(), reply_vtag in any::<Option<u32>>()) -> SctpInfo {
        SctpInfo { state: SctpState::from_raw(state), orig_vtag, reply_vtag }
    }
}

prop_compose! {
    pub(super) fn dccp_info()(state in any::<u8>(), role in any::<Option<u8>>(), handshake_seq in any::<Option<u64>>()) -> DccpInfo {
        DccpInfo { state: DccpState::from_raw(state), role: role.map(DccpRole::from_raw), handshake_seq }
    }
}

pub(super) fn mark() -> impl Strategy<Value = Mark> {
    let mask = prop_oneof![Just(u32::MAX), any::<u32>()];
    (any::<u32>(), mask).prop_map(|(value, mask)| Mark::masked(value & mask, mask).unwrap())
}

fn labels() -> impl Strategy<Value = Labels> {
    prop_oneof![Just(0), Just(u128::MAX), any::<u128>()].prop_map(Labels::from_bits)
}

pub(super) fn label_change() -> impl Strategy<Value = LabelChange> {
    prop_oneof![
        labels().prop_map(LabelChange::add),
        (labels(), labels()).prop_map(|(labels, mask)| LabelChange { labels, mask }),
    ]
}

pub(super) fn nat_range() -> impl Strategy<Value = NatRange> {
    let v4 = || any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)));
    let v6 = || any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)));
    let pair = prop_oneof![(v4(), v4()), (v6(), v6()), v6().prop_map(|one| (one, one))];
    (pair, of((any::<u16>(), any::<u16>()))).prop_map(|((a, b), ports)| {
        let range = NatRange::addresses(a.min(b), a.max(b)).unwrap();
        match ports {
            Some((a, b)) => range.ports(a.min(b), a.max(b)).unwrap(),
            None => range,
        }
    })
}

fn unknown() -> impl Strategy<Value = Unknown> {
    let path = proptest::collection::vec(0..0x4000_u16, 1..=4);
    (path, any::<Vec<u8>>()).prop_map(|(path, value)| Unknown { path, value })
}

fn helper() -> impl Strategy<Value = Helper> {
    "[a-z0-9.\"\\\\é\n-]{1,7}".prop_map(|name| Helper::new(&name).unwrap())
}

prop_compose! {
    fn rare()(
        labels in of(labels()),
        stamps in of(any::<[Option<u64>; 3]>()),
        helper in of(helper()),
        helper_info in of(any::<Vec<u8>>()),
        master in of(tuple()),
        orig_seq_adjust in of(adjust()),
        reply_seq_adjust in of(adjust()),
        secctx in of(".{0,20}"),
        secmark in any::<Option<u32>>(),
        unknown in proptest::collection::vec(unknown(), 0..3),
    ) -> Rare {
        let timestamps = stamps.map(|[start, stop, event]| Timestamps { start, stop, event });
        Rare {
            labels,
            timestamps,
            helper,
            helper_info,
            master,
            orig_seq_adjust,
            reply_seq_adjust,
            secctx,
            secmark,
            unknown,
        }
    }
}

fn proto_info() -> impl Strategy<Value = ProtoInfo> {
    prop_oneof![
        any_tcp_info().prop_map(ProtoInfo::Tcp),
        sctp_info().prop_map(ProtoInfo::Sctp),
        dccp_info().prop_map(ProtoInfo::Dccp),
    ]
}

fn counters() -> impl Strategy<Value = Counters> {
    (any::<u64>(), any::<u64>()).prop_map(|(packets, bytes)| Counters { packets, bytes })
}

prop_compose! {
    /// Whatever the type can hold.
    pub(super) fn entry()(
        tuples in (tuple(), of(tuple())),
        zone in zone(),
        numbers in any::<[Option<u32>; 5]>(),
        proto_info in of(proto_info()),
        orig_counters in of(counters()),
        reply_counters in of(counters()),
        synproxy in of(synproxy()),
        rare in rare(),
    ) -> Entry {
        let (orig, reply) = tuples;
        let [status, timeout, mark, id, use_count] = numbers;
        Entry {
            orig,
            reply: reply.unwrap_or_else(|| orig.reply()),
            zone,
            status: status.map(Status::from_bits_retain),
            timeout,
            mark,
            id,
            use_count,
            proto_info,
            orig_counters,
            reply_counters,
            synproxy,
            rare: (rare != Rare::default()).then(|| Box::new(rare)),
        }
    }
}

prop_compose! {
    /// What can be created.
    pub(super) fn new_entry()(
        entry in entry(),
        ports in (any::<u16>(), any::<u16>()),
        timeout in 0..=2_147_483_u32,
        tcp in tcp_info(),
        nat in (of(nat_range()), of(nat_range())),
        other in tuple(),
    ) -> NewEntry {
        let mut entry = entry;
        entry.orig = tracked(entry.orig, ports);
        entry.reply = entry.orig.reply();
        // Without a helper it has nothing to be of.
        if let Some(rare) = &mut entry.rare {
            rare.helper_info = rare.helper.and(rare.helper_info.take());
            if let Some(info) = &mut rare.helper_info {
                info.truncate(32);
            }
        }
        entry.timeout = Some(timeout);
        let number = timeout.to_ne_bytes()[0];
        entry.proto_info = match entry.orig.protocol() {
            Protocol::TCP => Some(ProtoInfo::Tcp(tcp)),
            Protocol::SCTP => {
                let state = SctpState::from_raw(number % 10);
                Some(ProtoInfo::Sctp(SctpInfo::new(state, timeout, !timeout)))
            }
            Protocol::DCCP => {
                let role = DccpRole::from_raw(number & 1);
                Some(ProtoInfo::Dccp(DccpInfo::new(DccpState::from_raw(number % 8), role)))
            }
            _ => None,
        };
        let of_family = |range: &NatRange| range.check(&entry.orig).is_ok();
        let nat = crate::model::nat::Nat {
            src: nat.0.filter(of_family),
            dst: nat.1.filter(of_family),
        };
        let mut created = Entry::from(entry.to_new().unwrap());
        created.reply = entry.orig.reply();
        // What `to_new` never gives: a master, and an answer that does not follow from the question.
        if other.family() == created.family() {
            created.reply.addresses = other.addresses;
            created.rare.get_or_insert_default().master = Some(tracked(other, ports));
        }
        if other.protocol() == created.protocol() && !matches!(other.layer4, Layer4::Other(_)) {
            created.reply.layer4 = other.layer4;
        }
        NewEntry::check(created, nat).unwrap()
    }
}

pub(super) fn address(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::Ipv4 => any::<u32>()
            .prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
            .boxed(),
        Family::Ipv6 => any::<u128>()
            .prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
            .boxed(),
    }
}

prop_compose! {
    pub(super) fn mask(family: Family)(src in of(address(family)), src_port in any::<Option<u16>>()) -> ExpectMask {
        ExpectMask { src, src_port }
    }
}

prop_compose! {
    pub(super) fn expect_nat(family: Family)(reply in any::<bool>(), address in address(family), port in any::<u16>()) -> ExpectNat {
        let direction = if reply { Direction::Reply } else { Direction::Original };
        ExpectNat { direction, address, port }
    }
}

fn either_family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::Ipv4), Just(Family::Ipv6)]
}

prop_compose! {
    /// Whatever the type can hold.
    pub(super) fn expectation()(
        tuple in tuple(),
        mask in either_family().prop_flat_map(mask),
        master in tuple(),
        zone in any::<Option<u16>>(),
        numbers in any::<[Option<u32>; 4]>(),
        helper in of(helper()),
        nat in of(either_family().prop_flat_map(expect_nat)),
        function in of(".{0,20}"),
        unknown in proptest::collection::vec(unknown(), 0..3),
    ) -> Expectation {
        let [timeout, id, flags, class] = numbers;
        Expectation {
            tuple,
            mask,
            master,
            zone: zone.map(Zone::new),
            timeout,
            id,
            helper,
            flags: flags.map(ExpectFlags::from_bits_retain),
            class,
            nat,
            function,
            unknown,
        }
    }
}

fn new_expectation_of(tuple: Tuple, master: Tuple) -> impl Strategy<Value = NewExpectation> {
    let family = tuple.family();
    let parts = (
        of(mask(family)),
        of(helper()),
        of(expect_nat(family)),
        of("[^\\x00]{1,9}"),
    );
    let numbers = (of(0..=2_147_483_u64), any::<Option<u32>>(), 0..4_u32);
    let key = (zone(), any::<Option<u32>>(), any::<bool>());
    (parts, numbers, key).prop_map(move |(parts, numbers, (zone, id, reply))| {
        let key = if reply {
            Key::reply(master)
        } else {
            Key::orig(master)
        };
        let key = Key {
            id,
            ..key.zone(zone)
        };
        let mut new =
            NewExpectation::builder(key, tuple).flags(ExpectFlags::from_bits_retain(numbers.2));
        if let Some(mask) = parts.0 {
            new = new.mask(mask);
        }
        if let Some(helper) = parts.1 {
            new = new.helper(helper);
        }
        if let Some(nat) = parts.2 {
            new = new.nat(nat);
        }
        if let Some(function) = parts.3 {
            new = new.function(function);
        }
        if let Some(seconds) = numbers.0 {
            new = new.timeout(std::time::Duration::from_secs(seconds));
        }
        if let Some(class) = numbers.1 {
            new = new.class(class);
        }
        new.build().unwrap()
    })
}

/// What can be created.
pub(super) fn new_expectation() -> impl Strategy<Value = NewExpectation> {
    let tuples = (tuple(), layer4(false), layer4(true), any::<(u16, u16)>());
    let pair = tuples.prop_map(|(tuple, four, six, ports)| {
        let layer4 = match tuple.family() {
            Family::Ipv4 => four,
            Family::Ipv6 => six,
        };
        let master = Tuple {
            layer4,
            ..tuple.reply()
        };
        (tracked(tuple, ports), master)
    });
    pair.prop_flat_map(|(tuple, master)| new_expectation_of(tuple, master))
}

fn policy_protocol() -> impl Strategy<Value = Protocol> {
    proptest::sample::select(Timeouts::protocols().collect::<Vec<_>>())
}

/// A state beyond those that have names, in an attribute's number and of a state's length.
fn unknown_state(max: u32) -> impl Strategy<Value = Unknown> {
    (12..0x4000_u16, 0..=max)
        .prop_map(|(number, secs)| crate::model::unknown(Some(4), number, &secs.to_be_bytes()))
}

prop_compose! {
    fn timeouts(protocol: impl Strategy<Value = Protocol>, max: u32)(
        protocol in protocol,
        states in proptest::collection::vec(of(0..=max), 11),
        unknown in proptest::collection::vec(unknown_state(max), 0..3),
    ) -> Timeouts {
        let mut timeouts = Timeouts::empty(protocol);
        for (state, seconds) in timeouts.states.iter_mut().zip(states) {
            *state = seconds;
        }
        timeouts.unknown = unknown;
        timeouts
    }
}

prop_compose! {
    /// What can be created.
    pub(super) fn new_policy()(
        name in "[^\\x00]{1,7}",
        family in either_family(),
        timeouts in timeouts(policy_protocol(), 2_147_483),
    ) -> NewTimeoutPolicy {
        let family = match timeouts.protocol() {
            Protocol::ICMP => Family::Ipv4,
            Protocol::ICMPV6 => Family::Ipv6,
            _ => family,
        };
        NewTimeoutPolicy::new(&name, family, timeouts).unwrap()
    }
}

prop_compose! {
    /// Whatever the kernel may report.
    pub(super) fn policy()(
        name in ".{0,31}",
        family in prop_oneof![Just(2_u16), Just(10), any::<u16>()],
        timeouts in timeouts(prop_oneof![policy_protocol(), any::<u8>().prop_map(Protocol::new)], u32::MAX),
        use_count in any::<Option<u32>>(),
        unknown in proptest::collection::vec((0..0x4000_u16, any::<Vec<u8>>()), 0..3),
        longer in any::<Option<Vec<u8>>>(),
    ) -> TimeoutPolicy {
        let mut timeouts = timeouts;
        timeouts.unknown.extend(longer.map(|value| crate::model::unknown(Some(4), 0, &value)));
        let unknown = unknown.into_iter().map(|(number, value)| crate::model::unknown(None, number, &value));
        TimeoutPolicy { name, family, timeouts, use_count, unknown: unknown.collect() }
    }
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Right),
        Just(Verdict::Ignored),
        Just(Verdict::Inverted),
        Just(Verdict::Omits),
        Just(Verdict::Wrong),
        Just(Verdict::Unproven),
        any::<i32>().prop_map(|raw| Verdict::Refused(Errno::from_raw(raw))),
    ]
}

prop_compose! {
    fn features()(flags in proptest::collection::vec(any::<Option<bool>>(), 8)) -> Features {
        Features {
            zones: flags[0],
            direction_zones: flags[1],
            labels: flags[2],
            nat: flags[3],
            helpers: flags[4],
            event_timestamps: flags[5],
            extended_ack: flags[6],
            strict_checking: flags[7],
        }
    }
}

prop_compose! {
    /// Some shapes were tried.
    pub(super) fn kernel_support()(
        tried in proptest::collection::vec(of((verdict(), verdict())), shapes().count()),
        features in features(),
        edition in any::<Option<u32>>(),
        boot in of((".*", ".*")),
        why_not in of(".*"),
    ) -> KernelSupport {
        let trials = shapes().zip(tried).filter_map(|((shape, family), tried)| {
            let (dump, flush) = tried?;
            Some(Trial { shape, family, dump, flush })
        });
        KernelSupport {
            trials: trials.collect(),
            tester: None,
            features,
            edition,
            boot: boot.map(|(release, id)| Boot { release, id }),
            why_not,
        }
    }
}
