//! Deleting by filter on kernels that get filters wrong.

use std::sync::LazyLock;

use ipnet::IpNet;

use super::fake::{Fake, Quirk, quirks};
use super::probing::Prober;
use super::*;
use crate::filter::{Filter, NatKind, PortRange, TimeoutRange};
use crate::model::{
    DeleteOptions, Direction, EntryZone, Family, FilterShape, Helper, Icmp, KernelFilter, Labels,
    Mark, Protocol, Status, TcpState, Trial, Verdict, shapes,
};
use crate::ops::{delete_matching, list};

/// Of every condition some that meet it and some that do not.
fn population() -> Vec<NewEntry> {
    let mut all = Vec::new();
    for n in 0..64_u16 {
        let bit = |at: u16| n >> at & 1 == 1;
        let six = bit(0);
        let address = |last: u16| -> std::net::IpAddr {
            if six {
                format!("2001:db8::{last}").parse().unwrap()
            } else {
                format!("10.0.0.{last}").parse().unwrap()
            }
        };
        // A mirrored pair of each, in other zones: what one sends the other answers.
        let near = SocketAddr::new(address(1 + u16::from(bit(1))), 1000 + n % 32 / 2);
        let far = SocketAddr::new(address(9), 53 + u16::from(bit(2)));
        let (src, dst) = if bit(5) { (far, near) } else { (near, far) };
        let builder = match (bit(3), n % 3) {
            (true, _) => Entry::udp(src, dst),
            (false, 0) => Entry::tcp(src, dst).state(TcpState::TimeWait),
            (false, _) => Entry::tcp(src, dst),
        };
        let builder = match n % 4 {
            0 => builder.labels(Labels::bit(3).unwrap()),
            1 => builder.helper(Helper::new("ftp").unwrap()),
            _ => builder,
        };
        let zone = match n % 11 {
            0 => EntryZone::Both(Zone::new(1)),
            1 => EntryZone::Orig(Zone::new(5)),
            2 | 6 => EntryZone::Both(Zone::MAX),
            4 => EntryZone::Both(Zone::new(6)),
            5 => EntryZone::Reply(Zone::new(5)),
            8 | 10 => EntryZone::default(),
            _ => EntryZone::Both(Zone::new(5)),
        };
        let status = if n % 3 == 0 {
            Status::ASSURED | Status::SEEN_REPLY
        } else {
            Status::SEEN_REPLY
        };
        all.push(
            builder
                .zone(zone)
                .mark(u32::from(n % 7))
                .status(status)
                .timeout(Duration::from_secs(60 + u64::from(n)))
                .build()
                .unwrap(),
        );
    }
    for id in [7, 8] {
        let ping = Icmp::echo_request(id);
        let entry = Entry::icmp([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), ping);
        all.push(entry.timeout(Duration::from_secs(30)).build().unwrap());
    }
    all
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn filters() -> Vec<Filter> {
    let new = Filter::new;
    let five = || new().zone(Zone::new(5));
    let tcp4 = || new().family(Family::Ipv4).protocol(Protocol::TCP);
    vec![
        five(),
        new().zone(Zone::DEFAULT),
        new().zone(Zone::MAX),
        new().family(Family::Ipv6),
        five().family(Family::Ipv4),
        new().mark(3),
        new().mark(0),
        new().mark(Mark::masked(1, 3).unwrap()),
        new().status(Status::ASSURED),
        new()
            .status_masked(Status::empty(), Status::ASSURED)
            .unwrap(),
        five().mark(3),
        five().status(Status::ASSURED),
        new().orig_src(net("10.0.0.1/32")),
        new().orig_dst(net("2001:db8::9/128")),
        new().reply_src(net("10.0.0.9/32")),
        new().reply_dst(net("2001:db8::2/128")),
        new().orig_src(net("10.0.0.2/31")),
        five().orig_src(net("2001:db8::1/128")),
        tcp4(),
        tcp4().orig_dst_port(53),
        tcp4().orig_src_port(PortRange::new(1000, 1010).unwrap()),
        tcp4().reply_src_port(54),
        tcp4().orig_src(net("10.0.0.1/32")).orig_dst_port(53),
        new().orig_dst_port(53),
        new().family(Family::Ipv6).orig_src(net("10.0.0.1/32")),
        new().zone_in(Direction::Original, Zone::new(5)),
        new().zone_in(Direction::Reply, Zone::DEFAULT),
        new().labels(Labels::bit(3).unwrap()),
        five().helper(Helper::new("ftp").unwrap()),
        tcp4().tcp_state(TcpState::TimeWait),
        new().icmp_type(8),
        new().icmp_code(0).icmp_id(8),
        five().nat(NatKind::None),
        new().nat(NatKind::Any),
        five().timeout(TimeoutRange::at_most(Duration::from_secs(80)).unwrap()),
    ]
}

/// A kernel that did right by everything in lists when it was tried, and by nothing in flushes.
fn lists_right() -> KernelSupport {
    support(&filters(), Verdict::Right, Verdict::Unproven)
}

pub(super) fn support(filters: &[Filter], dump: Verdict, flush: Verdict) -> KernelSupport {
    let trial = |filter: &Filter| Trial {
        shape: filter.kernel().shape(),
        family: filter.kernel().family,
        dump,
        flush,
    };
    KernelSupport {
        trials: filters.iter().map(trial).collect(),
        ..KernelSupport::default()
    }
}

fn lines(entries: impl IntoIterator<Item = NewEntry>) -> Vec<String> {
    let lines = entries.into_iter().map(|new| new.entry().to_string());
    lines.collect()
}

fn parted(filter: &Filter) -> (Vec<NewEntry>, Vec<NewEntry>) {
    let all = population().into_iter();
    all.partition(|new| filter.matches(new.entry()))
}

/// Of each filter something is meant, and of everything that must survive something is there.
#[test]
fn every_filter_has_targets_and_bystanders_of_all_kinds() {
    // What is of both families, and what no entry is made with.
    let nothing = [
        Filter::new()
            .family(Family::Ipv6)
            .orig_src(net("10.0.0.1/32")),
        Filter::new().nat(NatKind::Any),
    ];
    for filter in filters() {
        let (targets, bystanders) = parted(&filter);
        assert_eq!(targets.is_empty(), nothing.contains(&filter), "{filter}");
        let bystander = |is: &dyn Fn(&Entry) -> bool| bystanders.iter().any(|new| is(new.entry()));
        // All zones but the one that is asked for.
        let zones = [0, 1, 5, 6, u16::MAX].map(Zone::new);
        let spared = |zone: &&Zone| bystander(&|entry| entry.zone().zone() == **zone);
        assert!(zones.iter().filter(spared).count() > 3, "{filter}");
        for family in [Family::Ipv4, Family::Ipv6] {
            let other = filter.kernel().family != Some(family);
            assert!(!other || bystander(&|entry| entry.family() == family));
        }
        // A filter that all of a zone meets leaves nothing in it.
        let of_zone = |zone| parted(&Filter::new().zone(zone)).0.len();
        let zone_alone = filter
            .zone_condition()
            .is_some_and(|zone| targets.len() == of_zone(zone));
        let beside = |target: &NewEntry| {
            let zone = target.entry().zone().zone();
            bystander(&|entry| entry.zone().zone() == zone)
        };
        let found = targets.is_empty() || zone_alone || targets.iter().any(beside);
        assert!(found, "{filter}");
        let mirrored = |target: &NewEntry| {
            let (orig, reply) = (target.entry().orig(), target.entry().reply());
            bystander(&|entry| (entry.orig(), entry.reply()) == (reply, orig))
        };
        // Whatever tells one direction from the other.
        let text = filter.to_string();
        let directed = ["zone", "orig-", "reply-"]
            .iter()
            .any(|word| text.contains(word));
        let found = targets.is_empty() || !directed || targets.iter().any(mirrored);
        assert!(found, "{filter}");
    }
}

/// What a fake kernel is believed to do right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Believed {
    Nothing,
    /// All lists, though some are wrong.
    Lists,
    /// What trials found of this very kernel.
    Trials,
}

/// Filters, kernels that are wrong about one of their conditions, and what trials find of them.
static TRIED: LazyLock<Vec<(Filter, Quirk, KernelSupport)>> = LazyLock::new(|| {
    let mut prober = Prober::new();
    let mut tried = Vec::new();
    for filter in filters() {
        for quirk in quirks(filter.kernel().shape()) {
            let support = prober.support(quirk, &filter);
            tried.push((filter.clone(), quirk, support));
        }
    }
    tried
});

/// `whole`: all that is meant is to be found. What a list omits that was believed not to omit is all
/// that can go wrong.
fn wrong_kernels(mut check: impl FnMut(&Filter, &Fake, bool, &str)) {
    for (filter, quirk, tried) in &*TRIED {
        for (believed, support) in [
            (Believed::Nothing, KernelSupport::unproven()),
            (Believed::Lists, lists_right()),
            (Believed::Trials, tried.clone()),
        ] {
            let omits = matches!(
                quirk,
                Quirk::Omits(_) | Quirk::Inverts(_) | Quirk::ZoneOf(_)
            );
            let whole = believed != Believed::Lists || !omits;
            let fake = Fake::new(*quirk, support, &population());
            let what = format!("{quirk:?} {filter}, believed: {believed:?}");
            check(filter, &fake, whole, &what);
        }
    }
}

#[test]
fn a_kernel_that_is_wrong_costs_no_bystander() {
    let mut by_kernel = 0;
    wrong_kernels(|filter, fake, whole, what| {
        let (targets, bystanders) = parted(filter);
        let kernel = filter.kernel();
        let proven = fake.session().support();
        let proven = proven.flush(kernel.shape(), kernel.family).is_right();
        let deleted = delete_matching(fake.session(), filter, &DeleteOptions::new()).unwrap();
        // A flush is sent where a trial of this kernel's proved it, and only there.
        let flushes = proven && filter.is_for_kernel();
        let want: &[KernelFilter] = if flushes { &[kernel] } else { &[] };
        fake.assert_flushed(want);
        by_kernel += usize::from(flushes);
        let left = lines(fake.left());
        for bystander in lines(bystanders.clone()) {
            assert!(left.contains(&bystander), "{what}: {bystander}");
        }
        if whole {
            assert_eq!(left, lines(bystanders), "{what}");
            let matched = (!flushes).then_some(targets.len() as u64);
            assert_eq!(deleted.matched, matched, "{what}");
        }
        let gone = population().len() - left.len();
        assert_eq!(deleted.deleted, (!flushes).then_some(gone as u64));
        assert_eq!(deleted.matched, deleted.deleted);
        assert!(deleted.is_clean());
        assert_eq!(deleted.by_kernel(), flushes);
    });
    // Every filter of a shape that is tried is for a kernel that does all right.
    let whole = |filter: &&Filter| {
        let kernel = filter.kernel();
        filter.is_for_kernel() && shapes().any(|asked| asked == (kernel.shape(), kernel.family))
    };
    let whole = filters().iter().filter(whole).count();
    assert!(whole > 15 && by_kernel >= whole, "{by_kernel} of {whole}");
}

#[test]
fn a_kernel_that_is_wrong_costs_a_list_nothing_but_what_it_omits() {
    wrong_kernels(|filter, fake, whole, what| {
        let found: Vec<_> = list(fake.session(), filter)
            .unwrap()
            .map(|entry| entry.unwrap())
            .collect();
        assert!(found.iter().all(|entry| filter.matches(entry)));
        if whole {
            assert_eq!(found.len(), parted(filter).0.len(), "{what}");
        }
        assert_eq!(lines(fake.left()), lines(population()));
    });
}

#[test]
fn an_entry_is_deleted_by_its_id() {
    let fake = Fake::new(Quirk::Nothing, lists_right(), &population());
    let third = Filter::new().id(3);
    let deleted = delete_matching(fake.session(), &third, &DeleteOptions::new()).unwrap();
    assert_eq!((deleted.matched, deleted.deleted), (Some(1), Some(1)));
    assert!(fake.table().rows.iter().all(|row| row.id != Some(3)));
    assert_eq!(fake.left().len(), population().len() - 1);
}

#[test]
fn a_flush_is_sent_only_for_what_was_proven_and_is_all_of_the_filter() {
    for filter in filters() {
        let own = support(
            std::slice::from_ref(&filter),
            Verdict::Unproven,
            Verdict::Right,
        );
        // Whatever else was proven does not do.
        let others: Vec<_> = filters()
            .into_iter()
            .filter(|other| {
                let (a, b) = (other.kernel(), filter.kernel());
                (a.shape(), a.family) != (b.shape(), b.family)
            })
            .collect();
        let others = support(&others, Verdict::Right, Verdict::Right);
        let whole = filter.is_for_kernel();
        for (support, flushes) in [(own, whole), (others, false)] {
            let fake = Fake::new(Quirk::Nothing, support, &population());
            let deleted = delete_matching(fake.session(), &filter, &DeleteOptions::new()).unwrap();
            assert_eq!(deleted.by_kernel(), flushes, "{filter:?}");
            let want: &[KernelFilter] = if flushes { &[filter.kernel()] } else { &[] };
            fake.assert_flushed(want);
            assert_eq!(lines(fake.left()), lines(parted(&filter).1), "{filter:?}");
            assert!(deleted.is_clean());
        }
    }
}

#[test]
fn options_are_not_for_the_kernel() {
    let filter = Filter::new().zone(Zone::new(5));
    let proven = || {
        support(
            std::slice::from_ref(&filter),
            Verdict::Right,
            Verdict::Right,
        )
    };
    let (targets, _) = parted(&filter);
    let many = targets.len() as u64;
    let new = DeleteOptions::new;
    for (options, deletes) in [
        (new().dry_run(), Some(0)),
        // Nothing is deleted, so nothing is too many.
        (new().dry_run().max_deletes(many - 1), Some(0)),
        (new().max_deletes(many), Some(many)),
        (new().max_deletes(many - 1), None),
        (new().protect([Zone::new(9)]), Some(many)),
        (new().verify(1).max_deletes(many), Some(many)),
    ] {
        let fake = Fake::new(Quirk::FlushesAll, proven(), &population());
        let deleted = delete_matching(fake.session(), &filter, &options);
        fake.assert_flushed(&[]);
        let gone = population().len() - fake.left().len();
        assert_eq!(gone as u64, deletes.unwrap_or(0), "{options:?}");
        match (deleted, deletes) {
            (Ok(deleted), Some(deletes)) => {
                assert_eq!(deleted.matched, Some(many), "{options:?}");
                assert_eq!(deleted.deleted, Some(deletes), "{options:?}");
                // What is still there is not clean.
                assert_eq!(deleted.is_clean(), deletes == many, "{options:?}");
            }
            (Err(error), None) => assert!(error.is_too_many(), "{options:?}: {error}"),
            (deleted, _) => panic!("{options:?}: {deleted:?}"),
        }
    }
}

#[test]
fn a_flush_is_verified_by_a_walk() {
    let filter = Filter::new().zone(Zone::new(5));
    let proven = support(
        std::slice::from_ref(&filter),
        Verdict::Unproven,
        Verdict::Right,
    );
    let options = DeleteOptions::new().verify(2);
    let fake = Fake::new(Quirk::Nothing, proven.clone(), &population());
    let deleted = delete_matching(fake.session(), &filter, &options).unwrap();
    fake.assert_flushed(&[filter.kernel()]);
    assert!(deleted.by_kernel() && deleted.is_clean());
    assert_eq!(lines(fake.left()), lines(parted(&filter).1));
    // A kernel that left out every other one though it was proven not to, which a trial would have
    // seen: it costs no bystander, and a look finds the rest.
    let omits = || Quirk::Omits(FilterShape::ZONE);
    for (options, all) in [(DeleteOptions::new(), false), (options.clone(), true)] {
        let fake = Fake::new(omits(), proven.clone(), &population());
        let deleted = delete_matching(fake.session(), &filter, &options).unwrap();
        fake.assert_flushed(&[filter.kernel()]);
        assert!(deleted.by_kernel() && deleted.is_clean());
        let (targets, bystanders) = parted(&filter);
        let left = lines(fake.left());
        assert!(
            lines(bystanders.clone())
                .iter()
                .all(|line| left.contains(line))
        );
        let rest = if all { 0 } else { targets.len().div_ceil(2) };
        assert_eq!(left.len(), bystanders.len() + rest);
    }
    // What the flush left is deleted one by one, and what stays is told.
    let fake = Fake::new(Quirk::Inverts(FilterShape::ZONE), proven, &population());
    fake.table().rows[1].refused = Some(Nix::EBUSY);
    let refused = fake.table().rows[1].new.clone();
    assert!(filter.matches(refused.entry()));
    let deleted = delete_matching(fake.session(), &filter, &options).unwrap();
    fake.assert_flushed(&[filter.kernel()]);
    assert_eq!((deleted.matched, deleted.deleted), (None, None));
    assert!(deleted.by_kernel() && deleted.left && !deleted.is_clean());
    assert_eq!(deleted.busy, 1);
    let left = fake.left();
    let of_zone = left.iter().filter(|new| filter.matches(new.entry()));
    assert_eq!(lines(of_zone.cloned()), lines([refused]));
}

#[test]
fn a_filter_that_means_everything_is_refused_and_nothing_is_sent() {
    let none = Filter::new();
    let proven = support(&filters(), Verdict::Right, Verdict::Right);
    for filter in [
        none.clone(),
        none.clone().status(Status::empty()),
        none.clone().mark(Mark::masked(0, 0).unwrap()),
    ] {
        for options in [DeleteOptions::new(), DeleteOptions::new().dry_run()] {
            let fake = Fake::new(Quirk::Nothing, proven.clone(), &population());
            let error = delete_matching(fake.session(), &filter, &options).unwrap_err();
            assert!(error.is_invalid_input(), "{error}");
            let named = format!("filter {:?}: ", filter.to_string());
            assert!(error.to_string().starts_with(&named), "{error}");
            assert_eq!(fake.kernel.opened(), 0);
        }
    }
    let empty = wire::flush_filtered(&mut Datagram::new(1), &KernelFilter::default());
    assert!(empty.unwrap_err().is_invalid_input());
}

#[test]
fn an_entry_that_took_the_tuple_survives() {
    let (one, two) = (udp_in(1, 5), udp_in(2, 5));
    let newcomer = one.clone();
    let fake =
        Fake::new(Quirk::Nothing, KernelSupport::unproven(), &[one, two]).then(move |rows| {
            rows[0].new = newcomer.clone();
            rows[0].id = Some(99);
        });
    let deleted = delete_matching(
        fake.session(),
        &Filter::new().zone(Zone::new(5)),
        &DeleteOptions::new(),
    )
    .unwrap();
    assert_eq!((deleted.matched, deleted.deleted), (Some(2), Some(1)));
    assert_eq!((deleted.already_gone, deleted.busy), (1, 0));
    assert!(deleted.is_clean());
    assert_eq!(fake.table().rows[0].id, Some(99));
    fake.assert_flushed(&[]);
    let ids: Vec<_> = (0..3)
        .flat_map(|socket| fake.kernel.attribute(socket, CTA_ID))
        .flatten()
        .collect();
    assert_eq!(ids, [[0, 0, 0, 1], [0, 0, 0, 2]]);
}

#[test]
fn an_entry_without_id_is_left_alone() {
    let fake = Fake::new(
        Quirk::Nothing,
        KernelSupport::unproven(),
        &[udp_in(1, 5), udp_in(2, 5)],
    );
    fake.table().rows[0].id = None;
    let five = Filter::new().zone(Zone::new(5));
    let deleted = delete_matching(fake.session(), &five, &DeleteOptions::new()).unwrap();
    assert_eq!((deleted.matched, deleted.deleted), (Some(2), Some(1)));
    assert_eq!(deleted.failed[0].count, 1);
    assert!(deleted.failed[0].error.is_unsupported());
    assert!(!deleted.is_clean());
    assert_eq!(lines(fake.left()), lines([udp_in(1, 5)]));
    fake.assert_flushed(&[]);
}

#[test]
fn a_family_is_flushed_with_a_version_that_makes_the_kernel_heed_it() {
    let filter = Filter::new().family(Family::Ipv6);
    let proven = support(
        std::slice::from_ref(&filter),
        Verdict::Right,
        Verdict::Right,
    );
    let fake = Fake::new(Quirk::Nothing, proven, &population());
    assert!(
        delete_matching(fake.session(), &filter, &DeleteOptions::new())
            .unwrap()
            .by_kernel()
    );
    let log = fake.kernel.logs[0].lock().unwrap();
    assert_eq!(log.sent[0][0].payload, [10, 1, 0, 0]);
    assert_eq!(filter.kernel().shape(), FilterShape::FAMILY);
}
